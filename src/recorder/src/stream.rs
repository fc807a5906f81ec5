//! One m-line of a session: what flows on it, and what came.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use siprec_model::Medium;

use crate::answer::TakenLine;
use crate::clock;
use crate::files::report::{
    AddressReport, InactiveReport, PayloadTypeReport, SourceReport, SrtpReport, StreamReport,
};
use crate::files::track::describe;
use crate::media::receive::{Account, Manner, Ports, Receiver};
use crate::media::srtp::SrtpError;

/// The streams of one medium on one m-line.
pub(crate) struct Stream {
    receiver: Option<Receiver>,
    mux: bool,
    /// Ports of a move that is not agreed yet.
    next: Option<Ports>,
    /// Where the client sends from.
    source: Option<SocketAddr>,
    /// The recorder has moved, and no new key has come since.
    moved: bool,
    /// None before anything was agreed.
    flow: Option<Flow>,
    inactive: Vec<Interval>,
    report: StreamReport,
}

/// Why a stream cannot be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// No ports are free.
    #[error(transparent)]
    Ports(#[from] std::io::Error),
    /// Secured media cannot be taken.
    #[error(transparent)]
    Srtp(#[from] SrtpError),
}

/// Whether media should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Active,
    Inactive,
    /// The m-line has port 0.
    Off,
}

/// A time in which nothing should come.
struct Interval {
    from: SystemTime,
    until: Option<SystemTime>,
    off: bool,
}

impl Stream {
    /// A stream on this m-line that has not begun.
    pub(crate) fn new(line: usize) -> Self {
        let report = StreamReport { index: line, ..StreamReport::default() };
        Self {
            receiver: None,
            mux: false,
            next: None,
            source: None,
            moved: false,
            flow: None,
            inactive: Vec::new(),
            report,
        }
    }

    /// Its m-line.
    pub(crate) fn line(&self) -> usize {
        self.report.index
    }

    /// Whether media of this kind can be on it.
    pub(crate) fn fits(&self, medium: Medium) -> bool {
        self.report.medium.is_empty() || self.report.medium == medium.as_str()
    }

    /// Its sockets, once it has begun.
    pub(crate) fn receiver(&self) -> Option<&Receiver> {
        self.receiver.as_ref()
    }

    /// The port to be offered.
    pub(crate) fn port(&self) -> Option<u16> {
        let next = self.next.as_ref().map(Ports::local);
        Some(next.or_else(|| Some(self.receiver.as_ref()?.local()))?.port())
    }

    /// Receives what the line says.
    ///
    /// # Errors
    /// When no ports are free, or secured media cannot be taken.
    pub(crate) fn take(
        &mut self,
        line: &TakenLine,
        address: IpAddr,
        manner: &Manner,
    ) -> Result<SocketAddr, TakeError> {
        let receiver = match self.receiver.take() {
            Some(receiver) => receiver,
            None => Receiver::start(Ports::bind(address, line.mux)?, manner.clone())?,
        };
        receiver.ask_for_missing(line.nack);
        receiver
            .describe(line.formats.iter().map(|format| (format.payload_type, format.clock_rate)), line.rtcp);
        let local = receiver.local();
        self.receiver = Some(receiver);
        self.secure(line)?;
        self.mux = line.mux;
        self.report.medium = line.medium.to_string();
        self.report.label.clone_from(&line.label);
        self.report.local = Some(local.to_string());
        for format in line.formats.iter().map(describe) {
            if !self.report.formats.contains(&format) {
                self.report.formats.push(format);
            }
        }
        Ok(local)
    }

    /// Takes packets under the keys of the line from now on.
    ///
    /// # Errors
    /// When secured media cannot be taken.
    pub(crate) fn secure(&mut self, line: &TakenLine) -> Result<(), SrtpError> {
        let Some(receiver) = &self.receiver else { return Ok(()) };
        let has_moved = matches!((self.source, line.source), (Some(old), Some(new)) if old != new);
        let is_new = receiver.secure(line.keys.as_deref(), self.moved || has_moved)?;
        self.moved &= !is_new;
        self.source = line.source.or(self.source);
        Ok(())
    }

