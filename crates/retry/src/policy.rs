//! The figures of one retry, and the pause that they give.

use std::time::Duration;

/// A pause is doubled at most this often.
const MOST_DOUBLINGS: u32 = 16;

/// The pauses between the attempts at one thing, and how many attempts there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The name of its row in the [`table`](crate::table).
    pub name: &'static str,
    /// What is tried again, in a sentence.
    pub about: &'static str,
    /// The pause after the first failure. Each further failure in a row doubles it.
    pub first: Duration,
    /// No pause is longer, apart from its jitter.
    pub longest: Duration,
    /// How much the pauses vary, so that many clients don't come back at the same moment.
    pub jitter: Jitter,
    /// How many attempts are made. [`FOREVER`](crate::table::FOREVER) where nothing ends them.
    pub attempts: u32,
}

/// The random factor of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// The pause as it is.
    None,
    /// Three quarters to five quarters of the pause.
    Quarter,
    /// The pause to twice the pause.
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
    /// The pause after a failure, given how many failures in a row came before it, and a random number from 0 to 1.
    #[must_use]
    pub fn pause(&self, failures_before: u32, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures_before.min(MOST_DOUBLINGS));
        let pause = doubled.min(self.longest);
        match self.jitter {
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
        let (_, most) = self.jitter.range();
        Self { longest: self.longest.min(limit.div_f64(most)), ..self }
    }
}
