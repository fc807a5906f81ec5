//! `siprecudpsrc` and `siprecudpsink` in a call that is recorded, and between elements of GStreamer that are not ours.

use std::time::Duration;

use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::judge::Verdict;
use siprec_system_tests::net::{free_udp_port, wait_for_udp};
use siprec_system_tests::process::Process;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_call_between_our_input_and_output_is_untouched_and_recorded_whole() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let properties = format!("recorder={} dn=1001 other-dn=1002", recorder.uri());
    let mut call = Call::start_between_ours(&sandbox, &properties).unwrap();
    let said = [babble(0, 3), babble(1, 3)];
    call.talk_untouched(&said).unwrap();
    let printed = call.hang_up().unwrap();
    assert!(!printed.contains("WARNING") && !printed.contains("CRITICAL"), "{printed}");
    recorder.sessions(1, PATIENCE).unwrap();
    Verdict::of(&said, &[recorder.folder()]).unwrap().ensure_whole().unwrap();
}

#[test]
fn what_udpsink_sends_arrives_at_udpsrc_through_ours_as_it_was() {
    let sandbox = Sandbox::new().unwrap();
    let [relay_port, last_port] = [free_udp_port().unwrap(), free_udp_port().unwrap()];
    let said: Vec<u8> = babble(0, 6).iter().flat_map(|packet| packet.payload.clone()).collect();
    std::fs::write(sandbox.join("said"), &said).unwrap();
    let launch = |name: &str, pipeline: &str| {
        Process::start(&sandbox, name, &mut sandbox.gst_launch(pipeline)).unwrap()
    };
    let packets = said.len() / 160;
    let mut last = launch(
        "receiver",
        &format!(
            "udpsrc address=127.0.0.1 port={last_port} num-buffers={packets} ! filesink location=heard sync=false"
        ),
    );
    wait_for_udp(last_port, PATIENCE).unwrap();
    let relay = launch(
        "relay",
        &format!(
            "siprecudpsrc address=127.0.0.1 port={relay_port} ! siprecudpsink host=127.0.0.1 port={last_port}"
        ),
    );
    wait_for_udp(relay_port, PATIENCE).unwrap();
    let mut first = launch(
        "sender",
        &format!(
            "filesrc location=said blocksize=160 ! identity sleep-time=2000 ! udpsink host=127.0.0.1 port={relay_port} sync=false"
        ),
    );
    first.succeed(PATIENCE).unwrap();
    last.succeed(PATIENCE).unwrap();
    let heard = std::fs::read(sandbox.join("heard")).unwrap();
    assert!(heard == said, "{} bytes said, {} heard\n{}", said.len(), heard.len(), relay.output());
}
