//! One RTP packet of the call, parsed once.

use rtp_types::RtpPacket;
use siprec_model::DropCause;

/// Longest packet that is taken, in bytes: what one UDP datagram can carry at most.
const MAX_PACKET: usize = 65_535;

/// A sound RTP packet: the header fields that a branch needs, and the bytes they came from.
#[derive(Clone, Copy, Debug)]
pub struct RtpView<'a> {
    bytes: &'a [u8],
    pub(crate) header: Header,
}

/// The fields of an RTP header that decide what a branch does with its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Bytes of payload, without padding: what RFC 3550 §6.4.1 counts as octets.
    pub(crate) payload_octets: u16,
}

/// Why bytes on a stream's pad cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// RTCP, STUN, DTLS or anything else that shares the port (RFC 5761 §4, RFC 7983 §7).
    #[error("not RTP")]
    NotRtp,
    /// RTP that contradicts itself: a header, CSRC list, extension or padding that does not fit into the packet.
    #[error("malformed RTP")]
    Malformed,
}

impl From<Unusable> for DropCause {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::NotRtp => Self::NotRtp,
            Unusable::Malformed => Self::Malformed,
        }
    }
}

impl<'a> RtpView<'a> {
    /// Classifies and checks the bytes of one packet (`protocol` rule 2.5).
    ///
    /// # Errors
    /// [`Unusable::NotRtp`] unless the first byte is 128-191 and the second is not 192-223;
    /// [`Unusable::Malformed`] for RTP whose lengths contradict the packet's, or that no datagram can carry.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Unusable> {
        if !Self::is_rtp(bytes) {
            return Err(Unusable::NotRtp);
        }
        if bytes.len() > MAX_PACKET {
            return Err(Unusable::Malformed);
        }
        let packet = RtpPacket::parse(bytes).map_err(|_| Unusable::Malformed)?;
        let header = Header {
            marker: packet.marker_bit(),
            payload_type: packet.payload_type(),
            sequence: packet.sequence_number(),
            timestamp: packet.timestamp(),
            ssrc: packet.ssrc(),
            payload_octets: u16::try_from(packet.payload_len()).unwrap_or(u16::MAX),
        };
        Ok(Self { bytes, header })
    }

    /// Whether it is RTP, sound or not, plain or encrypted, and nothing else that shares its port (`protocol` rule 2.5).
    pub fn is_rtp(bytes: &[u8]) -> bool {
        // RFC 7983 §7: 128-191 is RTP or RTCP; RFC 5761 §4: packet types 192-223 are RTCP.
        !matches!(bytes, [] | [0..=127 | 192..=255, ..] | [_, 192..=223, ..])
    }

    /// The source of an RTP packet, plain or encrypted; `None` for what is none or has no whole header.
    pub fn source(bytes: &[u8]) -> Option<u32> {
        Self::numbered_source(bytes).map(|(ssrc, _)| ssrc)
    }

    /// The same with the packet's sequence number.
    pub fn numbered_source(bytes: &[u8]) -> Option<(u32, u16)> {
        let ([_, _, high, low, _, _, _, _, ssrc @ ..], _) = bytes.split_first_chunk::<12>()?;
        Self::is_rtp(bytes).then(|| (u32::from_be_bytes(*ssrc), u16::from_be_bytes([*high, *low])))
    }

    /// The whole packet.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header, its CSRCs and extension, without padding.
    pub fn payload(&self) -> &'a [u8] {
        let octets = usize::from(self.header.payload_octets);
        let padding = match (self.bytes, self.bytes.last()) {
            ([first, ..], Some(padding)) if first & 0x20 != 0 => usize::from(*padding),
            _ => 0,
        };
        let end = self.bytes.len().saturating_sub(padding);
        self.bytes.get(end.saturating_sub(octets)..end).unwrap_or_default()
    }

    /// Synchronisation source.
    pub fn ssrc(&self) -> u32 {
        self.header.ssrc
    }

    /// Sequence number in the call.
    pub fn sequence(&self) -> u16 {
        self.header.sequence
    }

    /// RTP timestamp.
    pub fn timestamp(&self) -> u32 {
        self.header.timestamp
    }

    /// Payload type, 0-127.
    pub fn payload_type(&self) -> u8 {
        self.header.payload_type
    }

    /// Marker bit.
    pub fn marker(&self) -> bool {
        self.header.marker
    }
}

impl Header {
    /// Bytes of the fixed header (RFC 3550 §5.1).
    pub(crate) const FIXED: usize = 12;

