//! A call in which every packet is accounted for: when it was sent, when it was heard, and how often.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::call::{Call, babble};
use crate::net::{local, receive_until};
use crate::rtp::Packet;

/// How often a party speaks.
pub const PACKET: Duration = Duration::from_millis(20);

/// Both parties speak, each on a thread of its own, until they have said all or are stopped.
pub struct Talk {
    began: Instant,
    said: [Vec<Packet>; 2],
    stopped: Arc<AtomicBool>,
    finishing: Arc<AtomicBool>,
    speakers: [JoinHandle<Result<Vec<Instant>>>; 2],
    ears: [JoinHandle<Result<Ear>>; 2],
}

/// What was heard, and when.
type Ear = Vec<(Instant, Vec<u8>)>;

/// What became of the packets of a call.
pub struct Heard {
    /// What each party said, in full.
    pub said: [Vec<Packet>; 2],
    /// Packets that the other party never heard.
    pub lost: usize,
    /// Packets that were heard a second time, in another order, or that nobody said.
    pub odd: usize,
    /// From a packet's sending to its receipt, the shortest first.
    pub latencies: Vec<Duration>,
}

impl Talk {
    /// Both begin to speak, for so many seconds. No packet of a call is like another, which is what accounts rest upon.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn begin(call: &Call, seconds: usize) -> Result<Self> {
        let said = [babble(0, seconds), babble(1, seconds)];
        let (stopped, finishing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let ear = |party: usize| -> Result<_> {
            let (phone, finishing) = (call.phones[party].try_clone()?, Arc::clone(&finishing));
            Ok(thread::spawn(move || hear(&phone, &finishing)))
        };
        let ears = [ear(0)?, ear(1)?];
        let began = Instant::now();
        let speaker = |party: usize| -> Result<_> {
            let (phone, to) = (call.phones[party].try_clone()?, local(call.ports[party]));
            let (packets, stopped) = (said[party].clone(), Arc::clone(&stopped));
            Ok(thread::spawn(move || speak(&phone, to, &packets, began, &stopped)))
        };
        let speakers = [speaker(0)?, speaker(1)?];
        Ok(Self { began, said, stopped, finishing, speakers, ears })
    }

    /// How long they have spoken.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until they have spoken for so long.
    pub fn wait_for(&self, spoken: Duration) {
        while let Some(left) = spoken.checked_sub(self.elapsed()).filter(|left| !left.is_zero()) {
            thread::park_timeout(left);
        }
    }

    /// Both stop in the middle of what they say.
    ///
    /// # Errors
    /// As [`Talk::finish`].
    pub fn stop(self) -> Result<Heard> {
        self.stopped.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until all is said and heard.
    ///
    /// # Errors
    /// When a socket failed.
    pub fn finish(self) -> Result<Heard> {
        let panicked = |_| anyhow!("a phone panicked");
        let [first, second] = self.speakers;
        let sent = [first.join().map_err(panicked)??, second.join().map_err(panicked)??];
        self.finishing.store(true, Ordering::Relaxed);
        let [first, second] = self.ears;
        let ears = [first.join().map_err(panicked)??, second.join().map_err(panicked)??];
        let mut said = self.said;
        for (said, sent) in said.iter_mut().zip(&sent) {
            said.truncate(sent.len());
        }
        let mut heard = Heard { said, lost: 0, odd: 0, latencies: Vec::new() };
        for party in 0..2 {
            heard.take(party, &sent[party], &ears[1 - party]);
        }
        heard.latencies.sort_unstable();
        Ok(heard)
    }
}

impl Heard {
    fn take(&mut self, party: usize, sent: &[Instant], ear: &[(Instant, Vec<u8>)]) {
        let numbers: HashMap<_, _> =
            self.said[party].iter().enumerate().map(|(number, packet)| (packet.to_bytes(), number)).collect();
        let mut last = None;
        let mut found = vec![false; sent.len()];
        for (at, bytes) in ear {
            match numbers.get(bytes) {
                Some(number) if Some(*number) > last => {
                    last = Some(*number);
                    found[*number] = true;
                    self.latencies.push(at.duration_since(sent[*number]));
                }
                _ => self.odd += 1,
            }
        }
        self.lost += found.iter().filter(|found| !**found).count();
    }

    /// How many packets both have said.
    pub fn packets(&self) -> usize {
        self.said.iter().map(Vec::len).sum()
    }

    /// The latency that so many percent of the packets stay below.
    pub fn latency(&self, percent: usize) -> Duration {
        let index = self.latencies.len() * percent / 100;
        self.latencies.get(index).copied().unwrap_or_default()
    }

    /// Insists that each heard exactly what the other said, in order.
    ///
    /// # Errors
    /// When not.
    pub fn ensure_untouched(&self) -> Result<()> {
        let (lost, odd) = (self.lost, self.odd);
        ensure!(lost == 0 && odd == 0, "of {} packets {lost} are lost and {odd} odd", self.packets());
        Ok(())
    }
}

fn speak(
    phone: &UdpSocket,
    to: SocketAddr,
    packets: &[Packet],
    began: Instant,
    stopped: &AtomicBool,
) -> Result<Vec<Instant>> {
    let mut sent = Vec::with_capacity(packets.len());
    for (packet, due) in packets.iter().zip((0_u32..).map(|number| began + PACKET * number)) {
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            thread::park_timeout(left);
        }
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let bytes = packet.to_bytes();
        sent.push(Instant::now());
        phone.send_to(&bytes, to)?;
    }
    Ok(sent)
}

fn hear(phone: &UdpSocket, finishing: &AtomicBool) -> Result<Ear> {
    let mut heard = Vec::new();
    receive_until(phone, finishing, |bytes, _| {
        heard.push((Instant::now(), bytes.to_vec()));
        Ok(())
    })?;
    Ok(heard)
}
