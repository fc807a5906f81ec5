//! Recorders that send elsewhere (3xx).

use siprec_model::{FailureReason, TlsProfile};
use siprec_sip::uri::unescape;
use siprec_sip::{Uri, UriBuilder};

use super::Recording;
use super::reasons::{cut, joined};
use crate::recorder::{RecorderFault, RecorderTarget, check_recorder, without_secrets};
use crate::session::Advice;

/// Most places that one session is sent to, over all that send it.
const MOST: usize = 5;

/// Most characters of a place that is not followed, and of what is said of all of these.
const SHOWN: usize = 80;
const SAID: usize = 500;

/// Why a session does not follow its recorder to a place.
#[derive(Debug, thiserror::Error)]
enum Unfollowed {
    #[error("{0}")]
    Unusable(#[from] RecorderFault),
    #[error("gives up the \"sips:\" of the recorder")]
    Exposed,
    #[error("was tried already")]
    Known,
    #[error("is one more than {MOST}")]
    TooMany,
}

impl Recording {
    /// Has a session try where its recorder sends it, before any other recorder: each place once, and only by TLS where
    /// the recorder itself is reached so (RFC 3261 §8.1.3.4). Why it goes to none of these, where there are any.
    pub(super) fn follow(&mut self, id: usize, advice: &Advice) -> Option<String> {
        let from = self.recorder(id)?.clone();
        if let Some(error) = &advice.unreadable {
            return Some(cut(&error.to_string(), SAID));
        }
        let mut faults = Vec::new();
        for contact in &advice.elsewhere {
            if let Err(fault) = self.go_to(id, &from, contact) {
                faults.push(cut(&format!("{} {fault}", shown(contact)), 2 * SHOWN));
            }
        }
        let goes_nowhere = !faults.is_empty() && faults.len() == advice.elsewhere.len();
        goes_nowhere.then(|| joined(faults.iter().map(String::as_str), SAID))
    }

    fn go_to(&mut self, id: usize, from: &RecorderTarget, contact: &Uri) -> Result<(), Unfollowed> {
        let target = self.redirected(from, contact)?;
        if from.uri.is_sips() && !contact.is_sips() {
            return Err(Unfollowed::Exposed);
        }
        let Some(leg) = self.legs.get_mut(id) else { return Ok(()) };
        if leg.tried.has(&target) || leg.redirects.iter().any(|known| target.is_at(&known.uri)) {
            return Err(Unfollowed::Known);
        }
        if leg.redirected >= MOST {
            return Err(Unfollowed::TooMany);
        }
        leg.redirected += 1;
        leg.redirects.push_back(target);
        Ok(())
    }

    /// A recorder at the place that a Contact names: with all that is particular about the one that names it, save the
    /// name in its certificate. The parameters that every INVITE has are not part of the place.
    fn redirected(&self, from: &RecorderTarget, contact: &Uri) -> Result<RecorderTarget, RecorderFault> {
        check_recorder(contact)?;
        let host = contact.host().ok_or(RecorderFault::NoHost)?;
        let uri = if contact.is_sips() { UriBuilder::sips(host) } else { UriBuilder::sip(host) };
        let mut uri = match contact.port() {
            Some(port) => uri.port(port),
            None => uri,
        };
        for (name, value) in contact.params() {
            if self.config.dialect.sets_parameter(name, &self.config) {
                continue;
            }
            uri = match value {
                Some(value) => uri.param(name, &unescape(value)),
                None => uri.flag(name),
            };
        }
        let mut profile = from.profile.clone();
        profile.tls = TlsProfile { server_name: None, ..profile.tls };
        let uri = uri.build().map_err(|error| RecorderFault::Malformed(error.to_string()))?;
        Ok(RecorderTarget { uri, profile })
    }
}

/// A failure with the reason why the session goes nowhere where it was sent.
pub(super) fn explained(reason: FailureReason, unfollowed: Option<String>) -> FailureReason {
    match (reason, unfollowed) {
        (FailureReason::Refused { code, phrase }, Some(why)) => {
            FailureReason::Refused { code, phrase: format!("{phrase}: not followed: {why}") }
        }
        (reason, _) => reason,
    }
}

/// A Contact without what may be secret. Of one of another scheme, whose numbers and names may be anybody's, nothing but that is shown.
fn shown(contact: &Uri) -> String {
    match contact.is_sip() {
        true => cut(&without_secrets(contact.as_str()), SHOWN),
        false => "a Contact".to_owned(),
    }
}
