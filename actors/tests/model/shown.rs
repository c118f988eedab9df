//! What the tracker shows: every dataset as it is read back from Redis, and the difference of two of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use redis::aio::MultiplexedConnection;
use serde_json::Value;

use super::history::{History, MARKET, PROTOCOL};

/// Everything that readers can see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    pub summary: Value,
    pub stats: BTreeMap<String, Value>,
    pub participation: Value,
    pub current: Value,
    /// The statistics of the running hour and of the previous one.
    pub hours: [Value; 2],
    pub day: Value,
    pub gaps: BTreeSet<String>,
    pub counts: BTreeMap<u64, Option<u64>>,
    /// The epochs that are sealed.
    pub sealed: BTreeSet<u64>,
}

/// How much of it has to be right.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Compared {
    /// It may lack keys under a spelling that was not in use.
    Nothing,
    /// The epoch tracker may have passed before the aggregator, or failed.
    ButCurrent,
    Everything,
}

impl Compared {
    /// Without what only the epoch tracker writes.
    pub fn without_current(self) -> Self {
        if self == Self::Nothing { self } else { Self::ButCurrent }
    }
}

impl Shown {
    /// Reads all of it in one moment.
    pub async fn read(history: &History, connection: &mut MultiplexedConnection) -> Self {
        let key = |rest: &str| format!("{}:{}:{rest}", PROTOCOL[0], MARKET[0]);
        let start = history.now - history.now % 3600;
        let mut pipe = redis::pipe();
        pipe.atomic();
        for name in [
            "dashboard:summary".to_owned(),
            "metrics:participation".to_owned(),
            "metrics:current_epoch".to_owned(),
            format!("stats:hourly:{start}"),
            format!("stats:hourly:{}", start - 3600),
            "stats:daily".to_owned(),
        ] {
            pipe.get(key(&name));
        }
        let (json, stats, gaps, sealed): (Vec<Option<String>>, BTreeMap<String, String>, _, _) = {
            let mut all: Vec<redis::Value> = pipe
                .hgetall(key("stats:current"))
                .zrange(key("epochs:gaps"), 0, -1)
                .hkeys(format!("{{{}:{}}}:tracker:sealed", PROTOCOL[0], MARKET[0]))
                .query_async(connection)
                .await
                .expect("read");
            let sealed = redis::from_redis_value(all.pop().expect("answered")).expect("epochs");
            let gaps = redis::from_redis_value(all.pop().expect("answered")).expect("members");
            let stats = redis::from_redis_value(all.pop().expect("answered")).expect("fields");
            let json = all.into_iter().map(|text| redis::from_redis_value(text).expect("a text"));
            (json.collect(), stats, gaps, sealed)
        };
        let json = json.into_iter().map(|text| {
            text.map_or(Value::Null, |text| serde_json::from_str(&text).expect("a dataset is JSON"))
        });
        let [summary, participation, current, this, before, day] =
            json.collect::<Vec<_>>().try_into().expect("six of them");
        let mut counts = BTreeMap::new();
        for (epoch, made) in &history.epochs {
            if made.has_state {
                let state = history.of_epoch(&format!("epoch:{epoch}:state"));
                let mut command = redis::cmd("HGET");
                let count = command.arg(state).arg("submissions_count").query_async(connection).await;
                counts.insert(*epoch, count.expect("read"));
            }
        }
        let number = |text: String| serde_json::from_str(&text).expect("a number");
        let stats = stats.into_iter().map(|(name, text)| (name, number(text))).collect();
        Shown { summary, stats, participation, current, hours: [this, before], day, gaps, counts, sealed }
    }

    /// Which dataset of the aggregator was not written at this moment.
    pub fn stale(&self, now: i64) -> Option<&'static str> {
        let is_now = |value: &Value, field: &str| value[field] == now;
        let written = [
            ("summary", is_now(&self.summary, "updated_at")),
            ("participation", is_now(&self.participation, "timestamp")),
            ("this hour", is_now(&self.hours[0], "updated_at")),
            ("the hour before", is_now(&self.hours[1], "updated_at")),
            ("day", is_now(&self.day, "updated_at")),
        ];
        written.iter().find_map(|(name, written)| (!written).then_some(*name))
    }

    /// When the measurement window of the summary began.
    pub fn began(&self) -> i64 {
        let field = |name: &str| self.summary[name].as_i64();
        field("updated_at").zip(field("measurement_duration")).map_or(i64::MIN, |(at, since)| at - since)
    }
}

/// Whether two values are equal, except for the last bit of a fraction.
fn same(expected: &Value, shown: &Value) -> bool {
    match (expected, shown) {
        (Value::Object(fields), Value::Object(others)) => {
            fields.len() == others.len()
                && fields.iter().all(|(name, value)| others.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Number(number), Value::Number(other)) if number.is_f64() && other.is_f64() => {
            let (number, other) = (number.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
            (number - other).abs() <= 1e-12 * number.abs()
        }
        _ => expected == shown,
    }
}

/// The differences, field by field; empty without any.
pub fn difference(expected: &Shown, shown: &Shown, fading: &BTreeSet<String>, compared: Compared) -> String {
    let mut text = String::new();
    let mut note = |name: &str, expected: &Value, shown: &Value| {
        if !same(expected, shown) {
            let (Some(fields), Some(others)) = (expected.as_object(), shown.as_object()) else {
                let _ = writeln!(text, "{name}: expected {expected}, shown {shown}");
                return;
            };
            for (field, value) in fields {
                if !others.get(field).is_some_and(|other| same(value, other)) {
                    let _ = writeln!(text, "{name}.{field}: expected {value}, shown {:?}", others.get(field));
                }
            }
            for field in others.keys().filter(|field| !fields.contains_key(*field)) {
                let _ = writeln!(text, "{name}.{field}: not expected");
            }
        }
    };
    let object = |fields: &BTreeMap<String, Value>| Value::Object(fields.clone().into_iter().collect());
    note("summary", &expected.summary, &shown.summary);
    note("stats", &object(&expected.stats), &object(&shown.stats));
    note("participation", &expected.participation, &shown.participation);
    // When none is expected, an earlier one stays.
    let is_left = expected.current.is_null() && shown.current["timestamp"] != shown.summary["updated_at"];
    if compared == Compared::Everything && !is_left {
        note("current epoch", &expected.current, &shown.current);
    }
    note("this hour", &expected.hours[0], &shown.hours[0]);
    note("the hour before", &expected.hours[1], &shown.hours[1]);
    note("day", &expected.day, &shown.day);
    let gaps = |shown: &Shown| shown.gaps.difference(fading).cloned().collect::<Vec<_>>().into();
    note("gaps", &gaps(expected), &gaps(shown));
    for (epoch, count) in &expected.counts {
        note(&format!("submissions_count of {epoch}"), &(*count).into(), &shown.counts[epoch].into());
    }
    text
}
