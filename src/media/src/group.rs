//! What a full ring throws out together.

use std::time::Duration;

use siprec_model::{DropCause, Medium, VideoCodec};

use crate::account::Account;
use crate::entry::Entry;
use crate::keyframe::begins_keyframe;
use crate::ring::Ring;
use crate::rtp::RtpView;

/// Divides a stream into what belongs together: packets of audio stand alone, those of video in groups of pictures.
///
/// Of video, all up to the next packet that begins a key frame goes at once, so that what is left can be decoded from
/// its first picture on. Where no key frame is held behind the oldest packet, or none can be told because the codec
/// is unknown, it goes picture by picture: what is left cannot be decoded yet by most receivers, but by those that
/// keep packets, and by all where the source refreshes its pictures gradually; and it goes as soon as a key frame
/// has come behind it. Whoever opens the branch asks the source for one.
#[derive(Debug)]
pub(crate) struct Groups {
    medium: Medium,
    codec: Option<VideoCodec>,
    /// The newest key frame, by SSRC and timestamp: it begins once, however many of its packets look like it.
    newest: Option<(u32, u32)>,
}

impl Groups {
    pub(crate) fn new(medium: Medium) -> Self {
        Self { medium, codec: None, newest: None }
    }

    /// What the stream carries; whether that makes a difference to the packets judged before.
    pub(crate) fn describe(&mut self, medium: Medium, codec: Option<VideoCodec>) -> bool {
        let before = self.codec;
        self.medium = medium;
        self.codec = codec.filter(|_| medium == Medium::Video);
        if self.codec == before {
            return false;
        }
        self.newest = None;
        true
    }

    /// Whether what belongs together can be told.
    pub(crate) fn are_known(&self) -> bool {
        self.codec.is_some()
    }

    /// Whether a packet begins a group. Packets are judged in the order in which they came.
    pub(crate) fn begins(&mut self, packet: &RtpView<'_>) -> bool {
        let Some(codec) = self.codec else { return false };
        let picture = Some((packet.ssrc(), packet.timestamp()));
        if self.newest == picture || !begins_keyframe(codec, packet.payload()) {
            return false;
        }
        self.newest = picture;
        true
    }

    /// Throws out the oldest packet of a full ring and what belongs to it. `next` is the one behind when the ring
    /// holds no other.
    pub(crate) fn evict(
        &self,
        ring: &mut Ring,
        account: &mut Account,
        clock_rate: u32,
        next: Option<&Entry>,
    ) -> bool {
        let Some(oldest) = ring.discard() else { return false };
        let mut packets = 1;
        if self.medium == Medium::Video {
            let by_group = ring.groups() > 0;
            let belongs =
                |held: &Entry| if by_group { !held.begins() } else { held.is_same_picture(&oldest) };
            while ring.front().as_ref().is_some_and(belongs) {
                ring.discard();
                packets += 1;
            }
        }
        let span = self.span(&oldest, ring.front().as_ref().or(next), clock_rate);
        account.dropped(DropCause::RingFull, packets, span.unwrap_or(account.spacing), oldest.times.arrival);
        true
    }

    /// The time from one packet to a later one. For audio in the stream's own time: by RTP timestamp where that makes
    /// sense, else by arrival. For video by arrival, since its pictures may come in another order than they show.
    pub(crate) fn span(&self, from: &Entry, to: Option<&Entry>, clock_rate: u32) -> Option<Duration> {
        let to = to?;
        let ticks = to.header.timestamp.wrapping_sub(from.header.timestamp);
        if self.medium == Medium::Audio && from.header.ssrc == to.header.ssrc && ticks.cast_signed() >= 0 {
            let by_timestamp = Duration::from_nanos(u64::from(ticks) * 1_000_000_000 / u64::from(clock_rate));
            if by_timestamp < Duration::from_secs(10) {
                return Some(by_timestamp);
            }
        }
        Some(Duration::from_nanos(to.times.active().saturating_sub(from.times.active())))
    }
}
