//! The handle on the media thread.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use siprec_media::dtls::Identity;
use siprec_model::{BranchCommand, BranchEvent, BranchId, Fingerprint, MediaControl, MediaControlError};

use crate::config::{EngineConfig, EngineError};
use crate::shared::Shared;
use crate::sys::Waker;
use crate::tap::{Tap, TapConfig};
use crate::worker::Worker;

/// Longest time that dropping an engine takes.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The one thread that does all recordings' media work.
///
/// Streams come in by [`Engine::tap`], orders by [`MediaControl::command`], and what happens goes to the sink.
/// Dropping the engine closes every branch (RTCP BYE, [`BranchEvent::Closed`]) and ends the thread; taps that
/// outlive it take packets until their queue is full.
pub struct Engine {
    shared: Arc<Shared>,
    thread: ThreadId,
    identity: Arc<Identity>,
}

impl Engine {
    /// Starts the thread. `sink` is called on it with every event, the events of one branch in order; it must
    /// return fast and never wait.
    ///
    /// # Errors
    /// [`EngineError`] when the configuration contradicts itself or the system gives no thread or descriptor.
    pub fn start(
        config: EngineConfig,
        sink: impl Fn(BranchId, BranchEvent) + Send + 'static,
    ) -> Result<Self, EngineError> {
        config.check()?;
        let seed = getrandom::u64().map_err(|error| EngineError::Start(error.into()))?;
        let identity = Identity::generate().map_err(|error| EngineError::Start(io::Error::other(error)))?;
        let identity = Arc::new(identity.with_limit(config.handshake_limit));
        let shared = Arc::new(Shared::new(config.command_queue, Waker::new().map_err(EngineError::Start)?));
        let worker = Worker::new(config, identity.clone(), shared.clone(), seed, Box::new(sink))
            .map_err(EngineError::Start)?;
        let guard = shared.end_guard();
        let handle = thread::Builder::new()
            .name("siprec-engine".into())
            .spawn(move || {
                let _guard = guard;
                worker.run();
            })
            .map_err(EngineError::Start)?;
        Ok(Self { shared, thread: handle.thread().id(), identity })
    }

    /// Of the certificate that all handshakes of DTLS of this engine show: for session descriptions. It was made for this
    /// engine, and goes with it.
    pub fn fingerprint(&self) -> &Fingerprint {
        self.identity.fingerprint()
    }

    /// Taps one more stream. What is pushed before the first branch is created for the stream waits in the tap's
    /// queue, as far as that goes; begin with a closed [`Gate`](crate::Gate) where it should not.
    pub fn tap(&self, config: TapConfig) -> Tap {
        let (tap, state) = Tap::new(config, self.shared.clone());
        self.shared.add_tap(state);
        tap
    }
}

