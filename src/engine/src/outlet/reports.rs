//! What the recorder is told by RTCP, and when.

use std::time::Instant;

use siprec_model::Component;

use super::Outlet;
use crate::handshake::Handshakes;
use crate::kit::Kit;
use crate::shield::Shield;

impl Outlet {
    /// When [`Outlet::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let report = self.may_report().then(|| self.reporter.next_timeout());
        let handshake = self.handshakes.as_ref().and_then(Handshakes::next_timeout);
        report.into_iter().chain(handshake).min()
    }

    /// Reports to the recorder, looks whether it still does, and goes on with handshakes.
    pub(crate) fn handle_timeout(&mut self, kit: &mut Kit, now: Instant) {
        if let Some(handshakes) = &mut self.handshakes {
            handshakes.handle_timeout(now);
            self.advance(kit, now);
        }
        self.report(kit, now);
    }

    /// Whether a report would reach the recorder. One that is due before its keys are there waits for them.
    pub(super) fn may_report(&self) -> bool {
        self.remote.is_some() && !self.shield.as_ref().is_some_and(Shield::awaits_rtcp)
    }

    /// Sends a report if one is due.
    pub(super) fn report(&mut self, kit: &mut Kit, now: Instant) {
        if !self.may_report() {
            return;
        }
        self.suspect_further(kit, now);
        kit.scratch.clear();
        if self.reporter.poll_report(&mut self.branch, &kit.clock, now, &mut kit.scratch).is_some() {
            self.send_rtcp(&mut kit.scratch, now);
        }
    }

    pub(super) fn say_goodbye(&mut self, kit: &mut Kit, now: Instant) {
        kit.scratch.clear();
        if self.reporter.goodbye(&self.branch, &kit.clock, &mut kit.scratch).is_some() {
            self.send_rtcp(&mut kit.scratch, now);
        }
    }

    pub(super) fn send_rtcp(&mut self, datagram: &mut Vec<u8>, now: Instant) {
        if !self.refusals.let_report_out(now) || !self.protect_rtcp(datagram) {
            return;
        }
        let (Some(ports), Some(to)) = (&self.ports, self.remote_address(Component::Rtcp)) else { return };
        let socket = ports.rtcp_socket();
        // The first try may tell of an earlier datagram instead.
        if let Err(error) = socket.send_to(datagram, to)
            && error.kind() != std::io::ErrorKind::WouldBlock
        {
            let _ = socket.send_to(datagram, to);
            self.tell_refusal(Component::Rtcp, now);
        }
    }
}
