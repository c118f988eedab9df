//! The metrics: every name, label and bucket boundary that this process exposes stands in this module.
//!
//! A [`Telemetry`] is a registry of its own, without globals, so that several trees can live in one process.
//! Actors hold a clone and note what happened through its small methods; [`Telemetry::render`] gives the text
//! that Prometheus scrapes. Labels are bounded: by an enum, by a static string in the code, or by the
//! configuration (markets, and with them the actors' paths). Nothing in here does I/O, but for reading the
//! process' own figures (memory, CPU time, open files) during a scrape.
//!
//! Names stand here as they are exposed, unit and `_total` included: the exporter appends nothing.

mod instruments;
pub(crate) mod labels;
mod log;
mod tree;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use errors::{Kind, Operation};
use opentelemetry::{KeyValue, metrics::MeterProvider as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    metrics::{Instrument, SdkMeterProvider, Stream},
};
use prometheus::{Registry, TextEncoder};
use supervision::{ActorHealth, Clock};

use instruments::{BUILD_INFO, Instruments};
pub use labels::{Aggregation, Dataset, ENTITY_TYPES, IndexOutcome};
use labels::{entity, flag};
use log::LogWatch;
use tree::TreeWatch;

use crate::{
    collector::{FollowState, Progress, metrics as collector_metrics, metrics::ChainWatch},
    tracker::{metrics as tracker_metrics, metrics::Markets},
};

/// Series that one metric may have; what goes beyond is summed up under `otel_metric_overflow`. Only metrics
/// with the path of an actor or a market come near it, and those are bounded by the configuration.
const MAX_SERIES: usize = 16_384;
/// The same for metrics whose labels are bounded by the code.
const MAX_SERIES_OF_CODE: usize = 512;

