//! `diff`: compares, field by field, three versions of a market's datasets: the tracker's, computed now; those in Redis; and the
//! original's, computed from the same keys. It names the reason of each difference.
//!
//! It only reads. The judgement ([`compare`]) is pure. A stored dataset is also compared with the one that is computed for the
//! moment of its writing, so that age explains a difference only if it changes the number.

mod read;
mod reasons;
mod table;
mod versions;

use serde::Serialize;
use serde_json::{Map, Value};
use store_tracker::datasets::SUMMARY;

pub use read::diff;
pub use table::table;
use versions::is_same;
pub use versions::{Facts, Versions};

/// One field of one dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The dataset's key without `P:M:`.
    pub dataset: String,
    /// The field.
    pub field: String,
    /// The value that the tracker computes now; null if it computes none.
    pub computed: Value,
    /// The value in Redis.
    pub stored: Value,
    /// The value that the original would compute.
    pub original: Value,
    /// Why the stored value differs from the computed one; `None` if they are equal.
    pub why: Option<String>,
    /// Whether that reason explains the difference.
    pub explained: bool,
    /// Why the original's value differs; `None` if it is equal.
    pub why_original: Option<String>,
}

/// Compares the datasets field by field.
#[must_use]
pub fn compare(all: &[Versions], facts: &Facts) -> Vec<Row> {
    // The original writes a summary too, but without that field: only with it is the summary the tracker's.
    let is_ours = |summary: &&Versions| facts.compat || summary.stored.get("unaccounted_epochs").is_some();
    let summary = all.iter().find(|versions| versions.dataset == SUMMARY.name());
    let summary = summary.filter(|summary| summary.is_fresh(facts.now)).filter(is_ours);
    let mut rows = Vec::new();
    for versions in all {
        let Versions { dataset, computed, stored, original, .. } = versions;
        // Fields that only the original computes are no row: this program doesn't write them.
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
                    let (why, explained) = reasons::why_stored_differs(versions, field, facts, summary);
                    (Some(why), explained)
                }
            };
            // Some datasets have no counterpart in the original.
            let compared = original.is_object() && !is_same(&ours, &theirs);
            let why_original = compared.then(|| reasons::why_original_differs(dataset, field, facts));
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
