//! Requests by UDP that nobody takes (RFC 3261 §18.4).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use siprec_sip::{HeaderName, Message, Method, Request, Uri};
use siprec_transport::{Destination, Incoming, Protocol, SendError, SendFailure, Transport, TransportConfig};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

fn bind(local: Option<IpAddr>) -> (Transport, Receiver<Incoming>) {
    Transport::bind(TransportConfig { local, ..TransportConfig::default() }).unwrap()
}

/// No port of this number is given to anybody who asks for any.
fn closed(host: IpAddr) -> SocketAddr {
    SocketAddr::new(host, 1)
}

fn options(transport: &Transport, remote: SocketAddr, id: &str) -> Request {
    let mut request = Request::new(Method::Options, Uri::parse(&format!("sip:{remote}")).unwrap());
    let host = transport.local_towards(remote).unwrap();
    let local = SocketAddr::new(host, transport.local().port());
    for (name, value) in [
        (HeaderName::Via, format!("SIP/2.0/UDP {local};branch=z9hG4bK{id};rport")),
        (HeaderName::MaxForwards, "70".to_owned()),
        (HeaderName::From, "<sip:a@b>;tag=1".to_owned()),
        (HeaderName::To, format!("<sip:{remote}>")),
        (HeaderName::CallId, id.to_owned()),
        (HeaderName::CSeq, "1 OPTIONS".to_owned()),
    ] {
        request.headers.push(name, value);
    }
    request
}

fn send(transport: &Transport, remote: SocketAddr, id: &str) {
    let destination = Destination { remote, protocol: Protocol::Udp, fixed: true, tls: None };
    transport.send(options(transport, remote, id), destination).unwrap();
}

async fn failure(arrivals: &mut Receiver<Incoming>) -> SendFailure {
    match timeout(DEADLINE, arrivals.recv()).await.expect("nothing is told in time").unwrap() {
        Incoming::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn id(message: &Message) -> &str {
    message.headers().call_id().unwrap()
}

#[tokio::test]
async fn a_request_to_a_closed_port_fails_at_once_whatever_the_family() {
    let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    // `None` is one socket for both.
    for (local, host) in [(Some(v4), v4), (Some(v6), v6), (None, v4), (None, v6)] {
        let (transport, mut arrivals) = bind(local);
        let remote = closed(host);
        send(&transport, remote, "lost");
        let SendFailure { message, remote: told, error } = failure(&mut arrivals).await;
        assert_eq!((id(&message), told), ("lost", remote), "{local:?}");
        assert!(matches!(error, SendError::Unreachable { .. }), "{local:?}: {error:?}");
        assert_eq!(
            error.to_string(),
            format!("nobody takes SIP at {remote}/UDP: Connection refused (os error 111)")
        );
        assert_eq!(transport.counters().unreachable, 1);
    }
}

#[tokio::test]
async fn what_others_refuse_loses_no_request_to_one_who_takes_them() {
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (client, mut failures) = bind(Some(host));
    let (server, mut arrivals) = bind(Some(host));
    for number in 0..50 {
        send(&client, closed(host), &format!("lost{number}"));
        send(&client, server.local(), &format!("taken{number}"));
    }
    for number in 0..50 {
        let arrived = timeout(DEADLINE, arrivals.recv()).await.expect("nothing arrives in time").unwrap();
        let Incoming::Message(received) = arrived else { panic!("{arrived:?}") };
        assert_eq!(id(&received.message), format!("taken{number}"));
    }
    // The host may say it of some only: it sends no more than so many of such messages.
    let SendFailure { message, remote, .. } = failure(&mut failures).await;
    assert!(id(&message).starts_with("lost") && remote == closed(host));
    assert_eq!(client.counters().unsent, 0);
}
