//! What both sides have agreed on, and what follows for the branches.

use std::net::{IpAddr, SocketAddr};

use siprec_model::{BranchId, DtlsAssociation, DtlsRole, MediaSecurity, OpenBranch, PayloadRule, SrtpKeys};
use siprec_sip::sdp::{Direction, Setup};

use super::Rules;
use super::description::{Description, Line, StreamLine};
use super::keys::{Accepted, LineKeys};
use super::remote::{Profile, RemoteDescription, RemoteLine, SdpFault, Target};
use crate::branches::BranchMode;
use crate::numbering::{NumberedFormat, is_companion, same_codec};
use crate::recorder::{PayloadTypes, is_one_host};

/// Why a stream is off whose recorder is sent the payload types that it answers.
const NO_FORMAT: &str = "the recorder's answer has none of its formats";

/// The last completed offer and answer.
#[derive(Clone, Debug)]
pub(super) struct Agreement {
    /// What we want to send in it.
    pub(super) ours: Description,
    pub(super) theirs: RemoteDescription,
    /// Whether the recorder made the offer.
    offered_by_recorder: bool,
    /// The m-lines in which it has asked for silence by an offer of its own, and has not taken that back. Ours have something to send.
    silenced: Vec<usize>,
}

/// What a branch is to do, and why the recorder does not take its stream, if so.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) mode: BranchMode,
    /// In words for people.
    pub(crate) off: Option<String>,
}

impl Verdict {
    /// The same where the recorder has refused what the stream has changed to: of what is agreed only that leaves which the
    /// stream still has under the same number. Without anything to hear in that it is off, and what comes is lost.
    pub(super) fn confined(
        mut self,
        agreed: &[NumberedFormat],
        wanted: &[NumberedFormat],
        reason: impl FnOnce() -> String,
    ) -> Self {
        let BranchMode::Open(open) = &mut self.mode else { return self };
        let still = |from: u8| {
            let agreed = agreed.iter().find(|format| format.from == from)?;
            wanted.iter().find(|format| format.from == from && same_codec(&format.format, &agreed.format))
        };
        open.payloads.retain(|rule| still(rule.from).is_some());
        if open
            .payloads
            .iter()
            .filter_map(|rule| still(rule.from))
            .all(|it| it.is_former || is_companion(&it.format.encoding))
        {
            open.payloads.clear();
            self.off = Some(reason());
        }
        self
    }
}

impl Agreement {
    /// The recorder has answered our offer.
    pub(super) fn new(ours: Description, theirs: RemoteDescription) -> Self {
        Self { ours, theirs, offered_by_recorder: false, silenced: Vec::new() }
    }

    /// The recorder has made an offer, which we have answered.
    pub(super) fn follow(&mut self, ours: Description, theirs: RemoteDescription, rules: &Rules) {
        *self = Self { ours, theirs, offered_by_recorder: true, silenced: Vec::new() };
        self.silenced = (0..self.ours.lines.len()).filter(|index| self.declines(*index, rules)).collect();
    }

