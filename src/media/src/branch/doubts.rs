//! Packets of which only those behind them tell whether they are late, or begin their source anew.

use std::time::Instant;

use siprec_model::DropCause;

use super::{Branch, Drain, State};
use crate::account::Way;
use crate::doubt::{Doubt, PATIENCE, Verdict};
use crate::entry::Entry;
use crate::rewrite::{Rewrite, Unsent};
use crate::rtp::RtpView;

/// So many packets behind a doubtful one are looked at.
const SIGHT: usize = 64;

/// What is known of the first packet that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Is(Verdict),
    /// Nothing yet.
    Waits,
}

impl Branch {
    /// A packet that should leave at once does not. If it is doubtful it waits, or is dropped where it must not. Shows it that
    /// its source has started again, this is what is written over it.
    #[cold]
    pub(super) fn reconsider(
        &mut self,
        packet: &RtpView<'_>,
        unsent: Unsent,
        arrival: Instant,
    ) -> Option<Rewrite> {
        let cause = match unsent {
            Unsent::Dropped(cause) => cause,
            Unsent::Doubtful if !self.keeps_time() && self.hold.ring.could_hold(packet) => {
                self.store_packet(packet, arrival);
                if let State::Open(open) = &mut self.state {
                    open.doubt = Some(arrival + PATIENCE);
                }
                return None;
            }
            Unsent::Doubtful => match self.rewriter.doubt(&packet.header, arrival) {
                Some(doubt) => {
                    self.account.misjudged(&doubt, arrival);
                    self.rewriter.begin_interval();
                    let State::Open(open) = &mut self.state else { return None };
                    let paused = self.clock.paused();
                    return self.rewriter.rewrite(&mut open.payloads, &packet.header, arrival, paused).ok();
                }
                None => DropCause::Stale,
            },
        };
        self.first_packet.note(&packet.header, arrival);
        self.account.seen(arrival);
        let span = self.account.span(&packet.header, arrival, self.rewriter.clock_rate());
        self.account.stays(cause, span, arrival, Way::Live);
        None
    }

    /// Something has changed: the first packet that waits may be doubtful no more.
    pub(super) fn look_again(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.doubt = None;
        }
    }

    /// Whether the first packet that waits, which is doubtful, is late.
    #[cold]
    pub(super) fn judge_front(&mut self, front: &Entry, now: Instant) -> Judged {
        let arrival = self.clock.arrival(front.times);
        let until = arrival + PATIENCE;
        match self.look_ahead(front) {
            Ok(verdict) => Judged::Is(verdict),
            Err(_) if self.keeps_time() => match self.rewriter.doubt(&front.header, arrival) {
                Some(doubt) => {
                    self.account.misjudged(&doubt, arrival);
                    Judged::Is(Verdict::Restarted)
                }
                None => Judged::Is(Verdict::Late),
            },
            // Behind the end of the call nothing comes any more.
            Err(doubt) if now >= until || self.drain != Drain::NotAsked => Judged::Is(doubt.conclude()),
            Err(_) => {
                if let State::Open(open) = &mut self.state {
                    open.doubt = Some(until);
                }
                Judged::Waits
            }
        }
    }

    /// The recording is over, and the first packet that waits does so because it is doubtful: it is no loss, unless there is
    /// more of its kind.
    pub(super) fn drop_late(&mut self) {
        let State::Open(open) = &self.state else { return };
        let Some(front) = self.hold.ring.front().filter(|_| open.doubt.is_some()) else { return };
        let verdict = self.look_ahead(&front).unwrap_or_else(|doubt| doubt.conclude());
        if verdict == Verdict::Late {
            self.hold.ring.discard();
            let arrival = self.clock.arrival(front.times);
            let way = if front.is_recalled() { Way::Again } else { Way::Held };
            self.account.stays(DropCause::Stale, self.account.spacing, arrival, way);
        }
    }

    /// What the packets behind the first one that waits say of it; or the doubt that is left.
    fn look_ahead(&self, front: &Entry) -> Result<Verdict, Doubt> {
        let mut doubt = Doubt::of(&front.header, self.clock.arrival(front.times));
        for entry in self.hold.ring.waiting(SIGHT).skip(1) {
            if entry.header.ssrc != front.header.ssrc {
                continue;
            }
            if self.rewriter.sources.would_be_new(&entry.header) {
                return Ok(Verdict::Late);
            }
            let arrival = self.clock.arrival(entry.times);
            if let Some(verdict) = doubt.next(&entry.header, arrival, self.rewriter.clock_rate()) {
                return Ok(verdict);
            }
        }
        if self.hold.ring.rest() > SIGHT { Ok(doubt.conclude()) } else { Err(doubt) }
    }
}
