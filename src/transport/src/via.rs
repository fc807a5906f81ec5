//! The top Via: what a server adds to it, where it sends a response, and the transport it names.

use std::net::SocketAddr;

use siprec_sip::{HeaderName, HeaderValue, Headers, Message, Response, Via};

use crate::{Protocol, SendError, Source};

/// The branch of the top Via.
pub(crate) fn branch(message: &Message) -> Option<String> {
    message.headers().via().ok()?.branch().map(str::to_owned)
}

/// Names the transport that carries a request in its top Via (RFC 3261 §18.1.1: a change of transport changes it).
pub(crate) fn set_protocol(message: &mut Message, protocol: Protocol) -> Result<(), SendError> {
    let headers = message.headers_mut();
    let via = headers.via().map_err(|_| SendError::UnusableVia)?;
    if via.transport().eq_ignore_ascii_case(protocol.as_str()) {
        return Ok(());
    }
    let branch = via.branch().unwrap_or_default();
    let mut changed =
        Via::new(protocol.as_str(), via.host(), via.port, branch).map_err(|_| SendError::UnusableVia)?;
    changed.params = via.params;
    replace_top(headers, &changed);
    Ok(())
}

/// Notes in the top Via where a request came from; `false` when it has none that can be read.
///
/// RFC 3261 §18.2.1 asks for `received` where sent-by is not the source address; RFC 3581 §4 for both parameters where
/// the client asks for `rport`. A request over a stream gets both in any case: the source address is the name of its
/// connection, on which the response must go back (§18.2.2).
pub(crate) fn note_source(headers: &mut Headers, source: Source) -> bool {
    let Ok(mut via) = headers.via() else { return false };
    let remote = source.remote;
    let named = source.protocol != Protocol::Udp || via.wants_rport();
    // Nobody else's word for it counts.
    via.params.remove("received");
    let mut noted = Ok(());
    if named || via.host_ip() != Some(remote.ip()) {
        noted = via.params.set("received", &remote.ip().to_string());
    }
    if named {
        noted = noted.and_then(|()| via.params.set("rport", &remote.port().to_string()));
    }
    replace_top(headers, &via);
    noted.is_ok()
}

/// Where a response goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseRoute {
    pub(crate) protocol: Protocol,
    /// Where the request came from: by UDP with `rport` its port, else that of sent-by; by a stream its connection.
    pub(crate) source: SocketAddr,
    /// Where a new connection is made when that of the request is gone.
    pub(crate) sent_by: SocketAddr,
    /// The host of sent-by, as it stands there: whom a new connection by TLS must lead to.
    pub(crate) host: String,
}

impl ResponseRoute {
    /// RFC 3261 §18.2.2 with RFC 3581 §4. `maddr` is not followed: it would let a request aim responses at anybody.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        let via = response.headers.via().ok()?;
        let protocol = Protocol::from_token(via.transport())?;
        let address = via.received().or_else(|| via.host_ip())?.to_canonical();
        let sent_by = SocketAddr::new(address, via.port.unwrap_or(protocol.default_port()));
        let source = via.rport().map_or(sent_by, |port| SocketAddr::new(address, port));
        let host = via.host().trim_matches(['[', ']']).to_owned();
        Some(Self { protocol, source, sent_by, host })
    }
}

/// Puts `top` in the place of the first Via; the others keep their order.
fn replace_top(headers: &mut Headers, top: &Via) {
    let others: Vec<HeaderValue> =
        headers.values(&HeaderName::Via).skip(1).map(|via| HeaderValue::from(via.to_vec())).collect();
    headers.set(HeaderName::Via, top);
    for via in others {
        headers.push(HeaderName::Via, via);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(vias: &str) -> Message {
        Message::parse(
            format!(
                "OPTIONS sip:a@192.0.2.9 SIP/2.0\r\n{vias}From: <sip:b@c>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\n\
                 CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            )
            .as_bytes(),
        )
        .unwrap()
    }

    fn vias(message: &Message) -> Vec<String> {
        message.headers().vias().unwrap().iter().map(Via::to_string).collect()
    }

    fn noted(vias_text: &str, protocol: Protocol) -> Vec<String> {
        let mut message = request(vias_text);
        let source = Source { remote: "192.0.2.1:4321".parse().unwrap(), protocol };
        assert!(note_source(message.headers_mut(), source));
        vias(&message)
    }

    #[test]
    fn a_change_of_transport_changes_only_that_word_of_the_top_via() {
        let mut message = request("Via: SIP/2.0/UDP [::1]:5;branch=z9hG4bKa;rport;x=1, SIP/2.0/UDP b\r\n");
        set_protocol(&mut message, Protocol::Tcp).unwrap();
        assert_eq!(vias(&message), ["SIP/2.0/TCP [::1]:5;branch=z9hG4bKa;rport;x=1", "SIP/2.0/UDP b"]);
    }

    #[test]
    fn received_is_added_where_sent_by_is_another_address() {
        assert_eq!(
            noted("Via: SIP/2.0/UDP 192.0.2.1;branch=z\r\n", Protocol::Udp),
            ["SIP/2.0/UDP 192.0.2.1;branch=z"]
        );
        assert_eq!(
            noted("Via: SIP/2.0/UDP host;branch=z\r\n", Protocol::Udp),
            ["SIP/2.0/UDP host;branch=z;received=192.0.2.1"]
        );
    }

    #[test]
    fn rport_is_filled_where_it_is_asked_for_and_a_forged_received_is_not_believed() {
        let vias = noted("Via: SIP/2.0/UDP 192.0.2.1;rport;received=9.9.9.9;branch=z\r\n", Protocol::Udp);
        assert_eq!(vias, ["SIP/2.0/UDP 192.0.2.1;rport=4321;branch=z;received=192.0.2.1"]);
    }

    #[test]
    fn a_response_finds_back() {
        let table = [
            ("SIP/2.0/UDP 192.0.2.1;branch=z", "192.0.2.1:5060", "192.0.2.1:5060"),
            ("SIP/2.0/UDP 192.0.2.1:7;branch=z", "192.0.2.1:7", "192.0.2.1:7"),
            ("SIP/2.0/UDP h:7;received=192.0.2.2;branch=z", "192.0.2.2:7", "192.0.2.2:7"),
            ("SIP/2.0/TCP h:7;received=192.0.2.2;rport=99", "192.0.2.2:99", "192.0.2.2:7"),
            ("SIP/2.0/TLS h;received=192.0.2.2;rport=99", "192.0.2.2:99", "192.0.2.2:5061"),
            ("SIP/2.0/UDP [2001:db8::1]:7;rport=99", "[2001:db8::1]:99", "[2001:db8::1]:7"),
        ];
        for (via, source, sent_by) in table {
            let mut headers = Headers::new();
            headers.push(HeaderName::Via, via);
            let response = Response { status: 200, reason: "OK".to_owned(), headers, body: Vec::new() };
            let route = ResponseRoute::of(&response).unwrap_or_else(|| panic!("{via}"));
            assert_eq!(
                (route.source.to_string(), route.sent_by.to_string()),
                (source.into(), sent_by.into())
            );
        }
    }
}
