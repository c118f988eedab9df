//! How the configuration's limits become those of actors, mailboxes and readiness.

use std::time::Duration;

use supervision::{Backoff, Intensity, Limits, Policy, Restart};

use crate::config;

pub(super) fn policy(settings: &config::Supervision) -> Policy {
    Policy {
        intensity: Intensity { max_restarts: settings.max_restarts, within: settings.restart_window },
        backoff: Backoff {
            first: settings.backoff_first,
            max: settings.backoff_max,
            jitter: true,
            reset_after: settings.backoff_reset_delay,
        },
        stop_within: settings.stop_timeout,
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

/// The policy of what comes to an end by itself, and is given up when it stays down.
pub(crate) fn run_to_completion(settings: &config::Supervision) -> Policy {
    Policy { restart: Restart::Transient, give_up_after: Some(Duration::ZERO), ..policy(settings) }
}
