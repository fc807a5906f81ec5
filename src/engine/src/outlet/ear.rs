//! What the sockets of a branch have to tell: RTCP and handshakes of the recorder, and errors of what was sent to it.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use siprec_media::dtls::is_dtls;
use siprec_model::{BranchEvent, Component};

use super::Outlet;
use crate::gate::Gate;
use crate::hosts::{Extent, Refuser};
use crate::kit::{Kit, Token};
use crate::sys;

/// How many datagrams or errors one slice reads from a socket: a flood costs others nothing.
const MAX_READS: usize = 16;

/// For how long a router looks for a host on the link: three questions, a second apart (RFC 1122 §2.3.2.1, RFC 4861 §7.2.2), and the
/// way of what it says then.
const SOUGHT_FOR: Duration = Duration::from_millis(3_100);

/// Addresses that refuse what came by a trunk.
pub(crate) type Refusing = HashMap<SocketAddr, Queued>;

/// What errors say of packets that may have waited at a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Source and sequence number of the first that is known.
    first: Option<(u32, u16)>,
    /// It has looked for the host, which takes [`SOUGHT_FOR`]. It keeps some hundred packets meanwhile, and the oldest make room: others
    /// may have come before the first.
    sought: bool,
}

impl Queued {
    pub(crate) fn note(&mut self, undelivered: &sys::Undelivered) {
        self.first = self.first.or(undelivered.waited());
        self.sought |= undelivered.is_of_a_search;
    }

    /// Whom they are about: who finds nobody on the link speaks of the host, a closed port of one process there.
    fn extent(self) -> Extent {
        if self.sought { Extent::Host } else { Extent::Recorder }
    }
}

/// What errors say of what was sent.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// When what was refused of the RTP may have left, and of whom that says something.
    rtp: Option<(RangeInclusive<Instant>, Extent)>,
    rtcp: bool,
}

/// What the errors say that wait at a socket.
#[derive(Debug)]
pub(super) struct Told {
    /// The recorder refuses what is sent to it.
    pub(super) refuses: bool,
    queued: Queued,
}

impl Outlet {
    /// A socket has something to tell: the errors, which are of what left last, if more has not left since.
    pub(crate) fn receive_errors(&self, token: Token, now: Instant) -> Refused {
        let Some(ports) = self.ports.as_ref().filter(|_| token.serial() == self.serial) else {
            return Refused::default();
        };
        // Whichever has spoken, the next packet would run into an error of the others.
        let refusals = |component, socket| self.errors(component, socket).filter(|told| told.refuses);
        let rtp = refusals(Component::Rtp, &ports.rtp)
            .map(|told| (self.left(told.queued, now), told.queued.extent()));
        let rtcp = ports.rtcp.as_ref().is_some_and(|socket| refusals(Component::Rtcp, socket).is_some());
        Refused { rtp, rtcp }
    }

    /// What the errors say that wait at a socket; None where there are none.
    pub(super) fn errors(&self, component: Component, socket: &UdpSocket) -> Option<Told> {
        let mut told = None;
        for _ in 0..MAX_READS {
            let Ok(undelivered) = sys::receive_error(socket) else { break };
            // An error of an address that the branch has left says nothing of the recorder.
            let destination = undelivered.destination;
            let is_its = destination.is_none() || destination == self.remote_address(component);
            let told = told.get_or_insert(Told { refuses: false, queued: Queued::default() });
            if is_its && undelivered.is_refused() {
                told.refuses = true;
                told.queued.note(&undelivered);
            }
        }
        told
    }

