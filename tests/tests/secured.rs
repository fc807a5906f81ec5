//! The program `siprec recorder` with secured recordings: its options, what it leaves of keys, and a phone that is not ours.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_sip::SessionDescription;
use siprec_sip::sdp::Crypto;
use siprec_system_tests::net::{free_rtp_port, free_udp_port, wait_for_udp};
use siprec_system_tests::process::{Process, run};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::script::{AUDIO, Script};
use siprec_system_tests::wav;

const PATIENCE: Duration = Duration::from_secs(20);
/// The client's key of AES_CM_128_HMAC_SHA1_80, and what it is in hexadecimal.
const KEY: (&str, &str) = (
    "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk",
    "4142434445464748494a4b4c4d4e4f505152535455565758595a61626364",
);

/// A stream with this key.
fn secured() -> String {
    format!(
        "m=audio $PORT RTP/SAVP 0\r\na=sendonly\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n",
        KEY.0
    )
}

fn answered(script: &Script) -> Result<(String, Vec<(u32, String)>)> {
    let answer = SessionDescription::parse(&script.response.body)?;
    let media = answer.media(0).context("no m-line")?;
    let lines: Vec<Crypto> = media.cryptos().collect::<Result<_, _>>()?;
    let lines = lines.iter().map(|line| (line.tag(), line.suite().to_string())).collect();
    Ok((media.proto().to_owned(), lines))
}

#[test]
fn the_program_takes_what_it_is_told_to_take_and_answers_as_oddly_as_it_is_told() -> Result<()> {
    let suite = "AES_CM_128_HMAC_SHA1_80".to_owned();
    let right = ("RTP/SAVP".to_owned(), vec![(1, suite.clone())]);
    for (arguments, expected) in [
        (vec![], Some(right.clone())),
        (vec!["--srtp", "require"], Some(right.clone())),
        (vec!["--srtp", "refuse"], None),
        (vec!["--srtp-suites", "AEAD_AES_256_GCM"], None),
        (vec!["--srtp-suites", "AEAD_AES_256_GCM,aes_cm_128_hmac_sha1_80"], Some(right)),
        (vec!["--odd-crypto", "plain"], Some(("RTP/AVP".to_owned(), vec![]))),
        (vec!["--odd-crypto", "two"], Some(("RTP/SAVP".to_owned(), vec![(1, suite.clone()), (2, suite)]))),
    ] {
        let sandbox = Sandbox::new()?;
        let mut recorder = Recorder::start(&sandbox, &arguments)?;
        match (Script::begin_with(recorder.address(), "told", &secured(), ""), expected) {
            (Ok(script), Some(expected)) => {
                ensure!(answered(&script)? == expected, "{arguments:?}: {:?}", answered(&script)?);
                script.end(&mut recorder)?;
            }
            (Err(error), None) => ensure!(error.to_string().starts_with("488 "), "{arguments:?}: {error}"),
            (Ok(_), None) => anyhow::bail!("{arguments:?}: accepted"),
            (Err(error), Some(_)) => return Err(error),
        }
    }
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start(&sandbox, &["--srtp", "require"])?;
    let refused = Script::begin_with(recorder.address(), "plain", AUDIO, "").err().context("accepted")?;
    ensure!(refused.to_string().contains("audio is not secured"), "{refused}");
    for wrong in [["--srtp-suites", "NULL"], ["--srtp-suites", ""], ["--odd-crypto", "both"]] {
        let mut command = sandbox.siprec();
        command.arg("recorder").args(wrong);
        let (status, output) = run(&sandbox, "wrong", &mut command, PATIENCE)?;
        ensure!(status.code() == Some(2) && output.contains(wrong[0]), "{status}: {output}");
    }
    Ok(())
}

#[test]
fn a_recorder_that_rekeys_sends_an_offer_with_another_key() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, &["--rekey-after", "0.1"])?;
    let script = Script::begin_with(recorder.address(), "rekey", &secured(), "")?;
    let first = SessionDescription::parse(&script.response.body)?;
    let offer = script.refuse_offer()?;
    let (old, new) = (first.media(0).context("no m-line")?, offer.media(0).context("no m-line")?);
    ensure!(old.port() == new.port() && old.proto() == new.proto());
    let key = |media: siprec_sip::sdp::MediaView<'_>| {
        media.cryptos().next().context("no key")?.map_err(anyhow::Error::from)
    };
    let (old, new) = (key(old)?, key(new)?);
    ensure!((old.tag(), old.suite()) == (new.tag(), new.suite()) && old.keys() != new.keys());
    script.end(&mut recorder)?;
    Ok(())
}

/// Every file below a folder that has any of these texts in it.
fn holding(folder: &Path, secrets: &[Vec<u8>]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(holding(&path, secrets)?);
        } else {
            let bytes = std::fs::read(&path)?;
            if secrets.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret)) {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}

