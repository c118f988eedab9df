//! The metrics of the collector, read during a scrape from the chain's progress and from what its source has counted. There
//! are none where no chain is followed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use evm::{FaultKind, LogFaultKind, Source};
use opentelemetry::Value;

use super::progress::{FollowState, Prepared, Progress, faults, nodes};
use crate::env::{
    lock::lock,
    telemetry::{Histogram, Label, Meter, Metric, Observed, Tell, Values, WAIT_SECONDS},
};

const MARKET: Label = Label { name: "market", values: Values::Configuration };
const WINDOW_STATE: Label =
    Label { name: "state", values: Values::Known(|| vec!["waiting", "open", "closed"]) };
const OUTCOME: Label =
    Label { name: "outcome", values: Values::Known(|| vec!["handed_over", "expired", "elsewhere"]) };
const CLEANED: Label = Label { name: "kind", values: Values::Known(|| vec!["markers", "submissions"]) };
const FAULT: Label = Label {
    name: "kind",
    values: Values::Known(|| {
        let of_nodes = FaultKind::ALL.iter().map(|kind| kind.label());
        of_nodes.chain(LogFaultKind::ALL.iter().map(|kind| kind.label())).collect()
    }),
};
const NODE_STATE: Label =
    Label { name: "state", values: Values::Known(|| nodes(&[]).map(|(state, _)| state).collect()) };

/// How a metric is read.
type Read = fn(&Watch, Tell<'_>);

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
    /// The metrics that the collector's actors note.
    pub(crate) METRICS: Metric;
    WORKER_WAIT = Metric::histogram("state_tracker_worker_wait_seconds", &[], WAIT_SECONDS,
        "A market waited this long until a worker prepared its batches.");
}

