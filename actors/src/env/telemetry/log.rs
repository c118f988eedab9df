//! The metric of the log, read during a scrape. It is 0 where no log is observed.

use std::sync::{Arc, OnceLock};

use opentelemetry::metrics::Meter;

type Dropped = Box<dyn Fn() -> u64 + Send + Sync>;

/// Where the number of dropped lines comes from, once a log is observed.
#[derive(Clone, Default)]
pub(super) struct LogWatch(Arc<OnceLock<Dropped>>);

impl LogWatch {
    /// A watch on no log yet, and the metric that reads it.
    pub(super) fn observed(meter: &Meter) -> Self {
        let watch = Self::default();
        let read = watch.clone();
        meter
            .u64_observable_counter("state_tracker_log_lines_dropped_total")
            .with_description("Log lines that standard error did not take.")
            .with_callback(move |metric| metric.observe(read.0.get().map_or(0, |dropped| dropped()), &[]))
            .build();
        watch
    }

    /// Reads from this log. A process has one, so a second one changes nothing.
    pub(super) fn observe(&self, dropped: Dropped) {
        self.0.get_or_init(|| dropped);
    }
}
