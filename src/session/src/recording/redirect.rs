//! Recorders that send elsewhere (3xx).

use siprec_model::TlsProfile;
use siprec_sip::uri::unescape;
use siprec_sip::{Uri, UriBuilder};

use super::Recording;
use crate::recorder::{RecorderTarget, check_recorder};

/// Most places that one session is sent to, over all that send it.
const MOST: usize = 5;

impl Recording {
    /// Has a session try where its recorder sends it, before any other recorder: each place once, and only by TLS where
    /// the recorder itself is reached so (RFC 3261 §8.1.3.4).
    pub(super) fn follow(&mut self, id: usize, contacts: &[Uri]) {
        let Some(from) = self.recorder(id).cloned() else { return };
        let targets: Vec<RecorderTarget> = contacts
            .iter()
            .filter(|contact| !from.uri.is_sips() || contact.is_sips())
            .filter_map(|contact| self.redirected(&from, contact))
            .collect();
        let Some(leg) = self.legs.get_mut(id) else { return };
        for target in targets {
            let is_known =
                leg.tried.has(&target) || leg.redirects.iter().any(|known| target.is_at(&known.uri));
            if leg.redirected < MOST && !is_known {
                leg.redirected += 1;
                leg.redirects.push_back(target);
            }
        }
    }

    /// A recorder at the place that a Contact names: with all that is particular about the one that names it, save the
    /// name in its certificate. The parameters that every INVITE has are not part of the place.
    fn redirected(&self, from: &RecorderTarget, contact: &Uri) -> Option<RecorderTarget> {
        check_recorder(contact).ok()?;
        let host = contact.host()?;
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
        Some(RecorderTarget { uri: uri.build().ok()?, profile })
    }
}
