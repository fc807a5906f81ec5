//! The transport on real sockets of the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use siprec_model::TlsProfile;
use siprec_sip::{HeaderName, Message, Method, Request, Response, Uri};
use siprec_transport::{
    BindError, Destination, Incoming, Limits, Protocol, Received, ResolveError, SendError, TlsPeer,
    Transport, TransportConfig,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Side {
    transport: Transport,
    arrivals: Receiver<Incoming>,
}

impl Side {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self::bind(TransportConfig { local: Some(LOCALHOST), limits, ..TransportConfig::default() })
    }

    fn bind(config: TransportConfig) -> Self {
        let (transport, arrivals) = Transport::bind(config).unwrap();
        Self { transport, arrivals }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(LOCALHOST, self.transport.local().port())
    }

    async fn next(&mut self) -> Incoming {
        timeout(DEADLINE, self.arrivals.recv()).await.expect("nothing arrived in time").unwrap()
    }

    async fn message(&mut self) -> Received {
        match self.next().await {
            Incoming::Message(received) => received,
            other => panic!("{other:?}"),
        }
    }

    async fn request(&mut self) -> (Request, Protocol) {
        match self.message().await {
            Received { message: Message::Request(request), source } => (request, source.protocol),
            other => panic!("{other:?}"),
        }
    }

    async fn response(&mut self) -> (Response, Protocol) {
        match self.message().await {
            Received { message: Message::Response(response), source } => (response, source.protocol),
            other => panic!("{other:?}"),
        }
    }
}

fn to(remote: SocketAddr, protocol: Protocol, fixed: bool) -> Destination {
    Destination { remote, protocol, fixed, tls: None }
}

/// A request of `side` whose body has `body` bytes.
fn request(side: &Side, method: Method, branch: &str, body: usize) -> Request {
    let mut request = Request::new(method.clone(), Uri::parse("sip:recorder@127.0.0.1").unwrap());
    let via = format!("SIP/2.0/UDP {};branch=z9hG4bK{branch};rport", side.address());
    for (name, value) in [
        (HeaderName::Via, via),
        (HeaderName::MaxForwards, "70".to_owned()),
        (HeaderName::From, "<sip:client@127.0.0.1>;tag=f".to_owned()),
        (HeaderName::To, "<sip:recorder@127.0.0.1>".to_owned()),
        (HeaderName::CallId, format!("call-{branch}")),
        (HeaderName::CSeq, format!("1 {method}")),
    ] {
        request.headers.push(name, value);
    }
    request.body = vec![b'x'; body];
    request
}

fn options_text(branch: &str, rest: &str) -> String {
    format!(
        "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK{branch}\r\n\
         From: <sip:b@c>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n{rest}"
    )
}

/// Reads until `enough` says so.
async fn read_until(stream: &mut TcpStream, enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !enough(&text) {
        let length = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("no answer in time").unwrap();
        assert!(length > 0, "closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    text
}

/// What comes until the peer closes the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it too.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("not closed in time");
    String::from_utf8(bytes).unwrap()
}

async fn datagram(socket: &UdpSocket) -> String {
    let mut buffer = [0; 65_535];
    let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.expect("no datagram in time").unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

async fn udp() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_request_and_its_response_pass_by_either_protocol() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let (mut client, mut server) = (Side::new(), Side::new());
        let sent = request(&client, Method::Options, "a", 0);
        client.transport.send(sent, to(server.address(), protocol, true)).unwrap();
        let (arrived, by) = server.request().await;
        assert_eq!(by, protocol);
        assert_eq!(arrived.headers.via().unwrap().transport(), protocol.as_str());
        server.transport.respond(Response::to_request(&arrived, 200)).unwrap();
        let (response, by) = client.response().await;
        assert_eq!((response.status, by), (200, protocol));
    }
}

