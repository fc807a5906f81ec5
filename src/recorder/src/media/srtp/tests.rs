use super::*;
use siprec_model::SrtpSuite;

const SSRC: u32 = 0x1234_5678;

fn key(suite: SrtpSuite, byte: u8) -> SrtpKey {
    let master: Vec<u8> = (0..suite.master_length()).map(|index| index as u8 ^ byte).collect();
    SrtpKey::new(suite, &master).unwrap()
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|byte| byte as u8 ^ sequence as u8));
    packet
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([7; 24]);
    packet
}

/// The other side: GStreamer's encoder.
struct Sender(Protector);

impl Sender {
    fn new(key: &SrtpKey, half: Half) -> Self {
        Self(Protector::new(key, half).unwrap())
    }

    fn send(&self, packet: &[u8]) -> Vec<u8> {
        let sealed = self.0.seal(packet).unwrap();
        assert_ne!(sealed[..packet.len()], *packet);
        sealed
    }
}

fn opening(keys: &[SrtpKey]) -> Security {
    let mut security = Security::new();
    assert!(security.open_with(keys, false, Instant::now()).unwrap());
    security
}

impl Security {
    fn rtp(&mut self, packet: &[u8]) -> Opened {
        self.open(packet, Half::Rtp, Instant::now())
    }
}

#[test]
fn what_is_sent_under_any_suite_comes_out_as_it_was_and_once_only() {
    for suite in SrtpSuite::ALL {
        let key = key(suite, 1);
        let (media, reports) = (Sender::new(&key, Half::Rtp), Sender::new(&key, Half::Rtcp));
        let mut security = opening(std::slice::from_ref(&key));
        for sequence in 1000..1100 {
            let (plain, packet) = (rtp(SSRC, sequence), media.send(&rtp(SSRC, sequence)));
            assert_eq!(packet.len(), plain.len() + suite.rtp_tag_length());
            assert_eq!(security.rtp(&packet), Opened::Genuine(plain), "{suite}");
            assert_eq!(security.rtp(&packet), Opened::Repeated, "{suite}");
            let packet = reports.send(&rtcp(SSRC));
            assert_eq!(packet.len(), 32 + 4 + suite.rtcp_tag_length());
            assert_eq!(security.open(&packet, Half::Rtcp, Instant::now()), Opened::Genuine(rtcp(SSRC)));
            assert_eq!(security.open(&packet, Half::Rtcp, Instant::now()), Opened::Repeated);
        }
    }
}

#[test]
fn a_packet_that_was_changed_or_cut_anywhere_is_not_authentic() {
    for suite in SrtpSuite::ALL {
        let key = key(suite, 1);
        let mut security = opening(std::slice::from_ref(&key));
        let (media, reports) = (Sender::new(&key, Half::Rtp), Sender::new(&key, Half::Rtcp));
        for (half, packet) in
            [(Half::Rtp, media.send(&rtp(SSRC, 7))), (Half::Rtcp, reports.send(&rtcp(SSRC)))]
        {
            for length in 0..packet.len() {
                assert_eq!(security.open(&packet[..length], half, Instant::now()), Opened::NotAuthentic);
            }
            for at in 0..packet.len() {
                let mut changed = packet.clone();
                changed[at] ^= 0x10;
                assert_eq!(
                    security.open(&changed, half, Instant::now()),
                    Opened::NotAuthentic,
                    "{suite} {at}"
                );
            }
            // Trials of unknown sources are used up by now, for a second.
            let later = Instant::now() + Duration::from_secs(2);
            assert!(matches!(security.open(&packet, half, later), Opened::Genuine(_)), "{suite}");
        }
    }
}

#[test]
fn plain_packets_and_those_of_another_key_are_not_authentic() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let mut security = opening(&[key(suite, 1)]);
    let stranger = Sender::new(&key(suite, 2), Half::Rtp);
    assert_eq!(security.rtp(&rtp(SSRC, 1)), Opened::NotAuthentic);
    assert_eq!(security.rtp(&stranger.send(&rtp(SSRC, 2))), Opened::NotAuthentic);
    assert_eq!(Security::new().rtp(&rtp(SSRC, 1)), Opened::NotAuthentic, "without any key");
}

#[test]
fn the_rollover_counter_runs_on_over_wraps_and_new_keys() {
    for suite in SrtpSuite::ALL {
        let (first, second) = (key(suite, 1), key(suite, 2));
        let mut security = opening(std::slice::from_ref(&first));
        let media = Sender::new(&first, Half::Rtp);
        for number in 60_000..66_000_u32 {
            let plain = rtp(SSRC, number as u16);
            assert_eq!(security.rtp(&media.send(&plain)), Opened::Genuine(plain), "{suite} {number}");
        }
        // A new key in place, as libsrtp itself begins it: its counter begins at 0, and so is refused here.
        assert!(security.open_with(std::slice::from_ref(&second), false, Instant::now()).unwrap());
        let media = Sender::new(&second, Half::Rtp);
        assert_eq!(security.rtp(&media.send(&rtp(SSRC, 500))), Opened::NotAuthentic);
        // One that has come as far by itself is taken.
        let media = Sender::new(&second, Half::Rtp);
        let mut sent = Vec::new();
        for number in (0..65_536_u32 + 600).step_by(20_000).chain([65_536 + 600]) {
            sent = media.send(&rtp(SSRC, number as u16));
        }
        assert_eq!(security.rtp(&sent), Opened::Genuine(rtp(SSRC, 600)), "{suite}");
        // With another address the counter begins anew.
        assert!(security.open_with(std::slice::from_ref(&first), true, Instant::now()).unwrap());
        let media = Sender::new(&first, Half::Rtp);
        assert_eq!(security.rtp(&media.send(&rtp(SSRC, 601))), Opened::Genuine(rtp(SSRC, 601)), "{suite}");
    }
}

