//! What a poll may cost.

use std::time::Duration;

/// The limits of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a request may take.
    pub request: Duration,
    /// The largest answer, in bytes.
    pub answer: usize,
    /// The most bytes of all answers.
    pub bytes: usize,
    /// The most requests.
    pub requests: usize,
    /// The most entries of all lists.
    pub items: usize,
    /// The most clients whose channels are asked for. Those beyond are shown without channels.
    pub clients: usize,
    /// How many requests for channels are made at once.
    pub at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(5),
            answer: 4 << 20,
            bytes: 128 << 20,
            requests: 10_000,
            items: 100_000,
            clients: 5_000,
            at_once: 8,
        }
    }
}
