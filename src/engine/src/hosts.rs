//! Hosts that refuse media, of whatever stream.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use siprec_model::{INSISTENT_FOR, REFUSED_WITHIN, RecorderKey, RecordingKey};

use crate::remote::REFUSAL_INTERVAL;

/// What a host has refused is remembered for so long: until each of its receivers has reported once more.
const REMEMBERED: Duration = Duration::from_secs(60);

/// When hosts said that they refuse media (ICMP), of which recorder.
///
/// A host says so once a second at most to each of those that it says it to, after the first six times, of however many ports that is (Linux:
/// `icmp_ratelimit`). So of several streams to a recorder that it refuses each hears of it now and then only, and one that has heard of it
/// once is refused for as long as any of them is, as far as can be told. And where those of two calls are refused, all are that do not
/// report: of two hundred calls one is told of a second, and since each stream leaves at its own moments of a second, of some never.
/// A port that is closed is one process's: of another recorder on that host it says nothing.
#[derive(Debug, Default)]
pub(crate) struct RefusingHosts(Vec<Refusing>);

/// Where the media of a branch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) host: IpAddr,
    pub(crate) recorder: RecorderKey,
}

/// Of whom a refusal says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Of the recorder.
    Recorder,
    /// Of all that are on its host.
    Host,
}

/// Who refuses: a recorder on a host, or whoever is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refuser {
    host: IpAddr,
    recorder: Option<RecorderKey>,
}

impl Refuser {
    /// Whether what goes there is refused, too.
    pub(crate) fn refuses(self, to: Destination) -> bool {
        self.host == to.host && self.recorder.is_none_or(|recorder| recorder == to.recorder)
    }
}

#[derive(Debug)]
struct Refusing {
    refuser: Refuser,
    /// When that left which was refused first.
    since: Instant,
    /// When that was heard, and what was refused last.
    begun: Instant,
    last: Instant,
    /// The recording that heard of it first.
    recording: RecordingKey,
    /// Another one has heard of it, too.
    refuses_others: bool,
    /// When it was last told that it refuses all.
    told: Option<Instant>,
    untold: bool,
}

impl RefusingHosts {
    /// What left of a recording at `left` at the earliest is refused there. Since when something is, without a lull.
    pub(crate) fn note(
        &mut self,
        to: Destination,
        extent: Extent,
        recording: RecordingKey,
        left: Instant,
        now: Instant,
    ) -> Instant {
        let Destination { host, recorder } = to;
        self.note_of(Refuser { host, recorder: Some(recorder) }, recording, left, now);
        if extent == Extent::Host {
            self.note_of(Refuser { host, recorder: None }, recording, left, now);
        }
        joined(self.of(to)).map_or(left, |refused| *refused.start())
    }

    fn note_of(&mut self, refuser: Refuser, recording: RecordingKey, left: Instant, now: Instant) {
        // Behind a lull it begins anew.
        let is_of_use = |refusing: &Refusing| refusing.refuser != refuser || refusing.is_refusing(now);
        self.0.retain(|refusing| now < refusing.last + REMEMBERED && is_of_use(refusing));
        match self.0.iter_mut().find(|refusing| refusing.refuser == refuser) {
            Some(refusing) => {
                refusing.last = now;
                refusing.since = refusing.since.min(left);
                refusing.refuses_others |= refusing.recording != recording;
                refusing.untold = true;
            }
            None => self.0.push(Refusing {
                refuser,
                since: left,
                begun: now,
                last: now,
                recording,
                refuses_others: false,
                told: None,
                untold: true,
            }),
        }
    }

    /// The next one that has gone on to refuse all that is sent to it, and since when.
    pub(crate) fn take_general(&mut self, now: Instant) -> Option<(Refuser, Instant)> {
        let refusing = self.0.iter_mut().find(|refusing| refusing.is_news(now))?;
        (refusing.told, refusing.untold) = (Some(now), false);
        Some((refusing.refuser, refusing.since))
    }

    /// Whether something is refused there.
    pub(crate) fn is_refusing(&self, to: Destination, now: Instant) -> bool {
        self.of(to).any(|refusing| refusing.is_refusing(now))
    }

    /// Whether something was refused there since a moment.
    pub(crate) fn has_refused_since(&self, to: Destination, moment: Instant) -> bool {
        self.of(to).any(|refusing| refusing.last > moment)
    }

    /// When that left which was refused there of late, where that was no accident.
    pub(crate) fn refused(&self, to: Destination) -> Option<RangeInclusive<Instant>> {
        joined(self.of(to).filter(|refusing| refusing.is_insistent()))
    }

    fn of(&self, to: Destination) -> impl Iterator<Item = &Refusing> + Clone {
        self.0.iter().filter(move |refusing| refusing.refuser.refuses(to))
    }
}

/// What was refused last, by a recorder or its whole host: one that came back with the recorder's ports closed has refused all along.
fn joined<'a>(refusing: impl Iterator<Item = &'a Refusing> + Clone) -> Option<RangeInclusive<Instant>> {
    let latest = refusing.clone().max_by_key(|refusing| refusing.last)?;
    let reaching = refusing.filter(|refusing| latest.begun < refusing.last + REFUSED_WITHIN);
    let since = reaching.map(|refusing| refusing.since).fold(latest.since, Instant::min);
    Some(since..=latest.last)
}

