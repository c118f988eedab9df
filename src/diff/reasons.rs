//! The reasons why the stored value, or the original's value, differs from the computed one. Pure.
//!
//! Age is a reason only if it changes the number: the stored value must have been right when it was written, or an input must
//! have arrived since.

use serde_json::Value;
use store_tracker::datasets::{CURRENT_EPOCH, GAPS, STATS, SUMMARY};

use super::versions::{Facts, Versions, is_same};

/// Fields whose inputs have no times, so that their value at an earlier moment can't be computed: sets of validators, states of
/// epochs, the queue, counters of priorities.
const WITHOUT_TIMES: [&str; 9] = [
    "active_validators",
    "epoch_gaps_count",
    "epoch_gaps_rate",
    "submissions_queue",
    "vpa_priority_assignments_total",
    "vpa_no_priority_count",
    "vpa_submissions_success",
    "vpa_submissions_failed",
    "vpa_submission_success_rate",
];

/// Why the stored value differs from the computed one, and whether that reason explains it. `summary` is the market's summary, if
/// a running tracker writes it. The first reason that applies wins, so their order is from certain to possible.
pub(super) fn why_stored_differs(
    versions: &Versions,
    field: &str,
    facts: &Facts,
    summary: Option<&Versions>,
) -> (String, bool) {
    let of = |value: &Value| value.get(field).cloned().unwrap_or(Value::Null);
    let (ours, there, theirs) = (of(&versions.computed), of(&versions.stored), of(&versions.original));
    // The hash of gaps has no time of writing: age can't explain its fields.
    if versions.dataset == GAPS.name() {
        let why = match ours.is_null() {
            true => "this gap is closed; it stays for an hour, or until the next pass",
            false => "this gap is new since the last pass",
        };
        return (why.to_owned(), true);
    }
    if versions.stored.is_null() {
        return missing(versions, facts, summary);
    }
    let Some(written) = versions.written() else {
        return ("the dataset has no time of writing: another program wrote it".to_owned(), false);
    };
    let age = facts.now.saturating_sub(written);
    // Before any comparison of numbers: a stale dataset is a fault even if its numbers were right.
    if age > versions.limit {
        let (limit, why) = (versions.limit, no_writer(facts, summary));
        return (format!("written {age} s ago, and {limit} s are allowed: {why}"), false);
    }
    let then = versions.at_writing.each_ref().map(of);
    if lies_between(&there, &then) {
        return (format!("written {age} s ago, and right at that time"), true);
    }
    if facts.compat {
        return ("compat = \"go\": the tracker writes the original's numbers".to_owned(), true);
    }
    // A summary with the tracker's own field was written by the tracker, even if the original computes the same number.
    let is_copy = [SUMMARY.name(), STATS.name()].contains(&versions.dataset.as_str());
    let is_of_tracker = is_copy && summary.is_some();
    if !is_of_tracker && !theirs.is_null() && is_same(&there, &theirs) {
        let why =
            "the original's number: the original, or a tracker with compat = \"go\", writes this key too";
        return (why.to_owned(), false);
    }
    if there.is_null() {
        return ("the tracker could not compute it: see the tracker's log".to_owned(), false);
    }
    // Totals never decrease, so more than every known value has another source, whatever the age.
    if is_total(field) && [&ours, &then[0], &then[1]].iter().all(|known| there.as_f64() > known.as_f64()) {
        let why =
            "more than ledger and keys prove: another program, or a tracker with another ledger, wrote it";
        return (why.to_owned(), false);
    }
    if WITHOUT_TIMES.contains(&field) {
        let why = format!(
            "written {age} s ago; its inputs have no times, so its value of that moment is unknown: the next pass writes it again"
        );
        return (why, true);
    }
    let since = facts.entries_since(written);
    if since > 0 {
        return (format!("written {age} s ago; the timelines have {since} new entries since"), true);
    }
    let why = format!(
        "written {age} s ago and wrong at that time, and the timelines have no new entry since: compare again after the next \
         pass; if it stays, another program writes it"
    );
    (why, false)
}

