//! What a recorder says in RTCP.

use rtcp_types::prelude::*;
use rtcp_types::{
    Bye, Fir, Nack, PayloadFeedback, Pli, ReceiverReport, ReportBlock, SenderReport, TransportFeedback,
};

/// Bytes of the header that all RTCP packets share.
const COMMON_HEADER: usize = 4;

/// One thing that a recorder says of the stream it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// A report block (RFC 3550 §6.4.1).
    Report {
        /// Who reports.
        reporter: u32,
        /// The source reported on.
        ssrc: u32,
        /// Extended highest sequence number received.
        highest_sequence: u32,
        /// Packets lost since the beginning; negative when duplicates outnumber losses.
        cumulative_lost: i32,
        /// Fraction lost since the last report, in 1/256.
        fraction_lost: u8,
    },
    /// A key frame is wanted: PLI or FIR (RFC 4585 §6.3.1, RFC 5104 §4.3.1).
    KeyframeWanted {
        /// The source that should send it.
        ssrc: u32,
    },
    /// A packet has not come: generic NACK (RFC 4585 §6.2.1), once for each packet.
    Missing {
        /// Its source.
        ssrc: u32,
        /// Its sequence number.
        sequence: u16,
    },
    /// A source of the recorder leaves (RFC 3550 §6.6), once for each.
    Bye {
        /// Who reported by that name, if it did.
        ssrc: u32,
    },
}

/// Reads a datagram of RTCP, compound or reduced-size (RFC 5506). What is unknown is passed over; reading ends at the
/// first byte that makes no sense, and what stood before it counts.
pub fn feedback(datagram: &[u8], mut told: impl FnMut(Feedback)) {
    let mut rest = datagram;
    while let Some((packet, after)) = split_packet(rest) {
        rest = after;
        match packet.get(1).copied() {
            Some(SenderReport::PACKET_TYPE) => {
                if let Ok(report) = SenderReport::parse(packet) {
                    let reporter = report.ssrc();
                    report.report_blocks().for_each(|block| told(report_of(reporter, &block)));
                }
            }
            Some(ReceiverReport::PACKET_TYPE) => {
                if let Ok(report) = ReceiverReport::parse(packet) {
                    let reporter = report.ssrc();
                    report.report_blocks().for_each(|block| told(report_of(reporter, &block)));
                }
            }
            Some(PayloadFeedback::PACKET_TYPE) => {
                if let Ok(payload) = PayloadFeedback::parse(packet) {
                    keyframe_requests(&payload, &mut told);
                }
            }
            Some(TransportFeedback::PACKET_TYPE) => {
                if let Ok(transport) = TransportFeedback::parse(packet)
                    && let Ok(nack) = transport.parse_fci::<Nack<'_>>()
                {
                    let ssrc = transport.media_ssrc();
                    nack.entries().for_each(|sequence| told(Feedback::Missing { ssrc, sequence }));
                }
            }
            Some(Bye::PACKET_TYPE) => {
                if let Ok(bye) = Bye::parse(packet) {
                    bye.ssrcs().for_each(|ssrc| told(Feedback::Bye { ssrc }));
                }
            }
            _ => {}
        }
    }
}

/// Cuts off the first packet by its own length (RFC 3550 §6.4.1).
fn split_packet(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let [first, _, high, low, ..] = *datagram else { return None };
    let length = COMMON_HEADER + 4 * usize::from(u16::from_be_bytes([high, low]));
    if first >> 6 != 2 { None } else { datagram.split_at_checked(length) }
}

fn report_of(reporter: u32, block: &ReportBlock<'_>) -> Feedback {
    Feedback::Report {
        reporter,
        ssrc: block.ssrc(),
        highest_sequence: block.extended_sequence_number(),
        // 24 bits with a sign (RFC 3550 §6.4.1).
        cumulative_lost: (block.cumulative_lost() << 8).cast_signed() >> 8,
        fraction_lost: block.fraction_lost(),
    }
}

