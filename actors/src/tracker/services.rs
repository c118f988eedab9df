//! What the tracker's actors work with: the shared services, the tracker's metrics, the event counters, and the rhythm of the
//! markets.

use std::{sync::Arc, time::Duration};

use store_tracker::Intervals;
use supervision::Clock;

use super::{event_counters::EventCounters, metrics::TrackerMetrics};
use crate::env::Services;

/// How often and how long, for every market.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// Between two writings of each dataset.
    pub intervals: Intervals,
    /// The least time between two passes of the current epoch that events ask for.
    pub wake_debounce: Duration,
    /// An unfinished epoch is sealed this long after its window closed.
    pub seal_after: Duration,
    /// The length of a measurement window.
    pub measurement_window: Duration,
    /// The longest pause before the next attempt after a failure of Redis.
    pub reconnect_within: Duration,
}

/// Shared by the tracker's actors. Clones share everything.
#[derive(Clone)]
pub struct TrackerServices {
    /// Redis, the metrics, the status.
    pub services: Services,
    /// The metrics of the tracker.
    pub metrics: TrackerMetrics,
    /// The events received since the process began.
    pub events: Arc<EventCounters>,
    /// The rhythm of the markets.
    pub rhythm: Rhythm,
    /// This validator's id.
    pub validator: String,
}

impl TrackerServices {
    /// Ties them together, and registers the metrics. Once for a tree.
    #[must_use]
    pub fn new(services: Services, rhythm: Rhythm, validator: String, clock: &Clock) -> Self {
        let metrics = TrackerMetrics::register(services.telemetry.meter(), clock);
        let events = Arc::new(EventCounters::new(clock));
        Self { services, metrics, events, rhythm, validator }
    }
}
