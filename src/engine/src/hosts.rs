//! Hosts that refuse media, of whatever stream.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A host that has refused nothing for so long takes what is sent to it.
const LULL: Duration = Duration::from_millis(2_500);

/// When hosts said that they refuse media (ICMP).
///
/// A host says so once a second at most to each of those that it says it to, after the first six times, of however many ports that is (Linux:
/// `icmp_ratelimit`). So of several streams that it refuses each hears of it now and then only, and one that has heard of it
/// once is refused for as long as any of them is, as far as can be told.
#[derive(Debug, Default)]
pub(crate) struct RefusingHosts(Vec<Refusing>);

#[derive(Debug)]
struct Refusing {
    host: IpAddr,
    since: Instant,
    last: Instant,
}

impl RefusingHosts {
    /// A host refuses what left at `left` at the earliest. Since when it refuses something, without a lull.
    pub(crate) fn note(&mut self, host: IpAddr, left: Instant, now: Instant) -> Instant {
        self.0.retain(|refusing| refusing.is_refusing(now));
        match self.0.iter_mut().find(|refusing| refusing.host == host) {
            Some(refusing) => {
                refusing.last = now;
                refusing.since = refusing.since.min(left);
                refusing.since
            }
            None => {
                self.0.push(Refusing { host, since: left, last: now });
                left
            }
        }
    }

    /// Whether a host refuses something.
    pub(crate) fn is_refusing(&self, host: IpAddr, now: Instant) -> bool {
        self.of(host).is_some_and(|refusing| refusing.is_refusing(now))
    }

    /// Whether a host has refused something since a moment.
    pub(crate) fn has_refused_since(&self, host: IpAddr, moment: Instant) -> bool {
        self.of(host).is_some_and(|refusing| refusing.last > moment)
    }

    fn of(&self, host: IpAddr) -> Option<&Refusing> {
        self.0.iter().find(|refusing| refusing.host == host)
    }
}

impl Refusing {
    fn is_refusing(&self, now: Instant) -> bool {
        now < self.last + LULL
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
        assert_eq!(hosts.note(host, at(0), at(100)), at(0));
        assert_eq!(hosts.note(host, at(1_000), at(2_500)), at(0));
        assert!(hosts.is_refusing(host, at(4_999)) && !hosts.is_refusing(host, at(5_000)));
        assert!(hosts.has_refused_since(host, at(2_499)) && !hosts.has_refused_since(host, at(2_500)));
        assert!(!hosts.is_refusing(other, at(2_500)));
        assert_eq!(hosts.note(host, at(4_900), at(5_000)), at(4_900), "another time");
        assert_eq!(hosts.note(other, at(5_100), at(5_200)), at(5_100));
    }
}
