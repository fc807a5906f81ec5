//! What a recorder does beyond answering rightly: the ways of recorders in the field, on request.
//!
//! The honest path asks this module at a few places and knows nothing of the reasons: which lines are taken
//! ([`Behaviour::bend`]), what is due when ([`plan::Plan`]), how an answer is written ([`odd`]).

pub(crate) mod odd;
pub(crate) mod plan;
mod values;

use std::time::Duration;

use siprec_model::Medium;
use siprec_sip::{Refresher, Uri};

use crate::answer::Line;

pub use values::{
    BadValue, KeyframeMethod, Keyframes, OddCrypto, Pause, Refresh, RefreshMethod, Refuse, seconds,
};

/// Smallest session interval that RFC 4028 §5 allows, in seconds.
pub const MIN_SE: u32 = 90;

/// How a recorder behaves. The default is an honest one that answers at once.
///
/// Times count from the answer to the first INVITE, unless something else is said. Everything combines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How long an INVITE waits for its answer. After 200 ms it gets 100.
    pub answer_after: Duration,
    /// Answer 180 at once.
    pub ring: bool,
    /// Refuse every INVITE that begins a session.
    pub refuse: Option<Refuse>,
    /// Send every INVITE that begins a session there, by 302; nowhere where empty. Goes before `refuse`.
    pub redirect: Vec<Uri>,
    /// Refuse every later offer of the client, in a re-INVITE or UPDATE.
    pub refuse_reinvite: Option<Refuse>,
    /// Refuse, or send elsewhere, only so many times: INVITEs in the recorder's life, later offers in each session.
    pub refuse_times: Option<u32>,
    /// `Retry-After` of every refusal and redirection, in seconds.
    pub retry_after: Option<u32>,
    /// Answer video with port 0.
    pub refuse_video: bool,
    /// Answer these m-lines, from 0, with port 0.
    pub refuse_lines: Vec<usize>,
    /// Write answers as the oddest recorders do: other payload types, attributes in odd places, no `a=ptime`, an
    /// address at each m-line only.
    pub odd_sdp: bool,
    /// Answer secured lines wrongly.
    pub odd_crypto: Option<OddCrypto>,
    /// Answer re-INVITEs of the client by 200 without a body.
    pub no_sdp_in_reinvite: bool,
    /// Do not know session timers (RFC 4028).
    pub no_session_timer: bool,
    /// Refuse session intervals below this by 422, in seconds.
    pub min_se: u32,
    /// The longest session interval to agree to, in seconds. Taken as it is, even where RFC 4028 §9 forbids it.
    pub session_expires: Option<u32>,
    /// Who refreshes, where the client leaves that open; else the client does.
    pub refresher: Option<Refresher>,
    /// Refresh by itself.
    pub refresh: Option<Refresh>,
    /// Offer `a=inactive` for a while.
    pub pause_at: Vec<Pause>,
    /// Offer `a=inactive` again and again: so long after the start, and after each end.
    pub pause_every: Option<Pause>,
    /// Offer other ports, and new keys where a line is secured.
    pub move_after: Option<Duration>,
    /// Offer new keys at the same ports.
    pub rekey_after: Option<Duration>,
    /// Ask for key frames.
    pub keyframes: Option<Keyframes>,
    /// Send BYE.
    pub hang_up_after: Option<Duration>,
    /// Fall silent so long after the first INVITE that ever comes: stay bound, answer and send no SIP any more, in no
    /// session.
    pub silent_after: Option<Duration>,
    /// Drop all RTP and RTCP that comes, uncounted, and send no RTCP.
    pub deaf: bool,
    /// Send no RTCP.
    pub no_rtcp: bool,
    /// Do not ask for packets that have not come, and answer so.
    pub no_nack: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            answer_after: Duration::ZERO,
            ring: false,
            refuse: None,
            redirect: Vec::new(),
            refuse_reinvite: None,
            refuse_times: None,
            retry_after: None,
            refuse_video: false,
            refuse_lines: Vec::new(),
            odd_sdp: false,
            odd_crypto: None,
            no_sdp_in_reinvite: false,
            no_session_timer: false,
            min_se: MIN_SE,
            session_expires: None,
            refresher: None,
            refresh: None,
            pause_at: Vec::new(),
            pause_every: None,
            move_after: None,
            rekey_after: None,
            keyframes: None,
            hang_up_after: None,
            silent_after: None,
            deaf: false,
            no_rtcp: false,
            no_nack: false,
        }
    }
}