#[tokio::test]
async fn both_protocols_share_one_ephemeral_port() {
    let side = Side::new();
    let port = side.transport.local().port();
    assert_ne!(port, 0);
    assert!(UdpSocket::bind((LOCALHOST, port)).await.is_err());
    assert!(TcpStream::connect((LOCALHOST, port)).await.is_ok());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let side = Side::new();
    let config =
        TransportConfig { local: Some(LOCALHOST), port: side.address().port(), ..Default::default() };
    let error = Transport::bind(config).unwrap_err();
    assert!(matches!(error, BindError::InUse { protocol: Protocol::Tcp, .. }), "{error}");
    assert!(error.to_string().contains(&side.address().to_string()), "{error}");

    // A connection of another process may hold the TCP port of the same number, which is told first: then another one.
    for _ in 0..50 {
        let (_blocker, taken) = udp().await;
        let config = TransportConfig { local: Some(LOCALHOST), port: taken.port(), ..Default::default() };
        match Transport::bind(config).unwrap_err() {
            BindError::InUse { protocol: Protocol::Udp, .. } => return,
            BindError::InUse { protocol: Protocol::Tcp, .. } => {}
            other => panic!("{other}"),
        }
    }
    panic!("fifty ports, each with TCP in use");
}

#[tokio::test]
async fn an_address_of_another_host_is_refused_with_its_name() {
    let foreign: IpAddr = "192.0.2.77".parse().unwrap();
    let error = Transport::bind(TransportConfig { local: Some(foreign), ..Default::default() }).unwrap_err();
    assert!(error.to_string().contains("192.0.2.77"), "{error}");
}

#[tokio::test]
async fn the_port_is_free_again_when_the_last_handle_is_closed() {
    // Another process may take the port in between: then once more with another one.
    for _ in 0..20 {
        let Side { transport, arrivals } = Side::new();
        let port = transport.local().port();
        transport.close(DEADLINE).await;
        drop(arrivals);
        let again = TransportConfig { local: Some(LOCALHOST), port, ..Default::default() };
        if Transport::bind(again).is_ok() {
            return;
        }
    }
    panic!("twenty ports, and none was free again");
}

#[tokio::test]
async fn what_was_queued_before_the_close_is_still_sent() {
    let (client, mut server) = (Side::new(), Side::new());
    for number in 0..20 {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let sent = request(&client, Method::Options, &format!("{number}{protocol}"), 0);
            client.transport.send(sent, to(server.address(), protocol, true)).unwrap();
        }
    }
    client.transport.close(DEADLINE).await;
    for _ in 0..40 {
        server.request().await;
    }
}

#[tokio::test]
async fn ipv6_and_ipv4_meet_on_a_wildcard() {
    let mut server = Side::bind(TransportConfig::default());
    let port = server.transport.local().port();
    let mut families = vec![LOCALHOST];
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
        families.push(Ipv6Addr::LOCALHOST.into());
    }
    for family in families {
        let mut client = Side::bind(TransportConfig { local: Some(family), ..Default::default() });
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let sent = request(&client, Method::Options, "v", 0);
            client.transport.send(sent, to((family, port).into(), protocol, true)).unwrap();
            let Incoming::Message(received) = server.next().await else { panic!("failed") };
            assert_eq!(received.source.remote.ip(), family, "IPv4 stands under its own address");
            let Message::Request(arrived) = received.message else { panic!("no request") };
            server.transport.respond(Response::to_request(&arrived, 200)).unwrap();
            assert_eq!(client.response().await.0.status, 200);
            assert_eq!(server.transport.local_towards(received.source.remote), Ok(family));
        }
    }
}

#[tokio::test]
async fn where_no_route_leads_is_told_whatever_the_protocol() {
    let client = Side::bind(TransportConfig::default());
    let everyone = SocketAddr::from((Ipv4Addr::BROADCAST, 5060));
    let error = client.transport.local_towards(everyone).unwrap_err();
    assert!(error.to_string().starts_with("no route to 255.255.255.255:5060: "), "{error}");
}

#[tokio::test]
async fn the_other_family_is_refused() {
    let client = Side::new();
    let remote = SocketAddr::from((Ipv6Addr::LOCALHOST, 5060));
    let sent = request(&client, Method::Options, "v6", 0);
    let error = client.transport.send(sent, to(remote, Protocol::Udp, false)).unwrap_err();
    assert!(matches!(error, SendError::WrongFamily { .. }), "{error}");
}