/// A GStreamer pipeline that sends a tone to the recorder under a key.
fn speak(sandbox: &Sandbox, script: &Script) -> Result<()> {
    let port = script.ports.first().context("no m-line")?;
    let pipeline = format!(
        "audiotestsrc num-buffers=100 samplesperbuffer=160 wave=square ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! \
         rtppcmupay ! srtpenc key={} ! udpsink host=127.0.0.1 port={port} sync=true",
        KEY.1
    );
    let mut command = sandbox.command("gst-launch-1.0");
    command.arg("-q").args(pipeline.split_whitespace());
    let (status, output) = run(sandbox, "speak", &mut command, PATIENCE)?;
    ensure!(status.success(), "{output}");
    Ok(())
}

#[test]
fn no_key_is_in_any_file_or_log_though_gstreamer_logs_all_it_can() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let logs = Sandbox::new()?;
    let folder = logs.join("recordings");
    let mut command = sandbox.siprec();
    command.args(["recorder", "--listen", "127.0.0.1:0", "--output"]).arg(&folder);
    command.env("GST_DEBUG", "*:9").env("GST_DEBUG_FILE", logs.join("gst.log"));
    let mut process = Process::start(&logs, "recorder", &mut command)?;
    let line = process.wait_for_line("listening", PATIENCE)?;
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("udp=")).context("no udp=")?;
    let script = Script::begin_with(address, "quiet", &secured(), "")?;
    let answer = SessionDescription::parse(&script.response.body)?;
    let own = answer.media(0).and_then(|media| media.cryptos().next()).context("no key")??;
    speak(&sandbox, &script)?;
    // A report of the recorder has been protected too.
    let mut buffer = [0; 2000];
    script.media[1].recv(&mut buffer).context("no report")?;
    process.signal("TERM")?;
    script.expect_bye()?;
    process.succeed(PATIENCE)?;
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("quiet/session.json"))?)?;
    let srtp = &json["streams"][0]["srtp"];
    ensure!(srtp["packets"] == 100 && srtp["not_authentic"] == 0, "{json}");
    let mut secrets = Vec::new();
    for master in [own.keys()[0].master(), &hex(KEY.1)] {
        let text: String = master.iter().map(|byte| format!("{byte:02x}")).collect();
        secrets.extend([master.to_vec(), text.to_uppercase().into_bytes(), text.into_bytes()]);
    }
    secrets.push(KEY.0.as_bytes().to_vec());
    let said = String::from_utf8(answer.to_bytes())?;
    let inline = said.split("inline:").nth(1).and_then(|rest| rest.split(['\r', '|']).next());
    secrets.push(inline.context("no key")?.as_bytes().to_vec());
    let size = std::fs::metadata(logs.join("gst.log"))?.len();
    ensure!(size > 100_000, "GStreamer logged {size} bytes");
    ensure!(holding(logs.path(), &secrets)?.is_empty(), "{:?}", holding(logs.path(), &secrets)?);
    Ok(())
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn without_gstreamers_srtp_a_secured_session_is_refused_and_what_is_missing_is_named() -> Result<()> {
    let sandbox = Sandbox::new()?;
    // All of GStreamer's plugins but the one.
    let plugins = sandbox.join("plugins");
    std::fs::create_dir(&plugins)?;
    let mut command = sandbox.command("pkg-config");
    command.args(["--variable=pluginsdir", "gstreamer-1.0"]);
    let (_, folder) = run(&sandbox, "pkg-config", &mut command, PATIENCE)?;
    for entry in Path::new(folder.trim()).read_dir()? {
        let path = entry?.path();
        let name = path.file_name().context("no name")?;
        if name != "libgstsrtp.so" && path.is_file() {
            std::os::unix::fs::symlink(&path, plugins.join(name))?;
        }
    }
    let recordings = sandbox.join("recordings");
    let mut command = sandbox.siprec();
    command.args(["recorder", "--listen", "127.0.0.1:0", "--output"]).arg(&recordings);
    command.env("GST_PLUGIN_SYSTEM_PATH", &plugins).env_remove("GST_PLUGIN_PATH");
    let mut process = Process::start(&sandbox, "recorder", &mut command)?;
    let line = process.wait_for_line("listening", PATIENCE)?;
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("udp=")).context("no udp=")?;
    let refused = Script::begin_with(address, "missing", &secured(), "").err().context("accepted")?;
    ensure!(refused.to_string().starts_with("500 "), "{refused}");
    let line = process.wait_for_line("session id=missing", PATIENCE)?;
    ensure!(line.contains("GStreamer element srtp"), "{line}");
    // Plain ones are taken.
    let script = Script::begin_with(address, "plain", AUDIO, "")?;
    script.speak(0..50)?;
    process.signal("TERM")?;
    script.expect_bye()?;
    process.succeed(PATIENCE)?;
    ensure!(recordings.join("plain/session.wav").is_file());
    Ok(())
}

