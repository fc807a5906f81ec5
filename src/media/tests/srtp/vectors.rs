//! Whole packets whose bytes are known. The keystreams, session keys and GCM packets that the RFCs print are tested
//! beside the code, since they begin with session keys.

use siprec_media::srtp::{Backend, Protector, Unprotector};
use siprec_model::{SrtpKey, SrtpSuite};

use crate::common::hex;

/// Master keys of RFC 3711 appendix B.3 and RFC 6188 §7.2, packets as libsrtp's own tests have them.
const PACKETS: [(SrtpSuite, &str, &str); 3] = [
    (
        SrtpSuite::AesCm128HmacSha1_80,
        "e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6",
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
    ),
    (
        SrtpSuite::AesCm128HmacSha1_32,
        "e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6",
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc",
    ),
    (
        SrtpSuite::AesCm256HmacSha1_80,
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b63b04803de51ee7c96423ab5b78d2",
        "800f1234decafbadcafebabef1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
    ),
];

#[test]
fn whole_packets_are_those_of_libsrtp() {
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    for (backend, (suite, master, expected)) in
        Backend::ALL.iter().flat_map(|backend| PACKETS.map(|packet| (*backend, packet)))
    {
        let key = SrtpKey::new(suite, &hex(master)).unwrap();
        let mut out = plain.clone();
        let mut protector = Protector::with_backend(&key, backend).unwrap();
        protector.protect_rtp(&mut out, plain.len(), 0xCAFE_BABE, 0x1234).unwrap();
        assert_eq!(out, hex(expected), "{suite} by {backend:?}");
        let mut call = Unprotector::with_backend(backend);
        call.add_key(&key).unwrap();
        let length = call.unprotect_rtp(&mut out).unwrap();
        assert_eq!(out[..length], plain);
    }
}
