//! What the sockets of a branch have to tell: RTCP and handshakes of the recorder, and errors of what was sent to it.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Instant;

use siprec_media::dtls::is_dtls;
use siprec_model::{BranchEvent, Component};

use super::Outlet;
use crate::gate::Gate;
use crate::kit::{Kit, Token};
use crate::sys::{self, Undelivered};

/// How many datagrams or errors one slice reads from a socket: a flood costs others nothing.
const MAX_READS: usize = 16;

/// What errors say of what was sent.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// When what was refused of the RTP may have left.
    rtp: Option<RangeInclusive<Instant>>,
    rtcp: bool,
}

impl Outlet {
    /// A socket has something to tell: the errors, which are of what left last, if more has not left since.
    pub(crate) fn receive_errors(&self, token: Token, now: Instant) -> Refused {
        let Some(ports) = self.ports.as_ref().filter(|_| token.serial() == self.serial) else {
            return Refused::default();
        };
        // Whichever has spoken, the next packet would run into an error of the others.
        let is_refused = |component, socket| self.told_refused(component, socket) == Some(true);
        let rtp = is_refused(Component::Rtp, &ports.rtp).then(|| self.left_last(now));
        let rtcp = ports.rtcp.as_ref().is_some_and(|socket| is_refused(Component::Rtcp, socket));
        Refused { rtp, rtcp }
    }

    /// Whether the errors that wait at a socket say that the recorder refuses; None where there are none.
    pub(super) fn told_refused(&self, component: Component, socket: &UdpSocket) -> Option<bool> {
        let mut told = None;
        for _ in 0..MAX_READS {
            let Ok(Undelivered { destination, errno }) = sys::receive_error(socket) else { break };
            // What a router says of sizes is no refusal, and an error of an address that the branch has left says
            // nothing of the recorder.
            let is_refusal = errno != libc::EMSGSIZE
                && (destination.is_none() || destination == self.remote_address(component));
            told = Some(told == Some(true) || is_refusal);
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
        if let Some(left) = refused.rtp {
            self.suspect(&left, kit, now);
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
    pub(crate) fn hear_refusals(&mut self, refusing: &HashSet<SocketAddr>, kit: &mut Kit, now: Instant) {
        let concerns = |rtp: SocketAddr| refusing.contains(&SocketAddr::new(rtp.ip(), rtp.port()));
        if self.trunk().is_some() && self.remote_address(Component::Rtp).is_some_and(concerns) {
            self.suspect(&self.left_last(now), kit, now);
        }
    }

    /// When that left which an error may be of that is read at `now`.
    pub(super) fn left_last(&self, now: Instant) -> RangeInclusive<Instant> {
        let newest = self.branch.senders().map(|sender| sender.arrival).max();
        self.departures.refused(newest, now)
    }

    /// The recorder refuses RTP that left within this time.
    pub(super) fn suspect(&mut self, left: &RangeInclusive<Instant>, kit: &mut Kit, now: Instant) {
        // What ended the refusals before says nothing of this one.
        while let Some(event) = self.poll_reporter() {
            self.events.push_back(event);
        }
        self.reporter.suspect(&self.branch, left, now);
        if let Some(host) = self.host() {
            let since = kit.refusing_hosts.note(host, *left.start(), now);
            self.refused_since = Some(self.refused_since.map_or(since, |earlier| earlier.min(since)));
        }
        self.tell_refusal(Component::Rtp, now);
    }

    /// Where the recorder's host has refused something of this branch, and goes on refusing, of whatever branch, this one is
    /// still refused, as far as can be told.
    pub(super) fn suspect_further(&mut self, kit: &Kit, now: Instant) {
        if let (Some(suspected), Some(host)) = (self.reporter.suspected(), self.host())
            && kit.refusing_hosts.has_refused_since(host, suspected)
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
