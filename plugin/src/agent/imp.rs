//! The agent object: settings, and the running agent while there is one.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::properties;
use super::runtime::{AgentFault, Runtime};
use super::settings::Settings;
use crate::sync::lock;

#[derive(Default)]
pub struct SiprecAgent {
    settings: Mutex<Settings>,
    runtime: Mutex<Option<Arc<Runtime>>>,
}

#[glib::object_subclass]
impl ObjectSubclass for SiprecAgent {
    const NAME: &'static str = "GstSiprecAgent";
    type Type = super::SiprecAgent;
    type ParentType = gst::Object;
}

impl ObjectImpl for SiprecAgent {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::all()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                glib::subclass::Signal::builder("shutdown")
                    .action()
                    .param_types([u64::static_type()])
                    .return_type::<bool>()
                    .class_handler(|arguments| {
                        let agent = arguments.first()?.get::<super::SiprecAgent>().ok()?;
                        let timeout = arguments.get(1)?.get::<u64>().ok()?;
                        Some(agent.imp().shutdown(Duration::from_nanos(timeout)).to_value())
                    })
                    .build(),
            ]
        });
        &SIGNALS
    }

    fn set_property(&self, _: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
        if lock(&self.runtime).is_some() {
            gst::warning!(
                crate::CAT,
                imp = self,
                "agent property \"{}\" was set while the agent runs: it counts when it starts again, after \"shutdown\"",
                pspec.name()
            );
        }
    }

    fn property(&self, _: usize, pspec: &glib::ParamSpec) -> glib::Value {
        lock(&self.settings).value(pspec.name()).unwrap_or_else(|| pspec.default_value().clone())
    }
}

impl GstObjectImpl for SiprecAgent {}

impl super::SiprecAgent {
    /// The running agent, started with the settings as they are now if it does not run.
    pub(super) fn runtime(&self) -> Result<Arc<Runtime>, AgentFault> {
        let imp = self.imp();
        let mut current = lock(&imp.runtime);
        if let Some(runtime) = &*current {
            return Ok(runtime.clone());
        }
        let runtime = Runtime::start(&lock(&imp.settings))?;
        *current = Some(runtime.clone());
        Ok(runtime)
    }
}

impl SiprecAgent {
    /// Ends every recording and waits for it; an element that goes to READY later starts the agent anew.
    fn shutdown(&self, longest: Duration) -> bool {
        let runtime = lock(&self.runtime).take();
        runtime.is_none_or(|runtime| !runtime.is_ours() || runtime.shutdown(longest))
    }
}
