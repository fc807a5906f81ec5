//! Two hundred calls, whose recorder dies.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use siprec_system_tests::process::{Process, wait_until};
use siprec_system_tests::sandbox::Sandbox;

use crate::Case;
use crate::baseline::Baseline;
use crate::cases::uris;
use crate::row::Row;
use crate::scene::{PATIENCE, Station};

pub(crate) const CASES: &[Case] = &[("calls", calls)];

const CALLS: usize = 200;
const SECONDS: usize = 30;

fn calls() -> Result<Vec<Row>> {
    let (none, mut killed) = (play(false)?, play(true)?);
    killed.baseline = Baseline::of(&none);
    Ok(vec![none, killed])
}

fn play(killed: bool) -> Result<Row> {
    let mut stations = vec![Station::open(&["--count-only"])?, Station::open(&["--count-only"])?];
    let sandbox = Sandbox::new()?;
    let mut command = sandbox.command(sandbox.build().join("examples/load"));
    command.arg(uris(&stations)).args([CALLS.to_string(), SECONDS.to_string()]);
    let mut load = Process::start(&sandbox, "load", &mut command)?;
    load.wait_for_line("started", PATIENCE)?;
    let began = Instant::now();
    let line = |load: &mut Process, message: &str, times: usize| -> Result<Duration> {
        load.wait_for_line(&format!("siprec-{message} {times}"), PATIENCE)?;
        Ok(began.elapsed())
    };
    let mut times = None;
    if killed {
        wait_until(
            "five seconds",
            PATIENCE,
            || Ok((began.elapsed() > Duration::from_secs(5)).then_some(())),
        )?;
        let at = began.elapsed();
        stations[0].kill()?;
        let suspected = line(&mut load, "suspected", 1)? - at;
        let failed = line(&mut load, "failed", CALLS)? - at;
        let over = line(&mut load, "failed-over", CALLS)? - at;
        times = Some((suspected, failed, over));
    }
    let printed = load.wait(PATIENCE + Duration::from_secs(SECONDS as u64)).map(|_| load.output())?;
    let number = |name: &str| -> Result<u64> {
        let rest = printed.split(&format!("{name}=")).nth(1).with_context(|| printed.clone())?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    };
    let [pushed, heard, sent, resent] =
        [number("pushed")?, number("heard")?, number(" sent")?, number("resent")?];
    let output = wait_until("the recorder tells of every session", PATIENCE, || {
        let output = stations[usize::from(killed)].recorder.process().output();
        Ok((output.lines().filter(|line| line.starts_with("session ")).count() == CALLS).then_some(output))
    })?;
    let counts = |name: &str| -> u64 {
        let name = format!(" {name}=");
        let values = output.split(&name).skip(1);
        values.filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok()).sum()
    };
    let (taken, holes) = (counts("packets"), counts("lost"));
    // What only the lost recorder had was acknowledged by it.
    let missing = (pushed - sent) + holes + if killed { 0 } else { pushed - taken };
    ensure!(taken >= resent, "{printed}");
    let fault = if killed {
        "200 calls, their recorder killed (times: first sign of any call, last of all calls)"
    } else {
        "200 calls, none"
    };
    let mut row = Row {
        fault: fault.to_owned(),
        packets: pushed as usize,
        lost: (pushed - heard) as usize,
        median: Duration::from_micros(number("p50")?),
        p99: Duration::from_micros(number("p99")?),
        baseline: Baseline::default(),
        suspected: times.map(|(suspected, _, _)| suspected),
        failed: times.map(|(_, failed, _)| failed),
        started: times.map(|(_, _, over)| over),
        speech: Some(missing as usize * 160),
        told: Duration::ZERO,
        receiver_lost: 0,
        messages: "of each call as above".to_owned(),
        remark: String::new(),
    };
    if killed {
        row.remark(&format!(
            "{resent} packets sent again; the second recorder counts {taken} and {holes} holes"
        ));
    }
    Ok(row)
}
