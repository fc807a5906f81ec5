//! SIPp as a recorder. Its scenarios are in `tests/sipp`: a line such as `@ack 2@` stands for the file of that name in
//! `parts`, with `$1` and `$2` for the words behind the name and `$*` for all of them.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use siprec_sip::{Message, Request};

use crate::call::Call;
use crate::capture::{Datagram, ensure_clean, write_pcap};
use crate::net::{free_tcp_port, free_udp_port, local, rtp_pair, wait_for_tcp, wait_for_udp};
use crate::process::{Process, wait_until};
use crate::rtp::{Collector, Packet};
use crate::sandbox::Sandbox;

/// How long anything may take that takes a moment on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A scenario as the recorder of a call, and the sockets that take its media: two for each of two addresses.
pub struct Sipp {
    process: Process,
    uri: String,
    media: Vec<Collector>,
    /// Where our RTCP goes. Nobody reads it, but left free such a port may be given to a phone, of this test or another.
    _rtcp: Vec<UdpSocket>,
}

impl Sipp {
    /// Starts a scenario of `tests/sipp`.
    ///
    /// # Errors
    /// When it does not listen within 30 s.
    pub fn start(sandbox: &Sandbox, scenario: &str) -> Result<Self> {
        Self::start_with(sandbox, scenario, &[])
    }

    /// The same with words of the scenario replaced. SIPp wants a status to stand in the scenario itself.
    ///
    /// # Errors
    /// When it does not listen within 30 s.
    pub fn start_with(sandbox: &Sandbox, scenario: &str, words: &[(&str, &str)]) -> Result<Self> {
        Self::start_by(sandbox, scenario, words, false)
    }

    /// The same as a recorder that is reached by TCP, and stays with a call whose connection ends.
    ///
    /// # Errors
    /// When it does not listen within 30 s.
    pub fn start_tcp(sandbox: &Sandbox, scenario: &str) -> Result<Self> {
        Self::start_by(sandbox, scenario, &[], true)
    }

    fn start_by(sandbox: &Sandbox, scenario: &str, words: &[(&str, &str)], tcp: bool) -> Result<Self> {
        let folder = sandbox.source().join("tests/sipp");
        let file = folder.join(format!("{scenario}.xml"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let text = words.iter().fold(text, |text, (word, instead)| text.replace(word, instead));
        let scenario = sandbox.join("scenario.xml");
        std::fs::write(&scenario, referenced(&assemble(&text, &folder.join("parts"))?))?;

        let (mut media, mut reports) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let [rtp, rtcp] = rtp_pair()?;
            media.push(Collector::on(rtp)?);
            reports.push(rtcp);
        }
        let port = if tcp { free_tcp_port()? } else { free_udp_port()? };
        let mut command: Command = sandbox.command("sipp");
        command
            .arg("-sf")
            .arg(scenario)
            .args(["-i", "127.0.0.1", "-p", &port.to_string(), "-m", "1", "-nostdin", "-timeout", "120s"])
            .args(["-trace_err", "-error_file"])
            .arg(sandbox.join("sipp-errors.log"))
            .args(["-trace_logs", "-log_file"])
            .arg(sandbox.join("sipp-progress.log"))
            .args(["-trace_msg", "-message_file"])
            .arg(sandbox.join("sipp-messages.log"));
        for (index, line) in media.iter().enumerate() {
            command.args(["-key", &format!("rtp{index}"), &line.address().port().to_string()]);
        }
        if tcp {
            command.args(["-t", "t1", "-reconnect_close", "false"]);
        }
        let process = Process::start(sandbox, "sipp", &mut command)?;
        let listens = if tcp { wait_for_tcp } else { wait_for_udp };
        listens(port, Duration::from_secs(30)).with_context(|| process.output())?;
        let transport = if tcp { ";transport=tcp" } else { "" };
        Ok(Self { process, uri: format!("sip:127.0.0.1:{port}{transport}"), media, _rtcp: reports })
    }

    /// Its SIP URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A call that it is to record, in a relay that can be led by [`Call::order`].
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn led_call(&self, sandbox: &Sandbox) -> Result<Call> {
        Call::start_led(sandbox, &self.properties())
    }

    /// The same with an agent that has these properties, each `NAME=VALUE`.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn led_call_with_agent(&self, sandbox: &Sandbox, agent: &[String]) -> Result<Call> {
        Call::start_led_with_agent(sandbox, &self.properties(), agent)
    }

