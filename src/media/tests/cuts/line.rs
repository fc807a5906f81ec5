//! A call, its branch and a recorder that reports, with a way between them that loses.

use std::time::{Duration, Instant};

use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchEvent, BranchLimits, DropCause, Medium, PayloadRule, TimeSpan};

pub(super) const RULES: &[PayloadRule] = &[PayloadRule { from: 0, to: 0 }];
pub(super) const SSRC: u32 = 7;

/// What a receiver counts (RFC 3550 A.3).
#[derive(Default)]
pub(super) struct Receiver {
    pub(super) first: Option<u64>,
    pub(super) highest: u64,
    pub(super) received: u64,
}

impl Receiver {
    pub(super) fn take(&mut self, index: u64) {
        self.first.get_or_insert(index);
        self.highest = self.highest.max(index);
        self.received += 1;
    }

    pub(super) fn report(&self) -> Option<(u32, i32)> {
        let expected = self.highest + 1 - self.first?;
        Some((self.highest as u32, expected as i32 - self.received as i32))
    }
}

/// A call, its branch and the recorder, with a way between them that loses.
pub(super) struct Line {
    pub(super) branch: Branch,
    pub(super) start: Instant,
    pub(super) ms: u64,
    pub(super) ptime: u64,
    pub(super) interval: u64,
    pub(super) receiver: Receiver,
    /// What the counter of the receiver was when it began.
    pub(super) before: i32,
    /// Packets of the call that were sent and not received, by number.
    pub(super) missed: Vec<u64>,
    pub(super) found: Vec<u64>,
    pub(super) gaps: Vec<u64>,
    /// When each of them began at the earliest, in milliseconds.
    pub(super) starts: Vec<u128>,
    /// Within which time it is said that something is lost, in milliseconds.
    pub(super) lost_within: Vec<[u128; 2]>,
}

impl Line {
    pub(super) fn new(limits: BranchLimits, ptime: u64) -> Self {
        let start = Instant::now();
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let mut branch = Branch::new(settings, 300, start);
        branch.open(RULES, start);
        let receiver = Receiver::default();
        Self {
            branch,
            start,
            ms: 0,
            ptime,
            interval: 5000,
            receiver,
            before: 0,
            missed: Vec::new(),
            found: Vec::new(),
            gaps: Vec::new(),
            starts: Vec::new(),
            lost_within: Vec::new(),
        }
    }

    pub(super) fn usual() -> Self {
        Self::new(BranchLimits::default(), 20)
    }

    pub(super) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    /// The call goes on for a while; `lost` says of a number which packets the way loses. A report that comes while
    /// `is_cut` is lost, too.
    pub(super) fn go_on(&mut self, ms: u64, is_cut: bool, mut lost: impl FnMut(u64) -> bool) {
        let end = self.ms + ms;
        while self.ms < end {
            let number = self.ms / self.ptime;
            let bytes = packet(number, self.ptime);
            let mut out = Vec::new();
            let sent = self.branch.handle_packet(&RtpView::parse(&bytes).unwrap(), self.now(), &mut out);
            let Some(sent) = sent else { panic!("packet {number} does not leave") };
            if lost(number) {
                self.missed.push(number);
            } else {
                self.receiver.take(sent.index);
            }
            let reported = self.ms / self.interval;
            self.ms += self.ptime;
            if self.ms / self.interval > reported && !is_cut {
                self.report();
            }
        }
        self.hear();
    }

    /// A packet of the call from another source leaves: its index.
    pub(super) fn speak_as(&mut self, ssrc: u8, number: u64) -> u64 {
        let mut bytes = packet(number, self.ptime);
        bytes[11] = ssrc;
        let view = RtpView::parse(&bytes).unwrap();
        let sent = self.branch.handle_packet(&view, self.now(), &mut Vec::new());
        self.ms += self.ptime;
        sent.unwrap().index
    }

