//! A metric is a row: name, kind, labels, unit and sentence. Its instrument, its help text, its series limit and its line in
//! the reference are made from the row.
//!
//! Rows are beside the actors that record them. A row has the exposed name, unit and `_total` included; the exporter appends
//! nothing.

use opentelemetry::Value;

/// The most series of a metric whose labels the configuration bounds. The exporter sums further series up under
/// `otel_metric_overflow`.
const SERIES_OF_CONFIGURATION: usize = 16_384;
/// The most series of a metric whose labels the code bounds.
const SERIES_OF_CODE: usize = 512;

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels; values are given in this order.
    pub labels: &'static [Label],
    /// The unit of its value, such as `seconds`, `bytes` or `epochs`.
    pub unit: &'static str,
    /// Its meaning in one sentence: the help text and the reference.
    pub sentence: &'static str,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A value that only grows.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// A distribution, with these bucket boundaries.
    Histogram(&'static [f64]),
}

/// A label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its possible values.
    pub values: Values,
}

/// The possible values of a label. There is no variant for inputs: they could create series without limit.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Exactly these.
    Known(fn() -> Vec<&'static str>),
    /// Static texts in the code.
    Code,
    /// Names from the configuration, or derived from it.
    Configuration,
}

impl Metric {
    /// A counter.
    #[must_use]
    pub const fn counter(
        name: &'static str,
        labels: &'static [Label],
        unit: &'static str,
        sentence: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Counter, labels, unit, sentence }
    }

    /// A gauge.
    #[must_use]
    pub const fn gauge(
        name: &'static str,
        labels: &'static [Label],
        unit: &'static str,
        sentence: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Gauge, labels, unit, sentence }
    }

    /// A histogram of seconds.
    #[must_use]
    pub const fn histogram(
        name: &'static str,
        labels: &'static [Label],
        boundaries: &'static [f64],
        sentence: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram(boundaries), labels, unit: "seconds", sentence }
    }

    /// The most series that it may have.
    pub(super) fn series_limit(&self) -> usize {
        let is_configured = |label: &Label| matches!(label.values, Values::Configuration);
        if self.labels.iter().any(is_configured) { SERIES_OF_CONFIGURATION } else { SERIES_OF_CODE }
    }

    /// Every combination of its labels' values; `None` when not all of them are known beforehand.
    pub(super) fn known_series(&self) -> Option<Vec<Vec<&'static str>>> {
        let mut all = vec![Vec::new()];
        for label in self.labels {
            let Values::Known(values) = label.values else { return None };
            let values = values();
            all = all
                .into_iter()
                .flat_map(|series: Vec<&'static str>| {
                    values.iter().map(move |value| [&series[..], &[*value]].concat())
                })
                .collect();
        }
        Some(all)
    }
}

/// Emits one series: its value and the values of its labels.
pub type Emit<'a> = &'a mut dyn FnMut(f64, &[Value]);

/// A metric that is read from a `T` during a scrape.
pub struct Observed<T> {
    /// The metric: a counter or a gauge.
    pub metric: Metric,
    /// Reads it and emits any number of series.
    pub read: fn(&T, Emit<'_>),
}

/// The value of a gauge for yes (1) and no (0).
pub(crate) fn flag(on: bool) -> u64 {
    u64::from(on)
}
