//! A two-party call through a real `gst-launch-1.0` relay with `siprec` in it. The phones are sockets of the test, so
//! that every packet of the call can be accounted for.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::net::{free_udp_port, local, udp, wait_for_udp};
use crate::process::{Process, wait_until};
use crate::rtp::{self, Collector, Packet};
use crate::sandbox::Sandbox;

/// Caps of the call's streams.
pub const PCMU: &str = "application/x-rtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0";

/// The relay and the two phones.
pub struct Call {
    /// `gst-launch-1.0`; it prints every message of the bus.
    pub relay: Process,
    pub(crate) phones: [UdpSocket; 2],
    pub(crate) ports: [u16; 2],
}

/// Input and output of a relay.
enum Ends {
    Stock,
    Ours,
}

impl Call {
    /// Starts a relay whose `siprec` has these properties.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn start(sandbox: &Sandbox, siprec: &str) -> Result<Self> {
        Self::start_with(sandbox, &format!("siprec name=rec {siprec}"), "rec.", Ends::Stock, None, &[])
    }

    /// The same in an environment with these variables.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn start_among(sandbox: &Sandbox, siprec: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let element = format!("siprec name=rec {siprec}");
        Self::start_with(sandbox, &element, "rec.", Ends::Stock, None, variables)
    }

    /// The same with `siprecudpsrc` and `siprecudpsink` as input and output.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn start_between_ours(sandbox: &Sandbox, siprec: &str) -> Result<Self> {
        Self::start_with(sandbox, &format!("siprec name=rec {siprec}"), "rec.", Ends::Ours, None, &[])
    }

    /// The same with a relay that does what it is told by [`Call::order`].
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn start_led(sandbox: &Sandbox, siprec: &str) -> Result<Self> {
        Self::start_led_with_agent(sandbox, siprec, &[])
    }

    /// The same with an agent that has these properties, each `NAME=VALUE`.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn start_led_with_agent(sandbox: &Sandbox, siprec: &str, agent: &[String]) -> Result<Self> {
        Self::start_led_among(sandbox, siprec, agent, &[])
    }

    /// The same in an environment with these variables.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn start_led_among(
        sandbox: &Sandbox,
        siprec: &str,
        agent: &[String],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_with(
            sandbox,
            &format!("siprec name=rec {siprec}"),
            "rec.",
            Ends::Stock,
            Some(agent),
            variables,
        )
    }

    /// Starts a relay without anything between input and output.
    ///
    /// # Errors
    /// When the relay does not listen within 30 s.
    pub fn start_bare(sandbox: &Sandbox) -> Result<Self> {
        Self::start_with(sandbox, "", "", Ends::Stock, None, &[])
    }

    fn start_with(
        sandbox: &Sandbox,
        element: &str,
        pads: &str,
        ends: Ends,
        led: Option<&[String]>,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let phones = [udp()?, udp()?];
        let ports = [free_udp_port()?, free_udp_port()?];
        let mut pipeline = element.to_owned();
        for index in 0..2 {
            let to = phones
                .get(1 - index)
                .map(UdpSocket::local_addr)
                .transpose()?
                .map_or(0, |address| address.port());
            let from = ports.get(index).copied().unwrap_or(0);
            let middle = if pads.is_empty() {
                "!".to_owned()
            } else {
                format!("! {pads}sink_{index} {pads}src_{index} !")
            };
            let (source, sink, settings) = match ends {
                Ends::Stock => ("udpsrc", "udpsink", "sync=false async=false"),
                Ends::Ours => ("siprecudpsrc", "siprecudpsink", ""),
            };
            pipeline.push_str(&format!(
                " {source} address=127.0.0.1 port={from} caps={PCMU} {middle} {sink} host=127.0.0.1 port={to} {settings}"
            ));
        }
        let relay = if let Some(agent) = led {
            // Debian's interpreter has the introspection bindings; another one first in PATH may not.
            let mut command = sandbox.command("/usr/bin/python3");
            command.arg(sandbox.source().join("tests/support/relay.py")).arg(&pipeline).args(agent);
            command.envs(variables.iter().copied());
            Process::start_led(sandbox, "relay", &mut command)?
        } else {
            let mut command = sandbox.gst_launch(&pipeline);
            Process::start(sandbox, "relay", command.envs(variables.iter().copied()))?
        };
        for port in ports {
            wait_for_udp(port, Duration::from_secs(30))
                .with_context(|| format!("relay:\n{}", relay.output()))?;
        }
        Ok(Self { relay, phones, ports })
    }

    /// Both parties send these packets at the same time, in real time. Gives what each phone heard, once that is all, or 10 s after
    /// the last word.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn talk(&self, said: &[Vec<Packet>; 2]) -> Result<[Vec<Vec<u8>>; 2]> {
        let ears = [Collector::on(self.phones[0].try_clone()?)?, Collector::on(self.phones[1].try_clone()?)?];
        std::thread::scope(|scope| {
            let speakers: Vec<_> = (0..2)
                .map(|party| {
                    let (phone, to, packets) = (&self.phones[party], local(self.ports[party]), &said[party]);
                    scope.spawn(move || rtp::play(phone, to, packets))
                })
                .collect();
            speakers
                .into_iter()
                .try_for_each(|speaker| speaker.join().map_err(|_| anyhow!("a speaker panicked"))?)
        })?;
        let end = Instant::now() + Duration::from_secs(10);
        ears.iter().zip(said.iter().rev()).for_each(|(ear, said)| ear.wait_for(said.len(), end));
        let [first, second] = ears;
        Ok([first.finish()?, second.finish()?])
    }

    /// As [`Call::talk`], and insists that each phone heard exactly what the other one sent.
    ///
    /// # Errors
    /// When a socket fails, or with what differs.
    pub fn talk_untouched(&self, said: &[Vec<Packet>; 2]) -> Result<()> {
        let heard = self.talk(said)?;
        ensure_untouched(&said[0], &heard[1])?;
        ensure_untouched(&said[1], &heard[0])
    }

    /// Has a relay that is led do something (see `relay.py`), and waits until that is done.
    ///
    /// # Errors
    /// When it is not done within 20 s.
    pub fn order(&mut self, line: &str) -> Result<()> {
        let answers = |output: &str| {
            output.lines().filter(|line| line.starts_with("done:") || line.starts_with("answer:")).count()
        };
        let before = answers(&self.relay.output());
        self.relay.say(line)?;
        wait_until(&format!("the relay does '{line}'"), Duration::from_secs(20), || {
            Ok((answers(&self.relay.output()) > before).then_some(()))
        })
        .with_context(|| self.relay.output())
    }

    /// Ends the call as a user does, with SIGINT, and insists that the relay ends well within 5 s.
    ///
    /// # Errors
    /// When it does not.
    pub fn hang_up(&mut self) -> Result<String> {
        self.relay.signal("INT")?;
        self.relay.succeed(Duration::from_secs(5))
    }
}

/// Insists that a phone heard exactly what the other one sent, in order.
///
/// # Errors
/// Says what differs.
pub fn ensure_untouched(sent: &[Packet], heard: &[Vec<u8>]) -> Result<()> {
    let sent: Vec<_> = sent.iter().map(Packet::to_bytes).collect();
    let counts = format!("{} packets sent, {} heard", sent.len(), heard.len());
    for (index, (sent, heard)) in sent.iter().zip(heard).enumerate() {
        ensure!(sent == heard, "{counts}; packet {index} is another: {heard:02x?} instead of {sent:02x?}");
    }
    ensure!(heard.len() == sent.len(), "{counts}; too many: {:02x?}", heard.get(sent.len()..));
    Ok(())
}

/// `seconds` of G.711 in which every packet differs from every other of both parties.
pub fn babble(party: u8, seconds: usize) -> Vec<Packet> {
    let mut state = u32::from(party) + 1;
    let samples: Vec<u8> = (0..seconds * 8000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    rtp::packetize(&samples, 0, 0x1000_0000 + u32::from(party), 65_500, 4_294_960_000)
}
