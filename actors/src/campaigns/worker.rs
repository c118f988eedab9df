//! A status worker's actor: takes job rows, counts their runs, writes the summaries.
//!
//! It touches the database. Small runs are counted together. Promises: a job has its effect once, however many workers and services take
//! rows; a job that fails is tried again and then a dead letter; a database that is away is no failure of a job; a job at which a worker was
//! when it crashed is charged with an attempt and then done alone, so that one that crashes every worker ends and charges no other.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use domain::campaigns::{JobId, RunId};
use errors::one_line;
use retry::{Attempts, table::STATUS_WORKER};
use store_campaigns::{
    Claim, Computed, DatabaseError, DatabaseErrorKind, Failed, Finished, History, JobFailure, SummaryWrite,
};
use supervision::{Context, Failure, Worker};

use super::{
    counts::{JobOutcome, SummaryOutcome},
    figures, points,
    shared::Campaigns,
};
use crate::env::lock::lock;

/// How many rows a worker takes at once. Three statements serve them all where their runs are small: to take one, to count it and to end
/// it by itself takes the database four times as long.
const CLAIMS: usize = 32;
/// How long rows wait for runs that are counted one by one, before they are given back for other workers: much less than a lease.
const PATIENCE: Duration = Duration::from_secs(2);
/// For how long each job is done alone after several together failed.
const APART: Duration = Duration::from_mins(5);
/// How often a worker looks for rows that nobody told it of, such as those of another service that crashed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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

    /// Charges the jobs at which a former incarnation worked when it crashed, and gives back those that it had not begun.
    async fn charge_crashed(&self, cx: &Context) {
        let mut idle = VecDeque::new();
        for (claim, has_begun) in self.campaigns.0.hands.take(self.number) {
            if !has_begun {
                idle.push_back(claim);
                continue;
            }
            let failure =
                JobFailure { message: "the worker crashed".to_owned(), stack: cx.path().to_owned() };
            self.fail(cx, &claim, &failure).await;
        }
        self.release(cx, &mut idle).await;
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

    fn history(&self) -> History {
        if self.campaigns.0.counts.keeps_history.load(Relaxed) { History::Kept } else { History::Absent }
    }

    /// Notes that the work at these jobs begins.
    async fn begin(&self, claims: &[&Claim]) -> Result<(), Failure> {
        let jobs: BTreeSet<JobId> = claims.iter().map(|claim| claim.job).collect();
        self.campaigns.0.hands.begin(self.number, &jobs);
        for Claim { job, campaign, run, .. } in claims {
            tracing::info!(%job, %campaign, %run, "status worker: processing a job");
        }
        Ok(points::WORKER_AFTER_CLAIM.pass().await?)
    }

    /// Does those of these jobs that can be done together, and takes them out of the queue. After `until` it waits for no lock.
    async fn together(
        &self,
        cx: &Context,
        queue: &mut VecDeque<Claim>,
        until: Instant,
    ) -> Result<Ended, Failure> {
        let shared = &self.campaigns.0;
        let claims: BTreeMap<RunId, Claim> = queue
            .iter()
            // One that has failed is done alone, so that it charges no other; so is a last summary.
            .filter(|claim| claim.attempt == 1 && !claim.is_last)
            .map(|claim| (claim.run, claim.clone()))
            .collect();
        if claims.len() < 2 || lock(&shared.apart_until).is_some_and(|until| cx.clock().now() < until) {
            return Ok(Ended::Done);
        }
        self.begin(&claims.values().collect::<Vec<_>>()).await?;
        let runs: Vec<RunId> = claims.keys().copied().collect();
        let figures = match figures::of_several(&self.campaigns, cx, &runs).await {
            Ok(figures) => figures,
            Err(error) if is_away(&error) => return Ok(Ended::Away(error)),
            Err(error) => return Ok(self.apart(cx, &error)),
        };
        points::WORKER_BEFORE_WRITE.pass().await?;
        let turns: Vec<(&Claim, &Computed)> =
            figures.iter().filter_map(|computed| Some((claims.get(&computed.run)?, computed))).collect();
        let ended = cx.idle(Box::pin(shared.database.finish_several(&turns, self.history()))).await;
        let mut ended = match ended {
            Ok(ended) => ended,
            Err(error) if is_away(&error) => return Ok(Ended::Away(error)),
            Err(error) => return Ok(self.apart(cx, &error)),
        };
        points::WORKER_AFTER_WRITE.pass().await?;
        let mut left_out = Vec::new();
        for (claim, computed) in turns {
            match ended.remove(&claim.job) {
                Some(finished) => self.done(queue, claim, finished),
                None => left_out.push((claim, computed)),
            }
        }
        // A user, or another service's claim, holds the lock of a row, mostly for a moment.
        for (claim, computed) in left_out {
            if cx.clock().now() >= until {
                break;
            }
            let finished = shared.database.finish(claim, Some(computed), self.history());
            match cx.idle(Box::pin(finished)).await {
                Ok(finished) => self.done(queue, claim, finished),
                Err(error) => return Ok(Ended::Away(error)),
            }
        }
        Ok(Ended::Done)
    }

    /// Takes a job that is done out of the queue.
    fn done(&self, queue: &mut VecDeque<Claim>, claim: &Claim, finished: Finished) {
        self.note(claim, finished);
        self.campaigns.0.hands.put_down(self.number, claim.job);
        queue.retain(|waiting| waiting.job != claim.job);
    }

    /// What several jobs failed with is the fault of one of them, or of a database that takes too long for all: for a while each is done
    /// alone, so that it fails alone, and nothing is computed twice.
    fn apart(&self, cx: &Context, error: &DatabaseError) -> Ended {
        let shared = &self.campaigns.0;
        shared.services.report(error);
        *lock(&shared.apart_until) = Some(cx.clock().now() + APART);
        Ended::Done
    }

    /// Does one job.
    async fn alone(&self, cx: &Context, claim: &Claim) -> Result<Ended, Failure> {
        let shared = &self.campaigns.0;
        self.begin(&[claim]).await?;
        let computed = match figures::of_run(&self.campaigns, cx, claim).await {
            Ok(computed) => computed,
            Err(error) if error.kind.is_outage() => return Ok(Ended::Away(error)),
            Err(error) => {
                shared.services.report(&error);
                self.fail(cx, claim, &failure_of(&error)).await;
                return Ok(Ended::Done);
            }
        };
        points::WORKER_BEFORE_WRITE.pass().await?;
        let finished = shared.database.finish(claim, computed.as_ref(), self.history());
        let finished = match cx.idle(Box::pin(finished)).await {
            Ok(finished) => finished,
            Err(error) => return Ok(Ended::Away(error)),
        };
        points::WORKER_AFTER_WRITE.pass().await?;
        self.note(claim, finished);
        Ok(Ended::Done)
    }

    /// Counts and logs how a job ended.
    fn note(&self, claim: &Claim, finished: Finished) {
        let shared = &self.campaigns.0;
        let (campaign, run) = (claim.campaign, claim.run);
        if !finished.is_held {
            return shared.counts.job(JobOutcome::Lost);
        }
        shared.counts.job(JobOutcome::Succeeded);
        match finished.summary {
            SummaryWrite::Written { version, .. } => {
                shared.counts.summary(SummaryOutcome::Written);
                tracing::info!(%campaign, %run, version, "status worker: the summary has changed");
                if let Some(error) = finished.unkept {
                    shared.counts.unkept.fetch_add(1, Relaxed);
                    shared.services.report(&error);
                }
            }
            SummaryWrite::Unchanged | SummaryWrite::AlreadyFinal | SummaryWrite::Nothing => {
                shared.counts.summary(SummaryOutcome::Unchanged);
            }
            SummaryWrite::Failed(error) => {
                shared.counts.summary(SummaryOutcome::Failed);
                shared.services.report(&error);
            }
        }
    }

    /// Gives rows back, which nobody has begun, or which the database kept from being finished.
    async fn release(&self, cx: &Context, claims: &mut VecDeque<Claim>) {
        while let Some(claim) = claims.pop_front() {
            if let Err(error) = cx.idle(self.campaigns.0.database.release(&claim)).await {
                // Its lease ends instead.
                self.campaigns.0.services.report(&error);
            }
            self.campaigns.0.hands.put_down(self.number, claim.job);
        }
    }

    /// Does all jobs of the queue: first those that can be done together.
    async fn work(&self, cx: &Context, queue: &mut VecDeque<Claim>) -> Result<Ended, Failure> {
        let until = cx.clock().now() + PATIENCE;
        if let Ended::Away(error) = self.together(cx, queue, until).await? {
            return Ok(Ended::Away(error));
        }
        cx.progress();
        while let Some(claim) = queue.front().cloned() {
            let mut job = Box::pin(self.alone(cx, &claim));
            let patience = until.saturating_duration_since(cx.clock().now());
            let ended = match cx.clock().timeout(patience, &mut job).await {
                Some(ended) => ended?,
                None => {
                    // A large run: others need not wait for it.
                    let mut others = queue.split_off(1);
                    self.release(cx, &mut others).await;
                    self.campaigns.0.wake.notify_waiters();
                    job.await?
                }
            };
            if let Ended::Away(error) = ended {
                return Ok(Ended::Away(error));
            }
            self.campaigns.0.hands.put_down(self.number, claim.job);
            queue.pop_front();
            cx.progress();
        }
        Ok(Ended::Done)
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
        let many = claimed.claims.len();
        shared.hands.take_up(self.number, &claimed.claims);
        let mut queue = VecDeque::from(claimed.claims);
        let stop = cx.stop_token();
        let worked = stop.run_until_cancelled(Box::pin(self.work(cx, &mut queue))).await;
        match worked {
            Some(Ok(Ended::Done)) => Ok(Ok(many)),
            Some(Ok(Ended::Away(error))) => {
                self.release(cx, &mut queue).await;
                Ok(Err(error))
            }
            // The next incarnation charges the jobs at which this one worked, and gives the others back.
            Some(Err(failure)) => Err(failure),
            None => {
                self.release(cx, &mut queue).await;
                Ok(Ok(0))
            }
        }
    }
}

/// Whether the database is away: a statement that takes too long may be so because of one of several runs.
fn is_away(error: &DatabaseError) -> bool {
    error.kind.is_outage() && error.kind != DatabaseErrorKind::Slow
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
