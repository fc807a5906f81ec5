//! Whether a recording is encrypted, and by which suites.

use siprec_model::{Fingerprint, SrtpSuite};
use siprec_sip::Transport;

/// How the media towards a recorder is to be protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityPolicy {
    /// When it is encrypted.
    pub srtp: SrtpUse,
    /// Where its keys come from.
    pub keying: Keying,
    /// The suites that are offered, in this order: best first. Not empty, each once. A handshake of DTLS offers what it
    /// knows ([`Keying::Dtls`]), and one that ends with something weaker than these has failed.
    pub suites: Vec<SrtpSuite>,
    /// Whether an encrypted call may be recorded in the clear.
    pub allow_downgrade: bool,
    /// Whether keys may cross the network in signalling that is not encrypted itself (RFC 4568 §8.3).
    pub allow_clear_keys: bool,
}

impl Default for SecurityPolicy {
    /// At least as secure as the call, by two suites, which keep the INVITE small.
    fn default() -> Self {
        Self {
            srtp: SrtpUse::Auto,
            keying: Keying::Sdes,
            suites: vec![SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80],
            allow_downgrade: false,
            allow_clear_keys: false,
        }
    }
}

/// When the media towards a recorder is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SrtpUse {
    /// When any stream of the call is (RFC 7866 §12).
    #[default]
    Auto,
    /// Always.
    Require,
    /// Never.
    Disable,
}

/// Where the keys of encrypted media come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Keying {
    /// From the session descriptions (`a=crypto`, RFC 4568): whoever reads them has the keys.
    #[default]
    Sdes,
    /// From a handshake of DTLS on the media's ports (RFC 5763, RFC 5764): whoever changes the descriptions, which name the
    /// certificates, can have them. Knows AEAD_AES_256_GCM, AEAD_AES_128_GCM and AES_CM_128_HMAC_SHA1_80.
    Dtls,
}

/// How a stream of the call is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StreamSecurity {
    /// Not at all.
    #[default]
    Plain,
    /// By SRTP, and by which suite, where that is known.
    Srtp(Option<SrtpSuite>),
}

impl StreamSecurity {
    /// Whether it is encrypted.
    pub const fn is_secured(self) -> bool {
        matches!(self, Self::Srtp(_))
    }
}

/// What a session offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Media in the clear.
    Plain,
    /// Keys in the description, by these suites, best first.
    Sdes(Vec<SrtpSuite>),
    /// Keys by a handshake that may end with one of these suites, under our certificate.
    Dtls { suites: Vec<SrtpSuite>, fingerprint: Fingerprint },
}

