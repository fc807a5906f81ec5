//! A recorder's signalling: takes every session, and says where its media go.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::traffic::{KEY, SUITE};

/// What a client has offered of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Which.
    pub stream: usize,
    /// Where it listens for RTCP.
    pub rtcp: u16,
    /// By what it protects the stream, in Base64; None where it is plain.
    pub key: Option<String>,
}

/// Called with what a client has offered of a stream that is answered.
pub type OnOffer = Box<dyn FnMut(Offered) + Send>;

/// What protects the RTCP of recorders that [`Answerer`] speaks for, in all sessions.
pub const RECORDER_KEY: [u8; KEY] = [0xEE; KEY];

/// Answers on its own thread until it is dropped.
#[derive(Debug)]
pub struct Answerer {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answerer {
    /// `recording` has a port for each stream, or one for all; RTCP goes to `rtcp`.
    ///
    /// # Errors
    /// When the system has no socket left.
    pub fn start(recording: Vec<u16>, rtcp: u16, on_offer: OnOffer) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        crate::sys::make_room(&socket, 16 << 20);
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let address = socket.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let mut desk = Desk { socket, address, recording, rtcp, on_offer };
        let told = ends.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                desk.turn();
            }
        });
        Ok(Self { address, ends, thread: Some(thread) })
    }

    /// Its SIP URI.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.address)
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Desk {
    socket: UdpSocket,
    address: SocketAddr,
    recording: Vec<u16>,
    rtcp: u16,
    on_offer: OnOffer,
}

impl Desk {
    fn turn(&mut self) {
        let mut datagram = [0; 8192];
        let Ok((length, from)) = self.socket.recv_from(&mut datagram) else { return };
        let request = String::from_utf8_lossy(datagram.get(..length).unwrap_or_default()).into_owned();
        if request.starts_with("SIP/2.0") || request.starts_with("ACK") {
            return;
        }
        let body = if request.starts_with("INVITE") { self.answer(&request) } else { String::new() };
        let response = response(&request, self.address, &body);
        let _ = self.socket.send_to(response.as_bytes(), from);
    }

    /// An answer to each m-line: its first format, and the suite that all use, with a key for the recorder's reports.
    fn answer(&mut self, invite: &str) -> String {
        let call = parameter(invite, "calluuid=CALL-").and_then(|number| number.parse::<usize>().ok());
        let mut answer =
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n".to_owned();
        for (index, section) in invite.split("\r\nm=").skip(1).enumerate() {
            let mut words = section.lines().next().unwrap_or_default().split(' ');
            let (medium, _, profile, format) = (words.next(), words.next(), words.next(), words.next());
            let (Some(medium), Some(profile), Some(format)) = (medium, profile, format) else { continue };
            let stream = call.unwrap_or_default() * 2 + index;
            let direction = if section.contains("a=inactive") { "inactive" } else { "recvonly" };
            let port = self.recording.get(stream).or(self.recording.first()).copied().unwrap_or_default();
            answer +=
                &format!("m={medium} {port} {profile} {format}\r\na=rtcp:{}\r\na={direction}\r\n", self.rtcp);
            let (tag, key) = offered_key(section).unzip();
            if let Some(tag) = tag {
                answer += &format!("a=crypto:{tag} {SUITE} inline:{}\r\n", STANDARD.encode(RECORDER_KEY));
            }
            if let Some(rtcp) = rtcp_port(section) {
                (self.on_offer)(Offered { stream, rtcp, key });
            }
        }
        answer
    }
}

/// Tag and key, in Base64, of the line of our suite.
pub fn offered_key(section: &str) -> Option<(String, String)> {
    section.lines().filter_map(|line| line.strip_prefix("a=crypto:")).find_map(|line| {
        let mut words = line.split(' ');
        let tag = words.next()?;
        let is_ours = words.next()? == SUITE;
        let key = words.next()?.strip_prefix("inline:")?.split('|').next()?;
        is_ours.then(|| (tag.to_owned(), key.to_owned()))
    })
}

/// Where the side that describes a medium so listens for RTCP: what follows `m=`.
pub fn rtcp_port(section: &str) -> Option<u16> {
    let named = section.lines().find_map(|line| line.strip_prefix("a=rtcp:"));
    let named = named.and_then(|rest| rest.split(' ').next()?.trim_end().parse().ok());
    named.or_else(|| section.split(' ').nth(1)?.parse::<u16>().ok()?.checked_add(1))
}

fn parameter<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.split_once(name)?.1.split([';', ' ', '?', '>', '&']).next()
}

fn response(request: &str, us: SocketAddr, body: &str) -> String {
    let mut response = "SIP/2.0 200 OK\r\n".to_owned();
    for line in request.lines().skip(1).take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "via" | "from" | "call-id" | "cseq" => response += &format!("{line}\r\n"),
            "to" if line.contains(";tag=") => response += &format!("{line}\r\n"),
            "to" => response += &format!("{line};tag=compare\r\n"),
            _ => {}
        }
    }
    response += &format!("Contact: <sip:{us}>\r\n");
    if !body.is_empty() {
        response += "Content-Type: application/sdp\r\n";
    }
    response + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_gives_each_line_its_streams_port_and_tells_what_was_offered() {
        let (tell, offers) = std::sync::mpsc::channel();
        let mut desk = Desk {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            address: "127.0.0.1:5060".parse().unwrap(),
            recording: vec![10, 11, 12, 13],
            rtcp: 99,
            on_offer: Box::new(move |offered| tell.send(offered).unwrap()),
        };
        let invite = "INVITE sip:record=1@127.0.0.1;calluuid=CALL-1;dn=2 SIP/2.0\r\n\r\nv=0\r\na=sendonly\r\n\
                      m=audio 1 RTP/SAVP 0\r\na=crypto:1 AEAD_AES_128_GCM inline:AA\r\n\
                      a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:BB|2^20\r\nm=audio 7 RTP/SAVP 8 0\r\na=rtcp:20 IN IP4 a\r\n";
        let answer = desk.answer(invite);
        assert!(
            answer.contains("m=audio 12 RTP/SAVP 0\r\na=rtcp:99\r\na=recvonly\r\na=crypto:2 "),
            "{answer}"
        );
        assert!(answer.ends_with("m=audio 13 RTP/SAVP 8\r\na=rtcp:99\r\na=recvonly\r\n"), "{answer}");
        let expected = [
            Offered { stream: 2, rtcp: 2, key: Some("BB".to_owned()) },
            Offered { stream: 3, rtcp: 20, key: None },
        ];
        assert_eq!(offers.try_iter().collect::<Vec<_>>(), expected);
    }
}
