//! Packets of a known source that no key fits: where the source is when one comes that does.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use siprec_media::srtp::{CallKey, Passed, Protector, Unprotector};
use siprec_model::SrtpSuite;

use crate::common::{SSRC, ends, everything, key, protected, unprotected};

/// Rounds of sequence numbers: far more than the one either way that is tried.
const FAR: u64 = 5 << 16;

/// A call whose first packets were decrypted, and which has another key by now that nobody knows.
struct Call {
    peer: Protector,
    unprotector: Unprotector,
    next_key: CallKey,
    index: u64,
}

impl Call {
    const FIRST: u64 = 1000;

    fn each() -> impl Iterator<Item = Self> {
        everything().map(|(suite, one, other)| {
            let (mut peer, mut unprotector) = ends(&key(suite, 0), one, other);
            assert!(unprotected(&mut unprotector, &protected(&mut peer, SSRC, Self::FIRST)).is_ok());
            let next = key(suite, 1);
            peer.rekey(&next).unwrap();
            Self { peer, unprotector, next_key: next.into(), index: Self::FIRST }
        })
    }

    /// The next packets of so many indices, one in a thousand.
    fn packets(&mut self, indices: u64) -> Vec<Vec<u8>> {
        let end = self.index + indices;
        let mut packets = Vec::new();
        while self.index < end {
            self.index = (self.index + 1000).min(end);
            packets.push(protected(&mut self.peer, SSRC, self.index));
        }
        packets
    }

    fn unread(&mut self, indices: u64) {
        for packet in self.packets(indices) {
            assert!(unprotected(&mut self.unprotector, &packet).is_err());
        }
    }

    fn observed(&mut self, indices: u64) {
        self.packets(indices).iter().for_each(|packet| self.unprotector.observe(packet));
    }

    fn passed(&mut self, indices: u64) {
        let mut passed = Passed::default();
        self.packets(indices).iter().for_each(|packet| passed.note(packet));
        self.unprotector.catch_up(&passed);
    }

    /// The key comes, and then the next packet.
    fn goes_on(&mut self) -> bool {
        self.unprotector.add_call_keys([&self.next_key]).unwrap();
        self.packets(1).iter().all(|packet| unprotected(&mut self.unprotector, packet).is_ok())
    }
}

/// Whoever has the next key may take an hour.
#[test]
fn wraps_are_counted_when_a_key_comes() {
    for mut call in Call::each() {
        call.unread(FAR);
        assert!(call.goes_on());
    }
    for mut call in Call::each() {
        call.unread(FAR);
        call.unprotector.add_key(&call.next_key.key).unwrap();
        assert!(call.goes_on());
    }
}

#[test]
fn wraps_are_counted_before_those_of_what_is_observed_and_caught_up_with_behind_them() {
    for elsewhere in [Call::observed, Call::passed] {
        for mut call in Call::each() {
            for _ in 0..20 {
                call.unread(30_000);
                elsewhere(&mut call, 30_000);
            }
            assert!(call.goes_on());
        }
    }
}

/// A tap tells each time that nothing has passed: that is no reason to believe what may be forged.
#[test]
fn nothing_that_passed_counts_nothing() {
    for mut call in Call::each() {
        call.unprotector.add_call_keys([&call.next_key]).unwrap();
        forge(&mut call.unprotector, 0x80, 0);
        call.unprotector.catch_up(&Passed::default());
        assert_eq!(call.unprotector.positions().collect::<Vec<_>>(), [(SSRC, Call::FIRST)]);
        call.unprotector.observe(b"");
        assert_eq!(
            call.unprotector.positions().collect::<Vec<_>>(),
            [(SSRC, Call::FIRST + FAR - FAR % 1000)]
        );
    }
}

/// Headers of rounds of numbers from the first packet on.
fn forge(unprotector: &mut Unprotector, first: u8, second: u8) {
    for index in (Call::FIRST..Call::FIRST + FAR).step_by(1000) {
        let [high, low] = (index as u16).to_be_bytes();
        let header = [&[first, second, high, low, 0, 0, 0, 0][..], &SSRC.to_be_bytes()].concat();
        let mut packet = [&header[..], &[0; 60]].concat();
        assert!(unprotector.unprotect_rtp(&mut packet).is_err());
    }
}

