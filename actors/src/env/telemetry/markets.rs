//! Metrics of each market where there are too many markets: one series instead of thousands.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use opentelemetry::Value;

use super::{
    metric::{Emit, Kind, Metric},
    siblings::ALL,
};

/// The label of a market.
const MARKET: &str = "market";
/// Up to so many markets, and actors below one supervisor, have series of their own.
const DEFAULT: usize = 1_000;

/// Up to how many markets have series of their own. Clones are the same.
#[derive(Clone)]
pub(super) struct Many(Arc<AtomicUsize>);

impl Default for Many {
    fn default() -> Self {
        Self(Arc::new(DEFAULT.into()))
    }
}

impl Many {
    pub(super) fn set(&self, limit: usize) {
        self.0.store(limit, Relaxed);
    }

    pub(super) fn limit(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// The series of a metric for all markets together, if they are too many; `None` if each has its own.
    pub(super) fn fold(&self, row: &Metric, read: impl FnOnce(Emit<'_>)) -> Option<Folded> {
        let market = row.labels.iter().position(|label| label.name == MARKET)?;
        let mut folded = Folded { market, series: Vec::new() };
        read(&mut |value, values| folded.add(row, value, values));
        folded.series.iter().any(|series| series.many > self.limit()).then_some(folded)
    }
}

/// The series of all markets together: the sum of a counter, and the market with the largest value of a gauge, of which none is
/// worse for being small.
pub(super) struct Folded {
    /// The position of the market among the labels.
    market: usize,
    /// One for each combination of the other labels, which are few.
    series: Vec<Series>,
}

struct Series {
    value: f64,
    values: Vec<Value>,
    many: usize,
}

impl Folded {
    fn add(&mut self, row: &Metric, value: f64, values: &[Value]) {
        let market = self.market;
        let others = |values: &[Value], other: &[Value]| {
            let pairs = values.iter().zip(other).enumerate();
            pairs.filter(|(at, _)| *at != market).all(|(_, (value, other))| value == other)
        };
        match self.series.iter_mut().find(|series| others(&series.values, values)) {
            Some(series) => {
                series.many += 1;
                if row.kind == Kind::Counter {
                    series.value += value;
                } else if value > series.value {
                    (series.value, series.values) = (value, values.to_vec());
                }
            }
            None => {
                let mut values = values.to_vec();
                if row.kind == Kind::Counter
                    && let Some(market) = values.get_mut(market)
                {
                    *market = ALL.into();
                }
                self.series.push(Series { value, values, many: 1 });
            }
        }
    }

    pub(super) fn emit(self, emit: Emit<'_>) {
        self.series.iter().for_each(|series| emit(series.value, &series.values));
    }
}
