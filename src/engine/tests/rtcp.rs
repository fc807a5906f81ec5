//! RTCP between the engine and a recorder, parsed by `rtcp-types`.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use common::{DEADLINE, FAST, LOCAL, Recorder, Rig, numbered, receive};
use rtcp_types::prelude::*;
use rtcp_types::{Compound, Packet, PayloadFeedback, Pli, ReceiverReport, ReportBlock, SdesItem};
use siprec_engine::{EngineConfig, MediaSource};
use siprec_model::{BranchCommand, BranchEvent, Component, Medium, RtcpMode, VideoCodec};

const SSRC: u32 = 0xCAFE_F00D;
/// Seconds from 1900 to 1970.
const NTP_TO_UNIX: f64 = 2_208_988_800.0;

#[test]
fn a_sender_report_maps_the_arrival_of_the_packet_not_its_sending() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let arrival = SystemTime::now() - Duration::from_secs(3);
    tap.push(&numbered(SSRC, 9), Instant::now() - Duration::from_secs(3));
    let branch = rig.create(&tap, 0, FAST);
    let (_, local) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &recorder);
    recorder.packet();
    loop {
        // Before the packet left, only an empty receiver report can have gone.
        let (datagram, from) = receive(&recorder.rtcp, DEADLINE).expect("no report has come");
        assert_eq!(from, local, "symmetric");
        let packets: Vec<Packet<'_>> =
            Compound::parse(&datagram).unwrap().map(|packet| packet.unwrap()).collect();
        let [first, Packet::Sdes(sdes)] = packets.as_slice() else { panic!("{packets:?}") };
        let chunk = sdes.chunks().next().unwrap();
        let cname = chunk.items().next().unwrap();
        assert_eq!((cname.type_(), cname.value()), (SdesItem::CNAME, b"party@test".as_slice()));
        let Packet::Sr(report) = first else { continue };
        assert_eq!((report.ssrc(), chunk.ssrc()), (SSRC, SSRC));
        assert_eq!(report.rtp_timestamp(), 9 * 160);
        assert_eq!((report.packet_count(), report.octet_count()), (1, 160));
        let reported = report.ntp_timestamp() as f64 / f64::from(2.0f32).powi(32) - NTP_TO_UNIX;
        let arrived = arrival.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((reported - arrived).abs() < 0.5, "{reported} is not {arrived}");
        return;
    }
}

#[test]
fn a_party_that_becomes_known_late_is_named_from_the_next_report_on() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.command(BranchCommand::Describe {
        branch,
        medium: Medium::Video,
        clock_rate: 90_000,
        codec: Some(VideoCodec::Vp8),
        cname: "known@test".into(),
    });
    // The first report leaves with the first packet, which may overtake a command that comes after this one.
    rig.open(branch, &recorder);
    tap.push(&numbered(SSRC, 0), Instant::now());
    recorder.packet();
    rig.close(branch);
    let (datagram, _) = receive(&recorder.rtcp, DEADLINE).expect("no report has come");
    let names: Vec<Vec<u8>> = Compound::parse(&datagram)
        .unwrap()
        .filter_map(|packet| match packet.unwrap() {
            Packet::Sdes(sdes) => {
                Some(sdes.chunks().next().unwrap().items().next().unwrap().value().to_vec())
            }
            _ => None,
        })
        .collect();
    assert_eq!(names, [b"known@test"]);
}

#[test]
fn a_closed_branch_says_goodbye() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    tap.push(&numbered(SSRC, 0), Instant::now());
    recorder.packet();
    rig.close(branch);
    loop {
        let (datagram, _) = receive(&recorder.rtcp, DEADLINE).expect("no BYE has come");
        let bye = Compound::parse(&datagram).unwrap().find_map(|packet| match packet.unwrap() {
            Packet::Bye(bye) => Some(bye.ssrcs().collect::<Vec<_>>()),
            _ => None,
        });
        if let Some(sources) = bye {
            assert_eq!(sources, [SSRC]);
            return;
        }
    }
}

#[test]
fn a_recorder_that_takes_no_rtcp_gets_none() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open_at(branch, recorder.rtp.local_addr().unwrap(), None);
    tap.push(&numbered(SSRC, 0), Instant::now());
    recorder.packet();
    rig.close(branch);
    recorder.assert_silence();
    assert!(receive(&recorder.rtcp, Duration::from_millis(1)).is_none());
}