impl Refusing {
    fn is_refusing(&self, now: Instant) -> bool {
        now < self.last + REFUSED_WITHIN
    }

    fn is_insistent(&self) -> bool {
        self.last >= self.begun + INSISTENT_FOR
    }

    fn is_news(&self, now: Instant) -> bool {
        let is_general = self.refuses_others && self.is_insistent();
        is_general && self.untold && self.told.is_none_or(|told| now >= told + REFUSAL_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: [u8; 4] = [192, 0, 2, 1];

    /// Some recorder on a host.
    fn to(host: [u8; 4], recorder: u64) -> Destination {
        Destination { host: host.into(), recorder: RecorderKey::from_raw(recorder) }
    }

    #[test]
    fn a_host_refuses_from_its_first_refusal_on_until_there_is_a_lull() {
        let (mut hosts, start) = (RefusingHosts::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let [here, elsewhere] = [to(HOST, 1), to([192, 0, 2, 2], 1)];
        let recording = RecordingKey::unique();
        let mut note = |to, left, now| {
            let since = hosts.note(to, Extent::Recorder, recording, at(left), at(now));
            assert_eq!(hosts.take_general(at(now)), None, "of one recording");
            since
        };
        assert_eq!(note(here, 0, 100), at(0));
        assert_eq!(note(here, 1_000, 4_000), at(0));
        assert_eq!(note(elsewhere, 4_100, 4_200), at(4_100));
        assert_eq!(note(here, 7_900, 8_000), at(7_900), "another time");
        assert!(hosts.is_refusing(here, at(11_999)) && !hosts.is_refusing(here, at(12_000)));
        assert!(hosts.has_refused_since(here, at(7_999)) && !hosts.has_refused_since(here, at(8_000)));
        assert!(!hosts.is_refusing(elsewhere, at(8_200)));
    }

    #[test]
    fn a_host_that_refuses_two_calls_for_a_second_refuses_all() {
        let (mut hosts, start) = (RefusingHosts::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let recordings = [RecordingKey::unique(), RecordingKey::unique()];
        let mut told = Vec::new();
        for (index, heard) in
            [100, 600, 999, 1_000, 1_500, 1_999, 2_100, 7_000, 7_100].into_iter().enumerate()
        {
            let (recording, left) = (recordings[index % 2], at(heard - 100));
            hosts.note(to(HOST, 1), Extent::Recorder, recording, left, at(heard));
            told.extend(hosts.take_general(at(heard)).map(|(refuser, since)| {
                assert!(refuser.refuses(to(HOST, 1)) && !refuser.refuses(to([192, 0, 2, 2], 1)));
                (heard, since)
            }));
            assert_eq!(hosts.take_general(at(heard)), None);
        }
        assert_eq!(told, [(1_000, at(0)), (2_100, at(0))]);
    }

    #[test]
    fn what_a_host_refuses_of_a_recorder_says_nothing_of_another_one_there_unless_the_host_is_not_found() {
        for extent in [Extent::Recorder, Extent::Host] {
            let (mut hosts, start) = (RefusingHosts::default(), Instant::now());
            let recordings = [RecordingKey::unique(), RecordingKey::unique()];
            let second = |count: u32| start + Duration::from_secs(1) * count;
            for count in 0..4 {
                let recording = recordings[usize::from(count % 2 == 1)];
                hosts.note(to(HOST, 1), extent, recording, second(count), second(count));
            }
            let general: Vec<_> = std::iter::from_fn(|| hosts.take_general(second(3))).collect();
            for recorder in [1, 2] {
                let (to, is_meant) = (to(HOST, recorder), recorder == 1 || extent == Extent::Host);
                assert_eq!(general.iter().any(|(refuser, _)| refuser.refuses(to)), is_meant, "{extent:?}");
                assert_eq!(hosts.is_refusing(to, second(4)), is_meant, "{extent:?}");
                assert_eq!(hosts.has_refused_since(to, second(2)), is_meant, "{extent:?}");
                assert_eq!(hosts.refused(to), is_meant.then(|| second(0)..=second(3)), "{extent:?}");
            }
        }
    }

    #[test]
    fn a_host_that_comes_back_with_the_ports_of_a_recorder_closed_has_refused_it_all_along() {
        let (mut hosts, start) = (RefusingHosts::default(), Instant::now());
        let second = |count: u32| start + Duration::from_secs(1) * count;
        let mut note = |recorder, extent, range: std::ops::Range<u32>| {
            let recording = RecordingKey::unique();
            let note =
                |count| hosts.note(to(HOST, recorder), extent, recording, second(count), second(count));
            range.map(note).last().unwrap()
        };
        note(1, Extent::Host, 0..4);
        assert_eq!(note(2, Extent::Recorder, 4..8), second(0));
        assert_eq!(hosts.refused(to(HOST, 2)), Some(second(0)..=second(7)));
        assert_eq!(hosts.refused(to(HOST, 1)), Some(second(0)..=second(3)));
    }
}
