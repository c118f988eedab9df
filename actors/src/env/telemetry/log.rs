//! The metric of the log writer, read during a scrape; 0 while no writer is observed.

use std::sync::{Arc, OnceLock};

use super::{
    meter::Meter,
    metric::{Metric, Observed},
};

type Dropped = Box<dyn Fn() -> u64 + Send + Sync>;

/// The metrics of the log.
pub(crate) static METRICS: &[Observed<LogWatch>] = &[Observed {
    metric: Metric::counter(
        "state_tracker_log_lines_dropped_total",
        &[],
        "lines",
        "The log writer dropped this many lines that standard error did not take.",
    ),
    read: |log, emit| emit(log.0.get().map_or(0, |dropped| dropped()) as f64, &[]),
}];

/// The source of the number of dropped lines, once a log writer is observed.
#[derive(Default)]
pub(crate) struct LogWatch(OnceLock<Dropped>);

impl LogWatch {
    /// Registers the metric, without a source yet.
    pub(super) fn register(meter: &Meter) -> Arc<Self> {
        let watch = Arc::default();
        meter.observe(METRICS, &watch);
        watch
    }

    /// Sets the source. A process has one log writer, so a second call changes nothing.
    pub(super) fn observe(&self, dropped: Dropped) {
        self.0.get_or_init(|| dropped);
    }
}
