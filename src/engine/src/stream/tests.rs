//! A stream with one branch, on a clock of the tests.

mod refusals;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use rtcp_types::prelude::*;
use rtcp_types::{ReceiverReport, ReportBlock};
use siprec_media::dtls::Identity;
use siprec_media::srtp::{KeyLimits, Protector};
use siprec_media::{HoldMemory, WallClock};
use siprec_model::{
    BranchLimits, Component, DropCause, DtlsAssociation, DtlsRole, MediaSecurity, Medium, OpenBranch,
    PayloadRule, RecorderKey, RecordingKey, RtcpMode, SrtpKey, SrtpSuite,
};

use super::*;
use crate::budget::Budget;
use crate::burst::{Burst, Outcome};
use crate::config::MediaSource;
use crate::hosts::{Destination, Extent, RefusingHosts};
use crate::kit::Token;
use crate::late::LateRoom;
use crate::outlet::{Creation, Queued};
use crate::ports::PortPool;
use crate::shared::Shared;
use crate::sys::{Epoll, Undelivered, Waker};
use crate::tap::{Tap, TapConfig};
use crate::trunk::{TrunkId, Trunks};

const SSRC: u32 = 99;
/// That of the branch.
const RECORDER: RecorderKey = RecorderKey::from_raw(1);

/// One stream with one branch, on a clock of the test's own.
struct Rig {
    shared: Arc<Shared>,
    kit: Kit,
    stream: Stream,
    tap: Tap,
    branch: BranchId,
    recorder: UdpSocket,
    events: Events,
    now: Instant,
}

impl Rig {
    /// A backlog leaves at `catch_up` times real time.
    fn new(catch_up: f32) -> Self {
        Self::with(catch_up, TapConfig::default())
    }

    fn with(catch_up: f32, tap: TapConfig) -> Self {
        Self::sending_by(MediaSource::PerStream, catch_up, tap)
    }

    fn sending_by(source: MediaSource, catch_up: f32, tap: TapConfig) -> Self {
        let now = Instant::now();
        let shared = Arc::new(Shared::new(1, Waker::new().unwrap()));
        let mut kit = Kit {
            burst: Burst::default(),
            trunks: Trunks::new(shared.section.clone()),
            source,
            budget: Budget::new(5000, now),
            memory: HoldMemory::new(1 << 20),
            clock: WallClock::new(now, SystemTime::now()),
            epoll: Epoll::new().unwrap(),
            pool: PortPool::new(None, None),
            identity: Arc::new(Identity::generate().unwrap()),
            scratch: Vec::new(),
            segmentation: false,
            key_limits: KeyLimits::default(),
            refusing_hosts: RefusingHosts::default(),
            late_room: LateRoom::default(),
        };
        let (tap, state) = Tap::new(tap, shared.clone());
        let (branch, mut outlet) = outlet(catch_up, &kit, now);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let recorder = UdpSocket::bind((local, 0)).unwrap();
        recorder.set_nonblocking(true).unwrap();
        outlet.bind(local, RtcpMode::Mux, 1, &mut kit, now);
        let mut stream = Stream::default();
        stream.meet_tap(state);
        stream.add(outlet, now);
        Self { shared, kit, stream, tap, branch, recorder, events: Events::new(), now }
    }

    fn open(&mut self) {
        self.open_at(self.recorder.local_addr().unwrap());
    }

    fn open_at(&mut self, rtp: SocketAddr) {
        let target = self.target(rtp, MediaSecurity::Plain);
        self.act(|outlet, kit, now| outlet.open(&target, kit, now));
    }

    fn target(&self, rtp: SocketAddr, security: MediaSecurity) -> OpenBranch {
        let payloads = vec![PayloadRule { from: 0, to: 0 }];
        let branch = self.branch;
        OpenBranch {
            branch,
            recorder: RECORDER,
            rtp,
            rtcp: None,
            security,
            may_expose: false,
            payloads,
            catch_up: None,
            expects_reports: false,
            retransmission: false,
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Outlet, &mut Kit, Instant)) {
        let now = self.now;
        let Self { shared, kit, stream, branch, events, .. } = self;
        stream.act(*branch, &shared.section, kit, events, now, |outlet, kit| act(outlet, kit, now));
    }

