//! No key of a call or of a branch is in a log at any level, a DOT graph, a message on the bus, or a property.
#![cfg(test)]

mod common;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script, media_sections};
use common::srtp::{Decoder, Encoder, SUITES, base64, buffer, offered};
use common::tee::secure;
use common::{Inlet, Outlet, init, rtp_bytes, siprectee};
use gst::prelude::*;
use siprec_media::dtls::{Association, AssociationEvent, Identity, is_dtls};
use siprec_model::{DtlsAssociation, DtlsRole, SrtpKey, SrtpKeys, SrtpSuite};

/// Everything that was said while it lived.
struct Captured {
    text: Arc<Mutex<Vec<u8>>>,
    function: gst::log::DebugLogFunction,
    /// There is one log.
    _alone: MutexGuard<'static, ()>,
}

impl Captured {
    fn begin() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let text = Arc::new(Mutex::new(Vec::new()));
        let said = text.clone();
        let function = gst::log::add_log_function(move |category, _, _, function, _, _, message| {
            // What is written may log in its turn.
            let message = message.get();
            let message = message.as_ref().map_or("", |text| text.as_str());
            // One line each, so that it can be told who said it.
            let message = message.replace('\n', " ");
            let line = format!("{} {function} {message}\n", category.name());
            said.lock().unwrap().extend_from_slice(line.as_bytes());
        });
        gst::log::remove_default_log_function();
        gst::log::set_default_threshold(gst::DebugLevel::Memdump);
        Self { text, function, _alone: alone }
    }

    /// Adds a line of the element's own.
    fn add(&self, text: &str) {
        let line = format!("siprec-added {}\n", text.replace('\n', " "));
        self.text.lock().unwrap().extend_from_slice(line.as_bytes());
    }

    fn end(self) -> Vec<u8> {
        gst::log::set_default_threshold(gst::DebugLevel::None);
        gst::log::remove_log_function(self.function);
        std::mem::take(&mut self.text.lock().unwrap())
    }
}

/// The forms in which a key could stand somewhere: raw, hexadecimal, decimal, base64; whole, or its first half.
fn forms(key: &[u8]) -> Vec<(&'static str, String)> {
    let mut forms = Vec::new();
    for part in [key, &key[..key.len() / 2]] {
        let listed = |form: fn(&u8) -> String, separator: &str| {
            part.iter().map(form).collect::<Vec<_>>().join(separator)
        };
        // Bytes that are no text cannot stand in one.
        forms.extend(String::from_utf8(part.to_vec()).map(|raw| ("raw", raw)));
        for separator in ["", " ", ":", ", "] {
            forms.push(("hexadecimal", listed(|byte| format!("{byte:02x}"), separator)));
        }
        forms.push(("decimal", listed(u8::to_string, ", ")));
        // The end of a base64 text depends on what follows.
        forms.push(("base64", base64(part)[..part.len() / 3 * 4].to_owned()));
    }
    forms
}

/// Without regard to case, which costs a key of letters a few false finds, and finds more.
fn ensure_absent(said: &str, key: &[u8], whose: &str) {
    for (form, wanted) in forms(key) {
        assert!(!said.contains(&wanted.to_lowercase()), "the key of {whose} is there, {form}");
    }
}

fn add_properties(captured: &Captured, object: &gst::glib::Object) {
    let readable =
        |property: &&gst::glib::ParamSpec| property.flags().contains(gst::glib::ParamFlags::READABLE);
    for property in object.list_properties().iter().filter(readable) {
        let value = object.property_value(property.name());
        // GStreamer does not write down a structure that is not there.
        if !matches!(value.get::<Option<gst::Structure>>(), Ok(None)) {
            captured.add(&format!("{value:?}"));
        }
    }
}

fn add_messages(captured: &Captured, bus: &gst::Bus) -> usize {
    let mut warnings = 0;
    while let Some(message) = bus.pop() {
        warnings += usize::from(message.type_() == gst::MessageType::Warning);
        captured.add(&format!("{:?} {message:?}", message.structure()));
    }
    warnings
}

/// Of printable bytes, so that a text can hold it raw.
fn key(length: usize, number: u8) -> Vec<u8> {
    (0..length).map(|byte| b'A' + (byte as u8 * 5 + number * 11) % 57).collect()
}

