//! An error with its causes, in one line.

use std::error::Error;

use crate::text::{bounded, outside};

/// How many causes are looked through.
const DEEPEST: usize = 16;
/// How long the text of one of our own errors may be. What it repeats from outside is shorter already.
const LONGEST_LINK: usize = 1_000;

/// An error with its causes, separated by colons. A cause that the text before it tells already is left out, and so is the rest of a
/// text that is too long.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = link(error);
    let mut next = error.source();
    for _ in 1..DEEPEST {
        let Some(cause) = next else { break };
        // Our own errors repeat text from outside in this form.
        if !line.contains(&outside(cause)) {
            line += ": ";
            line += &link(cause);
        }
        next = cause.source();
    }
    line
}

/// The text of one error, without its causes.
#[must_use]
pub fn link(error: &(dyn Error + 'static)) -> String {
    bounded(error, LONGEST_LINK)
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
    fn an_error_is_told_with_its_causes_and_each_of_them_once() {
        assert_eq!(chain(&["read", "connect", "no route"]), "read: connect: no route");
        assert_eq!(chain(&["read: no route", "no route", "no route"]), "read: no route");
    }

    #[test]
    fn an_answer_of_any_length_is_neither_repeated_nor_told_in_full() {
        let answer = "x\n".repeat(50_000);
        let ours = format!("read: {}", outside(&answer));
        assert_eq!(chain(&[&ours, &answer]), ours);
        assert!(chain(&["read", &answer]).chars().count() < 1_100);
    }

    #[test]
    fn a_circle_of_causes_ends() {
        let many: Vec<String> = (0..100).map(|number| format!("cause {number}.")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(chain(&many).matches("cause").count(), DEEPEST);
    }
}
