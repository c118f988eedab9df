//! The datasets that readers of a market see, and entries of its timelines that lie in the future.

use redis::Value;
use serde_json::Value as Json;

use crate::{
    datasets::{DATASETS, Dataset},
    keys::{MarketKeys, OutputKeys},
    operations,
};
use store_redis::{Batch, Replies, Session, StoreError};

/// A dataset that readiness depends on, as its readers find it.
#[derive(Clone, Debug)]
pub struct WatchedDataset {
    /// Which one.
    pub dataset: &'static Dataset,
    /// Its key.
    pub key: String,
    /// Its value; `None` if the key is missing, or holds no JSON.
    pub json: Option<Json>,
    /// Whether the key exists.
    pub exists: bool,
}

/// A timeline with entries ahead of the clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Ahead {
    /// Its key.
    pub key: String,
    /// How many entries.
    pub entries: u64,
    /// The highest score, in Unix seconds.
    pub highest: f64,
}

/// The datasets that readiness depends on, under each spelling in which they are written: one round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn watched_datasets(
    session: &mut Session,
    keys: &MarketKeys,
) -> Result<Vec<Vec<WatchedDataset>>, StoreError> {
    let operation = operations::READ_DATASETS;
    let watched = || DATASETS.iter().filter(|dataset| dataset.readiness.is_some());
    let keys_of = |output: OutputKeys<'_>| -> Vec<(&'static Dataset, String)> {
        watched().map(|dataset| (dataset, output.dataset(dataset, None))).collect()
    };
    let outputs: Vec<_> = keys.outputs().map(keys_of).collect();
    let mut batch = Batch::new();
    for (_, key) in outputs.iter().flatten() {
        batch.cmd("GET", key);
    }
    let answers = session.run(operation, keys.market().checksummed(), batch).await?;
    let mut replies = Replies::new(operation, answers);
    let mut take = |(dataset, key): (&'static Dataset, String)| -> Result<WatchedDataset, StoreError> {
        // A key of another type exists, too.
        let answer = replies.raw(&key)?;
        let exists = answer.as_ref() != Some(&Value::Nil);
        let json = match answer {
            Some(Value::BulkString(text)) => serde_json::from_slice(&text).ok(),
            _ => None,
        };
        Ok(WatchedDataset { dataset, key, json, exists })
    };
    outputs.into_iter().map(|output| output.into_iter().map(&mut take).collect()).collect()
}

/// Which timelines have entries later than `now` (Unix seconds): one round trip.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn ahead(
    session: &mut Session,
    keys: &MarketKeys,
    validator: &str,
    now: f64,
) -> Result<Vec<Ahead>, StoreError> {
    let operation = operations::COUNT_FUTURE_ENTRIES;
    let timelines: Vec<String> = keys.pruned_inputs(validator).map(|(_, key)| key).collect();
    let mut batch = Batch::new();
    for key in &timelines {
        batch.cmd("ZCOUNT", key).arg(format!("({now}")).arg("+inf");
        batch.cmd("ZREVRANGE", key).arg(0).arg(0).arg("WITHSCORES");
    }
    let answers = session.run(operation, keys.market().checksummed(), batch).await?;
    let mut replies = Replies::new(operation, answers);
    let mut ahead = Vec::new();
    for key in timelines {
        let entries = replies.take::<u64>(&key)?.unwrap_or(0);
        let newest = replies.take::<Vec<(Vec<u8>, f64)>>(&key)?.unwrap_or_default();
        if let Some((_, highest)) = newest.first().filter(|_| entries > 0) {
            ahead.push(Ahead { key, entries, highest: *highest });
        }
    }
    Ok(ahead)
}
