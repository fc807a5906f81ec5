//! GStreamer's `srtpdec` and `srtpenc` in the calling thread, packet by packet: no pipeline, no queue, no clock. The
//! transform is libsrtp's, not ours.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use siprec_model::{SrtpKey, SrtpSuite};
use zeroize::Zeroizing;

/// Packets within which `srtpdec` tells late ones from replayed ones: two seconds of video, since what was asked for again comes
/// so late.
const REPLAY_WINDOW: u32 = 4096;

/// As many keys as libsrtp, and a line of `a=crypto`, can have.
const KEYS: usize = 16;

/// What stands in the way of secured media.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SrtpError {
    /// GStreamer does not start.
    #[error("GStreamer: {0}")]
    GStreamer(gst::glib::Error),
    /// A GStreamer plugin is not installed.
    #[error("GStreamer element {0} is missing (plugin srtp, of the \"bad\" plugins)")]
    ElementMissing(&'static str),
    /// The element does not work.
    #[error("{0}")]
    Element(String),
}

impl From<gst::glib::BoolError> for SrtpError {
    fn from(error: gst::glib::BoolError) -> Self {
        Self::Element(error.to_string())
    }
}

/// RTP or RTCP: the two halves of a stream have pads of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Rtp,
    Rtcp,
}

/// Takes the protection off the packets of one source.
pub(crate) struct Unprotector {
    harness: Harness,
    /// Rollover counter of the next packet where the element knows the source not yet.
    rollover: Arc<AtomicU32>,
}

impl Unprotector {
    /// For a source that sends under `keys`, which have identifiers where they are several.
    ///
    /// # Errors
    /// [`SrtpError`]
    pub(crate) fn new(keys: Arc<[SrtpKey]>, half: Half) -> Result<Self, SrtpError> {
        let element = element("srtpdec")?;
        element.set_property("replay-window-size", REPLAY_WINDOW);
        let rollover = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&rollover);
        // Keys come by the signal, never by caps events, which GStreamer's debug log would show.
        element.connect("request-key", false, move |_| {
            Some(caps(&keys, counter.load(Ordering::Relaxed)).to_value())
        });
        let (sink, src) = match half {
            Half::Rtp => ("rtp_sink", "rtp_src"),
            Half::Rtcp => ("rtcp_sink", "rtcp_src"),
        };
        Ok(Self { harness: Harness::new(element, sink, src)?, rollover })
    }

    /// The packet without its protection; `None` when it is not authentic, or came before. `rollover` counts where the
    /// source is new.
    pub(crate) fn open(&self, packet: &[u8], rollover: u32) -> Option<Vec<u8>> {
        self.rollover.store(rollover, Ordering::Relaxed);
        self.harness.pass(packet)
    }

    /// Forgets the source. (`remove-key` would leave it in libsrtp, which takes the SSRC in another byte order.)
    pub(crate) fn forget(&self) {
        self.harness.element.emit_by_name::<()>("clear-keys", &[]);
    }
}

/// Protects what is sent.
pub(crate) struct Protector {
    harness: Harness,
}

impl Protector {
    /// For one half of a stream; its indices begin at 0 under `key`.
    ///
    /// # Errors
    /// [`SrtpError`]
    pub(crate) fn new(key: &SrtpKey, half: Half) -> Result<Self, SrtpError> {
        let element = element("srtpenc")?;
        let names = Names::of(key.suite());
        element.set_property("key", buffer(key.master()));
        if let Some(mki) = key.mki() {
            element.set_property("mki", gst::Buffer::from_slice(mki.to_vec()));
        }
        element.set_property_from_str("rtp-cipher", names.cipher);
        element.set_property_from_str("rtp-auth", names.rtp_auth);
        element.set_property_from_str("rtcp-cipher", names.cipher);
        element.set_property_from_str("rtcp-auth", names.rtcp_auth);
        // An element that was here before has no news for its caps, in which it would show the key.
        for state in [gst::State::Paused, gst::State::Ready] {
            element.set_state(state).map_err(|_| SrtpError::Element("srtpenc does not start".into()))?;
        }
        let (sink, src) = match half {
            Half::Rtp => ("rtp_sink_0", "rtp_src_0"),
            Half::Rtcp => ("rtcp_sink_0", "rtcp_src_0"),
        };
        element.request_pad_simple(sink).ok_or_else(|| SrtpError::Element("srtpenc gives no pad".into()))?;
        Ok(Self { harness: Harness::new(element, sink, src)? })
    }

    /// The packet as it is sent.
    pub(crate) fn seal(&self, packet: &[u8]) -> Option<Vec<u8>> {
        self.harness.pass(packet)
    }
}

