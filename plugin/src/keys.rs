//! The keys of a call, as GStreamer gives them to `srtpdec`: fields of `application/x-srtp` caps.
//!
//! | field | type | |
//! |---|---|---|
//! | `srtp-key` | GstBuffer | master key and salt |
//! | `srtp-cipher` `srtcp-cipher` | text | `aes-128-icm` `aes-256-icm` `aes-128-gcm` `aes-256-gcm` `null` |
//! | `srtp-auth` `srtcp-auth` | text | `hmac-sha1-80` `hmac-sha1-32` `null` |
//! | `mki` | GstBuffer | the key's identifier, where packets carry one |
//! | `srtp-key2` `mki2` … `srtp-key16` `mki16` | GstBuffer | more keys, with identifiers of the same length |
//! | `ssrc` `roc` | uint | rollover counter, of that source or of any |
//!
//! None of the four names has a default: who gives a key says what for, and so a NULL cipher is there only when somebody
//! wrote `null`.

use std::str::FromStr;

use gst::glib;
use gst::prelude::*;
use siprec_media::srtp::{Authentication, CallKey, Cipher, Policy, PolicyFault};
use siprec_model::{Component, KeyFault, SrtpKey, SrtpSuite};
use siprec_sip::sdp::{Crypto, CryptoFault};
use zeroize::Zeroizing;

use crate::format::SRTP;
use crate::packet::with_bytes;

/// Most keys of one caps (`SRTP_MAX_NUM_MASTER_KEYS` of libsrtp).
const MOST_KEYS: usize = 16;

/// The keys that caps name, and what they are for. The bytes are overwritten when it goes, and it has no `Debug`.
pub(crate) struct CallKeys {
    /// At least one; several have identifiers of one length.
    pub(crate) keys: Vec<SrtpKey>,
    /// What they protect, and how.
    pub(crate) policy: Policy,
    /// The source that the caps speak of.
    pub(crate) ssrc: Option<u32>,
    /// The rollover counter, of that source, else of every source that nothing is known of.
    pub(crate) roc: Option<u32>,
    /// The field of the first key that is not taken, since there are too many.
    pub(crate) excess: Option<String>,
}

impl CallKeys {
    /// Each key by itself, with all that the caps say of it.
    pub(crate) fn into_keys(self) -> impl Iterator<Item = CallKey> {
        let Self { keys, policy, ssrc, roc, .. } = self;
        keys.into_iter().map(move |key| CallKey { key, policy, roc, ssrc })
    }

    /// Which keys are not taken, if any.
    pub(crate) fn excess_in_words(&self) -> Option<String> {
        let field = self.excess.as_ref()?;
        Some(format!("there are more than {MOST_KEYS} keys: \"{field}\" and those after it are not taken"))
    }
}

/// Why caps name no key that can be used. Never shows a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CapsFault {
    /// A field that goes with `srtp-key` is not there.
    #[error("the caps have \"srtp-key\" and lack \"{0}\"")]
    Missing(String),
    /// A field is of another type.
    #[error("the caps' \"{field}\" is of type {found}, not {wanted}")]
    Type {
        /// Its name.
        field: String,
        /// Of the value.
        found: &'static str,
        /// What is read.
        wanted: &'static str,
    },
    /// A name that nobody knows.
    #[error("the caps' \"{field}\" is \"{found}\", not one of {known}")]
    Name {
        /// The field's.
        field: &'static str,
        /// As written, its beginning.
        found: String,
        /// The known ones.
        known: &'static str,
    },
    /// A key or identifier of another length.
    #[error("the caps' \"{field}\" does not fit: {fault}")]
    Key {
        /// Its name.
        field: String,
        /// Both lengths.
        fault: KeyFault,
    },
    /// Identifiers of several lengths could not be told apart.
    #[error("the caps' \"{field}\" has {found} bytes, and \"mki\" has {wanted}: they must be of one length")]
    MkiLength {
        /// Its name.
        field: String,
        /// Of this one.
        found: usize,
        /// Of the first.
        wanted: usize,
    },
    /// Each name is known, and together they are nothing.
    #[error("the caps' ciphers and authentications do not go together: {}", in_fields(*.0))]
    Policy(PolicyFault),
    /// All is `null`.
    #[error(
        "the caps say application/x-srtp with neither encryption nor authentication; plain RTP is application/x-rtp"
    )]
    Plain,
}

