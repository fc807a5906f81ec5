//! A recorder that answers by a script.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use siprec_sip::{HeaderName, Message, Method, Request, Response, SessionDescription};
use siprec_transport::{Destination, Incoming, Protocol, Transport, TransportConfig};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use super::{DEADLINE, LOCALHOST};

/// What a recorder does with each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Accepts and plays its part.
    Accept,
    /// Answers every INVITE with this status.
    Refuse(u16),
    /// Answers every INVITE with 503, and for how many seconds it wants to be left alone.
    Busy(u32),
    /// Sends every INVITE there.
    Redirect(SocketAddr),
    /// Takes everything and says nothing.
    Silent,
    /// Accepts the INVITE, then says nothing.
    DeafAfterAnswer,
    /// Accepts, and asks for a password before it lets the session end.
    GuardsBye,
    /// Accepts the INVITE with a Contact whose host name only it knows.
    PrivateContact,
    /// Answers every INVITE with 100, and no more.
    OnlyTries,
    /// Accepts the INVITE without a session description.
    AcceptsWithout,
    /// Accepts the INVITE with port 0 in every m-line.
    TakesNothing,
}

/// A request that the recorder received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) request: Request,
    pub(crate) protocol: Protocol,
    pub(crate) remote: SocketAddr,
}

impl Seen {
    pub(crate) fn call_id(&self) -> String {
        self.request.headers.call_id().unwrap().to_owned()
    }
}

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    grown: Condvar,
}

/// Runs on a thread of its own until it is dropped.
pub(crate) struct Recorder {
    runtime: Option<Runtime>,
    transport: Transport,
    log: Arc<Log>,
}

impl Recorder {
    pub(crate) fn start(script: Script) -> Self {
        Self::start_on(LOCALHOST, script)
    }

    pub(crate) fn start_on(local: IpAddr, script: Script) -> Self {
        Self::start_at((local, 0).into(), script)
    }

