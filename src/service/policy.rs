//! Converts the limits of the configuration to those of actors and mailboxes.

use std::time::Duration;

use supervision::{Backoff, Intensity, Limits, Policy, Restart, Shutdown};

use crate::config;

/// The policy of a child that is not mandatory.
pub(super) fn policy(settings: &config::Supervision) -> Policy {
    Policy {
        intensity: Intensity { max_restarts: settings.max_restarts, within: settings.restart_window },
        backoff: Backoff {
            first: settings.backoff_first,
            max: settings.backoff_max,
            // Actors that failed together must not return together.
            jitter: true,
            reset_after: settings.backoff_reset_delay,
        },
        shutdown: Shutdown::Within(settings.stop_timeout),
        // Every actor is watched for stalls: each one has to finish its work or report progress.
        stall_after: Some(settings.stall_timeout),
        degraded_retry: settings.degraded_retry_interval,
        ..Policy::default()
    }
}

/// The policy of a mandatory child.
pub(super) fn mandatory(settings: &config::Supervision) -> Policy {
    Policy { give_up_after: Some(settings.give_up_timeout), ..policy(settings) }
}

pub(super) fn limits(settings: &config::Mailbox) -> Limits {
    Limits {
        capacity: settings.capacity,
        bytes: settings.bytes,
        batch: settings.batch,
        max_attempts: settings.max_attempts,
        ..Limits::default()
    }
}

/// The policy of a child that ends by itself. If it becomes degraded, the tree gives up at once: a command must not hang.
pub(crate) fn run_to_completion(settings: &config::Supervision) -> Policy {
    Policy { restart: Restart::Transient, give_up_after: Some(Duration::ZERO), ..policy(settings) }
}
