//! A recording client that knows one session by heart.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_sip::{HeaderName, Message, Response, SessionDescription};

use crate::net::{rtp_pair, udp};
use crate::recorder::Recorder;

const PATIENCE: Duration = Duration::from_secs(20);
/// One stream of PCMU.
pub const AUDIO: &str = "m=audio $PORT RTP/AVP 0\r\n";

/// A session of such a client.
pub struct Script {
    socket: UdpSocket,
    /// The recorder's `ADDRESS:PORT`.
    recorder: String,
    /// RTP and RTCP of the streams that it offers.
    pub media: [UdpSocket; 2],
    /// The status codes of the provisional responses to its INVITE.
    pub provisional: Vec<u16>,
    /// The final one.
    pub response: Response,
    /// The ports of its session description.
    pub ports: Vec<u16>,
}

impl Script {
    /// Invites a recorder to one stream, and acknowledges.
    ///
    /// # Errors
    /// When the recorder does not accept.
    pub fn begin(recorder: &Recorder, id: &str) -> Result<Self> {
        Self::begin_with(recorder.address(), id, AUDIO, "")
    }

    /// Invites who listens at an address to streams whose `$PORT` is ours, with further header lines.
    ///
    /// # Errors
    /// When nobody accepts.
    pub fn begin_with(recorder: &str, id: &str, lines: &str, headers: &str) -> Result<Self> {
        let socket = udp()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let media = rtp_pair()?;
        media[1].set_read_timeout(Some(PATIENCE))?;
        let lines = lines.replace("$PORT", &media[0].local_addr()?.port().to_string());
        let offer =
            format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{lines}");
        let uri = format!("sip:record={id}@{recorder};calluuid=U;dn=1001");
        let send = |method, to_tag: &str, branch, headers: &str, body: &str| {
            let local = socket.local_addr()?;
            let text = format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch}{port}\r\n\
                 From: <sip:c@{local}>;tag=1\r\nTo: <sip:r@{recorder}>{to_tag}\r\nCall-ID: {port}\r\n\
                 CSeq: 1 {method}\r\nContact: <sip:c@{local}>\r\nMax-Forwards: 70\r\n{headers}\
                 Content-Length: {length}\r\n\r\n{body}",
                port = local.port(),
                length = body.len(),
            );
            socket.send_to(text.as_bytes(), recorder).map_err(anyhow::Error::from)
        };
        send("INVITE", "", "a", &format!("{headers}Content-Type: application/sdp\r\n"), &offer)?;
        let mut provisional = Vec::new();
        let response = loop {
            match receive(&socket)? {
                Message::Response(response) if response.status >= 200 => break response,
                Message::Response(response) => provisional.push(response.status),
                Message::Request(request) => anyhow::bail!("{} before the answer", request.method),
            }
        };
        ensure!(response.status == 200, "{} {}", response.status, response.reason);
        let tag = response.headers.to()?.tag().context("no tag")?.to_owned();
        send("ACK", &format!(";tag={tag}"), "b", "", "")?;
        let answer = SessionDescription::parse(&response.body)?;
        let ports = answer.medias().map(|media| media.port()).collect();
        Ok(Self { socket, recorder: recorder.to_owned(), media, provisional, response, ports })
    }

    /// A header of the answer.
    pub fn header(&self, name: &HeaderName) -> Option<String> {
        self.response.headers.get(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// Sends PCMU packets of 20 ms with these sequence numbers on the first stream.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn speak(&self, numbers: std::ops::Range<u16>) -> Result<()> {
        let port = self.ports.first().context("no m-line")?;
        for number in numbers {
            let mut packet = vec![0x80, 0];
            packet.extend(number.to_be_bytes());
            packet.extend((u32::from(number) * 160).to_be_bytes());
            packet.extend(7u32.to_be_bytes());
            packet.extend([0x55; 160]);
            self.media[0].send_to(&packet, ("127.0.0.1", *port))?;
            if number % 10 == 9 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Waits for the recorder's BYE and answers it.
    ///
    /// # Errors
    /// When another request comes, or none.
    pub fn expect_bye(&self) -> Result<()> {
        loop {
            if let Message::Request(request) = receive(&self.socket)?
                && request.method.as_str() != "ACK"
            {
                ensure!(request.method.as_str() == "BYE", "{}", request.method);
                let mut response = Response::to_request(&request, 200);
                response.headers.copy_from(&request.headers, &HeaderName::RecordRoute);
                self.socket.send_to(&response.to_bytes(), &self.recorder)?;
                return Ok(());
            }
        }
    }

    /// Waits for the recorder's next offer, and refuses it by 488.
    ///
    /// # Errors
    /// When none comes, or one without a session description.
    pub fn refuse_offer(&self) -> Result<SessionDescription> {
        loop {
            if let Message::Request(request) = receive(&self.socket)?
                && request.method.as_str() == "INVITE"
            {
                let response = Response::to_request(&request, 488);
                self.socket.send_to(&response.to_bytes(), &self.recorder)?;
                return Ok(SessionDescription::parse(&request.body)?);
            }
        }
    }

    /// Has the recorder stop, which says goodbye.
    ///
    /// # Errors
    /// When it does not.
    pub fn end(&self, recorder: &mut Recorder) -> Result<String> {
        recorder.process().signal("TERM")?;
        self.expect_bye()?;
        recorder.process().succeed(PATIENCE)
    }
}

fn receive(socket: &UdpSocket) -> Result<Message> {
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).context("no SIP message")?;
    Ok(Message::parse(buffer.get(..length).unwrap_or_default())?)
}
