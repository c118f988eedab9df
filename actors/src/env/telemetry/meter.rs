//! Creates instruments from rows. A group of metrics registers its rows on a [`Meter`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use opentelemetry::{KeyValue, Value, metrics};
use opentelemetry_sdk::metrics::{Instrument, Stream};

use super::{
    markets::Many,
    metric::{Emit, Kind, Metric, Observed},
};
use crate::env::lock::lock;

/// The series limit of each metric.
#[derive(Clone, Default)]
pub(super) struct SeriesLimits(Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl SeriesLimits {
    /// The stream of an instrument; with `None` the SDK applies its own limit of 2,000 series.
    pub(super) fn stream(&self, instrument: &Instrument) -> Option<Stream> {
        // By name: the SDK shows the view nothing else of the row.
        let limit = *lock(&self.0).get(instrument.name())?;
        Stream::builder().with_cardinality_limit(limit).build().ok()
    }
}

/// Creates instruments. A clone is the same meter.
#[derive(Clone)]
pub struct Meter {
    meter: metrics::Meter,
    limits: SeriesLimits,
    many: Many,
}

impl Meter {
    pub(super) fn new(meter: metrics::Meter, limits: SeriesLimits, many: Many) -> Self {
        Self { meter, limits, many }
    }

    /// A counter. Series that are known beforehand begin at 0: `rate()` sees no increase in a series whose first value is 1.
    pub fn counter(&self, row: &'static Metric) -> Counter {
        self.expect(row, row.kind == Kind::Counter);
        let inner = self.meter.u64_counter(row.name).with_description(row.sentence).build();
        // Without labels there is one combination, the empty one.
        for series in row.known_series().unwrap_or_default() {
            inner.add(0, &attributes(row, series));
        }
        Counter { inner, row }
    }

    /// A gauge. Without labels it begins at 0, so that it is exposed before its first change.
    pub fn gauge(&self, row: &'static Metric) -> Gauge {
        self.expect(row, row.kind == Kind::Gauge);
        let inner = self.meter.u64_gauge(row.name).with_description(row.sentence).build();
        if row.labels.is_empty() {
            inner.record(0, &[]);
        }
        Gauge { inner, row }
    }

    /// A histogram.
    pub fn histogram(&self, row: &'static Metric) -> Histogram {
        let boundaries = if let Kind::Histogram(boundaries) = row.kind { boundaries } else { &[] };
        self.expect(row, !boundaries.is_empty());
        let inner = self.meter.f64_histogram(row.name).with_description(row.sentence);
        Histogram { inner: inner.with_boundaries(boundaries.to_vec()).build(), row }
    }

    /// Metrics that are read from `source` during each scrape.
    pub fn observe<T: Send + Sync + 'static>(&self, rows: &'static [Observed<T>], source: &Arc<T>) {
        for Observed { metric: row, read } in rows {
            self.expect(row, matches!(row.kind, Kind::Counter | Kind::Gauge));
            let (source, many) = (source.clone(), self.many.clone());
            let callback = move |metric: &dyn metrics::AsyncInstrument<f64>| {
                let emit: Emit<'_> =
                    &mut |value, values| metric.observe(value, &attributes(row, values.iter().cloned()));
                match many.fold(row, |emit| read(&source, emit)) {
                    Some(folded) => folded.emit(emit),
                    None => read(&source, emit),
                }
            };
            if row.kind == Kind::Counter {
                let counter = self.meter.f64_observable_counter(row.name).with_description(row.sentence);
                counter.with_callback(callback).build();
            } else {
                let gauge = self.meter.f64_observable_gauge(row.name).with_description(row.sentence);
                gauge.with_callback(callback).build();
            }
        }
    }

    /// Records the row's limit. The SDK asks for the stream, and with it the limit, when the instrument is built.
    fn expect(&self, row: &'static Metric, is_kind: bool) {
        // A wrong row is a mistake of a programmer, which the tests of all rows find.
        debug_assert!(is_kind, "{} is a {:?}", row.name, row.kind);
        lock(&self.limits.0).insert(row.name, row.series_limit());
    }
}

fn attributes<V: Into<Value>>(row: &Metric, values: impl IntoIterator<Item = V>) -> Vec<KeyValue> {
    let all: Vec<KeyValue> =
        row.labels.iter().zip(values).map(|(label, value)| KeyValue::new(label.name, value)).collect();
    debug_assert_eq!(all.len(), row.labels.len(), "{} needs a value for each label", row.name);
    all
}

/// A counter.
pub struct Counter {
    inner: metrics::Counter<u64>,
    row: &'static Metric,
}

impl Counter {
    /// Adds `n` to the series of these values, in the order of the row's labels.
    pub fn add<const LABELS: usize>(&self, n: u64, values: [&'static str; LABELS]) {
        self.inner.add(n, &attributes(self.row, values));
    }
}

/// A gauge.
pub struct Gauge {
    inner: metrics::Gauge<u64>,
    row: &'static Metric,
}

impl Gauge {
    /// Sets the series of these values, in the order of the row's labels.
    pub fn set<const LABELS: usize>(&self, value: u64, values: [&'static str; LABELS]) {
        self.inner.record(value, &attributes(self.row, values));
    }
}

/// A histogram of seconds.
pub struct Histogram {
    inner: metrics::Histogram<f64>,
    row: &'static Metric,
}

impl Histogram {
    /// Records one duration in the series of these values, in the order of the row's labels.
    pub fn record<const LABELS: usize>(&self, duration: std::time::Duration, values: [&'static str; LABELS]) {
        self.inner.record(duration.as_secs_f64(), &attributes(self.row, values));
    }
}
