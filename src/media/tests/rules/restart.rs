//! A source that starts again with numbers that it had already, and what only looks like one.

use std::time::Duration;

use siprec_model::{BranchEvent, BranchLimits, DropCause, Medium};

use crate::call::{Call, FIRST, packet};

/// Packets of 20 ms.
struct Source {
    sequence: u16,
    timestamp: u32,
    /// The timestamps of all that it has said.
    said: Vec<u32>,
}

impl Source {
    fn new() -> Self {
        Self { sequence: 20_000, timestamp: 10_000_000, said: Vec::new() }
    }

    /// It starts again as it was so many packets ago.
    fn restart(&mut self, back: u16) {
        self.sequence = self.sequence.wrapping_sub(back);
        self.timestamp -= u32::from(back) * 160;
    }

    fn next(&mut self) -> Vec<u8> {
        let bytes = packet(self.sequence, self.timestamp, 1, 0);
        self.said.push(self.timestamp);
        (self.sequence, self.timestamp) = (self.sequence.wrapping_add(1), self.timestamp + 160);
        bytes
    }

    fn say(&mut self, call: &mut Call, packets: u32) {
        for _ in 0..packets {
            let bytes = self.next();
            call.take(&bytes);
            pass(call, 20);
        }
    }

    /// What it said so many packets ago, from there on so many.
    fn before(&self, ago: u16, packets: u16) -> Vec<Vec<u8>> {
        let of = |ago| packet(self.sequence - ago, self.timestamp - u32::from(ago) * 160, 1, 0);
        (0..packets).map(|n| of(ago - n)).collect()
    }
}

fn pass(call: &mut Call, ms: u64) {
    for _ in 0..ms / 5 {
        call.poll();
        call.ms += 5;
    }
    call.poll();
}

fn timestamps(call: &Call) -> Vec<u32> {
    call.sent.iter().map(|(.., timestamp)| *timestamp).collect()
}

/// Whatever came has left, in this order, under numbers without a hole, and the marker shows where it began anew.
#[track_caller]
fn assert_whole(call: &mut Call, source: &Source, restart: usize, case: &str) {
    assert_eq!(timestamps(call), source.said, "{case}");
    let numbers = u64::from(FIRST)..u64::from(FIRST) + source.said.len() as u64;
    assert_eq!(call.indices(), numbers.collect::<Vec<u64>>(), "{case}");
    let markers: Vec<usize> = (0..call.sent.len()).filter(|n| call.sent[*n].2).collect();
    assert_eq!(markers, [restart], "{case}");
    assert_eq!((call.branch.report().drops.total(), call.gaps()), (0, vec![]), "{case}");
}

#[test]
fn a_source_that_starts_again_with_numbers_and_times_that_it_had_loses_nothing() {
    for back in [3, 5, 20, 60, 100, 120, 127, 128, 129, 200, 1000, 3000] {
        let (mut call, mut source) = (Call::audio(), Source::new());
        call.open();
        source.say(&mut call, 150);
        source.restart(back);
        source.say(&mut call, 150);
        assert_whole(&mut call, &source, 150, &format!("{back} back"));
        let latest = call.sent.iter().zip(0..).map(|((at, ..), n)| at - n * 20).max().unwrap();
        assert!(latest <= 40, "{back} back: {latest} ms late");
        assert_eq!(call.sent[299].0, 299 * 20, "caught up with");
    }
}

#[test]
fn it_loses_nothing_where_its_interval_has_just_begun_or_it_starts_again_several_times() {
    let (mut call, mut source) = (Call::audio(), Source::new());
    call.open();
    source.say(&mut call, 5);
    for back in [60, 60, 3000, 5] {
        source.restart(back);
        source.say(&mut call, 10);
    }
    assert_eq!(timestamps(&call), source.said);
    assert_eq!((call.branch.report().drops.total(), call.gaps()), (0, vec![]));
}

#[test]
fn a_loss_or_a_change_of_places_behind_its_new_beginning_costs_nothing_more() {
    let (mut call, mut source) = (Call::audio(), Source::new());
    call.open();
    source.say(&mut call, 150);
    source.restart(60);
    source.say(&mut call, 1);
    let lost = source.next();
    source.said.pop();
    source.say(&mut call, 1);
    call.take(&lost);
    source.say(&mut call, 100);
    assert_eq!(call.branch.report().sent, 150 + 103);
    assert_eq!(call.branch.report().drops.total(), 0);
}

