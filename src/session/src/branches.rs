//! What the branches of a session must do: the difference of what they do and what they should do.

use siprec_model::{BranchCommand, BranchId, MediaSecurity, OpenBranch, SrtpSuite};

/// What one branch does with the call's packets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum BranchMode {
    /// Keeps them until the recorder answers.
    #[default]
    Holding,
    /// Sends them.
    Open(OpenBranch),
    /// Neither sends nor keeps; what was held stays held.
    Paused,
    /// Neither sends nor keeps, since the recorder asks for that, and may take it back; what was held stays held.
    Frozen,
    /// Neither sends nor keeps; what was held is forgotten.
    Disabled,
}

impl BranchMode {
    /// The suite that packets leave under, where their keys come from the descriptions.
    pub(crate) fn suite(&self) -> Option<SrtpSuite> {
        match self {
            Self::Open(OpenBranch { security: MediaSecurity::Srtp(keys), .. }) => Some(keys.own.suite()),
            _ => None,
        }
    }

    /// Whether packets leave, if any comes of a payload type that may.
    pub(crate) fn sends(&self) -> bool {
        matches!(self, Self::Open(open) if !open.payloads.is_empty())
    }

    /// Whether packets leave in the clear.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Open(open) if open.security == MediaSecurity::Plain)
    }
}

/// The command that leads from `old` to `new`, none where they are equal.
pub(crate) fn difference(branch: BranchId, old: &BranchMode, new: &BranchMode) -> Option<BranchCommand> {
    if old == new {
        return None;
    }
    Some(match new {
        BranchMode::Holding => BranchCommand::Hold { branch },
        BranchMode::Open(open) => BranchCommand::Open(open.clone()),
        BranchMode::Paused => BranchCommand::Pause { branch },
        BranchMode::Frozen => BranchCommand::Freeze { branch },
        BranchMode::Disabled => BranchCommand::Disable { branch },
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use siprec_model::{PayloadRule, RecorderKey, RecordingKey};

    use super::*;

    const BRANCH: BranchId = BranchId { recording: RecordingKey::from_raw(1), leg: 0, slot: 0 };

    fn open(port: u16) -> BranchMode {
        BranchMode::Open(OpenBranch {
            branch: BRANCH,
            recorder: RecorderKey::from_raw(1),
            rtp: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            rtcp: None,
            security: MediaSecurity::Plain,
            may_expose: false,
            payloads: vec![PayloadRule { from: 0, to: 0 }],
            catch_up: None,
            expects_reports: false,
            retransmission: false,
        })
    }

    #[test]
    fn nothing_is_commanded_where_nothing_changes() {
        let silent = [BranchMode::Holding, BranchMode::Paused, BranchMode::Frozen, BranchMode::Disabled];
        for mode in silent.into_iter().chain([open(4000)]) {
            assert_eq!(difference(BRANCH, &mode, &mode), None);
        }
    }

    #[test]
    fn each_mode_has_its_command() {
        let command = |new| difference(BRANCH, &open(4000), &new);
        assert_eq!(command(BranchMode::Holding), Some(BranchCommand::Hold { branch: BRANCH }));
        assert_eq!(command(BranchMode::Paused), Some(BranchCommand::Pause { branch: BRANCH }));
        assert_eq!(command(BranchMode::Frozen), Some(BranchCommand::Freeze { branch: BRANCH }));
        assert_eq!(command(BranchMode::Disabled), Some(BranchCommand::Disable { branch: BRANCH }));
    }

    #[test]
    fn a_changed_address_opens_anew() {
        let command = difference(BRANCH, &open(4000), &open(5000));
        assert!(matches!(command, Some(BranchCommand::Open(open)) if open.rtp.port() == 5000));
    }
}
