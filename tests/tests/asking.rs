//! GStreamer's `rtpbin` as the recorder's media side: its jitter buffer misses packets, and its session asks for them by generic
//! NACK (RFC 4585). Nothing of that is ours.

use std::time::Duration;

use anyhow::{Context, Result};
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::process::Process;
use siprec_system_tests::sandbox::Sandbox;

const PATIENCE: Duration = Duration::from_secs(20);
const LAST: usize = 15;

/// The payloads of one party in hexadecimal.
struct Stream {
    said: Vec<String>,
    /// What comes out of the jitter buffer.
    heard: Vec<String>,
}

/// A short call, every so-many-th packet of which is lost before the jitter buffer when it comes for the first time: each party's
/// stream, and what the relay has printed.
fn through(every: &str) -> Result<([Stream; 2], String)> {
    let sandbox = Sandbox::new()?;
    let mut command = sandbox.command("/usr/bin/python3");
    command.arg(sandbox.source().join("tests/support/asking.py")).arg(every);
    let mut recorder = Process::start(&sandbox, "asking", &mut command)?;
    let listening = recorder.wait_for_line("listening", PATIENCE)?;
    let port = listening.split_whitespace().nth(1).context("no port")?;
    let properties = format!("recorder=sip:127.0.0.1:{port} dn=1 other-dn=2 call-uuid=C1");
    let mut call = Call::start_led(&sandbox, &properties)?;
    let said = [babble(0, 2), babble(1, 2)];
    call.talk_untouched(&said)?;
    call.relay.say("quit 15")?;
    let relay = call.relay.succeed(PATIENCE)?;
    let printed = recorder.succeed(PATIENCE)?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let stream = |party: usize| -> Result<_> {
        let wanted = format!("stream {party}:");
        let heard = printed.lines().find_map(|line| line.strip_prefix(&wanted)).context("no such stream")?;
        let heard = heard.split_whitespace().map(str::to_owned).collect();
        Ok(Stream { said: said[party].iter().map(|packet| hex(&packet.payload)).collect(), heard })
    };
    Ok(([stream(0)?, stream(1)?], relay))
}

#[test]
fn gstreamer_asks_for_what_it_has_not_got_and_gets_it() {
    let (streams, relay) = through("3").unwrap();
    for Stream { said, heard } in streams {
        // For the last ones it may ask with its next report only, when the call has long ended.
        let missing: Vec<usize> = (0..said.len() - LAST).filter(|at| !heard.contains(&said[*at])).collect();
        assert_eq!(missing, [0; 0], "of {}\n{relay}", said.len());
        let in_order: Vec<_> = said.iter().filter(|packet| heard.contains(packet)).collect();
        assert_eq!(heard.iter().collect::<Vec<_>>(), in_order, "in order, and each once");
    }
    assert!(!relay.contains(" retransmitted=(guint64)0"), "{relay}");
}

#[test]
fn gstreamer_asks_for_nothing_where_nothing_is_lost() {
    let (streams, relay) = through("0").unwrap();
    for Stream { said, heard } in streams {
        assert_eq!(heard, said);
    }
    assert_eq!(relay.matches(" retransmitted=(guint64)0").count(), 2, "{relay}");
}