#[test]
fn no_key_is_in_logs_graphs_messages_or_properties() {
    init();
    let (call, own) = (SUITES[0], SUITES[3]);
    let (call_key, line_key, own_key) = (key(call.key, 1), key(own.key, 2), key(own.key, 3));
    let next_key = key(own.key, 4);
    // GStreamer's own elements log what they like, and so speak before and after.
    let encoder = Encoder::new(call, &call_key, None);
    let packets: Vec<_> = (0..20).map(|number| encoder.protect(rtp_bytes(number))).collect();
    drop(encoder);

    let captured = Captured::begin();
    let tee = siprectee();
    let line = format!("a=crypto:1 {} inline:{}", own.name, base64(&line_key));
    let of_line: Option<gst::Caps> = tee.emit_by_name("crypto-caps", &[&line]);
    drop(of_line.unwrap());
    for wrong in
        [format!("1 inline:{}", base64(&line_key)), format!("{line} FEC_KEY=inline:{}", base64(&line_key))]
    {
        assert_eq!(tee.emit_by_name::<Option<gst::Caps>>("crypto-caps", &[&wrong]), None);
    }
    let answers = Mutex::new(vec![call.caps(&call_key, None), call.caps(&call_key[1..], None)]);
    tee.connect("request-key", false, move |_| Some(answers.lock().unwrap().pop().to_value()));
    let pipeline = gst::Pipeline::new();
    pipeline.add(&tee).unwrap();
    let pad = tee.request_pad_simple("rec_%u").unwrap();
    secure(&pad, own, &own_key[1..]);
    let branch = Outlet::behind(&pad);
    let inlet = Inlet::before(&tee.static_pad("sink").unwrap());
    let outlet = Outlet::behind(&tee.static_pad("src").unwrap());
    pipeline.set_state(gst::State::Playing).unwrap();
    inlet.begin_with(&"application/x-srtp,media=audio".parse().unwrap());
    // The first answer is a key of a wrong length, and so is the branch's own.
    inlet.pad.push(buffer(&packets[0])).unwrap();
    tee.emit_by_name::<()>("renew-keys", &[]);
    inlet.pad.push(buffer(&packets[1])).unwrap();
    pad.set_property("srtp-key", buffer(&own_key));
    for packet in &packets[2..10] {
        inlet.pad.push(buffer(packet)).unwrap();
    }
    pad.set_property("srtp-key", buffer(&next_key));
    for packet in &packets[10..] {
        inlet.pad.push(buffer(packet)).unwrap();
    }
    captured.add(&pipeline.debug_to_dot_data(gst::DebugGraphDetails::all()));
    for object in [pad.upcast_ref::<gst::glib::Object>(), tee.upcast_ref()] {
        add_properties(&captured, object);
    }
    let warnings = add_messages(&captured, &pipeline.bus().unwrap());
    assert!(warnings >= 2, "{warnings}");
    captured.add(&format!("{:?}", branch.pad.current_caps()));
    pipeline.set_state(gst::State::Null).unwrap();
    let seen = branch.take().bytes;
    assert_eq!((seen.len(), outlet.take().buffers.len()), (18, 20));
    let said = captured.end();

    // The capture works, at the last level, and what it looks for would be found.
    let mut said = String::from_utf8_lossy(&said).to_lowercase();
    for part in ["siprec", "application/x-srtp", "digraph", "gst_mini_object_unref"] {
        assert!(said.contains(part), "{part}");
    }
    for (key, whose) in [
        (&call_key, "the call"),
        (&line_key, "a line"),
        (&own_key, "the branch"),
        (&next_key, "the branch, later"),
    ] {
        ensure_absent(&said, key, whose);
    }
    said.push_str(&own.caps(&own_key, None).to_string().to_lowercase());
    assert!(std::panic::catch_unwind(|| ensure_absent(&said, &own_key, "the proof")).is_err());
    // And they were the keys.
    let (first, second) = (Decoder::new(&own.caps(&own_key, None)), Decoder::new(&own.caps(&next_key, None)));
    assert!(seen[..8].iter().all(|packet| first.unprotect(packet).is_some()));
    assert!(seen[8..].iter().all(|packet| second.unprotect(packet).is_some()));
}

