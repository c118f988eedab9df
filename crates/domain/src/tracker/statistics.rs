//! The datasets over hours and days: `metrics:participation`, `stats:hourly:T`, `stats:daily`.
//!
//! Every period is half open: what happens on the boundary of two hours belongs to the later one. A
//! number that could not be read is null, never zero.

use std::{
    collections::BTreeSet,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::fields::{Field, ValueOf, field, object, whole_second};
use crate::{
    Number,
    tracker::{DAY, Entry, HOUR, HourSums, Moment, Observation, Reading, Totals},
};

#[cfg(test)]
mod tests;

/// How many hours readers ask for.
const HOURS_READ: u64 = 48;

/// The dataset `metrics:participation`, over the last 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Participation {
    /// Epochs opened.
    pub epochs: Option<u64>,
    /// Epochs for which this validator made a local batch.
    pub level1: Option<u64>,
    /// Aggregated batches.
    pub aggregated: Option<u64>,
    /// Aggregated batches that name this validator.
    pub inclusions: Option<u64>,
}

impl Participation {
    /// From what a pass saw: the sealed epochs of the day, and the unsealed ones.
    #[must_use]
    pub fn of(seen: &Observation, totals: &Totals) -> Self {
        // `(now - 24 h, now]`, as Redis has counted the sealed ones.
        let day = (seen.now - DAY as f64).max(0.0) as u64 + 1..seen.now.max(0.0) as u64 + 1;
        let unsealed = |of: fn(&Entry) -> Moment| {
            let entries = totals.unsealed.iter();
            entries.filter(|(_, entry)| of(entry).at().is_some_and(|at| day.contains(&at))).count() as u64
        };
        let aggregated = unsealed(|entry| entry.aggregated);
        let listed = unsealed(|entry| if entry.listed { entry.aggregated } else { Moment::Never });
        let included = unsealed(|entry| if entry.included { entry.aggregated } else { Moment::Never });
        let aggregated = seen.day.aggregated.map(|sealed| sealed + aggregated);
        let listed = seen.day.listed.map(|sealed| sealed + listed);
        // Older producers list no validators of a batch: then inclusions are unknown.
        let is_unlisted = aggregated.is_some_and(|count| count > 0) && listed == Some(0);
        let inclusions = seen.day.included.map(|sealed| sealed + included).filter(|_| !is_unlisted);
        Self {
            epochs: seen.day.opened.map(|sealed| sealed + unsealed(|entry| entry.opened)),
            level1: seen.day.level1,
            aggregated,
            inclusions,
        }
    }

    /// The fields of the dataset.
    pub const FIELDS: &'static [Field<ValueOf<Self>>] = &[
        field(
            "epochs_participated_24h",
            |all, _| Some(json!(all.level1)),
            "The same as `level1_batches_24h`.",
        ),
        field("epochs_total_24h", |all, _| Some(json!(all.epochs)), "The epochs that were opened."),
        field(
            "participation_rate",
            |all, _| Some(percent(all.inclusions, all.aggregated)),
            "The share of aggregated batches that include the own validator, in percent.",
        ),
        field(
            "level1_batches_24h",
            |all, _| Some(json!(all.level1)),
            "The epochs of which the own validator made a local batch.",
        ),
        field(
            "level2_inclusions_24h",
            |all, _| Some(json!(all.inclusions)),
            "The aggregated batches that include the own validator.",
        ),
        field(
            "inclusion_rate",
            |all, _| Some(percent(all.inclusions, all.level1)),
            "The share of own local batches that an aggregated batch includes, in percent, at most 100.",
        ),
        field(
            "timestamp",
            |_, now| Some(json!(whole_second(now))),
            "When the tracker wrote it, in Unix seconds.",
        ),
    ];

    /// As the JSON object of the dataset.
    #[must_use]
    pub fn to_json(&self, now: f64) -> Value {
        object(Self::FIELDS, self, now)
    }
}

/// A share in percent, at most 100. A share of nothing is 0, an unknown one null.
fn percent(part: Option<u64>, whole: Option<u64>) -> Value {
    let (Some(part), Some(whole)) = (part, whole) else { return Value::Null };
    let share = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    // More than 100 is possible, since part and whole come from different keys with different expiry.
    Number::Real(share.min(100.0)).to_json()
}

