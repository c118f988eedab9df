//! Counts of the events received since the process started, for markets with `compat = "go"`.
//!
//! They belong to the process and not to an actor, as metrics do: a crash of an actor loses no count, and a restart of the
//! process begins at 0, as the original did. The listener adds, aggregators read; nothing waits.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use domain::tracker::{Entity, EventsSinceStart};
use supervision::Clock;

/// The event counters.
pub struct EventCounters {
    began: f64,
    submissions: AtomicU64,
    epochs: AtomicU64,
    batches: AtomicU64,
}

impl EventCounters {
    /// Counters at 0, which began now.
    #[must_use]
    pub(crate) fn new(clock: &Clock) -> Self {
        let count = AtomicU64::default;
        Self { began: clock.unix().as_secs_f64(), submissions: count(), epochs: count(), batches: count() }
    }

    /// Counts an event as the original did: every event of submissions and batches, and of epochs only the opening.
    pub(crate) fn add(&self, entity: Entity, payload: &[u8]) {
        let count = match entity {
            Entity::Submission => &self.submissions,
            Entity::Epoch if payload.starts_with(b"epoch:open:") => &self.epochs,
            Entity::Batch => &self.batches,
            // The original has counters for these three kinds only.
            _ => return,
        };
        count.fetch_add(1, Relaxed);
    }

    /// The counts at this moment.
    #[must_use]
    pub fn counts(&self) -> EventsSinceStart {
        let read = |count: &AtomicU64| count.load(Relaxed);
        let (submissions, epochs, batches) =
            (read(&self.submissions), read(&self.epochs), read(&self.batches));
        EventsSinceStart { began: self.began, submissions, epochs, batches }
    }
}
