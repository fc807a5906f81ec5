//! Packets that the socket did not take: lost once nobody can get them any more, and told then.

#![cfg(test)]

use std::time::{Duration, Instant};

use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchEvent, BranchLimits, DropCause, Hole, Medium, PayloadRule};

const RULES: &[PayloadRule] = &[PayloadRule { from: 0, to: 0 }];
const SSRC: u32 = 7;
const SPACING: Duration = Duration::from_millis(20);

/// A call of packets of 20 ms, and its branch.
struct Call {
    branch: Branch,
    start: Instant,
    number: u32,
}

impl Call {
    fn new(limits: BranchLimits) -> Self {
        let start = Instant::now();
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let mut branch = Branch::new(settings, 300, start);
        branch.open(RULES, start);
        Self { branch, start, number: 0 }
    }

    fn now(&self) -> Instant {
        self.start + SPACING * self.number
    }

    /// So many packets; the index of the last.
    fn talk(&mut self, packets: u32) -> u64 {
        let mut index = 0;
        for _ in 0..packets {
            let mut bytes = vec![0x80, 0];
            bytes.extend((self.number as u16).to_be_bytes());
            bytes.extend((self.number * 160).to_be_bytes());
            bytes.extend(SSRC.to_be_bytes());
            bytes.extend([0; 160]);
            let packet = RtpView::parse(&bytes).unwrap();
            let sent = self.branch.handle_packet(&packet, self.now(), &mut Vec::new());
            index = sent.map_or(index, |sent| sent.index);
            self.number += 1;
        }
        index
    }

    /// Packets of which the socket takes none.
    fn talk_in_vain(&mut self, packets: u32) {
        for _ in 0..packets {
            self.talk(1);
            self.branch.handle_send_failure(1, 172);
        }
    }

    fn holes(&mut self) -> Vec<Hole> {
        std::iter::from_fn(|| self.branch.poll_event())
            .filter_map(|event| if let BranchEvent::Gap(hole) = event { Some(hole) } else { None })
            .collect()
    }

    /// The hole that packets made which did not leave, from the one of this number on.
    fn hole(&self, from: u32, packets: u32) -> Hole {
        let start = self.start + SPACING * from;
        Hole { start, packets: packets.into(), duration: SPACING * packets, cause: DropCause::SendFailed }
    }
}

#[test]
fn what_did_not_leave_and_goes_to_the_next_recorder_is_never_told_as_lost() {
    let mut call = Call::new(BranchLimits::default());
    call.talk_in_vain(150);
    assert_eq!(call.branch.report().drops.of(DropCause::SendFailed), 150);
    assert_eq!(call.holes(), []);
    call.branch.recall(call.start, call.now());
    call.branch.open(RULES, call.now());
    let mut received = 0;
    while call.branch.held_packets() > 0 {
        call.number += 1;
        while call.branch.next_packet(call.now(), &mut Vec::new()).is_some() {
            received += 1;
        }
    }
    assert_eq!(received, 150);
    call.branch.close(call.now());
    assert_eq!(call.holes(), []);
    let report = call.branch.report();
    assert_eq!((report.seen, report.sent, report.drops.total(), report.gaps), (150, 150, 0, 0));
}

#[test]
fn what_did_not_leave_is_told_when_the_recorder_has_acknowledged_what_came_behind_it() {
    let mut call = Call::new(BranchLimits::default());
    call.talk(10);
    call.talk_in_vain(5);
    for (packets, left_out) in [(200, 0), (1_250, 5)] {
        let highest = call.talk(packets);
        call.branch.acknowledge(SSRC, highest as u32, left_out, call.now());
        assert_eq!(call.holes(), [], "told when it is certain, and the recording goes on");
    }
    call.talk(1);
    assert_eq!(call.holes(), [call.hole(10, 5)]);
    // And once only.
    call.branch.close(call.now());
    assert_eq!(call.holes(), []);
}

#[test]
fn what_did_not_leave_is_told_when_it_is_kept_no_longer_and_at_the_end() {
    let mut call = Call::new(BranchLimits { hold_time: Duration::from_secs(2), ..BranchLimits::default() });
    call.talk(10);
    call.talk_in_vain(5);
    call.talk(80);
    assert_eq!(call.holes(), []);
    let told: u64 = (0..100).flat_map(|_| (call.talk(1), call.holes()).1).map(|hole| hole.packets).sum();
    assert_eq!(told, 5);
    call.talk_in_vain(3);
    assert_eq!(call.holes(), []);
    call.branch.close(call.now());
    assert_eq!(call.holes(), [call.hole(195, 3)]);
}

#[test]
fn what_is_not_kept_is_told_at_once() {
    let mut call = Call::new(BranchLimits { hold_bytes: 0, ..BranchLimits::default() });
    call.talk(10);
    call.talk_in_vain(5);
    call.talk(1);
    assert_eq!(call.branch.report().drops.of(DropCause::SendFailed), 5);
    assert_eq!(call.holes().iter().map(|hole| hole.packets).sum::<u64>(), 5);
}
