//! What the call encrypts, decrypted once for all branches.

use std::collections::VecDeque;
use std::time::Instant;

use siprec_media::RtpView;
use siprec_media::srtp::Unprotector;
use siprec_model::{DropCause, SrtpKey};

use crate::keyring::{Keyring, News};
use crate::late::{Late, LateRoom};
use crate::losses::Losses;
use crate::packed::{Mark, Packed, Raw, Verdict};

/// Most bytes of a stream that wait for a key, bookkeeping included. The oldest packets go first.
const MAX_WAITING: usize = 1 << 20;
/// Bytes of bookkeeping of a packet that waits, about.
const ENTRY: usize = 64;

/// The call's keys of one stream, and the packets that wait for one.
///
/// Packets wait while there is no key at all, and while somebody is being asked for the key of their source. Those that no
/// key fits, of a source that is known, wait for a new one a moment. Every other packet that cannot be decrypted is lost.
#[derive(Debug)]
pub(crate) struct Decipher {
    secured: bool,
    unprotector: Unprotector,
    awaited: Vec<u32>,
    /// Somebody was asked for a key, and has answered.
    answered: bool,
    waiting: VecDeque<(Vec<u8>, Instant)>,
    waiting_bytes: usize,
    late: Late,
    /// A key has come that late packets were not tried with.
    has_new_key: bool,
    /// Packets that waited in vain since somebody asked.
    given_up: Losses,
    /// How many packets were decrypted when the keys in use were last looked at, and which of them were told.
    looked: u64,
    told: Vec<SrtpKey>,
}

impl Decipher {
    /// `room` is for the late packets of all streams.
    pub(crate) fn new(room: LateRoom) -> Self {
        Self {
            secured: false,
            unprotector: Unprotector::new(),
            awaited: Vec::new(),
            answered: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            late: Late::new(room),
            has_new_key: false,
            given_up: Losses::default(),
            looked: 0,
            told: Vec::new(),
        }
    }

    /// Tells of the keys that have decrypted something since it last was, where they are others, or somebody has heard of
    /// those.
    pub(crate) fn tell_used(&mut self, keyring: &Keyring) {
        let looked = std::mem::replace(&mut self.looked, self.unprotector.opened());
        if looked == self.looked {
            return;
        }
        let used = self.unprotector.keys_used_since(looked);
        if keyring.is_heard() || !used.map(|(_, key)| key).eq(&self.told) {
            let mut used: Vec<_> = self.unprotector.keys_used_since(looked).collect();
            self.told = used.iter().map(|(_, key)| (*key).clone()).collect();
            used.sort_by_key(|(last, _)| *last);
            keyring.note_used(used.into_iter().map(|(_, key)| key));
        }
    }

    /// Tells where the sources are, for who is told of the stream after this one.
    pub(crate) fn tell_positions(&self, keyring: &Keyring) {
        keyring.note_positions(self.unprotector.positions());
    }

    /// Takes keys, and whose packets must wait.
    pub(crate) fn learn(&mut self, news: News) {
        let before = self.unprotector.keys_added();
        // What our own cryptography refuses of a key that its maker has checked, there is not.
        let _ = self.unprotector.add_call_keys(&news.keys);
        self.has_new_key |= self.unprotector.keys_added() > before;
        (self.awaited, self.answered) = (news.awaited, news.answered);
    }

    /// Works on packets in their place. While no branch `wants` any, they are followed and not decrypted.
    pub(crate) fn work(&mut self, packed: &mut Packed, wanted: bool) {
        let mut wanted = wanted;
        packed.work(|raw| match raw {
            Raw::Mark(mark) => {
                self.secured = mark.secured.unwrap_or(self.secured);
                self.unprotector.catch_up(&mark.passed);
                wanted |= mark.gate_opened;
                Verdict::Remove
            }
            Raw::Packet(bytes, _) if !self.secured => Verdict::Keep(bytes.len()),
            Raw::Packet(bytes, _) if !wanted => {
                self.unprotector.observe(bytes);
                Verdict::Lose(DropCause::Closed)
            }
            Raw::Packet(bytes, arrival) => self.judge(bytes, arrival),
        });
    }

    /// The packets that wait.
    pub(crate) fn waiting(&self) -> Losses {
        let mut waiting = Losses::default();
        self.waiting.iter().for_each(|(_, arrival)| waiting.add(DropCause::NoKey, *arrival));
        self.late.count(&mut waiting);
        waiting
    }

