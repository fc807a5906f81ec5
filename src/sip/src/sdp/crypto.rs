//! `a=crypto`: the keys of SRTP in a session description (RFC 4568).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use siprec_model::{KeyFault, SrtpKey, SrtpSuite};
use zeroize::Zeroizing;

use super::{MediaBuilder, MediaView};
use crate::syntax;

/// The transport of an m-line with keys in it.
pub const SAVP: &str = "RTP/SAVP";

/// Most keys of one line.
const MOST_KEYS: usize = 16;

/// Most packets under one key, RTP (RFC 3711 §9.2).
const MOST_PACKETS: u64 = 1 << 48;

/// The shortest window against replay (RFC 3711 §3.3.2).
const SHORTEST_WINDOW: u64 = 64;

/// Written with padding; read with and without, since both are found.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// One `a=crypto` line: a suite and the keys that its writer sends under. `Debug` shows no byte of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    tag: u32,
    suite: SrtpSuite,
    keys: Vec<SrtpKey>,
    /// Of each key.
    lifetimes: Vec<Option<u64>>,
}

/// Why a line cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoFault {
    /// It does not begin with a tag: a number of at most nine digits.
    #[error("a line a=crypto has no tag")]
    Tag,
    /// A part is missing, or is no text of that kind.
    #[error("a=crypto:{tag}: {what}")]
    Malformed {
        /// The line's tag.
        tag: u32,
        /// What is wrong. Never shows a key.
        what: &'static str,
    },
    /// The suite is not known.
    #[error("a=crypto:{tag}: the suite {suite:?} is not known")]
    Suite {
        /// The line's tag.
        tag: u32,
        /// As written, but for what may be a key.
        suite: String,
    },
    /// A key does not fit.
    #[error("a=crypto:{tag}: {fault}")]
    Key {
        /// The line's tag.
        tag: u32,
        /// Why.
        fault: KeyFault,
    },
    /// A session parameter that changes the packets in a way that we do not follow (RFC 4568 §6.3).
    #[error("a=crypto:{tag}: the session parameter {parameter:?} is not supported")]
    Parameter {
        /// The line's tag.
        tag: u32,
        /// As written, but for what may be a key.
        parameter: String,
    },
}

impl Crypto {
    /// A line with one key, to be offered or answered.
    pub fn new(tag: u32, key: SrtpKey) -> Self {
        Self { tag, suite: key.suite(), keys: vec![key], lifetimes: vec![None] }
    }

