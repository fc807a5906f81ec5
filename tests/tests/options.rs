//! Options of `siprec recorder` that a client sees in each session, and those that decide what stays of it. What the
//! others do to `siprec` is in `behaviour.rs`.

use std::io::ErrorKind;

use anyhow::{Result, ensure};
use siprec_sip::HeaderName;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::script::{AUDIO, Script};

#[test]
fn told_to_ring_it_rings_before_it_answers() -> Result<()> {
    for (arguments, provisional) in [(&[][..], &[][..]), (&["--ring"], &[180])] {
        let sandbox = Sandbox::new()?;
        let recorder = Recorder::start(&sandbox, arguments)?;
        let script = Script::begin(&recorder, "ring")?;
        ensure!(script.provisional == provisional, "{arguments:?}: {:?}", script.provisional);
    }
    Ok(())
}

#[test]
fn the_session_timer_is_what_the_options_say() -> Result<()> {
    let cases: [(&[&str], _); 5] = [
        (&[], Some("1800;refresher=uac")),
        (&["--session-expires", "200"], Some("200;refresher=uac")),
        (&["--refresher", "uas"], Some("1800;refresher=uas")),
        (&["--refresher", "uac", "--session-expires", "120"], Some("120;refresher=uac")),
        (&["--no-session-timer", "--session-expires", "200"], None),
    ];
    let wish = "Supported: timer\r\nSession-Expires: 1800\r\n";
    for (arguments, expected) in cases {
        let sandbox = Sandbox::new()?;
        let recorder = Recorder::start(&sandbox, arguments)?;
        let script = Script::begin_with(recorder.address(), "timer", AUDIO, wish)?;
        let told = script.header(&HeaderName::SessionExpires);
        ensure!(told.as_deref() == expected, "{arguments:?}: {told:?}");
        let require = script.header(&HeaderName::Require);
        ensure!(require.as_deref() == expected.map(|_| "timer"), "{arguments:?}: {require:?}");
    }
    Ok(())
}

#[test]
fn a_client_that_requires_the_session_timer_is_refused_only_where_nobody_knows_it() -> Result<()> {
    let wish = "Require: timer\r\nSession-Expires: 1800\r\n";
    for (arguments, refused) in [(&[][..], None), (&["--no-session-timer"], Some("420"))] {
        let sandbox = Sandbox::new()?;
        let recorder = Recorder::start(&sandbox, arguments)?;
        let begun = Script::begin_with(recorder.address(), "required", AUDIO, wish);
        let told = begun.err().map(|error| error.to_string());
        let status = told.as_deref().and_then(|told| told.split(' ').next());
        ensure!(status == refused, "{arguments:?}: {told:?}");
    }
    Ok(())
}

#[test]
fn told_to_send_no_rtcp_it_sends_none_while_another_reports() -> Result<()> {
    let (sandbox, other) = (Sandbox::new()?, Sandbox::new()?);
    let mut silent = Recorder::start(&sandbox, &["--no-rtcp"])?;
    let unheard = Script::begin(&silent, "silent")?;
    unheard.speak(0..10)?;
    // The other one begins later, so that what it has sent the silent one would have sent too.
    let talking = Recorder::start(&other, &[])?;
    let heard = Script::begin(&talking, "talking")?;
    heard.speak(0..10)?;
    let mut report = [0; 1500];
    let length = heard.media[1].recv(&mut report)?;
    ensure!(report[1] == 201, "no receiver report: {:02x?}", &report[..length]);
    unheard.end(&mut silent)?;
    unheard.media[1].set_nonblocking(true)?;
    let nothing = unheard.media[1].recv(&mut report).map_err(|error| error.kind());
    ensure!(nothing == Err(ErrorKind::WouldBlock), "{nothing:?}");
    Ok(())
}

#[test]
fn told_to_keep_rtp_it_keeps_what_it_has_decoded_too() -> Result<()> {
    for (arguments, kept) in [(&[][..], false), (&["--keep-rtp"], true)] {
        let sandbox = Sandbox::new()?;
        let mut recorder = Recorder::start(&sandbox, arguments)?;
        let script = Script::begin(&recorder, "kept")?;
        script.speak(0..10)?;
        script.end(&mut recorder)?;
        let folder = recorder.folder().join("kept");
        ensure!(folder.join("session.wav").exists());
        // Each packet has 172 bytes and a head of 8.
        let dump = std::fs::read(folder.join("audio-0.rtpdump")).unwrap_or_default();
        ensure!((dump.len() > 10 * 180) == kept, "{arguments:?}: {} bytes", dump.len());
    }
    Ok(())
}

#[test]
fn told_to_refuse_video_it_answers_port_0_to_video_alone() -> Result<()> {
    let lines = format!("{AUDIO}m=video $PORT RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
    for (arguments, off) in [(&[][..], false), (&["--refuse-video"], true)] {
        let sandbox = Sandbox::new()?;
        let recorder = Recorder::start(&sandbox, arguments)?;
        let ports = Script::begin_with(recorder.address(), "video", &lines, "")?.ports;
        ensure!(ports.len() == 2 && ports[0] != 0, "{ports:?}");
        ensure!((ports[1] == 0) == off, "{arguments:?}: {ports:?}");
    }
    Ok(())
}
