//! The benchmark of signalling, with few sessions: each is set up, refreshed or asked, and ended, with SIPp as the recorder.

use std::time::Duration;

use siprec_system_tests::process::run;
use siprec_system_tests::sandbox::Sandbox;

fn three_hundred_sessions_over(transport: &str) {
    let sandbox = Sandbox::new().unwrap();
    let mut command = sandbox.command(sandbox.build().join("siprec-signalling"));
    // Longer than the recorder goes unasked.
    command.args([
        "--sessions",
        "300",
        "--window",
        "50",
        "--probe",
        "1",
        "--hold",
        "3",
        "--transport",
        transport,
    ]);
    let (status, printed) = run(&sandbox, "signalling", &mut command, Duration::from_secs(120)).unwrap();
    assert!(status.success(), "{printed}");
    for line in ["set up: 300 sessions in ", "held: 3 s, ", "ended: in "] {
        assert!(printed.contains(line), "{printed}");
    }
}

#[test]
fn sessions_are_set_up_held_and_ended_over_udp() {
    three_hundred_sessions_over("udp");
}

#[test]
fn sessions_are_set_up_held_and_ended_over_tcp() {
    three_hundred_sessions_over("tcp");
}
