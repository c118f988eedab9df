//! A retry policy: the figures of one row, and the pauses that follow from them.

use std::time::Duration;

/// The limit of doublings; without it the shift overflows after 31 failures in a row.
const MOST_DOUBLINGS: u32 = 16;

/// The pauses between attempts, and how many attempts there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The name of its row in the [`table`](crate::table).
    pub name: &'static str,
    /// A sentence about what is retried.
    pub about: &'static str,
    /// The pause after the first failure. Each further failure in a row doubles it.
    pub first: Duration,
    /// The longest pause before jitter is added; [`RetryPolicy::at_most`] limits both together.
    pub longest: Duration,
    /// The random part of a pause, so that many clients don't retry at the same moment.
    pub jitter: Jitter,
    /// How many attempts are made, or [`UNLIMITED`](crate::table::UNLIMITED).
    pub attempts: u32,
}

/// The random factor of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// No randomness.
    None,
    /// From three quarters to five quarters of the pause.
    Quarter,
    /// From the pause to twice the pause.
    Double,
}

impl Jitter {
    const fn range(self) -> (f64, f64) {
        match self {
            Self::None => (1.0, 1.0),
            Self::Quarter => (0.75, 1.25),
            Self::Double => (1.0, 2.0),
        }
    }
}

impl RetryPolicy {
    /// The pause after a failure. `failures_before` counts the failures in a row before it; `random` lies between 0 and 1.
    #[must_use]
    pub fn pause(&self, failures_before: u32, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures_before.min(MOST_DOUBLINGS));
        let pause = doubled.min(self.longest);
        match self.jitter {
            // Without the detour over f64, so that a pause without jitter is exact.
            Jitter::None => pause,
            jitter => {
                let (least, most) = jitter.range();
                pause.mul_f64(least + (most - least) * random.clamp(0.0, 1.0))
            }
        }
    }

    /// The same policy where no pause is longer than `limit`, jitter included.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        // Divided by the largest factor: jitter is applied after the limit.
        let (_, most) = self.jitter.range();
        Self { longest: self.longest.min(limit.div_f64(most)), ..self }
    }
}
