//! What a session asks of its recorder.

use siprec_model::RecordingKey;
use siprec_sip::Uri;

use super::{NoRecorder, Recorders, Unfit};
use crate::recorder::RecorderTarget;

/// Which recorder a session wants.
#[derive(Clone, Debug, PartialEq)]
pub struct RecorderWish {
    /// One of these.
    pub recorders: Recorders,
    /// None of these, which it has had.
    pub tried: Vec<Uri>,
    /// Best the one that the recording's other session has.
    pub companion: Option<Uri>,
    /// None that one of these recordings has, the other copies of the same: two copies at one recorder are lost together.
    pub other_copies: Vec<RecordingKey>,
    /// Only this one, which a recorder has named (3xx), be it of the list or pool or not.
    pub redirect: Option<RecorderTarget>,
}

impl RecorderWish {
    /// Whether the session has had this recorder.
    pub fn has_tried(&self, target: &RecorderTarget) -> bool {
        self.tried.iter().any(|tried| target.is_at(tried))
    }

    /// The label of the place where the session should be recorded.
    pub fn location(&self) -> Option<&str> {
        match &self.recorders {
            Recorders::Listed(_) => None,
            Recorders::Pool { location, .. } => location.as_deref(),
        }
    }

    /// The next recorder of a list, for who knows nothing of their state.
    ///
    /// # Errors
    /// Each was tried, or it is a pool that is asked for.
    pub fn next_listed(&self) -> Result<RecorderTarget, NoRecorder> {
        if let Some(redirect) = &self.redirect {
            return Ok(redirect.clone());
        }
        if let Recorders::Pool { name, .. } = &self.recorders {
            return Err(NoRecorder::UnknownPool(name.clone()));
        }
        let listed = self.recorders.listed();
        let next = listed.iter().find(|recorder| !self.has_tried(recorder)).cloned();
        next.ok_or(NoRecorder::Unfit(Unfit { tried: listed.len(), ..Unfit::default() }))
    }
}