    /// A call that it is to record.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn call(&self, sandbox: &Sandbox) -> Result<Call> {
        Call::start(sandbox, &self.properties())
    }

    /// The same, asked so often whether it lives, in seconds.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn call_probed(&self, sandbox: &Sandbox, seconds: u64) -> Result<Call> {
        let properties = format!("{} probe-interval={}", self.subject(), seconds * 1_000_000_000);
        Call::start(sandbox, &properties)
    }

    /// A scenario knows each message that is to come: it is asked nothing besides.
    fn properties(&self) -> String {
        format!("{} probe-interval=0", self.subject())
    }

    fn subject(&self) -> String {
        format!("recorder={} call-uuid=C1 dn=1001 other-dn=1002", self.uri)
    }

    /// Whether the scenario has said this word.
    ///
    /// # Errors
    /// When SIPp has ended before.
    pub fn has_said(&mut self, sandbox: &Sandbox, word: &str) -> Result<bool> {
        let running = self.process.is_running()?;
        let said = std::fs::read_to_string(sandbox.join("sipp-progress.log")).unwrap_or_default();
        let said = said.lines().any(|line| line == word);
        ensure!(said || running, "SIPp ended without '{word}':\n{}", self.errors(sandbox));
        Ok(said)
    }

    /// The scenario ran to its end as written, and tshark finds nothing wrong with what we sent.
    ///
    /// # Errors
    /// With SIPp's or tshark's complaint.
    pub fn finish(&mut self, sandbox: &Sandbox) -> Result<()> {
        let ended = self.process.succeed(PATIENCE);
        ended.map(drop).with_context(|| self.errors(sandbox))?;
        let messages = std::fs::read(sandbox.join("sipp-messages.log"))?;
        let pcap = sandbox.join("messages.pcap");
        write_pcap(&pcap, &received(&messages)?)?;
        ensure_clean(sandbox, &pcap)
    }

    /// Waits until the scenario has said this word, `longest` at most; gives how long that took.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_for(&mut self, sandbox: &Sandbox, word: &str, longest: Duration) -> Result<Duration> {
        let started = Instant::now();
        wait_until(&format!("the scenario says '{word}'"), longest, || {
            Ok(self.has_said(sandbox, word)?.then(|| started.elapsed()))
        })
    }

    /// The requests that it has received, in their order.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn requests(&self, sandbox: &Sandbox) -> Result<Vec<Request>> {
        let messages = received(&std::fs::read(sandbox.join("sipp-messages.log"))?)?;
        messages
            .iter()
            .map(|message| match Message::parse(&message.bytes) {
                Ok(Message::Request(request)) => Ok(request),
                other => Err(anyhow!("no request: {other:?}")),
            })
            .collect()
    }

    /// The bodies of the INVITEs that it has received, in their order.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn offers(&self, sandbox: &Sandbox) -> Result<Vec<String>> {
        let messages = received(&std::fs::read(sandbox.join("sipp-messages.log"))?)?;
        let texts = messages.iter().map(|message| String::from_utf8_lossy(&message.bytes).into_owned());
        let offers = texts.filter(|text| text.starts_with("INVITE "));
        Ok(offers.filter_map(|text| Some(text.split_once("\r\n\r\n")?.1.to_owned())).collect())
    }

    fn errors(&self, sandbox: &Sandbox) -> String {
        let log = |name: &str| std::fs::read_to_string(sandbox.join(name)).unwrap_or_default();
        let messages = log("sipp-messages.log");
        let tail = messages.len().saturating_sub(4000);
        let tail = messages.get(tail..).unwrap_or(&messages);
        format!("{}\n{tail}", log("sipp-errors.log"))
    }

    /// What arrived at each socket: those of the first address, then those of the second.
    ///
    /// # Errors
    /// When something else than RTP arrived.
    pub fn received(self) -> Result<Vec<Vec<Packet>>> {
        let parse =
            |bytes: &Vec<u8>| Packet::parse(bytes).ok_or_else(|| anyhow!("no RTP arrived: {bytes:02x?}"));
        self.media.into_iter().map(|line| line.finish()?.iter().map(parse).collect()).collect()
    }
}

