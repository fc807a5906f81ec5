//! No key of a call or of a recording is in a log at any level, a DOT graph, a message on the bus, an event or a property, raw,
//! in hexadecimal, in base64 or in decimal, whole or in parts. What could be found is shown to be found, in the same pass
//! over the same bytes.
#![cfg(test)]

#[path = "secrets/captured.rs"]
mod captured;
mod common;
#[path = "../../tests/support/derivation.rs"]
#[allow(unreachable_pub, reason = "it is a module of the system tests")]
mod derivation;
#[path = "secrets/forms.rs"]
mod forms;
#[path = "secrets/scene.rs"]
mod scene;
#[path = "../../tests/support/secret.rs"]
#[allow(unreachable_pub, reason = "it is a module of the system tests")]
mod secret;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use captured::Captured;
use common::recorder::{Recorder, Script, answered_key, media_sections};
use common::srtp::{Decoder, Encoder, SUITES, Suite, base64, buffer, offered};
use common::tee::secure;
use common::{Inlet, Outlet, init, rtp_bytes, siprectee};
use derivation::session_keys;
use gst::prelude::*;
use scene::{PACKETS, Scene, shake_hands};
use secret::{Plants, Secret, random_letters};
use siprec_media::dtls::{Association, Identity, is_dtls};
use siprec_media::srtp::Protector;
use siprec_model::{DtlsAssociation, DtlsRole, Fingerprint, SrtpKey, SrtpSuite};

/// A master key with its salt, and the session keys that come of it.
fn secrets_of(whose: &str, suite: &str, master: &[u8]) -> Vec<Secret> {
    let derived = session_keys(suite, master).into_iter();
    let derived = derived.map(|(what, bytes)| Secret::new(format!("{whose}, {what}"), &bytes));
    std::iter::once(Secret::new(whose, master)).chain(derived).collect()
}

#[test]
fn no_key_is_in_logs_graphs_messages_events_or_properties() {
    init();
    let (call, own) = (SUITES[0], SUITES[3]);
    let call_key = random_letters::<{ SUITES[0].key }>();
    let [line_key, own_key, next_key] = [(); 3].map(|()| random_letters::<{ SUITES[3].key }>());
    // GStreamer's own elements log what they like, and so speak before and after.
    let encoder = Encoder::new(call, &call_key, None);
    let packets: Vec<_> = (0..20).map(|number| encoder.protect(rtp_bytes(number))).collect();
    drop(encoder);

    let in_log = Plants::in_all();
    let [in_graph, in_messages, in_events] = [(); 3].map(|()| Plants::in_text());
    let captured = Captured::begin();
    let tee = siprectee();
    // It is named in whatever is said of it, and a pad has no other text.
    tee.set_property("name", in_messages.text());
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
    let pipeline = gst::Pipeline::with_name(&in_graph.text());
    captured.listen(&pipeline.bus().unwrap());
    pipeline.add(&tee).unwrap();
    let pad = tee.request_pad_simple("rec_%u").unwrap();
    secure(&pad, own, &own_key[1..]);
    let branch = Outlet::behind(&pad);
    let inlet = Inlet::before(&tee.static_pad("sink").unwrap());
    let outlet = Outlet::behind(&tee.static_pad("src").unwrap());
    [&inlet.pad, &outlet.pad, &branch.pad].into_iter().for_each(|pad| captured.watch(pad));
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut caps: gst::Caps = "application/x-srtp,media=audio".parse().unwrap();
    caps.get_mut().unwrap().set("further", in_events.text());
    inlet.begin_with(&caps);
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
    captured.log(&in_log.text());
    captured.graph(&pipeline);
    for object in [pad.upcast_ref::<gst::glib::Object>(), tee.upcast_ref()] {
        assert!(captured.properties(object).iter().any(|name| name == "name"));
    }
    let bus = pipeline.bus().unwrap();
    let warnings = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning])).count();
    assert!(warnings >= 2, "{warnings}");
    pipeline.set_state(gst::State::Null).unwrap();
    let seen = branch.take().bytes;
    assert_eq!((seen.len(), outlet.take().buffers.len()), (18, 20));
    let evidence = captured.end();

    let keys = [("the call", call, &call_key[..]), ("a line", own, &line_key), ("the branch", own, &own_key)];
    let keys = keys.into_iter().chain([("the branch, later", own, &next_key[..])]);
    let secrets: Vec<_> = keys.flat_map(|(whose, suite, key)| secrets_of(whose, suite.name, key)).collect();
    let planted = [
        ("events", &in_events),
        ("graph", &in_graph),
        ("log", &in_log),
        ("messages", &in_messages),
        ("properties", &in_messages),
    ];
    evidence.ensure_silent(&planted, &secrets);
    // And they were the keys.
    let (first, second) = (Decoder::new(&own.caps(&own_key, None)), Decoder::new(&own.caps(&next_key, None)));
    assert!(seen[..8].iter().all(|packet| first.unprotect(packet).is_some()));
    assert!(seen[8..].iter().all(|packet| second.unprotect(packet).is_some()));
}

