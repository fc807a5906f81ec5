//! The agent and the engine that belong together, running.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use siprec_agent::{
    Agent, AgentConfig, AgentError, BindError, PoolView, Pools, RecorderWatch, RecordingHandle, StateDirError,
};
use siprec_engine::{Engine, EngineConfig, EngineError, Gate, Tap, TapConfig};
use siprec_model::{MediaControl, SessionEvent};
use siprec_session::{PoolName, RecordingConfig};

use super::log;
use super::settings::{Settings, SettingsError};

/// Why there is no agent, or why it takes no recording.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentFault {
    /// A property of the agent.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The ports of media that the user gave.
    #[error("agent property \"rtp-port-range\": {0}")]
    Ports(#[source] EngineError),
    /// The media side.
    #[error(transparent)]
    Engine(EngineError),
    /// The port of SIP that the user gave.
    #[error("agent property \"sip-port\": {0}")]
    SipPort(#[source] BindError),
    /// The folder for dialogs that the user gave.
    #[error("agent property \"state-dir\": {0}")]
    StateDir(#[source] StateDirError),
    /// The SIP side.
    #[error(transparent)]
    Agent(AgentError),
    /// The process is not the one that started the agent.
    #[error("it was started before this process forked, and its threads stayed behind")]
    Forked,
}

impl From<EngineError> for AgentFault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::PortRange { .. } => Self::Ports(error),
            other => Self::Engine(other),
        }
    }
}

impl From<AgentError> for AgentFault {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Bind(error @ (BindError::InUse { .. } | BindError::Refused { .. })) => {
                Self::SipPort(error)
            }
            AgentError::StateDir(error) => Self::StateDir(error),
            other => Self::Agent(other),
        }
    }
}

/// A running agent with its engine.
///
/// It lives as long as an element or an agent object uses it, and as long as one of its recordings has not ended:
/// each recording's event callback holds it, so that what is held when a call ends is still delivered.
pub(crate) struct Runtime {
    agent: Arc<Agent>,
    engine: Arc<Engine>,
    users: AtomicUsize,
    process: u32,
}

impl Runtime {
    /// Binds the SIP port and starts the threads.
    ///
    /// # Errors
    /// What the settings or the system refuse.
    pub(super) fn start(
        settings: &Settings,
        watcher: Option<RecorderWatch>,
    ) -> Result<Arc<Self>, AgentFault> {
        let mut config = AgentConfig {
            local_address: settings.local_address()?,
            sip_port: settings.sip_port,
            advertised_address: settings.advertised_address()?,
            media_address: settings.media_address()?,
            user: settings.user()?,
            user_agent: settings.user_agent()?,
            max_sessions: usize::try_from(settings.max_sessions).unwrap_or(usize::MAX),
            sip_dscp: settings.qos_dscp_sip,
            tls: settings.readable_tls()?,
            dns_server: settings.dns_server()?,
            credentials: settings.credentials()?.into_iter().collect(),
            outbound_proxy: settings.outbound_proxy()?,
            pools: settings.pools()?,
            state_dir: settings.state_dir(),
            watcher,
            log: Some(log::dispatch()),
            ..AgentConfig::default()
        };
        let media = EngineConfig {
            port_range: settings.rtp_ports()?,
            dscp: settings.qos_dscp_media,
            media_source: settings.media_source.into(),
            send_interval: settings.send_interval.into(),
            handshake_limit: settings.dtls_timeout.into(),
            ..EngineConfig::default()
        };
        let listener = Arc::new(OnceLock::<Weak<Agent>>::new());
        let hears = listener.clone();
        let engine = Arc::new(Engine::start(media, move |branch, event| {
            if let Some(agent) = hears.get().and_then(Weak::upgrade) {
                agent.media_event(branch, event);
            }
        })?);
        config.certificate = Some(engine.fingerprint().clone());
        let agent = Arc::new(Agent::start(config, engine.clone() as Arc<dyn MediaControl>)?);
        let _ = listener.set(Arc::downgrade(&agent));
        Ok(Arc::new(Self { agent, engine, users: AtomicUsize::new(0), process: std::process::id() }))
    }

    /// Whether its threads are in this process.
    pub(super) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// Opens a recording; `heard` gets its events on the agent's notifier thread, in order.
    ///
    /// # Errors
    /// The agent is at its limit or shut down, or the configuration is of no use.
    pub(super) fn open(
        self: &Arc<Self>,
        config: RecordingConfig,
        heard: impl Fn(SessionEvent) + Send + 'static,
    ) -> Result<RecordingHandle, AgentFault> {
        let kept_alive = self.clone();
        let heard = move |event| {
            let _outlives_its_elements = &kept_alive;
            heard(event);
        };
        Ok(self.agent.open(config, heard)?)
    }

    /// Whether there is a pool of this name.
    pub(super) fn has_pool(&self, name: &PoolName) -> bool {
        self.agent.has_pool(name)
    }

    /// Has other pools from now on.
    pub(super) fn set_pools(&self, pools: Pools) {
        self.agent.set_pools(pools);
    }

    /// The pools as they are now.
    pub(super) fn pools(&self) -> Vec<PoolView> {
        self.agent.pools()
    }

    /// A tap for one stream of a call, with its gate like this, that so many branches are to have from its beginning on.
    pub(super) fn tap(&self, gate: Gate, branches: usize) -> Tap {
        self.engine.tap(TapConfig { gate, branches, ..TapConfig::default() })
    }

    /// One more element uses it.
    pub(super) fn enter(&self) {
        self.users.fetch_add(1, Ordering::SeqCst);
    }

    /// One element less uses it. Answers whether it was the last.
    pub(super) fn leave(&self) -> bool {
        self.users.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Waits until every recording has ended and its events are told, at most this long. Answers whether they have.
    pub(super) fn wait_idle(&self, longest: Duration) -> bool {
        self.agent.wait_idle(longest)
    }

    /// Leaves every dialog at once, at most so long, for a process that is about to exit.
    pub(super) fn leave_dialogs(&self, longest: Duration) -> bool {
        self.agent.leave(longest)
    }

    /// Ends every recording and waits as [`Self::wait_idle`]. It takes no recording any more.
    pub(super) fn shutdown(&self, longest: Duration) -> bool {
        self.agent.shutdown(longest)
    }
}
