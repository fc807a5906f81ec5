//! GStreamer's own SRTP elements (libsrtp) as the two ends of a call or recording.

use gst::glib;
use gst::prelude::*;

use super::{Inlet, Outlet, PCMU, init};

/// A suite as caps and properties name it: its SDP name, cipher, authentication of RTP and of RTCP, bytes of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) cipher: &'static str,
    pub(crate) auth: &'static str,
    pub(crate) rtcp_auth: &'static str,
    pub(crate) key: usize,
    pub(crate) tag: usize,
}

pub(crate) const SUITES: [Suite; 5] = [
    suite("AES_CM_128_HMAC_SHA1_80", "aes-128-icm", "hmac-sha1-80", "hmac-sha1-80", 30, 10),
    suite("AES_CM_128_HMAC_SHA1_32", "aes-128-icm", "hmac-sha1-32", "hmac-sha1-80", 30, 4),
    suite("AES_256_CM_HMAC_SHA1_80", "aes-256-icm", "hmac-sha1-80", "hmac-sha1-80", 46, 10),
    suite("AEAD_AES_128_GCM", "aes-128-gcm", "null", "null", 28, 16),
    suite("AEAD_AES_256_GCM", "aes-256-gcm", "null", "null", 44, 16),
];

const fn suite(
    name: &'static str,
    cipher: &'static str,
    auth: &'static str,
    rtcp_auth: &'static str,
    key: usize,
    tag: usize,
) -> Suite {
    Suite { name, cipher, auth, rtcp_auth, key, tag }
}

impl Suite {
    /// Its name as `srtp-suite` has it.
    pub(crate) fn nick(self) -> String {
        self.name.to_lowercase().replace('_', "-")
    }

    /// Of RTCP. `srtpenc` takes a key only where something is encrypted.
    fn rtcp_cipher(self) -> &'static str {
        if self.cipher == "null" { "aes-128-icm" } else { self.cipher }
    }

    /// A key of the right length, another one for each number.
    pub(crate) fn key(self, number: u8) -> Vec<u8> {
        (0..self.key).map(|byte| (byte as u8).wrapping_mul(7) ^ number).collect()
    }

    /// Caps with a key, as `srtpdec` takes them.
    pub(crate) fn caps(self, key: &[u8], mki: Option<&[u8]>) -> gst::Caps {
        init();
        let mut caps = gst::Caps::builder("application/x-srtp")
            .field("srtp-cipher", self.cipher)
            .field("srtp-auth", self.auth)
            .field("srtcp-cipher", self.rtcp_cipher())
            .field("srtcp-auth", self.rtcp_auth)
            .field("srtp-key", buffer(key));
        if let Some(mki) = mki {
            caps = caps.field("mki", buffer(mki));
        }
        caps.build()
    }
}

/// `srtpenc`.
pub(crate) struct Encoder {
    element: gst::Element,
    inlet: Inlet,
    outlet: Outlet,
}

impl Encoder {
    pub(crate) fn new(suite: Suite, key: &[u8], mki: Option<&[u8]>) -> Self {
        init();
        let element = gst::ElementFactory::make("srtpenc").build().unwrap();
        element.set_property("key", buffer(key));
        element.set_property("mki", mki.map(buffer));
        for (property, name) in [
            ("rtp-cipher", suite.cipher),
            ("rtp-auth", suite.auth),
            ("rtcp-cipher", suite.rtcp_cipher()),
            ("rtcp-auth", suite.rtcp_auth),
        ] {
            element.set_property_from_str(property, name);
        }
        let sink = element.request_pad_simple("rtp_sink_0").unwrap();
        let (inlet, outlet) =
            (Inlet::before(&sink), Outlet::behind(&element.static_pad("rtp_src_0").unwrap()));
        element.set_state(gst::State::Playing).unwrap();
        inlet.begin();
        Self { element, inlet, outlet }
    }

