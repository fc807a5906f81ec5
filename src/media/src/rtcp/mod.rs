//! RTCP between a branch and its recorder (RFC 3550 §6, endpoint role of RFC 7866 §8.2.3).

mod feedback;
mod interval;
mod milestones;
mod reporter;
mod suspicion;

pub use feedback::{Feedback, feedback};
pub use reporter::Reporter;
