//! What the call encrypts, decrypted once for all branches.

use std::collections::VecDeque;
use std::time::Instant;

use siprec_media::RtpView;
use siprec_media::srtp::Unprotector;
use siprec_model::DropCause;

use crate::keyring::News;
use crate::packed::{Mark, Packed, Raw, Verdict};

/// Most bytes of a stream that wait for a key, bookkeeping included. The oldest packets go first.
const MAX_WAITING: usize = 1 << 20;
/// Bytes of bookkeeping of a packet that waits, about.
const ENTRY: usize = 64;

/// The call's keys of one stream, and the packets that wait for one.
///
/// Packets wait while there is no key at all, and while somebody is being asked for the key of their source. Every other
/// packet that cannot be decrypted is lost.
#[derive(Debug, Default)]
pub(crate) struct Decipher {
    secured: bool,
    unprotector: Unprotector,
    awaited: Vec<u32>,
    /// Somebody was asked for a key, and has answered.
    answered: bool,
    waiting: VecDeque<(Vec<u8>, Instant)>,
    waiting_bytes: usize,
    /// Packets that waited in vain since somebody asked.
    given_up: Waited,
}

/// Packets that wait, or waited, for a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waited {
    /// How many.
    pub(crate) packets: u64,
    /// When the first and the last of them arrived; `None` where there is none.
    pub(crate) arrivals: Option<(Instant, Instant)>,
}

impl Waited {
    fn add(&mut self, arrival: Instant) {
        self.packets += 1;
        let (first, last) = self.arrivals.unwrap_or((arrival, arrival));
        self.arrivals = Some((first.min(arrival), last.max(arrival)));
    }
}

impl Decipher {
    /// Takes keys, and whose packets must wait.
    pub(crate) fn learn(&mut self, news: News) {
        for key in &news.keys {
            // What our own cryptography refuses of a key that its maker has checked, there is not.
            let _ = self.unprotector.add_call_key(key);
        }
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
    pub(crate) fn waiting(&self) -> Waited {
        let (first, last) = (self.waiting.front(), self.waiting.back());
        let arrivals = first.zip(last).map(|((_, first), (_, last))| (*first, *last));
        Waited { packets: self.waiting.len() as u64, arrivals }
    }

    /// The packets that need not wait any more, decrypted or lost. `confidential` says what others of the stream are.
    pub(crate) fn release(&mut self, confidential: bool) -> Option<Packed> {
        if self.waiting.is_empty() || !self.unprotector.has_key() {
            return None;
        }
        let mut packed = Packed::default();
        // What was encrypted is confidential, whatever the stream has become since.
        packed.mark(Mark { confidential: Some(true), ..Mark::default() });
        for (packet, arrival) in std::mem::take(&mut self.waiting) {
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
                given_up.add(*arrival);
            }
            waits
        });
    }

    /// The packets that have waited in vain since this was last asked.
    pub(crate) fn given_up(&mut self) -> Waited {
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
        match self.unprotector.unprotect_rtp(bytes) {
            Ok(length) => Verdict::Keep(length),
            Err(fault) => Verdict::Lose(match fault.into() {
                DropCause::Malformed | DropCause::NoKey | DropCause::NotAuthentic
                    if !RtpView::is_rtp(bytes) =>
                {
                    DropCause::NotRtp
                }
                cause => cause,
            }),
        }
    }

    fn wait(&mut self, bytes: &[u8], arrival: Instant) {
        self.waiting_bytes += bytes.len() + ENTRY;
        self.waiting.push_back((bytes.to_vec(), arrival));
        while self.waiting_bytes > MAX_WAITING
            && let Some((oldest, arrival)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= oldest.len() + ENTRY;
            self.given_up.add(arrival);
        }
    }
}
