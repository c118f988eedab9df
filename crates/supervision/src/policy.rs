//! The policy of a child: which exits restart it, with which pauses, how often, and its deadlines.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The exits after which a child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Every exit.
    Permanent,
    /// Every exit but an orderly one. A stalled or killed child did not end orderly.
    Transient,
    /// None.
    Temporary,
}

/// What happens to the siblings of a child that ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// They continue.
    #[default]
    OneForOne,
    /// Those after it in the start order depend on it: they stop in reverse order, and start again after it in order.
    RestForOne,
}

/// The restart limit, as in OTP: at most `max_restarts` restarts in any period of `within`. One more makes the child
/// degraded.
#[derive(Clone, Copy, Debug)]
pub struct Intensity {
    /// The most restarts in the period.
    pub max_restarts: u32,
    /// The length of the period.
    pub within: Duration,
}

/// The pause before a restart: doubled at each one, from `first` to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Whether a random part of up to the pause is added (the sum is at most `max`), so that actors which crashed together
    /// restart apart.
    pub jitter: bool,
    /// After this time without a crash a child is healthy: its backoff and its restart limit start again, and it is no longer
    /// degraded.
    pub reset_after: Duration,
}

/// The policy of a child.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The exits after which it is restarted.
    pub restart: Restart,
    /// The restart limit.
    pub intensity: Intensity,
    /// The pauses before restarts.
    pub backoff: Backoff,
    /// How long the next sibling in the start order waits for this child to be ready.
    pub start_within: Duration,
    /// How long it may take to stop before it is killed.
    pub stop_within: Duration,
    /// How long it may work without progress before it is killed and restarted; `None` for no limit.
    pub stall_after: Option<Duration>,
    /// The pause between the restarts of a degraded child.
    pub degraded_retry: Duration,
    /// Set for a mandatory child: when it is degraded for this long, the root gives up.
    pub give_up_after: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: Restart::Permanent,
            intensity: Intensity { max_restarts: 5, within: Duration::from_secs(60) },
            backoff: Backoff {
                first: Duration::from_millis(100),
                max: Duration::from_secs(30),
                jitter: true,
                reset_after: Duration::from_secs(60),
            },
            start_within: Duration::from_secs(5),
            stop_within: Duration::from_secs(2),
            stall_after: Some(Duration::from_secs(30)),
            degraded_retry: Duration::from_secs(30),
            give_up_after: None,
        }
    }
}

/// The pauses of one child since it was last healthy.
#[derive(Debug)]
pub(crate) struct Pauses {
    backoff: Backoff,
    next: ExponentialBackoff,
}

impl Pauses {
    pub(crate) fn new(backoff: Backoff) -> Self {
        let mut builder = ExponentialBuilder::new()
            .with_min_delay(backoff.first)
            .with_max_delay(backoff.max)
            .without_max_times();
        if backoff.jitter {
            builder = builder.with_jitter();
        }
        Self { backoff, next: builder.build() }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.backoff);
    }

    pub(crate) fn next(&mut self) -> Duration {
        // Jitter is added after the builder's own limit.
        self.next.next().map_or(self.backoff.max, |pause| pause.min(self.backoff.max))
    }
}
