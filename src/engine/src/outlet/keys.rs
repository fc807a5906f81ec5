//! The keys of a branch: from descriptions or by handshakes, and what changes with them.

use std::time::Instant;

use siprec_media::srtp::{KeyRefused, ProtectFault};
use siprec_model::{BranchEvent, Component, MediaSecurity, OpenBranch};

use super::Outlet;
use crate::handshake::{Handshakes, News};
use crate::kit::Kit;
use crate::shield::Shield;

impl Outlet {
    /// Begins the handshakes of an association, unless they are there.
    pub(crate) fn associate(&mut self, target: &OpenBranch, kit: &Kit, now: Instant) {
        let (MediaSecurity::Dtls(terms), Some(ports)) = (&target.security, &self.ports) else { return };
        match &mut self.handshakes {
            Some(handshakes) if handshakes.are_of(terms) => handshakes.move_to(target),
            handshakes => {
                let begun = handshakes.insert(Handshakes::new(&kit.identity, terms, target, ports, now));
                self.early.give(begun, now);
            }
        }
        self.advance(kit, now);
    }

    /// Takes what came of the handshakes.
    pub(super) fn advance(&mut self, kit: &Kit, now: Instant) {
        while let (Some(handshakes), Some(ports)) = (&mut self.handshakes, &self.ports) {
            match handshakes.poll(ports) {
                None => break,
                Some(News::Secured(Component::Rtp)) => {
                    if let Some(keys) = handshakes.keys() {
                        let (session, suite) = (handshakes.session(), keys.own.suite());
                        self.events.push_back(BranchEvent::Secured { session, suite });
                    }
                    if let Some(target) = self.pending.take() {
                        self.open(&target, kit, now);
                    }
                }
                Some(News::Secured(Component::Rtcp)) => {
                    if let (Some(shield), Some(Some(keys))) = (&mut self.shield, handshakes.rtcp_keys()) {
                        // Refused keys leave RTCP without any, and so silent.
                        let _ = shield.separate_rtcp(Some(keys));
                    }
                }
                Some(News::Failed(fault)) => {
                    self.pending = None;
                    let session = handshakes.session();
                    let reason = match handshakes.refused() {
                        0 => fault.to_string(),
                        refused => format!("{fault} ({refused} records in its name were broken or forged)"),
                    };
                    self.events.push_back(BranchEvent::SecurityFailed { session, reason });
                }
            }
        }
    }

    /// Takes the keys that what leaves from now on goes under.
    ///
    /// # Errors
    /// [`KeyRefused`]; then nothing may leave.
    pub(super) fn secure(&mut self, security: &MediaSecurity, has_moved: bool) -> Result<(), KeyRefused> {
        let (keys, has_moved, rtcp) = match (security, &self.handshakes) {
            (MediaSecurity::Plain, _) => {
                if let Some(shield) = self.shield.take() {
                    self.former_keys.remember(shield.own_key());
                    self.forget_departed();
                }
                if self.begins_anew {
                    self.begin_numbers();
                }
                return Ok(());
            }
            (MediaSecurity::Srtp(keys), _) => (&**keys, has_moved, None),
            // Other keys are those of another association, which begins at a rollover counter of 0.
            (MediaSecurity::Dtls(_), Some(handshakes)) => {
                (handshakes.keys().ok_or(KeyRefused::Policy)?, true, handshakes.rtcp_keys())
            }
            // A kind of security that this engine does not know.
            _ => return Err(KeyRefused::Policy),
        };
        if self.former_keys.contain(&keys.own) {
            return Err(KeyRefused::InUse);
        }
        if self.shield.as_ref().is_none_or(|shield| *shield.own_key() != keys.own) {
            // Even where the new key is then refused: nothing leaves after that.
            self.repeats.iter_mut().for_each(|repeats| repeats.forget());
        }
        let (shield, begins) = match &mut self.shield {
            Some(shield) => {
                let former = shield.own_key().clone();
                // Under the key that it has numbers go on, whoever the receiver is.
                let begins = shield.renew(keys, has_moved)?;
                if former.master() != keys.own.master() {
                    self.former_keys.remember(&former);
                }
                (shield, begins)
            }
            // What went in the clear before may have used the numbers up.
            none => (none.insert(Shield::new(keys, self.key_limits)?), true),
        };
        let rtcp = match rtcp {
            None => {
                shield.share_rtcp();
                Ok(())
            }
            Some(keys) => shield.separate_rtcp(keys),
        };
        if begins {
            self.begin_numbers();
        }
        self.begins_anew = false;
        rtcp
    }

    /// Protects a packet of RTCP, where that is asked for; whether it may leave.
    pub(super) fn protect_rtcp(&mut self, datagram: &mut Vec<u8>) -> bool {
        let fault = self.shield.as_mut().and_then(|shield| shield.protect_rtcp(datagram).err());
        self.rtcp_unsent += u64::from(fault == Some(ProtectFault::KeyExhausted));
        self.tell_wear();
        fault.is_none()
    }

    /// Tells that another key is wanted, before and when this one has come to its end.
    pub(super) fn tell_wear(&mut self) {
        if let Some((session, used_up)) = self.shield.as_mut().and_then(Shield::poll_wear) {
            self.events.push_back(BranchEvent::KeyWanted { session, used_up });
        }
    }

    /// Sequence numbers for a receiver whose rollover counter begins at 0, under a key that nothing has left under.
    fn begin_numbers(&mut self) {
        self.numbers.renew();
        if std::mem::take(&mut self.begins_anew) {
            self.branch.begin_session(self.numbers.first());
        } else {
            self.branch.make_room(self.numbers.first());
        }
    }
}
