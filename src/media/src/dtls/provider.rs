//! The cryptography of the handshake, by `ring`, as `dimpl` wants it.
//!
//! `dimpl` takes a private key as bytes and keeps no promise of what becomes of them; so the bytes that it takes are none,
//! and the key is handed over beside it, for the moment in which it asks: [`with_key`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use aes::Aes128;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use dimpl::crypto::{
    Aad, ActiveKeyExchange, Buf, Cipher, CryptoProvider, Dtls12CipherSuite, Dtls13CipherSuite, HashAlgorithm,
    HashContext, HashProvider, HmacProvider, KeyProvider, NamedGroup, Nonce, SecureRandom,
    SignatureAlgorithm, SignatureVerifier, SigningKey, SupportedDtls12CipherSuite,
    SupportedDtls13CipherSuite, SupportedKxGroup, TmpBuf,
};
use dimpl::{CryptoError, CryptoOperation};
use ring::aead::{AES_128_GCM, AES_256_GCM, Algorithm, LessSafeKey, UnboundKey};
use ring::agreement::{
    ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral,
};
use ring::digest::{Context, SHA256, SHA384};
use ring::hmac::{self, HMAC_SHA256, HMAC_SHA384};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::certificate::{PublicKey, SignedHash};
use super::identity::PrivateKey;
use super::record::{ALERT, HANDSHAKE, MESSAGE_HEADER};

/// Bytes of a tag of GCM.
const TAG: usize = 16;
/// Epoch and number, with which the additional data of a record begins; its content type follows (RFC 5246 §6.2.3.3).
const NUMBER_IN_AAD: usize = 8;
/// An empty HelloRequest with the number of a message that has come before, and a warning without a meaning.
const OLD_MESSAGE: [u8; MESSAGE_HEADER] = [0; MESSAGE_HEADER];
const WARNING: [u8; 2] = [1, 255];

thread_local! {
    /// The key of the association that is being made on this thread.
    static KEY: RefCell<Option<Arc<PrivateKey>>> = const { RefCell::new(None) };
    /// Epoch and number of the record that is being taken on this thread, where `dimpl` is told another one.
    static NUMBER: Cell<Option<[u8; 8]>> = const { Cell::new(None) };
}

/// Runs what may have `dimpl` decrypt a record, which has this epoch and number by its sender.
pub(super) fn with_number<R>(number: Option<[u8; 8]>, run: impl FnOnce() -> R) -> R {
    NUMBER.set(number);
    let done = run();
    NUMBER.set(None);
    done
}

/// Runs what makes `dimpl` load the private key, with this one.
pub(super) fn with_key<R>(key: &Arc<PrivateKey>, make: impl FnOnce() -> R) -> R {
    /// Takes the key away again, also where `make` panics.
    struct Lent;
    impl Drop for Lent {
        fn drop(&mut self) {
            KEY.set(None);
        }
    }
    KEY.set(Some(Arc::clone(key)));
    let _lent = Lent;
    make()
}

/// All of it.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: &[
            &Group(NamedGroup::X25519),
            &Group(NamedGroup::Secp256r1),
            &Group(NamedGroup::Secp384r1),
        ],
        signature_verification: &Ring,
        key_provider: &Ring,
        secure_random: &Ring,
        hash_provider: &Ring,
        hmac_provider: &Ring,
        cipher_suites: &[&Suite::Aes128, &Suite::Aes256],
        // Not spoken; but a provider without one is refused.
        dtls13_cipher_suites: &[&Suite::Aes128],
    }
}

#[derive(Debug)]
struct Ring;

impl SecureRandom for Ring {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CryptoError> {
        SystemRandom::new().fill(bytes).map_err(|_| failed(CryptoOperation::FillRandom))
    }
}

impl HashProvider for Ring {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        // The suites of this provider use no other.
        let algorithm = if algorithm == HashAlgorithm::SHA384 { &SHA384 } else { &SHA256 };
        Box::new(Hashing(Context::new(algorithm)))
    }
}

struct Hashing(Context);

impl HashContext for Hashing {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        out.clear();
        out.extend_from_slice(self.0.clone().finish().as_ref());
    }
}

impl HmacProvider for Ring {
    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let algorithm = match hash {
            HashAlgorithm::SHA256 => HMAC_SHA256,
            HashAlgorithm::SHA384 => HMAC_SHA384,
            other => return Err(CryptoError::UnsupportedHmacHash(other)),
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), data);
        let place = out.get_mut(..tag.as_ref().len()).ok_or(failed(CryptoOperation::ComputeHmac))?;
        place.copy_from_slice(tag.as_ref());
        Ok(tag.as_ref().len())
    }
}

