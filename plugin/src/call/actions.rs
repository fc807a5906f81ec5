//! The actions that speak of parties: `mute`, `unmute`, `set-party-sdp`, `update-parties`.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_session::{Command, PartySdp, PartySdpError, SessionMode, TEXT_LIMIT};
use siprec_sip::SessionDescription;

use super::imp::Siprec;
use super::keys::described;
use super::pad::SiprecSinkPad;
use super::recording::{Fault, Live};
use super::streams::carried;

/// Their declarations.
pub(super) fn signals() -> [glib::subclass::Signal; 4] {
    [
        glib::subclass::Signal::builder("mute")
            .action()
            .param_types([String::static_type()])
            .class_handler(|arguments| {
                with_text(arguments, |siprec, dn| siprec.mute(dn, true));
                None
            })
            .build(),
        glib::subclass::Signal::builder("unmute")
            .action()
            .param_types([String::static_type()])
            .class_handler(|arguments| {
                with_text(arguments, |siprec, dn| siprec.mute(dn, false));
                None
            })
            .build(),
        glib::subclass::Signal::builder("set-party-sdp")
            .action()
            .run_last()
            .param_types([String::static_type(), String::static_type()])
            .return_type::<Option<String>>()
            .class_handler(|arguments| {
                let sdp = arguments.get(2).and_then(|value| value.get::<Option<String>>().ok()).flatten();
                let fault = with_text(arguments, |siprec, dn| {
                    siprec.set_party_sdp(dn, sdp.as_deref().unwrap_or_default()).err()
                });
                Some(fault.flatten().to_value())
            })
            .build(),
        glib::subclass::Signal::builder("update-parties")
            .action()
            .run_last()
            .param_types([gst::Structure::static_type()])
            .return_type::<Option<String>>()
            .class_handler(|arguments| {
                let element = arguments.first().and_then(|value| value.get::<super::Siprec>().ok());
                let parties = arguments.get(1).and_then(|value| value.get::<Option<gst::Structure>>().ok());
                let fault = element
                    .zip(parties.flatten())
                    .and_then(|(element, parties)| element.imp().update_parties(&parties).err());
                Some(fault.to_value())
            })
            .build(),
    ]
}

/// Calls with the element and its first argument, an absent text as an empty one.
fn with_text<T>(arguments: &[glib::Value], work: impl FnOnce(&Siprec, &str) -> T) -> Option<T> {
    let element = arguments.first()?.get::<super::Siprec>().ok()?;
    let text = arguments.get(1)?.get::<Option<String>>().ok()?.unwrap_or_default();
    Some(work(element.imp(), &text))
}

/// What becomes of the party of a pad.
enum Change {
    Left,
    /// Its number became known, or is another one of the same party.
    Named(String),
    Joined(String),
    Replaced(String),
}

impl Siprec {
    /// Mutes a party by its number, or takes that back; one that is not there yet is muted when it comes.
    fn mute(&self, dn: &str, muted: bool) {
        // Parties without a number are many; who means one of them uses its pad.
        if dn.is_empty() {
            return;
        }
        let taken = self.parties().mute(dn, muted);
        self.with_live(|live| {
            let fault = |fault| Fault::Command(format!("the party cannot be muted: {fault}"));
            live.faults.extend(taken.err().map(fault));
            self.refresh(live);
        });
    }

