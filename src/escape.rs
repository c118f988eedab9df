//! Escapes text from outside before it reaches a terminal or a log.
//!
//! Names of keys, members of sets, and messages of servers and nodes may hold anything: escape sequences that move the
//! cursor, line breaks that forge a line, marks that reverse the direction of writing. JSON needs none of this, since its writer
//! escapes.

use std::borrow::Cow;

use errors::{controls_terminal, redacted};

/// The text with each control character, and each mark of direction, written as in `\u{1b}`, and without secrets.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    without(redacted(text), controls_terminal)
}

/// The text with each of these characters written as in `\u{1b}`.
pub(crate) fn without(text: Cow<'_, str>, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_unsafe) {
        // Nearly all texts are harmless: the common case copies nothing.
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_unsafe(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// The same, cut to `most` characters: a Redis key may be 512 MB long.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => escaped(text).into_owned(),
        // Cut first and escaped then, so that no escape sequence is cut in its middle.
        Some((end, _)) => format!("{}…", escaped(&text[..end])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_that_control_a_terminal_are_escaped_and_no_others() {
        for (text, expected) in [
            ("P:0xab:epochs:active", "P:0xab:epochs:active"),
            ("grün …→", "grün …→"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gpj\u{2028}", "\\u{202e}gpj\\u{2028}"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("a\nbc", 3), "a\\nb…");
    }

    proptest! {
        #[test]
        fn no_character_that_controls_a_terminal_is_left(text in any::<String>()) {
            prop_assert!(!escaped(&text).chars().any(controls_terminal));
        }
    }
}
