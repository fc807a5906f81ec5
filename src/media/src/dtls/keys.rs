//! The keys that a handshake ends with.

use dimpl::SrtpProfile;
use siprec_model::{DtlsRole, SrtpKey, SrtpKeys, SrtpSuite};
use zeroize::Zeroizing;

/// The suite of a profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
pub(super) fn suite(profile: SrtpProfile) -> Option<SrtpSuite> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(SrtpSuite::AesCm128HmacSha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(SrtpSuite::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(SrtpSuite::AeadAes256Gcm),
        _ => None,
    }
}

/// The keys of both sides from what the exporter gave: the client's key, the server's, the client's salt, the server's
/// (RFC 5764 §4.2).
pub(super) fn split(suite: SrtpSuite, material: &[u8], role: DtlsRole, session: u32) -> Option<SrtpKeys> {
    let (keys, salts) = material.split_at_checked(2 * suite.key_length())?;
    let (client_key, server_key) = keys.split_at_checked(suite.key_length())?;
    let (client_salt, server_salt) = salts.split_at_checked(suite.salt_length())?;
    let key = |key: &[u8], salt: &[u8]| SrtpKey::new(suite, &Zeroizing::new([key, salt].concat())).ok();
    let (client, server) = (key(client_key, client_salt)?, key(server_key, server_salt)?);
    let (own, recorder) = match role {
        DtlsRole::Client => (client, server),
        DtlsRole::Server => (server, client),
    };
    Some(SrtpKeys { own, recorder: vec![recorder], recorder_lifetime: None, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_key_comes_first_and_its_salt_after_both_keys() {
        for profile in SrtpProfile::ALL {
            let suite = suite(*profile).unwrap();
            let (key, salt) = (suite.key_length(), suite.salt_length());
            assert_eq!(profile.keying_material_len(), 2 * (key + salt));
            let material = [vec![1; key], vec![2; key], vec![3; salt], vec![4; salt]].concat();
            let (client, server) =
                ([vec![1; key], vec![3; salt]].concat(), [vec![2; key], vec![4; salt]].concat());
            let own = |role| split(suite, &material, role, 7).unwrap();
            assert_eq!(own(DtlsRole::Client).own.master(), client);
            assert_eq!(own(DtlsRole::Client).recorder[0].master(), server);
            assert_eq!(own(DtlsRole::Server).own.master(), server);
            assert_eq!(own(DtlsRole::Server).session, 7);
            for length in 0..material.len() {
                assert_eq!(split(suite, &material[..length], DtlsRole::Client, 7), None);
            }
        }
    }
}
