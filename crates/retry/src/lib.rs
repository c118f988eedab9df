//! How long to wait before something that failed is tried again. Pure: it neither waits nor reads a clock.
//!
//! [`table`] lists every retry of the product. To change a pause, change its row; to add one, add a row and use it.
//! The restart of an actor is no retry: `supervision` restarts with a backoff that the configuration sets.
//!
//! **Invariant:** it names no setting, and no pause between attempts stands in another crate.
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

/// The attempts at one thing: counts its failures in a row.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    failures: u32,
}

impl Attempts {
    /// No attempt has failed yet.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// An attempt has failed; the pause before the next one.
    pub fn failed(&mut self) -> Duration {
        let pause = self.policy.pause(self.failures, random());
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// An attempt has succeeded: the next failure begins with the first pause.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// The pause before the next attempt where a server has asked for one: at least `own`, the pause that we would make
/// without being asked, and at most [`table::LONGEST_ASKED`] where that is longer. What a server says is not trusted any
/// further: 0 seconds or a time in the past would make a hot loop, and a huge time would give the server up.
#[must_use]
pub fn clamp(asked: Duration, own: Duration) -> Duration {
    asked.min(table::LONGEST_ASKED).max(own)
}

/// A random number from 0 to 1 to spread pauses with. Not for secrets.
#[must_use]
pub fn random() -> f64 {
    // Each RandomState has other keys. 53 bits are what a fraction holds.
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
        attempts: table::FOREVER,
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
    fn a_pause_that_a_server_asks_for_lies_between_our_own_and_the_longest() {
        let own = Duration::from_secs(2);
        for (asked, pause) in [
            (Duration::ZERO, own),
            (Duration::from_secs(1), own),
            (Duration::from_secs(17), Duration::from_secs(17)),
            (Duration::from_secs(86_400), table::LONGEST_ASKED),
            (Duration::from_secs(u64::MAX), table::LONGEST_ASKED),
            (Duration::MAX, table::LONGEST_ASKED),
        ] {
            assert_eq!(clamp(asked, own), pause, "{asked:?}");
        }
        let longer = table::LONGEST_ASKED * 2;
        assert_eq!(clamp(Duration::ZERO, longer), longer, "our own pause is never made shorter");
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
