//! A recorder that lives and has missed a stretch at once, as a cable leaves it that was out for some seconds: what was sent
//! to it in a new session, or to another recorder, has no hole.
//!
//! The session that is left for that stands until another one has been accepted. Meanwhile everything is held. Where nobody
//! accepts, it goes on as if nothing had been asked.

use std::time::{Duration, Instant};

use siprec_model::{BranchCommand, BranchId, FailureReason, RecordingState, SessionEventKind, TimeSpan};

use super::Recording;
use super::leg::{Comeback, Leg, LegEnd, Lost, Step};
use super::lines::LineTable;
use super::slot::{Loss, Slot};
use super::tell::Scope;
use super::tried::Again;
use crate::branches::BranchMode;
use crate::io::Flow;
use crate::recorder::RecorderTarget;
use crate::session::{RecordingSession, Said};

/// From one repair of a session to the next.
const RARELY: Duration = Duration::from_secs(30);

/// Most repairs of one session.
const MOST: u32 = 3;

/// The repairs of one session.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    begun: u32,
    last: Option<Instant>,
    /// What is left for the one under way.
    standing: Option<Box<Standing>>,
}

/// A dialog that stands until another one has taken its place. It is among the former ones.
#[derive(Debug)]
struct Standing {
    attempt: u32,
    recorder: Option<RecorderTarget>,
    call_id: Option<String>,
    more: bool,
    flow: Flow,
    lines: LineTable,
    /// What its recorder has missed.
    why: FailureReason,
    /// What was sent since then of a stream without reports it may not have.
    proof: Instant,
    /// Since when it may have missed something at the earliest.
    alive: Instant,
    /// When it has missed them, and of which stream, where its reports have told.
    hole: Option<(BranchId, TimeSpan)>,
}

/// What a recorder has missed.
#[derive(Debug)]
struct Missed {
    why: FailureReason,
    /// When it had all for sure, where anything has said so.
    alive: Option<Instant>,
    /// When it was missed.
    hole: Option<TimeSpan>,
    /// The stream that has told of it.
    of: Option<BranchId>,
}

impl Repairs {
    /// Whether another session is sought for what the present one has missed.
    pub(super) fn are_under_way(&self) -> bool {
        self.standing.is_some()
    }

    fn may_begin(&self, now: Instant) -> bool {
        self.standing.is_none()
            && self.begun < MOST
            && self.last.is_none_or(|last| now.saturating_duration_since(last) >= RARELY)
    }
}

impl Recording {
    /// The recorder of a stream has missed so many packets at once: it is told so, and where that was not done a moment
    /// before another session is sought.
    pub(super) fn missed(&mut self, stream: BranchId, packets: u64, hole: Option<TimeSpan>, now: Instant) {
        let Some(id) = self.slots.get(&stream.slot).and_then(Slot::leg) else { return };
        let Some(session) = self.running_session(id) else { return };
        // The report that shows it comes behind this.
        let alive = hole.map(|hole| hole.from).or(session.last_report(stream).map(Said::sure));
        let missed = Missed { why: FailureReason::Missed(packets), alive, hole, of: Some(stream) };
        let companions = self.companions_of(id);
        let is_left = self.leave(id, missed, now);
        let Some(hole) = hole else { return };
        if is_left {
            self.miss_beginnings(&companions, hole, now);
        } else {
            self.concede_at_end(stream, hole);
        }
    }

    /// Sessions of other parties with the same recorder whose streams have begun in the hole of one have missed their beginnings, of which
    /// their own reports say nothing.
    fn miss_beginnings(&mut self, companions: &[usize], hole: TimeSpan, now: Instant) {
        for &other in companions {
            let begins =
                |slot: &Slot| slot.sent_since().is_some_and(|begun| hole.from <= begun && begun <= hole.to);
            if !self.slots.values().any(|slot| slot.is_of(other) && begins(slot)) {
                continue;
            }
            let missed =
                Missed { why: FailureReason::MissedBeginning, alive: Some(hole.from), hole: None, of: None };
            if !self.leave(other, missed, now) {
                self.concede_all(other, None, hole);
            }
        }
    }

