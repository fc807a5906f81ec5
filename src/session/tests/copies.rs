//! What the copies of one call's recording amount to.
#![cfg(test)]

use siprec_model::RecordingState::{Draining, Failed, Idle, Paused, Recording, Starting, Stopped};
use siprec_model::{
    CallUuid, FailureReason, HangUp, Medium, RecordingId, RecordingState, SessionEvent, SessionEventKind,
    SessionInfo, StopReason,
};
use siprec_session::{Copies, Indication, News};

fn event(session: Option<&str>, kind: SessionEventKind) -> SessionEvent {
    let info = SessionInfo {
        session: session.map(str::to_owned),
        recording_id: RecordingId::new("R"),
        call_uuid: CallUuid::new("U"),
        recorder: Some("sip:rec.example".to_owned()),
        dn: None,
    };
    SessionEvent { info, kind }
}

fn state(state: RecordingState, reason: &str) -> SessionEvent {
    event(None, SessionEventKind::StateChanged { state, reason: reason.to_owned() })
}

fn failed() -> SessionEventKind {
    SessionEventKind::Failed {
        reason: FailureReason::DialogUnknown { code: 481, phrase: "gone".to_owned() },
        sip_code: Some(481),
    }
}

/// Two copies, each of which tells this.
fn both(copies: &mut Copies, event: &SessionEvent) {
    (0..2).for_each(|copy| drop(copies.note(copy, event)));
}

/// Two copies whose sessions record.
fn recording() -> Copies {
    let mut copies = Copies::new(2);
    both(&mut copies, &state(Starting, "invited"));
    for (copy, session) in ["a", "b"].into_iter().enumerate() {
        copies.note(copy, &event(Some(session), SessionEventKind::Started));
        copies.note(copy, &state(Recording, "records"));
    }
    copies
}

#[test]
fn the_state_of_the_whole_is_that_of_the_copy_that_is_best_off() {
    let best_first = [Recording, Paused, Starting, Draining, Idle, Stopped, Failed];
    for (place, better) in best_first.into_iter().enumerate() {
        for worse in best_first.into_iter().skip(place) {
            for pair in [[better, worse], [worse, better]] {
                let mut copies = Copies::new(2);
                pair.into_iter().enumerate().for_each(|(copy, of)| drop(copies.note(copy, &state(of, ""))));
                assert_eq!(copies.state(), better, "{pair:?}");
            }
        }
    }
    assert_eq!(Copies::new(1).state(), Idle);
}

#[test]
fn a_single_copy_is_the_whole() {
    let mut copies = Copies::new(1);
    for (of, recording) in [(Starting, 0), (Recording, 1), (Paused, 0), (Recording, 1), (Draining, 0)] {
        let reason = || "so".to_owned();
        let expected = News {
            copy: of,
            copy_reason: reason(),
            whole: of,
            recording,
            changed: Some(reason()),
            impossible: None,
        };
        assert_eq!(copies.note(0, &state(of, "so")), Some(expected));
        assert_eq!(copies.note(0, &state(of, "again")), None, "every transition once");
    }
}

#[test]
fn a_copy_that_fails_beside_one_that_records_is_news_and_no_other_state() {
    let mut copies = recording();
    copies.note(1, &event(Some("b"), failed()));
    let news = copies.note(1, &state(Failed, "lost")).unwrap();
    assert_eq!((news.copy, news.copy_reason.as_str()), (Failed, "lost"));
    assert_eq!((news.whole, news.recording, news.changed, news.impossible), (Recording, 1, None, None));
    assert_eq!((copies.state_of(0), copies.state_of(1)), (Recording, Failed));
}

#[test]
fn recording_is_impossible_when_the_last_copy_ends_unasked_and_that_is_said_once() {
    let mut copies = recording();
    assert_eq!(copies.note(0, &state(Failed, "lost")).unwrap().impossible, None);
    let news = copies.note(1, &state(Failed, "refused")).unwrap();
    let reasons = "copy 1: lost; copy 2: refused";
    assert_eq!((news.whole, news.changed.as_deref()), (Failed, Some(reasons)));
    assert_eq!(news.impossible.as_deref(), Some(reasons));
    assert_eq!(copies.note(1, &state(Failed, "refused")), None);
    assert_eq!(copies.note(1, &state(Stopped, "call-ended")).unwrap().impossible, None, "it was said");

    // The recorder's own BYE ends it no less.
    let mut copies = recording();
    copies.note(0, &state(Failed, "lost"));
    let news = copies.note(1, &state(Stopped, "recorder-bye")).unwrap();
    assert_eq!((news.whole, news.changed.as_deref()), (Stopped, Some("recorder-bye")));
    assert_eq!(news.impossible.as_deref(), Some("copy 1: lost; copy 2: recorder-bye"));

    // One that begins anew may be the last to fail again.
    assert_eq!(copies.note(0, &state(Starting, "invited")).unwrap().whole, Starting);
    assert!(copies.note(0, &state(Failed, "refused")).unwrap().impossible.is_some());

    let mut copies = Copies::new(2);
    assert_eq!(copies.refuse(1, "no room").and_then(|news| news.impossible), None);
    assert!(copies.refuse(0, "no recorder").unwrap().impossible.is_some());
}

