//! The metrics of the tracker. Those of each market are read during a scrape, so that a removed market leaves no series.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::tracker::Entity;
use store_redis::ErrorKind;
use store_tracker::{DATASETS, Dataset, Intervals};
use supervision::Clock;

use crate::{
    env::{
        lock::lock,
        stale_after,
        telemetry::{Counter, Gauge, Histogram, Label, Meter, Metric, Observed, Values},
    },
    operations::LOST,
};

/// Buckets for passes, in seconds: from a pass without news to one on an overloaded server.
const PASS_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const MARKET: Label = Label { name: "market", values: Values::Configuration };
const ENTITY_TYPE: Label = Label {
    name: "entity_type",
    values: Values::Known(|| {
        let well_formed = Entity::ALL.into_iter().filter(|entity| *entity != Entity::Malformed);
        well_formed.map(Entity::as_str).collect()
    }),
};
const DATASET_TYPE: Label = Label {
    name: "dataset_type",
    values: Values::Known(|| DATASETS.iter().filter_map(|dataset| dataset.label).collect()),
};
const AGGREGATION_TYPE: Label = Label {
    name: "aggregation_type",
    values: Values::Known(|| DATASETS.iter().filter_map(|dataset| dataset.aggregation).collect()),
};
const OUTCOME: Label =
    Label { name: "outcome", values: Values::Known(|| IndexOutcome::ALL.map(IndexOutcome::as_str).to_vec()) };

const LEDGER_FAULT: Label =
    Label { name: "kind", values: Values::Known(|| LedgerFault::ALL.map(LedgerFault::as_str).to_vec()) };

domain::table! {
    /// The metrics that the tracker's actors record.
    pub(crate) METRICS: Metric;
    CHANGES = Metric::counter("state_tracker_changes_processed_total", &[ENTITY_TYPE], "events",
        "The listener passed on this many events; malformed ones are not passed on.");
    EVENTS = Metric::counter("state_tracker_events_received_total", &[ENTITY_TYPE], "events",
        "The listener received this many events; malformed ones count as `other`.");
    DATASETS_WRITTEN = Metric::counter("state_tracker_datasets_generated_total", &[DATASET_TYPE], "datasets",
        "The tracker wrote this many datasets.");
    STALE_AFTER = Metric::gauge("state_tracker_dataset_stale_after_seconds", &[DATASET_TYPE], "seconds",
        "A dataset that is older is stale: its interval was missed three times.");
    PASS_DURATION = Metric::histogram("state_tracker_aggregation_duration_seconds", &[AGGREGATION_TYPE],
        PASS_SECONDS, "A pass that wrote the dataset took this long, reading included.");
    REDIS_UP = Metric::gauge("state_tracker_redis_up", &[], "0 or 1",
        "Redis serves the subscription (1) or not (0).");
    SUBSCRIBED = Metric::gauge("state_tracker_subscription_connected", &[], "0 or 1",
        "The listener is subscribed to state changes (1) or not (0).");
    PROVEN = Metric::gauge("state_tracker_subscription_proven", &[], "0 or 1",
        "The listener received its own message from the server that is written to (1), or it did not or may not (0).");
    GAPS = Metric::counter("state_tracker_subscription_gaps_total", &[], "interruptions",
        "The listener subscribed again this many times after an interruption; a pass follows each time.");
    DROPPED = Metric::counter("state_tracker_events_dropped_total", &[], "events",
        "The listener dropped this many events because its queue was full; a pass follows.");
    UNACCOUNTED = Metric::counter("state_tracker_unaccounted_epochs_total", &[], "epochs",
        "The aggregators sealed this many epochs without knowing their submissions.");
    LATE = Metric::counter("state_tracker_late_changes_total", &[], "changes",
        "Producers made this many changes to sealed epochs; they change no total.");
    INDEX_EVENTS = Metric::counter("state_tracker_index_events_total", &[OUTCOME], "events",
        "This many events for the state index had this outcome.");
}

