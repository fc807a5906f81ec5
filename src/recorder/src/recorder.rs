//! The recorder: takes what arrives and gives it to its session.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use siprec_sip::{DialogUa, Endpoint, HeaderName, Message, Method, NameAddr, Random, Request, Response, Uri};
use siprec_transport::{Incoming, Protocol, Received, Source, Transport, TransportConfig};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{RecorderConfig, StartError};
use crate::files::archive::FileError;
use crate::finished::FinishedSession;
use crate::session::{Session, Shared, raised};

/// Messages that wait for one session; a client that sends faster has them repeated by its own timers.
const MAILBOX: usize = 64;

/// The option tag of session timers: in every request of who knows them, and who does not refuses a request that requires
/// it (RFC 4028 §7.1, §4).
const TIMER: &str = "timer";

/// What it understands within its sessions.
const ALLOW: [Method; 7] =
    [Method::Invite, Method::Ack, Method::Bye, Method::Cancel, Method::Options, Method::Update, Method::Info];

/// How often a stopping recorder looks whether its sessions are done.
const POLL: Duration = Duration::from_millis(20);

/// A running recorder. Dropping it ends it at once; [`Recorder::stop`] lets it say goodbye.
pub struct Recorder {
    local: SocketAddr,
    local_tls: Option<SocketAddr>,
    config: RecorderConfig,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Takes the SIP port and answers from now on. `finished` is called at the end of every session, from a task of
    /// the runtime, and must not block.
    ///
    /// # Errors
    /// [`StartError`]: the port is taken, the folder cannot be written to, GStreamer does not start.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub fn start(
        config: RecorderConfig,
        finished: impl Fn(FinishedSession) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        if !config.count_only {
            gst::init().map_err(StartError::GStreamer)?;
            try_folder(&config.output).map_err(StartError::Output)?;
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(StartError::Random)?;
        let transport_config = TransportConfig {
            local: Some(config.listen.ip()),
            port: config.listen.port(),
            tls: config.tls.clone(),
            ..TransportConfig::default()
        };
        let (transport, arrivals) = Transport::bind(transport_config).map_err(StartError::Bind)?;
        let (local, local_tls) = (transport.local(), transport.local_tls());
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            config: config.clone(),
            transport,
            finished: Box::new(finished),
            silent_from: OnceLock::new(),
            refused: AtomicU32::new(0),
            ledger: Mutex::default(),
        });
        let server = Server { shared, random: Random::from_seed(seed), sessions: HashMap::new(), stopped };
        let task = tokio::spawn(server.run(arrivals));
        Ok(Self { local, local_tls, config, stop, task })
    }

    /// The SIP address of UDP and TCP.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The SIP address of TLS, where it is taken.
    pub fn local_tls(&self) -> Option<SocketAddr> {
        self.local_tls
    }

    /// Ends every session by BYE, completes its files, and gives back the port; takes at most
    /// [`RecorderConfig::stop_timeout`]. Files that are not complete by then keep their partial names.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // Either way nothing is left to be done.
        let _ = tokio::time::timeout(self.config.stop_timeout, &mut self.task).await;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes the folder and a file in it.
fn try_folder(path: &Path) -> Result<(), FileError> {
    let failed = |action| move |error| FileError { action, path: path.into(), error };
    fs::create_dir_all(path).map_err(failed("create folder"))?;
    let probe = path.join(format!(".siprec-{}", std::process::id()));
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).map_err(failed("write to folder"))
}

struct Server {
    shared: Arc<Shared>,
    random: Random,
    /// By Call-ID.
    sessions: HashMap<Vec<u8>, Running>,
    stopped: watch::Receiver<bool>,
}

struct Running {
    /// CSeq of its INVITE.
    cseq: u32,
    mailbox: mpsc::Sender<Message>,
    task: JoinHandle<()>,
}

impl Running {
    /// Whether this is another INVITE of the same call: one that was refused is asked again with a Call-ID of old
    /// (RFC 3261 §8.1.3.5, RFC 4028 §7.3).
    fn is_followed_by(&self, message: &Message) -> bool {
        let Message::Request(request) = message else { return false };
        request.method == Method::Invite
            && request.headers.to().is_ok_and(|to| to.tag().is_none())
            && request.headers.cseq().is_ok_and(|cseq| cseq.number > self.cseq)
    }
}

