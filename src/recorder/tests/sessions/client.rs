//! A recording client that does what a test says.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use siprec_sip::{
    Body, DialogEvent, DialogUa, Endpoint, HeaderName, Headers, Message, Method, NameAddr, Random, Request,
    Response, ServerToken, SessionDescription, Termination, UacConfig, Uri,
};
use siprec_transport::{Destination, Incoming, Protocol, Transport, TransportConfig};
use tokio::sync::mpsc;

use crate::bench::{Bench, PATIENCE};

/// Two PCMU streams.
pub(crate) const TWO_PARTIES: &[&str] =
    &["m=audio 0 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=sendonly", "m=audio 0 RTP/AVP 0\na=sendonly"];

/// Parameters of a Request-URI as the dialect `genesys` has them.
pub(crate) const PARAMETERS: &str = "calluuid=00FA08K;dn=1001;otherDN=1002;recordDN=1001";

pub(crate) struct Client {
    pub(crate) transport: Transport,
    arrivals: mpsc::Receiver<Incoming>,
    destination: Destination,
    ua: DialogUa,
    events: Vec<DialogEvent>,
    /// For each m-line its RTP and RTCP socket.
    sockets: Vec<(UdpSocket, UdpSocket)>,
    remote: Vec<SocketAddr>,
    version: u64,
}

impl Client {
    /// Sends an INVITE for `record=ID` with one stream for each of `lines`, whose ports are set to ours.
    pub(crate) async fn invite(bench: &Bench, id: &str, lines: &[&str]) -> Self {
        Self::invite_by(bench, Protocol::Udp, id, PARAMETERS, lines).await
    }

    pub(crate) async fn invite_by(
        bench: &Bench,
        protocol: Protocol,
        id: &str,
        parameters: &str,
        lines: &[&str],
    ) -> Self {
        gst::init().unwrap();
        let host = bench.recorder.local().ip();
        let config = TransportConfig { local: Some(host), ..TransportConfig::default() };
        let (transport, arrivals) = Transport::bind(config).unwrap();
        let remote = bench.recorder.local();
        let sockets: Vec<_> = lines.iter().map(|_| (socket(host), socket(host))).collect();
        let uri = Uri::parse(&format!("sip:record={id}@{remote};{parameters}")).unwrap();
        let contact = format!("sip:client@{};transport={protocol}", transport.local());
        let kind = match protocol {
            Protocol::Tcp => siprec_sip::Transport::Tcp,
            _ => siprec_sip::Transport::Udp,
        };
        let mut endpoint = Endpoint::new(
            kind,
            &host.to_string(),
            Some(transport.local().port()),
            NameAddr::from(Uri::parse(&contact).unwrap()),
        )
        .unwrap();
        endpoint.user_agent = Some("script".into());
        let config = UacConfig {
            endpoint,
            from: NameAddr::from(Uri::parse("sip:client@127.0.0.1").unwrap()),
            to: NameAddr::from(uri.clone()),
            request_uri: uri,
            route: Vec::new(),
        };
        let mut client = Self {
            transport,
            arrivals,
            destination: Destination { remote, protocol, fixed: true, tls: None },
            ua: placeholder(&config),
            events: Vec::new(),
            sockets,
            remote: Vec::new(),
            version: 1,
        };
        let body = (!lines.is_empty()).then(|| Body::sdp(client.describe(lines)));
        let mut random = Random::from_seed(seed());
        client.ua = DialogUa::invite(config, Headers::new(), body, &mut random, Instant::now());
        client.carry();
        client
    }

    /// Waits for the answer and returns its session description.
    pub(crate) async fn answer(&mut self) -> SessionDescription {
        let response = self.response().await;
        assert_eq!(response.status, 200, "{}", response.reason);
        let answer = SessionDescription::parse(&response.body).unwrap();
        self.note(&answer);
        answer
    }

    /// Where the recorder takes its streams.
    fn note(&mut self, description: &SessionDescription) {
        let address =
            |(address, port): (siprec_sip::sdp::Address, u16)| SocketAddr::new(address.ip().unwrap(), port);
        self.remote = description
            .medias()
            .map(|media| media.rtp().map_or(SocketAddr::from(([127, 0, 0, 1], 9)), address))
            .collect();
    }