#[test]
fn the_key_before_is_taken_for_a_while_and_no_longer() {
    let suite = SrtpSuite::AeadAes128Gcm;
    let (first, second) = (key(suite, 1), key(suite, 2));
    let (old, new) = (Sender::new(&first, Half::Rtp), Sender::new(&second, Half::Rtp));
    let now = Instant::now();
    let mut security = Security::new();
    security.open_with(std::slice::from_ref(&first), false, now).unwrap();
    let genuine = |opened| matches!(opened, Opened::Genuine(_));
    assert!(genuine(security.open(&old.send(&rtp(SSRC, 1)), Half::Rtp, now)));
    assert!(security.open_with(std::slice::from_ref(&second), false, now).unwrap());
    assert!(!security.open_with(std::slice::from_ref(&second), false, now).unwrap(), "nothing new");
    // More packets under the old key than sources may be tried.
    for sequence in 2..500 {
        assert!(genuine(security.open(&old.send(&rtp(SSRC, sequence)), Half::Rtp, now)));
    }
    assert!(genuine(security.open(&new.send(&rtp(SSRC, 501)), Half::Rtp, now)));
    assert!(genuine(security.open(&old.send(&rtp(SSRC, 500)), Half::Rtp, now)));
    let later = now + OLD_KEY;
    assert_eq!(security.open(&old.send(&rtp(SSRC, 502)), Half::Rtp, later), Opened::NotAuthentic);
    assert!(genuine(security.open(&new.send(&rtp(SSRC, 503)), Half::Rtp, later)));
}

#[test]
fn several_keys_are_told_apart_by_their_identifiers() {
    for suite in SrtpSuite::ALL {
        let with = |byte: u8| key(suite, byte).with_mki(&[0, 0, 0, byte]).unwrap();
        let keys = [with(1), with(2), with(3)];
        let mut security = opening(&keys);
        for (number, key) in keys.iter().enumerate() {
            let sequence = 100 + number as u16;
            let media = Sender::new(key, Half::Rtp).send(&rtp(SSRC, sequence));
            assert_eq!(media.len(), 172 + 4 + suite.rtp_tag_length());
            assert_eq!(security.rtp(&media), Opened::Genuine(rtp(SSRC, sequence)), "{suite} {number}");
        }
        let stranger = Sender::new(&with(4), Half::Rtp).send(&rtp(SSRC, 200));
        assert_eq!(security.rtp(&stranger), Opened::NotAuthentic);
    }
}

#[test]
fn forged_sources_leave_nothing_and_do_not_keep_others_out_for_long() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let key = key(suite, 1);
    let media = Sender::new(&key, Half::Rtp);
    let mut security = opening(std::slice::from_ref(&key));
    let now = Instant::now();
    let known = media.send(&rtp(SSRC, 1));
    assert!(matches!(security.open(&known, Half::Rtp, now), Opened::Genuine(_)));
    for forged in 0..10_000 {
        assert_eq!(security.open(&rtp(forged, 1), Half::Rtp, now), Opened::NotAuthentic);
    }
    assert_eq!(security.epochs[0].rtp.known.len(), 1);
    assert_eq!(security.epochs[0].rtp.indices.len(), 1);
    // Who is known goes on; who is new waits until a source may be tried again.
    assert!(matches!(security.open(&media.send(&rtp(SSRC, 2)), Half::Rtp, now), Opened::Genuine(_)));
    assert_eq!(security.open(&media.send(&rtp(9, 1)), Half::Rtp, now), Opened::NotAuthentic);
    let later = now + Duration::from_secs(1);
    assert!(matches!(security.open(&media.send(&rtp(9, 2)), Half::Rtp, later), Opened::Genuine(_)));
}

#[test]
fn what_we_send_is_sealed_with_an_index_that_never_begins_anew() {
    for suite in SrtpSuite::ALL {
        let (ours, other) = (key(suite, 1), key(suite, 2));
        let mut security = Security::new();
        assert_eq!(security.seal(&rtcp(SSRC)), None, "there is no key");
        let mut client = opening(std::slice::from_ref(&ours));
        for _ in 0..10 {
            security.seal_with(&ours).unwrap();
            let sealed = security.seal(&rtcp(SSRC)).unwrap();
            assert_eq!(client.open(&sealed, Half::Rtcp, Instant::now()), Opened::Genuine(rtcp(SSRC)));
        }
        security.seal_with(&other).unwrap();
        let sealed = security.seal(&rtcp(SSRC)).unwrap();
        assert_eq!(client.open(&sealed, Half::Rtcp, Instant::now()), Opened::NotAuthentic);
    }
}
