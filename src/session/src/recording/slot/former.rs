//! What a stream had before it had another codec: packets of it may still wait for a recorder.

use std::time::{Duration, Instant};

use siprec_model::{Medium, PayloadFormat, StreamFormat};

/// Most of them. A call that changes more often in so short a time loses the oldest.
const MOST: usize = 4;

/// Formats that a stream of audio has left.
#[derive(Debug, Default)]
pub(super) struct FormerFormats {
    /// Each with when it was left, the oldest first.
    left: Vec<(PayloadFormat, Instant)>,
    /// Those of them that are offered beside what the stream has now.
    offered: Vec<PayloadFormat>,
}

impl FormerFormats {
    /// What is offered beside what the stream has now.
    pub(super) fn offered(&self) -> &[PayloadFormat] {
        &self.offered
    }

    /// The stream has the formats of `next` from now on. What was recorded `before`, if anything, is remembered for so long, and offered
    /// where `waits` says that packets of it may wait for the present recorder. A number that means something else now cannot be told
    /// from what it meant.
    pub(super) fn leave(
        &mut self,
        before: Option<&StreamFormat>,
        next: &StreamFormat,
        (waits, remembered): (bool, Duration),
        now: Instant,
    ) {
        if next.medium != Medium::Audio {
            *self = Self::default();
            return;
        }
        let before = before.filter(|before| before.medium == Medium::Audio).into_iter();
        for format in before.flat_map(|before| &before.payloads) {
            // Of a number that it has left twice only the last meaning is known.
            self.left.retain(|(other, _)| other.payload_type != format.payload_type);
            self.left.push((format.clone(), now));
        }
        self.forget(next, remembered, now);
        self.offer(waits);
    }

    /// A recorder is invited: it gets all that is kept.
    pub(super) fn revive(&mut self, present: &StreamFormat, remembered: Duration, now: Instant) {
        self.forget(present, remembered, now);
        self.offer(true);
    }

    fn offer(&mut self, any: bool) {
        let formats = self.left.iter().rev().filter(|_| any).map(|(format, _)| format.clone());
        self.offered = formats.collect();
    }

    fn forget(&mut self, present: &StreamFormat, remembered: Duration, now: Instant) {
        let is_taken = |number| present.payloads.iter().any(|format| format.payload_type == number);
        self.left.retain(|(format, left)| !is_taken(format.payload_type) && now < *left + remembered);
        self.left.drain(..self.left.len().saturating_sub(MOST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(60);

    fn format(payload_type: u8, encoding: &str) -> StreamFormat {
        let payload = PayloadFormat {
            payload_type,
            encoding: encoding.to_owned(),
            clock_rate: 8000,
            channels: None,
            fmtp: None,
        };
        StreamFormat { medium: Medium::Audio, payloads: vec![payload], ptime_ms: None }
    }

    fn offered(former: &FormerFormats) -> Vec<u8> {
        former.offered().iter().map(|format| format.payload_type).collect()
    }

    #[test]
    fn what_a_stream_has_left_is_offered_where_packets_of_it_wait_and_to_whoever_is_next_for_a_time() {
        let (mut former, now) = (FormerFormats::default(), Instant::now());
        former.leave(Some(&format(0, "PCMU")), &format(8, "PCMA"), (false, KEPT), now);
        assert_eq!(offered(&former), []);
        former.revive(&format(8, "PCMA"), KEPT, now + KEPT / 2);
        assert_eq!(offered(&former), [0]);
        former.leave(Some(&format(8, "PCMA")), &format(9, "G722"), (true, KEPT), now + KEPT / 2);
        assert_eq!(offered(&former), [8, 0], "the newest first");
        former.revive(&format(9, "G722"), KEPT, now + KEPT);
        assert_eq!(offered(&former), [8]);
        former.leave(Some(&format(9, "G722")), &format(8, "PCMA"), (true, KEPT), now + KEPT);
        assert_eq!(offered(&former), [9], "it has the other one again");
    }

    #[test]
    fn a_number_has_one_meaning_and_there_are_few() {
        let (mut former, now) = (FormerFormats::default(), Instant::now());
        former.leave(Some(&format(96, "opus")), &format(97, "opus"), (true, KEPT), now);
        former.leave(Some(&format(97, "opus")), &format(96, "speex"), (true, KEPT), now);
        assert_eq!(offered(&former), [97]);
        for number in 96..110 {
            former.leave(Some(&format(number, "speex")), &format(number + 1, "speex"), (true, KEPT), now);
        }
        assert_eq!(offered(&former), [109, 108, 107, 106]);
        let mut video = format(97, "VP8");
        video.medium = Medium::Video;
        former.leave(Some(&format(110, "speex")), &video, (true, KEPT), now);
        assert_eq!(offered(&former), []);
    }
}
