//! The timers of a subscription. Pure: the listener reads the clock and acts.

use std::time::Instant;

/// When the timers of a subscription are due.
pub(super) struct Timers {
    /// The hand-over of collected events.
    pub(super) hand_over: Option<Instant>,
    /// The next pass because of dropped events.
    pub(super) drops: Option<Instant>,
    /// The next ping and own message.
    pub(super) ping: Instant,
}

impl Timers {
    /// When the first is due; `echo` is the deadline of the listener's own message.
    pub(super) fn next(&self, echo: Option<Instant>) -> Instant {
        [self.hand_over, self.drops, echo].into_iter().flatten().fold(self.ping, Instant::min)
    }
}