/// Reads the keys of `application/x-srtp` caps. `None` where they have no `srtp-key`: then somebody is to be asked.
///
/// # Errors
/// [`CapsFault`] names the field and what is wrong with it.
pub(crate) fn from_caps(caps: &gst::CapsRef) -> Result<Option<CallKeys>, CapsFault> {
    let Some(fields) = caps.structure(0).filter(|fields| fields.name() == SRTP).map(Fields) else {
        return Ok(None);
    };
    let master = fields.bytes("srtp-key")?;
    let Some(policy) = fields.policy(master.is_some())? else { return Ok(None) };
    let Some(master) = master else { return Ok(None) };
    let suite = policy.key_suite();
    let mki = fields.bytes("mki")?;
    let mut keys = vec![key(suite, ("srtp-key", &master), mki.as_ref().map(|mki| ("mki", mki.as_slice())))?];
    let more = 2..=MOST_KEYS;
    for number in more {
        let (key_field, mki_field) = (format!("srtp-key{number}"), format!("mki{number}"));
        let Some(master) = fields.bytes(&key_field)? else { break };
        let first = mki.as_ref().ok_or(CapsFault::Missing("mki".to_owned()))?;
        let own = fields.bytes(&mki_field)?.ok_or_else(|| CapsFault::Missing(mki_field.clone()))?;
        if own.len() != first.len() {
            return Err(CapsFault::MkiLength { field: mki_field, found: own.len(), wanted: first.len() });
        }
        keys.push(key(suite, (&key_field, &master), Some((&mki_field, &own)))?);
    }
    let next = format!("srtp-key{}", MOST_KEYS + 1);
    let excess = (keys.len() == MOST_KEYS && fields.value(&next).is_some()).then_some(next);
    Ok(Some(CallKeys { keys, policy, ssrc: fields.number("ssrc")?, roc: fields.number("roc")?, excess }))
}

/// A fault in the words of the caps' fields.
fn in_fields(fault: PolicyFault) -> String {
    match fault {
        PolicyFault::Plain => fault.to_string(),
        PolicyFault::Ciphers { rtp, rtcp } => {
            format!(
                "\"srtp-cipher\" is \"{rtp}\" and \"srtcp-cipher\" is \"{rtcp}\", which cannot share a key"
            )
        }
        PolicyFault::Twice { of, cipher, authentication } => {
            let of = match of {
                Component::Rtp => "srtp",
                Component::Rtcp => "srtcp",
            };
            format!(
                "\"{of}-cipher\" is \"{cipher}\", which authenticates by itself, so \"{of}-auth\" must be \"null\", \
                 not \"{authentication}\""
            )
        }
        PolicyFault::UnauthenticatedRtcp(cipher) => format!(
            "\"srtcp-auth\" is \"null\", and SRTCP must be authenticated where \"srtcp-cipher\" is \"{cipher}\" \
             (RFC 3711 §3.4); \"srtp-auth\" alone may be \"null\""
        ),
    }
}

/// What caps lack that give no key by [`from_caps`], in words.
pub(crate) fn keyless(caps: &gst::CapsRef) -> String {
    match caps.structure(0).map(gst::StructureRef::name) {
        Some(name) if name.as_str() == SRTP => "have no \"srtp-key\"".to_owned(),
        Some(name) => format!("are {name}, not {SRTP}"),
        None => "are empty".to_owned(),
    }
}

/// Turns the `a=crypto` line of a party's session description into the caps that `srtpdec`'s `request-key` returns:
/// the keys that this party sends under. The line may stand with or without `a=crypto:`.
///
/// The caps hold the key, which is overwritten when the last reference to them goes. They are for `request-key`: what
/// is set on a pad is printed by DOT graphs and by `gst-launch-1.0 -v`.
///
/// # Errors
/// Why the line cannot be used, without its key.
pub fn caps_of_crypto(line: &str) -> Result<gst::Caps, CryptoFault> {
    let value = line.trim();
    let value = value.strip_prefix("a=").unwrap_or(value);
    let crypto = Crypto::parse(value.strip_prefix("crypto:").unwrap_or(value))?;
    let mut caps = gst::Structure::builder(SRTP);
    for (field, name) in names(crypto.suite()) {
        caps = caps.field(field, name);
    }
    for (place, key) in crypto.keys().iter().enumerate() {
        let field = |name: &str| if place == 0 { name.to_owned() } else { format!("{name}{}", place + 1) };
        caps = caps.field(field("srtp-key"), buffer(key.master()));
        if let Some(mki) = key.mki() {
            caps = caps.field(field("mki"), buffer(mki));
        }
    }
    Ok(gst::Caps::builder_full().structure(caps.build()).build())
}