/// The recorder's end of a handshake, and what came after it.
fn shake_hands(recorder: &Recorder, invite: &str, identity: &Arc<Identity>) -> (SrtpKeys, Vec<Vec<u8>>) {
    let section = media_sections(invite).next().unwrap();
    let value = |name: &str| section.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let ours = format!("127.0.0.1:{}", section.split(' ').nth(1).unwrap());
    let terms = DtlsAssociation {
        role: DtlsRole::Client,
        fingerprints: vec![value("a=fingerprint:").parse().unwrap()],
        suites: SrtpSuite::ALL.to_vec(),
        own_id: String::new(),
        recorder_id: None,
        session: 1,
    };
    let socket = &recorder.sockets(0)[0];
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let mut association = Association::new(Arc::clone(identity), terms, Instant::now());
    let (mut keys, mut packets, mut buffer) = (None, Vec::new(), [0; 2048]);
    let end = Instant::now() + Duration::from_secs(20);
    while keys.is_none() || packets.len() < 10 {
        assert!(Instant::now() < end, "{} packets, {association:?}", packets.len());
        while let Some(datagram) = association.poll_transmit() {
            socket.send_to(&datagram, &ours).unwrap();
        }
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            match &buffer[..length] {
                datagram if is_dtls(datagram) => association.handle_datagram(datagram, Instant::now()),
                packet => packets.push(packet.to_vec()),
            }
        }
        association.handle_timeout(Instant::now());
        if let Some(event) = association.poll_event() {
            let AssociationEvent::Secured(secured) = event else { panic!("{event:?}") };
            keys = Some(*secured);
        }
    }
    (keys.unwrap(), packets)
}

#[test]
fn no_key_of_a_handshake_is_in_logs_messages_or_properties() {
    init();
    let captured = Captured::begin();
    let identity = Arc::new(Identity::generate().unwrap());
    let answer = format!("a=setup:active\r\na=fingerprint:{}\r\n", identity.fingerprint());
    let recorder = Recorder::start(Script::AcceptWith(answer.leak()));
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property_from_str("srtp", "require");
        siprec.set_property_from_str("srtp-keying", "dtls");
    });
    call.begin();
    (0..10).for_each(|sequence| call.speak(sequence));
    let (keys, packets) = shake_hands(&recorder, &recorder.request("INVITE"), &identity);
    add_properties(&captured, call.siprec.upcast_ref());
    call.end();
    add_messages(&captured, &call.bus);
    let said = captured.end();

    let said = String::from_utf8_lossy(&said).to_lowercase();
    for part in ["siprecagent", "a=fingerprint", "udp/tls/rtp/savp"] {
        assert!(said.contains(part), "{part}");
    }
    let parts = |key: &SrtpKey| key.master().split_at(key.suite().key_length()).0.to_vec();
    let [theirs] = &keys.recorder[..] else { panic!() };
    for (key, whose) in [(&keys.own, "the recorder"), (theirs, "the recording")] {
        ensure_absent(&said, &parts(key), whose);
    }
    // And that was the key.
    let suite = SUITES.into_iter().find(|suite| suite.name == theirs.suite().as_str()).unwrap();
    let decoder = Decoder::new(&suite.caps(theirs.master(), None));
    for (number, packet) in (0..).zip(&packets) {
        assert_eq!(timestamp(&decoder.unprotect(packet).unwrap()), number * 160);
    }
}

/// One end of a call by DTLS-SRTP.
struct Phone {
    decoder: gst::Element,
    encoder: gst::Element,
    heard: Inlet,
    said: Outlet,
    /// What comes out of it, in the clear, goes nowhere.
    _played: [Outlet; 2],
}

impl Phone {
    fn new(name: &str, is_client: bool) -> Self {
        let make = |kind| gst::ElementFactory::make(kind).property("connection-id", name);
        let decoder = make("dtlssrtpdec").build().unwrap();
        let encoder = make("dtlssrtpenc").property("is-client", is_client).build().unwrap();
        let heard = Inlet::before(&decoder.static_pad("sink").unwrap());
        let said = Outlet::behind(&encoder.static_pad("src").unwrap());
        let played = ["rtp_src", "rtcp_src"].map(|pad| Outlet::behind(&decoder.static_pad(pad).unwrap()));
        for element in [&decoder, &encoder] {
            element.set_state(gst::State::Playing).unwrap();
        }
        heard.begin_with(&gst::Caps::new_empty_simple("application/x-dtls"));
        Self { decoder, encoder, heard, said, _played: played }
    }

