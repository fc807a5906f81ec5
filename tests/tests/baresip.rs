//! A call between two baresip phones through a relay with `siprec`: each party's speech is in its own channel.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::b2bua::BackToBack;
use siprec_system_tests::call::PCMU;
use siprec_system_tests::net::{free_rtp_port, free_udp_port, local, wait_for_udp};
use siprec_system_tests::process::{Process, run};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::wav;

/// A baresip that speaks a sentence to whomever it is connected with.
struct Phone {
    process: Process,
    address: SocketAddr,
}

impl Phone {
    fn start(sandbox: &Sandbox, name: &str, speech: &Path, dial: Option<SocketAddr>) -> Result<Self> {
        let folder = sandbox.join(format!("baresip-{name}"));
        std::fs::create_dir(&folder)?;
        let (sip, rtp) = (free_udp_port()?, free_rtp_port()?);
        let config = format!(
            "poll_method epoll\nsip_listen 127.0.0.1:{sip}\nnet_interface 127.0.0.1\nrtp_ports {rtp}-{}\n\
             audio_source aufile,{}\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n\
             module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\nmodule_tmp account.so\n\
             module_app menu.so\n",
            rtp + 8,
            speech.display(),
        );
        let answer = if dial.is_none() { "auto" } else { "manual" };
        let account = format!("<sip:{name}@127.0.0.1>;regint=0;audio_codecs=PCMU;answermode={answer}\n");
        std::fs::write(folder.join("config"), config)?;
        std::fs::write(folder.join("accounts"), account)?;
        std::fs::write(folder.join("contacts"), "")?;
        let mut command = sandbox.command("baresip");
        command.arg("-f").arg(&folder).args(["-t", "30"]);
        if let Some(address) = dial {
            command.args(["-e", &format!("/dial sip:b2bua@{address}")]);
        }
        let process = Process::start(sandbox, name, &mut command)?;
        wait_for_udp(sip, Duration::from_secs(10)).with_context(|| process.output())?;
        Ok(Self { process, address: local(sip) })
    }
}

/// A sentence as a WAV file of 8 kHz, and how its loudness runs in six seconds from the first half second on, in steps of
/// 100 ms. It is silent before: a phone may speak a little earlier than the relay listens.
fn speech(sandbox: &Sandbox, name: &str, voice: &str, text: &str) -> Result<(std::path::PathBuf, Vec<f64>)> {
    let (raw, path) = (sandbox.join(format!("{name}-raw.wav")), sandbox.join(format!("{name}.wav")));
    let mut speak = sandbox.command("espeak-ng");
    speak.args(["-v", voice, "-w"]).arg(&raw).arg(text);
    let mut convert = sandbox.command("sox");
    convert.arg(&raw).args(["-r", "8000", "-c", "1", "-b", "16"]).arg(&path);
    // A phone hangs up when its file ends: both last 8 s, so that neither cuts the other short.
    convert.args(["pad", "1", "8", "trim", "0", "8"]);
    for (step, command) in [("speak", &mut speak), ("convert", &mut convert)] {
        let (status, printed) = run(sandbox, step, command, Duration::from_secs(20))?;
        ensure!(status.success(), "{printed}");
    }
    let (_, channels) = wav::channels(&path)?;
    let said = envelope(&channels[0]).into_iter().skip(5).take(60).collect();
    Ok((path, said))
}

fn envelope(samples: &[i16]) -> Vec<f64> {
    samples.chunks(800).map(wav::rms).collect()
}

/// The best correlation of `wanted` with how the loudness runs in any part of `channel`, from every 5 ms on, -1 to 1.
fn likeness(channel: &[i16], wanted: &[f64]) -> f64 {
    let normal = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let size = centred.iter().map(|value| value * value).sum::<f64>().sqrt();
        centred.into_iter().map(|value| if size > 0.0 { value / size } else { 0.0 }).collect::<Vec<_>>()
    };
    let wanted = normal(wanted);
    let mut best = -1.0;
    for start in (0..800).step_by(40) {
        let heard = envelope(channel.get(start..).unwrap_or_default());
        for window in heard.windows(wanted.len()) {
            best = normal(window).iter().zip(&wanted).map(|(a, b)| a * b).sum::<f64>().max(best);
        }
    }
    best
}

#[test]
fn a_call_between_two_phones_is_recorded_each_party_in_its_channel() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let ada = "Good morning, this is Ada speaking. How can I help you today?";
    let bob = "Hello. My transfer, has it arrived? No? Then I shall wait another week.";
    let (ada_file, ada_said) = speech(&sandbox, "ada", "en-gb+f3", ada).unwrap();
    let (bob_file, bob_said) = speech(&sandbox, "bob", "en-us+m3", bob).unwrap();

    let callee = Phone::start(&sandbox, "bob", &bob_file, None).unwrap();
    let mut b2bua = BackToBack::start("bob", callee.address).unwrap();
    let caller = Phone::start(&sandbox, "ada", &ada_file, Some(b2bua.address())).unwrap();

    let inputs = [free_udp_port().unwrap(), free_udp_port().unwrap()];
    let mut relay = None;
    b2bua
        .carry(
            inputs,
            |media| {
                let [a, b] = media.phones;
                let pipeline = format!(
                    "siprec name=rec recorder={} call-uuid=BARESIP dn=ada other-dn=bob \
                     udpsrc address=127.0.0.1 port={} caps={PCMU} ! rec.sink_0 \
                     rec.src_0 ! udpsink host=127.0.0.1 port={} sync=false async=false \
                     udpsrc address=127.0.0.1 port={} caps={PCMU} ! rec.sink_1 \
                     rec.src_1 ! udpsink host=127.0.0.1 port={} sync=false async=false",
                    recorder.uri(),
                    media.inputs[0],
                    b.port(),
                    media.inputs[1],
                    a.port(),
                );
                let process = Process::start(&sandbox, "relay", &mut sandbox.gst_launch(&pipeline))?;
                media.inputs.iter().try_for_each(|port| wait_for_udp(*port, Duration::from_secs(10)))?;
                relay = Some(process);
                Ok(())
            },
            Duration::from_secs(40),
        )
        .with_context(|| format!("ada:\n{}\nbob:\n{}", caller.process.output(), callee.process.output()))
        .unwrap();
    let mut relay = relay.unwrap();
    relay.signal("INT").unwrap();
    relay.succeed(Duration::from_secs(5)).unwrap();

    let sessions = recorder.sessions(1, Duration::from_secs(10)).unwrap();
    let (rate, channels) = wav::channels(&sessions[0].wav()).unwrap();
    assert_eq!((rate, channels.len()), (8000, 2));
    let own = [likeness(&channels[0], &ada_said), likeness(&channels[1], &bob_said)];
    let other = [likeness(&channels[0], &bob_said), likeness(&channels[1], &ada_said)];
    assert!(own.iter().all(|likeness| *likeness > 0.9), "own speech {own:?}, the other's {other:?}");
    assert!(other.iter().all(|likeness| *likeness < 0.7), "own speech {own:?}, the other's {other:?}");
}
