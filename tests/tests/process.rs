//! What the process around the element does to it.

use std::time::Duration;

use siprec_system_tests::process::run;
use siprec_system_tests::sandbox::Sandbox;

/// A process with such an element forks, and both of it want another one.
fn ensure_refused_after_a_fork(element: &str) {
    let sandbox = Sandbox::new().unwrap();
    // Debian's interpreter has the introspection bindings; another one first in PATH may not.
    let mut command = sandbox.command("/usr/bin/python3");
    command.arg(sandbox.source().join("tests/support/fork.py")).arg(element);
    let (status, printed) = run(&sandbox, "fork", &mut command, Duration::from_secs(20)).unwrap();
    assert!(status.success(), "{printed}");
    let line = |who: &str| printed.lines().find(|line| line.starts_with(who)).unwrap_or_default().to_owned();
    assert_eq!(line("before:"), "before: success ", "{printed}");
    assert!(line("child:").starts_with("child: failure"), "{printed}");
    assert!(line("child:").contains("before this process forked"), "{printed}");
    assert_eq!(line("parent:"), "parent: success ", "{printed}");
}

#[test]
fn an_agent_from_before_a_fork_is_refused_in_the_child_and_serves_its_parent() {
    ensure_refused_after_a_fork("siprec recorder=sip:127.0.0.1:9");
}

#[test]
fn poll_threads_from_before_a_fork_are_refused_in_the_child_and_serve_their_parent() {
    ensure_refused_after_a_fork("siprecudpsrc address=127.0.0.1 port=0");
    ensure_refused_after_a_fork("siprecudpsink host=127.0.0.1 port=9");
}
