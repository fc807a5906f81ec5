//! Packets of parties that are known, under a key that may be on its way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use siprec_model::DropCause;

use crate::losses::Losses;

/// How long a packet waits: so long a party's answer may come behind its media.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most bytes of a stream that wait, bookkeeping included: a second of video of 2 Mbit/s.
const MOST_BYTES: usize = 256 << 10;
/// Most bytes of all streams together.
const MOST_IN_ALL: usize = 64 << 20;
/// Bytes of bookkeeping of a packet, about.
const ENTRY: usize = 64;

/// Packets that no key fits although others of their source were authentic: its key may have changed.
///
/// Most such packets are forged, so they wait a second at most, in bounded room. Where that is full, the oldest of the source
/// goes that has most: what floods one source costs another one nothing.
#[derive(Debug)]
pub(crate) struct Late {
    /// Not empty, and each once.
    sources: Vec<Source>,
    bytes: usize,
    room: LateRoom,
}

/// The room that all streams of an engine have together.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateRoom(Arc<AtomicUsize>);

#[derive(Debug)]
struct Source {
    ssrc: u32,
    bytes: usize,
    packets: VecDeque<Packet>,
}

#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    arrival: Instant,
    /// What it counts as when nothing comes of it.
    cause: DropCause,
}

impl LateRoom {
    fn take(&self, bytes: usize) -> bool {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= MOST_IN_ALL)
        });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Packet {
    fn size(&self) -> usize {
        self.bytes.len() + ENTRY
    }
}

impl Late {
    pub(crate) fn new(room: LateRoom) -> Self {
        Self { sources: Vec::new(), bytes: 0, room }
    }

    /// Has a packet wait that is nothing yet but `cause`. What finds no room any more is lost.
    pub(crate) fn push(
        &mut self,
        ssrc: u32,
        bytes: &[u8],
        arrival: Instant,
        cause: DropCause,
        lost: &mut Losses,
    ) {
        let size = bytes.len() + ENTRY;
        while self.bytes + size > MOST_BYTES || !self.room.take(size) {
            if !self.drop_oldest(lost) {
                return lost.add(cause, arrival);
            }
        }
        self.bytes += size;
        let place = self.sources.iter().position(|source| source.ssrc == ssrc).unwrap_or_else(|| {
            self.sources.push(Source { ssrc, bytes: 0, packets: VecDeque::new() });
            self.sources.len() - 1
        });
        if let Some(source) = self.sources.get_mut(place) {
            source.bytes += size;
            source.packets.push_back(Packet { bytes: bytes.to_vec(), arrival, cause });
        }
    }

    /// Takes out the packets of these sources, each source's in order.
    pub(crate) fn take(&mut self, of: impl Fn(u32) -> bool) -> Vec<(Vec<u8>, Instant)> {
        let mut taken = Vec::new();
        let mut freed = 0;
        self.sources.retain_mut(|source| {
            let goes = of(source.ssrc);
            if goes {
                freed += source.bytes;
                taken.extend(source.packets.drain(..).map(|packet| (packet.bytes, packet.arrival)));
            }
            !goes
        });
        self.free(freed);
        taken
    }

    /// What has waited for too long is lost.
    pub(crate) fn expire(&mut self, now: Instant, lost: &mut Losses) {
        self.lose(|packet| now.saturating_duration_since(packet.arrival) >= PATIENCE, lost);
    }

    /// All of it is lost.
    pub(crate) fn give_up(&mut self, lost: &mut Losses) {
        self.lose(|_| true, lost);
    }

    /// What would be lost if all were.
    pub(crate) fn count(&self, lost: &mut Losses) {
        let packets = self.sources.iter().flat_map(|source| &source.packets);
        packets.for_each(|packet| lost.add(packet.cause, packet.arrival));
    }

