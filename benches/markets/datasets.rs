//! When the datasets of all markets were written, by what they say themselves.

use std::sync::Arc;

use redis::{FromRedisValue, Value, aio::MultiplexedConnection};

use crate::{
    figures::{Figures, Spread},
    producers::{Market, unix_exact},
    wire::Tally,
};

/// A dataset of each market.
struct Dataset {
    name: &'static str,
    /// Seconds, by the defaults of the settings.
    interval: f64,
    key: Key,
    /// The field with its time.
    field: &'static str,
}

enum Key {
    Text(&'static str),
    /// The key of each hour ends with its beginning.
    OfHour(&'static str),
    Hash(&'static str),
}

const DATASETS: [Dataset; 5] = [
    Dataset { name: "summary", interval: 30.0, key: Key::Hash("stats:current"), field: "updated_at" },
    Dataset {
        name: "participation",
        interval: 30.0,
        key: Key::Text("metrics:participation"),
        field: "timestamp",
    },
    Dataset {
        name: "current epoch",
        interval: 30.0,
        key: Key::Text("metrics:current_epoch"),
        field: "timestamp",
    },
    Dataset { name: "hour", interval: 300.0, key: Key::OfHour("stats:hourly:"), field: "updated_at" },
    Dataset { name: "day", interval: 3_600.0, key: Key::Text("stats:daily"), field: "updated_at" },
];
/// A dataset has whole seconds, and a pass takes a while.
const SLACK: f64 = 2.0;
/// Markets a pipeline.
const AT_ONCE: usize = 200;

/// Reads the datasets of all markets.
pub(crate) struct Reader {
    redis: MultiplexedConnection,
    markets: Arc<Vec<Market>>,
    tally: Tally,
}

/// The ages of each dataset over all markets and readings, in seconds.
#[derive(Default)]
pub(crate) struct Ages {
    of: [Vec<f64>; DATASETS.len()],
    missing: [usize; DATASETS.len()],
    readings: usize,
}

impl Reader {
    pub(crate) fn new(redis: MultiplexedConnection, markets: &Arc<Vec<Market>>, tally: &Tally) -> Self {
        Self { redis, markets: markets.clone(), tally: tally.clone() }
    }

    /// Calls `each` with a dataset, when it was written, if it is there, and when it was read.
    async fn read(&mut self, mut each: impl FnMut(usize, Option<f64>, f64)) {
        for markets in self.markets.chunks(AT_ONCE) {
            // In the first minute of an hour its key may still be missing.
            let hour = (unix_exact() as u64 - 60) / 3_600 * 3_600;
            let mut pipe = redis::pipe();
            for market in markets {
                for dataset in &DATASETS {
                    match dataset.key {
                        Key::Text(key) => pipe.get(market.key(key)),
                        Key::OfHour(key) => pipe.get(market.key(&format!("{key}{hour}"))),
                        Key::Hash(key) => pipe.hget(market.key(key), dataset.field),
                    };
                }
            }
            let values: Vec<Value> = pipe.query_async(&mut self.redis).await.expect("read");
            let hashes = DATASETS.iter().filter(|dataset| matches!(dataset.key, Key::Hash(_))).count();
            self.tally.add("hget", markets.len() * hashes);
            self.tally.add("get", markets.len() * (DATASETS.len() - hashes));
            let now = unix_exact();
            for (at, value) in values.into_iter().enumerate() {
                let number = at % DATASETS.len();
                each(number, written(&DATASETS[number], value), now);
            }
        }
    }

    /// Whether each dataset of each market was written since then, in Unix seconds.
    pub(crate) async fn are_written_since(&mut self, since: f64) -> bool {
        let mut is_fresh = true;
        self.read(|_, written, _| is_fresh &= written.is_some_and(|at| at >= since.floor())).await;
        is_fresh
    }

    pub(crate) async fn add_ages(&mut self, ages: &mut Ages) {
        ages.readings += 1;
        let Ages { of, missing, .. } = ages;
        self.read(|number, written, now| match written {
            Some(at) => of[number].push(now - at),
            None => missing[number] += 1,
        })
        .await;
    }
}

/// When the dataset says that it was written.
fn written(dataset: &Dataset, value: Value) -> Option<f64> {
    let text = Option::<String>::from_redis_value(value).expect("a text")?;
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // A field of a hash is the number itself.
    value.get(dataset.field).unwrap_or(&value).as_f64()
}

impl Ages {
    pub(crate) fn show(self, figures: &mut Figures) {
        println!("age of the datasets of all markets, in {} readings", self.readings);
        for ((dataset, ages), missing) in DATASETS.iter().zip(self.of).zip(self.missing) {
            let spread = Spread::of(ages);
            figures.figure(
                &format!(
                    "{}: p50 {:.1} s, p99 {:.1} s, largest {:.1} s, {missing} missing (at most {:.0} s, and {SLACK:.0} s for whole \
                     seconds and the pass; 0)",
                    dataset.name, spread.p50, spread.p99, spread.largest, dataset.interval
                ),
                spread.largest <= dataset.interval + SLACK && missing == 0,
            );
        }
    }
}