impl Protection {
    pub(crate) const fn is_secured(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// The suites that may come of it.
    pub(crate) fn suites(&self) -> &[SrtpSuite] {
        match self {
            Self::Plain => &[],
            Self::Sdes(suites) | Self::Dtls { suites, .. } => suites,
        }
    }
}

/// What is weak in the plain recording of an encrypted call.
pub(crate) const UNENCRYPTED: &str = "the call is encrypted, and its recording is not";

/// Why a call cannot be recorded as its policy has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecurityFault {
    #[error("the call is encrypted, and recording it in the clear is not allowed")]
    Downgrade,
    #[error("keys would cross the network in the clear ({0}), which is not allowed: the recorder needs TLS")]
    ClearKeys(&'static str),
    #[error("the agent has no certificate for DTLS")]
    NoCertificate,
}

/// What a session offers. `certificate` is ours.
///
/// # Errors
/// What the policy forbids.
pub(crate) fn protection(
    policy: &SecurityPolicy,
    call: &[StreamSecurity],
    signalling: Transport,
    certificate: Option<&Fingerprint>,
) -> Result<Protection, SecurityFault> {
    let is_secured = call.iter().any(|stream| stream.is_secured());
    let encrypts = match policy.srtp {
        SrtpUse::Auto => is_secured,
        SrtpUse::Require => true,
        SrtpUse::Disable => false,
    };
    match (encrypts, policy.keying) {
        (false, _) if is_secured && !policy.allow_downgrade => Err(SecurityFault::Downgrade),
        (false, _) => Ok(Protection::Plain),
        (true, Keying::Sdes) if signalling != Transport::Tls && !policy.allow_clear_keys => {
            Err(SecurityFault::ClearKeys(signalling.as_str()))
        }
        (true, Keying::Sdes) => Ok(Protection::Sdes(policy.suites.clone())),
        (true, Keying::Dtls) => {
            let fingerprint = certificate.cloned().ok_or(SecurityFault::NoCertificate)?;
            Ok(Protection::Dtls { suites: by_dtls(&policy.suites), fingerprint })
        }
    }
}

/// Which of the suites that DTLS knows will do where these are wanted: one of them, or one that is weaker than none of
/// them. The strongest always does.
fn by_dtls(wanted: &[SrtpSuite]) -> Vec<SrtpSuite> {
    let does = |suite: &SrtpSuite| {
        wanted.contains(suite) || !wanted.iter().any(|wanted| wanted.is_stronger_than(*suite))
    };
    [SrtpSuite::AeadAes256Gcm, SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80]
        .into_iter()
        .filter(does)
        .collect()
}

/// What whoever is responsible should know of what is offered, in words.
pub(crate) fn weaknesses(
    offered: &Protection,
    call: &[StreamSecurity],
    signalling: Transport,
) -> Vec<String> {
    let mut found = Vec::new();
    match offered {
        Protection::Plain => {
            if call.iter().any(|stream| stream.is_secured()) {
                found.push(UNENCRYPTED.to_owned());
            }
        }
        Protection::Sdes(_) if signalling != Transport::Tls => {
            found.push(format!("the keys of the recording cross the network in the clear ({signalling})"));
        }
        // RFC 5763 §5.1: the handshake is worth as much as what says whose certificates are the right ones.
        Protection::Dtls { .. } if signalling != Transport::Tls => {
            found.push(format!(
                "the certificates of the recording are named in signalling that can be changed on its way ({signalling})"
            ));
        }
        Protection::Sdes(_) | Protection::Dtls { .. } => {}
    }
    found
}

/// What whoever is responsible should know of the suite that was agreed on (RFC 7866 §12.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weaker {
    agreed: SrtpSuite,
    of_call: SrtpSuite,
}

