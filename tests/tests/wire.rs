//! What goes over the wire, read by parsers that are not ours: `rsip`, `sdp-rs` and tshark.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use rsip::Method;
use rsip::headers::UntypedHeader;
use rsip::message::HeadersExt;
use sdp_rs::SessionDescription;
use sdp_rs::lines::Attribute;
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::capture::{ensure_clean, tshark, write_pcap};
use siprec_system_tests::foreign::{ForeignRecorder, Seen};
use siprec_system_tests::process::{Process, wait_until};
use siprec_system_tests::rtp::Packet;
use siprec_system_tests::sandbox::Sandbox;

/// A call of three seconds, and what its recorder saw.
fn recorded_call(sandbox: &Sandbox) -> Result<Seen> {
    let recorder = ForeignRecorder::start()?;
    let properties = format!(
        "recorder={} call-uuid=00FA08K dn=1001 other-dn=1002 recording-id=REC-7 \
         extra-parameters=p,agentid=a1,dnis=(string)18005551212",
        recorder.uri()
    );
    let mut call = Call::start(sandbox, &properties)?;
    let said = [babble(0, 3), babble(1, 3)];
    call.talk_untouched(&said)?;
    call.hang_up()?;
    recorder.finish()
}

/// A capture of what the recorder saw, in which tshark finds no fault and two streams of G.711, each of so many packets
/// and none lost. By the answer's ports tshark knows what is RTP and what RTCP.
fn clean_pcap(sandbox: &Sandbox, seen: &Seen, packets: usize) -> Result<PathBuf> {
    let pcap = sandbox.join("session.pcap");
    write_pcap(&pcap, &seen.datagrams)?;
    ensure_clean(sandbox, &pcap)?;
    let streams = tshark(sandbox, &pcap, &["-q", "-z", "rtp,streams"])?;
    let lines: Vec<_> = streams.lines().filter(|line| line.contains("g711U")).collect();
    let whole = |line: &&str| line.contains(&format!(" {packets} ")) && line.contains("0 (0.0%)");
    ensure!(lines.len() == 2 && lines.iter().all(whole), "not two streams of {packets} packets:\n{streams}");
    Ok(pcap)
}

