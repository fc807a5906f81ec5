//! What a refused INVITE says of other places and other times.

use std::cmp::Reverse;
use std::time::Duration;

use siprec_sip::{ChallengeFault, HeaderError, NameAddr, Response, Uri};

/// A recorder's advice to whom it refuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Advice {
    /// Where else to try, the best first (RFC 3261 §8.1.3.4).
    pub(crate) elsewhere: Vec<Uri>,
    /// It names places that cannot be read.
    pub(crate) unreadable: Option<HeaderError>,
    /// How long nothing more should be sent there (RFC 3261 §21.5.4).
    pub(crate) away: Option<Duration>,
}

impl Advice {
    pub(crate) fn of(response: &Response) -> Self {
        let places = if matches!(response.status, 300..=399) { contacts(response) } else { Ok(Vec::new()) };
        let (elsewhere, unreadable) = match places {
            Ok(places) => (places, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Self {
            elsewhere,
            unreadable,
            away: (response.status == 503)
                .then(|| response.headers.retry_after().ok().flatten())
                .flatten()
                .map(|seconds| Duration::from_secs(seconds.into())),
        }
    }
}

/// The Contacts by their `q`, equal ones in their order. One without `q` is as good as any (RFC 3261 §20.10 leaves it
/// open; RFC 2616 §3.9, where it comes from, has 1).
fn contacts(response: &Response) -> Result<Vec<Uri>, HeaderError> {
    let mut contacts = response.headers.contacts()?;
    contacts.sort_by_key(|contact| Reverse(thousandths(contact)));
    Ok(contacts.into_iter().map(|contact| contact.uri).collect())
}

/// A refusal with the reason why it was not answered.
pub(super) fn explained(mut response: Response, fault: Option<Box<ChallengeFault>>) -> Response {
    if let Some(fault) = fault {
        response.reason = format!("{}: {fault}", response.reason);
    }
    response
}

fn thousandths(contact: &NameAddr) -> u32 {
    let q = contact.params.get("q").and_then(|q| q.parse::<f32>().ok()).filter(|q| (0.0..=1.0).contains(q));
    // From 0 to 1000: nothing is cut off.
    (q.unwrap_or(1.0) * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use siprec_sip::Message;

    use super::*;

    fn advice(status: u16, headers: &str) -> Advice {
        let text = format!(
            "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\n\
             Call-ID: 1\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Response(response) => Advice::of(&response),
            Message::Request(_) => panic!("a response"),
        }
    }

    #[test]
    fn contacts_are_tried_by_their_q_and_only_a_3xx_names_them() {
        let contacts = "Contact: <sip:c>;q=0.2, <sip:a>\r\nContact: <sip:b>;q=0.9, <sip:d>;q=nonsense\r\n";
        let uris = |status| -> Vec<String> {
            advice(status, contacts).elsewhere.iter().map(ToString::to_string).collect()
        };
        assert_eq!(uris(302), ["sip:a", "sip:d", "sip:b", "sip:c"]);
        assert!(uris(486).is_empty());
        assert!(advice(302, "").elsewhere.is_empty());
    }

    #[test]
    fn only_a_503_says_for_how_long() {
        let away = |status| advice(status, "Retry-After: 120 (maintenance);duration=60\r\n").away;
        assert_eq!(away(503), Some(Duration::from_secs(120)));
        assert_eq!(away(500), None);
        assert_eq!(advice(503, "").away, None);
    }
}
