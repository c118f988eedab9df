//! The pause before a failed attempt is repeated. Pure: this crate neither waits nor reads a clock.
//!
//! [`table`] lists every retry of the product. To change a pause, change its row; to add one, add a row and use it.
//! The restart of an actor is no retry: `supervision` restarts with a backoff that the configuration sets.
//!
//! **Invariant:** this crate names no setting, and no other crate defines a pause between attempts.
//!
//! ```
//! use retry::{Attempts, table};
//!
//! let mut attempts = Attempts::new(table::PRUNER);
//! let pause = attempts.failed(); // sleep for it, then try again
//! attempts.succeeded(); // the next failure begins with the first pause
//! assert_eq!(pause, table::PRUNER.first);
//! ```

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod policy;
pub mod table;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

pub use policy::{Jitter, RetryPolicy};

/// Counts the failures in a row of one repeated operation, and gives the pause after each.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    failures: u32,
}

impl Attempts {
    /// Starts without a failure.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Notes a failure; returns the pause before the next attempt.
    pub fn failed(&mut self) -> Duration {
        let pause = self.policy.pause(self.failures, random());
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Notes a success: the next failure begins with the first pause.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// The pause before the next attempt where a server has requested one (`Retry-After`): at least `own`, the pause without a request,
/// and otherwise at most [`table::LONGEST_REQUESTED`]. A request for 0 seconds or for a time in the past would cause a hot loop, and
/// a huge one would stop the retries.
#[must_use]
pub fn clamp_requested(asked: Duration, own: Duration) -> Duration {
    // `max` last: `own` may be longer than the limit, and is never shortened.
    asked.min(table::LONGEST_REQUESTED).max(own)
}

/// A random number from 0 to 1, for jitter. Not for secrets.
#[must_use]
pub fn random() -> f64 {
    // Each RandomState has different keys, which spares a dependency on a generator. An f64 holds 53 bits of a fraction.
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        name: "TEST",
        about: "A test.",
        first: Duration::from_millis(200),
        longest: Duration::from_secs(5),
        jitter: Jitter::Quarter,
        attempts: table::UNLIMITED,
    };

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u128> = (0..8).map(|failures| POLICY.pause(failures, 0.5).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(POLICY.pause(u32::MAX, 0.5), POLICY.longest);
    }

    #[test]
    fn jitter_spreads_a_pause_over_its_range() {
        let millis = |jitter| {
            [0.0, 0.5, 1.0, 7.0].map(|random| RetryPolicy { jitter, ..POLICY }.pause(0, random).as_millis())
        };
        assert_eq!(millis(Jitter::None), [200, 200, 200, 200]);
        assert_eq!(millis(Jitter::Quarter), [150, 200, 250, 250]);
        assert_eq!(millis(Jitter::Double), [200, 300, 400, 400]);
    }

    #[test]
    fn a_limit_holds_for_every_pause_with_its_jitter() {
        for jitter in [Jitter::None, Jitter::Quarter, Jitter::Double] {
            for limit in [10, 200, 1_000, 60_000].map(Duration::from_millis) {
                let policy = RetryPolicy { jitter, ..POLICY }.at_most(limit);
                for failures in 0..20 {
                    assert!(policy.pause(failures, 1.0) <= limit, "{jitter:?} {limit:?} {failures}");
                }
            }
        }
    }

    #[test]
    fn a_requested_pause_lies_between_our_own_and_the_limit() {
        let own = Duration::from_secs(2);
        for (asked, pause) in [
            (Duration::ZERO, own),
            (Duration::from_secs(1), own),
            (Duration::from_secs(17), Duration::from_secs(17)),
            (Duration::from_secs(86_400), table::LONGEST_REQUESTED),
            (Duration::from_secs(u64::MAX), table::LONGEST_REQUESTED),
            (Duration::MAX, table::LONGEST_REQUESTED),
        ] {
            assert_eq!(clamp_requested(asked, own), pause, "{asked:?}");
        }
        let longer = table::LONGEST_REQUESTED * 2;
        assert_eq!(clamp_requested(Duration::ZERO, longer), longer, "our own pause is never made shorter");
    }

    #[test]
    fn failures_in_a_row_are_counted_until_an_attempt_succeeds() {
        let mut attempts = Attempts::new(RetryPolicy { jitter: Jitter::None, ..POLICY });
        assert_eq!([(); 3].map(|()| attempts.failed().as_millis()), [200, 400, 800]);
        attempts.succeeded();
        assert_eq!(attempts.failed().as_millis(), 200);
    }

    #[test]
    fn random_numbers_differ_and_lie_between_0_and_1() {
        let numbers: Vec<f64> = (0..1_000).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f64>() / 1_000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }
}
