//! Recorders that send elsewhere (3xx), and those that want to be left alone (503 with Retry-After).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{SessionEventKind, TlsProfile};
use siprec_session::{Input, NoRecorder, Output, SrtpUse, TransportEvent, Unfit};
use siprec_sip::{Method, Request, Transport};
use support::*;

fn calling(recorders: &str) -> Call {
    let mut call = Call::inviting_with(config(recorders));
    call.take();
    call
}

/// Refuses the INVITE that is out.
fn refuse(call: &mut Call, status: u16, headers: &[(&str, &str)]) -> Request {
    let invite = call.request(&Method::Invite);
    call.answer(&invite, status, headers, "");
    invite
}

fn redirect(call: &mut Call, contacts: &str) -> Request {
    refuse(call, 302, &[("Contact", contacts)])
}

/// Where the next INVITEs go, when each is refused.
fn places(call: &mut Call) -> Vec<String> {
    let mut places = Vec::new();
    loop {
        places.extend(call.take().iter().filter_map(|line| line.strip_prefix("resolve ").map(str::to_owned)));
        match call.find_request(&Method::Invite) {
            Some(invite) => call.answer(&invite, 486, &[], ""),
            None => return places,
        }
    }
}

#[test]
fn where_a_recorder_sends_goes_before_the_next_recorder_and_by_its_q() {
    let mut call = calling("sip:a.example sip:b.example");
    redirect(&mut call, "<sip:low.example>;q=0.1, <sip:high.example:5070;transport=tcp>;q=0.7");
    assert_eq!(
        places(&mut call),
        ["sip:high.example:5070;transport=tcp", "sip:low.example", "sip:b.example"]
    );
    assert_eq!(call.finished, 1);
}

#[test]
fn no_place_is_tried_twice_so_that_recorders_that_send_in_a_circle_end() {
    let mut call = calling("sip:a.example sip:b.example");
    redirect(&mut call, "<sip:b.example>");
    redirect(&mut call, "<sip:A.example>, <sip:b.example>, <sip:c.example>");
    redirect(&mut call, "<sip:c.example>");
    assert_eq!(call.finished, 1);
}

#[test]
fn five_places_are_enough() {
    let mut call = calling("sip:a.example");
    let contacts: Vec<String> = (0..9).map(|number| format!("<sip:c{number}.example>")).collect();
    redirect(&mut call, &contacts.join(", "));
    assert_eq!(places(&mut call).len(), 5);
    // One after the other is the same.
    let mut call = calling("sip:a.example");
    let mut places = 0;
    while call.finished == 0 {
        redirect(&mut call, &format!("<sip:c{places}.example>"));
        places += 1;
    }
    assert_eq!(places, 6, "the recorder, and five more");
}

#[test]
fn only_addresses_of_sip_are_followed_and_tls_is_never_left() {
    let contacts = "<tel:+15550100>, <http://a>, <sip:x.example?Subject=y>, <sip:p.example:0>, \
                    <sip:plain.example>, <sips:safe.example>, <sip:q.example;transport=sctp>";
    let mut call = calling("sip:a.example");
    redirect(&mut call, contacts);
    assert_eq!(places(&mut call), ["sip:plain.example", "sips:safe.example"]);
    let mut call = Call::new(config("sips:a.example"));
    call.transport = Transport::Tls;
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
    }
    call.take();
    redirect(&mut call, contacts);
    assert_eq!(places(&mut call), ["sips:safe.example"]);
}

#[test]
fn a_recorder_that_sends_nowhere_is_told_with_what_is_wrong_about_each_place() {
    let told = |recorder: &str, contacts: &str| {
        let mut call = Call::new(config(recorder));
        call.transport = if recorder.starts_with("sips:") { Transport::Tls } else { Transport::Udp };
        for slot in 0..2 {
            call.add(slot);
            call.format(slot, pcmu());
        }
        redirect(&mut call, contacts);
        let failed = call.events.iter().find_map(|event| match &event.kind {
            SessionEventKind::Failed { reason, sip_code: Some(302) } => Some(reason.to_string()),
            _ => None,
        });
        let failed = failed.unwrap();
        failed.strip_prefix("the recorder refused: 302 Moved Temporarily").unwrap().to_owned()
    };
    let contacts = "<tel:+15550100>, <sip:u:secret@x.example?Subject=y>, <sip:A.example>, <sip:p.example:0>";
    assert_eq!(
        told("sip:a.example", contacts),
        ": not followed: a Contact begins with \"tel:\" instead of \"sip:\" or \"sips:\"; \
         sip:x.example?… has headers (\"?…\"), which such an address cannot have; \
         sip:A.example was tried already; sip:p.example:0 has port 0, where nobody can listen"
    );
    assert_eq!(
        told("sips:a.example", "<sip:b.example>"),
        ": not followed: sip:b.example gives up the \"sips:\" of the recorder"
    );
    assert!(told("sip:a.example", "<sip:b.example:nil>").starts_with(": not followed: "));
    // Who is sent anywhere at all goes there, and who is sent nowhere is told nothing of it.
    assert_eq!(told("sip:a.example", "<tel:+15550100>, <sip:b.example>"), "");
    let many: Vec<String> =
        (0..300).map(|number| format!("<sip:{}{number}.example:0>", "ä".repeat(3))).collect();
    let long = format!("<sip:{}.example;transport={}>", "h".repeat(300), "t".repeat(3000));
    for contacts in [many.join(", "), long] {
        let told = told("sip:a.example", &contacts);
        assert!(told.chars().count() < 600, "{told}");
    }
}

