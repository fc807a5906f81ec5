//! The recorder's end of a branch.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use siprec_model::{Component, OpenBranch, RecorderKey};

use crate::hosts::Destination;

/// A recorder that goes on refusing is told of at most this often, for each of its ports.
pub(crate) const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);

/// A recorder that has refused so many of our reports in a row, and sent none of its own, takes no RTCP.
const REFUSED_REPORTS: u32 = 3;

/// One that takes no RTCP is sent a report all the same this often: its port may be back.
const REPORT_RETRY: Duration = Duration::from_secs(60);

/// An error may be so long under way: there, and back.
const ERROR_COMES: Duration = Duration::from_millis(100);

/// A turn may take so long from its beginning until its last packet leaves.
const TURN: Duration = Duration::from_millis(10);

/// Where a branch sends.
#[derive(Debug)]
pub(crate) struct Remote {
    recorder: RecorderKey,
    rtp: SocketAddr,
    rtcp: Option<SocketAddr>,
}

impl Remote {
    pub(crate) fn new(target: &OpenBranch) -> Self {
        Self { recorder: target.recorder, rtp: target.rtp, rtcp: target.rtcp }
    }

    /// Where RTP goes.
    pub(crate) fn rtp(&self) -> SocketAddr {
        self.rtp
    }

    /// Whose RTP goes to which host.
    pub(crate) fn destination(&self) -> Destination {
        Destination { host: self.rtp.ip(), recorder: self.recorder }
    }

    /// The port of a component, where the recorder has one.
    pub(crate) fn address(&self, component: Component) -> Option<SocketAddr> {
        match component {
            Component::Rtp => Some(self.rtp),
            Component::Rtcp => self.rtcp,
        }
    }

    /// Whether a datagram from this address is the recorder's: it may use another port, but no other host.
    pub(crate) fn is_source_of(&self, from: SocketAddr) -> bool {
        from.ip() == self.rtp.ip() || self.rtcp.is_some_and(|rtcp| rtcp.ip() == from.ip())
    }
}

/// When each port of the recorder was last told of as refusing.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    rtp: Option<Instant>,
    rtcp: Option<Instant>,
    reports: Reports,
}

/// What becomes of our reports.
#[derive(Debug, Default)]
struct Reports {
    /// When the last one left.
    sent: Option<Instant>,
    /// It was not refused yet. However many errors there are, which may be forged, each report is refused once.
    is_open: bool,
    /// How many were refused since the recorder last sent RTCP.
    refused: u32,
}

impl Refusals {
    /// Whether a report is to leave at `now`. It counts as sent.
    pub(crate) fn let_report_out(&mut self, now: Instant) -> bool {
        let Reports { sent, refused, .. } = self.reports;
        let rests = refused >= REFUSED_REPORTS && sent.is_some_and(|sent| now < sent + REPORT_RETRY);
        if !rests {
            (self.reports.sent, self.reports.is_open) = (Some(now), true);
        }
        !rests
    }

    /// RTCP of the recorder has come, or its port is another one.
    pub(crate) fn hear_rtcp(&mut self) {
        self.reports = Reports::default();
    }

    /// The media is refused no more, or never was: the next refusal of it is news.
    pub(crate) fn end(&mut self) {
        self.rtp = None;
    }

    /// Whether a refusal at `now` is worth telling. It counts as told.
    pub(crate) fn note(&mut self, component: Component, now: Instant) -> bool {
        if component == Component::Rtcp && std::mem::take(&mut self.reports.is_open) {
            self.reports.refused += 1;
        }
        let last = match component {
            Component::Rtp => &mut self.rtp,
            Component::Rtcp => &mut self.rtcp,
        };
        let is_news = last.is_none_or(|last| now.saturating_duration_since(last) >= REFUSAL_INTERVAL);
        if is_news {
            *last = Some(now);
        }
        is_news
    }
}

/// When packets left last, which all leave that have come by then.
#[derive(Debug)]
pub(crate) struct Departures {
    /// Since when they go where they do.
    begun: Instant,
    last: Instant,
    /// The time before that.
    before: Instant,
    /// The longest that one of them has waited for its turn, since a recorder was last lost.
    longest_wait: Duration,
}

