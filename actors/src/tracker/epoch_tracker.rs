//! The epoch tracker: writes `metrics:current_epoch`, every interval and at once when an event wakes it.
//!
//! Touches the market's keys in Redis, and nothing else. What it keeps between two
//! passes is when the last one was.

use std::time::{Duration, Instant};

use domain::{
    chain::ContractAddress,
    tracker::{current_epoch, learn_from_chain},
};
use retry::{RetryPolicy, table::EPOCH_TRACKER};
use store_collector::{ChainKeys, windows};
use store_tracker::{
    Dataset, MarketKeys, MarketStore, datasets::CURRENT_EPOCH, operations::READ_NEWEST_EPOCHS,
};
use supervision::{Actor, Clock, Context, Failure};

use super::{
    passes::{Next, PassError, Passes, keep_passing},
    points,
    services::TrackerServices,
};
use crate::env::messages::Look;

/// How long the dataset lives where the original's numbers are shown.
const ORIGINAL_TTL: Duration = Duration::from_secs(30);

/// The actor.
pub struct EpochTracker {
    tracker: TrackerServices,
    market: MarketStore,
    /// The original's numbers are shown.
    original: bool,
    /// Where the chain's windows of the market stand, when the chain is followed.
    chain: Option<(ChainKeys, ContractAddress)>,
    /// Messages don't start a pass before this.
    rested: Option<Instant>,
}

impl EpochTracker {
    /// A tracker of the market with these keys.
    #[must_use]
    pub fn new(tracker: TrackerServices, keys: MarketKeys) -> Self {
        let market = MarketStore::new(keys, &tracker.validator);
        Self { tracker, market, original: false, chain: None, rested: None }
    }

    /// The same, showing the original's numbers.
    #[must_use]
    pub fn as_original(self, original: bool) -> Self {
        Self { original, ..self }
    }

    /// The same, learning of released epochs from the chain too.
    #[must_use]
    pub fn with_chain(self, keys: ChainKeys, market: ContractAddress) -> Self {
        Self { chain: Some((keys, market)), ..self }
    }
}

impl Passes for EpochTracker {
    const DATASET: Dataset = CURRENT_EPOCH;
    const RETRY: RetryPolicy = EPOCH_TRACKER;

    fn tracker(&self) -> &TrackerServices {
        &self.tracker
    }

    fn market(&self) -> &str {
        self.market.keys().market().checksummed()
    }

    fn rests_until(&self) -> Option<Instant> {
        self.rested
    }

    async fn pass(&mut self, _look: Option<&Look>, clock: &Clock) -> Result<Next, PassError> {
        self.rested = Some(clock.now() + self.tracker.rhythm.wake_debounce);
        let (began, now) = (Instant::now(), clock.unix());
        points::EPOCH_TRACKER_BEFORE_READ.pass().await?;
        let services = &self.tracker.services;
        let mut session = services.store.session(READ_NEWEST_EPOCHS).await?;
        services.telemetry.pool_waited(began.elapsed());
        let second = now.as_secs_f64();
        let (current, ttl, faults) = if self.original {
            let (current, faults) = self.market.original_current(&mut session, second).await?;
            (current, ORIGINAL_TTL, faults)
        } else {
            let (mut candidates, faults) = self.market.latest(&mut session, second).await?;
            if let Some((keys, market)) = &self.chain {
                learn_from_chain(&mut candidates, &windows(&mut session, keys, market).await?);
            }
            let current =
                current_epoch(&candidates, second).map(|current| current.to_json(second).to_string());
            (current, CURRENT_EPOCH.ttl(&self.tracker.rhythm.intervals), faults)
        };
        services.note_faults(&faults);
        points::EPOCH_TRACKER_BEFORE_COMMIT.pass().await?;
        // A market in which no epoch was ever opened has no current one.
        if let Some(current) = current {
            self.market.write_current_epoch(&mut session, &current, ttl).await?;
            self.tracker.metrics.dataset_written(self.market(), &CURRENT_EPOCH, now);
        }
        points::EPOCH_TRACKER_AFTER_COMMIT.pass().await?;
        services.telemetry.round_trips("current_epoch", session.round_trips());
        self.tracker.metrics.pass_took(&CURRENT_EPOCH, began.elapsed());
        Ok(Next::Interval)
    }
}

impl Actor for EpochTracker {
    type Message = Look;

    async fn run(&mut self, cx: &mut Context<Look>) -> Result<(), Failure> {
        keep_passing(self, cx).await
    }
}
