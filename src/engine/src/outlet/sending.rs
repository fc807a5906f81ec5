//! What leaves: as it comes, or as it is due.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use siprec_media::{RtpView, Sent};
use siprec_model::{BranchEvent, Component, DropCause};

use super::{Outlet, State};
use crate::budget::Budget;
use crate::burst::{Burst, Errors, Outcome, Way};
use crate::gate::Gate;
use crate::hosts::Extent;
use crate::kit::Kit;
use crate::packed::{Item, Packed};
use crate::trunk::TrunkId;

/// Most packets that a branch may save up of what costs no budget.
const MAX_ALLOWANCE: u32 = 64;

/// After the end of a call, one packet in this time counts as real time: nothing comes any more to compare with.
const REAL_TIME_PACKET: Duration = Duration::from_millis(20);

impl Outlet {
    /// Takes what came from the tap; what may leave at once leaves. What the call says once the recording is over is not for it, whether
    /// its gate was shut or not.
    pub(crate) fn accept(&mut self, batch: &Packed, gate: Gate<'_>, kit: &mut Kit, now: Instant) {
        #[cfg(test)]
        crate::fault::strike(self.id);
        let mut section = if self.is_open() { gate.enter(self.draining) } else { None };
        let mut oldest = None;
        for item in batch.items() {
            match item {
                Item::Packet(..) | Item::Lost(..) if self.draining => {}
                Item::Packet(bytes, arrival) => match RtpView::parse(bytes) {
                    Ok(packet) if section.is_some() => {
                        let trunk = self.trunk();
                        let burst = kit.burst(trunk);
                        if let Some(sent) = self.branch.handle_packet(&packet, arrival, &mut burst.bytes) {
                            oldest = oldest.or(Some(arrival));
                            self.seal(sent, burst, now);
                        } else if self.branch.held_packets() > 0 {
                            self.allowance = (self.allowance + 1).min(MAX_ALLOWANCE);
                        }
                        if kit.is_full(trunk) {
                            self.transmit(kit, now);
                            // The section ends here, so that whoever shuts the gate waits for one burst at most.
                            drop(section.take());
                            section = gate.enter(self.draining);
                        }
                    }
                    Ok(packet) => self.branch.store_packet(&packet, arrival),
                    Err(unusable) => self.branch.handle_loss(unusable.into(), 1),
                },
                Item::Lost(cause, arrival) => self.branch.handle_lost_packet(cause, arrival),
                Item::GateOpened => self.meet_open_gate(now),
                Item::Confidential(true) => {
                    if self.discretion.begin() && self.is_open() {
                        self.transmit(kit, now);
                        section = None;
                        self.branch.hold(now);
                        self.reporter.rest(now);
                        self.state = State::Holding;
                    }
                }
                Item::Confidential(false) => {
                    if let Some(target) = self.discretion.end() {
                        self.open(&target, kit, now);
                        section = if self.is_open() { gate.enter(self.draining) } else { None };
                    }
                }
            }
        }
        self.transmit(kit, now);
        drop(section);
        if let Some(arrival) = oldest {
            self.departures.note_wait(arrival, now);
        }
        if batch.overflow() > 0 && !self.draining {
            self.branch.handle_loss(DropCause::QueueFull, batch.overflow());
        }
        self.branch.tell_lasting_losses(now);
        self.report(kit, now);
    }

    /// Sends what is held and due, as far as the budget goes; whether any left.
    pub(crate) fn flush(&mut self, gate: Gate<'_>, kit: &mut Kit, now: Instant) -> bool {
        let mut sent = 0;
        let mut portion = kit.budget.claim();
        while self.is_open() && self.branch.held_packets() > 0 {
            let Some(section) = gate.enter(self.draining) else { break };
            let trunk = self.trunk();
            while !kit.is_full(trunk) && self.may_catch_up(&kit.budget, portion, now) {
                let burst = kit.burst(trunk);
                let Some(sent) = self.branch.next_packet(now, &mut burst.bytes) else { break };
                self.seal(sent, burst, now);
                self.pay(&mut kit.budget, &mut portion, now);
            }
            let was_full = kit.is_full(trunk);
            sent += kit.burst(trunk).unassigned();
            self.transmit(kit, now);
            drop(section);
            if !was_full {
                break;
            }
        }
        if self.branch.held_packets() == 0 {
            self.allowance = 0;
            if self.has_ended(gate, kit, now) {
                self.events.push_back(BranchEvent::BacklogEmpty { recalls: self.branch.recalls() });
            }
        }
        if sent > 0 {
            self.report(kit, now);
        }
        sent > 0
    }

