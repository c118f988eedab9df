//! Compares the summaries of campaigns, and what a client got of them, with COUNT(*) of their rows. Pure.

use serde_json::Value;
use testkit::campaigns::RunTruth;

use super::{super::campaigns::SeenCampaigns, findings::Findings};

/// A comparison: its counts and its differences.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    pub(super) findings: Findings,
    /// How many runs were compared, and how many of them were running.
    pub(super) runs: usize,
    pub(super) running: usize,
    /// How many statuses the client got.
    pub(super) statuses: u64,
}

impl Comparison {
    /// Compares the state after the last change of a row.
    pub(super) fn of(truth: &[RunTruth], seen: &SeenCampaigns) -> Self {
        let mut all = Self { statuses: seen.count("campaign:status"), ..Self::default() };
        seen.findings.iter().for_each(|finding| all.findings.add(finding.clone()));
        for run in truth {
            all.run(run, seen);
        }
        for (run, status) in &seen.runs {
            let is_own = truth.iter().any(|truth| truth.run == *run && truth.is_owners);
            all.check(is_own, || {
                format!("the client got run {run} of campaign {}, which is not its own", status.campaign)
            });
        }
        all.check(seen.refused > 0, || "no campaign of somebody else was refused".to_owned());
        all.check(all.running > 0, || "no run is running".to_owned());
        all
    }

    fn run(&mut self, run: &RunTruth, seen: &SeenCampaigns) {
        self.runs += 1;
        let differences = differences(&run.figures, run.summary.as_ref().unwrap_or(&Value::Null));
        self.check(differences.is_empty(), || format!("the summary of run {}: {differences}", run.run));
        // Of a run that has ended, the client may have missed the last event, since it does not ask for what it has missed.
        if !run.is_owners || run.status != "running" {
            return;
        }
        self.running += 1;
        let Some(status) = seen.runs.get(&run.run) else {
            return self.check(false, || format!("the client got no status of run {}", run.run));
        };
        let differences = self::differences(&run.figures, &status.metrics);
        self.check(differences.is_empty() && status.status == run.status, || {
            format!("the status of run {} at the client is {}: {differences}", run.run, status.status)
        });
    }

    fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.findings.add(finding());
        }
    }
}

/// The figures that differ, as a text; empty for none.
fn differences(figures: &Value, metrics: &Value) -> String {
    let figures = figures.as_object().into_iter().flatten();
    let differing = figures.filter(|(name, count)| metrics[name.as_str()] != **count);
    let differing = differing.map(|(name, count)| {
        format!("{name} is {}, and COUNT(*) of the rows {count}", metrics[name.as_str()])
    });
    differing.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::super::campaigns::SeenStatus, *};

    fn run(status: &str) -> RunTruth {
        let figures = json!({ "totalJobs": 3, "succeededJobs": 1 });
        RunTruth {
            run: "r".to_owned(),
            campaign: "c".to_owned(),
            is_owners: true,
            status: status.to_owned(),
            summary: Some(json!({ "totalJobs": 3, "succeededJobs": 1, "avgLatencyMs": 4.5 })),
            figures,
        }
    }

    fn seen() -> SeenCampaigns {
        let metrics = json!({ "totalJobs": 3, "succeededJobs": 1 });
        let status = SeenStatus { event: 1, campaign: "c".to_owned(), status: "running".to_owned(), metrics };
        SeenCampaigns { runs: [("r".to_owned(), status)].into(), refused: 1, ..SeenCampaigns::default() }
    }

    #[test]
    fn equal_counts_are_no_finding_and_whatever_differs_is_found() {
        let found =
            |truth: &[RunTruth], seen: &SeenCampaigns| Comparison::of(truth, seen).findings.all().join("; ");
        assert_eq!(found(&[run("running")], &seen()), "");
        let mut late = seen();
        late.runs.entry("r".to_owned()).and_modify(|run| run.metrics["totalJobs"] = json!(2));
        assert!(found(&[run("running")], &late).contains("totalJobs is 2, and COUNT(*) of the rows 3"));
        let mut wrong = run("running");
        wrong.summary = Some(json!({ "totalJobs": 4, "succeededJobs": 1 }));
        assert!(found(&[wrong], &seen()).contains("the summary of run r: totalJobs is 4"));
        assert!(
            found(&[RunTruth { summary: None, ..run("running") }], &seen()).contains("totalJobs is null")
        );
        let silent = SeenCampaigns { refused: 1, ..SeenCampaigns::default() };
        assert!(found(&[run("running")], &silent).contains("got no status of run r"));
        assert!(found(&[RunTruth { is_owners: false, ..run("running") }], &seen()).contains("not its own"));
        let open = SeenCampaigns { refused: 0, ..seen() };
        assert!(found(&[run("running")], &open).contains("no campaign of somebody else was refused"));
        assert!(found(&[run("completed")], &seen()).contains("no run is running"));
        let told = SeenCampaigns { findings: vec!["twice".to_owned()], ..seen() };
        assert_eq!(found(&[run("running")], &told), "twice");
    }
}
