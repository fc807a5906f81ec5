//! The reader of session descriptions.

use std::net::Ipv4Addr;

use siprec_sip::SessionDescription;
use siprec_sip::sdp::{MediaBuilder, Origin, SdpBuilder};

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
        for payload_type in media.payload_types() {
            assert!(payload_type < 128);
            let format = media.payload_format(payload_type);
            assert!(format.is_none_or(|format| format.clock_rate > 0 && !format.encoding.is_empty()));
        }
        assert!(media.stream_format().is_none_or(|format| !format.payloads.is_empty()));
    }
    let written = description.to_bytes();
    let again =
        SessionDescription::parse(&written).unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
    assert_eq!(again.to_bytes(), written, "what was written is read as the same");
    refuse(&description);
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