    /// When [`Late::expire`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let oldest = self.sources.iter().filter_map(|source| source.packets.front());
        oldest.map(|packet| packet.arrival + PATIENCE).min()
    }

    /// Loses each source's oldest packets for as long as `goes` says so.
    fn lose(&mut self, goes: impl Fn(&Packet) -> bool, lost: &mut Losses) {
        let mut freed = 0;
        for source in &mut self.sources {
            while let Some(packet) = source.packets.pop_front_if(|packet| goes(packet)) {
                lost.add(packet.cause, packet.arrival);
                source.bytes -= packet.size();
                freed += packet.size();
            }
        }
        self.sources.retain(|source| !source.packets.is_empty());
        self.free(freed);
    }

    /// Loses the oldest packet of the source that has most; whether there was any.
    fn drop_oldest(&mut self, lost: &mut Losses) -> bool {
        let Some(most) = self.sources.iter_mut().max_by_key(|source| source.bytes) else { return false };
        let Some(packet) = most.packets.pop_front() else { return false };
        let size = packet.size();
        most.bytes -= size;
        lost.add(packet.cause, packet.arrival);
        self.sources.retain(|source| !source.packets.is_empty());
        self.free(size);
        true
    }

    fn free(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.room.give_back(bytes);
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use DropCause::{NoKey, NotAuthentic};

    fn packets(losses: Losses) -> [u64; 2] {
        let counts: Vec<u64> = losses.each().map(|(_, waited)| waited.packets).collect();
        counts.try_into().unwrap()
    }

    /// Their first bytes.
    fn marks(taken: &[(Vec<u8>, Instant)]) -> Vec<u8> {
        taken.iter().map(|(bytes, _)| bytes[0]).collect()
    }

    #[test]
    fn a_packet_waits_for_a_second_and_is_lost_once_as_what_it_was() {
        let start = Instant::now();
        let room = LateRoom::default();
        let (mut late, mut lost) = (Late::new(room.clone()), Losses::default());
        assert_eq!(late.next_timeout(), None);
        for (number, cause) in [NoKey, NotAuthentic, NotAuthentic].into_iter().enumerate() {
            late.push(7, &[0; 100], start + Duration::from_millis(200) * number as u32, cause, &mut lost);
        }
        assert_eq!(late.next_timeout(), Some(start + PATIENCE));
        late.expire(start + Duration::from_millis(999), &mut lost);
        assert_eq!(packets(lost), [0, 0]);
        late.expire(start + Duration::from_millis(1200), &mut lost);
        assert_eq!(packets(lost), [1, 1]);
        late.expire(start + Duration::from_millis(1200), &mut lost);
        let mut counted = lost;
        late.count(&mut counted);
        assert_eq!((packets(lost), packets(counted)), ([1, 1], [1, 2]));
        late.give_up(&mut lost);
        let arrivals = lost.each().map(|(_, waited)| waited.arrivals).collect::<Vec<_>>();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(arrivals, [Some((at(0), at(0))), Some((at(200), at(400)))]);
        assert_eq!((late.next_timeout(), room.0.load(Ordering::Relaxed)), (None, 0));
    }

    #[test]
    fn a_sources_packets_are_taken_in_order_and_those_of_others_stay() {
        let now = Instant::now();
        let room = LateRoom::default();
        let (mut late, mut lost) = (Late::new(room.clone()), Losses::default());
        for number in 0..6 {
            late.push(u32::from(number % 2), &[number; 10], now, NotAuthentic, &mut lost);
        }
        assert_eq!(marks(&late.take(|ssrc| ssrc == 1)), [1, 3, 5]);
        assert!(late.take(|ssrc| ssrc == 1).is_empty());
        assert_eq!(room.0.load(Ordering::Relaxed), 3 * (10 + ENTRY));
        assert_eq!(marks(&late.take(|_| true)), [0, 2, 4]);
        assert_eq!((packets(lost), room.0.load(Ordering::Relaxed)), ([0, 0], 0));
    }

    #[test]
    fn a_flood_of_forgeries_in_one_sources_name_pushes_out_its_own_and_fills_no_memory() {
        let now = Instant::now();
        let (mut late, mut lost) = (Late::new(LateRoom::default()), Losses::default());
        for number in 0..50 {
            late.push(1, &[number; 172], now, NotAuthentic, &mut lost);
        }
        let forged = 100_000;
        for _ in 0..forged {
            late.push(2, &[0; 172], now, NotAuthentic, &mut lost);
            assert!(late.bytes <= MOST_BYTES);
        }
        assert_eq!(marks(&late.take(|ssrc| ssrc == 1)), (0..50).collect::<Vec<_>>());
        late.give_up(&mut lost);
        assert_eq!(packets(lost), [0, forged]);
        late.push(3, &vec![0; MOST_BYTES], now, NoKey, &mut lost);
        assert_eq!(packets(lost), [1, forged], "too large for any room");
    }

    #[test]
    fn the_room_of_all_streams_is_bounded_and_comes_back_with_each_of_them() {
        let now = Instant::now();
        let room = LateRoom::default();
        let mut lost = Losses::default();
        let mut streams: Vec<Late> = (0..300).map(|_| Late::new(room.clone())).collect();
        let size = MOST_BYTES / 4 - ENTRY;
        for late in &mut streams {
            (0..4).for_each(|_| late.push(1, &vec![0; size], now, NotAuthentic, &mut lost));
        }
        assert_eq!(room.0.load(Ordering::Relaxed), MOST_IN_ALL);
        assert_eq!(packets(lost), [0, 4 * (300 - 256)]);
        streams.truncate(100);
        assert_eq!(room.0.load(Ordering::Relaxed), 100 * MOST_BYTES);
    }
}
