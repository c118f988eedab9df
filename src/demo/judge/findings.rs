//! What the judge found wrong, as sentences; the first of them are kept.

/// Findings that are kept.
const MOST_FINDINGS: usize = 20;

/// Differences, as sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::demo) struct Findings(Vec<String>);

impl Findings {
    pub(in crate::demo) fn add(&mut self, finding: String) {
        if self.0.len() < MOST_FINDINGS {
            self.0.push(finding);
        }
    }

    pub(in crate::demo) fn all(&self) -> &[String] {
        &self.0
    }
}
