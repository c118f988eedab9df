//! The metrics of the chain, read during a scrape from how far it was followed and from what its source has counted. There
//! are none where no chain is followed.

use std::sync::{Arc, Mutex};

use evm::Source;
use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use crate::collector::{FollowState, Progress, faults, nodes};
use crate::env::telemetry::lock;

/// Names of the metrics that have the label `market`.
const OF_MARKETS: [&str; 6] = [
    "state_tracker_windows",
    "state_tracker_batches_total",
    "state_tracker_epochs_prepared_total",
    "state_tracker_batched_submissions_total",
    "state_tracker_submissions_set_aside_total",
    "state_tracker_missing_block_hashes_total",
];

/// Whether this metric has the label `market`.
pub(crate) fn owns(metric: &str) -> bool {
    OF_MARKETS.contains(&metric)
}

/// The chain that is followed, once one is.
#[derive(Clone, Default)]
pub(crate) struct ChainWatch(Arc<Mutex<Option<Followed>>>);

#[derive(Clone)]
struct Followed {
    source: Source,
    progress: Arc<Progress>,
}

/// What a metric tells: a value with its labels, any number of them.
type Tell<'a> = &'a mut dyn FnMut(u64, &[KeyValue]);

/// Where it has that from.
trait Read: Fn(&FollowState, &Source, Tell<'_>) + Send + Sync + 'static {}

impl<F: Fn(&FollowState, &Source, Tell<'_>) + Send + Sync + 'static> Read for F {}

impl ChainWatch {
    pub(crate) fn observe(&self, source: Source, progress: Arc<Progress>) {
        *lock(&self.0) = Some(Followed { source, progress });
    }

    pub(crate) fn now(&self) -> Option<FollowState> {
        lock(&self.0).as_ref().map(|followed| followed.progress.now())
    }

    /// A watch on no chain yet, and the metrics that read it.
    pub(crate) fn observed(meter: &Meter) -> Self {
        let watch = Self::default();
        watch.progress(meter);
        watch.markets(meter);
        watch.cleaned(meter);
        watch.source(meter);
        watch
    }

    fn progress(&self, meter: &Meter) {
        let gauge = |name, help, read: fn(&FollowState) -> Option<u64>| {
            self.gauge(meter, name, help, move |state, _, tell| {
                read(state).into_iter().for_each(|value| tell(value, &[]));
            });
        };
        gauge("state_tracker_block_height", "The last accepted block.", |state| {
            state.checkpoint.map(|checkpoint| checkpoint.number)
        });
        gauge("state_tracker_block_lag", "Blocks of the chain that are not accepted yet.", FollowState::lag);
        gauge(
            "state_tracker_backfill_remaining_blocks",
            "Blocks that are left of those that are read in large parts.",
            |state| Some(state.remaining()),
        );
        gauge(
            "state_tracker_backfill_estimate_seconds",
            "How long the rest of those takes at the present speed.",
            |state| state.estimate().map(|left| left.as_secs()),
        );
        let counter = |name, help, read: fn(&FollowState) -> u64| {
            self.counter(meter, name, help, move |state, _, tell| tell(read(state), &[]));
        };
        counter("state_tracker_blocks_total", "Blocks accepted.", |state| state.blocks);
        counter("state_tracker_reorganisations_total", "Reorganisations followed.", |state| {
            state.reorganisations
        });
        counter(
            "state_tracker_chain_conflicts_total",
            "Times that somebody else had moved on meanwhile, so that nothing was written.",
            |state| state.conflicts,
        );
        counter(
            "state_tracker_worker_timeouts_total",
            "Times that a market's turn to prepare batches did not come in time.",
            |state| state.worker_timeouts,
        );
    }

    fn cleaned(&self, meter: &Meter) {
        let help = "What was removed because it is over: markers of epochs, sets of submissions.";
        self.counter(meter, "state_tracker_chain_cleaned_total", help, |state, _, tell| {
            for (kind, many) in
                [("markers", state.cleaned.markers), ("submissions", state.cleaned.submissions)]
            {
                tell(many, &[KeyValue::new("kind", kind)]);
            }
        });
    }

    fn markets(&self, meter: &Meter) {
        self.gauge(meter, OF_MARKETS[0], "Submission windows.", |state, _, tell| {
            for (market, [waiting, open, closed]) in &state.windows {
                for (state, many) in [("waiting", waiting), ("open", open), ("closed", closed)] {
                    let labels = [label(market), KeyValue::new("state", state)];
                    tell(*many, &labels);
                }
            }
        });
        self.counter(meter, OF_MARKETS[1], "Batches handed over.", |state, _, tell| {
            state.prepared.iter().for_each(|(market, done)| tell(done.batches, &[label(market)]));
        });
        self.counter(meter, OF_MARKETS[2], "Epochs whose batches were due.", |state, _, tell| {
            for (market, done) in &state.prepared {
                let outcomes =
                    [("handed_over", done.epochs), ("expired", done.expired), ("elsewhere", done.elsewhere)];
                for (outcome, many) in outcomes {
                    tell(many, &[label(market), KeyValue::new("outcome", outcome)]);
                }
            }
        });
        self.counter(meter, OF_MARKETS[3], "Submissions in batches.", |state, _, tell| {
            state.prepared.iter().for_each(|(market, done)| tell(done.submissions, &[label(market)]));
        });
        self.counter(
            meter,
            OF_MARKETS[4],
            "Members that are no submissions of their epoch.",
            |state, _, tell| {
                state.prepared.iter().for_each(|(market, done)| tell(done.malformed, &[label(market)]));
            },
        );
        let help = "Blocks whose hash was not known any more when their submissions were due.";
        self.counter(meter, OF_MARKETS[5], help, |state, _, tell| {
            state.prepared.iter().for_each(|(market, done)| tell(done.missing, &[label(market)]));
        });
    }

    fn source(&self, meter: &Meter) {
        let help = "What nodes did wrong, and logs that can't be read, by kind.";
        self.counter(meter, "state_tracker_chain_faults_total", help, |_, source, tell| {
            faults(source.counters()).for_each(|(kind, many)| tell(many, &[KeyValue::new("kind", kind)]));
        });
        let requests = "state_tracker_chain_requests_total";
        self.counter(meter, requests, "Requests to nodes.", |_, source, tell| {
            tell(source.counters().requests(), &[]);
        });
        self.gauge(meter, "state_tracker_rpc_nodes", "Nodes by their state.", |_, source, tell| {
            nodes(&source.status()).for_each(|(state, many)| tell(many, &[KeyValue::new("state", state)]));
        });
    }

    fn gauge(&self, meter: &Meter, name: &'static str, help: &'static str, read: impl Read) {
        let gauge = meter.u64_observable_gauge(name).with_description(help);
        gauge.with_callback(self.reading(read)).build();
    }

    fn counter(&self, meter: &Meter, name: &'static str, help: &'static str, read: impl Read) {
        let counter = meter.u64_observable_counter(name).with_description(help);
        counter.with_callback(self.reading(read)).build();
    }

    /// What a metric does during a scrape.
    fn reading<R: Read>(&self, read: R) -> impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + use<R> {
        let watch = self.clone();
        move |metric| {
            let followed = lock(&watch.0).clone();
            if let Some(Followed { source, progress }) = followed {
                read(&progress.now(), &source, &mut |value, labels| metric.observe(value, labels));
            }
        }
    }
}

fn label(market: &impl ToString) -> KeyValue {
    KeyValue::new("market", market.to_string())
}
