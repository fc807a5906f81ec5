//! Calls whose parties pause, mute, come and go, through a relay and the reference recorder: what was said while it was
//! to be recorded is in the right session, at the right time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::recorder::{Recorder, Session};
use siprec_system_tests::rtp::Packet;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::wav;

const PATIENCE: Duration = Duration::from_secs(10);

/// What G.711 makes of a party's packets.
fn decoded(said: &[Packet]) -> Vec<i16> {
    said.iter().flat_map(|packet| &packet.payload).map(|code| wav::decode_ulaw(*code)).collect()
}

/// The sound of each channel.
fn channels(session: &Session) -> Result<Vec<Vec<i16>>> {
    let (rate, channels) = wav::channels(&session.wav())?;
    ensure!(rate == 8000, "{rate} Hz");
    Ok(channels)
}

/// Where a party's words are in a channel, sample for sample.
fn place(channel: &[i16], said: &[Packet]) -> Result<usize> {
    let wanted = decoded(said);
    wav::find(channel, &wanted)
        .with_context(|| format!("{} samples are not in a channel of {}", wanted.len(), channel.len()))
}

/// The session of a party.
fn session<'a>(sessions: &'a [Session], dn: &str) -> Result<&'a Session> {
    sessions
        .iter()
        .find(|session| session.json["parties"][0]["dn"] == dn)
        .with_context(|| format!("no session of {dn}"))
}

/// Two parties who speak in parts: their clocks go on in between, as those of phones do.
struct Speech {
    began: Instant,
    parts: Vec<[Vec<Packet>; 2]>,
    next: u16,
}

impl Speech {
    fn new() -> Self {
        Self { began: Instant::now(), parts: Vec::new(), next: 0 }
    }

    /// Both speak for a second.
    fn part(&mut self, call: &Call) -> Result<()> {
        let packets = u32::try_from(self.began.elapsed().as_millis() / 20)?;
        let number = u8::try_from(self.parts.len())?;
        let mut said = [babble(2 * number, 1), babble(2 * number + 1, 1)];
        for (party, said) in said.iter_mut().enumerate() {
            for (index, packet) in said.iter_mut().enumerate() {
                packet.ssrc = 0x1000_0000 + party as u32;
                packet.sequence = 65_500_u16.wrapping_add(self.next).wrapping_add(index as u16);
                packet.timestamp = packet.timestamp.wrapping_add(packets * 160);
            }
        }
        self.next += said[0].len() as u16;
        call.talk_untouched(&said)?;
        self.parts.push(said);
        Ok(())
    }

    /// Insists that a channel holds these parts of a party, as far apart as they were spoken, and nothing in between.
    fn ensure_heard(&self, channel: &[i16], party: usize, parts: &[usize]) -> Result<()> {
        self.ensure_heard_within(channel, party, parts, 0)
    }

    /// The same within so many samples: parts of different streams stand where sender reports say that they arrived.
    fn ensure_heard_within(
        &self,
        channel: &[i16],
        party: usize,
        parts: &[usize],
        samples: usize,
    ) -> Result<()> {
        let said = |part: usize| &self.parts[part][party];
        let stamp = |part: usize| said(part)[0].timestamp;
        let first = *parts.first().context("no parts")?;
        let start = place(channel, said(first))?;
        let mut silence = channel.to_vec();
        for part in parts {
            let at = place(channel, said(*part))?;
            let apart = stamp(*part).wrapping_sub(stamp(first)) as usize;
            ensure!(
                (at - start).abs_diff(apart) <= samples,
                "part {part} is {} samples after the first, not {apart}",
                at - start
            );
            silence[at..at + decoded(said(*part)).len()].fill(0);
        }
        ensure!(silence.iter().all(|sample| *sample == 0), "something else is heard of party {party}");
        Ok(())
    }
}

#[test]
fn each_party_is_recorded_in_its_own_session_sample_exact() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let properties =
        format!("recorder={} session-mode=per-party call-uuid=APART dn=1001 other-dn=1002", recorder.uri());
    let mut call = Call::start(&sandbox, &properties).unwrap();
    let said = [babble(0, 3), babble(1, 3)];
    call.talk_untouched(&said).unwrap();
    call.hang_up().unwrap();
    let sessions = recorder.sessions(2, PATIENCE).unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0].json["recording_id"], sessions[1].json["recording_id"]);
    for (dn, said) in ["1001", "1002"].into_iter().zip(&said) {
        let session = session(&sessions, dn).unwrap();
        let channels = channels(session).unwrap();
        assert_eq!(channels.len(), 1, "{dn} alone");
        place(&channels[0], said).unwrap();
        let parameters = session.json["parameters"].as_array().unwrap();
        assert!(!parameters.iter().any(|parameter| parameter["name"] == "otherDN"), "{parameters:?}");
        assert!(parameters.iter().any(|p| p["name"] == "recordDN" && p["value"] == "1001"), "{parameters:?}");
    }
}

