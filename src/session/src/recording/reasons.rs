//! Reasons in one text, of bounded length: whoever is told may have many recorders, and those say what they like.

const SEPARATOR: &str = "; ";

/// Joins reasons by `; `. Those that do not fit into `most` characters are counted (`and 180 more`); the first always stands there, cut
/// where it is longer.
pub(super) fn joined<'a>(reasons: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let (mut text, mut length, mut more) = (String::new(), 0, 0);
    for reason in reasons {
        let grown = length + SEPARATOR.len() + reason.chars().count();
        if text.is_empty() {
            text = cut(reason, most);
            length = text.chars().count();
        } else if more == 0 && grown <= most {
            text = text + SEPARATOR + reason;
            length = grown;
        } else {
            more += 1;
        }
    }
    if more > 0 { format!("{text}{SEPARATOR}and {more} more") } else { text }
}

/// A text of at most so many characters, with `…` for what is left out.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_no_character_is_cut() {
        assert_eq!(joined([], 10), "");
        assert_eq!(joined(["eins", "zwei"], 10), "eins; zwei");
        assert_eq!(joined(["eins", "zwei"], 9), "eins; and 1 more");
        // What is behind one that does not fit does not come before it.
        assert_eq!(joined(["eins", "zweihundert", "drei"], 16), "eins; and 2 more");
        assert_eq!(joined(["äöü€", "x"], 3), "äö…; and 1 more");
        assert_eq!(joined(["äöü"], 3), "äöü");
        let many = ["sip:192.0.2.1: the recorder did not answer within 2s"; 200];
        let text = joined(many, 2000);
        assert!(text.chars().count() < 2020 && text.ends_with("; and 163 more"), "{text}");
    }
}
