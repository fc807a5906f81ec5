//! The program `siprec recorder`: its first line, its exit codes, and what stays when it is killed or the disk is full.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_sip::{HeaderName, Message, Response, SessionDescription};
use siprec_system_tests::process::{Process, run, wait_until};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::wav;

const PATIENCE: Duration = Duration::from_secs(20);

/// A client that knows one session by heart.
struct Script {
    socket: UdpSocket,
    recorder: String,
    rtp: u16,
}

impl Script {
    /// Invites and acknowledges.
    fn begin(recorder: &str, id: &str) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut script = Self { socket, recorder: recorder.to_owned(), rtp: 0 };
        let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
        let uri = format!("sip:record={id}@{recorder};calluuid=U;dn=1001");
        script.send(&format!("INVITE {uri}"), "1 INVITE", "", "a", offer)?;
        let answer = loop {
            match script.receive()? {
                Message::Response(response) if response.status >= 200 => break response,
                _ => {}
            }
        };
        ensure!(answer.status == 200, "{} {}", answer.status, answer.reason);
        let tag = answer.headers.to()?.tag().context("no tag")?.to_owned();
        script.send(&format!("ACK {uri}"), "1 ACK", &format!(";tag={tag}"), "b", "")?;
        let answer = SessionDescription::parse(&answer.body)?;
        script.rtp = answer.media(0).context("no m-line")?.port();
        Ok(script)
    }

    fn send(&self, line: &str, cseq: &str, to_tag: &str, branch: &str, body: &str) -> Result<()> {
        let local = self.socket.local_addr()?;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{line} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch}{port}\r\nFrom: <sip:c@{local}>;tag=1\r\n\
             To: <sip:r@{recorder}>{to_tag}\r\nCall-ID: {port}\r\nCSeq: {cseq}\r\nContact: <sip:c@{local}>\r\n\
             Max-Forwards: 70\r\n{kind}Content-Length: {length}\r\n\r\n{body}",
            recorder = self.recorder,
            port = local.port(),
            length = body.len(),
        );
        self.socket.send_to(text.as_bytes(), &self.recorder)?;
        Ok(())
    }

    fn receive(&self) -> Result<Message> {
        let mut buffer = [0; 65_536];
        let length = self.socket.recv(&mut buffer).context("no SIP message")?;
        Ok(Message::parse(buffer.get(..length).unwrap_or_default())?)
    }

    /// Sends PCMU packets of 20 ms with these sequence numbers.
    fn speak(&self, numbers: std::ops::Range<u16>) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        for number in numbers {
            let mut packet = vec![0x80, 0];
            packet.extend(number.to_be_bytes());
            packet.extend((u32::from(number) * 160).to_be_bytes());
            packet.extend(7u32.to_be_bytes());
            packet.extend([0x55; 160]);
            socket.send_to(&packet, ("127.0.0.1", self.rtp))?;
            if number % 10 == 9 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Waits for the recorder's BYE and answers it.
    fn expect_bye(&self) -> Result<()> {
        loop {
            if let Message::Request(request) = self.receive()? {
                ensure!(request.method.as_str() == "BYE", "{}", request.method);
                let mut response = Response::to_request(&request, 200);
                response.headers.copy_from(&request.headers, &HeaderName::RecordRoute);
                self.socket.send_to(&response.to_bytes(), &self.recorder)?;
                return Ok(());
            }
        }
    }
}

fn address(recorder: &Recorder) -> Result<String> {
    Ok(recorder.uri().strip_prefix("sip:").context("not sip:")?.to_owned())
}

fn seconds(path: &Path) -> f64 {
    wav::channels(path).map_or(0.0, |(rate, channels)| {
        channels.first().map_or(0.0, |samples| samples.len() as f64 / f64::from(rate))
    })
}

