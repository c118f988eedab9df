//! What every actor works with: the way to Redis, the metrics, the status, and the log throttle.

use std::sync::Arc;

use store_redis::{Fault, Store, StoreError};
use supervision::Clock;

use crate::env::{log_throttle::LogThrottle, readiness::Status, telemetry::Telemetry};

/// Shared by all actors of a tree. Clones share everything.
#[derive(Clone)]
pub struct Services {
    /// The way to Redis.
    pub store: Store,
    /// The metrics.
    pub telemetry: Telemetry,
    /// What readiness depends on.
    pub status: Arc<Status>,
    log_throttle: Arc<LogThrottle>,
}

impl Services {
    /// Ties the services of one tree together.
    #[must_use]
    pub fn new(store: Store, telemetry: Telemetry, clock: &Clock) -> Self {
        let (status, log_throttle) = (Arc::new(Status::new(clock)), Arc::new(LogThrottle::new(clock)));
        telemetry.observe_pool(store.clone());
        Self { store, telemetry, status, log_throttle }
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
