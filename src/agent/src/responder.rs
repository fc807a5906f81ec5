//! Answers to requests outside of every dialog. Nothing is remembered of them (RFC 3261 §8.2.7): a request that comes
//! again gets the same answer.

use std::hash::{BuildHasher as _, RandomState};

use siprec_sip::{HeaderName, Method, Request, Response};

/// What a recording client understands within its dialogs (`protocol` 1.1).
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, NOTIFY";
const ACCEPT: &str = "application/sdp, application/media_control+xml";
const SUPPORTED: &str = "timer";

/// Answers in the agent's name.
#[derive(Debug)]
pub(crate) struct Responder {
    server: String,
    tags: RandomState,
}

impl Responder {
    pub(crate) fn new(server: String) -> Self {
        Self { server, tags: RandomState::new() }
    }

    /// The answer to a request that belongs to no dialog; `None` for ACK, which has none.
    pub(crate) fn answer(&self, request: &Request) -> Option<Response> {
        let in_dialog = request.headers.to().is_ok_and(|to| to.tag().is_some());
        let unsupported: Vec<String> = request
            .headers
            .require()
            .into_iter()
            .filter(|tag| !tag.eq_ignore_ascii_case(SUPPORTED))
            .collect();
        let mut response = match &request.method {
            Method::Ack => return None,
            method if !method.is_known() => allowing(request, 501),
            // Methods that live only within a dialog, or with a transaction that is not here (RFC 3261 §12.2.2).
            Method::Bye | Method::Cancel | Method::Update | Method::Info | Method::Prack => {
                Response::to_request(request, 481)
            }
            _ if in_dialog => Response::to_request(request, 481),
            // RFC 3261 §8.2.2.3
            _ if !unsupported.is_empty() => {
                let mut response = Response::to_request(request, 420);
                response.headers.push(HeaderName::Unsupported, unsupported.join(", "));
                response
            }
            Method::Options => {
                let mut response = allowing(request, 200);
                response.headers.push(HeaderName::Accept, ACCEPT);
                response.headers.push(HeaderName::Supported, SUPPORTED);
                response
            }
            Method::Invite => {
                let mut response = Response::to_request(request, 403);
                "A recording client takes no calls".clone_into(&mut response.reason);
                response
            }
            // RFC 6665 §7.3.2: no subscription is ours.
            Method::Notify => Response::to_request(request, 489),
            _ => allowing(request, 405),
        };
        if !self.server.is_empty() {
            response.headers.push(HeaderName::Server, self.server.as_str());
        }
        self.tag(request, &mut response);
        Some(response)
    }

    /// RFC 3261 §8.2.6.2 and §8.2.7: a tag that the same request gets again.
    fn tag(&self, request: &Request, response: &mut Response) {
        let Ok(to) = request.headers.to() else { return };
        if to.tag().is_none() {
            let branch = request.headers.via().ok().and_then(|via| via.branch().map(str::to_owned));
            let call_id = request.headers.call_id().ok();
            let from = request.headers.get(&HeaderName::From).map(siprec_sip::HeaderValue::as_bytes);
            let tag = format!("{:016x}", self.tags.hash_one((branch, call_id, from)));
            response.headers.set(HeaderName::To, to.with_tag(&tag));
        }
    }
}

fn allowing(request: &Request, status: u16) -> Response {
    let mut response = Response::to_request(request, status);
    response.headers.push(HeaderName::Allow, ALLOW);
    response
}

#[cfg(test)]
mod tests {
    use siprec_sip::Uri;

    use super::*;

    fn request(method: &str, to: &str) -> Request {
        let method = Method::parse(method).unwrap();
        let mut request = Request::new(method.clone(), Uri::parse("sip:client@127.0.0.1").unwrap());
        for (name, value) in [
            (HeaderName::Via, "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1".to_owned()),
            (HeaderName::From, "<sip:a@b>;tag=1".to_owned()),
            (HeaderName::To, to.to_owned()),
            (HeaderName::CallId, "x".to_owned()),
            (HeaderName::CSeq, format!("1 {method}")),
        ] {
            request.headers.push(name, value);
        }
        request
    }

    fn answered(method: &str, to: &str) -> Option<u16> {
        Responder::new("x".into()).answer(&request(method, to)).map(|response| response.status)
    }

    #[test]
    fn each_method_has_its_answer() {
        // method, status outside of a dialog, status for a dialog that is not here
        let table = [
            ("OPTIONS", Some(200), Some(481)),
            ("INVITE", Some(403), Some(481)),
            ("ACK", None, None),
            ("BYE", Some(481), Some(481)),
            ("CANCEL", Some(481), Some(481)),
            ("UPDATE", Some(481), Some(481)),
            ("INFO", Some(481), Some(481)),
            ("NOTIFY", Some(489), Some(481)),
            ("REGISTER", Some(405), Some(481)),
            ("REFER", Some(405), Some(481)),
            ("SUBSCRIBE", Some(405), Some(481)),
            ("BREW", Some(501), Some(501)),
        ];
        for (method, outside, unknown) in table {
            assert_eq!(answered(method, "<sip:c@d>"), outside, "{method}");
            assert_eq!(answered(method, "<sip:c@d>;tag=2"), unknown, "{method} in a dialog");
        }
    }

    #[test]
    fn options_says_what_the_client_can_do() {
        let response = Responder::new("agent/1".into()).answer(&request("OPTIONS", "<sip:c@d>")).unwrap();
        assert!(response.headers.allow().contains(&Method::Update));
        assert_eq!(response.headers.supported(), ["timer"]);
        let header = |name| response.headers.get(&name).map(ToString::to_string);
        assert!(header(HeaderName::Accept).unwrap().contains("application/sdp"));
        assert_eq!(header(HeaderName::Server).as_deref(), Some("agent/1"));
    }

    #[test]
    fn an_extension_that_must_be_understood_and_is_not_is_named() {
        let mut request = request("OPTIONS", "<sip:c@d>");
        request.headers.push(HeaderName::Require, "timer, foo, bar");
        let response = Responder::new(String::new()).answer(&request).unwrap();
        assert_eq!(response.status, 420);
        assert_eq!(response.headers.get(&HeaderName::Unsupported).unwrap().to_str(), Some("foo, bar"));
    }

    #[test]
    fn a_repeated_request_gets_the_same_tag_and_another_one_another() {
        let responder = Responder::new(String::new());
        let tag = |request: &Request| {
            responder.answer(request).unwrap().headers.to().unwrap().tag().map(str::to_owned).unwrap()
        };
        let first = request("OPTIONS", "<sip:c@d>");
        let mut second = first.clone();
        second.headers.set(HeaderName::CallId, "y");
        assert_eq!(tag(&first), tag(&first));
        assert_ne!(tag(&first), tag(&second));
        assert_eq!(tag(&request("OPTIONS", "<sip:c@d>;tag=theirs")), "theirs");
    }
}