impl Departures {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { begun: now, last: now, before: now, longest_wait: Duration::ZERO }
    }

    /// From now on they go elsewhere.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.begun = now;
    }

    /// Whether packets have left for where they go now before a moment and since.
    pub(crate) fn surround(&self, moment: Instant) -> bool {
        self.begun < moment && self.last >= moment
    }

    /// Packets leave in a turn that begins at `now`, of which the oldest came at `arrival`.
    pub(crate) fn note_wait(&mut self, arrival: Instant, now: Instant) {
        self.longest_wait = self.longest_wait.max(now.saturating_duration_since(arrival));
    }

    /// Nothing of what has left so far matters any more.
    pub(crate) fn forget_waits(&mut self) {
        self.longest_wait = Duration::ZERO;
    }

    /// All that came before this had left at `moment`, of what has left.
    pub(crate) fn left_by(&self, moment: Instant) -> Instant {
        moment.checked_sub(self.longest_wait + TURN).unwrap_or(moment)
    }

    /// Packets leave at `now`.
    pub(crate) fn note(&mut self, now: Instant) {
        if now > self.last {
            self.before = std::mem::replace(&mut self.last, now);
        }
    }

    /// What an error may be of that is read at `now`: of what left last as a rule, since sockets are read before more leaves. Packets
    /// that left at once count by when they came, the `newest` perhaps a moment after its turn began.
    pub(crate) fn refused(&self, newest: Option<Instant>, now: Instant) -> RangeInclusive<Instant> {
        let earliest = now.checked_sub(ERROR_COMES).unwrap_or(now);
        self.before.min(earliest)..=newest.map_or(self.last, |newest| newest.max(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_from_the_recorders_own_hosts_is_its() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let recorder = RecorderKey::from_raw(1);
        let (rtp, rtcp) = (address("192.0.2.1:4000"), Some(address("192.0.2.2:5001")));
        let remote = Remote { recorder, rtp, rtcp };
        for (from, is_its) in [
            ("192.0.2.1:9", true),
            ("192.0.2.2:9", true),
            ("192.0.2.3:4000", false),
            ("[2001:db8::1]:4000", false),
        ] {
            assert_eq!(remote.is_source_of(address(from)), is_its, "{from}");
        }
        assert!(!Remote { rtcp: None, ..remote }.is_source_of(address("192.0.2.2:5001")));
    }

    #[test]
    fn what_came_within_the_longest_wait_before_a_moment_may_have_left_behind_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut departures = Departures::new(start);
        assert_eq!(departures.left_by(at(1000)), at(990));
        for (arrival, now) in [(1000, 1100), (1100, 2000), (2000, 2000), (2100, 2050), (2050, 2100)] {
            departures.note_wait(at(arrival), at(now));
        }
        assert_eq!(departures.left_by(at(2000)), at(1090));
        departures.forget_waits();
        assert_eq!(departures.left_by(at(2000)), at(1990));
    }

    #[test]
    fn each_port_is_told_of_once_a_second() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        let told = |refusals: &mut Refusals, component, from_ms: u64, to_ms: u64| {
            (from_ms..to_ms)
                .step_by(5)
                .filter(|ms| refusals.note(component, start + Duration::from_millis(*ms)))
                .count()
        };
        assert_eq!(told(&mut refusals, Component::Rtp, 0, 1000), 1);
        assert_eq!(told(&mut refusals, Component::Rtcp, 500, 1000), 1);
        assert_eq!(told(&mut refusals, Component::Rtp, 1000, 4000), 3);
        assert_eq!(told(&mut refusals, Component::Rtcp, 1000, 1500), 0);
    }

    /// Reports that leave in so many turns of 5 s, each refused as often as that.
    fn reports(refusals: &mut Refusals, from: &mut Instant, turns: usize, errors: usize) -> usize {
        let turn = |_: &usize| {
            *from += Duration::from_secs(5);
            let leaves = refusals.let_report_out(*from);
            for _ in 0..errors {
                refusals.note(Component::Rtcp, *from);
            }
            leaves
        };
        (0..turns).filter(turn).count()
    }

    #[test]
    fn who_refuses_three_reports_and_sends_none_gets_one_a_minute() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        assert_eq!(reports(&mut refusals, &mut now, 3, 1), 3);
        assert_eq!(reports(&mut refusals, &mut now, 11, 1), 0);
        assert_eq!(reports(&mut refusals, &mut now, 24, 1), 2);
        // It is there again.
        refusals.hear_rtcp();
        assert_eq!(reports(&mut refusals, &mut now, 10, 0), 10);
    }

    #[test]
    fn no_flood_of_forged_errors_stops_the_reports_to_a_recorder_that_reports() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(reports(&mut refusals, &mut now, 2, 1000), 2);
            refusals.hear_rtcp();
        }
    }
}