#[tokio::test]
async fn only_requests_over_1300_bytes_go_by_tcp() {
    let (mut client, mut server) = (Side::new(), Side::new());
    let empty = Message::Request(request(&client, Method::Invite, "size-000", 1000)).to_bytes().len();
    for (size, expected) in [(1300, Protocol::Udp), (1301, Protocol::Tcp)] {
        let sent = request(&client, Method::Invite, &format!("size-{size:04}")[..8], size - empty + 1000);
        assert_eq!(Message::Request(sent.clone()).to_bytes().len(), size);
        client.transport.send(sent, to(server.address(), Protocol::Udp, false)).unwrap();
        let (arrived, by) = server.request().await;
        assert_eq!(by, expected, "{size} bytes");
        assert_eq!(arrived.headers.via().unwrap().transport(), expected.as_str());
        server.transport.respond(Response::to_request(&arrived, 200)).unwrap();
        assert_eq!(client.response().await.1, expected);
    }
    let sent = request(&client, Method::Invite, "fixed", 2000);
    client.transport.send(sent, to(server.address(), Protocol::Udp, true)).unwrap();
    assert_eq!(server.request().await.1, Protocol::Udp, "a fixed transport is kept");
}

#[tokio::test]
async fn a_transaction_stays_on_the_transport_of_its_invite_and_is_not_repeated_on_a_stream() {
    let (client, mut server) = (Side::new(), Side::new());
    let destination = to(server.address(), Protocol::Udp, false);
    for _ in 0..3 {
        client.transport.send(request(&client, Method::Invite, "big", 2000), destination.clone()).unwrap();
    }
    client.transport.send(request(&client, Method::Cancel, "big", 0), destination.clone()).unwrap();
    client.transport.send(request(&client, Method::Ack, "big", 0), destination.clone()).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (arrived, by) = server.request().await;
        seen.push((arrived.method, by));
    }
    let expected = [Method::Invite, Method::Cancel, Method::Ack].map(|method| (method, Protocol::Tcp));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn refused_tcp_falls_back_to_udp_and_is_remembered() {
    let mut client = Side::new();
    // Nothing listens on the TCP port of this number.
    let (server, address) = udp().await;
    let destination = to(address, Protocol::Udp, false);
    for branch in ["first", "second"] {
        client.transport.send(request(&client, Method::Invite, branch, 2000), destination.clone()).unwrap();
        let arrived = Message::parse(datagram(&server).await.as_bytes()).unwrap();
        let via = arrived.headers().via().unwrap();
        assert_eq!((via.transport(), via.branch()), ("UDP", Some(format!("z9hG4bK{branch}").as_str())));
        let counters = client.transport.counters();
        assert_eq!((counters.promoted, counters.fell_back), (1, 1), "{branch}");
    }
    assert!(client.arrivals.try_recv().is_err(), "nothing failed");
}

#[tokio::test]
async fn a_connection_reset_before_any_byte_falls_back_to_udp() {
    let mut client = Side::new();
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = UdpSocket::bind(address).await.unwrap();
    let sent = request(&client, Method::Invite, "reset", 2000);
    client.transport.send(sent, to(address, Protocol::Udp, false)).unwrap();
    let (mut stream, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    read_until(&mut stream, |text| text.contains("xxx")).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    assert!(datagram(&server).await.contains("SIP/2.0/UDP"));
    assert!(client.arrivals.try_recv().is_err(), "nothing failed");
}

#[tokio::test]
async fn a_host_that_swallows_connections_is_given_up_in_time() {
    let limits = Limits { connect_timeout: Duration::from_millis(100), ..Limits::default() };
    let mut client = Side::with(limits);
    // A full backlog: the kernel answers no further SYN.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(LOCALHOST, 0).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        fillers.push(filler);
    }
    client
        .transport
        .send(request(&client, Method::Options, "a", 0), to(address, Protocol::Tcp, true))
        .unwrap();
    let Incoming::Failed(failure) = client.next().await else { panic!("it came through") };
    assert!(matches!(failure.error, SendError::ConnectTimeout { .. }), "{}", failure.error);
    let Message::Request(failed) = failure.message else { panic!("another message failed") };
    assert_eq!(failed.headers.call_id(), Ok("call-a"));
}

