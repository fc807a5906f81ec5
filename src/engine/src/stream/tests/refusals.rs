//! What a recorder's host refuses, and what becomes of it.

use super::*;

#[test]
fn that_the_next_recorder_refuses_too_is_told_at_once() {
    let mut rig = Rig::new(1.0);
    let told = BranchEvent::RemoteRefused { component: Component::Rtp };
    for sequence in 0..2 {
        rig.open();
        rig.push(sequence, rig.now);
        rig.serve();
        let refused = Outcome { refused: true, ..Outcome::default() };
        rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
        assert_eq!(rig.told().iter().filter(|event| **event == told).count(), 1);
        rig.now += Duration::from_millis(20);
        rig.act(|outlet, _, now| outlet.recall(now, None, None, now));
    }
}

#[test]
fn what_the_host_refuses_of_several_calls_it_refuses_of_all_that_do_not_report() {
    let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (reports, opened, expected) in [(false, 0, 3), (true, 0, 0), (false, 12, 0)] {
        let mut rig = Rig::new(1.0);
        rig.open();
        let Some(BranchEvent::PortsReady { rtp, .. }) = rig.told().into_iter().next() else { panic!() };
        let others = [RecordingKey::unique(), RecordingKey::unique()];
        for number in 0..50u8 {
            if opened > 0 && number == opened {
                // The recorder before was lost, and the next one is on the same host.
                rig.act(|outlet, _, now| outlet.recall(now, None, None, now));
                rig.act(|outlet, kit, now| outlet.bind(local, RtcpMode::Mux, 2, kit, now));
                rig.open();
            }
            rig.push(number, rig.now);
            rig.serve();
            if reports && number == 1 {
                rig.report_next(rtp);
                rig.hear();
            }
            if number >= 10 && number % 5 == 0 {
                rig.refuse_another(others[usize::from(number / 5 % 2)]);
            }
            rig.now += Duration::from_millis(100);
        }
        // Of the four seconds in which it does, the first says too little.
        let told = rig.told().into_iter().filter(|event| *event == refused).count();
        assert_eq!(told, expected, "reports: {reports}, opened at {opened}");
    }
}

#[test]
fn what_the_host_refuses_of_another_recorder_there_says_nothing_of_this_one() {
    let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
    for (recorder, is_its) in [(RECORDER, true), (RecorderKey::from_raw(2), false)] {
        let mut rig = Rig::new(100.0);
        rig.open();
        let others = [RecordingKey::unique(), RecordingKey::unique()];
        for number in 0..200u8 {
            rig.push(number, rig.now);
            rig.serve();
            if number >= 100 && number % 5 == 0 {
                rig.refuse_another_to(recorder, others[usize::from(number / 5 % 2)]);
            }
            rig.act(|outlet, kit, now| outlet.confirm(now, kit, now));
            rig.now += Duration::from_millis(100);
        }
        assert_eq!(rig.told().contains(&refused), is_its);
        assert_eq!(rig.received(), 200);
        // And two seconds more.
        let (resent, expected) = (rig.resent(), if is_its { 120 } else { 20 });
        assert!(resent.abs_diff(expected) <= 2, "{resent} of {expected}");
    }
}

#[test]
fn what_was_refused_is_kept_through_a_silence_whatever_the_recorder_answers() {
    let mut rig = Rig::new(100.0);
    rig.open();
    for number in 0..200u8 {
        rig.push(number, rig.now);
        rig.serve();
        if number == 180 {
            let refused = Outcome { refused: true, ..Outcome::default() };
            rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
        }
        rig.now += Duration::from_millis(100);
    }
    assert_eq!(rig.received(), 200);
    rig.now += Duration::from_secs(8);
    rig.act(|outlet, kit, now| outlet.confirm(now, kit, now));
    // And two seconds more.
    let resent = rig.resent();
    assert!((20 + 20..20 + 23).contains(&resent), "{resent}");
}