    /// Waits for the final response to the INVITE.
    pub(crate) async fn response(&mut self) -> Response {
        match self.event(|event| !matches!(event, DialogEvent::Progress { .. })).await {
            DialogEvent::Answered { response, .. }
            | DialogEvent::Refused { response, .. }
            | DialogEvent::Responded { response, .. } => response,
            other => panic!("{other:?}"),
        }
    }

    /// Offers other streams, or the same in another state, and waits for the answer.
    pub(crate) async fn offer_again(&mut self, lines: &[&str]) -> SessionDescription {
        self.offer(lines);
        self.answer().await
    }

    /// Sends and receives at other ports from the next offer on.
    pub(crate) fn change_ports(&mut self) {
        let host = self.destination.remote.ip();
        self.sockets = self.sockets.iter().map(|_| (socket(host), socket(host))).collect();
    }

    /// Waits for an offer of the recorder.
    pub(crate) async fn next_offer(&mut self) -> (ServerToken, SessionDescription) {
        let event = self.event(|event| matches!(event, DialogEvent::Request { .. })).await;
        let DialogEvent::Request { token, request } = event else { panic!("{event:?}") };
        let offer = SessionDescription::parse(&request.body).unwrap();
        self.note(&offer);
        (token, offer)
    }

    /// Answers it.
    pub(crate) fn accept(&mut self, token: ServerToken, lines: &[&str]) {
        self.version += 1;
        let body = Body::sdp(self.describe(lines));
        self.ua.respond(token, 200, "", Headers::new(), Some(body), Instant::now()).unwrap();
        self.carry();
    }

    /// Asks the recorder for its offer, and answers it in the ACK.
    pub(crate) async fn ask_offer(&mut self, lines: &[&str]) -> SessionDescription {
        let token = self.ua.request(Method::Invite, Headers::new(), None, Instant::now()).unwrap();
        let offer = self.answer().await;
        self.version += 1;
        self.ua.acknowledge(token, Some(Body::sdp(self.describe(lines)))).unwrap();
        self.carry();
        offer
    }

    /// Sends the re-INVITE of such an offer.
    pub(crate) fn offer(&mut self, lines: &[&str]) {
        self.version += 1;
        while self.sockets.len() < lines.len() {
            let host = self.destination.remote.ip();
            self.sockets.push((socket(host), socket(host)));
        }
        let body = Body::sdp(self.describe(lines));
        self.request(Method::Invite, Some(body));
    }

    pub(crate) fn request(&mut self, method: Method, body: Option<Body>) {
        self.ua.request(method, Headers::new(), body, Instant::now()).unwrap();
        self.carry();
    }

    pub(crate) fn cancel(&mut self) {
        self.ua.cancel(Instant::now());
        self.carry();
    }

    /// Sends BYE and waits for its answer.
    pub(crate) async fn bye(&mut self) {
        self.request(Method::Bye, None);
        assert!(matches!(self.end().await, Termination::LocalBye { .. }));
    }

