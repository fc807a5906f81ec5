//! What of a packet stays in clear: enough to find its keys and index.

/// Bytes that SRTCP leaves in clear: the first header and its SSRC (RFC 3711 §3.4).
pub(crate) const RTCP_HEADER: usize = 8;

/// The clear part of an RTP packet, plain or encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtpHeader {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    /// Bytes of header, CSRCs and extension.
    pub(crate) length: usize,
}

impl RtpHeader {
    /// `None` for what is no RTP, or whose header does not fit into it. Padding is not looked at: it is encrypted.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let (fixed, rest) = packet.split_first_chunk::<12>()?;
        let [first, _, s0, s1, _, _, _, _, c0, c1, c2, c3] = *fixed;
        if first >> 6 != 2 {
            return None;
        }
        let csrcs = usize::from(first & 0x0F) * 4;
        let rest = rest.get(csrcs..)?;
        let extension = match first & 0x10 {
            0 => 0,
            _ => {
                let (&[_, _, high, low], _) = rest.split_first_chunk::<4>()?;
                4 + usize::from(u16::from_be_bytes([high, low])) * 4
            }
        };
        rest.get(extension..)?;
        Some(Self {
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            sequence: u16::from_be_bytes([s0, s1]),
            length: fixed.len() + csrcs + extension,
        })
    }
}

/// SSRC and sequence number, whatever else the packet is. `None` for what is no RTP.
pub(crate) fn headline(packet: &[u8]) -> Option<(u32, u16)> {
    let (&[first, _, s0, s1, _, _, _, _, c0, c1, c2, c3], _) = packet.split_first_chunk::<12>()?;
    (first >> 6 == 2).then_some((u32::from_be_bytes([c0, c1, c2, c3]), u16::from_be_bytes([s0, s1])))
}

/// The SSRC of an RTCP packet's sender; `None` for what is no RTCP.
pub(crate) fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    let (&[first, _, _, _, c0, c1, c2, c3], _) = packet.split_first_chunk::<RTCP_HEADER>()?;
    (first >> 6 == 2).then_some(u32::from_be_bytes([c0, c1, c2, c3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_ends_behind_csrcs_and_extension() {
        let packet = |first: u8, tail: &[u8]| [&[first, 0, 1, 2, 0, 0, 0, 0, 9, 8, 7, 6], tail].concat();
        let length = |bytes: &[u8]| RtpHeader::parse(bytes).map(|header| header.length);
        assert_eq!(length(&packet(0x80, &[])), Some(12));
        assert_eq!(length(&packet(0xA0, &[1])), Some(12));
        assert_eq!(length(&packet(0x8F, &[0; 60])), Some(72));
        assert_eq!(length(&packet(0x91, &[0, 0, 0, 0, 0xBE, 0xDE, 0, 1, 1, 1, 1, 1, 5])), Some(24));
        let header = RtpHeader::parse(&packet(0x80, &[])).unwrap();
        assert_eq!((header.ssrc, header.sequence), (0x0908_0706, 0x0102));
        for bad in [
            packet(0x40, &[]),
            packet(0x8F, &[0; 59]),
            packet(0x90, &[0; 3]),
            packet(0x90, &[0, 0, 0xFF, 0xFF]),
            vec![0x80; 11],
        ] {
            assert_eq!(length(&bad), None);
        }
    }

    #[test]
    fn the_first_packet_of_rtcp_says_who_sends() {
        assert_eq!(rtcp_ssrc(&[0x80, 200, 0, 1, 1, 2, 3, 4]), Some(0x0102_0304));
        assert_eq!(rtcp_ssrc(&[0x80, 200, 0, 1, 1, 2, 3]), None);
        assert_eq!(rtcp_ssrc(&[0, 200, 0, 1, 1, 2, 3, 4]), None);
    }
}