/// The metrics of each market.
pub(crate) static OF_MARKETS: &[Observed<Markets>] = &[
    Observed {
        metric: Metric::gauge(
            "state_tracker_dataset_age_seconds",
            &[DATASET_TYPE, MARKET],
            "seconds",
            "This process wrote the dataset of the market this long ago.",
        ),
        read: |markets, emit| {
            // The age is computed at the scrape, so that it grows while nothing is written.
            let now = markets.clock.unix();
            for (name, market) in &*lock(&markets.known) {
                for (dataset, &at) in &market.written {
                    let age = now.saturating_sub(at).as_secs_f64();
                    emit(age, &[(*dataset).into(), name.clone().into()]);
                }
            }
        },
    },
    Observed {
        metric: Metric::gauge(
            "state_tracker_unfinished_epochs",
            &[MARKET],
            "epochs",
            "The ledger of the market holds this many epochs that are not sealed.",
        ),
        read: |markets, emit| {
            for (name, market) in &*lock(&markets.known) {
                // No series before the first pass: 0 would mean that all epochs are sealed.
                market.unfinished.iter().for_each(|many| emit(*many as f64, &[name.clone().into()]));
            }
        },
    },
    Observed {
        metric: Metric::counter(
            "state_tracker_ledger_faults_total",
            &[LEDGER_FAULT, MARKET],
            "faults",
            "Passes found the ledger of the market torn, or younger or smaller than before, this many times.",
        ),
        read: |markets, emit| {
            for (name, market) in &*lock(&markets.known) {
                for (fault, many) in LedgerFault::ALL.into_iter().zip(market.ledger_faults) {
                    emit(many as f64, &[fault.as_str().into(), name.clone().into()]);
                }
            }
        },
    },
];

/// The observations of each market.
pub(crate) struct Markets {
    clock: Clock,
    known: Mutex<BTreeMap<Arc<str>, Market>>,
}

#[derive(Default)]
struct Market {
    unfinished: Option<u64>,
    /// In the order of [`LedgerFault::ALL`].
    ledger_faults: [u64; LedgerFault::ALL.len()],
    /// When each dataset was last written (since the Unix epoch), by its label.
    written: BTreeMap<&'static str, Duration>,
}

/// What is wrong with a ledger. Its metric has the market too, which that of all errors has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerFault {
    /// A part of it is missing while the rest is there.
    Torn,
    /// Redis has lost a part of it, or all of it.
    Lost,
}

impl LedgerFault {
    /// Every fault.
    pub const ALL: [Self; 2] = [Self::Torn, Self::Lost];

    /// The value of the label `kind`, as that of all errors has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Torn => ErrorKind::Torn.as_str(),
            Self::Lost => LOST.label,
        }
    }
}

/// The outcome of an event for the state index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOutcome {
    /// Its effect is in the index, even if it changed nothing.
    Indexed,
    /// It would have moved a state backwards and was ignored; these also count as indexed.
    Backwards,
    /// The index is full, and so has no room for its epoch, submission or validator; these also count as indexed.
    Refused,
    /// It came on the common channel, while each of several markets has its own index.
    Unattributed,
    /// It never reached the index: its message was dropped from a full mailbox or became a dead letter.
    Dropped,
    /// Its id is longer than any valid one.
    Oversized,
    /// The index stores nothing for its kind.
    Ignored,
}

impl IndexOutcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Indexed,
        Self::Backwards,
        Self::Refused,
        Self::Unattributed,
        Self::Dropped,
        Self::Oversized,
        Self::Ignored,
    ];

    /// The value of the label `outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Indexed => "indexed",
            Self::Backwards => "backwards",
            Self::Refused => "refused",
            Self::Unattributed => "unattributed",
            Self::Dropped => "dropped",
            Self::Oversized => "oversized",
            Self::Ignored => "ignored",
        }
    }
}

/// The metrics of the tracker. A clone records to the same metrics.
#[derive(Clone)]
pub struct TrackerMetrics(Arc<Instruments>);

struct Instruments {
    changes: Counter,
    events: Counter,
    datasets: Counter,
    stale_after: Gauge,
    pass_duration: Histogram,
    redis_up: Gauge,
    subscribed: Gauge,
    proven: Gauge,
    gaps: Counter,
    dropped: Counter,
    unaccounted: Counter,
    late: Counter,
    index_events: Counter,
    markets: Arc<Markets>,
}

impl TrackerMetrics {
    /// Registers the metrics; `clock` measures the ages of datasets.
    #[must_use]
    pub fn register(meter: &Meter, clock: &Clock) -> Self {
        let markets = Arc::new(Markets { clock: clock.clone(), known: Mutex::default() });
        meter.observe(OF_MARKETS, &markets);
        Self(Arc::new(Instruments {
            changes: meter.counter(&CHANGES),
            events: meter.counter(&EVENTS),
            datasets: meter.counter(&DATASETS_WRITTEN),
            stale_after: meter.gauge(&STALE_AFTER),
            pass_duration: meter.histogram(&PASS_DURATION),
            redis_up: meter.gauge(&REDIS_UP),
            subscribed: meter.gauge(&SUBSCRIBED),
            proven: meter.gauge(&PROVEN),
            gaps: meter.counter(&GAPS),
            dropped: meter.counter(&DROPPED),
            unaccounted: meter.counter(&UNACCOUNTED),
            late: meter.counter(&LATE),
            index_events: meter.counter(&INDEX_EVENTS),
            markets,
        }))
    }

