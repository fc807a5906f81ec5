//! What the sockets of a branch have to tell: RTCP and handshakes of the recorder, and errors of what was sent to it.

use std::time::Instant;

use siprec_media::dtls::is_dtls;
use siprec_model::{BranchEvent, Component};

use super::Outlet;
use crate::gate::Gate;
use crate::kit::{Kit, Token};
use crate::sys::{self, Undelivered};

/// How many datagrams or errors one slice reads from a socket: a flood costs others nothing.
const MAX_READS: usize = 16;

impl Outlet {
    /// A socket has something to tell.
    pub(crate) fn receive(&mut self, token: Token, gate: Gate<'_>, kit: &mut Kit, now: Instant) {
        let Some(ports) = self.ports.as_ref().filter(|_| token.serial() == self.serial) else { return };
        let component = token.component();
        let socket = match component {
            Component::Rtp => &ports.rtp,
            Component::Rtcp => ports.rtcp_socket(),
        };
        let mut refused = false;
        for _ in 0..MAX_READS {
            let Ok(Undelivered { destination, errno }) = sys::receive_error(socket) else { break };
            // What a router says of sizes is no refusal, and an error of an address that the branch has left says
            // nothing of the recorder.
            refused |= errno != libc::EMSGSIZE
                && (destination.is_none() || destination == self.remote_address(component));
        }
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
        if refused {
            self.tell_refusal(component, now);
        }
    }

    /// The next thing that the recorder told in RTCP.
    pub(super) fn poll_reporter(&mut self) -> Option<BranchEvent> {
        let event = self.reporter.poll_event();
        if let Some(BranchEvent::RefusalRefuted | BranchEvent::RefusalsOver) = event {
            self.refusals.end();
        }
        event
    }

    /// The recorder refuses what is sent to one of its ports.
    pub(super) fn tell_refusal(&mut self, component: Component, now: Instant) {
        if component == Component::Rtp {
            // What ended the refusals before says nothing of this one.
            while let Some(event) = self.poll_reporter() {
                self.events.push_back(event);
            }
            self.reporter.suspect(&self.branch, now);
        }
        if self.refusals.note(component, now) {
            self.events.push_back(BranchEvent::RemoteRefused { component });
        }
    }
}