/// The metrics that are read from the chain's progress and its source.
pub(crate) static OBSERVED: &[Observed<Watch>] = &[
    gauge(
        "state_tracker_block_height",
        &[],
        "block number",
        |chain, tell| chain.value(tell, |state| Some(state.checkpoint?.number)),
        "The block fetcher has accepted the blocks up to this one.",
    ),
    gauge(
        "state_tracker_block_lag",
        &[],
        "blocks",
        |chain, tell| chain.value(tell, FollowState::lag),
        "The head is this many blocks ahead of the checkpoint.",
    ),
    gauge(
        "state_tracker_backfill_remaining_blocks",
        &[],
        "blocks",
        |chain, tell| chain.value(tell, |state| Some(state.remaining())),
        "The backfill has this many blocks left.",
    ),
    gauge(
        "state_tracker_backfill_estimate_seconds",
        &[],
        "seconds",
        |chain, tell| chain.value(tell, |state| Some(state.estimate()?.as_secs())),
        "The backfill takes this long from now at its present speed.",
    ),
    counter(
        "state_tracker_blocks_total",
        &[],
        "blocks",
        |chain, tell| chain.value(tell, |state| Some(state.blocks)),
        "The block fetcher accepted this many blocks.",
    ),
    counter(
        "state_tracker_reorganisations_total",
        &[],
        "reorganisations",
        |chain, tell| chain.value(tell, |state| Some(state.reorganisations)),
        "The block fetcher followed this many reorganisations.",
    ),
    counter(
        "state_tracker_chain_conflicts_total",
        &[],
        "writes",
        |chain, tell| chain.value(tell, |state| Some(state.conflicts)),
        "The collector skipped this many writes because another tracker was ahead.",
    ),
    gauge(
        "state_tracker_windows",
        &[MARKET, WINDOW_STATE],
        "windows",
        |chain, tell| {
            chain.state(|state| {
                for (market, [waiting, open, closed]) in &state.windows {
                    for (state, many) in [("waiting", waiting), ("open", open), ("closed", closed)] {
                        tell(*many as f64, &[named(market), state.into()]);
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
        |chain, tell| chain.prepared(tell, |done| done.batches),
        "The batch preparer handed over this many batches of the market.",
    ),
    counter(
        "state_tracker_epochs_prepared_total",
        &[MARKET, OUTCOME],
        "epochs",
        |chain, tell| {
            chain.state(|state| {
                for (market, done) in &state.prepared {
                    let outcomes = [
                        ("handed_over", done.epochs),
                        ("expired", done.expired),
                        ("elsewhere", done.elsewhere),
                    ];
                    for (outcome, many) in outcomes {
                        tell(many as f64, &[named(market), outcome.into()]);
                    }
                }
            });
        },
        "This many epochs of the market ended: handed over, expired, or handed over by another program.",
    ),
    counter(
        "state_tracker_batched_submissions_total",
        &[MARKET],
        "submissions",
        |chain, tell| chain.prepared(tell, |done| done.submissions),
        "The batches of the market held this many submissions.",
    ),
    counter(
        "state_tracker_submissions_set_aside_total",
        &[MARKET],
        "members",
        |chain, tell| chain.prepared(tell, |done| done.malformed),
        "The batch preparer set aside this many members that are no submissions of their epoch.",
    ),
    counter(
        "state_tracker_missing_block_hashes_total",
        &[MARKET],
        "blocks",
        |chain, tell| chain.prepared(tell, |done| done.missing),
        "The batch preparer left out the submissions of this many blocks because their hashes had expired.",
    ),
    gauge(
        "state_tracker_workers_busy",
        &[],
        "workers",
        |chain, tell| chain.value(tell, |_| Some(chain.busy.load(Relaxed))),
        "This many workers prepare batches; their number is limited.",
    ),
    counter(
        "state_tracker_worker_timeouts_total",
        &[],
        "timeouts",
        |chain, tell| chain.value(tell, |state| Some(state.worker_timeouts)),
        "A market waited in vain for a worker this many times.",
    ),
    counter(
        "state_tracker_chain_cleaned_total",
        &[CLEANED],
        "markers or sets",
        |chain, tell| {
            chain.state(|state| {
                tell(state.cleaned.markers as f64, &["markers".into()]);
                tell(state.cleaned.submissions as f64, &["submissions".into()]);
            });
        },
        "The cleaner removed this many markers of finished epochs, and sets of submissions of old ones.",
    ),
    counter(
        "state_tracker_chain_faults_total",
        &[FAULT],
        "faults",
        |chain, tell| {
            chain.source(|source| {
                faults(source.counters()).for_each(|(kind, many)| tell(many as f64, &[kind.into()]));
            });
        },
        "The collector met this many faults of nodes and unreadable logs.",
    ),
    counter(
        "state_tracker_chain_requests_total",
        &[],
        "requests",
        |chain, tell| chain.source(|source| tell(source.counters().requests() as f64, &[])),
        "The collector sent this many requests to nodes.",
    ),
    gauge(
        "state_tracker_rpc_nodes",
        &[NODE_STATE],
        "nodes",
        |chain, tell| {
            chain.source(|source| {
                nodes(&source.status()).for_each(|(state, many)| tell(many as f64, &[state.into()]));
            });
        },
        "This many nodes are in this state; `unknown` ones have not answered yet.",
    ),
];

/// The chain that is followed, once one is.
#[derive(Default)]
pub(crate) struct Watch {
    followed: Mutex<Option<Followed>>,
    busy: AtomicU64,
}

#[derive(Clone)]
struct Followed {
    source: Source,
    progress: Arc<Progress>,
}

impl Watch {
    fn now(&self) -> Option<Followed> {
        lock(&self.followed).clone()
    }

    fn state(&self, see: impl FnOnce(&FollowState)) {
        if let Some(followed) = self.now() {
            see(&followed.progress.now());
        }
    }

    fn source(&self, see: impl FnOnce(&Source)) {
        if let Some(followed) = self.now() {
            see(&followed.source);
        }
    }

    fn value(&self, tell: Tell<'_>, read: impl FnOnce(&FollowState) -> Option<u64>) {
        self.state(|state| read(state).into_iter().for_each(|value| tell(value as f64, &[])));
    }

    fn prepared(&self, tell: Tell<'_>, read: fn(&Prepared) -> u64) {
        self.state(|state| {
            state.prepared.iter().for_each(|(market, done)| tell(read(done) as f64, &[named(market)]));
        });
    }
}

fn named(market: &impl ToString) -> Value {
    market.to_string().into()
}

/// The metrics of the collector. Clones are the same metrics.
#[derive(Clone)]
pub struct CollectorMetrics {
    watch: Arc<Watch>,
    worker_wait: Arc<Histogram>,
}

/// A worker that prepares batches, until it is dropped.
pub(super) struct Busy(Arc<Watch>);

impl CollectorMetrics {
    /// Registers them. They show nothing before [`Self::observe`].
    #[must_use]
    pub fn register(meter: &Meter) -> Self {
        let watch = Arc::default();
        meter.observe(OBSERVED, &watch);
        Self { watch, worker_wait: Arc::new(meter.histogram(&WORKER_WAIT)) }
    }

    /// Shows this chain, from now on and instead of the one shown before.
    pub fn observe(&self, source: Source, progress: Arc<Progress>) {
        *lock(&self.watch.followed) = Some(Followed { source, progress });
    }

    /// Notes how long a market waited for a worker.
    pub(super) fn worker_waited(&self, waited: Duration) {
        self.worker_wait.record(waited, []);
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
