//! What is remembered of peers between messages; bounded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Most peers remembered for taking no TCP.
const UDP_ONLY_PEERS: usize = 1024;
/// How long a peer that refused TCP is asked by UDP only: a repaired one is found again.
const UDP_ONLY_TIME: Duration = Duration::from_secs(3600);
/// Most transactions remembered for having gone by TCP because of their size.
const PROMOTED_BRANCHES: usize = 4096;

/// Peers that refused TCP, and the transactions that went by TCP although their destination says UDP.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    udp_only: HashMap<SocketAddr, Instant>,
    promoted: HashSet<(SocketAddr, String)>,
    promoted_order: VecDeque<(SocketAddr, String)>,
}

impl Peers {
    /// Remembers that `peer` takes no TCP.
    pub(crate) fn refuse_tcp(&mut self, peer: SocketAddr, now: Instant) {
        if self.udp_only.len() >= UDP_ONLY_PEERS {
            self.udp_only.retain(|_, since| now.duration_since(*since) < UDP_ONLY_TIME);
        }
        if self.udp_only.len() >= UDP_ONLY_PEERS
            && let Some(oldest) = self.udp_only.iter().min_by_key(|(_, since)| **since).map(|(peer, _)| *peer)
        {
            self.udp_only.remove(&oldest);
        }
        self.udp_only.insert(peer, now);
    }

    /// Whether `peer` refused TCP within the last hour.
    pub(crate) fn refuses_tcp(&self, peer: SocketAddr, now: Instant) -> bool {
        self.udp_only.get(&peer).is_some_and(|since| now.duration_since(*since) < UDP_ONLY_TIME)
    }

    /// Remembers that the transaction `branch` with `peer` goes by TCP; the oldest is forgotten over the bound.
    pub(crate) fn promote(&mut self, peer: SocketAddr, branch: &str) {
        let key = (peer, branch.to_owned());
        if !self.promoted.insert(key.clone()) {
            return;
        }
        self.promoted_order.push_back(key);
        if self.promoted_order.len() > PROMOTED_BRANCHES
            && let Some(oldest) = self.promoted_order.pop_front()
        {
            self.promoted.remove(&oldest);
        }
    }

    /// Whether the transaction `branch` with `peer` goes by TCP.
    pub(crate) fn is_promoted(&self, peer: SocketAddr, branch: &str) -> bool {
        self.promoted.contains(&(peer, branch.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_peer_that_refused_tcp_is_tried_again_after_an_hour() {
        let now = Instant::now();
        let mut peers = Peers::default();
        peers.refuse_tcp(peer(1), now);
        assert!(peers.refuses_tcp(peer(1), now + Duration::from_secs(3599)));
        assert!(!peers.refuses_tcp(peer(1), now + Duration::from_secs(3600)));
        assert!(!peers.refuses_tcp(peer(2), now));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let now = Instant::now();
        let mut peers = Peers::default();
        for port in 0..2000 {
            peers.refuse_tcp(peer(port), now + Duration::from_millis(u64::from(port)));
        }
        assert_eq!(peers.udp_only.len(), UDP_ONLY_PEERS);
        assert!(!peers.refuses_tcp(peer(0), now) && peers.refuses_tcp(peer(1999), now));
        for number in 0..=PROMOTED_BRANCHES {
            peers.promote(peer(1), &number.to_string());
            peers.promote(peer(1), &number.to_string());
        }
        assert_eq!(peers.promoted.len(), PROMOTED_BRANCHES);
        assert!(!peers.is_promoted(peer(1), "0") && peers.is_promoted(peer(1), "1"));
    }
}