    /// A socket has something to tell: handshakes and RTCP. What its errors have said comes after that.
    pub(crate) fn receive(
        &mut self,
        token: Token,
        refused: Refused,
        gate: Gate<'_>,
        kit: &mut Kit,
        now: Instant,
    ) {
        let Some(ports) = self.ports.as_ref().filter(|_| token.serial() == self.serial) else { return };
        let component = token.component();
        let socket = match component {
            Component::Rtp => &ports.rtp,
            Component::Rtcp => ports.rtcp_socket(),
        };
        // With a pair of ports, only handshakes come to the RTP port.
        let takes_rtcp = component == Component::Rtcp || ports.rtcp.is_none();
        if takes_rtcp
            && let Some(refused) = self.destination().and_then(|to| kit.refusing_hosts.refused(to))
            && self.departures.surround(*refused.start())
        {
            self.reporter.hear_host(refused);
        }
        kit.scratch.resize(1 << 16, 0);
        let mut advanced = false;
        for _ in 0..MAX_READS {
            match socket.recv_from(&mut kit.scratch) {
                Ok((size, from)) => {
                    let datagram = kit.scratch.get_mut(..size).unwrap_or_default();
                    if is_dtls(datagram) {
                        let present = self.handshakes.as_mut();
                        let heard = present.map(|present| present.receive(component, datagram, from, now));
                        advanced |= heard == Some(true);
                        // It may be of a recorder whose answer is on its way.
                        if heard == Some(false) || heard.is_none() && self.remote.is_none() {
                            self.early.keep(component, from, datagram);
                        }
                    } else if takes_rtcp
                        && self.remote.as_ref().is_some_and(|remote| remote.is_source_of(from))
                    {
                        let plain = match &mut self.shield {
                            Some(shield) => shield.unprotect_rtcp(datagram),
                            None => Some(&*datagram),
                        };
                        if let Some(plain) = plain {
                            self.refusals.hear_rtcp();
                            self.reporter.handle_datagram(plain, from, &mut self.branch, now);
                            if let Some(repeats) = &mut self.repeats {
                                repeats.hear(plain, now);
                            }
                        }
                    }
                }
                // The error that was just read, told once more.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
        self.repeat(gate, kit, now);
        if advanced {
            self.advance(kit, now);
        }
        if let Some((left, extent)) = refused.rtp {
            self.suspect(&left, extent, kit, now);
        }
        if refused.rtcp {
            self.tell_refusal(Component::Rtcp, now);
        }
    }

    /// The next thing that the recorder told in RTCP.
    pub(super) fn poll_reporter(&mut self) -> Option<BranchEvent> {
        let event = self.reporter.poll_event();
        if let Some(BranchEvent::RefusalRefuted | BranchEvent::RefusalsOver) = event {
            self.refusals.end();
            self.refused_since = None;
        }
        event
    }

    /// Some addresses were found to refuse what came by a trunk.
    pub(crate) fn hear_refusals(&mut self, refusing: &Refusing, kit: &mut Kit, now: Instant) {
        let told = |rtp: SocketAddr| refusing.get(&SocketAddr::new(rtp.ip(), rtp.port()));
        if self.trunk().is_some()
            && let Some(queued) = self.remote_address(Component::Rtp).and_then(told)
        {
            self.suspect(&self.left(*queued, now), queued.extent(), kit, now);
        }
    }

    /// When that left which errors may be of that are read at `now`, some perhaps of what was `queued`.
    pub(crate) fn left(&self, queued: Queued, now: Instant) -> RangeInclusive<Instant> {
        let last = self.left_last(now);
        let quoted = queued.first.and_then(|(ssrc, sequence)| self.branch.left_at(ssrc, sequence));
        let sought = if queued.sought { now.checked_sub(SOUGHT_FOR) } else { None };
        let start = quoted.into_iter().chain(sought).fold(*last.start(), Instant::min);
        start..=*last.end()
    }

    /// When that left which an error may be of that is read at `now`.
    pub(super) fn left_last(&self, now: Instant) -> RangeInclusive<Instant> {
        let newest = self.branch.senders().map(|sender| sender.arrival).max();
        self.departures.refused(newest, now)
    }

    /// Streams of several calls are refused since then, and where they are of its recorder, or its host is not there, so is this one, as
    /// far as can be told: whose recorder reports is judged by the next report, if that comes before the end, and one that has got its
    /// first packet later is another one on that host.
    pub(crate) fn hear_host(&mut self, refuser: Refuser, since: Instant, now: Instant) {
        if !self.destination().is_some_and(|to| refuser.refuses(to)) || !self.departures.surround(since) {
            return;
        }
        let last = *self.left_last(now).end();
        if self.branch.is_reported() {
            self.branch.doubt(since, last);
        } else {
            self.be_refused(&(since..=last), since, now);
        }
    }

    /// The recorder refuses RTP that left within this time.
    pub(super) fn suspect(
        &mut self,
        left: &RangeInclusive<Instant>,
        extent: Extent,
        kit: &mut Kit,
        now: Instant,
    ) {
        let (start, recording) = (*left.start(), self.id.recording);
        let note = |to| kit.refusing_hosts.note(to, extent, recording, start, now);
        let since = self.destination().map_or(start, note);
        self.be_refused(left, since, now);
    }

    /// The recorder refuses RTP that left within this time, and its host something of it since then.
    fn be_refused(&mut self, left: &RangeInclusive<Instant>, since: Instant, now: Instant) {
        // What ended the refusals before says nothing of this one.
        while let Some(event) = self.poll_reporter() {
            self.events.push_back(event);
        }
        self.reporter.suspect(&self.branch, left, now);
        self.refused_since = Some(self.refused_since.map_or(since, |earlier| earlier.min(since)));
        self.tell_refusal(Component::Rtp, now);
    }

    /// Where the recorder's host has refused something of this branch, and goes on refusing, of whatever branch to it, this one is
    /// still refused, as far as can be told.
    pub(super) fn suspect_further(&mut self, kit: &Kit, now: Instant) {
        if let (Some(suspected), Some(to)) = (self.reporter.suspected(), self.destination())
            && kit.refusing_hosts.has_refused_since(to, suspected)
        {
            self.reporter.suspect(&self.branch, &self.left_last(now), now);
        }
    }

    /// The recorder refuses what is sent to one of its ports.
    pub(super) fn tell_refusal(&mut self, component: Component, now: Instant) {
        if self.refusals.note(component, now) {
            self.events.push_back(BranchEvent::RemoteRefused { component });
        }
    }
}