#[test]
fn what_was_refused_of_who_reports_is_told_as_lost_where_all_ends_before_the_next_report() {
    // Of a stream whose own packets no error has quoted, its host says that it refuses those of two other calls.
    for (is_own, reports_again) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut rig = Rig::new(1.0);
        rig.open();
        let Some(BranchEvent::PortsReady { rtp, .. }) = rig.told().into_iter().next() else { panic!() };
        let others = [RecordingKey::unique(), RecordingKey::unique()];
        for number in 0..120u8 {
            rig.push(number, rig.now);
            rig.serve();
            match number {
                5 => {
                    rig.report_next(rtp);
                    rig.hear();
                }
                20..=40 if is_own => {
                    let refused = Outcome { refused: true, ..Outcome::default() };
                    rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
                }
                20..=40 => rig.refuse_another(others[usize::from(number % 2)]),
                _ => {}
            }
            rig.now += Duration::from_millis(100);
        }
        let told = rig.told();
        assert_eq!(told.contains(&BranchEvent::RefusalsOver), is_own, "{told:?}");
        let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
        assert_eq!(told.contains(&refused), is_own, "{told:?}");
        if reports_again {
            packets(&rig.recorder, 110);
            rig.report_next(rtp);
            rig.hear();
        }
        let Rig { shared, kit, stream, branch, events, now, .. } = &mut rig;
        stream.close(*branch, &shared.section, kit, events, *now);
        let told = rig.told();
        let Some(BranchEvent::Closed(report)) = told.last() else { panic!("{told:?}") };
        let lost = report.drops.of(DropCause::RecorderLost);
        // And what the first error may be of.
        assert!(if reports_again { lost == 0 } else { (30..=33).contains(&lost) }, "{is_own}: {lost}");
        let gaps = told.iter().filter(|event| matches!(event, BranchEvent::Gap(_))).count();
        assert_eq!(gaps, usize::from(!reports_again), "{told:?}");
    }
}

/// As where the host tells of another stream each time (ICMP is rate limited).
#[test]
fn what_was_refused_once_is_refused_for_as_long_as_its_host_refuses_anything() {
    let mut rig = Rig::new(1.0);
    rig.open();
    let mut over = None;
    let begun = rig.now;
    for number in 0..200u8 {
        rig.push(number, rig.now);
        rig.serve();
        match number {
            10 => {
                let refused = Outcome { refused: true, ..Outcome::default() };
                rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
            }
            11..60 if number % 10 == 0 => {
                rig.note_refusal(RECORDER, RecordingKey::unique());
            }
            _ => {}
        }
        over = over.or(rig.told().contains(&BranchEvent::RefusalsOver).then_some(rig.now));
        rig.now += Duration::from_millis(100);
    }
    let over = over.unwrap().duration_since(begun);
    assert!((Duration::from_millis(8_900)..Duration::from_millis(9_300)).contains(&over), "{over:?}");
}

#[test]
fn the_next_recorder_gets_all_since_the_host_of_the_lost_one_began_to_refuse_anything() {
    for hears_of_it in [true, false] {
        let mut rig = Rig::new(100.0);
        rig.open();
        for number in 0..100u8 {
            rig.push(number, rig.now);
            rig.serve();
            if number >= 40 && number % 10 == 0 {
                // Of another stream, but for one time.
                let is_own = hears_of_it && number == 70;
                let refused = Outcome { refused: is_own, ..Outcome::default() };
                rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
                rig.note_refusal(RECORDER, RecordingKey::unique());
                rig.act(|outlet, kit, now| outlet.confirm(now, kit, now));
            }
            rig.now += Duration::from_millis(100);
        }
        assert_eq!(packets(&rig.recorder, 100).len(), 100);
        // And two seconds more.
        let expected = if hears_of_it { 100 - 40 + 20 } else { 20 };
        let resent = rig.resent();
        assert!(resent.abs_diff(expected) <= 2, "{hears_of_it}: {resent} of {expected}");
    }
}

