//! What a supervisor does about a child: when it restarts it, how fast, how often, and how long it waits.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

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
    /// Takes up to half of each pause away by chance, also of the longest one and of the retries of a degraded child, so
    /// that actors that crashed together do not come back together.
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
