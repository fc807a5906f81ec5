//! What the hole of one stream says of others, which the recorder may have missed, too.

use std::time::Duration;

use siprec_model::{BranchEvent, BranchLimits, TimeSpan};

use super::line::{Line, keeping};

/// A line whose recorder sends no report.
fn unreported() -> Line {
    let mut line = Line::usual();
    line.interval = u64::MAX;
    line
}

#[test]
fn when_a_hole_was_that_nobody_gets_is_told_as_closely_as_reports_show() {
    let unrepeated = BranchLimits { catch_up: 0.0, ..BranchLimits::default() };
    for limits in [BranchLimits::default(), unrepeated, keeping(40_000, 30)] {
        let mut line = Line::new(limits, 20);
        line.works(11_000);
        line.is_cut(3_000);
        line.works(30_000);
        assert_eq!(line.gaps, [150], "{limits:?}");
        // The last report before it came at 10 s, and the first one behind it at 15 s.
        assert_eq!(line.lost_within, [[10_000, 15_000]], "{limits:?}");
    }
}

#[test]
fn a_hole_that_is_sent_again_or_that_was_none_is_not_lost() {
    let mut line = Line::usual();
    line.works(11_000);
    line.is_cut(3_000);
    line.works(8_000);
    line.recalled();
    line.works(20_000);
    assert_eq!((&line.found[..], &line.lost_within[..]), (&[150][..], &[][..]));
    let mut line = Line::usual();
    line.go_on(60_000, false, |number| number % 3 == 0);
    assert_eq!(line.lost_within, [[0; 2]; 0]);
}

#[test]
fn what_left_of_a_stream_without_reports_while_others_had_a_hole_is_lost_and_told_once() {
    let mut line = unreported();
    line.works(4_000);
    line.concede([1_000, 3_000]);
    line.concede([1_000, 3_000]);
    assert_eq!((line.gaps.iter().sum::<u64>(), &line.found[..]), (101, &[][..]));
    let report = line.branch.report();
    assert_eq!((report.sent, report.seen), (99, 200));
    // The next recorder gets what is not lost.
    line.branch.recall(line.start, line.now());
    let resent = line.recalled();
    assert_eq!(resent, (0..50).chain(151..200).collect::<Vec<_>>());
    assert_eq!(line.branch.report().drops.total(), 101);
}

#[test]
fn what_is_kept_no_more_of_it_is_lost_too() {
    let mut line = Line::new(keeping(10_000, 30), 20);
    line.interval = u64::MAX;
    line.works(4_000);
    line.concede([0, 4_000]);
    assert_eq!(line.gaps.iter().sum::<u64>(), 200);
    let report = line.branch.report();
    assert_eq!((report.sent, report.drops.total()), (0, 200));
}

#[test]
fn of_a_source_that_reports_tell_of_its_beginning_is_lost_and_nothing_else() {
    // Of what left behind its first report its own reports tell.
    for within in [[6_000, 9_000], [9_000, 12_000], [11_000, 14_000]] {
        let mut line = Line::usual();
        line.works(14_000);
        line.concede(within);
        assert_eq!(line.gaps, [], "{within:?}");
    }
    let mut line = Line::usual();
    line.works(14_000);
    line.concede([0, 2_000]);
    assert_eq!(line.gaps.iter().sum::<u64>(), 101);
    // Others would have told of a hole at its beginning by now.
    let mut line = Line::usual();
    line.works(31_000);
    line.concede([0, 2_000]);
    assert_eq!(line.gaps, []);
}

#[test]
fn what_a_source_sent_last_is_lost_where_no_report_speaks_of_it_any_more() {
    let mut line = Line::usual();
    line.works(11_000);
    // The party goes on as another source.
    for number in 550..650 {
        line.speak_as(8, number);
    }
    line.concede([10_500, 11_500]);
    // The old source's tail, and the beginning of the new one.
    assert_eq!(line.gaps.iter().sum::<u64>(), 25 + 26);
}