    /// The element of this kind inside its decoder.
    fn part(&self, kind: &str) -> gst::Element {
        let mut parts = self.decoder.downcast_ref::<gst::Bin>().unwrap().children().into_iter();
        parts.find(|part| part.factory().is_some_and(|factory| factory.name() == kind)).unwrap()
    }

    /// The key under which the other end sends, once there is one.
    fn key(&self) -> Option<Vec<u8>> {
        let caps = self.part("srtpdec").emit_by_name::<Option<gst::Caps>>("request-key", &[&1_u32])?;
        let key = caps.structure(0)?.get::<gst::Buffer>("srtp-key").ok()?;
        Some(key.map_readable().unwrap().to_vec())
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        for element in [&self.decoder, &self.encoder] {
            element.set_state(gst::State::Null).unwrap();
        }
    }
}

#[test]
fn no_key_of_a_call_by_handshake_is_in_logs_messages_or_properties() {
    init();
    let captured = Captured::begin();
    let (phone, relay) = (Phone::new("secret-phone", true), Phone::new("secret-relay", false));
    let recorder = Recorder::start(Script::Accept);
    let answers = relay.part("srtpdec");
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("allow-clear-keys", true);
        // As `pipelines/dtls.py` has it.
        siprec.connect("request-key", false, move |arguments| {
            let ssrc = arguments[2].get::<u32>().unwrap();
            Some(answers.emit_by_name::<Option<gst::Caps>>("request-key", &[&ssrc]).to_value())
        });
    });
    for (inlet, _) in &call.parties {
        inlet.begin_with(
            &"application/x-srtp,media=audio,encoding-name=PCMU,clock-rate=8000".parse().unwrap(),
        );
    }
    // The phone's way is through siprec, the other one beside it.
    let (inlet, outlet) = &call.parties[0];
    let carry = || {
        let mut media = 0;
        for datagram in phone.said.take().bytes {
            media += usize::from(datagram[0] >> 6 == 2);
            inlet.pad.push(buffer(&datagram)).unwrap();
        }
        for datagram in outlet.take().bytes {
            let _ = relay.heard.pad.push(buffer(&datagram));
        }
        for datagram in relay.said.take().bytes {
            let _ = phone.heard.pad.push(buffer(&datagram));
        }
        media
    };
    let end = Instant::now() + Duration::from_secs(20);
    let keys = loop {
        if let (Some(relay), Some(phone)) = (relay.key(), phone.key()) {
            break [relay, phone];
        }
        assert!(Instant::now() < end, "the handshake did not end");
        carry();
        std::thread::yield_now();
    };
    let voice = Inlet::before(&phone.encoder.request_pad_simple("rtp_sink_0").unwrap());
    voice.begin();
    for number in 0..10 {
        voice.pad.push(buffer(&rtp_bytes(number))).unwrap();
    }
    let mut carried = 0;
    while carried < 10 {
        assert!(Instant::now() < end, "{carried} packets came out of the phone");
        carried += carry();
        std::thread::yield_now();
    }
    let invite = recorder.request("INVITE");
    let decoder = Decoder::new(&offered(&invite, 0));
    for number in 0..10 {
        let plain = decoder.unprotect(&recorder.packet(0).unwrap()).unwrap();
        assert_eq!(timestamp(&plain), number * 160);
    }
    // GStreamer's elements of DTLS and SRTP write their keys into the log themselves, in caps too: they are silent from here on,
    // and what was said before counts where it is ours.
    drop((phone, relay));
    add_properties(&captured, call.siprec.upcast_ref());
    for (inlet, outlet) in &call.parties {
        captured.add(&format!("{:?} {:?}", inlet.pad.current_caps(), outlet.pad.current_caps()));
    }
    call.end();
    add_messages(&captured, &call.bus);
    let said = captured.end();
    let said = String::from_utf8_lossy(&said).to_lowercase();
    assert!(
        forms(&keys[0]).iter().any(|(_, form)| said.contains(&form.to_lowercase())),
        "the search finds what is there"
    );
    let said: Vec<&str> = said.lines().filter(|line| line.starts_with("siprec")).collect();
    let said = said.join("\n");
    for part in ["siprecagent", "rtp/savp", "siprec-report", "application/x-srtp"] {
        assert!(said.contains(part), "{part}");
    }
    for (key, whose) in keys.iter().zip(["the phone", "the other end"]) {
        assert_eq!(key.len(), 30);
        ensure_absent(&said, key, whose);
        ensure_absent(&said, &key[..16], whose);
    }
}