    /// Reads the value of an attribute `crypto`.
    ///
    /// # Errors
    /// Why the line cannot be used. Others of the same m-line may be (RFC 4568 §5.1.2).
    pub fn parse(value: &str) -> Result<Self, CryptoFault> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|word| (1..=9).contains(&word.len())).ok_or(CryptoFault::Tag)?;
        let tag: u32 = number(tag).ok_or(CryptoFault::Tag)?;
        let malformed = |what| CryptoFault::Malformed { tag, what };
        let name = words.next().ok_or(malformed("there is no suite"))?;
        let suite = name.parse().map_err(|_| CryptoFault::Suite { tag, suite: shown(name) })?;
        let params = words.next().ok_or(malformed("there is no key"))?;
        let mut line = Self { tag, suite, keys: Vec::new(), lifetimes: Vec::new() };
        for param in params.split(';') {
            line.add_key(param)?;
        }
        let mut mkis: Vec<_> = line.keys.iter().map(SrtpKey::mki).collect();
        mkis.sort_unstable();
        mkis.dedup();
        if mkis.len() < line.keys.len() {
            return Err(malformed("several keys need identifiers of their own"));
        }
        if line.keys.windows(2).any(|pair| match pair {
            [a, b] => a.mki().map(<[u8]>::len) != b.mki().map(<[u8]>::len),
            _ => false,
        }) {
            return Err(malformed("the keys' identifiers are not of one length"));
        }
        match words.find(|parameter| forbids(parameter)) {
            Some(parameter) => Err(CryptoFault::Parameter { tag, parameter: shown(parameter) }),
            None => Ok(line),
        }
    }

    /// Which of the lines of its m-line it is; an answer repeats it.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// The suite.
    pub fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// The keys, at least one; several have identifiers of one length.
    pub fn keys(&self) -> &[SrtpKey] {
        &self.keys
    }

    /// How many packets of RTP, and how many of RTCP, its writer may send under any of the keys, where that is said: 1 to
    /// 2^48. Of several lifetimes the shortest.
    pub fn lifetime(&self) -> Option<u64> {
        self.lifetimes.iter().flatten().min().copied()
    }

    /// The same with this lifetime for each key: 1 to 2^48, or the suite's own, 2^48 of RTP and 2^31 of RTCP.
    #[must_use]
    pub fn with_lifetime(mut self, packets: Option<u64>) -> Self {
        let packets = packets.map(|packets| packets.clamp(1, MOST_PACKETS));
        self.lifetimes.fill(packets);
        self
    }

    /// The value of the attribute, which is overwritten when it goes.
    pub fn to_value(&self) -> Zeroizing<String> {
        let mut value = Zeroizing::new(String::with_capacity(80 + 300 * self.keys.len()));
        value.push_str(&format!("{} {} ", self.tag, self.suite));
        for (index, (key, lifetime)) in self.keys.iter().zip(&self.lifetimes).enumerate() {
            value.push_str(if index == 0 { "inline:" } else { ";inline:" });
            BASE64.encode_string(key.master(), &mut value);
            if let Some(lifetime) = lifetime {
                value.push_str(&format!("|{lifetime}"));
            }
            if let Some(mki) = key.mki() {
                value.push_str(&format!("|{}:{}", decimal(mki), mki.len()));
            }
        }
        value
    }

    /// `inline:` key and salt in base64, then `|lifetime` and `|mki:length`, each where it is there (RFC 4568 §6.1).
    fn add_key(&mut self, param: &str) -> Result<(), CryptoFault> {
        let tag = self.tag;
        let malformed = |what| CryptoFault::Malformed { tag, what };
        if self.keys.len() == MOST_KEYS {
            return Err(malformed("there are more than 16 keys"));
        }
        let (method, info) = param.split_once(':').ok_or(malformed("there is no key method"))?;
        if !method.eq_ignore_ascii_case("inline") {
            return Err(malformed("the key method is not \"inline\""));
        }
        let mut parts = info.split('|');
        let text = parts.next().unwrap_or_default();
        let master = BASE64.decode(text).map_err(|_| malformed("the key is not in base64"))?;
        let key = SrtpKey::new(self.suite, &Zeroizing::new(master));
        let mut key = key.map_err(|fault| CryptoFault::Key { tag, fault })?;
        let mut life = None;
        for part in parts {
            match part.split_once(':') {
                Some(_) if key.mki().is_some() => return Err(malformed("a key has two identifiers")),
                Some((value, length)) => {
                    let length = number(length);
                    let length = length.ok_or(malformed("the length of an identifier is no number"))?;
                    let mki = bytes(value, length)
                        .ok_or(malformed("an identifier does not fit into its length"))?;
                    key = key.with_mki(&mki).map_err(|fault| CryptoFault::Key { tag, fault })?;
                }
                None if life.is_some() => return Err(malformed("a key has two lifetimes")),
                None if key.mki().is_some() => {
                    return Err(malformed("a lifetime stands before an identifier, not behind it"));
                }
                None => {
                    life = lifetime(part).filter(|packets| (1..=MOST_PACKETS).contains(packets));
                    life.ok_or(malformed("the lifetime is not 1 to 2^48 packets"))?;
                }
            }
        }
        self.lifetimes.push(life);
        self.keys.push(key);
        Ok(())
    }
}

/// Whether a session parameter forbids its line. What only hints (`WSH`, whose window is 64 at least, RFC 4568 §6.3.6), and what
/// may be ignored (§6.3.7), does not; what would change the packets does, and so does what nobody knows.
fn forbids(parameter: &str) -> bool {
    match parameter.split_once('=') {
        Some((name, window)) if name.eq_ignore_ascii_case("WSH") => {
            number::<u64>(window).is_none_or(|window| window < SHORTEST_WINDOW)
        }
        _ => !parameter.starts_with('-'),
    }
}

