//! What a supervisor does about a child: when it restarts it, how fast, how often, and how long it waits.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Which exits bring a child back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Every exit.
    Permanent,
    /// Every exit but an orderly one. A killed child (it stalled) did not end orderly.
    Transient,
    /// None.
    Temporary,
}

/// What becomes of the siblings of a child that falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// They go on.
    #[default]
    OneForOne,
    /// Those behind it in the start order depend on it: they stop, in reverse order, and start again in order behind it.
    RestForOne,
}

/// At most `max_restarts` restarts in any stretch of `within` (OTP's meaning): one more, and the child is
/// degraded.
#[derive(Clone, Copy, Debug)]
pub struct Intensity {
    /// How many restarts are tolerated.
    pub max_restarts: u32,
    /// In what stretch of time.
    pub within: Duration,
}

/// The pause before a restart: doubled at each one, from `first` to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Adds up to the pause again by chance (never beyond `max`), so that those who crashed together do not
    /// come back together.
    pub jitter: bool,
    /// A child that has run this long is healthy: the next pause is the first one again, its restarts are
    /// forgotten, and it is no longer degraded.
    pub reset_after: Duration,
}

/// Everything a supervisor needs to know about a child.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Which exits bring it back.
    pub restart: Restart,
    /// How many restarts are too many.
    pub intensity: Intensity,
    /// The pauses before restarts.
    pub backoff: Backoff,
    /// In ordered start, how long the next sibling waits for this one to be ready.
    pub start_within: Duration,
    /// How long it may take to stop before it is killed.
    pub stop_within: Duration,
    /// How long it may work without progress before it is replaced; `None` means for ever.
    pub stall_after: Option<Duration>,
    /// The pause between the attempts to bring a degraded child back.
    pub degraded_retry: Duration,
    /// Set for a child without which the tree is useless: degraded for this long, it makes the root give up.
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
        self.next.next().map_or(self.backoff.max, |pause| pause.min(self.backoff.max))
    }
}
