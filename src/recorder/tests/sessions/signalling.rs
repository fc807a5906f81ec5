//! What the recorder says.

use std::time::Duration;

use siprec_recorder::{Recorder, RecorderConfig, Refuse, StartError, Uri};
use siprec_sip::{Body, DialogEvent, HeaderName, Method, Termination};
use siprec_transport::Protocol;

use crate::bench::{Bench, PATIENCE};
use crate::client::{Client, PARAMETERS, TWO_PARTIES};
use crate::packets::Voice;

const VOICE: Voice = Voice { ssrc: 0x3333, first: 0 };

#[tokio::test]
async fn a_session_is_told_in_json_and_in_the_ladder() {
    let mut bench = Bench::new();
    let parameters =
        "CALLUUID=00FA08K;dn=1001;otherdn=10%3B02;recordDN=1001;gvp-tenant-id=[Tenant].p;agentid=7";
    let mut client = Client::invite_by(&bench, Protocol::Udp, "ID%3A1", parameters, TWO_PARTIES).await;
    client.answer().await;
    client.bye().await;
    let outcome = bench.outcome().await;
    let report = &outcome.report;
    assert_eq!(outcome.folder.file_name().unwrap(), "ID_1");
    assert_eq!((report.recording_id.as_str(), report.call_uuid.as_deref()), ("ID:1", Some("00FA08K")));
    assert_eq!(report.user_agent.as_deref(), Some("script"));
    let parties: Vec<_> = report.parties.iter().map(|party| (party.dn.as_str(), party.stream)).collect();
    assert_eq!(parties, [("1001", Some(0)), ("10;02", Some(1))]);
    let names: Vec<_> = report.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["CALLUUID", "dn", "otherdn", "recordDN", "gvp-tenant-id", "agentid"]);
    assert_eq!(report.parameters[4].value, "[Tenant].p");
    assert_eq!(report.end_reason.as_deref(), Some("BYE from the client"));
    assert!(report.error.is_none() && report.wav.is_none(), "nothing was heard");
    let ladder = outcome.ladder();
    let at = |label: &str| ladder.find(label).unwrap_or_else(|| panic!("{label} in {ladder}"));
    let order =
        ["--- INVITE (1 INVITE)", "<-- 200 OK (1 INVITE)", "--- ACK (1 ACK)", "--- BYE (2 BYE)"].map(at);
    assert!(order.is_sorted());
    assert!(ladder.contains("a=recvonly"));
    // RFC 3581 §4, in each of three requests and two answers.
    let via = format!(";rport={};received=127.0.0.1", client.transport.local().port());
    assert_eq!(ladder.matches(&via).count(), 5, "{ladder}");
}

#[tokio::test]
async fn the_answer_has_a_port_for_each_stream_and_keeps_labels_and_formats() {
    let bench = Bench::new();
    let lines = [
        "m=audio 0 RTP/AVP 8 0 101\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=label:1\na=sendonly",
        "m=audio 0 RTP/SAVP 0\na=sendonly",
        "m=audio 0 RTP/AVP 0\na=rtcp-mux",
    ];
    let mut client = Client::invite(&bench, "S1", &lines).await;
    let answer = client.answer().await;
    let media = answer.media(0).unwrap();
    assert_eq!(media.payload_types().collect::<Vec<_>>(), [8, 0, 101]);
    assert_eq!((media.label(), media.fmtp(101)), (Some("1"), Some("0-15")));
    assert_eq!((media.port() % 2, media.direction().to_string().as_str()), (0, "recvonly"));
    assert!(answer.media(1).unwrap().is_off());
    assert!(answer.media(2).unwrap().rtcp_mux());
}

#[tokio::test]
async fn receiver_reports_come_back_with_the_loss() {
    let bench = Bench::new();
    let mut client = Client::invite(&bench, "S2", &TWO_PARTIES[..1]).await;
    client.answer().await;
    client.rtcp(0, &VOICE.report(1_000_000, 0));
    client.burst(0, VOICE.packets(0..10).chain(VOICE.packets(12..20))).await;
    let socket = client.rtcp_socket(0);
    let mut buffer = [0; 500];
    let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    let mut compound = rtcp_types::Compound::parse(&buffer[..length]).unwrap();
    let Some(Ok(rtcp_types::Packet::Rr(report))) = compound.next() else { panic!("no receiver report") };
    let block = report.report_blocks().next().unwrap();
    assert_eq!((block.ssrc(), block.cumulative_lost(), block.extended_sequence_number()), (0x3333, 2, 19));
    assert_ne!(block.last_sender_report_timestamp(), 0);
    assert!(matches!(compound.next(), Some(Ok(rtcp_types::Packet::Sdes(_)))));
}

