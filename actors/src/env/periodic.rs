//! Actors that make a round every so often, such as the pruner and the cleaner.

use std::{future::Future, time::Duration};

use retry::{Attempts, RetryPolicy};
use store_redis::StoreError;
use supervision::{Context, Failure, NoMessage};

use crate::env::{failure_point::FailurePoint, services::Services};

/// Where tests make such an actor fail.
pub(crate) struct Points {
    pub(crate) before_pause: &'static FailurePoint,
    pub(crate) before_round: &'static FailurePoint,
    pub(crate) after_round: &'static FailurePoint,
}

/// Makes a round `every` so often until the actor shall stop. Not at the start: a process that is restarted often shall not
/// make one each time. A round may be left between any two of its steps; one that fails is told, and tried again.
pub(crate) async fn keep_making<F: Future<Output = Result<(), StoreError>>>(
    cx: &Context<NoMessage>,
    services: &Services,
    every: Duration,
    retry: RetryPolicy,
    points: &Points,
    round: impl Fn() -> F,
) -> Result<(), Failure> {
    let clock = cx.clock();
    let mut pause = every;
    let mut attempts = Attempts::new(retry.at_most(every));
    loop {
        points.before_pause.pass().await?;
        cx.pause(clock.sleep(pause)).await;
        if cx.is_stopping() {
            return Ok(());
        }
        points.before_round.pass().await?;
        let made = tokio::select! {
            biased;
            () = cx.stopped() => return Ok(()),
            made = round() => made,
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