    /// Takes what became of packets that left by a trunk.
    pub(crate) fn settle(&mut self, outcome: Outcome, kit: &mut Kit, now: Instant) {
        let Outcome { failed, failed_bytes, refused, indivisible } = outcome;
        if failed > 0 {
            let tags = failed * self.shield.as_ref().map_or(0, |shield| shield.overhead() as u64);
            self.branch.handle_send_failure(failed, failed_bytes.saturating_sub(tags));
        }
        self.segmentation &= !indivisible;
        if refused {
            // What a send tells has no more than a number: it may be of a closed port.
            self.suspect(&self.left_last(now), Extent::Recorder, kit, now);
        }
    }

    /// What its RTP leaves by, unless by its own socket: keys of a handshake belong to one pair of addresses.
    pub(crate) fn trunk(&self) -> Option<TrunkId> {
        self.shared.filter(|_| self.ports.is_some() && self.handshakes.is_none())
    }

    /// Makes the packet that was just written ready to leave: protected, where that is asked for, or not at all.
    pub(super) fn seal(&mut self, sent: Sent, burst: &mut Burst, now: Instant) {
        let sealed = match &mut self.shield {
            None => Ok(sent.length),
            Some(shield) => shield.protect(&mut burst.bytes, sent),
        };
        match sealed {
            Ok(length) => {
                if let Some(repeats) = &mut self.repeats {
                    let start = burst.bytes.len().saturating_sub(length);
                    repeats.keep(burst.bytes.get(start..).unwrap_or_default(), now);
                }
                burst.seal_packet();
            }
            Err(fault) => self.branch.handle_refusal(fault.into(), 1, sent.length as u64),
        }
    }

    /// Sends what was written to the recorder, or lets it wait for what others send by the same trunk.
    pub(super) fn transmit(&mut self, kit: &mut Kit, now: Instant) {
        self.tell_wear();
        let trunk = self.trunk();
        let burst = kit.burst(trunk);
        if burst.unassigned() == 0 {
            return;
        }
        let (Some(ports), Some(remote)) = (&self.ports, &self.remote) else {
            // An open branch lost its ports to a bind that failed.
            let outcome = burst.fail_unassigned();
            return self.settle(outcome, kit, now);
        };
        self.departures.note(now);
        let segmentation = self.segmentation;
        let way = Way { branch: self.id, to: remote.rtp(), segmentation, again: false };
        let mut outcome = Outcome::default();
        match trunk {
            Some(trunk) => {
                kit.trunks.assign(trunk, way);
                if kit.trunks.are_full() {
                    kit.trunks.flush();
                    outcome = kit.trunks.take_outcome(self.id);
                }
            }
            None => {
                burst.assign(way);
                outcome = self.send_by_own(burst, &ports.rtp);
            }
        }
        self.settle(outcome, kit, now);
    }

    /// Sends what is assigned by the branch's own socket. An error that the send has told may be of what went to the recorder before.
    pub(super) fn send_by_own(&self, burst: &mut Burst, rtp: &UdpSocket) -> Outcome {
        let mut outcome = Outcome::default();
        burst.send(rtp, Errors::Own, |_, told| outcome = told);
        outcome.refused = outcome.refused && self.errors(Component::Rtp, rtp).is_none_or(|told| told.refuses);
        outcome
    }

    /// Whether a held packet may leave: as many as come leave at no cost, those beyond take from the budget.
    fn may_catch_up(&self, budget: &Budget, portion: u64, now: Instant) -> bool {
        self.allowance > 0 || (self.draining && now >= self.next_allowance) || budget.grants(portion)
    }

    fn pay(&mut self, budget: &mut Budget, portion: &mut u64, now: Instant) {
        if self.allowance > 0 {
            self.allowance -= 1;
        } else if self.draining && now >= self.next_allowance {
            self.next_allowance = now + REAL_TIME_PACKET;
        } else {
            budget.take(portion);
        }
    }
}
