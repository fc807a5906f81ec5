//! No key of an encrypted call or of its recording is in anything that the programs say or write: raw, in hexadecimal, in base64
//! or in decimal, whole or in parts. What could be found is shown to be found, in the same pass over the same bytes.
//!
//! Every source here is a text, and by most of them a key that is no text could not be said raw: so those of the call are
//! texts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use siprec_system_tests::derivation::session_keys;
use siprec_system_tests::net::{free_udp_port, wait_for_udp};
use siprec_system_tests::process::{Process, run, wait_until};
use siprec_system_tests::recorder::{Recorder, Session};
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::secret::{Evidence, Form, Plants, Search, Secret, random_letters};
use siprec_system_tests::wiretap::Wiretap;

const PATIENCE: Duration = Duration::from_secs(20);
/// What each phone says: a second.
const AUDIO: &str = "audiotestsrc is-live=true num-buffers=50 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! \
                     mulawenc ! rtppcmupay max-ptime=20000000 ";
const CAPS: &str = "application/x-srtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0";
const CM80: &str = "AES_CM_128_HMAC_SHA1_80";

/// A recorded call through a relay of which everything is kept.
struct Scene {
    sandbox: Sandbox,
    recorder: Recorder,
    wiretap: Wiretap,
    relay: Process,
    /// In the header User-Agent: the agent logs it, and the recorder's ladder has it.
    header: Plants,
    /// The call's name: in the element's property, in its messages, in what the recorder prints.
    call_uuid: Plants,
    /// The number of the second party, which goes to the recorder.
    number: Plants,
}

impl Scene {
    /// `further` is what stands behind the element `rec` in the relay's pipeline; `quiet` are categories of the log.
    fn begin(further: &str, quiet: &str) -> Self {
        let sandbox = Sandbox::new().unwrap();
        let recorder = Recorder::start(&sandbox, &[]).unwrap();
        let wiretap = Wiretap::before(recorder.address().parse().unwrap()).unwrap();
        let [header, call_uuid, number] = [(); 3].map(|()| Plants::in_text());
        let pipeline = format!(
            "siprec name=rec recorder=sip:{};transport=tcp allow-clear-keys=true dn=1001 call-uuid=\"{}\" \
             other-dn=\"{}\" {further}",
            wiretap.address(),
            call_uuid.text(),
            number.text()
        );
        let kept = sandbox.join("kept");
        std::fs::create_dir(&kept).unwrap();
        let mut command = sandbox.command("/usr/bin/python3");
        command.arg(sandbox.source().join("tests/support/relay.py")).arg(&pipeline);
        command.arg(format!("user-agent={}", header.text()));
        command.env("GST_DEBUG", format!("*:9{quiet}")).env("GST_DEBUG_NO_COLOR", "1");
        command.env("GST_DEBUG_FILE", kept.join("gst.log")).env("GST_DEBUG_DUMP_DOT_DIR", &kept);
        let relay = Process::start_led(&sandbox, "relay", &mut command).unwrap();
        Self { sandbox, recorder, wiretap, relay, header, call_uuid, number }
    }

    fn order(&mut self, order: &str, done: &str) {
        self.relay.say(order).unwrap();
        self.relay.wait_for_line(done, PATIENCE).unwrap();
    }

