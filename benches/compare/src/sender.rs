//! The program that plays the phones' sending side.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use siprec_media::srtp::Protector;

use crate::orders::{Orders, say};
use crate::sys::Stamps;
use crate::traffic::{self, Mode, Path};

/// Slots of one packet's 20 ms, over which streams are spread.
const SLOTS: usize = 20;
const SLOT: Duration = Duration::from_millis(1);

/// Sends as it is told on standard input: `to PORT…` says where each stream goes, `go ROUNDS` sends so many packets of each in
/// real time, and is answered by `sent PACKETS late=MICROSECONDS`.
///
/// # Errors
/// When an order makes no sense.
pub fn run(mode: Mode, streams: usize, stamps: &Stamps) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut voices = (0..streams).map(|stream| Voice::new(mode, stream)).collect::<Result<Vec<_>>>()?;
    let orders = Orders::listen();
    while let Some(order) = orders.next() {
        match order.name() {
            "to" => {
                for (voice, port) in voices.iter_mut().zip(order.numbers()?) {
                    voice.to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
                }
            }
            "go" => {
                let rounds = *order.numbers::<u32>()?.first().context("how often?")?;
                let late = talk(&socket, &mut voices, rounds, stamps);
                say(&format!("sent {} late={}", u64::from(rounds) * streams as u64, late.as_micros()))?;
            }
            "end" => break,
            name => anyhow::bail!("what is {name}?"),
        }
    }
    Ok(())
}

/// One packet of each stream every 20 ms; how late the latest was.
fn talk(socket: &UdpSocket, voices: &mut [Voice], rounds: u32, stamps: &Stamps) -> Duration {
    let began = Instant::now();
    let mut latest = Duration::ZERO;
    for slot in 0..rounds * SLOTS as u32 {
        let due = began + SLOT * slot;
        let now = Instant::now();
        match due.checked_duration_since(now) {
            Some(early) => std::thread::sleep(early),
            None => latest = latest.max(now - due),
        }
        for (stream, voice) in voices.iter_mut().enumerate().skip(slot as usize % SLOTS).step_by(SLOTS) {
            let sequence = voice.sequence;
            voice.prepare(stream);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            stamps.note(stream, sequence, now.as_nanos() as u64);
            // What the kernel does not take is lost, and counts as that.
            let _ = socket.send_to(&voice.packet, voice.to);
        }
    }
    latest
}

struct Voice {
    to: SocketAddrV4,
    sequence: u16,
    protector: Option<Protector>,
    packet: Vec<u8>,
}

impl Voice {
    fn new(mode: Mode, stream: usize) -> Result<Self> {
        let protector = if mode.secures_call() {
            Some(Protector::new(&traffic::key(Path::Call, stream)?)?)
        } else {
            None
        };
        Ok(Self { to: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9), sequence: 1, protector, packet: Vec::new() })
    }

    /// The next packet. A run is far shorter than the 21 minutes in which numbers wrap.
    fn prepare(&mut self, stream: usize) {
        traffic::write_packet(stream, self.sequence, &mut self.packet);
        if let Some(protector) = &mut self.protector {
            let length = self.packet.len();
            // A packet that is not protected comes to nobody.
            let _ =
                protector.protect_rtp(&mut self.packet, length, traffic::ssrc(stream), self.sequence.into());
        }
        self.sequence = self.sequence.wrapping_add(1);
    }
}
