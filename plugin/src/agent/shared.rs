//! The agent that elements share when they are given none.

use std::sync::{Arc, Mutex, Weak};

use super::runtime::{AgentFault, Runtime};
use super::settings::Settings;
use crate::sync::lock;

/// Weak: it goes with its last element and recording. The one global of the plugin.
static SHARED: Mutex<Weak<Runtime>> = Mutex::new(Weak::new());

/// The shared agent, started if it does not run.
///
/// # Errors
/// It cannot start.
pub(super) fn runtime() -> Result<Arc<Runtime>, AgentFault> {
    let mut shared = lock(&SHARED);
    if let Some(runtime) = shared.upgrade() {
        return Ok(runtime);
    }
    let runtime = Runtime::start(&Settings::default())?;
    *shared = Arc::downgrade(&runtime);
    Ok(runtime)
}
