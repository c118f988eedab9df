//! The datasets that the tracker writes for readers: one row each, and what a pass writes under their keys.
//!
//! Label values of metrics, readiness, staleness limits, `diff`, `doctor` and the reference page derive from these rows.
//! The intervals are settings and are handed in.

use std::time::Duration;

use domain::tracker::{CurrentEpoch, DayStats, HourStats, Participation, Summary};
use serde_json::{Map, Value};
use store_redis::{
    Family,
    KeyType::{self, Hash, String as Text, Zset},
    Removal,
    Ttl::{self, Fixed},
    Writer,
};

/// How often the datasets of a market are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Between two passes of the summary.
    pub summary: Duration,
    /// Between two writings of the statistics of the hours.
    pub hourly: Duration,
    /// Between two writings of the statistics of the day.
    pub daily: Duration,
    /// Between two passes of the current epoch.
    pub current_epoch: Duration,
}

/// One of the intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Between two passes of the summary.
    Summary,
    /// Between two writings of the statistics of the hours.
    Hourly,
    /// Between two writings of the statistics of the day.
    Daily,
    /// Between two passes of the current epoch.
    CurrentEpoch,
}

impl Interval {
    /// Its name, which is also that of its setting.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::CurrentEpoch => "current_epoch",
        }
    }
}

/// A dataset.
#[derive(Clone, Copy, Debug)]
pub struct Dataset {
    /// Its key behind `P:M:`, type, TTL, and what it holds.
    pub family: Family,
    /// How often it is written.
    pub interval: Interval,
    /// The actor that writes it.
    pub actor: &'static str,
    /// Its value of the label `dataset_type`; `None` where it is written with another one and not counted by itself.
    pub label: Option<&'static str>,
    /// Its value of the label `aggregation_type`, under which the time of passes that write it is measured.
    pub aggregation: Option<&'static str>,
    /// Its readiness condition, where readiness depends on it.
    pub readiness: Option<&'static str>,
    /// The field that says when it was written.
    pub dated: Option<&'static str>,
    /// Names and sentences of its fields; none where it is no object.
    pub fields: fn() -> Vec<(&'static str, &'static str)>,
}

/// The names and sentences of a table of fields.
macro_rules! fields_of {
    ($dataset:ty) => {
        || <$dataset>::FIELDS.iter().map(|field| (field.name, field.sentence)).collect()
    };
}

const fn family(name: &'static str, kind: KeyType, ttl: Ttl, sentence: &'static str) -> Family {
    let (writer, reader, removal) = (Writer::Outputs, "readers", Removal::Expiry);
    Family { name, kind, ttl, writer, reader, removal, sentence }
}

/// A dataset of the aggregator's passes that nothing but its readers depends on.
const fn plain(family: Family, interval: Interval) -> Dataset {
    let (label, aggregation, readiness, dated) = (None, None, None, None);
    Dataset { family, interval, actor: "aggregator", label, aggregation, readiness, dated, fields: Vec::new }
}

const HOUR: u64 = 3600;

