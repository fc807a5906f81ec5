//! AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1 and §4.2, RFC 6188).

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::{CtrCore, flavors};
use siprec_model::SrtpKey;
use zeroize::Zeroizing;

use super::derivation::{Purpose, SessionKeys};
use super::hmac_sha1::HmacSha1;
use super::policy::{Policy, Protection};
use super::transform::{ENCRYPTED, INDEX_WORD, Refused, Transform, split_end};

/// The first counter block; its last two bytes count blocks (RFC 3711 §4.1.1).
pub(crate) type Iv = [u8; 16];

/// The keystream that begins with the block `iv`. The key schedule is borrowed, not copied.
pub(crate) fn keystream<'a, C>(
    cipher: &'a C,
    iv: &Iv,
) -> StreamCipherCoreWrapper<CtrCore<&'a C, flavors::Ctr32BE>>
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    // 32 bits of counter are more than the 16 that a packet can use up.
    StreamCipherCoreWrapper::from_core(CtrCore::inner_iv_init(cipher, &(*iv).into()))
}

/// The session keys of one master key, with AES of the size that `C` has.
pub(crate) struct CounterMode<C> {
    rtp: Keyed<C>,
    rtcp: Keyed<C>,
}

/// Key schedule, salt and HMAC key of RTP or of RTCP.
struct Keyed<C> {
    /// `None`: the NULL cipher.
    cipher: Option<C>,
    salt: Zeroizing<Iv>,
    /// `None`: no authentication.
    mac: Option<HmacSha1>,
    tag: usize,
}

impl<C> CounterMode<C>
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
{
    pub(crate) fn new(key: &SrtpKey, policy: &Policy) -> Result<Self, Refused> {
        Ok(Self {
            rtp: Keyed::new(&SessionKeys::derive(key, Purpose::Rtp), policy.rtp())?,
            rtcp: Keyed::new(&SessionKeys::derive(key, Purpose::Rtcp), policy.rtcp())?,
        })
    }
}

impl<C> Transform for CounterMode<C>
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit + Send,
{
    fn seal_rtp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), Refused> {
        let keys = &self.rtp;
        let (packet, tag) = keys.split_tag(packet)?;
        keys.apply(packet, header, ssrc, index)?;
        keys.write_tag(tag, packet, Some(rollover(index)));
        Ok(())
    }

    fn open_rtp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), Refused> {
        let keys = &self.rtp;
        let (packet, tag) = keys.split_tag(packet)?;
        keys.verify(tag, packet, Some(rollover(index)))?;
        keys.apply(packet, header, ssrc, index)
    }

    fn seal_rtcp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, word: u32) -> Result<(), Refused> {
        let keys = &self.rtcp;
        let (packet, tag) = keys.split_tag(packet)?;
        let (plain, index_word) = split_end(packet, INDEX_WORD)?;
        keys.apply(plain, header, ssrc, u64::from(word & !ENCRYPTED))?;
        index_word.copy_from_slice(&word.to_be_bytes());
        // RFC 3711 §3.4: the word with the index is authenticated with the packet.
        keys.write_tag(tag, packet, None);
        Ok(())
    }

    fn open_rtcp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, word: u32) -> Result<(), Refused> {
        let keys = &self.rtcp;
        let (packet, tag) = keys.split_tag(packet)?;
        keys.verify(tag, packet, None)?;
        let (plain, _) = split_end(packet, INDEX_WORD)?;
        keys.apply(plain, header, ssrc, u64::from(word & !ENCRYPTED))
    }

    fn spoils_what_it_refuses(&self) -> bool {
        // The tag is judged before a byte is touched.
        false
    }
}

