//! Who the parties of a call are: one table for the element's `dn` and `other-dn` and its pads' `dn`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::sync::lock;

/// The directory numbers by pad index.
#[derive(Debug, Default)]
pub(crate) struct Parties(Mutex<BTreeMap<u16, String>>);

impl Parties {
    /// The DN of a pad, where it has one.
    pub(crate) fn dn(&self, index: u16) -> Option<String> {
        lock(&self.0).get(&index).cloned()
    }

    /// Gives a pad its DN, or takes it away. Answers whether that changed anything.
    pub(crate) fn set_dn(&self, index: u16, dn: Option<String>) -> bool {
        let mut dns = lock(&self.0);
        let before = match dn.clone() {
            Some(dn) => dns.insert(index, dn),
            None => dns.remove(&index),
        };
        before != dn
    }

    /// Every DN in the order of the pads, empty where a pad has none.
    pub(crate) fn in_order(&self) -> Vec<String> {
        let dns = lock(&self.0);
        let count = dns.keys().last().map_or(0, |last| last.saturating_add(1));
        (0..count).map(|index| dns.get(&index).cloned().unwrap_or_default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pad_without_a_dn_keeps_its_place() {
        let parties = Parties::default();
        assert!(parties.set_dn(2, Some("1002".to_owned())));
        assert!(!parties.set_dn(2, Some("1002".to_owned())));
        assert_eq!(parties.in_order(), ["", "", "1002"]);
        assert!(parties.set_dn(2, None));
        assert!(parties.in_order().is_empty());
    }
}
