//! What is known of the listener, for readiness and metrics.

use std::time::Duration;

use tokio::time::Instant;

use super::pooler::Pooling;

/// After so long without a sign of life the listener counts as deaf.
pub const DEAF_AFTER: Duration = Duration::from_secs(5);

/// What is known of the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerState {
    /// When the listener last heard itself; none while it has no connection that was proved to hear.
    pub heard_itself: Option<Instant>,
    /// Why it does not hear, in one line.
    pub reason: Option<String>,
    /// What stands between it and the database.
    pub pooling: Pooling,
    /// How often a connection was proved to hear.
    pub connections: u64,
    /// How often a connection that heard was lost.
    pub losses: u64,
    /// Notifications of runs.
    pub notifications: u64,
    /// Notifications whose text is no id, which another program sent.
    pub unreadable: u64,
}

impl ListenerState {
    /// Whether a change that is committed now would be heard. A reader polls the database while it would not.
    #[must_use]
    pub fn hears(&self, now: Instant) -> bool {
        self.heard_itself.is_some_and(|last| now.saturating_duration_since(last) <= DEAF_AFTER)
    }
}
