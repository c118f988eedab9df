//! Text from outside in a form that can be logged, and durations as people read them.

use std::{
    fmt::{self, Display, Write},
    time::Duration,
};

use humantime::FormattedDuration;

/// How many characters of a text from outside are kept.
pub const LONGEST: usize = 200;

/// A text from outside (a server's answer, a key, a member, the error of another library): at most [`LONGEST`] characters, with
/// control characters escaped, so that it can neither fill a log nor break its lines.
#[must_use]
pub fn outside(text: impl Display) -> String {
    bounded(text, LONGEST)
}

/// The same with another limit, which is at least 1. A text that was cut ends with `…`.
pub(crate) fn bounded(text: impl Display, longest: usize) -> String {
    let mut kept = Bounded { text: String::new(), left: longest, is_cut: false };
    // It refuses what is beyond the limit; nothing else can fail.
    let _ = write!(kept, "{text}");
    if kept.is_cut {
        kept.text.pop();
        kept.text.push('…');
    }
    kept.text
}

struct Bounded {
    text: String,
    left: usize,
    is_cut: bool,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for character in more.chars() {
            if is_obeyed(character) {
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

/// Whether a terminal obeys a character instead of showing it: control characters of both sets, separators of lines and paragraphs,
/// and marks of direction or of no width.
#[must_use]
pub fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A duration as people read it, rounded down to what matters: `1h 2m 3s`, `7s 200ms`, `35ms`, `810us`.
#[must_use]
pub fn rounded(duration: Duration) -> FormattedDuration {
    let step = match duration {
        _ if duration >= Duration::from_secs(10) => Duration::from_secs(1),
        _ if duration >= Duration::from_secs(1) => Duration::from_millis(100),
        _ if duration >= Duration::from_millis(1) => Duration::from_millis(1),
        _ => Duration::from_micros(1),
    };
    let steps = duration.as_nanos() / step.as_nanos();
    // The last of these is beyond what a process lives.
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    humantime::format_duration(step * steps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_from_outside_breaks_no_line_and_colours_nothing() {
        let escaped = "a\\nb\\u{1b}[31m\\u{85}\\u{202e}`";
        assert_eq!(outside("a\nb\u{1b}[31m\u{85}\u{202e}`"), escaped);
    }

    #[test]
    fn a_text_of_any_length_is_kept_in_two_hundred_characters() {
        assert_eq!(outside("x".repeat(LONGEST)), "x".repeat(LONGEST));
        let long = outside("ü".repeat(100_000));
        assert_eq!((long.chars().count(), long.chars().last()), (LONGEST, Some('…')));
    }

    #[test]
    fn a_duration_is_rounded_to_what_matters() {
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
        fn no_text_gets_past_the_limits(text in "\\PC*|.*") {
            let kept = outside(&text);
            prop_assert!(kept.chars().count() <= LONGEST && !kept.contains(is_obeyed));
        }
    }
}
