//! SRTP and SRTCP of a client, by GStreamer's elements.

use gst::prelude::*;
use gst_check::Harness;
use siprec_recorder::SrtpSuite;
use siprec_sip::SessionDescription;
use siprec_sip::sdp::Crypto;

/// A line `a=crypto` of the client, with one key or more.
#[derive(Clone)]
pub(crate) struct Line {
    text: String,
}

impl Line {
    /// Tag 1, a key made of `seed`.
    pub(crate) fn new(suite: SrtpSuite, seed: u8) -> Self {
        Self { text: format!("1 {suite} {}", inline(suite, seed)) }
    }

    /// The same with a tag.
    pub(crate) fn tagged(tag: u32, suite: SrtpSuite, seed: u8) -> Self {
        Self { text: format!("{tag} {suite} {}", inline(suite, seed)) }
    }

    /// Two keys with identifiers 1 and 2 of two bytes.
    pub(crate) fn with_identifiers(suite: SrtpSuite, seed: u8) -> Self {
        let (first, second) = (inline(suite, seed), inline(suite, seed + 1));
        Self { text: format!("1 {suite} {first}|2^20|1:2;{second}|2^20|2:2") }
    }

    /// Appends session parameters.
    pub(crate) fn with(mut self, parameters: &str) -> Self {
        self.text.push_str(parameters);
        self
    }

    /// As an attribute.
    pub(crate) fn attribute(&self) -> String {
        format!("a=crypto:{}", self.text)
    }

    /// Every form in which its keys may be found: base64, hexadecimal, and the bytes themselves.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        let line = Crypto::parse(&self.text).unwrap();
        line.keys().iter().flat_map(|key| forms(key.master())).collect()
    }

    /// What protects packets under its key of this index.
    pub(crate) fn sender(&self, key: usize) -> Sender {
        let line = Crypto::parse(&self.text).unwrap();
        let key = &line.keys()[key];
        let element = gst::ElementFactory::make("srtpenc").build().unwrap();
        element.set_property("key", gst::Buffer::from_slice(key.master().to_vec()));
        if let Some(mki) = key.mki() {
            element.set_property("mki", gst::Buffer::from_slice(mki.to_vec()));
        }
        let (cipher, rtp, rtcp) = names(line.suite());
        for (property, value) in
            [("rtp-cipher", cipher), ("rtp-auth", rtp), ("rtcp-cipher", cipher), ("rtcp-auth", rtcp)]
        {
            element.set_property_from_str(property, value);
        }
        let mut media = Harness::with_element(&element, Some("rtp_sink_0"), Some("rtp_src_0"));
        media.set_src_caps_str("application/x-rtp");
        let mut reports = Harness::with_element(&element, Some("rtcp_sink_0"), Some("rtcp_src_0"));
        reports.set_src_caps_str("application/x-rtcp");
        Sender { media, reports }
    }
}

/// The forms in which a secret may be found.
pub(crate) fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        secret.to_vec(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        base64(secret).into_bytes(),
    ]
}

fn inline(suite: SrtpSuite, seed: u8) -> String {
    let master: Vec<u8> = (0..suite.master_length())
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed.wrapping_mul(97)))
        .collect();
    format!("inline:{}", base64(&master))
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([&0; 2]).take(3).fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Cipher, authentication of RTP, and that of RTCP.
fn names(suite: SrtpSuite) -> (&'static str, &'static str, &'static str) {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80 => ("aes-128-icm", "hmac-sha1-80", "hmac-sha1-80"),
        SrtpSuite::AesCm128HmacSha1_32 => ("aes-128-icm", "hmac-sha1-32", "hmac-sha1-80"),
        SrtpSuite::AesCm256HmacSha1_80 => ("aes-256-icm", "hmac-sha1-80", "hmac-sha1-80"),
        SrtpSuite::AeadAes128Gcm => ("aes-128-gcm", "null", "null"),
        SrtpSuite::AeadAes256Gcm => ("aes-256-gcm", "null", "null"),
    }
}

/// Protects what a client sends under one key.
pub(crate) struct Sender {
    media: Harness,
    reports: Harness,
}

impl Sender {
    pub(crate) fn rtp(&mut self, packet: &[u8]) -> Vec<u8> {
        pass(&mut self.media, packet).unwrap()
    }

    pub(crate) fn rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        pass(&mut self.reports, packet).unwrap()
    }

    pub(crate) fn all(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        packets.into_iter().map(|packet| self.rtp(&packet)).collect()
    }
}

fn pass(harness: &mut Harness, packet: &[u8]) -> Option<Vec<u8>> {
    harness.push(gst::Buffer::from_mut_slice(packet.to_vec())).unwrap();
    let buffer = harness.try_pull()?;
    Some(buffer.map_readable().unwrap().to_vec())
}

/// The recorder's line of an m-line.
pub(crate) fn answered(description: &SessionDescription, media: usize) -> Crypto {
    let media = description.media(media).unwrap();
    let lines: Vec<_> = media.cryptos().collect();
    let [Ok(line)] = lines.as_slice() else { panic!("{lines:?}") };
    line.clone()
}

/// Reads what the recorder sends under the key of its line.
pub(crate) struct Reader(Harness);

impl Reader {
    pub(crate) fn new(line: &Crypto) -> Self {
        let element = gst::ElementFactory::make("srtpdec").build().unwrap();
        let (cipher, rtp, rtcp) = names(line.suite());
        let key = line.keys()[0].master().to_vec();
        element.connect("request-key", false, move |_| {
            let caps = gst::Caps::builder("application/x-srtp")
                .field("srtp-key", gst::Buffer::from_slice(key.clone()))
                .field("srtp-cipher", cipher)
                .field("srtp-auth", rtp)
                .field("srtcp-cipher", cipher)
                .field("srtcp-auth", rtcp);
            Some(caps.build().to_value())
        });
        let mut harness = Harness::with_element(&element, Some("rtcp_sink"), Some("rtcp_src"));
        harness.set_src_caps_str("application/x-srtcp");
        Self(harness)
    }

    /// The packet, when it is genuine.
    pub(crate) fn rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        pass(&mut self.0, packet)
    }
}
