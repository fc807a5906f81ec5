//! What is known of the keys of one encrypted stream of the call, and whose keys are still to be asked for.

use std::time::{Duration, Instant};

use siprec_engine::Tap;
use siprec_media::srtp::{CallKey, MAX_KEYS, Passed};
use siprec_media::{RtpView, fixed_header};
use siprec_model::{SrtpKey, SrtpSuite};

use crate::asked::Asked;
use crate::keys::CallKeys;
use crate::rollover::RolloverDoubt;

/// The keys of a stream, from its caps, its party's session description and whoever answered `request-key`.
#[derive(Debug, Default)]
pub(crate) struct Secrecy {
    /// The one that was given, or was seen in use, last at the end.
    keys: Vec<CallKey>,
    given: Given,
    /// Sources that somebody was asked for.
    asked: Asked,
    /// Those whose answer is not here yet.
    open: Vec<u32>,
    /// Nearly every packet is of the same source as the one before.
    latest: Option<u32>,
    /// Where the stream was when its last tap went, and what has passed since.
    passed: Passed,
    /// Something of the stream could be read.
    was_read: bool,
    /// A source is not asked for yet, and that is to be told.
    put_off: bool,
    /// When that was so last.
    put_off_at: Option<Instant>,
}

/// So long after a source was put off the next one is told of.
const BURST_END: Duration = Duration::from_secs(10);

/// What packets that have just passed want of the application.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Sources whose keys are to be asked for.
    pub(crate) sources: Vec<u32>,
    /// A source of them is not asked for yet, the first one of a burst.
    pub(crate) put_off: bool,
}

impl Wants {
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty() && !self.put_off
    }
}

/// Whose keys the caps give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Given {
    #[default]
    Nobodys,
    Everybodys,
    Of(u32),
}

impl Secrecy {
    /// What caps say replaces what caps said; their sources may be asked for again. `described` are the keys of the
    /// party's session description. Gives what both say that is to be told: a rollover counter once.
    pub(crate) fn renew(&mut self, caps: Option<CallKeys>, described: Vec<CallKey>) -> Vec<CallKey> {
        self.given = match caps.as_ref().map(|caps| caps.ssrc) {
            None => Given::Nobodys,
            Some(None) => Given::Everybodys,
            Some(Some(ssrc)) => Given::Of(ssrc),
        };
        self.asked.clear();
        self.latest = None;
        let given = described.into_iter().chain(caps.into_iter().flat_map(CallKeys::into_keys));
        given
            .map(|key| match self.add(key.clone()) {
                true => key,
                // It was the counter of then.
                false => CallKey { roc: None, ssrc: None, ..key },
            })
            .collect()
    }

    /// Adds a key, unless it is there.
    pub(crate) fn add(&mut self, key: CallKey) -> bool {
        if let Some(place) = self.keys.iter().position(|known| *known == key) {
            let known = self.keys.remove(place);
            self.keys.push(known);
            return false;
        }
        if self.keys.len() >= MAX_KEYS {
            self.keys.remove(0);
        }
        self.keys.push(key);
        true
    }

    /// Takes note of the keys that a tap has used since it was last asked: they go last when there are too many.
    pub(crate) fn heed(&mut self, tap: &Tap) {
        self.note_used(&tap.take_used_keys());
    }

    /// Whether a wrong rollover counter may be why what comes cannot be read.
    pub(crate) fn rollover_doubt(&self) -> RolloverDoubt {
        if self.keys.iter().any(|key| key.roc.is_some()) {
            RolloverDoubt::Given
        } else if self.was_read {
            RolloverDoubt::None
        } else {
            RolloverDoubt::Joined
        }
    }

    fn note_used(&mut self, used: &[SrtpKey]) {
        self.was_read |= !used.is_empty();
        self.keys
            .sort_by_key(|known| used.iter().position(|key| *key == known.key).map_or(0, |place| place + 1));
    }

    /// Whether an answer is awaited.
    pub(crate) fn is_asking(&self) -> bool {
        !self.open.is_empty()
    }

    /// Every key, the one that was given or used last at the end.
    pub(crate) fn keys(&self) -> &[CallKey] {
        &self.keys
    }

    /// The suite of the stream, where all keys are of one.
    pub(crate) fn suite(&self) -> Option<SrtpSuite> {
        common_suite(&self.keys)
    }

    /// Looks at a packet. Gives its source when somebody should be asked for its key. What is no RTP has none, RTCP on the
    /// same way too (RFC 5761 §4).
    pub(crate) fn meet(&mut self, packet: &[&[u8]], now: Instant) -> Option<u32> {
        let header = fixed_header(packet)?;
        let (ssrc, sequence) = RtpView::numbered_source(&header)?;
        if self.latest == Some(ssrc) {
            return None;
        }
        let is_given = match self.given {
            Given::Nobodys => false,
            Given::Everybodys => true,
            Given::Of(given) => given == ssrc,
        };
        let is_new = !is_given && self.asked.admit(ssrc, sequence, now);
        if !is_given && !self.asked.knows(ssrc) {
            self.put_off(now);
        }
        // One that was put off is looked at again.
        if is_given || self.asked.knows(ssrc) {
            self.latest = Some(ssrc);
        }
        is_new.then(|| {
            self.open.push(ssrc);
            ssrc
        })
    }

