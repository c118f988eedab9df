//! The epoch tracker: writes `metrics:current_epoch` at every interval, and earlier when an event wakes it.
//!
//! It touches the market's keys in Redis, and reads the market's windows that the collector has stored. It keeps the time of its last
//! pass and the end of the dataset's TTL.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use domain::{
    chain::ContractAddress,
    tracker::{CurrentEpoch, Phase, current_epoch, learn_from_chain},
};
use retry::{RetryPolicy, table::EPOCH_TRACKER};
use store_collector::{ChainKeys, windows};
use store_tracker::{
    Dataset, MarketKeys, MarketStore, datasets::CURRENT_EPOCH, operations::READ_NEWEST_EPOCHS,
};
use supervision::{Actor, Clock, Context, Failure, Inbox};

use super::{
    passes::{Next, PassError, Passes, keep_passing, running_interval},
    points,
    services::TrackerServices,
};
use crate::env::messages::Wake;

/// How often the dataset is written while a window is open, so that its remaining time is never far off.
const REFRESH: Duration = Duration::from_secs(5);

/// When the dataset is to be written again: at the end of an open window at the latest.
fn refresh(current: &CurrentEpoch) -> Next {
    match current.phase {
        Phase::Submission => {
            // The remaining time is in whole seconds, so the end comes within the next one.
            let end = Duration::from_secs(current.time_remaining + 1);
            Next::Within(REFRESH.min(end))
        }
        _ => Next::Regular,
    }
}

/// The epochs that a message names.
fn named(wake: Option<&Wake>) -> &BTreeSet<String> {
    static NONE: BTreeSet<String> = BTreeSet::new();
    wake.map_or(&NONE, |wake| &wake.named)
}

/// The TTL of the dataset with the original's numbers.
const ORIGINAL_TTL: Duration = Duration::from_secs(30);

/// The actor.
pub struct EpochTracker {
    tracker: TrackerServices,
    market: MarketStore,
    /// Whether the dataset shows the original's numbers.
    original: bool,
    /// The keys of the market's windows, when the chain is followed.
    chain: Option<(ChainKeys, ContractAddress)>,
    /// The time before which a message starts no pass.
    rests_until: Option<Instant>,
    /// The number of the interval in which the dataset was written last, and when it expires, in Unix time.
    expiry: Option<(u64, Duration)>,
}

impl EpochTracker {
    /// A tracker of the market with these keys.
    #[must_use]
    pub fn new(tracker: TrackerServices, keys: MarketKeys) -> Self {
        let market = MarketStore::new(keys, &tracker.validator);
        Self { tracker, market, original: false, chain: None, rests_until: None, expiry: None }
    }

    /// Chooses whether the dataset shows the original's numbers.
    #[must_use]
    pub fn as_original(self, original: bool) -> Self {
        Self { original, ..self }
    }

    /// How long the dataset lives if it is written now. The passes within one interval don't prolong it: so it expires together with
    /// the datasets of the aggregator, whose regular passes come at the same time.
    fn lifetime(&mut self, now: Duration) -> Duration {
        let intervals = &self.tracker.timing.intervals;
        let (interval, ttl) = (CURRENT_EPOCH.interval(intervals), CURRENT_EPOCH.ttl(intervals));
        let (running, _) = running_interval(now, interval, self.market());
        let (_, until) = match self.expiry {
            Some(known) if known.0 == running => known,
            _ => (running, now + ttl),
        };
        self.expiry = Some((running, until));
        until.saturating_sub(now)
    }

    /// Adds the windows of the chain as a source of released epochs.
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
        self.rests_until
    }

    async fn pass(&mut self, wake: Option<&Wake>, clock: &Clock) -> Result<Next, PassError> {
        // Set before the work, so that failed passes are limited too.
        self.rests_until = Some(clock.now() + self.tracker.timing.wake_debounce);
        let (began, now) = (Instant::now(), clock.unix());
        points::EPOCH_TRACKER_BEFORE_READ.pass().await?;
        let services = self.tracker.services.clone();
        let mut session = services.store.session(READ_NEWEST_EPOCHS).await?;
        services.telemetry.pool_waited(began.elapsed());
        let second = now.as_secs_f64();
        let mut next = Next::Regular;
        let (current, ttl, faults) = if self.original {
            let (current, faults) = self.market.original_current(&mut session, second).await?;
            (current, ORIGINAL_TTL, faults)
        } else {
            let (mut candidates, faults) = self.market.latest(&mut session, second, named(wake)).await?;
            if let Some((keys, market)) = &self.chain {
                // Adds to the producers' keys, which may come later than the release, or not at all.
                learn_from_chain(&mut candidates, &windows(&mut session, keys, market).await?, second);
            }
            let current = current_epoch(&candidates, second);
            next = current.as_ref().map_or(next, refresh);
            let current = current.map(|current| current.to_json(second).to_string());
            (current, self.lifetime(now), faults)
        };
        services.note_faults(&faults);
        points::EPOCH_TRACKER_BEFORE_COMMIT.pass().await?;
        // A market without any epoch has no current one. The pass still counts as written, or such a market would never be
        // ready.
        if let Some(current) = current {
            self.market.write_current_epoch(&mut session, &current, ttl).await?;
            self.tracker.metrics.dataset_written(self.market(), &CURRENT_EPOCH, now);
        }
        points::EPOCH_TRACKER_AFTER_COMMIT.pass().await?;
        services.telemetry.round_trips("current_epoch", session.round_trips());
        self.tracker.metrics.pass_took(&CURRENT_EPOCH, began.elapsed());
        Ok(next)
    }
}

impl Actor for EpochTracker {
    type Message = Wake;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Wake>) -> Result<(), Failure> {
        keep_passing(self, cx, inbox).await
    }
}
