//! One pool as the file writes it.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use siprec_model::{SrtpSuite, TlsProfile};
use siprec_session::{
    ConfigError, Keying, LocationPolicy, Member, OutboundProxy, PayloadTypes, Pool, RecorderProfile,
    RecorderTarget, RecordingConfig, SecurityPolicy, SessionMode, SrtpUse, Strategy,
};
use siprec_transport::{TlsError, TlsPeer};

use super::value::{Fault, Table, Value, one_of};
use super::{HealthCheck, LONGEST_AWAY, PoolRules};

/// Most recorders of a pool.
const MOST_RECORDERS: usize = 256;
/// Longest label of a location in bytes.
const LONGEST_LOCATION: usize = 64;

/// Looks whether a file of authorities can be used, where files are to be looked at.
pub(super) type LookAtFile<'a> = dyn FnMut(&Path) -> Result<(), TlsError> + 'a;

/// The keys of a pool, of what stands in it, and of each of its recorders.
const POOL: [&str; 6] =
    ["strategy", "location-policy", "session-mode", "retry-after-limit", "health-check", "recorder"];
const HEALTH_CHECK: [&str; 4] = ["interval", "timeout", "failures", "recoveries"];
const RECORDER: [&str; 14] = [
    "uri",
    "weight",
    "capacity",
    "location",
    "drain",
    "payload-types",
    "lower-case-parameters",
    "expects-rr",
    "catch-up",
    "retransmission",
    "extra-headers",
    "outbound-proxy",
    "tls",
    "security",
];
const TLS: [&str; 3] = ["server-name", "ca", "min-version"];
const SECURITY: [&str; 5] = ["srtp", "keying", "suites", "allow-downgrade", "allow-clear-keys"];

const SRTP: [(&str, SrtpUse); 3] =
    [("auto", SrtpUse::Auto), ("require", SrtpUse::Require), ("disable", SrtpUse::Disable)];

/// What a pool's table sets.
pub(super) fn rules(pool: Value<'_>, look: &mut LookAtFile<'_>) -> Result<PoolRules, Fault> {
    let mut pool = pool.table("a table, [pool.NAME]", &POOL)?;
    let strategy = pool.take("strategy").map(|value| {
        value.word(&[
            ("ordered", Strategy::Ordered),
            ("round-robin", Strategy::RoundRobin),
            ("least-used", Strategy::LeastUsed),
        ])
    });
    let location_policy = pool.take("location-policy").map(|value| {
        value.word(&[("overflow", LocationPolicy::Overflow), ("strict", LocationPolicy::Strict)])
    });
    let session_mode = pool.take("session-mode").map(|value| {
        value.word(&[("both-parties", SessionMode::BothParties), ("per-party", SessionMode::PerParty)])
    });
    let session_mode = session_mode.transpose()?;
    let longest_away = pool.take("retry-after-limit").map(|value| value.seconds(0.0, 3600.0));
    Ok(PoolRules {
        health_check: pool.take("health-check").map_or(Ok(Some(HealthCheck::default())), health_check)?,
        longest_away: longest_away.transpose()?.unwrap_or(LONGEST_AWAY),
        pool: Pool {
            strategy: strategy.transpose()?.unwrap_or(Strategy::Ordered),
            location_policy: location_policy.transpose()?.unwrap_or(LocationPolicy::Overflow),
            members: members(&mut pool, session_mode, look)?,
        },
    })
}

fn members(
    pool: &mut Table<'_>,
    session_mode: Option<SessionMode>,
    look: &mut LookAtFile<'_>,
) -> Result<Vec<Member>, Fault> {
    let count = |count| format!("there are {count} recorders, but a pool has from 1 to {MOST_RECORDERS}");
    let none = |fault| Fault { text: count(0), ..fault };
    let recorders = pool.need("recorder", "").map_err(none)?;
    let many = recorders.fault("");
    let recorders = recorders.array("an array of tables, [[pool.NAME.recorder]] before each")?;
    if !(1..=MOST_RECORDERS).contains(&recorders.len()) {
        return Err(Fault { text: count(recorders.len()), ..many });
    }
    let mut members: Vec<Member> = Vec::new();
    for recorder in recorders {
        let mut recorder =
            recorder.table("a table such as `{ uri = \"sip:recorder.example\" }`", &RECORDER)?;
        let uri = recorder.need("uri", "a SIP or SIPS URI")?;
        let mut member = member(&uri, &mut recorder, look)?;
        member.target.profile.session_mode = session_mode;
        if members.iter().any(|other| other.target.is_at(&member.target.uri)) {
            return Err(uri.fault("it is listed twice, however it is written"));
        }
        // What cannot stand in an INVITE with all else.
        probe(member.target.clone()).map_err(|error| recorder.fault(error))?;
        members.push(member);
    }
    Ok(members)
}