/// A word of a line as faults may show it: what follows a colon may be a key (`FEC_KEY=inline:…`, RFC 4568 §6.3.5), and
/// so may a long word that stands where it should not.
fn shown(word: &str) -> String {
    const SHORTEST_KEY: usize = 36;
    match word.split_once(':') {
        Some((name, _)) => shown(name) + ":…",
        None if word.len() >= SHORTEST_KEY => "…".to_owned(),
        None => word.to_owned(),
    }
}

impl MediaView<'_> {
    /// The keys of the m-line, each or why it cannot be used. A session-level line has no meaning (RFC 4568 §4).
    pub fn cryptos(&self) -> impl Iterator<Item = Result<Crypto, CryptoFault>> {
        self.own_values("crypto").map(Crypto::parse)
    }

    /// Whether its transport is one with keys: `RTP/SAVP` or `RTP/SAVPF`.
    pub fn is_secured(&self) -> bool {
        [SAVP, "RTP/SAVPF"].iter().any(|secured| self.proto().eq_ignore_ascii_case(secured))
    }
}

impl MediaBuilder {
    /// Adds a line with keys.
    #[must_use]
    pub fn crypto(self, crypto: &Crypto) -> Self {
        self.attribute("crypto", &crypto.to_value())
    }
}

/// `2^n` or a number, in packets.
fn lifetime(text: &str) -> Option<u64> {
    match text.split_once('^') {
        Some(("2", exponent)) => 1_u64.checked_shl(number(exponent)?),
        Some(_) => None,
        None => number(text),
    }
}

/// Digits, and nothing else.
fn number<T: FromStr>(text: &str) -> Option<T> {
    syntax::decimal(text.as_bytes())
}

/// An identifier, big-endian, of so many bytes; its text is a decimal number (RFC 4568 §6.1).
fn bytes(value: &str, length: usize) -> Option<Vec<u8>> {
    if value.is_empty() || !value.bytes().all(|digit| digit.is_ascii_digit()) || value.len() > 310 {
        return None;
    }
    if length > siprec_model::LONGEST_MKI {
        return None;
    }
    let mut out = vec![0_u8; length];
    for digit in value.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in out.iter_mut().rev() {
            let next = u32::from(*byte) * 10 + carry;
            *byte = (next & 0xFF) as u8;
            carry = next >> 8;
        }
        if carry > 0 {
            return None;
        }
    }
    Some(out)
}

/// The number that these bytes are, in decimal.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = vec![0_u8];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let next = u32::from(*digit) * 256 + carry;
            *digit = (next % 10) as u8;
            carry = next / 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

impl fmt::Display for Crypto {
    /// Without its keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tag, self.suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4568 §9.2's example.
    const EXAMPLE: &str =
        "1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32";

    fn fault(value: &str) -> String {
        Crypto::parse(value).unwrap_err().to_string()
    }

    #[test]
    fn a_line_of_the_rfc_is_read_and_written_as_it_was() {
        let line = Crypto::parse(EXAMPLE).unwrap();
        assert_eq!(
            (line.tag(), line.suite(), line.lifetime()),
            (1, SrtpSuite::AesCm128HmacSha1_80, Some(1 << 20))
        );
        let [key] = line.keys() else { panic!("{line}") };
        assert_eq!(key.master(), b"=-n@%^x!Bjufr9)?,#5h\\`=&]{qiPQ".as_slice());
        assert_eq!(key.mki().unwrap().iter().rev().position(|byte| *byte == 1), Some(0));
        assert_eq!(key.mki().unwrap().len(), 32);
        assert_eq!(Crypto::parse(&line.to_value()).unwrap(), line);
    }

    #[test]
    fn every_suite_comes_back_as_it_was_written_with_and_without_padding() {
        for suite in SrtpSuite::ALL {
            let master: Vec<u8> = (0..suite.master_length()).map(|byte| byte as u8 ^ 0x5A).collect();
            let line = Crypto::new(7, SrtpKey::new(suite, &master).unwrap());
            let value = line.to_value();
            assert!(value.starts_with(&format!("7 {suite} inline:")), "{}", *value);
            assert_eq!(Crypto::parse(&value).unwrap(), line);
            assert_eq!(Crypto::parse(value.trim_end_matches('=')).unwrap(), line);
        }
    }

