//! The rhythm that a market's actors share: a pass every interval, sooner when a message asks for it or when
//! the last pass failed; what a message asked for is settled when the pass is committed.

use std::time::Instant;

use retry::{Attempts, RetryPolicy};
use store_redis::StoreError;
use store_tracker::Dataset;
use supervision::{Clock, Context, Failure, Lease, fail::InjectedFailure};

use super::services::TrackerServices;
use crate::env::messages::Look;

/// An actor whose life is one pass after the other.
pub(super) trait Passes: Send {
    /// The dataset by which readiness judges its passes.
    const DATASET: Dataset;
    /// The pauses before a pass that failed is made again.
    const RETRY: RetryPolicy;

    /// What it works with.
    fn tracker(&self) -> &TrackerServices;

    /// The market, as it is shown.
    fn market(&self) -> &str;

    /// One pass. It depends on no pass before it, and may be made again.
    fn pass(
        &mut self,
        look: Option<&Look>,
        clock: &Clock,
    ) -> impl Future<Output = Result<Next, PassError>> + Send;

    /// Before this, a message does not start a pass: what it asks for is gathered.
    fn rests_until(&self) -> Option<Instant> {
        None
    }

    /// A pass failed because of Redis: something may be missed.
    fn interrupted(&mut self) {}
}

/// When the next pass is due.
pub(super) enum Next {
    /// An interval after the beginning of this one.
    Interval,
    /// At once: this one saw that it had not seen everything.
    AtOnce,
}

/// Why a pass ended without its effect.
#[derive(Debug)]
pub(super) enum PassError {
    /// Redis is at fault: the pass is tried again, and nothing is charged for it.
    Store(StoreError),
    /// The actor is at fault: it crashes.
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

/// Makes passes until the actor shall stop.
pub(super) async fn keep_passing<P: Passes>(actor: &mut P, cx: &mut Context<Look>) -> Result<(), Failure> {
    let clock = cx.clock().clone();
    let interval = P::DATASET.interval(&actor.tracker().rhythm.intervals);
    let retry = P::RETRY.at_most(actor.tracker().rhythm.reconnect_within).at_most(interval);
    let mut attempts = Attempts::new(retry);
    let mut next = clock.now();
    let stop = cx.stop_token();
    // What still waits when the actor shall stop can be derived again from the keys.
    while !stop.is_cancelled() {
        if let Some(rested) = actor.rests_until() {
            // Messages wait in the mailbox meanwhile, where they become one.
            cx.pause(clock.sleep_until(rested.min(next))).await;
        }
        let Ok(look) = wait(cx, &clock, next).await else { break };
        let began = clock.now();
        let pass = tokio::select! {
            biased;
            // A pass may be left at any point: it is whole when it is committed, and nothing before.
            () = stop.cancelled() => {
                let _ = look.map(Lease::give_back);
                break;
            }
            pass = actor.pass(look.as_deref(), &clock) => pass,
        };
        let error = match pass {
            Ok(when) => {
                attempts.succeeded();
                let _ = look.map(Lease::settle);
                if let Some(condition) = P::DATASET.readiness {
                    actor.tracker().services.status.written(actor.market(), condition);
                }
                next = match when {
                    Next::Interval => (began + interval).max(clock.now()),
                    Next::AtOnce => clock.now(),
                };
                continue;
            }
            Err(PassError::Actor(failure)) => return Err(failure),
            Err(PassError::Store(error)) => error,
        };
        // The message stays for the next attempt, and is not charged: the fault is not its own.
        let _ = look.map(Lease::give_back);
        let services = &actor.tracker().services;
        services.report(&error);
        if let Some(condition) = P::DATASET.readiness {
            services.status.failed(actor.market(), condition, services.line(&error));
        }
        actor.interrupted();
        next = clock.now() + attempts.failed();
        // The message that was given back is not to be taken up at once.
        cx.pause(clock.sleep_until(next)).await;
    }
    Ok(())
}

struct Stop;

/// Waits for the next reason to look: a message, as a lease, or the time.
async fn wait<'a>(
    cx: &'a mut Context<Look>,
    clock: &Clock,
    next: Instant,
) -> Result<Option<Lease<'a, Look>>, Stop> {
    tokio::select! {
        biased;
        look = cx.recv() => look.map(Some).ok_or(Stop),
        () = clock.sleep_until(next) => Ok(None),
    }
}
