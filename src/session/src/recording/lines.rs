//! Which m-line of a session each stream has.

use siprec_model::Medium;
use siprec_sip::sdp::MAX_MEDIA;

/// The m-lines of one session in their order. They never become fewer while the session lives (RFC 3264 §8), and none
/// changes its medium.
#[derive(Clone, Debug, Default)]
pub(super) struct LineTable {
    lines: Vec<Line>,
}

/// One m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) medium: Medium,
    /// Number of the stream that it carries.
    pub(super) owner: Option<u16>,
}

/// A stream that wants an m-line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) number: u16,
    pub(super) pad: u16,
    pub(super) medium: Medium,
    pub(super) dn: &'a str,
}

/// What became of a claim within a session that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// The stream has its line.
    Placed,
    /// A stream that has ended still uses the line.
    Waits,
    /// The session has as many lines as it may.
    Full,
}

impl LineTable {
    /// The lines of a new session (`protocol` 1.2): first at least `audio_lines` for audio, in the order of the pads,
    /// then video in the order of its parties' audio. An earlier party without video has a line for it, empty, so that
    /// the order says whose each is. Streams beyond the most that a session may have get none.
    pub(super) fn lay_out(&mut self, claims: &[Claim<'_>], audio_lines: usize) {
        let empty = |medium| Line { medium, owner: None };
        self.lines = vec![empty(Medium::Audio); audio_lines];
        let of = |medium| claims.iter().filter(move |claim| claim.medium == medium);
        let mut free = Vec::new();
        for claim in of(Medium::Audio) {
            match self.lines.get_mut(usize::from(claim.pad)) {
                Some(line) if line.owner.is_none() => line.owner = Some(claim.number),
                _ => free.push(claim),
            }
        }
        for claim in free {
            self.fill(Medium::Audio, claim.number);
        }
        let audio: Vec<Option<&str>> = self.lines.iter().map(|line| owner(claims, *line)).collect();
        let rank = |claim: &Claim<'_>| {
            audio.iter().position(|dn| dn.is_some_and(|dn| !dn.is_empty() && dn == claim.dn))
        };
        let mut video: Vec<_> = of(Medium::Video).map(|claim| (rank(claim), claim)).collect();
        video.sort_by_key(|(rank, claim)| (rank.unwrap_or(usize::MAX), claim.pad));
        for (rank, claim) in video {
            let place = rank.filter(|rank| *rank < audio_lines).map_or(0, |rank| audio.len() + rank);
            while self.lines.len() < place {
                self.lines.push(empty(Medium::Video));
            }
            self.lines.push(Line { medium: Medium::Video, owner: Some(claim.number) });
        }
        self.lines.truncate(MAX_MEDIA);
    }

    /// Finds a line for a stream that comes later (`protocol` rule 2.1): one that nobody uses any more, else a new one.
    /// `is_leaving` tells of the streams whose lines will soon be free, which are waited for.
    pub(super) fn place(
        &mut self,
        claim: &Claim<'_>,
        may_append: bool,
        is_leaving: impl Fn(u16) -> bool,
    ) -> Placing {
        let fits = |line: &&mut Line| line.medium == claim.medium;
        if self.index(claim.number).is_some() {
            return Placing::Placed;
        }
        if let Some(line) = self.lines.iter_mut().filter(fits).find(|line| line.owner.is_none()) {
            line.owner = Some(claim.number);
            return Placing::Placed;
        }
        if self.lines.iter_mut().filter(fits).any(|line| line.owner.is_some_and(&is_leaving)) || !may_append {
            return Placing::Waits;
        }
        if self.lines.len() >= MAX_MEDIA {
            return Placing::Full;
        }
        self.lines.push(Line { medium: claim.medium, owner: Some(claim.number) });
        Placing::Placed
    }

    /// The stream uses its line no more.
    pub(super) fn release(&mut self, number: u16) {
        for line in self.lines.iter_mut().filter(|line| line.owner == Some(number)) {
            line.owner = None;
        }
    }

    /// Which line a stream has.
    pub(super) fn index(&self, number: u16) -> Option<usize> {
        self.lines.iter().position(|line| line.owner == Some(number))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Line> + '_ {
        self.lines.iter().copied()
    }

