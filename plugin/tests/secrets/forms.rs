//! The search for keys finds them, and derives those that it cannot be given.

use crate::derivation::session_keys;
use crate::secret::{Evidence, FRAGMENT, Form, Plants, Search, Secret};

/// Whether a part of `secret` is found in a text.
fn is_found(secret: &[u8], text: impl AsRef<[u8]>) -> bool {
    let mut search = Search::default();
    search.add(&Secret::new("it", secret), &Form::ALL);
    !search.find(text.as_ref()).is_empty()
}

const SECRET: &[u8; 14] = b"\x00\x01~secret\xFF\xFE\xFB\xF0\x0A";

#[test]
fn a_secret_is_found_however_it_is_written() {
    let base64 = |bytes: &[u8]| gst::glib::base64_encode(bytes).to_string();
    let hex: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    let texts = [
        format!("{SECRET:?}"),
        format!("{SECRET:#?}"),
        format!("{SECRET:x?}"),
        format!("{SECRET:#04x?}"),
        format!("{:?}", SECRET.map(|byte| format!("{byte:#04x}"))),
        format!("b\"{}\"", SECRET.escape_ascii()),
        hex.to_uppercase(),
        SECRET.map(|byte| format!("{byte:02x}")).join(":"),
        hex.chars().collect::<Vec<_>>().chunks(4).map(String::from_iter).collect::<Vec<_>>().join(" "),
        hex,
        base64(SECRET),
        base64(SECRET).trim_end_matches('=').to_owned(),
        base64(&[b"x", &SECRET[..]].concat()),
        base64(&[b"xx", &SECRET[..], b"xx"].concat()),
        base64(SECRET).replace('+', "-").replace('/', "_"),
    ];
    for text in texts {
        assert!(is_found(SECRET, format!("key={text};")), "{text}");
    }
    assert!(is_found(SECRET, [b"\xFF".as_slice(), SECRET, b"\xFF"].concat()));
}

#[test]
fn eight_bytes_anywhere_in_a_secret_are_found_and_seven_are_not() {
    for part in SECRET.windows(FRAGMENT) {
        assert!(is_found(SECRET, part) && is_found(SECRET, format!("{part:?}")), "{part:?}");
        assert!(!is_found(SECRET, &part[1..]) && !is_found(SECRET, format!("{:?}", &part[1..])), "{part:?}");
        let encoded = gst::glib::base64_encode(&[b"~", part, b"~"].concat());
        assert!(is_found(SECRET, &encoded), "{encoded}");
    }
    assert!(!is_found(SECRET, SECRET.map(|byte| byte ^ 1)));
    // In another case it is another key.
    assert!(!is_found(b"secretive", "SECRETIVE"));
}

#[test]
fn a_source_fails_where_it_says_a_secret_and_where_it_was_not_captured() {
    let secrets = [Secret::new("the key", SECRET)];
    let plants = Plants::in_all();
    let fails = |text: &str| {
        let mut evidence = Evidence::default();
        evidence.add("log", text.as_bytes());
        let judge = std::panic::AssertUnwindSafe(|| evidence.ensure_silent(&[("log", &plants)], &secrets));
        std::panic::catch_unwind(judge).is_err()
    };
    let whole = plants.text();
    assert!(!fails(&whole));
    assert!(fails(""));
    assert!(fails(&format!("{whole} {SECRET:?}")));
    // Every form counts.
    let parts: Vec<_> = whole.split(" ; ").collect();
    assert_eq!(parts.len(), Form::ALL.len());
    for missing in 0..parts.len() {
        let rest = parts.iter().enumerate().filter(|(place, _)| *place != missing).map(|(_, part)| *part);
        assert!(fails(&rest.collect::<Vec<_>>().join(" ; ")), "without {}", parts[missing]);
    }
}

#[test]
fn session_keys_are_those_of_rfc_3711_and_rfc_6188() {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    let of_rtp = |suite, master| {
        session_keys(suite, &bytes(master)).into_iter().map(|(_, key)| key).take(3).collect::<Vec<_>>()
    };
    // RFC 3711 B.3: the cipher key, the authentication key's first 20 bytes, the salt.
    let keys =
        of_rtp("AES_CM_128_HMAC_SHA1_80", "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    assert_eq!(keys[0], bytes("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(keys[1], bytes("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    assert_eq!(keys[2], bytes("30CBBC08863D8C85D49DB34A9AE1"));
    // RFC 6188 §7.2.
    let master =
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6 3b04803de51ee7c96423ab5b78d2";
    let keys = of_rtp("AES_256_CM_HMAC_SHA1_80", master);
    assert_eq!(keys[0], bytes("5BA1064E30EC51613CAD926C5A28EF731EC7FB397F70A960653CAF06554CD8C4"));
    assert_eq!(keys[1], bytes("FD9C32D39ED5FBB5A9DC96B30818454D1313DC05"));
    assert_eq!(keys[2], bytes("FA31791685CA444A9E07C6C64E93"));
}
