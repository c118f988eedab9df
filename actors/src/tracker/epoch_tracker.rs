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
use store_tracker::{MarketKeys, MarketStore, operations::READ_NEWEST_EPOCHS};
use supervision::{Actor, Clock, Context, Failure, fail};

use super::passes::{Next, PassError, Passes, keep_passing};
use crate::env::{
    messages::Look,
    services::Services,
    telemetry::{Aggregation, Dataset as Name},
};

/// The dataset's name in the status.
pub(crate) const DATASET: &str = "current epoch";

/// How long the dataset lives where the original's numbers are shown.
const ORIGINAL_TTL: Duration = Duration::from_secs(30);

/// The actor.
pub struct EpochTracker {
    services: Services,
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
    pub fn new(services: Services, keys: MarketKeys) -> Self {
        let market = MarketStore::new(keys, &services.validator);
        Self { services, market, original: false, chain: None, rested: None }
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
    const DATASET: &'static str = DATASET;
    const RETRY: RetryPolicy = EPOCH_TRACKER;

    fn services(&self) -> &Services {
        &self.services
    }

    fn market(&self) -> &str {
        self.market.keys().market().checksummed()
    }

    fn interval(&self) -> Duration {
        self.services.rhythm.current_epoch
    }

    fn rests_until(&self) -> Option<Instant> {
        self.rested
    }

    async fn pass(&mut self, _look: Option<&Look>, clock: &Clock) -> Result<Next, PassError> {
        self.rested = Some(clock.now() + self.services.rhythm.wake_debounce);
        let (began, now) = (Instant::now(), clock.unix());
        fail::point("epoch_tracker::before_read").await?;
        let mut session = self.services.store.session(READ_NEWEST_EPOCHS).await?;
        self.services.telemetry.pool_waited(began.elapsed());
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
            (current, self.services.rhythm.current_epoch_ttl(), faults)
        };
        self.services.note_faults(&faults);
        fail::point("epoch_tracker::before_commit").await?;
        let telemetry = &self.services.telemetry;
        // A market in which no epoch was ever opened has no current one.
        if let Some(current) = current {
            self.market.write_current_epoch(&mut session, &current, ttl).await?;
            telemetry.dataset_generated(Name::CurrentEpoch);
            telemetry.dataset_written(self.market(), Name::CurrentEpoch, now);
        }
        fail::point("epoch_tracker::after_commit").await?;
        telemetry.round_trips("current_epoch", session.round_trips());
        telemetry.aggregation_took(Aggregation::CurrentEpoch, began.elapsed());
        Ok(Next::Interval)
    }
}

impl Actor for EpochTracker {
    type Message = Look;

    async fn run(&mut self, cx: &mut Context<Look>) -> Result<(), Failure> {
        keep_passing(self, cx).await
    }
}
