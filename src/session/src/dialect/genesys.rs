//! The dialect `genesys` (`protocol` 1.1, 1.2).

use siprec_model::{CallUuid, RecordingId};
use siprec_sip::sdp::Direction;
use siprec_sip::{HeaderName, HeaderValue, Headers, NameAddr};

use super::{Invite, InviteError, Subject};
use crate::config::{ConfigError, HEAD_LIMIT, RecordingConfig, SessionMode, TEXT_LIMIT, Text};
use crate::recorder::{PayloadTypes, RecorderTarget};

/// We send the payload types that we offered (the vendor's text; RFC 3264 §5.1 would say the answer's).
pub(super) const PAYLOAD_TYPES: PayloadTypes = PayloadTypes::Offered;

/// Names that would change routing or the dialog.
const REFUSED: [&str; 7] = ["tag", "transport", "lr", "maddr", "ttl", "method", "user"];

/// Names that have a property of their own.
const OWN: [&str; 4] = ["calluuid", "dn", "otherdn", "recorddn"];

/// Names that stand in the Request-URI only (seen).
const REQUEST_URI_ONLY: [&str; 2] = ["gvp-tenant-id", "media-id"];

/// Only `inactive` counts; `recvonly`, `sendonly` and `sendrecv` are seen, and all take media.
pub(super) fn answer_takes_media(direction: Direction) -> bool {
    direction != Direction::Inactive
}

/// The Request-URI, To and headers of `protocol` 1.1. A value that is not known is left out.
pub(super) fn invite(subject: &Subject<'_>) -> Result<Invite, InviteError> {
    let recorder = &subject.recorder.uri;
    let user = format!("record={}", subject.recording_id);
    // The recorder's own parameters, such as `transport`, go with its address and not into To.
    let mut request_uri = recorder.to_builder().user(&user);
    let mut to = match (recorder.is_sips(), recorder.host().unwrap_or_default()) {
        (true, host) => siprec_sip::UriBuilder::sips(host),
        (false, host) => siprec_sip::UriBuilder::sip(host),
    };
    if let Some(port) = recorder.port() {
        to = to.port(port);
    }
    let to = to.user(&user).build().map_err(|error| InviteError::new("To header", &error))?;
    let mut to = NameAddr::new(to);
    for (name, value) in parameters(subject) {
        request_uri = if value.is_empty() { request_uri.flag(name) } else { request_uri.param(name, value) };
        if REQUEST_URI_ONLY.iter().any(|only| only.eq_ignore_ascii_case(name)) {
            continue;
        }
        let set = if value.is_empty() { to.params.set_flag(name) } else { to.params.set(name, value) };
        set.map_err(|error| InviteError::new("To header", &error))?;
    }
    let request_uri = request_uri.build().map_err(|error| InviteError::new("Request-URI", &error))?;
    Ok(Invite { request_uri, to, headers: headers(subject)? })
}

/// Finds what would break the INVITE or change what it means.
pub(super) fn check(config: &RecordingConfig) -> Result<(), ConfigError> {
    if config.user.is_empty() {
        return Err(ConfigError::Empty("the user"));
    }
    let recording_id = config.recording_id.as_ref().map(RecordingId::as_str);
    if recording_id.is_some_and(str::is_empty) {
        return Err(ConfigError::Empty("the recording id"));
    }
    check_length(Text::User, &config.user)?;
    check_length(Text::RecordingId, recording_id.unwrap_or_default())?;
    check_length(Text::CallUuid, config.call_uuid.as_ref().map_or("", CallUuid::as_str))?;
    check_length(Text::RecordDn, config.record_dn.as_deref().unwrap_or_default())?;
    for (slot, party) in config.parties.iter().enumerate() {
        check_length(Text::Dn(slot), &party.dn)?;
    }
    check_parameters(&config.extra_parameters)?;
    check_header_value("User-Agent", &config.user_agent)?;
    check_headers(&config.extra_headers)?;
    config.recorders.listed().iter().try_for_each(|recorder| check_recorder(recorder, config))
}

/// Everything together must make an INVITE: two parameters may clash that are fine alone.
fn check_recorder(recorder: &RecorderTarget, config: &RecordingConfig) -> Result<(), ConfigError> {
    check_headers(&recorder.profile.extra_headers)?;
    let unusable = |reason| ConfigError::Recorder { recorder: recorder.shown(), reason };
    crate::recorder::check_recorder(&recorder.uri).map_err(|fault| unusable(fault.to_string()))?;
    let (recording_id, call_uuid) = (RecordingId::new("id"), CallUuid::new("uuid"));
    let subject = Subject {
        recorder,
        recording_id: &recording_id,
        call_uuid: &call_uuid,
        dn: config.dn(0),
        other_dn: config.dn(1),
        config,
    };
    let invite = invite(&subject).map_err(|error| unusable(error.to_string()))?;
    let headers = invite.header_length();
    match headers + invite.address_length() {
        length if length > HEAD_LIMIT => Err(ConfigError::TooLarge { length, headers }),
        _ => Ok(()),
    }
}

