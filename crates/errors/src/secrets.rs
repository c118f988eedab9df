//! Secrets of the configuration, which text from outside may repeat: a node that tells the request it refuses, a server that
//! tells its password.
//!
//! The list is the process's own, because texts from outside are made safe in every crate, far from the configuration.

use std::{
    borrow::Cow,
    cmp::Reverse,
    sync::{PoisonError, RwLock},
};

/// The text in place of a secret.
pub const HIDDEN: &str = "***";
/// Shorter secrets, in bytes, would hide parts of ordinary words.
pub const SHORTEST_SECRET: usize = 6;
/// Shorter secrets are left alone in a whole line, which has names of our own too.
const SHORTEST_IN_LINES: usize = 8;
/// The longest secret that is looked for, in bytes.
pub(crate) const LONGEST: usize = 4_096;
/// The most secrets of a group that are looked for. Former ones stay until newer ones need their places.
const MOST: usize = 1_024;

/// Where secrets come from. New ones of a group never take the place of another group's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsOf {
    /// The configuration: passwords, keys in URLs.
    Configuration,
    /// The files of tokens, which are rotated while the process runs.
    Tokens,
}

/// The longest first: one may contain another.
static SECRETS: RwLock<Vec<Known>> = RwLock::new(Vec::new());

struct Known {
    text: String,
    group: SecretsOf,
    /// The number of the call that gave it last.
    given: u64,
}

/// From now on, hides these texts in every text from outside that is shown or logged. Texts of fewer than 6 bytes stay. Call it with
/// all secrets of the group: those of earlier calls are the first to be forgotten where there are too many.
pub fn hide(group: SecretsOf, secrets: impl IntoIterator<Item = String>) {
    let mut known = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    let call = known.iter().map(|secret| secret.given).max().unwrap_or(0) + 1;
    let fitting = secrets.into_iter().filter(|text| (SHORTEST_SECRET..=LONGEST).contains(&text.len()));
    for text in fitting.take(MOST) {
        match known.iter_mut().find(|secret| secret.group == group && secret.text == text) {
            Some(secret) => secret.given = call,
            None => known.push(Known { text, group, given: call }),
        }
    }
    known.sort_by_key(|secret| Reverse(secret.given));
    let mut kept = 0;
    known.retain(|secret| {
        kept += usize::from(secret.group == group);
        secret.group != group || kept <= MOST
    });
    known.sort_by_key(|secret| Reverse(secret.text.len()));
}

/// A text from outside with `***` in place of each secret.
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    without_known(text, SHORTEST_SECRET)
}

/// A whole line of a log with `***` in place of each secret of at least 8 bytes.
#[must_use]
pub fn redacted_line(line: &str) -> Cow<'_, str> {
    without_known(line, SHORTEST_IN_LINES)
}

/// A text with `***` in place of each of these secrets, which come with the longest first.
#[must_use]
pub fn without_secrets<'a>(text: &'a str, secrets: impl IntoIterator<Item = &'a str>) -> Cow<'a, str> {
    secrets.into_iter().fold(Cow::Borrowed(text), |text, secret| match text.contains(secret) {
        true => Cow::Owned(text.replace(secret, HIDDEN)),
        false => text,
    })
}

fn without_known(text: &str, shortest: usize) -> Cow<'_, str> {
    let known = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let long_enough = known.iter().map(|secret| secret.text.as_str());
    match without_secrets(text, long_enough.take_while(|secret| secret.len() >= shortest)) {
        Cow::Owned(hidden) => Cow::Owned(hidden),
        Cow::Borrowed(_) => Cow::Borrowed(text),
    }
}

/// Whether there is any.
pub(crate) fn are_known() -> bool {
    !SECRETS.read().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// A text that was cut, without the begin of a secret at its end.
pub(crate) fn without_begun(text: &str) -> &str {
    let known = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    let begun = |Known { text: secret, .. }: &Known| {
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
        hide(
            SecretsOf::Configuration,
            ["of-this-test-A".to_owned(), "longer-of-this-test-A".to_owned(), "abc".to_owned()],
        );
        assert_eq!(redacted("(longer-of-this-test-A) of-this-test-A abc"), "(***) *** abc");
        assert_eq!(sanitise("say\nof-this-test-A"), "say\\n***");
        assert_eq!(redacted_line("of-this-test-A"), "***");
    }

    #[test]
    fn a_secret_that_is_cut_leaves_no_begin_behind() {
        let secret = "of-this-test-B".repeat(10);
        hide(SecretsOf::Configuration, [secret.clone()]);
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
        hide(SecretsOf::Configuration, ["seven-C".to_owned()]);
        assert_eq!((redacted("seven-C"), redacted_line("seven-C")), ("***".into(), "seven-C".into()));
    }

    #[test]
    fn a_text_of_any_length_is_cut_before_it_is_searched() {
        hide(SecretsOf::Configuration, ["of-this-test-D".to_owned()]);
        let shown = sanitise("z".repeat(10 << 20));
        assert_eq!(shown.chars().count(), MAX_CHARS);
    }

    #[test]
    fn secrets_that_are_rotated_for_ever_stay_few_and_hide_the_newest_and_all_of_another_group() {
        let secret = |number: usize| format!("secret-{number:06}-E");
        hide(SecretsOf::Configuration, ["of-this-test-E".to_owned()]);
        for number in 0..3 * MOST {
            hide(SecretsOf::Tokens, [secret(number), "kept-of-this-test-E".to_owned()]);
        }
        let tokens =
            || SECRETS.read().unwrap().iter().filter(|secret| secret.group == SecretsOf::Tokens).count();
        assert_eq!(tokens(), MOST);
        let newest = secret(3 * MOST - 1);
        let told = format!("of-this-test-E {newest} kept-of-this-test-E");
        assert_eq!(redacted(&told), "*** *** ***");
        assert_eq!(redacted(&secret(0)), secret(0));
        // More than there is room for at once.
        hide(SecretsOf::Tokens, (0..2 * MOST).map(|number| format!("many-{number}-E")));
        assert_eq!((tokens(), redacted("many-0-E")), (MOST, "***".into()));
    }
}
