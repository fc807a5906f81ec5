//! Session keys from a master key (RFC 3711 §4.3, RFC 6188 §3, RFC 7714 §11), with a key derivation rate of 0.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Aes256Enc};
use ctr::cipher::StreamCipher;
use siprec_model::SrtpKey;
use zeroize::Zeroizing;

use super::counter_mode::{Iv, keystream};

/// What the keys are for: RTP or RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Rtp,
    Rtcp,
}

/// Bytes of an HMAC-SHA1 key (RFC 3711 §5.2).
pub(crate) const AUTHENTICATION_KEY: usize = 20;
/// Longest cipher key.
const LONGEST_KEY: usize = 32;
/// A salt of counter mode; that of GCM is two bytes shorter.
const SALT: usize = 14;

/// The keys of one direction's RTP or RTCP.
pub(crate) struct SessionKeys {
    cipher: Zeroizing<[u8; LONGEST_KEY]>,
    cipher_length: usize,
    authentication: Zeroizing<[u8; AUTHENTICATION_KEY]>,
    salt: Zeroizing<[u8; SALT]>,
}

impl SessionKeys {
    pub(crate) fn derive(master: &SrtpKey, purpose: Purpose) -> Self {
        // RFC 3711 §4.3.2: labels 0 to 2 are RTP's, 3 to 5 RTCP's.
        let first_label = match purpose {
            Purpose::Rtp => 0,
            Purpose::Rtcp => 3,
        };
        let mut keys = Self {
            cipher: Zeroizing::default(),
            cipher_length: master.suite().key_length(),
            authentication: Zeroizing::default(),
            salt: Zeroizing::default(),
        };
        let cipher_length = keys.cipher_length;
        let wanted = [
            (first_label, keys.cipher.get_mut(..cipher_length).unwrap_or_default()),
            (first_label + 1, keys.authentication.as_mut_slice()),
            (first_label + 2, keys.salt.as_mut_slice()),
        ];
        // RFC 6188 §3: a master key of 256 bits has AES-256 for its derivation too.
        if let Ok(cipher) = Aes128Enc::new_from_slice(master.key()) {
            derive_with(&cipher, master.salt(), wanted);
        } else if let Ok(cipher) = Aes256Enc::new_from_slice(master.key()) {
            derive_with(&cipher, master.salt(), wanted);
        }
        keys
    }

    /// Keys as an RFC gives them.
    #[cfg(test)]
    pub(crate) fn given(cipher: &[u8], salt: &[u8]) -> Self {
        let mut keys = Self {
            cipher: Zeroizing::default(),
            cipher_length: cipher.len(),
            authentication: Zeroizing::default(),
            salt: Zeroizing::default(),
        };
        keys.cipher[..cipher.len()].copy_from_slice(cipher);
        keys.salt[..salt.len()].copy_from_slice(salt);
        keys
    }

    pub(crate) fn cipher(&self) -> &[u8] {
        self.cipher.get(..self.cipher_length).unwrap_or_default()
    }

    pub(crate) fn authentication(&self) -> &[u8; AUTHENTICATION_KEY] {
        &self.authentication
    }

    /// The first 14 bytes of a counter-mode IV; GCM's are the first 12 of them, since a prefix of a keystream is the
    /// same however much is asked for.
    pub(crate) fn salt(&self) -> &[u8; SALT] {
        &self.salt
    }
}

fn derive_with<C>(cipher: &C, master_salt: &[u8], wanted: [(u8, &mut [u8]); 3])
where
    C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    for (label, key) in wanted {
        // RFC 3711 §4.3.1: the label stands before the 48 bits of (index div rate), which are 0 here. RFC 7714 §11: the
        // 96 bits of a GCM salt are the first of the 112.
        let mut iv = Zeroizing::new(Iv::default());
        for (byte, salt) in iv.iter_mut().zip(master_salt) {
            *byte = *salt;
        }
        if let Some(byte) = iv.get_mut(7) {
            *byte ^= label;
        }
        keystream(cipher, &iv).apply_keystream(key);
    }
}

#[cfg(test)]
mod tests {
    use siprec_model::SrtpSuite;

    use super::*;
    use crate::srtp::vectors::hex;

    fn derived(suite: SrtpSuite, master: &str, purpose: Purpose) -> [String; 3] {
        let keys = SessionKeys::derive(&SrtpKey::new(suite, &hex(master)).unwrap(), purpose);
        [keys.cipher(), keys.salt().as_slice(), keys.authentication().as_slice()]
            .map(|key| key.iter().map(|byte| format!("{byte:02X}")).collect())
    }

    #[test]
    fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
        let suite = SrtpSuite::AesCm128HmacSha1_80;
        let master = "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6";
        let [cipher, salt, authentication] = derived(suite, master, Purpose::Rtp);
        assert_eq!(cipher, "C61E7A93744F39EE10734AFE3FF7A087");
        assert_eq!(salt, "30CBBC08863D8C85D49DB34A9AE1");
        // The appendix derives 94 bytes of it; a key of HMAC-SHA1 is its first 20.
        assert_eq!(authentication, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    }

    #[test]
    fn session_keys_are_those_of_rfc_6188_section_7_2() {
        let suite = SrtpSuite::AesCm256HmacSha1_80;
        let master = "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6 \
            3b04803de51ee7c96423ab5b78d2";
        let [cipher, salt, authentication] = derived(suite, master, Purpose::Rtp);
        assert_eq!(cipher, "5BA1064E30EC51613CAD926C5A28EF731EC7FB397F70A960653CAF06554CD8C4");
        assert_eq!(salt, "FA31791685CA444A9E07C6C64E93");
        assert_eq!(authentication, "FD9C32D39ED5FBB5A9DC96B30818454D1313DC05");
    }

    #[test]
    fn no_two_session_keys_of_a_master_key_are_the_same() {
        for suite in SrtpSuite::ALL {
            let master = SrtpKey::new(suite, &vec![7; suite.master_length()]).unwrap();
            let [rtp, rtcp] = [Purpose::Rtp, Purpose::Rtcp].map(|of| SessionKeys::derive(&master, of));
            assert_ne!(rtp.cipher(), rtcp.cipher());
            assert_ne!(rtp.authentication(), rtcp.authentication());
            assert_ne!(rtp.salt(), rtcp.salt());
            assert_ne!(rtp.cipher(), master.key());
            assert_eq!(rtp.cipher().len(), suite.key_length());
        }
    }
}
