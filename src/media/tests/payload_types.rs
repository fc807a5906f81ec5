//! Payload types that are not agreed: they wait for rules that have them, for a while.

#![cfg(test)]

use std::time::{Duration, Instant};

use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchEvent, BranchLimits, DropCause, Hole, Medium, PayloadRule};

const PCMU: PayloadRule = PayloadRule { from: 0, to: 0 };
const PCMA: PayloadRule = PayloadRule { from: 8, to: 8 };

/// A branch and a call of 20 ms packets, whose numbers follow the time.
struct Call {
    branch: Branch,
    start: Instant,
    ms: u64,
    /// Sent packets: when (ms), when they came, and their payload types.
    sent: Vec<(u64, u64, u8)>,
    events: Vec<BranchEvent>,
}

impl Call {
    fn new(limits: BranchLimits) -> Self {
        let start = Instant::now();
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let branch = Branch::new(settings, 5000, start);
        Self { branch, start, ms: 0, sent: Vec::new(), events: Vec::new() }
    }

    /// Open, with PCMU agreed.
    fn open() -> Self {
        let mut call = Self::new(BranchLimits::default());
        call.agree(&[PCMU]);
        call
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn agree(&mut self, rules: &[PayloadRule]) {
        self.branch.open(rules, self.now());
    }

    /// Packets for `ms` milliseconds, polling as the engine does.
    fn talk(&mut self, payload_type: u8, ms: u64) {
        for _ in 0..ms / 20 {
            self.bring(payload_type, self.ms / 20);
            for _ in 0..4 {
                self.ms += 5;
                self.poll();
            }
        }
    }

    /// One packet of this number.
    fn bring(&mut self, payload_type: u8, number: u64) {
        let header = [
            &[0x80, payload_type][..],
            &(number as u16).to_be_bytes(),
            &(number as u32 * 160).to_be_bytes(),
            &1u32.to_be_bytes(),
            &[0xD5; 160],
        ];
        let (packet, now, mut out) = (header.concat(), self.now(), Vec::new());
        let sent = self.branch.handle_packet(&RtpView::parse(&packet).unwrap(), now, &mut out);
        if sent.is_some() {
            self.note(&out);
        }
        self.events.extend(std::iter::from_fn(|| self.branch.poll_event()));
    }

    fn poll(&mut self) {
        let mut out = Vec::new();
        while self.branch.next_packet(self.now(), &mut out).is_some() {
            self.note(&out);
            out.clear();
        }
        self.branch.tell_lasting_losses(self.now());
        self.events.extend(std::iter::from_fn(|| self.branch.poll_event()));
    }

    fn note(&mut self, packet: &[u8]) {
        let view = RtpView::parse(packet).unwrap();
        self.sent.push((self.ms, u64::from(view.timestamp() / 8), view.payload_type()));
    }

    /// Which of them were told as unknown since the last time, and the holes: when they began, packets, length.
    fn told(&mut self) -> (Vec<u8>, Vec<(u64, u64, u64)>) {
        let (mut unknown, mut holes) = (Vec::new(), Vec::new());
        for event in self.events.drain(..) {
            match event {
                BranchEvent::PayloadUnknown { payload_type } => unknown.push(payload_type),
                BranchEvent::Gap(Hole { start, packets, duration, cause }) => {
                    assert_eq!(cause, DropCause::PayloadUnknown);
                    let start = start.duration_since(self.start).as_millis() as u64;
                    holes.push((start, packets, duration.as_millis() as u64));
                }
                _ => {}
            }
        }
        (unknown, holes)
    }

    fn of(&self, payload_type: u8) -> usize {
        self.sent.iter().filter(|(.., of)| *of == payload_type).count()
    }
}

#[test]
fn a_codec_that_comes_before_it_is_agreed_waits_for_that_and_nothing_is_lost() {
    let mut call = Call::open();
    call.talk(0, 1000);
    // 100 ms pass until the session knows, and a second until the recorder has answered.
    call.talk(8, 100);
    assert_eq!(call.told(), (vec![8], vec![]));
    call.branch.hold(call.now());
    call.talk(8, 1000);
    assert_eq!(call.of(8), 0);
    call.agree(&[PCMA]);
    call.talk(8, 3000);
    let came: Vec<_> = call.sent.iter().map(|(_, came, _)| *came).collect();
    assert_eq!(came, (0..255).map(|n| n * 20).collect::<Vec<u64>>(), "all, in order");
    assert_eq!((call.of(0), call.of(8)), (50, 205));
    assert_eq!(call.told(), (vec![], vec![]));
    let report = call.branch.report();
    assert_eq!((report.seen, report.sent, report.gaps), (255, 255, 0));
}

#[test]
fn rules_that_come_while_the_branch_is_open_let_out_what_waits() {
    let mut call = Call::open();
    call.talk(8, 200);
    assert_eq!(call.of(8), 0);
    call.agree(&[PCMU, PCMA]);
    call.poll();
    call.talk(8, 400);
    assert_eq!(call.of(8), 30);
}

#[test]
fn what_nobody_agrees_on_is_given_up_after_half_a_second_and_told_with_its_length() {
    let mut call = Call::open();
    call.talk(0, 100);
    call.talk(13, 400);
    call.talk(0, 2000);
    assert_eq!(call.told(), (vec![13], vec![(100, 20, 400)]));
    assert_eq!((call.of(0), call.of(13)), (105, 0));
    let waited = call.sent.iter().find(|(_, came, _)| *came == 500).unwrap();
    assert_eq!(waited.0, 605, "half a second after the first was looked at");
    // Nobody waits for it any more.
    call.talk(13, 100);
    assert_eq!(call.branch.held_packets(), 0);
    call.talk(0, 100);
    assert!(call.sent.iter().rev().take(5).all(|(left, came, _)| left == came));
    assert_eq!(call.branch.report().drops.of(DropCause::PayloadUnknown), 25);
}

#[test]
fn a_hole_is_as_long_as_the_stream_says_whatever_the_network_does_to_it() {
    let mut call = Call::open();
    call.talk(0, 1000);
    call.talk(8, 1000);
    // Ten seconds, of which nothing comes for a while, and then all at once.
    for number in 100..600 {
        call.ms += if number % 50 == 0 { 1000 } else { 0 };
        call.bring(8, number);
    }
    call.bring(0, 600);
    call.branch.close(call.now());
    call.poll();
    let (_, holes) = call.told();
    let sum = |of: fn(&(u64, u64, u64)) -> u64| holes.iter().map(of).sum::<u64>();
    assert_eq!(sum(|(_, packets, _)| *packets), 550);
    assert!((10_980..=11_060).contains(&sum(|(.., ms)| *ms)), "{holes:?}");
}

#[test]
fn after_other_rules_an_unknown_payload_type_is_waited_for_again() {
    let mut call = Call::open();
    call.talk(13, 1000);
    assert_eq!(call.branch.held_packets(), 0);
    call.branch.pause(call.now());
    call.agree(&[PCMU]);
    call.talk(13, 100);
    assert_eq!(call.branch.held_packets(), 5);
    assert_eq!(call.told().0, [13, 13]);
}

#[test]
fn all_that_waits_is_told_at_the_opening_and_not_when_its_turn_comes() {
    let mut call = Call::new(BranchLimits::default());
    call.talk(0, 3000);
    call.talk(8, 1000);
    call.agree(&[PCMU]);
    call.poll();
    assert_eq!(call.told(), (vec![8], vec![]));
    call.branch.hold(call.now());
    call.agree(&[PCMU, PCMA]);
    call.talk(8, 5000);
    assert_eq!((call.of(0), call.of(8)), (150, 300));
}

#[test]
fn where_nothing_leaves_late_nothing_waits() {
    for limits in [
        BranchLimits { catch_up: 0.0, ..BranchLimits::default() },
        BranchLimits { hold_bytes: 0, ..BranchLimits::default() },
    ] {
        let mut call = Call::new(limits);
        call.agree(&[PCMU]);
        call.talk(0, 100);
        call.talk(8, 100);
        call.talk(0, 100);
        assert!(call.sent.iter().all(|(left, came, _)| left == came));
        let report = call.branch.report();
        assert_eq!((report.sent, report.drops.of(DropCause::PayloadUnknown)), (10, 5));
    }
}

#[test]
fn whoever_forges_payload_types_delays_the_call_by_half_a_second_at_most() {
    let mut call = Call::open();
    call.talk(0, 1000);
    for forged in 1..128 {
        call.bring(forged, call.ms / 20);
        call.talk(0, 160);
    }
    call.talk(0, 3000);
    let late = call.sent.iter().map(|(left, came, _)| left - came).max();
    assert!((480..=505).contains(&late.unwrap()), "{late:?}");
    let (left, came, _) = call.sent.last().unwrap();
    assert_eq!(left, came, "and it is made good");
    assert_eq!(call.branch.report().drops.of(DropCause::PayloadUnknown), 127);
    assert_eq!(call.of(0) as u64, call.ms / 20);
}

#[test]
fn at_the_end_of_the_call_what_nobody_agrees_on_keeps_the_rest_for_half_a_second() {
    let mut call = Call::open();
    call.talk(8, 100);
    call.branch.drain();
    call.poll();
    assert!(!call.events.contains(&BranchEvent::BacklogEmpty { recalls: 0 }));
    assert_eq!(call.branch.next_timeout(call.now()), Some(call.start + Duration::from_millis(505)));
    call.ms = 505;
    call.poll();
    assert!(call.events.contains(&BranchEvent::BacklogEmpty { recalls: 0 }));
    call.branch.close(call.now());
    call.poll();
    assert_eq!(call.told().1, [(0, 5, 100)]);
}
