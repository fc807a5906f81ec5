//! Whether a recorder has what it was sent of streams that have ended. That it answers to SIP is not enough where its host has refused
//! the media to the end, or its receiver reports are overdue: `protocol` 1.6 holds at the end of a call, too, when nothing more
//! is sent that could be refused or reported on.

use std::time::{Duration, Instant};

use super::leg::Leg;
use super::slot::Slot;
use super::{Recording, Stage};
use crate::config::SessionMode;
use crate::session::{Belief, Sign};

/// What ends with a verdict has this long beyond it, so that there is time left when that is given.
const VERDICT: Duration = Duration::from_secs(1);

/// What is in doubt of streams that have ended.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// The streams that do not end before it is settled.
    pub(super) slots: Vec<u16>,
    /// Recorders were given up for it.
    pub(super) lost: bool,
}

impl Recording {
    /// Asks of each of these streams, which have ended, whether their recorders have them. One whose recorder may still show it waits,
    /// as long as its drain time allows; a recorder that has not shown it is lost as in the middle of a call.
    pub(super) fn doubt_ended(&mut self, drained: &[u16], now: Instant) -> Doubts {
        let mut doubts = Doubts::default();
        self.judgement = None;
        if !matches!(self.stage, Stage::Running | Stage::Draining { .. }) {
            return doubts;
        }
        let ended = drained.iter().filter_map(|number| self.slots.get(number));
        let parts =
            ended.filter_map(|slot| Some((slot.number(), slot.leg()?, slot.branch(), slot.last_sent()?)));
        for (number, leg, branch, sent) in parts.collect::<Vec<_>>() {
            let Some(slot) = self.slots.get(&number) else { continue };
            // One whose line is kept silent while the call goes on was judged when that began.
            if matches!(self.stage, Stage::Running) && slot.is_parked() {
                continue;
            }
            let Some(session) =
                self.legs.get_mut(leg).filter(|leg| leg.is_running()).and_then(Leg::session_mut)
            else {
                continue;
            };
            if !session.is_up() {
                continue;
            }
            match session.believe(branch, sent, now) {
                Belief::Sound => continue,
                Belief::Open { until, .. } if now < until && !slot.is_out_of_time(now) => {
                    let until = slot.deadline().map_or(until, |deadline| deadline.min(until));
                    self.judgement = Some(self.judgement.map_or(until, |earlier| earlier.min(until)));
                }
                // That no report has come yet proves nothing: its answer to the BYE must do.
                Belief::Open { sign, until } if now < until && sign != Sign::MediaRefused => continue,
                Belief::Open { sign, .. } | Belief::Unsound(sign) => {
                    session.lose_media(sign, now);
                    doubts.lost = true;
                }
            }
            doubts.slots.push(number);
        }
        if !doubts.lost {
            self.await_first_reports(&mut doubts, now);
        }
        doubts
    }

    /// A recorder that always reports, and has on nothing, may be deaf since it took the session, so that all that it was sent is
    /// missing: a session that ends waits for the first report, however soon after its beginning, and also where `drain-timeout` is over
    /// before.
    fn await_first_reports(&mut self, doubts: &mut Doubts, now: Instant) {
        let ends = matches!(self.stage, Stage::Draining { .. }) || self.mode == SessionMode::PerParty;
        for (id, leg) in self.legs.iter_mut().enumerate().filter(|(_, leg)| leg.is_running() && ends) {
            let streams = || self.slots.values().filter(|slot| slot.is_of(id) && slot.is_live());
            let begun = streams().filter_map(Slot::sent_since).min();
            let ended = streams().map(Slot::ended).collect::<Option<Vec<_>>>();
            let (Some(begun), Some(ended)) = (begun, ended.and_then(|ended| ended.into_iter().max())) else {
                continue;
            };
            let Some(session) = leg.session_mut() else { continue };
            let Some(until) = session.first_report_comes(begun, ended) else { continue };
            if now >= until {
                session.lose_media(Sign::NoReports, now);
                doubts.lost = true;
                continue;
            }
            self.judgement = Some(self.judgement.map_or(until, |earlier| earlier.min(until)));
            for slot in self.slots.values_mut().filter(|slot| slot.is_of(id) && slot.is_live()) {
                if !slot.is_out_of_time(now) {
                    slot.prolong(until + VERDICT);
                }
                doubts.slots.push(slot.number());
            }
        }
    }
}

impl Slot {
    /// Until when packets of an ended stream have left; None where none has.
    fn last_sent(&self) -> Option<Instant> {
        self.sent_until().or_else(|| self.ended_sending())
    }
}