    /// Ends the call, and holds that nobody has said a key of these, or of the recording. Gives the recorded session.
    fn end(mut self, calls: &[(&str, Vec<u8>)]) -> Session {
        self.order("dot", "done: dot");
        self.relay.say("quit").unwrap();
        self.relay.succeed(PATIENCE).unwrap();
        let session = self.recorder.sessions(1, PATIENCE).unwrap().remove(0);
        // Its line comes behind the files.
        self.recorder.process().wait_for_line("session id=", PATIENCE).unwrap();

        let mut secrets: Vec<_> =
            calls.iter().flat_map(|(whose, key)| secrets_of(whose, CM80, key)).collect();
        let heard: Vec<u8> = self.wiretap.heard().into_iter().flat_map(|segment| segment.bytes).collect();
        let sip = String::from_utf8_lossy(&heard);
        let agreed = negotiated(&sip);
        let is_secured = |stream: &&serde_json::Value| stream["srtp"].is_object();
        let streams = session.json["streams"].as_array().unwrap().iter().filter(is_secured).count();
        assert_eq!(
            (agreed.len(), streams),
            (3 * calls.len(), calls.len()),
            "for each, two suites and an answer"
        );
        for (number, (suite, master)) in agreed.iter().enumerate() {
            secrets.extend(secrets_of(&format!("key {number} of the recording"), suite, master));
        }

        let mut evidence = Evidence::default();
        let folder = self.sandbox.path();
        for (source, path) in
            [("what the relay prints", "relay.log"), ("what the recorder prints", "recorder.log")]
        {
            evidence.add(source, &std::fs::read(folder.join(path)).unwrap());
        }
        let mut others = Vec::new();
        for path in files(&folder.join("kept")).into_iter().chain(files(self.recorder.folder())) {
            let text = std::fs::read(&path).unwrap();
            match path.file_name().unwrap().to_str().unwrap() {
                "gst.log" => evidence.add("log", &text),
                name if name.ends_with(".dot") => evidence.add("graph", &text),
                name @ ("session.json" | "ladder.txt") => evidence.add(name, &text),
                name => others.push((name.to_owned(), text)),
            }
        }
        // Sound alone, in which nothing can be planted.
        assert_eq!(others.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["session.wav"]);
        let planted = [
            // By the agent, and by GStreamer, which logs what it parses.
            ("log", &self.header),
            ("log", &self.call_uuid),
            ("graph", &self.call_uuid),
            ("what the relay prints", &self.call_uuid),
            ("what the recorder prints", &self.call_uuid),
            ("session.json", &self.number),
            ("ladder.txt", &self.header),
        ];
        evidence.ensure_silent(&planted, &secrets);
        let mut search = Search::default();
        secrets.iter().for_each(|secret| search.add(secret, &Form::ALL));
        others.iter().for_each(|(name, text)| assert!(search.find(text).is_empty(), "{name}"));
        session
    }
}

/// A master key with its salt, and the session keys that come of it.
fn secrets_of(whose: &str, suite: &str, master: &[u8]) -> Vec<Secret> {
    let derived = session_keys(suite, master).into_iter();
    let derived = derived.map(|(what, bytes)| Secret::new(format!("{whose}, {what}"), &bytes));
    std::iter::once(Secret::new(whose, master)).chain(derived).collect()
}

/// Suite and key of each `a=crypto` line.
fn negotiated(sip: &str) -> BTreeSet<(&str, Vec<u8>)> {
    let lines = sip.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let key = |line: &'_ str| -> Vec<u8> {
        unbase64(line.split_once("inline:").unwrap().1.split('|').next().unwrap())
    };
    lines.map(|line| (line.split(' ').nth(1).unwrap(), key(line))).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn unbase64(text: &str) -> Vec<u8> {
    let letters: Vec<_> = text.trim_end_matches('=').chars().map(|c| LETTERS.find(c).unwrap()).collect();
    let group = |group: &[usize]| {
        let bits = group.iter().fold(0, |bits, letter| bits << 6 | letter) << (6 * (4 - group.len()));
        [16, 8, 0].map(|shift| (bits >> shift) as u8).into_iter().take(group.len() - 1).collect::<Vec<_>>()
    };
    letters.chunks(4).flat_map(group).collect()
}

