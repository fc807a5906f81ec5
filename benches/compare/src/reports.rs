//! What recorders say of what they receive: receiver reports (RFC 3550 §6.4.2), as SRTCP where the recording is SRTP.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use siprec_media::srtp::Protector;
use siprec_model::{SrtpKey, SrtpSuite};

use crate::traffic::{self, SUITE};

/// A receiver report with one block (RFC 3550 §6.4.2), and a description with a name of its sender (§6.5), in bytes.
const LENGTH: usize = 32 + 16;
/// What the sequence number of a recorded packet stands at.
const SEQUENCE: std::ops::Range<usize> = 2..4;

/// The reports of all streams, each on its own: the first within 4 s, then 2 to 6 s apart (RFC 3550 §6.3.1 between two members).
#[derive(Debug)]
pub struct Reports {
    streams: Vec<Stream>,
    random: Random,
    /// Nothing is due before that.
    next: Instant,
}

#[derive(Debug, Default)]
struct Stream {
    /// The extended highest sequence number that has come.
    highest: Option<u32>,
    recipient: Option<Recipient>,
}

#[derive(Debug)]
struct Recipient {
    port: u16,
    /// None where the recording is plain.
    protector: Option<Protector>,
    due: Instant,
}

impl Reports {
    /// Of so many streams, of which nobody is told before [`Reports::tell`].
    pub fn new(streams: usize, now: Instant) -> Self {
        let streams = std::iter::repeat_with(Stream::default).take(streams).collect();
        Self { streams, random: Random(1), next: now }
    }

    /// From now on reports of a stream go to this port, under this master key and salt where there is one.
    ///
    /// # Errors
    /// When there is no such stream, or that is no key.
    pub fn tell(&mut self, stream: usize, port: u16, key: Option<&[u8]>, now: Instant) -> Result<()> {
        let protector = match key {
            None => None,
            Some(key) => {
                let suite: SrtpSuite = SUITE.parse().map_err(|_| anyhow!("no suite {SUITE}"))?;
                Some(Protector::new(&SrtpKey::new(suite, key)?)?)
            }
        };
        // Others were told earlier: together they are spread from the beginning.
        let due = now + self.random.interval().mul_f64(self.random.fraction());
        ensure!(stream < self.streams.len(), "there is no stream {stream}");
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.recipient = Some(Recipient { port, protector, due });
        }
        self.next = self.next.min(due);
        Ok(())
    }

    /// Takes note of a packet of a stream.
    pub fn note(&mut self, stream: usize, packet: &[u8]) {
        let number = packet.get(SEQUENCE).and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?)));
        if let (Some(stream), Some(number)) = (self.streams.get_mut(stream), number) {
            let highest = stream.highest.get_or_insert_with(|| u32::from(number));
            let ahead = number.wrapping_sub(*highest as u16);
            if ahead < 0x8000 {
                *highest = highest.wrapping_add(u32::from(ahead));
            }
        }
    }

    /// Sends what is due.
    pub fn send(&mut self, socket: &UdpSocket, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now + Duration::from_secs(1);
        for (number, stream) in self.streams.iter_mut().enumerate() {
            let Stream { highest: Some(highest), recipient: Some(recipient) } = stream else { continue };
            if recipient.due <= now {
                recipient.due = now + self.random.interval();
                let mut datagram = report(number, *highest);
                let sealed = recipient.protector.as_mut().map(|key| key.protect_rtcp(&mut datagram, LENGTH));
                if !matches!(sealed, Some(Err(_))) {
                    // What the kernel does not take is lost, as on any network.
                    let _ = socket.send_to(&datagram, (Ipv4Addr::LOCALHOST, recipient.port));
                }
            }
            self.next = self.next.min(recipient.due);
        }
    }
}

/// Everything up to `highest` has come.
fn report(stream: usize, highest: u32) -> Vec<u8> {
    let sender = 0x6000_0000 + stream as u32;
    let mut datagram = Vec::with_capacity(LENGTH + 32);
    let mut words = |words: &[u32]| words.iter().for_each(|word| datagram.extend(word.to_be_bytes()));
    // Version 2, one block, RR, its length in words less one; no loss, no jitter, no sender report to refer to.
    words(&[0x81C9_0007, sender, traffic::ssrc(stream), 0, highest, 0, 0, 0]);
    // Version 2, one chunk, SDES; a CNAME of five bytes, and the end of the list.
    words(&[0x81CA_0003, sender]);
    datagram.extend(*b"\x01\x05srs-1\0");
    datagram
}

/// SplitMix64: spreading times needs no secret.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// 0 to 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) as f64 / u64::MAX as f64
    }

    /// 5 s at random from half to one and a half times, divided by e - 3/2.
    fn interval(&mut self) -> Duration {
        Duration::from_secs(5).mul_f64((0.5 + self.fraction()) / (std::f64::consts::E - 1.5))
    }
}

#[cfg(test)]
mod tests {
    use siprec_media::srtp::Unprotector;

    use super::*;
    use crate::traffic::{Path, master};

    #[test]
    fn each_stream_is_reported_on_every_few_seconds_under_its_key() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        socket.set_nonblocking(true).unwrap();
        let start = Instant::now();
        let mut reports = Reports::new(3, start);
        let key = master(Path::Call, 1);
        reports.tell(1, port, Some(&key), start).unwrap();
        reports.tell(2, port, None, start).unwrap();
        assert!(reports.tell(3, port, None, start).is_err());
        let packet = |number: u16| {
            let mut packet = [0x80; 172];
            packet[2..4].copy_from_slice(&number.to_be_bytes());
            packet
        };
        // Once round, and one that is late; of stream 2 nothing comes.
        for number in [65_000, 65_534, 3, 65_535] {
            reports.note(1, &packet(number));
        }
        let mut came = Vec::new();
        for tenth in 0..600 {
            reports.send(&socket, start + Duration::from_millis(100) * tenth);
            let mut datagram = [0; 200];
            if let Ok(length) = socket.recv(&mut datagram) {
                came.push(datagram[..length].to_vec());
            }
        }
        assert!((10..=30).contains(&came.len()), "{}", came.len());
        let suite: SrtpSuite = SUITE.parse().unwrap();
        let mut opener = Unprotector::new();
        opener.add_key(&SrtpKey::new(suite, &key).unwrap()).unwrap();
        for mut datagram in came {
            let length = opener.unprotect_rtcp(&mut datagram).unwrap();
            assert_eq!(datagram[..length], report(1, 0x1_0003));
        }
    }

    #[test]
    fn a_report_is_a_compound_of_whole_packets() {
        let datagram = report(7, 500);
        assert_eq!(datagram.len(), LENGTH);
        let mut rest = &datagram[..];
        let mut types = Vec::new();
        while let [_, kind, high, low, ..] = *rest {
            types.push(kind);
            rest = &rest[4 * (usize::from(u16::from_be_bytes([high, low])) + 1)..];
        }
        assert_eq!((types, rest), (vec![201, 202], &[][..]));
    }
}