impl Server {
    async fn run(mut self, mut arrivals: mpsc::Receiver<Incoming>) {
        let mut stopped = self.stopped.clone();
        loop {
            let incoming = tokio::select! {
                incoming = arrivals.recv() => incoming,
                () = raised(&mut stopped) => break,
            };
            match incoming {
                Some(Incoming::Message(received)) => self.dispatch(received),
                // A response that was lost comes again when the request does, a BYE by its timers.
                Some(Incoming::Failed(_) | Incoming::Lost(_)) => {}
                None => break,
            }
        }
        // The sessions have heard it too. Until they are done, their messages must reach them.
        while self.sessions.values().any(|session| !session.task.is_finished()) {
            match tokio::time::timeout(POLL, arrivals.recv()).await {
                Ok(Some(Incoming::Message(received))) => self.dispatch(received),
                Ok(Some(Incoming::Failed(_) | Incoming::Lost(_))) | Err(_) => {}
                Ok(None) => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn dispatch(&mut self, Received { message, source }: Received) {
        if self.shared.is_silent() {
            return;
        }
        let call_id = message.headers().get(&HeaderName::CallId).map(|id| id.as_bytes().to_vec());
        let Some(call_id) = call_id else { return };
        if let Some(session) = self.sessions.get(&call_id)
            && !session.task.is_finished()
            && !session.is_followed_by(&message)
        {
            // A full mailbox loses it, as the network might.
            let _ = session.mailbox.try_send(message);
            return;
        }
        if let Message::Request(request) = message {
            self.request(request, source, call_id);
        }
    }

    /// A request that belongs to no session.
    fn request(&mut self, request: Request, source: Source, call_id: Vec<u8>) {
        let in_dialog = request.headers.to().is_ok_and(|to| to.tag().is_some());
        let unsupported = self.unsupported(&request);
        let status = match request.method {
            Method::Ack => return,
            Method::Invite if !in_dialog && !*self.stopped.borrow() => {
                return self.invite(request, source, call_id);
            }
            Method::Invite if !in_dialog => 503,
            // RFC 3261 §8.2.2.3; an INVITE is looked at by its dialog.
            Method::Options if !in_dialog && !unsupported.is_empty() => {
                let mut response = self.response(&request, 420);
                response.headers.push(HeaderName::Unsupported, unsupported.join(", "));
                return self.send(response);
            }
            Method::Options if !in_dialog => 200,
            Method::Cancel | Method::Bye | Method::Invite | Method::Update | Method::Info => 481,
            Method::Other(_) => 501,
            _ if in_dialog => 481,
            _ => 405,
        };
        self.refuse(&request, status);
    }

    /// What a request requires that the recorder does not know.
    fn unsupported(&self, request: &Request) -> Vec<String> {
        let knows_timer = !self.shared.config.behaviour.no_session_timer;
        let is_known = |tag: &String| knows_timer && tag.eq_ignore_ascii_case(TIMER);
        request.headers.require().into_iter().filter(|tag| !is_known(tag)).collect()
    }

    fn refuse(&mut self, request: &Request, status: u16) {
        let response = self.response(request, status);
        self.send(response);
    }

    fn send(&self, response: Response) {
        // What is not sent is asked again.
        let _ = self.shared.transport.respond(response);
    }

    /// An answer without a transaction: a request that is repeated gets the same one, but for its tag (RFC 3261 §8.2.7).
    fn response(&mut self, request: &Request, status: u16) -> Response {
        let mut response = Response::to_request(request, status);
        if let Ok(to) = request.headers.to()
            && to.tag().is_none()
        {
            response.headers.set(HeaderName::To, to.with_tag(&self.random.tag()));
        }
        if matches!(status, 200 | 405) {
            response.headers.set(HeaderName::Allow, ALLOW.map(|method| method.to_string()).join(", "));
            response.headers.set(HeaderName::Accept, "application/sdp");
        }
        response
    }

    fn invite(&mut self, invite: Request, source: Source, call_id: Vec<u8>) {
        if let Some(after) = self.shared.config.behaviour.silent_after {
            self.shared.silent_from.get_or_init(|| Instant::now() + after);
        }
        self.sessions.retain(|_, session| !session.task.is_finished());
        let Ok(address) = self.shared.transport.local_towards(source.remote) else {
            return self.refuse(&invite, 500);
        };
        let Some(endpoint) = self.endpoint(&invite, source, address) else {
            return self.refuse(&invite, 500);
        };
        match DialogUa::accept_invite(endpoint, invite.clone(), &mut self.random, Instant::now()) {
            Ok(ua) => {
                let (mailbox, messages) = mpsc::channel(MAILBOX);
                let cseq = invite.headers.cseq().map_or(0, |cseq| cseq.number);
                let random = self.random.fork();
                let session = Session::new(Arc::clone(&self.shared), ua, &invite, source, address, random);
                let task = tokio::spawn(session.run(messages, self.stopped.clone()));
                self.sessions.insert(call_id, Running { cseq, mailbox, task });
            }
            Err(refusal) => self.send(*refusal),
        }
    }

    /// How the recorder presents itself to this client.
    fn endpoint(&self, invite: &Request, source: Source, address: std::net::IpAddr) -> Option<Endpoint> {
        let by_tls = self
            .shared
            .transport
            .local_tls()
            .filter(|local| source.protocol == Protocol::Tls && !local.ip().is_unspecified());
        let port = self.shared.transport.port(source.protocol);
        let local = by_tls.unwrap_or(SocketAddr::new(address, port));
        // RFC 3261 §12.1.1: who is asked by sips: is reached by sips:.
        let contact = match source.protocol {
            Protocol::Tls if invite.uri.scheme().eq_ignore_ascii_case("sips") => format!("sips:{local}"),
            Protocol::Tls => format!("sip:{local};transport=tls"),
            _ => format!("sip:{local}"),
        };
        let contact = Uri::parse(&contact).ok()?;
        // Reliable only when our own requests go that way too; to think too little of a transport costs a few
        // repetitions, to think too much of it costs the session.
        let by_tcp = source.protocol == Protocol::Tcp
            && invite.headers.contact().ok().flatten().is_some_and(|contact| {
                contact.uri.param("transport").is_some_and(|value| value.eq_ignore_ascii_case("tcp"))
            });
        let transport = match source.protocol {
            Protocol::Tls => siprec_sip::Transport::Tls,
            _ if by_tcp => siprec_sip::Transport::Tcp,
            _ => siprec_sip::Transport::Udp,
        };
        let contact = NameAddr::from(contact);
        let mut endpoint =
            Endpoint::new(transport, &local.ip().to_string(), Some(local.port()), contact).ok()?;
        endpoint.allow = ALLOW.to_vec();
        endpoint.user_agent = Some(concat!("siprec-recorder/", env!("CARGO_PKG_VERSION")).into());
        if !self.shared.config.behaviour.no_session_timer {
            endpoint.supported.push(TIMER.into());
        }
        Some(endpoint)
    }
}
