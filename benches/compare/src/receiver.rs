//! The program that plays the phones' receiving side and the recorders' media side.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::orders::{Order, Orders, say};
use crate::reports::Reports;
use crate::sys::{self, Inbox, Poller, Stamps};
use crate::traffic::{self, Mode, Path};

/// Of so many streams, every packet of one is decrypted and compared.
const JUDGED_OF: usize = 10;
/// Room of a socket on which the packets of all streams come.
const ROOM: i32 = 32 << 20;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(2);

/// Something that decrypts one stream and is not ours.
pub trait Judge {
    /// Decrypts a packet.
    ///
    /// # Errors
    /// When it is not genuine.
    fn unprotect(&mut self, packet: &mut Vec<u8>) -> Result<()>;
}

/// Makes a judge of a stream with this master key and salt.
pub type MakeJudge<'a> = &'a dyn Fn(&[u8]) -> Result<Box<dyn Judge>>;

/// Receives, and answers on standard input:
///
/// | | |
/// |---|---|
/// | at first | says `call PORT…`, `recording PORT…` and `rtcp PORT` |
/// | `key call\|recording STREAM KEY` | the key of a stream from now on, in Base64 |
/// | `reports STREAM PORT [KEY]` | from now on the recorder of a stream sends receiver reports there, under this key in Base64 |
/// | `status` | `status call=PACKETS recording=PACKETS streams=NUMBER`: how many streams have been recorded at all |
/// | `reset` | `reset`: begins to count anew |
/// | `report` | `report call=… recording=… judged=… wrong=… p50=µs p99=µs` |
/// | `end` | ends |
///
/// # Errors
/// When the system has no socket left, or an order makes no sense.
pub fn run(
    mode: Mode,
    streams: usize,
    one_address: bool,
    waits: bool,
    stamps: &Stamps,
    make_judge: MakeJudge<'_>,
) -> Result<()> {
    let mut receiver = Receiver::new(mode, streams, one_address, stamps, make_judge)?;
    let orders = Orders::listen();
    let (mut readable, mut inbox) = (Vec::new(), Inbox::default());
    loop {
        receiver.report();
        // Who waits for packets is woken by whoever sends them, at the sender's cost: phones and recorders are elsewhere.
        if !waits {
            std::thread::sleep(LOOK);
        }
        let mut longest = if waits { LOOK } else { Duration::ZERO };
        loop {
            receiver.poller.wait(&mut readable, std::mem::take(&mut longest));
            if readable.is_empty() {
                break;
            }
            for socket in readable.drain(..) {
                receiver.read(socket, &mut inbox);
            }
        }
        while let Some(order) = orders.waiting() {
            if order.name() == "end" {
                return Ok(());
            }
            receiver.obey(&order)?;
        }
    }
}

struct Receiver<'a> {
    poller: Poller,
    call: Vec<UdpSocket>,
    recording: Vec<UdpSocket>,
    /// What comes there nobody reads. The recorders' own RTCP leaves from there.
    rtcp: UdpSocket,
    reports: Reports,
    judged: Vec<Judged>,
    stamps: &'a Stamps,
    make_judge: MakeJudge<'a>,
    tally: Tally,
    recorded: Vec<bool>,
}

/// A stream that is decrypted and compared, on both paths; `None` for a path without encryption.
struct Judged {
    call: Option<Box<dyn Judge>>,
    recording: Option<Box<dyn Judge>>,
}

#[derive(Default)]
struct Tally {
    call: u64,
    recording: u64,
    judged: u64,
    wrong: u64,
    /// Of the call's packets, in ns.
    delays: Vec<u32>,
}

impl<'a> Receiver<'a> {
    fn new(
        mode: Mode,
        streams: usize,
        one_address: bool,
        stamps: &'a Stamps,
        make_judge: MakeJudge<'a>,
    ) -> Result<Self> {
        let poller = Poller::new()?;
        let sockets = |count: usize, first_name: u64| -> Result<Vec<UdpSocket>> {
            (0..count as u64)
                .map(|number| {
                    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                    sys::tell_times(&socket)?;
                    poller.add(&socket, first_name + number)?;
                    Ok(socket)
                })
                .collect()
        };
        let call = sockets(streams, 0)?;
        let recording = sockets(if one_address { 1 } else { streams }, streams as u64)?;
        if one_address {
            recording.iter().for_each(|socket| sys::make_room(socket, ROOM));
        }
        let rtcp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let judged = (0..streams)
            .step_by(JUDGED_OF)
            .map(|stream| {
                let judge = |path, is_secured: bool| {
                    is_secured.then(|| make_judge(&traffic::master(path, stream))).transpose()
                };
                Ok(Judged {
                    call: judge(Path::Call, mode.secures_call())?,
                    recording: judge(Path::Recording, mode.secures_recording())?,
                })
            })
            .collect::<Result<_>>()?;
        say(&format!("call {}", ports(&call)?))?;
        say(&format!("recording {}", ports(&recording)?))?;
        say(&format!("rtcp {}", rtcp.local_addr()?.port()))?;
        let tally = Tally::default();
        let recorded = vec![false; streams];
        let reports = Reports::new(streams, Instant::now());
        Ok(Self { poller, call, recording, rtcp, reports, judged, stamps, make_judge, tally, recorded })
    }

