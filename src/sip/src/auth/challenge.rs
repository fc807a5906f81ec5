//! Challenges: `WWW-Authenticate` and `Proxy-Authenticate` (RFC 7616 §3.3), and what `Authentication-Info` says.

use super::digest::{Algorithm, Hash, Protection};
use crate::syntax;

/// Most challenges of one header line that are read.
const MAX_CHALLENGES: usize = 16;
/// Longest realm, nonce or opaque in bytes: they come back in every request, and all must fit a datagram.
const MAX_TEXT: usize = 512;

/// A digest challenge. Texts are as they stand between their quotes: so they are hashed and sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) realm: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) opaque: Option<Vec<u8>>,
    /// The nonce of the request was too old; user and password were not judged.
    pub(super) stale: bool,
    /// How to answer; `None` where that is not known here.
    pub(super) method: Option<Answering>,
}

/// How a challenge is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answering {
    pub(super) algorithm: Algorithm,
    /// Whether the challenge names the algorithm, so that the answer must.
    pub(super) named: bool,
    pub(super) protection: Protection,
}

impl Challenge {
    /// The digest challenges of one header line, in order. RFC 3261 §20.44 puts one in a line; HTTP allows several. One
    /// that is malformed is left out.
    pub(super) fn parse_all(line: &[u8]) -> Vec<Challenge> {
        let mut found = Vec::new();
        let mut current: Option<(bool, Vec<Field<'_>>)> = None;
        for (_, part) in syntax::split_outside(line, b',') {
            let (scheme, field) = cut_scheme(part);
            if let Some(scheme) = scheme {
                found.extend(current.take().and_then(finish));
                if found.len() >= MAX_CHALLENGES {
                    return found;
                }
                current = Some((scheme.eq_ignore_ascii_case(b"Digest"), Vec::new()));
            }
            if let (Some((_, fields)), Some(field)) = (&mut current, Field::parse(field)) {
                fields.push(field);
            }
        }
        found.extend(current.and_then(finish));
        found
    }

    /// Which of two challenges of one realm to answer: the greater one. One that cannot be answered is the least.
    pub(super) fn rank(&self) -> Option<(Hash, bool)> {
        self.method.map(|method| (method.algorithm.hash, !method.algorithm.session))
    }

    fn of(fields: &[Field<'_>]) -> Option<Challenge> {
        let text = |name| value(fields, name).map(|found| found.filter(|text| text.len() <= MAX_TEXT));
        let (realm, nonce) = (text("realm")??.to_vec(), text("nonce")??.to_vec());
        // Too long is not the same as missing.
        let opaque = value(fields, "opaque")?.map(<[u8]>::to_vec);
        if opaque.as_ref().is_some_and(|opaque| opaque.len() > MAX_TEXT) {
            return None;
        }
        let stale = value(fields, "stale")?.is_some_and(|stale| stale.eq_ignore_ascii_case(b"true"));
        let named = value(fields, "algorithm")?;
        let algorithm = match named {
            Some(token) => Algorithm::parse(token),
            None => Some(Algorithm { hash: Hash::Md5, session: false }),
        };
        let protection = protection(value(fields, "qop")?);
        let method = algorithm.zip(protection).map(|(algorithm, protection)| Answering {
            algorithm,
            named: named.is_some(),
            protection,
        });
        // A session needs a nonce of ours, for which RFC 2069 has no place.
        let method =
            method.filter(|method| !(method.algorithm.session && method.protection == Protection::Old));
        Some(Challenge { realm, nonce, opaque, stale, method })
    }
}

/// The nonce to use from now on (RFC 7616 §3.5).
pub(super) fn next_nonce(info: &[u8]) -> Option<Vec<u8>> {
    let fields: Vec<Field<'_>> =
        syntax::split_outside(info, b',').filter_map(|(_, part)| Field::parse(part)).collect();
    let nonce = value(&fields, "nextnonce")??;
    (!nonce.is_empty() && nonce.len() <= MAX_TEXT).then(|| nonce.to_vec())
}

/// A parameter; its value without quotes.
#[derive(Debug)]
struct Field<'a> {
    name: &'a [u8],
    /// `None` where the quotes do not close.
    value: Option<&'a [u8]>,
}

impl<'a> Field<'a> {
    fn parse(part: &'a [u8]) -> Option<Field<'a>> {
        let (name, value) = syntax::cut(part, b'=')?;
        let value = syntax::trim(value);
        let value = match value.first() {
            Some(b'"') => {
                let whole = syntax::quoted_length(value) == Some(value.len());
                value.get(1..value.len() - 1).filter(|_| whole)
            }
            // It goes back between quotes, out of which it must not break.
            _ => Some(value).filter(|value| !value.iter().any(|byte| matches!(byte, b'"' | b'\\'))),
        };
        let value = value.filter(|value| !value.iter().any(u8::is_ascii_control));
        Some(Field { name: syntax::trim(name), value })
    }
}

/// The value of this name: `None` where it is malformed or stands twice, `Some(None)` where there is none.
fn value<'a>(fields: &[Field<'a>], name: &str) -> Option<Option<&'a [u8]>> {
    let mut found = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
    match (found.next(), found.next()) {
        (None, _) => Some(None),
        (Some(only), None) => only.value.map(Some),
        (Some(_), Some(_)) => None,
    }
}

