//! What is known of each market, read during a scrape: a market that is removed leaves no series behind.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry::{KeyValue, metrics::Meter};
use supervision::Clock;

use crate::env::telemetry::{Dataset, lock};

const DATASET_AGE: &str = "state_tracker_dataset_age_seconds";
const UNFINISHED_EPOCHS: &str = "state_tracker_unfinished_epochs";

/// The last word on each market.
#[derive(Default)]
pub(crate) struct Markets(Mutex<BTreeMap<String, Market>>);

#[derive(Default)]
struct Market {
    unfinished: Option<u64>,
    written: BTreeMap<Dataset, Duration>,
}

/// Whether this metric has the label `market`.
pub(crate) fn owns(metric: &str) -> bool {
    [DATASET_AGE, UNFINISHED_EPOCHS].contains(&metric)
}

impl Markets {
    /// An empty table, and the metrics that read it.
    pub(crate) fn observed(meter: &Meter, clock: &Clock) -> Arc<Self> {
        let markets = Arc::new(Self::default());
        let (table, clock) = (markets.clone(), clock.clone());
        meter
            .f64_observable_gauge(DATASET_AGE)
            .with_description("Time since a dataset of a market was last written by this process.")
            .with_callback(move |metric| {
                let now = clock.unix();
                for (name, market) in &*lock(&table.0) {
                    for (dataset, &at) in &market.written {
                        let labels = [dataset.label(), label(name)];
                        metric.observe(now.saturating_sub(at).as_secs_f64(), &labels);
                    }
                }
            })
            .build();
        let table = markets.clone();
        meter
            .u64_observable_gauge(UNFINISHED_EPOCHS)
            .with_description("Epochs in the ledger of a market that are not sealed yet.")
            .with_callback(move |metric| {
                for (name, market) in &*lock(&table.0) {
                    if let Some(unfinished) = market.unfinished {
                        metric.observe(unfinished, &[label(name)]);
                    }
                }
            })
            .build();
        markets
    }

    pub(crate) fn written(&self, market: &str, dataset: Dataset, unix: Duration) {
        self.change(market, |market| {
            market.written.insert(dataset, unix);
        });
    }

    pub(crate) fn unfinished(&self, market: &str, n: u64) {
        self.change(market, |market| market.unfinished = Some(n));
    }

    pub(crate) fn remove(&self, market: &str) {
        lock(&self.0).remove(market);
    }

    fn change(&self, market: &str, change: impl FnOnce(&mut Market)) {
        let mut markets = lock(&self.0);
        match markets.get_mut(market) {
            Some(known) => change(known),
            None => change(markets.entry(market.to_owned()).or_default()),
        }
    }
}

fn label(market: &str) -> KeyValue {
    KeyValue::new("market", market.to_owned())
}