    #[test]
    fn several_keys_are_told_apart_by_identifiers_of_one_length() {
        let key = |byte: u8| BASE64.encode([byte; 30]);
        let line = |first: &str, second: &str| {
            format!("1 AES_CM_128_HMAC_SHA1_32 inline:{}{first};inline:{}{second}", key(1), key(2))
        };
        let both = Crypto::parse(&line("|2^31|1:4", "|2^31|2:4")).unwrap();
        assert_eq!(both.keys().iter().map(|key| key.mki().unwrap()[3]).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(Crypto::parse(&both.to_value()).unwrap(), both);
        assert!(fault(&line("", "")).contains("identifiers of their own"));
        assert!(fault(&line("|1:4", "|1:4")).contains("identifiers of their own"));
        assert!(fault(&line("|1:4", "|2:2")).contains("of one length"));
    }

    #[test]
    fn a_lifetime_is_that_of_its_key_and_2_to_48_packets_at_most() {
        let key = |byte: u8| BASE64.encode([byte; 30]);
        let line = |rest: &str| format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}{rest}", key(1));
        let life = |rest: &str| Crypto::parse(&line(rest)).unwrap().lifetime();
        for (rest, packets) in [
            ("", None),
            ("|1", Some(1)),
            ("|1048576", Some(1 << 20)),
            ("|2^20", Some(1 << 20)),
            ("|2^31|1:4", Some(1 << 31)),
            ("|2^48", Some(1 << 48)),
            ("|281474976710656", Some(1 << 48)),
            ("|1:4", None),
        ] {
            assert_eq!(life(rest), packets, "{rest}");
        }
        let two = Crypto::parse(&line(&format!("|2^20|1:1;inline:{}|2^10|2:1", key(2)))).unwrap();
        assert_eq!(two.lifetime(), Some(1 << 10));
        assert_eq!(Crypto::parse(&two.to_value()).unwrap(), two, "each key keeps its own");
        let own = Crypto::new(1, SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[1; 28]).unwrap());
        assert!(!own.to_value().contains('|'), "ours is the suite's own");
        assert_eq!(own.clone().with_lifetime(Some(0)).lifetime(), Some(1));
        assert_eq!(own.with_lifetime(Some(u64::MAX)).lifetime(), Some(1 << 48));
        for rest in
            ["|2^49", "|281474976710657", "|0", "|2^", "|^20", "|3^2", "|+5", "|2^+5", "|", "|-1", "|2^64"]
        {
            assert!(fault(&line(rest)).contains("the lifetime is not 1 to 2^48 packets"), "{rest}");
        }
        assert!(fault(&line("|2^20|2^20")).contains("two lifetimes"));
        assert!(fault(&line("|1:4|2^20")).contains("stands before an identifier"));
    }

    #[test]
    fn an_identifier_has_one_to_128_bytes_and_a_value_that_fits() {
        let line = |rest: &str| format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}|{rest}", BASE64.encode([1; 30]));
        for (rest, length) in [("0:1", 1), ("255:1", 1), ("1:4", 4), ("1:128", 128), ("4294967295:4", 4)] {
            let crypto = Crypto::parse(&line(rest)).unwrap();
            assert_eq!(crypto.keys()[0].mki().unwrap().len(), length, "{rest}");
        }
        for rest in ["256:1", "1:0", "1:129", "4294967296:4", ":4", "x:4", "-1:4", "+1:4"] {
            assert!(fault(&line(rest)).contains("an identifier does not fit into its length"), "{rest}");
        }
        for rest in ["1:", "1:x", "1:+4", "1:4:4"] {
            assert!(fault(&line(rest)).contains("the length of an identifier is no number"), "{rest}");
        }
        assert!(fault(&line("1:4|2:4")).contains("two identifiers"));
    }

    #[test]
    fn what_cannot_be_used_is_named_without_the_key() {
        let secret = BASE64.encode([0x5A; 30]);
        let with = |rest: &str| format!("2 AES_CM_128_HMAC_SHA1_80 inline:{secret}{rest}");
        let cases = [
            (String::new(), "no tag"),
            ("x AES_CM_128_HMAC_SHA1_80 inline:a".to_owned(), "no tag"),
            ("1234567890 AES_CM_128_HMAC_SHA1_80 inline:a".to_owned(), "no tag"),
            ("1".to_owned(), "no suite"),
            ("1 F8_128_HMAC_SHA1_80 inline:a".to_owned(), "\"F8_128_HMAC_SHA1_80\" is not known"),
            ("1 AES_CM_128_HMAC_SHA1_80".to_owned(), "no key"),
            (format!("1 AES_CM_128_HMAC_SHA1_80 uri:{secret}"), "is not \"inline\""),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:!!!".to_owned(), "not in base64"),
            (format!("1 AEAD_AES_128_GCM inline:{secret}"), "has 28 bytes with its salt, not 30"),
            (with("|2^49"), "lifetime"),
            (with("|0"), "lifetime"),
            (with("|2^99999999999"), "lifetime"),
            (with("|256:1"), "does not fit"),
            (with("|1:0"), "does not fit"),
            (with("|1:129"), "does not fit"),
            (with("|1:99999999999999999999"), "no number"),
            ("+1 AES_CM_128_HMAC_SHA1_80 inline:a".to_owned(), "no tag"),
            (with(" KDR=1"), "\"KDR=1\" is not supported"),
            (with(" KDR=0"), "\"KDR=0\" is not supported"),
            (with(" WSH"), "\"WSH\" is not supported"),
            (with(" WSH=63"), "\"WSH=63\" is not supported"),
            (with(" WSH=+64"), "\"WSH=+64\" is not supported"),
            (with(" WSH=64 UNENCRYPTED_SRTP"), "\"UNENCRYPTED_SRTP\" is not supported"),
            (with(" UNKNOWN=1"), "\"UNKNOWN=1\" is not supported"),
            (with(" UNENCRYPTED_SRTP"), "\"UNENCRYPTED_SRTP\" is not supported"),
            (with(" unencrypted_srtcp"), "\"unencrypted_srtcp\" is not supported"),
            (with(" UNAUTHENTICATED_SRTP"), "\"UNAUTHENTICATED_SRTP\" is not supported"),
            (with(" FEC_ORDER=SRTP_FEC"), "\"FEC_ORDER=SRTP_FEC\" is not supported"),
            (with(&format!(" FEC_KEY=inline:{secret}")), "\"FEC_KEY=inline:…\" is not supported"),
            (with(&format!(" inline:{secret}")), "\"inline:…\" is not supported"),
            (with(&format!(" {secret}")), "\"…\" is not supported"),
            (format!("1 inline:{secret} AEAD_AES_128_GCM"), "\"inline:…\" is not known"),
            (format!("1 {secret}"), "\"…\" is not known"),
        ];
        for (value, expected) in cases {
            let fault = fault(&value);
            assert!(fault.contains(expected), "{value}: {fault}");
            assert!(!fault.contains(&secret), "{fault}");
        }
    }

    #[test]
    fn what_says_nothing_of_the_packets_is_passed_over() {
        let secret = BASE64.encode([0x5A; 30]);
        let with = |rest: &str| Crypto::parse(&format!("2 AES_CM_128_HMAC_SHA1_80 inline:{secret} {rest}"));
        let plain = with("").unwrap();
        for parameters in ["WSH=64", "wsh=256 -unknown=1", "-KDR=1", "-", "-UNENCRYPTED_SRTP WSH=1024"] {
            assert_eq!(with(parameters).unwrap(), plain, "{parameters}");
        }
    }

    #[test]
    fn identifiers_are_numbers_of_any_size() {
        for (value, length) in
            [("0", 1), ("255", 1), ("65536", 4), ("340282366920938463463374607431768211455", 16)]
        {
            assert_eq!(decimal(&bytes(value, length).unwrap()), value);
        }
        assert_eq!(bytes("340282366920938463463374607431768211456", 16), None);
    }

    #[test]
    fn no_key_is_shown() {
        let line = Crypto::parse(EXAMPLE).unwrap();
        for shown in [format!("{line:?}"), line.to_string()] {
            assert!(!shown.contains("PS1u") && !shown.contains("61, 45"), "{shown}");
        }
    }
}
