//! The metrics of the collector. They are read during a scrape from the progress and from the counters of the nodes' source.
//! Without a chain there are no series.

mod labels;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use domain::chain::ContractAddress;
use evm::Source;
use opentelemetry::Value;
use store_collector::outbox::Stage;
use supervision::Clock;

use self::labels::{CALL_OUTCOME, CLEANED, FAULT, HELD_BY, MARKET, NODE_STATE, OUTCOME, STAGE, WINDOW_STATE};
use super::progress::{CallOutcome, Prepared, Progress, ProgressSnapshot, Relayed, Rewarded, faults, nodes};
use crate::env::{
    lock::lock,
    telemetry::{Emit, Histogram, Label, Meter, Metric, Observed, Values, WAIT_SECONDS},
};

const PROCESSING: Label = Label {
    name: "operation",
    values: Values::Known(|| Processing::ALL.iter().map(|operation| operation.label()).collect()),
};

/// The bucket boundaries of the durations of the collector's operations, in seconds. The last one is the longest time limit.
const PROCESSING_SECONDS: &[f64] =
    &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// An operation whose duration is measured. One that failed or gave way to another tracker is not: a node that refuses at
/// once or hangs until its deadline says nothing about the time that the work takes, and errors are counted by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processing {
    /// A step of the block fetcher that accepted a block or a segment, from the first question to the nodes on.
    Block,
    /// Within that: computing and writing the effects of its events, where it has any.
    Events,
    /// A run of a batch preparer that had an epoch to prepare, without its wait for a worker.
    Preparation,
    /// Within that: one epoch of the market, until it is over.
    Market,
    /// Within that: writing its batches.
    Batch,
}

impl Processing {
    const ALL: [Self; 5] = [Self::Block, Self::Events, Self::Preparation, Self::Market, Self::Batch];

    /// The value of the metric's label. They are the names of the time limits in [`super::Budgets`]; only `events` is another
    /// part of a block: the limit is that of reading them.
    const fn label(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Events => "events",
            Self::Preparation => "preparation",
            Self::Market => "market",
            Self::Batch => "batch",
        }
    }
}