    /// Whether packets wait for a key that is asked for.
    pub(crate) fn awaits_keys(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When [`Decipher::expire`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.late.next_timeout()
    }

    /// What no key has come for in time is lost.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.late.expire(now, &mut self.given_up);
    }

    /// The packets that need not wait any more, decrypted or lost. `confidential` says what others of the stream are.
    pub(crate) fn release(&mut self, confidential: bool) -> Option<Packed> {
        if !self.unprotector.has_key() {
            return None;
        }
        let mut packets = Vec::from(std::mem::take(&mut self.waiting));
        let has_new_key = std::mem::take(&mut self.has_new_key);
        // Those whose key is asked for now wait with the others.
        let late = self.late.take(|ssrc| has_new_key || self.awaited.contains(&ssrc));
        if !late.is_empty() {
            packets.extend(late);
            packets.sort_by_key(|(_, arrival)| *arrival);
        }
        if packets.is_empty() {
            return None;
        }
        let mut packed = Packed::default();
        // What was encrypted is confidential, whatever the stream has become since.
        packed.mark(Mark { confidential: Some(true), ..Mark::default() });
        for (packet, arrival) in packets {
            packed.push(&[&packet], packet.len(), arrival);
        }
        packed.mark(Mark { confidential: Some(confidential), ..Mark::default() });
        self.waiting_bytes = 0;
        packed.work(|raw| match raw {
            Raw::Packet(bytes, arrival) => self.judge(bytes, arrival),
            Raw::Mark(_) => Verdict::Remove,
        });
        Some(packed)
    }

    /// Nothing more comes: late packets wait no more.
    pub(crate) fn give_up_late(&mut self) {
        self.late.give_up(&mut self.given_up);
    }

    /// The call is over: what waits although whoever has keys has answered waits no more.
    pub(crate) fn give_up(&mut self) {
        if !self.answered {
            return;
        }
        let Self { awaited, waiting, waiting_bytes, given_up, .. } = self;
        waiting.retain(|(packet, arrival)| {
            let waits = RtpView::source(packet).is_some_and(|ssrc| awaited.contains(&ssrc));
            if !waits {
                *waiting_bytes -= packet.len() + ENTRY;
                given_up.add(DropCause::NoKey, *arrival);
            }
            waits
        });
    }

    /// The packets that have waited in vain since this was last asked.
    pub(crate) fn given_up(&mut self) -> Losses {
        std::mem::take(&mut self.given_up)
    }

    fn judge(&mut self, bytes: &mut [u8], arrival: Instant) -> Verdict {
        let has_key = self.unprotector.has_key();
        if (!has_key || !self.awaited.is_empty())
            && let Some(ssrc) = RtpView::source(bytes)
            && (!has_key || self.awaited.contains(&ssrc))
        {
            self.wait(bytes, arrival);
            return Verdict::Remove;
        }
        let cause = match self.unprotector.unprotect_rtp(bytes) {
            Ok(length) => return Verdict::Keep(length),
            Err(fault) => DropCause::from(fault),
        };
        match cause {
            DropCause::Malformed | DropCause::NoKey | DropCause::NotAuthentic if !RtpView::is_rtp(bytes) => {
                Verdict::Lose(DropCause::NotRtp)
            }
            DropCause::NoKey | DropCause::NotAuthentic => {
                let ssrc = RtpView::source(bytes).filter(|ssrc| self.unprotector.knows(*ssrc));
                let Some(ssrc) = ssrc else { return Verdict::Lose(cause) };
                self.late.push(ssrc, bytes, arrival, cause, &mut self.given_up);
                Verdict::Remove
            }
            cause => Verdict::Lose(cause),
        }
    }

    fn wait(&mut self, bytes: &[u8], arrival: Instant) {
        self.waiting_bytes += bytes.len() + ENTRY;
        self.waiting.push_back((bytes.to_vec(), arrival));
        while self.waiting_bytes > MAX_WAITING
            && let Some((oldest, arrival)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= oldest.len() + ENTRY;
            self.given_up.add(DropCause::NoKey, arrival);
            // Nobody decrypts it, and what comes behind it has the counter that it leads to.
            self.unprotector.observe(&oldest);
        }
    }
}