    /// The recorder's host refuses what has just left of another call to it.
    fn refuse_another(&mut self, other: RecordingKey) {
        self.refuse_another_to(RECORDER, other);
    }

    /// The same to a recorder there.
    fn refuse_another_to(&mut self, recorder: RecorderKey, other: RecordingKey) {
        self.note_refusal(recorder, other);
        let Self { stream, kit, events, now, .. } = self;
        while let Some((refuser, since)) = kit.refusing_hosts.take_general(*now) {
            stream.hear_host(refuser, since, kit, events, *now);
        }
    }

    /// The same, and too little for all that go to it.
    fn note_refusal(&mut self, recorder: RecorderKey, other: RecordingKey) {
        let to = Destination { host: self.recorder.local_addr().unwrap().ip(), recorder };
        self.kit.refusing_hosts.note(to, Extent::Recorder, other, self.now, self.now);
    }

    /// The recorder takes the next packet, and reports to that address that it has.
    fn report_next(&self, to: SocketAddr) {
        self.report_next_as(1, to);
    }

    fn report_next_as(&self, receiver: u32, to: SocketAddr) {
        let sent = packets(&self.recorder, 1).remove(0);
        let number = u16::from_be_bytes([sent[2], sent[3]]);
        let block = ReportBlock::builder(SSRC).extended_sequence_number(number.into());
        let mut report = [0; 32];
        ReceiverReport::builder(receiver).add_report_block(block).write_into(&mut report).unwrap();
        self.recorder.send_to(&report, to).unwrap();
    }

    fn hear(&mut self) {
        let Self { shared, kit, stream, branch, events, now, .. } = self;
        stream.receive(*branch, Token::of(1, Component::Rtp), &shared.section, kit, events, *now);
    }

    fn push(&self, sequence: u8, arrival: Instant) {
        self.tap.push(&[0x80, 0, 0, sequence, 0, 0, sequence, 0, 0, 0, 0, SSRC as u8, 0xD5], arrival);
    }

    fn serve(&mut self) -> bool {
        self.kit.budget.refill(self.now);
        self.stream.serve(&self.shared.section, &mut self.kit, &mut self.events, self.now)
    }

    /// What the media thread does once it has been at all streams.
    fn flush(&mut self) {
        self.kit.trunks.flush();
        self.stream.settle(&mut self.kit, &mut self.events, self.now);
    }

    /// The recorder is lost: what the next one gets of what was sent, within a second.
    fn resent(&mut self) -> usize {
        self.act(|outlet, kit, now| {
            outlet.recall(now, None, None, now);
            outlet.bind(IpAddr::V4(Ipv4Addr::LOCALHOST), RtcpMode::Mux, 2, kit, now);
        });
        self.open();
        for _ in 0..50 {
            self.now += Duration::from_millis(20);
            self.serve();
        }
        self.received()
    }

    fn received(&self) -> usize {
        std::iter::from_fn(|| self.recorder.recv(&mut [0; 1500]).ok()).count()
    }

    fn told(&mut self) -> Vec<BranchEvent> {
        self.events.drain(..).map(|(_, event)| event).collect()
    }

    /// What is told while time passes and nothing comes, and when.
    fn told_within(&mut self, time: Duration) -> Vec<(BranchEvent, Instant)> {
        let (mut told, end) = (Vec::new(), self.now + time);
        while let Some(due) = self.stream.next_timeout().filter(|due| *due < end) {
            self.now = self.now.max(due);
            self.stream.handle_timeout(&mut self.kit, &mut self.events, self.now);
            told.extend(self.told().into_iter().map(|event| (event, due)));
        }
        self.now = end;
        told
    }
}

/// So many packets, once they have come.
fn packets(recorder: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    recorder.set_nonblocking(false).unwrap();
    recorder.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let packets = (0..count).map(|_| {
        let mut packet = vec![0; 1500];
        let size = recorder.recv(&mut packet).unwrap();
        packet.truncate(size);
        packet
    });
    let packets = packets.collect();
    recorder.set_nonblocking(true).unwrap();
    packets
}

