//! DTLS-SRTP towards the recorder, whose end is GStreamer's `dtlssrtpdec` and `dtlssrtpenc` (OpenSSL and libsrtp).
#![cfg(test)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script, media_sections};
use common::{Inlet, Outlet, init, rtp_bytes};
use gst::prelude::*;

const PATIENCE: Duration = Duration::from_secs(20);
const PACKETS: u16 = 20;

/// A certificate of the recorder's, by `openssl`.
struct Certificate {
    pem: String,
    fingerprint: String,
}

impl Certificate {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-subj", "/CN=recorder", "-days", "2"]);
        let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let certificate = std::fs::read_to_string(certificate).unwrap();
        let fingerprint = fingerprint(&certificate);
        Self { pem: certificate + &std::fs::read_to_string(key).unwrap(), fingerprint }
    }
}

/// The SHA-256 of a certificate, by `openssl`, as `a=fingerprint` has it.
fn fingerprint(pem: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("certificate");
    std::fs::write(&file, pem).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&file);
    let told = String::from_utf8(openssl.output().unwrap().stdout).unwrap();
    format!("sha-256 {}", told.trim().split_once('=').unwrap().1)
}

/// GStreamer's end of one association.
struct Peer {
    pipeline: gst::Pipeline,
    decoder: gst::Element,
    inlet: Inlet,
    said: Outlet,
    rtp: Outlet,
    rtcp: Outlet,
}

impl Peer {
    fn new(certificate: &Certificate, name: &str, is_client: bool) -> Self {
        init();
        let make = |kind: &'static str| gst::ElementFactory::make(kind).property("connection-id", name);
        let decoder = make("dtlssrtpdec").property("pem", &certificate.pem).build().unwrap();
        let encoder = make("dtlssrtpenc").property("is-client", is_client).build().unwrap();
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([&decoder, &encoder]).unwrap();
        let inlet = Inlet::before(&decoder.static_pad("sink").unwrap());
        let rtp = Outlet::behind(&decoder.static_pad("rtp_src").unwrap());
        let rtcp = Outlet::behind(&decoder.static_pad("rtcp_src").unwrap());
        let said = Outlet::behind(&encoder.static_pad("src").unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        inlet.begin_with(&gst::Caps::new_empty_simple("application/x-dtls"));
        Self { pipeline, decoder, inlet, said, rtp, rtcp }
    }

    /// Carries what there is between a socket and the elements.
    fn carry(&self, socket: &UdpSocket, siprec: SocketAddr) {
        for datagram in self.said.take().bytes {
            socket.send_to(&datagram, siprec).unwrap();
        }
        let mut buffer = [0; 2048];
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            assert_eq!(from, siprec, "symmetric");
            // What it does not take shows in what does not come out.
            let _ = self.inlet.pad.push(gst::Buffer::from_mut_slice(buffer[..length].to_vec()));
        }
    }

    /// Of the certificate that it was shown.
    fn saw(&self) -> Option<String> {
        self.decoder.property::<Option<String>>("peer-pem").map(|pem| fingerprint(&pem))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// What a recorder says behind each m-line.
fn answer(setup: &str, fingerprint: &str) -> &'static str {
    // A script has no owner, and the test's process ends soon.
    Box::leak(format!("a=setup:{setup}\r\na=fingerprint:{fingerprint}\r\n").into_boxed_str())
}

fn encrypted_call(recorder: &Recorder) -> Call {
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property_from_str("srtp", "require");
        siprec.set_property_from_str("srtp-keying", "dtls");
    });
    call.begin();
    (0..PACKETS).for_each(|sequence| call.speak(sequence));
    call
}

/// Our address for an m-line, of RTP and of RTCP, and the fingerprint that stands there.
fn offered(invite: &str, line: usize) -> ([SocketAddr; 2], String) {
    let section = media_sections(invite).nth(line).unwrap();
    let mut words = section.split(' ');
    let port: u16 = words.nth(1).unwrap().parse().unwrap();
    assert_eq!(words.next(), Some("UDP/TLS/RTP/SAVP"));
    assert!(section.contains("\r\na=setup:actpass\r\n") && !section.contains("a=crypto"), "{section}");
    let fingerprint = section.lines().find_map(|line| line.strip_prefix("a=fingerprint:")).unwrap();
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    ([address(port), address(port + 1)], fingerprint.to_owned())
}

