//! The metrics of a process: a registry, and the text that Prometheus scrapes.
//!
//! A [`Telemetry`] has its own registry and no globals, so several trees can live in one process. It registers the metrics of
//! the process and of the actors. The tracker and the collector define theirs beside their actors and register them on the
//! [`Meter`]. Every label is bounded: by an enum, by static texts in the code, or by the configuration (markets, and with them
//! the paths of actors). The only I/O is during a scrape, which reads the memory, CPU time and open files of the process.
//!
//! **Invariant:** it imports neither the tracker nor the collector.

mod log;
mod markets;
mod meter;
mod metric;
mod process;
mod siblings;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use errors::Operation;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::{Resource, error::OTelSdkError, metrics::SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use store_redis::Store;
use supervision::ActorHealth;

use log::LogWatch;
use markets::Many;
use meter::SeriesLimits;
pub use meter::{Counter, Gauge, Histogram, Meter};
pub use metric::{Emit, Kind, Label, Metric, Observed, Values};
pub(crate) use process::WAIT_SECONDS;
use process::{BUILD_INFO, Process};
use tree::TreeWatch;

use crate::env::lock::lock;

/// Why metrics could not be registered or rendered.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter could not register itself.
    #[error("the metrics can't be set up: the Prometheus exporter could not register itself; this is a bug")]
    Exporter(#[source] OTelSdkError),
    /// The metrics of the process have the names of other metrics.
    #[error("the metrics can't be set up: the metrics of the process could not be registered; this is a bug")]
    Process(#[source] prometheus::Error),
    /// The exporter collected nothing.
    #[error("the metrics can't be shown: collecting them failed; if it happens again, restart the process")]
    Collect,
    /// The metrics are not valid as Prometheus' text format.
    #[error("the metrics can't be shown: writing them as Prometheus text failed; this is a bug")]
    Encode(#[source] prometheus::Error),
}

/// The metrics of one process, or of one tree. Clones are the same metrics.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// Held because the exporter sees the instruments only while their provider lives.
    _provider: SdkMeterProvider,
    meter: Meter,
    many: Many,
    process: Process,
    log: Arc<LogWatch>,
    tree: Arc<TreeWatch>,
    /// Serialises scrapes: all metrics of a scrape must show the same state of the tree, and `refresh` replaces it.
    scrape: Mutex<()>,
}

impl Telemetry {
    /// Creates the registry, with the metrics of the process and of its actors.
    ///
    /// # Errors
    /// [`TelemetryError`] when the registry refuses them, which would be a bug.
    pub fn new() -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        register_process(&registry)?;
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .without_units()
            // The rows have the exact names that dashboards use, unit and `_total` included.
            .without_counter_suffixes()
            .build()
            .map_err(TelemetryError::Exporter)?;
        let limits = SeriesLimits::default();
        let of_rows = limits.clone();
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_reader(exporter)
            .with_view(move |instrument: &_| of_rows.stream(instrument))
            .build();
        let many = Many::default();
        let meter = Meter::new(provider.meter("state_tracker"), limits, many.clone());
        let (process, tree) = (Process::register(&meter), TreeWatch::register(&meter, many.clone()));
        let (log, scrape) = (LogWatch::register(&meter), Mutex::default());
        Ok(Self(Arc::new(Inner { registry, _provider: provider, meter, many, process, log, tree, scrape })))
    }

    /// The meter on which further groups of metrics register.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Sets up to how many markets, and actors below one supervisor, have series of their own. Of more, counters are summed and the
    /// worst gauge is told.
    pub fn limit_series(&self, markets: usize) {
        self.0.many.set(markets);
    }

    /// Exposes the actors that `health` returns, instead of those before. It is called once a scrape. It should not keep the
    /// tree alive: let it hold a weak handle.
    pub fn observe_tree(&self, health: impl Fn() -> Vec<ActorHealth> + Send + Sync + 'static) {
        self.0.tree.observe(Box::new(health));
    }

    /// Exposes the connections of this pool.
    pub fn observe_pool(&self, store: Store) {
        self.0.process.observe_pool(store);
    }

    /// Exposes the number of dropped log lines.
    pub fn observe_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        self.0.log.observe(Box::new(dropped));
    }

    /// The metrics as Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// [`TelemetryError`] when they can't be collected or rendered. It never returns a text that lacks them.
    pub fn render(&self) -> Result<String, TelemetryError> {
        let _one_at_a_time = lock(&self.0.scrape);
        self.0.tree.refresh();
        let families = self.0.registry.gather();
        // The exporter swallows a failure and collects nothing. Prometheus would read an empty answer as a healthy scrape.
        if !families.iter().any(|family| family.name() == BUILD_INFO.name) {
            return Err(TelemetryError::Collect);
        }
        TextEncoder::new().encode_to_string(&families).map_err(TelemetryError::Encode)
    }

    /// Counts an error by its operation (`read_epochs`) and its kind (`timeout`).
    pub fn error(&self, operation: Operation, kind: errors::Kind) {
        self.0.process.errors.add(1, [operation.label, kind.label]);
    }

    /// Counts `n` round trips to Redis of this operation.
    pub fn round_trips(&self, operation: &'static str, n: u64) {
        self.0.process.round_trips.add(n, [operation]);
    }

    /// Records how long an actor waited for a connection of the pool.
    pub fn pool_waited(&self, waited: Duration) {
        self.0.process.pool_wait.record(waited, []);
    }
}

/// The rows of the metrics that are registered here.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    let observed = process::POOL.iter().map(|row| &row.metric);
    let log = log::METRICS.iter().map(|row| &row.metric);
    process::METRICS.iter().chain(observed).chain(log).chain(tree::METRICS.iter().map(|row| &row.metric))
}

#[cfg(target_os = "linux")]
fn register_process(registry: &Registry) -> Result<(), TelemetryError> {
    use prometheus::process_collector::ProcessCollector;

    registry.register(Box::new(ProcessCollector::for_self())).map_err(TelemetryError::Process)
}

#[cfg(not(target_os = "linux"))]
fn register_process(_registry: &Registry) -> Result<(), TelemetryError> {
    Ok(())
}
