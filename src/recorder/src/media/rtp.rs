//! The fixed header of an RTP packet (RFC 3550 §5.1), as much as a recorder looks at.

/// What the recorder reads of an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtpHeader {
    /// 0-127
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    /// In units of the codec's RTP clock.
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// The marker bit.
    pub(crate) marker: bool,
}

impl RtpHeader {
    /// Reads the header of a packet whose CSRC list, extension and padding lie within it (RFC 3550 A.1); `None` for
    /// everything else.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let (fixed, rest) = packet.split_first_chunk::<12>()?;
        let [first, second, sequence @ .., t0, t1, t2, t3, s0, s1, s2, s3] = *fixed;
        if first >> 6 != 2 || is_rtcp_type(second) {
            return None;
        }
        let mut payload = rest.get(usize::from(first & 0x0f) * 4..)?;
        if first & 0x10 != 0 {
            let ([_, _, high, low], rest) = payload.split_first_chunk::<4>()?;
            payload = rest.get(usize::from(u16::from_be_bytes([*high, *low])) * 4..)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            if padding == 0 || padding > payload.len() {
                return None;
            }
        }
        Some(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes(sequence),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
        })
    }
}

/// Whether a datagram can be RTP, encrypted or not: version 2 and the whole of the fixed header.
pub(crate) fn is_rtp(packet: &[u8]) -> bool {
    packet.len() >= 12 && matches!(packet, [first, second, ..] if first >> 6 == 2 && !is_rtcp_type(*second))
}

/// Whether a datagram on a port shared by RTP and RTCP is RTCP (RFC 5761 §4).
pub(crate) fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [first, second, ..] if first >> 6 == 2 && is_rtcp_type(*second))
}

fn is_rtcp_type(second: u8) -> bool {
    (192..=223).contains(&second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 14] = [0x80, 0x88, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef, 1, 2];

    #[test]
    fn a_plain_header_is_read() {
        assert_eq!(
            RtpHeader::parse(&PLAIN),
            Some(RtpHeader {
                payload_type: 8,
                sequence: 0x1234,
                timestamp: 160,
                ssrc: 0xdead_beef,
                marker: true
            })
        );
    }

    #[test]
    fn lengths_that_leave_the_packet_are_refused() {
        let with_first = |first: u8| {
            let mut packet = PLAIN;
            packet[0] = first;
            RtpHeader::parse(&packet)
        };
        assert_eq!(with_first(0x81), None, "one CSRC needs four bytes");
        assert_eq!(with_first(0x90), None, "an extension needs four bytes");
        assert!(with_first(0xa0).is_some(), "two bytes of padding fill the payload");
        assert_eq!(with_first(0x40), None, "version 1");
        assert_eq!(RtpHeader::parse(&PLAIN[..11]), None);
        let mut padded = PLAIN;
        padded[0] = 0xa0;
        padded[13] = 3;
        assert_eq!(RtpHeader::parse(&padded), None, "more padding than payload");
    }

    #[test]
    fn rtcp_on_the_rtp_port_is_told_apart() {
        let report = [0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(is_rtcp(&report));
        assert_eq!(RtpHeader::parse(&report), None);
        assert!(!is_rtcp(&PLAIN));
    }
}
