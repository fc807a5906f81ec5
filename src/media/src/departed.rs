//! Packets as they have left, for a while: what a recorder asks for again is sent again.

use std::time::{Duration, Instant};

use crate::memory::{HoldMemory, Purpose, Share};

/// Bytes of the first buffer, and what others are a multiple of.
const SMALL: usize = 8 * 1024;
/// Places of the first table.
const FEW: usize = 128;
/// Time of the stream that the buffer should span: as long as a receiver goes on asking.
const SPAN: Duration = Duration::from_secs(2);
/// Time runs no faster than this from packet to packet: what left before a pause is not older behind it.
const LONGEST_STEP: Duration = Duration::from_millis(200);
/// A packet leaves again so long after it has left, at the earliest: who asks sooner cannot know yet whether it comes.
const APART: Duration = Duration::from_millis(20);
/// And so often at most.
const MOST_TIMES: u8 = 32;
/// How many packets may leave again beyond those that have left for the first time meanwhile.
const CREDIT: u32 = 64;

/// The packets that one branch has sent of late, byte for byte as they have left, and how often each may leave again when its
/// recorder says that it has not come (generic NACK, RFC 4585 §6.2.1).
///
/// Nothing is encrypted again: what leaves a second time is what left the first time, so that no key protects two packets
/// under one index, whatever is asked for (RFC 3711 §9.1). Where the key or the recorder changes, the caller
/// [forgets](Departed::forget) what has left before.
///
/// Requests are forged easily where RTCP is plain, and cost their sender little. So over any time no more packets leave again
/// than have left for the first time in it, and 64 besides, and none oftener than every 20 ms and 32 times in all.
pub struct Departed {
    /// Circular: byte `n` of all that ever was kept stands at `n` modulo its length.
    buffer: Box<[u8]>,
    /// Bytes that ever were kept.
    end: u64,
    /// By sequence number, modulo its length, which is a power of two. What is no longer in the buffer counts as empty.
    places: Box<[Place]>,
    share: Share,
    limit: usize,
    /// The first packet of the newest source, and when it left.
    first: Option<(u32, u16, Instant)>,
    lap: Lap,
    /// What the times of places count from.
    epoch: Instant,
    /// Packets that may leave again now.
    credit: u32,
    repeated: u64,
    denied: u64,
}

/// Where a packet is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Behind its last byte, counted as [`Departed::end`]; 0 in an empty place.
    end: u64,
    ssrc: u32,
    /// When it left last, in milliseconds since the epoch.
    left_ms: u32,
    sequence: u16,
    length: u16,
    /// How often it has left again.
    times: u8,
}

/// Once through the buffer: how long that takes says how large it should be.
#[derive(Debug)]
struct Lap {
    bytes: usize,
    packets: usize,
    duration: Duration,
    last: Instant,
}

impl Departed {
    /// Nothing has left yet. At most `limit` bytes are used, as part of the budget `memory`.
    pub fn new(limit: usize, memory: HoldMemory, now: Instant) -> Self {
        let mut share = Share::default();
        share.join(memory);
        Self {
            buffer: Box::default(),
            end: 0,
            places: Box::default(),
            share,
            limit,
            first: None,
            lap: Lap { bytes: 0, packets: 0, duration: Duration::ZERO, last: now },
            epoch: now,
            credit: CREDIT,
            repeated: 0,
            denied: 0,
        }
    }

    /// A packet leaves for the first time, protected or not.
    pub fn keep(&mut self, packet: &[u8], now: Instant) {
        self.credit = (self.credit + 1).min(CREDIT);
        let Some((ssrc, sequence)) = name_of(packet) else { return };
        let Ok(length) = u16::try_from(packet.len()) else { return };
        if self.first.is_none_or(|(first, ..)| first != ssrc) {
            self.first = Some((ssrc, sequence, now));
        }
        self.lap.duration += now.saturating_duration_since(self.lap.last).min(LONGEST_STEP);
        self.lap.last = now;
        if self.lap.bytes + packet.len() > self.buffer.len() {
            self.resize();
        }
        if packet.len() > self.buffer.len() {
            return;
        }
        self.lap.bytes += packet.len();
        self.lap.packets += 1;
        self.write(packet);
        let left_ms = self.milliseconds(now);
        let end = self.end;
        if let Some(place) = self.place_mut(sequence) {
            *place = Place { end, ssrc, left_ms, sequence, length, times: 0 };
        }
    }

