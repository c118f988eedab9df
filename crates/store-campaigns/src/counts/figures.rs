//! What is counted of a run, in the form that can be added and subtracted, and the tally made of it. No I/O.

use std::collections::BTreeMap;

use domain::campaigns::{
    JobStatus, LONGEST_QUEUE_NAME, Latencies, MOST_QUEUES, MOST_TOTAL_LAMPORTS, QueueTally, Tally, Unreadable,
};

use super::sketch::percentile;

/// The jobs of one queue with one status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobGroup {
    pub queue: String,
    pub status: String,
    pub jobs: i64,
}

/// The executions of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExecutionFigures {
    pub executions: i64,
    pub latencies: i64,
    pub sum: i64,
    pub min: Option<i64>,
    pub max: Option<i64>,
    /// Sums of costs, cut to what a summary can show.
    pub tips: i64,
    pub fees: i64,
    pub odd_latencies: i64,
    pub odd_costs: i64,
    /// Sorted by bin.
    pub bins: Vec<(i32, i64)>,
}

impl ExecutionFigures {
    /// Both together.
    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.executions += other.executions;
        self.latencies += other.latencies;
        self.sum += other.sum;
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.into_iter().chain(other.max).max();
        self.tips = self.tips.saturating_add(other.tips);
        self.fees = self.fees.saturating_add(other.fees);
        self.odd_latencies += other.odd_latencies;
        self.odd_costs += other.odd_costs;
        for (bin, number) in &other.bins {
            // Rows of one answer come sorted, so this mostly appends.
            match self.bins.binary_search_by_key(bin, |(bin, _)| *bin) {
                Ok(place) => self.bins[place].1 += number,
                Err(place) => self.bins.insert(place, (*bin, *number)),
            }
        }
        self
    }

    /// The sums in the order of the statements.
    pub(super) fn sums(&self) -> Vec<i64> {
        let Self { executions, latencies, sum, odd_latencies, odd_costs, tips, fees, .. } = self;
        [executions, latencies, sum, odd_latencies, odd_costs, tips, fees].map(|sum| *sum).to_vec()
    }
}

/// The tally; none where a count is below zero, which no run has.
pub(super) fn tally_of(groups: &[JobGroup], executions: &ExecutionFigures) -> Option<Tally> {
    let mut queues: BTreeMap<String, QueueTally> = BTreeMap::new();
    let mut unreadable_jobs = 0;
    for group in groups {
        let jobs = u64::try_from(group.jobs).ok()?;
        let status = JobStatus::parse(&group.status);
        let fits = group.queue.chars().count() <= LONGEST_QUEUE_NAME;
        let (Some(status), true) = (status, fits) else {
            unreadable_jobs += jobs;
            continue;
        };
        if jobs == 0 {
            continue;
        }
        let queue = queues.entry(group.queue.clone()).or_default();
        match status {
            JobStatus::Queued => queue.queued += jobs,
            JobStatus::Processing | JobStatus::Running => queue.running += jobs,
            JobStatus::Succeeded => queue.succeeded += jobs,
            JobStatus::Failed => queue.failed += jobs,
            JobStatus::Cancelled => queue.cancelled += jobs,
        }
    }
    let (queues, others) = largest(queues);
    let count = |number: i64| u64::try_from(number).ok();
    let bins = executions.bins.iter().map(|(bin, number)| Some((*bin, count(*number)?)));
    let bins = bins.collect::<Option<Vec<(i32, u64)>>>()?;
    let (min, max) = (count(executions.min.unwrap_or(0))?, count(executions.max.unwrap_or(0))?);
    let latencies = Latencies {
        count: count(executions.latencies)?,
        sum_ms: count(executions.sum)?,
        min_ms: min,
        max_ms: max,
        p95_ms: percentile(&bins, 95, min, max),
        p99_ms: percentile(&bins, 99, min, max),
    };
    Some(Tally {
        queues,
        others,
        executions: count(executions.executions)?,
        latencies,
        tip_lamports: count(executions.tips)?.min(MOST_TOTAL_LAMPORTS),
        fee_lamports: count(executions.fees)?.min(MOST_TOTAL_LAMPORTS),
        unreadable: Unreadable {
            jobs: unreadable_jobs,
            latencies: count(executions.odd_latencies)?,
            costs: count(executions.odd_costs)?,
        },
    })
}

/// The largest queues, and the sum of the others.
fn largest(queues: BTreeMap<String, QueueTally>) -> (BTreeMap<String, QueueTally>, QueueTally) {
    let mut others = QueueTally::default();
    if queues.len() <= MOST_QUEUES {
        return (queues, others);
    }
    let mut sorted: Vec<(String, QueueTally)> = queues.into_iter().collect();
    // By size; the sort keeps the order of names among equals.
    sorted.sort_by_key(|(_, queue)| std::cmp::Reverse(queue.total()));
    for (_, queue) in sorted.drain(MOST_QUEUES..) {
        others.add(queue);
    }
    (sorted.into_iter().collect(), others)
}