domain::table! {
    /// Every dataset.
    pub DATASETS: Dataset;
    /// `dashboard:summary`
    pub SUMMARY = Dataset {
        label: Some("dashboard_summary"),
        aggregation: Some("current_metrics"),
        readiness: Some("summary"),
        dated: Some("updated_at"),
        fields: fields_of!(Summary),
        ..plain(
            family("dashboard:summary", Text, Ttl::Intervals { times: 2, least: 60 },
                "Totals, rates and recent counts of a market, as a JSON object."),
            Interval::Summary,
        )
    };
    /// `stats:current`
    pub STATS = Dataset {
        dated: Some("updated_at"),
        fields: fields_of!(Summary),
        ..plain(
            family("stats:current", Hash, SUMMARY.family.ttl,
                "The fields of the summary, one hash field each; a field without a value is absent."),
            Interval::Summary,
        )
    };
    /// `metrics:participation`
    pub PARTICIPATION = Dataset {
        label: Some("participation"),
        dated: Some("timestamp"),
        fields: fields_of!(Participation),
        ..plain(
            family("metrics:participation", Text, SUMMARY.family.ttl,
                "The own validator's part in the batches of the last 24 hours, as a JSON object."),
            Interval::Summary,
        )
    };
    /// `metrics:current_epoch`
    pub CURRENT_EPOCH = Dataset {
        actor: "epoch tracker",
        label: Some("current_epoch"),
        aggregation: Some("current_epoch"),
        readiness: Some("current epoch"),
        dated: Some("timestamp"),
        fields: fields_of!(CurrentEpoch),
        ..plain(
            family("metrics:current_epoch", Text, Ttl::Intervals { times: 2, least: 60 },
                "The current epoch, as a JSON object; no key where no epoch was ever opened."),
            Interval::CurrentEpoch,
        )
    };
    /// `stats:hourly:T`
    pub HOURLY = Dataset {
        label: Some("hourly_stats"),
        aggregation: Some("hourly_stats"),
        dated: Some("updated_at"),
        fields: fields_of!(HourStats),
        ..plain(
            // Readers ask for 48 hours.
            family("stats:hourly:*", Text, Fixed(49 * HOUR),
                "The statistics of the hour that begins at this Unix second, as a JSON object."),
            Interval::Hourly,
        )
    };
    /// `stats:daily`
    pub DAILY = Dataset {
        label: Some("daily_stats"),
        aggregation: Some("daily_stats"),
        dated: Some("updated_at"),
        fields: fields_of!(DayStats),
        ..plain(
            family("stats:daily", Text, Fixed(24 * HOUR),
                "The statistics of the last 24 hours, as a JSON object."),
            Interval::Daily,
        )
    };
    /// `epochs:gaps`
    pub GAPS = plain(
        family("epochs:gaps", Zset, Fixed(24 * HOUR),
            "The gaps `E:missing_level1`, `E:missing_level2` and `E:missing_onchain`, by the time when they were last seen."),
        Interval::Summary,
    );
}

impl PartialEq for Dataset {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Dataset {}

impl Dataset {
    /// Its key behind `P:M:`, with a `*` for an id.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.family.name
    }

    /// How often it is written.
    #[must_use]
    pub fn interval(&self, intervals: &Intervals) -> Duration {
        match self.interval {
            Interval::Summary => intervals.summary,
            Interval::Hourly => intervals.hourly,
            Interval::Daily => intervals.daily,
            Interval::CurrentEpoch => intervals.current_epoch,
        }
    }

    /// How long it lives from when it was written.
    #[must_use]
    pub fn ttl(&self, intervals: &Intervals) -> Duration {
        match self.family.ttl {
            Fixed(seconds) => Duration::from_secs(seconds),
            Ttl::Intervals { times, least } => {
                (times * self.interval(intervals)).max(Duration::from_secs(least))
            }
            // No dataset has such a one: a test says so.
            Ttl::Required | Ttl::Optional | Ttl::Forbidden => Duration::ZERO,
        }
    }
}

/// The value of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A string that holds JSON.
    Json(String),
    /// The fields of a hash.
    Fields(Vec<(&'static str, String)>),
    /// The members of a zset.
    Members(Vec<String>),
}

impl Content {
    /// As one JSON value: the fields of a hash and the members of a zset become an object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            // This program makes it, so it is JSON.
            Self::Json(text) => serde_json::from_str(text).unwrap_or_default(),
            Self::Fields(fields) => {
                object_of_fields(fields.iter().map(|(name, text)| ((*name).to_owned(), text.clone())))
            }
            Self::Members(members) => object_of_members(members.iter().cloned()),
        }
    }
}

/// The fields of a hash as an object; what is no number stays a text.
pub(crate) fn object_of_fields(fields: impl Iterator<Item = (String, String)>) -> Value {
    let number = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    Value::Object(fields.map(|(name, text)| (name, number(text))).collect::<Map<_, _>>())
}

