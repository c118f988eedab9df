//! What the campaigns' actors count, also over their restarts.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use store_campaigns::Computed;

use crate::env::lock::lock;

/// What became of a status job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// Its summary is written, or has not changed.
    Succeeded,
    /// It is tried again.
    Failed,
    /// It is a dead letter.
    Dead,
    /// Another worker has taken it over.
    Lost,
}

impl JobOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Dead, Self::Lost];

    /// Its label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Lost => "lost",
        }
    }
}

/// What became of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryOutcome {
    /// It is written.
    Written,
    /// It was the same.
    Unchanged,
    /// It could not be written.
    Failed,
}

impl SummaryOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Written, Self::Unchanged, Self::Failed];

    /// Its label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

/// The kinds of events, as clients receive them.
pub(super) const EVENTS: [&str; 4] = ["campaign:status", "run:status", "job:status", "campaign:alert"];

/// The queue of status jobs, as the scheduler read it last.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueState {
    /// Rows that wait.
    pub waiting: u64,
    /// Rows in work.
    pub in_work: u64,
    /// How long the oldest one has waited.
    pub oldest: Duration,
    /// Dead letters.
    pub dead: u64,
    /// Campaigns that are active and have a running run.
    pub active: u64,
}

/// The lengths of computations in full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Computations {
    /// How many there were.
    pub many: u64,
    /// Their lengths together.
    pub together: Duration,
    /// The longest.
    pub longest: Duration,
}

/// The counts.
#[derive(Debug, Default)]
pub struct Counts {
    jobs: [AtomicU64; JobOutcome::ALL.len()],
    summaries: [AtomicU64; SummaryOutcome::ALL.len()],
    events: [AtomicU64; EVENTS.len()],
    queue: Mutex<QueueState>,
    pub(super) queued: AtomicU64,
    pub(super) unreadable: AtomicU64,
    computations: Mutex<Computations>,
    pub(super) counted: AtomicU64,
    pub(super) unkept: AtomicU64,
    pub(super) is_listening: AtomicBool,
    pub(super) is_stale: AtomicBool,
    pub(super) is_counting: AtomicBool,
    pub(super) keeps_history: AtomicBool,
}

impl Counts {
    pub(super) fn job(&self, outcome: JobOutcome) {
        self.jobs[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn summary(&self, outcome: SummaryOutcome) {
        self.summaries[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn event(&self, kind: &str) {
        if let Some(at) = EVENTS.iter().position(|known| *known == kind) {
            self.events[at].fetch_add(1, Relaxed);
        }
    }

    /// Notes a computation in full.
    pub(super) fn computed(&self, computed: &Computed) {
        self.unreadable.fetch_add(computed.tally.unreadable.total(), Relaxed);
        let mut computations = lock(&self.computations);
        computations.many += 1;
        computations.together += computed.took;
        computations.longest = computations.longest.max(computed.took);
    }

    /// Notes figures that were counted by changes.
    pub(super) fn counted(&self, figures: &[Computed]) {
        self.counted.fetch_add(figures.len() as u64, Relaxed);
        let unreadable: u64 = figures.iter().map(|computed| computed.tally.unreadable.total()).sum();
        self.unreadable.fetch_add(unreadable, Relaxed);
    }

    pub(super) fn add_queued(&self, rows: usize) {
        self.queued.fetch_add(rows as u64, Relaxed);
    }

    /// The lengths of computations.
    #[must_use]
    pub fn computations(&self) -> Computations {
        *lock(&self.computations)
    }

    pub(super) fn set_queue(&self, queue: QueueState) {
        *lock(&self.queue) = queue;
    }

    /// The queue of status jobs, as the scheduler read it last.
    #[must_use]
    pub fn queue(&self) -> QueueState {
        *lock(&self.queue)
    }

    /// Jobs by outcome.
    pub fn jobs(&self) -> impl Iterator<Item = (&'static str, u64)> {
        JobOutcome::ALL.iter().map(|outcome| (outcome.label(), self.jobs[*outcome as usize].load(Relaxed)))
    }

    /// Jobs of one outcome.
    #[must_use]
    pub fn of(&self, outcome: JobOutcome) -> u64 {
        self.jobs[outcome as usize].load(Relaxed)
    }

    /// Summaries by outcome.
    pub fn summaries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SummaryOutcome::ALL
            .iter()
            .map(|outcome| (outcome.label(), self.summaries[*outcome as usize].load(Relaxed)))
    }

    /// Events by kind.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        EVENTS.iter().zip(&self.events).map(|(kind, count)| (*kind, count.load(Relaxed)))
    }
}
