//! `diff`: field by field what the tracker computes of a market, what stands in Redis, what the original would have
//! computed of the same keys, and the reason for each difference.
//!
//! It only reads. The judgement ([`compare`]) is pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use color_eyre::eyre::Result;
use domain::{
    DayStats, HeardSince, HourStats, MeasurementWindow, Participation, Summary, SummaryInput, Totals,
    current_epoch,
};
use serde::Serialize;
use serde_json::{Map, Value};
use store::{MarketStore, Reach, Scope, Store};

use crate::{
    config::{Compat, Config},
    service::{connect, market_keys},
};

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
    /// How old a dataset may be, in seconds.
    pub limit: u64,
    /// The market shows the original's numbers.
    pub compat: bool,
    /// Of the timelines of epochs and batches in the last 24 hours: all entries, and openings or batches of ours.
    pub entries: [[u64; 2]; 2],
}

/// A dataset three times: as computed, as it stands, as of the original.
pub struct Three {
    /// The dataset's key behind `P:M:`.
    pub dataset: String,
    /// As computed.
    pub computed: Value,
    /// As it stands.
    pub stands: Value,
    /// As the original has it; null where it is not compared.
    pub original: Value,
}

/// Compares the datasets field by field.
#[must_use]
pub fn compare(all: &[Three], facts: &Facts) -> Vec<Row> {
    let mut rows = Vec::new();
    for Three { dataset, computed, stands, original } in all {
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
                    let (why, explained) = reason(dataset, field, [&ours, &there, &theirs], stands, facts);
                    (Some(why), explained)
                }
            };
            let compared = original.is_object() && !is_same(&ours, &theirs);
            let why_original = compared.then(|| of_original(dataset, field, facts));
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

/// Fields that only tell when a dataset was made.
const TIMES: [&str; 8] = [
    "updated_at",
    "timestamp",
    "measurement_duration",
    "hour_end",
    "period_start",
    "period_end",
    "time_remaining_seconds",
    "hourly_breakdown",
];

/// Why what stands differs from what is computed, and whether that explains it.
fn reason(dataset: &str, field: &str, values: [&Value; 3], stands: &Value, facts: &Facts) -> (String, bool) {
    let [ours, there, theirs] = values;
    if dataset == "epochs:gaps" {
        return match ours.is_null() {
            true => (
                "a gap that is closed by now; it is kept for an hour, or until the next pass".to_owned(),
                true,
            ),
            false => ("a gap that the last pass did not see yet".to_owned(), true),
        };
    }
    if stands.is_null() {
        let why = "nothing stands there: no tracker runs for this market, or its outputs go elsewhere (output.prefix)";
        return (why.to_owned(), false);
    }
    let written = stands.get("updated_at").or(stands.get("timestamp")).and_then(Value::as_u64);
    let Some(written) = written else {
        return ("it does not say when it was written: another program wrote it".to_owned(), false);
    };
    let age = facts.now.saturating_sub(written);
    let (limit, is_statistic) =
        (facts.limit, dataset.starts_with("stats:hourly") || dataset == "stats:daily");
    if age > limit && !is_statistic {
        return (
            format!("written {age} s ago and not since, {limit} s are allowed: does a tracker run?"),
            false,
        );
    }
    if TIMES.contains(&field) {
        return (format!("written {age} s ago"), true);
    }
    if facts.compat {
        return ("compat = \"go\": the original's numbers are written".to_owned(), true);
    }
    if !theirs.is_null() && is_same(there, theirs) {
        let why =
            "the original's number: the original, or a tracker with compat = \"go\", writes this key too";
        return (why.to_owned(), false);
    }
    if there.is_null() {
        return (
            "could not be computed when it was written: see the errors of the tracker".to_owned(),
            false,
        );
    }
    let is_total = field.ends_with("_total") || ["epochs", "batches", "submissions"].contains(&field);
    if is_total && there.as_f64() > ours.as_f64() && !is_statistic {
        return (
            "more than the ledger and the keys prove: another ledger, or another program, wrote it"
                .to_owned(),
            false,
        );
    }
    (format!("written {age} s ago; it follows what happened since"), true)
}

