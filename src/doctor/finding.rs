//! Findings of the doctor: severity, object, problem and remedy. Pure.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing has to be done.
    Note,
    /// Something is wrong, or will go wrong.
    Warning,
    /// Datasets are missing or wrong, or data is about to be lost.
    Error,
}

impl Severity {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The check that found it. Scripts rely on these names: they are not changed.
    pub check: &'static str,
    /// The faulty key, server or setting.
    pub object: String,
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub remedy: String,
}

impl Finding {
    /// An error.
    pub fn error(
        check: &'static str,
        object: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let severity = Severity::Error;
        Self { severity, check, object: object.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A warning.
    pub fn warning(
        check: &'static str,
        object: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(check, object, problem, remedy) }
    }

    /// A note.
    pub fn note(
        check: &'static str,
        object: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Note, ..Self::error(check, object, problem, remedy) }
    }
}