    /// Counts `n` received events, and counts them as passed on unless they are malformed.
    pub fn events(&self, entity: Entity, n: u64) {
        // The label has no `malformed`: its values are those of the original's metric.
        if entity == Entity::Malformed {
            return self.0.events.add(n, [Entity::Other.as_str()]);
        }
        self.0.events.add(n, [entity.as_str()]);
        self.0.changes.add(n, [entity.as_str()]);
    }

    /// Records that a dataset of a market was written at this time (since the Unix epoch).
    pub fn dataset_written(&self, market: &str, dataset: &Dataset, unix: Duration) {
        if let Some(label) = dataset.label {
            self.0.datasets.add(1, [label]);
            self.0.markets.change(market, |market| {
                market.written.insert(label, unix);
            });
        }
    }

    /// Shows from which age on each dataset is stale, so that alerts need not know the intervals.
    pub fn written_every(&self, intervals: &Intervals) {
        for dataset in DATASETS {
            if let Some(label) = dataset.label {
                // Whole seconds, rounded up: an alert must not fire before the limit.
                let limit = stale_after(dataset.interval(intervals)).as_secs_f64().ceil();
                self.0.stale_after.set(limit as u64, [label]);
            }
        }
    }

    /// Records how long a pass took that wrote this dataset.
    pub fn pass_took(&self, dataset: &Dataset, took: Duration) {
        if let Some(aggregation) = dataset.aggregation {
            self.0.pass_duration.record(took, [aggregation]);
        }
    }

    /// Records whether the subscription is established, which is how Redis counts as up.
    pub fn subscribed(&self, up: bool) {
        self.0.redis_up.set(u64::from(up), []);
        self.0.subscribed.set(u64::from(up), []);
    }

    /// Records whether the subscription is proven to be on the server that is written to.
    pub fn proven(&self, is_proven: bool) {
        self.0.proven.set(u64::from(is_proven), []);
    }

    /// Counts an interruption of the subscription, during which events were missed.
    pub fn subscription_gap(&self) {
        self.0.gaps.add(1, []);
    }

    /// Counts `n` events that were dropped before the listener read them.
    pub fn events_dropped(&self, n: u64) {
        self.0.dropped.add(n, []);
    }

    /// Counts `n` epochs whose submissions expired before they were read.
    pub fn unaccounted_epochs(&self, n: u64) {
        self.0.unaccounted.add(n, []);
    }

    /// Counts `n` changes of sealed epochs.
    pub fn late_changes(&self, n: u64) {
        self.0.late.add(n, []);
    }

    /// Counts `n` events for the state index by their outcome.
    pub fn index_events(&self, outcome: IndexOutcome, n: u64) {
        self.0.index_events.add(n, [outcome.as_str()]);
    }

    /// Records how many epochs of a market's ledger are not sealed.
    pub fn unfinished_epochs(&self, market: &str, n: u64) {
        self.0.markets.change(market, |market| market.unfinished = Some(n));
    }

    /// Begins the counts of a market at 0: alerts for a single fault need the 0, since `increase()` sees no growth in the first sample
    /// of a series.
    pub fn market_added(&self, market: &str) {
        self.0.markets.change(market, |_| {});
    }

    /// Counts a fault of a market's ledger.
    pub fn ledger_fault(&self, market: &str, fault: LedgerFault) {
        self.0.markets.change(market, |market| market.ledger_faults[fault as usize] += 1);
    }

    /// Removes the series of a market that is no longer tracked.
    pub fn market_removed(&self, market: &str) {
        lock(&self.0.markets.known).remove(market);
    }
}

impl Markets {
    fn change(&self, market: &str, change: impl FnOnce(&mut Market)) {
        let mut markets = lock(&self.known);
        match markets.get_mut(market) {
            // `entry` would allocate a name at every call, and this runs at every pass.
            Some(known) => change(known),
            None => change(markets.entry(market.into()).or_default()),
        }
    }
}

/// The rows of the metrics of the tracker.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(OF_MARKETS.iter().map(|row| &row.metric))
}

#[cfg(test)]
mod tests;
