//! A recorder made of foreign parsers: `rsip` reads our SIP, `sdp-rs` our SDP. It keeps every datagram that it saw.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, ensure};
use rsip::headers::UntypedHeader;
use rsip::message::HeadersExt;
use rsip::{Method, Request};
use sdp_rs::SessionDescription;

use crate::capture::Datagram;
use crate::net::{receive_until, rtp_pair, udp};

/// A running recorder.
pub struct ForeignRecorder {
    address: SocketAddr,
    finishing: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Seen>>>,
}

/// What a recorder saw.
#[derive(Default)]
pub struct Seen {
    /// All traffic, SIP both ways.
    pub datagrams: Vec<Datagram>,
    /// The requests, in order.
    pub requests: Vec<Request>,
    /// RTP and RTCP that arrived at each m-line's pair of ports.
    pub media: Vec<Vec<Datagram>>,
}

impl ForeignRecorder {
    /// Listens on an ephemeral port, with ports for two m-lines.
    ///
    /// # Errors
    /// When the system has no socket left.
    pub fn start() -> Result<Self> {
        let socket = udp()?;
        let address = socket.local_addr()?;
        let finishing = Arc::new(AtomicBool::new(false));
        let pairs = [rtp_pair()?, rtp_pair()?];
        let ports = pairs.iter().map(|pair| Ok(pair[0].local_addr()?.port())).collect::<Result<Vec<_>>>()?;
        let mut threads = vec![{
            let finishing = Arc::clone(&finishing);
            std::thread::spawn(move || signalling(&socket, &ports, &finishing))
        }];
        for socket in pairs.into_iter().flatten() {
            let finishing = Arc::clone(&finishing);
            threads.push(std::thread::spawn(move || media(&socket, &finishing)));
        }
        Ok(Self { address, finishing, threads })
    }

    /// Its SIP URI.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.address)
    }

    /// Stops listening.
    ///
    /// # Errors
    /// When something arrived that a foreign parser refuses.
    pub fn finish(self) -> Result<Seen> {
        self.finishing.store(true, Ordering::Relaxed);
        let mut all = Seen { media: vec![Vec::new(), Vec::new()], ..Seen::default() };
        for (index, thread) in self.threads.into_iter().enumerate() {
            let seen = thread.join().map_err(|_| anyhow!("a thread of the recorder panicked"))??;
            if let Some(socket) = index.checked_sub(1) {
                all.media[socket / 2].extend(seen.datagrams.iter().cloned());
            }
            all.datagrams.extend(seen.datagrams);
            all.requests.extend(seen.requests);
        }
        Ok(all)
    }
}

fn receive(
    socket: &UdpSocket,
    finishing: &AtomicBool,
    mut take: impl FnMut(Datagram) -> Result<()>,
) -> Result<()> {
    let to = socket.local_addr()?;
    receive_until(socket, finishing, |bytes, from| {
        take(Datagram { at: SystemTime::now(), from, to, bytes: bytes.to_vec() })
    })
}

fn media(socket: &UdpSocket, finishing: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    receive(socket, finishing, |datagram| {
        seen.datagrams.push(datagram);
        Ok(())
    })?;
    Ok(seen)
}

fn signalling(socket: &UdpSocket, ports: &[u16], finishing: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    receive(socket, finishing, |datagram| {
        let text = String::from_utf8_lossy(&datagram.bytes).into_owned();
        let request =
            Request::try_from(datagram.bytes.as_slice()).with_context(|| format!("rsip refuses:\n{text}"))?;
        let answer = answer(&request, datagram.to, ports)?;
        let (peer, own) = (datagram.from, datagram.to);
        seen.datagrams.push(datagram);
        if let Some(bytes) = answer {
            socket.send_to(&bytes, peer)?;
            seen.datagrams.push(Datagram { at: SystemTime::now(), from: own, to: peer, bytes });
        }
        seen.requests.push(request);
        Ok(())
    })?;
    Ok(seen)
}

fn answer(request: &Request, own: SocketAddr, ports: &[u16]) -> Result<Option<Vec<u8>>> {
    if request.method == Method::Ack {
        return Ok(None);
    }
    let body =
        if request.method == Method::Invite { session_answer(&request.body, ports)? } else { String::new() };
    let via = request.via_header()?;
    let mut to = request.to_header()?.value().to_owned();
    if !to.contains(";tag=") {
        to.push_str(";tag=foreign");
    }
    let mut lines = vec![
        "SIP/2.0 200 OK".to_owned(),
        format!("Via: {}", via.value()),
        format!("From: {}", request.from_header()?.value()),
        format!("To: {to}"),
        format!("Call-ID: {}", request.call_id_header()?.value()),
        format!("CSeq: {}", request.cseq_header()?.value()),
        format!("Contact: <sip:recorder@{own}>"),
    ];
    if !body.is_empty() {
        lines.push("Content-Type: application/sdp".to_owned());
    }
    lines.push(format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    Ok(Some(lines.join("\r\n").into_bytes()))
}

/// An answer that takes the first format of every m-line.
fn session_answer(offer: &[u8], ports: &[u16]) -> Result<String> {
    let text = std::str::from_utf8(offer)?;
    let offer =
        SessionDescription::try_from(text).map_err(|error| anyhow!("sdp-rs refuses {text}: {error:?}"))?;
    ensure!(offer.media_descriptions.len() <= ports.len(), "{} m-lines", offer.media_descriptions.len());
    let mut answer =
        String::from("v=0\r\no=recorder 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n");
    for (media, port) in offer.media_descriptions.iter().zip(ports) {
        let format = media.media.fmt.split_whitespace().next().context("an m-line without format")?;
        answer.push_str(&format!("m={} {port} {} {format}\r\n", media.media.media, media.media.proto));
        for attribute in &media.attributes {
            if let sdp_rs::lines::Attribute::Rtpmap(map) = attribute
                && map.payload_type.to_string() == format
            {
                answer.push_str(&format!("{attribute}\r\n"));
            }
        }
        answer.push_str("a=recvonly\r\n");
    }
    Ok(answer)
}
