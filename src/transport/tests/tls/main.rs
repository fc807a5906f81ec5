//! SIP over TLS, judged by `openssl`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod incoming;
mod openssl;
mod outgoing;
mod pki;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use siprec_model::TlsProfile;
use siprec_sip::{HeaderName, Message, Method, Request, Uri};
use siprec_transport::{
    Destination, Incoming, Protocol, Received, SendError, TlsConfig, TlsPeer, Transport, TransportConfig,
};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Side {
    transport: Transport,
    arrivals: Receiver<Incoming>,
}

impl Side {
    fn new(tls: TlsConfig) -> Self {
        Self::with(TransportConfig { tls, ..TransportConfig::default() })
    }

    fn with(config: TransportConfig) -> Self {
        let mut config = TransportConfig { local: Some(LOCALHOST), ..config };
        // The machine may be busy.
        config.limits.handshake_timeout = config.limits.handshake_timeout.max(Duration::from_secs(10));
        config.limits.connect_timeout = Duration::from_secs(10);
        let (transport, arrivals) = Transport::bind(config).unwrap();
        Self { transport, arrivals }
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

    async fn request(&mut self) -> Request {
        match self.message().await.message {
            Message::Request(request) => request,
            Message::Response(response) => panic!("{response:?}"),
        }
    }

    async fn status(&mut self) -> u16 {
        match self.message().await.message {
            Message::Response(response) => response.status,
            Message::Request(request) => panic!("{request:?}"),
        }
    }

    async fn failure(&mut self) -> SendError {
        match self.next().await {
            Incoming::Failed(failure) => failure.error,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a request by TLS, and gives why it cannot be delivered.
    async fn refused(&mut self, destination: Destination) -> String {
        self.transport.send(options(self, "refused"), destination).unwrap();
        self.failure().await.to_string()
    }
}

/// An address by TLS, where `name` is to be found.
fn by_tls(remote: SocketAddr, name: &str) -> Destination {
    with_profile(remote, name, &TlsProfile::default())
}

fn with_profile(remote: SocketAddr, name: &str, profile: &TlsProfile) -> Destination {
    let tls = Some(Arc::new(TlsPeer::new(name, profile)));
    Destination { remote, protocol: Protocol::Tls, fixed: true, tls }
}

fn options(side: &Side, branch: &str) -> Request {
    let mut request = Request::new(Method::Options, Uri::parse("sips:recorder@127.0.0.1").unwrap());
    let via = format!("SIP/2.0/TLS 127.0.0.1:{};branch=z9hG4bK{branch}", side.transport.local().port());
    for (name, value) in [
        (HeaderName::Via, via.as_str()),
        (HeaderName::MaxForwards, "70"),
        (HeaderName::From, "<sip:client@127.0.0.1>;tag=f"),
        (HeaderName::To, "<sip:recorder@127.0.0.1>"),
        (HeaderName::CallId, branch),
        (HeaderName::CSeq, "1 OPTIONS"),
    ] {
        request.headers.push(name, value);
    }
    request
}

/// The answer 200 to [`options`], as text. The line end before it keeps `openssl` from taking it for a command.
fn answer(side: &Side, branch: &str) -> String {
    format!(
        "\r\nSIP/2.0 200 OK\r\nVia: SIP/2.0/TLS 127.0.0.1:{};branch=z9hG4bK{branch}\r\n\
         From: <sip:client@127.0.0.1>;tag=f\r\nTo: <sip:recorder@127.0.0.1>;tag=t\r\nCall-ID: {branch}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        side.transport.local().port()
    )
}