/// The keys that INVITEs offer, and for each line that with which the recorder would answer it.
fn sdes_secrets(invite: &str) -> Vec<Secret> {
    let lines = invite.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let mut secrets = Vec::new();
    for (number, line) in lines.enumerate() {
        let words: Vec<_> = line.split(' ').collect();
        let master = words[2].trim_start_matches("inline:").split('|').next().unwrap();
        let master = gst::glib::base64_decode(master);
        let answered = answered_key(master.len());
        secrets.extend(secrets_of(&format!("line {number} of the offers"), words[1], &master));
        secrets.extend(secrets_of(&format!("answer to line {number}"), words[1], &answered));
    }
    secrets
}

/// What came first in a session, and its INVITE.
type Heard = (Vec<Vec<u8>>, String);

/// The INVITEs of both sessions, and each of them with what came.
fn recorded(recorder: &Recorder) -> (String, [Heard; 2]) {
    let heard = [0, 1].map(|session| {
        let invite = recorder.request("INVITE");
        ((0..PACKETS).map(|_| recorder.packet(4 * session).unwrap()).collect(), invite)
    });
    (heard.iter().map(|(_, invite)| invite.as_str()).collect(), heard)
}

#[test]
fn no_key_of_a_secured_call_or_of_its_recording_is_anywhere() {
    init();
    // By request-key, and by a session description; one that is never used, too.
    let suite = SUITES[0];
    let [answered, described] = [(); 2].map(|()| random_letters::<{ SUITES[0].key }>());
    let further = random_letters::<{ SUITES[3].key }>();
    let packets = [&answered, &described].map(|key| {
        let encoder = Encoder::new(suite, key, None);
        (0..PACKETS).map(|number| encoder.protect(rtp_bytes(number))).collect::<Vec<_>>()
    });
    let scene = Scene::begin(Script::Accept, true, |siprec| {
        siprec.set_property("allow-clear-keys", true);
        let suites = SUITES.map(|suite| suite.name).join(" ");
        siprec.set_property("srtp-suites", suites);
        siprec.connect("request-key", false, move |arguments| {
            let pad = arguments[1].get::<gst::Pad>().unwrap();
            Some((pad.name() == "sink_0").then(|| suite.caps(&answered, None)).to_value())
        });
    });
    let line = |suite: Suite, key: &[u8]| format!("{} inline:{}", suite.name, base64(key));
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n\
         a=crypto:1 {}\r\na=crypto:2 {}\r\n",
        line(suite, &described),
        line(SUITES[3], &further)
    );
    let describe =
        |sdp: &str| scene.call.siprec.emit_by_name::<Option<String>>("set-party-sdp", &[&"1002", &sdp]);
    assert_eq!(describe(&sdp), None);
    // What is wrong is told, and without what may be a key.
    assert!(describe(&sdp.replace(suite.name, "AES_CM_128")).is_some());
    assert!(describe(&sdp.replace("inline:", "inline ")).is_some());
    for ((inlet, _), packets) in scene.call.parties.iter().zip(&packets) {
        for packet in packets {
            inlet.pad.push(buffer(packet)).unwrap();
        }
    }
    let (invites, heard) = recorded(&scene.recorder);
    let mut secrets = sdes_secrets(&invites);
    assert_eq!(
        secrets.iter().filter(|secret| !secret.name.contains(',')).count(),
        20,
        "two offers of five lines, and what would answer each"
    );
    for (whose, suite, key) in [
        ("request-key", suite, &answered[..]),
        ("set-party-sdp", suite, &described[..]),
        ("beside", SUITES[3], &further[..]),
    ] {
        secrets.extend(secrets_of(whose, suite.name, key));
    }
    scene.end(&secrets, &heard, |offer| offered(offer, 0));
}

/// One end of a handshake of DTLS-SRTP with an end that has this certificate.
fn end_of_dtls(role: DtlsRole, own: &Arc<Identity>, other: Fingerprint) -> Association {
    let terms = DtlsAssociation {
        role,
        fingerprints: vec![other],
        suites: SrtpSuite::ALL.to_vec(),
        own_id: String::new(),
        recorder_id: None,
        session: 1,
    };
    Association::new(Arc::clone(own), terms, Instant::now())
}

/// A key as GStreamer's elements take it.
fn caps_of(key: &SrtpKey) -> gst::Caps {
    let suite = SUITES.into_iter().find(|suite| suite.name == key.suite().as_str()).unwrap();
    suite.caps(key.master(), None)
}

fn secrets_of_dtls(whose: &str, key: &SrtpKey) -> Vec<Secret> {
    secrets_of(whose, key.suite().as_str(), key.master())
}