/// A branch of a recording of its own.
fn outlet(catch_up: f32, kit: &Kit, now: Instant) -> (BranchId, Outlet) {
    let branch = BranchId { recording: RecordingKey::unique(), leg: 0, slot: 0 };
    let limits = BranchLimits { catch_up, ..BranchLimits::default() };
    let cname = "party".to_owned();
    let creation = Creation { branch, medium: Medium::Audio, clock_rate: 8000, cname, limits, seed: 1 };
    (branch, Outlet::new(creation, kit, now))
}

#[test]
fn packets_wait_for_every_branch_that_their_tap_was_promised_and_not_for_ever() {
    for comes in [true, false] {
        let mut rig = Rig::with(1.0, TapConfig { branches: 2, ..TapConfig::default() });
        let first = rig.branch;
        rig.push(0, rig.now);
        rig.push(1, rig.now);
        assert!(!rig.serve());
        // The first branch is to end before the second is there.
        let Rig { shared, kit, stream, events, now, .. } = &mut rig;
        stream.drain(first, &shared.section, kit, events, *now);
        stream.close(first, &shared.section, kit, events, *now);
        let (second, outlet) = outlet(1.0, kit, *now);
        let end = stream.next_timeout().unwrap();
        assert!(end <= *now + Duration::from_secs(1));
        if comes {
            stream.add(outlet, *now);
        } else {
            rig.now = end - Duration::from_millis(1);
            assert!(!rig.serve());
            rig.now = end;
        }
        rig.serve();
        let mut branches = vec![first];
        if comes {
            let Rig { shared, kit, stream, events, now, .. } = &mut rig;
            stream.close(second, &shared.section, kit, events, *now);
            branches.push(second);
        }
        let closed = |(branch, event): (BranchId, BranchEvent)| match event {
            BranchEvent::Closed(report) => Some((branch, report.seen)),
            _ => None,
        };
        let seen: Vec<_> = rig.events.drain(..).filter_map(closed).collect();
        assert_eq!(seen, branches.into_iter().map(|branch| (branch, 2)).collect::<Vec<_>>());
    }
}

#[test]
fn what_a_tap_left_behind_waits_for_its_first_branch_and_not_for_ever() {
    let shared = Arc::new(Shared::new(1, Waker::new().unwrap()));
    let now = Instant::now();
    let orphan = |packets: u8| {
        let (tap, state) = Tap::new(TapConfig::default(), shared.clone());
        let mut stream = Stream::default();
        stream.meet_tap(state);
        (0..packets).for_each(|_| tap.push(&[0x80], now));
        assert!(!stream.is_over(now));
        stream
    };
    assert!(orphan(0).is_over(now), "nothing is left to wait with");
    let mut stream = orphan(1);
    assert!(!stream.is_over(now));
    let end = stream.next_timeout().unwrap();
    assert!(!stream.is_over(end - Duration::from_millis(1)));
    assert!(stream.is_over(end));
}

