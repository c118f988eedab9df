//! Rows of metrics: name, kind, labels, unit and sentence. What else is said of a metric derives from its row.
//!
//! Rows stand beside the actors that note them. Names stand here as they are exposed, unit and `_total` included: the exporter
//! appends nothing.

use opentelemetry::Value;

/// Series that one metric may have where the configuration bounds its labels; what goes beyond is summed up under
/// `otel_metric_overflow`.
const SERIES_OF_CONFIGURATION: usize = 16_384;
/// The same where the code bounds them.
const SERIES_OF_CODE: usize = 512;

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [Label],
    /// What its value counts: `seconds`, `bytes`, or things.
    pub unit: &'static str,
    /// What it says.
    pub sentence: &'static str,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution, with these bucket boundaries.
    Histogram(&'static [f64]),
}

/// A label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Which values it has.
    pub values: Values,
}

/// The values that a label may have, so that no input can make series without end.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These.
    Known(fn() -> Vec<&'static str>),
    /// Texts that stand in the code.
    Code,
    /// Names from the configuration, and what is made of them.
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

    /// How many series it may have.
    pub(super) fn series_limit(&self) -> usize {
        let is_configured = |label: &Label| matches!(label.values, Values::Configuration);
        if self.labels.iter().any(is_configured) { SERIES_OF_CONFIGURATION } else { SERIES_OF_CODE }
    }

    /// Every combination of the values of its labels; `None` where they are not known beforehand.
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

/// Tells a value with the values of the labels, any number of times.
pub type Tell<'a> = &'a mut dyn FnMut(f64, &[Value]);

/// A metric that is read from a `T` during a scrape.
pub struct Observed<T> {
    /// The metric: a counter or a gauge.
    pub metric: Metric,
    /// Reads it.
    pub read: fn(&T, Tell<'_>),
}

/// A gauge's value for yes and no.
pub(crate) fn flag(on: bool) -> u64 {
    u64::from(on)
}
