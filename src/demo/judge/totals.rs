//! Compares the datasets in Redis with the totals that the producers wrote.
//!
//! The producers write while the tracker computes, so a total must lie between the written total at the time of the dataset and
//! that of one look later. After the producers have ended, both must be equal.

use std::collections::BTreeSet;

use serde_json::Value;
use testkit::{SharedTruth, Truth};

use super::{super::seen::Datasets, findings::Findings};
use crate::simulate::unix_now;

/// The greatest age of a dataset, in seconds. A crash with its backoff fits into it.
const FRESH: u64 = 6;
/// How many looks may miss a dataset before that is a finding: the first pass takes a moment.
const WARM_UP: u64 = 5;

/// The totals of a market: submissions, epochs, batches.
type Totals = [u64; 3];

const TOTALS: [&str; 3] = ["submissions_total", "epochs_total", "batches_total"];

pub(super) struct Judge {
    markets: Vec<String>,
    truths: Vec<SharedTruth>,
    looks: u64,
    /// For each market, the written totals at each look, with its second.
    history: Vec<Vec<(u64, Totals)>>,
    /// The datasets of the previous look, which this one judges.
    pending: Vec<Datasets>,
    pub(super) findings: Findings,
    pub(super) compared: u64,
}

impl Judge {
    pub(super) fn new(markets: Vec<String>, truths: Vec<SharedTruth>) -> Self {
        let history = truths.iter().map(|_| Vec::new()).collect();
        let (pending, findings) = (Vec::new(), Findings::default());
        Self { markets, truths, looks: 0, history, pending, findings, compared: 0 }
    }

    /// Judges the datasets of the previous look, and keeps these for the next.
    pub(super) fn look(&mut self, datasets: &[Datasets]) {
        self.looks += 1;
        let now = unix_now();
        for (truth, history) in self.truths.iter().zip(&mut self.history) {
            history.push((now, truth.read(totals)));
        }
        for (market, seen) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            self.judge(market, &seen, now);
        }
        self.pending = datasets.to_vec();
    }

    fn judge(&mut self, market: usize, seen: &Datasets, now: u64) {
        let (Some(summary), Some(current)) = (&seen.summary, &seen.current_epoch) else {
            // Later on, a missing dataset has expired: the tracker has stopped writing it.
            if self.looks > WARM_UP {
                self.find(market, "a dataset is missing");
            }
            return;
        };
        let at = summary["updated_at"].as_u64().unwrap_or(0);
        for (name, at) in
            [("dashboard:summary", at), ("metrics:current_epoch", current["timestamp"].as_u64().unwrap_or(0))]
        {
            if at + FRESH < now {
                self.find(market, &format!("{name} is {} s old", now - at));
            }
        }
        // Strictly before: a dataset has whole seconds, and a total of the same second may be younger than it.
        let known = |&&(when, _): &&(u64, Totals)| when < at;
        let least = self.history[market].iter().rev().find(known).map_or([0; 3], |&(_, totals)| totals);
        let most = self.truths[market].read(totals);
        for ((name, least), most) in TOTALS.iter().zip(least).zip(most) {
            let value = summary[name].as_u64();
            if value.is_none_or(|value| value < least || value > most) {
                self.find(market, &format!("{name} is {value:?}, the producers wrote {least} to {most}"));
            }
            // One transaction writes both: a difference is a fault.
            if seen.stats.get(*name).cloned() != value.map(|value| value.to_string()) {
                self.find(market, &format!("{name} differs between dashboard:summary and stats:current"));
            }
        }
        let epochs: BTreeSet<u64> = self.truths[market].read(|truth| truth.epochs.keys().copied().collect());
        let epoch = current["epoch_id"].as_str().and_then(|epoch| epoch.parse().ok());
        if !epoch.is_some_and(|epoch| epochs.contains(&epoch)) {
            self.find(market, &format!("the current epoch {} was never opened", current["epoch_id"]));
        }
        self.compared += 1;
    }

    fn find(&mut self, market: usize, finding: &str) {
        self.findings.add(format!("market {}: {finding} (look {})", self.markets[market], self.looks));
    }

    /// Whether the totals are equal to the written ones. Only valid once the producers have ended.
    pub(super) fn is_settled(&self, datasets: &[Datasets]) -> bool {
        self.truths.iter().zip(datasets).all(|(truth, seen)| {
            let summary = seen.summary.as_ref().unwrap_or(&Value::Null);
            TOTALS.iter().zip(truth.read(totals)).all(|(name, total)| summary[name] == total)
        })
    }

    /// Judges the final totals.
    pub(super) fn conclude(&mut self, datasets: &[Datasets]) {
        for market in 0..self.truths.len() {
            let truth = self.truths[market].read(totals);
            let summary = datasets.get(market).and_then(|seen| seen.summary.clone()).unwrap_or_default();
            for (name, total) in TOTALS.iter().zip(truth) {
                if summary[name] != total {
                    self.find(
                        market,
                        &format!("{name} ended at {}, the producers wrote {total}", summary[name]),
                    );
                }
            }
        }
        // A check that compared nothing must not pass.
        if self.compared == 0 {
            self.findings.add("no dataset could be compared: the demo ran too short".to_owned());
        }
    }
}

