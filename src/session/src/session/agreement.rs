//! What both sides have agreed on, and what follows for the branches.

use siprec_model::{BranchId, MediaSecurity, OpenBranch, PayloadRule, SrtpKeys};
use siprec_sip::sdp::Direction;

use super::Rules;
use super::description::{Description, StreamLine};
use super::remote::{RemoteDescription, RemoteLine, SdpFault};
use crate::branches::BranchMode;
use crate::numbering::same_codec;
use crate::recorder::PayloadTypes;

/// The last completed offer and answer.
#[derive(Clone, Debug)]
pub(super) struct Agreement {
    /// What we want to send in it.
    pub(super) ours: Description,
    pub(super) theirs: RemoteDescription,
    /// Whether the recorder made the offer.
    pub(super) offered_by_recorder: bool,
}

/// What a branch is to do, and why the recorder does not take its stream, if so.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) mode: BranchMode,
    /// In words for people.
    pub(crate) off: Option<String>,
}

impl Agreement {
    /// The recorder has answered our offer.
    pub(super) fn new(ours: Description, theirs: RemoteDescription) -> Self {
        Self { ours, theirs, offered_by_recorder: false }
    }

    /// The first answer must take at least one stream (`protocol` 1.2: port 0 for every stream is a failure).
    pub(super) fn usable(self) -> Result<Self, SdpFault> {
        let mut refusal = None;
        let mut takes_any = false;
        for (index, line) in self.ours.lines.iter().enumerate() {
            let Some(stream) = line.stream().filter(|stream| stream.ports.is_some()) else { continue };
            let line = match self.target(index, stream) {
                Ok((_, line)) => line,
                Err(reason) => {
                    refusal = refusal.or(Some(reason));
                    continue;
                }
            };
            match security(stream, line, 0) {
                Ok(_) => takes_any = true,
                // Never a silent fall back to something less (`protocol` section 3).
                Err(reason) if stream.keys.is_some() => return Err(SdpFault::Insecure(reason)),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        if takes_any {
            return Ok(self);
        }
        Err(SdpFault::NothingTaken(refusal.unwrap_or_else(|| "none was offered".to_owned())))
    }

    /// The recorder has answered a later offer of ours; without a readable description everything stays where it was.
    /// Gives the encrypted lines that now go to another address.
    pub(super) fn renew(&mut self, ours: Description, theirs: Option<RemoteDescription>) -> Vec<usize> {
        let theirs = theirs.unwrap_or_else(|| self.theirs.clone().unsaid());
        let moved = self.moved(&theirs);
        self.ours = ours;
        self.theirs = theirs;
        self.offered_by_recorder = false;
        moved
    }

    /// The encrypted lines that would go to another address than now.
    pub(super) fn moved(&self, theirs: &RemoteDescription) -> Vec<usize> {
        let address = |description: &RemoteDescription, index: usize| {
            description.lines.get(index)?.target.as_ref().ok().map(|target| target.rtp)
        };
        let has_moved = |index: &usize| {
            let (before, after) = (address(&self.theirs, *index), address(theirs, *index));
            before.zip(after).is_some_and(|(before, after)| before != after)
        };
        let is_secured = |index: &usize| self.ours.stream(*index).is_some_and(|ours| ours.keys.is_some());
        (0..self.ours.lines.len()).filter(is_secured).filter(has_moved).collect()
    }

    /// What the branch of the m-line `index` is to do. `proposed` is an offer of ours that is not answered yet.
    pub(super) fn verdict(
        &self,
        branch: BranchId,
        index: usize,
        rules: &Rules,
        proposed: Option<&Description>,
    ) -> Verdict {
        let waiting = Verdict { mode: BranchMode::Holding, off: None };
        let Some(ours) = self.ours.stream(index).filter(|ours| ours.send) else { return waiting };
        let disabled = |reason| Verdict { mode: BranchMode::Disabled, off: Some(reason) };
        let (target, line) = match self.target(index, ours) {
            Ok(found) => found,
            Err(reason) => return disabled(reason),
        };
        if !self.takes_media(line.direction, rules) {
            let reason = "the recorder set it inactive".to_owned();
            // What the recorder switches off is off; an answer that is inactive may be opened by its next offer.
            let mode = if self.offered_by_recorder { BranchMode::Disabled } else { BranchMode::Holding };
            return Verdict { mode, off: Some(reason) };
        }
        // While our own "inactive" is open, nothing is sent that it might end.
        if proposed.and_then(|proposed| proposed.stream(index)).is_some_and(|line| !line.send) {
            return waiting;
        }
        let security = match security(ours, line, rules.number) {
            Ok(security) => security,
            Err(reason) => return disabled(reason),
        };
        let payloads = payload_rules(ours, line, rules.payload_types);
        if payloads.is_empty() {
            return disabled("the recorder's answer has none of its formats".to_owned());
        }
        let open = OpenBranch { branch, rtp: target.rtp, rtcp: target.rtcp, security, payloads };
        Verdict { mode: BranchMode::Open(open), off: None }
    }

    /// Where the stream of an m-line goes. The answer is bound by index (RFC 3264 §6); a missing line is a refusal.
    fn target(
        &self,
        index: usize,
        ours: &StreamLine,
    ) -> Result<(super::remote::Target, &RemoteLine), String> {
        let line = self.theirs.lines.get(index).ok_or("the recorder's answer lacks its m-line")?;
        Ok((line.target_for(ours.medium)?, line))
    }

    fn takes_media(&self, direction: Direction, rules: &Rules) -> bool {
        if self.offered_by_recorder {
            // An offer means what it says (RFC 3264 §6.1).
            direction.receives()
        } else {
            rules.dialect.answer_takes_media(direction)
        }
    }
}

/// How a line is protected: as we offered it, or as we answered, by keys of both sides.
///
/// # Errors
/// Why the recorder's line does not fit ours, in words for people. No key is shown.
fn security(ours: &StreamLine, theirs: &RemoteLine, session: u32) -> Result<MediaSecurity, String> {
    let Some(keys) = &ours.keys else {
        return match theirs.is_secured {
            true => Err("the recorder wants RTP/SAVP instead of RTP/AVP".to_owned()),
            false => Ok(MediaSecurity::Plain),
        };
    };
    if !theirs.is_secured {
        return Err("the recorder wants RTP/AVP, in the clear, instead of RTP/SAVP".to_owned());
    }
    let (own, recorder) = match &ours.accepted {
        Some(accepted) => {
            let line = theirs.usable_cryptos().find(|line| line.tag() == accepted.tag());
            (accepted.keys().first(), line)
        }
        None => {
            let line = match theirs.cryptos.as_slice() {
                [Ok(line)] => line,
                [Err(fault)] => return Err(format!("the recorder's keys cannot be used: {fault}")),
                [] => return Err("the recorder's answer has no keys (a=crypto)".to_owned()),
                lines => {
                    return Err(format!("the recorder's answer has {} lines a=crypto, not one", lines.len()));
                }
            };
            (keys.offered(line.tag(), line.suite()), Some(line))
        }
    };
    match (own, recorder) {
        (Some(own), Some(line)) => {
            let keys = SrtpKeys { own: own.clone(), recorder: line.keys().to_vec(), session };
            Ok(MediaSecurity::Srtp(Box::new(keys)))
        }
        (_, Some(line)) => Err(format!("the recorder answers a=crypto:{line}, which was not offered")),
        (_, None) => Err("the recorder has taken its keys back".to_owned()),
    }
}

/// Which payload types of the call are sent, and as what.
fn payload_rules(ours: &StreamLine, theirs: &RemoteLine, policy: PayloadTypes) -> Vec<PayloadRule> {
    ours.formats
        .iter()
        .filter_map(|numbered| {
            let to = match policy {
                PayloadTypes::Offered => numbered.format.payload_type,
                PayloadTypes::Answered => {
                    theirs.formats.iter().find(|theirs| same_codec(theirs, &numbered.format))?.payload_type
                }
            };
            Some(PayloadRule { from: numbered.from, to })
        })
        .collect()
}
