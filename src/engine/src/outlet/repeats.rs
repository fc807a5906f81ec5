//! What a recorder has not got and asks for again: generic NACK (RFC 4585 §6.2.1).

use std::time::{Duration, Instant};

use siprec_media::Departed;
use siprec_media::rtcp::{Feedback, feedback};
use siprec_model::{BranchReport, Medium};

use super::Outlet;
use crate::burst::{Outcome, Way};
use crate::gate::Gate;
use crate::kit::Kit;

/// How many packets are looked for each time that the sockets are read: whoever asks for more is not heard.
const MOST_ASKED: usize = 1024;
/// Part of what a stream may hold that its packets as they have left may take, too: of the default, 64 KiB, or 1 MiB of video.
const PART: usize = 8;
/// Who has asked so lately may have missed the end as well.
const LATELY: Duration = Duration::from_secs(10);
/// The first packet of a source leaves again so often while others of it are missed, since nothing came before it that shows
/// whether it is missing.
const FIRST_WORDS: u32 = 5;
/// And the last packet of all, since nothing comes after it.
const LAST_WORDS: u32 = 5;
const BETWEEN_LAST_WORDS: Duration = Duration::from_millis(40);
/// Who has not asked for so long has everything.
const QUIET: Duration = Duration::from_millis(500);
/// Nobody waits longer for that.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// The packets of one branch that may be asked for, and who asks.
#[derive(Debug)]
pub(super) struct Repeats {
    departed: Departed,
    /// Whether the recorder has agreed to ask.
    agreed: bool,
    /// What it has asked for, by source and sequence number, and has not got yet.
    asked: Vec<(u32, u16)>,
    last_asked: Option<Instant>,
    /// The first packet of the newest source, and how often it has left again unasked.
    first: Option<(u32, u16)>,
    first_words: u32,
    farewell: Farewell,
}

/// The end of a stream, where packets have been missed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    None,
    /// All has left, and nobody has been told yet.
    Due,
    /// The last packet leaves again and again.
    Spoken {
        since: Instant,
        times: u32,
        next: Instant,
    },
}

impl Repeats {
    fn new(departed: Departed) -> Self {
        Self {
            departed,
            agreed: false,
            asked: Vec::new(),
            last_asked: None,
            first: None,
            first_words: 0,
            farewell: Farewell::None,
        }
    }

    /// A packet leaves for the first time.
    pub(super) fn keep(&mut self, packet: &[u8], now: Instant) {
        if self.agreed {
            self.departed.keep(packet, now);
        }
    }

    /// Listens to what the recorder says, which is authentic where that can be known.
    pub(super) fn hear(&mut self, datagram: &[u8], now: Instant) {
        if !self.agreed {
            return;
        }
        let Self { departed, asked, last_asked, .. } = self;
        feedback(datagram, |told| {
            if let Feedback::Missing { ssrc, sequence } = told {
                *last_asked = Some(now);
                if asked.len() < MOST_ASKED {
                    asked.push((ssrc, sequence));
                } else {
                    departed.deny(1);
                }
            }
        });
        let first = self.departed.first(now);
        if std::mem::replace(&mut self.first, first) != first {
            self.first_words = 0;
        }
        if let Some((ssrc, _)) = first
            && self.asked.iter().any(|asked| asked.0 == ssrc)
            && self.first_words < FIRST_WORDS
        {
            self.asked.extend(first);
            self.first_words += 1;
        }
    }

    /// What has left so far never leaves again.
    pub(super) fn forget(&mut self) {
        self.departed.forget();
        self.asked.clear();
    }

    /// Whether something is to be done before the stream has ended.
    fn bids_farewell(&self) -> bool {
        self.farewell != Farewell::None
    }
}

impl Outlet {
    /// The recorder asks for what it has not got, or does not.
    pub(super) fn agree_on_repeats(&mut self, agreed: bool, kit: &Kit, now: Instant) {
        if agreed && self.repeats.is_none() {
            let limit = match self.medium {
                Medium::Audio => self.limits.hold_bytes,
                Medium::Video => self.limits.video_hold_bytes,
            };
            let departed = Departed::new(limit / PART, kit.memory.clone(), now);
            self.repeats = Some(Box::new(Repeats::new(departed)));
        }
        if let Some(repeats) = &mut self.repeats {
            if !agreed {
                repeats.forget();
            }
            repeats.agreed = agreed;
        }
    }

    /// What has left so far never leaves again: it was for another recorder, or under another key.
    pub(super) fn forget_departed(&mut self) {
        if let Some(repeats) = &mut self.repeats {
            repeats.forget();
        }
    }