/// The caps fields that name a suite.
pub(crate) fn names(suite: SrtpSuite) -> [(&'static str, &'static str); 4] {
    let (cipher, rtp, rtcp) = match suite {
        SrtpSuite::AesCm128HmacSha1_80 => ("aes-128-icm", "hmac-sha1-80", "hmac-sha1-80"),
        SrtpSuite::AesCm128HmacSha1_32 => ("aes-128-icm", "hmac-sha1-32", "hmac-sha1-80"),
        SrtpSuite::AesCm256HmacSha1_80 => ("aes-256-icm", "hmac-sha1-80", "hmac-sha1-80"),
        SrtpSuite::AeadAes128Gcm => ("aes-128-gcm", "null", "null"),
        SrtpSuite::AeadAes256Gcm => ("aes-256-gcm", "null", "null"),
    };
    [("srtp-cipher", cipher), ("srtp-auth", rtp), ("srtcp-cipher", cipher), ("srtcp-auth", rtcp)]
}

/// The signal that asks an application for the keys of a source.
pub(crate) const REQUEST_KEY: &str = "request-key";

/// The signal `request-key(pad, ssrc) → caps` of both elements. Its caps are those of `srtpdec`'s.
pub(crate) fn request_key_signal() -> glib::subclass::Signal {
    glib::subclass::Signal::builder(REQUEST_KEY)
        .run_last()
        .param_types([gst::Pad::static_type(), u32::static_type()])
        .return_type::<Option<gst::Caps>>()
        .build()
}

/// The action `remove-key(ssrc)` of both elements.
pub(crate) fn remove_key_action(remove: fn(&gst::Element, u32)) -> glib::subclass::Signal {
    glib::subclass::Signal::builder("remove-key")
        .action()
        .run_last()
        .param_types([u32::static_type()])
        .class_handler(move |arguments| {
            let element = arguments.first()?.get::<gst::Element>().ok()?;
            remove(&element, arguments.get(1)?.get().ok()?);
            None
        })
        .build()
}

/// The action `renew-keys()` of both elements.
pub(crate) fn renew_keys_action(renew: fn(&gst::Element)) -> glib::subclass::Signal {
    glib::subclass::Signal::builder("renew-keys")
        .action()
        .run_last()
        .class_handler(move |arguments| {
            renew(&arguments.first()?.get::<gst::Element>().ok()?);
            None
        })
        .build()
}

/// The action `crypto-caps(line) → caps` of both elements: [`caps_of_crypto`] for applications that are not in Rust.
/// NULL for a line that cannot be used, and the log says why.
pub(crate) fn crypto_caps_action() -> glib::subclass::Signal {
    glib::subclass::Signal::builder("crypto-caps")
        .action()
        .run_last()
        .param_types([String::static_type()])
        .return_type::<Option<gst::Caps>>()
        .class_handler(|arguments| {
            let line = arguments.get(1).and_then(|line| line.get::<Option<&str>>().ok()).flatten();
            let caps = caps_of_crypto(line.unwrap_or_default());
            let element = arguments.first().and_then(|element| element.get::<gst::Element>().ok());
            if let (Err(fault), Some(element)) = (&caps, element) {
                gst::warning!(crate::CAT, obj = element, "no caps of this line: {fault}");
            }
            Some(caps.ok().to_value())
        })
        .build()
}

/// The fields of `application/x-srtp`.
struct Fields<'a>(&'a gst::StructureRef);

