//! The recorders that a session was tried with, and in what order they are tried again once it is lost.

use std::collections::VecDeque;

use siprec_sip::Uri;

use crate::place::RecorderPlace;
use crate::recorder::RecorderTarget;

/// Each recorder is tried once, until one that had the session is lost. Then all are tried once more that may be: first those that were
/// not before, then those that failed before they had it, then those that lost it, and last the one that has just done so.
///
/// Who sends the session elsewhere (3xx) has the lot of where it is then: there it comes only by the same way.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Not to be chosen, in the order in which they were tried.
    barred: Vec<Place>,
    /// Those that had the session and lost it, each with whoever sent it there, the last one last.
    lost: Vec<Vec<Place>>,
    /// Of the barred, those that are tried again once no other is left, the first ones first.
    again: VecDeque<Vec<Place>>,
    /// Those that had the session and reported as often as receivers do.
    punctual: Vec<RecorderPlace>,
}

/// Which recorders are tried again after a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// All.
    All,
    /// All but the one that has just lost the session.
    Others,
    /// None: only those that were not tried yet.
    Nobody,
}

#[derive(Clone, Debug)]
struct Place {
    uri: Uri,
    /// The one that was tried before has sent the session there.
    redirected: bool,
}

impl Place {
    fn is_in(&self, places: &[Self]) -> bool {
        places.iter().any(|other| RecorderPlace::of(&other.uri) == RecorderPlace::of(&self.uri))
    }
}

impl Tried {
    /// A recorder is tried, where the one before has sent the session or not.
    pub(super) fn push(&mut self, recorder: &RecorderTarget, redirected: bool) {
        self.barred.push(Place { uri: recorder.uri.clone(), redirected });
    }

    /// Whether a recorder is not to be chosen.
    pub(super) fn has(&self, recorder: &RecorderTarget) -> bool {
        self.barred.iter().any(|place| recorder.is_at(&place.uri))
    }

    /// The recorders that are not to be chosen, in the order in which they were tried.
    pub(super) fn uris(&self) -> Vec<Uri> {
        self.barred.iter().map(|place| place.uri.clone()).collect()
    }

    /// The session with this recorder is lost.
    pub(super) fn lose(&mut self, recorder: &RecorderTarget, again: Again) {
        let ways = self.way_to(recorder);
        self.lost.retain(|lost| !lost.iter().any(|place| place.is_in(&ways)));
        self.again.clear();
        if again != Again::Nobody {
            let had_it = |place: &Place| place.is_in(&ways) || self.lost.iter().any(|lost| place.is_in(lost));
            self.again.push_back(self.barred.iter().filter(|place| !had_it(place)).cloned().collect());
            self.again.extend(self.lost.iter().cloned());
        }
        if again == Again::All {
            self.again.push_back(ways.clone());
        }
        self.lost.push(ways);
    }

    /// It had the session, and reported as often as receivers do. So it will again, or it is deaf.
    pub(super) fn note_punctual(&mut self, recorder: &RecorderTarget) {
        if !self.is_punctual(recorder) {
            self.punctual.push(RecorderPlace::of(&recorder.uri));
        }
    }

    /// Whether it has once been so.
    pub(super) fn is_punctual(&self, recorder: &RecorderTarget) -> bool {
        !self.punctual.is_empty() && self.punctual.contains(&RecorderPlace::of(&recorder.uri))
    }

    /// No recorder is left that is not barred: has the next ones tried again. Whether there are any.
    pub(super) fn release(&mut self) -> bool {
        while let Some(places) = self.again.pop_front() {
            let count = self.barred.len();
            self.barred.retain(|place| !place.is_in(&places));
            if self.barred.len() < count {
                return true;
            }
        }
        false
    }

    /// Each may be tried once more.
    pub(super) fn clear(&mut self) {
        self.barred.clear();
        self.again.clear();
    }

    /// A recorder that was tried, behind those that have sent the session there.
    fn way_to(&self, recorder: &RecorderTarget) -> Vec<Place> {
        let Some(end) = self.barred.iter().rposition(|place| recorder.is_at(&place.uri)) else {
            return vec![Place { uri: recorder.uri.clone(), redirected: false }];
        };
        let up_to = self.barred.get(..=end).unwrap_or_default();
        let start = up_to.iter().rposition(|place| !place.redirected).unwrap_or_default();
        up_to.get(start..).unwrap_or_default().to_vec()
    }
}