impl Weaker {
    /// Where that is weaker than the call's.
    pub(crate) fn than(call: StreamSecurity, agreed: SrtpSuite) -> Option<Self> {
        match call {
            StreamSecurity::Srtp(Some(of_call)) if of_call.is_stronger_than(agreed) => {
                Some(Self { agreed, of_call })
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Weaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { agreed, of_call } = self;
        write!(f, "{agreed} protects the recording, which is weaker than the call's {of_call}")
    }
}

#[cfg(test)]
mod tests {
    use siprec_model::CertificateHash;

    use super::*;

    const PLAIN: StreamSecurity = StreamSecurity::Plain;
    const SECURED: StreamSecurity = StreamSecurity::Srtp(Some(SrtpSuite::AesCm256HmacSha1_80));

    fn offered(
        policy: &SecurityPolicy,
        call: &[StreamSecurity],
        signalling: Transport,
    ) -> Result<Protection, SecurityFault> {
        protection(policy, call, signalling, None)
    }

    fn certificate() -> Fingerprint {
        Fingerprint::new(CertificateHash::Sha256, &[7; 32]).unwrap()
    }

    #[test]
    fn by_default_a_recording_is_as_secure_as_its_call_and_keys_need_tls() {
        let policy = SecurityPolicy::default();
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            assert_eq!(offered(&policy, &[PLAIN, PLAIN], transport), Ok(Protection::Plain));
        }
        let secured = Ok(Protection::Sdes(policy.suites.clone()));
        assert_eq!(offered(&policy, &[PLAIN, SECURED], Transport::Tls), secured);
        assert_eq!(offered(&policy, &[SECURED], Transport::Udp), Err(SecurityFault::ClearKeys("UDP")));
    }

    #[test]
    fn what_the_policy_says_is_done_and_nothing_weaker() {
        let with = |srtp, allow_downgrade, allow_clear_keys| SecurityPolicy {
            srtp,
            allow_downgrade,
            allow_clear_keys,
            ..SecurityPolicy::default()
        };
        let secured = Ok(Protection::Sdes(SecurityPolicy::default().suites));
        let require = with(SrtpUse::Require, false, false);
        assert_eq!(offered(&require, &[PLAIN], Transport::Tls), secured);
        assert_eq!(offered(&require, &[PLAIN], Transport::Tcp), Err(SecurityFault::ClearKeys("TCP")));
        let clear = with(SrtpUse::Require, false, true);
        assert_eq!(offered(&clear, &[PLAIN], Transport::Udp), secured);
        let never = with(SrtpUse::Disable, false, false);
        assert_eq!(offered(&never, &[SECURED], Transport::Tls), Err(SecurityFault::Downgrade));
        assert_eq!(offered(&never, &[PLAIN], Transport::Tls), Ok(Protection::Plain));
        let downgrade = with(SrtpUse::Disable, true, false);
        assert_eq!(offered(&downgrade, &[SECURED], Transport::Udp), Ok(Protection::Plain));
    }

    #[test]
    fn a_handshake_needs_a_certificate_and_no_signalling_that_hides_keys() {
        let policy = SecurityPolicy { keying: Keying::Dtls, ..SecurityPolicy::default() };
        let certificate = certificate();
        assert_eq!(offered(&policy, &[SECURED], Transport::Tls), Err(SecurityFault::NoCertificate));
        assert_eq!(offered(&policy, &[PLAIN], Transport::Tls), Ok(Protection::Plain));
        for (transport, weak) in [(Transport::Udp, true), (Transport::Tls, false)] {
            let found = protection(&policy, &[SECURED], transport, Some(&certificate)).unwrap();
            let Protection::Dtls { suites, fingerprint } = &found else { panic!("{found:?}") };
            assert_eq!(*fingerprint, certificate);
            assert_eq!(suites.len(), 3);
            let told = weaknesses(&found, &[PLAIN], transport);
            assert_eq!(told.iter().any(|words| words.contains("can be changed on its way")), weak);
        }
    }

    #[test]
    fn a_handshake_ends_with_nothing_weaker_than_what_is_listed() {
        use SrtpSuite::{
            AeadAes128Gcm, AeadAes256Gcm, AesCm128HmacSha1_32, AesCm128HmacSha1_80, AesCm256HmacSha1_80,
        };
        assert_eq!(by_dtls(&[AeadAes256Gcm]), [AeadAes256Gcm]);
        assert_eq!(by_dtls(&[AesCm256HmacSha1_80]), [AeadAes256Gcm]);
        assert_eq!(by_dtls(&[AeadAes128Gcm]), [AeadAes256Gcm, AeadAes128Gcm]);
        for all in [AesCm128HmacSha1_80, AesCm128HmacSha1_32] {
            assert_eq!(by_dtls(&[all]).len(), 3);
        }
        let listed = [AesCm128HmacSha1_80, AeadAes256Gcm];
        assert_eq!(by_dtls(&listed), [AeadAes256Gcm, AesCm128HmacSha1_80]);
    }

    #[test]
    fn weaknesses_are_named() {
        let offered = Protection::Sdes(SecurityPolicy::default().suites);
        assert_eq!(weaknesses(&Protection::Plain, &[PLAIN], Transport::Udp), [""; 0]);
        assert_eq!(weaknesses(&offered, &[PLAIN], Transport::Tls), [""; 0]);
        let [plain] = weaknesses(&Protection::Plain, &[SECURED], Transport::Tls).try_into().unwrap();
        assert!(plain.contains("its recording is not"), "{plain}");
        let found = weaknesses(&offered, &[SECURED, SECURED], Transport::Udp);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("in the clear (UDP)"), "{found:?}");
        let weaker = Weaker::than(SECURED, SrtpSuite::AeadAes128Gcm).unwrap().to_string();
        assert!(weaker.starts_with("AEAD_AES_128_GCM protects the recording"), "{weaker}");
        assert_eq!(Weaker::than(SECURED, SrtpSuite::AesCm256HmacSha1_80), None);
        assert_eq!(Weaker::than(PLAIN, SrtpSuite::AesCm128HmacSha1_32), None);
    }
}
