//! The metrics of the alerts. They are read during a scrape.

use std::sync::{Arc, Mutex};

use super::book::AlertBook;
use crate::env::{
    lock::lock,
    telemetry::{Label, Meter, Metric, Observed, Values},
};

const OUTCOME: Label = Label { name: "outcome", values: Values::Known(|| vec!["sent", "undelivered"]) };

/// The book that is observed, once there is one.
#[derive(Default)]
pub(crate) struct Watch(Mutex<Option<AlertBook>>);

/// The metrics that are read during a scrape.
pub(crate) static OBSERVED: &[Observed<Watch>] = &[
    Observed {
        metric: Metric::counter(
            "state_tracker_alerts_total",
            &[OUTCOME],
            "alerts",
            "This many alerts were sent to the webhook, or could not be delivered.",
        ),
        read: |watch, emit| {
            if let Some(book) = lock(&watch.0).clone() {
                let counts = lock(&book.0).counts;
                emit(counts.sent as f64, &["sent".into()]);
                emit(counts.undelivered as f64, &["undelivered".into()]);
            }
        },
    },
    Observed {
        metric: Metric::gauge(
            "state_tracker_alerts_waiting",
            &[],
            "alerts",
            "This many alerts wait for the webhook.",
        ),
        read: |watch, emit| {
            if let Some(book) = lock(&watch.0).clone() {
                emit(lock(&book.0).waiting.len() as f64, &[]);
            }
        },
    },
];

/// The metrics of the alerts. A clone is the same metrics.
#[derive(Clone)]
pub struct AlertMetrics(Arc<Watch>);

impl AlertMetrics {
    /// Registers the metrics. They have no series before [`Self::observe`].
    #[must_use]
    pub fn register(meter: &Meter) -> Self {
        let watch = Arc::default();
        meter.observe(OBSERVED, &watch);
        Self(watch)
    }

    /// Exposes the counts of this book.
    pub fn observe(&self, book: AlertBook) {
        *lock(&self.0.0) = Some(book);
    }
}

/// The rows of the metrics of the alerts.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    OBSERVED.iter().map(|row| &row.metric)
}
