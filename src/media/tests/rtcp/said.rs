//! What is said to the recorder, and what is heard of it.

use std::time::Instant;

use rtcp_types::{PayloadFeedback, Pli, ReceiverReport, ReportBlock};
use siprec_media::rtcp::Reporter;
use siprec_model::BranchEvent;

use crate::session::*;

#[test]
fn the_first_packet_of_a_source_is_reported_at_once() {
    let mut session = Session::new();
    session.open();
    assert_eq!(session.report(), None);
    session.ms = 40;
    session.packet(A, 1000);
    let sender = Said::Sender { ssrc: A, ntp: session.ntp(40), rtp: 1000, packets: 1, octets: 100 };
    assert_eq!(session.report(), Some(vec![sender, cname(A)]));
    session.ms = 60;
    session.packet(A, 1160);
    assert_eq!(session.report(), None);
    session.packet(B, 5);
    let [_, _, ..] = session.report().unwrap()[..] else { panic!("both sources are reported") };
}

#[test]
fn a_sender_report_maps_the_arrival_and_not_the_moment_of_sending() {
    let mut session = Session::new();
    session.ms = 20;
    session.packet(A, 160);
    session.ms = 3000;
    session.open();
    session.packet(A, 24_000);
    let reports = session.report().unwrap();
    // The live packet waits behind the one held.
    assert_eq!(reports[0], Said::Sender { ssrc: A, ntp: session.ntp(20), rtp: 160, packets: 1, octets: 100 });
    session.ms += 1490;
    session.packet(A, 24_000 + 1490 * 8);
    let reports = session.next_report();
    let Said::Sender { ntp, rtp, packets, .. } = reports[0] else { panic!("{reports:?}") };
    assert_eq!((ntp, rtp, packets), (session.ntp(3000), 24_000, 2));
}

#[test]
fn packets_that_share_a_timestamp_map_the_first_of_them() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.report();
    for ms in [20, 70, 120] {
        session.ms = ms;
        session.packet(A, 320);
    }
    let reports = session.next_report();
    assert_eq!(reports[0], Said::Sender { ssrc: A, ntp: session.ntp(20), rtp: 320, packets: 4, octets: 400 });
}

#[test]
fn a_source_that_starts_again_is_mapped_anew() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 0x4000_0000);
    session.report();
    // Other numbers, and timestamps that look older.
    session.ms = 40;
    session.numbered_packet(9000, A, 160);
    let reports = session.next_report();
    let expected = Said::Sender { ssrc: A, ntp: session.ntp(40), rtp: 160, packets: 2, octets: 200 };
    assert_eq!(reports[0], expected);
}

#[test]
fn reports_go_on_while_nothing_is_sent_and_say_so() {
    let mut session = Session::new();
    let own = match session.next_report()[..] {
        [Said::Receiver(own), Said::Cname(same, _)] if own == same => own,
        ref other => panic!("{other:?}"),
    };
    session.open();
    session.packet(A, 160);
    assert!(matches!(session.report().unwrap()[..], [Said::Sender { .. }, Said::Cname(A, _)]));
    session.branch.pause(session.now());
    // It has sent since the last report but one: still a sender (RFC 3550 §6.4).
    assert!(matches!(session.next_report()[0], Said::Sender { ssrc: A, .. }));
    assert_eq!(session.next_report(), [Said::Receiver(A), cname(A)]);
    assert_eq!(session.next_report(), [Said::Receiver(A), cname(A)]);
    let goodbye = session.goodbye().unwrap();
    assert!(matches!(goodbye[0], Said::Sender { ssrc: A, packets: 1, .. }), "the last word on what was sent");
    assert_eq!(goodbye.last(), Some(&Said::Bye(vec![A, own])));
}

#[test]
fn a_branch_that_never_spoke_says_no_goodbye() {
    assert_eq!(Session::new().goodbye(), None);
}

#[test]
fn goodbye_carries_a_last_report_of_every_source() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.packet(B, 160);
    let goodbye = session.goodbye().unwrap();
    assert!(matches!(
        goodbye[..],
        [
            Said::Sender { ssrc: A, .. },
            Said::Sender { ssrc: B, .. },
            Said::Cname(A, _),
            Said::Cname(B, _),
            Said::Bye(_)
        ]
    ));
    assert_eq!(goodbye.last(), Some(&Said::Bye(vec![A, B])));
}

#[test]
fn a_long_name_is_cut_at_a_character() {
    let start = Instant::now();
    let mut session = Session::new();
    session.reporter = Reporter::new(&format!("a{}", "ü".repeat(200)), 1, start);
    let Said::Cname(_, ref name) = session.next_report()[1] else { panic!("no CNAME") };
    assert_eq!(*name, format!("a{}", "ü".repeat(127)));
}

#[test]
fn receiver_reports_of_our_sources_are_told() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    assert_eq!(session.repeat_report(B), None, "not our source");
    let told = BranchEvent::ReportReceived {
        highest_sequence: 0x0001_0000,
        cumulative_lost: 7,
        fraction_lost: 3,
        missing_since: None,
        unbroken: None,
    };
    assert_eq!(session.hear_report(A), Some(told));
    assert_eq!(session.reporter.receiver_lost(), Some(7));
}

#[test]
fn the_loss_that_a_recorder_reports_is_that_of_all_sources() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.packet(B, 160);
    for (first, second) in [(3, 4), (5, 0)] {
        let block = |ssrc, lost| {
            ReportBlock::builder(ssrc).cumulative_lost(lost).extended_sequence_number(0x0001_0000)
        };
        let report = ReceiverReport::builder(99).add_report_block(block(A, first));
        session.hear(&written(report.add_report_block(block(B, second))));
        assert_eq!(session.reporter.receiver_lost(), Some((first + second) as i32));
    }
}

#[test]
fn key_frame_requests_for_our_sources_are_told_as_one() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    let of = |ssrc| written(PayloadFeedback::builder_owned(Pli::builder()).sender_ssrc(99).media_ssrc(ssrc));
    assert_eq!(session.hear(&of(B)), None);
    session.reporter.handle_datagram(&of(A), RECORDER, &mut session.branch, session.start);
    assert_eq!(session.hear(&of(A)), Some(BranchEvent::KeyframeWanted));
    assert_eq!(session.reporter.poll_event(), None);
}
