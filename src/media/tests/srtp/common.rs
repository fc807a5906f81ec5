//! Keys and packets.

use siprec_media::srtp::{Backend, Protector, Unprotector};
use siprec_model::{SrtpKey, SrtpSuite};

pub(crate) const SSRC: u32 = 0xCAFE_BABE;

/// Bytes from hexadecimal digits; spaces do not count.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// A key that `seed` makes different from others.
pub(crate) fn key(suite: SrtpSuite, seed: u8) -> SrtpKey {
    let master: Vec<u8> =
        (0..suite.master_length()).map(|byte| (byte as u8).wrapping_mul(37) ^ seed).collect();
    SrtpKey::new(suite, &master).unwrap()
}

/// A packet of 160 bytes of payload.
pub(crate) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..160).map(|byte| byte as u8 ^ sequence as u8));
    packet
}

/// A sender report with a CNAME.
pub(crate) fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[7; 20]);
    packet.extend_from_slice(&[0x81, 202, 0, 3]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[1, 4, b'1', b'0', b'0', b'1', 0, 0]);
    packet
}

/// Every suite with every pair of backends: who protects, who unprotects.
pub(crate) fn everything() -> impl Iterator<Item = (SrtpSuite, Backend, Backend)> {
    SrtpSuite::ALL.into_iter().flat_map(|suite| {
        Backend::ALL.iter().flat_map(move |one| Backend::ALL.iter().map(move |other| (suite, *one, *other)))
    })
}

/// Two ends of one key.
pub(crate) fn ends(key: &SrtpKey, one: Backend, other: Backend) -> (Protector, Unprotector) {
    let mut unprotector = Unprotector::with_backend(other);
    unprotector.add_key(key).unwrap();
    (Protector::with_backend(key, one).unwrap(), unprotector)
}

/// A packet under an index, protected.
pub(crate) fn protected(protector: &mut Protector, ssrc: u32, index: u64) -> Vec<u8> {
    let mut out = rtp(ssrc, index as u16);
    let length = out.len();
    let length = protector.protect_rtp(&mut out, length, ssrc, index).unwrap();
    assert_eq!(length, out.len());
    out
}

/// A report, protected.
pub(crate) fn protected_rtcp(protector: &mut Protector, ssrc: u32) -> Vec<u8> {
    let mut out = rtcp(ssrc);
    let length = out.len();
    let length = protector.protect_rtcp(&mut out, length).unwrap();
    assert_eq!(length, out.len());
    out
}

/// Unprotects a copy: the sequence number of what came out, which must be the packet that went in.
pub(crate) fn unprotected(
    unprotector: &mut Unprotector,
    packet: &[u8],
) -> Result<u16, siprec_media::srtp::UnprotectFault> {
    let mut packet = packet.to_vec();
    let before = packet.clone();
    match unprotector.unprotect_rtp(&mut packet) {
        Ok(length) => {
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
            assert_eq!(packet[..length], rtp(ssrc, sequence));
            Ok(sequence)
        }
        Err(fault) => {
            assert_eq!(packet, before, "a packet that is refused stays as it was");
            Err(fault)
        }
    }
}
