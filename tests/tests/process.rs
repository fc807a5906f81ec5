//! What the process around the element does to it.

use std::time::Duration;

use siprec_system_tests::process::run;
use siprec_system_tests::sandbox::Sandbox;

#[test]
fn an_agent_from_before_a_fork_is_refused_in_the_child_and_serves_its_parent() {
    let sandbox = Sandbox::new().unwrap();
    // Debian's interpreter has the introspection bindings; another one first in PATH may not.
    let mut command = sandbox.command("/usr/bin/python3");
    command.arg(sandbox.source().join("tests/support/fork.py")).arg("sip:127.0.0.1:9");
    let (status, printed) = run(&sandbox, "fork", &mut command, Duration::from_secs(20)).unwrap();
    assert!(status.success(), "{printed}");
    let line = |who: &str| printed.lines().find(|line| line.starts_with(who)).unwrap_or_default().to_owned();
    assert_eq!(line("before:"), "before: success ", "{printed}");
    assert!(line("child:").starts_with("child: failure"), "{printed}");
    assert!(line("child:").contains("before this process forked"), "{printed}");
    assert_eq!(line("parent:"), "parent: success ", "{printed}");
}
