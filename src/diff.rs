//! `diff`: field by field what the tracker computes of a market, what stands in Redis, what the original would have
//! computed of the same keys, and the reason for each difference.
//!
//! It only reads. The judgement ([`compare`]) is pure. A dataset that stands is measured by what is computed for the
//! moment at which it was written: that time has passed explains only what time changes.

mod read;
mod reasons;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use store_tracker::DATASETS;

pub use read::diff;
pub use table::table;

/// One field of one dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The dataset's key behind `P:M:`.
    pub dataset: String,
    /// The field.
    pub field: String,
    /// What the tracker computes now; null for nothing.
    pub computed: Value,
    /// What stands in Redis.
    pub stands: Value,
    /// What the original would have computed.
    pub original: Value,
    /// Why what stands differs from what is computed; `None` where it does not.
    pub why: Option<String>,
    /// Whether that reason is all that it takes.
    pub explained: bool,
    /// Why the original differs; `None` where it does not.
    pub why_original: Option<String>,
}

/// What is known beside the datasets.
pub struct Facts {
    /// Now, in Unix seconds.
    pub now: u64,
    /// The market shows the original's numbers.
    pub compat: bool,
    /// Of the timelines of epochs and batches in the last 24 hours: all entries, and openings or batches of ours.
    pub entries: [[u64; 2]; 2],
    /// How many entries all timelines have had since each moment at which a dataset was written.
    pub since: BTreeMap<u64, u64>,
}

impl Facts {
    fn entries_since(&self, written: u64) -> u64 {
        self.since.get(&written).copied().unwrap_or(0)
    }
}

/// A dataset three times: as computed, as it stands, as of the original.
pub struct Three {
    /// The dataset's key behind `P:M:`.
    pub dataset: String,
    /// As computed now.
    pub computed: Value,
    /// As it stands.
    pub stands: Value,
    /// As computed for the begin and the end of the second in which it was written, from what is known now; null where
    /// that can't be told.
    pub then: [Value; 2],
    /// As the original has it; null where it is not compared.
    pub original: Value,
    /// How old it may be, in seconds.
    pub limit: u64,
}

impl Three {
    fn written(&self) -> Option<u64> {
        written(&self.stands)
    }
}

/// When a dataset was written, in Unix seconds, if it says so.
fn written(dataset: &Value) -> Option<u64> {
    let mut dated = DATASETS.iter().filter_map(|row| row.dated);
    dated.find_map(|field| dataset.get(field)).and_then(Value::as_u64)
}

/// Compares the datasets field by field.
#[must_use]
pub fn compare(all: &[Three], facts: &Facts) -> Vec<Row> {
    let mut rows = Vec::new();
    for three in all {
        let Three { dataset, computed, stands, original, .. } = three;
        let mut fields: Vec<&String> =
            [computed, stands].into_iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
        fields.sort_unstable();
        fields.dedup();
        for field in fields {
            let of = |value: &Value| value.get(field).cloned().unwrap_or(Value::Null);
            let (ours, there, theirs) = (of(computed), of(stands), of(original));
            let (why, explained) = match is_same(&ours, &there) {
                true => (None, true),
                false => {
                    let (why, explained) = reasons::of_redis(three, field, facts);
                    (Some(why), explained)
                }
            };
            let compared = original.is_object() && !is_same(&ours, &theirs);
            let why_original = compared.then(|| reasons::of_original(dataset, field, facts));
            rows.push(Row {
                dataset: dataset.clone(),
                field: field.clone(),
                computed: ours,
                stands: there,
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
