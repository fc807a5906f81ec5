//! The session timer (RFC 4028).

use std::time::{Duration, Instant};

use siprec_sip::{HeaderName, Headers, Refresher, SessionExpires};

use crate::config::refresh_after;

/// The session interval that our INVITE asks for, in seconds.
pub(crate) const SESSION_EXPIRES: u32 = 1800;

/// Shortest interval that is ever agreed, in seconds (RFC 4028 §4).
const SHORTEST: u32 = 90;

/// Shortest interval of a recorder that is kept alive at its half, although there should be none below [`SHORTEST`], in
/// seconds.
const SHORTEST_KEPT: u32 = 10;

/// The recorder asks for a shorter interval than there may be: 422 (RFC 4028 §9).
#[derive(Debug)]
pub(super) struct IntervalTooSmall;

impl IntervalTooSmall {
    /// The headers of the 422.
    pub(super) fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        headers.push(HeaderName::MinSe, SHORTEST.to_string());
        headers
    }
}

/// Who keeps the session alive, and when that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionClock {
    /// [`Timers::ahead`](crate::Timers::ahead)
    ahead: u16,
    interval: u32,
    due: Due,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    /// We refresh, at half the interval (RFC 4028 §7.4).
    Refresh(Instant),
    /// The recorder refreshes; the session ends shortly before the interval does (RFC 4028 §10).
    Expiry(Instant),
}

impl SessionClock {
    /// After the 2xx to the INVITE. Without Session-Expires in it we go on refreshing by ourselves (RFC 4028 §7.2).
    pub(super) fn start(ahead: u16, headers: &Headers, now: Instant) -> Self {
        let mut clock = Self { ahead, interval: SESSION_EXPIRES, due: Due::Refresh(now) };
        clock.restart(headers, now);
        clock
    }

    /// After any later 2xx to a request of ours.
    pub(super) fn restart(&mut self, headers: &Headers, now: Instant) {
        let agreed = headers.session_expires().ok().flatten();
        // In a response, the roles are those of our request.
        let ours = agreed.is_none_or(|agreed| agreed.refresher != Some(Refresher::Uas));
        self.set(agreed.map_or(self.interval, |agreed| agreed.seconds), ours, now);
    }

    /// Answers an INVITE or UPDATE of the recorder (RFC 4028 §9): the headers of our 2xx.
    ///
    /// # Errors
    /// Where the recorder could ask for a longer interval, and must.
    pub(super) fn answer(&mut self, request: &Headers, now: Instant) -> Result<Headers, IntervalTooSmall> {
        let knows_timer = request.lists(&HeaderName::Supported, "timer");
        let wanted = request.session_expires().ok().flatten();
        if knows_timer && wanted.is_some_and(|wanted| wanted.seconds < SHORTEST) {
            return Err(IntervalTooSmall);
        }
        // The recorder refreshes unless it wants us to. Where it says nothing, or does not know the timer, we do, so that
        // a session never ends for a header that was forgotten.
        let refresher = match wanted {
            Some(wanted) if knows_timer => wanted.refresher.unwrap_or(Refresher::Uac),
            _ => Refresher::Uas,
        };
        self.set(wanted.map_or(self.interval, |wanted| wanted.seconds), refresher == Refresher::Uas, now);
        let mut headers = Headers::new();
        if knows_timer || wanted.is_some() {
            let agreed = SessionExpires { seconds: self.interval, refresher: Some(refresher) };
            headers.push(HeaderName::SessionExpires, agreed.to_string());
        }
        if knows_timer {
            headers.push(HeaderName::Require, "timer");
        }
        Ok(headers)
    }

    /// The headers of a refresh or any other INVITE of ours within the session: the roles stay (RFC 4028 §7.4).
    pub(super) fn request(&self) -> Headers {
        let refresher = match self.due {
            Due::Refresh(_) => Refresher::Uac,
            Due::Expiry(_) => Refresher::Uas,
        };
        let mut headers = Headers::new();
        let wanted = SessionExpires { seconds: self.interval, refresher: Some(refresher) };
        headers.push(HeaderName::SessionExpires, wanted.to_string());
        headers
    }

    /// A refresh was refused: tries again after a quarter of the interval.
    pub(super) fn postpone(&mut self, now: Instant) {
        if let Due::Refresh(at) = &mut self.due {
            *at = (*at).max(now + Duration::from_secs(self.interval.into()) / 4);
        }
    }

    /// When we must refresh the session, if that is ours to do.
    pub(super) fn refresh(&self) -> Option<Instant> {
        match self.due {
            Due::Refresh(at) => Some(at),
            Due::Expiry(_) => None,
        }
    }

    /// When the session ends unless the recorder refreshes it, if that is its to do.
    pub(super) fn expiry(&self) -> Option<Instant> {
        match self.due {
            Due::Expiry(at) => Some(at),
            Due::Refresh(_) => None,
        }
    }

    fn set(&mut self, interval: u32, ours: bool, now: Instant) {
        self.interval = interval.max(SHORTEST);
        // A recorder whose own interval is shorter than may be would hang up before the half of one that may.
        let theirs = Duration::from_secs(interval.max(SHORTEST_KEPT).into());
        let interval = Duration::from_secs(self.interval.into());
        self.due = if ours {
            Due::Refresh(now + refresh_after(theirs / 2, self.ahead))
        } else {
            Due::Expiry(now + interval - (interval / 3).min(Duration::from_secs(32)))
        };
    }
}
