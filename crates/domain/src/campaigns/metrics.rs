//! The figures of one run, as clients get them, and what a store counts to make them.
//!
//! Full computation and incremental counts both end in a [`Tally`], so the same counts give the same figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The queue of jobs without a queue's name.
pub const UNKNOWN_QUEUE: &str = "unknown";
/// The longest name of a queue, in characters. A job with a longer one can't be read.
pub const LONGEST_QUEUE_NAME: usize = 100;
/// The most queues that a run's figures list: the largest ones. Jobs of others count in the totals.
pub const MOST_QUEUES: usize = 100;
/// The longest latency, a day. A longer or negative one can't be read.
pub const LONGEST_LATENCY_MS: i64 = 86_400_000;
/// The most digits of the cost of one execution, which make a million SOL. A longer cost can't be read, nor one that has anything
/// but digits, in a JSON number or a text.
pub const MOST_COST_DIGITS: usize = 15;
/// The highest sum of costs: the greatest integer that JavaScript holds exactly. A higher sum is cut to it.
pub const MOST_TOTAL_LAMPORTS: u64 = 9_007_199_254_740_991;

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Jobs of the run, without the status jobs.
    pub total_jobs: u64,
    /// Those that succeeded.
    pub succeeded_jobs: u64,
    /// Those that failed.
    pub failed_jobs: u64,
    /// Those that wait.
    pub queued_jobs: u64,
    /// Those in work: `processing`, and `running` where a database allows it.
    pub running_jobs: u64,
    /// Those that were cancelled.
    pub cancelled_jobs: u64,
    /// Succeeded jobs by all jobs, from 0 to 1; 0 without jobs.
    pub success_rate: f64,
    /// The jobs of each queue.
    pub by_queue: BTreeMap<String, QueueMetrics>,
    /// Executions of the run's jobs.
    pub total_executions: u64,
    /// The mean latency; this and the next four are 0 without a readable latency.
    pub avg_latency_ms: f64,
    /// The shortest latency.
    pub min_latency_ms: u64,
    /// The longest latency.
    pub max_latency_ms: u64,
    /// The latency that 95 % of the executions did not exceed.
    pub p95_latency_ms: u64,
    /// The latency that 99 % of the executions did not exceed.
    pub p99_latency_ms: u64,
    /// The sum of the tips.
    pub tip_lamports: u64,
    /// The sum of the fees.
    pub fee_lamports: u64,
    /// Tips and fees together.
    pub total_cost_lamports: u64,
}

/// The jobs of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueMetrics {
    /// All of them, cancelled ones included.
    pub total: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that wait.
    pub queued: u64,
    /// Those in work.
    pub running: u64,
}

/// What was counted in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The jobs of each queue, by the name that the database has; `""` is [`UNKNOWN_QUEUE`]. Jobs of queues beyond
    /// [`MOST_QUEUES`] are in [`Tally::others`].
    pub queues: BTreeMap<String, QueueTally>,
    /// The jobs of queues that are not listed.
    pub others: QueueTally,
    /// Executions, with unreadable latencies too.
    pub executions: u64,
    /// Their readable latencies.
    pub latencies: Latencies,
    /// The sum of the readable tips.
    pub tip_lamports: u64,
    /// The sum of the readable fees.
    pub fee_lamports: u64,
    /// What could not be read.
    pub unreadable: Unreadable,
}

/// Jobs by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTally {
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs in work.
    pub running: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
}

impl QueueTally {
    /// All jobs.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.succeeded + self.failed + self.queued + self.running + self.cancelled
    }

    /// Adds the jobs of another queue.
    pub const fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.queued += other.queued;
        self.running += other.running;
        self.cancelled += other.cancelled;
    }
}

/// Readable latencies. The percentiles are values that occurred (nearest rank).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub sum_ms: u64,
    /// The shortest; this and the following are 0 without a latency.
    pub min_ms: u64,
    /// The longest.
    pub max_ms: u64,
    /// The 95th percentile.
    pub p95_ms: u64,
    /// The 99th percentile.
    pub p99_ms: u64,
}

