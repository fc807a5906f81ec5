//! Challenges to requests of ours (RFC 3261 §22).

use std::time::Instant;

use super::slots::{ClientSlot, Kind};
use super::{Calling, Cancel, DialogEvent, DialogUa, State};
use crate::{ChallengeFault, Response};

impl DialogUa {
    /// Sends a request again with what a 401 or 407 asks for. False where the response is no challenge, or nobody wants
    /// the request any more.
    ///
    /// # Errors
    /// Why the challenge cannot be answered.
    pub(super) fn answer_challenge(
        &mut self,
        slot: &mut ClientSlot,
        response: &Response,
        now: Instant,
    ) -> Result<bool, ChallengeFault> {
        let wanted = match (&self.state, slot.kind()) {
            (_, Kind::Cancel | Kind::Repeated) => false,
            (State::Calling(Calling { cancel, .. }), _) => *cancel == Cancel::NotWanted,
            (State::Ending(_), kind) => kind == Kind::Bye,
            (State::Confirmed(_), _) => true,
            (State::Ringing(_) | State::Ended(_), _) => false,
        };
        if !wanted || !matches!(response.status, 401 | 407) {
            return Ok(false);
        }
        self.keyring.challenged(response, &mut slot.attempts, &mut self.random)?;
        // The credentials are put in where every request gets them.
        let repeated = self.repeat(slot, |_, _| (), now);
        if repeated {
            self.emit(DialogEvent::Challenged { token: slot.token });
        }
        Ok(repeated)
    }
}