    fn fill(&mut self, medium: Medium, number: u16) {
        match self.lines.iter_mut().find(|line| line.medium == medium && line.owner.is_none()) {
            Some(line) => line.owner = Some(number),
            None => self.lines.push(Line { medium, owner: Some(number) }),
        }
    }
}

/// The DN behind a line; None where it is empty.
fn owner<'a>(claims: &[Claim<'a>], line: Line) -> Option<&'a str> {
    let number = line.owner?;
    claims.iter().find(|claim| claim.number == number).map(|claim| claim.dn)
}

#[cfg(test)]
mod tests {
    use Medium::{Audio, Video};

    use super::*;

    fn claim(number: u16, medium: Medium, dn: &str) -> Claim<'_> {
        Claim { number, pad: number, medium, dn }
    }

    fn laid_out(claims: &[Claim<'_>], audio_lines: usize) -> LineTable {
        let mut table = LineTable::default();
        table.lay_out(claims, audio_lines);
        table
    }

    fn lines(table: &LineTable) -> Vec<(Medium, Option<u16>)> {
        table.iter().map(|line| (line.medium, line.owner)).collect()
    }

    #[test]
    fn both_parties_have_an_audio_line_each_whether_they_are_there_or_not() {
        assert_eq!(lines(&laid_out(&[claim(1, Audio, "B")], 2)), [(Audio, None), (Audio, Some(1))]);
    }

    #[test]
    fn video_follows_the_audio_in_the_parties_order() {
        let claims = [claim(0, Audio, "A"), claim(1, Audio, "B"), claim(2, Video, "B"), claim(3, Video, "A")];
        let expected = [(Audio, Some(0)), (Audio, Some(1)), (Video, Some(3)), (Video, Some(2))];
        assert_eq!(lines(&laid_out(&claims, 2)), expected);
    }

    #[test]
    fn the_second_partys_video_leaves_room_for_the_firsts() {
        let claims = [claim(0, Audio, "A"), claim(1, Audio, "B"), claim(2, Video, "B")];
        let expected = [(Audio, Some(0)), (Audio, Some(1)), (Video, None), (Video, Some(2))];
        assert_eq!(lines(&laid_out(&claims, 2)), expected);
    }

    #[test]
    fn pads_in_any_order_make_audio_first() {
        let claims = [claim(0, Audio, "A"), claim(1, Video, "A"), claim(2, Audio, "B"), claim(3, Video, "B")];
        let expected = [(Audio, Some(0)), (Audio, Some(2)), (Video, Some(1)), (Video, Some(3))];
        assert_eq!(lines(&laid_out(&claims, 2)), expected);
    }

    #[test]
    fn one_partys_session_has_its_streams_only() {
        let claims = [claim(1, Audio, "B"), claim(3, Video, "B")];
        assert_eq!(lines(&laid_out(&claims, 0)), [(Audio, Some(1)), (Video, Some(3))]);
    }

    #[test]
    fn a_new_stream_takes_the_line_of_one_that_is_gone() {
        let mut table = laid_out(&[claim(0, Audio, "A"), claim(1, Audio, "B")], 2);
        let new = claim(2, Audio, "C");
        assert_eq!(table.place(&new, true, |number| number == 1), Placing::Waits);
        table.release(1);
        assert_eq!(table.place(&new, true, |_| false), Placing::Placed);
        assert_eq!(lines(&table), [(Audio, Some(0)), (Audio, Some(2))]);
    }

    #[test]
    fn a_line_never_changes_its_medium() {
        let mut table = laid_out(&[claim(0, Audio, "A"), claim(1, Audio, "B")], 2);
        table.release(1);
        assert_eq!(table.place(&claim(2, Video, "A"), true, |_| false), Placing::Placed);
        assert_eq!(lines(&table), [(Audio, Some(0)), (Audio, None), (Video, Some(2))]);
    }

    #[test]
    fn a_session_has_at_most_so_many_lines() {
        let mut table = laid_out(&[], 2);
        for number in 0..64 {
            assert_eq!(table.place(&claim(number, Audio, ""), true, |_| false), Placing::Placed);
        }
        assert_eq!(table.place(&claim(64, Audio, ""), true, |_| false), Placing::Full);
        assert_eq!(table.place(&claim(63, Audio, ""), true, |_| false), Placing::Placed);
    }
}
