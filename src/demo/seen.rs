//! Reads the results from Redis as other programs do: the datasets of each market, and the batches for finalizers and relayers.
//!
//! It shares no key and no type with the stores, so that a wrong key in a store is found.

use std::collections::{BTreeMap, BTreeSet};

use color_eyre::eyre::{Result, WrapErr};
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use serde_json::Value;
use testkit::Contracts;

use super::collector::Epoch;

/// One market's datasets in Redis.
#[derive(Clone, Debug, Default)]
pub(super) struct Datasets {
    pub(super) summary: Option<Value>,
    pub(super) stats: BTreeMap<String, String>,
    pub(super) current_epoch: Option<Value>,
}

impl Datasets {
    /// Reads the datasets of all markets.
    pub(super) async fn read(
        connection: &mut MultiplexedConnection,
        contracts: &Contracts,
    ) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for market in &contracts.markets {
            let key = |rest: &str| format!("{}:{market}:{rest}", contracts.protocol_state);
            let (summary, stats, current_epoch): (Option<String>, BTreeMap<String, String>, Option<String>) =
                redis::pipe()
                    .get(key("dashboard:summary"))
                    .hgetall(key("stats:current"))
                    .get(key("metrics:current_epoch"))
                    .query_async(connection)
                    .await
                    .wrap_err("the datasets could not be read")?;
            let json = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
            all.push(Self { summary: json(summary)?, stats, current_epoch: json(current_epoch)? });
        }
        Ok(all)
    }
}

/// A batch in the finalizers' queue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    #[serde(rename = "DataMarketAddress")]
    market: String,
    #[serde(rename = "EpochID")]
    epoch: u64,
    #[serde(rename = "BatchID")]
    pub(super) number: u64,
    #[serde(rename = "Batch")]
    pub(super) projects: BTreeMap<String, Vec<String>>,
}

impl Job {
    /// Its epoch.
    pub(super) fn epoch(&self) -> Epoch {
        // Batches spell the market in checksum form, the collector's keys in lower case.
        (self.market.to_lowercase(), self.epoch)
    }

    pub(super) fn submissions(&self) -> usize {
        self.projects.values().map(Vec::len).sum()
    }
}

/// The batches in the finalizers' queue beyond the `known` oldest ones, the oldest first. No finalizer runs, so the queue only
/// grows.
pub(super) async fn jobs(connection: &mut MultiplexedConnection, known: usize) -> Result<Vec<Job>> {
    // LPUSH puts new batches in front: the known ones are the last of the list.
    let upto = -1 - i64::try_from(known)?;
    let mut command = redis::cmd("LRANGE");
    let texts: redis::RedisResult<Vec<String>> =
        command.arg("finalizerQueue").arg(0).arg(upto).query_async(connection).await;
    let texts = texts.wrap_err("the queue could not be read")?;
    let job = |text: &String| {
        serde_json::from_str(text).wrap_err_with(|| format!("a finalizer could not read the batch `{text}`"))
    };
    texts.iter().rev().map(job).collect()
}

/// Counts of the queued batches of each market, updated at each look.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    known: usize,
    markets: BTreeMap<String, Queued>,
}

/// The queued batches of one market.
#[derive(Clone, Debug, Default)]
pub(super) struct Queued {
    pub(super) epochs: BTreeSet<u64>,
    pub(super) batches: usize,
    pub(super) submissions: usize,
}

impl Tally {
    /// Counts the batches that are new since the last call.
    pub(super) async fn count_new(&mut self, connection: &mut MultiplexedConnection) -> Result<()> {
        for job in jobs(connection, self.known).await? {
            self.known += 1;
            let (market, epoch) = job.epoch();
            let queued = self.markets.entry(market).or_default();
            queued.epochs.insert(epoch);
            queued.batches += 1;
            queued.submissions += job.submissions();
        }
        Ok(())
    }

    /// The count of a market.
    pub(super) fn of(&self, market: &str) -> Queued {
        self.markets.get(&market.to_lowercase()).cloned().unwrap_or_default()
    }
}

/// The results of the collector in Redis.
#[derive(Clone, Debug, Default)]
pub(super) struct Deliveries {
    /// Number and hash of the last accepted block.
    pub(super) checkpoint: Option<(u64, String)>,
    /// The whole queue.
    pub(super) jobs: Vec<Job>,
    /// `BatchCountKey` of the epochs that have one.
    pub(super) counts: BTreeMap<Epoch, u64>,
    /// `SlotSubmissionsKey`, by whole keys.
    pub(super) slots: BTreeMap<String, u64>,
}

impl Deliveries {
    /// Reads the results.
    pub(super) async fn read(connection: &mut MultiplexedConnection) -> Result<Self> {
        let mut all = Self { jobs: jobs(connection, 0).await?, ..Self::default() };
        let checkpoint: Option<String> =
            redis::cmd("GET").arg("tracker:chain:checkpoint").query_async(connection).await?;
        if let Some(checkpoint) = checkpoint {
            let block: Value = serde_json::from_str(&checkpoint)?;
            all.checkpoint = block["number"].as_u64().zip(block["hash"].as_str().map(str::to_owned));
        }
        for (key, count) in numbers(connection, "BatchCountKey.*").await? {
            let epoch = key.rsplit_once('.').and_then(|(rest, epoch)| {
                Some((rest.strip_prefix("BatchCountKey.")?.to_owned(), epoch.parse().ok()?))
            });
            // A key of another form is no released epoch, and so becomes a finding.
            all.counts.insert(epoch.unwrap_or_else(|| (key.clone(), 0)), count);
        }
        all.slots = numbers(connection, "SlotSubmissionsKey.*").await?;
        Ok(all)
    }
}

/// The keys of this pattern, with their numbers.
async fn numbers(connection: &mut MultiplexedConnection, pattern: &str) -> Result<BTreeMap<String, u64>> {
    // KEYS blocks the server, which is acceptable in a server of the demo's own.
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(connection).await?;
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let values: Vec<u64> = redis::cmd("MGET").arg(&keys).query_async(connection).await?;
    Ok(keys.into_iter().zip(values).collect())
}
