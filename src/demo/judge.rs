//! Compares Redis with what was really written: the datasets with the producers at every look, and in the end the batches for
//! the finalizers with the collector. Touches nothing.

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
    /// A judge of these markets, each with the truth of its producers.
    pub(super) fn new(markets: Vec<String>, truths: Vec<SharedTruth>) -> Self {
        Self { totals: totals::Judge::new(markets, truths), batches: Comparison::default() }
    }

    /// Judges the datasets of the last look, and keeps those of this one for the next.
    pub(super) fn look(&mut self, datasets: &[Datasets]) {
        self.totals.look(datasets);
    }

    /// Whether datasets and queue are complete, after the end of producers and chain.
    pub(super) fn is_settled(&self, datasets: &[Datasets], standing: &Standing, handed: &Handed) -> bool {
        self.totals.is_settled(datasets) && Comparison::of(standing, handed).findings.all().is_empty()
    }

    /// Judges the final state.
    pub(super) fn conclude(&mut self, datasets: &[Datasets], standing: &Standing, handed: &Handed) {
        self.totals.conclude(datasets);
        self.batches = Comparison::of(standing, handed);
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = &String> {
        self.totals.findings.all().iter().chain(self.batches.findings.all())
    }

    pub(super) fn found_nothing(&self) -> bool {
        self.findings().next().is_none()
    }

    pub(super) fn verdict(&self) -> String {
        if !self.found_nothing() {
            let findings: Vec<&str> = self.findings().map(String::as_str).collect();
            return format!("check failed:\n  {}", findings.join("\n  "));
        }
        let Comparison { compared, epochs, batches, submissions, left_out, head, .. } = &self.batches;
        format!(
            "check passed: {} comparisons of totals with the producers, all equal; {compared} of the chain with the collector, all \
             equal: {epochs} epochs, {batches} batches, {submissions} submissions, {left_out} malformed ones left out, checkpoint \
             at the head, block {head}",
            self.totals.compared,
        )
    }
}
