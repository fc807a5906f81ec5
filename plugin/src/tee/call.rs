//! The call's keys: where they come from, and what is told when they are missing.

use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_model::{DropCause, SrtpSuite};

use super::copies::Packet;
use super::decryption::Stop;
use super::imp::SiprecTee;
use super::keys_in_use::Taken;
use crate::complaints::Complaint;
use crate::keys::{self, CallKeys, REQUEST_KEY};
use crate::sync::lock;

/// Bytes of RTP's fixed header.
const HEADER: usize = 12;

/// The signals of the element.
pub(super) fn signals() -> Vec<glib::subclass::Signal> {
    vec![
        keys::request_key_signal(),
        keys::remove_key_action(|element, ssrc| {
            if let Some(tee) = element.downcast_ref::<super::SiprecTee>() {
                lock(&tee.imp().decryption).ask_again_for(ssrc);
            }
        }),
        keys::renew_keys_action(|element| {
            if let Some(tee) = element.downcast_ref::<super::SiprecTee>() {
                lock(&tee.imp().decryption).ask_again();
            }
        }),
        keys::crypto_caps_action(),
    ]
}

impl SiprecTee {
    /// Takes the keys that the stream's caps have, if they have any.
    pub(super) fn keys_of_caps(&self, caps: &gst::CapsRef) {
        lock(&self.decryption).ask_again();
        match keys::from_caps(caps) {
            Ok(None) if self.is_answered() => {}
            Ok(None) => self.tell(
                Complaint::Keyless,
                "its caps, application/x-srtp, have no \"srtp-key\", and nobody answers request-key",
            ),
            Ok(Some(keys)) => self.take_keys(keys),
            Err(fault) => self.tell(Complaint::Caps(fault.clone()), &fault.to_string()),
        }
    }

    /// Follows a packet that nobody wants, so that it is known where the stream is when somebody does.
    pub(super) fn observe(&self, packet: &gst::BufferRef) {
        let mut header = [0; HEADER];
        if packet.copy_to_slice(0, &mut header).is_ok() {
            lock(&self.decryption).observe(&header);
        }
    }

    /// Decrypts what was copied, each packet once. Answers what the call is secured with.
    pub(super) fn decrypt(&self, packets: &mut [Packet], arrival: Instant) -> Option<SrtpSuite> {
        let mut place = 0;
        let suite = loop {
            let mut decryption = lock(&self.decryption);
            match decryption.decrypt(packets, &mut place, arrival) {
                Stop::Ask(ssrc) => {
                    drop(decryption);
                    self.ask(ssrc);
                }
                Stop::Done => break decryption.suite(),
            }
        };
        // What shares the stream's port is no loss.
        for cause in packets.iter().filter_map(Packet::fault).filter(|cause| *cause != DropCause::NotRtp) {
            self.tell_loss(cause, arrival);
        }
        suite
    }

    /// Asks for the keys of a source, on the stream's own thread.
    fn ask(&self, ssrc: u32) {
        let caps = self.obj().emit_by_name::<Option<gst::Caps>>(REQUEST_KEY, &[self.sink(), &ssrc]);
        match caps.as_ref().map(|caps| (keys::from_caps(caps), caps)) {
            None => gst::debug!(crate::CAT, imp = self, "nobody has keys of the source {ssrc:#010x}"),
            Some((Ok(None), caps)) => {
                let lack = keys::keyless(caps);
                let fault = format!("the caps that request-key gave for {ssrc:#010x} {lack}");
                self.tell(Complaint::KeylessAnswer(lack), &fault);
            }
            Some((Ok(Some(keys)), _)) => self.take_keys(CallKeys { ssrc: Some(ssrc), ..keys }),
            Some((Err(fault), _)) => {
                let words = format!("what request-key answered for {ssrc:#010x}: {fault}");
                self.tell(Complaint::Answer(fault), &words);
            }
        }
    }

    /// Whether anybody is there who may have keys.
    fn is_answered(&self) -> bool {
        glib::subclass::SignalId::lookup(REQUEST_KEY, super::SiprecTee::static_type())
            .is_some_and(|signal| glib::signal::signal_has_handler_pending(&*self.obj(), signal, None, true))
    }

    fn take_keys(&self, keys: CallKeys) {
        if keys.keys.iter().any(|key| self.keys.of_call(key) == Err(Taken)) {
            self.tell(Complaint::KeyInUse, "a key of the call is that of a branch");
            return;
        }
        if let Some(excess) = keys.excess_in_words() {
            self.tell(Complaint::TooManyKeys, &excess);
        }
        if let Err(refused) = lock(&self.decryption).add(keys) {
            self.tell(Complaint::KeyRefused, &format!("a key of the call: {refused}"));
        }
    }

    /// What is missing in the recording is a WARNING; what is no loss stands in the log.
    fn tell_loss(&self, cause: DropCause, now: Instant) {
        let Some(more) = lock(&self.complaints).admit(Complaint::Lost(cause), now) else { return };
        match cause {
            DropCause::NoKey => self.warn_of(&format!("there is no key for what comes in (no-key){more}")),
            DropCause::NotAuthentic => {
                let what = lock(&self.decryption).rollover_doubt().in_words();
                self.warn_of(&format!("no key decrypts what comes in: {what} (not-authentic){more}"));
            }
            other => {
                let cause = other.as_str();
                gst::warning!(crate::CAT, imp = self, "packets that are not recorded: {cause}{more}");
            }
        }
    }

    fn tell(&self, complaint: Complaint, fault: &str) {
        match lock(&self.complaints).admit(complaint, Instant::now()) {
            Some(more) => self.warn_of(&format!("{fault}{more}")),
            None => gst::debug!(crate::CAT, imp = self, "told a moment ago: {fault}"),
        }
    }

    /// With no lock held.
    fn warn_of(&self, fault: &str) {
        gst::element_imp_warning!(
            self,
            gst::StreamError::Decrypt,
            ("The recording branches of this stream lack packets: {fault}")
        );
    }
}