impl Fields<'_> {
    /// What protects the packets, where there is a key for it.
    fn policy(&self, has_key: bool) -> Result<Option<Policy>, CapsFault> {
        let rtp = (self.cipher("srtp-cipher")?, self.authentication("srtp-auth")?);
        let rtcp = (self.cipher("srtcp-cipher")?, self.authentication("srtcp-auth")?);
        let ((Some(cipher), Some(auth)), (Some(rtcp_cipher), Some(rtcp_auth))) = (rtp, rtcp) else {
            let is_absent = |field: &&str| self.value(field).is_none();
            let absent =
                ["srtp-cipher", "srtp-auth", "srtcp-cipher", "srtcp-auth"].into_iter().find(is_absent);
            return match absent {
                Some(field) if has_key => Err(CapsFault::Missing(field.to_owned())),
                _ => Ok(None),
            };
        };
        match Policy::new((cipher, auth), (rtcp_cipher, rtcp_auth)) {
            Ok(policy) => Ok(has_key.then_some(policy)),
            Err(PolicyFault::Plain) => Err(CapsFault::Plain),
            Err(fault) => Err(CapsFault::Policy(fault)),
        }
    }

    fn cipher(&self, field: &'static str) -> Result<Option<Cipher>, CapsFault> {
        self.named(field, "aes-128-icm, aes-256-icm, aes-128-gcm, aes-256-gcm, null")
    }

    fn authentication(&self, field: &'static str) -> Result<Option<Authentication>, CapsFault> {
        self.named(field, "hmac-sha1-80, hmac-sha1-32, null")
    }

    /// A name, as a text or as a value of the enumeration that `srtpenc` has for it.
    fn named<T: FromStr>(&self, field: &'static str, known: &'static str) -> Result<Option<T>, CapsFault> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let name = match glib::EnumValue::from_value(value) {
            Some((_, chosen)) => chosen.nick().to_owned(),
            None => typed::<String>(field, value, "a text")?,
        };
        name.parse().map(Some).map_err(|_| {
            // A key that stands in the wrong field is longer.
            CapsFault::Name { field, found: name.chars().take(16).collect(), known }
        })
    }

    fn number(&self, field: &'static str) -> Result<Option<u32>, CapsFault> {
        self.value(field).map(|value| typed(field, value, "guint")).transpose()
    }

    /// The bytes of a buffer; one that is NULL is not there.
    fn bytes(&self, field: &str) -> Result<Option<Zeroizing<Vec<u8>>>, CapsFault> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let buffer = typed::<Option<gst::Buffer>>(field, value, "GstBuffer")?;
        Ok(buffer.as_deref().map(secret))
    }

    fn value(&self, field: &str) -> Option<&glib::Value> {
        self.0.value(field).ok().map(|value| &**value)
    }
}

fn typed<'a, T: glib::value::FromValue<'a>>(
    field: &str,
    value: &'a glib::Value,
    wanted: &'static str,
) -> Result<T, CapsFault> {
    value.get().map_err(|_| CapsFault::Type { field: field.to_owned(), found: value.type_().name(), wanted })
}

fn key(suite: SrtpSuite, master: (&str, &[u8]), mki: Option<(&str, &[u8])>) -> Result<SrtpKey, CapsFault> {
    let fault = |field: &str, fault| CapsFault::Key { field: field.to_owned(), fault };
    let key = SrtpKey::new(suite, master.1).map_err(|found| fault(master.0, found))?;
    match mki {
        Some((field, mki)) => key.with_mki(mki).map_err(|found| fault(field, found)),
        None => Ok(key),
    }
}

/// A copy of a buffer's bytes that is overwritten when it goes; none of an empty buffer.
pub(crate) fn secret(buffer: &gst::BufferRef) -> Zeroizing<Vec<u8>> {
    // What grows leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(buffer.size()));
    let _ = with_bytes(buffer, |parts| parts.iter().for_each(|part| bytes.extend_from_slice(part)));
    bytes
}

