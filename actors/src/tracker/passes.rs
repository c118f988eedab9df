//! The loop of passes of a market's actors: a pass at every interval, and earlier when a message asks for one or the last
//! pass failed. A message is acknowledged when the pass that it asked for is committed.

use std::time::{Duration, Instant};

use retry::{Attempts, RetryPolicy};
use store_redis::{ErrorKind, StoreError};
use store_tracker::Dataset;
use supervision::{Clock, Context, Failure, Inbox, Lease, fail::InjectedFailure};

use super::{metrics::LedgerFault, services::TrackerServices};
use crate::env::messages::Wake;

/// An actor that makes one pass after the other.
pub(super) trait Passes: Send {
    /// The dataset that gives the interval and the readiness condition of its passes.
    const DATASET: Dataset;
    /// The pauses before a failed pass is retried.
    const RETRY: RetryPolicy;

    /// The services.
    fn tracker(&self) -> &TrackerServices;

    /// The market's address in checksum form.
    fn market(&self) -> &str;

    /// One pass. It reads what it needs of earlier passes from Redis, and can be repeated.
    fn pass(
        &mut self,
        wake: Option<&Wake>,
        clock: &Clock,
    ) -> impl Future<Output = Result<Next, PassError>> + Send;

    /// The time before which a message starts no pass; messages that arrive until then share one.
    fn rests_until(&self) -> Option<Instant> {
        None
    }
}

/// When the next pass is due.
pub(super) enum Next {
    /// At the next regular one.
    Regular,
    /// After this time, unless a regular one comes before.
    Within(Duration),
    /// At once, because this pass did not see all inputs.
    AtOnce,
}

/// The number of the interval that runs at `now` (Unix time), and how long it still lasts. A regular pass is made at the start of
/// each interval. Intervals are shifted by an offset that follows from the market's name: so the passes of different markets are spread,
/// and those of one market's actors coincide, which keeps its datasets of the same age.
pub(super) fn running_interval(now: Duration, interval: Duration, market: &str) -> (u64, Duration) {
    let interval = interval.as_nanos().max(1);
    let shifted = now.as_nanos() + u128::from(fnv(market)) % interval;
    let left = interval - shifted % interval;
    let number = |nanos: u128| u64::try_from(nanos).unwrap_or(u64::MAX);
    (number(shifted / interval), Duration::from_nanos(number(left)))
}

/// A hash that is the same in every process: FNV-1a.
fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Why a pass failed.
#[derive(Debug)]
pub(super) enum PassError {
    /// Redis failed: the pass is retried, and its message is not charged.
    Store(StoreError),
    /// The actor failed: it crashes.
    Actor(Failure),
}

impl From<StoreError> for PassError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<InjectedFailure> for PassError {
    fn from(failure: InjectedFailure) -> Self {
        Self::Actor(failure.into())
    }
}

/// Makes passes until the actor is stopped.
pub(super) async fn keep_passing<P: Passes>(
    actor: &mut P,
    cx: &Context,
    inbox: &mut Inbox<Wake>,
) -> Result<(), Failure> {
    let clock = cx.clock();
    let interval = P::DATASET.interval(&actor.tracker().timing.intervals);
    // A retry must not come later than the next regular pass.
    let retry = P::RETRY.at_most(actor.tracker().timing.reconnect_within).at_most(interval);
    let mut attempts = Attempts::new(retry);
    // The first pass is due at once: a restarted actor must not leave its datasets stale for an interval.
    let mut next = clock.now();
    // A stop leaves waiting messages unhandled: the first pass after the next start reads the same keys.
    while !cx.is_stopping() {
        // A regular pass that is due earlier ends the rest.
        if let Some(rested) = actor.rests_until() {
            // Messages merge in the mailbox meanwhile. A pause counts as idle, so a long one is no stall.
            cx.pause(clock.sleep_until(rested.min(next))).await;
        }
        let Ok(wake) = wait(inbox, clock, next).await else { break };
        let pass = tokio::select! {
            biased;
            // A pass can be cancelled at any await: its only write is the commit at its end.
            () = cx.stopped() => {
                let _ = wake.map(Lease::nack);
                break;
            }
            pass = actor.pass(wake.as_deref(), clock) => pass,
        };
        let error = match pass {
            Ok(when) => {
                attempts.succeeded();
                // Only now, after the commit: a crash before it returns the message, and the next incarnation repeats the pass.
                let _ = wake.map(Lease::ack);
                if let Some(condition) = P::DATASET.readiness {
                    actor.tracker().services.readiness.written(actor.market(), condition);
                }
                let (_, regular) = running_interval(clock.unix(), interval, actor.market());
                next = match when {
                    Next::Regular => clock.now() + regular,
                    Next::Within(other) => clock.now() + regular.min(other),
                    Next::AtOnce => clock.now(),
                };
                continue;
            }
            // The lease is dropped with an attempt charged: a message that crashes the actor again and again has to end.
            Err(PassError::Actor(failure)) => return Err(failure),
            Err(PassError::Store(error)) => error,
        };
        // Returned uncharged: an outage of Redis must not turn messages into dead letters.
        let _ = wake.map(Lease::nack);
        let services = &actor.tracker().services;
        services.report(&error);
        if error.kind == ErrorKind::Torn {
            actor.tracker().metrics.ledger_fault(actor.market(), LedgerFault::Torn);
        }
        // Readiness fails with the first failed pass, and recovers with the next good one.
        if let Some(condition) = P::DATASET.readiness {
            services.readiness.failed(actor.market(), condition, services.line(&error));
        }
        next = clock.now() + attempts.failed();
        // Without this pause `wait` would take the returned message at once and skip the backoff.
        cx.pause(clock.sleep_until(next)).await;
    }
    Ok(())
}

struct Stop;

/// Waits for the next reason for a pass: a message, as a lease, or the time `next`.
async fn wait<'a>(
    inbox: &'a mut Inbox<Wake>,
    clock: &Clock,
    next: Instant,
) -> Result<Option<Lease<'a, Wake>>, Stop> {
    tokio::select! {
        // The message first: when both are ready, the pass that is due acknowledges it too.
        biased;
        wake = inbox.recv() => wake.map(Some).ok_or(Stop),
        () = clock.sleep_until(next) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_passes_of_a_market_come_at_the_same_part_of_every_interval_and_those_of_many_are_spread() {
        let interval = Duration::from_secs(30);
        let second = |at: u64| Duration::from_secs(at);
        let mut parts = [0; 6];
        for market in 0..600 {
            let market = format!("0x{market:040x}");
            let first = second(1_000) + running_interval(second(1_000), interval, &market).1;
            assert!(first > second(1_000) && first <= second(1_030));
            for later in [1_003, 1_031, 9_999_999] {
                let (number, left) = running_interval(second(later), interval, &market);
                let next = second(later) + left;
                assert_eq!((next - first).as_nanos() % interval.as_nanos(), 0, "{market}");
                assert_eq!(running_interval(next, interval, &market), (number + 1, interval));
            }
            parts[(first.as_secs() % 30 / 5) as usize] += 1;
        }
        assert!(parts.iter().all(|part| (50..150).contains(part)), "{parts:?}");
    }
}
