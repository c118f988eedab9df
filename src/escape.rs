//! Text from outside on its way to a terminal.
//!
//! Names of keys, members of sets, and messages of servers and nodes may hold anything: escape sequences that move the
//! cursor, line breaks that forge a line, marks that turn the direction of writing. JSON needs none of this: its writer escapes.

use std::borrow::Cow;

use errors::controls_terminal;

/// The text with every character escaped that a terminal would obey instead of showing it, as in `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(controls_terminal) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match controls_terminal(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// The same, cut to this many characters: a name may be megabytes long.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => escaped(text).into_owned(),
        Some((end, _)) => format!("{}…", escaped(&text[..end])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_all_else_is_shown() {
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
        fn nothing_that_a_terminal_obeys_is_left(text in any::<String>()) {
            prop_assert!(!escaped(&text).chars().any(controls_terminal));
        }
    }
}