#[tokio::test]
async fn a_fixed_tcp_that_is_refused_is_reported() {
    let mut client = Side::new();
    let (_udp_only, address) = udp().await;
    client
        .transport
        .send(request(&client, Method::Invite, "a", 2000), to(address, Protocol::Tcp, true))
        .unwrap();
    let Incoming::Failed(failure) = client.next().await else { panic!("it came through") };
    assert!(matches!(failure.error, SendError::NotConnected { .. }), "{}", failure.error);
    assert_eq!(failure.remote, address);
}

#[tokio::test]
async fn an_old_connection_that_breaks_is_made_anew_for_the_request_it_lost() {
    let mut client = Side::new();
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let destination = to(listener.local_addr().unwrap(), Protocol::Tcp, true);
    client.transport.send(request(&client, Method::Options, "1", 0), destination.clone()).unwrap();
    let (mut first, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    let text = read_until(&mut first, |text| text.ends_with("\r\n\r\n")).await;
    let Message::Request(arrived) = Message::parse(text.as_bytes()).unwrap() else { panic!("no request") };
    first.write_all(&Response::to_request(&arrived, 200).to_bytes()).await.unwrap();
    assert_eq!(client.response().await.0.status, 200);
    // The recorder closes as the next request is on its way.
    client.transport.send(request(&client, Method::Options, "2", 0), destination.clone()).unwrap();
    read_until(&mut first, |text| text.contains("z9hG4bK2")).await;
    first.set_zero_linger().unwrap();
    drop(first);
    let (mut second, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    read_until(&mut second, |text| text.contains("z9hG4bK2")).await;
    // And again, before it ever spoke: that is the end of it.
    drop(second);
    let Incoming::Failed(failure) = client.next().await else { panic!("it came through") };
    assert!(matches!(failure.error, SendError::ConnectionLost { .. }), "{}", failure.error);
}

#[tokio::test]
async fn many_messages_at_once_make_one_connection() {
    let (client, mut server) = (Side::new(), Side::new());
    for number in 0..100 {
        let sent = request(&client, Method::Options, &number.to_string(), 0);
        client.transport.send(sent, to(server.address(), Protocol::Tcp, true)).unwrap();
    }
    for number in 0..100 {
        let (arrived, _) = server.request().await;
        assert_eq!(arrived.headers.call_id(), Ok(format!("call-{number}").as_str()), "order is kept");
    }
    assert_eq!(server.transport.counters().accepted, 1);
}

#[tokio::test]
async fn a_full_write_queue_is_reported_and_bounded() {
    let limits = Limits { write_queue: 4, ..Limits::default() };
    let client = Side::with(limits);
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let destination = to(listener.local_addr().unwrap(), Protocol::Tcp, true);
    let mut outcomes = Vec::new();
    for number in 0..6 {
        // No await: the connection's task cannot run.
        outcomes.push(
            client
                .transport
                .send(request(&client, Method::Options, &number.to_string(), 0), destination.clone()),
        );
    }
    let remote = destination.remote;
    assert!(outcomes[..4].iter().all(Result::is_ok));
    assert!(outcomes[4..].iter().all(|outcome| *outcome == Err(SendError::QueueFull { remote })));
}

#[tokio::test]
async fn what_waits_on_all_connections_together_is_bounded() {
    let client = Side::with(Limits { queued: 3, ..Limits::default() });
    let listeners =
        [TcpListener::bind((LOCALHOST, 0)).await.unwrap(), TcpListener::bind((LOCALHOST, 0)).await.unwrap()];
    let send = |number: usize| {
        let destination = to(listeners[number % 2].local_addr().unwrap(), Protocol::Tcp, true);
        client.transport.send(request(&client, Method::Options, &number.to_string(), 0), destination.clone())
    };
    assert!((0..3).map(send).all(|outcome| outcome.is_ok()));
    assert!(matches!(send(3), Err(SendError::QueueFull { .. })));
    for (listener, last) in listeners.iter().zip(["z9hG4bK2", "z9hG4bK1"]) {
        let (mut stream, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
        read_until(&mut stream, |text| text.contains(last)).await;
    }
    assert_eq!(send(4), Ok(()), "what was written makes room");
}

#[tokio::test]
async fn a_response_goes_back_to_the_port_that_rport_asks_for() {
    let mut server = Side::new();
    let (behind_nat, _) = udp().await;
    behind_nat.connect(server.address()).await.unwrap();
    let text =
        options_text("nat", "\r\n").replace("SIP/2.0/TCP 127.0.0.1:9;", "SIP/2.0/UDP 10.9.9.9:9;rport;");
    behind_nat.send(text.as_bytes()).await.unwrap();
    let (arrived, _) = server.request().await;
    server.transport.respond(Response::to_request(&arrived, 200)).unwrap();
    let response = datagram(&behind_nat).await;
    let port = behind_nat.local_addr().unwrap().port();
    assert!(
        response.contains(&format!("rport={port}")) && response.contains("received=127.0.0.1"),
        "{response}"
    );
}

#[tokio::test]
async fn a_response_over_a_lost_connection_goes_to_the_address_in_via() {
    let mut server = Side::new();
    let mut client = Side::new();
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let via = format!("127.0.0.1:{};", client.address().port());
    stream
        .write_all(options_text("lost", "Content-Length: 0\r\n\r\n").replace("127.0.0.1:9;", &via).as_bytes())
        .await
        .unwrap();
    let (arrived, _) = server.request().await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    server.transport.respond(Response::to_request(&arrived, 200)).unwrap();
    assert_eq!(client.response().await, {
        let expected = Response::to_request(&arrived, 200);
        let Message::Response(expected) = Message::parse(&expected.to_bytes()).unwrap() else {
            unreachable!()
        };
        (expected, Protocol::Tcp)
    });
}

#[tokio::test]
async fn a_double_line_end_is_answered_by_a_single_one() {
    let server = Side::new();
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    for parts in [&["\r\n\r\n"][..], &["\r\n", "\r", "\n"]] {
        for part in parts {
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        assert_eq!(read_until(&mut stream, |text| text.len() >= 2).await, "\r\n");
    }
}

#[tokio::test]
async fn messages_are_cut_from_a_stream_wherever_it_is_split() {
    let mut server = Side::new();
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let text =
        options_text("a", "Content-Length: 4\r\n\r\nbody") + "\r\n\r\n" + &options_text("b", "l: 0\r\n\r\n");
    for piece in text.as_bytes().chunks(7) {
        stream.write_all(piece).await.unwrap();
    }
    let (first, _) = server.request().await;
    let (second, _) = server.request().await;
    assert_eq!((first.headers.call_id(), first.body.as_slice()), (Ok("a"), &b"body"[..]));
    assert_eq!(second.headers.call_id(), Ok("b"));
}

#[tokio::test]
async fn a_bad_request_is_answered_400_where_it_says_enough() {
    let server = Side::new();
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let bad = options_text("bad", "Content-Length: 0\r\n\r\n").replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE");
    stream.write_all(bad.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, |text| text.ends_with("\r\n\r\n")).await;
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    // A length that cannot be read hides the next message: answered, then closed.
    stream.write_all(options_text("worse", "Content-Length: abc\r\n\r\n").as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");

    let (socket, address) = udp().await;
    let short = options_text("short", "Content-Length: 10\r\n\r\nbody")
        .replace("SIP/2.0/TCP 127.0.0.1:9", &format!("SIP/2.0/UDP {address}"));
    socket.send_to(short.as_bytes(), server.address()).await.unwrap();
    assert!(datagram(&socket).await.starts_with("SIP/2.0 400 "));
    assert_eq!(server.transport.counters().answered_bad, 3);
}

#[tokio::test]
async fn a_flood_of_garbage_is_counted_and_what_comes_after_it_is_served() {
    let mut server = Side::new();
    let (socket, address) = udp().await;
    let mut byte = 7_u8;
    for length in 0..500_usize {
        let garbage: Vec<u8> = (0..length)
            .map(|_| {
                byte = byte.wrapping_mul(61).wrapping_add(29);
                byte
            })
            .collect();
        socket.send_to(&garbage, server.address()).await.unwrap();
        if length % 50 == 0 {
            // Loopback drops what the server has no time to read; this test is about what it reads.
            tokio::task::yield_now().await;
        }
    }
    let good = options_text("good", "\r\n").replace("TCP 127.0.0.1:9", &format!("UDP {address}"));
    socket.send_to(good.as_bytes(), server.address()).await.unwrap();
    assert_eq!(server.request().await.0.headers.call_id(), Ok("good"));
    let counters = server.transport.counters();
    assert_eq!((counters.received, counters.answered_bad), (1, 0));
    assert!(counters.malformed > 400, "{counters:?}");
}

#[tokio::test]
async fn a_reader_that_is_behind_keeps_datagrams_and_connections_waiting() {
    let mut server = Side::with(Limits { receive_queue: 10, ..Limits::default() });
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let text: String = (0..50).map(|number| options_text(&number.to_string(), "l: 0\r\n\r\n")).collect();
    stream.write_all(text.as_bytes()).await.unwrap();
    for number in 0..50 {
        assert_eq!(server.request().await.0.headers.call_id(), Ok(number.to_string().as_str()));
    }
    let (socket, address) = udp().await;
    for number in 0..50 {
        let text =
            options_text(&number.to_string(), "\r\n").replace("TCP 127.0.0.1:9", &format!("UDP {address}"));
        socket.send_to(text.as_bytes(), server.address()).await.unwrap();
    }
    let is_behind = async {
        while server.transport.counters().delayed == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, is_behind).await.expect("that it is behind is counted");
    for number in 0..50 {
        assert_eq!(server.request().await.0.headers.call_id(), Ok(number.to_string().as_str()));
    }
}

#[tokio::test]
async fn connections_are_bounded_and_the_quietest_makes_room() {
    let mut server = Side::with(Limits { connections: 3, ..Limits::default() });
    let mut streams = Vec::new();
    for number in 0..4 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(options_text(&number.to_string(), "l: 0\r\n\r\n").as_bytes()).await.unwrap();
        server.request().await;
        streams.push(stream);
    }
    assert_eq!(read_to_end(&mut streams[0]).await, "");
    streams[3].write_all(options_text("more", "l: 0\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(server.request().await.0.headers.call_id(), Ok("more"));
    let counters = server.transport.counters();
    assert_eq!((counters.accepted, counters.evicted), (4, 1));
}

#[tokio::test]
async fn a_host_that_takes_all_connections_loses_its_own_only() {
    let mut server = Side::bind(TransportConfig {
        local: Some(Ipv4Addr::UNSPECIFIED.into()),
        limits: Limits { connections: 5, ..Limits::default() },
        ..TransportConfig::default()
    });
    let mut quiet = TcpStream::connect(server.address()).await.unwrap();
    quiet.write_all(b"\r\n\r\n").await.unwrap();
    read_until(&mut quiet, |text| text.len() >= 2).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.address()).await.unwrap();
        stream.write_all(b"\r\n\r\n").await.unwrap();
        read_until(&mut stream, |text| text.len() >= 2).await;
        crowd.push(stream);
    }
    quiet.write_all(options_text("still", "l: 0\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(server.request().await.0.headers.call_id(), Ok("still"));
    assert_eq!(server.transport.counters().evicted, 16);
}

#[tokio::test]
async fn a_message_that_is_too_long_or_never_finished_ends_its_connection() {
    let mut server = Side::with(Limits { message_bytes: 2000, ..Limits::default() });
    let mut endless = TcpStream::connect(server.address()).await.unwrap();
    endless.write_all(options_text("long", "Content-Length: 5000\r\n\r\n").as_bytes()).await.unwrap();
    let _ = endless.write_all(&[b'x'; 3000]).await;
    read_to_end(&mut endless).await;
    let (socket, address) = udp().await;
    for (branch, length) in [("long", 2000), ("short", 1000)] {
        let text = options_text(branch, "\r\n").replace("TCP 127.0.0.1:9", &format!("UDP {address}"));
        socket.send_to((text + &"x".repeat(length)).as_bytes(), server.address()).await.unwrap();
    }
    assert_eq!(server.request().await.0.headers.call_id(), Ok("short"));
    assert_eq!(server.transport.counters().malformed, 2);

    let server = Side::with(Limits { message_timeout: Duration::from_millis(50), ..Limits::default() });
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    slow.write_all(b"OPTIONS sip:a SIP/2.0\r\n").await.unwrap();
    read_to_end(&mut slow).await;
}

#[tokio::test]
async fn a_quiet_connection_is_closed_and_a_used_one_is_not() {
    let limits = Limits { idle_timeout: Duration::from_secs(1), ..Limits::default() };
    let server = Side::with(limits);
    let started = std::time::Instant::now();
    let mut quiet = TcpStream::connect(server.address()).await.unwrap();
    let mut used = TcpStream::connect(server.address()).await.unwrap();
    let mut closed = Box::pin(read_to_end(&mut quiet));
    loop {
        used.write_all(b"\r\n\r\n").await.unwrap();
        read_until(&mut used, |text| text.len() >= 2).await;
        if timeout(Duration::from_millis(20), &mut closed).await.is_ok() {
            break;
        }
    }
    assert!(started.elapsed() >= Duration::from_secs(1));
    used.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut used, |text| text.len() >= 2).await, "\r\n");
}

#[tokio::test]
async fn uris_lead_to_addresses() {
    let side = Side::new();
    let resolve = async |uri: &str| {
        let found = side.transport.resolve(&Uri::parse(uri).unwrap(), DEADLINE).await;
        found.map(|destinations| destinations.into_iter().next().unwrap())
    };
    let local = |port| SocketAddr::new(LOCALHOST, port);
    assert_eq!(resolve("sip:a@127.0.0.1").await, Ok(to(local(5060), Protocol::Udp, false)));
    assert_eq!(resolve("sip:127.0.0.1:7;transport=TCP").await, Ok(to(local(7), Protocol::Tcp, true)));
    assert_eq!(resolve("sip:127.0.0.1;transport=udp").await, Ok(to(local(5060), Protocol::Udp, true)));
    assert_eq!(resolve("sip:LocalHost:8").await, Ok(to(local(8), Protocol::Udp, false)));
    assert_eq!(resolve("sip:127.0.0.1;transport=sctp").await, Err(ResolveError::Transport("sctp".into())));
    assert_eq!(resolve("sips:127.0.0.1;transport=udp").await, Err(ResolveError::Insecure(Protocol::Udp)));
    let by_tls = |port| {
        let tls = Some(Arc::new(TlsPeer::new("127.0.0.1", &TlsProfile::default())));
        Ok(Destination { tls, ..to(local(port), Protocol::Tls, true) })
    };
    for uri in ["sips:127.0.0.1", "sips:127.0.0.1;transport=tcp", "sip:127.0.0.1;transport=tls"] {
        assert_eq!(resolve(uri).await, by_tls(5061), "{uri}");
    }
    assert_eq!(resolve("sips:127.0.0.1:7").await, by_tls(7));
    assert_eq!(resolve("tel:+1").await, Err(ResolveError::Scheme("tel".into())));
    assert!(
        matches!(resolve("sip:[::1]").await, Err(ResolveError::NotFound { .. })),
        "no IPv6 from this address"
    );
    let missing = resolve("sip:no-such-host.invalid").await;
    assert!(
        matches!(&missing, Err(ResolveError::NotFound { host, .. }) if host == "no-such-host.invalid"),
        "{missing:?}"
    );
    let timeout = side.transport.resolve(&Uri::parse("sip:slow.invalid").unwrap(), Duration::ZERO).await;
    assert!(
        matches!(timeout, Err(ResolveError::Timeout { .. } | ResolveError::NotFound { .. })),
        "{timeout:?}"
    );
}