/// Puts the parts of a scenario in their places.
fn assemble(text: &str, parts: &Path) -> Result<String> {
    let mut whole = String::new();
    for line in text.lines() {
        let marker = line.trim().strip_prefix('@').and_then(|line| line.strip_suffix('@'));
        let Some(marker) = marker else {
            whole.push_str(line);
            whole.push('\n');
            continue;
        };
        let (name, words) = marker.split_once(' ').unwrap_or((marker, ""));
        let file = parts.join(name);
        let mut part = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for (index, word) in words.split(' ').enumerate() {
            part = part.replace(&format!("${}", index + 1), word);
        }
        whole.push_str(&assemble(&part.replace("$*", words), parts)?);
    }
    Ok(whole)
}

/// SIPp refuses a variable that is only assigned; a check has no other use for it.
fn referenced(scenario: &str) -> String {
    let assigned = scenario.split("assign_to=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let names: std::collections::BTreeSet<_> = assigned.collect();
    let names = names.into_iter().collect::<Vec<_>>().join(",");
    if names.is_empty() {
        return scenario.to_owned();
    }
    scenario.replace("</scenario>", &format!("  <Reference variables=\"{names}\"/>\n</scenario>"))
}

/// The messages that SIPp received, by its own record of them, as datagrams between made-up ports.
fn received(log: &[u8]) -> Result<Vec<Datagram>> {
    const HEAD: &[u8] = b"P message received [";
    let mut datagrams = Vec::new();
    let mut rest = log;
    while let Some(at) = rest.windows(HEAD.len()).position(|window| window == HEAD) {
        rest = &rest[at + HEAD.len()..];
        let end = rest.iter().position(|byte| *byte == b']').context("SIPp's record is cut")?;
        let length: usize = std::str::from_utf8(&rest[..end])?.parse()?;
        let body = rest.windows(2).position(|window| window == b"\n\n").context("SIPp's record is cut")? + 2;
        let bytes = rest.get(body..body + length).context("SIPp's record is cut")?.to_vec();
        datagrams.push(Datagram { at: SystemTime::now(), from: local(5070), to: local(5060), bytes });
    }
    ensure!(!datagrams.is_empty(), "SIPp has recorded no message");
    Ok(datagrams)
}

/// Two parties who speak on while a scenario goes on, a fifth of a second at a time.
pub struct Talk {
    said: [Vec<Packet>; 2],
    until: usize,
}

impl Talk {
    /// Packets of each turn.
    const TURN: usize = 10;

    /// Both have something to say for half a minute.
    pub fn new() -> Self {
        Self { said: [crate::call::babble(0, 30), crate::call::babble(1, 30)], until: 0 }
    }

    /// Both speak, untouched by the recording.
    ///
    /// # Errors
    /// When one hears something else than the other said.
    pub fn turn(&mut self, call: &Call) -> Result<()> {
        let turn = self.until..self.until + Self::TURN;
        self.until = turn.end;
        let part = |party: &Vec<Packet>| party.get(turn.clone()).map(<[_]>::to_vec);
        let [first, second] = &self.said;
        let parts = part(first).zip(part(second)).context("the call takes too long")?;
        call.talk_untouched(&[parts.0, parts.1])
    }

    /// They speak until the scenario says a word.
    ///
    /// # Errors
    /// When it does not, or the call suffers.
    pub fn until(&mut self, sandbox: &Sandbox, call: &Call, sipp: &mut Sipp, word: &str) -> Result<()> {
        while !sipp.has_said(sandbox, word)? {
            self.turn(call)
                .with_context(|| format!("waiting for '{word}':\n{}", sipp.errors(sandbox)))
                .with_context(|| call.relay.output())?;
        }
        Ok(())
    }

    /// What each party has said.
    pub fn said(&self) -> [&[Packet]; 2] {
        [&self.said[0][..self.until], &self.said[1][..self.until]]
    }
}

impl Default for Talk {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until the relay has ended its call and the scenario its own.
///
/// # Errors
/// When either does not within its time.
pub fn end(sandbox: &Sandbox, call: &mut Call, sipp: &mut Sipp) -> Result<()> {
    call.relay.say("quit")?;
    call.relay.succeed(PATIENCE)?;
    wait_until("SIPp ends", PATIENCE, || Ok((!sipp.process.is_running()?).then_some(())))?;
    sipp.finish(sandbox)
}
