//! The place of the media engine.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use siprec_agent::Agent;
use siprec_model::{BranchCommand, BranchEvent, MediaControl, MediaControlError};

/// Says at once that ports are bound, backlogs empty and branches closed, and does nothing.
#[derive(Default)]
pub(crate) struct NoMedia {
    agent: OnceLock<Weak<Agent>>,
    next_port: AtomicU16,
}

impl NoMedia {
    pub(crate) fn connect(&self, agent: &Arc<Agent>) {
        // There is one agent.
        let _ = self.agent.set(Arc::downgrade(agent));
    }
}

impl MediaControl for NoMedia {
    fn command(&self, command: BranchCommand) -> Result<(), MediaControlError> {
        let branch = command.branch();
        let event = match command {
            BranchCommand::Bind { local, .. } => {
                let port = 10_000 + 2 * (self.next_port.fetch_add(1, Ordering::Relaxed) % 20_000);
                let (rtp, rtcp) = (SocketAddr::new(local, port), SocketAddr::new(local, port + 1));
                BranchEvent::PortsReady { rtp, rtcp }
            }
            BranchCommand::Drain { .. } => BranchEvent::BacklogEmpty,
            BranchCommand::Close { .. } => BranchEvent::Closed(Box::default()),
            _ => return Ok(()),
        };
        if let Some(agent) = self.agent.get().and_then(Weak::upgrade) {
            agent.media_event(branch, event);
        }
        Ok(())
    }
}