/// Why a dataset is missing in Redis.
fn missing(versions: &Versions, facts: &Facts, summary: Option<&Versions>) -> (String, bool) {
    match summary {
        // After a start, each dataset is written with its own interval.
        Some(summary) if versions.interval > summary.interval => {
            let interval = humantime::format_duration(versions.interval);
            let young = facts.ledger_age.filter(|age| *age <= versions.interval.as_secs());
            let since = young.map_or_else(String::new, |age| {
                format!(
                    " since the ledger was created {age} s ago (Redis has lost its data, or the market is new)"
                )
            });
            (format!("not written yet{since}: the tracker writes it every {interval}"), true)
        }
        _ => (format!("not stored: {}", no_writer(facts, summary)), false),
    }
}

/// Why nothing writes a dataset.
fn no_writer(facts: &Facts, summary: Option<&Versions>) -> &'static str {
    match (summary, facts.trackers, facts.ledger_age) {
        (Some(_), ..) => "the tracker writes the summary and not this dataset: see its log",
        // A tracker that lost its connection is not subscribed either.
        (None, Some(0), _) => "no tracker runs for this market, or it is connecting again",
        (None, Some(_), None) => {
            "a tracker is subscribed, and Redis has no ledger of this market: it has lost its data and the next pass writes both, or the \
             tracker writes under another output.prefix"
        }
        (None, Some(_), Some(_)) => {
            "a tracker is subscribed and does not write here: see its /readyz?verbose, and compare output.prefix"
        }
        (None, None, _) => "no tracker writes here: none runs, or its output.prefix differs",
    }
}

fn is_total(field: &str) -> bool {
    field.ends_with("_total") || ["epochs", "batches", "submissions"].contains(&field)
}

/// Whether the stored value equals one of the values for the start and the end of its second, or lies between them.
fn lies_between(there: &Value, then: &[Value; 2]) -> bool {
    if then.iter().any(|then| is_same(there, then)) {
        return true;
    }
    match (there.as_f64(), then[0].as_f64(), then[1].as_f64()) {
        (Some(there), Some(one), Some(other)) => (one.min(other)..=one.max(other)).contains(&there),
        _ => false,
    }
}