#[tokio::test]
async fn a_session_by_tcp_is_the_same() {
    let mut bench = Bench::new();
    let mut client = Client::invite_by(&bench, Protocol::Tcp, "S3", PARAMETERS, TWO_PARTIES).await;
    client.answer().await;
    client.burst(0, VOICE.packets(0..10)).await;
    client.bye().await;
    let outcome = bench.outcome().await;
    assert_eq!(outcome.wav().channels[0], VOICE.sound(0..10));
    assert!(outcome.report.client.ends_with("/TCP"), "{}", outcome.report.client);
}

#[tokio::test]
async fn a_session_over_ipv6_is_the_same() {
    let mut bench = Bench::with(|config| config.listen = "[::1]:0".parse().unwrap());
    let mut client = Client::invite(&bench, "S16", TWO_PARTIES).await;
    client.answer().await;
    client.burst(0, VOICE.packets(0..10)).await;
    client.bye().await;
    assert_eq!(bench.outcome().await.wav().channels[0], VOICE.sound(0..10));
}

#[tokio::test]
async fn a_recorder_that_is_dropped_gives_the_port_back_and_leaves_partial_files() {
    let bench = Bench::new();
    let mut client = Client::invite(&bench, "S17", TWO_PARTIES).await;
    client.answer().await;
    let (listen, folder) = (bench.recorder.local(), bench.output().join("S17"));
    drop(bench.recorder);
    let deadline = std::time::Instant::now() + PATIENCE;
    while let Err(error) = Recorder::start(RecorderConfig::new(listen, &folder), |_| {}) {
        assert!(std::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(folder.join("audio-0.partial.rtpdump").exists());
}

#[tokio::test]
async fn a_refusal_and_a_cancelled_invite_are_told_and_leave_no_files() {
    let mut bench = Bench::with(|config| config.behaviour.refuse = Some(Refuse::new(486, "").unwrap()));
    let mut client = Client::invite(&bench, "S4", TWO_PARTIES).await;
    assert_eq!(client.response().await.status, 486);
    let session = bench.finished().await;
    assert_eq!(session.folder, None);
    assert!(session.to_string().contains(" state=refused reason=486 "), "{session}");

    let mut bench = Bench::with(|config| {
        config.behaviour.answer_after = Duration::from_secs(3600);
        config.behaviour.ring = true;
    });
    let mut client = Client::invite(&bench, "S5", TWO_PARTIES).await;
    let ringing = client.event(|event| matches!(event, DialogEvent::Progress { .. })).await;
    let DialogEvent::Progress { response, .. } = ringing else { panic!("{ringing:?}") };
    assert!(matches!(response.status, 100 | 180), "{}", response.status);
    client.cancel();
    assert!(matches!(client.end().await, Termination::Cancelled));
    let session = bench.finished().await;
    assert!(session.to_string().contains(" state=cancelled "), "{session}");
    assert_eq!(std::fs::read_dir(bench.output()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_answer_that_was_delayed_is_an_answer() {
    let mut bench = Bench::with(|config| {
        config.behaviour.answer_after = Duration::from_millis(300);
        config.behaviour.ring = true;
    });
    let mut client = Client::invite(&bench, "S6", TWO_PARTIES).await;
    client.answer().await;
    client.bye().await;
    assert_eq!(bench.outcome().await.report.states.len(), 3);
}

#[tokio::test]
async fn offers_that_cannot_be_recorded_are_refused() {
    let mut bench = Bench::new();
    for lines in [&[][..], &["m=image 0 udptl t38"][..], &["m=audio 0 RTP/SAVP 0"][..]] {
        let mut client = Client::invite(&bench, "S7", lines).await;
        assert_eq!(client.response().await.status, 488, "{lines:?}");
        assert!(bench.finished().await.to_string().contains(" state=refused reason=\"488: "), "{lines:?}");
    }
}

#[tokio::test]
async fn a_reinvite_that_is_garbage_leaves_the_session_as_it_was() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "S8", &TWO_PARTIES[..1]).await;
    client.answer().await;
    client.request(Method::Invite, Some(Body::sdp(b"garbage".to_vec())));
    assert_eq!(client.response().await.status, 488);
    client.burst(0, VOICE.packets(0..10)).await;
    client.bye().await;
    assert_eq!(bench.outcome().await.wav().channels, [VOICE.sound(0..10)]);
}

#[tokio::test]
async fn requests_outside_of_sessions_are_answered() {
    let bench = Bench::new();
    let mut client = Client::invite(&bench, "S9", TWO_PARTIES).await;
    client.answer().await;
    let options = client.ask(Method::Options, None).await;
    assert_eq!(options.status, 200);
    assert!(options.headers.allow().contains(&Method::Invite));
    assert_eq!(client.ask(Method::Bye, Some("stranger")).await.status, 481);
    assert_eq!(client.ask(Method::Register, None).await.status, 405);
    assert_eq!(client.ask(Method::parse("FROB").unwrap(), None).await.status, 501);
    // What it does not take it does not allow.
    let notify = client.ask(Method::Notify, None).await;
    assert_eq!((notify.status, notify.headers.allow()), (405, options.headers.allow()));
    assert!(!notify.headers.allow().contains(&Method::Notify));
}

#[tokio::test]
async fn a_session_allows_what_the_recorder_takes() {
    let bench = Bench::new();
    let mut client = Client::invite(&bench, "S18", TWO_PARTIES).await;
    let allow = client.response().await.headers.allow();
    assert!(allow.contains(&Method::Info) && !allow.contains(&Method::Notify), "{allow:?}");
    client.request(Method::Notify, None);
    let refused = client.event(|event| matches!(event, DialogEvent::Responded { .. })).await;
    let DialogEvent::Responded { response, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((response.status, response.headers.allow()), (405, allow));
}

#[tokio::test]
async fn what_a_question_requires_and_nobody_knows_is_named() {
    for (no_session_timer, require, status, unsupported) in [
        (false, "timer", 200, None),
        (false, "timer, 100rel, x", 420, Some("100rel, x")),
        (true, "timer", 420, Some("timer")),
    ] {
        let bench = Bench::with(|config| config.behaviour.no_session_timer = no_session_timer);
        let mut client = Client::invite(&bench, "S19", TWO_PARTIES).await;
        client.answer().await;
        let answer = client.ask_requiring(Method::Options, None, Some(require)).await;
        let named = answer.headers.get(&HeaderName::Unsupported).map(ToString::to_string);
        assert_eq!((answer.status, named.as_deref()), (status, unsupported), "{require}");
    }
}

#[tokio::test]
async fn told_to_send_sessions_elsewhere_it_says_where_as_often_as_it_is_told() {
    let places = ["sip:192.0.2.7:5070;transport=tcp", "sip:other.example"];
    let mut bench = Bench::with(|config| {
        config.behaviour.redirect = places.map(|place| Uri::parse(place).unwrap()).to_vec();
        config.behaviour.refuse_times = Some(1);
        config.behaviour.retry_after = Some(7);
    });
    let mut client = Client::invite(&bench, "S20", TWO_PARTIES).await;
    let moved = client.response().await;
    let contacts: Vec<_> =
        moved.headers.contacts().unwrap().iter().map(|contact| contact.uri.to_string()).collect();
    assert_eq!((moved.status, contacts), (302, places.map(str::to_owned).to_vec()));
    assert_eq!(moved.headers.retry_after(), Ok(Some(7)));
    let session = bench.finished().await;
    assert!(session.to_string().contains(" state=refused reason=302 "), "{session}");
    assert_eq!(session.folder, None);
    Client::invite(&bench, "S21", TWO_PARTIES).await.answer().await;
}

#[tokio::test]
async fn a_session_whose_folder_is_removed_ends_as_failed() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "S22", TWO_PARTIES).await;
    client.answer().await;
    client.burst(0, VOICE.packets(0..10)).await;
    std::fs::remove_dir_all(bench.output().join("S22")).unwrap();
    let Termination::RemoteBye(bye) = client.end().await else { panic!("no BYE") };
    assert!(
        bye.headers.get(&HeaderName::parse("Reason").unwrap()).unwrap().to_string().contains("cause=500")
    );
    let session = bench.finished().await.to_string();
    assert!(session.contains(" state=failed ") && session.contains(" error=\"cannot find "), "{session}");
}

#[tokio::test]
async fn a_recorder_that_stops_says_goodbye_and_completes_its_files() {
    let bench = Bench::new();
    let mut client = Client::invite(&bench, "S10", &TWO_PARTIES[..1]).await;
    client.answer().await;
    client.burst(0, VOICE.packets(0..10)).await;
    let stopped = tokio::spawn(bench.stop());
    assert!(matches!(client.end().await, Termination::RemoteBye(_)));
    let (folder, mut finished) = tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap();
    let session = finished.recv().await.unwrap();
    assert_eq!(session.report.end_reason.as_deref(), Some("the recorder stops"));
    let wav = siprec_recorder::WavSound::read(&folder.path().join("out/S10/session.wav")).unwrap();
    assert_eq!(wav.channels, [VOICE.sound(0..10)]);
}

#[tokio::test]
async fn counting_alone_writes_nothing() {
    let mut bench = Bench::with(|config| config.count_only = true);
    let mut client = Client::invite(&bench, "S11", TWO_PARTIES).await;
    client.answer().await;
    client.burst(1, VOICE.packets(0..100)).await;
    client.bye().await;
    let session = bench.finished().await;
    assert_eq!((session.folder.clone(), session.report.streams[1].packets), (None, 100));
    assert!(!bench.output().exists());
}

#[tokio::test]
async fn two_sessions_with_one_id_have_two_folders() {
    let mut bench = Bench::new();
    for expected in ["S12", "S12.2"] {
        let mut client = Client::invite(&bench, "S12", TWO_PARTIES).await;
        client.answer().await;
        client.bye().await;
        assert_eq!(bench.outcome().await.folder.file_name().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_folder_that_vanishes_refuses_sessions_and_the_recorder_lives() {
    let mut bench = Bench::new();
    std::fs::remove_dir_all(bench.output()).unwrap();
    let mut client = Client::invite(&bench, "S13", TWO_PARTIES).await;
    assert_eq!(client.response().await.status, 500);
    let session = bench.finished().await;
    assert!(session.to_string().contains("error=\"cannot create folder "), "{session}");
    std::fs::create_dir_all(bench.output()).unwrap();
    let mut client = Client::invite(&bench, "S14", TWO_PARTIES).await;
    client.answer().await;
    client.bye().await;
    bench.outcome().await;
}

#[tokio::test]
async fn files_that_cannot_be_written_end_the_session_by_bye() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "S15", &TWO_PARTIES[..1]).await;
    client.answer().await;
    // A folder in the file's place stands for a disk that is full.
    std::fs::create_dir(bench.output().join("S15/session.next.wav")).unwrap();
    client.burst(0, VOICE.packets(0..10)).await;
    assert!(matches!(client.end().await, Termination::RemoteBye(_)));
    let session = bench.finished().await;
    assert!(session.to_string().contains(" state=failed "), "{session}");
    assert!(session.report.error.unwrap().contains("session.next.wav"));
}

#[tokio::test]
async fn a_taken_port_and_a_folder_that_cannot_be_made_are_clear_errors() {
    let bench = Bench::new();
    let start = |listen, output| Recorder::start(RecorderConfig::new(listen, output), |_| {}).map(drop);
    let free = "127.0.0.1:0".parse().unwrap();
    let error = start(bench.recorder.local(), bench.output()).unwrap_err();
    assert!(matches!(error, StartError::Bind(_)), "{error:?}");
    assert!(error.to_string().contains(&bench.recorder.local().port().to_string()), "{error}");
    let file = bench.output().join("file");
    std::fs::write(&file, "").unwrap();
    let error = start(free, file.clone()).unwrap_err();
    assert!(matches!(error, StartError::Output(_)), "{error:?}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
}
