//! Whether a wrong rollover counter may be why nobody can read a stream.

/// How likely it is, from not at all to likely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RolloverDoubt {
    /// The counter has been right, and is followed from there.
    #[default]
    None,
    /// Nothing of the stream could be read so far: it may have been joined in the middle of its life.
    Joined,
    /// Caps gave one.
    Given,
}

impl RolloverDoubt {
    /// What packets are that are not authentic, in words.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::None => "forged, damaged, or under another key",
            Self::Joined => {
                "forged, damaged, under another key, or with a rollover counter that nobody gave (roc)"
            }
            Self::Given => {
                "forged, damaged, under another key, or with another rollover counter than caps gave (roc)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_named_only_where_it_may_be_the_cause_and_what_caps_gave_first() {
        assert!(!RolloverDoubt::None.in_words().contains("roc"));
        let both = [RolloverDoubt::Joined, RolloverDoubt::Given];
        assert!(both.iter().all(|doubt| doubt.in_words().contains("(roc)")));
        assert_eq!(both.into_iter().max(), Some(RolloverDoubt::Given));
        assert!(RolloverDoubt::Given.in_words().contains("than caps gave"));
    }
}