    /// Reads the fixed header of a packet that [`RtpView::parse`] has accepted before.
    pub(crate) fn of_checked(fixed: [u8; Self::FIXED], payload_octets: u16) -> Self {
        let [_, marker_type, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = fixed;
        Self {
            marker: marker_type & 0x80 != 0,
            payload_type: marker_type & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload_octets,
        }
    }
}

/// The first 12 bytes, RTP's fixed header, of a packet whose bytes lie in several pieces; `None` where it has fewer.
pub fn fixed_header(parts: &[&[u8]]) -> Option<[u8; 12]> {
    let mut header = [0; 12];
    let mut bytes = parts.iter().flat_map(|part| part.iter());
    for place in &mut header {
        *place = *bytes.next()?;
    }
    Some(header)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    const PLAIN: [u8; 16] = [0x80, 0x88, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9];

    #[test]
    fn the_source_stands_in_a_whole_header_of_rtp_alone() {
        assert_eq!(RtpView::source(&PLAIN), Some(u32::from_be_bytes(PLAIN[8..12].try_into().unwrap())));
        for length in 0..12 {
            assert_eq!(RtpView::source(&PLAIN[..length]), None);
            assert_eq!(fixed_header(&[&PLAIN[..length / 2], b"", &PLAIN[length / 2..length]]), None);
        }
        assert_eq!(RtpView::source(&[&[0x80, 201], &PLAIN[2..]].concat()), None);
        assert_eq!(fixed_header(&[&PLAIN[..3], b"", &PLAIN[3..]]).unwrap(), PLAIN[..12]);
    }

    #[test]
    fn first_and_second_byte_tell_rtp_from_what_shares_its_port() {
        let table: [(&[u8], Unusable); 9] = [
            (&[], Unusable::NotRtp),
            (&[0], Unusable::NotRtp),
            (&[0, 1, 0, 0], Unusable::NotRtp),   // STUN
            (&[22, 254, 253], Unusable::NotRtp), // DTLS
            (&[127; 40], Unusable::NotRtp),
            (&[192; 40], Unusable::NotRtp),
            (&[0x80, 200, 0, 6], Unusable::NotRtp), // SR
            (&[0x81, 223, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0], Unusable::NotRtp),
            (&[0x80], Unusable::Malformed),
        ];
        for (bytes, error) in table {
            assert_eq!(RtpView::parse(bytes).unwrap_err(), error, "{bytes:?}");
        }
        for second in [0, 0x7F, 0x80, 191, 224, 255] {
            let mut packet = PLAIN;
            packet[1] = second;
            assert_eq!(RtpView::parse(&packet).unwrap().payload_type(), second & 0x7F);
        }
    }

    #[test]
    fn header_fields_are_read_once_and_right() {
        let view = RtpView::parse(&PLAIN).unwrap();
        assert_eq!((view.marker(), view.payload_type(), view.sequence()), (true, 8, 0x1234));
        assert_eq!((view.timestamp(), view.ssrc()), (0x0102_0304, 0x0506_0708));
        assert_eq!((view.header.payload_octets, view.payload()), (4, &PLAIN[12..]));
        let padded =
            [&[0xB1], &PLAIN[1..12], &[0; 4], &[0xBE, 0xDE, 0, 1, 1, 1, 1, 1], &[5, 6, 7, 0, 2]].concat();
        assert_eq!(RtpView::parse(&padded).unwrap().payload(), [5, 6, 7]);
        let mut fixed = [0; Header::FIXED];
        fixed.copy_from_slice(&PLAIN[..Header::FIXED]);
        assert_eq!(Header::of_checked(fixed, 4), view.header);
    }

    #[test]
    fn lengths_that_contradict_the_packet_are_malformed() {
        let packet = |first: u8, tail: &[u8]| [&[first], &PLAIN[1..12], tail].concat();
        let malformed = [
            PLAIN[..11].to_vec(),
            packet(0x8F, &[0; 59]),                     // 15 CSRCs need 60 bytes
            packet(0x90, &[]),                          // extension without its header
            packet(0x90, &[0xBE, 0xDE, 0xFF, 0xFF, 0]), // extension of 262,140 bytes
            packet(0xB0, &[0, 0, 0, 1, 7, 7, 7, 7]),    // padding that reaches into the extension
            packet(0xA0, &[]),                          // padding bit without a byte
            packet(0xA0, &[0]),                         // padding of 0
            packet(0xA0, &[0, 0, 9]),                   // padding longer than the payload
            packet(0x80, &vec![0; MAX_PACKET]),
        ];
        for bytes in malformed {
            assert_eq!(RtpView::parse(&bytes).unwrap_err(), Unusable::Malformed, "{:?}", &bytes[..11]);
        }
        let sound = [
            (packet(0x80, &[]), 0),
            (packet(0x8F, &[0; 60]), 0),
            (packet(0x91, &[0, 0, 0, 0, 0xBE, 0xDE, 0, 1, 1, 1, 1, 1, 5, 5]), 2),
            (packet(0xA0, &[5, 0, 2]), 1),
            (packet(0xA0, &[1]), 0),
        ];
        for (bytes, octets) in sound {
            let view = RtpView::parse(&bytes).unwrap();
            assert_eq!(view.header.payload_octets, octets, "{bytes:?}");
            assert_eq!(view.payload().len(), usize::from(octets), "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
        #[test]
        fn no_bytes_make_it_panic_or_claim_more_payload_than_there_is(
            first in 0x80u8..=0xBF,
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            padding in any::<u8>(),
        ) {
            let packet = [&[first], &bytes[..], &[padding]].concat();
            if let Ok(view) = RtpView::parse(&packet) {
                prop_assert!(usize::from(view.header.payload_octets) + Header::FIXED <= packet.len());
                prop_assert_eq!(view.payload().len(), usize::from(view.header.payload_octets));
            }
        }
    }
}