#[test]
fn what_a_stream_sent_last_that_has_ended_is_lost_where_its_reports_do_not_go_so_far() {
    for ends in [true, false] {
        let mut line = Line::usual();
        line.works(12_000);
        if ends {
            line.branch.drain();
            line.hear();
        }
        // What left behind its report of 10 s, which ends the hole's time or lies in it.
        line.concede([8_000, 16_000]);
        assert_eq!(line.gaps.iter().sum::<u64>(), if ends { 100 } else { 0 }, "ended: {ends}");
    }
}

#[test]
fn when_a_hole_was_is_told_at_the_end_too_where_nobody_gets_it() {
    let unrepeated = BranchLimits { catch_up: 0.0, ..BranchLimits::default() };
    // One report has told of it, or two, whose cut was not mended.
    for (limits, behind, found) in
        [(unrepeated, 2_000, &[][..]), (BranchLimits::default(), 8_000, &[150][..])]
    {
        let mut line = Line::new(limits, 20);
        line.works(11_000);
        line.is_cut(3_000);
        line.works(behind);
        assert_eq!((&line.found[..], &line.lost_within[..]), (found, &[][..]));
        line.branch.drain();
        line.hear();
        assert_eq!((&line.found[..], &line.lost_within[..]), (found, &[[10_000, 15_000]][..]), "once");
        line.branch.close(line.now());
        line.hear();
        assert_eq!((&line.gaps[..], line.lost_within.len()), (&[150][..], 1));
    }
    // Where it may be mended yet, that is told, and within which time.
    let mut line = Line::usual();
    line.works(11_000);
    line.is_cut(3_000);
    line.works(2_000);
    line.branch.drain();
    let told = line.branch.poll_event();
    let from = line.start + Duration::from_secs(10);
    let within = Some(TimeSpan { from, to: from + Duration::from_secs(5) });
    assert_eq!(told, Some(BranchEvent::StretchMissed { packets: 150, within }));
    line.hear();
    assert_eq!(line.lost_within, [[0; 2]; 0]);
}

#[test]
fn a_hole_that_the_first_report_of_a_source_tells_of_itself_is_told_once() {
    let mut line = Line::usual();
    line.works(1_000);
    line.is_cut(3_000);
    line.works(6_500);
    // Others have missed the same.
    line.concede([500, 5_000]);
    line.works(10_000);
    assert_eq!((&line.found[..], &line.gaps[..]), (&[150][..], &[150][..]));
}

#[test]
fn a_hole_that_came_later_says_nothing_of_a_beginning() {
    // With two seconds more; else from two seconds before the last report on.
    for (missed_since, first) in [(0, 0), (4_000, 100), (8_000, 651)] {
        let mut line = Line::usual();
        line.works(16_000);
        let since = line.start + Duration::from_millis(missed_since);
        line.branch.recall_missed(line.now(), since, line.now());
        assert_eq!(line.recalled()[0], first, "{missed_since}");
    }
}

#[test]
fn reports_show_without_a_break_what_has_come_from_the_first_one_on_until_a_hole_that_is_open() {
    let span = |line: &Line| {
        let TimeSpan { from, to } = line.branch.unbroken(super::SSRC)?;
        Some([from, to].map(|moment| moment.duration_since(line.start).as_millis()))
    };
    let mut line = Line::usual();
    line.works(4_000);
    assert_eq!(span(&line), None);
    line.works(2_000);
    assert_eq!(span(&line), Some([5_000, 5_000]));
    line.works(6_000);
    assert_eq!(span(&line), Some([5_000, 10_000]));
    line.is_cut(2_500);
    line.works(1_500);
    assert_eq!(span(&line), Some([5_000, 10_000]), "nobody knows yet what becomes of it");
    line.works(5_000);
    assert_eq!((span(&line), &line.found[..]), (Some([5_000, 10_000]), &[125][..]));
    line.works(10_000);
    assert_eq!((span(&line), &line.gaps[..]), (Some([15_000, 30_000]), &[125][..]), "it is lost");
    line.branch.recall(line.now(), line.now());
    assert_eq!(span(&line), None, "another recorder has heard nothing");
}
