//! When a low success rate is told: once below the threshold, and again only after it has recovered.

use super::metrics::Metrics;

/// How far above the threshold a rate must be to have recovered; without it a rate that trembles would alert at each summary.
pub const RECOVERY_MARGIN: f64 = 0.02;

/// What a new summary changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AlertChange {
    /// The rate is below the threshold, and was not before.
    Raised {
        /// The success rate of jobs that are over, from 0 to 1.
        success_rate: f64,
    },
    /// The rate is above the threshold again.
    Recovered {
        /// The success rate of jobs that are over, from 0 to 1.
        success_rate: f64,
    },
}

/// The alert of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alert {
    /// Whether the rate was told to be low and has not recovered.
    pub is_raised: bool,
}

impl Alert {
    /// Judges new figures. A threshold of 0 alerts never; figures without a job that succeeded or failed change nothing.
    pub fn judge(&mut self, metrics: &Metrics, threshold: f64) -> Option<AlertChange> {
        let success_rate = metrics.settled_success_rate()?;
        if !self.is_raised && success_rate < threshold {
            self.is_raised = true;
            return Some(AlertChange::Raised { success_rate });
        }
        // A threshold near 1 could never be passed by the whole margin.
        if self.is_raised && success_rate >= (threshold + RECOVERY_MARGIN).min(1.0) {
            self.is_raised = false;
            return Some(AlertChange::Recovered { success_rate });
        }
        None
    }
}
