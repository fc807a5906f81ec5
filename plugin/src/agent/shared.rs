//! The agent that elements share when they are given none.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::runtime::{AgentFault, Runtime};
use super::settings::Settings;
use crate::sync::lock;

/// Weak: it goes with its last element and recording. The one global of the plugin.
static SHARED: Mutex<Weak<Runtime>> = Mutex::new(Weak::new());

/// The variable of the environment that stands for the shared agent's property `config`.
const CONFIG: &str = "GST_SIPREC_CONFIG";
/// The same for its property `state-dir`.
const STATE_DIR: &str = "GST_SIPREC_STATE_DIR";

/// Leaves the dialogs of the shared agent, if it runs and nobody is just starting it.
pub(super) fn leave(longest: Duration) {
    let runtime = SHARED.try_lock().ok().and_then(|shared| shared.upgrade());
    if let Some(runtime) = runtime {
        runtime.leave_dialogs(longest);
        // A runtime that goes with the process need not be taken down.
        std::mem::forget(runtime);
    }
}

/// The shared agent, started if it does not run.
///
/// # Errors
/// It cannot start.
pub(super) fn runtime() -> Result<Arc<Runtime>, AgentFault> {
    let mut shared = lock(&SHARED);
    if let Some(runtime) = shared.upgrade() {
        return Ok(runtime);
    }
    // Nobody can set a property of it; whoever starts the process can say where its files are.
    let (config, state_dir) = (std::env::var(CONFIG).ok(), std::env::var(STATE_DIR).ok());
    let runtime = Runtime::start(&Settings { config, state_dir, ..Settings::default() }, None)?;
    *shared = Arc::downgrade(&runtime);
    Ok(runtime)
}