#[test]
fn what_every_invite_says_is_not_part_of_the_place() {
    let mut call = calling("sip:a.example");
    redirect(&mut call, "<sip:record=OLD:secret@c.example:5070;CALLUUID=x;dn=1;otherdn=2;node=7;lr>");
    let invite = call.request(&Method::Invite);
    assert_eq!(
        invite.uri.as_str(),
        "sip:record=00FA08K@c.example:5070;node=7;lr;calluuid=UUID1;dn=1001;otherDN=1002;recordDN=1001"
    );
}

#[test]
fn each_place_is_a_new_dialog_with_keys_of_its_own_and_the_same_recording() {
    let mut config = config("sip:a.example");
    config.security.srtp = SrtpUse::Require;
    config.security.allow_clear_keys = true;
    let mut call = Call::inviting_with(config);
    let first = redirect(&mut call, "<sip:c.example>");
    let second = call.request(&Method::Invite);
    assert_ne!(first.headers.call_id().unwrap(), second.headers.call_id().unwrap());
    assert_eq!(first.uri.user(), second.uri.user());
    let keys = |request: &Request| -> Vec<String> {
        let text = String::from_utf8(request.body.clone()).unwrap();
        text.lines().filter_map(|line| line.split_once("inline:")).map(|(_, key)| key.to_owned()).collect()
    };
    let (first, second) = (keys(&first), keys(&second));
    assert!(first.len() > 1 && first.len() == second.len());
    assert!(first.iter().all(|key| !second.contains(key)));
}

#[test]
fn the_certificate_of_one_place_is_not_that_of_another() {
    let mut config = config("sips:a.example");
    let tls = TlsProfile {
        server_name: Some("a.internal".to_owned()),
        ca: Some("ca.pem".into()),
        min_version: None,
    };
    config.recorders.listed_mut()[0].profile.tls = tls.clone();
    let mut call = Call::new(config);
    call.transport = Transport::Tls;
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
    }
    redirect(&mut call, "<sips:c.example>");
    let mut seen = Vec::new();
    call.check_now(|output| {
        if let Output::Resolve { tls, .. } = output {
            seen.push(tls.clone());
        }
    });
    assert_eq!(seen, [tls.clone(), TlsProfile { server_name: None, ..tls }]);
}

#[test]
fn a_place_that_may_not_be_tried_is_passed_over_with_words() {
    let mut call = calling("sip:a.example sip:b.example");
    call.chooses = false;
    redirect(&mut call, "<sip:c.example>");
    let mut asked = None;
    call.check_now(|output| {
        if let Output::ChooseRecorder { attempt, wish } = output {
            asked = Some((*attempt, (**wish).clone()));
        }
    });
    let (attempt, wish) = asked.unwrap();
    assert_eq!(wish.redirect.unwrap().uri, uri("sip:c.example"));
    call.chooses = true;
    let choice = Box::new(Err(NoRecorder::Unfit(Unfit { drained: 1, ..Unfit::default() })));
    call.input(Input::Recorder { attempt, choice });
    assert_eq!(places(&mut call), ["sip:b.example"]);
    let SessionEventKind::StateChanged { reason, .. } = &call.events.last().unwrap().kind else { panic!() };
    assert!(reason.contains("not tried where the recorder says: 1 drained"), "{reason}");
}

#[test]
fn one_that_is_busy_is_left_alone_for_as_long_as_it_says() {
    let mut call = calling("sip:a.example sip:b.example");
    refuse(&mut call, 503, &[("Retry-After", "60")]);
    assert!(call.take().contains(&"away for 60s".to_owned()));
    refuse(&mut call, 503, &[]);
    assert!(!call.take().iter().any(|line| line.starts_with("away")), "it did not say for how long");
    // Within a session it speaks of one request.
    let mut call = Call::established();
    call.command(siprec_session::Command::Pause);
    refuse(&mut call, 503, &[("Retry-After", "60")]);
    assert!(!call.take().iter().any(|line| line.starts_with("away")));
}

#[test]
fn one_host_of_a_recorder_does_not_speak_for_the_others() {
    let mut call = Call::new(config("sip:a.example"));
    call.resolves = false;
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
    }
    for (attempt, more) in [(1, true), (2, false)] {
        let flow = call.flow();
        call.input(Input::Transport(TransportEvent::Resolved { attempt, flow, more }));
        refuse(&mut call, 503, &[("Retry-After", "60")]);
        let is_away = call.take().contains(&"away for 60s".to_owned());
        assert_eq!(is_away, !more);
    }
}
