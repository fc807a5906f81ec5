//! What proves that a flight of handshake messages is of whoever has the certificate in it, and was made for this handshake:
//! a signature over random bytes of ours. Whoever sends in the recorder's name without seeing what we send has none.

use siprec_model::Fingerprint;

use super::assembly::{Assembly, Message};
use super::certificate::{PublicKey, SignedHash};
use super::identity::fingerprint;
use super::record::{
    CERTIFICATE, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, CLIENT_HELLO, CLIENT_KEY_EXCHANGE, SERVER_HELLO,
    SERVER_HELLO_DONE, SERVER_KEY_EXCHANGE,
};

/// Bytes of a hello's random, behind its version (RFC 5246 §7.4.1.2).
const RANDOM: std::ops::Range<usize> = 2..34;
/// `SignatureAndHashAlgorithm`s (RFC 5246 §7.4.1.4.1).
const ECDSA_SHA256: [u8; 2] = [4, 3];
const ECDSA_SHA384: [u8; 2] = [5, 3];
/// `named_curve` (RFC 8422 §5.4).
const NAMED_CURVE: u8 = 3;

/// Messages that may be looked at together, and whether that may be done again: signatures cost time.
pub(super) struct Search<'a> {
    pub(super) said: &'a Assembly,
    pub(super) heard: &'a Assembly,
    /// The certificates that the recorder may have.
    pub(super) wanted: &'a [Fingerprint],
    /// Messages up to this one have been looked at.
    pub(super) tested: u32,
    /// Says whether another signature may be verified, of messages that may well be genuine or of others.
    pub(super) may_verify: &'a mut dyn FnMut(bool) -> bool,
}

impl<'a> Search<'a> {
    /// The recorder's hello, certificate and key exchange, its messages from number `base` on, which it has signed with our
    /// random bytes (RFC 5246 §7.4.3).
    pub(super) fn servers(&mut self, base: u16) -> Option<Vec<Message>> {
        let own = self.said.versions(CLIENT_HELLO, base).next()?;
        let certificate = self.certificate(base + 1)?;
        let key = PublicKey::of(first_certificate(&certificate.body)?)?;
        for exchange in self.heard.versions(SERVER_KEY_EXCHANGE, base + 2) {
            let Some((parameters, hash, signature)) = signed_parameters(&exchange.body) else { continue };
            for hello in self.heard.versions(SERVER_HELLO, base) {
                let newest = exchange.id.max(hello.id).max(certificate.id);
                if newest <= self.tested {
                    continue;
                }
                if !(self.may_verify)(is_likely(certificate, exchange, hello)) {
                    continue;
                }
                let randoms = [own, hello].map(|hello| hello.body.get(RANDOM).unwrap_or_default());
                let [ours, theirs] = randoms;
                if theirs.len() == ours.len()
                    && key.verifies(&[ours, theirs, parameters].concat(), hash, signature)
                {
                    return Some(vec![hello.clone(), certificate.clone(), exchange.clone()]);
                }
            }
        }
        None
    }

    /// What follows the key exchange of a server: the request for our certificate, and the end of its flight. Nothing proves
    /// them before the whole handshake; those count that came with what is proven. A server that asks for no certificate
    /// must say so in the same datagram.
    pub(super) fn servers_end(&self, exchange: &Message) -> Option<Vec<Message>> {
        let (next, datagram) = (exchange.number + 1, exchange.datagram);
        let done = self.heard.nearest(SERVER_HELLO_DONE, next + 1, datagram);
        let asked = self.heard.nearest(CERTIFICATE_REQUEST, next, datagram).zip(done);
        let at_once = self.heard.nearest(SERVER_HELLO_DONE, next, datagram);
        match asked {
            Some((request, done)) => Some(vec![request.clone(), done.clone()]),
            None => at_once.filter(|done| done.datagram == datagram).map(|done| vec![done.clone()]),
        }
    }

    /// The recorder's certificate, key exchange and the signature over all that was said up to there, our random bytes among
    /// it (RFC 5246 §7.4.8), after its hello.
    pub(super) fn clients(&mut self, hello: &Message) -> Option<Vec<Message>> {
        let certificate = self.certificate(1)?;
        let key = PublicKey::of(first_certificate(&certificate.body)?)?;
        let mut said = hello.to_bytes();
        let ours = [SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST, SERVER_HELLO_DONE];
        for (number, kind) in (0..).zip(ours) {
            said.extend_from_slice(&self.said.versions(kind, number).next()?.to_bytes());
        }
        said.extend_from_slice(&certificate.to_bytes());
        for verify in self.heard.versions(CERTIFICATE_VERIFY, 3) {
            let Some((hash, signature)) = signature(&verify.body) else { continue };
            for exchange in self.heard.versions(CLIENT_KEY_EXCHANGE, 2) {
                if verify.id.max(exchange.id).max(certificate.id) <= self.tested {
                    continue;
                }
                if !(self.may_verify)(is_likely(certificate, exchange, verify)) {
                    continue;
                }
                if key.verifies(&[&said[..], &exchange.to_bytes()].concat(), hash, signature) {
                    return Some(vec![certificate.clone(), exchange.clone(), verify.clone()]);
                }
            }
        }
        None
    }

    /// The certificate that the description names; another one only where that has not come.
    fn certificate(&self, number: u16) -> Option<&'a Message> {
        let is_wanted = |message: &&Message| {
            let Some(certificate) = first_certificate(&message.body) else { return false };
            self.wanted.iter().any(|wanted| fingerprint(certificate, wanted.hash()).as_ref() == Some(wanted))
        };
        let heard = self.heard;
        let mut shown = heard.versions(CERTIFICATE, number);
        shown.clone().find(is_wanted).or_else(|| shown.next())
    }
}

/// Whether messages came at once, as they were sent at once where nobody is in between.
fn is_likely(certificate: &Message, exchange: &Message, third: &Message) -> bool {
    certificate.datagram == exchange.datagram && exchange.datagram == third.datagram
}

/// The first certificate of a list (RFC 5246 §7.4.2).
pub(super) fn first_certificate(body: &[u8]) -> Option<&[u8]> {
    let (_, list) = body.split_at_checked(3)?;
    let (length, list) = list.split_first_chunk::<3>()?;
    let [high, middle, low] = length.map(usize::from);
    list.get(..high << 16 | middle << 8 | low)
}

/// The parameters of a server's key exchange and the signature over them (RFC 8422 §5.4).
fn signed_parameters(body: &[u8]) -> Option<(&[u8], SignedHash, &[u8])> {
    let [NAMED_CURVE, _, _, length, ..] = *body else { return None };
    let (parameters, rest) = body.split_at_checked(4 + usize::from(length))?;
    let (hash, signature) = signature(rest)?;
    Some((parameters, hash, signature))
}

/// A signature with its algorithm, and nothing behind it (RFC 5246 §4.7).
fn signature(body: &[u8]) -> Option<(SignedHash, &[u8])> {
    let (algorithm, rest) = body.split_first_chunk::<2>()?;
    let (length, signature) = rest.split_first_chunk::<2>()?;
    let hash = match *algorithm {
        ECDSA_SHA256 => SignedHash::Sha256,
        ECDSA_SHA384 => SignedHash::Sha384,
        _ => return None,
    };
    (signature.len() == usize::from(u16::from_be_bytes(*length))).then_some((hash, signature))
}
