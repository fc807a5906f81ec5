//! An engine, its events, and recorders that are plain sockets.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use siprec_engine::{Engine, EngineConfig, Tap, TapConfig};
use siprec_model::{
    BranchCommand, BranchEvent, BranchId, BranchLimits, BranchReport, MediaControl as _, MediaSecurity,
    Medium, OpenBranch, PayloadRule, RecorderKey, RecordingKey, RtcpMode, SrtpKeys, StreamId,
};

/// Longest time that a test waits for something that must happen.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// How long a test listens for what must not happen: longer than each stream has a turn of the engine.
pub const SILENCE: Duration = Duration::from_millis(150);
pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const FAST: BranchLimits = BranchLimits {
    hold_time: Duration::from_secs(30),
    hold_bytes: 512 * 1024,
    video_hold_bytes: 8 << 20,
    catch_up: 100.0,
};

pub struct Rig {
    pub engine: Engine,
    events: mpsc::Receiver<(BranchId, BranchEvent)>,
    recording: RecordingKey,
}

impl Rig {
    pub fn new(config: EngineConfig) -> Self {
        let (sink, events) = mpsc::channel();
        let engine = Engine::start(config, move |branch, event| {
            let _ = sink.send((branch, event));
        })
        .unwrap();
        Self { engine, events, recording: RecordingKey::unique() }
    }

    pub fn tap(&self) -> Tap {
        self.engine.tap(TapConfig::default())
    }

    pub fn command(&self, command: BranchCommand) {
        self.engine.command(command).unwrap();
    }

    /// A branch of `tap`, holding.
    pub fn create(&self, tap: &Tap, slot: u16, limits: BranchLimits) -> BranchId {
        self.create_for(tap.stream(), slot, limits)
    }

    /// A branch of the tap of that name, which may be gone.
    pub fn create_for(&self, stream: StreamId, slot: u16, limits: BranchLimits) -> BranchId {
        let branch = BranchId { recording: self.recording, leg: 0, slot };
        self.command(BranchCommand::Create {
            branch,
            stream,
            medium: Medium::Audio,
            clock_rate: 8000,
            cname: "party@test".into(),
            limits,
        });
        branch
    }

    /// Binds ports for it and gives their addresses.
    pub fn bind(&self, branch: BranchId, local: IpAddr, mode: RtcpMode) -> (SocketAddr, SocketAddr) {
        self.command(BranchCommand::Bind { branch, local, rtcp: mode });
        self.expect(branch, |event| match event {
            BranchEvent::PortsReady { rtp, rtcp } => Some((rtp, rtcp)),
            BranchEvent::PortsFailed { reason } => panic!("{reason}"),
            _ => None,
        })
    }

    pub fn open(&self, branch: BranchId, recorder: &Recorder) {
        let rtcp = Some(recorder.rtcp.local_addr().unwrap());
        self.open_at(branch, recorder.rtp.local_addr().unwrap(), rtcp);
    }

    pub fn open_at(&self, branch: BranchId, rtp: SocketAddr, rtcp: Option<SocketAddr>) {
        self.open_as(branch, rtp, rtcp, MediaSecurity::Plain);
    }

    /// The same, encrypted.
    pub fn open_secured(&self, branch: BranchId, recorder: &Recorder, keys: &SrtpKeys) {
        let rtcp = Some(recorder.rtcp.local_addr().unwrap());
        let security = MediaSecurity::Srtp(Box::new(keys.clone()));
        self.open_as(branch, recorder.rtp.local_addr().unwrap(), rtcp, security);
    }

    /// In the clear, also what the call encrypts.
    pub fn expose(&self, branch: BranchId, recorder: &Recorder) {
        self.command(BranchCommand::Open(OpenBranch {
            branch,
            recorder: RecorderKey::from_raw(1),
            rtp: recorder.rtp.local_addr().unwrap(),
            rtcp: Some(recorder.rtcp.local_addr().unwrap()),
            security: MediaSecurity::Plain,
            may_expose: true,
            payloads: vec![PayloadRule { from: 0, to: 0 }],
            catch_up: None,
            expects_reports: false,
            retransmission: true,
        }));
    }

    pub fn open_as(
        &self,
        branch: BranchId,
        rtp: SocketAddr,
        rtcp: Option<SocketAddr>,
        security: MediaSecurity,
    ) {
        let payloads = vec![PayloadRule { from: 0, to: 0 }];
        let may_expose = false;
        self.command(BranchCommand::Open(OpenBranch {
            branch,
            recorder: RecorderKey::from_raw(1),
            rtp,
            rtcp,
            security,
            may_expose,
            payloads,
            catch_up: None,
            expects_reports: false,
            retransmission: true,
        }));
    }

