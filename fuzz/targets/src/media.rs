//! RTP through a branch, and RTCP of a recorder.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use siprec_media::rtcp::{Feedback, Reporter, feedback};
use siprec_media::{Branch, BranchSettings, RtpView, Sent, WallClock};
use siprec_model::{BranchLimits, Medium, PayloadRule, TimeSpan};

const RULES: [&[PayloadRule]; 2] =
    [&[PayloadRule { from: 0, to: 0 }, PayloadRule { from: 101, to: 96 }], &[PayloadRule { from: 0, to: 8 }]];
const SSRC: u32 = 0x0000_CA11;
const RECORDER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5005);

/// The whole input as one packet; then as steps, each a byte that says what, and its operands.
pub fn rtp(data: &[u8]) {
    if let Ok(view) = RtpView::parse(data) {
        assert_eq!(view.bytes(), data);
        let _ = (view.ssrc(), view.sequence(), view.timestamp(), view.payload_type(), view.marker());
    }
    let mut stream = Stream::new();
    let mut rest = data;
    while let Some((step, after)) = rest.split_first() {
        rest = stream.act(*step, after);
        stream.check();
    }
    stream.branch.close(stream.now);
    stream.check();
    assert_eq!(stream.branch.held_packets(), 0, "what is closed holds nothing");
}

struct Stream {
    branch: Branch,
    now: Instant,
    sequence: u16,
    timestamp: u32,
    /// Every index that left, by its source.
    left: HashSet<(u32, u64)>,
    out: Vec<u8>,
}

impl Stream {
    fn new() -> Self {
        let now = Instant::now();
        let limits =
            BranchLimits { hold_bytes: 4096, hold_time: Duration::from_secs(4), ..BranchLimits::default() };
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let branch = Branch::new(settings, 0x7FF0, now);
        Self { branch, now, sequence: 0, timestamp: 0, left: HashSet::new(), out: Vec::new() }
    }

    /// Does one step; gives what it has not read.
    fn act<'a>(&mut self, step: u8, rest: &'a [u8]) -> &'a [u8] {
        match step % 10 {
            // Any bytes as a packet.
            0 => {
                let length = rest.first().map_or(0, |length| usize::from(*length));
                let (packet, rest) =
                    rest.get(1..).unwrap_or_default().split_at_checked(length).unwrap_or((rest, &[]));
                self.packet(packet);
                return rest;
            }
            // The call goes on: a packet, or several.
            1 => {
                for _ in 0..=step / 10 {
                    self.sequence = self.sequence.wrapping_add(1);
                    self.timestamp = self.timestamp.wrapping_add(160);
                    self.made(SSRC, 0);
                }
            }
            // The call jumps to another place or source.
            2 => {
                let Some((&[high, low, source, payload_type], rest)) = rest.split_first_chunk() else {
                    return &[];
                };
                self.sequence = u16::from_be_bytes([high, low]);
                self.made(SSRC + u32::from(source), payload_type & 0x7F);
                return rest;
            }
            3 => self.branch.open(RULES[usize::from(step / 10) % 2], self.now),
            4 => self.branch.pause(self.now),
            5 => self.branch.hold(self.now),
            6 => self.branch.disable(self.now),
            7 => {
                let Some((&[high, low], rest)) = rest.split_first_chunk() else { return &[] };
                self.now += Duration::from_millis(u16::from_be_bytes([high, low]).into());
                return rest;
            }
            // The reports of another stream tell of a hole.
            8 if step / 10 % 2 == 1 => {
                let from = self.now.checked_sub(Duration::from_secs(2)).unwrap_or(self.now);
                self.branch.concede(TimeSpan { from, to: self.now }, self.now);
            }
            8 => self.branch.begin_interval(),
            _ => self.branch.drain(),
        }
        rest
    }

    fn made(&mut self, ssrc: u32, payload_type: u8) {
        let mut packet = vec![0x80, payload_type];
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(&[0xFF; 160]);
        self.packet(&packet);
    }

    fn packet(&mut self, bytes: &[u8]) {
        let Ok(view) = RtpView::parse(bytes) else { return };
        self.out.clear();
        if let Some(sent) = self.branch.handle_packet(&view, self.now, &mut self.out) {
            self.leaves(sent);
        }
    }

    fn check(&mut self) {
        loop {
            self.out.clear();
            let Some(sent) = self.branch.next_packet(self.now, &mut self.out) else { break };
            self.leaves(sent);
        }
        while self.branch.poll_event().is_some() {}
        let due = self.branch.next_timeout(self.now);
        assert!(due.is_none_or(|due| due > self.now), "a packet is due and does not leave");
        let report = self.branch.report();
        let held = self.branch.held_packets() as u64;
        assert_eq!(
            report.seen,
            report.sent + report.drops.total() + held,
            "a packet is missing from the account"
        );
        assert!(self.branch.held_bytes() <= 4096);
    }

    fn leaves(&mut self, sent: Sent) {
        let view = RtpView::parse(&self.out).unwrap();
        assert_eq!(sent.length, self.out.len());
        assert_eq!(u64::from(view.sequence()), sent.index % 65_536);
        assert_eq!(view.ssrc(), sent.ssrc);
        assert!([0, 8, 96].contains(&view.payload_type()), "a payload type that was not agreed");
        assert!(
            self.left.insert((sent.ssrc, sent.index)),
            "an index leaves twice: a two-time pad under SRTP"
        );
    }
}

/// Datagrams, each behind its length, to a branch that has sent.
pub fn rtcp(data: &[u8]) {
    let mut told = 0;
    feedback(data, |one| {
        told += 1;
        if let Feedback::Report { cumulative_lost, .. } = one {
            assert!((-0x80_0000..0x80_0000).contains(&cumulative_lost), "24 bits with a sign");
        }
    });
    assert!(told <= data.len(), "each thing told takes at least a byte");

    let mut stream = Stream::new();
    stream.branch.open(RULES[0], stream.now);
    stream.act(1, &[]);
    let clock = WallClock::new(stream.now, SystemTime::UNIX_EPOCH);
    let mut reporter = Reporter::new("1001@call", 1, stream.now);
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (datagram, after) = after.split_at_checked(usize::from(*length)).unwrap_or((after, &[]));
        rest = after;
        reporter.handle_datagram(datagram, RECORDER, &mut stream.branch, stream.now);
        let events = std::iter::from_fn(|| reporter.poll_event()).take(10).count();
        assert!(events < 10, "it does not stop talking");
        stream.now += Duration::from_secs(1);
        out.clear();
        if let Some(length) = reporter.poll_report(&mut stream.branch, &clock, stream.now, &mut out) {
            assert_eq!(length, out.len());
            assert!(reporter.next_timeout() > stream.now);
        }
    }
    out.clear();
    assert_eq!(reporter.goodbye(&stream.branch, &clock, &mut out), (!out.is_empty()).then_some(out.len()));
}
