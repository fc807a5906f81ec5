//! What an INVITE of the dialect `genesys` says of the recording (`protocol` 1.1).

use siprec_sip::{HeaderName, Headers, Request, uri};

use crate::files::report::{ParameterReport, PartyReport};
use crate::ladder::is_secret;

/// The recording that an INVITE asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// Empty when the INVITE has none.
    pub(crate) recording_id: String,
    pub(crate) call_uuid: Option<String>,
    /// Directory numbers in the order of the m-lines.
    pub(crate) parties: Vec<String>,
    pub(crate) parameters: Vec<ParameterReport>,
    pub(crate) headers: Vec<ParameterReport>,
}

impl Invitation {
    /// Reads an INVITE. Names compare without regard to case (RFC 3261 §19.1.4); what the Request-URI lacks is taken
    /// from `To`.
    pub(crate) fn of(invite: &Request) -> Self {
        let mut parameters = Vec::new();
        for (name, value) in invite.uri.params() {
            parameters.push(parameter(name, &uri::unescape(value.unwrap_or_default())));
        }
        let to = invite.headers.to().ok();
        if let Some(to) = &to {
            for (name, value) in to.uri.params() {
                add(&mut parameters, name, &uri::unescape(value.unwrap_or_default()));
            }
            for (name, _) in to.params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("tag")) {
                add(&mut parameters, name, &to.params.unquoted(name).unwrap_or_default());
            }
        }
        let in_user = |user: Option<&str>| {
            let (name, id) = user?.split_once('=')?;
            name.eq_ignore_ascii_case("record").then(|| uri::unescape(id).into_owned())
        };
        let recording_id = in_user(invite.uri.user())
            .or_else(|| in_user(to.as_ref().and_then(|to| to.uri.user())))
            .or_else(|| value(&parameters, "record"));
        let headers = invite.headers.iter().filter(|(name, _)| !is_secret(name));
        Self {
            recording_id: recording_id.unwrap_or_default(),
            call_uuid: value(&parameters, "calluuid"),
            parties: ["dn", "otherDN"].iter().filter_map(|name| value(&parameters, name)).collect(),
            headers: headers.map(|(name, value)| parameter(name, &value.to_string_lossy())).collect(),
            parameters,
        }
    }

    /// The parties with the streams that carry them, given the indices of the audio m-lines.
    pub(crate) fn party_reports(&self, audio: &[usize]) -> Vec<PartyReport> {
        let party =
            |(index, dn): (usize, &String)| PartyReport { dn: dn.clone(), stream: audio.get(index).copied() };
        self.parties.iter().enumerate().map(party).collect()
    }
}

/// The session description of a message: its body, or a part of it (RFC 3261 §7.4, RFC 5621).
pub(crate) fn session_description(request: &Request) -> Option<Vec<u8>> {
    session_description_in(&request.headers, &request.body)
}

/// The same of any message.
pub(crate) fn session_description_in(headers: &Headers, body: &[u8]) -> Option<Vec<u8>> {
    if body.is_empty() {
        return None;
    }
    if !headers.contains(&HeaderName::ContentType) {
        return Some(body.to_vec());
    }
    siprec_sip::multipart::find(headers, body, "application/sdp").ok().flatten()
}

fn parameter(name: &str, value: &str) -> ParameterReport {
    ParameterReport { name: name.into(), value: value.into() }
}

/// Adds a parameter unless it is there with the same value.
fn add(parameters: &mut Vec<ParameterReport>, name: &str, value: &str) {
    let same = |known: &ParameterReport| known.name.eq_ignore_ascii_case(name) && known.value == value;
    if !parameters.iter().any(same) {
        parameters.push(parameter(name, value));
    }
}

fn value(parameters: &[ParameterReport], name: &str) -> Option<String> {
    parameters.iter().find(|known| known.name.eq_ignore_ascii_case(name)).map(|known| known.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use siprec_sip::Message;

    fn invite(uri: &str, to: &str) -> Request {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: {to}\r\n\
             Call-ID: 1\r\nCSeq: 1 INVITE\r\nAuthorization: Digest x\r\n\r\n"
        );
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!(),
        }
    }

    #[test]
    fn parameters_are_found_in_any_case() {
        let invitation = Invitation::of(&invite(
            "sip:record=ID%3a1@r;CallUUID=00FA;DN=1001;otherdn=10%3B02;recorddn=1001",
            "<sip:record=ID%3a1@r>;dn=1001;agentid=\"J. Doe\";tag=x",
        ));
        assert_eq!(invitation.recording_id, "ID:1");
        assert_eq!(invitation.call_uuid.as_deref(), Some("00FA"));
        assert_eq!(invitation.parties, ["1001", "10;02"]);
        let names: Vec<_> = invitation.parameters.iter().map(|known| known.name.as_str()).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        assert_eq!(invitation.parameters[4], parameter("agentid", "J. Doe"));
    }

    #[test]
    fn an_id_is_taken_from_wherever_it_stands() {
        assert_eq!(Invitation::of(&invite("sip:RECORD=a@r", "<sip:r>")).recording_id, "a");
        assert_eq!(Invitation::of(&invite("sip:r", "<sip:record=b@r>")).recording_id, "b");
        assert_eq!(Invitation::of(&invite("sip:r;record=c", "<sip:r>")).recording_id, "c");
        assert_eq!(Invitation::of(&invite("sip:user@r", "<sip:r>")).recording_id, "");
    }

    #[test]
    fn parties_go_with_the_audio_lines_and_secrets_do_not_go_at_all() {
        let invitation = Invitation::of(&invite("sip:record=a@r;dn=1;otherDN=2", "<sip:r>"));
        let parties = invitation.party_reports(&[0, 2]);
        assert_eq!(parties[1], PartyReport { dn: "2".into(), stream: Some(2) });
        assert_eq!(invitation.party_reports(&[0])[1].stream, None);
        assert!(invitation.headers.iter().all(|header| header.name != "Authorization"));
    }
}