/// Bytes that are overwritten when the last reference goes.
fn buffer(bytes: &[u8]) -> gst::Buffer {
    gst::Buffer::from_slice(Zeroizing::new(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["srtp-cipher", "srtp-auth", "srtcp-cipher", "srtcp-auth"];

    /// Caps of a suite, with a key of `length` bytes.
    fn fields(suite: SrtpSuite, length: usize) -> gst::Structure {
        gst::init().unwrap();
        let mut fields = gst::Structure::new_empty(SRTP);
        for (field, name) in names(suite) {
            fields.set(field, name);
        }
        fields.set("srtp-key", buffer(&vec![7; length]));
        fields
    }

    fn read(fields: gst::Structure) -> Result<Option<CallKeys>, CapsFault> {
        from_caps(&gst::Caps::builder_full().structure(fields).build())
    }

    fn fault(fields: gst::Structure) -> String {
        match read(fields) {
            Err(fault) => fault.to_string(),
            Ok(_) => panic!("there is no fault"),
        }
    }

    #[test]
    fn the_caps_of_every_suite_are_that_suite() {
        for suite in SrtpSuite::ALL {
            let read = read(fields(suite, suite.master_length())).unwrap().unwrap();
            let [key] = &read.keys[..] else { panic!("{} keys", read.keys.len()) };
            assert_eq!((key.suite(), key.mki(), read.policy), (suite, None, Policy::from(suite)));
            assert_eq!(
                (key.master(), read.ssrc, read.roc),
                (&vec![7; suite.master_length()][..], None, None)
            );
        }
    }

    #[test]
    fn a_key_of_another_length_is_told_with_both_lengths() {
        for suite in SrtpSuite::ALL {
            let wanted = suite.master_length();
            for length in [0, 1, wanted - 1, wanted + 1] {
                let fault = fault(fields(suite, length));
                assert!(fault.contains("\"srtp-key\""), "{fault}");
                assert!(
                    fault.contains(&format!("has {wanted} bytes with its salt, not {length}")),
                    "{fault}"
                );
            }
        }
    }

    #[test]
    fn each_of_the_four_names_is_needed_and_is_a_known_one() {
        for field in NAMES {
            let suite = SrtpSuite::AesCm128HmacSha1_80;
            let mut without = fields(suite, 30);
            without.remove_field(field);
            assert_eq!(fault(without), format!("the caps have \"srtp-key\" and lack \"{field}\""));
            let mut unknown = fields(suite, 30);
            unknown.set(field, "aes-192-icm and more");
            let fault_of = fault(unknown);
            assert!(
                fault_of.starts_with(&format!("the caps' \"{field}\" is \"aes-192-icm and \", not")),
                "{fault_of}"
            );
            let mut number = fields(suite, 30);
            number.set(field, 1);
            assert_eq!(fault(number), format!("the caps' \"{field}\" is of type gint, not a text"));
        }
    }

    #[test]
    fn names_may_be_those_of_an_enumeration() {
        gst::init().unwrap();
        // Which brings the types.
        gst::ElementFactory::make("srtpenc").build().unwrap();
        let text = "application/x-srtp,srtp-cipher=(GstSrtpCipherType)aes-128-icm,srtp-auth=(GstSrtpAuthType)hmac-sha1-32,\
                    srtcp-cipher=(GstSrtpCipherType)aes-128-icm,srtcp-auth=(GstSrtpAuthType)hmac-sha1-80";
        let mut caps = gst::Structure::from_str(text).unwrap();
        caps.set("srtp-key", buffer(&[7; 30]));
        assert_eq!(read(caps).unwrap().unwrap().policy, Policy::from(SrtpSuite::AesCm128HmacSha1_32));
    }

    #[test]
    fn fields_of_another_type_are_named() {
        for (field, wanted) in
            [("srtp-key", "GstBuffer"), ("mki", "GstBuffer"), ("roc", "guint"), ("ssrc", "guint")]
        {
            let mut caps = fields(SrtpSuite::AeadAes128Gcm, 28);
            caps.set(field, "1");
            assert_eq!(fault(caps), format!("the caps' \"{field}\" is of type gchararray, not {wanted}"));
        }
    }

    #[test]
    fn without_a_key_somebody_is_to_be_asked() {
        let mut named = fields(SrtpSuite::AeadAes128Gcm, 28);
        named.remove_field("srtp-key");
        let mut null = named.clone();
        null.set("srtp-key", None::<gst::Buffer>);
        for caps in [gst::Structure::new_empty(SRTP), named, null] {
            assert!(read(caps).unwrap().is_none());
        }
        assert!(from_caps(&gst::Caps::new_empty()).unwrap().is_none());
        let mut plain = fields(SrtpSuite::AeadAes128Gcm, 28);
        plain.set_name("application/x-rtp");
        assert!(read(plain).unwrap().is_none());
    }

    #[test]
    fn a_null_cipher_is_one_that_somebody_wrote() {
        let mut caps = fields(SrtpSuite::AesCm128HmacSha1_80, 30);
        caps.set("srtp-cipher", "null");
        let read_null = read(caps.clone()).unwrap().unwrap();
        assert_ne!(read_null.policy, Policy::from(SrtpSuite::AesCm128HmacSha1_80));
        NAMES.iter().for_each(|field| caps.set(*field, "null"));
        assert!(fault(caps.clone()).contains("neither encryption nor authentication"));
        caps.remove_field("srtp-key");
        assert!(fault(caps).contains("neither encryption nor authentication"));
    }

    #[test]
    fn names_that_do_not_go_together_are_refused() {
        for (field, name) in
            [("srtcp-auth", "null"), ("srtcp-cipher", "aes-256-icm"), ("srtp-cipher", "aes-128-gcm")]
        {
            let mut caps = fields(SrtpSuite::AesCm128HmacSha1_80, 30);
            caps.set(field, name);
            assert!(fault(caps).starts_with("the caps' ciphers and authentications do not go together: "));
        }
    }

    #[test]
    fn several_keys_have_identifiers_of_one_length() {
        let suite = SrtpSuite::AeadAes256Gcm;
        let with = |more: &[(&str, usize)]| {
            let mut caps = fields(suite, 44);
            more.iter().for_each(|(field, length)| caps.set(*field, buffer(&vec![9; *length])));
            caps
        };
        let pair = [("mki", 2), ("srtp-key2", 44), ("mki2", 2)];
        let keys = read(with(&pair)).unwrap().unwrap().keys;
        assert_eq!(keys.iter().map(|key| key.mki().unwrap().len()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(keys[1].master(), [9; 44]);
        let lack = |field: &str| format!("the caps have \"srtp-key\" and lack \"{field}\"");
        assert_eq!(fault(with(&pair[1..])), lack("mki"));
        assert_eq!(fault(with(&pair[..2])), lack("mki2"));
        assert!(
            fault(with(&[pair[0], pair[1], ("mki2", 3)])).contains("\"mki2\" has 3 bytes, and \"mki\" has 2")
        );
        assert!(fault(with(&[pair[0], ("srtp-key2", 43), pair[2]])).contains("\"srtp-key2\" does not fit"));
        for length in [0, 129] {
            assert!(fault(with(&[("mki", length)])).contains("\"mki\" does not fit"));
        }
        let all: Vec<_> =
            (2..=20).flat_map(|n| [(format!("srtp-key{n}"), 44), (format!("mki{n}"), 2)]).collect();
        let mut caps = with(&pair[..1]);
        all.iter().for_each(|(field, length)| caps.set(field.as_str(), buffer(&vec![9; *length])));
        let read_all = read(caps.clone()).unwrap().unwrap();
        assert_eq!((read_all.keys.len(), read_all.excess.as_deref()), (MOST_KEYS, Some("srtp-key17")));
        assert!(read_all.excess_in_words().unwrap().contains("\"srtp-key17\""));
        caps.remove_field("srtp-key17");
        assert_eq!(read(caps).unwrap().unwrap().excess_in_words(), None);
    }

    #[test]
    fn a_rollover_counter_may_be_of_one_source() {
        let mut caps = fields(SrtpSuite::AeadAes128Gcm, 28);
        caps.set("roc", 5_u32);
        caps.set("ssrc", u32::MAX);
        let read = read(caps).unwrap().unwrap();
        assert_eq!((read.roc, read.ssrc), (Some(5), Some(u32::MAX)));
    }

    #[test]
    fn the_lines_of_a_session_description_become_the_keys_in_them() {
        gst::init().unwrap();
        for suite in SrtpSuite::ALL {
            let master: Vec<u8> = (0..suite.master_length()).map(|byte| byte as u8 ^ 0x5A).collect();
            let key = SrtpKey::new(suite, &master).unwrap();
            let value = Crypto::new(1, key.clone()).to_value();
            for line in [value.to_string(), format!("crypto:{}", *value), format!("a=crypto:{}\r\n", *value)]
            {
                let read = from_caps(&caps_of_crypto(&line).unwrap()).unwrap().unwrap();
                assert!(read.keys == [key.clone()] && read.policy == Policy::from(suite), "{suite}");
            }
        }
        let two = "1 AEAD_AES_128_GCM inline:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==|1:4;\
                   inline:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQ==|2:4";
        let read = from_caps(&caps_of_crypto(two).unwrap()).unwrap().unwrap();
        let keys: Vec<_> = read.keys.iter().map(|key| (key.master()[0], key.mki().unwrap()[3])).collect();
        assert_eq!(keys, [(7, 1), (9, 2)]);
    }

    #[test]
    fn a_line_that_cannot_be_used_says_why() {
        gst::init().unwrap();
        for (line, reason) in [
            ("", "no tag"),
            ("a=rtpmap:0 PCMU/8000", "no tag"),
            ("a=crypto:1 F8_128_HMAC_SHA1_80 inline:a", "not known"),
            ("a=crypto:1 AEAD_AES_128_GCM inline:BwcH", "has 28 bytes with its salt, not 3"),
        ] {
            let fault = caps_of_crypto(line).unwrap_err().to_string();
            assert!(fault.contains(reason), "{line}: {fault}");
        }
    }
}
