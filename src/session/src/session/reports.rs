//! What the receiver reports of a recorder have shown of each stream of its session.

use std::time::Instant;

use siprec_model::{BranchId, TimeSpan};

/// The last report of each stream that any has come of.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(Vec<Of>);

#[derive(Clone, Copy, Debug)]
struct Of {
    stream: BranchId,
    last: Option<Said>,
}

/// What a report has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// When it came.
    pub(crate) at: Instant,
    /// When packets began to leave that have not come by then.
    pub(crate) missing_since: Option<Instant>,
    /// Over which time all has come, as it and those before show.
    pub(crate) unbroken: Option<TimeSpan>,
}

impl Said {
    /// The recorder heard something of what left until then, and nothing later.
    pub(crate) fn heard(self) -> Instant {
        self.missing_since.unwrap_or(self.at)
    }

    /// All behind that it may have missed.
    pub(crate) fn sure(self) -> Instant {
        self.unbroken.map_or(self.heard(), |unbroken| unbroken.to)
    }
}

impl Reports {
    /// One has come of a stream, whatever it says.
    pub(super) fn admit(&mut self, stream: BranchId) {
        if !self.are_of(stream) {
            self.0.push(Of { stream, last: None });
        }
    }

    pub(super) fn note(&mut self, stream: BranchId, said: Said) {
        match self.0.iter_mut().find(|of| of.stream == stream) {
            Some(of) => of.last = Some(said),
            None => self.0.push(Of { stream, last: Some(said) }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any has come of a stream.
    pub(super) fn are_of(&self, stream: BranchId) -> bool {
        self.0.iter().any(|of| of.stream == stream)
    }

    /// The last one of a stream.
    pub(super) fn last(&self, stream: BranchId) -> Option<Said> {
        self.0.iter().find(|of| of.stream == stream)?.last
    }

    /// Whether a recorder was heard by them from one moment until behind another, without a break.
    ///
    /// A receiver counts from the first packet of a source on that it has received (RFC 3550 A.3). So one that has begun behind a cut
    /// shows nothing of it; nor does one of which it is not known yet what becomes of its hole.
    pub(super) fn span(&self, from: Instant, safe: Instant) -> bool {
        let spans = |unbroken: TimeSpan| unbroken.from <= from && safe < unbroken.to;
        self.0.iter().filter_map(|of| of.last?.unbroken).any(spans)
    }
}
