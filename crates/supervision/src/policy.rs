//! The policy of a child: which exits restart it, with which pauses, how often, and its deadlines.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

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
    next: Duration,
}

impl Pauses {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, next: backoff.first.min(backoff.max) }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.backoff);
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.backoff.max);
        self.jittered(pause)
    }

    /// A pause, shortened by chance where the backoff says so.
    pub(crate) fn jittered(&self, pause: Duration) -> Duration {
        if self.backoff.jitter { pause.mul_f64(1.0 - chance() / 2.0) } else { pause }
    }
}

/// A number from 0 to 1 by chance.
fn chance() -> f64 {
    // Each RandomState has other keys. 53 bits are what a fraction holds.
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// 1,000 draws of a pause: the shortest and the longest, in milliseconds.
    fn spread(mut draw: impl FnMut() -> Duration) -> (u128, u128) {
        let draws: Vec<u128> = (0..1_000).map(|_| draw().as_millis()).collect();
        (draws.iter().min().copied().unwrap_or(0), draws.iter().max().copied().unwrap_or(0))
    }

    #[test]
    fn jitter_spreads_every_pause_and_the_longest_one_too() {
        let backoff = Backoff { first: SECOND, max: 4 * SECOND, jitter: true, reset_after: SECOND };
        for (step, longest) in [1_000, 2_000, 4_000, 4_000].into_iter().enumerate() {
            let (least, most) = spread(|| {
                let mut pauses = Pauses::new(backoff);
                for _ in 0..step {
                    pauses.next();
                }
                pauses.next()
            });
            // 1,000 draws leave out a tenth at an end once in 10^46 runs.
            assert!(least >= longest / 2 && least < longest * 6 / 10, "{least} of {longest}");
            assert!(most <= longest && most > longest * 9 / 10, "{most} of {longest}");
        }
    }

    #[test]
    fn without_jitter_the_pause_doubles_up_to_the_longest_and_begins_again_after_a_reset() {
        let backoff = Backoff { first: SECOND, max: 5 * SECOND, jitter: false, reset_after: SECOND };
        let mut pauses = Pauses::new(backoff);
        assert_eq!([1, 2, 4, 5, 5].map(|_| pauses.next().as_secs()), [1, 2, 4, 5, 5]);
        pauses.reset();
        assert_eq!(pauses.next(), SECOND);
        assert_eq!(Pauses::new(Backoff { first: 9 * SECOND, ..backoff }).next(), 5 * SECOND);
    }
}