    /// On a port that another one had.
    pub(crate) fn start_at(own: SocketAddr, script: Script) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let config =
            TransportConfig { local: Some(own.ip()), port: own.port(), ..TransportConfig::default() };
        let (transport, arrivals) = Transport::bind(config).unwrap();
        drop(entered);
        let log = Arc::new(Log::default());
        runtime.spawn(serve(script, transport.clone(), arrivals, Arc::clone(&log)));
        Self { runtime: Some(runtime), transport, log }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.transport.local()
    }

    pub(crate) fn uri(&self) -> String {
        format!("sip:{}", self.address())
    }

    /// Waits until `count` requests of this method came, and gives them without repetitions.
    pub(crate) fn wait_for(&self, method: &Method, count: usize) -> Vec<Seen> {
        let until = Instant::now() + DEADLINE;
        let mut seen = self.log.seen.lock().unwrap();
        loop {
            let mut found: Vec<Seen> = Vec::new();
            for one in seen.iter().filter(|one| one.request.method == *method) {
                let key = |seen: &Seen| seen.request.headers.via().unwrap().branch().map(str::to_owned);
                if !found.iter().any(|earlier| key(earlier) == key(one)) {
                    found.push(one.clone());
                }
            }
            if found.len() >= count {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} {method} came", found.len());
            seen = self.log.grown.wait_timeout(seen, left).unwrap().0;
        }
    }

    pub(crate) fn count(&self, method: &Method) -> usize {
        self.log.seen.lock().unwrap().iter().filter(|seen| seen.request.method == *method).count()
    }

    /// To how many dialogs it was invited. One may have more INVITEs: of the second stream of a call that was not there yet.
    pub(crate) fn dialogs(&self) -> usize {
        let seen = self.log.seen.lock().unwrap();
        let invites = seen.iter().filter(|seen| seen.request.method == Method::Invite);
        invites.map(Seen::call_id).collect::<BTreeSet<_>>().len()
    }

    /// Ends the dialog of an INVITE that was accepted.
    pub(crate) fn hang_up(&self, invite: &Seen) {
        let Seen { request, remote, protocol } = invite;
        let contact = request.headers.contact().unwrap().unwrap().uri;
        let mut bye = Request::new(Method::Bye, contact);
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bKbye{};rport", self.address(), invite.call_id());
        bye.headers.push(HeaderName::Via, via);
        bye.headers.push(HeaderName::MaxForwards, "70");
        bye.headers.push(HeaderName::From, request.headers.to().unwrap().with_tag(TAG));
        bye.headers.push(HeaderName::To, request.headers.from().unwrap());
        bye.headers.push(HeaderName::CallId, invite.call_id());
        bye.headers.push(HeaderName::CSeq, "1 BYE");
        let destination = Destination { remote: *remote, protocol: *protocol, fixed: true, tls: None };
        self.transport.send(bye, destination).unwrap();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

const TAG: &str = "recorder";

async fn serve(script: Script, transport: Transport, mut arrivals: Receiver<Incoming>, log: Arc<Log>) {
    while let Some(incoming) = arrivals.recv().await {
        let Incoming::Message(received) = incoming else { continue };
        let Message::Request(request) = received.message else { continue };
        let response = answer(script, &request, transport.local());
        let seen = Seen { request, protocol: received.source.protocol, remote: received.source.remote };
        log.seen.lock().unwrap().push(seen);
        log.grown.notify_all();
        if let Some(response) = response {
            transport.respond(response).unwrap();
        }
    }
}

/// The response to a request, if the script wants one.
pub(crate) fn answer(script: Script, request: &Request, own: SocketAddr) -> Option<Response> {
    let invite = request.method == Method::Invite;
    let status = match script {
        _ if request.method == Method::Ack => return None,
        Script::Silent => return None,
        Script::DeafAfterAnswer if !invite => return None,
        Script::Refuse(status) if invite => status,
        Script::GuardsBye
            if request.method == Method::Bye && !request.headers.contains(&HeaderName::Authorization) =>
        {
            401
        }
        Script::Busy(_) if invite => 503,
        Script::Redirect(_) if invite => 302,
        Script::OnlyTries if invite => 100,
        _ => 200,
    };
    let mut response = Response::to_request(request, status);
    response.headers.set(HeaderName::To, request.headers.to().unwrap().with_tag(TAG));
    if status == 401 {
        let challenge = "Digest realm=\"recorder\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"";
        response.headers.push(HeaderName::WwwAuthenticate, challenge);
    }
    match script {
        Script::Busy(seconds) if invite => response.headers.push(HeaderName::RetryAfter, seconds.to_string()),
        Script::Redirect(to) if invite => response.headers.push(HeaderName::Contact, format!("<sip:{to}>")),
        _ => {}
    }
    if invite && status == 200 {
        let host =
            if script == Script::PrivateContact { "node-7.invalid".to_owned() } else { own.to_string() };
        response.headers.push(HeaderName::Contact, format!("<sip:recorder@{host}>"));
        if script != Script::AcceptsWithout {
            response.headers.push(HeaderName::ContentType, "application/sdp");
            let port = |index| if script == Script::TakesNothing { 0 } else { 40_000 + 2 * index };
            response.body = answer_sdp(&request.body, own.ip(), port).into_bytes();
        }
    }
    Some(response)
}

/// Takes the m-lines of the offer at these ports.
fn answer_sdp(offer: &[u8], own: IpAddr, port: impl Fn(usize) -> usize) -> String {
    let offer = SessionDescription::parse(offer).unwrap();
    let family = if own.is_ipv4() { "IP4" } else { "IP6" };
    let mut answer = format!("v=0\r\no=- 1 1 IN {family} {own}\r\ns=-\r\nc=IN {family} {own}\r\nt=0 0\r\n");
    for (index, media) in offer.medias().enumerate() {
        let formats: Vec<&str> = media.formats().collect();
        let port = port(index);
        answer +=
            &format!("m={} {port} {} {}\r\na=recvonly\r\n", media.kind(), media.proto(), formats.join(" "));
    }
    answer
}
