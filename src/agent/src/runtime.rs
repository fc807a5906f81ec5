//! The one runtime of the process, shared by all its agents and gone with the last.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::AgentError;

const WORKERS: usize = 2;

static CURRENT: Mutex<Weak<AgentRuntime>> = Mutex::new(Weak::new());

/// Two worker threads. Dropping the last reference never waits, so that it may happen on one of them.
#[derive(Debug)]
pub(crate) struct AgentRuntime {
    runtime: Option<Runtime>,
    handle: Handle,
    process: u32,
}

impl AgentRuntime {
    /// The process's runtime, started if there is none.
    ///
    /// # Errors
    /// [`AgentError::Threads`], or [`AgentError::Forked`] where the threads stayed behind in the parent process.
    pub(crate) fn shared() -> Result<Arc<Self>, AgentError> {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = current.upgrade() {
            return if shared.is_ours() { Ok(shared) } else { Err(AgentError::Forked) };
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("siprec-agent")
            .enable_io()
            .enable_time()
            .build()
            .map_err(AgentError::Threads)?;
        let handle = runtime.handle().clone();
        let shared = Arc::new(Self { runtime: Some(runtime), handle, process: std::process::id() });
        *current = Arc::downgrade(&shared);
        Ok(shared)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether this process started the threads.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl Drop for AgentRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            if self.is_ours() {
                runtime.shutdown_background();
            } else {
                // The threads are the parent's: there is nothing to end, and waking them would touch its sockets.
                std::mem::forget(runtime);
            }
        }
    }
}
