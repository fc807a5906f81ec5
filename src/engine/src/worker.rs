//! The media thread.

use std::io;
use std::sync::Arc;

use siprec_model::{BranchEvent, BranchId};

use crate::config::EngineConfig;
use crate::shared::Shared;

/// Where events go.
pub(crate) type Sink = Box<dyn Fn(BranchId, BranchEvent) + Send>;

/// The state of the media thread.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    sink: Sink,
}

impl Worker {
    pub(crate) fn new(_config: EngineConfig, shared: Arc<Shared>, sink: Sink) -> io::Result<Self> {
        Ok(Self { shared, sink })
    }

    pub(crate) fn run(self) {}
}