/// Reads a metric and emits its series.
type Read = fn(&Watch, Emit<'_>);

const fn gauge(
    name: &'static str,
    labels: &'static [Label],
    unit: &'static str,
    read: Read,
    sentence: &'static str,
) -> Observed<Watch> {
    Observed { metric: Metric::gauge(name, labels, unit, sentence), read }
}

const fn counter(
    name: &'static str,
    labels: &'static [Label],
    unit: &'static str,
    read: Read,
    sentence: &'static str,
) -> Observed<Watch> {
    Observed { metric: Metric::counter(name, labels, unit, sentence), read }
}

domain::table! {
    /// The metrics that the collector's actors record.
    pub(crate) METRICS: Metric;
    WORKER_WAIT = Metric::histogram("state_tracker_worker_wait_seconds", &[], WAIT_SECONDS,
        "A market waited this long for a worker.");
    PROCESSING_DURATION = Metric::histogram("state_tracker_processing_duration_seconds", &[PROCESSING], PROCESSING_SECONDS,
        "The operation took this long: accepting a block or a segment, applying its events, preparing what a market has due, \
         preparing one epoch, writing its batches; failed ones are left out.");
    RELAYER_CALL = Metric::histogram("state_tracker_relayer_call_seconds", &[], WAIT_SECONDS,
        "The relayer took this long to accept a call.");
}

/// The metrics that are read during a scrape.
pub(crate) static OBSERVED: &[Observed<Watch>] = &[
    gauge(
        "state_tracker_block_height",
        &[],
        "block number",
        |chain, emit| chain.value(emit, |state| Some(state.checkpoint?.number)),
        "The block fetcher has accepted the blocks up to this one.",
    ),
    gauge(
        "state_tracker_block_lag",
        &[],
        "blocks",
        |chain, emit| chain.value(emit, ProgressSnapshot::lag),
        "The head is this many blocks ahead of the checkpoint.",
    ),
    gauge(
        "state_tracker_backfill_remaining_blocks",
        &[],
        "blocks",
        |chain, emit| chain.value(emit, |state| Some(state.remaining())),
        "The backfill has this many blocks left.",
    ),
    gauge(
        "state_tracker_backfill_estimate_seconds",
        &[],
        "seconds",
        |chain, emit| chain.value(emit, |state| Some(state.estimate()?.as_secs())),
        "The rest of the backfill takes this long at the present speed.",
    ),
    gauge(
        "state_tracker_block_lead",
        &[],
        "blocks",
        |chain, emit| chain.value(emit, ProgressSnapshot::lead),
        "The checkpoint is this many blocks ahead of the head: the nodes report a shorter chain than the accepted one.",
    ),
    counter(
        "state_tracker_blocks_total",
        &[],
        "blocks",
        |chain, emit| chain.value(emit, |state| Some(state.blocks)),
        "The block fetcher accepted this many blocks.",
    ),
    counter(
        "state_tracker_reorganisations_total",
        &[],
        "reorganisations",
        |chain, emit| chain.value(emit, |state| Some(state.reorganisations)),
        "The block fetcher followed this many reorganisations.",
    ),
    counter(
        "state_tracker_chain_conflicts_total",
        &[],
        "writes",
        |chain, emit| chain.value(emit, |state| Some(state.conflicts)),
        "The collector skipped this many writes because another tracker was ahead.",
    ),
    gauge(
        "state_tracker_windows",
        &[MARKET, WINDOW_STATE],
        "windows",
        |chain, emit| {
            chain.state(|state| {
                for (market, counts) in &state.windows {
                    // Emitted at 0 too, so that an alert can compare with 0.
                    for (state, many) in ["unmeasured", "waiting", "open", "closed"].into_iter().zip(counts) {
                        emit(*many as f64, &[named(market), state.into()]);
                    }
                }
            });
        },
        "The market has this many submission windows in this state; `closed` ones are due for their batches.",
    ),
    counter(
        "state_tracker_batches_total",
        &[MARKET],
        "batches",
        |chain, emit| chain.prepared(emit, |done| done.batches),
        "The batch preparer handed over this many batches of the market.",
    ),
    counter(
        "state_tracker_epochs_prepared_total",
        &[MARKET, OUTCOME],
        "epochs",
        |chain, emit| {
            chain.state(|state| {
                for (market, done) in &state.prepared {
                    let outcomes = [
                        ("handed_over", done.epochs),
                        ("expired", done.expired),
                        ("elsewhere", done.elsewhere),
                    ];
                    for (outcome, many) in outcomes {
                        emit(many as f64, &[named(market), outcome.into()]);
                    }
                }
            });
        },
        "This many epochs of the market ended with this outcome; `elsewhere` is a hand-over by another program.",
    ),
    counter(
        "state_tracker_batched_submissions_total",
        &[MARKET],
        "submissions",
        |chain, emit| chain.prepared(emit, |done| done.submissions),
        "The batches of the market held this many submissions.",
    ),
    counter(
        "state_tracker_submissions_set_aside_total",
        &[MARKET],
        "members",
        |chain, emit| chain.prepared(emit, |done| done.malformed),
        "The batch preparer set aside this many members that are no valid submissions of their epoch.",
    ),
    counter(
        "state_tracker_missing_block_hashes_total",
        &[MARKET],
        "blocks",
        |chain, emit| chain.prepared(emit, |done| done.missing),
        "The batch preparer left out the submissions of this many blocks because their hashes had expired.",
    ),
    gauge(
        "state_tracker_workers_busy",
        &[],
        "workers",
        |chain, emit| chain.value(emit, |_| Some(chain.busy.load(Relaxed))),
        "This many workers prepare batches at the moment.",
    ),
    counter(
        "state_tracker_worker_timeouts_total",
        &[],
        "timeouts",
        |chain, emit| chain.value(emit, |state| Some(state.worker_timeouts)),
        "No worker became free in time for a market this many times.",
    ),
    gauge(
        "state_tracker_outbox_calls",
        &[MARKET, STAGE],
        "calls",
        |chain, emit| {
            chain.relayed(|market, lane| {
                for (stage, depth) in Stage::ALL.into_iter().zip(lane.depths) {
                    emit(depth as f64, &[named(market), stage.as_str().into()]);
                }
            });
        },
        "The outbox of the market has this many calls of the relayer at this stage.",
    ),
    gauge(
        "state_tracker_outbox_oldest_seconds",
        &[MARKET],
        "seconds",
        |chain, emit| {
            let now = chain.clock_now();
            chain.relayed(|market, lane| {
                emit(now.map(|now| lane.oldest(now)).unwrap_or_default().as_secs_f64(), &[named(market)]);
            });
        },
        "The first call of the market's lane has waited for the relayer this long; 0 without one.",
    ),
    gauge(
        "state_tracker_outbox_held",
        &[MARKET, HELD_BY],
        "0 or 1",
        |chain, emit| {
            chain.relayed(|market, lane| {
                for (by, is_held) in [("operator", lane.is_paused), ("relayer", lane.is_denied)] {
                    emit(f64::from(u8::from(is_held)), &[named(market), by.into()]);
                }
            });
        },
        "The lane of the market sends nothing: an operator has paused it, or the relayer denies access.",
    ),
    counter(
        "state_tracker_relayer_calls_total",
        &[MARKET, CALL_OUTCOME],
        "calls",
        |chain, emit| {
            chain.relayed(|market, lane| {
                for (outcome, many) in CallOutcome::ALL.into_iter().zip(lane.outcomes) {
                    emit(many as f64, &[named(market), outcome.label().into()]);
                }
            });
        },
        "This many attempts at calls of the relayer had this outcome; `buried` ones went to the dead calls.",
    ),
    gauge(
        "state_tracker_rewards_due",
        &[MARKET],
        "plans",
        |chain, emit| chain.rewarded(emit, |done| done.due),
        "The rewards of the market are due this many times, and their calls are not in the outbox yet.",
    ),
    counter(
        "state_tracker_rewards_settled_total",
        &[MARKET],
        "plans",
        |chain, emit| chain.rewarded(emit, |done| done.settled),
        "Rewards of the market that were due became calls in the outbox this many times.",
    ),
    counter(
        "state_tracker_rewards_calls_total",
        &[MARKET],
        "calls",
        |chain, emit| chain.rewarded(emit, |done| done.calls),
        "This many calls about rewards of the market joined the outbox.",
    ),
    counter(
        "state_tracker_rewards_broken_counters_total",
        &[MARKET],
        "counters",
        |chain, emit| chain.rewarded(emit, |done| done.broken),
        "This many counters of eligible submissions held no number, and were left out.",
    ),
    counter(
        "state_tracker_chain_cleaned_total",
        &[CLEANED],
        "markers or sets",
        |chain, emit| {
            chain.state(|state| {
                emit(state.cleaned.markers as f64, &["markers".into()]);
                emit(state.cleaned.submissions as f64, &["submissions".into()]);
            });
        },
        "The cleaner removed this many markers of finished epochs or sets of submissions of old epochs.",
    ),
    counter(
        "state_tracker_chain_faults_total",
        &[FAULT],
        "faults",
        |chain, emit| {
            chain.source(|source| {
                faults(source.counters()).for_each(|(kind, many)| emit(many as f64, &[kind.into()]));
            });
        },
        "The collector counted this many faults of nodes and unreadable logs.",
    ),
    counter(
        "state_tracker_chain_requests_total",
        &[],
        "requests",
        |chain, emit| chain.source(|source| emit(source.counters().requests() as f64, &[])),
        "The collector sent this many requests to nodes.",
    ),
    gauge(
        "state_tracker_rpc_nodes",
        &[NODE_STATE],
        "nodes",
        |chain, emit| {
            chain.source(|source| {
                nodes(&source.status()).for_each(|(state, many)| emit(many as f64, &[state.into()]));
            });
        },
        "This many nodes are in this state; `unknown` ones have not answered yet.",
    ),
];

/// The observed chain, once there is one.
#[derive(Default)]
pub(crate) struct Watch {
    followed: Mutex<Option<Followed>>,
    /// A counter of its own and no field of the progress, since a worker is counted off when it is dropped.
    busy: AtomicU64,
}

#[derive(Clone)]
struct Followed {
    source: Source,
    progress: Arc<Progress>,
}

impl Watch {
    fn now(&self) -> Option<Followed> {
        // Cloned, so that no lock is held while a metric is read.
        lock(&self.followed).clone()
    }

    fn state(&self, see: impl FnOnce(&ProgressSnapshot)) {
        if let Some(followed) = self.now() {
            see(&followed.progress.now());
        }
    }

    fn source(&self, see: impl FnOnce(&Source)) {
        if let Some(followed) = self.now() {
            see(&followed.source);
        }
    }

    fn value(&self, emit: Emit<'_>, read: impl FnOnce(&ProgressSnapshot) -> Option<u64>) {
        self.state(|state| read(state).into_iter().for_each(|value| emit(value as f64, &[])));
    }

    fn relayed(&self, mut see: impl FnMut(&ContractAddress, &Relayed)) {
        self.state(|state| state.relayed.iter().for_each(|(market, lane)| see(market, lane)));
    }

    fn rewarded(&self, emit: Emit<'_>, read: fn(&Rewarded) -> u64) {
        self.state(|state| {
            state.rewarded.iter().for_each(|(market, done)| emit(read(done) as f64, &[named(market)]));
        });
    }

    fn clock_now(&self) -> Option<Instant> {
        self.now().map(|followed| followed.progress.clock().now())
    }

    fn prepared(&self, emit: Emit<'_>, read: fn(&Prepared) -> u64) {
        self.state(|state| {
            state.prepared.iter().for_each(|(market, done)| emit(read(done) as f64, &[named(market)]));
        });
    }
}

fn named(market: &impl ToString) -> Value {
    market.to_string().into()
}

/// The metrics of the collector. A clone records to the same metrics.
#[derive(Clone)]
pub struct CollectorMetrics {
    watch: Arc<Watch>,
    worker_wait: Arc<Histogram>,
    processing: Arc<Histogram>,
    relayer_call: Arc<Histogram>,
}

/// Counts a worker as busy until it is dropped, so that a cancelled run is counted off too.
pub(super) struct Busy(Arc<Watch>);

impl CollectorMetrics {
    /// Registers the metrics. They have no series before [`Self::observe`].
    #[must_use]
    pub fn register(meter: &Meter) -> Self {
        let watch = Arc::default();
        meter.observe(OBSERVED, &watch);
        let worker_wait = Arc::new(meter.histogram(&WORKER_WAIT));
        Self {
            watch,
            worker_wait,
            processing: Arc::new(meter.histogram(&PROCESSING_DURATION)),
            relayer_call: Arc::new(meter.histogram(&RELAYER_CALL)),
        }
    }

    /// Exposes this chain, instead of the one before.
    pub fn observe(&self, source: Source, progress: Arc<Progress>) {
        *lock(&self.watch.followed) = Some(Followed { source, progress });
    }

    /// Records how long a market waited for a worker.
    pub(super) fn worker_waited(&self, waited: Duration) {
        self.worker_wait.record(waited, []);
    }

    /// Records how long an operation took that began at this moment of the actor's clock.
    pub(super) fn processed(&self, operation: Processing, began: Instant, clock: &Clock) {
        let took = clock.now().saturating_duration_since(began);
        self.processing.record(took, [operation.label()]);
    }

    /// Records how long the relayer took to accept a call.
    pub(super) fn relayed(&self, took: Duration) {
        self.relayer_call.record(took, []);
    }

    /// Counts a worker as busy.
    pub(super) fn busy(&self) -> Busy {
        self.watch.busy.fetch_add(1, Relaxed);
        Busy(self.watch.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

/// The rows of the metrics of the collector.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(OBSERVED.iter().map(|row| &row.metric))
}
