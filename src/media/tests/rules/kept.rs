//! What has left, and is kept until the recorder has it for certain.

use std::time::Duration;

use siprec_media::HoldMemory;
use siprec_model::{DropCause, PayloadRule};

use crate::call::{Call, packet};

#[test]
fn what_the_next_recorder_is_not_offered_any_more_of_what_the_lost_one_had_is_a_gap() {
    let mut call = Call::audio();
    call.open();
    call.talk(100);
    call.branch.recall(call.start, call.now());
    // The call has another codec since.
    call.branch.open(&[PayloadRule { from: 8, to: 8 }], call.now());
    let mut packet = call.packet();
    packet[1] = 8;
    call.take(&packet);
    while call.branch.held_packets() > 0 {
        call.ms += 20;
        call.poll();
    }
    assert_eq!(call.gaps(), [(5, 100, DropCause::RecorderLost)]);
}

/// The call's packets, by number, that the next recorder gets of those that the lost one had.
fn replayed(call: &mut Call) -> Vec<u64> {
    let before = call.sent.len();
    call.open();
    while call.branch.held_packets() > 0 {
        call.ms += 20;
        call.poll();
    }
    call.sent[before..].iter().map(|(.., timestamp)| u64::from(*timestamp) / 160).collect()
}

#[test]
fn what_left_before_a_sign_of_life_is_not_kept_where_no_report_has_come_in_time() {
    let mut call = Call::audio();
    call.open();
    call.talk(14_000);
    let all = call.branch.kept_bytes();
    call.branch.confirm(call.now());
    assert_eq!(call.branch.kept_bytes(), all, "a report may yet come, and say less");
    call.talk(6_000);
    call.branch.confirm(call.now());
    let second = 50 * (35 + packet(0, 0, 1, 0).len());
    assert_eq!(call.branch.kept_bytes(), 2 * second);
    // Two questions each 5 s, the second of which nobody answers.
    call.talk(5_000);
    assert_eq!(call.branch.kept_bytes(), 7 * second);
    let proof = call.start + Duration::from_secs(20);
    call.branch.confirm(proof);
    call.branch.recall(proof, call.now());
    assert_eq!(replayed(&mut call), (900..1250).collect::<Vec<_>>());
    // The next recorder has time for its first report again.
    let all = call.branch.kept_bytes();
    call.talk(5_000);
    call.branch.confirm(call.now());
    assert!(call.branch.kept_bytes() > all);
}

#[test]
fn where_reports_have_stopped_all_behind_the_last_one_is_sent_again_whatever_sip_says() {
    let mut call = Call::audio();
    call.open();
    call.talk(6_000);
    // The report acknowledges all but the last 10 packets; then the recorder turns deaf.
    let (_, highest, ..) = call.sent[289];
    call.branch.acknowledge(1, highest as u32, 0, call.now());
    for _ in 0..3 {
        call.talk(5_000);
        call.branch.confirm(call.now());
    }
    call.branch.recall(call.now(), call.now());
    assert_eq!(
        replayed(&mut call),
        (201..1050).collect::<Vec<_>>(),
        "and what left in the two seconds before it"
    );
    assert_eq!(call.gaps(), []);
}

#[test]
fn where_one_source_is_reported_on_no_answer_speaks_for_another() {
    let mut call = Call::audio();
    call.open();
    call.talk(5_000);
    let (_, highest, ..) = call.sent[249];
    // Another source goes on, which the recorder does not report on.
    for _ in 0..1000 {
        let packet = packet((call.ms / 20) as u16, (call.ms * 8) as u32, 2, 0);
        call.take(&packet);
        call.ms += 20;
        if call.ms.is_multiple_of(5_000) {
            call.branch.acknowledge(1, highest as u32, 0, call.now());
            call.branch.confirm(call.now());
        }
    }
    call.branch.recall(call.now(), call.now());
    assert_eq!(replayed(&mut call), (250..1250).collect::<Vec<_>>());
}

#[test]
fn a_report_of_what_was_never_sent_says_nothing() {
    let mut call = Call::audio();
    call.open();
    call.talk(6_000);
    let all = call.branch.kept_bytes();
    let highest = call.sent[299].1 as u32;
    // Ahead of it all, and by a round of numbers more than there was.
    for told in [highest + 1, highest + 0x1_0000 - 10] {
        call.branch.acknowledge(1, told, 0, call.now());
        assert_eq!(call.branch.kept_bytes(), all, "{told}");
    }
    call.branch.acknowledge(1, highest, 0, call.now());
    assert_eq!(call.branch.kept_bytes(), all, "not certain yet");
    call.talk(25_000);
    call.branch.acknowledge(1, call.sent[1549].1 as u32, 0, call.now());
    assert!(call.branch.kept_bytes() < all);
}

#[test]
fn what_left_before_the_first_report_of_a_source_may_have_left_in_a_cut_that_others_tell_of() {
    for (talked, is_uncertain) in [(6_000, true), (17_000, true), (28_000, true), (32_000, false)] {
        for is_cut in [true, false] {
            let mut call = Call::audio();
            call.open();
            // Of the first packets none has come, and the report does not tell (RFC 3550 A.3).
            for _ in 0..talked / 1000 {
                call.talk(1_000);
                if call.ms > 5_000 {
                    let (_, last, ..) = call.sent[call.sent.len() - 1];
                    call.branch.acknowledge(1, last as u32, 0, call.now());
                }
            }
            if is_cut {
                call.branch.recall_missed(call.now(), call.start, call.now());
            } else {
                call.branch.recall(call.now(), call.now());
            }
            let acknowledged = call.sent.len() as u64 - 99;
            let first = replayed(&mut call)[0];
            assert_eq!(first, if is_cut && is_uncertain { 0 } else { acknowledged }, "{talked} {is_cut}");
        }
    }
}

#[test]
fn from_the_first_report_on_however_late_it_comes_answers_count_no_more() {
    let mut call = Call::audio();
    call.open();
    // No report has come for 20 s, and an answer says that the recorder lives.
    call.talk(20_000);
    call.branch.confirm(call.now());
    let second = 50 * (35 + packet(0, 0, 1, 0).len());
    assert_eq!(call.branch.kept_bytes(), 2 * second);
    // Its first report says nothing of what came before it began to hear, and what was confirmed is gone.
    let (_, highest, ..) = call.sent[949];
    call.branch.acknowledge(1, highest as u32, 0, call.now());
    call.talk(5_000);
    call.branch.confirm(call.now());
    call.branch.recall(call.now(), call.now());
    assert_eq!(replayed(&mut call), (901..1250).collect::<Vec<_>>());
    assert_eq!(call.gaps(), []);
}

#[test]
fn memory_that_a_recorder_has_filled_is_there_for_others_once_it_has_reported() {
    let memory = HoldMemory::new(1 << 20);
    let mut call = Call::audio();
    call.branch.share_memory(memory.clone());
    call.open();
    call.talk(25_000);
    let filled = memory.used();
    assert!(filled >= 1250 * (35 + packet(0, 0, 1, 0).len()), "{filled}");
    for _ in 0..20 {
        let (_, highest, ..) = *call.sent.last().unwrap();
        call.branch.acknowledge(1, highest as u32, 0, call.now());
        call.talk(5_000);
    }
    assert!(memory.used() < filled / 2, "{} of {filled}", memory.used());
    drop(call);
    assert_eq!(memory.used(), 0);
}
