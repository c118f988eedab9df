//! The metrics that actors write to: names, descriptions, boundaries. Those read during a scrape stand in
//! [`super::tree`] and [`super::markets`].

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter},
};

use super::labels::{Dataset, ENTITY_TYPES, IndexOutcome, OTHER};

/// Always there, with the value 1: a scrape without it has failed.
pub(super) const BUILD_INFO: &str = "state_tracker_build_info";

/// From a pass that finds nothing new to one that meets a struggling server, in seconds.
const AGGREGATION_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From a free connection to the connection timeout's range, in seconds.
const POOL_WAIT_SECONDS: [f64; 11] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0];

pub(super) struct Instruments {
    pub(super) changes_processed: Counter<u64>,
    pub(super) datasets_generated: Counter<u64>,
    pub(super) aggregation_duration: Histogram<f64>,
    pub(super) events_received: Counter<u64>,
    pub(super) errors: Counter<u64>,
    pub(super) round_trips: Counter<u64>,
    pub(super) pool_wait: Histogram<f64>,
    pub(super) worker_wait: Histogram<f64>,
    pub(super) redis_up: Gauge<u64>,
    pub(super) subscription_connected: Gauge<u64>,
    pub(super) subscription_gaps: Counter<u64>,
    pub(super) events_dropped: Counter<u64>,
    pub(super) unaccounted_epochs: Counter<u64>,
    pub(super) late_changes: Counter<u64>,
    pub(super) index_events: Counter<u64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, help| meter.u64_counter(name).with_description(help).build();
        let gauge = |name, help| meter.u64_gauge(name).with_description(help).build();
        let histogram = |name, help, boundaries: &[f64]| {
            meter.f64_histogram(name).with_description(help).with_boundaries(boundaries.to_vec()).build()
        };
        gauge(BUILD_INFO, "Always 1; the label tells the version.")
            .record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        let all = Self {
            changes_processed: counter(
                "state_tracker_changes_processed_total",
                "State changes whose effect was computed.",
            ),
            datasets_generated: counter(
                "state_tracker_datasets_generated_total",
                "Datasets computed and written.",
            ),
            aggregation_duration: histogram(
                "state_tracker_aggregation_duration_seconds",
                "Time that a computation took, reading and writing included.",
                &AGGREGATION_SECONDS,
            ),
            events_received: counter(
                "state_tracker_events_received_total",
                "Events that the subscription delivered.",
            ),
            errors: counter("state_tracker_errors_total", "Operations that failed, by kind of failure."),
            round_trips: counter("state_tracker_round_trips_total", "Round trips to Redis."),
            pool_wait: histogram(
                "state_tracker_pool_wait_seconds",
                "Time waited for a connection of the shared pool.",
                &POOL_WAIT_SECONDS,
            ),
            worker_wait: histogram(
                "state_tracker_worker_wait_seconds",
                "Time that a market waited for its turn to prepare batches.",
                &POOL_WAIT_SECONDS,
            ),
            redis_up: gauge("state_tracker_redis_up", "Whether Redis answers (1) or not (0)."),
            subscription_connected: gauge(
                "state_tracker_subscription_connected",
                "Whether the subscription to state changes stands (1) or not (0).",
            ),
            subscription_gaps: counter(
                "state_tracker_subscription_gaps_total",
                "Interruptions of the subscription, each followed by a full pass.",
            ),
            events_dropped: counter(
                "state_tracker_events_dropped_total",
                "Events dropped before they were read, followed by a full pass.",
            ),
            unaccounted_epochs: counter(
                "state_tracker_unaccounted_epochs_total",
                "Epochs whose inputs expired before they were accounted for.",
            ),
            late_changes: counter(
                "state_tracker_late_changes_total",
                "Changes that came after their epoch had been sealed.",
            ),
            index_events: counter(
                "state_tracker_index_events_total",
                "Events on their way into the state index, by what became of them.",
            ),
        };
        all.begin_at_zero();
        all
    }

    /// Makes what may long not happen visible from the start: rates need the 0 before the 1.
    fn begin_at_zero(&self) {
        for entity in ENTITY_TYPES.into_iter().chain([OTHER]) {
            let label = [KeyValue::new("entity_type", entity)];
            self.changes_processed.add(0, &label);
            self.events_received.add(0, &label);
        }
        for dataset in Dataset::ALL {
            self.datasets_generated.add(0, &[dataset.label()]);
        }
        for outcome in IndexOutcome::ALL {
            self.index_events.add(0, &[outcome.label()]);
        }
        let counters =
            [&self.subscription_gaps, &self.events_dropped, &self.unaccounted_epochs, &self.late_changes];
        for counter in counters {
            counter.add(0, &[]);
        }
        for gauge in [&self.redis_up, &self.subscription_connected] {
            gauge.record(0, &[]);
        }
    }
}
