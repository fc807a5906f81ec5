//! An element's use of an agent, from NULL → READY to READY → NULL.

use std::sync::Arc;
use std::time::Duration;

use siprec_agent::RecordingHandle;
use siprec_engine::{Gate, Tap};
use siprec_model::SessionEvent;
use siprec_session::{PoolName, RecordingConfig};

use super::SiprecAgent;
use super::runtime::{AgentFault, Runtime};
use super::{exit, shared};

/// The right to record with an agent.
pub(crate) struct Lease {
    runtime: Arc<Runtime>,
    /// Whether it is the one that all elements share, which nobody else shuts down.
    shared: bool,
}

impl Lease {
    /// Uses `agent`, or the shared one; starts it if it does not run yet.
    ///
    /// # Errors
    /// The agent cannot start, or it was started before the process forked.
    pub(crate) fn acquire(agent: Option<&SiprecAgent>) -> Result<Self, AgentFault> {
        let runtime = match agent {
            Some(agent) => agent.runtime()?,
            None => shared::runtime()?,
        };
        if !runtime.is_ours() {
            return Err(AgentFault::Forked);
        }
        runtime.enter();
        Ok(Self { runtime, shared: agent.is_none() })
    }

    /// Opens a recording; `heard` gets its events on the agent's notifier thread, in order.
    ///
    /// # Errors
    /// The agent is at its limit or shut down, or the configuration is of no use.
    pub(crate) fn open(
        &self,
        config: RecordingConfig,
        heard: impl Fn(SessionEvent) + Send + 'static,
    ) -> Result<RecordingHandle, AgentFault> {
        if self.shared {
            exit::prepare();
        }
        self.runtime.open(config, heard)
    }

    /// Whether the agent has a pool of this name.
    pub(crate) fn has_pool(&self, name: &PoolName) -> bool {
        self.runtime.has_pool(name)
    }

    /// A tap for one stream of a call, with its gate like this, for so many copies.
    pub(crate) fn tap(&self, gate: Gate, copies: usize) -> Tap {
        self.runtime.tap(gate, copies)
    }

    /// Ends the use. The last user of the shared agent waits until its dialogs have ended, at most `longest`: a
    /// program that sets its pipeline to NULL often ends right after. Where they have not, they go on, so that what is
    /// held is still delivered; should the program end now, they end with it.
    pub(crate) fn end(self, longest: Duration) {
        if self.runtime.leave() && self.shared && !self.runtime.wait_idle(longest) {
            gst::warning!(
                crate::CAT,
                "dialogs with recorders have not ended within {longest:?}; they go on without us"
            );
        }
    }
}
