//! What is lost shortly before or behind a hole makes no lossy network of a way that was cut.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use siprec_model::BranchLimits;

use crate::line::{Line, chance, keeping, packet};

impl Line {
    /// Packets are lost for so long, and reports are not.
    fn blips(&mut self, ms: u64) {
        self.go_on(ms, false, |_| true);
    }

    /// The call goes on until something is told of what was missed, for so long at most.
    fn works_until_told(&mut self, most_ms: u64) {
        let end = self.ms + most_ms;
        while self.ms < end && self.found.is_empty() && self.gaps.is_empty() {
            self.works(self.ptime);
        }
    }
}

#[test]
fn a_blip_in_the_interval_behind_a_cut_belongs_to_it() {
    for blip in [100, 260, 300, 500, 740, 980, 1000, 1500] {
        for interval in [1000, 2500, 5000, 6000] {
            let mut line = Line::usual();
            line.interval = interval;
            line.works(8200);
            line.blips(3000);
            // Into the middle of the next interval.
            line.works(interval - line.ms % interval + interval / 3);
            line.blips(blip);
            line.works_until_told(13_000);
            let (missed, told) = (line.missed.len() as u64, line.found.iter().sum::<u64>());
            assert!((150..=missed).contains(&told), "{blip} ms, each {interval} ms: {told} of {missed}");
            // Of 5 % nothing is told, nor yet of what a report does not tell of that comes meanwhile.
            let is_told = blip * 20 > interval && blip * 3 < interval * 2;
            assert!(told == missed || !is_told, "{blip} ms, each {interval} ms: {told} of {missed}");
            let (first, last) = (line.missed[0], line.ms / 20);
            let resent = line.recalled();
            assert!(resent[0] <= first, "{blip} ms, each {interval} ms: {} behind {first}", resent[0]);
            assert_eq!(resent, (resent[0]..last).collect::<Vec<_>>());
            assert_eq!((&line.gaps[..], line.branch.report().drops.total()), (&[][..], 0));
        }
    }
}

#[test]
fn a_blip_in_the_interval_before_a_cut_hides_it_not() {
    for blip in [300, 500, 980] {
        let mut line = Line::usual();
        line.works(8200);
        line.blips(blip);
        line.works(3000);
        line.blips(3000);
        line.works_until_told(13_000);
        assert_eq!(line.found, [150], "{blip} ms");
        let first = line.missed[line.missed.len() - 150];
        assert!(line.recalled()[0] <= first, "{blip} ms");
    }
}

#[test]
fn what_is_lost_in_three_reports_in_a_row_makes_a_lossy_network_if_it_takes_twelve_seconds() {
    for (interval, blips, is_cut) in [
        (5000, 2, true),
        (5000, 3, false),
        (2500, 4, true),
        (2500, 5, false),
        (7000, 1, true),
        (7000, 2, false),
    ] {
        let mut line = Line::usual();
        line.interval = interval;
        line.works(10_100);
        line.blips(2000);
        line.works(interval - line.ms % interval);
        for _ in 0..blips {
            line.works(interval - 500);
            line.blips(480);
            line.works(20);
        }
        line.works(20_000);
        let expected = if is_cut { vec![100 + 24 * blips] } else { vec![] };
        assert_eq!(line.found, expected, "{blips} reports, each {interval} ms");
        assert_eq!(line.gaps, expected, "{blips} reports, each {interval} ms: nobody has mended it");
        // What was lossy is well again, so that the next cut is found.
        line.is_cut(3000);
        line.works(12_000);
        assert_eq!(line.found.last(), Some(&150));
    }
}

#[test]
fn one_that_reports_each_second_may_tell_of_losses_for_some_seconds_behind_a_cut() {
    let mut line = Line::usual();
    line.interval = 1000;
    line.works(10_000);
    line.blips(3000);
    for _ in 0..5 {
        line.works(700);
        line.blips(300);
    }
    line.works(2100);
    assert_eq!(line.found, [line.missed.len() as u64]);
    assert!(line.recalled()[0] <= line.missed[0]);
}

#[test]
fn a_report_of_few_packets_does_not_hide_a_cut() {
    let mut line = Line::usual();
    line.works(10_000);
    line.blips(3000);
    line.works(2000);
    // In the next interval the call says next to nothing, and a third of that is lost.
    for number in 0..3 {
        line.ms += 1400;
        line.go_on(20, false, |_| number == 1);
    }
    line.report();
    assert_eq!((&line.found[..], &line.gaps[..]), (&[][..], &[][..]));
    line.works_until_told(6000);
    assert_eq!(line.found, [151]);
    assert!(line.recalled()[0] <= line.missed[0]);
}

#[test]
fn reports_that_are_lost_do_not_hide_a_cut_with_a_blip_behind_it() {
    for lost in 0..8 {
        let is_lost = |report: u32| lost >> report & 1 == 1;
        let mut line = Line::usual();
        line.works(11_000);
        line.blips(3000);
        line.go_on(1000, is_lost(0), |_| false);
        line.works(2500);
        line.blips(500);
        line.go_on(2000, is_lost(1), |_| false);
        line.go_on(5000, is_lost(2), |_| false);
        line.works_until_told(15_000);
        let told = line.found.iter().sum::<u64>();
        assert!((150..=175).contains(&told), "{lost:b}: {told}, {:?}", line.gaps);
        assert!(line.recalled()[0] <= line.missed[0], "{lost:b}");
    }
}