/// Why the original's number is another one: the fault of it that shows here.
fn of_original(dataset: &str, field: &str, facts: &Facts) -> String {
    let [[epochs, opened], [batches, ours]] = facts.entries;
    let epoch_entries = format!(
        "counts openings and closings alike, both ends of a stretch included: {epochs} entries in 24 h, {opened} of them openings"
    );
    let batch_entries = format!(
        "counts entries of others as batches, both ends of a stretch included: {batches} entries in 24 h, {ours} of them batches of ours"
    );
    let text = match (dataset, field) {
        (
            _,
            "measurement_duration" | "updated_at" | "timestamp" | "hour_end" | "period_start" | "period_end",
        ) => "measures from its own start",
        (
            _,
            "submissions_total" | "epochs_total" | "batches_total" | "submission_rate" | "epoch_rate"
            | "batch_rate",
        ) if dataset == "dashboard:summary" || dataset == "stats:current" => {
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
        ("metrics:current_epoch", "epoch_id") => {
            "takes the first of epochs:active, or sees the five newest entries alone"
        }
        ("metrics:current_epoch", "time_remaining_seconds") => {
            "reads `timestamp` where producers write `start`"
        }
        ("metrics:current_epoch", _) => {
            "is about the epoch that it takes for the current one, or reads its odd values as they are"
        }
        (_, "epoch_gaps_rate") => return format!("divides by its own count of epochs; it {epoch_entries}"),
        (_, "unaccounted_epochs") => "does not know of such epochs",
        _ => "reads the checksum form alone, and takes for 0 what it can't read",
    };
    text.to_owned()
}

/// Reads a market and compares.
///
/// # Errors
/// A server that does not answer, or a ledger that can't be read.
pub async fn diff(config: &Config, market: &str) -> Result<Vec<Row>> {
    let store: Store = connect(config)?;
    let keys = market_keys(config, market);
    let validator = &config.tracker.sequencer_id;
    let reader = MarketStore::new(keys.clone(), validator);
    let mut session = store.session("compare").await?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (now, second) = (wall.as_secs_f64(), wall.as_secs());

    let scope = Scope { reach: Reach::Full, hourly: true, daily: true };
    let mut pass = reader.discover(&mut session, now, scope).await?;
    reader.examine(&mut session, &mut pass).await?;
    let totals = Totals::of(&pass.seen, validator, config.ledger.seal_after.as_secs_f64());
    let length = config.ledger.measurement_window.as_secs_f64();
    let window = MeasurementWindow::at(pass.seen.window, &totals, now, length);
    let summary = Summary::of(&SummaryInput::of(&pass.seen, &totals, window)).to_json();
    let gaps: Vec<_> = pass.seen.gaps().collect();
    let gaps_shown: Map<String, Value> =
        gaps.iter().map(|(epoch, gap)| (gap.member(epoch), Value::Bool(true))).collect();
    let hours = HourStats::hours(second);
    let (candidates, _) = reader.latest(&mut session, now).await?;
    let current = current_epoch(&candidates, now).map_or(Value::Null, |current| current.to_json(now));

    let heard = HeardSince { began: now, ..HeardSince::default() };
    let (original, _) = reader.original(&mut session, now, &heard, gaps.len() as u64).await?;
    let (original_current, _) = reader.original_current(&mut session, now).await?;
    let entries = session.raw_entries(&keys, second.saturating_sub(domain::DAY)).await?;
    let stands = session.stands(&keys, &hours.map(|(start, _)| start)).await?;

    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    let of_hour = |start: u64| {
        let known = original.hours.iter().find(|(hour, _)| *hour == start);
        known.map_or(Value::Null, |(_, text)| json(text))
    };
    let mut computed = vec![
        ("dashboard:summary".to_owned(), summary.clone(), json(&original.summary)),
        ("stats:current".to_owned(), summary, json(&original.summary)),
        (
            "metrics:participation".to_owned(),
            Participation::of(&pass.seen, &totals).to_json(now),
            json(&original.participation),
        ),
        (
            "metrics:current_epoch".to_owned(),
            current,
            original_current.map_or(Value::Null, |text| json(&text)),
        ),
        (
            "stats:daily".to_owned(),
            DayStats::of(&pass.seen, &totals, second).to_json(now),
            json(&original.day),
        ),
        ("epochs:gaps".to_owned(), Value::Object(gaps_shown), Value::Null),
    ];
    for hour in hours {
        let stats = HourStats::of(&pass.seen, &totals, hour).to_json(now);
        computed.push((format!("stats:hourly:{}", hour.0), stats, of_hour(hour.0)));
    }
    let there = |dataset: &str| {
        let found = stands.iter().find(|(name, _)| name == dataset);
        found.map_or(Value::Null, |(_, value)| value.clone())
    };
    let all: Vec<Three> = computed
        .into_iter()
        .map(|(dataset, computed, original)| Three { stands: there(&dataset), dataset, computed, original })
        .collect();
    let intervals = &config.intervals;
    let limit = 3 * intervals.summary.max(intervals.current_epoch).as_secs().max(1) + 5;
    let compat = config.market(market).compat == Compat::Go;
    Ok(compare(&all, &Facts { now: second, limit, compat, entries }))
}

/// As a table for people: what differs, with its reasons, then a line with the counts.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let short = |value: &Value| -> String {
        let text = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => format!("{:.4}", number.as_f64().unwrap_or(0.0)),
            Value::Array(items) => format!("{} items", items.len()),
            other => other.to_string(),
        };
        text.chars().take(20).collect()
    };
    let mut text = String::new();
    let mut dataset = "";
    for row in rows.iter().filter(|row| row.why.is_some() || row.why_original.is_some()) {
        if row.dataset != dataset {
            dataset = &row.dataset;
            text += &format!(
                "{dataset}\n  {:<30} {:>20} {:>20} {:>20}\n",
                "field", "computed", "in Redis", "original"
            );
        }
        let cells = [&row.computed, &row.stands, &row.original].map(short);
        text += &format!("  {:<30} {:>20} {:>20} {:>20}\n", row.field, cells[0], cells[1], cells[2]);
        if let Some(why) = &row.why {
            text += &format!("      {}: {why}\n", if row.explained { "Redis" } else { "REDIS, unexplained" });
        }
        if let Some(why) = &row.why_original {
            text += &format!("      the original {why}\n");
        }
    }
    let equal = rows.iter().filter(|row| row.why.is_none()).count();
    let unexplained = rows.iter().filter(|row| !row.explained).count();
    text + &format!("{} fields: {equal} are as computed, {unexplained} differ unexplained\n", rows.len())
}
