//! The agent's doors.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use siprec_model::{BranchEvent, BranchId, MediaControl, RecordingKey, RecordingState, SessionEvent};
use siprec_session::{Command, MOST_AHEAD, PoolName, Recorders, RecordingConfig, SessionMode, random_uuid};
use siprec_sip::Random;
use siprec_transport::{Transport, TransportConfig};
use tracing::instrument::WithSubscriber as _;

use crate::farewell::Farewells;
use crate::idle::Idle;
use crate::inbox::{Inbox, Opening, Shared};
use crate::notifier::Notifier;
use crate::outbox::Outbox;
use crate::pool::{self, Checks, Identity, PoolView, Pools, Roster};
use crate::responder::Responder;
use crate::runtime::AgentRuntime;
use crate::state::Keeper;
use crate::worker::{Parts, Worker};
use crate::{AgentConfig, AgentError};

/// How long recordings may go on after their agent was dropped: longer than a drain, the one that a loss
/// at the end begins anew, and a BYE.
const LINGER: Duration = Duration::from_secs(60);

/// The recording client of a process: it carries the SIP of many recordings over one port, commands the media engine,
/// and tells the application what happens.
///
/// No method but [`wait_idle`](Self::wait_idle) and [`shutdown`](Self::shutdown) ever waits. Dropping the agent lets
/// its recordings end by themselves, as [`shutdown`](Self::shutdown) with a minute, which nobody waits for.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    doors: Arc<Doors>,
    local: SocketAddr,
    local_tls: Option<SocketAddr>,
}

/// What handles share with the agent.
struct Doors {
    inbox: Arc<Inbox>,
    idle: Arc<Idle>,
    runtime: Arc<AgentRuntime>,
    roster: Arc<Mutex<Roster>>,
}

impl Doors {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        pool::lock(&self.roster)
    }
}

