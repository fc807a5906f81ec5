//! Recordings whose signalling goes by TLS, through `siprec`, the reference recorder, and somebody who listens in.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::capture::{tshark, write_tcp_pcap};
use siprec_system_tests::pki::{Authority, Certificate};
use siprec_system_tests::process::{run, wait_until};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::speech::places;
use siprec_system_tests::wiretap::Wiretap;

const PATIENCE: Duration = Duration::from_secs(20);

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A recorder by TLS that wants certificates of `authority`.
fn recorder(sandbox: &Sandbox, ours: &Certificate, authority: &Authority<'_>) -> Result<Recorder> {
    let (certificate, key, client_ca) =
        (shown(&ours.certificate), shown(&ours.key), shown(&authority.file()));
    let tls = ["--listen-tls", "127.0.0.1:0", "--certificate", &certificate, "--key", &key];
    Recorder::start(sandbox, &[&tls[..], &["--client-ca", &client_ca]].concat())
}

/// The agent's properties.
fn agent(ours: &Certificate, authority: &Authority<'_>) -> Vec<String> {
    vec![
        "local-address=127.0.0.1".to_owned(),
        format!("tls-ca={}", shown(&authority.file())),
        format!("tls-certificate={}", shown(&ours.certificate)),
        format!("tls-key={}", shown(&ours.key)),
    ]
}

fn hang_up(call: &mut Call) -> Result<()> {
    call.relay.say("quit")?;
    call.relay.succeed(PATIENCE).map(drop)
}

#[test]
fn a_call_by_sips_is_recorded_and_who_listens_in_hears_tls_only() {
    let sandbox = Sandbox::new().unwrap();
    let authority = Authority::new(&sandbox, "authority").unwrap();
    let recorder =
        recorder(&sandbox, &authority.sign("recorder", "IP:127.0.0.1").unwrap(), &authority).unwrap();
    let wiretap = Wiretap::before(recorder.tls().unwrap()).unwrap();
    let client = authority.sign("client", "DNS:client.test").unwrap();
    let properties = format!(
        "recorder=sip:{} sips-call=true call-uuid=SECRET7 dn=1001 other-dn=1002 recording-id=R1",
        wiretap.address()
    );
    let mut call = Call::start_led_with_agent(&sandbox, &properties, &agent(&client, &authority)).unwrap();
    let said = [babble(0, 3), babble(1, 3)];
    call.talk_untouched(&said).unwrap();
    hang_up(&mut call).unwrap();

    let sessions = recorder.sessions(1, PATIENCE).unwrap();
    places(&sessions[0], &said).unwrap();
    let json = &sessions[0].json;
    assert_eq!(json["call_uuid"], "SECRET7");
    assert!(json["client"].as_str().unwrap().ends_with("/TLS"), "{json}");
    let ladder = fs::read_to_string(sessions[0].folder.join("ladder.txt")).unwrap();
    // The later requests go to the recorder's Contact, which is not where somebody listens in.
    let vias: Vec<_> = ladder.lines().filter(|line| line.trim_start().starts_with("Via:")).collect();
    assert!(vias.len() >= 5 && vias.iter().all(|via| via.contains("SIP/2.0/TLS 127.0.0.1:")), "{ladder}");
    assert!(["ACK sip:", "BYE sip:"].iter().all(|request| ladder.contains(request)), "{ladder}");

    let heard = wiretap.heard();
    for word in ["SIP/2.0", "INVITE", "SECRET7", "m=audio"] {
        let hears = |bytes: &[u8]| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!heard.iter().any(|segment| hears(&segment.bytes)), "{word} is heard");
    }
    let pcap = sandbox.join("tls.pcap");
    write_tcp_pcap(&pcap, &heard).unwrap();
    let count = |filter: &str| tshark(&sandbox, &pcap, &["-Y", filter]).unwrap().lines().count();
    assert_eq!(count("sip"), 0);
    assert_eq!(count("tls.handshake.type == 1"), 1);
    // Records, of which a frame may have several: two of the handshake, the INVITE and its answer at least.
    let fields =
        tshark(&sandbox, &pcap, &["-Y", "tls.app_data", "-T", "fields", "-e", "tls.app_data"]).unwrap();
    let records = fields.split([',', '\n']).filter(|record| !record.is_empty()).count();
    assert!(records >= 4, "{fields}");
    assert_eq!(count("tcp.len > 0 && !tls"), 0);
}

