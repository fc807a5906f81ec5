//! The last question to a recorder: our BYE. Who answers it has lived to the end, and so has what was sent until then.

use std::time::{Duration, Instant};

use siprec_model::{FailureReason, HangUp};
use siprec_sip::{HeaderName, Headers, Termination};

use super::{Advice, Notice, Phase, RecordingSession};

/// One round trip, a new connection included: so long after our BYE or CANCEL its first repetition by UDP leaves (T1, RFC 3261
/// §17.1.2.2). Who has not answered a BYE by then may be lost, and for one that was given up nobody waits any longer.
const GRACE: Duration = Duration::from_millis(500);

/// How many times the limit of OPTIONS the answer to a BYE may take: as long as a recorder that goes silent in the middle of
/// a call has from the first question to the verdict.
const PATIENCE: u32 = 2;

/// Whether the recorder has answered our BYE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Nobody wants to know.
    #[default]
    Unasked,
    /// It is to, by this time.
    Awaited { until: Instant, within: Duration },
    /// It has not. It may still.
    Missed,
    /// It has.
    Heard,
}

impl Farewell {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Awaited { until, .. } => Some(*until),
            Self::Unasked | Self::Missed | Self::Heard => None,
        }
    }
}

/// How a session was left, as far as somebody may wait for the end of its dialog.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leave {
    /// When our BYE or CANCEL was first sent.
    said: Option<Instant>,
    /// When the dialog was over, of which only an INVITE of ours may still be refused.
    over: Option<Instant>,
    /// Its recorder was given up: another one has what it may not have, or that was told as lost.
    is_given_up: bool,
}

impl Leave {
    pub(super) fn say(&mut self, now: Instant) {
        self.said.get_or_insert(now);
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.over.get_or_insert(now);
    }

    pub(super) fn give_up(&mut self) {
        self.is_given_up = true;
    }
}

impl RecordingSession {
    /// From when on nobody need wait for the end of the dialog, since its recorder was given up, or for the end of an INVITE that it has
    /// left open when it hung up or answered our BYE (RFC 3261 §15.1.2 has it refuse that). None where an answer still means something.
    pub(crate) fn may_be_left_at(&self) -> Option<Instant> {
        let said = self.leave.said.filter(|_| self.leave.is_given_up);
        said.into_iter().chain(self.leave.over).min().map(|since| since + GRACE)
    }

    /// What the recorder may not have is told as lost, whatever it answers.
    pub(crate) fn give_up(&mut self) {
        self.leave.give_up();
    }

    /// Ends a session that the recorder has accepted, and wants to know whether it lives: [`Notice::Parted`], or
    /// [`Notice::Failed`].
    pub(crate) fn part(&mut self, now: Instant) {
        if let Phase::Up(_) = self.phase {
            let within = self.rules.timers.probe_answer * PATIENCE;
            self.lived = self.lived();
            self.farewell = Farewell::Awaited { until: now + within, within };
            self.end(now);
        }
    }

    /// Whether the recorder has answered the BYE of [`Self::part`], be it late.
    pub(crate) fn has_parted(&self) -> bool {
        self.farewell == Farewell::Heard
    }

    /// Whether the recorder should have answered the BYE of [`Self::part`] by now, and has not.
    pub(crate) fn owes_farewell(&self, now: Instant) -> bool {
        match self.farewell {
            Farewell::Awaited { until, within } => now + within >= until + GRACE,
            Farewell::Unasked | Farewell::Missed | Farewell::Heard => false,
        }
    }

    /// There is no more time for the answer to the BYE of [`Self::part`].
    pub(crate) fn give_up_farewell(&mut self) {
        if matches!(self.farewell, Farewell::Awaited { .. }) {
            self.miss_farewell("not answered before the time for the shutdown was over", None);
        }
    }

    /// The dialog has ended while our BYE was out. Any answer but 408 and 481 says that the recorder knew of it, and so
    /// does a BYE of its own that has crossed ours.
    pub(super) fn hear_farewell(&mut self, how: &Termination) {
        let before = self.farewell;
        if matches!(before, Farewell::Unasked | Farewell::Heard) {
            return;
        }
        let is_awaited = matches!(before, Farewell::Awaited { .. });
        let knows_of_it = match how {
            Termination::RemoteBye(_) => true,
            Termination::LocalBye { status } => status.is_some_and(|status| !matches!(status, 408 | 481)),
            _ => false,
        };
        match how {
            _ if knows_of_it => {
                self.farewell = Farewell::Heard;
                if is_awaited {
                    self.notices.push_back(Notice::Parted);
                }
            }
            Termination::LocalBye { status } if is_awaited => {
                let why = match status {
                    Some(status) => format!("answered by {status}"),
                    None => "not answered".to_owned(),
                };
                self.miss_farewell(&why, *status);
            }
            _ if is_awaited => self.miss_farewell("not answered", None),
            _ => {}
        }
    }

    /// A message could not be sent while our BYE is out, which goes on being sent: its answer may still come, and nobody need wait for it.
    pub(super) fn miss_undelivered(&mut self) {
        let Some(reason) = self.undelivered.take().filter(|_| self.ua.is_hanging_up()) else { return };
        self.leave.give_up();
        if matches!(self.farewell, Farewell::Awaited { .. }) {
            self.miss_farewell(&format!("not delivered: {reason}"), None);
        }
    }

    /// Looks whether the answer to our BYE is overdue.
    pub(super) fn await_farewell(&mut self, now: Instant) {
        if let Farewell::Awaited { until, within } = self.farewell
            && until <= now
        {
            self.miss_farewell(&format!("not answered within {within:?}"), None);
        }
    }

    fn miss_farewell(&mut self, why: &str, sip_code: Option<u16>) {
        self.farewell = Farewell::Missed;
        self.leave.give_up();
        let reason = FailureReason::DialogLost(format!("the BYE was {why}"));
        self.notices.push_back(Notice::Failed { reason, sip_code, advice: Advice::default() });
    }
}

/// What a BYE of the recorder says of itself: the first value of `Reason` with the protocol SIP (RFC 3326 §2).
pub(super) fn hang_up(headers: &Headers) -> HangUp {
    let said = |value: &[u8]| {
        let value = String::from_utf8_lossy(value);
        let mut parts = parts(&value).into_iter();
        parts.next().filter(|protocol| protocol.trim().eq_ignore_ascii_case("SIP"))?;
        let mut said = HangUp::default();
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "cause" => said.cause = value.trim().parse().ok(),
                "text" => said.text = Some(unquoted(value.trim())).filter(|text| !text.is_empty()),
                _ => {}
            }
        }
        Some(said)
    };
    headers.values(&HeaderName::Reason).find_map(said).unwrap_or_default()
}

/// A value's parts between the semicolons that are not quoted (RFC 3261 §25.1).
fn parts(value: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let is_end = |character: char| {
        quoted ^= character == '"' && !escaped;
        escaped = quoted && !escaped && character == '\\';
        character == ';' && !quoted
    };
    value.split(is_end).collect()
}

/// A text without its quotes and escapes. It is shown to people, on terminals, too.
fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let mut characters = inner.chars();
    let next = || match characters.next()? {
        '\\' => characters.next(),
        character => Some(character),
    };
    let shown = |character: char| if character.is_control() { ' ' } else { character };
    std::iter::from_fn(next).map(shown).collect()
}
