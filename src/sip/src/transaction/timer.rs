//! The timer table that every state machine of this crate uses.

use std::time::{Duration, Instant};

/// Round trip time estimate, the first retransmission interval (RFC 3261 §17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between retransmissions of a non-INVITE request or of a final response to INVITE (RFC 3261
/// §17.1.2.2).
pub const T2: Duration = Duration::from_secs(4);
/// Longest time that a message stays in the network (RFC 3261 §17.1.2.2).
pub const T4: Duration = Duration::from_secs(5);
/// 64 × T1: how long a transaction waits for the other side (timers B, D, F, H, J, L and M).
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(32);

/// The timers that run at one state machine, by name. `T` is an enum of the names.
#[derive(Debug, Clone)]
pub(crate) struct Timers<T> {
    /// Few are armed at once, so a list beats a map.
    armed: Vec<(T, Instant)>,
}

impl<T: Copy + PartialEq> Timers<T> {
    pub(crate) fn new() -> Self {
        Timers { armed: Vec::new() }
    }

    /// Arms `timer`, anew if it runs already.
    pub(crate) fn set(&mut self, timer: T, at: Instant) {
        self.stop(timer);
        self.armed.push((timer, at));
    }

    pub(crate) fn is_set(&self, timer: T) -> bool {
        self.armed.iter().any(|(armed, _)| *armed == timer)
    }

    pub(crate) fn stop(&mut self, timer: T) {
        self.armed.retain(|(armed, _)| *armed != timer);
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.armed.iter().map(|(_, at)| *at).min()
    }

    /// Takes the timer that expired first, if one has by `now`.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<T> {
        let (index, _) =
            self.armed.iter().enumerate().filter(|(_, (_, at))| *at <= now).min_by_key(|(_, (_, at))| *at)?;
        Some(self.armed.swap_remove(index).0)
    }
}

/// Twice `interval`, at most T2.
pub(crate) fn back_off(interval: Duration) -> Duration {
    (interval * 2).min(T2)
}

/// The earlier of two deadlines.
pub(crate) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Name {
        One,
        Two,
    }

    #[test]
    fn timers_expire_in_the_order_of_their_deadlines_and_only_once() {
        let now = Instant::now();
        let mut timers = Timers::new();
        timers.set(Name::One, now + T2);
        timers.set(Name::Two, now + T1);
        assert_eq!(timers.next_timeout(), Some(now + T1));
        assert_eq!(timers.expire(now), None);
        assert_eq!(timers.expire(now + T4), Some(Name::Two));
        assert_eq!(timers.expire(now + T4), Some(Name::One));
        assert_eq!(timers.expire(now + T4), None);
    }

    #[test]
    fn a_timer_set_again_runs_once_with_the_later_value() {
        let now = Instant::now();
        let mut timers = Timers::new();
        timers.set(Name::One, now);
        timers.set(Name::One, now + T1);
        assert_eq!(timers.expire(now), None);
        assert_eq!(timers.next_timeout(), Some(now + T1));
    }

    #[test]
    fn the_interval_doubles_up_to_t2() {
        let mut interval = T1;
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(interval.as_millis());
            interval = back_off(interval);
        }
        assert_eq!(seen, [500, 1000, 2000, 4000, 4000]);
    }
}
