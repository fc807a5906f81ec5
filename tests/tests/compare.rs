//! What measures us beside others still runs.

use std::time::Duration;

use siprec_system_tests::process::run;
use siprec_system_tests::sandbox::Sandbox;

#[test]
fn every_row_of_the_comparison_that_needs_nothing_foreign_can_be_measured() {
    let sandbox = Sandbox::new().unwrap();
    let rows = ["loop-copy", "stock-tee", "stock-siprec", "shared-siprec", "shared-siprec-one-port"];
    let mut command = sandbox.command(sandbox.build().join("examples/compare"));
    command.args(["run", "--rounds=1", "--streams=2", "--modes=srtp", "--seconds=1", "--strict"]);
    command.arg(format!("--rows={}", rows.join(","))).args(["--samples", "samples.tsv"]);
    // What is lost on a busy machine is a result; a packet that is not what was said fails.
    let (status, printed) = run(&sandbox, "compare", &mut command, Duration::from_secs(240)).unwrap();
    assert!(status.success(), "{printed}");
    for row in rows {
        assert!(printed.contains(&format!("\t{row}\tsrtp\t2\tfalse\t100\t")), "{printed}");
    }

    let mut command = sandbox.command(sandbox.build().join("examples/compare"));
    command.args(["report", "samples.tsv"]);
    let (status, printed) = run(&sandbox, "report", &mut command, Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("#### SRTP → SRTP with keys of its own, 2 streams"), "{printed}");
}
