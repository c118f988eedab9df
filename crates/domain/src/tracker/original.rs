//! The numbers of the original in Go, faults included, for readers that are used to them (`compat = "go"`).
//!
//! Opens and closes both count as epochs, foreign entries count as batches, both ends of a period belong to it, totals
//! begin with the process. Derived from recorded outputs: nothing here says what is right, and no fault is mended.
//! Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    Number,
    tracker::{
        DAY, DEFAULT_WINDOW, HOUR,
        statistics::{hour_of_day, rfc3339},
    },
};

#[cfg(test)]
mod tests;

/// Events received since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EventsSinceStart {
    /// When it began, in Unix seconds.
    pub began: f64,
    /// Events about submissions, of any kind.
    pub submissions: u64,
    /// Epochs opened.
    pub epochs: u64,
    /// Events about batches, of any kind.
    pub batches: u64,
}

/// Raw entries of a timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Of the last minute.
    pub one: u64,
    /// Of the last five minutes.
    pub five: u64,
    /// Of the last 24 hours.
    pub day: u64,
    /// Of the hour before the running one, and of the running one.
    pub hours: [u64; 2],
}

/// What the original reads.
#[derive(Clone, Debug, Default)]
pub struct OriginalSeen {
    /// When, in Unix seconds.
    pub now: f64,
    /// Submissions waiting.
    pub queue: u64,
    /// Processed submissions of all active epochs.
    pub processed: u64,
    /// Validators of all active epochs.
    pub validators: BTreeSet<String>,
    /// The epochs timeline.
    pub epochs: Entries,
    /// The same by the hours of the day, the earliest first.
    pub epochs_by_hour: [u64; 24],
    /// The batches timeline.
    pub batches: Entries,
    /// The submissions timeline, of the last minute and the last five.
    pub submissions: (u64, u64),
    /// Own batches of the last 24 hours.
    pub level1: u64,
    /// Aggregated batches of the last 24 hours: when, and the validators in them.
    pub aggregated: Vec<(f64, Vec<String>)>,
    /// Priorities assigned and submitted in the last 24 hours.
    pub priorities: (u64, u64),
    /// The counts in `vpa:stats`: assignments, epochs without one, submissions that succeeded, and that failed.
    pub priority_sums: [Option<u64>; 4],
    /// Gaps.
    pub gaps: u64,
}

impl OriginalSeen {
    /// The fields of `dashboard:summary` and `stats:current`, by name.
    #[must_use]
    pub fn summary(&self, events: &EventsSinceStart) -> Vec<(&'static str, Number)> {
        let elapsed = (self.now - events.began).max(0.0);
        let rate = |count: u64| if elapsed > 0.0 { count as f64 / elapsed } else { 0.0 };
        let gap_rate = self.gaps as f64 / (self.epochs.five as f64 + 1.0);
        let validators = self.unique_validators(self.now - 300.0, self.now);
        let mut fields = vec![
            ("active_validators", Number::Count(validators)),
            ("batch_rate", Number::Real(rate(events.batches))),
            ("batches_1m", Number::Count(self.batches.one)),
            ("batches_5m", Number::Count(self.batches.five)),
            ("batches_total", Number::Count(events.batches)),
            ("epoch_gaps_count", Number::Count(self.gaps)),
            ("epoch_gaps_rate", Number::Real(gap_rate)),
            ("epoch_rate", Number::Real(rate(events.epochs))),
            ("epochs_1m", Number::Count(self.epochs.one)),
            ("epochs_5m", Number::Count(self.epochs.five)),
            ("epochs_total", Number::Count(events.epochs)),
            ("measurement_duration", Number::Real(elapsed)),
            ("processed_submissions", Number::Count(self.processed)),
            ("submission_rate", Number::Real(rate(events.submissions))),
            ("submissions_1m", Number::Count(self.submissions.0)),
            ("submissions_5m", Number::Count(self.submissions.1)),
            ("submissions_queue", Number::Count(self.queue)),
            // The original adds the events that it has received to what is processed, so a submission counts several
            // times.
            ("submissions_total", Number::Count(events.submissions + self.processed)),
            ("updated_at", Number::Count(second(self.now))),
            ("vpa_priority_assignments_24h", Number::Count(self.priorities.0)),
            ("vpa_submissions_24h", Number::Count(self.priorities.1)),
        ];
        let names = [
            "vpa_priority_assignments_total",
            "vpa_no_priority_count",
            "vpa_submissions_success",
            "vpa_submissions_failed",
        ];
        let kept = names.into_iter().zip(self.priority_sums);
        fields.extend(kept.filter_map(|(name, count)| Some((name, Number::Count(count?)))));
        if let [_, _, Some(succeeded), Some(failed)] = self.priority_sums
            && succeeded + failed > 0
        {
            let rate = succeeded as f64 / (succeeded + failed) as f64 * 100.0;
            fields.push(("vpa_submission_success_rate", Number::Real(rate)));
        }
        fields
    }

