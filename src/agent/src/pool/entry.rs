//! One pool as the file writes it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use serde::Deserialize;
use siprec_model::{SrtpSuite, TlsProfile};
use siprec_session::{
    ConfigError, Keying, LocationPolicy, Member, OutboundProxy, PayloadTypes, Pool, RecorderProfile,
    RecorderTarget, RecordingConfig, SecurityPolicy, SessionMode, SrtpUse, Strategy,
};
use siprec_transport::{TlsError, TlsPeer};
use toml::Spanned;

use super::{HealthCheck, LONGEST_AWAY, PoolRules};

/// Most recorders of a pool.
const MOST_RECORDERS: usize = 256;
/// Longest label of a location in bytes.
const LONGEST_LOCATION: usize = 64;

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Option<Range<usize>>,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn at(span: Range<usize>, what: impl Display) -> Self {
        Self { span: Some(span), text: what.to_string() }
    }
}

/// Looks whether a file of authorities can be used, where files are to be looked at.
pub(super) type LookAtFile<'a> = dyn FnMut(&Path) -> Result<(), TlsError> + 'a;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PoolEntry {
    #[serde(default)]
    strategy: StrategyWord,
    #[serde(default)]
    location_policy: LocationPolicyWord,
    session_mode: Option<SessionModeWord>,
    retry_after_limit: Option<Spanned<f64>>,
    #[serde(default)]
    health_check: HealthCheckEntry,
    #[serde(default)]
    recorder: Vec<Spanned<RecorderEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HealthCheckEntry {
    interval: Option<Spanned<f64>>,
    timeout: Option<Spanned<f64>>,
    failures: Option<Spanned<i64>>,
    recoveries: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RecorderEntry {
    uri: Spanned<String>,
    weight: Option<Spanned<i64>>,
    capacity: Option<Spanned<i64>>,
    location: Option<Spanned<String>>,
    #[serde(default)]
    drain: bool,
    payload_types: Option<PayloadTypesWord>,
    #[serde(default)]
    lower_case_parameters: bool,
    #[serde(default)]
    expects_rr: bool,
    catch_up: Option<Spanned<f32>>,
    #[serde(default = "yes")]
    retransmission: bool,
    #[serde(default)]
    extra_headers: BTreeMap<Spanned<String>, Spanned<String>>,
    outbound_proxy: Option<Spanned<String>>,
    tls: Option<TlsEntry>,
    security: Option<SecurityEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TlsEntry {
    server_name: Option<Spanned<String>>,
    ca: Option<Spanned<PathBuf>>,
    min_version: Option<Spanned<String>>,
}

/// It stands for all that the element says of these, so that what is not written is not the element's: the first is
/// asked for, lest a list of suites lets a recording go out in the clear.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SecurityEntry {
    srtp: SrtpWord,
    keying: Option<Spanned<KeyingWord>>,
    suites: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    allow_downgrade: bool,
    #[serde(default)]
    allow_clear_keys: bool,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StrategyWord {
    #[default]
    Ordered,
    RoundRobin,
    LeastUsed,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LocationPolicyWord {
    #[default]
    Overflow,
    Strict,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SessionModeWord {
    BothParties,
    PerParty,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PayloadTypesWord {
    Offered,
    Answered,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SrtpWord {
    Auto,
    Require,
    Disable,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeyingWord {
    Sdes,
    Dtls,
}

impl PoolEntry {
    /// What the entry sets. `header` is where the pool's name stands.
    pub(super) fn rules(self, header: Range<usize>, look: &mut LookAtFile<'_>) -> Result<PoolRules, Fault> {
        let session_mode = self.session_mode.map(|word| match word {
            SessionModeWord::BothParties => SessionMode::BothParties,
            SessionModeWord::PerParty => SessionMode::PerParty,
        });
        if !(1..=MOST_RECORDERS).contains(&self.recorder.len()) {
            let count = self.recorder.len();
            return Err(Fault::at(
                header,
                format!("it has {count} recorders, but must have from 1 to {MOST_RECORDERS}"),
            ));
        }
        let mut members: Vec<Member> = Vec::new();
        for entry in self.recorder {
            let span = entry.span();
            let uri = entry.get_ref().uri.span();
            let mut member = entry.into_inner().member(look)?;
            member.target.profile.session_mode = session_mode;
            if members.iter().any(|other| other.target.is_at(&member.target.uri)) {
                return Err(Fault::at(uri, "it is listed twice, however it is written"));
            }
            // What cannot stand in an INVITE with all else.
            probe(member.target.clone()).map_err(|error| Fault::at(span, error))?;
            members.push(member);
        }
        let pool = Pool {
            strategy: match self.strategy {
                StrategyWord::Ordered => Strategy::Ordered,
                StrategyWord::RoundRobin => Strategy::RoundRobin,
                StrategyWord::LeastUsed => Strategy::LeastUsed,
            },
            location_policy: match self.location_policy {
                LocationPolicyWord::Overflow => LocationPolicy::Overflow,
                LocationPolicyWord::Strict => LocationPolicy::Strict,
            },
            members,
        };
        Ok(PoolRules {
            pool,
            health_check: self.health_check.check()?,
            longest_away: seconds(self.retry_after_limit, LONGEST_AWAY, 0.0, 3600.0)?,
        })
    }
}

impl HealthCheckEntry {
    fn check(self) -> Result<Option<HealthCheck>, Fault> {
        let usual = HealthCheck::default();
        let at = self.timeout.as_ref().map(Spanned::span);
        let off = self.interval.as_ref().is_some_and(|interval| *interval.get_ref() == 0.0);
        let check = HealthCheck {
            interval: if off { usual.interval } else { seconds(self.interval, usual.interval, 0.1, 3600.0)? },
            timeout: seconds(self.timeout, usual.timeout, 0.1, 32.0)?,
            failures: number(self.failures, usual.failures, 1, 100)?,
            recoveries: number(self.recoveries, usual.recoveries, 1, 100)?,
        };
        match at {
            Some(at) if check.timeout > check.interval => {
                Err(Fault::at(at, "it is longer than the interval, in which each question must end"))
            }
            _ => Ok((!off).then_some(HealthCheck { timeout: check.timeout.min(check.interval), ..check })),
        }
    }
}

fn yes() -> bool {
    true
}

impl RecorderEntry {
    fn member(self, look: &mut LookAtFile<'_>) -> Result<Member, Fault> {
        let uri = self.uri.span();
        let mut target: RecorderTarget =
            self.uri.get_ref().parse().map_err(|fault| Fault::at(uri, format!("it {fault}")))?;
        target.profile = RecorderProfile {
            payload_types: self.payload_types.map(|word| match word {
                PayloadTypesWord::Offered => PayloadTypes::Offered,
                PayloadTypesWord::Answered => PayloadTypes::Answered,
            }),
            session_mode: None,
            lower_case_parameters: self.lower_case_parameters,
            expects_reports: self.expects_rr,
            catch_up: self.catch_up.map(pace).transpose()?,
            without_retransmission: !self.retransmission,
            extra_headers: self.extra_headers.into_iter().map(header).collect::<Result<_, _>>()?,
            tls: self.tls.map(|tls| tls.profile(look)).transpose()?.unwrap_or_default(),
            security: self.security.map(SecurityEntry::policy).transpose()?,
            outbound_proxy: self.outbound_proxy.map(proxy).transpose()?,
        };
        if let Some(location) = &self.location
            && (location.get_ref().trim().is_empty()
                || location.get_ref().len() > LONGEST_LOCATION
                || location.get_ref().chars().any(char::is_control))
        {
            let what =
                format!("a location has a label of 1 to {LONGEST_LOCATION} bytes without control characters");
            return Err(Fault::at(location.span(), what));
        }
        Ok(Member {
            target,
            weight: u16::try_from(number(self.weight, 1, 1, 1000)?).unwrap_or(1),
            capacity: match self.capacity {
                None => None,
                capacity => Some(number(capacity, 1, 1, 1_000_000)?),
            },
            location: self.location.map(Spanned::into_inner),
            drained: self.drain,
        })
    }
}

impl TlsEntry {
    fn profile(self, look: &mut LookAtFile<'_>) -> Result<TlsProfile, Fault> {
        let version = self.min_version.map(|text| {
            let span = text.span();
            text.get_ref().parse().map_err(|error| Fault::at(span, error))
        });
        let min_version = version.transpose()?;
        if let Some(name) = &self.server_name {
            let peer = TlsPeer::new(name.get_ref(), &TlsProfile::default());
            peer.check_name().map_err(|error| Fault::at(name.span(), error))?;
        }
        if let Some(ca) = &self.ca {
            look(ca.get_ref()).map_err(|error| Fault::at(ca.span(), error))?;
        }
        let server_name = self.server_name.map(Spanned::into_inner);
        Ok(TlsProfile { server_name, ca: self.ca.map(Spanned::into_inner), min_version })
    }
}

impl SecurityEntry {
    fn policy(self) -> Result<SecurityPolicy, Fault> {
        let suite = |name: Spanned<String>| {
            let known = SrtpSuite::ALL.map(SrtpSuite::as_str).join(", ");
            name.get_ref()
                .parse()
                .map_err(|error| Fault::at(name.span(), format!("{error}; there are {known}")))
        };
        let at = self.suites.as_ref().map(Spanned::span);
        let suites =
            self.suites.map(|names| names.into_inner().into_iter().map(suite).collect::<Result<Vec<_>, _>>());
        let usual = SecurityPolicy::default();
        if let (SrtpWord::Disable, Some(keying)) = (self.srtp, &self.keying)
            && matches!(keying.get_ref(), KeyingWord::Dtls)
        {
            return Err(Fault::at(keying.span(), "dtls makes no keys with srtp = \"disable\""));
        }
        let policy = SecurityPolicy {
            srtp: match self.srtp {
                SrtpWord::Auto => SrtpUse::Auto,
                SrtpWord::Require => SrtpUse::Require,
                SrtpWord::Disable => SrtpUse::Disable,
            },
            keying: match self.keying.map(Spanned::into_inner) {
                None => usual.keying,
                Some(KeyingWord::Sdes) => Keying::Sdes,
                Some(KeyingWord::Dtls) => Keying::Dtls,
            },
            suites: suites.transpose()?.unwrap_or(usual.suites),
            allow_downgrade: self.allow_downgrade,
            allow_clear_keys: self.allow_clear_keys,
        };
        if let Some(span) = at {
            check(|profile| profile.security = Some(policy.clone()))
                .map_err(|error| Fault::at(span, error))?;
        }
        Ok(policy)
    }
}

fn proxy(text: Spanned<String>) -> Result<OutboundProxy, Fault> {
    text.get_ref().parse().map_err(|error| Fault::at(text.span(), error))
}

fn pace(times: Spanned<f32>) -> Result<f32, Fault> {
    check(|profile| profile.catch_up = Some(*times.get_ref()))
        .map_err(|error| Fault::at(times.span(), error))?;
    Ok(times.into_inner())
}

fn header((name, value): (Spanned<String>, Spanned<String>)) -> Result<(String, String), Fault> {
    let (at_name, at_value) = (name.span(), value.span());
    let written = (name.into_inner(), value.into_inner());
    match check(|profile| profile.extra_headers = vec![written.clone()]) {
        Ok(()) => Ok(written),
        Err(error @ ConfigError::BadHeaderValue(_)) => Err(Fault::at(at_value, error)),
        Err(error) => Err(Fault::at(at_name, error)),
    }
}

/// Whether a recorder can be used of which this is particular and nothing else.
fn check(set: impl FnOnce(&mut RecorderProfile)) -> Result<(), ConfigError> {
    let Ok(mut target) = RecorderTarget::from_str("sip:recorder.example") else { return Ok(()) };
    set(&mut target.profile);
    probe(target)
}

fn probe(target: RecorderTarget) -> Result<(), ConfigError> {
    RecordingConfig::new(vec![target]).check()
}

fn number(value: Option<Spanned<i64>>, usual: u32, least: u32, most: u32) -> Result<u32, Fault> {
    let Some(value) = value else { return Ok(usual) };
    let number = u32::try_from(*value.get_ref()).ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        Fault::at(value.span(), format!("it is {}, but must be from {least} to {most}", value.get_ref()))
    })
}

fn seconds(value: Option<Spanned<f64>>, usual: Duration, least: f64, most: f64) -> Result<Duration, Fault> {
    let Some(value) = value else { return Ok(usual) };
    if (least..=most).contains(value.get_ref()) {
        return Ok(Duration::from_secs_f64(*value.get_ref()));
    }
    Err(Fault::at(value.span(), format!("it is {} s, but must be from {least} to {most} s", value.get_ref())))
}