impl KeyProvider for Ring {
    /// The key that was lent to this thread; the bytes are none.
    fn load_private_key(&self, _: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        let key = KEY.with_borrow(Clone::clone).ok_or(failed(CryptoOperation::LoadPrivateKey))?;
        Ok(Box::new(Signer(key)))
    }
}

struct Signer(Arc<PrivateKey>);

impl SigningKey for Signer {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            return Err(CryptoError::SigningKeyUnsupportedHash { group: NamedGroup::Secp256r1, hash });
        }
        let signature = self.0.sign(data).ok_or(failed(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(signature.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

impl SignatureVerifier for Ring {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        if algorithm != SignatureAlgorithm::ECDSA {
            return Err(CryptoError::UnsupportedSignatureAlgorithm(algorithm));
        }
        let signed = match hash {
            HashAlgorithm::SHA256 => SignedHash::Sha256,
            HashAlgorithm::SHA384 => SignedHash::Sha384,
            _ => return Err(CryptoError::UnsupportedPublicKeyAlgorithm),
        };
        let key = PublicKey::of(certificate).ok_or(CryptoError::UnsupportedPublicKeyAlgorithm)?;
        match key.verifies(data, signed, signature) {
            true => Ok(()),
            false => Err(failed(CryptoOperation::VerifySignature)),
        }
    }
}

/// A group of the key exchange.
#[derive(Debug)]
struct Group(NamedGroup);

impl Group {
    fn algorithm(&self) -> &'static ring::agreement::Algorithm {
        match self.0 {
            NamedGroup::Secp256r1 => &ECDH_P256,
            NamedGroup::Secp384r1 => &ECDH_P384,
            _ => &X25519,
        }
    }
}

impl SupportedKxGroup for Group {
    fn name(&self) -> NamedGroup {
        self.0
    }

    fn start_exchange(&self, mut public: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let generated = EphemeralPrivateKey::generate(self.algorithm(), &SystemRandom::new());
        let secret = generated.map_err(|_| failed(CryptoOperation::GenerateEphemeralKey))?;
        let own = secret.compute_public_key().map_err(|_| failed(CryptoOperation::ComputePublicKey))?;
        public.clear();
        public.extend_from_slice(own.as_ref());
        Ok(Box::new(Exchange { group: self.0, algorithm: self.algorithm(), secret, public }))
    }
}

struct Exchange {
    group: NamedGroup,
    algorithm: &'static ring::agreement::Algorithm,
    secret: EphemeralPrivateKey,
    public: Buf,
}

impl ActiveKeyExchange for Exchange {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn complete(self: Box<Self>, peer: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        let peer = UnparsedPublicKey::new(self.algorithm, peer);
        agree_ephemeral(self.secret, &peer, |shared| {
            out.clear();
            out.extend_from_slice(shared);
        })
        .map_err(|_| CryptoError::InvalidPublicKey(self.group))
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}

/// ECDHE with ECDSA and AES in GCM (RFC 5289).
#[derive(Debug)]
enum Suite {
    Aes128,
    Aes256,
}

impl Suite {
    fn cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let algorithm: &'static Algorithm = match self {
            Self::Aes128 => &AES_128_GCM,
            Self::Aes256 => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| failed(CryptoOperation::CreateCipher))?;
        Ok(Box::new(Gcm(LessSafeKey::new(key))))
    }
}

impl SupportedDtls12CipherSuite for Suite {
    fn suite(&self) -> Dtls12CipherSuite {
        match self {
            Self::Aes128 => Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256,
            Self::Aes256 => Dtls12CipherSuite::ECDHE_ECDSA_AES256_GCM_SHA384,
        }
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        match self {
            Self::Aes128 => HashAlgorithm::SHA256,
            Self::Aes256 => HashAlgorithm::SHA384,
        }
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        (0, if matches!(self, Self::Aes128) { 16 } else { 32 }, 4)
    }

    fn explicit_nonce_len(&self) -> usize {
        8
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        self.cipher(key)
    }
}

