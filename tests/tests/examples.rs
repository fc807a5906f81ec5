//! The examples of embedding in `pipelines/` run, and their calls are recorded.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use siprec_system_tests::call::{babble, ensure_untouched};
use siprec_system_tests::net::{free_udp_port, udp, wait_for_udp};
use siprec_system_tests::process::{Process, run};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::rtp::{self, Collector, Packet};
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::wav;

/// Runs a program with two recorders, of which the first is out of capacity, and looks at both channels of what the
/// second has recorded. Without the second one the program fails.
fn records(sandbox: &Sandbox, make: impl Fn(&str) -> Command, seconds: usize) -> Result<String> {
    let full = Recorder::start(sandbox, &["--refuse", "503"])?;
    let (status, printed) = run(sandbox, "failing", &mut make(&full.uri()), Duration::from_secs(40))?;
    ensure!(!status.success() && printed.contains("siprec-failed"), "{printed}");

    let recorder = Recorder::start(sandbox, &[])?;
    let mut command = make(&format!("{} {}", full.uri(), recorder.uri()));
    let (status, printed) = run(sandbox, "example", &mut command, Duration::from_secs(40))?;
    ensure!(status.success(), "{printed}");
    for name in ["siprec-failed", "siprec-started", "siprec-stopped"] {
        ensure!(printed.contains(name), "{printed}");
    }
    for trouble in ["CRITICAL", "WARNING", "panicked"] {
        ensure!(!printed.contains(trouble), "{printed}");
    }
    let sessions = recorder.sessions(1, Duration::from_secs(10))?;
    let (rate, channels) = wav::channels(&sessions[0].wav())?;
    ensure!(rate == 8000 && channels.len() == 2, "{rate} Hz, {} channels", channels.len());
    for channel in &channels {
        let spoken = channel.iter().filter(|sample| sample.unsigned_abs() > 1000).count();
        // A start within 20 ms of each other, and nothing lost.
        ensure!(spoken.abs_diff(seconds * 8000) <= 320, "{spoken} samples of {seconds} s");
    }
    Ok(printed)
}

#[test]
fn the_rust_application_records_its_call_without_the_paused_second() {
    let sandbox = Sandbox::new().unwrap();
    let example = sandbox.build().join("examples/embed");
    let make = |uri: &str| {
        let mut command = sandbox.command(&example);
        command.arg(uri);
        command
    };
    let printed = records(&sandbox, make, 3).unwrap();
    assert!(printed.contains("siprec-paused") && printed.contains("siprec-resumed"), "{printed}");
}

#[test]
fn the_c_application_records_its_call() {
    let sandbox = Sandbox::new().unwrap();
    let program = sandbox.join("embed-c");
    let flags =
        Command::new("pkg-config").args(["--cflags", "--libs", "gstreamer-app-1.0"]).output().unwrap();
    let flags = String::from_utf8(flags.stdout).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"]).arg(&program);
    compile.arg(sandbox.source().join("pipelines/embed.c")).args(flags.split_whitespace());
    let (status, printed) = run(&sandbox, "cc", &mut compile, Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{printed}");

    let make = |uri: &str| {
        let mut command = sandbox.command(&program);
        command.arg(uri);
        command
    };
    let printed = records(&sandbox, make, 3).unwrap();
    assert!(printed.contains("agent ended clean"), "{printed}");
}

#[test]
fn the_python_application_records_its_call() {
    let sandbox = Sandbox::new().unwrap();
    let make = |uri: &str| {
        // Debian's interpreter has the introspection bindings; another one first in PATH may not.
        let mut command = sandbox.command("/usr/bin/python3");
        command.arg(sandbox.source().join("pipelines/embed.py")).arg(uri);
        command
    };
    let printed = records(&sandbox, make, 3).unwrap();
    assert!(printed.contains("packets that came out of the call: 150 150"), "{printed}");
}

#[test]
fn the_dtls_application_records_its_call_while_it_passes_through_encrypted() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &["--srtp", "require"]).unwrap();
    let mut command = sandbox.command("/usr/bin/python3");
    command.arg(sandbox.source().join("pipelines/dtls.py")).arg(recorder.uri());
    let (status, printed) = run(&sandbox, "dtls", &mut command, Duration::from_secs(40)).unwrap();
    assert!(status.success() && printed.contains("siprec-started"), "{printed}");
    assert!(!printed.contains("gap"), "{printed}");
    let sessions = recorder.sessions(1, Duration::from_secs(10)).unwrap();
    let stream = &sessions[0].json["streams"][0];
    assert!(stream["packets"].as_u64() > Some(100), "{stream}");
    assert_eq!((&stream["lost"], &stream["srtp"]["not_authentic"]), (&0.into(), &0.into()), "{stream}");
    let (_, channels) = wav::channels(&sessions[0].wav()).unwrap();
    assert!(wav::rms(&channels[0]) > 1000.0);
}