impl Agent {
    /// Takes the SIP port and starts to serve.
    ///
    /// # Errors
    /// [`AgentError::Bind`], [`AgentError::StateDir`], [`AgentError::Threads`], [`AgentError::Randomness`] or
    /// [`AgentError::Forked`].
    pub fn start(config: AgentConfig, media: Arc<dyn MediaControl>) -> Result<Self, AgentError> {
        let runtime = AgentRuntime::shared()?;
        let log = config.log.clone().unwrap_or_else(|| tracing::dispatcher::get_default(Clone::clone));
        let (transport, arrivals) = {
            let _entered = runtime.handle().enter();
            let transport = TransportConfig {
                local: config.local_address,
                port: config.sip_port,
                dscp: config.sip_dscp,
                dns_server: config.dns_server,
                tls: config.tls.clone(),
                limits: config.limits.clone(),
            };
            tracing::dispatcher::with_default(&log, || Transport::bind(transport))?
        };
        let (local, local_tls) = (transport.local(), transport.local_tls());
        let (inbox, idle) = (Arc::new(Inbox::default()), Arc::new(Idle::default()));
        let notifier = Notifier::start(Arc::clone(&idle), log.clone(), config.watcher.clone())
            .map_err(AgentError::Threads)?;
        let roster = Arc::new(Mutex::new(Roster::new(config.pools.clone())));
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| AgentError::Randomness(error.to_string()))?;
        let who = Identity {
            user: config.user.clone(),
            user_agent: config.user_agent.clone(),
            outbound_proxy: config.outbound_proxy.clone(),
        };
        let mut random = Random::from_seed(seed);
        let farewells = Farewells::new(who.clone(), config.credentials.clone(), random.fork());
        let checks = Checks::new(who, random);
        let keeper = config.state_dir.as_deref().map(|folder| Keeper::start(folder, &log)).transpose()?;
        let parts = Parts {
            transport,
            arrivals,
            inbox: Arc::clone(&inbox),
            outbox: Outbox::new(media),
            notifier,
            idle: Arc::clone(&idle),
            roster: Arc::clone(&roster),
            keeper: keeper.map(Arc::new),
            responder: Responder::new(config.user_agent.clone()),
            advertised: config.advertised_address,
            media: config.media_address,
            resolve_timeout: config.resolve_timeout,
            _runtime: Arc::clone(&runtime),
        };
        let worker = Worker::new(parts, checks, farewells);
        runtime.handle().spawn(worker.run().with_subscriber(log));
        Ok(Self { config, doors: Arc::new(Doors { inbox, idle, runtime, roster }), local, local_tls })
    }

    /// Opens a recording. Its `user`, `user_agent`, `credentials`, `certificate`, `outbound_proxy` and `timers.ahead` are the agent's. `events` is
    /// called with all that happens to it, in order, on the agent's notifier thread, which all recordings share; it is
    /// dropped there after the last event.
    ///
    /// Dropping the handle does not end the recording.
    ///
    /// # Errors
    /// [`AgentError::Config`], [`AgentError::UnknownPool`], [`AgentError::TooManySessions`], [`AgentError::Duplicate`], [`AgentError::Randomness`],
    /// [`AgentError::ShutDown`] or [`AgentError::Forked`]; `events` is never called then.
    pub fn open(
        &self,
        mut config: RecordingConfig,
        events: impl Fn(SessionEvent) + Send + 'static,
    ) -> Result<RecordingHandle, AgentError> {
        if !self.doors.runtime.is_ours() {
            return Err(AgentError::Forked);
        }
        config.user.clone_from(&self.config.user);
        config.user_agent.clone_from(&self.config.user_agent);
        config.credentials.clone_from(&self.config.credentials);
        config.certificate.clone_from(&self.config.certificate);
        config.outbound_proxy.clone_from(&self.config.outbound_proxy);
        config.timers.ahead = random_share()?;
        if let Recorders::Pool { name, .. } = &config.recorders {
            // The loop waits for the roster, but not for what is looked at here.
            let rules = self.doors.roster().pools().get(name).cloned();
            let rules = rules.ok_or_else(|| AgentError::UnknownPool(name.clone()))?;
            config.mode = rules.session_mode().unwrap_or(config.mode);
            let members = rules.pool.members.into_iter().map(|member| member.target).collect();
            RecordingConfig { recorders: Recorders::Listed(members), ..config.clone() }.check()?;
        }
        config.check()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| AgentError::Randomness(error.to_string()))?;
        let (key, mode) = (config.key, config.session_mode());
        self.doors.idle.enter(key, self.config.max_sessions)?;
        let shared = Arc::new(Shared::default());
        let opening = Opening {
            config,
            seed,
            opened: Instant::now(),
            shared: Arc::clone(&shared),
            events: Box::new(events),
        };
        if let Err(error) = self.doors.inbox.open(opening) {
            self.doors.idle.leave(key);
            return Err(error);
        }
        Ok(RecordingHandle { key, mode, shared, doors: Arc::clone(&self.doors) })
    }

    /// Takes what happened on a branch, for the engine's thread. Never waits.
    ///
    /// Events that only inform (reports, refusals, key frame requests) are dropped and counted while 8192 of them wait;
    /// those on which a recording's course depends are always taken.
    pub fn media_event(&self, branch: BranchId, event: BranchEvent) {
        self.doors.inbox.media(branch, event);
    }

    /// The local SIP address as bound (perhaps a wildcard) and its port, for UDP and TCP.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The local address and port of TLS, where recorders are let in by it ([`TlsConfig::listen`]).
    ///
    /// [`TlsConfig::listen`]: siprec_transport::TlsConfig::listen
    pub fn local_tls(&self) -> Option<SocketAddr> {
        self.local_tls
    }

    /// Has other pools from now on. Sessions go on where they are; recordings that look for a recorder now, or later, choose
    /// by these. A recording whose pool is gone, and that has or had a recorder of it, chooses by what that was until it is over.
    pub fn set_pools(&self, pools: Pools) {
        self.doors.roster().replace(pools, Instant::now());
        self.doors.inbox.pools();
    }

    /// Whether there is a pool of this name.
    pub fn has_pool(&self, name: &PoolName) -> bool {
        self.doors.roster().pools().get(name).is_some()
    }

    /// The pools and their recorders as they are now.
    pub fn pools(&self) -> Vec<PoolView> {
        self.doors.roster().view(Instant::now())
    }

    /// How many recordings have not ended.
    pub fn sessions(&self) -> usize {
        self.doors.idle.recordings()
    }

    /// Waits until every recording has ended and all events are delivered; says whether that came within `longest`. Dialogs with recorders
    /// that were given up go on without anybody waiting: the BYE is repeated until it is answered, or has had its time.
    pub fn wait_idle(&self, longest: Duration) -> bool {
        self.doors.runtime.is_ours() && self.doors.idle.wait(longest)
    }

    /// Ends every recording: delivers what is held and says BYE; shortly before `longest` is over, what is left is
    /// ended by BYE or CANCEL, and recorders that have not answered are given up. Takes no further recordings. Waits for all that, at most
    /// `longest`; says whether everything ended before that had to be done, and every event was delivered.
    pub fn shutdown(&self, longest: Duration) -> bool {
        if !self.doors.runtime.is_ours() {
            return false;
        }
        let started = Instant::now();
        self.doors.inbox.shut_down(started.checked_add(longest).unwrap_or(started + LINGER));
        self.doors.idle.wait_ended(longest)
    }
}

