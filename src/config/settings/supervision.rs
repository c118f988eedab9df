//! `[supervision]` and `[mailbox]`: restarts of actors, and the limits of their mailboxes.

use std::time::Duration;

use super::super::setting::{DAY, HOUR, MS, SECOND, duration, integer, millis, section};

section! {
    /// Restarts of actors, and the end of the process.
    pub struct Supervision in "supervision" {
        /// Restart limit: an actor that is restarted more often within restart_window is degraded. Its siblings continue, and it
        /// is retried every degraded_retry_interval.
        max_restarts: u32 = integer(5, "a number of restarts", 1..=1_000),
        /// Period in which restarts are counted for the restart limit.
        restart_window: Duration = duration("60s", SECOND..=DAY).formerly("within"),
        /// Wait before the first restart; it doubles with each restart that follows.
        backoff_first: Duration = duration("100ms", MS..=HOUR).at_most("supervision.backoff_max"),
        /// Longest wait before a restart.
        backoff_max: Duration = duration("30s", MS..=HOUR),
        /// Time without a crash after which the backoff of an actor starts again at its first wait.
        backoff_reset_delay: Duration = duration("60s", millis(100)..=DAY).formerly("backoff_reset_after"),
        /// Time after which an actor that has work and reports no progress is restarted.
        stall_timeout: Duration = duration("30s", millis(100)..=HOUR)
            .less_than("supervision.wedge_timeout")
            .formerly("stall_after"),
        /// Time after which an actor that doesn't yield its thread ends the process with exit code 70, since it can't be
        /// restarted.
        wedge_timeout: Duration = duration("60s", millis(100)..=HOUR).formerly("wedged_after"),
        /// How many restarts may be under way at a time in the whole tree; further ones wait. So actors that fail together do not
        /// all read from Redis at once.
        simultaneous_restarts: usize = integer(8, "a number of actors", 1..=10_000),
        /// Time between two attempts to restart a degraded actor.
        degraded_retry_interval: Duration = duration("30s", millis(100)..=HOUR)
            .less_than("supervision.give_up_timeout")
            .formerly("degraded_retry"),
        /// Time for which a mandatory actor may be degraded before the process ends with exit code 70.
        give_up_timeout: Duration = duration("10m", SECOND..=DAY).formerly("give_up_after"),
        /// How long one actor may take to stop.
        stop_timeout: Duration = duration("2s", millis(10)..=millis(8_000))
            .at_most("supervision.shutdown_timeout")
            .formerly("stop_within"),
        /// How long all actors together may take to stop after SIGTERM. Container runtimes kill after 10 s.
        // 8.9 s and one second for killed actors and endpoints are just below the 10 s of Docker; Kubernetes waits 30 s.
        shutdown_timeout: Duration = duration("8s", millis(100)..=millis(8_900)).formerly("shutdown_within"),
    }
}

section! {
    /// The limits of each actor's mailbox.
    pub struct Mailbox in "mailbox" {
        /// How many messages may wait in one mailbox.
        capacity: usize = integer(1_024, "a number of messages", 1..=1_000_000),
        /// How many bytes of messages may wait in one mailbox.
        bytes: usize = integer(4_194_304, "a number of bytes", 1_024..=1_073_741_824),
        /// How many messages an actor takes at once.
        batch: usize = integer(64, "a number of messages", 1..=65_536).at_most("mailbox.capacity"),
        /// How often a message is tried before it becomes a dead letter.
        max_attempts: u32 = integer(2, "a number of attempts", 1..=100),
    }
}
