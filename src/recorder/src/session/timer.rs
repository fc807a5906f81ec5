//! The session timer of RFC 4028 from the view of the one who was called. No clock: time is an argument.

use std::time::{Duration, Instant};

use siprec_sip::{HeaderName, Headers, Refresher, SessionExpires};

use crate::behaviour::{Behaviour, MIN_SE};

const OPTION: &str = "timer";

/// The agreed interval of a session, and who keeps it.
#[derive(Debug)]
pub(crate) struct SessionTimer {
    known: bool,
    min_se: u32,
    longest: Option<u32>,
    preferred: Refresher,
    agreed: Option<Agreed>,
}

#[derive(Clone, Copy, Debug)]
struct Agreed {
    seconds: u32,
    ours: bool,
    since: Instant,
    /// The refresh of this interval is under way.
    refreshing: bool,
}

/// What the timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A refresh of ours.
    Refresh,
    /// BYE: the session was not refreshed.
    Expired,
}

impl SessionTimer {
    /// A timer that nothing is agreed on yet.
    pub(crate) fn new(behaviour: &Behaviour) -> Self {
        Self {
            known: !behaviour.no_session_timer,
            min_se: behaviour.min_se,
            longest: behaviour.session_expires,
            preferred: behaviour.refresher.unwrap_or(Refresher::Uac),
            agreed: None,
        }
    }

    /// Whether the interval of a request is too small for us: then Min-SE of the 422 (RFC 4028 §9).
    pub(crate) fn refusal(&self, request: &Headers) -> Option<Headers> {
        let asked = request.session_expires().ok().flatten()?;
        // A client that does not know the extension would not understand 422 either.
        (self.known && asked.seconds < self.min_se && supports(request)).then(|| {
            let mut headers = Headers::new();
            headers.push(HeaderName::MinSe, self.min_se.to_string());
            headers
        })
    }

    /// What a 2xx to a request of the client says; the interval begins anew (RFC 4028 §9).
    pub(crate) fn answer(&mut self, request: &Headers, now: Instant) -> Headers {
        let mut headers = Headers::new();
        let asked = request.session_expires().ok().flatten();
        let seconds = match (asked.map(|asked| asked.seconds), self.longest) {
            (Some(asked), Some(longest)) => asked.min(longest),
            (Some(asked), None) => asked,
            (None, Some(longest)) => longest,
            (None, None) => 0,
        };
        self.agreed = None;
        if !self.known || seconds == 0 {
            return headers;
        }
        let supported = supports(request);
        // RFC 4028 §9, table 2.
        let refresher = match asked.and_then(|asked| asked.refresher) {
            _ if !supported => Refresher::Uas,
            Some(refresher) => refresher,
            None => self.preferred,
        };
        headers.push(HeaderName::SessionExpires, SessionExpires { seconds, refresher: Some(refresher) });
        if supported {
            headers.push(HeaderName::Require, OPTION);
        }
        self.agree(seconds, refresher == Refresher::Uas, now);
        headers
    }

    /// What a re-INVITE or UPDATE of ours says (RFC 4028 §7.4).
    pub(crate) fn request(&self) -> Headers {
        let mut headers = Headers::new();
        if let Some(agreed) = &self.agreed {
            let refresher = Some(if agreed.ours { Refresher::Uac } else { Refresher::Uas });
            headers.push(HeaderName::SessionExpires, SessionExpires { seconds: agreed.seconds, refresher });
            if self.min_se > MIN_SE {
                headers.push(HeaderName::MinSe, self.min_se.to_string());
            }
        }
        headers
    }

    /// A request of ours had this 2xx (RFC 4028 §7.2).
    pub(crate) fn answered(&mut self, response: &Headers, now: Instant) {
        let Some(agreed) = self.agreed else { return };
        match response.session_expires().ok().flatten() {
            Some(expires) => {
                let ours = expires.refresher.map_or(agreed.ours, |refresher| refresher == Refresher::Uac);
                self.agree(expires.seconds, ours, now);
            }
            // The client does not keep the timer, so that nobody but us can.
            None => self.agree(agreed.seconds, true, now),
        }
    }

    /// A request of ours had 422: the next one asks for as much as it says (RFC 4028 §7.3). False when it says nothing
    /// new.
    pub(crate) fn widen(&mut self, response: &Headers) -> bool {
        let Some(min_se) = response.min_se().ok().flatten() else { return false };
        let Some(agreed) = &mut self.agreed else { return false };
        let wider = min_se > agreed.seconds;
        agreed.seconds = agreed.seconds.max(min_se);
        self.min_se = self.min_se.max(min_se);
        wider
    }

    /// When to call [`SessionTimer::due`].
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let agreed = self.agreed.as_ref()?;
        Some(if agreed.ours && !agreed.refreshing { agreed.refresh_at() } else { agreed.ends_at() })
    }

    /// What is due at `now`. A refresh is told once.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Due> {
        let agreed = self.agreed.as_mut()?;
        if now >= agreed.ends_at() {
            self.agreed = None;
            Some(Due::Expired)
        } else if agreed.ours && !agreed.refreshing && now >= agreed.refresh_at() {
            agreed.refreshing = true;
            Some(Due::Refresh)
        } else {
            None
        }
    }

    fn agree(&mut self, seconds: u32, ours: bool, now: Instant) {
        self.agreed = Some(Agreed { seconds, ours, since: now, refreshing: false });
    }
}

