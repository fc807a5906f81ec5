//! The streams of a recording, by number.

use std::collections::BTreeMap;

use super::slot::Slot;

/// As a map, whose nodes have room for eleven: each slot is allocated for itself, since most recordings have two, and there are many
/// recordings.
#[derive(Debug, Default)]
pub(super) struct Slots {
    by_number: BTreeMap<u16, Box<Slot>>,
}

impl Slots {
    pub(super) fn insert(&mut self, number: u16, slot: Slot) {
        self.by_number.insert(number, Box::new(slot));
    }

    pub(super) fn get(&self, number: &u16) -> Option<&Slot> {
        self.by_number.get(number).map(|slot| &**slot)
    }

    pub(super) fn get_mut(&mut self, number: &u16) -> Option<&mut Slot> {
        self.by_number.get_mut(number).map(|slot| &mut **slot)
    }

    pub(super) fn contains_key(&self, number: &u16) -> bool {
        self.by_number.contains_key(number)
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// In the order of their numbers.
    pub(super) fn keys(&self) -> impl Iterator<Item = &u16> {
        self.by_number.keys()
    }

    /// In the order of their numbers.
    pub(super) fn values(&self) -> impl Iterator<Item = &Slot> {
        self.by_number.values().map(|slot| &**slot)
    }

    /// In the order of their numbers.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.by_number.values_mut().map(|slot| &mut **slot)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&u16, &mut Slot)> {
        self.by_number.iter_mut().map(|(number, slot)| (number, &mut **slot))
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(&Slot) -> bool) {
        self.by_number.retain(|_, slot| is_kept(slot));
    }
}
