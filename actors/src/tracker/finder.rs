//! The finder: finds epochs that only the names of their keys show, and names them to the actors of their market.
//!
//! It scans the names of all keys of each server, and asks the ledgers which of the epochs they don't know. It writes nothing and
//! remembers nothing: an interrupted scan starts again from its beginning, and an epoch that no pass has taken up is found again. It
//! works in slices with pauses, so that Redis spends at most a fiftieth of the time on it, and holds the names of one slice at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use retry::table::FINDER;
use store_redis::{Inspector, StoreError};
use store_tracker::{EPOCH_KEYS, EpochNames, operations::FIND_EPOCHS, unknown_epochs};
use supervision::{Context, Failure, Worker};

use super::{
    market_registry::{MarketEdges, MarketRegistry},
    points::FINDER_POINTS,
    services::TrackerServices,
};
use crate::env::{messages::Wake, periodic::run_periodically};

/// How many keys one step scans.
const SLICE: usize = 1_000;
/// How many times as long as a step the pause after it is.
const REST: u32 = 50;
/// The longest pause: a slow answer may have waited for something else.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The actor.
pub struct Finder {
    tracker: TrackerServices,
    registry: MarketRegistry,
    every: Duration,
}

impl Finder {
    /// A finder for the markets of this registry, with this interval between two scans.
    #[must_use]
    pub fn new(tracker: TrackerServices, registry: MarketRegistry, every: Duration) -> Self {
        Self { tracker, registry, every }
    }

    /// One scan of all keys.
    async fn run_once(&self, cx: &Context) -> Result<(), StoreError> {
        // A market that is added meanwhile is searched by the next scan.
        let markets = self.registry.now();
        let names = EpochNames::of(markets.iter().map(|market| &market.keys));
        for mut server in self.tracker.services.store.inspectors().await? {
            self.search(cx, &mut server, &markets, &names).await?;
        }
        Ok(())
    }

    async fn search(
        &self,
        cx: &Context,
        server: &mut Inspector,
        markets: &[MarketEdges],
        names: &EpochNames,
    ) -> Result<(), StoreError> {
        let mut cursor = 0;
        loop {
            let began = Instant::now();
            let (next, keys) = server.scan(cursor, EPOCH_KEYS, SLICE).await?;
            self.name(&keys, markets, names).await?;
            if next == 0 {
                return Ok(());
            }
            cursor = next;
            cx.clock().sleep((began.elapsed() * REST).min(LONGEST_REST)).await;
            cx.progress();
        }
    }

    /// Names the epochs of these keys that the ledgers don't have to the actors of their markets.
    async fn name(
        &self,
        keys: &[Vec<u8>],
        markets: &[MarketEdges],
        names: &EpochNames,
    ) -> Result<(), StoreError> {
        let mut found: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (market, epoch) in keys.iter().filter_map(|key| names.read(key)) {
            found.entry(market).or_default().insert(epoch.to_owned());
        }
        if found.is_empty() {
            return Ok(());
        }
        let services = &self.tracker.services;
        let (positions, asked): (Vec<usize>, Vec<_>) =
            found.into_iter().map(|(market, epochs)| (market, (&markets[market].keys, epochs))).unzip();
        let mut session = services.store.session(FIND_EPOCHS).await?;
        let (unknown, faults) = unknown_epochs(&mut session, &asked).await?;
        services.note_faults(&faults);
        for (market, named) in positions.into_iter().zip(unknown).filter(|(_, named)| !named.is_empty()) {
            let MarketEdges { keys, finder, .. } = &markets[market];
            tracing::debug!(
                market = keys.market().checksummed(),
                epochs = named.len(),
                "found epochs by their keys"
            );
            finder.wake(&Wake { named });
        }
        Ok(())
    }
}

impl Worker for Finder {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let services = &self.tracker.services;
        // At once: until then a market of such producers has no current epoch.
        let pauses = [Duration::ZERO, self.every];
        run_periodically(cx, services, pauses, FINDER, &FINDER_POINTS, || self.run_once(cx)).await
    }
}
