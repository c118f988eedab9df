//! Secrets of the configuration, which text from outside may repeat: a node that tells the request it refuses, a server that
//! tells its password.
//!
//! The list is the process's own, because texts from outside are made safe in every crate, far from the configuration.

use std::{
    borrow::Cow,
    sync::{PoisonError, RwLock},
};

/// The text in place of a secret.
const HIDDEN: &str = "***";
/// Shorter secrets would hide parts of ordinary words.
const SHORTEST: usize = 6;
/// Shorter secrets are left alone in a whole line, which has names of our own too.
const SHORTEST_IN_LINES: usize = 8;
/// The longest secret that is looked for, in bytes.
pub(crate) const LONGEST: usize = 4_096;
/// The most secrets that are looked for. A configuration that is read again adds those that are new.
const MOST: usize = 1_024;

/// The longest first: one may contain another.
static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// From now on, hides these texts in every text from outside that is shown or logged. Texts of fewer than 6 bytes stay.
pub fn hide(secrets: impl IntoIterator<Item = String>) {
    let mut known = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    for secret in secrets {
        if (SHORTEST..=LONGEST).contains(&secret.len()) && known.len() < MOST && !known.contains(&secret) {
            known.push(secret);
        }
    }
    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
}

/// A text from outside with `***` in place of each secret.
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    without(text, SHORTEST)
}

/// A whole line of a log with `***` in place of each secret of at least 8 bytes.
#[must_use]
pub fn redacted_line(line: &str) -> Cow<'_, str> {
    without(line, SHORTEST_IN_LINES)
}

fn without(text: &str, shortest: usize) -> Cow<'_, str> {
    let known = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let long_enough = known.iter().take_while(|secret| secret.len() >= shortest);
    long_enough.fold(Cow::Borrowed(text), |text, secret| match text.contains(secret.as_str()) {
        true => Cow::Owned(text.replace(secret.as_str(), HIDDEN)),
        false => text,
    })
}

/// Whether there is any.
pub(crate) fn are_known() -> bool {
    !SECRETS.read().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// A text that was cut, without the begin of a secret at its end.
pub(crate) fn without_begun(text: &str) -> &str {
    let known = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let begun = |secret: &String| {
        (1..secret.len()).rev().find(|&end| secret.is_char_boundary(end) && text.ends_with(&secret[..end]))
    };
    let longest = known.iter().filter_map(begun).max().unwrap_or(0);
    &text[..text.len() - longest]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_CHARS, sanitise};

    /// The tests of a process share the list: each uses secrets of its own.
    #[test]
    fn a_secret_is_hidden_in_text_from_outside_and_a_short_one_is_not() {
        hide(["of-this-test-A".to_owned(), "longer-of-this-test-A".to_owned(), "abc".to_owned()]);
        assert_eq!(redacted("(longer-of-this-test-A) of-this-test-A abc"), "(***) *** abc");
        assert_eq!(sanitise("say\nof-this-test-A"), "say\\n***");
        assert_eq!(redacted_line("of-this-test-A"), "***");
    }

    #[test]
    fn a_secret_that_is_cut_leaves_no_begin_behind() {
        let secret = "of-this-test-B".repeat(10);
        hide([secret.clone()]);
        for before in MAX_CHARS - 40..MAX_CHARS + 5 {
            let shown = sanitise(format!("{}{secret}{}", "x".repeat(before), "y".repeat(5_000)));
            assert!(!shown.contains("of-") && !shown.contains('o'), "{before}: {shown}");
            assert!(shown.chars().count() <= MAX_CHARS);
        }
        // Each one hidden makes room for what follows it.
        let shown = sanitise(format!("{secret} ").repeat(100));
        assert!(!shown.contains('o') && shown.starts_with("*** ***"), "{shown}");
    }

    #[test]
    fn a_short_secret_spares_the_names_in_a_line() {
        hide(["seven-C".to_owned()]);
        assert_eq!((redacted("seven-C"), redacted_line("seven-C")), ("***".into(), "seven-C".into()));
    }

    #[test]
    fn a_text_of_any_length_is_cut_before_it_is_searched() {
        hide(["of-this-test-D".to_owned()]);
        let shown = sanitise("z".repeat(10 << 20));
        assert_eq!(shown.chars().count(), MAX_CHARS);
    }
}
