//! Requests that go out once more, in other words, because the peer asked for it.

use std::time::Instant;

use super::slots::{ClientSlot, Kind, Purpose};
use super::{Calling, Cancel, Confirmed, DialogUa, Ending, State};
use crate::{CSeq, HeaderName, Headers, Method, Response, SessionExpires};

/// Shortest interval that RFC 4028 §5 allows, in seconds.
const SHORTEST_INTERVAL: u32 = 90;

/// How often one request is repeated for a longer interval. One answer names what the peer wants; a proxy on the way may
/// want more.
const LENGTHENINGS: u8 = 3;

/// The session timer's lower bound, as far as the peer and proxies have named one.
#[derive(Debug, Default)]
pub(super) struct MinSe {
    /// The largest that was seen, in seconds.
    largest: Option<u32>,
    /// How often the present request was repeated for it.
    repeated: u8,
}

impl MinSe {
    /// Keeps the largest Min-SE of all messages (RFC 4028 §7.4).
    pub(super) fn note(&mut self, headers: &Headers) {
        if let Ok(Some(seconds)) = headers.min_se() {
            self.largest = self.largest.max(Some(seconds.max(SHORTEST_INTERVAL)));
        }
    }

    /// Brings a request of ours that wants an interval up to the bound.
    pub(super) fn apply(&self, headers: &mut Headers) {
        let (Some(least), Ok(Some(wanted))) = (self.largest, headers.session_expires()) else { return };
        headers
            .set(HeaderName::SessionExpires, SessionExpires { seconds: wanted.seconds.max(least), ..wanted });
        headers.set(HeaderName::MinSe, least.to_string());
    }

    /// Whether a request that was refused for its interval would be longer now.
    fn lengthens(&mut self, refused: &Headers) -> bool {
        let wanted = refused.session_expires().ok().flatten().map(|wanted| wanted.seconds);
        let longer = wanted.is_some_and(|wanted| self.largest > Some(wanted));
        self.repeated = self.repeated.saturating_add(1);
        longer && self.repeated <= LENGTHENINGS
    }

    /// Another request begins.
    pub(super) fn begin(&mut self) {
        self.repeated = 0;
    }
}

impl DialogUa {
    /// 422 Session Interval Too Small: the same again with the interval that it names (RFC 4028 §7.3). False when that
    /// is no help.
    pub(super) fn lengthen(&mut self, slot: &mut ClientSlot, response: &Response, now: Instant) -> bool {
        let refused = slot.transaction.request();
        if refreshes(&refused.method) {
            self.min_se.note(&response.headers);
        }
        if !self.min_se.lengthens(&refused.headers) {
            return false;
        }
        self.repeat(slot, |ua, headers| ua.min_se.apply(headers), now)
    }

    /// Sends a refused request again with other headers: a new transaction with the next number, else the same
    /// (RFC 3261 §8.1.3.5). Its outcome is told under the same token. False when nobody wants it any more.
    pub(super) fn repeat(
        &mut self,
        slot: &mut ClientSlot,
        change: impl FnOnce(&DialogUa, &mut Headers),
        now: Instant,
    ) -> bool {
        let number = match &mut self.state {
            State::Calling(Calling { early, cancel: Cancel::NotWanted }) => {
                early.clear();
                self.origin.next_number()
            }
            State::Confirmed(Confirmed { dialog }) => dialog.next_number(),
            State::Ending(Ending { dialog, .. }) if slot.kind() == Kind::Bye => dialog.next_number(),
            State::Calling(_) | State::Ringing(_) | State::Ending(_) | State::Ended(_) => return false,
        };
        let mut request = slot.transaction.request().clone();
        let Ok(mut via) = request.headers.via() else { return false };
        // The name is a token, so this cannot fail.
        let _ = via.params.set("branch", &self.random.branch());
        request.headers.set(HeaderName::Via, via);
        request.headers.set(HeaderName::CSeq, CSeq::new(number, request.method.clone()));
        change(self, &mut request.headers);
        let attempts = std::mem::take(&mut slot.attempts);
        let purpose = std::mem::replace(&mut slot.purpose, Purpose::Repeated);
        self.start_after(attempts, slot.token, request, purpose, now);
        true
    }
}

/// Whether requests of this method carry the session timer (RFC 4028 §7.4).
pub(super) fn refreshes(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}
