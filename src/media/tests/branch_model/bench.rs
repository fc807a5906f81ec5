//! What is done to the branch is done to the model, and what comes of both is compared.

use super::*;

/// A source of the call.
#[derive(Clone, Copy)]
struct Talker {
    sequence: u16,
    timestamp: u32,
}

/// The branch beside the model.
pub(super) struct Bench {
    start: Instant,
    now: u64,
    branch: Branch,
    model: Model,
    talkers: HashMap<u32, Talker>,
    out: Vec<u8>,
    used: HashSet<(u32, u64)>,
    gap_packets: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        let start = Instant::now();
        let limits = BranchLimits {
            hold_time: HOLD_TIME,
            hold_bytes: HOLD_BYTES,
            video_hold_bytes: HOLD_BYTES,
            catch_up: 2.0,
        };
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: CLOCK_RATE, limits };
        Self {
            start,
            now: 0,
            branch: Branch::new(settings, FIRST, start),
            model: Model::new(),
            talkers: HashMap::new(),
            out: Vec::new(),
            used: HashSet::new(),
            gap_packets: 0,
        }
    }

    fn at(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    pub(super) fn run(&mut self, step: Step) {
        match step {
            Step::Packets { source, payload_type, pattern, count, length } => {
                self.talk(source, payload_type, &pattern, count, length);
            }
            Step::QueueFull(packets) => {
                self.branch.handle_loss(DropCause::QueueFull, packets);
                if self.model.state != State::Paused {
                    self.model.seen += packets;
                    self.model.drops.add(DropCause::QueueFull, packets);
                }
            }
            Step::Open(rules) => {
                self.branch.open(RULES[rules], self.at());
                self.model.open(RULES[rules], self.now);
            }
            Step::Move => {
                self.branch.begin_interval();
                self.model.opening += 1;
            }
            Step::Pause => {
                self.branch.pause(self.at());
                self.model.enter(State::Paused, self.now);
            }
            Step::Hold => {
                self.branch.hold(self.at());
                self.model.enter(State::Holding, self.now);
            }
            Step::Freeze => {
                self.branch.freeze(self.at());
                self.model.enter(State::Frozen, self.now);
            }
            Step::Disable => {
                self.branch.disable(self.at());
                self.model.enter(State::Closed, self.now);
                self.lose_waiting(DropCause::Closed);
                while !self.model.held.is_empty() {
                    self.model.discard();
                }
            }
            Step::Wait(ms) => self.now += ms,
            Step::SendFailure => {
                let packets = self.model.sent.min(2);
                self.branch.handle_send_failure(2, 100);
                self.model.sent -= packets;
                self.model.drops.add(DropCause::SendFailed, packets);
                self.model.resent = self.model.resent.min(self.model.sent);
                self.model.fail(2);
            }
            Step::Report(source, back) => {
                if let Some(highest) = self.model.report(source, back, self.now) {
                    self.branch.acknowledge(source, highest, 0, self.at());
                }
            }
            Step::Confirm(ago) => {
                let since = self.now.saturating_sub(ago);
                self.branch.confirm(self.start + Duration::from_millis(since));
                self.model.confirm(since);
            }
            Step::Recall(ago, renews, missed) => self.recall(ago, renews, missed),
            Step::Concede(ago) => self.concede(ago),
        }
        self.drain();
        self.check();
    }

    fn recall(&mut self, ago: u64, renews: bool, missed: Option<u64>) {
        let since = self.now.saturating_sub(ago);
        let lost_before = self.branch.report().drops.of(DropCause::RecorderLost);
        let least = self.model.least_lost(since).saturating_sub(std::mem::take(&mut self.model.surplus));
        let proof = self.start + Duration::from_millis(since);
        let missed = missed.map(|ago| self.now.saturating_sub(ago));
        match missed {
            Some(missed) => {
                self.branch.recall_missed(proof, self.start + Duration::from_millis(missed), self.at());
            }
            None => self.branch.recall(proof, self.at()),
        }
        self.model.recall(since, missed, self.now);
        // When exactly the forgotten left, only the branch remembers, and that roughly: never too few are lost.
        let lost = self.branch.report().drops.of(DropCause::RecorderLost) - lost_before;
        assert!((least..=self.model.forgotten).contains(&lost), "{lost} lost, of {least} at least");
        self.model.forgotten = 0;
        self.model.missing.clear();
        self.model.sent -= lost;
        self.model.resent = self.model.resent.min(self.model.sent);
        self.model.drops.add(DropCause::RecorderLost, lost);
        if renews {
            // Another key: its indices are all new.
            self.branch.begin_session(FIRST);
            self.model.sources.clear();
            self.model.retired.clear();
            self.model.opening += 1;
            self.used.clear();
        }
    }

    fn concede(&mut self, ago: u64) {
        let since = self.now.saturating_sub(ago);
        let lost_before = self.branch.report().drops.of(DropCause::RecorderLost);
        let from = self.start + Duration::from_millis(since);
        self.branch.concede(TimeSpan { from, to: self.at() }, self.at());
        let lost = self.branch.report().drops.of(DropCause::RecorderLost) - lost_before;
        let kept = self.model.concede(since);
        let gone = lost.checked_sub(kept).expect("all that is kept is lost");
        let least = self.model.least_conceded(since);
        let range = least.saturating_sub(self.model.surplus)..=self.model.forgotten;
        assert!(range.contains(&gone), "{gone} of {range:?}");
        self.model.surplus = (self.model.surplus + gone).saturating_sub(least);
        self.model.forgotten -= gone;
        self.model.sent -= gone;
        self.model.resent = self.model.resent.min(self.model.sent);
        self.model.drops.add(DropCause::RecorderLost, lost);
    }

    fn talk(&mut self, source: u32, payload_type: u8, pattern: &Pattern, count: u8, length: usize) {
        let fresh = Talker { sequence: 65_500u16.wrapping_add(source as u16 * 777), timestamp: source << 30 };
        let talker = self.talkers.entry(source).or_insert(fresh);
        match pattern {
            Pattern::Reset(sequence, timestamp) => {
                *talker = Talker { sequence: *sequence, timestamp: *timestamp };
            }
            Pattern::Lossy(lost) => {
                talker.sequence = talker.sequence.wrapping_add(*lost);
                talker.timestamp = talker.timestamp.wrapping_add(u32::from(*lost) * 160);
            }
            Pattern::Back(back) => {
                talker.sequence = talker.sequence.wrapping_sub(*back);
                talker.timestamp = talker.timestamp.wrapping_sub(u32::from(*back) * 160);
            }
            Pattern::InOrder | Pattern::Swapped | Pattern::Doubled | Pattern::Again(..) => {}
        }
        let mut first = *talker;
        talker.sequence = talker.sequence.wrapping_add(u16::from(count));
        talker.timestamp = talker.timestamp.wrapping_add(u32::from(count) * 160);
        let mut apart = 20;
        if let Pattern::Again(ago, ms) = pattern {
            // Nothing new is said.
            *talker = first;
            first.sequence = first.sequence.wrapping_sub(*ago);
            first.timestamp = first.timestamp.wrapping_sub(u32::from(*ago) * 160);
            apart = *ms;
        }
        let mut order: Vec<u16> = (0..u16::from(count)).collect();
        match pattern {
            Pattern::Swapped => order.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1)),
            Pattern::Doubled => order = order.iter().flat_map(|n| [*n, *n]).collect(),
            Pattern::Again(ago, _) => order.truncate(usize::from(*ago)),
            Pattern::InOrder | Pattern::Lossy(_) | Pattern::Reset(..) | Pattern::Back(_) => {}
        }
        for n in order {
            self.now += apart;
            let header = [
                &[0x80, payload_type][..],
                &first.sequence.wrapping_add(n).to_be_bytes(),
                &first.timestamp.wrapping_add(u32::from(n) * 160).to_be_bytes(),
                &source.to_be_bytes(),
            ];
            let packet = [header.concat(), vec![n as u8; length]].concat();
            let arrival = self.at();
            self.out.clear();
            let sent = self.branch.handle_packet(&RtpView::parse(&packet).unwrap(), arrival, &mut self.out);
            let expected = self.model.packet(&packet, self.now);
            self.compare(sent, expected);
            self.drain();
        }
    }

    fn drain(&mut self) {
        loop {
            self.out.clear();
            self.model.is_stuck(self.now);
            let sent = self.branch.next_packet(self.at(), &mut self.out);
            if sent.is_none() {
                break;
            }
            let expected = self.model.next(self.now);
            self.compare(sent, expected);
        }
        // Packets dropped while nothing left.
        while self.model.waiting() > self.branch.held_packets() {
            assert!(!self.model.is_stuck(self.now), "dropped although it may yet be agreed on");
            self.model.opening += u64::from(self.model.held.front().is_some_and(Waiting::is_afresh));
            let waiting = self.model.held.pop_front().unwrap();
            let outcome = self.model.rewritten(&waiting);
            self.model.held.push_front(waiting);
            if outcome == Outcome::Doubtful {
                assert_eq!(self.model.judge_front(self.now), Some(Verdict::Late));
                self.model.discard_late();
            } else {
                assert_eq!(outcome, Outcome::Dropped);
                self.model.discard();
            }
        }
    }

    fn compare(&mut self, sent: Option<Sent>, expected: Option<(Vec<u8>, i64)>) {
        let got = sent.map(|sent| (self.out.clone(), sent.index as i64));
        assert_eq!(got, expected);
        if let Some(sent) = sent {
            assert_eq!(sent.length, self.out.len());
            assert!(
                self.used.insert((sent.ssrc, sent.index)),
                "index {} of {} used twice",
                sent.index,
                sent.ssrc
            );
        }
    }

    fn check(&mut self) {
        let report = self.branch.report();
        assert_eq!(report.seen, report.sent + report.drops.total() + self.branch.held_packets() as u64);
        assert_eq!(
            (report.seen, report.sent, report.resent, report.drops),
            (self.model.seen, self.model.sent, self.model.resent, self.model.drops)
        );
        assert_eq!(self.branch.held_packets(), self.model.waiting());
        let kept: usize = self.model.kept.iter().map(Waiting::size).sum();
        assert_eq!(self.branch.kept_bytes(), kept);
        while let Some(event) = self.branch.poll_event() {
            if let BranchEvent::Gap(siprec_model::Hole { packets, .. }) = event {
                self.gap_packets += packets;
            }
        }
    }

    /// What waits is lost for this cause, or with the recorder that had it.
    fn lose_waiting(&mut self, cause: DropCause) {
        for held in self.model.held.iter().filter(|held| !held.is_void) {
            self.model.drops.add(if held.again { DropCause::RecorderLost } else { cause }, 1);
        }
    }

    pub(super) fn finish(mut self) {
        let late_before = self.branch.report().drops.of(DropCause::Stale);
        self.branch.close(self.at());
        if self.branch.report().drops.of(DropCause::Stale) > late_before {
            // What did wait only for those that would come behind it.
            assert_eq!(self.model.look_ahead(), Err(Verdict::Late));
            self.model.discard_late();
        }
        self.lose_waiting(DropCause::NotDrained);
        self.model.held.clear();
        self.model.kept.clear();
        self.check();
        let drops = self.branch.report().drops;
        let holes = [
            DropCause::QueueFull,
            DropCause::RingFull,
            DropCause::PayloadUnknown,
            DropCause::TooManySources,
            DropCause::SendFailed,
            DropCause::NotDrained,
            DropCause::RecorderLost,
        ];
        let lost: u64 = holes.map(|cause| drops.of(cause)).iter().sum();
        let told = self.gap_packets;
        let lost = lost + self.model.misjudged;
        assert_eq!(told, lost, "every hole is told, and nothing that another recorder got");
    }
}
