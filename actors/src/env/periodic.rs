//! Periodic jobs: the loop of the finder, the pruner, the cleaner and the contract values.

use std::{future::Future, time::Duration};

use retry::{Attempts, RetryPolicy};
use supervision::{Context, Failure};

use crate::env::{failure_point::FailurePoint, report::Report, services::Services};

/// The failure points of a periodic job.
pub(crate) struct Points {
    pub(crate) before_pause: &'static FailurePoint,
    pub(crate) before_round: &'static FailurePoint,
    pub(crate) after_round: &'static FailurePoint,
}

/// Runs `job` at the interval `every`, for the first time after `first`, until the actor is stopped. A stop cancels a running job at
/// its next await; a failed job is reported and retried with backoff.
pub(crate) async fn run_periodically<E: Report, F: Future<Output = Result<(), E>>>(
    cx: &Context,
    services: &Services,
    [first, every]: [Duration; 2],
    retry: RetryPolicy,
    points: &Points,
    job: impl Fn() -> F,
) -> Result<(), Failure> {
    let clock = cx.clock();
    let mut pause = first;
    // A retry must not come later than the next regular run.
    let mut attempts = Attempts::new(retry.at_most(every));
    loop {
        points.before_pause.pass().await?;
        // A pause counts as idle. With `sleep` alone the watch would take an interval of minutes for a stall.
        cx.pause(clock.sleep(pause)).await;
        if cx.is_stopping() {
            return Ok(());
        }
        // An injected failure crashes the actor; a failed job does not.
        points.before_round.pass().await?;
        let made = tokio::select! {
            // The stop first: a job that is always ready must not delay it.
            biased;
            () = cx.stopped() => return Ok(()),
            made = job() => made,
        };
        pause = match made {
            Ok(()) => {
                attempts.succeeded();
                every
            }
            Err(error) => {
                services.report(&error);
                attempts.failed()
            }
        };
        points.after_round.pass().await?;
    }
}
