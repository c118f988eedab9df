//! When actors are restarted, and how much waits for them: `[supervision]`, `[mailbox]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[supervision]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Supervision {
    /// Restarts of one actor that are allowed `within`.
    pub max_restarts: u32,
    /// The period of `max_restarts`.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
    /// Wait before the first restart.
    #[serde(with = "humantime_serde")]
    pub backoff_first: Duration,
    /// Longest wait before a restart.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// An actor that was well for this long starts again at `backoff_first`.
    #[serde(with = "humantime_serde")]
    pub backoff_reset_after: Duration,
    /// An actor with work and without progress is restarted after this.
    #[serde(with = "humantime_serde")]
    pub stall_after: Duration,
    /// An actor that holds its thread ends the process after this.
    #[serde(with = "humantime_serde")]
    pub wedged_after: Duration,
    /// Actors that may be restarting at a time.
    pub simultaneous_restarts: usize,
    /// How often a degraded actor is tried again.
    #[serde(with = "humantime_serde")]
    pub degraded_retry: Duration,
    /// How long a mandatory actor may be down before the process ends.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// How long one actor may take to stop.
    #[serde(with = "humantime_serde")]
    pub stop_within: Duration,
    /// How long everything may take to stop.
    #[serde(with = "humantime_serde")]
    pub shutdown_within: Duration,
}

/// `[mailbox]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mailbox {
    /// Messages that wait at most.
    pub capacity: usize,
    /// Bytes that wait at most.
    pub bytes: usize,
    /// Messages taken at once at most.
    pub batch: usize,
    /// Attempts at one message before it is a dead letter.
    pub max_attempts: u32,
}
