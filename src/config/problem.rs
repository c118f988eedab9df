//! The errors of a configuration, as sentences.

use std::fmt;

use crate::escape::escaped;

/// Errors and notes that the sources of a configuration give.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    /// Valid values that are probably mistakes.
    pub(crate) notes: Vec<String>,
}

/// The most errors that are listed: a file of another kind has one a line.
const MOST_LISTED: usize = 200;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The setting that has no usable value because of it, if it concerns one: further checks skip that setting.
    pub(crate) key: Option<&'static str>,
    pub(crate) text: String,
}

impl Problem {
    pub(crate) fn of(key: &'static str, text: String) -> Self {
        Self { key: Some(key), text }
    }

    pub(crate) fn general(text: String) -> Self {
        Self { key: None, text }
    }

    /// A refused value: key, value, source, and what it must be.
    pub(crate) fn bad_value(key: &'static str, shown: &str, origin: &str, allowed: &str) -> Self {
        Self::of(key, format!("{key}: {shown} (from {origin}) is not allowed: {allowed}"))
    }
}

/// All errors of a configuration, one sentence each. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<String>,
    notes: Vec<String>,
    log_is_json: bool,
}

impl ConfigErrors {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        // Names and paths come from outside and may contain anything, such as a line break and another error after it.
        let shown = |problem: Problem| escaped(&problem.text).into_owned();
        let more = problems.len().saturating_sub(MOST_LISTED);
        let mut problems: Vec<String> = problems.into_iter().take(MOST_LISTED).map(shown).collect();
        if more > 0 {
            problems.push(format!("{more} more errors are not listed"));
        }
        Self { problems, notes: Vec::new(), log_is_json: false }
    }

    /// The same with notes, which may explain an error: a variable that is missing has a namesake that is mistyped.
    pub(crate) fn with_notes(self, notes: &[String]) -> Self {
        Self { notes: notes.iter().map(|note| escaped(note).into_owned()).collect(), ..self }
    }

    /// The same, with what the configuration says of the log, as far as that can be read: the errors have its form.
    pub(crate) fn with_json_log(self, log_is_json: bool) -> Self {
        Self { log_is_json, ..self }
    }

    /// Whether the configuration asks for a log in JSON.
    pub fn log_is_json(&self) -> bool {
        self.log_is_json
    }

    /// All in one line, for a log.
    pub fn one_line(&self) -> String {
        self.to_string().replacen("\n  - ", " ", 1).replace("\n  - ", "; ").replace("\n  note: ", "; note: ")
    }

    /// The sentences, in the order of layers, then of settings.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Notes on the sources of the configuration.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            // One error a line, so that scripts and people can count them.
            1 => f.write_str("the configuration has an error:")?,
            n => write!(f, "the configuration has {n} errors:")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n  note: {note}"))
    }
}

impl std::error::Error for ConfigErrors {}