    /// The recorder asks for this packet again: where it is here and may leave, it is appended to `out` as it left before. Its
    /// length in bytes.
    pub fn again(&mut self, ssrc: u32, sequence: u16, now: Instant, out: &mut Vec<u8>) -> Option<usize> {
        let start = out.len();
        let length = self.find(ssrc, sequence, now).filter(|_| self.credit > 0).and_then(|place| {
            self.copy(place, out);
            // What stands in the buffer is that packet, or nothing leaves.
            let written = out.get(start..).unwrap_or_default();
            let is_that = name_of(written) == Some((ssrc, sequence));
            (is_that && written.len() == usize::from(place.length)).then_some(written.len())
        });
        if length.is_none() {
            out.truncate(start);
            self.denied += 1;
            return None;
        }
        self.credit -= 1;
        self.repeated += 1;
        let left_ms = self.milliseconds(now);
        if let Some(place) = self.place_mut(sequence) {
            place.left_ms = left_ms;
            place.times = place.times.saturating_add(1);
        }
        length
    }

    /// Source and sequence number of the packet that was kept last.
    pub fn newest(&self) -> Option<(u32, u16)> {
        let newest = self.places.iter().max_by_key(|place| place.end)?;
        (newest.end > 0).then_some((newest.ssrc, newest.sequence))
    }

    /// The same of the first packet of the newest source, for as long as a receiver may ask for it: it cannot know of that
    /// one that it is missing.
    pub fn first(&self, now: Instant) -> Option<(u32, u16)> {
        let (ssrc, sequence, left) = self.first?;
        (now.saturating_duration_since(left) < SPAN).then_some((ssrc, sequence))
    }

    /// What has left so far never leaves again: another key, or another recorder.
    pub fn forget(&mut self) {
        self.first = None;
        self.places.fill(Place::default());
    }

    /// How many packets have left again, and how many were asked for that have not: too old, of another key, too soon or
    /// too many.
    pub fn account(&self) -> (u64, u64) {
        (self.repeated, self.denied)
    }

    /// Counts a request that was not even looked at.
    pub fn deny(&mut self, packets: u64) {
        self.denied += packets;
    }

    fn find(&self, ssrc: u32, sequence: u16, now: Instant) -> Option<Place> {
        let place = *self.places.get(self.place_of(sequence))?;
        let is_here = place.end > 0
            && self.end.saturating_sub(place.end) + u64::from(place.length) <= self.buffer.len() as u64
            && (place.ssrc, place.sequence) == (ssrc, sequence);
        let rested = Duration::from_millis(self.milliseconds(now).saturating_sub(place.left_ms).into());
        (is_here && place.times < MOST_TIMES && rested >= APART).then_some(place)
    }

    fn place_of(&self, sequence: u16) -> usize {
        usize::from(sequence) & self.places.len().wrapping_sub(1)
    }

    fn place_mut(&mut self, sequence: u16) -> Option<&mut Place> {
        let place = self.place_of(sequence);
        self.places.get_mut(place)
    }