fn totals(truth: &Truth) -> Totals {
    [truth.submissions_total(), truth.epochs_total(), truth.batches_total()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use testkit::{MarketProducer, ProducerConfig, RedisServer, producers::unix_now};

    use super::*;

    /// Producers that have written one epoch with three submissions, and a judge of their market.
    async fn judged() -> (RedisServer, Judge) {
        let redis = RedisServer::start().await.expect("a Redis server");
        let mut producer =
            MarketProducer::new(ProducerConfig::new("P", "M"), &redis.url()).expect("producers");
        producer.open_epoch(7, unix_now()).await.expect("opened");
        producer.submit(7, 3, unix_now()).await.expect("submitted");
        (redis, Judge::new(vec!["M".to_owned()], vec![producer.shared_truth()]))
    }

    fn datasets(submissions: u64, updated_at: u64, epoch: &str) -> Vec<Datasets> {
        let totals = [("submissions_total", submissions), ("epochs_total", 1), ("batches_total", 0)];
        let stats: BTreeMap<_, _> =
            totals.iter().map(|(name, total)| ((*name).to_owned(), total.to_string())).collect();
        let mut summary = json!({ "updated_at": updated_at });
        totals.iter().for_each(|(name, total)| summary[name] = json!(total));
        let current = json!({ "epoch_id": epoch, "timestamp": updated_at });
        vec![Datasets { summary: Some(summary), stats, current_epoch: Some(current) }]
    }

    /// The findings when a few looks read the same datasets.
    async fn found(datasets: &[Datasets]) -> String {
        let (_redis, mut judge) = judged().await;
        (0..WARM_UP + 2).for_each(|_| judge.look(datasets));
        judge.findings.all().join("\n")
    }

    #[tokio::test]
    async fn right_datasets_give_no_finding() {
        assert_eq!(found(&datasets(3, super::unix_now(), "7")).await, "");
    }

    #[tokio::test]
    async fn missing_stale_and_wrong_datasets_are_found() {
        let now = super::unix_now();
        assert!(found(&[Datasets::default()]).await.contains("missing"));
        assert!(found(&datasets(3, now - 60, "7")).await.contains("s old"));
        assert!(found(&datasets(4, now, "7")).await.contains("submissions_total is Some(4)"), "too many");
        assert!(found(&datasets(3, now, "8")).await.contains("never opened"));
        let mut differing = datasets(3, now, "7");
        differing[0].stats.insert("epochs_total".to_owned(), "2".to_owned());
        assert!(found(&differing).await.contains("differs"));
    }

    #[tokio::test]
    async fn final_totals_must_be_equal_to_the_truth() {
        let (_redis, mut judge) = judged().await;
        let (right, few) = (datasets(3, super::unix_now(), "7"), datasets(2, super::unix_now(), "7"));
        assert!(judge.is_settled(&right) && !judge.is_settled(&few));
        judge.look(&right);
        judge.look(&right);
        judge.conclude(&few);
        let findings = judge.findings.all().join("\n");
        assert!(findings.contains("submissions_total ended at 2, the producers wrote 3"), "{findings}");
    }
}