impl Agreed {
    fn interval(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    fn refresh_at(&self) -> Instant {
        self.since + self.interval() / 2
    }

    /// RFC 4028 §10: BYE min(32 s, a third of the interval) before the expiry.
    fn ends_at(&self) -> Instant {
        let early = (self.interval() / 3).min(Duration::from_secs(32));
        self.since + self.interval().saturating_sub(early)
    }
}

fn supports(request: &Headers) -> bool {
    request.lists(&HeaderName::Supported, OPTION) || request.lists(&HeaderName::Require, OPTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(HeaderName::parse(name).unwrap(), *value);
        }
        headers
    }

    fn text(headers: &Headers, name: &str) -> Option<String> {
        let name = HeaderName::parse(name).unwrap();
        headers.get(&name).map(|value| value.to_string_lossy().into_owned())
    }

    const KNOWS: (&str, &str) = ("Supported", "timer");

    fn answered(behaviour: &Behaviour, request: &[(&str, &str)]) -> (Option<String>, Option<String>) {
        let answer = SessionTimer::new(behaviour).answer(&headers(request), Instant::now());
        (text(&answer, "Session-Expires"), text(&answer, "Require"))
    }

    #[test]
    fn the_answer_follows_table_2_of_rfc_4028() {
        let honest = Behaviour::default();
        let uas = Behaviour { refresher: Some(Refresher::Uas), ..Behaviour::default() };
        let told = |expires: &str, require: Option<&str>| (Some(expires.into()), require.map(str::to_owned));
        let asks = ("Session-Expires", "1800");
        assert_eq!(answered(&honest, &[KNOWS, asks]), told("1800;refresher=uac", Some("timer")));
        assert_eq!(answered(&uas, &[KNOWS, asks]), told("1800;refresher=uas", Some("timer")));
        assert_eq!(answered(&honest, &[asks]), told("1800;refresher=uas", None), "the client knows no timer");
        let wants = ("Session-Expires", "1800;refresher=uas");
        assert_eq!(answered(&honest, &[KNOWS, wants]), told("1800;refresher=uas", Some("timer")));
        let wants = ("Session-Expires", "1800;refresher=uac");
        assert_eq!(answered(&uas, &[KNOWS, wants]), told("1800;refresher=uac", Some("timer")));
        assert_eq!(answered(&honest, &[KNOWS]), (None, None), "nobody asked");
        let short = Behaviour { session_expires: Some(200), ..Behaviour::default() };
        assert_eq!(answered(&short, &[KNOWS, asks]).0.unwrap(), "200;refresher=uac");
        assert_eq!(answered(&short, &[]).0.unwrap(), "200;refresher=uas");
        let unknowing = Behaviour { no_session_timer: true, ..Behaviour::default() };
        assert_eq!(answered(&unknowing, &[KNOWS, asks]), (None, None));
    }

    #[test]
    fn intervals_that_are_too_small_are_refused_with_min_se() {
        let timer = SessionTimer::new(&Behaviour { min_se: 600, ..Behaviour::default() });
        let refusal = |lines: &[(&str, &str)]| {
            timer.refusal(&headers(lines)).and_then(|headers| text(&headers, "Min-SE"))
        };
        assert_eq!(refusal(&[KNOWS, ("Session-Expires", "599")]).as_deref(), Some("600"));
        assert_eq!(refusal(&[KNOWS, ("Session-Expires", "600")]), None);
        assert_eq!(refusal(&[("Session-Expires", "90")]), None, "422 would not be understood");
        assert_eq!(refusal(&[KNOWS]), None);
    }

    #[test]
    fn the_refresher_refreshes_at_half_the_interval_and_the_other_ends_in_time() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut timer = SessionTimer::new(&Behaviour::default());
        timer.answer(&headers(&[KNOWS, ("x", "90")]), start);
        assert_eq!(timer.next_timeout(), Some(after(60)), "a third of 90 s before the end");
        assert_eq!(timer.due(after(59)), None);
        timer.answer(&headers(&[KNOWS, ("x", "1800;refresher=uas")]), after(59));
        assert_eq!(timer.next_timeout(), Some(after(59 + 900)));
        assert_eq!(timer.due(after(959)), Some(Due::Refresh));
        assert_eq!(timer.due(after(960)), None, "told once");
        assert_eq!(text(&timer.request(), "Session-Expires").unwrap(), "1800;refresher=uac");
        timer.answered(&Headers::new(), after(961));
        assert_eq!(timer.due(after(961 + 900)), Some(Due::Refresh), "a 2xx without the header ends nothing");
        assert_eq!(timer.next_timeout(), Some(after(961 + 1800 - 32)));
        assert_eq!(timer.due(after(961 + 1800 - 32)), Some(Due::Expired));
        assert_eq!(timer.next_timeout(), None);
    }

    #[test]
    fn the_role_may_change_with_every_answer_and_422_widens_the_interval() {
        let start = Instant::now();
        let mut timer = SessionTimer::new(&Behaviour::default());
        timer.answer(&headers(&[KNOWS, ("x", "100;refresher=uas")]), start);
        assert!(timer.widen(&headers(&[("Min-SE", "300")])));
        let request = timer.request();
        assert_eq!(text(&request, "Session-Expires").unwrap(), "300;refresher=uac");
        assert_eq!(text(&request, "Min-SE").unwrap(), "300");
        assert!(!timer.widen(&headers(&[("Min-SE", "300")])), "nothing new");
        timer.answered(&headers(&[("x", "400;refresher=uas")]), start);
        assert_eq!(text(&timer.request(), "Session-Expires").unwrap(), "400;refresher=uas");
        assert_eq!(timer.next_timeout(), Some(start + Duration::from_secs(400 - 32)));
    }
}
