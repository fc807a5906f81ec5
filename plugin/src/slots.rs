//! Which pad numbers are taken.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::sync::lock;

/// The numbers of one kind of pad.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<BTreeSet<u16>>);

impl Slots {
    /// Takes the number that `name` asks for after `prefix`, or the lowest free one without a name. `None` when it
    /// is taken or no number.
    pub(crate) fn take(&self, prefix: &str, name: Option<&str>) -> Option<u16> {
        let mut taken = lock(&self.0);
        let number = match name {
            Some(name) => number(prefix, name)?,
            None => (0..=u16::MAX).find(|number| !taken.contains(number))?,
        };
        taken.insert(number).then_some(number)
    }

    /// Gives a number back.
    pub(crate) fn free(&self, number: u16) {
        lock(&self.0).remove(&number);
    }
}

/// The number in a pad's name.
pub(crate) fn number(prefix: &str, name: &str) -> Option<u16> {
    let digits = name.strip_prefix(prefix)?;
    // One spelling for each number: names and numbers go together.
    digits.parse().ok().filter(|number: &u16| number.to_string() == digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken() {
        let slots = Slots::default();
        assert_eq!(slots.take("sink_", Some("sink_1")), Some(1));
        assert_eq!(slots.take("sink_", None), Some(0));
        assert_eq!(slots.take("sink_", None), Some(2));
        assert_eq!(slots.take("sink_", Some("sink_2")), None);
        slots.free(1);
        assert_eq!(slots.take("sink_", None), Some(1));
    }

    #[test]
    fn other_names_have_no_number() {
        for name in ["sink_", "sink_x", "sink_01", "sink_+1", "sink_70000", "src_0"] {
            assert_eq!(number("sink_", name), None, "{name}");
        }
    }
}