/// A call of three parts, and what became of it.
struct Led {
    speech: Speech,
    sessions: Vec<Session>,
    /// What the relay printed.
    printed: String,
    /// Where the recordings are.
    _sandbox: Sandbox,
}

impl Led {
    /// The one channel of a party's own session.
    fn channel(&self, dn: &str) -> Result<Vec<i16>> {
        let mut channels = channels(session(&self.sessions, dn)?)?;
        ensure!(channels.len() == 1, "{dn} is not alone");
        Ok(channels.remove(0))
    }

    /// Insists that both channels of the one session hold these parts of their parties.
    fn ensure_both_heard(&self, parts: [&[usize]; 2]) -> Result<()> {
        let channels = channels(&self.sessions[0])?;
        for (party, (channel, parts)) in channels.iter().zip(parts).enumerate() {
            self.speech.ensure_heard(channel, party, parts).with_context(|| format!("party {party}"))?;
        }
        Ok(())
    }
}

/// Leads a call of three parts, with an order before the second and one before the third.
fn led(properties: &str, orders: [&str; 2], sessions: usize) -> Result<Led> {
    let sandbox = Sandbox::new()?;
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    for direction in ["sendonly", "sendrecv"] {
        let sdp = format!("{head}m=audio 4000 RTP/AVP 0\r\na={direction}\r\n");
        std::fs::write(sandbox.join(format!("{direction}.sdp")), sdp)?;
    }
    let recorder = Recorder::start(&sandbox, &[])?;
    let properties = format!("recorder={} dn=1001 other-dn=1002 {properties}", recorder.uri());
    let mut call = Call::start_led(&sandbox, &properties)?;
    let mut speech = Speech::new();
    speech.part(&call)?;
    for order in orders {
        call.order(order)?;
        speech.part(&call)?;
    }
    call.relay.say("quit")?;
    let printed = call.relay.succeed(PATIENCE)?;
    let found = recorder.sessions(sessions, PATIENCE)?;
    ensure!(found.len() == sessions, "{} sessions", found.len());
    Ok(Led { speech, sessions: found, printed, _sandbox: sandbox })
}

#[test]
fn a_pause_is_silence_of_its_length_and_nothing_of_it_is_recorded() {
    let led = led("", ["action pause", "action resume"], 1).unwrap();
    led.ensure_both_heard([&[0, 2], &[0, 2]]).unwrap();
    assert!(
        led.printed.contains("siprec-paused") && led.printed.contains("siprec-resumed"),
        "{}",
        led.printed
    );
}

#[test]
fn a_muted_party_is_silent_in_its_own_session_and_the_other_is_whole() {
    let led = led("session-mode=per-party", ["action mute 1002", "action unmute 1002"], 2).unwrap();
    led.speech.ensure_heard(&led.channel("1001").unwrap(), 0, &[0, 1, 2]).unwrap();
    led.speech.ensure_heard(&led.channel("1002").unwrap(), 1, &[0, 2]).unwrap();
}

#[test]
fn a_party_that_takes_over_has_a_session_of_its_own_from_the_very_packet_on() {
    let led = led("session-mode=per-party", ["update sink_1=1003", "update sink_1=1004"], 4).unwrap();
    led.speech.ensure_heard(&led.channel("1001").unwrap(), 0, &[0, 1, 2]).unwrap();
    for (part, dn) in ["1002", "1003", "1004"].into_iter().enumerate() {
        led.speech.ensure_heard(&led.channel(dn).unwrap(), 1, &[part]).unwrap();
        let session = session(&led.sessions, dn).unwrap();
        assert_eq!(session.json["streams"][0]["packets"], 50, "{dn}: no packet more");
    }
}

#[test]
fn a_session_for_both_takes_another_party_on_the_same_line() {
    let led = led("", ["update sink_1=", "update sink_1=1003"], 1).unwrap();
    let channels = channels(&led.sessions[0]).unwrap();
    led.speech.ensure_heard(&channels[0], 0, &[0, 1, 2]).unwrap();
    led.speech.ensure_heard_within(&channels[1], 1, &[0, 2], 800).unwrap();
    for dn in ["1001", "1002", "1003"] {
        let report = format!("dn=(string){dn}");
        let is_report = |line: &&str| line.starts_with("siprec-report") && line.contains(&report);
        assert_eq!(led.printed.lines().filter(is_report).count(), 1, "{dn}:\n{}", led.printed);
    }
}

#[test]
fn a_party_that_holds_by_its_session_description_silences_the_session_of_both() {
    let led = led("", ["sdp 1001 sendonly.sdp", "sdp 1001 sendrecv.sdp"], 1).unwrap();
    led.ensure_both_heard([&[0, 2], &[0, 2]]).unwrap();
    let states = led.sessions[0].json["states"].as_array().unwrap();
    assert!(states.iter().any(|state| state["state"] == "paused"), "{states:?}");
}