/// A known source goes on under a key that comes after `delay`, of which somebody is asked, or not. Gives how many
/// packets have left by then, and the account.
fn with_late_key(delay: Duration, asked: bool) -> (usize, siprec_model::BranchReport) {
    let mut rig = Rig::new(1.0);
    let key = |mark| SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[mark; 28]).unwrap();
    let mut call = Protector::new(&key(1)).unwrap();
    rig.tap.set_secured(true);
    rig.tap.add_key(key(1).into());
    let to = rig.recorder.local_addr().unwrap();
    let target = OpenBranch { may_expose: true, ..rig.target(to, MediaSecurity::Plain) };
    rig.act(|outlet, kit, now| outlet.open(&target, kit, now));
    let start = rig.now;
    let push = |rig: &Rig, call: &mut Protector, index: u8, arrival| {
        let mut packet = vec![0x80, 0, 0, index, 0, 0, index, 0, 0, 0, 0, SSRC as u8, 0xD5];
        let length = packet.len();
        call.protect_rtp(&mut packet, length, SSRC, index.into()).unwrap();
        rig.tap.push(&packet, arrival);
    };
    push(&rig, &mut call, 0, start);
    rig.serve();
    rig.flush();
    call.rekey(&key(2)).unwrap();
    (1..4).for_each(|index| push(&rig, &mut call, index, start));
    rig.serve();
    if asked {
        rig.tap.expect_key(SSRC);
        rig.serve();
    }
    rig.now = start + delay;
    while let Some(due) = rig.stream.next_timeout().filter(|due| *due <= rig.now) {
        let Rig { kit, stream, events, .. } = &mut rig;
        stream.handle_timeout(kit, events, due);
        assert!(stream.next_timeout().is_none_or(|next| next > due));
    }
    rig.tap.add_key(key(2).into());
    rig.tap.settle_key(SSRC);
    rig.serve();
    rig.flush();
    let left = packets(&rig.recorder, 1).len() + rig.received();
    let Rig { shared, kit, stream, events, now, branch, .. } = &mut rig;
    stream.close(*branch, &shared.section, kit, events, *now);
    let report = rig.told().into_iter().find_map(|event| match event {
        BranchEvent::Closed(report) => Some(*report),
        _ => None,
    });
    (left, report.unwrap())
}

#[test]
fn packets_of_a_known_source_wait_a_second_for_a_new_key_and_as_long_as_it_is_asked_for() {
    for (milliseconds, asked, sent) in [(999, false, 4), (1000, false, 1), (5000, true, 4)] {
        let (left, report) = with_late_key(Duration::from_millis(milliseconds), asked);
        let lost = report.drops.of(DropCause::NotAuthentic);
        assert_eq!((left, report.seen, report.sent, lost), (sent, 4, sent as u64, 4 - sent as u64));
    }
}

#[test]
fn a_backlog_behind_a_shut_gate_is_no_work_until_it_drains() {
    let mut rig = Rig::new(1.0);
    rig.push(0, rig.now);
    rig.push(1, rig.now + Duration::from_millis(400));
    rig.tap.close_gate();
    rig.open();
    assert!(!rig.serve());
    assert_eq!(rig.received(), 0);
    rig.act(|outlet, _, now| outlet.drain(now));
    assert!(rig.serve());
    assert_eq!(rig.received(), 1);
    // Nothing is due for 400 ms, but nobody will wake the thread either.
    rig.now += Duration::from_millis(399);
    assert!(rig.serve());
    assert_eq!(rig.received(), 0);
    rig.now += Duration::from_millis(1);
    assert!(rig.serve());
    assert_eq!(rig.received(), 1);
    // What has left last may be refused a moment later.
    let empty = BranchEvent::BacklogEmpty { recalls: 0 };
    assert!(rig.serve() && !rig.told().contains(&empty));
    rig.now += Duration::from_millis(100);
    rig.serve();
    assert!(rig.told().contains(&empty));
    assert!(!rig.serve());
}

#[test]
fn a_pause_that_comes_after_its_own_resume_loses_nothing() {
    let mut rig = Rig::new(100.0);
    rig.open();
    rig.push(0, rig.now);
    rig.serve();
    rig.tap.close_gate();
    rig.tap.open_gate();
    rig.push(1, rig.now);
    rig.serve();
    assert_eq!(rig.received(), 2);
    // Only now does the session's word come that the gate was shut.
    rig.act(|outlet, _, now| outlet.pause(now));
    rig.now += Duration::from_millis(20);
    rig.push(2, rig.now);
    rig.serve();
    assert_eq!(rig.received(), 0);
    rig.act(|outlet, _, now| outlet.hold(now));
    rig.open();
    rig.serve();
    assert_eq!(rig.received(), 1);
    // The next pause is meant.
    rig.act(|outlet, _, now| outlet.pause(now));
    rig.now += Duration::from_millis(20);
    rig.push(3, rig.now);
    rig.open();
    rig.serve();
    assert_eq!(rig.received(), 0);
}

