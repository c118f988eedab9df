//! Deadline budgets: the time that an operation may still take, passed from caller to callee.
//!
//! A child's budget is the smaller of its own allowance and what its parent has left, so no child outlasts its parent. The
//! work is cancelled by dropping its future.

use std::time::{Duration, Instant};

use crate::{Clock, text::shown};

/// A deadline, with the name of its operation.
#[derive(Clone, Debug)]
pub struct Budget {
    clock: Clock,
    operation: &'static str,
    deadline: Instant,
}

/// The budget of an operation ran out, and its future was dropped.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{operation} did not finish within {}", shown(*allowed))]
pub struct DeadlineExceeded {
    /// The operation whose budget ended.
    pub operation: &'static str,
    /// The time that it had when it began.
    pub allowed: Duration,
}

impl Budget {
    /// A budget with no parent.
    #[must_use]
    pub fn new(clock: &Clock, operation: &'static str, allowance: Duration) -> Self {
        Self { clock: clock.clone(), operation, deadline: after(clock, allowance) }
    }

    /// The budget of a part of this work: `allowance`, but at most what is left here.
    #[must_use]
    pub fn child(&self, operation: &'static str, allowance: Duration) -> Self {
        let deadline = after(&self.clock, allowance).min(self.deadline);
        Self { clock: self.clock.clone(), operation, deadline }
    }

    /// When this budget ends.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left; zero when the deadline has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(self.clock.now())
    }

    /// Runs `work` within what is left.
    ///
    /// # Errors
    /// [`DeadlineExceeded`] when the time ran out first; `work` is dropped then, wherever it stood.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, DeadlineExceeded> {
        let allowed = self.remaining();
        let exceeded = DeadlineExceeded { operation: self.operation, allowed };
        // `timeout` polls the work once even without time, and the first poll could already send a request.
        if allowed.is_zero() {
            return Err(exceeded);
        }
        self.clock.timeout(allowed, work).await.ok_or(exceeded)
    }
}

/// `allowance` from now. An allowance beyond what the clock can show counts as thirty years.
fn after(clock: &Clock, allowance: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    let now = clock.now();
    now.checked_add(allowance).unwrap_or_else(|| now + THIRTY_YEARS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_childs_deadline_is_never_later_than_its_parents(
            parent in 0_u64..1_000, steps in proptest::collection::vec((0_u64..400, 0_u64..2_000), 1..8),
        ) {
            let clock = Clock::manual(Duration::ZERO);
            let mut budget = Budget::new(&clock, "root", Duration::from_millis(parent));
            for (elapsed, allowance) in steps {
                clock.advance(Duration::from_millis(elapsed));
                let child = budget.child("child", Duration::from_millis(allowance));
                prop_assert!(child.deadline() <= budget.deadline());
                prop_assert!(child.remaining() <= Duration::from_millis(allowance));
                budget = child;
            }
        }
    }

    #[tokio::test]
    async fn work_beyond_its_budget_is_dropped_and_named() {
        let clock = Clock::manual(Duration::ZERO);
        let parent = Budget::new(&clock, "block", Duration::from_secs(3));
        let child = parent.child("event processing", Duration::from_secs(30));
        let running = tokio::spawn(async move { child.run(std::future::pending::<()>()).await });
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(3));
        let error = running.await.expect("joined").expect_err("the parent's time ended");
        assert_eq!(
            error,
            DeadlineExceeded { operation: "event processing", allowed: Duration::from_secs(3) }
        );
        assert_eq!(error.to_string(), "event processing did not finish within 3s");
        assert_eq!(parent.run(async {}).await.expect_err("nothing is left").allowed, Duration::ZERO);
    }
}
