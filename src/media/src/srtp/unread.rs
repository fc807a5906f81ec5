//! Packets of known sources that no key fits.

use super::rollover::Followed;

/// How far known sources have gone in packets that no key has fitted since the last authentic one, by their headers.
///
/// It is another guess than what was followed: headers that are not authentic may be forged. So the next authentic packet
/// of a source disproves all of it, and only where another key comes, or what nobody decrypts, does it count.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    followed: Followed,
}

impl Unread {
    /// Notes the header of a packet that no key has fitted.
    pub(crate) fn note(&mut self, ssrc: u32, sequence: u16) {
        self.followed.note(ssrc, sequence, || Followed::somewhere(sequence));
    }

    /// A packet of the source was authentic: it is known better where it is.
    pub(crate) fn forget(&mut self, ssrc: u32) {
        if !self.followed.is_empty() {
            self.followed.forget(ssrc);
        }
    }

    /// Counts the wraps among the packets into what was `followed` before them, and begins anew behind them. `start` is the
    /// index of a source that is not followed there, by its sequence number.
    pub(crate) fn count(&mut self, followed: &mut Followed, start: impl Fn(u16) -> u64) {
        if !self.followed.is_empty() {
            followed.catch_up(&self.followed, |_, sequence| start(sequence));
            self.followed.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGHEST: u64 = (7 << 16) + 1000;

    fn known() -> Followed {
        let mut followed = Followed::default();
        followed.set(1, HIGHEST);
        followed
    }

    fn noted(unread: &mut Unread, from: u64, to: u64) {
        (from..=to).for_each(|index| unread.note(1, index as u16));
    }

    #[test]
    fn wraps_are_counted_once_and_from_where_the_source_was() {
        let (mut unread, mut followed) = (Unread::default(), known());
        noted(&mut unread, HIGHEST + 10, HIGHEST + 200_000);
        assert_eq!(followed.highest(1), Some(HIGHEST));
        for _ in 0..2 {
            unread.count(&mut followed, |_| 0);
            assert_eq!(followed.highest(1), Some(HIGHEST + 200_000));
        }
        noted(&mut unread, HIGHEST + 200_010, HIGHEST + 400_000);
        unread.count(&mut followed, |_| 0);
        assert_eq!(followed.highest(1), Some(HIGHEST + 400_000));
    }

    #[test]
    fn a_source_that_is_not_followed_any_more_begins_where_it_is_told() {
        let (mut unread, mut followed) = (Unread::default(), Followed::default());
        noted(&mut unread, 65_000, 70_000);
        unread.count(&mut followed, |sequence| (5 << 16) | u64::from(sequence));
        assert_eq!(followed.highest(1), Some((5 << 16) + 70_000));
    }

    #[test]
    fn an_authentic_packet_disproves_what_came_before_it_of_its_source_alone() {
        let (mut unread, mut followed) = (Unread::default(), known());
        followed.set(2, HIGHEST);
        noted(&mut unread, HIGHEST + 10, HIGHEST + 200_000);
        (0..200_000).for_each(|number| unread.note(2, (HIGHEST + number) as u16));
        unread.forget(1);
        unread.count(&mut followed, |_| 0);
        assert_eq!((followed.highest(1), followed.highest(2)), (Some(HIGHEST), Some(HIGHEST + 199_999)));
    }
}