#[test]
fn a_recorder_by_sips_hangs_up_over_the_connection_that_the_client_made() {
    let sandbox = Sandbox::new().unwrap();
    let authority = Authority::new(&sandbox, "authority").unwrap();
    let certificate = authority.sign("recorder", "URI:sip:rec.test").unwrap();
    let mut recorder = recorder(&sandbox, &certificate, &authority).unwrap();
    let client = authority.sign("client", "DNS:client.test").unwrap();
    // Its certificate is for another name than its URI, which the structure knows.
    let properties = format!(
        "recorder=sips:{} recorder-tls=tls,server-name=rec.test,min-version=1.3 dn=1 other-dn=2",
        recorder.tls().unwrap()
    );
    let mut call = Call::start_led_with_agent(&sandbox, &properties, &agent(&client, &authority)).unwrap();
    call.talk_untouched(&[babble(0, 2), babble(1, 2)]).unwrap();
    recorder.process().signal("TERM").unwrap();
    wait_until("the recording stops", PATIENCE, || {
        let stopped = |line: &str| line.starts_with("siprec-stopped") && line.contains("recorder");
        Ok(call.relay.output().lines().any(stopped).then_some(()))
    })
    .unwrap();
    let sessions = recorder.sessions(1, PATIENCE).unwrap();
    assert!(sessions[0].json["request_uri"].as_str().unwrap().starts_with("sips:record="));
    let ladder = fs::read_to_string(sessions[0].folder.join("ladder.txt")).unwrap();
    assert!(ladder.contains("BYE sips:siprec@127.0.0.1:"), "{ladder}");
    hang_up(&mut call).unwrap();
}

#[test]
fn whoever_is_not_who_it_should_be_gets_no_recording_and_the_call_goes_on() {
    let sandbox = Sandbox::new().unwrap();
    let (authority, other) =
        (Authority::new(&sandbox, "authority").unwrap(), Authority::new(&sandbox, "other").unwrap());
    let right = authority.sign("recorder", "IP:127.0.0.1").unwrap();
    let recorder = recorder(&sandbox, &right, &authority).unwrap();
    let known = authority.sign("client", "DNS:client.test").unwrap();
    let stranger = other.sign("stranger", "DNS:client.test").unwrap();
    for (agent, reason) in [
        (agent(&known, &other), "none of the authorities that we trust has signed it"),
        (agent(&stranger, &authority), "does not trust the authority that signed the certificate"),
    ] {
        let properties = format!("recorder=sips:{} dn=1 other-dn=2", recorder.tls().unwrap());
        let mut call = Call::start_led_with_agent(&sandbox, &properties, &agent).unwrap();
        call.talk_untouched(&[babble(0, 2), babble(1, 2)]).unwrap();
        wait_until("the failure is told", PATIENCE, || {
            let told =
                |line: &str| line.starts_with("WARNING: The recording failed") && line.contains(reason);
            Ok(call.relay.output().lines().any(told).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: no {reason:?} in\n{}", call.relay.output()));
        hang_up(&mut call).unwrap();
    }
    assert!(recorder.folder().read_dir().unwrap().next().is_none(), "something was recorded");
}

#[test]
fn the_recorder_says_which_file_is_wrong_and_what_belongs_together() {
    let sandbox = Sandbox::new().unwrap();
    let started = |arguments: &[&str]| {
        let mut command = sandbox.siprec();
        command.args(["recorder", "--listen", "127.0.0.1:0"]).args(arguments);
        let (status, printed) = run(&sandbox, "recorder", &mut command, PATIENCE).unwrap();
        (status.code(), printed)
    };
    let missing = started(&["--listen-tls", "127.0.0.1:0", "--certificate", "missing.pem"]);
    assert!(
        missing.0 == Some(1) && missing.1.contains("cannot read missing.pem: No such file"),
        "{missing:?}"
    );
    for incomplete in [
        &["--listen-tls", "127.0.0.1:0"][..],
        &["--certificate", "a.pem"],
        &["--key", "a.key"],
        &["--client-ca", "ca.pem"],
    ] {
        let refused = started(incomplete);
        assert!(refused.0 == Some(2) && refused.1.contains("required"), "{refused:?}");
    }
}
