//! What a sign of life lets a branch forget is nothing that it would have to send again.

#![cfg(test)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchLimits, Medium, PayloadRule};

const RULES: &[PayloadRule] = &[PayloadRule { from: 0, to: 0 }];

/// What happens to a recorder.
#[derive(Clone, Debug)]
enum Step {
    /// So many packets of a source, each 20 ms.
    Talk(u32, u16),
    /// The call says nothing for so many ms.
    Rest(u64),
    /// A report on all that a source has sent but for so many packets. Where reports come, they come from the start.
    Report(u32, u64),
    /// A question that was asked so many ms ago is answered.
    Answer(u64),
    /// The recorder is lost. Whether all that it answered is believed, or less: it may have been deaf for so many ms.
    Lose(Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    let source = || prop_oneof![4 => Just(1u32), 1 => Just(2u32)];
    prop_oneof![
        8 => (source(), 1u16..400).prop_map(|(source, count)| Step::Talk(source, count)),
        1 => (0u64..20_000).prop_map(Step::Rest),
        2 => (source(), 0u64..300).prop_map(|(source, back)| Step::Report(source, back)),
        4 => (0u64..2000).prop_map(Step::Answer),
        1 => prop::option::of(0u64..20_000).prop_map(Step::Lose),
    ]
}

/// A branch that is told of answers, or is not.
struct Side {
    branch: Branch,
    told: bool,
    sent: Vec<(u32, u32)>,
    highest: [u64; 3],
    /// Packets of each source that this recorder was sent.
    count: [u64; 3],
}

impl Side {
    fn new(told: bool, start: Instant) -> Self {
        // No bounds: what it would lose by those is another question.
        let hold_time = Duration::from_secs(86_400);
        let limits = BranchLimits { hold_time, hold_bytes: 64 << 20, ..BranchLimits::default() };
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let mut branch = Branch::new(settings, 5000, start);
        branch.open(RULES, start);
        Self { branch, told, sent: Vec::new(), highest: [0; 3], count: [0; 3] }
    }

    fn take(&mut self, source: u32, number: u16, now: Instant) {
        let header = [
            &[0x80, 0][..],
            &number.to_be_bytes(),
            &(u32::from(number) * 160).to_be_bytes(),
            &source.to_be_bytes(),
            &[0xD5; 20],
        ];
        let mut out = Vec::new();
        let packet = header.concat();
        if let Some(sent) = self.branch.handle_packet(&RtpView::parse(&packet).unwrap(), now, &mut out) {
            self.highest[source as usize] = sent.index;
            self.count[source as usize] += 1;
        }
    }

    /// The next recorder has everything that waits.
    fn fail_over(&mut self, since: Instant, now: Instant) {
        self.branch.recall(since, now);
        self.branch.open(RULES, now);
        self.count = [0; 3];
        let mut out = Vec::new();
        let later = now + Duration::from_secs(60);
        while let Some(sent) = self.branch.next_packet(later, &mut out) {
            let view = RtpView::parse(&out).unwrap();
            self.sent.push((view.ssrc(), view.timestamp()));
            self.highest[view.ssrc() as usize] = sent.index;
            self.count[view.ssrc() as usize] += 1;
            out.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_next_recorder_gets_the_same_with_and_without_signs_of_life(
        steps in prop::collection::vec(step(), 1..30),
        reports: bool,
    ) {
        let start = Instant::now();
        let mut sides = [Side::new(false, start), Side::new(true, start)];
        let (mut now, mut opened, mut proof, mut heard) = (start, start, start, start);
        let mut numbers = [0u16; 3];
        let mut first: Option<Instant> = None;
        for step in steps {
            match step {
                Step::Talk(source, count) => {
                    first.get_or_insert(now);
                    for _ in 0..count {
                        now += Duration::from_millis(20);
                        let number = numbers[source as usize];
                        numbers[source as usize] += 1;
                        sides.iter_mut().for_each(|side| side.take(source, number, now));
                    }
                }
                Step::Rest(ms) => now += Duration::from_millis(ms),
                Step::Report(source, back) => {
                    // The first one in time, or none.
                    let in_time = first.is_some_and(|first| now < first + Duration::from_secs(15));
                    let place = source as usize;
                    if reports && (in_time || heard > opened) && sides[0].count[place] > back {
                        for side in &mut sides {
                            let highest = side.highest[place] - back;
                            side.branch.acknowledge(source, u32::try_from(highest).unwrap(), 0, now);
                        }
                        heard = now;
                    }
                }
                Step::Answer(ago) => {
                    proof = proof.max(now - Duration::from_millis(ago).min(now - opened));
                    sides.iter_mut().filter(|side| side.told).for_each(|side| side.branch.confirm(proof));
                }
                Step::Lose(deaf) => {
                    // Who reports may be deaf for as long as it has not.
                    let since = if heard > opened && deaf.is_some() { proof.min(heard) } else { proof };
                    sides.iter_mut().for_each(|side| side.fail_over(since, now));
                    now += Duration::from_secs(60);
                    (opened, proof, heard, first) = (now, now, now, Some(now));
                }
            }
            prop_assert!(sides[1].branch.kept_bytes() <= sides[0].branch.kept_bytes());
        }
        sides.iter_mut().for_each(|side| side.fail_over(proof, now));
        let [without, with] = &sides;
        prop_assert_eq!(&without.sent, &with.sent);
        let lost = |side: &Side| side.branch.report().drops.total();
        prop_assert_eq!((lost(without), lost(with)), (0, 0));
    }
}
