//! Keepalives of connections that we made (RFC 5626 §4.4.1): when a ping is due, and when a peer is taken for dead.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::connection::Peer;
use crate::transport::{Shared, lock};

/// What is known of the life of one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// When anything last came from the peer.
    heard: Instant,
    /// The ping since which nothing came.
    pinged: Option<Instant>,
    /// A ping of ours has had no pong.
    owed: bool,
    /// The peer has answered a ping, so that silence means something.
    answers: bool,
}

/// What to do about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Ask again then.
    Wait(Instant),
    /// Send a ping.
    Ping,
    /// The peer that used to answer does so no more.
    Lost,
}

impl Pulse {
    pub(crate) fn new(now: Instant) -> Self {
        Self { heard: now, pinged: None, owed: false, answers: false }
    }

    /// Something came; `pong` tells whether a single line end was among it.
    pub(crate) fn hear(&mut self, pong: bool, now: Instant) {
        self.heard = now;
        self.pinged = None;
        if pong && self.owed {
            self.owed = false;
            self.answers = true;
        }
    }

    /// Whether the next line end is the answer to a ping.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed
    }

    /// Decides what is due. A connection that is not `kept` is not pinged. Anything that comes from the peer is as good
    /// as a pong; peers that never answered one are not judged by their silence.
    pub(crate) fn beat(&mut self, kept: bool, interval: Duration, patience: Duration, now: Instant) -> Beat {
        if let Some(pinged) = self.pinged.filter(|_| self.answers) {
            let deadline = pinged + patience;
            return if now < deadline { Beat::Wait(deadline) } else { Beat::Lost };
        }
        let due = self.pinged.unwrap_or(self.heard).max(self.heard) + interval;
        if now < due {
            return Beat::Wait(due);
        }
        if !kept {
            return Beat::Wait(now + interval);
        }
        self.pinged = Some(now);
        self.owed = true;
        Beat::Ping
    }
}

/// How many want each connection to be kept alive.
#[derive(Debug, Default)]
pub(crate) struct Kept(HashMap<Peer, usize>);

impl Kept {
    pub(crate) fn contains(&self, peer: &Peer) -> bool {
        self.0.contains_key(peer)
    }

    fn enter(&mut self, peer: Peer) {
        *self.0.entry(peer).or_default() += 1;
    }

    fn leave(&mut self, peer: &Peer) {
        if let Some(users) = self.0.get_mut(peer) {
            *users -= 1;
            if *users == 0 {
                self.0.remove(peer);
            }
        }
    }
}

/// Keeps a connection alive by pings while it exists, as [`Limits::keepalive`](crate::Limits) says: a dialog has one.
#[derive(Debug)]
pub struct KeepAlive {
    peer: Peer,
    shared: Weak<Shared>,
}

impl KeepAlive {
    pub(crate) fn new(peer: Peer, shared: &std::sync::Arc<Shared>) -> Self {
        lock(&shared.kept).enter(peer.clone());
        Self { peer, shared: std::sync::Arc::downgrade(shared) }
    }
}

/// A connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostConnection {
    pub(crate) peer: Peer,
}

impl LostConnection {
    /// Whether it was the one that this keeps alive.
    pub fn was_kept_by(&self, keeper: &KeepAlive) -> bool {
        self.peer == keeper.peer
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            lock(&shared.kept).leave(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_kept_connection_is_pinged_when_nothing_came_for_the_interval() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let mut beat = |kept, at| pulse.beat(kept, INTERVAL, PATIENCE, seconds(start, at));
        assert_eq!(beat(true, 1), Beat::Wait(seconds(start, 30)));
        assert_eq!(beat(false, 30), Beat::Wait(seconds(start, 60)), "nobody needs it");
        assert_eq!(beat(true, 60), Beat::Ping);
        assert_eq!(beat(true, 61), Beat::Wait(seconds(start, 90)));
    }

    #[test]
    fn only_a_peer_that_ever_answered_is_lost_by_its_silence() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        for at in [30, 60, 90] {
            assert_eq!(
                pulse.beat(true, INTERVAL, PATIENCE, seconds(start, at)),
                Beat::Ping,
                "no pong ever came"
            );
        }
        pulse.hear(true, seconds(start, 91));
        assert_eq!(pulse.beat(true, INTERVAL, PATIENCE, seconds(start, 121)), Beat::Ping);
        assert_eq!(
            pulse.beat(true, INTERVAL, PATIENCE, seconds(start, 122)),
            Beat::Wait(seconds(start, 131))
        );
        assert_eq!(pulse.beat(true, INTERVAL, PATIENCE, seconds(start, 131)), Beat::Lost);
    }

    #[test]
    fn any_message_shows_that_the_peer_lives() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.beat(true, INTERVAL, PATIENCE, seconds(start, 30)), Beat::Ping);
        pulse.hear(true, seconds(start, 30));
        assert_eq!(pulse.beat(true, INTERVAL, PATIENCE, seconds(start, 60)), Beat::Ping);
        pulse.hear(false, seconds(start, 65));
        assert_eq!(pulse.beat(true, INTERVAL, PATIENCE, seconds(start, 71)), Beat::Wait(seconds(start, 95)));
        assert!(pulse.is_owed(), "the pong may still come");
    }
}
