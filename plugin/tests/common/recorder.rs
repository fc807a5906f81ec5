//! A recorder by script: answers INVITEs over UDP as it is told, and keeps what it is sent.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a recorder answers the initial INVITE.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    /// 200 at once.
    Accept,
    /// 200 after this time, 100 at once.
    AcceptAfter(Duration),
    /// This status.
    Refuse(u16),
    /// 200 with this body.
    Answer(&'static str),
    /// These datagrams, in which `<Via>` and the like are the INVITE's own lines, and then 200.
    AcceptBehind(&'static [&'static [u8]]),
    /// 200 with port 0 for video.
    RefuseVideo,
    /// 200 with this behind each m-line.
    AcceptWith(&'static str),
}

/// A recorder on its own thread, until it is dropped.
pub(crate) struct Recorder {
    address: SocketAddr,
    socket: UdpSocket,
    requests: Mutex<Receiver<String>>,
    /// Sockets for RTP and, each above its own, for RTCP, which nobody reads: left free, its port may become a phone's.
    media: Vec<[UdpSocket; 2]>,
    script: Arc<Mutex<Script>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    pub(crate) fn start(script: Script) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let media: Vec<_> = (0..8).map(|_| rtp_pair()).collect();
        let ports = media.iter().map(|[rtp, _]| rtp.local_addr().unwrap().port()).collect();
        let (tell, requests) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let script = Arc::new(Mutex::new(script));
        let ours_too = script.clone();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let ours = socket.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            let mut desk = Desk { socket, script, ports, tell, late: Vec::new(), dialogs: Vec::new() };
            while !ends.load(Ordering::SeqCst) {
                desk.turn();
            }
        });
        let requests = Mutex::new(requests);
        Self { address, socket: ours, requests, media, script: ours_too, stop, thread: Some(thread) }
    }

    pub(crate) fn uri(&self) -> String {
        format!("sip:{}", self.address)
    }

    /// Answers initial INVITEs in another way from now on.
    pub(crate) fn set_script(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// Ends the dialog of an INVITE that was answered 200, by BYE.
    pub(crate) fn hang_up(&self, invite: &str) {
        let line = |name: &str| {
            let found = invite.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {invite}")).trim().to_owned()
        };
        let contact = line("Contact:");
        let target = contact.split(['<', '>']).nth(1).unwrap();
        let (us, call_id) = (self.address, line("Call-ID:"));
        let bye = format!(
            "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bK-hang-up\r\nMax-Forwards: 70\r\n\
             From: {};tag=recorder\r\nTo: {}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
            line("To:"),
            line("From:"),
        );
        let host = target.trim_start_matches("sip:").split([';', '?']).next().unwrap();
        let to = host.rsplit('@').next().unwrap();
        self.socket.send_to(bye.as_bytes(), to).unwrap();
    }

    /// The next request of this method, with everything before it skipped.
    pub(crate) fn request(&self, method: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(15);
        let requests = self.requests.lock().unwrap();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = requests.recv_timeout(left).unwrap_or_else(|_| panic!("no {method}"));
            if request.starts_with(method) {
                return request;
            }
        }
    }

    /// Whether a request of this method is there already.
    pub(crate) fn has(&self, method: &str) -> bool {
        self.requests.lock().unwrap().try_iter().any(|request| request.starts_with(method))
    }

    /// The sockets of an m-line, for RTP and RTCP.
    pub(crate) fn sockets(&self, line: usize) -> &[UdpSocket; 2] {
        &self.media[line]
    }

    /// The next RTP packet of an m-line.
    pub(crate) fn packet(&self, line: usize) -> Option<Vec<u8>> {
        self.packet_within(line, Duration::from_secs(15))
    }

    /// The next RTP packet of an m-line, if it comes in time.
    pub(crate) fn packet_within(&self, line: usize, longest: Duration) -> Option<Vec<u8>> {
        let [rtp, _] = &self.media[line];
        let mut packet = [0; 2048];
        rtp.set_read_timeout(Some(longest)).unwrap();
        let (length, _) = rtp.recv_from(&mut packet).ok()?;
        Some(packet[..length].to_vec())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Desk {
    socket: UdpSocket,
    script: Arc<Mutex<Script>>,
    ports: Vec<u16>,
    tell: Sender<String>,
    late: Vec<(Instant, SocketAddr, String)>,
    /// Call-IDs in the order of their first INVITEs.
    dialogs: Vec<String>,
}

impl Desk {
    fn script(&self) -> Script {
        *self.script.lock().unwrap()
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let (due, late) = self.late.drain(..).partition(|(when, ..)| *when <= now);
        self.late = late;
        for (_, to, response) in due {
            self.socket.send_to(response.as_bytes(), to).unwrap();
        }
        let mut datagram = [0; 16 * 1024];
        let Ok((length, from)) = self.socket.recv_from(&mut datagram) else { return };
        let request = String::from_utf8_lossy(&datagram[..length]).into_owned();
        if request.starts_with("SIP/2.0") {
            return;
        }
        let _ = self.tell.send(request.clone());
        match request.split(' ').next().unwrap_or_default() {
            "INVITE" => self.invited(&request, from),
            "CANCEL" => {
                self.respond(&request, from, "200 OK", None);
                self.late.clear();
                let invite = request.replacen("CANCEL", "INVITE", 2);
                self.respond(&invite, from, "487 Request Terminated", None);
            }
            "ACK" => {}
            _ => self.respond(&request, from, "200 OK", None),
        }
    }

    fn invited(&mut self, request: &str, from: SocketAddr) {
        match self.script() {
            Script::Accept | Script::RefuseVideo | Script::AcceptWith(_) => {
                let answer = self.answer(request);
                self.respond(request, from, "200 OK", Some(answer));
            }
            Script::Answer(body) => self.respond(request, from, "200 OK", Some(body.to_owned())),
            Script::AcceptBehind(datagrams) => {
                for datagram in datagrams {
                    self.socket.send_to(&filled_in(request, datagram), from).unwrap();
                }
                let answer = self.answer(request);
                self.respond(request, from, "200 OK", Some(answer));
            }
            Script::Refuse(code) => self.respond(request, from, &format!("{code} Not Today"), None),
            Script::AcceptAfter(time) => {
                self.respond(request, from, "100 Trying", None);
                let id = call_id(request);
                if !self.late.iter().any(|(_, _, answer)| call_id(answer) == id) {
                    let answer = self.answer(request);
                    let us = self.socket.local_addr().unwrap();
                    let answer = response(request, us, "200 OK", Some(answer));
                    self.late.push((Instant::now() + time, from, answer));
                }
            }
        }
    }

    fn respond(&self, request: &str, to: SocketAddr, status: &str, body: Option<String>) {
        let response = response(request, self.socket.local_addr().unwrap(), status, body);
        self.socket.send_to(response.as_bytes(), to).unwrap();
    }

    /// One m-line for each of the offer's, to one port each: those of the first dialog from 0 on, of the second from 4.
    fn answer(&mut self, offer: &str) -> String {
        let call_id = call_id(offer);
        let known = self.dialogs.iter().position(|known| known == call_id);
        let dialog = known.unwrap_or_else(|| {
            self.dialogs.push(call_id.to_owned());
            self.dialogs.len() - 1
        });
        let is_silent = !offer.contains("a=sendonly");
        let refuses_video = matches!(self.script(), Script::RefuseVideo);
        let ports = self.ports.iter().cycle().skip(4 * dialog);
        let lines = media_sections(offer).zip(ports).map(|(section, port)| {
            let line = section.lines().next().unwrap();
            let medium = format!("m={}", line.split(' ').next().unwrap());
            let (profile, formats) = line.splitn(3, ' ').nth(2).unwrap().split_once(' ').unwrap();
            let crypto = section.lines().find_map(|line| line.strip_prefix("a=crypto:"));
            let crypto =
                crypto.map(|offered| format!("a=crypto:{}\r\n", own_key(offered))).unwrap_or_default();
            let port = if refuses_video && medium == "m=video" { 0 } else { *port };
            let direction = if is_silent { "inactive" } else { "recvonly" };
            let more = if let Script::AcceptWith(more) = self.script() { more } else { "" };
            format!("{medium} {port} {profile} {formats}\r\na={direction}\r\n{crypto}{more}")
        });
        let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
        head.to_owned() + &lines.collect::<String>()
    }
}

/// The m-lines of a message with what belongs to each.
pub(crate) fn media_sections(message: &str) -> impl Iterator<Item = &str> {
    message.split("\r\nm=").skip(1).map(|section| section.trim_start_matches("\r\n"))
}

/// Tag and suite of an offered `a=crypto`, with a key that is the recorder's.
fn own_key(offered: &str) -> String {
    let mut words = offered.split(' ');
    let (tag, suite, inline) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let length = gst::glib::base64_decode(inline.trim_start_matches("inline:")).len();
    format!("{tag} {suite} inline:{}", gst::glib::base64_encode(&answered_key(length)))
}

/// The key that a recorder answers with, a text.
pub(crate) fn answered_key(length: usize) -> Vec<u8> {
    (0..length).map(|place| b'!' + (place * 29 % 94) as u8).collect()
}

/// The line that says which dialog a message belongs to.
fn call_id(message: &str) -> &str {
    message.lines().find(|line| line.to_ascii_lowercase().starts_with("call-id:")).unwrap()
}

/// A socket on an even port and one on its successor.
fn rtp_pair() -> [UdpSocket; 2] {
    let try_one = || {
        let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = rtp.local_addr().unwrap().port();
        let above = port.is_multiple_of(2).then(|| port.checked_add(1)).flatten();
        let rtcp = above.and_then(|port| UdpSocket::bind(("127.0.0.1", port)).ok())?;
        Some([rtp, rtcp])
    };
    (0..100).find_map(|_| try_one()).expect("no free pair of ports")
}

/// A datagram as if it belonged to the request's transaction.
fn filled_in(request: &str, datagram: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(datagram) else { return datagram.to_vec() };
    let mut text = text.to_owned();
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let line = request.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        text = text.replace(&format!("<{name}>"), line);
    }
    text.into_bytes()
}

fn response(request: &str, us: SocketAddr, status: &str, body: Option<String>) -> String {
    let mut response = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().skip(1).take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap().to_ascii_lowercase();
        match name.as_str() {
            "via" | "from" | "call-id" | "cseq" => response += &format!("{line}\r\n"),
            "to" if line.contains(";tag=") => response += &format!("{line}\r\n"),
            "to" => response += &format!("{line};tag=recorder\r\n"),
            _ => {}
        }
    }
    response += &format!("Contact: <sip:{us}>\r\n");
    let body = body.unwrap_or_default();
    if !body.is_empty() {
        response += "Content-Type: application/sdp\r\n";
    }
    response + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}
