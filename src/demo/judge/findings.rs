//! The findings of the judge, as sentences. Only the first ones are kept.

/// How many findings are kept. One fault repeats at every look, and the first findings lead to its cause.
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