/// Of a whole number of groups.
fn base64(bytes: &[u8; 30]) -> String {
    let triple = |triple: &[u8]| {
        let bits = triple.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| LETTERS.as_bytes()[bits >> shift & 63] as char)
    };
    bytes.chunks(3).flat_map(triple).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn no_key_is_in_any_log_graph_message_or_file_of_an_encrypted_call() {
    let ports = [free_udp_port().unwrap(), free_udp_port().unwrap()];
    // Of the phones, one process knows the keys; of the relay, the application alone.
    let further = format!(
        "udpsrc address=127.0.0.1 port={} caps={CAPS} ! rec.sink_0 rec.src_0 ! fakesink \
         udpsrc address=127.0.0.1 port={} caps={CAPS} ! rec.sink_1 rec.src_1 ! fakesink",
        ports[0], ports[1]
    );
    let mut scene = Scene::begin(&further, "");
    ports.iter().for_each(|port| wait_for_udp(*port, PATIENCE).unwrap());
    let keys = [random_letters::<30>(), random_letters::<30>()];
    let line = |key: &[u8; 30]| format!("1 {CM80} inline:{}", base64(key));
    let sdp = scene.sandbox.join("1001.sdp");
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n";
    std::fs::write(&sdp, format!("{head}a=crypto:{}\r\n", line(&keys[0]))).unwrap();
    scene.order(&format!("sdp 1001 {}", sdp.display()), "done: set-party-sdp");
    scene.order(&format!("keys sink_1 {}", line(&keys[1])), "done: keys");
    let phone = |key: &[u8], port: u16| {
        format!("{AUDIO} ! srtpenc key={} ! udpsink host=127.0.0.1 port={port} ", hex(key))
    };
    let phones = phone(&keys[0], ports[0]) + &phone(&keys[1], ports[1]);
    let (status, printed) =
        run(&scene.sandbox, "phones", &mut scene.sandbox.gst_launch(&phones), PATIENCE).unwrap();
    assert!(status.success(), "{printed}");
    let session = scene.end(&[("set-party-sdp", keys[0].to_vec()), ("request-key", keys[1].to_vec())]);
    for stream in session.json["streams"].as_array().unwrap() {
        assert_eq!((&stream["packets"], &stream["lost"]), (&50.into(), &0.into()), "{stream}");
        assert!(stream["srtp"].is_object(), "{stream}");
    }
}

/// The relay's end of DTLS is GStreamer's own, which writes its keys into the log at INFO, by these three categories: they are
/// quiet below that. `siprec` has categories of its own, and `plugin/tests/secrets.rs` has the call between ends that say
/// nothing, where these three are heard at every level.
#[test]
fn no_key_of_a_call_by_dtls_is_in_any_log_graph_message_or_file() {
    let [port, of_phone] = [(); 2].map(|()| free_udp_port().unwrap());
    let further = format!(
        "udpsrc address=127.0.0.1 port={port} caps={CAPS} ! rec.sink_0 rec.src_0 ! dtlssrtpdec name=dec connection-id=relay \
         dec.rtp_src ! fakesink async=false dec.rtcp_src ! fakesink async=false \
         dtlssrtpenc connection-id=relay is-client=false ! udpsink host=127.0.0.1 port={of_phone} sync=false async=false"
    );
    let mut scene = Scene::begin(&further, ",dtlsdec:3,dtlsenc:3,structure:3");
    wait_for_udp(port, PATIENCE).unwrap();
    let told = scene.sandbox.join("key");
    scene.order(&format!("dtls dec {}", told.display()), "done: dtls");
    let phone = format!(
        "{} ! enc.rtp_sink_0 dtlssrtpenc name=enc connection-id=phone is-client=true ! udpsink host=127.0.0.1 port={port} \
         sync=false async=false udpsrc address=127.0.0.1 port={of_phone} ! dtlssrtpdec name=dec connection-id=phone \
         dec.rtp_src ! fakesink async=false dec.rtcp_src ! fakesink async=false",
        AUDIO.replace("num-buffers=50 ", "")
    );
    let phone = Process::start(&scene.sandbox, "phone", &mut scene.sandbox.gst_launch(&phone)).unwrap();
    let key = wait_until("the relay has a key", PATIENCE, || {
        Ok(std::fs::read_to_string(&told).ok().filter(|key| key.len() == 60))
    });
    let key = key.unwrap();
    scene.relay.wait_for_line("siprec-started", PATIENCE).unwrap();
    // A tenth of a second of it, behind the head of the file.
    let is_heard = |file: &PathBuf| {
        file.extension().is_some_and(|kind| kind == "wav") && file.metadata().is_ok_and(|it| it.len() > 1644)
    };
    let folder = scene.recorder.folder();
    let heard = || Ok(files(folder).iter().any(is_heard).then_some(()));
    wait_until("the recorder hears the phone", PATIENCE, heard).unwrap();
    phone.signal("INT").unwrap();
    let key = (0..30).map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap()).collect();
    let session = scene.end(&[("the phone's", key)]);
    let stream = &session.json["streams"][0];
    assert!(stream["packets"].as_u64() > Some(4) && stream["srtp"].is_object(), "{stream}");
}