/// The members of a zset as an object.
pub(crate) fn object_of_members(members: impl Iterator<Item = String>) -> Value {
    Value::Object(members.map(|member| (member, Value::Bool(true))).collect::<Map<_, _>>())
}

/// A dataset as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Which one.
    pub dataset: &'static Dataset,
    /// The start of its hour, where its key has one.
    pub id: Option<u64>,
    /// Its value.
    pub content: Content,
    /// How long it lives, in seconds.
    pub ttl: u64,
}

impl Made {
    /// Its key behind `P:M:`.
    #[must_use]
    pub fn name(&self) -> String {
        self.key("")
    }

    /// Its key in a space.
    pub(crate) fn key(&self, space: &str) -> String {
        key_of(self.dataset, space, self.id)
    }
}

/// The key of a dataset in a space.
pub(crate) fn key_of(dataset: &Dataset, space: &str, id: Option<u64>) -> String {
    match &id {
        Some(id) => dataset.family.key(space, &[id]),
        None => dataset.family.key(space, &[]),
    }
}

/// What a pass writes: each dataset that it made.
#[must_use]
pub fn made(all: &domain::tracker::Datasets, intervals: &Intervals) -> Vec<Made> {
    let made = |dataset: &'static Dataset, id, content| {
        let ttl = dataset.ttl(intervals).as_secs().max(1);
        Made { dataset, id, content, ttl }
    };
    let json = |value: Value| Content::Json(value.to_string());
    let gaps = all.gaps.iter().map(|(epoch, gap)| gap.member(epoch)).collect();
    let mut made_all = vec![
        made(&SUMMARY, None, json(all.summary.to_json())),
        made(&STATS, None, Content::Fields(all.summary.to_hash())),
        made(&PARTICIPATION, None, json(all.participation.to_json(all.now))),
        made(&GAPS, None, Content::Members(gaps)),
    ];
    let hours = all.hours.iter();
    made_all.extend(hours.map(|hour| made(&HOURLY, Some(hour.start), json(hour.to_json(all.now)))));
    made_all.extend(all.day.iter().map(|day| made(&DAILY, None, json(day.to_json(all.now)))));
    made_all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const INTERVALS: Intervals = Intervals {
        summary: Duration::from_secs(30),
        hourly: Duration::from_secs(300),
        daily: Duration::from_secs(3_600),
        current_epoch: Duration::from_secs(30),
    };

    #[test]
    fn every_dataset_has_a_ttl_that_is_longer_than_its_interval() {
        for dataset in DATASETS {
            let (ttl, interval) = (dataset.ttl(&INTERVALS), dataset.interval(&INTERVALS));
            assert!(ttl >= 2 * interval, "{}: {ttl:?}, written every {interval:?}", dataset.name());
        }
        let longer = Intervals { summary: Duration::from_secs(50), ..INTERVALS };
        assert_eq!((SUMMARY.ttl(&INTERVALS).as_secs(), SUMMARY.ttl(&longer).as_secs()), (60, 100));
        // All of a market's datasets expire together.
        let together =
            [&STATS, &PARTICIPATION, &CURRENT_EPOCH].map(|dataset| dataset.ttl(&INTERVALS).as_secs());
        assert_eq!(together, [60; 3]);
    }

    #[test]
    fn names_labels_and_conditions_are_unique() {
        let all = |of: fn(&Dataset) -> Option<&'static str>| {
            let values: Vec<_> = DATASETS.iter().filter_map(of).collect();
            assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), values.len(), "{values:?}");
        };
        all(|dataset| Some(dataset.name()));
        all(|dataset| dataset.label);
        all(|dataset| dataset.aggregation);
        all(|dataset| dataset.readiness);
    }

    #[test]
    fn the_field_that_says_when_a_dataset_was_written_is_one_of_its_fields() {
        for dataset in DATASETS {
            let has = |name: &str| (dataset.fields)().iter().any(|(field, _)| *field == name);
            assert!(dataset.dated.is_none_or(has), "{}", dataset.name());
        }
    }
}
