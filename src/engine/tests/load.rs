//! Five hundred calls at once.

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::{FAST, LOCAL, Packet, Recorder, Rig, numbered};
use siprec_engine::EngineConfig;
use siprec_model::RtcpMode;

const STREAMS: u32 = 500;
/// Packets of each stream: two seconds.
const PACKETS: u32 = 100;

#[test]
fn five_hundred_streams_of_fifty_packets_a_second_lose_none() {
    let rig = Rig::new(EngineConfig::default());
    let recorder = Recorder::new();
    let remote = recorder.rtp.local_addr().unwrap();
    let taps: Vec<_> = (0..STREAMS).map(|_| rig.tap()).collect();
    let branches: Vec<_> = taps
        .iter()
        .enumerate()
        .map(|(slot, tap)| {
            let branch = rig.create(tap, slot as u16, FAST);
            rig.bind(branch, LOCAL, RtcpMode::Mux);
            rig.open_at(branch, remote, None);
            branch
        })
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            for number in 0..PACKETS {
                for (stream, tap) in taps.iter().enumerate() {
                    // Spread over the 20 ms, as calls are.
                    let due = start + Duration::from_micros(u64::from(number) * 20_000 + stream as u64 * 40);
                    while let Some(left) = due.checked_duration_since(Instant::now()) {
                        std::thread::park_timeout(left);
                    }
                    tap.push(&numbered(stream as u32, number), Instant::now());
                }
            }
        });
        let mut next: HashMap<u32, (u32, u16)> = HashMap::new();
        let mut buffer = [0; 2048];
        for _ in 0..STREAMS * PACKETS {
            let (size, from) = recorder.rtp.recv_from(&mut buffer).expect("a packet is missing");
            let packet = Packet::parse(&buffer[..size], from);
            let (number, sequence) = next.entry(packet.ssrc).or_insert((0, packet.sequence));
            assert_eq!((packet.number(), packet.sequence), (*number, *sequence), "stream {}", packet.ssrc);
            *number += 1;
            *sequence = sequence.wrapping_add(1);
        }
    });
    for (branch, tap) in branches.into_iter().zip(taps) {
        let (_, report) = rig.close(branch);
        assert_eq!((report.seen, report.sent), (u64::from(PACKETS), u64::from(PACKETS)));
        assert_eq!(tap.stats().queue_full, 0);
    }
}
