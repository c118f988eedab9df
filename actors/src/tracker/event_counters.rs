//! Events heard since the process began, for markets that show the original's numbers.
//!
//! Like the metrics it belongs to the process and not to an actor: crashes lose nothing of it, a restart of the process
//! begins anew, as the original did. The listener adds, aggregators read; nothing waits.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use domain::tracker::{Entity, HeardSince};
use supervision::Clock;

/// The counts.
pub struct EventCounters {
    began: f64,
    submissions: AtomicU64,
    epochs: AtomicU64,
    batches: AtomicU64,
}

impl EventCounters {
    /// Nothing was heard yet.
    #[must_use]
    pub(crate) fn new(clock: &Clock) -> Self {
        let count = AtomicU64::default;
        Self { began: clock.unix().as_secs_f64(), submissions: count(), epochs: count(), batches: count() }
    }

    /// Counts an event as the original did: anything about submissions and batches, and epochs that open.
    pub(crate) fn add(&self, entity: Entity, payload: &[u8]) {
        let count = match entity {
            Entity::Submission => &self.submissions,
            Entity::Epoch if payload.starts_with(b"epoch:open:") => &self.epochs,
            Entity::Batch => &self.batches,
            _ => return,
        };
        count.fetch_add(1, Relaxed);
    }

    /// What was heard by now.
    #[must_use]
    pub fn since(&self) -> HeardSince {
        let read = |count: &AtomicU64| count.load(Relaxed);
        let (submissions, epochs, batches) =
            (read(&self.submissions), read(&self.epochs), read(&self.batches));
        HeardSince { began: self.began, submissions, epochs, batches }
    }
}
