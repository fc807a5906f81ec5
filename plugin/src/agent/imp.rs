//! The agent object: settings, and the running agent while there is one.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_agent::{RecorderChange, RecorderWatch};

use super::runtime::{AgentFault, Runtime};
use super::settings::{Settings, SettingsError};
use super::{pools, properties};
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
                glib::subclass::Signal::builder("reload-config")
                    .action()
                    .return_type::<Option<String>>()
                    .class_handler(|arguments| {
                        let agent = arguments.first()?.get::<super::SiprecAgent>().ok()?;
                        Some(agent.imp().reload().err().map(|error| error.to_string()).to_value())
                    })
                    .build(),
                glib::subclass::Signal::builder("recorder-changed")
                    .param_types([String::static_type(), String::static_type(), String::static_type()])
                    .build(),
            ]
        });
        &SIGNALS
    }

    fn set_property(&self, _: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
        let runs = lock(&self.runtime).is_some();
        if runs && pspec.name() == "config" {
            // The log has what is wrong, and `reload-config` gives it.
            let _ = self.reload();
        } else if runs {
            gst::warning!(
                crate::CAT,
                imp = self,
                "agent property \"{}\" was set while the agent runs: it counts when it starts again, after \"shutdown\"",
                pspec.name()
            );
        }
    }

    fn property(&self, _: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "pools" {
            let running = lock(&self.runtime).clone();
            let pools = running.map(|runtime| runtime.pools()).unwrap_or_default();
            return pools::structure(&pools).to_value();
        }
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
        let agent = self.downgrade();
        let watcher = RecorderWatch::new(move |RecorderChange { recorder, state, reason }| {
            if let Some(agent) = agent.upgrade() {
                agent.emit_by_name::<()>("recorder-changed", &[&recorder, &state.as_str(), &reason]);
            }
        });
        let settings = lock(&imp.settings).clone();
        let runtime = Runtime::start(&settings, Some(watcher))?;
        *current = Some(runtime.clone());
        Ok(runtime)
    }
}

impl SiprecAgent {
    /// Reads the pools; a running agent has them from now on. Where they have a fault, those that there are stay.
    ///
    /// # Errors
    /// The fault, which the log has, too.
    fn reload(&self) -> Result<(), SettingsError> {
        let settings = lock(&self.settings).clone();
        let runtime = lock(&self.runtime).clone();
        let pools = settings.pools().and_then(|pools| match &settings.config {
            // A file that is being written, or was lost, would leave no recorder to any call.
            Some(file) if pools.is_empty() && runtime.as_ref().is_some_and(|it| !it.pools().is_empty()) => {
                Err(SettingsError::NoPool(file.clone()))
            }
            _ => Ok(pools),
        });
        let pools = pools.inspect_err(|error| {
            gst::error!(crate::CAT, imp = self, "{error}; the pools stay as they are");
        })?;
        if let Some(runtime) = runtime {
            runtime.set_pools(pools);
            gst::info!(crate::CAT, imp = self, "the pools of recorders were read again");
        }
        Ok(())
    }

    /// Ends every recording and waits for it; an element that goes to READY later starts the agent anew.
    fn shutdown(&self, longest: Duration) -> bool {
        let runtime = lock(&self.runtime).take();
        runtime.is_none_or(|runtime| !runtime.is_ours() || runtime.shutdown(longest))
    }
}
