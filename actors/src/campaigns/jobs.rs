//! The actor of changed jobs: makes each an event, where the migration notes them.
//!
//! It touches the database and Redis. Promise: a change that was noted while this actor ran or crashed becomes an event once; those of a time
//! at which no service ran don't.

use std::time::Duration;

use retry::{Attempts, table::CAMPAIGN_MONITOR};
use store_campaigns::ChangedJob;
use store_redis::{ErrorKind, StoreError};
use supervision::{Context, Failure, Worker};

use super::{
    shared::{Campaigns, SendStatusError},
    told::{self, Told},
};
use crate::env::lock::lock;

/// How often changed jobs are read.
const READ_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether the migration is there.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The actor.
pub struct JobFeed(Campaigns);

impl JobFeed {
    /// The feed of these campaigns' jobs.
    #[must_use]
    pub fn new(campaigns: Campaigns) -> Self {
        Self(campaigns)
    }

    /// Tells of the jobs that have changed since the last call; returns whether there may be more at once.
    async fn tell(&self, cx: &Context) -> Result<bool, SendStatusError> {
        let shared = &self.0.0;
        let after = *lock(&shared.jobs_place);
        let changed = cx.idle(shared.database.changed_jobs(after)).await?;
        if changed.is_truncated {
            tracing::warn!("campaign jobs: more jobs changed than are noted; some changes are not told");
        }
        let told: Vec<Told> = changed.jobs.iter().filter(|job| !is_own(job)).map(told::job).collect();
        if !told.is_empty() {
            let outcomes = cx.idle(self.0.append(told)).await?;
            if let Some(error) = outcomes.into_iter().filter_map(Result::err).find(is_of_all) {
                return Err(error.into());
            }
        }
        // Only now: what could not be told is told again, and the log makes it one event.
        *lock(&shared.jobs_place) = Some(changed.next);
        Ok(changed.has_more)
    }

    /// Tells until it is time to look at the migration again.
    async fn follow(&self, cx: &Context) -> Result<(), SendStatusError> {
        let until = cx.clock().now() + LOOK_EVERY;
        while !cx.is_stopping() && cx.clock().now() < until {
            let has_more = self.tell(cx).await?;
            cx.progress();
            if !has_more {
                cx.pause(cx.clock().sleep(READ_EVERY)).await;
            }
        }
        Ok(())
    }
}

/// Whether an offer was refused for a reason that is not of its own, such as that Redis takes no writes: it is made again. One of a campaign
/// whose keys are broken would hold up the jobs of all others.
fn is_of_all(error: &StoreError) -> bool {
    !matches!(error.kind, ErrorKind::WrongType | ErrorKind::Malformed)
}

/// Whether it is a status job, which clients are not told of.
fn is_own(job: &ChangedJob) -> bool {
    job.queue == "status" && job.kind == "aggregate-status"
}

impl Worker for JobFeed {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let shared = &self.0.0;
        let mut attempts = Attempts::new(CAMPAIGN_MONITOR);
        while !cx.is_stopping() {
            let done = match cx.idle(shared.database.migration()).await {
                Ok(state) if state.counts() => {
                    let stop = cx.stop_token();
                    stop.run_until_cancelled(Box::pin(self.follow(cx))).await.unwrap_or(Ok(()))
                }
                Ok(_) => {
                    cx.pause(cx.clock().sleep(LOOK_EVERY)).await;
                    Ok(())
                }
                Err(error) => Err(error.into()),
            };
            match done {
                Ok(()) => attempts.succeeded(),
                Err(error) => {
                    self.0.note(&error);
                    cx.pause(cx.clock().sleep(attempts.failed())).await;
                }
            }
        }
        Ok(())
    }
}
