//! A branch and a call that it is fed with.

use std::time::{Duration, Instant};

use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchEvent, BranchLimits, DropCause, Hole, Medium, PayloadRule};

pub(crate) const RULES: &[PayloadRule] = &[PayloadRule { from: 0, to: 0 }];
pub(crate) const FIRST: u16 = 5000;

/// A branch and a call of 20 ms packets.
pub(crate) struct Call {
    pub(crate) branch: Branch,
    pub(crate) start: Instant,
    pub(crate) ms: u64,
    /// Sent packets: when (ms), index, marker, the call's own timestamp.
    pub(crate) sent: Vec<(u64, u64, bool, u32)>,
}

impl Call {
    pub(crate) fn new(medium: Medium, limits: BranchLimits) -> Self {
        let start = Instant::now();
        let settings = BranchSettings { medium, clock_rate: 8000, limits };
        Self { branch: Branch::new(settings, FIRST, start), start, ms: 0, sent: Vec::new() }
    }

    pub(crate) fn audio() -> Self {
        Self::new(Medium::Audio, BranchLimits::default())
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    pub(crate) fn open(&mut self) {
        self.branch.open(RULES, self.now());
    }

    /// The call's packet of this moment: sequence number and timestamp follow the time.
    pub(crate) fn packet(&self) -> Vec<u8> {
        packet((self.ms / 20) as u16, (self.ms * 8) as u32, 1, 0)
    }

    /// Packets for `ms` milliseconds, polling as the engine does.
    pub(crate) fn talk(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            let packet = self.packet();
            self.take(&packet);
            for _ in 0..4 {
                self.ms += 5;
                self.poll();
            }
        }
    }

    pub(crate) fn take(&mut self, packet: &[u8]) {
        let mut out = Vec::new();
        let sent = self.branch.handle_packet(&RtpView::parse(packet).unwrap(), self.now(), &mut out);
        if let Some(sent) = sent {
            self.note(&out, sent.index);
        }
    }

    pub(crate) fn poll(&mut self) {
        let mut out = Vec::new();
        while let Some(sent) = self.branch.next_packet(self.now(), &mut out) {
            self.note(&out, sent.index);
            out.clear();
        }
    }

    pub(crate) fn note(&mut self, out: &[u8], index: u64) {
        let view = RtpView::parse(out).unwrap();
        assert_eq!(view.sequence(), index as u16);
        self.sent.push((self.ms, index, view.marker(), view.timestamp()));
    }

    pub(crate) fn events(&mut self) -> Vec<BranchEvent> {
        std::iter::from_fn(|| self.branch.poll_event()).collect()
    }

    pub(crate) fn gaps(&mut self) -> Vec<(u64, u64, DropCause)> {
        let of = |event| match event {
            BranchEvent::Gap(Hole { packets, duration, cause, .. }) => {
                Some((packets, duration.as_millis() as u64, cause))
            }
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }

    pub(crate) fn indices(&self) -> Vec<u64> {
        self.sent.iter().map(|(_, index, ..)| *index).collect()
    }
}

pub(crate) fn packet(sequence: u16, timestamp: u32, ssrc: u32, payload_type: u8) -> Vec<u8> {
    let header = [
        &[0x80, payload_type][..],
        &sequence.to_be_bytes(),
        &timestamp.to_be_bytes(),
        &ssrc.to_be_bytes(),
        &[0xD5; 160],
    ];
    header.concat()
}
