//! What may happen to a branch.

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Packets {
        source: u32,
        payload_type: u8,
        pattern: Pattern,
        count: u8,
        length: usize,
    },
    QueueFull(u64),
    Open(usize),
    Move,
    Pause,
    Hold,
    Freeze,
    Disable,
    Wait(u64),
    SendFailure,
    /// A receiver report on a source, so far behind what was sent, or ahead of it.
    Report(u32, i64),
    /// The recorder gave a sign of life so many ms ago.
    Confirm(u64),
    /// The recorder is lost, whose last sign of life is so many ms ago. The next one has another key, or none. It has
    /// missed a stretch at once, since so many ms ago at the earliest, or not.
    Recall(u64, bool, Option<u64>),
    /// By the reports of another stream, what left since so many ms ago is lost.
    Concede(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Pattern {
    InOrder,
    Lossy(u16),
    Swapped,
    Doubled,
    /// The call's sequence number goes anywhere.
    Reset(u16, u32),
    /// The source starts again as it was so many packets ago.
    Back(u16),
    /// What was said so many packets ago comes again, so many ms apart.
    Again(u16, u64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let pattern = prop_oneof![
        6 => Just(Pattern::InOrder),
        2 => (1u16..3200).prop_map(Pattern::Lossy),
        2 => Just(Pattern::Swapped),
        2 => Just(Pattern::Doubled),
        2 => prop_oneof![1u16..100, 100u16..3200].prop_map(Pattern::Back),
        2 => (1u16..140, prop_oneof![Just(0u64), Just(1), Just(20)]).prop_map(|(ago, apart)| Pattern::Again(ago, apart)),
        1 => (any::<u16>(), any::<u32>()).prop_map(|(sequence, timestamp)| Pattern::Reset(sequence, timestamp)),
    ];
    let packets = (
        prop_oneof![8 => Just(1u32), 2 => 2u32..4, 1 => 4u32..14],
        prop_oneof![8 => Just(0u8), 2 => Just(101), 1 => Just(13)],
        pattern,
        1u8..60,
        prop_oneof![8 => Just(160usize), 1 => 0usize..7000],
    );
    prop_oneof![
        12 => packets.prop_map(|(source, payload_type, pattern, count, length)| {
            Step::Packets { source, payload_type, pattern, count, length }
        }),
        1 => (1u64..5).prop_map(Step::QueueFull),
        3 => (0usize..2).prop_map(Step::Open),
        1 => Just(Step::Move),
        2 => Just(Step::Pause),
        2 => Just(Step::Hold),
        2 => Just(Step::Freeze),
        1 => Just(Step::Disable),
        3 => prop_oneof![5 => 1u64..500, 1 => 500u64..800_000].prop_map(Step::Wait),
        1 => Just(Step::SendFailure),
        2 => (prop_oneof![4 => Just(1u32), 1 => 2u32..4], prop_oneof![6 => 0i64..40, 1 => -3i64..0, 1 => Just(65_530)])
            .prop_map(|(source, back)| Step::Report(source, back)),
        1 => (0u64..6000).prop_map(Step::Confirm),
        1 => (0u64..6000).prop_map(Step::Concede),
        2 => (0u64..6000, any::<bool>(), prop::option::of(0u64..60_000))
            .prop_map(|(ago, renews, missed)| Step::Recall(ago, renews, missed)),
    ]
}
