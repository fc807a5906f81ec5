//! The reader of session descriptions.

use std::net::Ipv4Addr;

use siprec_model::{Fingerprint, FingerprintFault, Medium};
use siprec_session::PartySdp;
use siprec_sip::SessionDescription;
use siprec_sip::sdp::{Crypto, CryptoFault, MediaBuilder, Origin, SdpBuilder};

/// A description: everything that can be asked of it, and the answer that refuses all of it.
pub fn sdp(data: &[u8]) {
    let Ok(description) = SessionDescription::parse(data) else { return };
    let _ = (description.session_id(), description.version(), description.session_name());
    let _ = (description.attribute("group"), format!("{description:?}"));
    assert_eq!(description.media_count(), description.medias().count());
    for media in description.medias() {
        let _ = (media.direction(), media.connection(), media.rtcp(), media.rtcp_mux(), media.label());
        let _ = (media.proto(), media.kind(), media.formats().count(), media.attribute("crypto"));
        assert_eq!(media.is_off(), media.rtp().is_none() && media.port() == 0);
        assert!(media.ptime_ms().is_none_or(|ptime| (1..=10_000).contains(&ptime)));
        let formats = media.payload_formats();
        assert!(formats.len() <= 128, "a payload type means two things");
        for format in &formats {
            assert!(format.payload_type < 128 && format.clock_rate > 0 && !format.encoding.is_empty());
        }
        if let Some(last) = formats.last() {
            assert_eq!(media.payload_format(last.payload_type).as_ref(), Some(last));
        }
        assert!(media.stream_format().is_none_or(|format| !format.payloads.is_empty()));
        media.cryptos().for_each(check_crypto);
        assert!(!(media.is_dtls() && media.is_secured()), "keys come from one place");
        media.fingerprints().for_each(check_fingerprint);
        if let Some(Ok(setup)) = media.setup() {
            assert_eq!(setup.as_str().parse(), Ok(setup));
        }
        assert!(media.tls_id().is_none_or(|id| (20..=255).contains(&id.len())));
    }
    let written = description.to_bytes();
    let again = SessionDescription::parse(&written)
        .unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
    assert_eq!(again.to_bytes(), written, "what was written is read as the same");
    refuse(&description);
}

/// A line with keys is read as it was written, and neither it nor its fault shows a key.
fn check_crypto(line: Result<Crypto, CryptoFault>) {
    match line {
        Ok(line) => {
            assert!(!line.keys().is_empty());
            assert!(line.keys().iter().all(|key| key.suite() == line.suite()));
            assert_eq!(Crypto::parse(&line.to_value()).as_ref(), Ok(&line));
            assert!(!format!("{line:?}").contains("inline"));
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// A fingerprint is read as it was written.
fn check_fingerprint(fingerprint: Result<Fingerprint, FingerprintFault>) {
    match fingerprint {
        Ok(fingerprint) => {
            assert_eq!(fingerprint.digest().len(), fingerprint.hash().length());
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }
        Err(fault) => assert!((20..200).contains(&fault.to_string().len())),
    }
}

/// RFC 3264 §6: an answer has as many m-lines as its offer, and a refused one has port 0.
fn refuse(offer: &SessionDescription) {
    let address = Ipv4Addr::LOCALHOST.into();
    let mut answer = SdpBuilder::new(Origin { session_id: 1, version: 1, address }, "-", address);
    for media in offer.medias() {
        answer = answer.media(MediaBuilder::refusal(&media));
    }
    let Ok(answer) = answer.build() else { return };
    let answer = SessionDescription::parse(&answer.to_bytes()).unwrap();
    assert_eq!(answer.media_count(), offer.media_count());
    assert!(answer.medias().all(|media| media.is_off()));
}

/// The descriptions of a call's two parties, `%%` on a line of its own between them.
pub fn party_sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (own, other) = text.split_once("\n%%\n").unwrap_or((&text, ""));
    let own = match PartySdp::parse(own) {
        Ok(own) => own,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(!own.has_moved(&own), "it has not moved from itself");
    assert!(!own.is_mute(false) || own.is_mute(true), "who is silent without hold is silent with it");
    let other = PartySdp::parse(other).ok();
    for medium in [Medium::Audio, Medium::Video] {
        let count = own.lines(medium).count();
        for number in 0..=count {
            let Ok(format) = own.negotiated(other.as_ref(), medium, number) else { continue };
            assert_eq!(format.is_some(), number < count);
            let Some(format) = format else { continue };
            let mut numbers: Vec<_> = format.payloads.iter().map(|payload| payload.payload_type).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), format.payloads.len(), "a payload type means two things");
            assert_eq!(format.medium, medium);
        }
    }
    let mut placed = own.place(&[None, Some(Medium::Audio), Some(Medium::Video), None]);
    placed.retain(Option::is_some);
    let count = placed.len();
    placed.sort_unstable();
    placed.dedup();
    assert_eq!(placed.len(), count, "two streams have the same line");
}
