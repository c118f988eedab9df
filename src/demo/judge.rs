//! Judges what stands in Redis against what was really written: the datasets against the producers at every look, and in
//! the end the batches for the finalizers against the collector. Touches nothing.

mod batches;
mod findings;
mod totals;

use testkit::SharedTruth;

use super::{
    seen::{Datasets, Handed},
    world::Standing,
};
use batches::Comparison;

pub(super) struct Judge {
    totals: totals::Judge,
    batches: Comparison,
}

impl Judge {
    /// Of these markets, each with its producers' truth.
    pub(super) fn new(markets: Vec<String>, truths: Vec<SharedTruth>) -> Self {
        Self { totals: totals::Judge::new(markets, truths), batches: Comparison::default() }
    }

    /// Judges the datasets that were read at the last look, and keeps what is read now for the next one.
    pub(super) fn look(&mut self, datasets: &[Datasets]) {
        self.totals.look(datasets);
    }

    /// Whether everything has come that must come of producers that have ended and of a chain that stands still.
    pub(super) fn is_settled(&self, datasets: &[Datasets], standing: &Standing, handed: &Handed) -> bool {
        self.totals.is_settled(datasets) && Comparison::of(standing, handed).findings.all().is_empty()
    }

    /// The last word.
    pub(super) fn conclude(&mut self, datasets: &[Datasets], standing: &Standing, handed: &Handed) {
        self.totals.conclude(datasets);
        self.batches = Comparison::of(standing, handed);
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = &String> {
        self.totals.findings.all().iter().chain(self.batches.findings.all())
    }

    pub(super) fn is_content(&self) -> bool {
        self.findings().next().is_none()
    }

    pub(super) fn verdict(&self) -> String {
        if !self.is_content() {
            let findings: Vec<&str> = self.findings().map(String::as_str).collect();
            return format!("check failed:\n  {}", findings.join("\n  "));
        }
        let Comparison { compared, epochs, batches, submissions, left_out, head, .. } = &self.batches;
        format!(
            "check passed: {} comparisons of totals with what the producers wrote, all equal; {compared} of the chain with what \
             the collector wrote, all equal: {epochs} epochs, {batches} batches, {submissions} submissions, {left_out} malformed \
             ones left out, checkpoint at the head, block {head}",
            self.totals.compared,
        )
    }
}
