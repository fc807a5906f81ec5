//! Packets that wait, behind those that were sent and are kept: packed and bounded.

use std::fmt;

use crate::blocks::{Blocks, Place};
use crate::entry::{Entry, Fate, Left, PREFIX, Times};
use crate::memory::{HoldMemory, Purpose};
use crate::receipts::{Outgoing, Passage};
use crate::rtp::RtpView;

/// Packets in the order in which they came, up to a limit.
///
/// ```text
///   oldest ── kept: they have left ──▶ front ── waiting ──▶ newest
/// ```
/// A packet that leaves stays where it is, and becomes one that is kept. Memory follows what there is.
pub(crate) struct Ring {
    blocks: Blocks,
    /// Where the oldest packet is, and where the first one that waits.
    start: Place,
    front: Place,
    /// Bytes in use.
    used: usize,
    /// How many of them, from the oldest on, are of packets that are kept.
    kept_bytes: usize,
    kept: usize,
    /// From when on the oldest of them [grows old](Entry::ages_from), if there is any. It stands here since its entry has long left
    /// every cache, and is asked for with each packet.
    ages_from: u64,
    /// Packets behind those, and how many of them are out of use: the others wait. The first one does.
    rest: usize,
    void: usize,
    /// Waiting packets that begin a group.
    groups: usize,
    /// Length of the newest entry.
    newest: u16,
    limit: usize,
}

