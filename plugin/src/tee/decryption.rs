//! The call's side of an encrypted stream: its keys, whom to ask for them, and what could not be decrypted.

use std::time::Instant;

use siprec_media::RtpView;
use siprec_media::srtp::{KeyRefused, UnprotectFault, Unprotector};
use siprec_model::{DropCause, SrtpSuite};

use super::copies::Packet;
use crate::asked::Asked;
use crate::keys::CallKeys;
use crate::rollover::RolloverDoubt;

/// What decrypts a stream.
#[derive(Default)]
pub(super) struct Decryption {
    unprotector: Unprotector,
    /// Of the newest key.
    suite: Option<SrtpSuite>,
    /// Caps gave a rollover counter.
    given_rollover: bool,
    /// Sources that `request-key` was emitted for since the keys changed.
    asked: Asked,
}

/// Where decrypting stopped.
pub(super) enum Stop {
    /// At the packet of a source that nobody was asked for. It is to be decrypted again after that.
    Ask(u32),
    /// At the end.
    Done,
}

impl Decryption {
    /// Takes keys beside those that are there, which stay valid for packets on their way.
    pub(super) fn add(&mut self, keys: CallKeys) -> Result<(), KeyRefused> {
        let suite = keys.policy.key_suite();
        self.given_rollover |= keys.roc.is_some();
        self.unprotector.add_call_keys(keys.into_keys())?;
        self.suite = Some(suite);
        Ok(())
    }

    /// Whether a wrong rollover counter may be why packets are not authentic.
    pub(super) fn rollover_doubt(&self) -> RolloverDoubt {
        match (self.given_rollover, self.unprotector.opened()) {
            (true, _) => RolloverDoubt::Given,
            (false, 0) => RolloverDoubt::Joined,
            (false, _) => RolloverDoubt::None,
        }
    }

    /// The suite that the newest key is one of.
    pub(super) fn suite(&self) -> Option<SrtpSuite> {
        self.suite
    }

    /// Asks for each source once more when no key fits.
    pub(super) fn ask_again(&mut self) {
        self.asked.clear();
    }

    /// Asks for this one once more.
    pub(super) fn ask_again_for(&mut self, ssrc: u32) {
        self.asked.forget(ssrc);
    }

    /// Follows a packet that nobody wants, by its first 12 bytes.
    pub(super) fn observe(&mut self, packet: &[u8]) {
        if RtpView::is_rtp(packet) {
            self.unprotector.observe(packet);
        }
    }

    /// Decrypts packets in their place, from that at `place` on, which moves along.
    pub(super) fn decrypt(&mut self, packets: &mut [Packet], place: &mut usize, now: Instant) -> Stop {
        while let Some(packet) = packets.get_mut(*place) {
            let mut unknown = None;
            packet.work_on(|packet| {
                if !RtpView::is_rtp(packet) {
                    return Err(DropCause::NotRtp);
                }
                self.unprotector.unprotect_rtp(packet).or_else(|fault| {
                    let source = source_without_key(packet, fault);
                    unknown = source.filter(|(ssrc, sequence)| self.asked.admit(*ssrc, *sequence, now));
                    // A packet that is to be tried again stays as it is.
                    if unknown.is_some() { Ok(packet.len()) } else { Err(fault.into()) }
                })
            });
            if let Some((ssrc, _)) = unknown {
                return Stop::Ask(ssrc);
            }
            *place += 1;
        }
        Stop::Done
    }
}

/// The source of a packet that another key might decrypt, and its sequence number.
fn source_without_key(packet: &[u8], fault: UnprotectFault) -> Option<(u32, u16)> {
    fault.lacks_a_key().then(|| RtpView::numbered_source(packet)).flatten()
}
