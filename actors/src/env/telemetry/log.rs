//! The metric of the log, read during a scrape. It is 0 while no log is observed.

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
    read: |log, tell| tell(log.0.get().map_or(0, |dropped| dropped()) as f64, &[]),
}];

/// Where the number of dropped lines comes from, once a log is observed.
#[derive(Default)]
pub(crate) struct LogWatch(OnceLock<Dropped>);

impl LogWatch {
    /// A watch on no log yet, and the metric that reads it.
    pub(super) fn register(meter: &Meter) -> Arc<Self> {
        let watch = Arc::default();
        meter.observe(METRICS, &watch);
        watch
    }

    /// Reads from this log. A process has one, so a second one changes nothing.
    pub(super) fn observe(&self, dropped: Dropped) {
        self.0.get_or_init(|| dropped);
    }
}