#[test]
fn gstreamers_dtls_elements_open_what_a_recording_sends_whoever_begins() {
    let certificate = Certificate::make();
    for (setup, is_client) in [("active", true), ("passive", false)] {
        let recorder = Recorder::start(Script::AcceptWith(answer(setup, &certificate.fingerprint)));
        let call = encrypted_call(&recorder);
        let weakened = call.message("siprec-weakened");
        assert!(
            weakened.get::<String>("reason").unwrap().contains("can be changed on its way"),
            "{weakened}"
        );
        let invite = recorder.request("INVITE");
        for line in 0..2 {
            let (ours, shown) = offered(&invite, line);
            let peers = ["rtp", "rtcp"]
                .map(|component| Peer::new(&certificate, &format!("{setup}-{line}-{component}"), is_client));
            let (mut packets, mut reports) = (Vec::new(), Vec::new());
            let end = Instant::now() + PATIENCE;
            while packets.len() < usize::from(PACKETS) || reports.is_empty() {
                assert!(Instant::now() < end, "{setup} {line}: {} packets", packets.len());
                for ((peer, socket), ours) in peers.iter().zip(recorder.sockets(line)).zip(ours) {
                    peer.carry(socket, ours);
                }
                packets.extend(peers[0].rtp.take().bytes);
                reports.extend(peers[1].rtcp.take().bytes);
            }
            for (number, packet) in (0..).zip(&packets) {
                assert_eq!(timestamp(packet), number * 160);
                assert_eq!(packet[12..], rtp_bytes(0)[12..]);
            }
            assert!(reports.iter().all(|report| report[1] == 200), "a sender report");
            for peer in &peers {
                assert_eq!(peer.saw(), Some(shown.clone()), "the certificate that the INVITE names");
            }
        }
        call.end();
    }
}

#[test]
fn another_certificate_than_the_answer_names_fails_the_recording_and_the_call_goes_on() {
    let (named, shown) = (Certificate::make(), Certificate::make());
    let recorder = Recorder::start(Script::AcceptWith(answer("active", &named.fingerprint)));
    let call = encrypted_call(&recorder);
    let (ours, _) = offered(&recorder.request("INVITE"), 0);
    let peer = Peer::new(&shown, "stranger", true);
    let end = Instant::now() + PATIENCE;
    while !recorder.has("BYE") {
        assert!(Instant::now() < end, "the session goes on");
        peer.carry(&recorder.sockets(0)[0], ours[0]);
        assert!(peer.rtp.take().bytes.is_empty(), "something was sent to a stranger");
    }
    let failed = call.message("siprec-failed");
    let reason = failed.get::<String>("reason").unwrap();
    assert!(reason.contains("is not the one that its description names"), "{reason}");
    assert!(reason.contains(&shown.fingerprint), "{reason}");
    for (_, outlet) in &call.parties {
        outlet.take();
    }
    call.speak(PACKETS);
    for (_, outlet) in &call.parties {
        assert_eq!(outlet.take().bytes, [rtp_bytes(PACKETS)]);
    }
}

#[test]
fn an_answer_without_a_certificate_is_no_answer() {
    let recorder = Recorder::start(Script::Accept);
    let call = encrypted_call(&recorder);
    let failed = call.message("siprec-failed");
    let reason = failed.get::<String>("reason").unwrap();
    assert!(reason.contains("the recorder names no certificate (a=fingerprint)"), "{reason}");
    recorder.request("BYE");
    assert!(recorder.packet_within(0, Duration::from_millis(150)).is_none());
}

/// Who answers and then says nothing, like one whose media never comes through a firewall: it costs the time that a handshake
/// may take, and nothing of the call.
#[test]
fn a_recorder_that_answers_and_is_silent_on_its_ports_gives_way_to_the_next_one_which_gets_all() {
    let certificate = Certificate::make();
    let answer = answer("passive", &certificate.fingerprint);
    let [silent, good] = [(); 2].map(|()| Recorder::start(Script::AcceptWith(answer)));
    let peers = [0, 1].map(|line| Peer::new(&certificate, &format!("good-{line}"), false));
    let agent = gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap());
    agent.set_property("local-address", "127.0.0.1");
    agent.set_property("dtls-timeout", 2_000_000_000_u64);
    let call = Call::new(&format!("{} {}", silent.uri(), good.uri()), |siprec| {
        siprec.set_property_from_str("srtp", "require");
        siprec.set_property_from_str("srtp-keying", "dtls");
        siprec.set_property("agent", &agent);
    });
    call.begin();
    (0..PACKETS).for_each(|sequence| call.speak(sequence));
    let invite = good.request("INVITE");
    let mut packets = [Vec::new(), Vec::new()];
    let end = Instant::now() + PATIENCE;
    while packets.iter().any(|packets| packets.len() < usize::from(PACKETS)) {
        assert!(Instant::now() < end, "{packets:?}");
        for (line, peer) in peers.iter().enumerate() {
            let (ours, _) = offered(&invite, line);
            peer.carry(&good.sockets(line)[0], ours[0]);
            packets[line].extend(peer.rtp.take().bytes);
        }
    }
    for (number, packet) in packets.iter().flat_map(|packets| (0..).zip(packets)) {
        assert_eq!(timestamp(packet), number * 160);
    }
    let failed = call.message("siprec-failed");
    let reason = failed.get::<String>("reason").unwrap();
    assert!(reason.contains("the DTLS handshake with the recorder did not end within 2s"), "{reason}");
    silent.request("BYE");
    // Nothing but the handshake has ever left towards it.
    let mut tries = 0;
    while let Some(datagram) = silent.packet_within(0, Duration::from_millis(50)) {
        assert!((20..64).contains(&datagram[0]), "{datagram:?}");
        tries += 1;
    }
    assert!(tries > 1, "{tries}");
    for (_, outlet) in &call.parties {
        assert_eq!(outlet.take().bytes.len(), usize::from(PACKETS));
    }
    call.end();
}
