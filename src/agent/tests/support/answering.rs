//! What drives an agent without any media: a call of two parties with G.711, and an engine that answers at once. The signalling
//! benchmark takes it, too.

#![allow(dead_code, unreachable_pub, reason = "each user takes its part")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use siprec_agent::{Agent, AgentError, RecordingHandle};
use siprec_model::{
    BranchCommand, BranchEvent, BranchId, MediaControl, MediaControlError, Medium, PayloadFormat,
    StreamFormat, StreamId,
};
use siprec_session::Command;

/// Says that ports are bound, backlogs empty and branches closed, and does nothing.
#[derive(Default)]
pub struct Answering {
    agent: OnceLock<Weak<Agent>>,
    pairs: AtomicU16,
}

impl Answering {
    /// Has it tell this agent, its only one.
    pub fn connect(&self, agent: &Arc<Agent>) {
        let is_first = self.agent.set(Arc::downgrade(agent)).is_ok();
        assert!(is_first, "an engine has one agent");
    }

    /// What follows from a command.
    pub fn answer(&self, command: &BranchCommand) -> Option<BranchEvent> {
        match command {
            BranchCommand::Bind { local, .. } => {
                let port = 10_000 + 2 * (self.pairs.fetch_add(1, Ordering::Relaxed) % 20_000);
                let (rtp, rtcp) = (SocketAddr::new(*local, port), SocketAddr::new(*local, port + 1));
                Some(BranchEvent::PortsReady { rtp, rtcp })
            }
            BranchCommand::Drain { .. } => Some(BranchEvent::BacklogEmpty { recalls: 0 }),
            BranchCommand::Close { .. } => Some(BranchEvent::Closed(Box::default())),
            _ => None,
        }
    }

    /// Tells the agent, if it is still there.
    pub fn tell(&self, branch: BranchId, event: BranchEvent) {
        if let Some(agent) = self.agent.get().and_then(Weak::upgrade) {
            agent.media_event(branch, event);
        }
    }
}

impl MediaControl for Answering {
    fn command(&self, command: BranchCommand) -> Result<(), MediaControlError> {
        if let Some(event) = self.answer(&command) {
            self.tell(command.branch(), event);
        }
        Ok(())
    }
}

/// Gives a recording two streams of G.711, whose formats are known.
///
/// # Errors
/// If the agent takes no commands.
pub fn begin(handle: &RecordingHandle) -> Result<(), AgentError> {
    // Both are there before either has a format, so that there is one offer of both.
    let streams = [0, 1].map(|slot| (slot, StreamId::unique()));
    for (slot, stream) in streams {
        handle.command(Command::AddStream { slot, stream })?;
    }
    for (_, stream) in streams {
        handle.command(Command::StreamFormat { stream, format: pcmu() })?;
    }
    Ok(())
}

/// G.711, µ-law.
pub fn pcmu() -> StreamFormat {
    let payload = PayloadFormat {
        payload_type: 0,
        encoding: "PCMU".to_owned(),
        clock_rate: 8000,
        channels: None,
        fmtp: None,
    };
    StreamFormat { medium: Medium::Audio, payloads: vec![payload], ptime_ms: Some(20) }
}