/// An element between a pad that pushes and a pad that keeps what comes out.
struct Harness {
    input: gst::Pad,
    element: gst::Element,
    output: gst::Pad,
    passed: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Harness {
    fn new(element: gst::Element, sink: &str, src: &str) -> Result<Self, SrtpError> {
        let missing = || SrtpError::Element("no pad to link".into());
        let linking = |error: gst::PadLinkError| SrtpError::Element(error.to_string());
        let passed = Arc::new(Mutex::new(None));
        let output = keeping_pad(Arc::clone(&passed));
        let input = gst::Pad::builder(gst::PadDirection::Src).build();
        input.link(&element.static_pad(sink).ok_or_else(missing)?).map_err(linking)?;
        element.static_pad(src).ok_or_else(missing)?.link(&output).map_err(linking)?;
        let harness = Self { input, element, output, passed };
        harness.start()?;
        Ok(harness)
    }

    fn start(&self) -> Result<(), SrtpError> {
        let failed = |what: &str| SrtpError::Element(format!("{} {what}", self.element.name()));
        self.element.set_state(gst::State::Playing).map_err(|_| failed("does not start"))?;
        self.output.set_active(true)?;
        self.input.set_active(true)?;
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        for event in [gst::event::StreamStart::new("recorder"), gst::event::Segment::new(&segment)] {
            if !self.input.push_event(event) {
                return Err(failed("takes no events"));
            }
        }
        Ok(())
    }

    fn pass(&self, packet: &[u8]) -> Option<Vec<u8>> {
        // A packet that it refuses does not come out.
        let _ = self.input.push(gst::Buffer::from_mut_slice(packet.to_vec()));
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        // An element that does not stop is dropped all the same.
        let _ = self.element.set_state(gst::State::Null);
    }
}

fn element(name: &'static str) -> Result<gst::Element, SrtpError> {
    gst::init().map_err(SrtpError::GStreamer)?;
    gst::ElementFactory::make(name).build().map_err(|_| SrtpError::ElementMissing(name))
}

fn keeping_pad(passed: Arc<Mutex<Option<Vec<u8>>>>) -> gst::Pad {
    gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, buffer| {
            let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
            *passed.lock().unwrap_or_else(PoisonError::into_inner) = Some(map.to_vec());
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|_, _, _| true)
        .build()
}

/// A suite in the words of GStreamer.
struct Names {
    cipher: &'static str,
    rtp_auth: &'static str,
    rtcp_auth: &'static str,
}

impl Names {
    fn of(suite: SrtpSuite) -> Self {
        let (cipher, rtp_auth, rtcp_auth) = match suite {
            SrtpSuite::AesCm128HmacSha1_80 => ("aes-128-icm", "hmac-sha1-80", "hmac-sha1-80"),
            SrtpSuite::AesCm128HmacSha1_32 => ("aes-128-icm", "hmac-sha1-32", "hmac-sha1-80"),
            SrtpSuite::AesCm256HmacSha1_80 => ("aes-256-icm", "hmac-sha1-80", "hmac-sha1-80"),
            SrtpSuite::AeadAes128Gcm => ("aes-128-gcm", "null", "null"),
            SrtpSuite::AeadAes256Gcm => ("aes-256-gcm", "null", "null"),
        };
        Self { cipher, rtp_auth, rtcp_auth }
    }
}

/// What `srtpdec` asks for. Were a field missing that it looks for, GStreamer would write the whole structure to its
/// debug log, keys included (category `structure`, level INFO): hence the identifier that is there and is none, and the
/// places that are filled up.
fn caps(keys: &[SrtpKey], rollover: u32) -> gst::Caps {
    let Some(first) = keys.first() else { return gst::Caps::new_empty_simple("application/x-srtp") };
    let names = Names::of(first.suite());
    let mut caps = gst::Caps::builder("application/x-srtp")
        .field("srtp-cipher", names.cipher)
        .field("srtp-auth", names.rtp_auth)
        .field("srtcp-cipher", names.cipher)
        .field("srtcp-auth", names.rtcp_auth)
        .field("roc", rollover);
    if first.mki().is_none() {
        return caps.field("srtp-key", buffer(first.master())).field("mki", None::<gst::Buffer>).build();
    }
    let filled = keys.iter().chain(std::iter::repeat(first)).take(KEYS);
    for (index, key) in filled.enumerate() {
        let number = if index == 0 { String::new() } else { (index + 1).to_string() };
        let mki = gst::Buffer::from_slice(key.mki().unwrap_or_default().to_vec());
        caps = caps
            .field(format!("srtp-key{number}").as_str(), buffer(key.master()))
            .field(format!("mki{number}").as_str(), mki);
    }
    caps.build()
}

/// A buffer whose bytes are overwritten when it goes.
fn buffer(secret: &[u8]) -> gst::Buffer {
    gst::Buffer::from_slice(Zeroizing::new(secret.to_vec()))
}