/// The dataset `stats:hourly:T`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourStats {
    /// Its start, in Unix seconds.
    pub start: u64,
    /// Its end, or now for the running hour, in Unix seconds.
    pub end: u64,
    /// Epochs opened in it.
    pub epochs: Option<u64>,
    /// Local and aggregated batches made in it.
    pub batches: Option<u64>,
    /// Submissions of the epochs opened in it.
    pub submissions: Option<u64>,
    /// Distinct validators in the aggregated batches of the epochs opened in it, and in those that were made in it for epochs whose
    /// opening is not known.
    pub unique_validators: Option<u64>,
}

impl HourStats {
    /// The two hours whose statistics a pass writes: the previous and the running one.
    #[must_use]
    pub fn hours(now: u64) -> [(u64, u64); 2] {
        let start = now - now % HOUR;
        [(start.saturating_sub(HOUR), start), (start, now)]
    }

    /// The hours that readers ask for: the running one and the 47 before it, the earliest first.
    #[must_use]
    pub fn all(now: u64) -> Vec<(u64, u64)> {
        Self::past(now).map(|start| (start, start + HOUR)).chain([(now - now % HOUR, now)]).collect()
    }

    /// The starts of the 47 hours before the running one, the earliest first.
    pub fn past(now: u64) -> impl Iterator<Item = u64> {
        let running = now - now % HOUR;
        (1..HOURS_READ).rev().filter_map(move |back| running.checked_sub(back * HOUR))
    }

    /// The start of the hour in which the last pass was made: its statistics end with that pass, even if nothing happened since.
    #[must_use]
    pub fn unfinished(passed: Option<f64>, now: u64) -> Option<u64> {
        let second = passed? as u64;
        Self::past(now).find(|start| *start == second - second % HOUR)
    }

    /// Whether nothing happened in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [self.epochs, self.batches, self.submissions].iter().all(|count| *count == Some(0))
    }

    /// The statistics of one hour, from the sealed entries of its time and the unsealed ones.
    #[must_use]
    pub fn of(seen: &Observation, totals: &Totals, (start, end): (u64, u64)) -> Self {
        let unsealed = totals.unsealed.iter().filter_map(|(_, entry)| entry.hours().get(&start).copied());
        let sums = seen
            .hours
            .as_ref()
            .map(|sealed| unsealed.fold(sealed.get(&start).copied().unwrap_or_default(), HourSums::plus));
        let sealed = seen.hour_validators.get(&start).cloned().flatten();
        // The ledger keeps the validators of an hour from the seal on; until then they are known from the batches.
        let unsealed = totals.unsealed.iter().filter(|(_, entry)| entry.hour_of_validators() == Some(start));
        let named = unsealed.filter_map(|(epoch, _)| match &seen.facts.get(epoch)?.batch_validators {
            Reading::Value(named) => Some(named.clone()),
            Reading::Absent | Reading::Unreadable => None,
        });
        let named = named.flatten();
        let validators = sealed.map(|sealed| {
            let all: BTreeSet<String> = sealed.into_iter().chain(named).collect();
            // An empty member of a set is not a validator.
            all.iter().filter(|validator| !validator.is_empty()).count() as u64
        });
        Self {
            start,
            end,
            epochs: sums.map(|sums| sums.epochs),
            batches: sums.map(|sums| sums.batches),
            submissions: sums.map(|sums| sums.submissions),
            unique_validators: validators,
        }
    }

    /// The fields of the dataset.
    pub const FIELDS: &'static [Field<ValueOf<Self>>] = &[
        field("hour_start", |hour, _| Some(json!(rfc3339(hour.start))), "When the hour began, as RFC 3339."),
        field(
            "hour_end",
            |hour, _| Some(json!(rfc3339(hour.end))),
            "When the hour ended, as RFC 3339; the present for the running hour.",
        ),
        field("epochs", |hour, _| Some(json!(hour.epochs)), "The epochs that were opened in the hour."),
        field(
            "batches",
            |hour, _| Some(json!(hour.batches)),
            "The local and aggregated batches that were made in the hour.",
        ),
        field(
            "submissions",
            |hour, _| Some(json!(hour.submissions)),
            "The processed submissions of the epochs that were opened in the hour.",
        ),
        field(
            "unique_validators",
            |hour, _| Some(json!(hour.unique_validators)),
            "The distinct validators in the aggregated batches of the epochs that were opened in the hour; if an epoch's opening is not known, in the hour of its batch.",
        ),
        field(
            "updated_at",
            |_, now| Some(json!(whole_second(now))),
            "When the tracker wrote it, in Unix seconds.",
        ),
    ];

    /// As the JSON object of the dataset.
    #[must_use]
    pub fn to_json(&self, now: f64) -> Value {
        object(Self::FIELDS, self, now)
    }
}

