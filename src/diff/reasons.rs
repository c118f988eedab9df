//! Why a field differs: what stands from what is computed, and the original from both.
//!
//! Time is a reason only where it is one: what stands must be what was right when it was written, or something must have
//! come since.

use serde_json::Value;
use store_tracker::datasets::{CURRENT_EPOCH, GAPS, STATS, SUMMARY};

use super::{Facts, Three, is_same};

/// Why what stands differs from what is computed, and whether that explains it.
pub(super) fn of_redis(three: &Three, field: &str, facts: &Facts) -> (String, bool) {
    let of = |value: &Value| value.get(field).cloned().unwrap_or(Value::Null);
    let (ours, there, theirs) = (of(&three.computed), of(&three.stands), of(&three.original));
    if three.dataset == GAPS.name() {
        let why = match ours.is_null() {
            true => "a gap that is closed by now; it is kept for an hour, or until the next pass",
            false => "a gap that the last pass did not see yet",
        };
        return (why.to_owned(), true);
    }
    if three.stands.is_null() {
        let why = "nothing stands there: no tracker runs for this market, or its outputs go elsewhere (output.prefix)";
        return (why.to_owned(), false);
    }
    let Some(written) = three.written() else {
        return ("it does not say when it was written: another program wrote it".to_owned(), false);
    };
    let age = facts.now.saturating_sub(written);
    if age > three.limit {
        let limit = three.limit;
        let why = format!("written {age} s ago and not since, {limit} s are allowed: does a tracker run?");
        return (why, false);
    }
    let then = three.then.each_ref().map(of);
    if lies_between(&there, &then) {
        return (format!("written {age} s ago, when that was right"), true);
    }
    if facts.compat {
        return ("compat = \"go\": the original's numbers are written".to_owned(), true);
    }
    if !theirs.is_null() && is_same(&there, &theirs) {
        let why =
            "the original's number: the original, or a tracker with compat = \"go\", writes this key too";
        return (why.to_owned(), false);
    }
    if there.is_null() {
        let why = "could not be computed when it was written: see the errors of the tracker";
        return (why.to_owned(), false);
    }
    if is_total(field) && [&ours, &then[0], &then[1]].iter().all(|known| there.as_f64() > known.as_f64()) {
        let why = "more than the ledger and the keys prove: another ledger, or another program, wrote it";
        return (why.to_owned(), false);
    }
    let since = facts.entries_since(written);
    if since > 0 {
        return (format!("written {age} s ago; the timelines have had {since} entries since"), true);
    }
    let why = format!(
        "written {age} s ago, when it was not right, and the timelines have had no entry since: compare again after the next pass; if it stays, another program wrote it"
    );
    (why, false)
}

fn is_total(field: &str) -> bool {
    field.ends_with("_total") || ["epochs", "batches", "submissions"].contains(&field)
}

/// Whether it is what was computed for the begin or the end of the second in which it was written, or something
/// between the two.
fn lies_between(there: &Value, then: &[Value; 2]) -> bool {
    if then.iter().any(|then| is_same(there, then)) {
        return true;
    }
    match (there.as_f64(), then[0].as_f64(), then[1].as_f64()) {
        (Some(there), Some(one), Some(other)) => (one.min(other)..=one.max(other)).contains(&there),
        _ => false,
    }
}

/// Why the original's number is another one: the fault of it that shows here.
pub(super) fn of_original(dataset: &str, field: &str, facts: &Facts) -> String {
    let [[epochs, opened], [batches, ours]] = facts.entries;
    let epoch_entries = format!(
        "counts openings and closings alike, both ends of a stretch included: {epochs} entries in 24 h, {opened} of them openings"
    );
    let batch_entries = format!(
        "counts entries of others as batches, both ends of a stretch included: {batches} entries in 24 h, {ours} of them batches of ours"
    );
    let text = match (dataset == CURRENT_EPOCH.name(), field) {
        (
            _,
            "measurement_duration" | "updated_at" | "timestamp" | "hour_end" | "period_start" | "period_end",
        ) => "measures from its own start",
        (
            _,
            "submissions_total" | "epochs_total" | "batches_total" | "submission_rate" | "epoch_rate"
            | "batch_rate",
        ) if dataset == SUMMARY.name() || dataset == STATS.name() => {
            "counts events heard since its start, of all markets: right after a start there are none"
        }
        (
            _,
            "epochs_1m" | "epochs_5m" | "epochs_total_24h" | "epochs_total" | "epochs" | "hourly_breakdown",
        ) => {
            return epoch_entries;
        }
        (_, "batches_1m" | "batches_5m" | "batches_total" | "batches") => return batch_entries,
        (_, "submissions_1m" | "submissions_5m") => {
            "counts entries of the submissions timeline, of which one submission has several"
        }
        (_, "processed_submissions") => "adds up all of epochs:active, finished ones included",
        (_, "submissions" | "submissions_total") => {
            "takes the submissions of all active epochs for those of this stretch"
        }
        (_, "active_validators" | "unique_validators") => "takes the validators of all active epochs",
        (_, "participation_rate" | "level2_inclusions_24h" | "inclusion_rate") => {
            "divides by local, validator and discovery entries too"
        }
        (true, "epoch_id") => "takes the first of epochs:active, or sees the five newest entries alone",
        (true, "time_remaining_seconds") => "reads `timestamp` where producers write `start`",
        (true, _) => {
            "is about the epoch that it takes for the current one, or reads its odd values as they are"
        }
        (_, "epoch_gaps_rate") => return format!("divides by its own count of epochs; it {epoch_entries}"),
        (_, "unaccounted_epochs") => "does not know of such epochs",
        _ => "reads the checksum form alone, and takes for 0 what it can't read",
    };
    text.to_owned()
}
