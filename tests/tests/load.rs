//! Many calls at once.

use std::time::Duration;

use siprec_system_tests::process::{run, wait_until};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;

const CALLS: usize = 250;
const SECONDS: usize = 10;

#[test]
fn five_hundred_streams_are_recorded_without_a_loss_on_either_path() {
    let sandbox = Sandbox::new().unwrap();
    let mut recorder = Recorder::start(&sandbox, &["--count-only"]).unwrap();
    let mut command = sandbox.command(sandbox.build().join("examples/load"));
    command.arg(recorder.uri()).args([CALLS.to_string(), SECONDS.to_string()]);
    let (status, printed) = run(&sandbox, "load", &mut command, Duration::from_secs(120)).unwrap();
    assert!(status.success(), "{printed}");
    let packets = 2 * CALLS * (50 * SECONDS + 1);
    let all = format!("pushed={packets} heard={packets} seen={packets} sent={packets} ");
    assert!(printed.contains(&all), "{printed}");

    // The recorder, which shares nothing with what sends, has counted the same.
    let output = wait_until("the recorder tells of every session", Duration::from_secs(10), || {
        let output = recorder.process().output();
        let told = output.lines().filter(|line| line.starts_with("session ")).count();
        Ok((told == CALLS).then_some(output))
    });
    let output = output.unwrap();
    let whole = format!("streams=2 packets={} lost=0", packets / CALLS);
    let torn: Vec<_> =
        output.lines().filter(|line| line.starts_with("session ") && !line.contains(&whole)).collect();
    assert!(torn.is_empty(), "{torn:?}");
}
