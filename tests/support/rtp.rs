//! RTP made and read by the tests themselves (RFC 3550 §5.1), so that what we send is judged by code of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::net::{receive_until, udp};
use crate::process::wait_until;

/// G.711 at 20 ms.
pub const SAMPLES_PER_PACKET: usize = 160;

/// The parts of an RTP packet that tests look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Reads a packet without CSRC, extension or padding.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, payload) = bytes.split_first_chunk::<12>()?;
        let [0x80, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *header else { return None };
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload: payload.to_vec(),
        })
    }

    /// The packet's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, self.payload_type | u8::from(self.marker) << 7];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// The packets of `samples` (one byte a sample, G.711), 20 ms each.
pub fn packetize(
    samples: &[u8],
    payload_type: u8,
    ssrc: u32,
    first_sequence: u16,
    first_timestamp: u32,
) -> Vec<Packet> {
    samples
        .chunks_exact(SAMPLES_PER_PACKET)
        .enumerate()
        .map(|(index, payload)| Packet {
            marker: index == 0,
            payload_type,
            sequence: first_sequence.wrapping_add(index as u16),
            timestamp: first_timestamp.wrapping_add((index * SAMPLES_PER_PACKET) as u32),
            ssrc,
            payload: payload.to_vec(),
        })
        .collect()
}

/// Sends a stream in real time, one packet every 20 ms.
///
/// # Errors
/// When a packet cannot be sent.
pub fn play(socket: &UdpSocket, to: SocketAddr, packets: &[Packet]) -> Result<()> {
    let started = Instant::now();
    for (index, packet) in packets.iter().enumerate() {
        let due = started + Duration::from_millis(20) * index as u32;
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        socket.send_to(&packet.to_bytes(), to).with_context(|| format!("sending to {to}"))?;
    }
    Ok(())
}

/// Takes what arrives at a socket, from its making until [`Collector::finish`].
pub struct Collector {
    address: SocketAddr,
    arrived: Arc<AtomicUsize>,
    finishing: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Vec<u8>>>>,
}

impl Collector {
    /// Binds an ephemeral port of 127.0.0.1 and listens.
    ///
    /// # Errors
    /// When the system has no socket left.
    pub fn start() -> Result<Self> {
        Self::on(udp()?)
    }

    /// Listens on a socket of the caller's.
    ///
    /// # Errors
    /// When the socket cannot be asked for its address.
    pub fn on(socket: UdpSocket) -> Result<Self> {
        let address = socket.local_addr()?;
        let (finishing, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (finishing, arrived) = (Arc::clone(&finishing), Arc::clone(&arrived));
            move || collect(&socket, &finishing, &arrived)
        });
        Ok(Self { address, arrived, finishing, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until so many have arrived, or until this is over: on a busy machine silence alone says little.
    pub fn wait_for(&self, packets: usize, end: Instant) {
        let within = end.saturating_duration_since(Instant::now());
        let arrived = || Ok((self.arrived.load(Ordering::Relaxed) >= packets).then_some(()));
        // Who is late is told of what is missing by whoever looks at the packets.
        let _ = wait_until("packets", within, arrived);
    }

    /// Everything that has arrived and still arrives until 200 ms of silence.
    ///
    /// # Errors
    /// When the socket failed.
    pub fn finish(self) -> Result<Vec<Vec<u8>>> {
        self.finishing.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the collector panicked"))?
    }
}

fn collect(socket: &UdpSocket, finishing: &AtomicBool, arrived: &AtomicUsize) -> Result<Vec<Vec<u8>>> {
    let mut received = Vec::new();
    receive_until(socket, finishing, |bytes, _| {
        received.push(bytes.to_vec());
        arrived.store(received.len(), Ordering::Relaxed);
        Ok(())
    })?;
    Ok(received)
}
