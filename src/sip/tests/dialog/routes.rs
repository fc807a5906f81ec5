//! Proxies on the way: the route that is configured, the one that is learnt, and routers of either kind
//! (RFC 3261 §8.1.1.1, §12.2.1.1, §16.12).

use siprec_sip::{Body, HeaderName, Headers, Message, Method, Request, Transport};

use crate::pair::{OFFER, config, uri};
use crate::solo::Solo;

const CONTACT: &str = "<sip:recorder@192.0.2.2:5060>";

/// A caller through a proxy, whose INVITE is out.
fn calling() -> Solo {
    let mut config = config(Transport::Udp);
    config.route = vec![uri("sip:proxy.example;transport=tcp;lr"), uri("sip:second.example;lr")];
    Solo::calling_by(config, Headers::new(), Some(Body::sdp(OFFER)))
}

/// The same in a dialog with this Record-Route, as the answer says it, the ACK out.
fn in_dialog(record_route: Option<&str>) -> (Solo, Request) {
    let mut solo = calling();
    let invite = solo.invite.clone();
    let mut set = vec![(HeaderName::Contact, CONTACT)];
    set.extend(record_route.map(|route| (HeaderName::RecordRoute, route)));
    let answer = solo.response(&invite, 200, &set);
    solo.deliver(answer);
    let ack = solo.next_request();
    (solo, ack)
}

fn bye(solo: &mut Solo) -> Request {
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    solo.next_request()
}

/// Request-URI, Route, and where the request is sent to.
fn path(solo: &Solo, request: &Request) -> (String, Vec<String>, String) {
    let read = Message::parse(&request.to_bytes()).unwrap();
    let routes = read.headers().routes().unwrap().iter().map(|route| route.uri.to_string()).collect();
    (request.uri.to_string(), routes, solo.ua.next_hop_of(request).to_string())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn the_invite_its_cancel_and_the_ack_of_its_refusal_go_by_the_configured_route() {
    let mut solo = calling();
    let invite = solo.invite.clone();
    let routes = texts(&["sip:proxy.example;transport=tcp;lr", "sip:second.example;lr"]);
    let expected = (invite.uri.to_string(), routes, "sip:proxy.example;transport=tcp;lr".to_owned());
    assert_eq!(path(&solo, &invite), expected);
    let ringing = solo.response(&invite, 180, &[]);
    solo.deliver(ringing);
    solo.ua.cancel(solo.now);
    let cancel = solo.next_request();
    assert_eq!(path(&solo, &cancel), expected);
    let refusal = solo.response(&invite, 487, &[]);
    solo.deliver(refusal);
    let ack = solo.next_request();
    assert_eq!(path(&solo, &ack), expected);
}

#[test]
fn the_record_route_of_the_answer_replaces_it_from_the_end_on() {
    // As a proxy with TCP before it and UDP behind it writes it: one of each (RFC 5658 §2).
    let record_route = "<sip:192.0.2.9:5062;r2=on;lr>, <sip:192.0.2.9:5061;transport=tcp;r2=on;lr>";
    let (mut solo, ack) = in_dialog(Some(record_route));
    let expected = (
        "sip:recorder@192.0.2.2:5060".to_owned(),
        texts(&["sip:192.0.2.9:5061;transport=tcp;r2=on;lr", "sip:192.0.2.9:5062;r2=on;lr"]),
        "sip:192.0.2.9:5061;transport=tcp;r2=on;lr".to_owned(),
    );
    assert_eq!(path(&solo, &ack), expected);
    let bye = bye(&mut solo);
    assert_eq!(path(&solo, &bye), expected);
}

#[test]
fn without_record_route_the_dialog_goes_straight_to_the_recorder() {
    let (mut solo, ack) = in_dialog(None);
    let direct = "sip:recorder@192.0.2.2:5060".to_owned();
    assert_eq!(path(&solo, &ack), (direct.clone(), Vec::new(), direct.clone()));
    let bye = bye(&mut solo);
    assert_eq!(path(&solo, &bye), (direct.clone(), Vec::new(), direct));
}

#[test]
fn a_strict_router_is_addressed_itself_and_the_recorder_stands_at_the_end() {
    let (mut solo, ack) = in_dialog(Some("<sip:strict.example;x=1>"));
    let expected = (
        "sip:strict.example;x=1".to_owned(),
        texts(&["sip:recorder@192.0.2.2:5060"]),
        "sip:strict.example;x=1".to_owned(),
    );
    assert_eq!(path(&solo, &ack), expected);
    let bye = bye(&mut solo);
    assert_eq!(path(&solo, &bye), expected);
}

#[test]
fn a_strict_router_before_a_loose_one_is_the_next_hop_and_behind_one_it_is_not() {
    let (solo, ack) = in_dialog(Some("<sip:loose.example;lr>, <sip:strict.example>"));
    let expected = (
        "sip:strict.example".to_owned(),
        texts(&["sip:loose.example;lr", "sip:recorder@192.0.2.2:5060"]),
        "sip:strict.example".to_owned(),
    );
    assert_eq!(path(&solo, &ack), expected);

    let (solo, ack) = in_dialog(Some("<sip:strict.example>, <sip:loose.example;lr>"));
    let expected = (
        "sip:recorder@192.0.2.2:5060".to_owned(),
        texts(&["sip:loose.example;lr", "sip:strict.example"]),
        "sip:loose.example;lr".to_owned(),
    );
    assert_eq!(path(&solo, &ack), expected);
}
