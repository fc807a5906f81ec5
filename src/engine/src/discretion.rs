//! What the call encrypts does not leave in the clear, whatever the session knows by then.

use siprec_model::{MediaSecurity, OpenBranch};

/// Whether a branch may send what comes.
///
/// That a stream is encrypted stands among its packets. The session hears of it later: until it has said what becomes of the
/// branch, nothing leaves that it would not have let out.
#[derive(Debug, Default)]
pub(crate) struct Discretion {
    /// What comes now is confidential.
    confidential: bool,
    /// Something of it may be held, or kept.
    keeps_confidential: bool,
    /// Where the branch was last told to send in the clear, and may not what is confidential.
    target: Option<Box<OpenBranch>>,
}

/// What becomes of an order to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// It is done.
    Granted,
    /// It is done once what is held has been forgotten.
    AfterForgetting,
    /// It waits.
    Withheld,
}

impl Discretion {
    /// A branch of a stream that is confidential by now, or is not.
    pub(crate) fn new(confidential: bool) -> Self {
        Self { confidential, keeps_confidential: confidential, ..Self::default() }
    }

    /// The branch is to send.
    pub(crate) fn permit(&mut self, target: &OpenBranch) -> Permission {
        let exposes = target.security == MediaSecurity::Plain && !target.may_expose;
        self.target = exposes.then(|| Box::new(target.clone()));
        match (exposes, self.confidential, self.keeps_confidential) {
            (true, true, _) => Permission::Withheld,
            (true, false, true) => {
                self.keeps_confidential = false;
                Permission::AfterForgetting
            }
            _ => Permission::Granted,
        }
    }

    /// The session has said otherwise.
    pub(crate) fn revoke(&mut self) {
        self.target = None;
    }

    /// Whether the branch must stop to send: what comes from here on is confidential, and would leave in the clear.
    pub(crate) fn begin(&mut self) -> bool {
        self.confidential = true;
        self.keeps_confidential = true;
        self.target.is_some()
    }

    /// What comes from here on is confidential no more: where the branch may now send again.
    pub(crate) fn end(&mut self) -> Option<Box<OpenBranch>> {
        if std::mem::take(&mut self.confidential) { self.target.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use siprec_model::{BranchId, PayloadRule, RecorderKey, RecordingKey};

    use super::*;

    /// An order to send in the clear what is not confidential.
    fn order() -> OpenBranch {
        OpenBranch {
            branch: BranchId { recording: RecordingKey::unique(), leg: 0, slot: 0 },
            recorder: RecorderKey::from_raw(1),
            rtp: ([192, 0, 2, 1], 4000).into(),
            rtcp: None,
            security: MediaSecurity::Plain,
            may_expose: false,
            payloads: vec![PayloadRule { from: 0, to: 0 }],
            catch_up: None,
            expects_reports: false,
            retransmission: false,
        }
    }

    #[test]
    fn an_order_that_was_withheld_or_interrupted_and_then_taken_back_is_never_carried_out() {
        for is_confidential in [true, false] {
            for is_taken_back in [false, true] {
                let mut discretion = Discretion::new(is_confidential);
                let permission = discretion.permit(&order());
                assert_eq!(permission == Permission::Withheld, is_confidential);
                assert!(is_confidential || discretion.begin());
                if is_taken_back {
                    discretion.revoke();
                }
                assert_eq!(discretion.end().is_some(), !is_taken_back);
            }
        }
    }
}
