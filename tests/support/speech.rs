//! Calls in three parts, led by orders between them, and what the reference recorder has of each part.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::call::{Call, babble};
use crate::recorder::{Recorder, Session};
use crate::rtp::Packet;
use crate::sandbox::Sandbox;
use crate::wav;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What G.711 makes of a party's packets.
pub fn decoded(said: &[Packet]) -> Vec<i16> {
    said.iter().flat_map(|packet| &packet.payload).map(|code| wav::decode_ulaw(*code)).collect()
}

/// The sound of each channel.
pub fn channels(session: &Session) -> Result<Vec<Vec<i16>>> {
    let (rate, channels) = wav::channels(&session.wav())?;
    ensure!(rate == 8000, "{rate} Hz");
    Ok(channels)
}

/// Where a party's words are in a channel, sample for sample.
pub fn place(channel: &[i16], said: &[Packet]) -> Result<usize> {
    let wanted = decoded(said);
    wav::find(channel, &wanted)
        .with_context(|| format!("{} samples are not in a channel of {}", wanted.len(), channel.len()))
}

/// Where each party's words begin in its own channel of the one session for both, sample for sample.
///
/// # Errors
/// When there are other than two channels of 8000 Hz, or a party's words are not in its channel.
pub fn places(session: &Session, said: &[Vec<Packet>; 2]) -> Result<[usize; 2]> {
    let channels = channels(session)?;
    let [first, second] = channels.as_slice() else { bail!("{} channels", channels.len()) };
    Ok([
        place(first, &said[0]).context("party 0 is not recorded whole")?,
        place(second, &said[1]).context("party 1 is not recorded whole")?,
    ])
}

/// The session of a party.
pub fn session<'a>(sessions: &'a [Session], dn: &str) -> Result<&'a Session> {
    sessions
        .iter()
        .find(|session| session.json["parties"][0]["dn"] == dn)
        .with_context(|| format!("no session of {dn}"))
}

/// Two parties who speak in parts: their clocks go on in between, as those of phones do.
pub struct Speech {
    began: Instant,
    /// What each party said in each part.
    pub parts: Vec<[Vec<Packet>; 2]>,
    next: u16,
}

impl Speech {
    /// Both clocks begin.
    pub fn new() -> Self {
        Self { began: Instant::now(), parts: Vec::new(), next: 0 }
    }

    /// Both speak for a second.
    pub fn part(&mut self, call: &Call) -> Result<()> {
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
    pub fn ensure_heard(&self, channel: &[i16], party: usize, parts: &[usize]) -> Result<()> {
        self.ensure_heard_within(channel, party, parts, 0)
    }

    /// The same within so many samples: parts of different streams stand where sender reports say that they arrived.
    pub fn ensure_heard_within(
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

impl Default for Speech {
    fn default() -> Self {
        Self::new()
    }
}

/// A call of three parts, and what became of it.
pub struct Led {
    /// What was said.
    pub speech: Speech,
    /// What was recorded.
    pub sessions: Vec<Session>,
    /// What the relay printed.
    pub printed: String,
    /// Where the recordings are.
    _sandbox: Sandbox,
}

impl Led {
    /// The one channel of a party's own session.
    pub fn channel(&self, dn: &str) -> Result<Vec<i16>> {
        let mut channels = channels(session(&self.sessions, dn)?)?;
        ensure!(channels.len() == 1, "{dn} is not alone");
        Ok(channels.remove(0))
    }

    /// Insists that both channels of the one session hold these parts of their parties.
    pub fn ensure_both_heard(&self, parts: [&[usize]; 2]) -> Result<()> {
        let channels = channels(&self.sessions[0])?;
        for (party, (channel, parts)) in channels.iter().zip(parts).enumerate() {
            self.speech.ensure_heard(channel, party, parts).with_context(|| format!("party {party}"))?;
        }
        Ok(())
    }
}

/// Leads a call of three parts, with an order before the second and one before the third.
pub fn led(properties: &str, orders: [&str; 2], sessions: usize) -> Result<Led> {
    led_with(&[], properties, orders, sessions)
}

/// The same with a recorder that has these arguments.
///
/// # Errors
/// When the relay fails, or other than so many sessions were recorded.
pub fn led_with(arguments: &[&str], properties: &str, orders: [&str; 2], sessions: usize) -> Result<Led> {
    let sandbox = Sandbox::new()?;
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    for direction in ["sendonly", "sendrecv"] {
        let sdp = format!("{head}m=audio 4000 RTP/AVP 0\r\na={direction}\r\n");
        std::fs::write(sandbox.join(format!("{direction}.sdp")), sdp)?;
    }
    let recorder = Recorder::start(&sandbox, arguments)?;
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
