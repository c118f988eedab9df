//! The joined tables of all actors: metrics and failure points. The reference pages are generated from them.

use crate::{
    alerts, campaigns, collector,
    env::{
        FailurePoint,
        telemetry::{self, Metric},
    },
    peers, tracker,
};

/// The failure points of the supervisors. `supervision` passes them by name and can't import this table, so a test compares
/// the two.
static OF_SUPERVISORS: [FailurePoint; 2] = [
    FailurePoint::new(
        "supervisor::before_order",
        "supervisor",
        "A supervisor has received an order to change its children and done nothing.",
    ),
    FailurePoint::new(
        "supervisor::after_exit",
        "supervisor",
        "A supervisor has received the exit of a child and done nothing.",
    ),
];

/// Every metric, grouped by the part that records it.
#[must_use]
pub fn metrics_by_part() -> [(&'static str, Vec<&'static Metric>); 6] {
    [
        ("The process and its actors", telemetry::metrics().collect()),
        ("The tracker", tracker::metrics::metrics().collect()),
        ("The collector", collector::metrics::metrics().collect()),
        ("The alerts", alerts::metrics::metrics().collect()),
        ("Connected peers", peers::metrics::metrics().collect()),
        ("Campaigns", campaigns::metrics::metrics().collect()),
    ]
}

/// Every metric.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    metrics_by_part().into_iter().flat_map(|(_, metrics)| metrics)
}

/// Every failure point: the tracker's, the collector's, the supervisors'.
pub fn failure_points() -> impl Iterator<Item = &'static FailurePoint> {
    let tables = [
        tracker::points::POINTS,
        collector::points::POINTS,
        peers::points::POINTS,
        campaigns::points::POINTS,
    ];
    tables.into_iter().flatten().chain(&OF_SUPERVISORS)
}

#[cfg(test)]
mod tests;
