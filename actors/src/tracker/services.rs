//! What the tracker's actors share: services, metrics, event counters, intervals and delays.

use std::{sync::Arc, time::Duration};

use store_tracker::Intervals;
use supervision::Clock;

use super::{event_counters::EventCounters, metrics::TrackerMetrics};
use crate::env::Services;

/// The intervals and delays of every market.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The interval of each dataset.
    pub intervals: Intervals,
    /// The shortest time from one pass of the epoch tracker to the next that an event starts.
    pub wake_debounce: Duration,
    /// The time after the end of its window at which an epoch without all batches is sealed.
    pub seal_after: Duration,
    /// The length of a measurement window.
    pub measurement_window: Duration,
    /// The longest pause before a retry after a failure of Redis.
    pub reconnect_within: Duration,
}

/// The services that the tracker's actors share. A clone shares them.
#[derive(Clone)]
pub struct TrackerServices {
    /// Redis, the metrics of the process, readiness, the log.
    pub services: Services,
    /// The metrics of the tracker.
    pub metrics: TrackerMetrics,
    /// The events received since the process started.
    pub events: Arc<EventCounters>,
    /// The intervals and delays.
    pub timing: Timing,
    /// This validator's id.
    pub validator: String,
}

impl TrackerServices {
    /// Creates the services, and registers the metrics: once for each tree.
    #[must_use]
    pub fn new(services: Services, timing: Timing, validator: String, clock: &Clock) -> Self {
        let metrics = TrackerMetrics::register(services.telemetry.meter(), clock);
        metrics.written_every(&timing.intervals);
        let events = Arc::new(EventCounters::new(clock));
        Self { services, metrics, events, timing, validator }
    }
}