    /// Leaves the session of a recorder that has missed something, if that was not done a moment before: it stands until another one is
    /// found. Whether it does.
    fn leave(&mut self, id: usize, missed: Missed, now: Instant) -> bool {
        let is_silent = self.is_silent(id);
        let shown = self.recorder_shown(id);
        let Missed { why, alive, hole, of } = missed;
        let Some(session) = self.running_session(id) else { return false };
        let Some(lived) = session.lived() else { return false };
        let refused = session.refused_streams().into_iter().map(|(_, since)| since).min();
        if let Some(stream) = of {
            session.end_refusals(stream);
        }
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let Some(flow) = leg.flow().filter(|_| leg.repairs.may_begin(now) && !is_silent) else {
            return false;
        };
        // What its host has refused it has missed, whatever it said meanwhile.
        let alive = alive.unwrap_or(lived.alive);
        let alive = refused.map_or(alive, |since| since.min(alive));
        // What it says by SIP proves nothing of the media, as is seen.
        let proof = lived.proof.min(alive);
        let reason = match &why {
            FailureReason::Missed(packets) => format!("it has missed {packets} packets at once"),
            _ => "it has missed the beginning of a stream".to_owned(),
        };
        let standing = Standing {
            attempt: leg.attempt,
            recorder: leg.recorder.clone(),
            call_id: leg.call_id.clone(),
            more: leg.more,
            flow,
            lines: leg.lines.clone(),
            why,
            proof,
            alive,
            hole: of.zip(hole),
        };
        self.tell(Scope::Leg(id), SessionEventKind::Suspected { reason });
        let Some(leg) = self.legs.get_mut(id) else { return false };
        leg.repairs.begun += 1;
        (leg.repairs.last, leg.repairs.standing) = (Some(now), Some(Box::new(standing)));
        // Another recorder is better, whose way was not cut; the same one will do.
        leg.look_elsewhere(Again::All);
        leg.lost = Some(Lost { recorder: shown, proof, alive, at: now, comeback: Comeback::Over });
        self.former.extend(leg.finish());
        let mut commands = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| slot.is_of(id)) {
            slot.steer(BranchMode::Holding, &mut commands, now);
        }
        self.branches(commands);
        self.next_attempt(id, now);
        true
    }

    /// The session of a leg that records.
    fn running_session(&mut self, id: usize) -> Option<&mut RecordingSession> {
        let leg = self.legs.get_mut(id).filter(|leg| leg.is_running())?;
        leg.session_mut().filter(|session| session.is_up())
    }

    /// Nobody gets what the recorder has missed of a stream within a time. What it was sent then of others, in whatever session, is lost, too,
    /// as far as their own reports can tell nothing of it.
    pub(super) fn concede(&mut self, stream: BranchId, within: TimeSpan) {
        let Some(id) = self.slots.get(&stream.slot).and_then(Slot::leg) else { return };
        self.concede_all(id, Some(stream), within);
        for other in self.companions_of(id) {
            self.concede_all(other, None, within);
        }
    }

    /// The same of one session, unless another one is sought that may get it.
    fn concede_all(&mut self, id: usize, except: Option<BranchId>, within: TimeSpan) {
        if self.legs.get(id).is_some_and(|leg| leg.repairs.are_under_way()) {
            return;
        }
        let concerned = |slot: &&Slot| slot.is_of(id) && Some(slot.branch()) != except && slot.is_live();
        let others = self.slots.values().filter(concerned);
        let commands = others.map(|slot| BranchCommand::Concede { branch: slot.branch(), within }).collect();
        self.branches(commands);
    }

    /// [`Self::concede`] where the stream has ended, so that no report of it comes any more which would tell that.
    fn concede_at_end(&mut self, stream: BranchId, within: TimeSpan) {
        if self.slots.get(&stream.slot).is_some_and(|slot| slot.ended().is_some()) {
            self.concede(stream, within);
        }
    }

    /// Sessions that were sought have been accepted: they get what the ones before have missed, and those end.
    pub(super) fn repair(&mut self, now: Instant) {
        for id in 0..self.legs.len() {
            let is_accepted = |leg: &&mut Leg| leg.session().is_some_and(RecordingSession::is_up);
            let Some(leg) = self.legs.get_mut(id).filter(is_accepted) else { continue };
            let Some(standing) = leg.repairs.standing.take() else { continue };
            let Standing { attempt, recorder, call_id, why, proof, alive, .. } = *standing;
            // What was told is of the one that is left.
            leg.told = RecordingState::Starting;
            self.recall_missed(id, proof, Loss { next: self.attempt(id), missed: Some(alive) }, now);
            self.end_former(attempt, now);
            self.with_left(id, (recorder, call_id), |recording| {
                recording.tell_failed(id, why, None);
            });
        }
    }

    /// No recorder is left: the session goes on that was left for a repair, or has failed.
    pub(super) fn go_back(&mut self, id: usize, why: Option<FailureReason>, now: Instant) {
        let standing = self.legs.get_mut(id).and_then(|leg| leg.repairs.standing.take());
        let is_up = |standing: &Standing, (attempt, session): &(u32, RecordingSession)| {
            *attempt == standing.attempt && session.is_up()
        };
        let found = standing.as_ref().and_then(|standing| {
            let place = self.former.iter().position(|former| is_up(standing, former))?;
            Some(self.former.remove(place))
        });
        match (standing, found) {
            (Some(standing), Some((attempt, mut session))) => {
                // Whether that is over it was not told meanwhile; a host that refuses still says so again.
                session.forget_refusals();
                self.retire(id);
                let Some(leg) = self.legs.get_mut(id) else { return };
                let Standing { recorder, call_id, more, flow, lines, hole, .. } = *standing;
                leg.step = Step::Session { flow, session: Box::new(session) };
                (leg.attempt, leg.recorder, leg.call_id, leg.more) = (attempt, recorder, call_id, more);
                (leg.lines, leg.lost) = (lines, None);
                if let Some((stream, hole)) = hole {
                    self.concede_at_end(stream, hole);
                }
            }
            (standing, _) => {
                if let Some(standing) = standing {
                    let loss = Loss { next: None, missed: Some(standing.alive) };
                    self.recall_missed(id, standing.proof, loss, now);
                }
                if let Some(reason) = why {
                    self.tell_failed(id, reason, None);
                }
                self.end_leg(id, LegEnd::Failed, now);
            }
        }
    }

    /// A session has ended, and with it the one that it was to replace.
    pub(super) fn abandon_repair(&mut self, id: usize, now: Instant) {
        let standing = self.legs.get_mut(id).and_then(|leg| leg.repairs.standing.take());
        if let Some(standing) = standing {
            self.end_former(standing.attempt, now);
        }
    }

    /// What a recorder may not have that was alive for sure at `proof` waits again.
    fn recall_missed(&mut self, id: usize, proof: Instant, loss: Loss, now: Instant) {
        self.deliver_again(id, now);
        self.recall_since(id, proof, loss);
    }

    fn end_former(&mut self, attempt: u32, now: Instant) {
        if let Some((_, session)) = self.former.iter_mut().find(|(number, _)| *number == attempt) {
            session.end(now);
        }
    }

    /// The session whose recorder reports: while another one is sought, the one that stands.
    pub(super) fn session_reported_on(&mut self, id: usize) -> Option<&mut RecordingSession> {
        let leg = self.legs.get_mut(id)?;
        let Some(standing) = &leg.repairs.standing else { return leg.session_mut() };
        let former = self.former.iter_mut().find(|(attempt, _)| *attempt == standing.attempt);
        former.map(|(_, session)| session)
    }

    /// Tells of a session: while another one is sought, of the one that stands.
    pub(super) fn tell_of_standing(&mut self, id: usize, kind: SessionEventKind) {
        let standing = self.legs.get(id).and_then(|leg| leg.repairs.standing.as_ref());
        let Some(left) = standing.map(|standing| (standing.recorder.clone(), standing.call_id.clone()))
        else {
            return self.tell(Scope::Leg(id), kind);
        };
        self.with_left(id, left, |recording| recording.tell(Scope::Leg(id), kind));
    }

    /// Does something as if the session that was left were the present one.
    fn with_left(
        &mut self,
        id: usize,
        left: (Option<RecorderTarget>, Option<String>),
        tell: impl FnOnce(&mut Self),
    ) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let present = std::mem::replace(&mut leg.recorder, left.0);
        let call_id = std::mem::replace(&mut leg.call_id, left.1);
        tell(self);
        if let Some(leg) = self.legs.get_mut(id) {
            (leg.recorder, leg.call_id) = (present, call_id);
        }
    }
}
