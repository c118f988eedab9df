//! What rates are computed from: the measurement window, and the counts of the last minutes.

use crate::tracker::Sums;

/// The window over which rates are measured. It survives restarts; a new one begins when it is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasurementWindow {
    /// When it began, in Unix seconds.
    pub began: f64,
    /// The totals when it began.
    pub submissions: u64,
    /// Epochs opened when it began.
    pub epochs: u64,
    /// Batches when it began.
    pub batches: u64,
}

impl MeasurementWindow {
    /// The window to measure in now: `present`, or a new one when there is none, when it is over or when it can't be
    /// used (it begins in the future, or counts more than there is). `length` is in seconds.
    #[must_use]
    pub fn at(present: Option<Self>, sums: &Sums, now: f64, length: f64) -> Self {
        let fresh = Self {
            began: now,
            submissions: sums.submissions,
            epochs: sums.epochs,
            batches: sums.local + sums.aggregated,
        };
        // A beginning in the future is a clock that was set back, larger counts are a ledger that lost data: the
        // rates would be wrong until the window ends.
        let usable = |window: &Self| {
            now >= window.began
                && now < window.began + length
                && window.submissions <= fresh.submissions
                && window.epochs <= fresh.epochs
                && window.batches <= fresh.batches
        };
        present.filter(usable).unwrap_or(fresh)
    }
}

/// Counts of the last minute and of the last five. `None`: could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Epochs opened in the last minute.
    pub epochs_1m: Option<u64>,
    /// Epochs opened in the last five minutes.
    pub epochs_5m: Option<u64>,
    /// Local and aggregated batches of the last minute.
    pub batches_1m: Option<u64>,
    /// Local and aggregated batches of the last five minutes.
    pub batches_5m: Option<u64>,
    /// Submissions processed in the last minute.
    pub submissions_1m: Option<u64>,
    /// Submissions processed in the last five minutes.
    pub submissions_5m: Option<u64>,
}
