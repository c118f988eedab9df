//! A status worker's actor: takes a job row, counts its run, writes the summary.
//!
//! It touches the database. Promises: a job has its effect once, however many workers and services take rows; a job that fails is tried again
//! and then a dead letter; a database that is away is no failure of a job; a job in the hands of a worker that crashes is charged with an
//! attempt, so that one that crashes every worker ends.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use domain::campaigns::Metrics;
use errors::one_line;
use retry::{Attempts, table::STATUS_WORKER};
use store_campaigns::{
    Claim, Computed, Counted, DatabaseError, DatabaseErrorKind, Failed, JobFailure, Recounted, SummaryWrite,
};
use supervision::{Context, Failure, Worker};

use super::{
    counts::{JobOutcome, SummaryOutcome},
    points,
    shared::Campaigns,
};

/// How many rows a worker takes at once: small runs are counted faster than rows are taken one by one.
const CLAIMS: usize = 4;
/// How often a worker looks for rows that nobody told it of, such as those of another service that crashed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a run that is counted by its changes is counted anew, in milliseconds.
const RECOUNT_EVERY_MS: i64 = 60 * 60 * 1_000;
/// How often a claim is extended during a long computation.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// The actor.
pub struct StatusWorker {
    campaigns: Campaigns,
    number: usize,
}

/// How a job ended for the worker.
enum Ended {
    /// It is done, one way or another.
    Done,
    /// The database is away: the job was given back.
    Away(DatabaseError),
}

impl StatusWorker {
    /// The worker of this number.
    #[must_use]
    pub fn new(campaigns: Campaigns, number: usize) -> Self {
        Self { campaigns, number }
    }

    /// Charges the jobs that a former incarnation had in its hands when it crashed.
    async fn charge_crashed(&self, cx: &Context) {
        for claim in self.campaigns.0.hands.take(self.number) {
            let failure =
                JobFailure { message: "the worker crashed".to_owned(), stack: cx.path().to_owned() };
            self.fail(cx, &claim, &failure).await;
        }
    }

    async fn fail(&self, cx: &Context, claim: &Claim, failure: &JobFailure) {
        let shared = &self.campaigns.0;
        match cx.idle(shared.database.fail(claim, failure)).await {
            Ok(Failed::Retrying { .. }) => shared.counts.job(JobOutcome::Failed),
            Ok(Failed::Dead) => {
                shared.counts.job(JobOutcome::Dead);
                let (job, campaign, run) = (claim.job, claim.campaign, claim.run);
                tracing::error!(
                    %job, %campaign, %run,
                    "status worker: a job failed for good; `state-tracker campaigns jobs show {job}` says why"
                );
            }
            Ok(Failed::Lost) => shared.counts.job(JobOutcome::Lost),
            // Its lease ends instead.
            Err(error) => shared.services.report(&error),
        }
    }

    /// Counts a run, and holds the claim meanwhile.
    async fn compute(&self, cx: &Context, claim: &Claim) -> Result<Option<Computed>, DatabaseError> {
        let database = &self.campaigns.0.database;
        let mut computing = Box::pin(database.compute(claim.run));
        loop {
            let next = cx.clock().timeout(EXTEND_EVERY, &mut computing);
            if let Some(computed) = cx.idle(next).await {
                return computed;
            }
            cx.progress();
            // Whether the claim is still held is decided when the summary is written.
            if let Err(error) = cx.idle(database.extend(claim)).await {
                self.campaigns.0.services.report(&error);
            }
        }
    }

    /// The figures of a run: by its counted changes where the migration has them, else computed in full.
    async fn figures(&self, cx: &Context, claim: &Claim) -> Result<Option<Computed>, DatabaseError> {
        let shared = &self.campaigns.0;
        if !shared.counts.is_counting.load(Relaxed) {
            return self.compute(cx, claim).await;
        }
        match self.counted(cx, claim).await {
            Ok(Some(computed)) => Ok(Some(computed)),
            Ok(None) => self.compute(cx, claim).await,
            Err(error) if error.kind.is_outage() && error.kind != DatabaseErrorKind::Slow => Err(error),
            Err(error) => {
                shared.services.report(&error);
                self.compute(cx, claim).await
            }
        }
    }

    /// The counted figures of a run that runs; nothing where it must be computed in full. Now and then it is counted anew, which finds
    /// what no trigger saw.
    async fn counted(&self, cx: &Context, claim: &Claim) -> Result<Option<Computed>, DatabaseError> {
        let database = &self.campaigns.0.database;
        let now_ms = i64::try_from(cx.clock().unix().as_millis()).unwrap_or(i64::MAX);
        let counted = cx.idle(Box::pin(database.counted(claim.run))).await?;
        let fresh = counted.filter(|counted| now_ms.saturating_sub(counted.counted_at_ms) < RECOUNT_EVERY_MS);
        if let Some(Counted { run, campaign, status, tally, .. }) = fresh {
            let computed =
                Computed { run, campaign, status, metrics: Metrics::of(&tally), tally, took: Duration::ZERO };
            // The last summary is exact: changes may not be applied yet.
            return Ok(Some(computed).filter(|computed| !computed.status.has_left()));
        }
        let recounted = cx.idle(Box::pin(database.recount(claim.run))).await?;
        Ok(recounted.map(|Recounted { run, campaign, status, tally, took, .. }| Computed {
            run,
            campaign,
            status,
            metrics: Metrics::of(&tally),
            tally,
            took,
        }))
    }

