//! The call's streams: they come and go, and each finds its session and its m-line.

use std::time::Instant;

use siprec_model::{BranchEvent, BranchId, DropCause, Medium, SessionEventKind, StreamFormat, StreamId};
use siprec_sip::sdp::MAX_MEDIA;

use super::leg::{Leg, Step};
use super::lines::Placing;
use super::slot::{Slot, SlotNews};
use super::tell::Scope;
use super::{COPY, Recording, Stage};
use crate::branches::BranchMode;
use crate::config::SessionMode;
use crate::numbering::is_describable;
use crate::parties::{PartyKey, Voice, silent_streams};
use crate::security::Weaker;
use crate::session::{Verdict, WantedLine};

impl Recording {
    pub(super) fn add_stream(&mut self, pad: u16, stream: StreamId, now: Instant) {
        if matches!(self.stage, Stage::Draining { .. }) {
            return;
        }
        if usize::from(pad) >= MAX_MEDIA {
            let reason = format!("a session has at most {MAX_MEDIA} streams");
            let off = SessionEventKind::MediumOff { medium: Medium::Audio, reason, others: true };
            self.tell(Scope::Pad(pad), off);
            return;
        }
        if self.slots.values().any(|slot| slot.stream() == stream) {
            return;
        }
        let keeps_line = self.mode == SessionMode::BothParties;
        self.end_streams(|slot| slot.pad() == pad && slot.is_present(), now);
        let is_former = |slot: &&mut Slot| slot.pad() == pad && !slot.is_departed();
        self.slots.values_mut().filter(is_former).for_each(|slot| slot.depart(keeps_line));
        let Some(number) = self.number_for(pad) else { return };
        let party = PartyKey::new(pad, self.config.dn(pad).unwrap_or_default());
        let cname = self.cname(&party);
        let id = BranchId { recording: self.config.key, leg: COPY, slot: number };
        let mut slot = Slot::new(id, pad, stream, party, cname);
        slot.mute(self.muted.contains(&pad));
        // Before `start`, packets are held only where the recording will begin with them.
        let holds = match self.stage {
            Stage::Idle { asked, .. } => asked || self.config.pre_record || self.rest.is_some(),
            _ => true,
        };
        let mut commands = Vec::new();
        if holds {
            slot.create(self.config.limits, &mut commands);
        }
        self.slots.insert(number, slot);
        self.branches(commands);
    }

    /// The pad's own number where that is free, else one that no stream of the recording has had.
    pub(super) fn number_for(&mut self, pad: u16) -> Option<u16> {
        if !self.slots.contains_key(&pad) {
            return Some(pad);
        }
        let number = self.next_number;
        self.next_number = number.checked_add(1)?;
        Some(number)
    }

    /// One RTCP name for each party (RFC 3550 §6.5.1).
    fn cname(&mut self, party: &PartyKey) -> String {
        let random = &mut self.random;
        self.cnames.entry(party.clone()).or_insert_with(|| random.token(20)).clone()
    }

    pub(super) fn describe(&mut self, stream: StreamId, mut format: StreamFormat, now: Instant) {
        let Some((number, slot)) = self.slots.iter_mut().find(|(_, slot)| slot.carries(stream)) else {
            return;
        };
        let (number, before) = (*number, slot.medium());
        format.payloads.retain(is_describable);
        if format.payloads.is_empty() {
            let reason = "none of its formats can be described".to_owned();
            self.tell_off(number, reason.clone());
            return self.note_unrecordable(reason, now);
        }
        let mut commands = Vec::new();
        if format.medium == Medium::Video && !self.config.record_video {
            slot.dismiss(&mut commands);
        } else {
            slot.describe(format, &mut commands, now);
        }
        let is_dismissed = slot.is_dismissed();
        // A stream that was taken for audio leaves its line to others.
        if slot.medium() != before || is_dismissed {
            let leg = slot.leg();
            self.release_line(leg, number);
        }
        self.branches(commands);
        if is_dismissed {
            self.note_unrecordable("video is not to be recorded".to_owned(), now);
        }
    }

    pub(super) fn party_left(&mut self, stream: StreamId, now: Instant) {
        self.end_streams(|slot| slot.stream() == stream, now);
        let keeps_line = self.mode == SessionMode::BothParties;
        self.slots
            .values_mut()
            .filter(|slot| slot.stream() == stream)
            .for_each(|slot| slot.depart(keeps_line));
    }