    /// One packet, encrypted.
    pub(crate) fn protect(&self, packet: Vec<u8>) -> Vec<u8> {
        self.inlet.pad.push(gst::Buffer::from_mut_slice(packet)).unwrap();
        self.outlet.take().bytes.pop().unwrap()
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.element.set_state(gst::State::Null).unwrap();
    }
}

/// `srtpdec`, whose `request-key` answers with the same caps for every source.
pub(crate) struct Decoder {
    pub(crate) element: gst::Element,
    inlet: Inlet,
    outlet: Outlet,
    rtcp: (Inlet, Outlet),
}

impl Decoder {
    pub(crate) fn new(keys: &gst::Caps) -> Self {
        init();
        let element = gst::ElementFactory::make("srtpdec").build().unwrap();
        let keys = keys.clone();
        element.connect("request-key", false, move |_| Some(keys.to_value()));
        let inlet = Inlet::before(&element.static_pad("rtp_sink").unwrap());
        let outlet = Outlet::behind(&element.static_pad("rtp_src").unwrap());
        let rtcp = (
            Inlet::before(&element.static_pad("rtcp_sink").unwrap()),
            Outlet::behind(&element.static_pad("rtcp_src").unwrap()),
        );
        element.set_state(gst::State::Playing).unwrap();
        inlet.begin_with(&gst::Caps::new_empty_simple("application/x-srtp"));
        rtcp.0.begin_with(&gst::Caps::new_empty_simple("application/x-srtcp"));
        Self { element, inlet, outlet, rtcp }
    }

    /// One compound of RTCP, decrypted; `None` where it is not taken.
    pub(crate) fn unprotect_rtcp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let (inlet, outlet) = &self.rtcp;
        let _ = inlet.pad.push(gst::Buffer::from_mut_slice(packet.to_vec()));
        outlet.take().bytes.pop()
    }

    /// One packet, decrypted; `None` where it is not taken.
    pub(crate) fn unprotect(&self, packet: &[u8]) -> Option<Vec<u8>> {
        // A refused packet may end the flow of `srtpdec`'s own pads: what comes out alone counts.
        let _ = self.inlet.pad.push(gst::Buffer::from_mut_slice(packet.to_vec()));
        self.outlet.take().bytes.pop()
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.element.set_state(gst::State::Null).unwrap();
    }
}

/// A buffer of these bytes.
pub(crate) fn buffer(bytes: &[u8]) -> gst::Buffer {
    init();
    gst::Buffer::from_mut_slice(bytes.to_vec())
}

/// Base64, as a session description has it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    glib::base64_encode(bytes).to_string()
}

/// Caps of G.711 that is encrypted, with the fields of these beside.
pub(crate) fn srtp_caps(keys: Option<&gst::Caps>) -> gst::Caps {
    let mut caps: gst::Caps = PCMU.replace("x-rtp", "x-srtp").parse().unwrap();
    if let Some(keys) = keys {
        let fields = keys.structure(0).unwrap().iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let all = caps.get_mut().unwrap().structure_mut(0).unwrap();
        fields.for_each(|(name, value)| all.set_value(name, value));
    }
    caps
}

/// The key that an INVITE offers first for an m-line, as caps for `srtpdec`.
pub(crate) fn offered(invite: &str, line: usize) -> gst::Caps {
    let section = invite.split("\r\nm=").nth(line + 1).unwrap();
    let crypto = section.lines().find_map(|line| line.strip_prefix("a=crypto:"));
    let crypto = crypto.unwrap_or_else(|| panic!("no key in {section}"));
    let mut words = crypto.split(' ').skip(1);
    let suite = words.next().unwrap();
    let suite = SUITES.into_iter().find(|known| known.name == suite).unwrap();
    let inline = words.next().unwrap().trim_start_matches("inline:");
    suite.caps(&glib::base64_decode(inline.split('|').next().unwrap()), None)
}
