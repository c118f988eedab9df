//! The epoch tracker: writes `metrics:current_epoch`, every interval and at once when an event wakes it.
//!
//! Touches the market's keys in Redis, and nothing else. What it keeps between two
//! passes is when the last one was.

use std::time::{Duration, Instant};

use domain::current_epoch;
use store::{MarketKeys, MarketStore};
use supervision::{Actor, Clock, Context, Failure, fail};

use super::pace::{Next, PassError, Passes, keep_passing};
use crate::{
    messages::Look,
    services::Services,
    telemetry::{Aggregation, Dataset as Name},
};

/// The dataset's name in the status.
pub(crate) const DATASET: &str = "current epoch";

/// The actor.
pub struct EpochTracker {
    services: Services,
    market: MarketStore,
    /// Messages don't start a pass before this.
    rested: Option<Instant>,
}

impl EpochTracker {
    /// A tracker of the market with these keys.
    #[must_use]
    pub fn new(services: Services, keys: MarketKeys) -> Self {
        let market = MarketStore::new(keys, &services.validator);
        Self { services, market, rested: None }
    }
}

impl Passes for EpochTracker {
    const DATASET: &'static str = DATASET;

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
        let mut session = self.services.store.session("read the newest epochs").await?;
        self.services.telemetry.pool_waited(began.elapsed());
        let (candidates, faults) = self.market.latest(&mut session, now.as_secs_f64()).await?;
        self.services.note_faults(&faults);
        fail::point("epoch_tracker::before_commit").await?;
        let telemetry = &self.services.telemetry;
        // A market in which no epoch was ever opened has no current one.
        if let Some(current) = current_epoch(&candidates, now.as_secs_f64()) {
            let ttl = self.services.rhythm.current_epoch_ttl();
            self.market.write_current_epoch(&mut session, &current, now.as_secs_f64(), ttl).await?;
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
