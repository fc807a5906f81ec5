//! The streams of the calls: what everybody who takes part knows of them beforehand.

use siprec_model::{SrtpKey, SrtpSuite};

/// The suite of call and recording, as descriptions of sessions name it.
pub const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// Bytes of a master key with its salt.
pub const KEY: usize = 30;
/// Packets of each stream in a second.
pub const RATE: u64 = 50;
/// Bytes of a payload: 20 ms of G.711.
pub const PAYLOAD: usize = 160;
const HEADER: usize = 12;

/// What call and recording are protected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Mode {
    /// Plain call, plain recording.
    Plain,
    /// Plain call, SRTP to the recorder.
    Secured,
    /// SRTP call, SRTP with keys of its own to the recorder.
    Srtp,
}

impl Mode {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Secured => "secured",
            Self::Srtp => "srtp",
        }
    }

    /// Whether the call is SRTP.
    pub fn secures_call(self) -> bool {
        self == Self::Srtp
    }

    /// Whether the recording is SRTP.
    pub fn secures_recording(self) -> bool {
        self != Self::Plain
    }
}

/// Where a stream's packets are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Where the call goes.
    Call,
    /// At the recorder.
    Recording,
}

/// The synchronisation source of a stream.
pub fn ssrc(stream: usize) -> u32 {
    0x5000_0000 + stream as u32
}

/// The stream of a packet, by its synchronisation source.
pub fn stream_of(packet: &[u8]) -> Option<usize> {
    let ssrc = u32::from_be_bytes(packet.get(8..12)?.try_into().ok()?);
    ssrc.checked_sub(self::ssrc(0)).map(|stream| stream as usize)
}

/// The sequence number that stands in a packet.
pub fn sequence_of(packet: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?))
}

/// The master key with its salt that a stream is protected by, unless its recorder has agreed upon another one.
pub fn master(path: Path, stream: usize) -> [u8; KEY] {
    let seed = if path == Path::Call { 1 << 40 } else { 2 << 40 };
    let mut bytes = Filler(seed + stream as u64);
    std::array::from_fn(|_| bytes.next())
}

/// The same as a key.
///
/// # Errors
/// Never.
pub fn key(path: Path, stream: usize) -> anyhow::Result<SrtpKey> {
    let suite: SrtpSuite = SUITE.parse().map_err(|_| anyhow::anyhow!("no suite {SUITE}"))?;
    Ok(SrtpKey::new(suite, &master(path, stream))?)
}

/// Writes a packet in the clear.
pub fn write_packet(stream: usize, sequence: u16, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0x80, 0]);
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&(u32::from(sequence) * PAYLOAD as u32).to_be_bytes());
    out.extend_from_slice(&ssrc(stream).to_be_bytes());
    write_payload(stream, sequence, out);
}

/// Whether a packet in the clear carries what was said on this stream. Its sequence number may be another one.
pub fn is_genuine(stream: usize, packet: &[u8]) -> bool {
    let Some(payload) = packet.get(HEADER..) else { return false };
    let Some(said) = payload.get(4..6).and_then(|bytes| bytes.try_into().ok()) else { return false };
    let mut expected = Vec::with_capacity(PAYLOAD);
    write_payload(stream, u16::from_be_bytes(said), &mut expected);
    payload == expected
}

fn write_payload(stream: usize, sequence: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&(stream as u32).to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    let mut bytes = Filler((stream as u64) << 16 | u64::from(sequence));
    out.extend(std::iter::repeat_with(|| bytes.next()).take(PAYLOAD - 6));
}

/// Bytes that look like nothing (xorshift).
struct Filler(u64);

impl Filler {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 24) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_known_by_what_it_says_and_by_nothing_else() {
        let mut packet = Vec::new();
        write_packet(3, 700, &mut packet);
        assert_eq!((packet.len(), stream_of(&packet), sequence_of(&packet)), (172, Some(3), Some(700)));
        assert!(is_genuine(3, &packet));
        assert!(!is_genuine(4, &packet));
        packet[2] ^= 1;
        assert!(is_genuine(3, &packet), "recorders number anew");
        packet[100] ^= 1;
        assert!(!is_genuine(3, &packet));
    }

    #[test]
    fn no_two_streams_share_a_key() {
        let keys = (0..100).flat_map(|stream| [master(Path::Call, stream), master(Path::Recording, stream)]);
        let keys: std::collections::BTreeSet<_> = keys.collect();
        assert_eq!(keys.len(), 200);
    }
}