/// Rows and values that could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Jobs whose status is no status, or whose queue's name is too long. They count in no other figure.
    pub jobs: u64,
    /// Executions with no, a negative or an absurd latency. They count as executions, and their costs count.
    pub latencies: u64,
    /// Costs that are no whole number of lamports, or an absurd one. Their executions and latencies count.
    pub costs: u64,
}

impl Unreadable {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.jobs + self.latencies + self.costs
    }
}

impl Metrics {
    /// The figures of what was counted.
    #[must_use]
    pub fn of(tally: &Tally) -> Self {
        let mut all = tally.others;
        let mut by_queue: BTreeMap<String, QueueMetrics> = BTreeMap::new();
        for (name, queue) in &tally.queues {
            all.add(*queue);
            let name = if name.is_empty() { UNKNOWN_QUEUE } else { name };
            let entry = by_queue.entry(name.to_owned()).or_default();
            entry.total += queue.total();
            entry.succeeded += queue.succeeded;
            entry.failed += queue.failed;
            entry.queued += queue.queued;
            entry.running += queue.running;
        }
        let latencies = tally.latencies;
        let cut = |sum: u64| sum.min(MOST_TOTAL_LAMPORTS);
        Self {
            total_jobs: all.total(),
            succeeded_jobs: all.succeeded,
            failed_jobs: all.failed,
            queued_jobs: all.queued,
            running_jobs: all.running,
            cancelled_jobs: all.cancelled,
            success_rate: ratio(all.succeeded, all.total()),
            by_queue,
            total_executions: tally.executions,
            avg_latency_ms: ratio(latencies.sum_ms, latencies.count),
            min_latency_ms: latencies.min_ms,
            max_latency_ms: latencies.max_ms,
            p95_latency_ms: latencies.p95_ms,
            p99_latency_ms: latencies.p99_ms,
            tip_lamports: cut(tally.tip_lamports),
            fee_lamports: cut(tally.fee_lamports),
            total_cost_lamports: cut(tally.tip_lamports.saturating_add(tally.fee_lamports)),
        }
    }

    /// The figures in a summary that any program wrote: a field that is missing or of another type is 0 or empty.
    #[must_use]
    pub fn read(summary: &Value) -> Self {
        let count = |name: &str| summary.get(name).and_then(Value::as_u64).unwrap_or(0);
        let fraction = |name: &str| summary.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let queues = summary.get("byQueue").and_then(Value::as_object);
        let queue = |(name, value): (&String, &Value)| {
            let count = |field: &str| value.get(field).and_then(Value::as_u64).unwrap_or(0);
            let queue = QueueMetrics {
                total: count("total"),
                succeeded: count("succeeded"),
                failed: count("failed"),
                queued: count("queued"),
                running: count("running"),
            };
            (name.clone(), queue)
        };
        Self {
            total_jobs: count("totalJobs"),
            succeeded_jobs: count("succeededJobs"),
            failed_jobs: count("failedJobs"),
            queued_jobs: count("queuedJobs"),
            running_jobs: count("runningJobs"),
            cancelled_jobs: count("cancelledJobs"),
            success_rate: fraction("successRate"),
            by_queue: queues.into_iter().flatten().take(MOST_QUEUES).map(queue).collect(),
            total_executions: count("totalExecutions"),
            avg_latency_ms: fraction("avgLatencyMs"),
            min_latency_ms: count("minLatencyMs"),
            max_latency_ms: count("maxLatencyMs"),
            p95_latency_ms: count("p95LatencyMs"),
            p99_latency_ms: count("p99LatencyMs"),
            tip_lamports: count("tipLamports"),
            fee_lamports: count("feeLamports"),
            total_cost_lamports: count("totalCostLamports"),
        }
    }

    /// Succeeded jobs by those that succeeded or failed; none before the first of them. Alerts judge by it: a run that has
    /// just begun has a low success rate, since most of its jobs wait.
    #[must_use]
    pub fn settled_success_rate(&self) -> Option<f64> {
        let settled = self.succeeded_jobs.saturating_add(self.failed_jobs);
        (settled > 0).then(|| ratio(self.succeeded_jobs, settled))
    }
}

/// 0 where there is nothing to divide by.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
