//! The recording engine without sockets, for `secured.rs`: encrypted packets go into taps, are decrypted, numbered and
//! encrypted anew by the media thread, and end where they would leave.
//!
//! Each branch is opened towards a recorder and then asked to move to an address that this host does not have. It loses
//! its socket with that and goes on all the same; what it cannot send it counts.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use siprec_engine::{Engine, EngineConfig, Tap, TapConfig};
use siprec_model::{
    BranchCommand, BranchEvent, BranchId, BranchLimits, DropCause, MediaControl as _, MediaSecurity, Medium,
    OpenBranch, PayloadRule, RecorderKey, RecordingKey, RtcpMode, SrtpKey, SrtpKeys,
};

use super::Call;

/// Of TEST-NET-3 (RFC 5737): no host has it.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// The media thread wakes every 10 ms while packets come: what was pushed is done well within this.
const SLICE: Duration = Duration::from_millis(19);

/// Streams of one engine, each with one branch.
pub(crate) struct Recorded {
    engine: Engine,
    events: Receiver<(BranchId, BranchEvent)>,
    streams: Vec<(Call, Tap, BranchId)>,
    pushed: u64,
}

impl Recorded {
    /// `keys` gives the call's key of a stream, and its branch's.
    pub(crate) fn new(streams: usize, keys: impl Fn(usize) -> (SrtpKey, SrtpKey)) -> Self {
        let (sink, events) = mpsc::channel();
        let engine = Engine::start(EngineConfig::default(), move |branch, event| {
            let _ = sink.send((branch, event));
        })
        .expect("an engine");
        let recording = RecordingKey::unique();
        let command = |command| engine.command(command).expect("a command that is taken");
        let streams = (0..streams)
            .map(|number| {
                let (call, own) = keys(number);
                let tap = engine.tap(TapConfig { queue_bytes: 1 << 20, ..TapConfig::default() });
                tap.set_secured(true);
                tap.add_key(call.clone().into());
                let branch = BranchId { recording, leg: 0, slot: number as u16 };
                let bind = |local| BranchCommand::Bind { branch, local, rtcp: RtcpMode::Mux };
                command(BranchCommand::Create {
                    branch,
                    stream: tap.stream(),
                    medium: Medium::Audio,
                    clock_rate: 8000,
                    cname: "party".into(),
                    limits: BranchLimits::default(),
                });
                command(bind(Ipv4Addr::LOCALHOST.into()));
                command(BranchCommand::Open(OpenBranch {
                    branch,
                    recorder: RecorderKey::from_raw(1),
                    rtp: (Ipv4Addr::LOCALHOST, 9).into(),
                    rtcp: None,
                    security: MediaSecurity::Srtp(Box::new(SrtpKeys {
                        own,
                        recorder: vec![call.clone()],
                        recorder_lifetime: None,
                        session: 1,
                    })),
                    may_expose: true,
                    payloads: vec![PayloadRule { from: 0, to: 0 }],
                    catch_up: None,
                    expects_reports: false,
                    retransmission: false,
                }));
                command(bind(NOWHERE));
                let failed = |(_, event): &_| matches!(event, BranchEvent::PortsFailed { .. });
                let deadline = Duration::from_secs(5);
                while !failed(&events.recv_timeout(deadline).expect("a branch without a socket")) {}
                (Call::new(&call), tap, branch)
            })
            .collect();
        Self { engine, events, streams, pushed: 0 }
    }

    /// What `burst` packets of each stream cost, the streaming thread's time and the media thread's, each.
    pub(crate) fn round(&mut self, burst: usize) -> Duration {
        let packets: Vec<Vec<Vec<u8>>> = self
            .streams
            .iter_mut()
            .map(|(call, ..)| (0..burst).map(|_| call.next().to_vec()).collect())
            .collect();
        let before = media_time();
        let start = Instant::now();
        for ((_, tap, _), packets) in self.streams.iter().zip(&packets) {
            for packet in packets {
                tap.push(packet, Instant::now());
            }
        }
        let tapped = start.elapsed();
        std::thread::sleep(SLICE);
        self.pushed += (self.streams.len() * burst) as u64;
        (tapped + (media_time() - before)) / (self.streams.len() * burst) as u32
    }

    /// An engine that drops packets would be a fast one.
    pub(crate) fn ensure_all_protected(self) {
        for (_, _, branch) in &self.streams {
            self.engine.command(BranchCommand::Close { branch: *branch }).expect("a command that is taken");
        }
        let (mut open, mut protected) = (self.streams.len(), 0);
        while open > 0 {
            let (_, event) = self.events.recv_timeout(Duration::from_secs(10)).expect("an end");
            if let BranchEvent::Closed(report) = event {
                protected += report.drops.of(DropCause::SendFailed);
                open -= 1;
            }
        }
        assert_eq!(protected, self.pushed, "the engine lost packets before they would leave");
    }
}

/// How long the media thread has run.
fn media_time() -> Duration {
    for task in std::fs::read_dir("/proc/self/task").expect("tasks").flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim() == "siprec-engine" {
            let times = read("schedstat");
            let run = times.split_whitespace().next().expect("times").parse().expect("a number");
            return Duration::from_nanos(run);
        }
    }
    panic!("no media thread")
}
