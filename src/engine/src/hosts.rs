//! Hosts that refuse media, of whatever stream.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use siprec_model::{INSISTENT_FOR, REFUSED_WITHIN, RecordingKey};

use crate::remote::REFUSAL_INTERVAL;

/// What a host has refused is remembered for so long: until each of its receivers has reported once more.
const REMEMBERED: Duration = Duration::from_secs(60);

/// When hosts said that they refuse media (ICMP).
///
/// A host says so once a second at most to each of those that it says it to, after the first six times, of however many ports that is (Linux:
/// `icmp_ratelimit`). So of several streams that it refuses each hears of it now and then only, and one that has heard of it
/// once is refused for as long as any of them is, as far as can be told. And where those of two calls are refused, all are that do not
/// report: of two hundred calls one is told of a second, and since each stream leaves at its own moments of a second, of some never.
#[derive(Debug, Default)]
pub(crate) struct RefusingHosts(Vec<Refusing>);

#[derive(Debug)]
struct Refusing {
    host: IpAddr,
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
    /// A host refuses what left of a recording at `left` at the earliest. Since when it refuses something, without a lull.
    pub(crate) fn note(
        &mut self,
        host: IpAddr,
        recording: RecordingKey,
        left: Instant,
        now: Instant,
    ) -> Instant {
        // Behind a lull it begins anew.
        let is_of_use = |refusing: &Refusing| refusing.host != host || refusing.is_refusing(now);
        self.0.retain(|refusing| now < refusing.last + REMEMBERED && is_of_use(refusing));
        match self.0.iter_mut().find(|refusing| refusing.host == host) {
            Some(refusing) => {
                refusing.last = now;
                refusing.since = refusing.since.min(left);
                refusing.refuses_others |= refusing.recording != recording;
                refusing.untold = true;
                refusing.since
            }
            None => {
                self.0.push(Refusing {
                    host,
                    since: left,
                    begun: now,
                    last: now,
                    recording,
                    refuses_others: false,
                    told: None,
                    untold: true,
                });
                left
            }
        }
    }

    /// The next host that has gone on to refuse all that is sent to it, and since when.
    pub(crate) fn take_general(&mut self, now: Instant) -> Option<(IpAddr, Instant)> {
        let refusing = self.0.iter_mut().find(|refusing| refusing.is_news(now))?;
        (refusing.told, refusing.untold) = (Some(now), false);
        Some((refusing.host, refusing.since))
    }

    /// Whether a host refuses something.
    pub(crate) fn is_refusing(&self, host: IpAddr, now: Instant) -> bool {
        self.of(host).is_some_and(|refusing| refusing.is_refusing(now))
    }

    /// Whether a host has refused something since a moment.
    pub(crate) fn has_refused_since(&self, host: IpAddr, moment: Instant) -> bool {
        self.of(host).is_some_and(|refusing| refusing.last > moment)
    }

    /// When that left which a host has refused of late, where that was no accident.
    pub(crate) fn refused(&self, host: IpAddr) -> Option<RangeInclusive<Instant>> {
        let refusing = self.of(host).filter(|refusing| refusing.is_insistent())?;
        Some(refusing.since..=refusing.last)
    }

    fn of(&self, host: IpAddr) -> Option<&Refusing> {
        self.0.iter().find(|refusing| refusing.host == host)
    }
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

    #[test]
    fn a_host_refuses_from_its_first_refusal_on_until_there_is_a_lull() {
        let (mut hosts, start) = (RefusingHosts::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let [host, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let recording = RecordingKey::unique();
        assert_eq!(hosts.note(host, recording, at(0), at(100)), at(0));
        assert_eq!(hosts.note(host, recording, at(1_000), at(4_000)), at(0));
        assert!(hosts.is_refusing(host, at(7_999)) && !hosts.is_refusing(host, at(8_000)));
        assert!(hosts.has_refused_since(host, at(3_999)) && !hosts.has_refused_since(host, at(4_000)));
        assert!(!hosts.is_refusing(other, at(4_000)));
        assert_eq!(hosts.note(host, recording, at(7_900), at(8_000)), at(7_900), "another time");
        assert_eq!(hosts.note(other, recording, at(8_100), at(8_200)), at(8_100));
        assert_eq!(hosts.take_general(at(8_200)), None, "of one recording");
    }

    #[test]
    fn a_host_that_refuses_two_calls_for_a_second_refuses_all() {
        let (mut hosts, start) = (RefusingHosts::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let host = IpAddr::from([192, 0, 2, 1]);
        let recordings = [RecordingKey::unique(), RecordingKey::unique()];
        let mut told = Vec::new();
        for (index, heard) in
            [100, 600, 999, 1_000, 1_500, 1_999, 2_100, 7_000, 7_100].into_iter().enumerate()
        {
            hosts.note(host, recordings[index % 2], at(heard - 100), at(heard));
            told.extend(hosts.take_general(at(heard)).map(|(_, since)| (heard, since)));
            assert_eq!(hosts.take_general(at(heard)), None);
        }
        assert_eq!(told, [(1_000, at(0)), (2_100, at(0))]);
    }
}