    fn milliseconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u32::MAX)
    }

    /// A lap is over. Where it was too short for what should be here, the next one is longer.
    fn resize(&mut self) {
        let Lap { packets, duration, .. } = self.lap;
        let present = self.buffer.len();
        let ratio = SPAN.as_secs_f64() * 1.25 / duration.as_secs_f64().max(0.01);
        // At first nothing is known; then at most so much more at once.
        let ratio = if present == 0 { 1.0 } else { ratio.min(8.0) };
        if ratio > 1.25 || present == 0 {
            let wanted = (present.max(SMALL) as f64 * ratio) as usize;
            let capacity = wanted.next_multiple_of(SMALL).min(self.limit);
            let table = ((packets as f64 * ratio) as usize + FEW / 4).next_power_of_two();
            let table = table.clamp(FEW, 1 << 15).max(self.places.len());
            let bytes = capacity + table * size_of::<Place>();
            if capacity > present && self.share.resize(bytes, Purpose::Kept) {
                self.move_to(capacity, table);
            }
        }
        self.lap = Lap { bytes: 0, packets: 0, duration: Duration::ZERO, last: self.lap.last };
    }

    /// Moves what there is into a larger buffer and table.
    fn move_to(&mut self, capacity: usize, table: usize) {
        let present = self.end.min(self.buffer.len() as u64);
        let first = self.end - present;
        let mut bytes = Vec::with_capacity(capacity);
        self.copy_range(first, present as usize, &mut bytes);
        bytes.resize(capacity, 0);
        self.buffer = bytes.into_boxed_slice();
        self.end = present;
        let before = std::mem::replace(&mut self.places, vec![Place::default(); table].into_boxed_slice());
        for place in before {
            // Those that are no longer in the buffer end before its first byte, or reach before it.
            let Some(end) = place.end.checked_sub(first).filter(|end| *end >= u64::from(place.length)) else {
                continue;
            };
            if let Some(to) = self.place_mut(place.sequence).filter(|to| to.end < end && place.end > 0) {
                *to = Place { end, ..place };
            }
        }
    }

    fn write(&mut self, packet: &[u8]) {
        let at = self.position(self.end);
        let (head, tail) = packet.split_at(packet.len().min(self.buffer.len() - at));
        if let Some(to) = self.buffer.get_mut(at..at + head.len()) {
            to.copy_from_slice(head);
        }
        if let Some(to) = self.buffer.get_mut(..tail.len()) {
            to.copy_from_slice(tail);
        }
        self.end += packet.len() as u64;
    }

    fn copy(&self, place: Place, out: &mut Vec<u8>) {
        let length = u64::from(place.length);
        self.copy_range(place.end.saturating_sub(length), usize::from(place.length), out);
    }

    fn copy_range(&self, from: u64, length: usize, out: &mut Vec<u8>) {
        let at = self.position(from);
        let head = length.min(self.buffer.len() - at);
        out.extend_from_slice(self.buffer.get(at..at + head).unwrap_or_default());
        out.extend_from_slice(self.buffer.get(..length - head).unwrap_or_default());
    }

    fn position(&self, byte: u64) -> usize {
        byte.checked_rem(self.buffer.len() as u64).unwrap_or(0) as usize
    }
}

/// Source and sequence number of a packet, which are never encrypted (RFC 3711 §3.1).
fn name_of(packet: &[u8]) -> Option<(u32, u16)> {
    let [_, _, high, low, _, _, _, _, a, b, c, d, ..] = *packet else { return None };
    Some((u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low])))
}

