//! Which payload types leave, and under which number.

use std::time::{Duration, Instant};

use siprec_model::PayloadRule;

use crate::entry::Entry;

/// Marks a payload type that is not sent; no payload type has this number.
const NOT_SENT: u8 = 0xFF;
/// How long packets of an unknown payload type wait for rules that have it: whoever learns of it needs some
/// milliseconds to hold the branch, and caps may be late as well.
const PATIENCE: Duration = Duration::from_millis(500);

/// The payload types of the agreed m-line, chosen once per opening so that a packet costs one look-up.
///
/// A payload type that is unknown is *expected* for a while, and then *given up*.
#[derive(Debug)]
pub(crate) struct PayloadMap {
    to: [u8; 128],
    /// Whether anything is expected.
    patient: bool,
    /// None while all were known: most openings end so.
    unknown: Option<Box<Unknown>>,
}

/// Unknown payload types seen since the opening, one bit each.
#[derive(Debug, Default)]
struct Unknown {
    seen: u128,
    /// Those of them that nobody has been told of.
    untold: u128,
    /// Those of them whose packets wait no longer.
    given_up: u128,
    /// When all that are expected now are given up.
    until: Option<Instant>,
}

impl PayloadMap {
    /// Rules that name no payload type (above 127) are ignored. One that is not `patient` expects nothing.
    pub(crate) fn new(rules: &[PayloadRule], patient: bool) -> Self {
        let mut map = Self { to: [NOT_SENT; 128], patient, unknown: None };
        for rule in rules.iter().filter(|rule| rule.to < 128) {
            if let Some(to) = map.to.get_mut(usize::from(rule.from)) {
                *to = rule.to;
            }
        }
        map
    }

    /// Whether both let the same payload types out under the same numbers.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.to == other.to
    }

    /// The number under which a payload type of the call leaves. An unknown one is remembered, to be told once.
    pub(crate) fn map(&mut self, payload_type: u8) -> Option<u8> {
        let to = self.number(payload_type);
        if to.is_none() {
            self.unknown.get_or_insert_default().note(bit(payload_type));
        }
        to
    }

    /// A packet of this payload type waits. An unknown one is remembered, to be told once.
    pub(crate) fn note(&mut self, payload_type: u8) {
        self.map(payload_type);
    }

    /// The same of packets of these, one bit each.
    pub(crate) fn note_all(&mut self, payload_types: u128) {
        let mut rest = payload_types;
        while rest != 0 {
            self.note(rest.trailing_zeros() as u8);
            rest &= rest - 1;
        }
    }

    /// Whether packets of this payload type are to wait for rules that have it.
    pub(crate) fn expects(&self, payload_type: u8) -> bool {
        let given_up = |unknown: &Unknown| unknown.given_up & bit(payload_type) != 0;
        self.number(payload_type).is_none() && self.patient && !self.unknown.as_deref().is_some_and(given_up)
    }

    /// Gives up in time what has been expected in vain.
    pub(crate) fn advance(&mut self, now: Instant) {
        if let Some(unknown) = &mut self.unknown {
            unknown.advance(now);
        }
    }

    /// Until when a packet waits for rules that have its payload type; `now` where it does not. What a recorder had that was
    /// lost waits for nothing: the call may have left its format long ago.
    pub(crate) fn wait(&self, held: &Entry, now: Instant) -> Instant {
        let is_expected = !held.is_recalled() && self.expects(held.header.payload_type);
        let until = self.unknown.as_deref().and_then(|unknown| unknown.until);
        until.filter(|_| is_expected).unwrap_or(now)
    }

    /// The next unknown payload type that nobody has been told of.
    pub(crate) fn poll_unknown(&mut self) -> Option<u8> {
        self.unknown.as_deref_mut()?.poll()
    }

    fn number(&self, payload_type: u8) -> Option<u8> {
        self.to.get(usize::from(payload_type)).copied().filter(|to| *to != NOT_SENT)
    }
}

impl Unknown {
    fn note(&mut self, bit: u128) {
        self.untold |= bit & !self.seen;
        self.seen |= bit;
    }

    fn advance(&mut self, now: Instant) {
        if self.seen != self.given_up && now >= *self.until.get_or_insert(now + PATIENCE) {
            (self.given_up, self.until) = (self.seen, None);
        }
    }

    fn poll(&mut self) -> Option<u8> {
        if self.untold == 0 {
            return None;
        }
        let payload_type = self.untold.trailing_zeros();
        self.untold &= self.untold - 1;
        u8::try_from(payload_type).ok()
    }
}

fn bit(payload_type: u8) -> u128 {
    1u128.checked_shl(payload_type.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_type_leaves_under_the_agreed_number() {
        let mut map = PayloadMap::new(
            &[
                PayloadRule { from: 0, to: 0 },
                PayloadRule { from: 101, to: 96 },
                PayloadRule { from: 127, to: 127 },
            ],
            true,
        );
        assert_eq!([0, 101, 127].map(|from| map.map(from)), [Some(0), Some(96), Some(127)]);
        assert_eq!(map.poll_unknown(), None);
    }

    #[test]
    fn an_unknown_payload_type_is_told_once() {
        let mut map = PayloadMap::new(&[PayloadRule { from: 0, to: 0 }], true);
        assert_eq!([8, 127, 8].map(|from| map.map(from)), [None, None, None]);
        assert_eq!([map.poll_unknown(), map.poll_unknown(), map.poll_unknown()], [Some(8), Some(127), None]);
        assert_eq!(map.map(8), None);
        assert_eq!(map.poll_unknown(), None);
    }

    #[test]
    fn rules_that_name_no_payload_type_have_no_effect() {
        let mut map =
            PayloadMap::new(&[PayloadRule { from: 200, to: 0 }, PayloadRule { from: 0, to: 200 }], true);
        assert_eq!(map.map(0), None);
    }
}