    /// Whether a source was put off that is to be told of. It is, from here on.
    pub(crate) fn takes_put_off(&mut self) -> bool {
        std::mem::take(&mut self.put_off)
    }

    fn put_off(&mut self, now: Instant) {
        let before = self.put_off_at.replace(now);
        self.put_off |= before.is_none_or(|before| now.saturating_duration_since(before) >= BURST_END);
    }

    /// The question for a source was answered.
    pub(crate) fn settle(&mut self, ssrc: u32) {
        self.open.retain(|open| *open != ssrc);
    }

    /// A source is to be asked for again, even where the caps gave its key.
    pub(crate) fn forget(&mut self, ssrc: u32) {
        if matches!(self.given, Given::Everybodys) || self.given == Given::Of(ssrc) {
            self.given = Given::Nobodys;
        }
        self.asked.forget(ssrc);
        self.latest = None;
    }

    /// Every source is.
    pub(crate) fn forget_all(&mut self) {
        self.given = Given::Nobodys;
        self.asked.clear();
        self.latest = None;
    }

    /// Follows a packet that no tap takes.
    pub(crate) fn pass(&mut self, packet: &[&[u8]]) {
        if let Some(header) = fixed_header(packet) {
            self.passed.note(&header);
        }
    }

    /// A tap takes no more of the stream.
    pub(crate) fn leave(&mut self, tap: &Tap) {
        self.passed.join(&tap.take_passed());
    }

    /// Tells a new tap all of it.
    pub(crate) fn tell(&mut self, tap: &Tap) {
        tap.set_secured(true);
        self.keys.iter().for_each(|key| tap.add_key(key.clone()));
        self.open.iter().for_each(|ssrc| tap.expect_key(*ssrc));
        let passed = std::mem::take(&mut self.passed);
        if !passed.is_empty() {
            tap.note_passed(passed);
        }
    }
}

