//! Reads a market, computes its datasets for several moments, and collects the versions to compare. Only reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::env::stale_after;
use color_eyre::eyre::Result;
use domain::tracker::{Due, EventsSinceStart, HourStats, Totals, current_epoch};
use serde_json::Value;
use store_redis::{ErrorKind, Session, Store, StoreError};
use store_tracker::{
    DATASETS, MarketKeys, MarketStore, Scope,
    datasets::{CURRENT_EPOCH, Made, made},
    inspect, operations,
};

use super::{Facts, Row, Versions, compare, versions};
use crate::{
    config::{Compat, Config},
    service::{connect, intervals, market_keys},
};

/// Datasets by their keys without `P:M:`.
type Datasets = BTreeMap<String, Value>;

/// Reads the datasets of a market in all versions, and compares them.
///
/// # Errors
/// A server that does not answer, or an unreadable ledger.
pub async fn diff(config: &Config, market: &str) -> Result<Vec<Row>> {
    let store: Store = connect(config)?;
    let keys = market_keys(config, market);
    let mut session = store.session(operations::READ_DATASETS).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (now, second) = (now.as_secs_f64(), now.as_secs());
    let hours = HourStats::hours(second).map(|(start, _)| start);

    // The stored datasets first: an input that arrives in between is then newer than they are, which explains a difference.
    let mut stored: Datasets = inspect::datasets(&mut session, &keys, &hours).await?.into_iter().collect();
    let Computed { datasets: mut computed, gaps, ledger_born } =
        Market { config, keys: &keys, session: &mut session }.computed(now).await?;
    let mut original = original(&mut session, config, &keys, now, gaps).await?;
    let written: BTreeSet<u64> =
        stored.values().filter_map(versions::written).filter(|written| *written <= second).collect();
    let mut then: BTreeMap<u64, [Datasets; 2]> = BTreeMap::new();
    for second in &written {
        // A dataset says in which second it was written, so it is computed for the start and the end of that second.
        let mut market = Market { config, keys: &keys, session: &mut session };
        let begin = market.computed(*second as f64).await?.datasets;
        let end = market.computed((*second as f64 + 0.999).min(now)).await?.datasets;
        then.insert(*second, [begin, end]);
    }
    // Datasets of one pass share their second, so a few moments are enough for all of them.
    let moments: Vec<u64> = written.into_iter().collect();
    let since = inspect::entries_since(&mut session, &keys, &config.tracker.sequencer_id, &moments).await?;
    let entries =
        inspect::raw_entries(&mut session, &keys, second.saturating_sub(domain::tracker::DAY)).await?;

    // Before the next connections are taken: a pool of one connection is allowed.
    drop(session);
    let trackers = trackers(&store, &keys).await?;
    let names: Vec<String> = computed.keys().cloned().collect();
    let all: Vec<Versions> = names
        .into_iter()
        .map(|dataset| {
            let stored = stored.remove(&dataset).unwrap_or_default();
            let then = versions::written(&stored).and_then(|written| then.get(&written));
            let then =
                then.map(|both| both.each_ref().map(|all| all.get(&dataset).cloned().unwrap_or_default()));
            let interval = interval(config, &dataset);
            Versions {
                computed: computed.remove(&dataset).unwrap_or_default(),
                original: original.remove(&dataset).unwrap_or_default(),
                at_writing: then.unwrap_or_default(),
                limit: stale_after(interval).as_secs_f64().ceil() as u64,
                interval,
                stored,
                dataset,
            }
        })
        .collect();
    let compat = config.market(market).compat == Compat::Go;
    let since = moments.into_iter().zip(since).collect();
    let ledger_age = ledger_born.map(|born| (now - born).max(0.0) as u64);
    Ok(compare(&all, &Facts { now: second, compat, trackers, ledger_age, entries, since }))
}

/// How many trackers are subscribed to the market's channel; `None` if the user may not ask.
async fn trackers(store: &Store, keys: &MarketKeys) -> Result<Option<u64>, StoreError> {
    let (mut sum, keys) = (0, std::slice::from_ref(keys));
    // PUBSUB NUMSUB counts the clients of one node only: in a cluster the sum over all nodes is the number.
    for mut inspector in store.inspectors().await? {
        match inspect::subscribers(&mut inspector, keys).await {
            Ok(counts) => sum += counts.iter().sum::<u64>(),
            Err(error) if error.kind == ErrorKind::Denied => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(sum))
}

/// How often a dataset is written.
fn interval(config: &Config, dataset: &str) -> Duration {
    // By family and not by name: the names of hourly statistics contain their hour.
    let row = DATASETS.iter().find(|row| row.family.matches(dataset));
    row.map_or(Duration::ZERO, |row| row.interval(&intervals(config)))
}

/// The datasets of a pass and the current epoch, by the names of their keys.
fn by_name(all: &[Made], current: Value) -> Datasets {
    let made = all.iter().map(|made| (made.name(), made.content.to_value()));
    made.chain([(CURRENT_EPOCH.name().to_owned(), current)]).collect()
}

/// What a tracker would write.
struct Computed {
    datasets: Datasets,
    /// The number of open gaps.
    gaps: u64,
    /// When the ledger was created, in Unix seconds; `None` if there is none.
    ledger_born: Option<f64>,
}

/// A market that is read in the same way as by a tracker.
struct Market<'a> {
    config: &'a Config,
    keys: &'a MarketKeys,
    session: &'a mut Session,
}

impl Market<'_> {
    /// The datasets for the moment `at`, computed from the present keys.
    async fn computed(&mut self, at: f64) -> Result<Computed, StoreError> {
        let validator = &self.config.tracker.sequencer_id;
        let ledger = &self.config.ledger;
        // A new store for each moment, since a store caches the spellings and ids of earlier reads.
        let reader = MarketStore::new(self.keys.clone(), validator);
        let pass = reader.read(self.session, at, Scope::everything()).await?;
        let (candidates, _) = reader.latest(self.session, at, &BTreeSet::new()).await?;

        let totals = Totals::of(&pass.seen, validator, ledger.seal_delay.as_secs_f64());
        let window = ledger.measurement_window.as_secs_f64();
        let datasets = domain::tracker::Datasets::of(&pass.seen, &totals, window, Due::ALL);
        let current = current_epoch(&candidates, at).map_or(Value::Null, |current| current.to_json(at));
        let all = by_name(&made(&datasets, &intervals(self.config)), current);
        Ok(Computed { datasets: all, gaps: datasets.gaps.len() as u64, ledger_born: pass.mark.born })
    }
}

/// The datasets of an original that has just started.
async fn original(
    session: &mut Session,
    config: &Config,
    keys: &MarketKeys,
    now: f64,
    gaps: u64,
) -> Result<Datasets, StoreError> {
    let reader = MarketStore::new(keys.clone(), &config.tracker.sequencer_id);
    // The original keeps its totals in memory: they are unknown, so it is compared as if it had just started.
    let heard = EventsSinceStart { began: now, ..EventsSinceStart::default() };
    let (datasets, _) = reader.original(session, now, &heard, gaps).await?;
    let (current, _) = reader.original_current(session, now).await?;
    let current = current.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Ok(by_name(&datasets.made(), current))
}
