//! The meter of a polled source, with the place where it measures. Pure.

use std::sync::Arc;

use domain::peers::SumMeter;

/// Where the work of a source is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the channels of its clients.
    Clients,
    /// At its own channels.
    Server,
}

/// The meter of a polled source.
#[derive(Debug)]
pub(super) struct Sums {
    pub(super) place: Place,
    pub(super) meter: SumMeter,
}

impl Sums {
    /// A meter that has measured nothing yet.
    pub(super) fn new(source: Arc<str>, place: Place) -> Self {
        Self { place, meter: SumMeter::new(source) }
    }
}