#[test]
fn no_recorder_is_left_for_a_blip_where_what_was_missed_before_it_is_kept_no_more() {
    let usual = BranchLimits::default();
    for (interval, limits, blip, is_left) in [
        (5000, keeping(40_000, 30), 500, false),
        (5000, keeping(512 * 1024, 8), 500, false),
        (5000, keeping(512 * 1024, 12), 500, true),
        (5000, keeping(512 * 1024, 8), 1500, true),
        (12_000, usual, 900, true),
        (15_000, usual, 900, false),
    ] {
        let mut line = Line::new(limits, 20);
        line.interval = interval;
        line.works(interval + 3000);
        line.blips(3000);
        line.works(interval + 1000 - line.ms % interval);
        line.blips(blip);
        line.works_until_told(2 * interval);
        let missed = &[line.missed.len() as u64][..];
        let expected = if is_left { (missed, &[][..]) } else { (&[][..], missed) };
        assert_eq!((&line.found[..], &line.gaps[..]), expected, "{blip} ms, each {interval} ms: {limits:?}");
    }
}

#[test]
fn a_call_that_ends_before_what_is_behind_a_blip_is_known_tells_of_the_hole_before_all_is_delivered() {
    let mut line = Line::usual();
    line.works(11_000);
    line.blips(3000);
    line.works(3000);
    line.blips(500);
    line.works(4500);
    assert_eq!((&line.found[..], &line.gaps[..]), (&[][..], &[][..]));
    assert_eq!(line.missed_at_end(), 175);
    assert!(line.recalled()[0] <= line.missed[0]);
    line.branch.close(line.now());
    line.hear();
    assert_eq!(line.gaps, []);
}

#[test]
fn what_is_kept_for_a_hole_goes_once_the_network_is_known_to_be_lossy() {
    let mut line = Line::usual();
    line.works(20_000);
    let usual = line.branch.kept_bytes();
    let second = 50 * (35 + packet(0, 20).len());
    let mut most = 0;
    for _ in 0..100 {
        line.go_on(1000, false, chance(30));
        most = most.max(line.branch.kept_bytes());
    }
    assert!(most <= usual + 20 * second, "{most}");
    assert!(line.branch.kept_bytes() <= usual + 5 * second);
    assert_eq!((&line.found[..], &line.gaps[..]), (&[][..], &[][..]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn a_hole_with_a_blip_near_it_is_sent_again_from_its_beginning_on_or_told(
        before in 16_000u64..20_000,
        length in 1500u64..6000,
        interval in 500u64..7000,
        blip in 0u64..1000,
        apart in 20u64..10_000,
        blips_first in any::<bool>(),
        reports_pass in any::<bool>(),
        ends_after in prop::option::of(0u64..15_000),
    ) {
        // With time to spare: of seldom reports and a long hole the beginning may be too old.
        let mut line = Line::new(keeping(512 * 1024, 45), 20);
        line.interval = interval;
        line.works(before);
        let (first, second) = if blips_first { (blip, length) } else { (length, blip) };
        line.go_on(first, !reports_pass, |_| true);
        line.works_until_told(apart);
        let between = line.missed.len();
        if line.found.is_empty() {
            line.go_on(second, !reports_pass, |_| true);
        }
        let hole = if blips_first { line.missed[between] } else { line.missed[0] };
        let in_hole = length.div_ceil(20);
        line.works_until_told(ends_after.unwrap_or(4 * interval + 2000));
        let last = line.ms / 20 - 1;
        if line.found.is_empty() && ends_after.is_some() {
            line.branch.drain();
            line.hear();
            if line.found.is_empty() {
                // The report that comes after the end is the last one.
                line.ms += 1000;
                line.report();
            }
        }
        prop_assert_eq!(&line.gaps[..], &[][..]);
        let found = line.found.iter().sum::<u64>();
        prop_assert!(found >= in_hole && found <= line.missed.len() as u64, "{found} of {in_hole}");
        let resent = line.recalled();
        prop_assert!(resent[0] <= hole, "{} behind {hole}", resent[0]);
        prop_assert_eq!(resent.last(), Some(&last));
        line.branch.close(line.now());
        line.hear();
        prop_assert_eq!(&line.gaps[..], &[][..]);
    }

    #[test]
    fn a_network_that_loses_at_random_is_never_cut_however_often_it_is_reported_on(
        percent in 12u64..70,
        interval in 500u64..20_000,
        clean in 0u64..30_000,
        offset in 0u64..100_000,
    ) {
        let mut line = Line::usual();
        line.interval = interval;
        line.works(clean);
        let mut lost = chance(percent);
        line.go_on(90_000, false, |number| lost(number + offset));
        prop_assert_eq!((&line.found[..], &line.gaps[..]), (&[][..], &[][..]));
    }
}