impl Ring {
    /// An empty ring that holds at most `limit` bytes, a few bytes of bookkeeping for each packet included.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            blocks: Blocks::new(limit),
            start: Place::default(),
            front: Place::default(),
            used: 0,
            kept_bytes: 0,
            kept: 0,
            ages_from: 0,
            rest: 0,
            void: 0,
            groups: 0,
            newest: 0,
            limit,
        }
    }

    /// Shares this budget with other rings.
    pub(crate) fn join(&mut self, memory: HoldMemory) {
        self.blocks.share.join(memory);
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest == 0
    }

    /// Packets that wait.
    pub(crate) fn packets(&self) -> usize {
        self.rest - self.void
    }

    /// Bytes that wait, bookkeeping included.
    pub(crate) fn bytes(&self) -> usize {
        self.used - self.kept_bytes
    }

    /// Bytes that are kept, bookkeeping included.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Waiting packets that begin a group.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Another limit. The caller throws out what is beyond it.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.blocks.set_limit(limit);
    }

    /// Whether more is held than may be.
    pub(crate) fn is_over(&self) -> bool {
        self.used > self.limit
    }

    /// Whether it may hold anything at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.limit > 0
    }

    /// Whether the packet would fit into an empty ring.
    pub(crate) fn could_hold(&self, packet: &RtpView<'_>) -> bool {
        PREFIX + packet.bytes().len() <= self.limit
    }

    /// Whether the packet fits beside what there is, with more memory if that is allowed.
    pub(crate) fn makes_room_for(&mut self, packet: &RtpView<'_>, purpose: Purpose) -> bool {
        let size = PREFIX + packet.bytes().len();
        self.used + size <= self.limit && self.blocks.make_room(size, purpose)
    }

    /// Appends a packet that waits, which `begins` a group or not. The caller has made room.
    pub(crate) fn push(&mut self, packet: &RtpView<'_>, times: Times, begins: bool, afresh: bool) {
        self.append(&Entry::arriving(packet, times).beginning(begins).afresh(afresh), packet.bytes());
        self.rest += 1;
        self.groups += usize::from(begins);
    }

    /// Appends a packet that has left at once. Nothing waits, and the caller has made room.
    pub(crate) fn push_left(&mut self, packet: &RtpView<'_>, times: Times, begins: bool, left: Left) {
        let entry = Entry::arriving(packet, times).beginning(begins).left(left);
        self.append(&entry, packet.bytes());
        self.count_kept(&entry);
        self.front = self.blocks.behind(self.front, entry.size());
    }

    /// Judges anew, from the oldest on, which packets begin a group.
    pub(crate) fn regroup(&mut self, mut begins: impl FnMut(&RtpView<'_>) -> bool) {
        let mut at = self.start;
        self.groups = 0;
        for place in 0..self.kept + self.rest {
            let Some(entry) = self.read(at) else { return };
            let begins = RtpView::parse(self.packet(at, &entry)).is_ok_and(|packet| begins(&packet));
            self.groups += usize::from(begins && place >= self.kept && entry.fate() != Fate::Void);
            self.write(at, &entry.beginning(begins));
            at = self.blocks.behind(at, entry.size());
        }
    }

    /// The payload types of what waits, one bit each. Not of what has left before, to a recorder that was lost.
    pub(crate) fn payload_types(&self) -> u128 {
        let (mut at, mut types) = (self.front, 0);
        for _ in 0..self.rest {
            let Some(entry) = self.read(at) else { break };
            if entry.fate() != Fate::Void && !entry.is_recalled() {
                types |= 1u128.checked_shl(entry.header.payload_type.into()).unwrap_or(0);
            }
            at = self.blocks.behind(at, entry.size());
        }
        types
    }

    /// The first packet that waits.
    pub(crate) fn front(&self) -> Option<Entry> {
        if self.rest == 0 { None } else { self.read(self.front) }
    }

    /// How many packets stand behind those that are kept, out of use or not.
    pub(crate) fn rest(&self) -> usize {
        self.rest
    }

    /// The packets that wait among the first `sight` of them.
    pub(crate) fn waiting(&self, sight: usize) -> impl Iterator<Item = Entry> + '_ {
        self.entries(self.front, self.rest.min(sight)).filter(|entry| entry.fate() != Fate::Void)
    }

    /// Appends the bytes of the first packet that waits to `out`.
    pub(crate) fn copy_front(&self, front: &Entry, out: &mut Vec<u8>) {
        out.extend_from_slice(self.packet(self.front, front));
    }

    /// The first packet that waits has left, and is kept.
    pub(crate) fn leave(&mut self, front: Entry, left: Left) {
        self.pass(front.left(left));
    }

    /// The first packet that waits is out of use. It goes from memory with those before it.
    pub(crate) fn discard(&mut self) -> Option<Entry> {
        let front = self.front()?;
        let is_oldest = self.kept == 0;
        self.pass(front.with_fate(Fate::Void));
        if is_oldest {
            self.forget_all();
        }
        Some(front)
    }

    /// From when on the oldest packet that is kept grows old, out of use or not.
    pub(crate) fn ages_from(&self) -> Option<u64> {
        (self.kept > 0).then_some(self.ages_from)
    }

    /// The oldest packet that is kept, out of use or not.
    pub(crate) fn oldest(&self) -> Option<Entry> {
        if self.kept == 0 { None } else { self.read(self.start) }
    }

    /// The packet behind the oldest one, kept or not.
    pub(crate) fn second(&self) -> Option<Entry> {
        let oldest = self.oldest()?;
        if self.kept + self.rest > 1 {
            self.read(self.blocks.behind(self.start, oldest.size()))
        } else {
            None
        }
    }

    /// The oldest packet of all, kept or not.
    fn first(&self) -> Option<Entry> {
        if self.kept + self.rest == 0 { None } else { self.read(self.start) }
    }

    /// Forgets the oldest packet that is kept.
    pub(crate) fn forget(&mut self) -> Option<Entry> {
        let oldest = self.oldest()?;
        self.start = self.blocks.behind(self.start, oldest.size());
        self.used -= oldest.size();
        self.kept_bytes -= oldest.size();
        self.kept -= 1;
        if self.used == 0 {
            self.start = self.blocks.clear();
            self.front = self.start;
        } else {
            self.blocks.release_before(self.start);
            self.ages_from = self.oldest().map_or(0, |oldest| oldest.ages_from());
        }
        Some(oldest)
    }

    /// Forgets everything that is kept.
    pub(crate) fn forget_all(&mut self) {
        while self.forget().is_some() {}
    }

    /// Forgets kept packets, from the oldest on, while they are `settled`. With `by_group`, what is left begins a group
    /// if any of what is settled does. Each that [counts as lost](Entry::counts_as_lost) is `told`, with the one behind it.
    pub(crate) fn settle(
        &mut self,
        by_group: bool,
        settled: impl Fn(&Entry) -> bool,
        mut told: impl FnMut(&Entry, Option<&Entry>),
    ) {
        let (mut at, mut count, mut whole) = (self.start, 0, None);
        while count < self.kept
            && let Some(entry) = self.read(at)
        {
            if entry.begins() {
                whole = Some(count);
            }
            if !settled(&entry) {
                break;
            }
            count += 1;
            at = self.blocks.behind(at, entry.size());
        }
        let count = whole.filter(|_| by_group).unwrap_or(count);
        for _ in 0..count {
            if let Some(gone) = self.forget().filter(Entry::counts_as_lost) {
                told(&gone, self.first().as_ref());
            }
        }
    }

    /// What was sent of a source behind an index up to another one, as far as it is kept.
    pub(crate) fn sent_between(&self, ssrc: u32, behind: u64, to: u64) -> Passage {
        self.outgoing_between(ssrc, behind, to).sent
    }

    /// The same, and what the socket or the host did not take in the same place.
    pub(crate) fn outgoing_between(&self, ssrc: u32, behind: u64, to: u64) -> Outgoing {
        let mut outgoing = Outgoing::default();
        let is_it =
            |entry: &Entry| entry.header.ssrc == ssrc && entry.is_within(to) && !entry.is_within(behind);
        for entry in self.entries(self.start, self.kept).filter(is_it) {
            match entry.fate() {
                Fate::Sent => outgoing.sent.add(&entry),
                Fate::SendFailed => outgoing.unsent.add(&entry),
                Fate::Void | Fate::NotProtected => {}
            }
        }
        outgoing
    }

    /// What left last of a source under this sequence number, and is kept.
    pub(crate) fn sent_as(&self, ssrc: u32, sequence: u16) -> Option<Entry> {
        let is_it =
            |entry: &Entry| entry.header.ssrc == ssrc && entry.is_sent() && entry.sequence() == sequence;
        self.entries(self.start, self.kept).filter(is_it).last()
    }

    /// Everything that is kept waits again, in front of what waits. Each packet is told of as it was kept.
    pub(crate) fn recall(&mut self, mut told: impl FnMut(&Entry)) {
        let mut at = self.start;
        for _ in 0..std::mem::take(&mut self.kept) {
            let Some(entry) = self.read(at) else { break };
            if entry.fate() == Fate::Void {
                self.void += 1;
            } else {
                told(&entry);
                self.groups += usize::from(entry.begins());
                self.write(at, &entry.recalled());
            }
            self.rest += 1;
            at = self.blocks.behind(at, entry.size());
        }
        self.kept_bytes = 0;
        self.front = self.start;
        self.pass_void();
    }

    /// The `count` packets that left last did not get far: this is what became of them. Says how many of them are kept.
    pub(crate) fn fail(&mut self, count: u64, fate: Fate) -> u64 {
        let mut at = self.front;
        // Behind the newest stands nobody who knows its length.
        let mut length = match self.read(at).filter(|_| self.kept_bytes < self.used) {
            Some(front) => front.previous(),
            None => self.newest,
        };
        let (mut left, mut found) = (self.kept, 0);
        while found < count && left > 0 {
            at = self.blocks.before(at, usize::from(length) + PREFIX);
            let Some(entry) = self.read(at) else { break };
            if entry.fate() == Fate::Sent {
                self.write(at, &entry.with_fate(fate));
                found += 1;
            }
            length = entry.previous();
            left -= 1;
        }
        found
    }

    /// What left from one moment on until another, in nanoseconds since the branch was made, did not get far, where it `is_open` whether it
    /// did. Says what of it is kept.
    pub(crate) fn fail_between(&mut self, from: u64, to: u64, is_open: impl Fn(&Entry) -> bool) -> Passage {
        let (mut at, mut passage) = (self.start, Passage::default());
        for _ in 0..self.kept {
            let Some(entry) = self.read(at) else { break };
            if entry.was_sent_within(from, to) && is_open(&entry) {
                self.write(at, &entry.with_fate(Fate::SendFailed));
                passage.add(&entry);
            }
            at = self.blocks.behind(at, entry.size());
        }
        passage
    }

    /// What left from one moment on until another, in nanoseconds since the branch was made, as far as it is kept.
    pub(crate) fn left_between(&self, from: u64, to: u64) -> Passage {
        let mut passage = Passage::default();
        let is_it = |entry: &Entry| entry.was_sent_within(from, to);
        self.entries(self.start, self.kept).filter(is_it).for_each(|entry| passage.add(&entry));
        passage
    }

    /// What left in the same time and `is_open` is out of use. Each packet is `told` of, with the one behind it.
    pub(crate) fn void_between(
        &mut self,
        from: u64,
        to: u64,
        is_open: impl Fn(&Entry) -> bool,
        mut told: impl FnMut(&Entry, Option<&Entry>),
    ) {
        let mut at = self.start;
        for place in 1..=self.kept {
            let Some(entry) = self.read(at) else { break };
            let behind = self.blocks.behind(at, entry.size());
            if entry.was_sent_within(from, to) && is_open(&entry) {
                let next = if place < self.kept + self.rest { self.read(behind) } else { None };
                told(&entry, next.as_ref());
                self.write(at, &entry.with_fate(Fate::Void));
            }
            at = behind;
        }
    }

    /// The first packet that waits is kept from now on, as `entry` says.
    fn pass(&mut self, entry: Entry) {
        self.write(self.front, &entry);
        self.front = self.blocks.behind(self.front, entry.size());
        self.count_kept(&entry);
        self.rest -= 1;
        self.groups -= usize::from(entry.begins());
        self.pass_void();
    }

    /// One more packet is kept, behind the others.
    fn count_kept(&mut self, entry: &Entry) {
        if self.kept == 0 {
            self.ages_from = entry.ages_from();
        }
        self.kept += 1;
        self.kept_bytes += entry.size();
    }

    /// What is out of use does not wait.
    fn pass_void(&mut self) {
        while let Some(front) = self.front().filter(|front| front.fate() == Fate::Void) {
            self.front = self.blocks.behind(self.front, front.size());
            self.count_kept(&front);
            self.rest -= 1;
            self.void -= 1;
        }
    }

    /// So many packets from there on, out of use or not.
    fn entries(&self, from: Place, count: usize) -> impl Iterator<Item = Entry> + '_ {
        let mut at = from;
        (0..count).map_while(move |_| {
            let entry = self.read(at)?;
            at = self.blocks.behind(at, entry.size());
            Some(entry)
        })
    }

    fn read(&self, at: Place) -> Option<Entry> {
        Entry::from_bytes(self.blocks.read(at).first_chunk()?)
    }

    fn write(&mut self, at: Place, entry: &Entry) {
        self.blocks.overwrite(at, &entry.prefix());
    }

    /// The bytes of the packet at that place.
    fn packet(&self, at: Place, entry: &Entry) -> &[u8] {
        self.blocks.read(at).get(PREFIX..entry.size()).unwrap_or_default()
    }

    fn append(&mut self, entry: &Entry, bytes: &[u8]) {
        self.blocks.append(&entry.behind(self.newest).prefix(), bytes);
        self.used += PREFIX + bytes.len();
        self.newest = entry.length();
    }
}

/// Without the packets: they are somebody's words.
impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kept, used, limit, .. } = self;
        f.debug_struct("Ring")
            .field("packets", &self.packets())
            .field("kept", kept)
            .field("used", used)
            .field("limit", limit)
            .finish()
    }
}