#[test]
fn phones_of_another_make_hear_our_reports_and_are_recorded_through_hold_and_update() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let packages = sandbox.build().with_file_name("python");
    ensure!(packages.join("pjsua2").exists(), "pjsua2 is missing: run `pipelines/bootstrap.sh test` first");
    let recorder = Recorder::start(&sandbox, &["--srtp", "require"])?;
    // Those that this PJSIP has.
    let suites = ["AES_256_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AES_CM_128_HMAC_SHA1_80"];
    let mut phones = Vec::new();
    for suite in suites {
        let mut command = sandbox.command("/usr/bin/python3");
        command.env("PYTHONPATH", &packages).arg(sandbox.source().join("tests/support/caller.py"));
        command.arg(format!("sip:record={suite}@{}", recorder.address()));
        command.args([free_udp_port()?.to_string(), free_rtp_port()?.to_string(), suite.to_owned()]);
        let mut phone = Process::start(&sandbox, suite, &mut command)?;
        // It has its ports before the next one looks for some.
        phone.wait_for_line("call: CONFIRMED 200", PATIENCE)?;
        phones.push(phone);
    }
    for phone in &mut phones {
        let said = phone.succeed(Duration::from_secs(30))?;
        let told = said.lines().find(|line| line.starts_with("reports: ")).context("no reports")?;
        // The phone reckons a round trip from a receiver report of ours that it could decrypt.
        ensure!(
            !told.contains(" 0 round") && !told.contains("trips: 0 ") && told.ends_with("lost: 0"),
            "{told}"
        );
    }
    for (session, suite) in recorder.sessions(suites.len(), PATIENCE)?.iter().zip(suites) {
        let stream = &session.json["streams"][0];
        let srtp = &stream["srtp"];
        ensure!(
            srtp["suite"] == suite && srtp["not_authentic"] == 0 && srtp["keys"] == 1,
            "{}",
            session.json
        );
        ensure!(srtp["packets"] == stream["packets"] && stream["lost"] == 0, "{}", session.json);
        ensure!(srtp["packets"].as_u64().is_some_and(|packets| packets > 250), "{}", session.json);
        let (_, channels) = wav::channels(&session.wav())?;
        ensure!(wav::rms(&channels[0]) > 1000.0, "{suite}");
    }
    Ok(())
}

#[test]
fn a_phone_with_srtp_of_its_own_is_recorded_and_what_it_sends_in_the_clear_is_told() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start(&sandbox, &["--srtp", "require"])?;
    let speech = sandbox.join("speech.wav");
    let mut command = sandbox.command("sox");
    command.args(["-n", "-r", "8000", "-c", "1", "-b", "16"]).arg(&speech);
    command.args(["synth", "6", "sine", "440"]);
    let (status, output) = run(&sandbox, "sox", &mut command, PATIENCE)?;
    ensure!(status.success(), "{output}");
    let folder = sandbox.join("baresip");
    std::fs::create_dir(&folder)?;
    let (sip, rtp) = (free_udp_port()?, free_rtp_port()?);
    let config = format!(
        "poll_method epoll\nsip_listen 127.0.0.1:{sip}\nnet_interface 127.0.0.1\nrtp_ports {rtp}-{}\nrtp_stats yes\n\
         audio_source aufile,{}\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n\
         module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\nmodule srtp.so\n\
         module_tmp account.so\nmodule_app menu.so\n",
        rtp + 8,
        speech.display(),
    );
    std::fs::write(folder.join("config"), config)?;
    std::fs::write(
        folder.join("accounts"),
        "<sip:ada@127.0.0.1>;regint=0;audio_codecs=PCMU;mediaenc=srtp-mand;answermode=manual\n",
    )?;
    std::fs::write(folder.join("contacts"), "")?;
    let mut command = sandbox.command("baresip");
    command.arg("-f").arg(&folder).args(["-t", "12", "-e"]);
    command.arg(format!("/dial sip:record=PHONE@{}", recorder.address()));
    let mut phone = Process::start(&sandbox, "phone", &mut command)?;
    wait_for_udp(sip, PATIENCE).with_context(|| phone.output())?;
    phone.succeed(Duration::from_secs(30))?;
    let session = recorder.sessions(1, PATIENCE).with_context(|| phone.output())?.remove(0);
    let stream = &session.json["streams"][0];
    let srtp = &stream["srtp"];
    // Its RTCP begins with an APP packet and ends with a BYE that it does not encrypt.
    ensure!(srtp["not_authentic"] == 2 && srtp["packets"] == stream["packets"], "{}", session.json);
    ensure!(srtp["packets"].as_u64().is_some_and(|packets| packets > 200), "{}", session.json);
    ensure!(stream["sender_reports"].as_u64().is_some_and(|reports| reports > 0), "{}", session.json);
    let (_, channels) = wav::channels(&session.wav())?;
    ensure!(wav::rms(&channels[0]) > 1000.0);
    ensure!(phone.output().contains("SRTP is Enabled (cryptosuite=AES_CM_128_HMAC_SHA1_80)"));
    Ok(())
}