#[test]
fn what_the_host_refused_of_another_call_a_receiver_that_begins_anew_has_not_got() {
    let missed = |receiver: u32, refuser: RecorderKey| {
        let mut rig = Rig::new(1.0);
        rig.open();
        let Some(BranchEvent::PortsReady { rtp, .. }) = rig.told().into_iter().next() else { panic!() };
        let other = RecordingKey::unique();
        for number in 0..110u8 {
            rig.push(number, rig.now);
            rig.serve();
            match number {
                10 => rig.report_next(rtp),
                20 | 30 | 40 => rig.note_refusal(refuser, other),
                60 => {
                    rig.received();
                    rig.push(number + 1, rig.now);
                    rig.serve();
                    rig.report_next_as(receiver, rtp);
                }
                _ => {}
            }
            rig.hear();
            rig.now += Duration::from_millis(100);
        }
        rig.told().into_iter().find_map(|event| match event {
            BranchEvent::StretchMissed { packets, .. } => Some(packets),
            _ => None,
        })
    };
    assert_eq!(missed(1, RECORDER), None);
    assert_eq!(missed(2, RecorderKey::from_raw(2)), None, "another recorder there");
    let missed = missed(2, RECORDER).unwrap();
    assert!((20..=22).contains(&missed), "two seconds: {missed}");
}

#[test]
fn a_router_has_lost_all_that_came_while_it_looked_for_the_host_whatever_the_error_quotes() {
    let mut rig = Rig::new(100.0);
    rig.open();
    for number in 0..100u8 {
        rig.push(number, rig.now);
        rig.serve();
        rig.now += Duration::from_millis(100);
    }
    // It quotes one that came half a second ago, since the older ones had to make room.
    let error = |is_of_a_search| Undelivered {
        destination: None,
        errno: libc::EHOSTUNREACH,
        is_of_a_search,
        rtp: Some((SSRC, 95)),
    };
    for (is_of_a_search, earliest) in [(false, 500), (true, 3_100)] {
        let mut queued = Queued::default();
        queued.note(&error(is_of_a_search));
        rig.act(|outlet, _, now| {
            let left = now.duration_since(*outlet.left(queued, now).start());
            assert_eq!(left, Duration::from_millis(earliest));
        });
    }
}

#[test]
fn a_refusal_behind_one_that_is_over_or_disproved_is_told_at_once() {
    let mut rig = Rig::new(1.0);
    rig.open();
    let Some(BranchEvent::PortsReady { rtp, .. }) = rig.told().into_iter().next() else { panic!() };
    let refused = || Outcome { refused: true, ..Outcome::default() };
    let told = BranchEvent::RemoteRefused { component: Component::Rtp };
    // No report of it has come before the first one.
    let ends = [BranchEvent::RefusalsOver, BranchEvent::RefusalRefuted, BranchEvent::RefusalRefuted];
    for (sequence, end) in (0..).zip(ends) {
        rig.now += Duration::from_millis(20);
        rig.push(sequence, rig.now);
        rig.serve();
        rig.act(|outlet, kit, now| outlet.settle(refused(), kit, now));
        let first = rig.told().into_iter().filter(|event| *event == told).count();
        assert_eq!(first, usize::from(sequence == 0), "that of the last round goes on");
        rig.report_next(rtp);
        // The report and the next refusal come in one turn.
        let shared = rig.shared.clone();
        rig.act(|outlet, kit, now| {
            let token = Token::of(1, Component::Rtp);
            let errors = outlet.receive_errors(token, now);
            outlet.receive(token, errors, Gate::new(&shared.section, None), kit, now);
            outlet.settle(refused(), kit, now);
        });
        let heard = rig.told();
        assert!(heard.ends_with(&[end, told.clone()]), "{heard:?}");
    }
}