/// The dataset `stats:daily`: the last 24 hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayStats {
    /// Its end, in Unix seconds; it begins 24 hours before.
    pub end: u64,
    /// Local and aggregated batches.
    pub batches: Option<u64>,
    /// Submissions of the epochs opened in it.
    pub submissions: Option<u64>,
    /// Epochs opened in each of its hours, the earliest first.
    pub epochs: [Option<u64>; 24],
}

impl DayStats {
    /// The 24 hours before `now`: their start, and their end, which is no part of them.
    #[must_use]
    pub fn period(now: u64) -> (u64, u64) {
        (now.saturating_sub(DAY), now)
    }

    /// The 24 hours that end at `end`, the earliest first.
    pub fn hours(end: u64) -> impl Iterator<Item = (u64, u64)> {
        let start = end.saturating_sub(DAY);
        (0..24).map(move |hour| (start + hour * HOUR, start + (hour + 1) * HOUR))
    }

    /// The statistics of the 24 hours that end at `end`.
    #[must_use]
    pub fn of(seen: &Observation, totals: &Totals, end: u64) -> Self {
        let within = |at: Option<u64>| at.filter(|&at| at >= end.saturating_sub(DAY) && at < end);
        let (mut submissions, mut hours) = (0_u64, [0; 24]);
        let unsealed = || totals.unsealed.iter().map(|(_, entry)| entry);
        for entry in seen.past.iter().chain(unsealed()) {
            let Some(at) = within(entry.opened.at()) else { continue };
            submissions = submissions.saturating_add(entry.submissions);
            let hour = (at - end.saturating_sub(DAY)) / HOUR;
            // Of 24, as `at` is within the day.
            if let Some(count) = usize::try_from(hour).ok().and_then(|hour| hours.get_mut(hour)) {
                *count += 1;
            }
        }
        let batches = unsealed().flat_map(|entry| [entry.local, entry.aggregated]);
        let batches = batches.filter(|batch| within(batch.at()).is_some()).count() as u64;
        Self {
            end,
            batches: seen.past_batches.map(|sealed| sealed + batches),
            submissions: Some(submissions),
            epochs: hours.map(Some),
        }
    }

    /// The fields of the dataset.
    pub const FIELDS: &'static [Field<ValueOf<Self>>] = &[
        field(
            "period_start",
            |day, _| Some(json!(rfc3339(day.end.saturating_sub(DAY)))),
            "When the 24 hours began, as RFC 3339.",
        ),
        field("period_end", |day, _| Some(json!(rfc3339(day.end))), "When the 24 hours ended, as RFC 3339."),
        field(
            "epochs_total",
            // Unknown as soon as one hour is: a partial sum would look like a drop.
            |day, _| Some(json!(day.epochs.iter().copied().sum::<Option<u64>>())),
            "The epochs that were opened.",
        ),
        field(
            "batches_total",
            |day, _| Some(json!(day.batches)),
            "The local and aggregated batches that were made.",
        ),
        field(
            "submissions_total",
            |day, _| Some(json!(day.submissions)),
            "The processed submissions of the epochs that were opened.",
        ),
        field(
            "hourly_breakdown",
            |day, _| Some(json!(day.breakdown())),
            "24 objects, the earliest first: `hour`, as `HH:MM` in UTC, and `epochs`, the epochs opened in that hour.",
        ),
        field(
            "updated_at",
            |_, now| Some(json!(whole_second(now))),
            "When the tracker wrote it, in Unix seconds.",
        ),
    ];

    fn breakdown(&self) -> Vec<Value> {
        let hours = Self::hours(self.end).zip(self.epochs);
        hours.map(|((start, _), epochs)| json!({ "hour": hour_of_day(start), "epochs": epochs })).collect()
    }

    /// As the JSON object of the dataset.
    #[must_use]
    pub fn to_json(&self, now: f64) -> Value {
        object(Self::FIELDS, self, now)
    }
}

pub(crate) fn rfc3339(unix: u64) -> String {
    // The form ends with the year 9999.
    let latest = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix.min(latest))).to_string()
}

/// `HH:MM`, UTC.
pub(crate) fn hour_of_day(unix: u64) -> String {
    format!("{:02}:{:02}", unix % DAY / HOUR, unix % HOUR / 60)
}
