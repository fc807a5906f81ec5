//! The call's streams on their way into the recording: taps, formats, gates.

use std::sync::Arc;

use gst::prelude::*;
use siprec_agent::RecordingHandle;
use siprec_engine::{Gate, Tap};
use siprec_model::{Medium, StreamFormat, StreamId};
use siprec_session::{Command, Voice, silent_streams};

use super::imp::Siprec;
use super::pad::SiprecSinkPad;
use super::party::Negotiated;
use super::recording::{Fault, Live};
use super::settings::Settings;
use crate::complaints::Complaint;
use crate::format::{Unrecordable, main_first};
use crate::keyframe;

impl Siprec {
    /// A sink pad was added.
    pub(super) fn stream_added(&self, pad: &SiprecSinkPad) {
        self.with_live(|live| {
            if !self.open_anew(live) {
                self.attach(live, pad);
            }
            self.refresh(live);
        });
    }

    /// A sink pad goes; what it brought is still recorded.
    pub(super) fn stream_removed(&self, pad: &SiprecSinkPad) {
        self.with_live(|live| {
            live.detach(pad);
            live.left.remove(&pad.index()).into_iter().for_each(|stream| {
                live.order(Command::RemoveStream { stream });
            });
            self.parties().forget(pad.index());
        });
    }

    /// A stream's caps say something new.
    pub(super) fn format_changed(&self, pad: &SiprecSinkPad) {
        self.with_live(|live| {
            if let Some(Err(fault)) = self.format(pad) {
                let is_told = live.forbid(pad, &fault);
                self.complain_of_format(live, pad, fault, is_told);
            } else if pad.feed().tap().is_none() {
                self.attach(live, pad);
            }
            self.refresh(live);
        });
    }

    /// Says that the stream of a pad is not recorded; by a WARNING alone where a recording that knows it tells the rest.
    fn complain_of_format(&self, live: &mut Live, pad: &SiprecSinkPad, fault: Unrecordable, is_told: bool) {
        let reason = format!("the stream of {} is not recorded: {fault}", pad.name());
        let dn = self.parties().dn(pad.index());
        match pad.admit(Complaint::Unrecordable(fault)) {
            Some(more) if is_told => live.faults.push(Fault::Command(reason + &more)),
            Some(more) => {
                let reason = reason + &more;
                live.faults.push(Fault::Stream { dn, medium: pad.announced_medium(), reason });
            }
            None => gst::debug!(crate::CAT, obj = pad, "told a moment ago: {reason}"),
        }
    }

    /// A stream's caps lack something, and the format holds that it had before.
    pub(super) fn format_goes_on(&self, pad: &SiprecSinkPad, fault: Unrecordable) {
        // What caps lack, a session description says.
        if matches!(self.negotiated().get(&pad.index()), Some(Ok(_))) {
            return;
        }
        let reason = format!("the stream of {} is recorded as its caps were before: now {fault}", pad.name());
        match pad.admit(Complaint::Unusable(fault)) {
            Some(more) => self.with_live(|live| live.faults.push(Fault::Command(reason + &more))),
            None => gst::debug!(crate::CAT, obj = pad, "told a moment ago: {reason}"),
        }
    }

    /// A party has another DN.
    pub(super) fn party_changed(&self, index: u16) {
        let dn = self.parties().dn(index).unwrap_or_default();
        self.with_live(|live| {
            live.order(Command::SetDn { slot: index, dn });
            self.refresh(live);
        });
    }

    /// A party has muted, or taken that back.
    pub(super) fn mute_changed(&self) {
        self.with_live(|live| self.refresh(live));
    }

    /// Feeds a pad's stream into the recording, unless its caps forbid it or its party has left.
    pub(super) fn attach(&self, live: &mut Live, pad: &SiprecSinkPad) {
        let commands = self.attached(live, pad);
        if !commands.is_empty() {
            live.order(Command::Batch(commands));
        } else if let Some(Err(fault)) = self.format(pad) {
            live.order(Command::Unrecordable { stream: None, reason: of_pad(pad, &fault) });
        }
    }

    /// The same; the commands are for the caller to give.
    pub(super) fn attached(&self, live: &mut Live, pad: &SiprecSinkPad) -> Vec<Command> {
        let format = self.format(pad);
        let forbidden = matches!(format, Some(Err(_))) || self.parties().has_left(pad.index());
        let goes_on = |recording: &&RecordingHandle| !recording.is_over();
        let copies = live.recordings.iter().filter(goes_on).count();
        let (Some(lease), false, false) = (&live.lease, live.recordings.is_empty(), forbidden) else {
            return Vec::new();
        };
        let silent = self.silences(live).iter().any(|(other, silent)| other == pad && *silent);
        let tap = Arc::new(lease.tap(if silent { Gate::Closed } else { Gate::Open }, copies));
        let commands = self.introduction(pad, tap.stream());
        pad.feed().set_confidential(self.is_described_secured(pad));
        pad.feed().connect(tap);
        commands
    }

    /// What a copy of the recording is told of a stream that it may not know.
    fn introduction(&self, pad: &SiprecSinkPad, stream: StreamId) -> Vec<Command> {
        let slot = pad.index();
        let voices = self.voices(std::slice::from_ref(pad), &self.settings());
        let muted = voices.iter().any(|voice| voice.muted);
        let security = self.security(pad);
        let mut commands = vec![
            Command::Mute { slot, muted },
            Command::AddStream { slot, stream },
            Command::StreamSecurity { stream, security },
        ];
        if let Some(Ok(format)) = self.format(pad) {
            commands.push(Command::StreamFormat { stream, format });
        }
        commands
    }

