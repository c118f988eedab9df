//! What was really written: the numbers that a reader of Redis is compared with. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Everything one market's producers wrote, counted only once Redis had confirmed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truth {
    /// The epochs, by number.
    pub epochs: BTreeMap<u64, EpochTruth>,
    /// Events published, on either channel.
    pub events_published: u64,
}

/// What was written of one epoch. Times are Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochTruth {
    /// When its window opened.
    pub opened_at: Option<i64>,
    /// When its window was closed.
    pub closed_at: Option<i64>,
    /// Processed submissions.
    pub submissions: u64,
    /// Remote validators whose batches were seen.
    pub validators: BTreeSet<String>,
    /// When this validator's batch was made.
    pub local_batch_at: Option<i64>,
    /// When the aggregated batch was made.
    pub aggregated_batch_at: Option<i64>,
    /// The validators named in the aggregated batch.
    pub batch_validators: Vec<String>,
}

impl EpochTruth {
    /// Whether its window is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened_at.is_some() && self.closed_at.is_none()
    }

    /// Whether both batches were made.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.local_batch_at.is_some() && self.aggregated_batch_at.is_some()
    }
}

impl Truth {
    /// Epochs opened.
    #[must_use]
    pub fn epochs_total(&self) -> u64 {
        self.count(|epoch| epoch.opened_at.is_some())
    }

    /// Submissions processed.
    #[must_use]
    pub fn submissions_total(&self) -> u64 {
        self.epochs.values().map(|epoch| epoch.submissions).sum()
    }

    /// Local and aggregated batches.
    #[must_use]
    pub fn batches_total(&self) -> u64 {
        self.local_batches() + self.aggregated_batches()
    }

    /// Local batches.
    #[must_use]
    pub fn local_batches(&self) -> u64 {
        self.count(|epoch| epoch.local_batch_at.is_some())
    }

    /// Aggregated batches.
    #[must_use]
    pub fn aggregated_batches(&self) -> u64 {
        self.count(|epoch| epoch.aggregated_batch_at.is_some())
    }

    /// Aggregated batches that name this validator.
    #[must_use]
    pub fn inclusions(&self, validator: &str) -> u64 {
        self.count(|epoch| epoch.batch_validators.iter().any(|named| named == validator))
    }

    /// Epochs whose window is open, in order.
    #[must_use]
    pub fn open_epochs(&self) -> Vec<u64> {
        self.select(EpochTruth::is_open)
    }

    /// Opened epochs that lack a batch, in order.
    #[must_use]
    pub fn incomplete_epochs(&self) -> Vec<u64> {
        self.select(|epoch| epoch.opened_at.is_some() && !epoch.is_complete())
    }

    fn count(&self, holds: impl Fn(&EpochTruth) -> bool) -> u64 {
        self.epochs.values().filter(|epoch| holds(epoch)).count() as u64
    }

    fn select(&self, holds: impl Fn(&EpochTruth) -> bool) -> Vec<u64> {
        self.epochs.iter().filter(|(_, epoch)| holds(epoch)).map(|(id, _)| *id).collect()
    }
}

/// A truth that can be read while producers write.
#[derive(Debug, Clone, Default)]
pub struct SharedTruth(Arc<Mutex<Truth>>);

impl SharedTruth {
    /// What has been written by now. A step that is not confirmed yet is missing, though Redis may show it already.
    #[must_use]
    pub fn get(&self) -> Truth {
        self.with(|truth| truth.clone())
    }

    /// Reads from it without copying all of it.
    pub fn read<T>(&self, read: impl FnOnce(&Truth) -> T) -> T {
        self.with(|truth| read(truth))
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Truth) -> T) -> T {
        // A poisoned lock is used on: no assignment or addition leaves the truth unreadable.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
