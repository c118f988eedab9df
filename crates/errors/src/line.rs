//! An error with its causes, in one line.

use std::error::Error;

use crate::text::{bounded, sanitise};

/// The limit of causes in one line. It also ends a chain of sources that refers to itself.
const MAX_CAUSES: usize = 16;
/// The limit of characters of one error's text. It is above the limit of text from outside, since our own errors embed such
/// text, already shortened, between words of our own.
const MAX_OWN_CHARS: usize = 1_000;

/// An error with its causes, separated by colons. A cause that the line contains already is left out; long texts are cut.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = without_causes(error);
    let mut next = error.source();
    for _ in 1..MAX_CAUSES {
        let Some(cause) = next else { break };
        // Many of our errors embed their cause's text, in sanitised form: comparing the raw text would miss it.
        if !repeats(&line, cause) {
            line += ": ";
            line += &without_causes(cause);
        }
        // Go on below a cause that was left out: only its own text is known to be in the line.
        next = cause.source();
    }
    line
}

/// Whether a line has the text of this error already: in the form in which a line is made, or in that of a text from outside,
/// in which errors embed their causes.
#[must_use]
pub fn repeats(line: &str, error: &(dyn Error + 'static)) -> bool {
    line.contains(&without_causes(error)) || line.contains(&sanitise(error))
}

/// The text of one error alone, cut and escaped.
#[must_use]
pub fn without_causes(error: &(dyn Error + 'static)) -> String {
    bounded(error, MAX_OWN_CHARS)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Link(String, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
        }
    }

    fn chain(links: &[&str]) -> String {
        let link = |cause: Option<Box<Link>>, text: &&str| Some(Box::new(Link((*text).to_owned(), cause)));
        one_line(&*links.iter().rev().fold(None, link).expect("at least one"))
    }

    #[test]
    fn a_line_names_each_cause_once() {
        assert_eq!(chain(&["read", "connect", "no route"]), "read: connect: no route");
        assert_eq!(chain(&["read: no route", "no route", "no route"]), "read: no route");
    }

    #[test]
    fn a_long_cause_is_cut_and_not_repeated() {
        let answer = "x\n".repeat(50_000);
        let ours = format!("read: {}", sanitise(&answer));
        assert_eq!(chain(&[&ours, &answer]), ours);
        assert!(chain(&["read", &answer]).chars().count() < 1_100);
    }

    #[test]
    fn a_cause_that_is_longer_than_a_text_from_outside_is_not_repeated() {
        let cause = "a long cause of our own, ".repeat(20);
        assert_eq!(chain(&[&format!("read: {cause}"), &cause]), format!("read: {cause}"));
    }

    #[test]
    fn a_line_has_a_limited_number_of_causes() {
        let many: Vec<String> = (0..100).map(|number| format!("cause {number}.")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(chain(&many).matches("cause").count(), MAX_CAUSES);
    }
}