impl<C> Keyed<C>
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
{
    fn new(keys: &SessionKeys, protection: Protection) -> Result<Self, Refused> {
        let cipher = match protection.is_encrypted() {
            true => Some(C::new_from_slice(keys.cipher()).map_err(|_| Refused)?),
            false => None,
        };
        let mac = (protection.tag_length() > 0).then(|| HmacSha1::new(keys.authentication()));
        let mut salt = Zeroizing::new(Iv::default());
        for (byte, derived) in salt.iter_mut().zip(keys.salt()) {
            *byte = *derived;
        }
        Ok(Self { cipher, salt, mac, tag: protection.tag_length() })
    }

    fn split_tag<'a>(&self, packet: &'a mut [u8]) -> Result<(&'a mut [u8], &'a mut [u8]), Refused> {
        split_end(packet, self.tag)
    }

    /// Encrypts or decrypts what follows the header.
    fn apply(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), Refused> {
        let Some(cipher) = &self.cipher else { return Ok(()) };
        let payload = packet.get_mut(header..).ok_or(Refused)?;
        // RFC 3711 §4.1.1: IV = (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16).
        let numbers = (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        let iv = (u128::from_be_bytes(*self.salt) ^ numbers).to_be_bytes();
        keystream(cipher, &iv).try_apply_keystream(payload).map_err(|_| Refused)
    }

    fn write_tag(&self, tag: &mut [u8], authenticated: &[u8], rollover: Option<[u8; 4]>) {
        let Some(mac) = &self.mac else { return };
        for (byte, made) in tag.iter_mut().zip(mac.tag(authenticated, rollover)) {
            *byte = made;
        }
    }

    fn verify(&self, tag: &[u8], authenticated: &[u8], rollover: Option<[u8; 4]>) -> Result<(), Refused> {
        let Some(mac) = &self.mac else { return Ok(()) };
        mac.verifies(tag, authenticated, rollover).then_some(()).ok_or(Refused)
    }
}

/// RFC 3711 §4.2: an RTP packet is authenticated with its rollover counter behind it.
fn rollover(index: u64) -> [u8; 4] {
    let [.., a, b, c, d, _, _] = index.to_be_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use aes::{Aes128Enc, Aes256Enc};

    use super::*;
    use crate::srtp::vectors::hex;

    /// Blocks of a keystream by their numbers.
    fn blocks<C>(key: &str, iv: &str, numbers: &[usize]) -> Vec<Vec<u8>>
    where
        C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
    {
        let cipher = C::new_from_slice(&hex(key)).unwrap();
        let mut stream = vec![0; 0xFF02 * 16];
        keystream(&cipher, &hex(iv).try_into().unwrap()).apply_keystream(&mut stream);
        numbers.iter().map(|number| stream[number * 16..][..16].to_vec()).collect()
    }

    #[test]
    fn the_keystream_is_that_of_rfc_3711_appendix_b_2() {
        let key = "2B7E151628AED2A6ABF7158809CF4F3C";
        let iv = "F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000";
        let numbers = [0, 1, 2, 0xFEFF, 0xFF00, 0xFF01];
        let expected = [
            "E03EAD0935C95E80E166B16DD92B4EB4",
            "D23513162B02D0F72A43A2FE4A5F97AB",
            "41E95B3BB0A2E8DD477901E4FCA894C0",
            "EC8CDF7398607CB0F2D21675EA9EA1E4",
            "362B7C3C6773516318A077D7FC5073AE",
            "6A2CC3787889374FBEB4C81B17BA6C44",
        ];
        assert_eq!(blocks::<Aes128Enc>(key, iv, &numbers), expected.map(hex));
    }

    #[test]
    fn the_keystream_is_that_of_rfc_6188_section_7_1() {
        let key = "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98";
        let iv = "F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000";
        let numbers = [0, 1, 2, 0xFEFF, 0xFF00, 0xFF01];
        let expected = [
            "92bdd28a93c3f52511c677d08b5515a4",
            "9da71b2378a854f67050756ded165bac",
            "63c4868b7096d88421b563b8c94c9a31",
            "cea518c90fd91ced9cbb18c078a54711",
            "3dbc4814f4da5f00a08772b63c6a046d",
            "6eb246913062a16891433e97dd01a57f",
        ];
        assert_eq!(blocks::<Aes256Enc>(key, iv, &numbers), expected.map(hex));
    }
}