    fn report(&mut self) {
        self.reports.send(&self.rtcp, Instant::now());
    }

    fn obey(&mut self, order: &Order) -> Result<()> {
        match order.name() {
            "key" => {
                let stream: usize = order.word(2).parse().context("which stream?")?;
                if stream.is_multiple_of(JUDGED_OF)
                    && let Some(judged) = self.judged.get_mut(stream / JUDGED_OF)
                {
                    let key = STANDARD.decode(order.word(3)).map_err(|fault| anyhow!("no key: {fault}"))?;
                    let judge = Some((self.make_judge)(&key)?);
                    match order.word(1) {
                        "call" => judged.call = judge,
                        _ => judged.recording = judge,
                    }
                }
                Ok(())
            }
            "reports" => {
                let (stream, port) = (order.word(1).parse(), order.word(2).parse());
                let (stream, port) = (stream.context("which stream?")?, port.context("which port?")?);
                let key = STANDARD.decode(order.word(3)).map_err(|fault| anyhow!("no key: {fault}"))?;
                let key = (!key.is_empty()).then_some(&*key);
                self.reports.tell(stream, port, key, Instant::now())
            }
            "status" => {
                let Tally { call, recording, .. } = self.tally;
                let streams = self.recorded.iter().filter(|seen| **seen).count();
                say(&format!("status call={call} recording={recording} streams={streams}"))
            }
            "reset" => {
                self.tally = Tally::default();
                say("reset")
            }
            "report" => {
                let Tally { call, recording, judged, wrong, delays } = &mut self.tally;
                delays.sort_unstable();
                let part = |part: usize| {
                    let delay = delays.get((delays.len() * part / 100).min(delays.len().saturating_sub(1)));
                    f64::from(delay.copied().unwrap_or_default()) / 1000.0
                };
                let (p50, p99) = (part(50), part(99));
                say(&format!(
                    "report call={call} recording={recording} judged={judged} wrong={wrong} p50={p50} p99={p99}"
                ))
            }
            name => bail!("what is {name}?"),
        }
    }

    fn read(&mut self, socket: u64, inbox: &mut Inbox) {
        let number = socket as usize;
        let (path, number, sockets) = match number.checked_sub(self.call.len()) {
            None => (Path::Call, number, &self.call),
            Some(number) => (Path::Recording, number, &self.recording),
        };
        let (socket, is_shared) = (sockets.get(number), sockets.len() == 1);
        let Some(socket) = socket else { return };
        loop {
            inbox.receive(socket);
            for (packet, time) in inbox.packets() {
                // RTCP, where it shares the port (RFC 5761 §4).
                if packet.get(1).is_some_and(|second| (64..96).contains(&(second & 0x7F))) {
                    continue;
                }
                let Some(stream) = traffic::stream_of(packet) else { continue };
                self.tally.wrong += u64::from(stream != number && !is_shared);
                match path {
                    Path::Call => {
                        self.tally.call += 1;
                        let sent =
                            traffic::sequence_of(packet).and_then(|number| self.stamps.sent(stream, number));
                        if let Some(delay) = sent.and_then(|sent| time.checked_sub(sent)) {
                            self.tally.delays.push(u32::try_from(delay).unwrap_or(u32::MAX));
                        }
                    }
                    Path::Recording => {
                        self.tally.recording += 1;
                        self.reports.note(stream, packet);
                        if let Some(recorded) = self.recorded.get_mut(stream) {
                            *recorded = true;
                        }
                    }
                }
                if stream.is_multiple_of(JUDGED_OF)
                    && let Some(judged) = self.judged.get_mut(stream / JUDGED_OF)
                {
                    let judge = if path == Path::Call { &mut judged.call } else { &mut judged.recording };
                    let mut packet = packet.to_vec();
                    let is_open = judge.as_mut().is_none_or(|judge| judge.unprotect(&mut packet).is_ok());
                    self.tally.judged += 1;
                    self.tally.wrong += u64::from(!is_open || !traffic::is_genuine(stream, &packet));
                }
            }
            if !inbox.is_full() {
                break;
            }
        }
    }
}

fn ports(sockets: &[UdpSocket]) -> Result<String> {
    let ports = sockets.iter().map(|socket| Ok(socket.local_addr()?.port().to_string()));
    Ok(ports.collect::<Result<Vec<_>>>()?.join(" "))
}
