//! RTP packets made by GStreamer, and sender reports.

use gst_rtp::RTPBuffer;
use gst_rtp::prelude::*;

/// One party's PCMU stream: packet n has sequence number n, timestamp `first` + 160 n and the codes of [`codes`].
#[derive(Clone, Copy)]
pub(crate) struct Voice {
    pub(crate) ssrc: u32,
    pub(crate) first: u32,
}

impl Voice {
    pub(crate) fn packet(&self, number: u16) -> Vec<u8> {
        self.packet_of(0, number, &codes(self.ssrc, number))
    }

    pub(crate) fn packet_of(&self, payload_type: u8, number: u16, payload: &[u8]) -> Vec<u8> {
        let mut buffer = gst::Buffer::new_rtp_with_sizes(payload.len() as u32, 0, 0).unwrap();
        {
            let buffer = buffer.get_mut().unwrap();
            let mut rtp = RTPBuffer::from_buffer_writable(buffer).unwrap();
            rtp.set_payload_type(payload_type);
            rtp.set_seq(number);
            rtp.set_timestamp(self.first.wrapping_add(u32::from(number) * 160));
            rtp.set_ssrc(self.ssrc);
            rtp.payload_mut().unwrap().copy_from_slice(payload);
        }
        buffer.map_readable().unwrap().to_vec()
    }

    pub(crate) fn packets(self, range: impl IntoIterator<Item = u16>) -> impl Iterator<Item = Vec<u8>> {
        range.into_iter().map(move |number| self.packet(number))
    }

    /// What these packets sound like.
    pub(crate) fn sound(&self, range: impl IntoIterator<Item = u16>) -> Vec<i16> {
        range.into_iter().flat_map(|number| codes(self.ssrc, number)).map(expand).collect()
    }

    /// A sender report: packet `number` was spoken at `ntp_ms`.
    pub(crate) fn report(&self, ntp_ms: u64, number: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(self.ssrc.to_be_bytes());
        let ntp = ((ntp_ms / 1000) << 32) | ((ntp_ms % 1000) << 32).div_ceil(1000);
        packet.extend(ntp.to_be_bytes());
        packet.extend(self.first.wrapping_add(u32::from(number) * 160).to_be_bytes());
        packet.extend([0; 8]);
        packet
    }
}

/// 160 codes that no other packet has.
fn codes(ssrc: u32, number: u16) -> Vec<u8> {
    let mut state = ssrc.wrapping_mul(2_654_435_761).wrapping_add(u32::from(number) + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..160).map(|_| next()).collect()
}

/// ITU-T G.711 expansion, written from the standard's text.
fn expand(code: u8) -> i16 {
    let inverted = !code;
    let magnitude = ((i16::from(inverted & 0x0f) << 3) + 0x84) << ((inverted >> 4) & 7);
    if inverted & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}