    /// `metrics:participation`. The original divides by all entries of the batches timeline.
    #[must_use]
    pub fn participation(&self, validator: &str) -> Value {
        let names = |(_, named): &&(f64, Vec<String>)| named.iter().any(|named| named == validator);
        let inclusions = self.aggregated.iter().filter(names).count() as u64;
        json!({
            "epochs_participated_24h": self.level1,
            "epochs_total_24h": self.epochs.day,
            "participation_rate": share(inclusions, self.batches.day),
            "level1_batches_24h": self.level1,
            "level2_inclusions_24h": inclusions,
            "inclusion_rate": share(inclusions, self.level1),
            "timestamp": second(self.now),
        })
    }

    /// `stats:hourly:T` of the hour before (0) or the running one (1), with the T.
    #[must_use]
    pub fn hour(&self, which: usize) -> (u64, Value) {
        let running = second(self.now) - second(self.now) % HOUR;
        let (start, end) =
            if which == 0 { (running.saturating_sub(HOUR), running) } else { (running, second(self.now)) };
        let count = |hours: [u64; 2]| hours.get(which).copied().unwrap_or(0);
        let value = json!({
            "hour_start": rfc3339(start),
            "hour_end": rfc3339(end),
            "epochs": count(self.epochs.hours),
            "batches": count(self.batches.hours),
            // The submissions of all active epochs, not of this hour's.
            "submissions": self.processed,
            "unique_validators": self.unique_validators(start as f64, end as f64),
            "updated_at": second(self.now),
        });
        (start, value)
    }

    /// `stats:daily`.
    #[must_use]
    pub fn day(&self) -> Value {
        let end = second(self.now);
        let start = end.saturating_sub(DAY);
        let hours = (0..24)
            .zip(self.epochs_by_hour)
            .map(|(hour, epochs)| json!({ "hour": hour_of_day(start + hour * HOUR), "epochs": epochs }));
        json!({
            "period_start": rfc3339(start),
            "period_end": rfc3339(end),
            "epochs_total": self.epochs.day,
            "batches_total": self.batches.day,
            "submissions_total": self.processed,
            "hourly_breakdown": hours.collect::<Vec<_>>(),
            "updated_at": end,
        })
    }

    /// The validators of the active epochs; without any, those in the aggregated batches of `[from, to]`.
    fn unique_validators(&self, from: f64, to: f64) -> u64 {
        let active = self.validators.iter().filter(|validator| !validator.is_empty()).count() as u64;
        if active > 0 {
            return active;
        }
        let within = self.aggregated.iter().filter(|(at, _)| *at >= from && *at <= to);
        let named: BTreeSet<&String> = within.flat_map(|(_, named)| named).collect();
        named.into_iter().filter(|validator| !validator.is_empty()).count() as u64
    }
}

fn share(part: u64, whole: u64) -> Value {
    let share = if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    Number::Real(share.min(100.0)).to_json()
}

fn second(at: f64) -> u64 {
    at.max(0.0) as u64
}