#[test]
fn an_end_that_was_asked_for_is_no_impossibility() {
    let mut copies = recording();
    copies.note(0, &state(Failed, "lost"));
    copies.end();
    both(&mut copies, &state(Draining, "asked"));
    assert_eq!(copies.note(0, &state(Failed, "lost")).unwrap().impossible, None);
    let news = copies.note(1, &state(Failed, "not delivered")).unwrap();
    assert_eq!((news.whole, news.impossible), (Failed, None));

    // One fails in the moment in which the end is asked for.
    let mut copies = Copies::new(1);
    copies.note(0, &state(Recording, ""));
    copies.end();
    assert_eq!(copies.note(0, &state(Failed, "lost")).unwrap().impossible, None);

    let mut copies = Copies::new(1);
    copies.note(
        0,
        &event(
            Some("a"),
            SessionEventKind::Stopped { reason: StopReason::Shutdown, said: HangUp::default() },
        ),
    );
    assert_eq!(copies.note(0, &state(Stopped, "shutdown")).unwrap().impossible, None);

    // The agent was shut down, and its time is up before the recorder has answered.
    let mut copies = Copies::new(1);
    copies.note(0, &state(Recording, ""));
    copies.note(0, &state(Draining, "shutdown"));
    assert_eq!(copies.note(0, &state(Failed, "not answered")).unwrap().impossible, None);
    // Another recording of the same call is not meant to end thereby.
    copies.note(0, &state(Starting, "begun anew"));
    assert!(copies.note(0, &state(Failed, "nobody is there")).unwrap().impossible.is_some());
}

#[test]
fn a_copy_that_is_late_with_its_end_does_not_take_the_whole_back_to_its_start() {
    let mut copies = Copies::new(2);
    both(&mut copies, &state(Starting, ""));
    copies.note(1, &state(Recording, ""));
    copies.end();
    let news = copies.note(1, &state(Draining, "asked")).unwrap();
    assert_eq!((news.whole, news.changed.as_deref()), (Draining, Some("asked")));
    assert_eq!(copies.note(0, &state(Draining, "asked")).unwrap().changed, None);
}

#[test]
fn a_call_is_indicated_as_recorded_while_any_session_of_any_copy_takes_it() {
    let mut copies = Copies::new(2);
    assert_eq!(copies.indication(), Indication::Off);
    both(&mut copies, &state(Starting, ""));
    copies.note(0, &event(Some("a"), SessionEventKind::Started));
    assert_eq!(copies.indication(), Indication::On, "by the time that the application hears of it");
    copies.note(1, &event(Some("b"), SessionEventKind::Started));
    copies.note(0, &event(Some("a"), SessionEventKind::Paused));
    assert_eq!(copies.indication(), Indication::On);
    copies.note(1, &event(Some("b"), SessionEventKind::Paused));
    assert_eq!(copies.indication(), Indication::Paused);
    copies.note(1, &event(Some("b"), failed()));
    assert_eq!(copies.indication(), Indication::Paused);
    copies.note(0, &event(Some("a"), SessionEventKind::Resumed));
    assert_eq!(copies.indication(), Indication::On);
    copies.note(0, &state(Draining, "call-ended"));
    assert_eq!(copies.indication(), Indication::Off, "what the call says now is not recorded");

    let mut copies = recording();
    let off =
        |others| SessionEventKind::MediumOff { medium: Medium::Audio, reason: "inactive".to_owned(), others };
    copies.note(0, &event(Some("a"), off(false)));
    copies.note(1, &event(Some("b"), off(true)));
    assert_eq!(copies.indication(), Indication::On);
    copies.note(1, &event(Some("b"), off(false)));
    assert_eq!(copies.indication(), Indication::Off, "accepted, and none of its streams is taken");
    copies.note(1, &event(Some("b"), SessionEventKind::MediumOn { medium: Medium::Audio }));
    assert_eq!(copies.indication(), Indication::On);

    let mut copies = recording();
    both(&mut copies, &state(Stopped, ""));
    assert_eq!(copies.indication(), Indication::Off);
    assert_eq!(copies.sessions_of(0).count(), 0);
}

#[test]
fn what_a_session_does_not_record_is_known_of_it() {
    let mut copies = recording();
    let off =
        SessionEventKind::MediumOff { medium: Medium::Video, reason: "refused".to_owned(), others: true };
    copies.note(1, &event(Some("b"), off));
    assert!(copies.sessions_of(0).all(|(_, session)| session.off.is_empty()));
    let (call_id, session) = copies.sessions_of(1).next().unwrap();
    assert_eq!((call_id, session.state), ("b", Recording));
    assert_eq!(session.recorder.as_deref(), Some("sip:rec.example"));
    let off: Vec<_> = session.off.iter().collect();
    assert_eq!(off, [(&(None, Medium::Video), &"refused".to_owned())]);
    copies.note(1, &event(Some("b"), SessionEventKind::MediumOn { medium: Medium::Video }));
    assert!(copies.sessions_of(1).all(|(_, session)| session.off.is_empty()));
}
