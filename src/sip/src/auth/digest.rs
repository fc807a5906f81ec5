//! The hashes of a digest (RFC 7616 §3.4).

use std::fmt::Write as _;

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use zeroize::Zeroizing;

/// A hash, weakest first: the order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

/// How a challenge wants the response to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Algorithm {
    pub(super) hash: Hash,
    /// The password is hashed once with the first nonces, and the result used from then on.
    pub(super) session: bool,
}

/// What the response protects besides user and nonce (`qop`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    /// As in RFC 2069: no count, no nonce of ours.
    Old,
    /// `auth`
    Auth,
    /// `auth-int`: the body too.
    Body,
}

/// What goes into one response.
pub(super) struct Inputs<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    /// As it stands between its quotes.
    pub(super) realm: &'a [u8],
    pub(super) nonce: &'a [u8],
    /// The nonce of the challenge that began the session.
    pub(super) first_nonce: &'a [u8],
    pub(super) cnonce: &'a str,
    pub(super) count: u32,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) body: &'a [u8],
}

impl Algorithm {
    /// By the token of the parameter `algorithm`, in any case.
    pub(super) fn parse(token: &[u8]) -> Option<Algorithm> {
        let name = token.to_ascii_uppercase();
        let (name, session) = match name.strip_suffix(b"-SESS") {
            Some(name) => (name, true),
            None => (name.as_slice(), false),
        };
        let hash = match name {
            b"MD5" => Hash::Md5,
            b"SHA-256" => Hash::Sha256,
            b"SHA-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        Some(Algorithm { hash, session })
    }

    /// The token.
    pub(super) fn as_str(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }

    /// The response, in lower case hexadecimal digits.
    pub(super) fn respond(self, protection: Protection, inputs: &Inputs<'_>) -> String {
        let Inputs { realm, nonce, first_nonce, method, uri, .. } = *inputs;
        let (user, cnonce) = (inputs.user.as_bytes(), inputs.cnonce.as_bytes());
        let mut secret = self.hash.of(&[user, realm, inputs.password.as_bytes()]);
        if self.session {
            secret = self.hash.of(&[secret.as_bytes(), first_nonce, cnonce]);
        }
        let asked = match protection {
            Protection::Old | Protection::Auth => self.hash.of(&[method.as_bytes(), uri.as_bytes()]),
            Protection::Body => {
                let body = self.hash.of(&[inputs.body]);
                self.hash.of(&[method.as_bytes(), uri.as_bytes(), body.as_bytes()])
            }
        };
        let (secret, asked) = (secret.as_bytes(), asked.as_bytes());
        let response = match protection.token() {
            None => self.hash.of(&[secret, nonce, asked]),
            Some(qop) => {
                let count = count_text(inputs.count);
                self.hash.of(&[secret, nonce, count.as_bytes(), cnonce, qop.as_bytes(), asked])
            }
        };
        response.as_str().to_owned()
    }
}

impl Protection {
    /// The value of `qop`.
    pub(super) fn token(self) -> Option<&'static str> {
        match self {
            Protection::Old => None,
            Protection::Auth => Some("auth"),
            Protection::Body => Some("auth-int"),
        }
    }
}

/// `nc`: eight hexadecimal digits.
pub(super) fn count_text(count: u32) -> String {
    format!("{count:08x}")
}

impl Hash {
    /// The hash of the parts with colons between them.
    fn of(self, parts: &[&[u8]]) -> Zeroizing<String> {
        match self {
            Hash::Md5 => hex::<Md5>(parts),
            Hash::Sha256 => hex::<Sha256>(parts),
            Hash::Sha512_256 => hex::<Sha512_256>(parts),
        }
    }
}

fn hex<D: Digest>(parts: &[&[u8]]) -> Zeroizing<String> {
    let mut hash = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    let bytes = hash.finalize();
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        // A text takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn algorithm(name: &str) -> Algorithm {
        Algorithm::parse(name.as_bytes()).unwrap()
    }

    /// RFC 7616 §3.9.1 and RFC 2617 §3.5.
    fn mufasa<'a>(password: &'a str, nonce: &'a [u8], cnonce: &'a str) -> Inputs<'a> {
        Inputs {
            user: "Mufasa",
            password,
            realm: b"testrealm@host.com",
            nonce,
            first_nonce: nonce,
            cnonce,
            count: 1,
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        }
    }

    #[test]
    fn the_examples_of_the_rfcs_come_out() {
        let old = mufasa("Circle Of Life", b"dcd98b7102dd2f0e8b11d0f600bfb0c093", "0a4f113b");
        let response = algorithm("md5").respond(Protection::Auth, &old);
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
        assert_eq!(
            algorithm("MD5").respond(Protection::Old, &Inputs { password: "CircleOfLife", ..old }),
            "1949323746fe6a43ef61f9606e7febea",
            "RFC 2069 with its erratum 749"
        );
        let nonce = b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let new = Inputs {
            realm: b"http-auth@example.org",
            ..mufasa("Circle of Life", nonce, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
        };
        for (name, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            assert_eq!(algorithm(name).respond(Protection::Auth, &new), response, "{name}");
        }
    }

    /// The RFCs have no example; these come from Python's `hashlib`.
    #[test]
    fn a_session_key_and_a_protected_body_are_made_as_another_program_makes_them() {
        let nonce = b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let inputs = Inputs {
            realm: b"http-auth@example.org",
            body: b"body",
            ..mufasa("Circle of Life", nonce, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
        };
        for (name, protection, response) in [
            (
                "SHA-256-sess",
                Protection::Auth,
                "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7",
            ),
            ("SHA-256", Protection::Body, "2fa9fd5a55eaefc542900085331c15a0d8dcebeb505811bdd82a5b1f49ae156e"),
            (
                "SHA-512-256",
                Protection::Auth,
                "430d05014cecc49cab6fbe03176d41a1da86cbfe24a16580e22aaad928d960d0",
            ),
        ] {
            assert_eq!(algorithm(name).respond(protection, &inputs), response, "{name}");
        }
    }

    #[test]
    fn every_algorithm_is_known_by_its_name_in_any_case() {
        for name in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"] {
            assert_eq!(algorithm(name).as_str(), name);
            assert_eq!(algorithm(&name.to_lowercase()), algorithm(name));
        }
        for name in [&b"SHA-1"[..], b"", b"-sess", b"AKAv1-MD5"] {
            assert_eq!(Algorithm::parse(name), None);
        }
        assert!(algorithm("MD5-sess") < algorithm("SHA-256"));
        assert!(algorithm("SHA-256") < algorithm("SHA-512-256"));
    }

    #[test]
    fn each_input_counts() {
        let base = || mufasa("p", b"n", "c");
        let of = |inputs: Inputs<'_>| algorithm("SHA-512-256-sess").respond(Protection::Body, &inputs);
        let first = of(base());
        for other in [
            Inputs { user: "x", ..base() },
            Inputs { password: "x", ..base() },
            Inputs { realm: b"x", ..base() },
            Inputs { nonce: b"x", ..base() },
            Inputs { first_nonce: b"x", ..base() },
            Inputs { cnonce: "x", ..base() },
            Inputs { count: 2, ..base() },
            Inputs { method: "x", ..base() },
            Inputs { uri: "x", ..base() },
            Inputs { body: b"x", ..base() },
        ] {
            assert_ne!(of(other), first);
        }
    }
}
