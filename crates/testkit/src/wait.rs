//! Waiting for a condition in a test, never for a fixed time. Touches nothing but the clock; panics when the
//! condition does not come true.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

const POLL: Duration = Duration::from_millis(5);

/// What a probe may return: `bool` (true ends the wait) or `Option` (a value ends it).
pub trait Outcome {
    /// What the wait returns.
    type Value;
    /// The value, when the condition holds.
    fn reached(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();
    fn reached(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn reached(self) -> Option<T> {
        self
    }
}

/// Asks `probe` every few milliseconds until it says yes, and returns what it found. `what` completes the
/// sentence "waiting for …".
///
/// # Panics
/// When `timeout` is over, also while a probe hangs: with `what`, the time waited and the caller's line.
#[track_caller]
pub fn wait_until<O: Outcome>(
    what: &str,
    timeout: Duration,
    mut probe: impl AsyncFnMut() -> O,
) -> impl Future<Output = O::Value> {
    let caller = Location::caller();
    async move {
        let started = Instant::now();
        let deadline = started + timeout;
        let mut probes = 0_u64;
        loop {
            let answer = timeout_at(deadline, probe()).await;
            probes += 1;
            if let Some(value) = answer.ok().and_then(O::reached) {
                return value;
            }
            if Instant::now() >= deadline {
                let waited = started.elapsed();
                panic!("{caller}: waiting for {what}: not so after {waited:.1?} and {probes} probes");
            }
            sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_what_the_probe_found() {
        let mut calls = 0;
        let found = wait_until("three calls", Duration::from_secs(5), async || {
            calls += 1;
            (calls == 3).then_some(calls)
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "waiting for something that never comes")]
    async fn a_wait_that_is_over_names_what_it_waited_for() {
        wait_until("something that never comes", Duration::from_millis(20), async || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "waiting for an answer")]
    async fn a_probe_that_hangs_does_not_hang_the_wait() {
        wait_until("an answer", Duration::from_millis(20), async || std::future::pending::<bool>().await)
            .await;
    }
}