    /// The first answer must take at least one stream (`protocol` 1.2: port 0 for every stream is a failure).
    pub(super) fn usable(self, rules: &Rules) -> Result<Self, SdpFault> {
        let mut refusal = None;
        let mut takes_any = false;
        for (index, line) in self.ours.lines.iter().enumerate() {
            let Some(stream) = line.stream().filter(|stream| stream.ports.is_some()) else { continue };
            let line = match self.target(index, stream, rules) {
                Ok((_, line)) => line,
                Err(reason) => {
                    refusal = refusal.or(Some(reason));
                    continue;
                }
            };
            match security(stream, line, rules) {
                Ok(_) if !takes_present(stream, line, rules.payload_types) => {
                    refusal = refusal.or_else(|| Some(NO_FORMAT.to_owned()));
                }
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

    /// What is weak in the recorder's own keys, which protect its RTCP, in words: keys are each side's own, and each line's
    /// (RFC 4568 §6.1, RFC 3711 §9.1).
    pub(super) fn weak_keys(&self, rules: &Rules) -> Vec<String> {
        let keys = |security| match security {
            MediaSecurity::Srtp(keys) => Some(keys),
            _ => None,
        };
        let lines: Vec<_> = self.securities(rules).filter_map(keys).collect();
        let mut weak = Vec::new();
        if lines.iter().any(|line| lines.iter().any(|other| line.recorder.contains(&other.own))) {
            weak.push("the recorder uses a key of ours as its own".to_owned());
        }
        let shares = |(number, line): (usize, &SrtpKeys)| {
            lines
                .iter()
                .skip(number + 1)
                .any(|other| other.recorder.iter().any(|key| line.recorder.contains(key)))
        };
        if lines.iter().map(|line| &**line).enumerate().any(shares) {
            weak.push("the recorder uses one key for several m-lines".to_owned());
        }
        weak
    }

    /// Whether what the recorder takes is protected by associations.
    pub(super) fn has_association(&self, rules: &Rules) -> bool {
        self.securities(rules).any(|security| matches!(security, MediaSecurity::Dtls(_)))
    }

    /// How each line is protected that the recorder takes as it was offered.
    fn securities(&self, rules: &Rules) -> impl Iterator<Item = MediaSecurity> {
        self.ours.lines.iter().enumerate().filter_map(move |(index, line)| {
            let stream = line.stream().filter(|stream| stream.ports.is_some())?;
            let (_, theirs) = self.target(index, stream, rules).ok()?;
            security(stream, theirs, rules).ok()
        })
    }

    /// How many streams the recorder takes.
    pub(super) fn taken(&self, rules: &Rules) -> usize {
        (0..self.ours.lines.len()).filter(|index| self.takes(*index, rules)).count()
    }

    /// Whether the recorder takes a stream that is to be sent and that this offer offers as it was: it would take back its word by refusing
    /// that, where it has not asked for silence.
    pub(super) fn takes_some_of(&self, offered: &Description, rules: &Rules) -> bool {
        let is_as_it_was = |index: usize| {
            let pair = self.ours.stream(index).zip(offered.stream(index));
            pair.is_some_and(|(ours, offered)| {
                offered.send && offered.ports == ours.ports && offered.formats == ours.formats
            })
        };
        (0..self.ours.lines.len())
            .any(|index| self.takes(index, rules) && !self.is_silenced(index) && is_as_it_was(index))
    }

    /// Whether the recorder takes what is sent by an m-line, or would.
    fn takes(&self, index: usize, rules: &Rules) -> bool {
        let ours = self.ours.stream(index).filter(|ours| ours.ports.is_some());
        ours.is_some_and(|ours| self.target(index, ours, rules).is_ok())
    }

    /// Leaves only what is so in the lines of which the recorder's answer has nothing but what the stream had before. Gives those.
    pub(super) fn confine_to_former(&mut self) -> Vec<usize> {
        let is_so = |index: &usize| {
            let (Some(ours), Some(theirs)) = (self.ours.stream(*index), self.theirs.lines.get(*index)) else {
                return false;
            };
            let has = |is_former| {
                let heard = ours.formats.iter().filter(|it| !is_companion(&it.format.encoding));
                let mut theirs = heard
                    .filter(|it| it.is_former == is_former)
                    .flat_map(|it| theirs.formats.iter().filter(|theirs| same_codec(theirs, &it.format)));
                theirs.next().is_some()
            };
            has(true) && !has(false)
        };
        let lines: Vec<usize> = (0..self.ours.lines.len()).filter(is_so).collect();
        for index in &lines {
            if let Some(stream) = self.ours.lines.get_mut(*index).and_then(Line::stream_mut) {
                stream.formats.retain(|it| it.is_former || is_companion(&it.format.encoding));
            }
        }
        lines
    }

    /// Whether each encrypted line that the recorder takes is encrypted by its answer: never a silent fall back to something
    /// less (`protocol` section 3).
    ///
    /// # Errors
    /// What the first other one lacks, in words for people.
    pub(super) fn check_security(&self, rules: &Rules) -> Result<(), String> {
        let encrypted = |(index, line): (usize, &Line)| {
            let stream = line.stream().filter(|stream| stream.ports.is_some() && stream.keys.is_some())?;
            let (_, theirs) = self.target(index, stream, rules).ok()?;
            security(stream, theirs, rules).err()
        };
        self.ours.lines.iter().enumerate().find_map(encrypted).map_or(Ok(()), Err)
    }

    /// The recorder has answered a later offer of ours; without a readable description everything stays where it was.
    /// Gives the encrypted lines that now go to another address.
    pub(super) fn renew(
        &mut self,
        ours: Description,
        theirs: Option<RemoteDescription>,
        rules: &Rules,
    ) -> Vec<usize> {
        let theirs = theirs.unwrap_or_else(|| self.theirs.clone().unsaid());
        let moved = self.moved(&theirs);
        let before = std::mem::replace(&mut self.ours, ours);
        self.theirs = theirs;
        self.offered_by_recorder = false;
        let mut silenced = std::mem::take(&mut self.silenced);
        let ports = |description: &Description, index| description.stream(index).and_then(|line| line.ports);
        silenced.retain(|index| {
            // Another stream has an answer of its own.
            ports(&before, *index) == ports(&self.ours, *index) && self.declines(*index, rules)
        });
        self.silenced = silenced;
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

    /// Whether the recorder has asked for silence in an m-line, and has not taken that back.
    pub(super) fn is_silenced(&self, index: usize) -> bool {
        self.silenced.contains(&index)
    }

    /// Whether the recorder does not take what we have for an m-line, whatever it is.
    fn declines(&self, index: usize, rules: &Rules) -> bool {
        let ours = self.ours.stream(index).filter(|ours| ours.send);
        ours.is_some_and(|ours| {
            !self.target(index, ours, rules).is_ok_and(|(_, line)| self.takes_media(line.direction, rules))
        })
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
        let frozen = self.is_silenced(index).then_some(BranchMode::Frozen);
        let (target, line) = match self.target(index, ours, rules) {
            Ok(found) => found,
            Err(reason) => {
                return Verdict { mode: frozen.unwrap_or(BranchMode::Disabled), off: Some(reason) };
            }
        };
        if !self.takes_media(line.direction, rules) {
            let reason = "the recorder set it inactive".to_owned();
            // An answer that is inactive may be opened by its next offer.
            return Verdict { mode: frozen.unwrap_or(BranchMode::Holding), off: Some(reason) };
        }
        // While our own "inactive" is open, nothing is sent that it might end.
        if proposed.and_then(|proposed| proposed.stream(index)).is_some_and(|line| !line.send) {
            return waiting;
        }
        let security = match security(ours, line, rules) {
            Ok(security) => security,
            Err(reason) => return disabled(reason),
        };
        let payloads = payload_rules(ours, line, rules.payload_types);
        if payloads.is_empty() {
            return disabled(NO_FORMAT.to_owned());
        }
        let open = OpenBranch {
            branch,
            recorder: rules.recorder,
            rtp: target.rtp,
            rtcp: target.rtcp,
            security,
            may_expose: rules.may_expose,
            payloads,
            catch_up: rules.catch_up,
            expects_reports: rules.reporting.is_expected(),
            retransmission: ours.feedback.and(line.feedback).packets,
        };
        Verdict { mode: BranchMode::Open(open), off: None }
    }

    /// The association that the m-line `index` has, even while nothing is sent there.
    pub(super) fn association(&self, branch: BranchId, index: usize, rules: &Rules) -> Option<OpenBranch> {
        let ours = self.ours.stream(index)?;
        let (target, line) = self.target(index, ours, rules).ok()?;
        let security = security(ours, line, rules).ok()?;
        let is_dtls = matches!(security, MediaSecurity::Dtls(_));
        is_dtls.then(|| OpenBranch {
            branch,
            recorder: rules.recorder,
            rtp: target.rtp,
            rtcp: target.rtcp,
            security,
            may_expose: rules.may_expose,
            payloads: payload_rules(ours, line, rules.payload_types),
            catch_up: rules.catch_up,
            expects_reports: rules.reporting.is_expected(),
            retransmission: ours.feedback.and(line.feedback).packets,
        })
    }

    /// The m-lines whose present association ends with this offer of the recorder's (RFC 8842 §4); encrypted otherwise,
    /// those that go to another address.
    pub(super) fn ended_by(&self, offer: &RemoteDescription) -> Vec<usize> {
        let mut ended = self.moved(offer);
        for (index, (before, after)) in self.theirs.lines.iter().zip(&offer.lines).enumerate() {
            let is_other = before.tls_id != after.tls_id || before.fingerprints != after.fingerprints;
            let is_dtls = (before.profile, after.profile) == (Profile::Dtls, Profile::Dtls);
            if is_dtls && is_other && !ended.contains(&index) {
                ended.push(index);
            }
        }
        ended
    }

    /// Our side of the handshake of an m-line's association.
    pub(super) fn side(&self, index: usize) -> Option<Setup> {
        let (ours, theirs) = (self.ours.stream(index)?, self.theirs.lines.get(index)?);
        match role(ours, theirs).ok()? {
            DtlsRole::Client => Some(Setup::Active),
            DtlsRole::Server => Some(Setup::Passive),
        }
    }

    /// Where the stream of an m-line goes. The answer is bound by index (RFC 3264 §6); a missing line is a refusal.
    fn target(
        &self,
        index: usize,
        ours: &StreamLine,
        rules: &Rules,
    ) -> Result<(Target, &RemoteLine), String> {
        let line = self.theirs.lines.get(index).ok_or("the recorder's answer lacks its m-line")?;
        let mut target = line.target_for(ours.medium)?;
        if let Some(ports) = ours.ports {
            check_reach(ports.rtp.ip(), target.rtp.ip())?;
        }
        // What mirrors our offer would have the call sent to ourselves.
        if self.is_own(target.rtp) || self.mirrors(rules.signalled) {
            return Err(format!("the recorder takes it at {}, which is our own port", target.rtp));
        }
        let names_us = |rtcp: SocketAddr| {
            let port = ours.ports.map(|ports| ports.rtcp.port());
            self.is_own(rtcp) || rtcp.ip() == rules.signalled && Some(rtcp.port()) == port
        };
        if target.rtcp.is_some_and(names_us) {
            // Our reports would come back as its: they go where they would without that (RFC 3605 §2.1).
            let usual = target.rtp.port().checked_add(1).map(|port| SocketAddr::new(target.rtp.ip(), port));
            target.rtcp = usual.filter(|usual| !names_us(*usual));
        }
        Ok((target, line))
    }

    /// Whether this is a port of ours.
    fn is_own(&self, address: SocketAddr) -> bool {
        let own = (0..self.ours.lines.len()).filter_map(|index| self.ours.stream(index)?.ports);
        own.flat_map(|ports| [ports.rtp, ports.rtcp]).any(|own| own == address)
    }

    /// Whether every m-line is our own at the address that SIP names as ours, as where a translation of addresses has rewritten
    /// an offer that comes back. One alone may be a recorder's behind the same address.
    fn mirrors(&self, signalled: IpAddr) -> bool {
        let taken = |(index, line): (usize, &RemoteLine)| {
            let own = self.ours.stream(index)?.ports?;
            Some((own.rtp.port(), line.target.as_ref().ok()?.rtp))
        };
        let mut taken = self.theirs.lines.iter().enumerate().filter_map(taken).peekable();
        taken.peek().is_some() && taken.all(|(own, target)| target.ip() == signalled && target.port() == own)
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

/// Whether a socket with this address of ours can send there: an answer is of the offer's family (RFC 3264 knows no choice) and of one
/// host (§6.2: a unicast stream is answered as one). What is unspecified is a hold (§8.4).
fn check_reach(from: IpAddr, to: IpAddr) -> Result<(), String> {
    if !to.is_unspecified() && from.is_ipv4() != to.is_ipv4() {
        let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(format!("the recorder takes it at {to}, and was offered {}", family(from)));
    }
    if !to.is_unspecified() && !is_reachable(to) {
        return Err(format!("the recorder takes it at {to}, which is nobody's address"));
    }
    Ok(())
}

/// Whether something can be sent there: nothing can to "this network" and to what is reserved (RFC 6890 §2.2.2).
fn is_reachable(address: IpAddr) -> bool {
    let is_reserved =
        matches!(address.to_canonical(), IpAddr::V4(address) if matches!(address.octets(), [0 | 240.., ..]));
    is_one_host(&address) && !is_reserved
}

/// How a line is protected: as we offered it, or as we answered, by keys of both sides.
///
/// # Errors
/// Why the recorder's line does not fit ours, in words for people. No key is shown.
fn security(ours: &StreamLine, theirs: &RemoteLine, rules: &Rules) -> Result<MediaSecurity, String> {
    let offered = match ours.keys.as_deref() {
        None => Profile::Plain,
        Some(LineKeys::Sdes(_)) => Profile::Sdes,
        Some(LineKeys::Dtls(_)) => Profile::Dtls,
    };
    if theirs.profile != offered {
        let (wanted, offered) =
            (theirs.profile.as_str(), offered.as_str().trim_end_matches(", in the clear,"));
        return Err(format!("the recorder wants {wanted} instead of {offered}"));
    }
    match ours.keys.as_deref() {
        None => Ok(MediaSecurity::Plain),
        Some(keys @ LineKeys::Sdes(_)) => exchanged(keys, ours, theirs, rules.number),
        Some(LineKeys::Dtls(id)) => Ok(MediaSecurity::Dtls(Box::new(DtlsAssociation {
            role: role(ours, theirs)?,
            fingerprints: theirs.certificate()?,
            suites: rules.protection.suites().to_vec(),
            own_id: id.clone(),
            recorder_id: theirs.tls_id.clone(),
            session: rules.number,
        }))),
    }
}

/// Which side of the handshake is ours.
fn role(ours: &StreamLine, theirs: &RemoteLine) -> Result<DtlsRole, String> {
    let own = match (&ours.accepted, theirs.setup) {
        (Some(Accepted::Dtls(setup)), _) => *setup,
        (_, Some(Setup::Active)) => Setup::Passive,
        // Who does not say so in an answer is passive (RFC 4145 §4.1).
        (_, Some(Setup::Passive) | None) => Setup::Active,
        (_, Some(other)) => return Err(format!("the recorder answers a=setup:{other}")),
    };
    Ok(if own == Setup::Active { DtlsRole::Client } else { DtlsRole::Server })
}

/// The keys of a line that both descriptions have.
fn exchanged(
    keys: &LineKeys,
    ours: &StreamLine,
    theirs: &RemoteLine,
    session: u32,
) -> Result<MediaSecurity, String> {
    let (own, recorder) = match ours.accepted.as_ref().and_then(Accepted::crypto) {
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
            let (recorder, recorder_lifetime) = (line.keys().to_vec(), line.lifetime());
            let keys = SrtpKeys { own: own.clone(), recorder, recorder_lifetime, session };
            Ok(MediaSecurity::Srtp(Box::new(keys)))
        }
        (_, Some(line)) => Err(format!("the recorder answers a=crypto:{line}, which was not offered")),
        (_, None) => Err("the recorder has taken its keys back".to_owned()),
    }
}

/// Whether anything of what the stream has now is sent.
fn takes_present(ours: &StreamLine, theirs: &RemoteLine, policy: PayloadTypes) -> bool {
    let is_former = |from| ours.formats.iter().any(|format| format.from == from && format.is_former);
    payload_rules(ours, theirs, policy).iter().any(|rule| !is_former(rule.from))
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