    /// A branch that sends to `recorder`, and its local RTP address.
    pub fn open_branch(&self, tap: &Tap, slot: u16, recorder: &Recorder) -> (BranchId, SocketAddr) {
        let branch = self.create(tap, slot, FAST);
        let (rtp, _) = self.bind(branch, recorder.local(), RtcpMode::Pair);
        self.open(branch, recorder);
        (branch, rtp)
    }

    /// The first event of `branch` that `wanted` takes; earlier ones of any branch are passed over.
    pub fn expect<T>(&self, branch: BranchId, mut wanted: impl FnMut(BranchEvent) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (from, event) = self.events.recv_timeout(left).expect("the event has not come");
            if from == branch
                && let Some(found) = wanted(event)
            {
                return found;
            }
        }
    }

    /// Closes the branch: all events until the last, and the account.
    pub fn close(&self, branch: BranchId) -> (Vec<BranchEvent>, BranchReport) {
        self.command(BranchCommand::Close { branch });
        let mut events = Vec::new();
        loop {
            match self.expect(branch, Some) {
                BranchEvent::Closed(report) => return (events, *report),
                event => events.push(event),
            }
        }
    }

    /// Every event within `time`.
    pub fn events_within(&self, time: Duration) -> Vec<(BranchId, BranchEvent)> {
        let end = Instant::now() + time;
        let mut events = Vec::new();
        while let Ok(event) = self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            events.push(event);
        }
        events
    }

    /// The events, for a test that drops the engine.
    pub fn into_events(self) -> mpsc::Receiver<(BranchId, BranchEvent)> {
        self.events
    }
}

pub struct Recorder {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

impl Recorder {
    pub fn new() -> Self {
        Self::on(LOCAL)
    }

    pub fn on(address: IpAddr) -> Self {
        let socket = || {
            let socket = UdpSocket::bind((address, 0)).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            // Holds whatever a test sends without a reader.
            socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
            socket
        };
        Self { rtp: socket(), rtcp: socket() }
    }

    pub fn local(&self) -> IpAddr {
        self.rtp.local_addr().unwrap().ip()
    }

    pub fn packet(&self) -> Packet {
        let (bytes, from) = receive(&self.rtp, DEADLINE).expect("no packet has come");
        Packet::parse(&bytes, from)
    }

    pub fn packets(&self, count: usize) -> Vec<Packet> {
        (0..count).map(|_| self.packet()).collect()
    }

    /// What has already come.
    pub fn arrived(&self) -> Vec<Packet> {
        self.rtp.set_nonblocking(true).unwrap();
        let mut packets = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while let Ok((size, from)) = self.rtp.recv_from(&mut buffer) {
            packets.push(Packet::parse(&buffer[..size], from));
        }
        self.rtp.set_nonblocking(false).unwrap();
        packets
    }

    pub fn assert_silence(&self) {
        let packet = receive(&self.rtp, SILENCE);
        assert!(packet.is_none(), "{packet:?}");
    }
}

/// One datagram, or `None` after `time`.
pub fn receive(socket: &UdpSocket, time: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    socket.set_read_timeout(Some(time)).unwrap();
    let mut buffer = vec![0; 1 << 16];
    match socket.recv_from(&mut buffer) {
        Ok((size, from)) => {
            buffer.truncate(size);
            Some((buffer, from))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(error) => panic!("{error}"),
    }
}

/// An RTP packet without CSRCs or extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
    pub from: SocketAddr,
}

impl Packet {
    pub fn parse(bytes: &[u8], from: SocketAddr) -> Self {
        assert_eq!(bytes[0], 0x80, "{bytes:?}");
        Self {
            payload_type: bytes[1] & 0x7F,
            sequence: u16::from_be_bytes(bytes[2..4].try_into().unwrap()),
            timestamp: u32::from_be_bytes(bytes[4..8].try_into().unwrap()),
            ssrc: u32::from_be_bytes(bytes[8..12].try_into().unwrap()),
            payload: bytes[12..].to_vec(),
            from,
        }
    }

    /// The number that [`numbered`] put into the payload.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

/// The `number`th packet of a G.711 stream of 20 ms packets, with its number in the payload.
pub fn numbered(ssrc: u32, number: u32) -> Vec<u8> {
    let mut payload = [0xD5; 160];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    rtp(ssrc, 1000u16.wrapping_add(number as u16), number.wrapping_mul(160), &payload)
}

pub fn rtp(ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// Fails unless these are the packets `first..`, in order, with sequence numbers one after the other.
pub fn assert_in_order(packets: &[Packet], first: u32) {
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!(packet.number(), first + index as u32);
        assert_eq!(packet.timestamp, packet.number().wrapping_mul(160));
        assert_eq!(packet.sequence, packets[0].sequence.wrapping_add(index as u16));
    }
}