impl Behaviour {
    /// Refuses the lines that are to be refused.
    pub(crate) fn bend(&self, lines: &mut [Line]) {
        for (index, line) in lines.iter_mut().enumerate() {
            let is_video = matches!(line, Line::Taken(taken) if taken.medium == Medium::Video);
            if self.refuse_video && is_video || self.refuse_lines.contains(&index) {
                *line = Line::Off(None);
            } else if let Line::Taken(taken) = line {
                taken.nack &= !(self.no_nack || self.no_rtcp);
            }
        }
    }

    /// The refusal of the `number`th request of its kind, from 0.
    pub(crate) fn refusal<'a>(&self, refuse: Option<&'a Refuse>, number: u32) -> Option<&'a Refuse> {
        refuse.filter(|_| self.still_refuses(number))
    }

    /// Where the `number`th INVITE, from 0, is to go instead; nowhere where empty.
    pub(crate) fn redirection(&self, number: u32) -> &[Uri] {
        if self.still_refuses(number) { &self.redirect } else { &[] }
    }

    fn still_refuses(&self, number: u32) -> bool {
        self.refuse_times.is_none_or(|times| number < times)
    }

    /// How the recorder refreshes where nothing else is said.
    pub(crate) fn refresh_method(&self) -> RefreshMethod {
        self.refresh.map_or(RefreshMethod::Invite, |refresh| refresh.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{SrtpMode, Terms};
    use siprec_sip::SessionDescription;

    #[test]
    fn lines_are_refused_by_medium_and_by_index() {
        let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                     m=audio 4 RTP/AVP 0\r\nm=audio 6 RTP/AVP 0\r\nm=video 8 RTP/AVP 31\r\nm=video 10 RTP/AVP 31\r\n";
        let offer = SessionDescription::parse(offer.as_bytes()).unwrap();
        let terms = Terms { mode: SrtpMode::Accept, suites: &[], before: &[] };
        let off = |behaviour: Behaviour| {
            let mut lines = crate::answer::lines(&offer, terms);
            behaviour.bend(&mut lines);
            lines.iter().map(|line| matches!(line, Line::Off(_))).collect::<Vec<_>>()
        };
        assert_eq!(off(Behaviour::default()), [false; 4]);
        assert_eq!(off(Behaviour { refuse_video: true, ..Default::default() }), [false, false, true, true]);
        let behaviour = Behaviour { refuse_lines: vec![1, 3, 9], ..Default::default() };
        assert_eq!(off(behaviour), [false, true, false, true]);
    }

    #[test]
    fn a_number_of_refusals_is_followed_by_acceptance() {
        let refuse = Refuse::new(503, "").unwrap();
        let behaviour = Behaviour { refuse_times: Some(2), ..Default::default() };
        let refused = |number| behaviour.refusal(Some(&refuse), number).is_some();
        assert_eq!([0, 1, 2, 3].map(refused), [true, true, false, false]);
        assert!(Behaviour::default().refusal(Some(&refuse), u32::MAX).is_some());
        let redirect = vec![Uri::parse("sip:a").unwrap()];
        let behaviour = Behaviour { redirect, refuse_times: Some(1), ..Default::default() };
        assert_eq!([0, 1].map(|number| behaviour.redirection(number).len()), [1, 0]);
    }
}
