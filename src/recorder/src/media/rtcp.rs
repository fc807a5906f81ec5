//! RTCP as a receiver needs it: reads sender reports, writes receiver reports (RFC 3550 §6.4).

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const CNAME: u8 = 1;

/// What one RTCP packet of a compound says, as far as a recorder uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Sender report: `rtp` was the source's RTP clock at `ntp` (64-bit NTP timestamp).
    Sender { ssrc: u32, ntp: u64, rtp: u32, packets: u32 },
    /// The source's canonical name.
    CanonicalName { ssrc: u32, cname: String },
    /// The source has left.
    Bye { ssrc: u32 },
}

/// The reports of a compound packet, in order. Reading ends at the first packet whose length leaves the datagram.
pub(crate) fn parse(mut compound: &[u8]) -> Vec<Report> {
    let mut reports = Vec::new();
    while let Some(([first, kind, high, low], _)) = compound.split_first_chunk::<4>() {
        let length = (usize::from(u16::from_be_bytes([*high, *low])) + 1) * 4;
        let Some((packet, rest)) = compound.split_at_checked(length) else { break };
        if first >> 6 != 2 {
            break;
        }
        let body = packet.get(4..).unwrap_or_default();
        match *kind {
            SENDER_REPORT => reports.extend(sender_report(body)),
            SOURCE_DESCRIPTION => reports.extend(canonical_names(body, first & 0x1f)),
            BYE => reports.extend(
                (0..usize::from(first & 0x1f))
                    .map_while(|index| word(body, index * 4))
                    .map(|ssrc| Report::Bye { ssrc }),
            ),
            _ => {}
        }
        compound = rest;
    }
    reports
}

fn sender_report(body: &[u8]) -> Option<Report> {
    Some(Report::Sender {
        ssrc: word(body, 0)?,
        ntp: u64::from(word(body, 4)?) << 32 | u64::from(word(body, 8)?),
        rtp: word(body, 12)?,
        packets: word(body, 16)?,
    })
}

/// RFC 3550 §6.5: chunks of items, each chunk ended by a null octet and padded to 32 bits.
fn canonical_names(body: &[u8], chunks: u8) -> Vec<Report> {
    let mut names = Vec::new();
    let mut at = 0;
    for _ in 0..chunks {
        let Some(ssrc) = word(body, at) else { break };
        at += 4;
        while let Some(&kind) = body.get(at).filter(|kind| **kind != 0) {
            let length = usize::from(body.get(at + 1).copied().unwrap_or(0));
            let Some(text) = body.get(at + 2..at + 2 + length) else { return names };
            if kind == CNAME {
                names.push(Report::CanonicalName { ssrc, cname: String::from_utf8_lossy(text).into_owned() });
            }
            at += 2 + length;
        }
        at = (at + 4) & !3;
    }
    names
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|word| u32::from_be_bytes(*word))
}

/// What a receiver tells a source about itself (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReportBlock {
    /// The source that is reported on.
    pub(crate) ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub(crate) fraction_lost: u8,
    /// Cumulative loss; duplicates make it negative.
    pub(crate) lost: i32,
    /// Highest sequence number with its count of cycles.
    pub(crate) highest: u32,
    /// In units of the RTP clock.
    pub(crate) jitter: u32,
    /// Middle 32 bits of the last sender report's NTP timestamp, 0 when none came.
    pub(crate) last_report: u32,
    /// Time since that report in 1/65536 s.
    pub(crate) delay: u32,
}

