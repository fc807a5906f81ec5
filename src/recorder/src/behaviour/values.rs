//! The values of a behaviour, and how they are written on a command line.

use std::str::FromStr;
use std::time::Duration;

/// Longest time that can be asked for, in seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// A text that is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

/// A time in seconds, with a fraction if need be: 0 to 86400.
///
/// # Errors
/// What is wrong with it.
pub fn seconds(text: &str) -> Result<Duration, BadValue> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=MAX_SECONDS).contains(number));
    number
        .map(Duration::from_secs_f64)
        .ok_or_else(|| BadValue(format!("{text:?} is no number of seconds from 0 to {MAX_SECONDS}")))
}

/// An interval: like [`seconds`], but at least 10 ms, so that nothing repeats without end.
fn interval(text: &str) -> Result<Duration, BadValue> {
    let interval = seconds(text)?;
    if interval < Duration::from_millis(10) {
        return Err(BadValue(format!("{text:?} is shorter than 0.01 seconds")));
    }
    Ok(interval)
}

/// A final response that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    status: u16,
    reason: String,
}

impl Refuse {
    /// `status` is 300-699; an empty `reason` means the usual phrase.
    ///
    /// # Errors
    /// When the status does not refuse, or the phrase has more than one line.
    pub fn new(status: u16, reason: &str) -> Result<Self, BadValue> {
        if !(300..700).contains(&status) {
            return Err(BadValue(format!("{status} does not refuse: the status must be in 300 to 699")));
        }
        if reason.contains(['\r', '\n', '\0']) {
            return Err(BadValue("a reason has one line".into()));
        }
        Ok(Self { status, reason: reason.to_owned() })
    }

    /// 300-699
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase, empty for the usual one.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// `486` or `486:Gone fishing`
impl FromStr for Refuse {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (status, reason) = text.split_once(':').unwrap_or((text, ""));
        let status =
            status.parse().map_err(|_| BadValue(format!("{status:?} is no status in 300 to 699")))?;
        Self::new(status, reason)
    }
}

/// A pause that the recorder makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it begins.
    pub after: Duration,
    /// How long it lasts.
    pub length: Duration,
}

/// `AFTER:LENGTH`, in seconds
impl FromStr for Pause {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (after, length) = text
            .split_once(':')
            .ok_or_else(|| BadValue(format!("{text:?} is not of the form SECONDS:SECONDS")))?;
        Ok(Self { after: seconds(after)?, length: interval(length)? })
    }
}

/// How a recorder answers secured lines wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddCrypto {
    /// By a plain line: RTP/AVP for RTP/SAVP.
    Plain,
    /// Without `a=crypto`.
    None,
    /// By a second line `a=crypto`, with the next tag.
    Two,
    /// By a suite that the client did not offer.
    Suite,
    /// By a tag that the client did not offer.
    Tag,
    /// By a key that the recorder does not send under.
    Key,
}

/// `plain`, `none`, `two`, `suite`, `tag` or `key`
impl FromStr for OddCrypto {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Ok(match text {
            "plain" => Self::Plain,
            "none" => Self::None,
            "two" => Self::Two,
            "suite" => Self::Suite,
            "tag" => Self::Tag,
            "key" => Self::Key,
            other => {
                return Err(BadValue(format!("{other:?} is not plain, none, two, suite, tag or key")));
            }
        })
    }
}

/// Refreshes that the recorder sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Time between two.
    pub every: Duration,
    /// How they are sent.
    pub by: RefreshMethod,
}

/// What a refresh is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshMethod {
    /// A re-INVITE with the last SDP.
    Invite,
    /// A re-INVITE without SDP, so that the client offers.
    Offerless,
    /// An UPDATE without SDP.
    Update,
    /// An UPDATE with the last SDP.
    UpdateSdp,
}

/// `SECONDS`, with `:invite`, `:offerless`, `:update` or `:update-sdp` behind it
impl FromStr for Refresh {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (every, by) = text.split_once(':').unwrap_or((text, "invite"));
        let by = match by {
            "invite" => RefreshMethod::Invite,
            "offerless" => RefreshMethod::Offerless,
            "update" => RefreshMethod::Update,
            "update-sdp" => RefreshMethod::UpdateSdp,
            other => {
                return Err(BadValue(format!("{other:?} is not invite, offerless, update or update-sdp")));
            }
        };
        Ok(Self { every: interval(every)?, by })
    }
}

/// Key frames that the recorder asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyframes {
    /// Time between two requests.
    pub every: Duration,
    /// How they are sent; `None` is by both.
    pub by: Option<KeyframeMethod>,
}

/// How a key frame is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyframeMethod {
    /// INFO with picture_fast_update (RFC 5168).
    Info,
    /// RTCP picture loss indication, on video m-lines whose profile allows it (RFC 4585 §6.3.1).
    Pli,
    /// RTCP full intra request, likewise (RFC 5104 §4.3.1).
    Fir,
}

/// `SECONDS`, with `:info`, `:pli` or `:fir` behind it
impl FromStr for Keyframes {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (every, by) = match text.split_once(':') {
            Some((every, by)) => (every, Some(by)),
            None => (text, None),
        };
        let by = match by {
            None => None,
            Some("info") => Some(KeyframeMethod::Info),
            Some("pli") => Some(KeyframeMethod::Pli),
            Some("fir") => Some(KeyframeMethod::Fir),
            Some(other) => return Err(BadValue(format!("{other:?} is not info, pli or fir"))),
        };
        Ok(Self { every: interval(every)?, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_documented() {
        let ms = Duration::from_millis;
        assert_eq!(seconds("1.5"), Ok(ms(1500)));
        assert_eq!("486:Gone fishing".parse(), Refuse::new(486, "Gone fishing"));
        assert_eq!("486".parse(), Refuse::new(486, ""));
        assert_eq!("0:2.5".parse(), Ok(Pause { after: ms(0), length: ms(2500) }));
        assert_eq!("30".parse(), Ok(Refresh { every: ms(30_000), by: RefreshMethod::Invite }));
        assert_eq!("1:update-sdp".parse(), Ok(Refresh { every: ms(1000), by: RefreshMethod::UpdateSdp }));
        assert_eq!("two".parse(), Ok(OddCrypto::Two));
        assert_eq!("2".parse(), Ok(Keyframes { every: ms(2000), by: None }));
        assert_eq!("2:pli".parse(), Ok(Keyframes { every: ms(2000), by: Some(KeyframeMethod::Pli) }));
    }

    #[test]
    fn what_is_no_value_is_said() {
        for text in ["", "-1", "1e9", "NaN", "inf", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!("200".parse::<Refuse>().unwrap_err().to_string().contains("300 to 699"));
        assert!("700".parse::<Refuse>().is_err() && "486:a\r\nVia: b".parse::<Refuse>().is_err());
        assert!("5".parse::<Pause>().is_err() && "5:0".parse::<Pause>().is_err());
        assert!("0".parse::<Refresh>().is_err() && "5:bye".parse::<Refresh>().is_err());
        assert!("5:sli".parse::<Keyframes>().is_err());
        assert!("Two".parse::<OddCrypto>().unwrap_err().to_string().contains("plain, none, two"));
    }
}