/// The epoch that the original takes for the current one, with what it reads of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OriginalEpoch {
    /// The id as it is written in the set or the timeline.
    pub id: String,
    /// When it was opened by the timeline, where it was found there.
    pub opened: Option<f64>,
    /// `status` of its info.
    pub status: Option<String>,
    /// `timestamp` of its info, which producers do not write.
    pub timestamp: Option<String>,
    /// `duration` of its info.
    pub duration: Option<String>,
    /// `data_market` of its info.
    pub data_market: Option<String>,
    /// Whether it has a local batch.
    pub local: bool,
    /// Whether it has an aggregated batch.
    pub aggregated: bool,
    /// Its processed submissions.
    pub submissions: u64,
}

/// The epoch that the original picks from the newest entries of the epochs timeline (the newest first): the first
/// `open:` of which no entry begins like its `close:`.
#[must_use]
pub fn original_open(newest: &[(String, f64)]) -> Option<(String, f64)> {
    // By prefix, as the original compares: `close:2301` closes epoch 230.
    newest.iter().find_map(|(member, at)| {
        let id = member.strip_prefix("open:")?;
        let close = format!("close:{id}");
        (!newest.iter().any(|(other, _)| other.starts_with(&close))).then(|| (id.to_owned(), *at))
    })
}

impl OriginalEpoch {
    /// `metrics:current_epoch`.
    #[must_use]
    pub fn to_json(&self, now: f64) -> Value {
        let window = self.duration.as_deref().and_then(go_float).unwrap_or(DEFAULT_WINDOW);
        let start = self.timestamp.as_deref().and_then(|text| text.parse::<i64>().ok()).map(|at| at as f64);
        let start = start.or(self.opened);
        // Go turns a float beyond its integers into the smallest one, which is then shown as 0.
        let whole = |seconds: f64| if seconds.abs() < 9.2e18 { seconds.max(0.0) as u64 } else { 0 };
        let left = start.map_or_else(|| whole(window), |start| whole(start + window - second(now) as f64));
        let is_open = match self.status.as_deref() {
            Some(status) => status == "open",
            // Without a status the original takes an epoch for open while time remains.
            None => left > 0,
        };
        let phase = match (is_open, self.local, self.aggregated) {
            (true, ..) => "submission",
            (false, false, _) => "finalization",
            (false, true, false) => "aggregation",
            (false, true, true) => "complete",
        };
        let mut object = Map::new();
        object.insert("epoch_id".to_owned(), json!(self.id));
        object.insert("phase".to_owned(), json!(phase));
        object.insert("time_remaining_seconds".to_owned(), json!(if is_open { left } else { 0 }));
        object.insert("window_duration".to_owned(), Number::Real(window).to_json());
        object.insert("submissions_received".to_owned(), json!(self.submissions));
        object.insert("timestamp".to_owned(), json!(second(now)));
        if let Some(market) = self.data_market.as_ref().filter(|market| !market.is_empty()) {
            object.insert("data_market".to_owned(), json!(market));
        }
        Value::Object(object)
    }
}

/// A number as Go's parser reads it: also a hexadecimal float.
fn go_float(text: &str) -> Option<f64> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let Some((mantissa, exponent)) = hex.and_then(|hex| hex.split_once(['p', 'P'])) else {
        return text.parse().ok().filter(|number: &f64| number.is_finite());
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    let shift = exponent.parse::<i32>().ok()?.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    Some(digits as f64 * 2_f64.powi(shift)).filter(|number| number.is_finite())
}

/// JSON as the original's encoder writes it: names in order, `<`, `>`, `&` and the line separators escaped, exponents
/// with their sign.
#[must_use]
pub fn go_json(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let fields = object.iter().map(|(name, value)| format!("{}:{}", go_text(name), go_json(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(go_json).collect::<Vec<_>>().join(",")),
        Value::String(text) => go_text(text),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            // Go writes an exponent for numbers below 1e-6 and from 1e21 on, with its sign.
            Some(real) if real != 0.0 && !(1e-6..1e21).contains(&real.abs()) => {
                let text = format!("{real:e}");
                if text.contains("e-") { text } else { text.replace('e', "e+") }
            }
            Some(real) => real.to_string(),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn go_text(text: &str) -> String {
    let escaped = |c: char| match c {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    // serde_json writes these characters as themselves, so each is escaped once.
    Value::from(text).to_string().chars().map(escaped).collect()
}
