//! What is lost of a stream by the reports of others.

use super::*;

impl Model {
    /// Whether no report speaks of what a source sent last.
    fn is_unreported(&self, ssrc: u32) -> bool {
        let source = self.sources.get(&ssrc);
        self.present != Some(ssrc) || source.is_none_or(|source| source.acknowledged.is_none())
    }

    /// How many of those that are kept no more are lost at least with what left since then.
    pub(super) fn least_conceded(&mut self, since: u64) -> u64 {
        let missing = std::mem::take(&mut self.missing);
        let is_lost = |(ssrc, index, at): &(u32, i64, u64)| {
            let acknowledged = self.sources.get(ssrc).and_then(|source| source.acknowledged);
            self.is_unreported(*ssrc)
                && *at >= since
                && acknowledged.is_none_or(|(acknowledged, _)| *index > acknowledged)
        };
        let (lost, missing): (Vec<_>, _) = missing.into_iter().partition(is_lost);
        self.missing = missing;
        lost.len() as u64
    }

    /// What left since then, and no report can tell of, is lost: how many of those that are kept.
    pub(super) fn concede(&mut self, since: u64) -> u64 {
        let mut kept = std::mem::take(&mut self.kept);
        let mut lost = 0;
        for packet in kept.iter_mut().filter(|packet| !packet.is_void && packet.left_at() >= since) {
            let Some(left) = packet.left.as_ref().filter(|left| !left.failed) else { continue };
            let source = self.sources.get(&packet.ssrc());
            let is_told = |source: &Source| {
                let (Some((index, at)), Some((first, began))) = (source.acknowledged, source.reported) else {
                    return false;
                };
                let is_certain = at >= began + CUTS_FOUND || left.index > first;
                is_certain && (left.index <= index || !self.is_unreported(packet.ssrc()))
            };
            if !source.is_some_and(is_told) {
                packet.is_void = true;
                self.resent = self.resent.saturating_sub(u64::from(packet.again));
                self.sent -= 1;
                lost += 1;
            }
        }
        self.kept = kept;
        lost
    }
}