#[test]
fn the_relay_line_records_its_call_and_leaves_it_untouched() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let (phones, ports) =
        ([udp().unwrap(), udp().unwrap()], [free_udp_port().unwrap(), free_udp_port().unwrap()]);
    let mut command = sandbox.command(sandbox.source().join("pipelines/relay.sh"));
    command.arg(recorder.uri());
    for (phone, port) in phones.iter().zip(ports) {
        command.arg(port.to_string()).arg(phone.local_addr().unwrap().to_string());
    }
    let mut relay = Process::start(&sandbox, "relay", &mut command).unwrap();
    ports.iter().for_each(|port| wait_for_udp(*port, Duration::from_secs(10)).unwrap());

    let ears = [Collector::on(phones[0].try_clone().unwrap()), Collector::on(phones[1].try_clone().unwrap())];
    let said = [babble(0, 1), babble(1, 1)];
    for ((phone, port), packets) in phones.iter().zip(ports).zip(&said) {
        rtp::play(phone, siprec_system_tests::net::local(port), packets).unwrap();
    }
    for (ear, packets) in ears.into_iter().zip([&said[1], &said[0]]) {
        ensure_untouched(packets, &ear.unwrap().finish().unwrap()).unwrap();
    }
    relay.signal("INT").unwrap();
    let printed = relay.succeed(Duration::from_secs(5)).unwrap();
    assert!(!printed.contains("WARNING"), "{printed}");
    let sessions = recorder.sessions(1, Duration::from_secs(10)).unwrap();
    assert!(wav::channels(&sessions[0].wav()).unwrap().1.len() == 2);
}

#[test]
fn the_tee_line_copies_a_stream_under_its_own_sequence_numbers() {
    let sandbox = Sandbox::new().unwrap();
    let (call, copy) = (Collector::start().unwrap(), Collector::start().unwrap());
    let port = free_udp_port().unwrap();
    let mut command = sandbox.command(sandbox.source().join("pipelines/tee.sh"));
    command.arg(port.to_string()).arg(call.address().to_string()).arg(copy.address().to_string());
    let mut tee = Process::start(&sandbox, "tee", &mut command).unwrap();
    wait_for_udp(port, Duration::from_secs(10)).unwrap();

    let said = babble(0, 1);
    rtp::play(&udp().unwrap(), siprec_system_tests::net::local(port), &said).unwrap();
    ensure_untouched(&said, &call.finish().unwrap()).unwrap();
    let copied: Vec<_> = copy.finish().unwrap().iter().map(|bytes| Packet::parse(bytes).unwrap()).collect();
    assert_eq!(copied.len(), said.len());
    let first = copied[0].sequence;
    for (index, (said, copied)) in said.iter().zip(&copied).enumerate() {
        assert_eq!(
            (&said.payload, said.timestamp, said.ssrc),
            (&copied.payload, copied.timestamp, copied.ssrc)
        );
        assert_eq!(copied.sequence, first.wrapping_add(index as u16));
    }
    tee.signal("INT").unwrap();
    let printed = tee.succeed(Duration::from_secs(5)).unwrap();
    assert!(!printed.contains("WARNING"), "{printed}");
}