#[test]
fn an_authentic_packet_disproves_the_wraps_of_forgeries_before_it() {
    for mut call in Call::each() {
        assert!(call.goes_on());
        forge(&mut call.unprotector, 0x80, 0);
        assert!(call.goes_on(), "as if nothing had come");
        let suite = call.next_key.key.suite();
        call.next_key = key(suite, 2).into();
        call.peer.rekey(&call.next_key.key).unwrap();
        call.observed(FAR);
        assert!(call.goes_on());
    }
}

/// What shares the port has other bytes where RTP has its number (RFC 5761 §4).
#[test]
fn rtcp_is_not_counted_among_them() {
    for mut call in Call::each() {
        forge(&mut call.unprotector, 0x80, 200);
        call.observed(FAR);
        assert!(call.goes_on());
    }
}

/// It may be forged, and then there would be no end of sources.
#[test]
fn a_source_that_was_never_authentic_is_only_followed() {
    for mut call in Call::each() {
        let suite = call.next_key.key.suite();
        let (mut peer, _) = ends(&key(suite, 1), Default::default(), Default::default());
        for index in (1000..1000 + FAR).step_by(1000) {
            let packet = protected(&mut peer, SSRC + 1, index);
            assert!(unprotected(&mut call.unprotector, &packet).is_err());
        }
        call.unprotector.add_call_keys([&call.next_key]).unwrap();
        let packet = protected(&mut peer, SSRC + 1, 1000 + FAR);
        assert!(unprotected(&mut call.unprotector, &packet).is_ok(), "{suite}");
    }
}

/// As where an application says the 0 of the call's beginning with each of its keys.
#[test]
fn a_rollover_counter_of_before_the_wraps_that_comes_with_keys_does_not_undo_them() {
    for mut call in Call::each() {
        call.unread(FAR);
        let suite = call.next_key.key.suite();
        let keys = [call.next_key.key.clone(), key(suite, 9)].map(|key| CallKey {
            roc: Some(0),
            ssrc: Some(SSRC),
            ..CallKey::from(key)
        });
        call.unprotector.add_call_keys(&keys).unwrap();
        assert!(call.goes_on());
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Packets that no key fits.
    Unread(u64),
    Observed(u64),
    Passed(u64),
    /// The key comes, then packets; then perhaps forgeries and one more, and the call has another key again.
    Key {
        forged: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..32_000).prop_map(Step::Unread),
        2 => (1u64..32_000).prop_map(Step::Observed),
        1 => (1u64..32_000).prop_map(Step::Passed),
        1 => any::<bool>().prop_map(|forged| Step::Key { forged }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    /// Whatever was decrypted, refused and followed in whatever turns: where the call really is, is known.
    #[test]
    fn a_key_fits_whenever_it_comes(
        suite in prop::sample::select(SrtpSuite::ALL.to_vec()),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let (mut peer, mut unprotector) = ends(&key(suite, 0), Default::default(), Default::default());
        let mut index = Call::FIRST;
        prop_assert!(unprotected(&mut unprotector, &protected(&mut peer, SSRC, index)).is_ok());
        let mut keys = 1;
        peer.rekey(&key(suite, keys)).unwrap();
        for step in steps.into_iter().chain([Step::Key { forged: false }]) {
            let jump = match step {
                Step::Unread(jump) | Step::Observed(jump) | Step::Passed(jump) => jump,
                Step::Key { .. } => 1,
            };
            let first = index + jump;
            index = first + 2;
            let packets: Vec<_> = (first..=index).map(|index| protected(&mut peer, SSRC, index)).collect();
            match step {
                Step::Unread(_) => for packet in &packets {
                    prop_assert!(unprotected(&mut unprotector, packet).is_err());
                },
                Step::Observed(_) => packets.iter().for_each(|packet| unprotector.observe(packet)),
                Step::Passed(_) => {
                    let mut passed = Passed::default();
                    packets.iter().for_each(|packet| passed.note(packet));
                    unprotector.catch_up(&passed);
                }
                Step::Key { forged } => {
                    unprotector.add_key(&key(suite, keys)).unwrap();
                    for packet in &packets {
                        prop_assert!(unprotected(&mut unprotector, packet).is_ok());
                    }
                    if forged {
                        forge(&mut unprotector, 0x80, 0);
                        index += 1;
                        let packet = protected(&mut peer, SSRC, index);
                        prop_assert!(unprotected(&mut unprotector, &packet).is_ok());
                    }
                    keys += 1;
                    peer.rekey(&key(suite, keys)).unwrap();
                }
            }
        }
    }
}
