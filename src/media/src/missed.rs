//! What a recorder has missed, until it is told.

use crate::receipts::{Between, Missed};

/// What is to be told of what the recorder has missed at once.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    cut: Option<Cut>,
    lost: Option<Between>,
}

/// It may be sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) packets: u64,
    /// None where the recorder's host has refused it.
    pub(crate) within: Option<Between>,
}

impl Untold {
    /// The one question that a healthy packet asks.
    pub(crate) fn is_any(&self) -> bool {
        self.cut.is_some() || self.lost.is_some()
    }

    /// It has missed this, which may be sent again, between these reports.
    pub(crate) fn cut(&mut self, missed: Missed, within: Between) {
        self.add(missed.packets, Some(within));
    }

    /// Its host has refused so many packets, which may be sent again.
    pub(crate) fn refused(&mut self, packets: u64) {
        self.add(packets, None);
    }

    /// It has missed something within this time that nobody gets.
    pub(crate) fn lost(&mut self, within: Between) {
        self.lost = Some(self.lost.map_or(within, |before| before.or(within)));
    }

    /// What may be sent again.
    pub(crate) fn take_cut(&mut self) -> Option<Cut> {
        self.cut.take()
    }

    /// When that was missed which nobody gets.
    pub(crate) fn take_lost(&mut self) -> Option<Between> {
        self.lost.take()
    }

    fn add(&mut self, packets: u64, within: Option<Between>) {
        let before = self.cut.take();
        let within = match (before.and_then(|before| before.within), within) {
            (Some(before), Some(within)) => Some(before.or(within)),
            (before, within) => before.or(within),
        };
        self.cut = Some(Cut { packets: packets + before.map_or(0, |before| before.packets), within });
    }
}
