//! What every actor works with: the way to Redis, the metrics, the status, and the rhythm of the markets.

use std::{sync::Arc, time::Duration};

use store_redis::{Fault, Store, StoreError};
use store_tracker::Intervals;
use supervision::Clock;

use crate::{
    env::{log_throttle::LogThrottle, readiness::Status, telemetry::Telemetry},
    tracker::event_counters::EventCounters,
};

/// How often and how long, for every market.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// Between two passes of the summary.
    pub summary: Duration,
    /// Between two writings of the statistics of the hours.
    pub hourly: Duration,
    /// Between two writings of the statistics of the day.
    pub daily: Duration,
    /// Between two passes of the current epoch.
    pub current_epoch: Duration,
    /// The least time between two passes of the current epoch that events ask for.
    pub wake_debounce: Duration,
    /// An unfinished epoch is sealed this long after its window closed.
    pub seal_after: Duration,
    /// The length of a measurement window.
    pub measurement_window: Duration,
    /// The longest pause before the next attempt after a failure of Redis.
    pub reconnect_within: Duration,
}

impl Rhythm {
    /// How often datasets are written.
    #[must_use]
    pub fn intervals(&self) -> Intervals {
        let Self { summary, hourly, daily, current_epoch, .. } = *self;
        Intervals { summary, hourly, daily, current_epoch }
    }
}

/// Shared by all actors of a tree. Clones share everything.
#[derive(Clone)]
pub struct Services {
    /// The way to Redis.
    pub store: Store,
    /// The metrics.
    pub telemetry: Telemetry,
    /// What readiness depends on.
    pub status: Arc<Status>,
    /// The rhythm of the markets.
    pub rhythm: Rhythm,
    /// This validator's id.
    pub validator: String,
    /// Events heard since the process began.
    pub heard: Arc<EventCounters>,
    log_throttle: Arc<LogThrottle>,
}

impl Services {
    /// Ties the services of one tree together.
    #[must_use]
    pub fn new(store: Store, telemetry: Telemetry, rhythm: Rhythm, validator: String, clock: &Clock) -> Self {
        let (status, log_throttle) = (Arc::new(Status::new(clock)), Arc::new(LogThrottle::new(clock)));
        let heard = Arc::new(EventCounters::new(clock));
        Self { store, telemetry, status, rhythm, validator, heard, log_throttle }
    }

    /// Counts a failed step, and logs it once a minute.
    pub fn note_error(&self, error: &StoreError) {
        self.telemetry.error(error.operation, error.kind.as_str());
        let subject = format!("{} {} {}", error.operation, error.object, error.kind.as_str());
        if let Some(left_out) = self.log_throttle.admit(&subject) {
            tracing::warn!(left_out, "{error}");
        }
    }

    /// Counts inputs that could not be read, and logs each once a minute.
    pub fn note_faults(&self, faults: &[Fault]) {
        for (left_out, key, kind, detail) in self.admit("read an input", faults) {
            tracing::warn!(left_out, key, kind, "an input could not be read and is set aside: {detail}");
        }
    }

    /// Counts keys that could not be written, and logs each once a minute.
    pub fn note_unwritten(&self, operation: &'static str, faults: &[Fault]) {
        for (left_out, key, kind, detail) in self.admit(operation, faults) {
            tracing::warn!(
                left_out,
                key,
                kind,
                "{operation}: a key could not be written, the others were: {detail}"
            );
        }
    }

    /// Counts faults; those that are to be logged now, each with how often it was left out, its key, kind and detail.
    fn admit<'a>(
        &self,
        operation: &'static str,
        faults: &'a [Fault],
    ) -> impl Iterator<Item = (u64, &'a str, &'static str, &'a str)> {
        faults.iter().filter_map(move |Fault { key, kind, detail }| {
            let kind = kind.as_str();
            self.telemetry.error(operation, kind);
            let left_out = self.log_throttle.admit(&format!("{key} {kind}"))?;
            Some((left_out, key.as_str(), kind, detail.as_str()))
        })
    }

    /// Logs something that must be known, once a minute for each subject, and counts it as an error.
    pub fn warn(&self, operation: &'static str, kind: &'static str, subject: &str, message: &str) {
        self.telemetry.error(operation, kind);
        if let Some(left_out) = self.log_throttle.admit(&format!("{operation} {kind} {subject}")) {
            tracing::error!(left_out, subject, "{message}");
        }
    }
}