fn finish((is_digest, fields): (bool, Vec<Field<'_>>)) -> Option<Challenge> {
    if is_digest { Challenge::of(&fields) } else { None }
}

/// A scheme before a parameter: `Digest realm="x"`. White space before a `=` is none.
fn cut_scheme(part: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let length = part.iter().take_while(|byte| syntax::is_token_byte(**byte)).count();
    let (word, rest) = part.split_at_checked(length).unwrap_or((part, &[]));
    let rest = syntax::trim(rest);
    match rest.first() {
        Some(b'=') => (None, part),
        _ if word.is_empty() => (None, part),
        _ if rest.len() == part.len() - length && !rest.is_empty() => (None, part),
        _ => (Some(word), rest),
    }
}

/// What we take of a `qop` list: `auth` before `auth-int`; `None` where it has neither.
fn protection(qop: Option<&[u8]>) -> Option<Protection> {
    let Some(list) = qop.filter(|list| !syntax::trim(list).is_empty()) else { return Some(Protection::Old) };
    let lists = |wanted: &[u8]| {
        syntax::split_outside(list, b',').any(|(_, option)| option.eq_ignore_ascii_case(wanted))
    };
    if lists(b"auth") { Some(Protection::Auth) } else { lists(b"auth-int").then_some(Protection::Body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Challenge {
        let mut found = Challenge::parse_all(line.as_bytes());
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        found.remove(0)
    }

    fn answering(line: &str) -> Option<(&'static str, Protection)> {
        one(line).method.map(|method| (method.algorithm.as_str(), method.protection))
    }

    #[test]
    fn a_challenge_is_read_with_what_stands_between_its_quotes() {
        let challenge = one(
            "Digest realm=\"a \\\"b\\\" c\", domain=\"sip:x\", qop=\"auth,auth-int\" , nonce = \"n==\", \
             opaque=\"\", stale=TRUE, algorithm=SHA-256, charset=UTF-8",
        );
        assert_eq!(challenge.realm, b"a \\\"b\\\" c");
        assert_eq!(challenge.nonce, b"n==");
        assert_eq!(challenge.opaque.as_deref(), Some(&b""[..]));
        assert!(challenge.stale);
        let method = challenge.method.unwrap();
        assert_eq!((method.algorithm.as_str(), method.named), ("SHA-256", true));
        assert_eq!(method.protection, Protection::Auth);
    }

    #[test]
    fn what_is_asked_for_decides_the_answer() {
        let of = |more: &str| answering(&format!("digest realm=r, nonce=n{more}"));
        assert_eq!(of(""), Some(("MD5", Protection::Old)));
        assert_eq!(of(",qop=auth"), Some(("MD5", Protection::Auth)));
        assert_eq!(of(",qop=\"\""), Some(("MD5", Protection::Old)));
        assert_eq!(of(",qop=\"AUTH-INT , AUTH\""), Some(("MD5", Protection::Auth)));
        assert_eq!(of(",qop=\"auth-int\""), Some(("MD5", Protection::Body)));
        assert_eq!(of(",qop=\"token\""), None);
        assert_eq!(of(",algorithm=\"md5-sess\",qop=auth"), Some(("MD5-sess", Protection::Auth)));
        assert_eq!(of(",algorithm=MD5-sess"), None, "a session needs a nonce of ours");
        assert_eq!(of(",algorithm=AKAv1-MD5,qop=auth"), None);
    }

    #[test]
    fn several_challenges_in_one_line_are_told_apart_and_other_schemes_left_out() {
        let line =
            "Digest realm=\"a, Digest b\", nonce=\"1\", Basic realm=\"x\", Negotiate, Digest realm=c,nonce=2";
        let found = Challenge::parse_all(line.as_bytes());
        let realms: Vec<_> = found.iter().map(|challenge| challenge.realm.as_slice()).collect();
        assert_eq!(realms, [&b"a, Digest b"[..], b"c"]);
    }

    #[test]
    fn what_is_no_challenge_is_left_out() {
        let long = format!("Digest realm=r, nonce=\"{}\"", "n".repeat(MAX_TEXT + 1));
        let opaque = format!("Digest realm=r, nonce=n, opaque=\"{}\"", "n".repeat(MAX_TEXT + 1));
        for line in [
            "",
            ",",
            "Digest",
            "realm=r, nonce=n",
            "Digest realm=r",
            "Digest nonce=n",
            "Basic realm=r, nonce=n",
            "Digest realm=\"r, nonce=n",
            "Digest realm=r, nonce=\"n",
            "Digest realm=r, realm=s, nonce=n",
            "Digest realm=r, nonce=n\"m\"",
            "Digest realm=r, nonce=n\\",
            "Digest realm=\"r\u{1}\", nonce=n",
            "Digest realm=r, nonce=n, nonce=m",
            long.as_str(),
            opaque.as_str(),
        ] {
            assert_eq!(Challenge::parse_all(line.as_bytes()), [], "{line}");
        }
    }

    #[test]
    fn the_next_nonce_is_read() {
        assert_eq!(next_nonce(b"qop=auth, nextnonce=\"x\", rspauth=\"y\"").as_deref(), Some(&b"x"[..]));
        for none in [&b""[..], b"nextnonce", b"nextnonce=\"\"", b"nextnonce=\"x", b"nextnonce=a,nextnonce=b"]
        {
            assert_eq!(next_nonce(none), None);
        }
    }
}