#[test]
fn what_the_recorder_reports_is_told_and_what_others_send_is_not() {
    for mode in [RtcpMode::Pair, RtcpMode::Mux] {
        let rig = Rig::new(EngineConfig::default());
        let (tap, recorder) = (rig.tap(), Recorder::new());
        let branch = rig.create(&tap, 0, FAST);
        let (_, local) = rig.bind(branch, LOCAL, mode);
        rig.open(branch, &recorder);
        tap.push(&numbered(SSRC, 0), Instant::now());
        let sequence = recorder.packet().sequence;

        let stranger = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
        stranger.send_to(&receiver_report(1, 99), local).unwrap();
        recorder.rtcp.send_to(b"garbage", local).unwrap();
        recorder.rtcp.send_to(&receiver_report(u32::from(sequence), 3), local).unwrap();
        let lost = rig.expect(branch, |event| match event {
            BranchEvent::ReportReceived { highest_sequence, cumulative_lost, .. } => {
                assert_eq!(highest_sequence, u32::from(sequence));
                Some(cumulative_lost)
            }
            _ => None,
        });
        assert_eq!(lost, 3, "{mode:?}");

        recorder.rtcp.send_to(&picture_loss(), local).unwrap();
        rig.expect(branch, |event| (event == BranchEvent::KeyframeWanted).then_some(()));
        let (_, report) = rig.close(branch);
        assert_eq!(report.receiver_lost, Some(3));
    }
}

#[test]
fn a_report_refutes_that_the_recorders_host_refuses_the_media() {
    for source in [MediaSource::PerStream, MediaSource::Shared] {
        let rig = Rig::new(EngineConfig { media_source: source, ..EngineConfig::default() });
        let (tap, recorder) = (rig.tap(), Recorder::new());
        let branch = rig.create(&tap, 0, FAST);
        let (_, local) = rig.bind(branch, LOCAL, RtcpMode::Pair);
        rig.open(branch, &recorder);
        tap.push(&numbered(SSRC, 0), Instant::now());
        let first = u32::from(recorder.packet().sequence);
        let address = recorder.rtp.local_addr().unwrap();
        recorder.rtcp.send_to(&receiver_report(first, 0), local).unwrap();
        rig.expect(branch, |event| matches!(event, BranchEvent::ReportReceived { .. }).then_some(()));
        // Nobody is there for a moment.
        drop(recorder.rtp);
        tap.push(&numbered(SSRC, 1), Instant::now());
        rig.expect(branch, |event| {
            (event == BranchEvent::RemoteRefused { component: Component::Rtp }).then_some(())
        });
        let rtp = UdpSocket::bind(address).unwrap();
        tap.push(&numbered(SSRC, 2), Instant::now());
        receive(&rtp, Duration::from_secs(5)).unwrap();
        for (highest, refutes) in [(first, false), (first + 2, true)] {
            recorder.rtcp.send_to(&receiver_report(highest, 0), local).unwrap();
            let told = rig.events_within(Duration::from_millis(200));
            let refuted = told.iter().any(|(_, event)| *event == BranchEvent::RefusalRefuted);
            assert_eq!(refuted, refutes, "{source:?}: {told:?}");
        }
        rig.close(branch);
    }
}

fn receiver_report(highest: u32, lost: u32) -> Vec<u8> {
    let block = ReportBlock::builder(SSRC).extended_sequence_number(highest).cumulative_lost(lost);
    written(&Compound::builder().add_packet(ReceiverReport::builder(4711).add_report_block(block)))
}

fn picture_loss() -> Vec<u8> {
    let feedback = PayloadFeedback::builder_owned(Pli::builder()).sender_ssrc(4711).media_ssrc(SSRC);
    written(&Compound::builder().add_packet(ReceiverReport::builder(4711)).add_packet(feedback))
}

fn written(compound: &impl RtcpPacketWriter) -> Vec<u8> {
    let mut bytes = vec![0; compound.calculate_size().unwrap()];
    compound.write_into(&mut bytes).unwrap();
    bytes
}

/// `protocol` 1.6: what the RTCP port refuses stops RTCP, and nothing else.
#[test]
fn a_recorder_that_refuses_rtcp_is_sent_the_media_alone_until_it_sends_some() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    let (_, ours) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    // Who has somebody else as its only peer takes nothing of ours, and nobody else gets the port.
    recorder.rtcp.connect((Ipv4Addr::LOCALHOST, 1)).unwrap();
    rig.open(branch, &recorder);
    let mut number = 0;
    // A source that is new is reported on at once.
    let mut speak = || {
        number += 1;
        tap.push(&numbered(SSRC + number, number), Instant::now());
        recorder.packet();
    };
    for _ in 0..3 {
        speak();
        // The error comes back at once, and is read with the next turn.
        rig.events_within(Duration::from_millis(300));
    }
    recorder.rtcp.connect(ours).unwrap();
    speak();
    recorder.rtcp.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(recorder.rtcp.recv(&mut [0; 1500]).is_err(), "it takes no RTCP");
    // It does, as its own shows.
    let report = ReceiverReport::builder(7).add_report_block(ReportBlock::builder(SSRC + 1));
    let mut datagram = [0; 100];
    let length = report.write_into(&mut datagram).unwrap();
    recorder.rtcp.send(&datagram[..length]).unwrap();
    rig.expect(branch, |event| matches!(event, BranchEvent::ReportReceived { .. }).then_some(()));
    speak();
    recorder.rtcp.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(recorder.rtcp.recv(&mut [0; 1500]).is_ok());
}
