//! The metrics of the whole process: its version, errors, round trips, and the connection pool.

use std::sync::{Arc, Mutex};

use store_redis::Store;

use super::{
    meter::{Counter, Histogram, Meter},
    metric::{Label, Metric, Observed, Values},
};
use crate::env::lock::lock;

/// Buckets for waits, in seconds: from a free connection (0.1 ms) to the range of the connection timeout.
pub(crate) const WAIT_SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0];

const VERSION: Label = Label { name: "version", values: Values::Known(|| vec![env!("CARGO_PKG_VERSION")]) };
const OPERATION: Label = Label { name: "operation", values: Values::Code };
const KIND: Label = Label { name: "kind", values: Values::Code };
const POOL_STATE: Label = Label { name: "state", values: Values::Known(|| vec!["in_use", "idle"]) };

domain::table! {
    /// The metrics that every actor records.
    pub(crate) METRICS: Metric;
    pub(super) BUILD_INFO = Metric::gauge("state_tracker_build_info", &[VERSION], "always 1",
        "This process runs the version in the label.");
    ERRORS = Metric::counter("state_tracker_errors_total", &[OPERATION, KIND], "errors",
        "This many operations failed or could not read an input.");
    ROUND_TRIPS = Metric::counter("state_tracker_round_trips_total", &[OPERATION], "round trips",
        "Finished passes waited this many times for Redis; checks of connections are not included.");
    POOL_WAIT = Metric::histogram("state_tracker_pool_wait_seconds", &[], WAIT_SECONDS,
        "A session waited this long for a connection of the pool.");
}

/// The metrics of the pool.
pub(crate) static POOL: &[Observed<PoolWatch>] = &[
    Observed {
        metric: Metric::gauge(
            "state_tracker_pool_connections",
            &[POOL_STATE],
            "connections",
            "The pool holds this many connections in this state.",
        ),
        read: |pool, emit| {
            if let Some(pool) = pool.now() {
                emit(pool.in_use as f64, &["in_use".into()]);
                emit(pool.idle as f64, &["idle".into()]);
            }
        },
    },
    Observed {
        metric: Metric::gauge(
            "state_tracker_pool_connections_limit",
            &[],
            "connections",
            "The pool may hold this many connections.",
        ),
        read: |pool, emit| pool.now().into_iter().for_each(|pool| emit(pool.limit as f64, &[])),
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_pool_connections_created_total",
            &[],
            "connections",
            "The pool opened this many connections.",
        ),
        read: |pool, emit| pool.now().into_iter().for_each(|pool| emit(pool.created as f64, &[])),
    },
];

/// The observed pool, once there is one.
#[derive(Default)]
pub(crate) struct PoolWatch(Mutex<Option<Store>>);

impl PoolWatch {
    fn now(&self) -> Option<store_redis::PoolStatus> {
        lock(&self.0).as_ref().map(Store::pool)
    }
}

/// The instruments of the process.
pub(super) struct Process {
    pub(super) errors: Counter,
    pub(super) round_trips: Counter,
    pub(super) pool_wait: Histogram,
    pool: Arc<PoolWatch>,
}

impl Process {
    pub(super) fn register(meter: &Meter) -> Self {
        // Set at once: `render` takes its presence as proof that the exporter works.
        meter.gauge(&BUILD_INFO).set(1, [env!("CARGO_PKG_VERSION")]);
        let pool = Arc::default();
        meter.observe(POOL, &pool);
        Self {
            errors: meter.counter(&ERRORS),
            round_trips: meter.counter(&ROUND_TRIPS),
            pool_wait: meter.histogram(&POOL_WAIT),
            pool,
        }
    }

    pub(super) fn observe_pool(&self, store: Store) {
        *lock(&self.pool.0) = Some(store);
    }
}