    /// The call has ended, and all has left: so many packets at once are told to have been missed, and nothing else.
    pub(super) fn missed_at_end(&mut self) -> u64 {
        self.branch.drain();
        let events: Vec<_> = std::iter::from_fn(|| self.branch.poll_event()).collect();
        let [
            BranchEvent::StretchMissed { packets, within: Some(_) },
            BranchEvent::BacklogEmpty { recalls: 0 },
        ] = events[..]
        else {
            panic!("{events:?}")
        };
        packets
    }

    /// Packets leave for so long, and the host does not take them.
    pub(super) fn fails(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.go_on(self.ptime, true, |_| true);
            self.branch.handle_send_failure(1, 160);
        }
    }

    pub(super) fn report(&mut self) {
        if let Some((highest, lost)) = self.receiver.report() {
            // 24 bits with a sign.
            let lost = (self.before.wrapping_add(lost) << 8) >> 8;
            self.branch.acknowledge(SSRC, highest, lost, self.now());
            self.hear();
        }
    }

    pub(super) fn hear(&mut self) {
        while let Some(event) = self.branch.poll_event() {
            match event {
                BranchEvent::StretchMissed { packets, .. } => self.found.push(packets),
                // Of what never left.
                BranchEvent::Gap(hole) if hole.cause == DropCause::SendFailed => {}
                BranchEvent::Gap(hole) => {
                    assert_eq!(hole.cause, DropCause::RecorderLost);
                    self.gaps.push(hole.packets);
                    self.starts.push(hole.start.duration_since(self.start).as_millis());
                }
                BranchEvent::StretchLost { within: TimeSpan { from, to } } => {
                    let since = |moment: Instant| moment.duration_since(self.start).as_millis();
                    self.lost_within.push([since(from), since(to)]);
                }
                _ => {}
            }
        }
    }

    /// Others have missed what left within this time.
    pub(super) fn concede(&mut self, within: [u64; 2]) {
        let [from, to] = within.map(|ms| self.start + Duration::from_millis(ms));
        self.branch.concede(TimeSpan { from, to }, self.now());
        self.hear();
    }

    pub(super) fn works(&mut self, ms: u64) {
        self.go_on(ms, false, |_| false);
    }

    pub(super) fn is_cut(&mut self, ms: u64) {
        self.go_on(ms, true, |_| true);
    }

    /// The numbers of all packets that the next recorder gets.
    pub(super) fn recalled(&mut self) -> Vec<u64> {
        // Its last sign of life is worth nothing where it sends reports.
        self.branch.recall(self.now(), self.now());
        self.branch.open(RULES, self.now());
        let (mut out, mut numbers) = (Vec::new(), Vec::new());
        while self.branch.held_packets() > 0 {
            self.ms += 20;
            while self.branch.next_packet(self.now(), &mut out).is_some() {
                let timestamp = RtpView::parse(&out).unwrap().timestamp();
                numbers.push(u64::from(timestamp) / (8 * self.ptime));
                out.clear();
            }
        }
        self.hear();
        numbers
    }
}

pub(super) fn packet(number: u64, ptime: u64) -> Vec<u8> {
    let header = [
        &[0x80, 0][..],
        &(number as u16).to_be_bytes(),
        &((number * 8 * ptime) as u32).to_be_bytes(),
        &SSRC.to_be_bytes(),
        &[0xD5; 160],
    ];
    header.concat()
}

/// Pseudo-random: whether packet `number` is one of `percent` of a hundred.
pub(super) fn chance(percent: u64) -> impl FnMut(u64) -> bool {
    move |number| {
        let mut mixed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ mixed >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 33) % 100 < percent
    }
}

/// What a branch may keep, the rest as usual.
pub(super) fn keeping(hold_bytes: usize, hold_seconds: u64) -> BranchLimits {
    let hold_time = Duration::from_secs(hold_seconds);
    BranchLimits { hold_bytes, hold_time, ..BranchLimits::default() }
}