    /// Waits for the end of the dialog.
    pub(crate) async fn end(&mut self) -> Termination {
        match self.event(|event| matches!(event, DialogEvent::Terminated(_))).await {
            DialogEvent::Terminated(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for an event; earlier ones are dropped.
    pub(crate) async fn event(&mut self, wanted: impl Fn(&DialogEvent) -> bool) -> DialogEvent {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.carry();
            while !self.events.is_empty() {
                let event = self.events.remove(0);
                if wanted(&event) {
                    return event;
                }
            }
            let timer = self.ua.next_timeout().unwrap_or(deadline).min(deadline);
            match tokio::time::timeout_at(timer.into(), self.arrivals.recv()).await {
                Ok(Some(Incoming::Message(received))) => {
                    self.ua.handle_message(received.message, Instant::now()).expect("of this dialog");
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => self.ua.handle_timeout(Instant::now()),
            }
            assert!(Instant::now() < deadline, "no such event");
        }
    }

    /// A request outside of the dialog, and the response to it.
    pub(crate) async fn ask(&mut self, method: Method, to_tag: Option<&str>) -> Response {
        self.ask_requiring(method, to_tag, None).await
    }

    /// The same, by a request that requires something.
    pub(crate) async fn ask_requiring(
        &mut self,
        method: Method,
        to_tag: Option<&str>,
        require: Option<&str>,
    ) -> Response {
        let uri = Uri::parse(&format!("sip:{}", self.destination.remote)).unwrap();
        let from = NameAddr::from(uri.clone());
        let mut to = NameAddr::from(uri.clone());
        if let Some(tag) = to_tag {
            to = to.with_tag(tag);
        }
        let mut random = Random::from_seed(seed());
        let mut request = self.ua.endpoint().request(method, uri, &from, &to, &mut random);
        if let Some(require) = require {
            request.headers.push(HeaderName::Require, require);
        }
        self.transport.send(request, self.destination.clone()).unwrap();
        match tokio::time::timeout(PATIENCE, self.arrivals.recv()).await.expect("a response") {
            Some(Incoming::Message(received)) => match received.message {
                Message::Response(response) => response,
                Message::Request(Request { method, .. }) => panic!("{method}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Sends RTP to the address that the answer gave for a stream.
    pub(crate) fn rtp(&self, stream: usize, packet: &[u8]) {
        self.sockets[stream].0.send_to(packet, self.remote[stream]).unwrap();
    }

    /// Sends many packets, in portions that a socket's buffer holds.
    pub(crate) async fn burst(&self, stream: usize, packets: impl IntoIterator<Item = Vec<u8>>) {
        for (index, packet) in packets.into_iter().enumerate() {
            self.rtp(stream, &packet);
            if index % 8 == 7 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }

    pub(crate) fn rtcp(&self, stream: usize, packet: &[u8]) {
        let rtp = self.remote[stream];
        self.sockets[stream].1.send_to(packet, SocketAddr::new(rtp.ip(), rtp.port() + 1)).unwrap();
    }

    /// Where the recorder takes a stream.
    pub(crate) fn remote(&self, stream: usize) -> SocketAddr {
        self.remote[stream]
    }

    /// The socket that receiver reports on a stream come to.
    pub(crate) fn rtcp_socket(&self, stream: usize) -> tokio::net::UdpSocket {
        let socket = self.sockets[stream].1.try_clone().unwrap();
        socket.set_nonblocking(true).unwrap();
        tokio::net::UdpSocket::from_std(socket).unwrap()
    }

    fn describe(&self, lines: &[&str]) -> Vec<u8> {
        let version = self.version;
        let host = self.destination.remote.ip();
        let address = format!("IN {} {host}", if host.is_ipv6() { "IP6" } else { "IP4" });
        let mut text =
            format!("v=0\r\no=- 1 {version} {address}\r\ns=phone-call\r\nc={address}\r\nt=0 0\r\n");
        for (line, (rtp, rtcp)) in lines.iter().zip(&self.sockets) {
            let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
            let mut words: Vec<_> = line.splitn(3, ' ').map(str::to_owned).collect();
            words[1] = port(rtp).to_string();
            text.push_str(&words.join(" ").replace('\n', "\r\n"));
            text.push_str(&format!("\r\na=rtcp:{}\r\n", port(rtcp)));
        }
        text.into_bytes()
    }

    /// Sends what the dialog wants to send, and takes its events.
    fn carry(&mut self) {
        while let Some(message) = self.ua.poll_transmit() {
            self.transport.dispatch(message, self.destination.clone()).unwrap();
        }
        self.events.extend(std::iter::from_fn(|| self.ua.poll_event()));
    }
}

/// The dialog that stands in until the ports for the offer are known.
fn placeholder(config: &UacConfig) -> DialogUa {
    let mut random = Random::from_seed([0; 32]);
    DialogUa::invite(config.clone(), Headers::new(), None, &mut random, Instant::now())
}

/// Another for every client, so that no two have one Call-ID.
fn seed() -> [u8; 32] {
    static CLIENTS: AtomicU8 = AtomicU8::new(1);
    [CLIENTS.fetch_add(1, Ordering::Relaxed); 32]
}

fn socket(host: IpAddr) -> UdpSocket {
    UdpSocket::bind((host, 0)).unwrap()
}
