//! A call through `siprec`, as the tests lead it.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::{Inlet, Outlet, init, rtp};

/// A call of two parties through a playing `siprec`, packet by packet.
pub(crate) struct Call {
    pub(crate) siprec: gst::Element,
    pub(crate) parties: Vec<(Inlet, Outlet)>,
    pub(crate) bus: gst::Bus,
    states: Receiver<(String, String)>,
    /// Element messages that came before the one that was waited for.
    passed: RefCell<Vec<gst::Structure>>,
}

impl Call {
    pub(crate) fn new(recorder: &str, set: impl FnOnce(&gst::Element)) -> Self {
        init();
        let siprec = gst::ElementFactory::make("siprec")
            .property("recorder", recorder)
            .property("call-uuid", "00FA08K")
            .property("dn", "1001")
            .property("other-dn", "1002")
            .build()
            .unwrap();
        set(&siprec);
        let bus = gst::Bus::new();
        siprec.set_bus(Some(&bus));
        let (tell, states) = channel();
        siprec.connect("state-changed", false, move |arguments| {
            let state = arguments[1].get::<gstsiprec::SiprecState>().unwrap();
            let _ = tell.send((format!("{state:?}"), arguments[2].get().unwrap()));
            None
        });
        let parties = (0..2)
            .map(|_| {
                let sink = siprec.request_pad_simple("sink_%u").unwrap();
                let source = siprec.static_pad(&sink.name().replace("sink", "src")).unwrap();
                (Inlet::before(&sink), Outlet::behind(&source))
            })
            .collect();
        siprec.set_state(gst::State::Playing).unwrap();
        Self { siprec, parties, bus, states, passed: RefCell::default() }
    }

    pub(crate) fn begin(&self) {
        self.parties.iter().for_each(|(inlet, _)| inlet.begin());
    }

    /// One packet of each party.
    pub(crate) fn speak(&self, sequence: u16) {
        for (inlet, _) in &self.parties {
            inlet.pad.push(rtp(sequence)).unwrap();
        }
    }

    pub(crate) fn wish(&self, action: &str) {
        self.siprec.emit_by_name::<()>(action, &[]);
    }

    /// The next element message of this name, whatever else comes before it.
    pub(crate) fn message(&self, name: &str) -> gst::Structure {
        let known = self.passed.borrow().iter().position(|message| message.name() == name);
        if let Some(index) = known {
            return self.passed.borrow_mut().remove(index);
        }
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = gst::ClockTime::from_nseconds(left.as_nanos() as u64);
            let kinds = [gst::MessageType::Element, gst::MessageType::Error];
            let message = self.bus.timed_pop_filtered(left, &kinds).unwrap_or_else(|| panic!("no {name}"));
            match message.view() {
                gst::MessageView::Element(element) => {
                    let structure = element.structure().unwrap().to_owned();
                    if structure.name() == name {
                        return structure;
                    }
                    self.passed.borrow_mut().push(structure);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Element messages that are to be found again.
    pub(crate) fn put_back(&self, messages: Vec<gst::Structure>) {
        self.passed.borrow_mut().splice(0..0, messages);
    }

    /// The element messages that nobody has asked for yet. An ERROR ends the test.
    pub(crate) fn messages_so_far(&self) -> Vec<gst::Structure> {
        let mut messages = std::mem::take(&mut *self.passed.borrow_mut());
        while let Some(message) = self.bus.pop_filtered(&[gst::MessageType::Element, gst::MessageType::Error])
        {
            match message.view() {
                gst::MessageView::Element(element) => messages.push(element.structure().unwrap().to_owned()),
                other => panic!("{other:?}"),
            }
        }
        messages
    }

    pub(crate) fn wait_for_state(&self, wanted: &str) -> String {
        loop {
            let (state, reason) = self
                .states
                .recv_timeout(Duration::from_secs(15))
                .unwrap_or_else(|_| panic!("never {wanted}"));
            if state == wanted {
                return reason;
            }
        }
    }

    pub(crate) fn end(&self) {
        self.siprec.set_state(gst::State::Null).unwrap();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = self.siprec.set_state(gst::State::Null);
    }
}

/// Which packet of the call this is.
pub(crate) fn timestamp(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[4..8].try_into().unwrap())
}