    /// Takes what a party's own session description says now.
    ///
    /// # Errors
    /// What of it cannot be used, in words for people. All else holds.
    fn set_party_sdp(&self, dn: &str, text: &str) -> Result<(), String> {
        if dn.is_empty() {
            return Err("a session description needs the DN of its party".to_owned());
        }
        let read = SessionDescription::parse(text.as_bytes());
        let read = read.map_err(|error| PartySdpError::Malformed(error.to_string()).to_string())?;
        let sdp = PartySdp::of(&read).map_err(|error| error.to_string())?;
        let mut faults = sdp.unusable().to_vec();
        let moved = self.parties().describe(dn, sdp).map_err(|error| error.to_string())?;
        let (keys, unusable) = described(&read);
        self.describe_keys(dn, keys);
        faults.extend(unusable);
        self.with_live(|live| {
            let pads: Vec<SiprecSinkPad> = self.sink_pads().collect();
            let negotiated = self.negotiated();
            for pad in &pads {
                if pad.feed().tap().is_none() && matches!(carried(pad, &negotiated), Some(Ok(_))) {
                    self.attach(live, pad);
                }
            }
            self.refresh(live);
            let of_party = |pad: &&SiprecSinkPad| self.parties().dn(pad.index()).as_deref() == Some(dn);
            if moved && let Some(pad) = pads.iter().find(of_party) {
                live.order(Command::PartyMoved { slot: pad.index() });
            }
        });
        faults.extend(self.negotiated().into_values().filter_map(Result::err).map(|e| e.to_string()));
        faults.dedup();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    /// Parties join, leave and are replaced: a field for each pad that changes, with the new party's DN, empty for a
    /// party that has left. The recorder is told of all in one offer.
    ///
    /// # Errors
    /// The first field that cannot be used. Nothing is changed then.
    fn update_parties(&self, parties: &gst::StructureRef) -> Result<(), String> {
        let mut changes = Vec::new();
        for (name, value) in parties.iter() {
            let pad = self
                .sink_pads()
                .find(|pad| pad.name() == name.as_str())
                .ok_or_else(|| format!("there is no pad \"{name}\""))?;
            let dn = value.get::<&str>().map_err(|_| format!("the DN of \"{name}\" is no text"))?;
            if dn.len() > TEXT_LIMIT {
                return Err(format!("the DN of \"{name}\" has {} bytes, more than {TEXT_LIMIT}", dn.len()));
            }
            if let Some(change) = self.change(pad.index(), dn) {
                changes.push((pad, change));
            }
        }
        self.with_live(|live| {
            let commands = changes.into_iter().flat_map(|(pad, change)| self.apply(live, &pad, change));
            let commands: Vec<Command> = commands.collect();
            self.turn_gates(live);
            live.order(Command::Batch(commands));
            self.refresh(live);
        });
        Ok(())
    }

    fn change(&self, pad: u16, dn: &str) -> Option<Change> {
        let before = self.parties().dn(pad).unwrap_or_default();
        match (self.parties().has_left(pad), dn.is_empty()) {
            (true, true) => None,
            (false, true) => Some(Change::Left),
            (true, false) => Some(Change::Joined(dn.to_owned())),
            (false, false) if before == dn => None,
            (false, false) if before.is_empty() => Some(Change::Named(dn.to_owned())),
            (false, false) => Some(Change::Replaced(dn.to_owned())),
        }
    }

    fn apply(&self, live: &mut Live, pad: &SiprecSinkPad, change: Change) -> Vec<Command> {
        let before = self.parties().dn(pad.index()).unwrap_or_default();
        let commands = self.changed(live, pad, change);
        self.parties().forget_description(&before);
        commands
    }

    fn changed(&self, live: &mut Live, pad: &SiprecSinkPad, change: Change) -> Vec<Command> {
        let slot = pad.index();
        let stream = pad.feed().tap().map(|tap| tap.stream());
        match change {
            Change::Left => {
                self.parties().leaves(slot, true);
                self.parties().set_dn(slot, None);
                pad.feed().disconnect();
                let forbidden = live.left.remove(&slot).map(|stream| Command::RemoveStream { stream });
                live.left.extend(stream.map(|stream| (slot, stream)));
                stream.map(|stream| Command::PartyLeft { stream }).into_iter().chain(forbidden).collect()
            }
            Change::Named(dn) => {
                self.parties().set_dn(slot, Some(dn.clone()));
                vec![Command::SetDn { slot, dn }]
            }
            Change::Joined(dn) => {
                self.parties().leaves(slot, false);
                self.parties().set_dn(slot, Some(dn.clone()));
                live.left.remove(&slot);
                let mut commands = vec![Command::SetDn { slot, dn }];
                commands.extend(self.attached(live, pad));
                commands
            }
            Change::Replaced(dn) => {
                self.parties().set_dn(slot, Some(dn.clone()));
                if live.mode == SessionMode::BothParties {
                    return vec![Command::ReplaceParty { slot, dn }];
                }
                // The new party's packets go to a session of its own, from this very point of the stream on.
                pad.feed().disconnect();
                let mut commands: Vec<Command> =
                    stream.map(|stream| Command::RemoveStream { stream }).into_iter().collect();
                commands.push(Command::SetDn { slot, dn });
                commands.extend(self.attached(live, pad));
                commands
            }
        }
    }
}