/// A compound of a receiver report and the receiver's canonical name, which every compound needs (RFC 3550 §6.1).
/// Takes at most 31 blocks.
pub(crate) fn receiver_report(own_ssrc: u32, cname: &str, blocks: &[ReportBlock]) -> Vec<u8> {
    let blocks = blocks.get(..31).unwrap_or(blocks);
    let mut out = Vec::with_capacity(64);
    header(&mut out, blocks.len() as u8, RECEIVER_REPORT, 1 + 6 * blocks.len());
    out.extend(own_ssrc.to_be_bytes());
    for block in blocks {
        out.extend(block.ssrc.to_be_bytes());
        let lost = block.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        out.extend((u32::from(block.fraction_lost) << 24 | lost).to_be_bytes());
        out.extend(block.highest.to_be_bytes());
        out.extend(block.jitter.to_be_bytes());
        out.extend(block.last_report.to_be_bytes());
        out.extend(block.delay.to_be_bytes());
    }
    let name = cname.as_bytes().get(..255).unwrap_or(cname.as_bytes());
    let padding = 4 - (name.len() + 2) % 4;
    header(&mut out, 1, SOURCE_DESCRIPTION, (4 + 2 + name.len() + padding) / 4);
    out.extend(own_ssrc.to_be_bytes());
    out.extend([CNAME, name.len() as u8]);
    out.extend(name);
    out.extend(std::iter::repeat_n(0, padding));
    out
}

/// Feedback about video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// Picture loss indication (RFC 4585 §6.3.1).
    PictureLoss,
    /// Full intra request (RFC 5104 §4.3.1) with its sequence number.
    FullIntra(u8),
}

/// A compound that asks `sources` for a key frame.
pub(crate) fn feedback(own_ssrc: u32, cname: &str, sources: &[u32], feedback: Feedback) -> Vec<u8> {
    let mut out = receiver_report(own_ssrc, cname, &[]);
    match feedback {
        Feedback::PictureLoss => {
            for source in sources {
                header(&mut out, 1, PAYLOAD_FEEDBACK, 2);
                out.extend(own_ssrc.to_be_bytes());
                out.extend(source.to_be_bytes());
            }
        }
        Feedback::FullIntra(number) => {
            header(&mut out, 4, PAYLOAD_FEEDBACK, 2 + 2 * sources.len());
            out.extend(own_ssrc.to_be_bytes());
            out.extend([0; 4]);
            for source in sources {
                out.extend(source.to_be_bytes());
                out.extend([number, 0, 0, 0]);
            }
        }
    }
    out
}

/// A compound that asks for packets of sources that have not come (generic NACK, RFC 4585 §6.2.1). The numbers of a source go up,
/// and may wrap.
pub(crate) fn missing(own_ssrc: u32, cname: &str, sources: &[(u32, Vec<u16>)]) -> Vec<u8> {
    let mut out = receiver_report(own_ssrc, cname, &[]);
    for (ssrc, sequences) in sources {
        let mut entries: Vec<(u16, u16)> = Vec::new();
        for sequence in sequences {
            match entries.last_mut() {
                Some((first, following)) if (1..=16).contains(&sequence.wrapping_sub(*first)) => {
                    *following |= 1 << (sequence.wrapping_sub(*first) - 1);
                }
                _ => entries.push((*sequence, 0)),
            }
        }
        header(&mut out, 1, TRANSPORT_FEEDBACK, 2 + entries.len());
        out.extend(own_ssrc.to_be_bytes());
        out.extend(ssrc.to_be_bytes());
        for (first, following) in entries {
            out.extend(first.to_be_bytes());
            out.extend(following.to_be_bytes());
        }
    }
    out
}

