//! The input of a comparison: the versions of each dataset, and facts about the market. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use store_tracker::DATASETS;

/// Facts about the market that explain differences.
pub struct Facts {
    /// The time of the comparison, in Unix seconds.
    pub now: u64,
    /// Whether the market has `compat = "go"`: the tracker writes the original's numbers.
    pub compat: bool,
    /// How many trackers are subscribed to the market's channel; `None` if the user may not ask.
    pub trackers: Option<u64>,
    /// How many seconds ago the market's ledger was created; `None` if there is none.
    pub ledger_age: Option<u64>,
    /// Of the timelines of epochs and batches in the last 24 hours: all entries, and those that count as epochs and batches.
    pub entries: [[u64; 2]; 2],
    /// How many entries all timelines have had since each moment at which a dataset was written.
    pub since: BTreeMap<u64, u64>,
}

impl Facts {
    pub(super) fn entries_since(&self, written: u64) -> u64 {
        self.since.get(&written).copied().unwrap_or(0)
    }
}

/// The versions of one dataset.
#[derive(Default)]
pub struct Versions {
    /// The dataset's key without `P:M:`.
    pub dataset: String,
    /// As computed now.
    pub computed: Value,
    /// As stored in Redis.
    pub stored: Value,
    /// As computed from the present keys for the start and the end of the second in which it was written; null if that second is
    /// unknown.
    pub at_writing: [Value; 2],
    /// As the original computes it; null if it does not.
    pub original: Value,
    /// How often it is written.
    pub interval: Duration,
    /// The greatest age of a fresh one, in seconds.
    pub limit: u64,
}

impl Versions {
    pub(super) fn written(&self) -> Option<u64> {
        written(&self.stored)
    }

    /// Whether it is as young as a running tracker keeps it.
    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.written().is_some_and(|written| now.saturating_sub(written) <= self.limit)
    }
}

/// When a dataset was written, in Unix seconds, if a field says so.
pub(super) fn written(dataset: &Value) -> Option<u64> {
    let mut dated = DATASETS.iter().filter_map(|row| row.dated);
    dated.find_map(|field| dataset.get(field)).and_then(Value::as_u64)
}

/// Whether two values are equal. Numbers may differ by the rounding of a text form.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
        _ => one == other,
    }
}