/// Why metrics could not be set up or shown.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter refused its registry.
    #[error("the metrics can't be set up: the Prometheus exporter could not register itself; this is a bug")]
    Exporter(#[source] OTelSdkError),
    /// The figures of the process clash with another collector.
    #[error("the metrics can't be set up: the figures of the process could not be registered; this is a bug")]
    Process(#[source] prometheus::Error),
    /// The exporter gave nothing.
    #[error("the metrics can't be shown: collecting them failed; if it goes on, restart the process")]
    Collect,
    /// The metrics are not valid as Prometheus' text format.
    #[error("the metrics can't be shown: writing them as Prometheus text failed; this is a bug")]
    Encode(#[source] prometheus::Error),
}

/// The metrics of one tree. Clones are the same metrics.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// The exporter sees the instruments only while their provider lives.
    _provider: SdkMeterProvider,
    instruments: Instruments,
    markets: Arc<Markets>,
    chain: ChainWatch,
    log: LogWatch,
    tree: Arc<TreeWatch>,
    /// One scrape at a time: a scrape reads one state of the tree for all metrics.
    scrape: Mutex<()>,
}

impl Telemetry {
    /// Makes the metrics, with the counters whose labels are known at 0.
    ///
    /// # Errors
    /// [`TelemetryError`] when the registry refuses them, which would be a bug.
    pub fn new() -> Result<Self, TelemetryError> {
        Self::with_clock(&Clock::system())
    }

    /// The same on another clock, which the ages of datasets are measured with.
    ///
    /// # Errors
    /// As [`Telemetry::new`].
    pub fn with_clock(clock: &Clock) -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        register_process(&registry)?;
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .without_units()
            .without_counter_suffixes()
            .build()
            .map_err(TelemetryError::Exporter)?;
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_reader(exporter)
            .with_view(bound_series)
            .build();
        let meter = provider.meter("state_tracker");
        let (markets, tree) = (Markets::observed(&meter, clock), TreeWatch::observed(&meter));
        let (instruments, chain) = (Instruments::new(&meter), ChainWatch::observed(&meter));
        let (log, scrape) = (LogWatch::observed(&meter), Mutex::default());
        Ok(Self(Arc::new(Inner {
            registry,
            _provider: provider,
            instruments,
            markets,
            chain,
            log,
            tree,
            scrape,
        })))
    }

    /// Shows the actors that `health` tells of, from now on and instead of those shown before. It is called
    /// once a scrape. It should not keep the tree alive: give it a weak handle, or one that is shared anyway.
    pub fn observe_tree(&self, health: impl Fn() -> Vec<ActorHealth> + Send + Sync + 'static) {
        self.0.tree.observe(Box::new(health));
    }

    /// Shows how far this chain is followed, from now on.
    pub fn observe_chain(&self, source: evm::Source, progress: Arc<Progress>) {
        self.0.chain.observe(source, progress);
    }

    /// Shows how many lines of the log were dropped.
    pub fn observe_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        self.0.log.observe(Box::new(dropped));
    }

    /// How far the chain is followed, where one is.
    #[must_use]
    pub fn following(&self) -> Option<FollowState> {
        self.0.chain.now()
    }

    /// Notes how long a market waited for its turn to prepare batches.
    pub fn worker_waited(&self, waited: Duration) {
        self.0.instruments.worker_wait.record(waited.as_secs_f64(), &[]);
    }

    /// The metrics as Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// [`TelemetryError`] when they can't be collected or written; never a text without them.
    pub fn render(&self) -> Result<String, TelemetryError> {
        let _one_at_a_time = lock(&self.0.scrape);
        self.0.tree.refresh();
        let families = self.0.registry.gather();
        // The exporter answers a failure with no metrics at all, which must not pass for "nothing happened".
        if !families.iter().any(|family| family.name() == BUILD_INFO) {
            return Err(TelemetryError::Collect);
        }
        TextEncoder::new().encode_to_string(&families).map_err(TelemetryError::Encode)
    }

    /// Notes `n` changes of this entity type whose effect is computed. Types beyond [`ENTITY_TYPES`] count as
    /// `other`.
    pub fn change_processed(&self, entity_type: &str, n: u64) {
        let label = KeyValue::new("entity_type", entity(entity_type));
        self.0.instruments.changes_processed.add(n, &[label]);
    }

    /// Notes `n` events of this entity type that the subscription delivered; `other` as above.
    pub fn event_received(&self, entity_type: &str, n: u64) {
        let label = KeyValue::new("entity_type", entity(entity_type));
        self.0.instruments.events_received.add(n, &[label]);
    }

    /// Notes that a dataset was computed and written.
    pub fn dataset_generated(&self, dataset: Dataset) {
        self.0.instruments.datasets_generated.add(1, &[dataset.label()]);
    }

    /// Notes when (since the Unix epoch) a dataset of a market was written; its age is told from then on.
    pub fn dataset_written(&self, market: &str, dataset: Dataset, unix: Duration) {
        self.0.markets.written(market, dataset, unix);
    }

    /// Notes how long a computation took, reading and writing included.
    pub fn aggregation_took(&self, aggregation: Aggregation, took: Duration) {
        self.0.instruments.aggregation_duration.record(took.as_secs_f64(), &[aggregation.label()]);
    }

    /// Notes an error: what was attempted (`read_epochs`) and how it failed (`timeout`).
    pub fn error(&self, operation: Operation, kind: Kind) {
        let labels = [KeyValue::new("kind", kind.label), KeyValue::new("operation", operation.label)];
        self.0.instruments.errors.add(1, &labels);
    }

    /// Notes `n` round trips to Redis made for this operation.
    pub fn round_trips(&self, operation: &'static str, n: u64) {
        self.0.instruments.round_trips.add(n, &[KeyValue::new("operation", operation)]);
    }

    /// Notes how long a connection of the shared pool was waited for.
    pub fn pool_waited(&self, waited: Duration) {
        self.0.instruments.pool_wait.record(waited.as_secs_f64(), &[]);
    }

    /// Notes whether Redis answers.
    pub fn redis_up(&self, up: bool) {
        self.0.instruments.redis_up.record(flag(up), &[]);
    }

    /// Notes whether the subscription stands.
    pub fn subscription_connected(&self, connected: bool) {
        self.0.instruments.subscription_connected.record(flag(connected), &[]);
    }

    /// Notes that the subscription was interrupted: events of that time were not heard.
    pub fn subscription_gap(&self) {
        self.0.instruments.subscription_gaps.add(1, &[]);
    }

    /// Notes `n` events that were dropped before they were read.
    pub fn events_dropped(&self, n: u64) {
        self.0.instruments.events_dropped.add(n, &[]);
    }

    /// Notes `n` epochs whose inputs expired before they were accounted for.
    pub fn unaccounted_epochs(&self, n: u64) {
        self.0.instruments.unaccounted_epochs.add(n, &[]);
    }

    /// Notes `n` changes that came after their epoch had been sealed.
    pub fn late_changes(&self, n: u64) {
        self.0.instruments.late_changes.add(n, &[]);
    }

    /// Notes what became of `n` events on their way into the state index.
    pub fn index_events(&self, outcome: IndexOutcome, n: u64) {
        self.0.instruments.index_events.add(n, &[outcome.label()]);
    }

    /// Notes how many epochs of a market's ledger are not sealed yet.
    pub fn unfinished_epochs(&self, market: &str, n: u64) {
        self.0.markets.unfinished(market, n);
    }

    /// Shows nothing more of a market that is no longer tracked.
    pub fn market_removed(&self, market: &str) {
        self.0.markets.remove(market);
    }
}

fn bound_series(instrument: &Instrument) -> Option<Stream> {
    let by_configuration = [tree::owns, tracker_metrics::owns, collector_metrics::owns]
        .iter()
        .any(|owns| owns(instrument.name()));
    let limit = if by_configuration { MAX_SERIES } else { MAX_SERIES_OF_CODE };
    // A refused stream means the SDK's own limit of 2,000 series.
    Stream::builder().with_cardinality_limit(limit).build().ok()
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

/// Nothing here leaves a table half changed, so a poisoned lock is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
