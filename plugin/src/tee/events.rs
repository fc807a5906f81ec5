//! What the branches are told of the stream.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Instant;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::SiprecTee;
use super::pad::SiprecTeePad;
use super::protection::{Incoming, Outgoing};
use crate::complaints::Complaint;
use crate::format::{self, RTP, SRTP, Unrecordable};
use crate::sync::lock;

/// Fields of caps that belong to the stream's own sequence and keys.
const FOREIGN: [&str; 3] = ["seqnum-base", "seqnum-offset", "roc"];
/// Beginnings of others (`srtp-key2`, `mki2`).
const FOREIGN_BEGINNINGS: [&str; 3] = ["srtp-", "srtcp-", "mki"];

impl SiprecTee {
    /// Gives the branches a copy of the stream's event, after it went its own way.
    pub(super) fn tell_branches(&self, event: &gst::Event) {
        if let gst::EventView::Caps(caps) = event.view() {
            self.learn(caps.caps());
            let incoming = self.incoming();
            self.branches().iter().for_each(|branch| self.tell_caps(branch, event, caps.caps(), incoming));
            return;
        }
        for branch in &*self.branches() {
            if let Some(event) = self.for_branch(branch, event) {
                let _ = branch.push_event(event);
            }
        }
    }

    fn tell_caps(&self, branch: &SiprecTeePad, event: &gst::Event, caps: &gst::CapsRef, incoming: Incoming) {
        describe(branch, caps);
        let had_none = branch.current_caps().is_none();
        self.settle(branch, incoming);
        let Some(event) = self.for_branch(branch, event) else { return };
        let _ = branch.push_event(event);
        if had_none {
            // What waited for caps follows them.
            self.tell_sticky(branch);
        }
    }

    /// Has a branch know what the stream is.
    pub(super) fn tell_sticky(&self, branch: &SiprecTeePad) {
        self.sink().sticky_events_foreach(|event| {
            if let gst::EventView::Caps(caps) = event.view() {
                describe(branch, caps.caps());
            }
            if let Some(event) = self.for_branch(branch, event) {
                let _ = branch.store_sticky_event(&event);
            }
            ControlFlow::Continue(gst::EventForeachAction::Keep)
        });
    }

    /// How the call comes in.
    pub(super) fn incoming(&self) -> Incoming {
        let is_secured = self.is_secured.load(Ordering::Relaxed);
        let suite = if is_secured { lock(&self.decryption).suite() } else { None };
        Incoming { is_secured, suite }
    }

    /// Settles how packets leave on a branch. Answers whether that is another way than before.
    pub(super) fn settle(&self, branch: &SiprecTeePad, incoming: Incoming) -> bool {
        let settled = branch.settle(incoming, &self.keys);
        if settled.is_weaker {
            gst::warning!(
                crate::CAT,
                obj = branch,
                "the branch is encrypted by a weaker suite than the call"
            );
        }
        if let Err(refusal) = settled.outgoing
            && branch.is_linked()
            && branch.is_news()
        {
            match branch.admit(refusal) {
                Some(more) => gst::element_imp_warning!(
                    self,
                    gst::StreamError::Format,
                    ("The recording branch {} gets nothing: {refusal}{more}", branch.name())
                ),
                None => gst::debug!(crate::CAT, obj = branch, "told a moment ago: {refusal}"),
            }
        }
        settled.is_new
    }

    /// What caps say of the stream.
    fn learn(&self, caps: &gst::CapsRef) {
        let is_secured = format::is_encrypted(caps);
        self.is_secured.store(is_secured, Ordering::Relaxed);
        if is_secured {
            self.recordable.store(true, Ordering::Relaxed);
            self.keys_of_caps(caps);
            return;
        }
        let plain = format::plain_rtp(caps);
        self.recordable.store(plain.is_ok(), Ordering::Relaxed);
        if let Err(fault) = plain {
            self.warn(&fault);
        }
    }

    /// The event as a branch may have it: caps only of what leaves there, and without numbers and keys that are not
    /// the branch's own.
    fn for_branch(&self, branch: &SiprecTeePad, event: &gst::Event) -> Option<gst::Event> {
        use gst::EventType::{Eos, StreamCollection, StreamStart};
        match event.view() {
            gst::EventView::Caps(caps) => {
                let caps = self.caps_for(branch, caps.caps())?;
                Some(gst::event::Caps::builder(&caps).seqnum(event.seqnum()).build())
            }
            // The streams in them have caps too, of which one may have keys.
            _ if event.type_() == StreamCollection => None,
            gst::EventView::StreamStart(start) if start.stream().is_some() => {
                let mut bare = gst::event::StreamStart::builder(start.stream_id())
                    .flags(start.stream_flags())
                    .seqnum(event.seqnum());
                if let Some(group) = start.group_id() {
                    bare = bare.group_id(group);
                }
                Some(bare.build())
            }
            // Caps come before all of these.
            _ if event.is_sticky()
                && !matches!(event.type_(), StreamStart | Eos)
                && branch.current_caps().is_none() =>
            {
                None
            }
            _ => Some(event.clone()),
        }
    }

    fn caps_for(&self, branch: &SiprecTeePad, caps: &gst::CapsRef) -> Option<gst::Caps> {
        if !self.recordable.load(Ordering::Relaxed) {
            return None;
        }
        let name = match branch.outgoing()? {
            Outgoing::Plain => RTP,
            Outgoing::Secured => SRTP,
        };
        let mut caps = caps.to_owned();
        for structure in caps.make_mut().iter_mut() {
            structure.set_name(name);
            let fields: Vec<_> = structure.fields().map(|field| field.as_str().to_owned()).collect();
            structure.remove_fields(fields.into_iter().filter(|field| is_foreign(field)));
        }
        Some(caps)
    }

    fn warn(&self, fault: &Unrecordable) {
        let complaint = Complaint::Unrecordable(fault.clone());
        let Some(more) = lock(&self.complaints).admit(complaint, Instant::now()) else { return };
        gst::element_imp_warning!(
            self,
            gst::StreamError::Format,
            ("The recording branches of this stream get nothing: {fault}{more}")
        );
    }
}

fn is_foreign(field: &str) -> bool {
    FOREIGN.contains(&field) || FOREIGN_BEGINNINGS.iter().any(|beginning| field.starts_with(beginning))
}

/// Tells a branch the medium and clock rate that caps name.
fn describe(branch: &SiprecTeePad, caps: &gst::CapsRef) {
    let (medium, clock_rate) = format::clock(caps);
    branch.describe(medium, clock_rate);
}