#[test]
fn foreign_parsers_read_the_session_as_it_is_meant() {
    let sandbox = Sandbox::new().unwrap();
    let seen = recorded_call(&sandbox).unwrap();

    let methods: Vec<_> = seen.requests.iter().map(|request| request.method).collect();
    assert_eq!(methods, [Method::Invite, Method::Ack, Method::Bye]);
    let [invite, ack, bye] = seen.requests.as_slice() else { unreachable!() };
    let uri = invite.uri.to_string();
    assert!(uri.starts_with("sip:record=REC-7@127.0.0.1:"), "{uri}");
    let order =
        ["calluuid=00FA08K", "dn=1001", "otherDN=1002", "recordDN=1001", "agentid=a1", "dnis=18005551212"];
    let places: Vec<_> = order.iter().map(|parameter| uri.find(&format!(";{parameter}"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{uri}: {places:?}");

    let number = |request: &rsip::Request| request.cseq_header().unwrap().seq().unwrap();
    assert_eq!(number(ack), number(invite));
    assert_eq!(number(bye), number(invite) + 1);
    let call_id = invite.call_id_header().unwrap().value();
    assert!(seen.requests.iter().all(|request| request.call_id_header().unwrap().value() == call_id));
    assert!(invite.to_header().unwrap().tag().unwrap().is_none());
    assert_eq!(bye.to_header().unwrap().tag().unwrap().unwrap().value(), "foreign");

    let offer = SessionDescription::try_from(std::str::from_utf8(&invite.body).unwrap()).unwrap();
    assert_eq!(offer.media_descriptions.len(), 2);
    let mut ports = Vec::new();
    for media in &offer.media_descriptions {
        assert_eq!((media.media.proto.to_string(), media.media.fmt.as_str()), ("RTP/AVP".to_owned(), "0"));
        assert!(media.attributes.contains(&Attribute::Sendonly));
        assert!(media.attributes.iter().any(|attribute| attribute.to_string() == "a=rtpmap:0 PCMU/8000"));
        assert_eq!(media.media.port % 2, 0);
        ports.push(media.media.port);
    }
    assert_ne!(ports[0], ports[1]);
    // Symmetric: what arrives comes from the ports of the offer (RFC 4961).
    for (line, datagrams) in seen.media.iter().enumerate() {
        assert!(datagrams.iter().all(|datagram| datagram.from.port() & !1 == ports[line]));
    }
}

#[test]
fn each_party_arrives_at_its_own_m_line_from_the_first_packet_on() {
    let sandbox = Sandbox::new().unwrap();
    let seen = recorded_call(&sandbox).unwrap();
    for (line, datagrams) in seen.media.iter().enumerate() {
        let rtp = datagrams.iter().filter(|datagram| datagram.to.port() % 2 == 0);
        let payloads: Vec<_> = rtp.map(|datagram| Packet::parse(&datagram.bytes).unwrap().payload).collect();
        let said: Vec<_> = babble(line as u8, 3).into_iter().map(|packet| packet.payload).collect();
        assert_eq!(payloads.len(), said.len());
        assert!(payloads == said, "m-line {line} has something else than its party said");
    }
}

#[test]
fn tshark_decodes_signalling_rtp_and_rtcp_without_a_complaint() {
    let sandbox = Sandbox::new().unwrap();
    let seen = recorded_call(&sandbox).unwrap();
    let pcap = clean_pcap(&sandbox, &seen, 150).unwrap();
    let rtcp = |filter: &str| tshark(&sandbox, &pcap, &["-Y", filter]).unwrap().lines().count();
    assert!(rtcp("rtcp.pt == 200") >= 2, "no sender reports");
    assert_eq!(rtcp("rtcp.pt == 203"), 2, "one BYE for each m-line");
    assert!(rtcp("rtcp.sdes.type == 1") >= 2, "no CNAME");
}

#[test]
fn a_session_that_changes_reads_as_it_is_meant_and_tshark_finds_nothing() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = ForeignRecorder::start().unwrap();
    let properties = format!("recorder={} call-uuid=C1 dn=1001 other-dn=1002", recorder.uri());
    let mut call = Call::start_led(&sandbox, &properties).unwrap();
    let said = [babble(0, 2), babble(1, 2)];
    call.talk_untouched(&said.each_ref().map(|said| said[..50].to_vec())).unwrap();
    for (order, outcome, times) in [
        ("action pause", "siprec-paused", 1),
        ("action resume", "siprec-resumed", 1),
        ("action mute 1002", "siprec-paused", 2),
        ("action unmute 1002", "siprec-resumed", 2),
    ] {
        call.order(order).unwrap();
        let told = |output: String| output.lines().filter(|line| line.starts_with(outcome)).count();
        wait_until(outcome, Duration::from_secs(10), || {
            Ok((told(call.relay.output()) == times).then_some(()))
        })
        .unwrap();
    }
    call.talk_untouched(&said.each_ref().map(|said| said[50..].to_vec())).unwrap();
    call.relay.say("quit").unwrap();
    call.relay.succeed(Duration::from_secs(10)).unwrap();
    let seen = recorder.finish().unwrap();

    let offers = seen.requests.iter().filter(|request| request.method == Method::Invite);
    let offers: Vec<_> = offers
        .map(|offer| SessionDescription::try_from(std::str::from_utf8(&offer.body).unwrap()).unwrap())
        .collect();
    let directions = ["a=sendonly", "a=inactive"];
    for (index, offer) in offers.iter().enumerate() {
        assert_eq!(offer.origin.sess_version.to_string(), (index + 1).to_string());
        assert_eq!(offer.media_descriptions.len(), 2);
        for media in &offer.media_descriptions {
            let attributes: Vec<_> = media.attributes.iter().map(ToString::to_string).collect();
            let wanted = directions[index % 2];
            assert!(attributes.iter().any(|attribute| attribute == wanted), "offer {index}: {attributes:?}");
        }
    }
    assert_eq!(offers.len(), 5);
    let methods: Vec<_> = seen.requests.iter().map(|request| request.method).collect();
    assert_eq!(methods.iter().filter(|method| **method == Method::Ack).count(), 5);
    assert_eq!(methods.last(), Some(&Method::Bye));

    clean_pcap(&sandbox, &seen, 100).unwrap();
}

#[test]
fn sip_and_media_carry_the_marks_that_the_agent_is_given() {
    let sandbox = Sandbox::new().unwrap();
    let mut command = sandbox.command("/usr/bin/python3");
    command.arg(sandbox.source().join("tests/support/marks.py"));
    let mut recorder = Process::start(&sandbox, "marks", &mut command).unwrap();
    let line = recorder.wait_for_line("port ", Duration::from_secs(10)).unwrap();
    let port = line.trim_start_matches("port ");
    let agent = ["qos-dscp-sip=26", "qos-dscp-media=46"].map(str::to_owned);
    let properties = format!("recorder=sip:127.0.0.1:{port} dn=1 other-dn=2");
    let mut call = Call::start_led_with_agent(&sandbox, &properties, &agent).unwrap();
    call.talk_untouched(&[babble(0, 1), babble(1, 1)]).unwrap();
    call.relay.say("quit").unwrap();
    call.relay.succeed(Duration::from_secs(10)).unwrap();
    let printed = recorder.output();
    for (socket, mark) in [("sip", 26), ("rtp", 46), ("rtcp", 46)] {
        let of_socket = || printed.lines().filter(|line| line.split(' ').next() == Some(socket));
        let wrong: Vec<_> = of_socket().filter(|line| *line != format!("{socket} {mark}")).collect();
        assert!(of_socket().count() > 1 && wrong.is_empty(), "{wrong:?} in\n{printed}");
    }
}