#[test]
fn a_pause_that_the_recorder_asked_for_stores_nothing_while_the_gate_is_open() {
    let mut rig = Rig::new(100.0);
    rig.open();
    rig.act(|outlet, _, now| outlet.pause(now));
    rig.now += Duration::from_millis(20);
    rig.push(0, rig.now);
    rig.serve();
    rig.open();
    rig.push(1, rig.now);
    rig.serve();
    assert_eq!(rig.received(), 1);
}

#[test]
fn what_leaves_by_a_trunk_waits_for_others_and_a_gate_that_is_shut_waits_for_it() {
    let mut rig = Rig::sending_by(MediaSource::Shared, 100.0, TapConfig::default());
    rig.open();
    rig.push(0, rig.now);
    rig.push(1, rig.now);
    assert!(rig.serve());
    assert_eq!(rig.received(), 0, "others may have something for the same system call");
    let (tap, recorder) = (Arc::new(rig.tap), rig.recorder);
    let closer = std::thread::spawn({
        let tap = tap.clone();
        move || {
            tap.close_gate();
            packets(&recorder, 2).len()
        }
    });
    // Long enough for it to come back too early.
    std::thread::park_timeout(Duration::from_millis(50));
    assert!(!closer.is_finished());
    let mut trunks = rig.kit.trunks;
    trunks.flush();
    assert_eq!(closer.join().unwrap(), 2);
    tap.push(&[0x80; 172], rig.now);
    rig.kit.trunks = trunks;
    rig.stream.serve(&rig.shared.section, &mut rig.kit, &mut rig.events, rig.now);
    assert_eq!(rig.kit.trunks.burst(TrunkId(0)).unwrap().packets(), 0, "nothing comes after it");
}

#[test]
fn a_branch_has_what_left_by_a_trunk_before_anything_is_done_to_it() {
    let mut rig = Rig::sending_by(MediaSource::Shared, 100.0, TapConfig::default());
    rig.open();
    rig.push(0, rig.now);
    rig.act(|outlet, _, now| outlet.pause(now));
    assert_eq!(packets(&rig.recorder, 1).len(), 1);
    rig.act(|outlet, _, now| outlet.hold(now));
    rig.open();
    rig.push(1, rig.now);
    let Rig { shared, kit, stream, events, now, branch, .. } = &mut rig;
    stream.close(*branch, &shared.section, kit, events, *now);
    assert_eq!(packets(&rig.recorder, 1).len(), 1);
    let reports = rig.told().into_iter().filter_map(|event| match event {
        BranchEvent::Closed(report) => Some((report.seen, report.sent)),
        _ => None,
    });
    assert_eq!(reports.collect::<Vec<_>>(), [(2, 2)]);
}

#[test]
fn what_does_not_leave_by_a_trunk_is_told_as_what_does_not_leave_otherwise() {
    for source in [MediaSource::PerStream, MediaSource::Shared] {
        let mut rig = Rig::sending_by(source, 100.0, TapConfig::default());
        // From a loopback address, no other host can be reached.
        rig.open_at("192.0.2.1:4000".parse().unwrap());
        rig.push(0, rig.now);
        rig.push(1, rig.now);
        rig.serve();
        rig.flush();
        let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
        assert_eq!(rig.told().iter().filter(|event| **event == refused).count(), 1, "{source:?}");
        let Rig { shared, kit, stream, events, now, branch, .. } = &mut rig;
        stream.close(*branch, &shared.section, kit, events, *now);
        let Some(BranchEvent::Closed(report)) = rig.told().pop() else { panic!("{source:?}") };
        let failed = report.drops.of(DropCause::SendFailed);
        assert_eq!((report.seen, report.sent, failed), (2, 0, 2), "{source:?}");
    }
}

#[test]
fn a_backlog_longer_than_a_burst_leaves_by_a_trunk_in_order() {
    let mut rig = Rig::sending_by(MediaSource::Shared, 100.0, TapConfig::default());
    rig.kit.budget = Budget::new(1_000_000, rig.now);
    (0..200).for_each(|sequence| rig.push(sequence, rig.now));
    rig.serve();
    rig.open();
    rig.now += Duration::from_millis(100);
    rig.serve();
    rig.flush();
    let packets = packets(&rig.recorder, 200);
    let sequences: Vec<_> = packets.iter().map(|packet| u16::from_be_bytes([packet[2], packet[3]])).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{sequences:?}");
}

