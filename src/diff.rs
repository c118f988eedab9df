//! `diff`: compares, field by field, the datasets that the tracker computes of a market, those in Redis, and those that the
//! original would compute of the same keys, and names the reason of each difference.
//!
//! It only reads. The judgement ([`compare`]) is pure. A stored dataset is also compared with the one that is computed for the
//! moment of its writing: time explains a difference only where it changes the number.

mod read;
mod reasons;
mod table;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};
use store_tracker::{DATASETS, datasets::SUMMARY};

pub use read::diff;
pub use table::table;

/// One field of one dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The dataset's key without `P:M:`.
    pub dataset: String,
    /// The field.
    pub field: String,
    /// The value that the tracker computes now; null for none.
    pub computed: Value,
    /// The value in Redis.
    pub stored: Value,
    /// The value that the original would compute.
    pub original: Value,
    /// Why the stored value differs from the computed one; `None` where they are equal.
    pub why: Option<String>,
    /// Whether that reason explains the difference.
    pub explained: bool,
    /// Why the original's value differs; `None` where it is equal.
    pub why_original: Option<String>,
}

/// The circumstances of a comparison.
pub struct Facts {
    /// Now, in Unix seconds.
    pub now: u64,
    /// Whether the market shows the original's numbers.
    pub compat: bool,
    /// How many trackers are subscribed to the market's channel; `None` where Redis does not tell.
    pub trackers: Option<u64>,
    /// Of the timelines of epochs and batches in the last 24 hours: all entries, and those that count as epochs and batches.
    pub entries: [[u64; 2]; 2],
    /// How many entries all timelines have had since each moment at which a dataset was written.
    pub since: BTreeMap<u64, u64>,
}

impl Facts {
    fn entries_since(&self, written: u64) -> u64 {
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
    /// As computed for the start and the end of the second of its writing, from the present keys; null where that second is
    /// unknown.
    pub then: [Value; 2],
    /// As the original computes it; null where it is not compared.
    pub original: Value,
    /// How often it is written.
    pub interval: Duration,
    /// Its greatest age, in seconds.
    pub limit: u64,
}

impl Versions {
    fn written(&self) -> Option<u64> {
        written(&self.stored)
    }

    /// Whether it was written as lately as a running tracker writes it.
    fn is_fresh(&self, now: u64) -> bool {
        self.written().is_some_and(|written| now.saturating_sub(written) <= self.limit)
    }
}

/// When a dataset was written, in Unix seconds, where it has that field.
fn written(dataset: &Value) -> Option<u64> {
    let mut dated = DATASETS.iter().filter_map(|row| row.dated);
    dated.find_map(|field| dataset.get(field)).and_then(Value::as_u64)
}

/// Compares the datasets field by field.
#[must_use]
pub fn compare(all: &[Versions], facts: &Facts) -> Vec<Row> {
    // The original writes a summary too, without that field.
    let is_ours = |summary: &&Versions| facts.compat || summary.stored.get("unaccounted_epochs").is_some();
    let summary = all.iter().find(|versions| versions.dataset == SUMMARY.name());
    let summary = summary.filter(|summary| summary.is_fresh(facts.now)).filter(is_ours);
    let mut rows = Vec::new();
    for versions in all {
        let Versions { dataset, computed, stored, original, .. } = versions;
        let mut fields: Vec<&String> =
            [computed, stored].into_iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
        fields.sort_unstable();
        fields.dedup();
        for field in fields {
            let of = |value: &Value| value.get(field).cloned().unwrap_or(Value::Null);
            let (ours, there, theirs) = (of(computed), of(stored), of(original));
            let (why, explained) = match is_same(&ours, &there) {
                true => (None, true),
                false => {
                    let (why, explained) = reasons::of_redis(versions, field, facts, summary);
                    (Some(why), explained)
                }
            };
            let compared = original.is_object() && !is_same(&ours, &theirs);
            let why_original = compared.then(|| reasons::of_original(dataset, field, facts));
            rows.push(Row {
                dataset: dataset.clone(),
                field: field.clone(),
                computed: ours,
                stored: there,
                original: theirs,
                why,
                explained,
                why_original,
            });
        }
    }
    rows
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
        _ => one == other,
    }
}