impl SupportedDtls13CipherSuite for Suite {
    fn suite(&self) -> Dtls13CipherSuite {
        Dtls13CipherSuite::AES_128_GCM_SHA256
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn key_len(&self) -> usize {
        16
    }

    fn iv_len(&self) -> usize {
        12
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        self.cipher(key)
    }

    fn encrypt_sn(&self, key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        let mut block = Block::<Aes128>::from(*sample);
        if let Ok(cipher) = Aes128::new_from_slice(key) {
            cipher.encrypt_block(&mut block);
        }
        block.into()
    }
}

struct Gcm(LessSafeKey);

fn nonce(nonce: &[u8]) -> Result<ring::aead::Nonce, CryptoError> {
    let nonce = nonce.first_chunk().ok_or(CryptoError::InvalidNonce)?;
    Ok(ring::aead::Nonce::assume_unique_for_key(*nonce))
}

impl Cipher for Gcm {
    fn encrypt(&mut self, plaintext: &mut Buf, aad: Aad, number: Nonce) -> Result<(), CryptoError> {
        let aad = ring::aead::Aad::from(&*aad);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(&number)?, aad, plaintext.as_mut())
            .map_err(|_| failed(CryptoOperation::Encrypt))?;
        plaintext.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// `dimpl` ends a handshake at a record that nobody with the keys has sent, although such a record is to be passed over
    /// (RFC 6347 §4.1.2.7). So it gets one in its place that it passes over, of which nothing is the sender's.
    fn decrypt(&mut self, ciphertext: &mut TmpBuf<'_>, aad: Aad, number: Nonce) -> Result<(), CryptoError> {
        let kind = aad.get(NUMBER_IN_AAD).copied();
        let mut aad = aad.to_vec();
        if let (Some(own), Some(told)) = (NUMBER.get(), aad.get_mut(..NUMBER_IN_AAD)) {
            told.copy_from_slice(&own);
        }
        let aad = ring::aead::Aad::from(&*aad);
        let opened = self.0.open_in_place(nonce(&number)?, aad, ciphertext.as_mut()).map(|plain| plain.len());
        let plain = match (opened, kind) {
            (Ok(plain), _) => plain,
            (Err(_), Some(HANDSHAKE)) => replace(ciphertext, &OLD_MESSAGE)?,
            (Err(_), Some(ALERT)) => replace(ciphertext, &WARNING)?,
            (Err(_), _) => return Err(failed(CryptoOperation::Decrypt)),
        };
        ciphertext.truncate(plain);
        Ok(())
    }
}

/// Writes this over the beginning of what could not be decrypted.
fn replace(ciphertext: &mut TmpBuf<'_>, by: &[u8]) -> Result<usize, CryptoError> {
    let place = ciphertext.as_mut().get_mut(..by.len()).ok_or(failed(CryptoOperation::Decrypt))?;
    place.copy_from_slice(by);
    Ok(by.len())
}

fn failed(operation: CryptoOperation) -> CryptoError {
    CryptoError::OperationFailed(operation)
}

/// Nothing that could tell a secret.
macro_rules! silent {
    ($($kind:ident),*) => {$(
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($kind))
            }
        }
    )*};
}

silent!(Hashing, Signer, Exchange, Gcm);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::Identity;

    #[test]
    fn the_librarys_own_test_vectors_hold() {
        provider().validate().unwrap();
    }

    #[test]
    fn a_private_key_is_there_only_while_it_is_lent() {
        let identity = Identity::generate().unwrap();
        assert!(Ring.load_private_key(&[]).is_err());
        assert!(with_key(&identity.key, || Ring.load_private_key(&[]).is_ok()));
        assert!(Ring.load_private_key(&[]).is_err());
        let panicked = std::panic::catch_unwind(|| with_key(&identity.key, || panic!("in between")));
        assert!(panicked.is_err() && Ring.load_private_key(&[]).is_err());
    }

    #[test]
    fn another_hash_is_not_signed_and_another_signature_not_taken() {
        let identity = Identity::generate().unwrap();
        let mut signer = Signer(Arc::clone(&identity.key));
        let mut signature = Buf::new();
        assert!(signer.sign(b"text", HashAlgorithm::SHA384, &mut signature).is_err());
        signer.sign(b"text", HashAlgorithm::SHA256, &mut signature).unwrap();
        let verify = |text: &[u8], hash, algorithm| {
            Ring.verify_signature(identity.certificate(), text, &signature, hash, algorithm).is_ok()
        };
        let ecdsa = SignatureAlgorithm::ECDSA;
        assert!(verify(b"text", HashAlgorithm::SHA256, ecdsa));
        assert!(!verify(b"texts", HashAlgorithm::SHA256, ecdsa));
        assert!(!verify(b"text", HashAlgorithm::SHA384, ecdsa));
        assert!(!verify(b"text", HashAlgorithm::SHA1, ecdsa));
        assert!(!verify(b"text", HashAlgorithm::SHA256, SignatureAlgorithm::RSA));
    }
}
