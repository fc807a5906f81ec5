//! The session timer (RFC 4028).

use std::time::{Duration, Instant};

use siprec_sip::{HeaderName, Headers, Refresher, SessionExpires};

/// The session interval that our INVITE asks for, in seconds.
pub(crate) const SESSION_EXPIRES: u32 = 1800;

/// Shortest interval that is ever agreed, in seconds (RFC 4028 §4).
const SHORTEST: u32 = 90;

/// Who keeps the session alive, and when that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionClock {
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
    pub(super) fn start(headers: &Headers, now: Instant) -> Self {
        let mut clock = Self { interval: SESSION_EXPIRES, due: Due::Refresh(now) };
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

    /// Answers a refresh of the recorder (RFC 4028 §9): the headers of our 2xx.
    pub(super) fn answer(&mut self, request: &Headers, now: Instant) -> Headers {
        let mut headers = Headers::new();
        let Ok(Some(wanted)) = request.session_expires() else { return headers };
        // The recorder refreshes unless it wants us to.
        let refresher = wanted.refresher.unwrap_or(Refresher::Uac);
        self.set(wanted.seconds, refresher == Refresher::Uas, now);
        let agreed = SessionExpires { seconds: self.interval, refresher: Some(refresher) };
        headers.push(HeaderName::SessionExpires, agreed.to_string());
        if request.lists(&HeaderName::Supported, "timer") {
            headers.push(HeaderName::Require, "timer");
        }
        headers
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
        let interval = Duration::from_secs(self.interval.into());
        self.due = if ours {
            Due::Refresh(now + interval / 2)
        } else {
            Due::Expiry(now + interval - (interval / 3).min(Duration::from_secs(32)))
        };
    }
}