/// The recorder's end of a session's handshake, and what came after it: our key, the recorder's, and packets.
fn secured(
    recorder: &Recorder,
    session: usize,
    invite: &str,
    identity: &Arc<Identity>,
) -> ([SrtpKey; 2], Vec<Vec<u8>>) {
    let section = media_sections(invite).next().unwrap();
    let value = |name: &str| section.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let ours = format!("127.0.0.1:{}", section.split(' ').nth(1).unwrap());
    let client = end_of_dtls(DtlsRole::Client, identity, value("a=fingerprint:").parse().unwrap());
    let socket = &recorder.sockets(4 * session)[0];
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let (mut packets, mut room) = (Vec::new(), [0; 2048]);
    let [keys] = shake_hands([client], |[client]| {
        while let Some(datagram) = client.poll_transmit() {
            socket.send_to(&datagram, &ours).unwrap();
        }
        if let Ok((length, _)) = socket.recv_from(&mut room) {
            match &room[..length] {
                datagram if is_dtls(datagram) => client.handle_datagram(datagram, Instant::now()),
                packet => packets.push(packet.to_vec()),
            }
        }
    });
    while packets.len() < usize::from(PACKETS) {
        let packet = recorder.packet(4 * session).unwrap();
        packets.extend(Some(packet).filter(|packet| !is_dtls(packet)));
    }
    let [ours] = <[SrtpKey; 1]>::try_from(keys.recorder).unwrap();
    ([ours, keys.own], packets)
}

#[test]
fn no_key_of_a_recording_by_handshake_is_anywhere() {
    init();
    let identity = Arc::new(Identity::generate().unwrap());
    let answer = format!("a=setup:active\r\na=fingerprint:{}\r\n", identity.fingerprint());
    let scene = Scene::begin(Script::AcceptWith(answer.leak()), false, |siprec| {
        siprec.set_property_from_str("srtp", "require");
        siprec.set_property_from_str("srtp-keying", "dtls");
    });
    (0..PACKETS).for_each(|sequence| scene.call.speak(sequence));
    let (mut secrets, mut heard) = (Vec::new(), Vec::new());
    for session in 0..2 {
        let invite = scene.recorder.request("INVITE");
        assert!(invite.contains(" UDP/TLS/RTP/SAVP "), "{invite}");
        let ([ours, theirs], packets) = secured(&scene.recorder, session, &invite, &identity);
        secrets.extend(secrets_of_dtls(&format!("ours, session {session}"), &ours));
        secrets.extend(secrets_of_dtls(&format!("the recorder's, session {session}"), &theirs));
        heard.push((packets, ours));
    }
    scene.end(&secrets, &heard, caps_of);
}

/// The ends of the call are not GStreamer's `dtlssrtpdec` and `dtlssrtpenc`, which write the keys into the log themselves: so no
/// line of it must be left out.
#[test]
fn no_key_of_a_call_by_handshake_is_anywhere() {
    init();
    let [phone, relay] = [(); 2].map(|()| Arc::new(Identity::generate().unwrap()));
    let ends = [
        end_of_dtls(DtlsRole::Client, &phone, relay.fingerprint().clone()),
        end_of_dtls(DtlsRole::Server, &relay, phone.fingerprint().clone()),
    ];
    let agreed = Arc::new(Mutex::new(None));
    let asked = agreed.clone();
    let scene = Scene::begin(Script::Accept, true, |siprec| {
        siprec.set_property("allow-clear-keys", true);
        // As `pipelines/dtls.py` has it: the end behind the element knows the key when there are packets.
        siprec.connect("request-key", false, move |arguments| {
            let party = usize::from(arguments[1].get::<gst::Pad>().unwrap().name() == "sink_1");
            let agreed = asked.lock().unwrap();
            Some(agreed.as_ref().map(|keys: &[SrtpKey; 2]| caps_of(&keys[party])).to_value())
        });
    });
    // What each party says goes through siprec.
    let ways = &scene.call.parties;
    let [of_phone, of_relay] = shake_hands(ends, |[phone, relay]| {
        for (way, [from, to]) in ways.iter().zip([[0, 1], [1, 0]]) {
            let ends = [&mut *phone, &mut *relay];
            let mut ends = ends.map(Some);
            let (from, to) = (ends[from].take().unwrap(), ends[to].take().unwrap());
            while let Some(datagram) = from.poll_transmit() {
                way.0.pad.push(buffer(&datagram)).unwrap();
            }
            way.1.take().bytes.iter().for_each(|datagram| to.handle_datagram(datagram, Instant::now()));
        }
    });
    assert!(of_relay.recorder[0].master() == of_phone.own.master());
    assert!(of_phone.recorder[0].master() == of_relay.own.master());
    let keys = [of_phone.own, of_relay.own];
    *agreed.lock().unwrap() = Some(keys.clone());
    for ((inlet, _), key) in ways.iter().zip(&keys) {
        let mut protector = Protector::new(key).unwrap();
        for number in 0..PACKETS {
            let mut packet = rtp_bytes(number);
            let length = packet.len();
            protector.protect_rtp(&mut packet, length, 0xC0FF_EE00, number.into()).unwrap();
            inlet.pad.push(buffer(&packet)).unwrap();
        }
    }
    let (invites, heard) = recorded(&scene.recorder);
    let mut secrets = sdes_secrets(&invites);
    for (whose, key) in ["the phone's", "the relay's"].into_iter().zip(&keys) {
        secrets.extend(secrets_of_dtls(whose, key));
    }
    scene.end(&secrets, &heard, |offer| offered(offer, 0));
}
