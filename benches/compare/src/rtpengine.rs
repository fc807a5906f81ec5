//! rtpengine by its control protocol: calls of two SRTP or RTP phones, and subscriptions to both.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::answerer::{offered_key, rtcp_port};
use crate::bencode::Value;
use crate::pipelines::Targets;
use crate::traffic::{self, KEY, Mode, Path, SUITE};

const PATIENCE: Duration = Duration::from_secs(10);

/// The other end of its control protocol.
#[derive(Debug)]
pub struct Control {
    socket: UdpSocket,
    cookies: u64,
}

/// What came of setting a call up.
#[derive(Debug, Default)]
pub struct Setup {
    /// Where each stream is sent to.
    pub input: Vec<u16>,
    /// Path, stream and key, in Base64, of what comes out.
    pub keys: Vec<(Path, usize, String)>,
    /// Streams that are recorded, and the ports for what their recorders report. They protect it by the stream's key on the call's
    /// path.
    pub reports: Vec<(usize, u16)>,
}

impl Control {
    /// Waits until rtpengine answers on a port of this host.
    ///
    /// # Errors
    /// When it does not within 10 s.
    pub fn connect(port: u16) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut control = Self { socket, cookies: 0 };
        let deadline = Instant::now() + PATIENCE;
        while control.ask("ping", &[]).is_err() {
            if Instant::now() > deadline {
                bail!("rtpengine does not answer");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        control.socket.set_read_timeout(Some(PATIENCE))?;
        Ok(control)
    }

    /// Sets up all calls, and with `subscribes` a recorder of each stream.
    ///
    /// # Errors
    /// When rtpengine refuses.
    pub fn set_up(
        &mut self,
        mode: Mode,
        streams: usize,
        targets: &Targets,
        subscribes: bool,
    ) -> Result<Setup> {
        let mut setup = Setup::default();
        for call in 0..streams.div_ceil(2) {
            let (a, b) = (2 * call, 2 * call + 1);
            let name = format!("compare-{call}");
            let port = |stream: usize| targets.call.get(stream).copied().unwrap_or(9);
            // A hears what B says.
            let offer = phone(port(b), mode.secures_call().then(|| ("1".to_owned(), a)));
            let to_b = self.describe("offer", &[("call-id", &name), ("from-tag", "a"), ("sdp", &offer)])?;
            let out = offered_key(&to_b.sdp);
            let tag = out.as_ref().map_or("1", |(tag, _)| tag).to_owned();
            let answer = phone(port(a), mode.secures_call().then_some((tag, b)));
            let arguments = [("call-id", &*name), ("from-tag", "a"), ("to-tag", "b"), ("sdp", &answer)];
            let to_a = self.describe("answer", &arguments)?;
            setup.input.extend([to_a.port, to_b.port]);
            for (stream, key) in [(a, out), (b, offered_key(&to_a.sdp))] {
                setup.keys.extend(key.map(|(_, key)| (Path::Call, stream, key)));
            }
            if subscribes {
                for (stream, tag) in [(a, "a"), (b, "b")] {
                    let (key, rtcp) = self.subscribe(mode, &name, stream, tag, targets)?;
                    setup.keys.extend(key.map(|key| (Path::Recording, stream, key)));
                    setup.reports.push((stream, rtcp));
                }
            }
        }
        setup.input.truncate(streams);
        Ok(setup)
    }

    fn subscribe(
        &mut self,
        mode: Mode,
        call: &str,
        stream: usize,
        tag: &str,
        targets: &Targets,
    ) -> Result<(Option<String>, u16)> {
        let profile = if mode.secures_recording() { "RTP/SAVP" } else { "RTP/AVP" };
        let arguments = [("call-id", call), ("from-tag", tag), ("transport-protocol", profile)];
        let offer = self.describe("subscribe request", &arguments)?;
        let key = offered_key(&offer.sdp);
        let port = targets.recording.get(stream).or(targets.recording.first()).copied().unwrap_or(9);
        let crypto = key.as_ref().map(|(tag, _)| (tag.clone(), stream));
        let answer = phone(port, crypto).replace("a=sendrecv", "a=recvonly");
        self.ask("subscribe answer", &[("call-id", call), ("to-tag", &offer.to_tag), ("sdp", &answer)])?;
        let media = offer.sdp.split_once("m=").map_or("", |(_, media)| media);
        Ok((key.map(|(_, key)| key), rtcp_port(media).context("no port for reports")?))
    }

    fn describe(&mut self, command: &str, arguments: &[(&str, &str)]) -> Result<Description> {
        let answer = self.ask(command, arguments)?;
        let sdp = answer.text("sdp").context("no description")?.to_owned();
        let port = sdp
            .lines()
            .find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok())
            .with_context(|| format!("no port in {sdp}"))?;
        Ok(Description { sdp, port, to_tag: answer.text("to-tag").unwrap_or_default().to_owned() })
    }

    fn ask(&mut self, command: &str, arguments: &[(&str, &str)]) -> Result<Value> {
        self.cookies += 1;
        let cookie = format!("{} ", self.cookies);
        let mut fields: BTreeMap<String, Value> =
            arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        fields.insert("command".into(), command.into());
        if matches!(command, "offer" | "answer") {
            // Where the phones say that they are, not where their packets come from.
            fields.insert("flags".into(), Value::List(vec!["asymmetric".into()]));
            fields.insert("ICE".into(), "remove".into());
        }
        let mut request = cookie.clone().into_bytes();
        request.extend(Value::Map(fields).encode());
        self.socket.send(&request)?;
        let mut bytes = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut bytes)?;
            let Some(answer) = bytes.get(..length).and_then(|answer| answer.strip_prefix(cookie.as_bytes()))
            else {
                continue;
            };
            let (answer, _) = Value::decode(answer).context("what rtpengine says is no Bencode")?;
            return match answer.text("result") {
                Some("ok" | "pong") => Ok(answer),
                _ => Err(anyhow!("rtpengine refuses {command}: {:?}", answer.text("error-reason"))),
            };
        }
    }
}

struct Description {
    sdp: String,
    port: u16,
    to_tag: String,
}

/// The description of somebody who listens on this port. With a tag and a stream, it sends that stream as SRTP.
fn phone(port: u16, crypto: Option<(String, usize)>) -> String {
    let profile = if crypto.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} {profile} 0\r\n\
         a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    );
    if let Some((tag, stream)) = crypto {
        let key: [u8; KEY] = traffic::master(Path::Call, stream);
        sdp += &format!("a=crypto:{tag} {SUITE} inline:{}\r\n", STANDARD.encode(key));
    }
    sdp
}