#[test]
fn what_is_keyed_by_a_handshake_leaves_by_the_ports_that_it_was_made_on() {
    let mut rig = Rig::sending_by(MediaSource::Shared, 1.0, TapConfig::default());
    let terms = DtlsAssociation {
        role: DtlsRole::Client,
        fingerprints: vec![rig.kit.identity.fingerprint().clone()],
        suites: SrtpSuite::ALL.to_vec(),
        own_id: String::new(),
        recorder_id: None,
        session: 1,
    };
    let recorder = rig.recorder.local_addr().unwrap();
    let secured = rig.target(recorder, MediaSecurity::Dtls(Box::new(terms)));
    rig.act(|outlet, kit, now| {
        assert_eq!(outlet.trunk(), Some(TrunkId(0)));
        outlet.associate(&secured, kit, now);
        assert_eq!(outlet.trunk(), None);
    });
    rig.open();
    rig.act(|outlet, _, _| assert_eq!(outlet.trunk(), Some(TrunkId(0)), "it has none any more"));
}

#[test]
fn reports_that_came_and_stay_away_are_told_once() {
    let mut rig = Rig::new(1.0);
    rig.push(0, rig.now);
    rig.open();
    rig.now += Duration::from_millis(5);
    rig.serve();
    assert_eq!(rig.received(), 1);
    let block = ReportBlock::builder(SSRC);
    let mut report = [0; 32];
    ReceiverReport::builder(1).add_report_block(block).write_into(&mut report).unwrap();
    let Some(BranchEvent::PortsReady { rtcp, .. }) = rig.told().into_iter().next() else { panic!() };
    rig.recorder.send_to(&report, rtcp).unwrap();
    rig.hear();
    let told = rig.told();
    assert!(matches!(told.as_slice(), [BranchEvent::ReportReceived { .. }]), "{told:?}");
    // On next to nothing, nobody need report.
    (1..9).for_each(|sequence| rig.push(sequence, rig.now));
    rig.serve();
    let begun = rig.now;
    let stopped = rig.told_within(Duration::from_secs(60));
    let [(BranchEvent::ReportOverdue, overdue), (BranchEvent::ReportsStopped, at)] = stopped.as_slice()
    else {
        panic!("{stopped:?}")
    };
    assert!(*overdue < begun + Duration::from_secs(10), "an interval and a half");
    assert!(*at < begun + Duration::from_secs(20), "three intervals of 5 s");
}

#[test]
fn reports_of_who_always_sends_them_are_expected_while_packets_leave() {
    let mut rig = Rig::new(1.0);
    let mut target = rig.target(rig.recorder.local_addr().unwrap(), MediaSecurity::Plain);
    target.expects_reports = true;
    let minute = Duration::from_secs(60);
    rig.act(|outlet, kit, now| outlet.open(&target, kit, now));
    assert_eq!(rig.told_within(minute).len(), 1, "the ports");
    (0..8).for_each(|sequence| rig.push(sequence, rig.now));
    rig.now += Duration::from_millis(5);
    rig.serve();
    assert_eq!((rig.received(), rig.told().len()), (8, 1), "the first packet");
    rig.act(|outlet, _, now| outlet.pause(now));
    assert_eq!(rig.told_within(minute), [], "nothing leaves in a pause");
    rig.act(|outlet, kit, now| outlet.open(&target, kit, now));
    let begun = rig.now;
    let told = rig.told_within(minute);
    let after = |seconds| begun + Duration::from_secs(seconds);
    let [(BranchEvent::ReportOverdue, overdue), (BranchEvent::ReportsStopped, at)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(after(7) < *overdue && *overdue < after(10) && after(14) < *at && *at < after(20), "{told:?}");
    assert_eq!(rig.told_within(minute), [], "nothing has left since");
}
