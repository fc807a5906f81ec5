//! Keepalives on the wire (RFC 5626 §4.4.1).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::Ipv4Addr;
use std::time::Duration;

use siprec_sip::{HeaderName, Method, Request, Uri};
use siprec_transport::{Destination, Incoming, Limits, Protocol, Transport, TransportConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
const PING: &str = "\r\n\r\n";

fn client(pong_timeout: Duration) -> (Transport, Receiver<Incoming>) {
    let limits = Limits { keepalive: Duration::from_millis(100), pong_timeout, ..Limits::default() };
    let local = Some(Ipv4Addr::LOCALHOST.into());
    Transport::bind(TransportConfig { local, limits, ..TransportConfig::default() }).unwrap()
}

async fn recorder() -> (TcpListener, Destination) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = listener.local_addr().unwrap();
    (listener, Destination { remote, protocol: Protocol::Tcp, fixed: true, tls: None })
}

fn options() -> Request {
    let mut request = Request::new(Method::Options, Uri::parse("sip:recorder@127.0.0.1").unwrap());
    for (name, value) in [
        (HeaderName::Via, "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK1"),
        (HeaderName::MaxForwards, "70"),
        (HeaderName::From, "<sip:client@127.0.0.1>;tag=f"),
        (HeaderName::To, "<sip:recorder@127.0.0.1>"),
        (HeaderName::CallId, "one"),
        (HeaderName::CSeq, "1 OPTIONS"),
    ] {
        request.headers.push(name, value);
    }
    request
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(DEADLINE, listener.accept()).await.expect("no connection in time").unwrap().0
}

/// Reads until the text ends with `wanted`.
async fn read_to(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(wanted) {
        let mut byte = [0];
        let length = timeout(DEADLINE, stream.read(&mut byte)).await.expect("nothing in time").unwrap();
        assert_eq!(length, 1, "closed after {text:?}");
        text.push(char::from(byte[0]));
    }
    text
}

#[tokio::test]
async fn a_peer_whose_pongs_end_is_lost_and_its_request_goes_by_a_new_connection() {
    let (transport, _arrivals) = client(Duration::from_millis(500));
    let (listener, destination) = recorder().await;
    let _dialog = transport.keep_alive(&destination);
    transport.send(options(), destination).unwrap();
    let mut first = accept(&listener).await;
    read_to(&mut first, PING).await;
    assert_eq!(read_to(&mut first, PING).await, PING, "nothing but a ping");
    first.write_all(b"\r\n").await.unwrap();
    assert_eq!(read_to(&mut first, PING).await, PING);
    let mut rest = String::new();
    // However it closes it.
    let _ = timeout(DEADLINE, first.read_to_string(&mut rest)).await.expect("not closed in time");
    assert_eq!(rest, "", "one ping, then the patience is over");
    let mut second = accept(&listener).await;
    assert!(read_to(&mut second, PING).await.starts_with("OPTIONS sip:recorder"));
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_where_somebody_keeps_it_alive() {
    for kept in [true, false] {
        let (transport, mut arrivals) = client(Duration::from_secs(30));
        let (listener, destination) = recorder().await;
        let dialog = transport.keep_alive(&destination);
        let dialog = kept.then_some(dialog);
        transport.send(options(), destination).unwrap();
        let mut stream = accept(&listener).await;
        read_to(&mut stream, PING).await;
        let answer = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK1\r\n\
                      From: <sip:client@127.0.0.1>;tag=f\r\nTo: <sip:recorder@127.0.0.1>;tag=t\r\n\
                      Call-ID: one\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut next = async || timeout(DEADLINE, arrivals.recv()).await.expect("nothing in time");
        assert!(matches!(next().await, Some(Incoming::Message(_))));
        drop(stream);
        if let Some(dialog) = dialog {
            let Some(Incoming::Lost(connection)) = next().await else { panic!("something else came") };
            assert!(connection.was_kept_by(&dialog));
            let (_, other) = recorder().await;
            assert!(!connection.was_kept_by(&transport.keep_alive(&other)));
        }
        // All that was to come has: the queue ends with the transport.
        drop(transport);
        assert!(next().await.is_none());
    }
}

#[tokio::test]
async fn a_peer_that_never_answers_pings_is_not_judged_by_that() {
    let (transport, mut arrivals) = client(Duration::from_millis(1));
    let (listener, destination) = recorder().await;
    let dialog = transport.keep_alive(&destination);
    transport.send(options(), destination).unwrap();
    let mut stream = accept(&listener).await;
    read_to(&mut stream, PING).await;
    for _ in 0..5 {
        assert_eq!(read_to(&mut stream, PING).await, PING);
    }
    drop(dialog);
    let bye = "BYE sip:client@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK2\r\n\
               From: <sip:b@c>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: one\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(bye.as_bytes()).await.unwrap();
    let arrived = timeout(DEADLINE, arrivals.recv()).await.expect("nothing arrived in time").unwrap();
    assert!(matches!(arrived, Incoming::Message(_)), "{arrived:?}");
}
