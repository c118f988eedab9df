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
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        // Names and paths come from outside and may hold anything; the line breaks of our own texts stay.
        let shown = |text: &str| text.lines().map(escaped).collect::<Vec<_>>().join("\n");
        Self(problems.into_iter().map(|problem| shown(&problem.text)).collect())
    }

    /// The sentences, in the order of layers, then of settings.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            // One error a line, so that scripts and people can count them.
            1 => f.write_str("the configuration has an error:")?,
            n => write!(f, "the configuration has {n} errors:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}