impl MediaControl for Engine {
    fn command(&self, command: BranchCommand) -> Result<(), MediaControlError> {
        if self.shared.has_ended() || self.shared.is_asked_to_stop() {
            return Err(MediaControlError::Stopped);
        }
        self.shared.commands.push(command).map_err(|_| MediaControlError::Full)?;
        self.shared.wake();
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("waiting", &self.shared.commands.len()).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.ask_to_stop();
        // The last handle may be dropped by the sink, on the thread itself, which then ends by itself.
        if thread::current().id() != self.thread {
            self.shared.wait_end(STOP_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};
    use std::sync::mpsc;
    use std::time::Instant;

    use siprec_model::{
        BranchLimits, MediaSecurity, Medium, OpenBranch, PayloadRule, RecorderKey, RecordingKey, RtcpMode,
    };

    use super::*;
    use crate::fault;

    const DEADLINE: Duration = Duration::from_secs(20);
    const SIZE: usize = 16;

    fn packet(sequence: u8) -> [u8; SIZE] {
        [0x80, 0, 0, sequence, 0, 0, 0, 160, 1, 2, 3, 4, 0xD5, 0xD5, 0xD5, 0xD5]
    }

    struct Rig {
        engine: Engine,
        events: mpsc::Receiver<(BranchId, BranchEvent)>,
        recording: RecordingKey,
    }

    impl Rig {
        fn new() -> Self {
            let (sink, events) = mpsc::channel();
            let engine = Engine::start(EngineConfig::default(), move |branch, event| {
                let _ = sink.send((branch, event));
            });
            Self { engine: engine.unwrap(), events, recording: RecordingKey::unique() }
        }

        fn open(&self, tap: &Tap, slot: u16) -> (BranchId, UdpSocket) {
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let recorder = UdpSocket::bind((local, 0)).unwrap();
            recorder.set_read_timeout(Some(DEADLINE)).unwrap();
            let branch = BranchId { recording: self.recording, leg: 0, slot };
            let commands = [
                BranchCommand::Create {
                    branch,
                    stream: tap.stream(),
                    medium: Medium::Audio,
                    clock_rate: 8000,
                    cname: "party".into(),
                    limits: BranchLimits::default(),
                },
                BranchCommand::Bind { branch, local, rtcp: RtcpMode::Pair },
                BranchCommand::Open(OpenBranch {
                    branch,
                    recorder: RecorderKey::from_raw(1),
                    rtp: recorder.local_addr().unwrap(),
                    rtcp: None,
                    security: MediaSecurity::Plain,
                    may_expose: false,
                    payloads: vec![PayloadRule { from: 0, to: 8 }],
                    catch_up: None,
                    expects_reports: false,
                    retransmission: false,
                }),
            ];
            for command in commands {
                self.engine.command(command).unwrap();
            }
            (branch, recorder)
        }

        fn expect(&self, branch: BranchId, wanted: impl Fn(&BranchEvent) -> bool) -> BranchEvent {
            loop {
                let (from, event) = self.events.recv_timeout(DEADLINE).unwrap();
                if from == branch && wanted(&event) {
                    return event;
                }
            }
        }
    }

    #[test]
    fn a_panic_in_one_branch_ends_that_branch_only() {
        let rig = Rig::new();
        let (tap, other_tap) = (rig.engine.tap(TapConfig::default()), rig.engine.tap(TapConfig::default()));
        let (victim, _) = rig.open(&tap, 0);
        let (sibling, sibling_recorder) = rig.open(&tap, 1);
        let (_, other_recorder) = rig.open(&other_tap, 2);
        let ports = rig.expect(victim, |event| matches!(event, BranchEvent::PortsReady { .. }));
        rig.expect(sibling, |event| matches!(event, BranchEvent::PortsReady { .. }));
        fault::inject(victim);
        tap.push(&packet(1), Instant::now());
        other_tap.push(&packet(1), Instant::now());
        let crashed = rig.expect(victim, |_| true);
        assert_eq!(crashed, BranchEvent::Crashed { reason: "injected fault".into() });
        for recorder in [&sibling_recorder, &other_recorder] {
            assert_eq!(recorder.recv(&mut [0; 64]).unwrap(), SIZE);
        }
        // Its ports are free, its id may be used again, and what comes goes on.
        let BranchEvent::PortsReady { rtp, .. } = ports else { panic!() };
        UdpSocket::bind(rtp).unwrap();
        let (_, recorder) = rig.open(&tap, 0);
        rig.expect(victim, |event| matches!(event, BranchEvent::PortsReady { .. }));
        tap.push(&packet(2), Instant::now());
        for recorder in [&sibling_recorder, &recorder] {
            assert_eq!(recorder.recv(&mut [0; 64]).unwrap(), SIZE);
        }
        rig.engine.command(BranchCommand::Close { branch: victim }).unwrap();
        rig.expect(victim, |event| matches!(event, BranchEvent::Closed(_)));
    }

    #[test]
    fn a_stopped_engine_takes_no_commands() {
        let rig = Rig::new();
        rig.engine.shared.ask_to_stop();
        assert!(rig.engine.shared.wait_end(DEADLINE));
        let branch = BranchId { recording: rig.recording, leg: 0, slot: 0 };
        assert_eq!(rig.engine.command(BranchCommand::Close { branch }), Err(MediaControlError::Stopped));
    }

    #[test]
    fn a_full_command_queue_says_so() {
        let (blocker, unblock) = mpsc::channel::<()>();
        let config = EngineConfig { command_queue: 1, ..EngineConfig::default() };
        let (entered, in_sink) = mpsc::channel();
        let engine = Engine::start(config, move |_, _| {
            let _ = entered.send(());
            let _ = unblock.recv_timeout(DEADLINE);
        })
        .unwrap();
        let branch = BranchId { recording: RecordingKey::unique(), leg: 0, slot: 0 };
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // Its answer keeps the thread in the sink.
        engine.command(BranchCommand::Bind { branch, local, rtcp: RtcpMode::Pair }).unwrap();
        in_sink.recv_timeout(DEADLINE).unwrap();
        engine.command(BranchCommand::Close { branch }).unwrap();
        assert_eq!(engine.command(BranchCommand::Close { branch }), Err(MediaControlError::Full));
        drop(blocker);
    }
}
