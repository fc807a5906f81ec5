//! What of a call's packet the recording's is.

#![cfg(test)]

use std::time::{Duration, Instant};

use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchLimits, DropCause, Medium, PayloadRule};

const FIRST: u16 = 5000;

#[test]
fn only_sequence_marker_and_payload_type_are_written_over() {
    let start = Instant::now();
    let limits = BranchLimits::default();
    let settings = BranchSettings { medium: Medium::Video, clock_rate: 90_000, limits };
    let mut branch = Branch::new(settings, FIRST, start);
    branch.open(&[PayloadRule { from: 96, to: 107 }], start);
    // Two CSRCs, an extension of one word, padding of three bytes.
    let packet = [
        [0xB2, 0x80 | 96, 0x11, 0x22, 1, 2, 3, 4, 5, 6, 7, 8].as_slice(),
        &[0xC5; 8],
        &[0xBE, 0xDE, 0, 1, 9, 9, 9, 9],
        &[1, 2, 3, 4, 5, 0, 0, 3],
    ]
    .concat();
    let mut out = vec![0xEE];
    let sent = branch.handle_packet(&RtpView::parse(&packet).unwrap(), start, &mut out).unwrap();
    assert_eq!(sent.length, packet.len());
    let mut expected = packet;
    expected[1] = 0x80 | 107;
    expected[2..4].copy_from_slice(&FIRST.to_be_bytes());
    assert_eq!((out[0], &out[1..]), (0xEE, &expected[..]));
    assert_eq!(branch.senders().next().unwrap().octets, 5);
}

/// A stream of 20 ms packets, whose numbers go on whatever becomes of them.
struct Stream {
    branch: Branch,
    now: Instant,
    sequence: u16,
    /// The numbers that packets have left under.
    left: Vec<u64>,
}

impl Stream {
    fn open(&mut self) {
        self.branch.open(&[PayloadRule { from: 0, to: 0 }], self.now);
    }

    fn talk(&mut self, packets: usize, length: usize) {
        for _ in 0..packets {
            self.now += Duration::from_millis(20);
            self.sequence += 1;
            let number = self.sequence.to_be_bytes();
            let timestamp = (u32::from(self.sequence) * 160).to_be_bytes();
            let packet = [&[0x80, 0][..], &number, &timestamp, &[1; 4], &vec![7; length]].concat();
            let packet = RtpView::parse(&packet).unwrap();
            let sent = self.branch.handle_packet(&packet, self.now, &mut Vec::new());
            self.left.extend(sent.map(|sent| sent.index));
        }
    }

    fn deliver(&mut self) {
        while self.branch.held_packets() > 0 {
            self.now += Duration::from_millis(10);
            let sent = self.branch.next_packet(self.now, &mut Vec::new());
            self.left.extend(sent.map(|sent| sent.index));
        }
    }
}

/// A receiver counts holes in the numbers as losses of the network.
#[test]
fn what_was_not_sent_before_the_recorder_was_lost_makes_no_hole_in_the_numbers_of_the_next_one() {
    for cause in [DropCause::Closed, DropCause::RingFull] {
        let now = Instant::now();
        let limits = BranchLimits { hold_bytes: 32 << 10, ..BranchLimits::default() };
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let mut stream =
            Stream { branch: Branch::new(settings, FIRST, now), now, sequence: 900, left: Vec::new() };
        stream.open();
        stream.talk(50, 160);
        match cause {
            // The recorder takes nothing for a while, and is lost.
            DropCause::Closed => {
                stream.branch.disable(stream.now);
                stream.talk(10, 160);
                stream.branch.recall(now, stream.now);
                stream.branch.hold(stream.now);
            }
            // While nobody is there something comes that no ring has room for.
            _ => {
                stream.branch.recall(now, stream.now);
                stream.talk(10, 65_000);
            }
        }
        stream.talk(5, 160);
        stream.open();
        // Behind what waits, and then at once.
        stream.talk(5, 160);
        stream.deliver();
        stream.talk(5, 160);
        let first = u64::from(FIRST);
        assert_eq!(stream.left, (first..first + 50 + 65).collect::<Vec<_>>(), "{cause:?}");
        let report = stream.branch.report();
        assert_eq!((report.drops.of(cause), report.drops.total()), (10, 10));
    }
}