fn keyframe_requests(payload: &PayloadFeedback<'_>, told: &mut impl FnMut(Feedback)) {
    if payload.parse_fci::<Pli<'_>>().is_ok() {
        told(Feedback::KeyframeWanted { ssrc: payload.media_ssrc() });
    } else if let Ok(fir) = payload.parse_fci::<Fir<'_>>() {
        for entry in fir.entries() {
            told(Feedback::KeyframeWanted { ssrc: entry.ssrc() });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use rtcp_types::{Compound, Sdes, SdesChunk, SdesItem};

    use super::*;

    fn told(datagram: &[u8]) -> Vec<Feedback> {
        let mut all = Vec::new();
        feedback(datagram, |one| all.push(one));
        all
    }

    fn written(packet: impl RtcpPacketWriter) -> Vec<u8> {
        let mut bytes = vec![0; packet.calculate_size().unwrap()];
        packet.write_into(&mut bytes).unwrap();
        bytes
    }

    fn compound_report() -> Vec<u8> {
        let block = ReportBlock::builder(0xCA11)
            .fraction_lost(64)
            .cumulative_lost(0xFF_FFFE)
            .extended_sequence_number(0x0001_0203);
        written(
            Compound::builder()
                .add_packet(ReceiverReport::builder(1).add_report_block(block))
                .add_packet(Sdes::builder().add_chunk(
                    SdesChunk::builder(1).add_item(SdesItem::builder(SdesItem::CNAME, "recorder")),
                ))
                .add_packet(PayloadFeedback::builder_owned(Pli::builder()).media_ssrc(0xCA11)),
        )
    }

    #[test]
    fn reports_and_keyframe_requests_are_read_from_a_compound() {
        let report = Feedback::Report {
            reporter: 1,
            ssrc: 0xCA11,
            highest_sequence: 0x0001_0203,
            cumulative_lost: -2,
            fraction_lost: 64,
        };
        assert_eq!(told(&compound_report()), [report, Feedback::KeyframeWanted { ssrc: 0xCA11 }]);
    }

    #[test]
    fn a_full_intra_request_may_stand_alone() {
        let fir = PayloadFeedback::builder_owned(Fir::builder().add_ssrc(7, 1)).sender_ssrc(1);
        assert_eq!(told(&written(fir)), [Feedback::KeyframeWanted { ssrc: 7 }]);
    }

    #[test]
    fn what_is_missing_is_told_packet_by_packet_also_in_a_packet_that_stands_alone() {
        let nack = |sequences: &[u16]| {
            let fci = sequences.iter().fold(Nack::builder(), |fci, sequence| fci.add_rtp_sequence(*sequence));
            written(TransportFeedback::builder_owned(fci).sender_ssrc(1).media_ssrc(7))
        };
        let sequences = [5, 6, 21, 22, 300, 65_535];
        let missing = |sequence: &u16| Feedback::Missing { ssrc: 7, sequence: *sequence };
        assert_eq!(told(&nack(&sequences)), sequences.iter().map(missing).collect::<Vec<_>>());
        // PID 65,535 with bits for 0 and 15: numbers wrap.
        let wrapping = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 7, 0xFF, 0xFF, 0x80, 0x01];
        assert_eq!(told(&wrapping), [65_535, 0, 15].iter().map(missing).collect::<Vec<_>>());
        // Transport feedback of another format asks for nothing.
        let other = [&[0x8F], &wrapping[1..]].concat();
        assert_eq!(told(&other), []);
    }

    #[test]
    fn a_bye_is_told_of_each_source_that_it_names() {
        let bye = |ssrc| Feedback::Bye { ssrc };
        let both = Bye::builder().add_source(1).add_source(2).reason("enough");
        assert_eq!(told(&written(both)), [bye(1), bye(2)]);
        // Valid, but useless (RFC 3550 §6.6).
        assert_eq!(told(&written(Bye::builder())), []);
    }

    #[test]
    fn what_stood_before_garbage_counts() {
        let mut bytes = compound_report();
        bytes.extend([0x80, 201, 0xFF, 0xFF, 1, 2]);
        assert_eq!(told(&bytes).len(), 2);
        assert_eq!(told(&[0; 40]), []);
        assert_eq!(told(&[]), []);
    }

    #[test]
    fn a_report_block_cut_short_is_passed_over() {
        // Says five blocks, has one.
        let mut bytes = compound_report();
        bytes[0] = 0x85;
        assert_eq!(told(&bytes), [Feedback::KeyframeWanted { ssrc: 0xCA11 }]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            told(&bytes);
        }

        #[test]
        fn no_damage_to_a_report_makes_it_panic(
            damage in proptest::collection::vec((0usize..80, any::<u8>()), 1..6),
            length in 0usize..100,
        ) {
            let mut bytes = compound_report();
            for (at, to) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = to;
                }
            }
            bytes.truncate(length);
            told(&bytes);
        }
    }
}
