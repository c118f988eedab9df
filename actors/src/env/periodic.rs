//! Actors that make a round every so often, such as the pruner and the cleaner.

use std::{future::Future, time::Duration};

use retry::{Attempts, RetryPolicy};
use store_redis::StoreError;
use supervision::{Context, Failure, NoMessage, fail};

use crate::env::services::Services;

/// Where tests make such an actor fail.
pub(crate) struct Points {
    pub(crate) before_pause: &'static str,
    pub(crate) before_round: &'static str,
    pub(crate) after_round: &'static str,
}

/// Makes a round `every` so often until the actor shall stop. Not at the start: a process that is restarted often shall not
/// make one each time. A round may be left between any two of its steps; one that fails is told, and tried again.
pub(crate) async fn keep_making<F: Future<Output = Result<(), StoreError>>>(
    cx: &Context<NoMessage>,
    services: &Services,
    every: Duration,
    retry: RetryPolicy,
    points: Points,
    round: impl Fn() -> F,
) -> Result<(), Failure> {
    let clock = cx.clock();
    let mut pause = every;
    let mut attempts = Attempts::new(retry.at_most(every));
    loop {
        fail::point(points.before_pause).await?;
        cx.pause(clock.sleep(pause)).await;
        if cx.is_stopping() {
            return Ok(());
        }
        fail::point(points.before_round).await?;
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
        fail::point(points.after_round).await?;
    }
}