    /// Takes note of what should flow from `now` on.
    pub(crate) fn set_flow(&mut self, flow: Flow, now: SystemTime) {
        if let Some(receiver) = &self.receiver {
            receiver.set_active(flow == Flow::Active);
        }
        if self.flow.replace(flow) == Some(flow) {
            return;
        }
        if let Some(open) = self.inactive.last_mut().filter(|interval| interval.until.is_none()) {
            open.until = Some(now);
        }
        if flow != Flow::Active {
            self.inactive.push(Interval { from: now, until: None, off: flow == Flow::Off });
        }
    }

    /// Takes other ports, to be offered.
    ///
    /// # Errors
    /// When none are free.
    pub(crate) fn prepare_move(&mut self, address: IpAddr) -> std::io::Result<()> {
        if self.receiver.is_some() {
            self.next = Some(Ports::bind(address, self.mux)?);
        }
        Ok(())
    }

    /// Receives at the ports that were offered.
    ///
    /// # Errors
    /// When the runtime cannot take the sockets.
    pub(crate) fn complete_move(&mut self) -> std::io::Result<()> {
        if let (Some(receiver), Some(ports)) = (&mut self.receiver, self.next.take()) {
            receiver.move_to(ports)?;
            self.moved = true;
            self.report.local = Some(receiver.local().to_string());
        }
        Ok(())
    }

    /// Stays at the ports in use.
    pub(crate) fn abandon_move(&mut self) {
        self.next = None;
    }

    /// When nothing should come, though the m-line was there: from and until, in ns since 1970.
    pub(crate) fn pauses(&self) -> Vec<(i64, i64)> {
        let pauses = self.inactive.iter().filter(|interval| !interval.off);
        pauses
            .map(|pause| (clock::nanoseconds(pause.from), pause.until.map_or(i64::MAX, clock::nanoseconds)))
            .collect()
    }

    /// Stops receiving.
    pub(crate) async fn stop(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            receiver.stop().await;
            receiver.hold(false);
        }
    }

    /// What is known of it; its times count from `opened`.
    pub(crate) fn describe(&self, opened: SystemTime) -> StreamReport {
        let account = self.receiver.as_ref().map(Receiver::account).unwrap_or_default();
        let Account {
            sources,
            malformed,
            overrun,
            first,
            last,
            unwanted,
            payload_types,
            addresses,
            srtp,
            repaired,
        } = account;
        let sum = |count: fn(&crate::media::reception::Source) -> u64| sources.iter().map(count).sum();
        let now = SystemTime::now();
        let interval = |interval: &Interval| InactiveReport {
            at: clock::rfc3339(interval.from),
            start: since(opened, interval.from),
            duration: since(interval.from, interval.until.unwrap_or(now)),
            off: interval.off,
        };
        StreamReport {
            packets: sum(|source| source.packets),
            bytes: sum(|source| source.bytes),
            lost: sum(|source| source.lost()),
            duplicates: sum(|source| source.duplicates),
            reordered: sum(|source| source.reordered),
            repaired,
            sender_reports: sum(|source| source.reports),
            first_packet: first.map(clock::rfc3339),
            last_packet: last.map(clock::rfc3339),
            malformed,
            overrun,
            unwanted,
            srtp: srtp.map(|srtp| SrtpReport {
                suite: srtp.suite.map(|suite| suite.to_string()).unwrap_or_default(),
                keys: srtp.keys,
                packets: srtp.packets,
                not_authentic: srtp.not_authentic,
                replayed: srtp.replayed,
            }),
            inactive: self.inactive.iter().map(interval).collect(),
            payload_types: payload_types
                .into_iter()
                .map(|(payload_type, packets)| PayloadTypeReport { payload_type, packets })
                .collect(),
            addresses: addresses
                .into_iter()
                .map(|(local, packets)| AddressReport { local: local.to_string(), packets })
                .collect(),
            sources: sources
                .iter()
                .map(|source| SourceReport {
                    ssrc: format!("{:08x}", source.ssrc),
                    cname: source.cname.clone(),
                    packets: source.packets,
                    left: source.left,
                })
                .collect(),
            ..self.report.clone()
        }
    }
}

/// Seconds from one time to a later one, below 0 when it is earlier.
fn since(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(elapsed) => clock::seconds(elapsed.as_micros() as i64, 1_000_000),
        Err(earlier) => -clock::seconds(earlier.duration().as_micros() as i64, 1_000_000),
    }
}
