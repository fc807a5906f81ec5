//! The end of a shutdown. Shortly before its time is over each recorder is asked by the BYE whether it has lived to the end, as at the
//! end of a call, but no other one is sought. Who has not answered by then may not have what was sent last, which is told as lost.

use std::time::Instant;

use siprec_model::StopReason;

use super::leg::{Leg, LegEnd};
use super::{Recording, Stage};
use crate::session::RecordingSession;

impl Recording {
    /// Whether the time for the end is nearly over.
    pub(super) fn is_last_call(&self) -> bool {
        matches!(self.stage, Stage::Draining { is_last_call: true, .. })
    }

    /// Ends all sessions that wait for nothing but the answer to their BYE, and has the others say theirs.
    pub(super) fn part_now(&mut self, now: Instant) {
        self.stop(StopReason::Shutdown, now);
        let Stage::Draining { is_last_call, .. } = &mut self.stage else { return };
        *is_last_call = true;
        for id in 0..self.legs.len() {
            let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.is_active()) else { continue };
            if leg.has_lost() {
                self.end_leg(id, LegEnd::Failed, now);
            } else if let Some(session) = leg.session_mut()
                && let Some(sign) = session.media_in_doubt(now)
            {
                // Of that its answer to the BYE says nothing.
                session.lose_media(sign, now);
            }
        }
        self.take_notices(now);
        self.part_all(StopReason::Shutdown, now);
    }

    /// The time for the end is over: recorders that have not answered the BYE by now are lost with what they may not have.
    pub(super) fn give_up_farewells(&mut self, now: Instant) {
        if !self.is_last_call() {
            return;
        }
        for session in self.legs.iter_mut().filter(|leg| leg.is_active()).filter_map(Leg::session_mut) {
            session.give_up_farewell();
        }
        self.take_notices(now);
    }
}

impl Leg {
    /// Whether its recorder was lost, and none has accepted since. One that is left for a repair still stands.
    fn has_lost(&self) -> bool {
        let is_lost = self.lost.is_some() || self.parting.is_some_and(|parting| parting.is_lost);
        let is_up = self.session().is_some_and(RecordingSession::is_up);
        is_lost && !is_up && !self.repairs.are_under_way()
    }
}