fn header(out: &mut Vec<u8>, count: u8, kind: u8, words: usize) {
    out.extend([0x80 | count, kind]);
    out.extend((words as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender report with one SDES and a BYE behind it.
    fn compound() -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0, 7];
        packet.extend(0x1122_3344_8000_0000u64.to_be_bytes());
        packet.extend(4000u32.to_be_bytes());
        packet.extend(25u32.to_be_bytes());
        packet.extend(4000u32.to_be_bytes());
        packet.extend([0x81, 202, 0, 3, 0, 0, 0, 7, 1, 4, b'1', b'0', b'0', b'1', 0, 0]);
        packet.extend([0x81, 203, 0, 1, 0, 0, 0, 7]);
        packet
    }

    #[test]
    fn a_compound_is_read_in_order() {
        assert_eq!(
            parse(&compound()),
            [
                Report::Sender { ssrc: 7, ntp: 0x1122_3344_8000_0000, rtp: 4000, packets: 25 },
                Report::CanonicalName { ssrc: 7, cname: "1001".into() },
                Report::Bye { ssrc: 7 },
            ]
        );
    }

    #[test]
    fn every_truncation_is_survived() {
        let whole = compound();
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).len() < 3, "cut at {length}");
        }
    }

    #[test]
    fn a_receiver_report_is_what_an_independent_parser_reads() {
        let block = ReportBlock {
            ssrc: 9,
            fraction_lost: 64,
            lost: -3,
            highest: 0x1_0005,
            jitter: 11,
            last_report: 0x3344_8000,
            delay: 65536,
        };
        for name in ["a", "ab", "abc", "abcd", "recorder@127.0.0.1"] {
            let packet = receiver_report(0xabcd, name, &[block]);
            let compound = rtcp_types::Compound::parse(&packet).unwrap();
            let mut seen = 0;
            for part in compound {
                match part.unwrap() {
                    rtcp_types::Packet::Rr(report) => {
                        assert_eq!(report.ssrc(), 0xabcd);
                        let got = report.report_blocks().next().unwrap();
                        assert_eq!(got.ssrc(), 9);
                        assert_eq!(got.fraction_lost(), 64);
                        assert_eq!(got.cumulative_lost(), -3i32 as u32 & 0xff_ffff);
                        assert_eq!(got.extended_sequence_number(), 0x1_0005);
                        assert_eq!(got.last_sender_report_timestamp(), 0x3344_8000);
                        seen += 1;
                    }
                    rtcp_types::Packet::Sdes(description) => {
                        let chunk = description.chunks().next().unwrap();
                        assert_eq!(chunk.items().next().unwrap().value(), name.as_bytes());
                        seen += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(seen, 2);
        }
    }

    #[test]
    fn what_is_missing_is_what_an_independent_parser_reads() {
        let sources = [(9, vec![65_535, 0, 15, 16, 17]), (10, vec![5])];
        let packet = missing(0xabcd, "r", &sources);
        let asked: Vec<_> = rtcp_types::Compound::parse(&packet)
            .unwrap()
            .filter_map(|packet| match packet.unwrap() {
                rtcp_types::Packet::TransportFeedback(feedback) => {
                    assert_eq!(feedback.sender_ssrc(), 0xabcd);
                    let nack = feedback.parse_fci::<rtcp_types::Nack<'_>>().unwrap();
                    Some((feedback.media_ssrc(), nack.entries().collect::<Vec<_>>()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(asked, sources);
    }

    #[test]
    fn key_frame_requests_are_what_an_independent_parser_reads() {
        let parsed = |packet: &[u8]| {
            let last = rtcp_types::Compound::parse(packet).unwrap().last().unwrap().unwrap();
            let rtcp_types::Packet::PayloadFeedback(feedback) = last else { panic!("{last:?}") };
            let fir = feedback.parse_fci::<rtcp_types::Fir<'_>>().ok();
            let entries =
                fir.map(|fir| fir.entries().map(|entry| (entry.ssrc(), entry.sequence())).collect());
            let pli = feedback.parse_fci::<rtcp_types::Pli<'_>>().is_ok();
            (feedback.sender_ssrc(), feedback.media_ssrc(), pli, entries.unwrap_or_else(Vec::new))
        };
        let pli = feedback(0xabcd, "r", &[9], Feedback::PictureLoss);
        assert_eq!(parsed(&pli), (0xabcd, 9, true, vec![]));
        let fir = feedback(0xabcd, "r", &[9, 10], Feedback::FullIntra(3));
        assert_eq!(parsed(&fir), (0xabcd, 0, false, vec![(9, 3), (10, 3)]));
    }
}