fn check_parameters(parameters: &[(String, String)]) -> Result<(), ConfigError> {
    for (index, (name, value)) in parameters.iter().enumerate() {
        let among = |names: &[&str]| names.iter().any(|other| other.eq_ignore_ascii_case(name));
        let refused = |reason| Err(ConfigError::RefusedParameter { name: name.clone(), reason });
        check_length(Text::Parameter(name.clone()), name)?;
        check_length(Text::Parameter(name.clone()), value)?;
        if !is_parameter_name(name) {
            return Err(ConfigError::BadParameterName(name.clone()));
        }
        if among(&REFUSED) {
            return refused("it would change routing or the dialog");
        }
        if among(&OWN) {
            return refused("it has a property of its own");
        }
        if parameters.iter().take(index).any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
            return Err(ConfigError::DuplicateParameter(name.clone()));
        }
    }
    Ok(())
}

fn check_headers(headers: &[(String, String)]) -> Result<(), ConfigError> {
    for (name, value) in headers {
        let known = HeaderName::parse(name).map_err(|_| ConfigError::BadHeaderName(name.clone()))?;
        if is_protocol_header(&known) {
            return Err(ConfigError::RefusedHeader(name.clone()));
        }
        check_header_value(name, value)?;
    }
    Ok(())
}

fn check_header_value(name: &str, value: &str) -> Result<(), ConfigError> {
    check_length(Text::Header(name.to_owned()), value)?;
    HeaderValue::new(value).map(drop).map_err(|_| ConfigError::BadHeaderValue(name.to_owned()))
}

fn check_length(what: Text, text: &str) -> Result<(), ConfigError> {
    match text.len() {
        length if length > TEXT_LIMIT => Err(ConfigError::TooLong { what, length }),
        _ => Ok(()),
    }
}

/// A name that stands unescaped both in a URI (`pname`) and in a header (`token`; RFC 3261 §25.1).
fn is_parameter_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!*_+'~".contains(&byte))
}

/// Headers that the dialog sets, or that would change what the request means.
fn is_protocol_header(name: &HeaderName) -> bool {
    use HeaderName as Name;
    matches!(
        name,
        Name::Accept
            | Name::Allow
            | Name::Authorization
            | Name::CallId
            | Name::Contact
            | Name::ContentDisposition
            | Name::ContentEncoding
            | Name::ContentLanguage
            | Name::ContentLength
            | Name::ContentType
            | Name::CSeq
            | Name::Event
            | Name::Expires
            | Name::From
            | Name::MaxForwards
            | Name::MimeVersion
            | Name::MinSe
            | Name::ProxyAuthorization
            | Name::ProxyRequire
            | Name::RAck
            | Name::RecordRoute
            | Name::ReferTo
            | Name::Replaces
            | Name::Require
            | Name::Route
            | Name::RSeq
            | Name::SessionExpires
            | Name::SubscriptionState
            | Name::Supported
            | Name::To
            | Name::Unsupported
            | Name::UserAgent
            | Name::Via
    )
}

/// The parameters in the documented order, then the controller's in its own. All sessions of a recording name the same
/// recording party.
fn parameters<'a>(subject: &Subject<'a>) -> Vec<(&'a str, &'a str)> {
    let config = subject.config;
    let spelled = |documented, lower_case| {
        if subject.recorder.profile.lower_case_parameters { lower_case } else { documented }
    };
    let first_dn = || match config.session_mode() {
        SessionMode::BothParties => subject.dn,
        SessionMode::PerParty => {
            config.parties.iter().map(|party| party.dn.as_str()).find(|dn| !dn.is_empty())
        }
    };
    let record_dn = config.record_dn.as_deref().filter(|dn| !dn.is_empty()).or_else(first_dn);
    let own = [
        ("calluuid", Some(subject.call_uuid.as_str())),
        ("dn", subject.dn),
        (spelled("otherDN", "otherdn"), subject.other_dn),
        (spelled("recordDN", "recorddn"), record_dn),
    ];
    own.into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
        .chain(config.extra_parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .collect()
}

/// Whether the Request-URI of every INVITE has a parameter of this name.
pub(super) fn sets_parameter(name: &str, config: &RecordingConfig) -> bool {
    let extra = config.extra_parameters.iter().map(|(name, _)| name.as_str());
    OWN.into_iter().chain(extra).any(|own| own.eq_ignore_ascii_case(name))
}

fn headers(subject: &Subject<'_>) -> Result<Headers, InviteError> {
    let mut headers = Headers::new();
    let extra = subject.config.extra_headers.iter().chain(&subject.recorder.profile.extra_headers);
    for (name, value) in extra {
        let name = HeaderName::parse(name).map_err(|error| InviteError::new("header name", &error))?;
        let value = HeaderValue::new(value).map_err(|error| InviteError::new("header", &error))?;
        headers.push(name, value);
    }
    Ok(headers)
}
