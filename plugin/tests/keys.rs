//! `crypto-caps`: the `a=crypto` line of a session description as caps that GStreamer's `srtpdec` takes.
#![cfg(test)]

mod common;

use common::srtp::{Decoder, Encoder, SUITES, base64};
use common::{rtp_bytes, siprectee};
use gst::prelude::*;

fn crypto_caps(line: &str) -> Option<gst::Caps> {
    siprectee().emit_by_name("crypto-caps", &[&line])
}

#[test]
fn srtpdec_decrypts_every_suite_with_the_caps_of_its_line() {
    for (number, suite) in SUITES.into_iter().enumerate() {
        let key = suite.key(number as u8);
        let line = format!("a=crypto:1 {} inline:{}|2^31", suite.name, base64(&key));
        let decoder = Decoder::new(&crypto_caps(&line).unwrap());
        let encoder = Encoder::new(suite, &key, None);
        for sequence in 0..5 {
            let packet = encoder.protect(rtp_bytes(sequence));
            assert_eq!(packet.len(), rtp_bytes(sequence).len() + suite.tag, "{suite:?}");
            assert_eq!(decoder.unprotect(&packet), Some(rtp_bytes(sequence)), "{suite:?}");
        }
    }
}

#[test]
fn srtpdec_tells_the_keys_of_one_line_apart_by_their_identifiers() {
    for suite in SUITES {
        let (first, second) = (suite.key(1), suite.key(2));
        let line = format!(
            "1 {} inline:{}|2^20|1:4;inline:{}|2^20|258:4",
            suite.name,
            base64(&first),
            base64(&second)
        );
        let decoder = Decoder::new(&crypto_caps(&line).unwrap());
        for (sequence, (key, mki)) in [(first, [0, 0, 0, 1]), (second, [0, 0, 1, 2])].into_iter().enumerate()
        {
            let packet = rtp_bytes(sequence as u16);
            let sent = Encoder::new(suite, &key, Some(&mki)).protect(packet.clone());
            assert_eq!(decoder.unprotect(&sent), Some(packet), "{suite:?}");
        }
    }
}

#[test]
fn a_line_that_cannot_be_used_has_no_caps() {
    for line in ["", "a=sendrecv", "1 AEAD_AES_128_GCM inline:AAAA", "1 AES_CM_128_HMAC_SHA1_80 inline:€"] {
        assert_eq!(crypto_caps(line), None, "{line}");
    }
    let none: Option<gst::Caps> = siprectee().emit_by_name("crypto-caps", &[&None::<String>]);
    assert_eq!(none, None);
}
