//! RTP made and read by the tests themselves (RFC 3550 §5.1), so that what we send is judged by code of its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

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

/// Sends several streams side by side, one packet of each every 20 ms, in real time.
///
/// # Errors
/// When a packet cannot be sent.
pub fn play(socket: &UdpSocket, streams: &[(SocketAddr, Vec<Packet>)]) -> Result<()> {
    let started = Instant::now();
    let longest = streams.iter().map(|(_, packets)| packets.len()).max().unwrap_or(0);
    for index in 0..longest {
        let due = started + Duration::from_millis(20) * index as u32;
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        for (to, packets) in streams {
            if let Some(packet) = packets.get(index) {
                socket.send_to(&packet.to_bytes(), to).with_context(|| format!("sending to {to}"))?;
            }
        }
    }
    Ok(())
}

/// Receives until nothing has come for the socket's own patience.
///
/// # Errors
/// When something else than silence ends it.
pub fn receive(socket: &UdpSocket) -> Result<Vec<Vec<u8>>> {
    let mut received = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => received.extend(buffer.get(..length).map(<[u8]>::to_vec)),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                return Ok(received);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