/// Without the packets: they are somebody's words.
impl std::fmt::Debug for Departed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Departed").field("bytes", &self.buffer.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn packet(ssrc: u32, sequence: u16, length: usize, content: u8) -> Vec<u8> {
        let mut packet = vec![content; length.max(12)];
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        packet
    }

    struct Rig {
        departed: Departed,
        memory: HoldMemory,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let (memory, now) = (HoldMemory::new(1 << 20), Instant::now());
            Self { departed: Departed::new(64 * 1024, memory.clone(), now), memory, now }
        }

        /// A packet every 20 ms.
        fn keep(&mut self, sequence: u16) {
            self.now += 20 * MS;
            self.departed.keep(&packet(7, sequence, 188, sequence as u8), self.now);
        }

        fn again(&mut self, sequence: u16) -> Option<Vec<u8>> {
            let mut out = vec![9];
            let length = self.departed.again(7, sequence, self.now, &mut out);
            assert_eq!(out.len() - 1, length.unwrap_or(0));
            length.map(|_| out.split_off(1))
        }
    }

    #[test]
    fn what_left_within_two_seconds_leaves_again_as_it_left() {
        let mut rig = Rig::new();
        // Over the wrap of the numbers, and long enough to know the stream.
        let numbers = (0..500u16).map(|number| number.wrapping_add(65_300));
        for sequence in numbers {
            rig.keep(sequence);
        }
        let last = 500u16.wrapping_add(65_299);
        rig.now += 20 * MS;
        for back in (0..100).step_by(3) {
            let sequence = last.wrapping_sub(back);
            assert_eq!(rig.again(sequence), Some(packet(7, sequence, 188, sequence as u8)), "{back}");
        }
        assert_eq!(rig.again(last.wrapping_sub(400)), None, "too old");
        assert_eq!(rig.departed.again(8, last, rig.now, &mut Vec::new()), None, "of another source");
        assert_eq!(rig.departed.account(), (34, 2));
        assert!(rig.memory.used() < 40_000, "{}", rig.memory.used());
    }

    #[test]
    fn what_left_before_a_pause_is_not_older_behind_it() {
        let mut rig = Rig::new();
        (0..300).for_each(|sequence| rig.keep(sequence));
        rig.now += Duration::from_secs(60);
        rig.keep(300);
        assert!(rig.again(210).is_some());
    }

    #[test]
    fn a_packet_leaves_again_every_20_ms_and_32_times_at_most() {
        let mut rig = Rig::new();
        rig.keep(1);
        assert_eq!(rig.again(1), None, "it may be on its way");
        let mut times = 0;
        for ms in 0..1000 {
            rig.now += MS;
            if ms % 10 == 0 {
                // Others go on leaving, so that there is credit.
                rig.departed.keep(&packet(7, 1000 + ms, 100, 0), rig.now);
            }
            times += u32::from(rig.again(1).is_some());
        }
        assert_eq!(times, 32);
    }

    #[test]
    fn no_more_leaves_again_than_leaves_for_the_first_time_and_64_besides() {
        let mut rig = Rig::new();
        let mut times = 0;
        for sequence in 0..1000u16 {
            rig.keep(sequence);
            times += (0..100).filter(|back| rig.again(sequence.wrapping_sub(*back)).is_some()).count();
        }
        assert!((900..=1064).contains(&times), "{times}");
        let (repeated, denied) = rig.departed.account();
        assert_eq!((repeated, repeated + denied), (times as u64, 100_000));
    }

    #[test]
    fn what_is_forgotten_never_leaves_again() {
        let mut rig = Rig::new();
        (0..10).for_each(|sequence| rig.keep(sequence));
        rig.departed.forget();
        rig.keep(10);
        rig.now += 20 * MS;
        assert_eq!((0..=10).filter_map(|sequence| rig.again(sequence)).count(), 1);
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let now = Instant::now();
        for (limit, memory) in [(0, 1 << 20), (1 << 20, 100)] {
            let mut departed = Departed::new(limit, HoldMemory::new(memory), now);
            departed.keep(&packet(7, 1, 188, 1), now);
            assert_eq!(departed.again(7, 1, now + 20 * MS, &mut Vec::new()), None);
            assert_eq!(departed.newest(), None);
        }
    }

    #[test]
    fn its_memory_is_given_back() {
        let mut rig = Rig::new();
        rig.keep(1);
        assert!(rig.memory.used() > 0);
        drop(rig.departed);
        assert_eq!(rig.memory.used(), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Keep { ssrc: u32, advance: u16, length: usize, after_ms: u64 },
        Again { ssrc: u32, back: u16 },
        Forget,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let keep = (0..2u32, 0..4u16, 12..1500usize, 0..400u64)
            .prop_map(|(ssrc, advance, length, after_ms)| Step::Keep { ssrc, advance, length, after_ms });
        let again = (0..2u32, 0..300u16).prop_map(|(ssrc, back)| Step::Again { ssrc, back });
        let step = prop_oneof![20 => keep, 20 => again, 1 => Just(Step::Forget)];
        proptest::collection::vec(step, 0..600)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]
        #[test]
        fn what_leaves_again_is_byte_for_byte_what_left_last_under_its_number(steps in steps()) {
            let mut now = Instant::now();
            let mut departed = Departed::new(16 * 1024, HoldMemory::new(1 << 20), now);
            let mut left: HashMap<(u32, u16), Vec<u8>> = HashMap::new();
            let mut sequences = [65_000u16, 300];
            for (content, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Keep { ssrc, advance, length, after_ms } => {
                        now += MS * after_ms as u32;
                        let sequence = &mut sequences[ssrc as usize];
                        *sequence = sequence.wrapping_add(advance);
                        let packet = packet(ssrc, *sequence, length, content as u8);
                        departed.keep(&packet, now);
                        left.insert((ssrc, *sequence), packet);
                    }
                    Step::Again { ssrc, back } => {
                        let sequence = sequences[ssrc as usize].wrapping_sub(back);
                        let mut out = Vec::new();
                        if departed.again(ssrc, sequence, now, &mut out).is_some() {
                            prop_assert_eq!(Some(&out), left.get(&(ssrc, sequence)));
                        } else {
                            prop_assert!(out.is_empty());
                        }
                    }
                    Step::Forget => {
                        departed.forget();
                        left.clear();
                    }
                }
            }
        }
    }
}