#[test]
fn it_loses_nothing_where_the_clock_rate_is_not_known() {
    // 48,000 a second are taken for 8000, so that the packets seem to be six times as long.
    let (mut call, mut source) = (Call::audio(), Source::new());
    call.open();
    let say = |call: &mut Call, source: &mut Source, packets| {
        for _ in 0..packets {
            source.timestamp += 960 - 160;
            source.say(call, 1);
        }
    };
    say(&mut call, &mut source, 100);
    source.sequence -= 60;
    source.timestamp -= 60 * 960;
    say(&mut call, &mut source, 100);
    assert_whole(&mut call, &source, 100, "slow clock");
}

#[test]
fn a_failover_before_in_or_behind_it_costs_nothing_more() {
    for back in [20, 60, 1000, 3000] {
        for said in [0, 1, 2, 3, 10, 25, 60] {
            for way in ["same numbers", "new session", "room"] {
                let (mut call, mut source) = (Call::audio(), Source::new());
                call.open();
                source.say(&mut call, 100);
                source.restart(back);
                source.say(&mut call, said);
                call.branch.recall(call.start, call.now());
                match way {
                    "new session" => call.branch.begin_session(FIRST),
                    "room" => call.branch.make_room(FIRST),
                    _ => {}
                }
                call.sent.clear();
                source.say(&mut call, 50);
                call.open();
                source.say(&mut call, 300);
                let case = format!("{back} back, {said} packets before the failover, {way}");
                assert_eq!(timestamps(&call), source.said, "{case}");
                let first = call.sent[0].1;
                assert!(call.indices().into_iter().eq(first..first + u64::from(450 + said)), "{case}");
                assert_eq!((call.branch.report().drops.total(), call.gaps()), (0, vec![]), "{case}");
            }
        }
    }
}

#[test]
fn a_source_that_starts_again_while_it_is_held_loses_nothing() {
    for back in [20, 60, 1000] {
        for recorders in 1..4 {
            let (mut call, mut source) = (Call::audio(), Source::new());
            source.say(&mut call, 70);
            source.restart(back);
            source.say(&mut call, 30);
            for _ in 1..recorders {
                call.open();
                source.say(&mut call, 10);
                call.branch.recall(call.start, call.now());
            }
            call.sent.clear();
            call.open();
            source.say(&mut call, 200);
            assert_eq!(timestamps(&call), source.said, "{back} back, {recorders} recorders");
            assert_eq!((call.branch.report().drops.total(), call.gaps()), (0, vec![]));
        }
    }
}

#[test]
fn where_nothing_may_wait_what_it_loses_is_told() {
    let at_once = BranchLimits { catch_up: 0.0, ..BranchLimits::default() };
    let unheld = BranchLimits { hold_bytes: 0, ..BranchLimits::default() };
    for limits in [at_once, unheld] {
        for back in [20, 60, 3000] {
            let (mut call, mut source) = (Call::new(Medium::Audio, limits), Source::new());
            call.open();
            source.say(&mut call, 150);
            source.restart(back);
            source.say(&mut call, 150);
            source.said.drain(150..152);
            assert_eq!(timestamps(&call), source.said, "{back} back");
            assert!(call.indices().into_iter().eq(5000..5298), "{back} back");
            assert_eq!(call.gaps(), [(2, 40, DropCause::Stale)], "{back} back");
            assert_eq!(call.branch.report().drops.of(DropCause::Stale), 2);
        }
    }
}

#[test]
fn copies_that_come_by_a_slower_way_are_dropped_and_delay_nothing() {
    for limits in [BranchLimits::default(), BranchLimits { catch_up: 0.0, ..BranchLimits::default() }] {
        // So many packets behind.
        for slower in [1, 2, 5, 100, 150] {
            let (mut call, mut source) = (Call::new(Medium::Audio, limits), Source::new());
            call.open();
            for n in 0..300 {
                let bytes = source.next();
                call.take(&bytes);
                pass(&mut call, 10);
                if n >= slower {
                    source.before(slower + 1, 1).iter().for_each(|copy| call.take(copy));
                }
                pass(&mut call, 10);
            }
            source.next();
            call.take(&source.before(1, 1)[0]);
            call.poll();
            assert_eq!(timestamps(&call), source.said, "{slower} behind");
            assert!(call.sent.iter().zip(0..).all(|((at, ..), n)| *at == n * 20), "{slower} behind");
            assert_eq!(call.branch.report().drops.of(DropCause::Stale), u64::from(300 - slower));
            assert_eq!(call.gaps(), []);
        }
    }
}