    /// What a copy of the recording that begins anew is told of the streams that are there.
    pub(super) fn introductions(&self) -> Vec<Command> {
        let known = |pad: SiprecSinkPad| pad.feed().tap().map(|tap| self.introduction(&pad, tap.stream()));
        self.sink_pads().filter_map(known).flatten().collect()
    }

    /// Closes and opens the gates on this thread, then tells the recording who is muted and what each stream carries.
    pub(super) fn refresh(&self, live: &mut Live) {
        self.turn_gates(live);
        let pads: Vec<SiprecSinkPad> = self.sink_pads().collect();
        let negotiated = self.negotiated();
        let mut commands = Vec::new();
        for (pad, voice) in pads.iter().zip(self.voices(&pads, &self.settings())) {
            commands.push(Command::Mute { slot: pad.index(), muted: voice.muted });
            let Some(stream) = pad.feed().tap().map(|tap| tap.stream()) else { continue };
            pad.feed().add_keys(self.described_keys(pad));
            pad.feed().set_confidential(self.is_described_secured(pad));
            // The security first: what a stream carries may be all that an INVITE waits for.
            commands.push(Command::StreamSecurity { stream, security: self.security(pad) });
            if let Some(Ok(format)) = carried(pad, &negotiated) {
                commands.push(Command::StreamFormat { stream, format });
            }
        }
        live.order(Command::Batch(commands));
    }

    /// Closes the gate of every stream that must be silent, and opens the others.
    pub(super) fn turn_gates(&self, live: &Live) {
        for (pad, silent) in self.silences(live) {
            if let Some(tap) = pad.feed().tap() {
                if silent { tap.close_gate() } else { tap.open_gate() }
            }
        }
    }

    /// Closes every gate.
    pub(super) fn close_gates(&self) {
        self.sink_pads().filter_map(|pad| pad.feed().tap()).for_each(|tap: Arc<Tap>| tap.close_gate());
    }

    /// Every pad, and whether nothing of it may be recorded now.
    fn silences(&self, live: &Live) -> Vec<(SiprecSinkPad, bool)> {
        let settings = self.settings();
        let pads: Vec<SiprecSinkPad> =
            self.sink_pads().filter(|pad| !self.parties().has_left(pad.index())).collect();
        let voices = self.voices(&pads, &settings);
        let silent = silent_streams(live.mode, live.paused, &voices);
        pads.into_iter().zip(silent).collect()
    }

    /// Asks the sources of a party's video for a key frame (`protocol` rule 2.7).
    pub(super) fn ask_key_frame(&self, dn: Option<&str>) {
        let negotiated = self.negotiated();
        let is_video = |pad: &SiprecSinkPad| {
            matches!(carried(pad, &negotiated), Some(Ok(StreamFormat { medium: Medium::Video, .. })))
        };
        for pad in self.sink_pads().filter(|pad| self.parties().dn(pad.index()).as_deref() == dn) {
            if is_video(&pad) {
                // Where nobody upstream can do it, the message asks the application.
                keyframe::ask(pad.upcast_ref());
            }
        }
    }

    /// These pads as far as their silence depends on them.
    fn voices(&self, pads: &[SiprecSinkPad], settings: &Settings) -> Vec<Voice> {
        let indices: Vec<u16> = pads.iter().map(SiprecSinkPad::index).collect();
        self.parties().voices(&indices, settings.hold_is_mute)
    }

    /// What the parties' session descriptions say of the streams that are there.
    pub(super) fn negotiated(&self) -> Negotiated {
        let medium = |pad: &SiprecSinkPad| pad.format().and_then(Result::ok).map(|format| format.medium);
        let pads: Vec<_> = self.sink_pads().map(|pad| (pad.index(), medium(&pad))).collect();
        self.parties().negotiated(&pads)
    }

    /// See [`carried`].
    fn format(&self, pad: &SiprecSinkPad) -> Option<Result<StreamFormat, Unrecordable>> {
        carried(pad, &self.negotiated())
    }
}

/// What a stream carries: as its party's session description says, with the codec of its caps first, else as its caps
/// say. None where nothing is known yet.
pub(super) fn carried(
    pad: &SiprecSinkPad,
    negotiated: &Negotiated,
) -> Option<Result<StreamFormat, Unrecordable>> {
    let described = negotiated.get(&pad.index()).and_then(|format| format.as_ref().ok()).cloned();
    match (pad.format(), described) {
        (Some(Ok(caps)), Some(format)) => Some(Ok(main_first(format, &caps))),
        // What caps lack, a session description says; what they forbid, it does not allow.
        (Some(Err(Unrecordable::Field(_))) | None, Some(format)) => Some(Ok(format)),
        (caps, _) => caps,
    }
}

/// A fault of caps, where its stream may have no other name.
fn of_pad(pad: &SiprecSinkPad, fault: &Unrecordable) -> String {
    format!("{fault} ({})", pad.name())
}

impl Live {
    /// Feeds a pad's stream into the recording no more; what it brought is still recorded.
    pub(super) fn detach(&mut self, pad: &SiprecSinkPad) {
        if let Some(tap) = pad.feed().tap() {
            pad.feed().disconnect();
            self.order(Command::RemoveStream { stream: tap.stream() });
        }
    }

    /// The same where its caps forbid it. Answers whether a recording has it, which tells of that unless it is about to end.
    fn forbid(&mut self, pad: &SiprecSinkPad, fault: &Unrecordable) -> bool {
        let stream = pad.feed().tap().map(|tap| tap.stream());
        pad.feed().disconnect();
        self.left.extend(stream.map(|stream| (pad.index(), stream)));
        self.order(Command::Unrecordable { stream, reason: of_pad(pad, fault) });
        stream.is_some() && self.recordings.iter().any(|recording| !recording.is_over())
    }
}