#[test]
fn wrong_use_a_taken_port_and_a_bad_folder_are_told_with_their_exit_codes() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start(&sandbox, &[])?;
    let taken = address(&recorder)?;
    let file = sandbox.join("file");
    std::fs::write(&file, "")?;
    let file = file.display().to_string();
    for (arguments, code, told) in [
        (vec!["--listen", &taken], 1, taken.as_str()),
        (vec!["--listen", "127.0.0.1:0", "--output", &file], 1, "cannot create folder"),
        (vec!["--listen", "nonsense"], 2, "nonsense"),
        (vec!["--refuse", "200"], 2, "300..700"),
    ] {
        let mut command = sandbox.siprec();
        command.arg("recorder").args(&arguments).current_dir(sandbox.path());
        let (status, output) = run(&sandbox, "failing", &mut command, PATIENCE)?;
        ensure!(status.code() == Some(code), "{arguments:?}: {status}\n{output}");
        ensure!(output.contains(told) && !output.contains("panicked"), "{arguments:?}:\n{output}");
    }
    Ok(())
}

#[test]
fn interrupted_it_says_goodbye_tells_the_session_in_one_line_and_ends_well() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, &[])?;
    let script = Script::begin(&address(&recorder)?, "goodbye")?;
    script.speak(0..50)?;
    recorder.process().signal("INT")?;
    script.expect_bye()?;
    let output = recorder.process().succeed(PATIENCE)?;
    let lines: Vec<_> = output.lines().collect();
    ensure!(lines.len() == 2, "{output}");
    ensure!(output.contains("session id=goodbye call-uuid=U state=ended"), "{output}");
    ensure!(output.contains(" packets=50 lost=0 "), "{output}");
    ensure!(seconds(&recorder.folder().join("goodbye/session.wav")) == 1.0);
    Ok(())
}

#[test]
fn killed_it_leaves_a_file_that_plays() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, &[])?;
    let script = Script::begin(&address(&recorder)?, "killed")?;
    script.speak(0..100)?;
    let path = recorder.folder().join("killed/session.partial.wav");
    wait_until("the partial file has all", PATIENCE, || Ok((seconds(&path) == 2.0).then_some(())))?;
    recorder.process().signal("KILL")?;
    recorder.process().wait(PATIENCE)?;
    ensure!(seconds(&path) == 2.0);
    Ok(())
}

#[test]
fn a_full_disk_ends_the_session_and_not_the_program() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let folder = sandbox.join("recordings");
    // No file may grow beyond 64 blocks: the system then refuses to write, as it does on a full disk.
    let mut command = sandbox.command("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]);
    command.arg(sandbox.build().join("siprec"));
    command.args(["recorder", "--listen", "127.0.0.1:0", "--output"]).arg(&folder);
    let mut process = Process::start(&sandbox, "limited", &mut command)?;
    let line = process.wait_for_line("listening", PATIENCE)?;
    let recorder =
        line.split_whitespace().find_map(|word| word.strip_prefix("udp=")).context("no udp=")?.to_owned();
    let script = Script::begin(&recorder, "full")?;
    script.speak(0..1000)?;
    script.expect_bye()?;
    let line = process.wait_for_line("session id=full", PATIENCE)?;
    ensure!(line.contains(" state=failed ") && line.contains("error=\"cannot write "), "{line}");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("full/session.json"))?)?;
    let error = json.get("error").and_then(|error| error.as_str()).unwrap_or_default();
    ensure!(error.starts_with("cannot write "), "{json}");
    let script = Script::begin(&recorder, "small")?;
    script.speak(0..10)?;
    process.signal("TERM")?;
    script.expect_bye()?;
    process.succeed(PATIENCE)?;
    ensure!(seconds(&folder.join("small/session.wav")) == 0.2);
    Ok(())
}

#[test]
fn a_picture_is_made_of_a_session_and_of_nothing_else() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, &[])?;
    let script = Script::begin(&address(&recorder)?, "picture")?;
    script.speak(0..50)?;
    recorder.process().signal("TERM")?;
    script.expect_bye()?;
    recorder.process().succeed(PATIENCE)?;
    let picture = sandbox.join("a.png");
    let mut command = sandbox.siprec();
    command.arg("picture").arg(recorder.folder().join("picture")).arg(&picture);
    let (status, output) = run(&sandbox, "picture", &mut command, PATIENCE)?;
    ensure!(status.success(), "{output}");
    ensure!(std::fs::read(&picture)?.starts_with(b"\x89PNG\r\n\x1a\n"));
    let mut command = sandbox.siprec();
    command.arg("picture").arg(sandbox.path()).arg(&picture);
    let (status, output) = run(&sandbox, "picture", &mut command, PATIENCE)?;
    ensure!(status.code() == Some(1) && output.contains("session.json"), "{status}: {output}");
    Ok(())
}
