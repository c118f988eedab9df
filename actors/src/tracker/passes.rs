//! The loop of passes of a market's actors: a pass at every interval, and earlier when a message asks for one or the last
//! pass failed. A message is acknowledged when the pass that it asked for is committed.

use std::time::Instant;

use retry::{Attempts, RetryPolicy};
use store_redis::StoreError;
use store_tracker::Dataset;
use supervision::{Clock, Context, Failure, Inbox, Lease, fail::InjectedFailure};

use super::services::TrackerServices;
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

    /// One pass. It depends on no earlier pass and can be repeated.
    fn pass(
        &mut self,
        wake: Option<&Wake>,
        clock: &Clock,
    ) -> impl Future<Output = Result<Next, PassError>> + Send;

    /// The time before which a message starts no pass; messages that arrive until then share one.
    fn rests_until(&self) -> Option<Instant> {
        None
    }

    /// Called when a pass failed because of Redis: inputs may have been missed.
    fn interrupted(&mut self) {}
}

/// When the next pass is due.
pub(super) enum Next {
    /// One interval after this pass began.
    Interval,
    /// At once, because this pass did not see all inputs.
    AtOnce,
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
        let began = clock.now();
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
                next = match when {
                    // From the begin, so that the time a pass takes does not stretch the interval.
                    Next::Interval => (began + interval).max(clock.now()),
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
        // Readiness fails with the first failed pass, and recovers with the next good one.
        if let Some(condition) = P::DATASET.readiness {
            services.readiness.failed(actor.market(), condition, services.line(&error));
        }
        actor.interrupted();
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
