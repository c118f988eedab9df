//! What can be wrong with a configuration, in sentences. Knows nothing of where values come from.

use std::fmt;

/// The exit code for a configuration that is not allowed (`EX_CONFIG` of sysexits.h).
pub const EX_CONFIG: u8 = 78;

/// One thing that is wrong, and the setting concerned where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The setting that has no usable value because of this.
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

    /// A value that is not allowed: key, value, where it came from, and what is allowed.
    pub(crate) fn bad_value(key: &'static str, shown: &str, origin: &str, allowed: &str) -> Self {
        Self::of(key, format!("{key}: {shown} (from {origin}) is not allowed: {allowed}"))
    }
}

/// Everything that is wrong with a configuration, one sentence each. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        Self(problems.into_iter().map(|problem| problem.text).collect())
    }

    /// The sentences, in the order of layers, then of settings.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "the configuration has an error:")?,
            n => writeln!(f, "the configuration has {n} errors:")?,
        }
        for problem in &self.0 {
            writeln!(f, "  - {problem}")?;
        }
        f.write_str("`state-tracker --help` tells how to set each; nothing was started.")
    }
}

impl std::error::Error for ConfigErrors {}
