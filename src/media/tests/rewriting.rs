//! What of a call's packet the recording's is.

#![cfg(test)]

use std::time::Instant;

use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchLimits, Medium, PayloadRule};

const FIRST: u16 = 5000;

#[test]
fn only_sequence_marker_and_payload_type_are_written_over() {
    let start = Instant::now();
    let limits = BranchLimits::default();
    let settings = BranchSettings { medium: Medium::Video, clock_rate: 90_000, limits };
    let mut branch = Branch::new(settings, FIRST, start);
    branch.open(&[PayloadRule { from: 96, to: 107 }], start);
    // Two CSRCs, an extension of one word, padding of three bytes.
    let packet = [
        [0xB2, 0x80 | 96, 0x11, 0x22, 1, 2, 3, 4, 5, 6, 7, 8].as_slice(),
        &[0xC5; 8],
        &[0xBE, 0xDE, 0, 1, 9, 9, 9, 9],
        &[1, 2, 3, 4, 5, 0, 0, 3],
    ]
    .concat();
    let mut out = vec![0xEE];
    let sent = branch.handle_packet(&RtpView::parse(&packet).unwrap(), start, &mut out).unwrap();
    assert_eq!(sent.length, packet.len());
    let mut expected = packet;
    expected[1] = 0x80 | 107;
    expected[2..4].copy_from_slice(&FIRST.to_be_bytes());
    assert_eq!((out[0], &out[1..]), (0xEE, &expected[..]));
    assert_eq!(branch.senders().next().unwrap().octets, 5);
}
