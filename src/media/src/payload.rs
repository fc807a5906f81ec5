//! Which payload types leave, and under which number.

use siprec_model::PayloadRule;

/// Marks a payload type that is not sent; no payload type has this number.
const NOT_SENT: u8 = 0xFF;

/// The payload types of the agreed m-line, chosen once per opening so that a packet costs one look-up.
#[derive(Debug)]
pub(crate) struct PayloadMap {
    to: [u8; 128],
    /// Unknown payload types seen since the opening, one bit each.
    unknown: u128,
    /// Those of them that nobody has been told of.
    untold: u128,
}

impl PayloadMap {
    /// Rules that name no payload type (above 127) are ignored.
    pub(crate) fn new(rules: &[PayloadRule]) -> Self {
        let mut map = Self { to: [NOT_SENT; 128], unknown: 0, untold: 0 };
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
        let to = self.to.get(usize::from(payload_type)).copied().filter(|to| *to != NOT_SENT);
        if to.is_none() {
            let bit = 1u128.checked_shl(u32::from(payload_type)).unwrap_or(0);
            self.untold |= bit & !self.unknown;
            self.unknown |= bit;
        }
        to
    }

    /// The next unknown payload type that nobody has been told of.
    pub(crate) fn poll_unknown(&mut self) -> Option<u8> {
        if self.untold == 0 {
            return None;
        }
        let payload_type = self.untold.trailing_zeros();
        self.untold &= self.untold - 1;
        u8::try_from(payload_type).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_type_leaves_under_the_agreed_number() {
        let mut map = PayloadMap::new(&[
            PayloadRule { from: 0, to: 0 },
            PayloadRule { from: 101, to: 96 },
            PayloadRule { from: 127, to: 127 },
        ]);
        assert_eq!([0, 101, 127].map(|from| map.map(from)), [Some(0), Some(96), Some(127)]);
        assert_eq!(map.poll_unknown(), None);
    }

    #[test]
    fn an_unknown_payload_type_is_told_once() {
        let mut map = PayloadMap::new(&[PayloadRule { from: 0, to: 0 }]);
        assert_eq!([8, 127, 8].map(|from| map.map(from)), [None, None, None]);
        assert_eq!([map.poll_unknown(), map.poll_unknown(), map.poll_unknown()], [Some(8), Some(127), None]);
        assert_eq!(map.map(8), None);
        assert_eq!(map.poll_unknown(), None);
    }

    #[test]
    fn rules_that_name_no_payload_type_have_no_effect() {
        let mut map = PayloadMap::new(&[PayloadRule { from: 200, to: 0 }, PayloadRule { from: 0, to: 200 }]);
        assert_eq!(map.map(0), None);
    }
}
