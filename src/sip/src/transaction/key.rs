//! Which message belongs to which transaction.

use crate::{HeaderName, Headers, Method, Request, Response};

/// What RFC 3261 §8.1.1.7 puts before each branch, so that it is known to be unique.
const MAGIC_COOKIE: &str = "z9hG4bK";

/// A client transaction is known by the branch of the top Via and the method of the CSeq (RFC 3261 §17.1.3).
#[derive(Debug)]
pub(crate) struct ClientKey {
    branch: String,
    method: Method,
}

impl ClientKey {
    pub(crate) fn of_request(request: &Request) -> ClientKey {
        ClientKey { branch: branch(&request.headers), method: request.method.clone() }
    }

    /// The key of the transaction that a response belongs to; `None` when it says so of none.
    pub(crate) fn of_response(response: &Response) -> Option<ClientKey> {
        let method = response.headers.cseq().ok()?.method;
        Some(ClientKey { branch: branch(&response.headers), method })
    }

    /// The memory behind it, about.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.branch.len()
    }

    pub(crate) fn is_match(&self, response: &ClientKey) -> bool {
        self.method == response.method && self.branch.eq_ignore_ascii_case(&response.branch)
    }
}

fn branch(headers: &Headers) -> String {
    headers.via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default()
}

/// A server transaction is known by the top Via (RFC 3261 §17.2.3), or, when the peer makes no unique branches, by
/// what RFC 2543 compared.
#[derive(Debug)]
pub(crate) struct ServerKey {
    method: Method,
    origin: Origin,
}

impl ServerKey {
    pub(crate) fn of(request: &Request) -> ServerKey {
        ServerKey { method: request.method.clone(), origin: Origin::of(request) }
    }

    /// Whether a request with the other key is this one again, or the ACK of its refusal.
    pub(crate) fn is_match(&self, request: &ServerKey) -> bool {
        let same_method =
            request.method == self.method || (request.method == Method::Ack && self.method == Method::Invite);
        same_method && request.origin == self.origin
    }

    pub(crate) fn is_cancelled_by(&self, cancel: &ServerKey) -> bool {
        cancel.method == Method::Cancel
            && !matches!(self.method, Method::Ack | Method::Cancel)
            && cancel.origin == self.origin
    }

    /// The memory behind it, about.
    pub(crate) fn kept_bytes(&self) -> usize {
        match &self.origin {
            Origin::Branch { branch, host, .. } => branch.len() + host.len(),
            Origin::Old { uri, call_id, from_tag, via, .. } => {
                uri.len() + call_id.len() + from_tag.as_ref().map_or(0, String::len) + via.len()
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Origin {
    Branch { branch: String, host: String, port: u16 },
    Old { uri: String, call_id: Vec<u8>, from_tag: Option<String>, cseq: u32, via: Vec<u8> },
}

impl Origin {
    fn of(request: &Request) -> Origin {
        let headers = &request.headers;
        if let Ok(via) = headers.via()
            && let Some(branch) = via.branch()
            && branch.get(..MAGIC_COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(MAGIC_COOKIE))
        {
            // Tokens compare without regard to case (RFC 3261 §7.3.1).
            return Origin::Branch {
                branch: branch.to_ascii_lowercase(),
                host: via.host().to_ascii_lowercase(),
                port: via.port.unwrap_or(5060),
            };
        }
        Origin::Old {
            uri: request.uri.to_string(),
            call_id: headers.get(&HeaderName::CallId).map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
            from_tag: headers.from().ok().and_then(|from| from.tag().map(str::to_owned)),
            cseq: headers.cseq().map_or(0, |cseq| cseq.number),
            via: headers.get(&HeaderName::Via).map(|via| via.as_bytes().to_vec()).unwrap_or_default(),
        }
    }
}