    async fn job(&self, cx: &Context, claim: &Claim) -> Result<Ended, Failure> {
        let shared = &self.campaigns.0;
        let (job, campaign, run) = (claim.job, claim.campaign, claim.run);
        tracing::info!(%job, %campaign, %run, "status worker: processing a job");
        points::WORKER_AFTER_CLAIM.pass().await?;
        let computed = match self.figures(cx, claim).await {
            Ok(computed) => computed,
            Err(error) if error.kind.is_outage() => return Ok(Ended::Away(error)),
            Err(error) => {
                shared.services.report(&error);
                self.fail(cx, claim, &failure_of(&error)).await;
                return Ok(Ended::Done);
            }
        };
        if let Some(computed) = &computed {
            shared.counts.computed(computed.took, computed.tally.unreadable.total());
        }
        points::WORKER_BEFORE_WRITE.pass().await?;
        let finished = match cx.idle(shared.database.finish(claim, computed.as_ref())).await {
            Ok(finished) => finished,
            Err(error) => return Ok(Ended::Away(error)),
        };
        points::WORKER_AFTER_WRITE.pass().await?;
        if !finished.is_held {
            shared.counts.job(JobOutcome::Lost);
            return Ok(Ended::Done);
        }
        shared.counts.job(JobOutcome::Succeeded);
        match finished.summary {
            SummaryWrite::Written { version, .. } => {
                shared.counts.summary(SummaryOutcome::Written);
                tracing::info!(%campaign, %run, version, "status worker: the summary has changed");
            }
            SummaryWrite::Unchanged | SummaryWrite::AlreadyFinal | SummaryWrite::Nothing => {
                shared.counts.summary(SummaryOutcome::Unchanged);
            }
            SummaryWrite::Failed(error) => {
                shared.counts.summary(SummaryOutcome::Failed);
                shared.services.report(&error);
            }
        }
        Ok(Ended::Done)
    }

    /// Gives rows back, which nobody has begun, or which the database kept from being finished.
    async fn release(&self, cx: &Context, claims: &[Claim]) {
        for claim in claims {
            if let Err(error) = cx.idle(self.campaigns.0.database.release(claim)).await {
                // Its lease ends instead.
                self.campaigns.0.services.report(&error);
            }
            self.campaigns.0.hands.put_down(self.number, claim);
        }
    }

    /// Takes rows and does them; returns how many there were, or why the database could not be used.
    async fn round(&self, cx: &Context) -> Result<Result<usize, DatabaseError>, Failure> {
        let shared = &self.campaigns.0;
        let claimed = match cx.idle(shared.database.claim(CLAIMS)).await {
            Ok(claimed) => claimed,
            Err(error) => return Ok(Err(error)),
        };
        for job in &claimed.exhausted {
            shared.counts.job(JobOutcome::Dead);
            tracing::error!(%job, "status worker: each attempt at a job ended in a crash; it is a dead letter");
        }
        let claims = claimed.claims;
        claims.iter().for_each(|claim| shared.hands.take_up(self.number, claim));
        for (at, claim) in claims.iter().enumerate() {
            let stop = cx.stop_token();
            match stop.run_until_cancelled(Box::pin(self.job(cx, claim))).await {
                Some(Ok(Ended::Done)) => shared.hands.put_down(self.number, claim),
                Some(Ok(Ended::Away(error))) => {
                    self.release(cx, &claims[at..]).await;
                    return Ok(Err(error));
                }
                Some(Err(failure)) => {
                    // Only the job in hand is charged.
                    self.release(cx, &claims[at + 1..]).await;
                    return Err(failure);
                }
                None => {
                    self.release(cx, &claims[at..]).await;
                    return Ok(Ok(0));
                }
            }
            cx.progress();
        }
        Ok(Ok(claims.len()))
    }
}

/// What a dead letter keeps of an error.
fn failure_of(error: &DatabaseError) -> JobFailure {
    let mut stack = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        stack.push(cause.to_string());
        source = cause.source();
    }
    JobFailure { message: one_line(error), stack: stack.join("\n") }
}

impl Worker for StatusWorker {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        self.charge_crashed(cx).await;
        let mut attempts = Attempts::new(STATUS_WORKER);
        while !cx.is_stopping() {
            // Made before the look, so that no row is missed that is queued during it.
            let woken = self.campaigns.0.wake.notified();
            match self.round(cx).await? {
                Ok(0) => {
                    attempts.succeeded();
                    let wait = cx.clock().timeout(LOOK_EVERY, woken);
                    cx.pause(async {
                        let _ = wait.await;
                    })
                    .await;
                }
                Ok(_) => attempts.succeeded(),
                Err(error) => {
                    self.campaigns.0.services.report(&error);
                    cx.pause(cx.clock().sleep(attempts.failed())).await;
                }
            }
            cx.progress();
        }
        Ok(())
    }
}