#[test]
fn copies_that_come_in_a_burst_are_dropped_and_tell_of_no_new_beginning() {
    for limits in [BranchLimits::default(), BranchLimits { catch_up: 0.0, ..BranchLimits::default() }] {
        for (ago, packets) in [(10, 10), (20, 20), (120, 20), (149, 10), (2, 1), (1, 1)] {
            let (mut call, mut source) = (Call::new(Medium::Audio, limits), Source::new());
            call.open();
            source.say(&mut call, 150);
            for copy in source.before(ago, packets) {
                call.take(&copy);
            }
            source.say(&mut call, 150);
            assert_whole_but(&mut call, &source, packets.into());
        }
    }
}

/// What is new has left at once, and so many packets were dropped that are not.
#[track_caller]
fn assert_whole_but(call: &mut Call, source: &Source, stale: u64) {
    assert_eq!(timestamps(call), source.said);
    assert!(call.indices().into_iter().eq(5000..5000 + source.said.len() as u64));
    assert!(call.sent.iter().zip(0..).all(|((at, _, marker, _), n)| *at == n * 20 && !marker));
    let drops = call.branch.report().drops;
    assert_eq!((drops.of(DropCause::Stale), drops.total()), (stale, stale));
    assert_eq!(call.gaps(), []);
}

#[test]
fn a_burst_of_late_packets_takes_its_places_and_what_is_before_the_interval_is_dropped() {
    let (mut call, mut source) = (Call::audio(), Source::new());
    call.open();
    let before: Vec<_> = (0..10).map(|_| source.next()).collect();
    source.said.clear();
    source.say(&mut call, 1);
    before.iter().for_each(|late| call.take(late));
    source.say(&mut call, 19);
    let late: Vec<_> = (0..10).map(|_| source.next()).collect();
    source.say(&mut call, 5);
    late.iter().for_each(|late| call.take(late));
    source.say(&mut call, 5);
    let order = (5000..5020).chain(5030..5035).chain(5020..5030).chain(5035..5040);
    assert!(call.indices().into_iter().eq(order), "{:?}", call.indices());
    assert!(call.sent.iter().all(|(.., marker, _)| !marker));
    let drops = call.branch.report().drops;
    assert_eq!((drops.of(DropCause::Stale), drops.total(), call.gaps()), (10, 10, vec![]));
}

#[test]
fn a_picture_that_comes_twice_is_dropped_the_second_time() {
    let mut call = Call::new(Medium::Video, BranchLimits::default());
    call.open();
    let mut pictures = 0..;
    let mut picture = || {
        let n: u16 = pictures.next().unwrap();
        (0..12).map(move |k| packet(n * 12 + k, u32::from(n) * 528, 1, 0)).collect::<Vec<_>>()
    };
    for _ in 0..20 {
        let packets = picture();
        for packet in packets.iter().chain(&packets) {
            call.take(packet);
            pass(&mut call, 1);
            call.ms += 1;
        }
        call.ms += 42;
    }
    pass(&mut call, 600);
    assert_eq!((call.branch.report().sent, call.branch.report().drops.of(DropCause::Stale)), (240, 240));
    assert!(call.indices().into_iter().eq(5000..5240));
}

#[test]
fn a_copy_behind_which_nothing_comes_is_dropped_in_time_and_at_the_end_at_once() {
    for ends in ["silence", "drain", "close"] {
        let (mut call, mut source) = (Call::audio(), Source::new());
        call.open();
        source.say(&mut call, 50);
        call.take(&source.before(3, 1)[0]);
        call.poll();
        assert_eq!(call.branch.held_packets(), 1);
        assert_eq!(call.branch.next_timeout(call.now()), Some(call.now() + Duration::from_millis(500)));
        match ends {
            "silence" => {
                pass(&mut call, 495);
                assert_eq!(call.branch.held_packets(), 1);
                pass(&mut call, 5);
            }
            "drain" => {
                call.branch.drain();
                assert_eq!(call.branch.next_timeout(call.now()), Some(call.now()));
                call.poll();
                assert_eq!(call.events().last(), Some(&BranchEvent::BacklogEmpty { recalls: 0 }));
            }
            _ => call.branch.close(call.now()),
        }
        assert_eq!((call.branch.held_packets(), call.sent.len()), (0, 50), "{ends}");
        assert_eq!(call.branch.report().drops.of(DropCause::Stale), 1, "{ends}");
        assert_eq!(call.gaps(), [], "{ends}");
    }
}

#[test]
fn a_source_that_falls_silent_soon_after_it_has_started_again_loses_nothing() {
    let (mut call, mut source) = (Call::audio(), Source::new());
    call.open();
    source.say(&mut call, 100);
    source.restart(60);
    source.say(&mut call, 2);
    pass(&mut call, 600);
    assert_whole(&mut call, &source, 100, "two packets");
}
