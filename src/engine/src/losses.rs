//! Packets that waited for a key in vain.

use std::time::Instant;

use siprec_model::DropCause;

/// Packets that wait, or waited, for a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waited {
    /// How many.
    pub(crate) packets: u64,
    /// When the first and the last of them arrived; `None` where there is none.
    pub(crate) arrivals: Option<(Instant, Instant)>,
}

/// Packets that wait, or waited, for a key, by what they lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// There is no key, or none with their identifier.
    no_key: Waited,
    /// No key fits them.
    not_authentic: Waited,
}

impl Waited {
    fn add(&mut self, arrival: Instant) {
        self.packets += 1;
        let (first, last) = self.arrivals.unwrap_or((arrival, arrival));
        self.arrivals = Some((first.min(arrival), last.max(arrival)));
    }
}

impl Losses {
    /// Adds a packet.
    pub(crate) fn add(&mut self, cause: DropCause, arrival: Instant) {
        match cause {
            DropCause::NotAuthentic => self.not_authentic.add(arrival),
            _ => self.no_key.add(arrival),
        }
    }

    /// Each cause with its packets.
    pub(crate) fn each(self) -> impl Iterator<Item = (DropCause, Waited)> {
        [(DropCause::NoKey, self.no_key), (DropCause::NotAuthentic, self.not_authentic)].into_iter()
    }
}