    pub(super) fn remove_stream(&mut self, stream: StreamId, now: Instant) {
        self.forbidden.retain(|_, forbidden| forbidden.stream != stream);
        self.end_streams(|slot| slot.stream() == stream, now);
        let pad = self.slots.values().find(|slot| slot.stream() == stream).map(Slot::pad);
        let Some(pad) = pad else { return };
        // Streams that it replaced have no successor to wait for any more, either.
        for slot in self.slots.values_mut().filter(|slot| slot.pad() == pad && !slot.is_present()) {
            slot.depart(false);
        }
    }

    /// Another name for the party of a pad; `other` says that it is another party.
    pub(super) fn set_dn(&mut self, pad: u16, dn: String, other: bool) {
        if usize::from(pad) >= MAX_MEDIA {
            return;
        }
        let index = usize::from(pad);
        if self.config.parties.len() <= index {
            self.config.parties.resize_with(index + 1, Default::default);
        }
        let party = PartyKey::new(pad, &dn);
        if let Some(party) = self.config.parties.get_mut(index) {
            party.dn = dn;
        }
        let cname = self.cname(&party);
        let mut commands = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| slot.pad() == pad && slot.is_present()) {
            if other && *slot.party() != party {
                slot.revise();
            }
            slot.rename(party.clone(), cname.clone(), &mut commands);
        }
        self.branches(commands);
    }

    pub(super) fn party_moved(&mut self, pad: u16) {
        let of_pad = |slot: &&mut Slot| slot.pad() == pad && slot.is_present();
        self.slots.values_mut().filter(of_pad).for_each(Slot::revise);
    }

    pub(super) fn mute(&mut self, pad: u16, muted: bool) {
        if muted && usize::from(pad) < MAX_MEDIA {
            self.muted.insert(pad);
        } else {
            self.muted.remove(&pad);
        }
        self.slots.values_mut().filter(|slot| slot.pad() == pad).for_each(|slot| slot.mute(muted));
    }

    pub(super) fn media(&mut self, id: BranchId, event: BranchEvent, now: Instant) {
        if id.recording != self.config.key {
            return;
        }
        match &event {
            BranchEvent::FirstPacket { arrival, .. } => {
                self.begun = Some(self.begun.map_or(*arrival, |begun| begun.min(*arrival)));
            }
            // What nobody could decrypt is the first of the call, too, and is told later than what came behind it.
            BranchEvent::Gap(hole) if matches!(hole.cause, DropCause::NoKey | DropCause::NotAuthentic) => {
                self.begun = Some(self.begun.map_or(hole.start, |begun| begun.min(hole.start)));
            }
            // When others came that nobody has seen is a guess.
            BranchEvent::Gap(hole) => {
                self.begun.get_or_insert(hole.start);
            }
            _ => {}
        }
        self.tell_media(id, &event);
        let Some(slot) = self.slots.get_mut(&id.slot) else { return };
        let (leg, medium) = (slot.leg(), slot.medium());
        let mut commands = Vec::new();
        let news = slot.handle(&event, &mut commands, now);
        let changed = slot.medium() != medium;
        if changed {
            self.release_line(leg, id.slot);
        }
        self.branches(commands);
        match news {
            SlotNews::None => {}
            SlotNews::FirstPacket => {
                if let Stage::Idle { asked: true, deadline } = &mut self.stage {
                    deadline.get_or_insert(now + self.config.timers.auto_start);
                }
            }
            SlotNews::PortsFailed(reason) => self.ports_failed(id.slot, reason, now),
            SlotNews::Protected { session, suite } => self.protected(id.slot, session, suite, now),
            SlotNews::Unprotected { session, reason } => {
                self.protection_failed(id.slot, session, reason, now);
            }
            SlotNews::KeyWanted { session, used_up } => self.key_wanted(id.slot, session, used_up),
            SlotNews::Lost(reason) => self.branch_lost(id.slot, reason, now),
            SlotNews::Missed(packets, within) => self.missed(id, packets, within, now),
            SlotNews::Refused => {
                if let Some(leg) = leg {
                    self.hear_refusal(leg, id, now);
                }
            }
            SlotNews::LostWithin(within) => self.concede(id, within),
            SlotNews::Reported(said) => {
                if let Some(session) = leg.and_then(|leg| self.session_reported_on(leg)) {
                    session.hear_report(id, said);
                }
            }
            SlotNews::Unreported | SlotNews::Unrefused | SlotNews::Overdue | SlotNews::Refuted => {
                let leg = leg.and_then(|id| self.legs.get_mut(id));
                let Some(session) = leg.and_then(|leg| leg.session_mut()) else { return };
                match news {
                    SlotNews::Unreported => session.miss_reports(id, now),
                    SlotNews::Unrefused => session.end_refusals(id),
                    SlotNews::Refuted => session.hear_refutation(id, now),
                    SlotNews::Overdue => session.miss_report(id),
                    _ => {}
                }
            }
        }
    }

    /// Gives each stream of a recording that has begun its session, and its m-line where the session is there.
    pub(super) fn place_streams(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Running | Stage::Draining { .. }) {
            return;
        }
        self.join_sessions(now);
        self.bind_late();
        let mut full = Vec::new();
        for number in self.waiting_for_lines() {
            let Some(slot) = self.slots.get(&number) else { continue };
            let Some(leg) = slot.leg().and_then(|id| self.legs.get_mut(id)) else { continue };
            let slots = &self.slots;
            let is_leaving = |owner: u16| slots.get(&owner).is_some_and(|owner| !owner.is_present());
            if leg.lines.place(&slot.claim(), slot.is_bound(), is_leaving) == Placing::Full {
                full.push(number);
            }
        }
        for number in full {
            self.tell_off(number, format!("a session has at most {MAX_MEDIA} m-lines"));
            let mut commands = Vec::new();
            if let Some(slot) = self.slots.get_mut(&number) {
                slot.dismiss(&mut commands);
            }
            self.branches(commands);
        }
    }

    /// The streams that came to a session after its INVITE, in the order of their pads, and have no line yet.
    pub(super) fn waiting_for_lines(&self) -> Vec<u16> {
        let waits = |slot: &&Slot| {
            let leg = slot.leg().and_then(|id| self.legs.get(id));
            slot.is_live()
                && slot.is_described()
                && slot.kept_until().is_none()
                && leg.is_some_and(|leg| leg.session().is_some() && leg.lines.index(slot.number()).is_none())
        };
        let mut waiting: Vec<&Slot> = self.slots.values().filter(waits).collect();
        waiting.sort_by_key(|slot| slot.pad());
        waiting.into_iter().map(Slot::number).collect()
    }

    /// Finds a session for each stream that has none: the one of all, or the one of its party.
    fn join_sessions(&mut self, now: Instant) {
        let mut new = Vec::new();
        // Those that are stranded join what the others have begun.
        for stranded in [false, true] {
            let waits =
                |slot: &&mut Slot| slot.leg().is_none() && slot.is_live() && slot.is_stranded() == stranded;
            for slot in self.slots.values_mut().filter(waits) {
                let party = match self.mode {
                    SessionMode::BothParties => None,
                    SessionMode::PerParty if slot.is_described() => Some(slot.party().clone()),
                    SessionMode::PerParty => continue,
                };
                let found = self.legs.iter().position(|leg| leg.is_running() && leg.party == party);
                if found.is_none() && stranded {
                    continue;
                }
                // Where the session of all has ended, the recording has.
                let id = found.unwrap_or_else(|| {
                    // Nearly every recording has one or two, and there are many recordings.
                    self.legs.reserve_exact(1);
                    self.legs.push(Leg::new(party));
                    new.push(self.legs.len() - 1);
                    self.legs.len() - 1
                });
                slot.join(id);
            }
        }
        for id in new {
            self.next_attempt(id, now);
        }
    }

    /// Asks for the ports of streams that came to a session whose way is known.
    fn bind_late(&mut self) {
        let mut commands = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| slot.is_live() && slot.is_unasked()) {
            if let Some(flow) = slot.leg().and_then(|id| self.legs.get(id)).and_then(Leg::flow) {
                slot.bind(flow.media, self.config.rtcp_mode, &mut commands);
            }
        }
        self.branches(commands);
    }

    /// A stream uses its line no more.
    pub(super) fn release_line(&mut self, leg: Option<usize>, number: u16) {
        if let Some(leg) = leg.and_then(|id| self.legs.get_mut(id)) {
            leg.lines.release(number);
        }
    }

    /// What every m-line of a session should be.
    pub(super) fn wanted(&self, id: usize) -> Vec<WantedLine> {
        let silent = self.is_silent(id);
        let Some(leg) = self.legs.get(id) else { return Vec::new() };
        let owner = |number: Option<u16>| number.and_then(|number| self.slots.get(&number));
        leg.lines
            .iter()
            .map(|line| match owner(line.owner) {
                Some(slot) => slot.wanted(line.medium, silent),
                None => WantedLine::Absent { medium: line.medium },
            })
            .collect()
    }

    /// Brings every branch into the mode that silence and agreement ask for.
    fn steer_branches(&mut self, now: Instant) {
        let numbers: Vec<u16> = self.slots.keys().copied().collect();
        let voice = |slot: &Slot| Voice { party: self.group(slot), muted: slot.is_muted() };
        let voices: Vec<Voice> = self.slots.values().map(voice).collect();
        let silent = silent_streams(self.mode, self.paused, &voices);
        let forbidding: Vec<_> = (0..self.legs.len()).map(|id| self.forbids_encrypted(id)).collect();
        let mut commands = Vec::new();
        let (mut news, mut offs, mut weak) = (Vec::new(), Vec::new(), Vec::new());
        for (number, silent) in numbers.into_iter().zip(silent) {
            let Some(slot) = self.slots.get_mut(&number) else { continue };
            let holding = Some(Verdict { mode: BranchMode::Holding, off: None });
            let leg = slot.leg().and_then(|id| self.legs.get(id));
            let attempt = leg.map_or(0, |leg| leg.attempt);
            let verdict = leg.map_or(holding, |leg| leg.verdict(slot.branch()));
            let association =
                leg.zip(slot.ports()).and_then(|(leg, ports)| leg.association(slot.branch(), ports));
            let silent = silent && !slot.speaks_out() && !leg.is_some_and(|leg| leg.speaks_out);
            let Some(mut verdict) = verdict else { continue };
            if slot.security().is_secured() && verdict.mode.is_plain() {
                let forbidden = slot.leg().and_then(|id| forbidding.get(id).copied().flatten());
                if leg.is_some_and(Leg::turns_secured) {
                    verdict = Verdict { mode: BranchMode::Holding, off: None };
                } else if let Some(fault) = forbidden {
                    verdict = Verdict { mode: BranchMode::Disabled, off: Some(fault.to_string()) };
                }
            }
            let Verdict { mode, off } = verdict;
            let weakness = mode.suite().and_then(|suite| Weaker::than(slot.security(), suite));
            weak.extend(slot.leg().zip(weakness));
            slot.associate(association, &mut commands);
            let opens = slot.steer(if silent { BranchMode::Paused } else { mode }, &mut commands, now);
            if opens && slot.medium() == Medium::Video {
                news.push((number, SessionEventKind::KeyframeWanted));
            }
            let medium = slot.medium();
            if let Some(reason) = off {
                if !slot.is_off(attempt) {
                    offs.push((number, reason));
                }
            } else if slot.is_present() {
                // What a stream leaves that has ended is not the call's any more.
                let was_forbidden = slot.is_open() && self.forbidden.remove(&slot.pad()).is_some();
                if slot.turns_on() || was_forbidden || opens && leg.is_some_and(Leg::takes_nothing) {
                    news.push((number, SessionEventKind::MediumOn { medium }));
                }
            }
        }
        self.branches(commands);
        weak.into_iter().for_each(|(id, weaker)| self.tell_weaker(id, weaker));
        for (number, reason) in offs {
            self.tell_off_once(number, || reason);
        }
        for (number, kind) in news {
            if matches!(kind, SessionEventKind::MediumOn { .. })
                && let Some(id) = self.slots.get(&number).and_then(Slot::leg)
                && let Some(leg) = self.legs.get_mut(id)
            {
                leg.takes_nothing = None;
            }
            self.tell(Scope::Slot(number), kind);
        }
    }

    /// Whose silence a stream shares: its session's, which keeps its party's first name.
    fn group(&self, slot: &Slot) -> PartyKey {
        let leg = slot.leg().and_then(|id| self.legs.get(id));
        leg.and_then(|leg| leg.party.clone()).unwrap_or_else(|| slot.party().clone())
    }

    /// Brings branches and sessions to what is wanted. Gates close before the offer that says so goes out, and open
    /// after the answer came.
    pub(super) fn steer(&mut self, now: Instant) {
        for id in 0..self.legs.len() {
            let wanted = self.wanted(id);
            if let Some(leg) = self.legs.get_mut(id) {
                leg.want(&wanted);
            }
        }
        self.steer_branches(now);
        self.legs.iter_mut().for_each(|leg| leg.offer(now));
        self.steer_branches(now);
    }

    /// Whether a stream that holds something may yet be sent to a recorder.
    pub(super) fn may_open(&self, slot: &Slot) -> bool {
        if matches!(self.stage, Stage::Idle { asked: true, .. }) {
            return true;
        }
        let Some(leg) = slot.leg().and_then(|id| self.legs.get(id)) else { return false };
        let waits = matches!(leg.step, Step::Session { .. })
            && slot.is_described()
            && slot.kept_until().is_none()
            && leg.lines.index(slot.number()).is_none();
        leg.is_active() && (leg.is_attempting() || leg.is_unsettled() || waits)
    }
}
