//! Whether a recording is encrypted, and by which suites.

use siprec_model::SrtpSuite;
use siprec_sip::Transport;

/// How the media towards a recorder is to be protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityPolicy {
    /// When it is encrypted.
    pub srtp: SrtpUse,
    /// The suites that are offered, in this order: best first. Not empty, each once.
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

/// Why a call cannot be recorded as its policy has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecurityFault {
    #[error("the call is encrypted, and recording it in the clear is not allowed")]
    Downgrade,
    #[error("keys would cross the network in the clear ({0}), which is not allowed: the recorder needs TLS")]
    ClearKeys(&'static str),
}

/// The suites that a session offers; empty where its media is plain.
///
/// # Errors
/// What the policy forbids.
pub(crate) fn suites(
    policy: &SecurityPolicy,
    call: &[StreamSecurity],
    signalling: Transport,
) -> Result<Vec<SrtpSuite>, SecurityFault> {
    let is_secured = call.iter().any(|stream| stream.is_secured());
    let encrypts = match policy.srtp {
        SrtpUse::Auto => is_secured,
        SrtpUse::Require => true,
        SrtpUse::Disable => false,
    };
    match (encrypts, signalling) {
        (false, _) if is_secured && !policy.allow_downgrade => Err(SecurityFault::Downgrade),
        (false, _) => Ok(Vec::new()),
        (true, Transport::Tls) => Ok(policy.suites.clone()),
        (true, _) if policy.allow_clear_keys => Ok(policy.suites.clone()),
        (true, other) => Err(SecurityFault::ClearKeys(other.as_str())),
    }
}

/// What whoever is responsible should know of what is offered, in words.
pub(crate) fn weaknesses(
    offered: &[SrtpSuite],
    call: &[StreamSecurity],
    signalling: Transport,
) -> Vec<String> {
    let mut found = Vec::new();
    if offered.is_empty() {
        if call.iter().any(|stream| stream.is_secured()) {
            found.push("the call is encrypted, and its recording is not".to_owned());
        }
        return found;
    }
    if signalling != Transport::Tls {
        found.push(format!("the keys of the recording cross the network in the clear ({signalling})"));
    }
    let of_call = call.iter().filter_map(|stream| match stream {
        StreamSecurity::Srtp(suite) => *suite,
        StreamSecurity::Plain => None,
    });
    let mut weaker: Vec<String> = Vec::new();
    for of_call in of_call {
        for offered in offered.iter().filter(|offered| of_call.is_stronger_than(**offered)) {
            let words = format!("{offered} is offered, which is weaker than the call's {of_call}");
            if !weaker.contains(&words) {
                weaker.push(words);
            }
        }
    }
    found.extend(weaker);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: StreamSecurity = StreamSecurity::Plain;
    const SECURED: StreamSecurity = StreamSecurity::Srtp(Some(SrtpSuite::AesCm256HmacSha1_80));

    #[test]
    fn by_default_a_recording_is_as_secure_as_its_call_and_keys_need_tls() {
        let policy = SecurityPolicy::default();
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            assert_eq!(suites(&policy, &[PLAIN, PLAIN], transport), Ok(Vec::new()));
        }
        assert_eq!(suites(&policy, &[PLAIN, SECURED], Transport::Tls), Ok(policy.suites.clone()));
        assert_eq!(suites(&policy, &[SECURED], Transport::Udp), Err(SecurityFault::ClearKeys("UDP")));
    }

    #[test]
    fn what_the_policy_says_is_done_and_nothing_weaker() {
        let with = |srtp, allow_downgrade, allow_clear_keys| SecurityPolicy {
            srtp,
            allow_downgrade,
            allow_clear_keys,
            ..SecurityPolicy::default()
        };
        let require = with(SrtpUse::Require, false, false);
        assert_eq!(suites(&require, &[PLAIN], Transport::Tls), Ok(require.suites.clone()));
        assert_eq!(suites(&require, &[PLAIN], Transport::Tcp), Err(SecurityFault::ClearKeys("TCP")));
        let clear = with(SrtpUse::Require, false, true);
        assert_eq!(suites(&clear, &[PLAIN], Transport::Udp), Ok(clear.suites.clone()));
        let never = with(SrtpUse::Disable, false, false);
        assert_eq!(suites(&never, &[SECURED], Transport::Tls), Err(SecurityFault::Downgrade));
        assert_eq!(suites(&never, &[PLAIN], Transport::Tls), Ok(Vec::new()));
        let downgrade = with(SrtpUse::Disable, true, false);
        assert_eq!(suites(&downgrade, &[SECURED], Transport::Udp), Ok(Vec::new()));
    }

    #[test]
    fn weaknesses_are_named() {
        let offered = SecurityPolicy::default().suites;
        assert_eq!(weaknesses(&[], &[PLAIN], Transport::Udp), [""; 0]);
        assert_eq!(weaknesses(&offered, &[PLAIN], Transport::Tls), [""; 0]);
        let [plain] = weaknesses(&[], &[SECURED], Transport::Tls).try_into().unwrap();
        assert!(plain.contains("its recording is not"), "{plain}");
        let found = weaknesses(&offered, &[SECURED, SECURED], Transport::Udp);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("in the clear (UDP)"), "{found:?}");
        assert!(found[1].contains("AEAD_AES_128_GCM is offered"), "{found:?}");
    }
}