impl Agent {
    /// Leaves every dialog at once, by BYE or CANCEL, for a process that is about to exit: what is held is lost, and
    /// nobody is told anything any more. Waits until the recorders have answered, at most `longest`; says whether they
    /// have.
    pub fn leave(&self, longest: Duration) -> bool {
        if !self.doors.runtime.is_ours() {
            return false;
        }
        let started = Instant::now();
        self.doors.inbox.leave(started.checked_add(longest).unwrap_or(started + LINGER));
        self.doors.idle.wait_ended(longest)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.doors.inbox.shut_down(Instant::now() + LINGER);
    }
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// A random UUID, as a recording makes for itself where it is given no name: for names that several recordings share.
///
/// # Errors
/// [`AgentError::Randomness`].
pub fn new_uuid() -> Result<String, AgentError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| AgentError::Randomness(error.to_string()))?;
    Ok(random_uuid(bytes))
}

/// [`Timers::ahead`](siprec_session::Timers::ahead) of one recording. What makes its keys has no part in it, since whoever
/// watches the times can read it.
fn random_share() -> Result<u16, AgentError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|error| AgentError::Randomness(error.to_string()))?;
    Ok(u16::from_le_bytes(bytes) % (MOST_AHEAD + 1))
}

/// A recording's state, and nothing else of it.
#[derive(Clone, Debug)]
pub struct StateWatch(Arc<Shared>);

impl StateWatch {
    /// As of the last thing that happened to the recording, whatever the application has been told so far.
    pub fn state(&self) -> RecordingState {
        self.0.state()
    }
}

/// The way to one recording.
#[derive(Clone, Debug)]
pub struct RecordingHandle {
    key: RecordingKey,
    mode: SessionMode,
    shared: Arc<Shared>,
    doors: Arc<Doors>,
}

impl RecordingHandle {
    /// The recording's number within this process.
    pub fn key(&self) -> RecordingKey {
        self.key
    }

    /// How its parties are spread over sessions: as its pool says, or its recorders' profiles, or as was asked for.
    pub fn session_mode(&self) -> SessionMode {
        self.mode
    }

    /// The recording's state as of the last thing that happened to it.
    pub fn state(&self) -> RecordingState {
        self.shared.state()
    }

    /// Whether it has ended and no command does anything to it any more: one that has failed may be told to
    /// [begin anew](RecordingConfig::begins_anew).
    pub fn is_over(&self) -> bool {
        self.shared.is_over()
    }

    /// A look at its state that keeps nothing of the agent.
    pub fn watch(&self) -> StateWatch {
        StateWatch(Arc::clone(&self.shared))
    }

    /// Queues a command. Never waits. After the recording's end it does nothing.
    ///
    /// # Errors
    /// [`AgentError::Busy`] while 1024 commands of this recording wait, which means that the agent is stuck;
    /// [`AgentError::Forked`].
    pub fn command(&self, command: Command) -> Result<(), AgentError> {
        if !self.doors.runtime.is_ours() {
            return Err(AgentError::Forked);
        }
        if self.is_over() {
            return Ok(());
        }
        self.doors.inbox.command(self.key, &self.shared, command)
    }
}