/// Why the original's number differs: the behaviour of the original that causes it. It continues "the original …".
pub(super) fn why_original_differs(dataset: &str, field: &str, facts: &Facts) -> String {
    let [[epochs, opened], [batches, ours]] = facts.entries;
    let epoch_entries = format!(
        "counts openings and closings alike, and both ends of a period: {epochs} entries in 24 h, {opened} of them openings"
    );
    let batch_entries = format!(
        "counts entries of other validators as batches, and both ends of a period: {batches} entries in 24 h, {ours} of them \
         local or aggregated batches"
    );
    // The first pattern that matches wins: fields with one name in several datasets come before the general ones.
    let text = match (dataset == CURRENT_EPOCH.name(), field) {
        (
            _,
            "measurement_duration" | "updated_at" | "timestamp" | "hour_end" | "period_start" | "period_end",
        ) => "measures since its own start",
        (
            _,
            "submissions_total" | "epochs_total" | "batches_total" | "submission_rate" | "epoch_rate"
            | "batch_rate",
        ) if dataset == SUMMARY.name() || dataset == STATS.name() => {
            "counts the events of all markets since its start, which is assumed to be now"
        }
        (
            _,
            "epochs_1m" | "epochs_5m" | "epochs_total_24h" | "epochs_total" | "epochs" | "hourly_breakdown",
        ) => {
            return epoch_entries;
        }
        (_, "batches_1m" | "batches_5m" | "batches_total" | "batches") => return batch_entries,
        (_, "submissions_1m" | "submissions_5m") => {
            "counts entries of the submissions timeline, and one submission has several"
        }
        (_, "processed_submissions") => "adds up all epochs of epochs:active, also finished ones",
        (_, "submissions" | "submissions_total") => {
            "counts the submissions of all active epochs for this period"
        }
        (_, "active_validators" | "unique_validators") => "counts the validators of all active epochs",
        (_, "participation_rate" | "level2_inclusions_24h" | "inclusion_rate") => {
            "divides by local, validator and discovery entries too"
        }
        (true, "epoch_id") => "takes the first member of epochs:active, or sees only the five newest entries",
        (true, "time_remaining_seconds") => "reads `timestamp` where producers write `start`",
        (true, _) => "describes another epoch, or keeps odd values as they are",
        (_, "epoch_gaps_rate") => return format!("divides by its own count of epochs; it {epoch_entries}"),
        (_, "unaccounted_epochs") => "has no such number",
        _ => "reads the checksum form alone, and counts unreadable values as 0",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_795_341_600;

    fn facts(trackers: Option<u64>) -> Facts {
        let (entries, since) = ([[0; 2]; 2], BTreeMap::new());
        Facts { now: NOW, compat: false, trackers, ledger_age: Some(86_400), entries, since }
    }

    fn dataset(name: &str, seconds: u64, stored: Value) -> Versions {
        let computed = json!({ "active_validators": 1, "epochs_total": 7, "updated_at": NOW });
        let then = [computed.clone(), computed.clone()];
        let interval = Duration::from_secs(seconds);
        Versions {
            dataset: name.to_owned(),
            computed,
            stored,
            at_writing: then,
            interval,
            limit: 3 * seconds + 5,
            ..Default::default()
        }
    }

    fn summary() -> Versions {
        dataset(
            "dashboard:summary",
            30,
            json!({ "active_validators": 2, "epochs_total": 7, "updated_at": NOW - 10 }),
        )
    }

    #[test]
    fn a_missing_dataset_of_a_running_tracker_is_not_written_yet() {
        let summary = summary();
        let why = |seconds, trackers, summary| {
            why_stored_differs(
                &dataset("stats:daily", seconds, Value::Null),
                "epochs_total",
                &facts(trackers),
                summary,
            )
        };
        let (text, explained) = why(3_600, None, Some(&summary));
        assert!(explained && text == "not written yet: the tracker writes it every 1h", "{text}");
        let (text, explained) = why(30, None, Some(&summary));
        assert!(!explained && text.contains("the tracker writes the summary and not this dataset"), "{text}");
    }

    #[test]
    fn a_loss_of_data_is_the_reason_while_the_ledger_is_young_or_missing() {
        let why = |name, seconds, ledger_age, summary| {
            let facts = Facts { ledger_age, ..facts(Some(1)) };
            why_stored_differs(&dataset(name, seconds, Value::Null), "epochs_total", &facts, summary)
        };
        let of_day = |age, summary| why("stats:daily", 3_600, age, summary);
        let summary = summary();
        let (text, explained) = of_day(Some(2_280), Some(&summary));
        assert!(
            explained && text.contains("the ledger was created 2280 s ago (Redis has lost its data"),
            "{text}"
        );
        let (text, _) = of_day(Some(3_601), Some(&summary));
        assert!(!text.contains("ledger"), "{text}");
        let (text, explained) = why("dashboard:summary", 30, None, None);
        assert!(
            !explained && text.contains("Redis has no ledger of this market: it has lost its data"),
            "{text}"
        );
    }

    #[test]
    fn no_tracker_runs_is_said_only_when_none_is_subscribed() {
        for (trackers, expected) in [(Some(0), true), (Some(1), false), (None, false)] {
            let missing = dataset("dashboard:summary", 30, Value::Null);
            let old = dataset("dashboard:summary", 30, json!({ "epochs_total": 1, "updated_at": NOW - 900 }));
            for versions in [missing, old] {
                let (text, explained) = why_stored_differs(&versions, "epochs_total", &facts(trackers), None);
                assert!(!explained && text.contains("no tracker runs") == expected, "{trackers:?}: {text}");
            }
        }
    }

    #[test]
    fn a_number_whose_inputs_have_no_times_is_explained_and_a_total_is_not() {
        let wrong = dataset(
            "dashboard:summary",
            30,
            json!({ "active_validators": 2, "epochs_total": 6, "updated_at": NOW - 10 }),
        );
        let why = |field| why_stored_differs(&wrong, field, &facts(Some(1)), None);
        let (text, explained) = why("active_validators");
        assert!(explained && text.contains("its inputs have no times"), "{text}");
        let (text, explained) = why("epochs_total");
        assert!(!explained && text.contains("wrong at that time"), "{text}");
    }
}