/// None where it is turned off.
fn health_check(value: Value<'_>) -> Result<Option<HealthCheck>, Fault> {
    let mut table = value
        .table("a table such as `{ interval = 10 }`, where `interval = 0` turns it off", &HEALTH_CHECK)?;
    let usual = HealthCheck::default();
    let interval = table.take("interval");
    let off = interval.as_ref().is_some_and(|interval| interval.number() == Some(0.0));
    let interval = interval.filter(|_| !off).map(|value| {
        value
            .seconds(0.1, 3600.0)
            .map_err(|fault| Fault { text: fault.text + ", or 0 to turn it off", ..fault })
    });
    let timeout = table.take("timeout");
    let longest = timeout.as_ref().map(|value| value.seconds(0.1, 32.0)).transpose()?;
    let mut times = |key| table.take(key).map(|value| value.whole(1, 100)).transpose();
    let check = HealthCheck {
        interval: interval.transpose()?.unwrap_or(usual.interval),
        timeout: longest.unwrap_or(usual.timeout),
        failures: times("failures")?.unwrap_or(usual.failures),
        recoveries: times("recoveries")?.unwrap_or(usual.recoveries),
    };
    match timeout {
        Some(timeout) if check.timeout > check.interval => {
            Err(timeout.fault("it is longer than the interval, in which each question must end"))
        }
        _ => Ok((!off).then_some(HealthCheck { timeout: check.timeout.min(check.interval), ..check })),
    }
}

fn member(uri: &Value<'_>, recorder: &mut Table<'_>, look: &mut LookAtFile<'_>) -> Result<Member, Fault> {
    let parsed = uri.text("a SIP or SIPS URI")?.parse::<RecorderTarget>();
    let mut target = parsed.map_err(|fault| uri.fault(format!("it {fault}")))?;
    let mut flag = |key, usual| recorder.take(key).map_or(Ok(usual), |value| value.flag());
    let drained = flag("drain", false)?;
    let lower_case_parameters = flag("lower-case-parameters", false)?;
    let expects_reports = flag("expects-rr", false)?;
    let without_retransmission = !flag("retransmission", true)?;
    let payload_types = recorder
        .take("payload-types")
        .map(|value| value.word(&[("offered", PayloadTypes::Offered), ("answered", PayloadTypes::Answered)]));
    target.profile = RecorderProfile {
        payload_types: payload_types.transpose()?,
        session_mode: None,
        lower_case_parameters,
        expects_reports,
        catch_up: recorder.take("catch-up").map(pace).transpose()?,
        without_retransmission,
        extra_headers: recorder.take("extra-headers").map(headers).transpose()?.unwrap_or_default(),
        tls: recorder.take("tls").map(|tls| tls_profile(tls, look)).transpose()?.unwrap_or_default(),
        security: recorder.take("security").map(security).transpose()?,
        outbound_proxy: recorder.take("outbound-proxy").map(proxy).transpose()?,
    };
    let weight = recorder.take("weight").map(|value| value.whole(1, 1000)).transpose()?;
    Ok(Member {
        target,
        weight: weight.and_then(|weight| u16::try_from(weight).ok()).unwrap_or(1),
        capacity: recorder.take("capacity").map(|value| value.whole(1, 1_000_000)).transpose()?,
        location: recorder.take("location").map(location).transpose()?,
        drained,
    })
}

fn location(value: Value<'_>) -> Result<String, Fault> {
    let wanted = format!("a label of 1 to {LONGEST_LOCATION} bytes without control characters");
    let label = value.text(&wanted)?;
    match label {
        label if label.trim().is_empty() || label.len() > LONGEST_LOCATION => Err(value.wrong(wanted)),
        label if label.chars().any(char::is_control) => Err(value.wrong(wanted)),
        label => Ok(label.to_owned()),
    }
}

