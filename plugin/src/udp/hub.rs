//! What all elements of the process share: the poll threads, who watches them, and sockets that are bound.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;

use super::fault::OpenFault;
use super::poller::Poller;
use super::socket::Socket;
use super::watch::Watch;
use crate::sync::lock;

/// Weak: it goes with its last element.
static HUB: Mutex<Weak<Hub>> = Mutex::new(Weak::new());

/// The variable of the environment that says how many poll threads there are.
const THREADS: &str = "GST_SIPREC_UDP_THREADS";
const MOST_THREADS: usize = 16;

/// Lives while an element is open.
#[derive(Debug)]
pub(super) struct Hub {
    /// The process that it was made in.
    process: u32,
    working: Mutex<Option<Working>>,
    sockets: Mutex<Vec<Weak<Socket>>>,
}

/// What runs from the first stream on.
#[derive(Debug)]
struct Working {
    pollers: Vec<Arc<Poller>>,
    watch: Arc<Watch>,
    threads: Arc<Threads>,
}

impl Hub {
    /// The process's own.
    ///
    /// # Errors
    /// The process has forked since it was made.
    pub(super) fn shared() -> Result<Arc<Self>, OpenFault> {
        let mut shared = lock(&HUB);
        let process = std::process::id();
        if let Some(hub) = shared.upgrade() {
            return if hub.process == process { Ok(hub) } else { Err(OpenFault::Forked) };
        }
        let hub = Arc::new(Self { process, working: Mutex::default(), sockets: Mutex::default() });
        *shared = Arc::downgrade(&hub);
        Ok(hub)
    }

    /// The poller that has the fewest streams, and who watches it. Their threads are started if they do not run.
    ///
    /// # Errors
    /// They cannot be.
    pub(super) fn poller(&self) -> Result<(Arc<Poller>, Arc<Watch>), OpenFault> {
        let mut working = lock(&self.working);
        let working = match &mut *working {
            Some(working) => working,
            nothing => nothing.insert(Working::start().map_err(OpenFault::Start)?),
        };
        let least = working.pollers.iter().min_by_key(|poller| poller.streams());
        let least = least.ok_or_else(|| OpenFault::Start(std::io::ErrorKind::NotFound.into()))?;
        Ok((least.clone(), working.watch.clone()))
    }

    /// The socket at exactly this address, as another element has it, or a new one.
    ///
    /// # Errors
    /// As of `bind`.
    pub(super) fn socket(
        &self,
        local: SocketAddr,
        is_usable: impl Fn(&Socket) -> bool,
        bind: impl FnOnce() -> Result<Socket, OpenFault>,
    ) -> Result<Arc<Socket>, OpenFault> {
        let mut sockets = lock(&self.sockets);
        sockets.retain(|socket| socket.strong_count() > 0);
        let known = sockets.iter().filter_map(Weak::upgrade);
        let known = known
            .filter(|socket| local.port() != 0 && socket.local == local)
            .find(|socket| is_usable(socket));
        if let Some(socket) = known {
            return Ok(socket);
        }
        let socket = Arc::new(bind()?);
        sockets.push(Arc::downgrade(&socket));
        Ok(socket)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let Some(working) = lock(&self.working).take() else { return };
        if self.process == std::process::id() {
            working.end();
        } else {
            // The threads are another process's.
            std::mem::forget(working);
        }
    }
}

impl Working {
    fn start() -> std::io::Result<Self> {
        let pollers = (0..threads(std::env::var_os(THREADS).as_deref()))
            .map(|_| Poller::new())
            .collect::<Result<Vec<_>, _>>()?;
        let threads = Arc::new(Threads::default());
        let watch = Arc::new(Watch::new(pollers.clone(), threads.clone()));
        let working = Self { pollers, watch, threads };
        match working.start_threads() {
            Ok(()) => Ok(working),
            Err(error) => {
                working.end();
                Err(error)
            }
        }
    }

    fn start_threads(&self) -> std::io::Result<()> {
        for poller in &self.pollers {
            let poller = poller.clone();
            self.threads.spawn("siprecudp", move || poller.run(0))?;
        }
        let watch = self.watch.clone();
        self.threads.spawn("siprecudp-watch", move || watch.run())
    }

    fn end(self) {
        self.watch.stop();
        for poller in &self.pollers {
            poller.stop();
        }
        self.threads.join();
    }
}

/// How many poll threads there are to be, by what the environment says.
fn threads(asked: Option<&OsStr>) -> usize {
    let Some(asked) = asked else { return 1 };
    let asked = asked.to_string_lossy();
    let number = asked.trim().parse::<usize>().ok();
    let taken = number.unwrap_or(1).clamp(1, MOST_THREADS);
    if number != Some(taken) {
        gst::warning!(
            super::CAT,
            "{THREADS} is \"{asked}\", and not a number from 1 to {MOST_THREADS}: it is taken as {taken}"
        );
    }
    taken
}

/// The threads that run.
#[derive(Debug, Default)]
pub(super) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    /// Starts one.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub(super) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        let mut threads = lock(&self.0);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Waits for all of them. One of them may be the caller, when the last element leaves within a push; it ends on its
    /// own.
    fn join(&self) {
        let here = std::thread::current().id();
        let threads = std::mem::take(&mut *lock(&self.0));
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != here) {
            // Their work is guarded; a panic has been logged.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_threads_that_cannot_be_had_is_warned_of() {
        gst::init().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let tell = Mutex::new(tell);
        gst::log::set_active(true);
        gst::log::set_threshold_for_name("siprecudp", gst::DebugLevel::Warning);
        gst::log::add_log_function(move |category, level, _, _, _, _, message| {
            let text = message.get().map(|text| text.to_string()).unwrap_or_default();
            if category.name() == "siprecudp"
                && level == gst::DebugLevel::Warning
                && text.starts_with(THREADS)
            {
                let _ = lock(&tell).send(text);
            }
        });
        for (asked, taken) in [("1", 1), ("16", 16), (" 3 ", 3)] {
            assert_eq!(threads(Some(asked.as_ref())), taken);
            assert_eq!(told.try_iter().next(), None, "{asked}");
        }
        assert_eq!(threads(None), 1);
        for (asked, taken) in [("0", 1), ("foo", 1), ("-1", 1), ("", 1), ("17", 16)] {
            assert_eq!(threads(Some(asked.as_ref())), taken);
            let text = told.try_iter().next().expect("a warning");
            assert!(text.contains(&format!("is \"{asked}\"")), "{text}");
            assert!(text.ends_with(&format!("as {taken}")), "{text}");
        }
    }
}
