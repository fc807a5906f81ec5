//! How the media of the sessions is protected, and what of that is weak.

use std::time::Instant;

use siprec_model::{SessionEventKind, SrtpSuite};

use super::Recording;
use super::leg::{Leg, Step};
use super::slot::Slot;
use super::tell::Scope;
use crate::io::Flow;
use crate::security::{self, Protection, SecurityFault, SecurityPolicy, StreamSecurity, Weaker};

impl Recording {
    /// What a session offers.
    pub(super) fn protection(&self, id: usize, flow: &Flow) -> Result<Protection, SecurityFault> {
        let certificate = self.config.certificate.as_ref();
        security::protection(self.policy(id), &self.security_of(id), flow.transport, certificate)
    }

    /// How a session's media is to be protected.
    pub(super) fn policy(&self, id: usize) -> &SecurityPolicy {
        let own = self.recorder(id).and_then(|recorder| recorder.profile.security.as_ref());
        own.unwrap_or(&self.config.security)
    }

    /// A stream may turn out to be encrypted when its session has been offered in the clear: the session is encrypted, too,
    /// or goes on without it, or has failed where nothing else is in it.
    pub(super) fn secure_sessions(&mut self, now: Instant) {
        for id in 0..self.legs.len() {
            let Some(leg) = self.legs.get(id).filter(|leg| leg.is_active()) else { continue };
            let Step::Session { flow, session } = &leg.step else { continue };
            let (flow, security) = (*flow, self.security_of(id));
            if session.is_secured() || !security.iter().any(|stream| stream.is_secured()) {
                continue;
            }
            let protection = self.protection(id, &flow);
            let Self { legs, random, .. } = self;
            let Some(session) = legs.get_mut(id).and_then(Leg::session_mut) else { continue };
            match protection {
                Ok(Protection::Plain) => {}
                Ok(protection) => session.secure(protection, random),
                Err(fault) if security.iter().all(|stream| stream.is_secured()) => {
                    session.fail_insecure(fault.to_string(), now);
                }
                Err(_) => {}
            }
            self.tell_weaknesses(id, &flow);
        }
    }

    /// Why what the call encrypts may not go out in the clear by a session; none where it may.
    pub(super) fn forbids_encrypted(&self, id: usize) -> Option<SecurityFault> {
        let policy = self.policy(id);
        let flow = self.legs.get(id).and_then(Leg::flow).filter(|_| !policy.allow_downgrade)?;
        // A recorder that refuses encryption is refused itself.
        Some(self.protection(id, &flow).err().unwrap_or(SecurityFault::Downgrade))
    }

    /// Tells whoever is responsible what is weak in a session as it is offered, each once.
    pub(super) fn tell_weaknesses(&mut self, id: usize, flow: &Flow) {
        let Ok(offered) = self.protection(id, flow) else { return };
        let found = security::weaknesses(&offered, &self.security_of(id), flow.transport);
        found.into_iter().for_each(|reason| self.tell_weakness(id, reason));
    }

    /// The same of one thing.
    pub(super) fn tell_weakness(&mut self, id: usize, reason: String) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if leg.weaknesses.note(leg.attempt, &reason) {
            self.tell(Scope::Leg(id), SessionEventKind::Weakened { reason });
        }
    }

    /// The same of a suite, which is looked at at each step.
    pub(super) fn tell_weaker(&mut self, id: usize, weaker: Weaker) {
        let is_new = |leg: &mut Leg| leg.weaknesses.note_weaker(leg.attempt, weaker);
        if self.legs.get_mut(id).is_some_and(is_new) {
            self.tell_weakness(id, weaker.to_string());
        }
    }

    /// How the streams of a session are protected in the call.
    pub(super) fn security_of(&self, id: usize) -> Vec<StreamSecurity> {
        let of_session = self.slots.values().filter(|slot| slot.is_of(id) && slot.is_live());
        of_session.map(Slot::security).collect()
    }

    /// A branch is protected as a session's descriptions say: media can flow, if that session still is the present one of its
    /// stream.
    pub(super) fn protected(&mut self, number: u16, attempt: u32, suite: SrtpSuite, now: Instant) {
        let Some(slot) = self.slots.get(&number) else { return };
        let (security, Some(id)) = (slot.security(), slot.leg()) else { return };
        let leg = self.legs.get_mut(id).filter(|leg| leg.attempts(attempt));
        let Some(session) = leg.and_then(Leg::session_mut) else { return };
        session.handle_protected(now);
        if let Some(weaker) = Weaker::than(security, suite) {
            self.tell_weaker(id, weaker);
        }
    }

    /// A branch cannot be protected as a session's descriptions say: that session has failed, if it still is the present
    /// one of its stream.
    pub(super) fn protection_failed(&mut self, number: u16, attempt: u32, reason: String, now: Instant) {
        let Some(id) = self.slots.get(&number).and_then(Slot::leg) else { return };
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.attempts(attempt)) else { return };
        if let Some(session) = leg.session_mut() {
            session.fail_insecure(reason, now);
        }
    }

    /// The key of a branch ends, if it is of the present session: the next offer brings another one.
    pub(super) fn key_wanted(&mut self, number: u16, attempt: u32, used_up: bool) {
        let Some(id) = self.slots.get(&number).and_then(Slot::leg) else { return };
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.attempts(attempt)) else { return };
        if let (Some(index), Some(session)) = (leg.lines.index(number), leg.session_mut()) {
            session.replace_key(index, used_up);
        }
    }
}
