//! The recorder's end of a branch.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use siprec_model::{Component, OpenBranch};

/// A recorder that refuses is told of at most this often, for each of its ports.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);

/// Refusals further apart than this have nothing to do with each other.
pub(crate) const REFUSALS_APART: Duration = Duration::from_secs(10);

/// Where a branch sends.
#[derive(Debug)]
pub(crate) struct Remote {
    rtp: SocketAddr,
    rtcp: Option<SocketAddr>,
}

impl Remote {
    pub(crate) fn new(target: &OpenBranch) -> Self {
        Self { rtp: target.rtp, rtcp: target.rtcp }
    }

    /// Where RTP goes.
    pub(crate) fn rtp(&self) -> SocketAddr {
        self.rtp
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
}

impl Refusals {
    /// When a port was last told of.
    pub(crate) fn last(&self, component: Component) -> Option<Instant> {
        match component {
            Component::Rtp => self.rtp,
            Component::Rtcp => self.rtcp,
        }
    }

    /// Whether a refusal at `now` is worth telling. It counts as told.
    pub(crate) fn note(&mut self, component: Component, now: Instant) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