    /// Sends again what the recorder has asked for, as it has left before. Nothing of a branch that is not open, or whose gate
    /// is shut.
    pub(super) fn repeat(&mut self, gate: Gate<'_>, kit: &mut Kit, now: Instant) {
        let Some(repeats) = self.repeats.as_mut().filter(|repeats| !repeats.asked.is_empty()) else { return };
        let mut asked = std::mem::take(&mut repeats.asked);
        let sent = self.send_again(&asked, gate, kit, now);
        if let Some(repeats) = &mut self.repeats {
            repeats.departed.deny((asked.len() - sent) as u64);
            asked.clear();
            // Its memory is kept from use to use.
            repeats.asked = asked;
        }
    }

    /// Whether the end must wait: all has left, but the recorder may not have the last of it.
    pub(super) fn bids_farewell(&self) -> bool {
        self.is_open() && self.repeats.as_ref().is_some_and(|repeats| repeats.bids_farewell())
    }

    /// All has left. Whether the recorder may miss the last of it, so that nobody is told yet.
    pub(super) fn begin_farewell(&mut self) -> bool {
        let is_open = self.is_open();
        let lossy = |repeats: &&mut Box<Repeats>| is_open && repeats.agreed && repeats.last_asked.is_some();
        match self.repeats.as_mut().filter(lossy) {
            Some(repeats) => {
                repeats.farewell = Farewell::Due;
                true
            }
            None => false,
        }
    }

    /// There is no end, or no way to make it good. Whether it has not been told yet.
    pub(super) fn break_farewell(&mut self) -> bool {
        let repeats = self.repeats.as_mut();
        repeats
            .is_some_and(|repeats| std::mem::replace(&mut repeats.farewell, Farewell::None) != Farewell::None)
    }

    /// Sends the last packet again when that is due. Whether all is done: the recorder asks for nothing any more.
    pub(super) fn say_farewell(&mut self, gate: Gate<'_>, kit: &mut Kit, now: Instant) -> bool {
        let Some(repeats) = self.repeats.as_mut().filter(|repeats| repeats.bids_farewell()) else {
            return false;
        };
        let (since, times, next) = match repeats.farewell {
            Farewell::Spoken { since, times, next } => (since, times, next),
            Farewell::None | Farewell::Due => (now, 0, now + BETWEEN_LAST_WORDS),
        };
        let Some(asked) = repeats.last_asked.filter(|asked| now < *asked + LATELY) else {
            return self.break_farewell();
        };
        let is_quiet = now >= since.max(asked) + QUIET && times >= LAST_WORDS;
        if is_quiet || now >= since + LONGEST_FAREWELL {
            return self.break_farewell();
        }
        repeats.farewell = Farewell::Spoken { since, times, next };
        if now >= next && times < LAST_WORDS {
            let (times, next) = (times + 1, now + BETWEEN_LAST_WORDS);
            repeats.farewell = Farewell::Spoken { since, times, next };
            if let Some(newest) = repeats.departed.newest() {
                self.send_again(&[newest], gate, kit, now);
            }
        }
        false
    }

    /// How much was sent again, and how much was asked for in vain.
    pub(super) fn add_repeats_to(&self, report: BranchReport) -> BranchReport {
        let (retransmitted, not_retransmitted) =
            self.repeats.as_ref().map_or((0, 0), |repeats| repeats.departed.account());
        BranchReport { retransmitted, not_retransmitted, ..report }
    }

    /// Sends these packets again, as far as they are here and bounds allow, out of the budget of what leaves beyond real time.
    /// How many of them were looked for.
    fn send_again(&mut self, asked: &[(u32, u16)], gate: Gate<'_>, kit: &mut Kit, now: Instant) -> usize {
        let (true, Some(to)) = (self.is_open(), self.remote.as_ref().map(|remote| remote.rtp())) else {
            return 0;
        };
        let trunk = self.trunk();
        let Some(ports) = &self.ports else { return 0 };
        let Some(repeats) = &mut self.repeats else { return 0 };
        let Some(_section) = gate.enter(self.draining) else { return 0 };
        let way = Way { branch: self.id, to, segmentation: self.segmentation, again: true };
        let mut portion = kit.budget.claim();
        let mut looked_for = 0;
        for (ssrc, sequence) in asked {
            if kit.is_full(trunk) || !kit.budget.grants(portion) {
                break;
            }
            looked_for += 1;
            let burst = kit.burst(trunk);
            if repeats.departed.again(*ssrc, *sequence, now, &mut burst.bytes).is_some() {
                burst.seal_packet();
                kit.budget.take(&mut portion);
            }
        }
        let mut outcome = Outcome::default();
        match trunk {
            Some(trunk) => kit.trunks.assign(trunk, way),
            None => {
                kit.burst.assign(way);
                outcome = self.send_by_own(&mut kit.burst, &ports.rtp);
            }
        }
        self.settle(outcome, kit, now);
        looked_for
    }
}