fn tls_profile(value: Value<'_>, look: &mut LookAtFile<'_>) -> Result<TlsProfile, Fault> {
    let mut table = value.table("a table such as `{ server-name = \"recorder.example\" }`", &TLS)?;
    let min_version = table.take("min-version").map(|value| value.parsed("a string, \"1.2\" or \"1.3\""));
    let server_name = table.take("server-name").map(|value| {
        let name = value.text("the name that its certificate is for, as a string")?;
        let peer = TlsPeer::new(name, &TlsProfile::default());
        peer.check_name().map_err(|error| value.fault(error))?;
        Ok(name.to_owned())
    });
    let ca = table.take("ca").map(|value| {
        let path = PathBuf::from(value.text("the path of a PEM file, as a string")?);
        look(&path).map_err(|error| value.fault(error))?;
        Ok(path)
    });
    Ok(TlsProfile {
        min_version: min_version.transpose()?,
        server_name: server_name.transpose()?,
        ca: ca.transpose()?,
    })
}

/// It stands for all that the element says of these, so that what is not written is not the element's: the first is
/// asked for, lest a list of suites lets a recording go out in the clear.
fn security(value: Value<'_>) -> Result<SecurityPolicy, Fault> {
    let mut table = value.table("a table such as `{ srtp = \"require\" }`", &SECURITY)?;
    let srtp = table.need("srtp", one_of(SRTP.iter().map(|(word, _)| *word)))?.word(&SRTP)?;
    let usual = SecurityPolicy::default();
    let keying = match table.take("keying") {
        None => usual.keying,
        Some(value) => match value.word(&[("sdes", Keying::Sdes), ("dtls", Keying::Dtls)])? {
            Keying::Dtls if srtp == SrtpUse::Disable => {
                return Err(value.fault("dtls makes no keys with srtp = \"disable\""));
            }
            keying => keying,
        },
    };
    let mut flag = |key| table.take(key).map_or(Ok(false), |value| value.flag());
    let (allow_downgrade, allow_clear_keys) = (flag("allow-downgrade")?, flag("allow-clear-keys")?);
    let policy = SecurityPolicy { srtp, keying, allow_downgrade, allow_clear_keys, ..usual };
    let Some(value) = table.take("suites") else { return Ok(policy) };
    let known = SrtpSuite::ALL.map(SrtpSuite::as_str).join(", ");
    let all = value.fault("");
    let wanted = format!("an array of strings; there are {known}");
    let suite = |name: Value<'_>| {
        name.text(&wanted)?.parse().map_err(|error| name.fault(format!("{error}; there are {known}")))
    };
    let suites = value.array(&wanted)?.into_iter().map(suite).collect::<Result<_, _>>()?;
    let policy = SecurityPolicy { suites, ..policy };
    match check(|profile| profile.security = Some(policy.clone())) {
        Ok(()) => Ok(policy),
        Err(error) => Err(Fault { text: error.to_string(), ..all }),
    }
}

fn proxy(value: Value<'_>) -> Result<OutboundProxy, Fault> {
    value.parsed("SIP URIs in one string, the first hop first")
}

fn pace(value: Value<'_>) -> Result<f32, Fault> {
    let times = value.number().ok_or_else(|| value.wrong("0 or a number from 1.0 to 100.0"))?;
    check(|profile| profile.catch_up = Some(times)).map_err(|error| value.fault(error))?;
    Ok(times)
}

/// By their names.
fn headers(value: Value<'_>) -> Result<Vec<(String, String)>, Fault> {
    let mut headers = Vec::new();
    for (name, place, value) in value.entries("a table of strings such as `{ X-Tenant = \"7\" }`")? {
        let at_name = Fault { span: Some(place), ..value.fault("") };
        let written = (name, value.text("a string")?.to_owned());
        match check(|profile| profile.extra_headers = vec![written.clone()]) {
            Ok(()) => headers.push(written),
            Err(error @ ConfigError::BadHeaderValue(_)) => return Err(value.fault(error)),
            Err(error) => return Err(Fault { text: error.to_string(), ..at_name }),
        }
    }
    Ok(headers)
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
