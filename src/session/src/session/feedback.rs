//! What one side may ask the other for between reports (RFC 4585 §4.2, RFC 5104 §7.1).

use siprec_model::Medium;
use siprec_sip::sdp::{MediaBuilder, MediaView};

/// The values of an m-line's `a=rtcp-fb` that we know. All others are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Feedback {
    /// Packets that have not come (`nack`).
    pub(crate) packets: bool,
    /// A key frame, since pictures were lost (`nack pli`).
    pub(crate) picture_loss: bool,
    /// A key frame (`ccm fir`).
    pub(crate) full_intra: bool,
}

impl Feedback {
    /// What a recorder may ask for of a medium; nothing where it knows no feedback.
    pub(super) fn offered(known: bool, medium: Medium) -> Self {
        let video = known && medium == Medium::Video;
        Self { packets: known, picture_loss: video, full_intra: video }
    }

    /// What an m-line has, for whichever of its formats.
    pub(super) fn of(media: &MediaView<'_>) -> Self {
        let has = |words: &[&str]| {
            media
                .values("rtcp-fb")
                .any(|value| value.split_ascii_whitespace().skip(1).eq(words.iter().copied()))
        };
        Self {
            packets: has(&["nack"]),
            picture_loss: has(&["nack", "pli"]),
            full_intra: has(&["ccm", "fir"]),
        }
    }

    /// What both have.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets && other.packets,
            picture_loss: self.picture_loss && other.picture_loss,
            full_intra: self.full_intra && other.full_intra,
        }
    }

    /// Writes it into an m-line.
    ///
    /// RFC 4585 §4.2 has this attribute under AVPF and SAVPF only. Those profiles would be a refusal by every recorder that
    /// does not know them; under the others, who does not know the attribute passes over it (RFC 8866 §5.13), and who
    /// repeats it in an answer has agreed to what it says. Only then is anything sent again.
    pub(super) fn write(self, media: MediaBuilder) -> MediaBuilder {
        let values =
            [(self.packets, "* nack"), (self.picture_loss, "* nack pli"), (self.full_intra, "* ccm fir")];
        let present = values.into_iter().filter_map(|(present, value)| present.then_some(value));
        present.fold(media, |media, value| media.attribute("rtcp-fb", value))
    }
}