/// The suite of keys that are all of one.
pub(crate) fn common_suite(keys: &[CallKey]) -> Option<SrtpSuite> {
    let first = keys.first()?.suite();
    first.filter(|_| keys.iter().all(|key| key.suite() == first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::{MAX_ASKED, PATIENCE};
    use siprec_media::srtp::Policy;

    fn packet(ssrc: u32) -> Vec<u8> {
        numbered(ssrc, 1)
    }

    fn numbered(ssrc: u32, sequence: u16) -> Vec<u8> {
        let [high, low] = sequence.to_be_bytes();
        [&[0x80, 0, high, low, 0, 0, 0, 0][..], &ssrc.to_be_bytes(), b"payload"].concat()
    }

    fn caps(ssrc: Option<u32>) -> CallKeys {
        let suite = SrtpSuite::AeadAes128Gcm;
        let keys = vec![SrtpKey::new(suite, &[7; 28]).unwrap()];
        CallKeys { keys, policy: Policy::from(suite), ssrc, roc: None, excess: None }
    }

    fn asked(secrecy: &mut Secrecy, sources: impl IntoIterator<Item = u32>, now: Instant) -> Vec<u32> {
        let ask = |ssrc| secrecy.meet(&[&packet(ssrc)], now);
        sources.into_iter().filter_map(ask).collect()
    }

    #[test]
    fn each_source_is_asked_for_once_unless_the_caps_give_its_key() {
        let now = Instant::now();
        let mut secrecy = Secrecy::default();
        assert_eq!(asked(&mut secrecy, [1, 1, 2, 1, 3, 2], now), [1, 2, 3]);
        secrecy.renew(Some(caps(Some(2))), Vec::new());
        assert_eq!(asked(&mut secrecy, [1, 2, 3, 2], now), [1, 3]);
        secrecy.renew(Some(caps(None)), Vec::new());
        assert!(asked(&mut secrecy, [1, 2, 3, 4], now).is_empty());
        secrecy.forget(4);
        assert_eq!(asked(&mut secrecy, [4, 4], now), [4]);
        secrecy.forget_all();
        assert_eq!(asked(&mut secrecy, [4, 1, 4], now), [4, 1]);
        assert_eq!(secrecy.suite(), Some(SrtpSuite::AeadAes128Gcm));
        secrecy.add(SrtpKey::new(SrtpSuite::AeadAes256Gcm, &[1; 44]).unwrap().into());
        assert_eq!(secrecy.suite(), None);
    }

    #[test]
    fn a_flood_of_sources_asks_little_and_a_newcomer_is_asked_for_all_the_same() {
        let now = Instant::now();
        let mut secrecy = Secrecy::default();
        assert_eq!(asked(&mut secrecy, 0..10_000, now).len(), MAX_ASKED);
        assert_eq!(asked(&mut secrecy, [77_777], now + PATIENCE), [77_777]);
    }

    #[test]
    fn a_source_that_was_put_off_is_asked_for_as_soon_as_it_goes_on() {
        let now = Instant::now();
        let mut secrecy = Secrecy::default();
        assert_eq!(asked(&mut secrecy, 0..10_000, now).len(), MAX_ASKED);
        let turns: Vec<_> = (1..=50).map(|number| secrecy.meet(&[&numbered(77_777, number)], now)).collect();
        assert_eq!((turns[0], turns[1]), (None, Some(77_777)));
        assert!(turns[2..].iter().all(Option::is_none), "each once");
    }

    #[test]
    fn a_rollover_counter_is_in_doubt_where_caps_gave_one_or_nothing_was_ever_read() {
        let key = || SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[7; 28]).unwrap();
        let mut secrecy = Secrecy::default();
        secrecy.renew(Some(caps(None)), Vec::new());
        assert_eq!(secrecy.rollover_doubt(), RolloverDoubt::Joined);
        secrecy.note_used(&[]);
        assert_eq!(secrecy.rollover_doubt(), RolloverDoubt::Joined);
        secrecy.note_used(&[key()]);
        assert_eq!(secrecy.rollover_doubt(), RolloverDoubt::None);
        secrecy.renew(Some(CallKeys { roc: Some(3), ..caps(None) }), Vec::new());
        assert_eq!(secrecy.rollover_doubt(), RolloverDoubt::Given);
    }

    #[test]
    fn a_rollover_counter_that_caps_say_again_is_that_of_then() {
        let mut secrecy = Secrecy::default();
        let told = |keys: Vec<CallKey>| keys.iter().map(|key| (key.roc, key.ssrc)).collect::<Vec<_>>();
        let given = || CallKeys { roc: Some(3), ..caps(Some(1)) };
        assert_eq!(told(secrecy.renew(Some(given()), Vec::new())), [(Some(3), Some(1))]);
        assert_eq!(told(secrecy.renew(Some(given()), Vec::new())), [(None, None)]);
        let later = CallKeys { roc: Some(4), ..given() };
        assert_eq!(told(secrecy.renew(Some(later), Vec::new())), [(Some(4), Some(1))]);
    }

    #[test]
    fn a_burst_of_sources_that_are_put_off_is_told_once() {
        let start = Instant::now();
        let mut secrecy = Secrecy::default();
        asked(&mut secrecy, 0..MAX_ASKED as u32, start);
        asked(&mut secrecy, 0..MAX_ASKED as u32, start);
        assert!(!secrecy.takes_put_off(), "each was asked for");
        let mut told = Vec::new();
        // A flood of a minute, a pause, and the next one.
        for second in (0..60).chain(69..80).chain([100]) {
            let now = start + Duration::from_secs(second);
            asked(&mut secrecy, 1000 * (second as u32 + 1)..1000 * (second as u32 + 2), now);
            told.extend(secrecy.takes_put_off().then_some(second));
        }
        assert_eq!(told, [0, 69, 100]);
        secrecy.renew(Some(caps(None)), Vec::new());
        asked(&mut secrecy, 0..1000, start + Duration::from_secs(1000));
        assert!(!secrecy.takes_put_off(), "the caps give the key of all");
    }

    #[test]
    fn of_too_many_keys_the_one_goes_that_was_given_or_used_longest_ago() {
        let key = |mark| SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[mark; 28]).unwrap();
        let mut secrecy = Secrecy::default();
        (0..16).for_each(|mark| assert!(secrecy.add(key(mark).into())));
        secrecy.note_used(&[key(2), key(0), key(99)]);
        assert!(!secrecy.add(key(1).into()), "it is there, and given anew");
        for mark in 16..29 {
            assert!(secrecy.add(key(mark).into()));
        }
        let left = [2, 0, 1].into_iter().chain(16..29).map(key);
        assert!(secrecy.keys().iter().map(|key| &key.key).eq(&left.collect::<Vec<_>>()));
        assert!(secrecy.add(key(29).into()));
        assert!(!secrecy.keys().contains(&key(2).into()));
    }

    #[test]
    fn what_is_no_rtp_has_no_source() {
        let now = Instant::now();
        let mut secrecy = Secrecy::default();
        let whole = packet(9);
        for length in 0..12 {
            assert_eq!(secrecy.meet(&[&whole[..length]], now), None);
        }
        assert_eq!(secrecy.meet(&[&[&[0x80, 201], &whole[2..]].concat()], now), None);
        assert_eq!(secrecy.meet(&[&whole[..3], b"", &whole[3..]], now), Some(9));
    }
}
