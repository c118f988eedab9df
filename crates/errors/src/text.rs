//! Text from outside in a form that is safe to log, and rounded durations.

use std::{
    fmt::{self, Display, Write},
    time::Duration,
};

use humantime::FormattedDuration;

use crate::secrets;

/// The limit of characters of a text from outside.
pub const MAX_CHARS: usize = 200;

/// Cuts a text from outside (a server's answer, a key, a member, the error of another library) at [`MAX_CHARS`] characters, hides
/// the secrets that it repeats, and escapes its control characters, so that it can neither fill a log nor break its lines.
#[must_use]
pub fn sanitise(text: impl Display) -> String {
    bounded(text, MAX_CHARS)
}

/// [`sanitise`] with another limit, which is at least 1. A text that was cut ends with `…`.
pub(crate) fn bounded(text: impl Display, longest: usize) -> String {
    if !secrets::are_known() {
        return escaped(text, longest);
    }
    // Redacted before it is cut and escaped, or parts of a secret would stay.
    let mut raw =
        Bounded { text: String::new(), left: longest + secrets::LONGEST, is_cut: false, is_raw: true };
    let _ = write!(raw, "{text}");
    let redacted = secrets::redacted(&raw.text);
    match raw.is_cut {
        // At least a character more than is kept, so that the end shows that it was cut.
        true => escaped(format_args!("{}…", secrets::without_begun(&redacted)), longest),
        false => escaped(redacted, longest),
    }
}

fn escaped(text: impl Display, longest: usize) -> String {
    let mut kept = Bounded { text: String::new(), left: longest, is_cut: false, is_raw: false };
    // Written through a limited writer instead of `to_string()`: an answer of many megabytes must not be copied to be cut. The only
    // error is the writer's own refusal at the limit, which ends the formatting early.
    let _ = write!(kept, "{text}");
    if kept.is_cut {
        // The ellipsis takes the last character's place, so that the limit holds.
        kept.text.pop();
        kept.text.push('…');
    }
    kept.text
}

struct Bounded {
    text: String,
    left: usize,
    is_cut: bool,
    is_raw: bool,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for character in more.chars() {
            if !self.is_raw && controls_terminal(character) {
                // Escapes count towards the limit: a text of control characters can grow eightfold.
                character.escape_default().try_for_each(|escaped| self.push(escaped))?;
            } else {
                self.push(character)?;
            }
        }
        Ok(())
    }
}

impl Bounded {
    fn push(&mut self, character: char) -> fmt::Result {
        if self.left == 0 {
            self.is_cut = true;
            return Err(fmt::Error);
        }
        self.left -= 1;
        self.text.push(character);
        Ok(())
    }
}

/// Whether a terminal acts on a character instead of showing it: control characters of both sets, line and paragraph separators,
/// marks of direction and of no width.
#[must_use]
pub fn controls_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A duration rounded down to two or three digits' worth: `1h 2m 3s`, `7s 200ms`, `35ms`, `810us`.
#[must_use]
pub fn rounded(duration: Duration) -> FormattedDuration {
    let step = match duration {
        _ if duration >= Duration::from_secs(10) => Duration::from_secs(1),
        _ if duration >= Duration::from_secs(1) => Duration::from_millis(100),
        _ if duration >= Duration::from_millis(1) => Duration::from_millis(1),
        _ => Duration::from_micros(1),
    };
    let steps = duration.as_nanos() / step.as_nanos();
    // Only a duration of more than 136 years is shown shorter than it is.
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    humantime::format_duration(step * steps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let escaped = "a\\nb\\u{1b}[31m\\u{85}\\u{202e}`";
        assert_eq!(sanitise("a\nb\u{1b}[31m\u{85}\u{202e}`"), escaped);
    }

    #[test]
    fn a_long_text_is_cut_at_200_characters() {
        assert_eq!(sanitise("x".repeat(MAX_CHARS)), "x".repeat(MAX_CHARS));
        let long = sanitise("ü".repeat(100_000));
        assert_eq!((long.chars().count(), long.chars().last()), (MAX_CHARS, Some('…')));
    }

    #[test]
    fn a_duration_is_rounded_by_its_length() {
        for (millis, shown) in
            [(3_723_456, "1h 2m 3s"), (7_254, "7s 200ms"), (1_000, "1s"), (35, "35ms"), (0, "0s")]
        {
            assert_eq!(rounded(Duration::from_millis(millis)).to_string(), shown);
        }
        assert_eq!(rounded(Duration::from_nanos(810_999)).to_string(), "810us");
        assert!(!rounded(Duration::MAX).to_string().is_empty());
    }

    proptest! {
        #[test]
        fn every_text_is_cut_and_escaped(text in "\\PC*|.*") {
            let kept = sanitise(&text);
            prop_assert!(kept.chars().count() <= MAX_CHARS && !kept.contains(controls_terminal));
        }
    }
}
