//! The scheduler's actor: decides whose turn it is, and queues a job row for each run.
//!
//! It touches the database. Promises: one campaign that can't be scheduled leaves the others alone; several schedulers on one database queue
//! a turn once; a run that has left `running` gets a last turn; while the database is away it tries again with growing pauses.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::campaigns::{CampaignId, Candidate, RunId, Schedule};
use retry::{Attempts, table::CAMPAIGN_SCHEDULER};
use store_campaigns::{ActiveRun, DatabaseError, Enqueued, TurnWanted};
use supervision::{Context, Failure, Worker};

use super::{
    counts::QueueState,
    points,
    shared::{Campaigns, WHOSE},
};

/// The most runs of one page and of one call.
const PAGE: usize = 1_000;
/// The most runs that are scheduled; further ones are left out, and that is logged.
const MOST_RUNS: usize = 100_000;
/// How long ago a run may have ended whose last summary is still looked for.
const ENDED_WITHIN: Duration = Duration::from_hours(24);
/// How often all ended runs are looked at, and old job rows are removed.
const SELDOM: Duration = Duration::from_mins(5);
/// The shortest time between two rounds.
const SHORTEST: Duration = Duration::from_secs(1);
/// The most parts of 10,000 rows that are removed at once. A thousand campaigns with a row for each job make two in 5 minutes.
const MOST_PARTS: usize = 100;
/// How long dead letters are kept.
const DEAD_KEPT: Duration = Duration::from_hours(30 * 24);

/// The actor.
pub struct Scheduler {
    campaigns: Campaigns,
    schedule: Schedule,
    /// The runs of the last round.
    running: BTreeMap<RunId, CampaignId>,
    /// Runs that have left `running` and lack their last summary.
    left: BTreeMap<RunId, CampaignId>,
    /// When the seldom work is due, in milliseconds of the steady clock.
    seldom_ms: Option<u64>,
}

impl Scheduler {
    /// The scheduler of these campaigns.
    #[must_use]
    pub fn new(campaigns: Campaigns) -> Self {
        let (running, left) = (BTreeMap::new(), BTreeMap::new());
        Self { campaigns, schedule: Schedule::default(), running, left, seldom_ms: None }
    }

    fn now_ms(&self) -> u64 {
        self.campaigns.0.clock.nanos() / 1_000_000
    }

    fn interval_ms(&self, run: &ActiveRun) -> u64 {
        let default = u64::try_from(self.campaigns.0.settings.interval.as_millis()).unwrap_or(u64::MAX);
        run.params.interval_ms.unwrap_or(default)
    }

    /// All running runs of active campaigns.
    async fn active(&self, cx: &Context) -> Result<Vec<ActiveRun>, DatabaseError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = cx.idle(self.campaigns.0.database.active_runs(after, PAGE)).await?;
            all.extend(page.rows);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
            if all.len() >= MOST_RUNS {
                tracing::warn!(
                    "campaign scheduler: more than {MOST_RUNS} runs are active; the others are not counted"
                );
                return Ok(all);
            }
        }
    }

    /// Notes the runs that were running in the last round and are not any more.
    fn note_left(&mut self, active: &[ActiveRun]) {
        let running: BTreeMap<RunId, CampaignId> = active.iter().map(|run| (run.run, run.campaign)).collect();
        for (run, campaign) in &self.running {
            if !running.contains_key(run) && self.left.len() < MOST_RUNS {
                self.left.insert(*run, *campaign);
            }
        }
        self.left.retain(|run, _| !running.contains_key(run));
        self.running = running;
    }

    /// Looks for runs that ended while nobody looked.
    async fn find_left(&mut self, cx: &Context) -> Result<(), DatabaseError> {
        let mut after = None;
        loop {
            let database = &self.campaigns.0.database;
            let page = cx.idle(database.runs_without_last_summary(ENDED_WITHIN, after, PAGE)).await?;
            self.left.extend(page.rows.iter().map(|run| (run.run, run.campaign)));
            after = page.next;
            if after.is_none() || self.left.len() >= MOST_RUNS {
                return Ok(());
            }
        }
    }

    /// The last turns of runs that have left `running`; those that have their last summary, or are gone, are forgotten.
    async fn last_turns(&mut self, cx: &Context) -> Result<Vec<TurnWanted>, DatabaseError> {
        let ids: Vec<RunId> = self.left.keys().copied().collect();
        let mut turns = Vec::new();
        for part in ids.chunks(PAGE) {
            let rows = cx.idle(self.campaigns.0.database.runs(part)).await?;
            let wanting: BTreeMap<RunId, CampaignId> = rows
                .iter()
                .filter(|row| row.status.has_left())
                .filter(|row| !row.summary.as_ref().is_some_and(|summary| summary.is_final))
                .map(|row| (row.run, row.campaign))
                .collect();
            for run in part {
                match wanting.get(run) {
                    Some(campaign) => {
                        turns.push(TurnWanted { campaign: *campaign, run: *run, interval_ms: 0 });
                    }
                    None => {
                        self.left.remove(run);
                    }
                }
            }
        }
        Ok(turns)
    }

    /// Queues these turns; those of a campaign together. Returns how many rows were queued.
    async fn queue(&mut self, cx: &Context, mut turns: Vec<TurnWanted>) -> Result<usize, DatabaseError> {
        turns.sort_by_key(|turn| turn.campaign);
        let mut queued = 0;
        for part in whole_campaigns(&turns, PAGE) {
            match cx.idle(self.campaigns.0.database.enqueue(part)).await {
                Ok(enqueued) => queued += self.queued(part, &enqueued),
                Err(error) if error.kind.is_outage() => {
                    part.iter().for_each(|turn| self.schedule.failed(turn.campaign));
                    return Err(error);
                }
                // One of them is the reason: each by itself, so that it fails alone.
                Err(_) => queued += self.queue_apart(cx, part).await?,
            }
        }
        Ok(queued)
    }

    async fn queue_apart(&mut self, cx: &Context, turns: &[TurnWanted]) -> Result<usize, DatabaseError> {
        let mut queued = 0;
        for part in whole_campaigns(turns, 1) {
            match cx.idle(self.campaigns.0.database.enqueue(part)).await {
                Ok(enqueued) => queued += self.queued(part, &enqueued),
                Err(error) if error.kind.is_outage() => return Err(error),
                Err(error) => {
                    self.schedule.failed(part[0].campaign);
                    self.campaigns.0.services.report(&error);
                }
            }
        }
        Ok(queued)
    }

    fn queued(&mut self, turns: &[TurnWanted], enqueued: &Enqueued) -> usize {
        if enqueued.is_elsewhere {
            // Another scheduler plans: if it left these out, they are due again.
            turns.iter().for_each(|turn| self.schedule.failed(turn.campaign));
            return 0;
        }
        let campaigns: BTreeMap<RunId, CampaignId> =
            turns.iter().map(|turn| (turn.run, turn.campaign)).collect();
        for (job, run) in &enqueued.queued {
            let campaign = campaigns.get(run).map(ToString::to_string);
            tracing::info!(campaign, %run, %job, "campaign scheduler: scheduled a status job");
        }
        enqueued.queued.len()
    }

    /// One round; returns the time to the next one.
    async fn round(&mut self, cx: &Context) -> Result<Duration, RoundError> {
        points::SCHEDULER_BEFORE_ROUND.pass().await.map_err(Failure::from)?;
        tracing::info!("campaign scheduler: checking for active campaigns");
        let active = self.active(cx).await?;
        tracing::info!(runs = active.len(), "campaign scheduler: found active runs");
        self.note_left(&active);
        let now_ms = self.now_ms();
        let is_seldom = self.seldom_ms.is_none_or(|due| now_ms >= due);
        if is_seldom {
            self.find_left(cx).await?;
        }
        let mut turns = self.last_turns(cx).await?;
        let candidates = candidates(&active, |run| self.interval_ms(run));
        let due: BTreeSet<CampaignId> = self.schedule.round(now_ms, &candidates).into_iter().collect();
        let of_due = active.iter().filter(|run| due.contains(&run.campaign));
        turns.extend(of_due.map(|run| TurnWanted {
            campaign: run.campaign,
            run: run.run,
            interval_ms: self.interval_ms(run),
        }));
        points::SCHEDULER_BEFORE_QUEUE.pass().await.map_err(Failure::from)?;
        let jobs = self.queue(cx, turns).await?;
        points::SCHEDULER_AFTER_QUEUE.pass().await.map_err(Failure::from)?;
        tracing::info!(jobs, "campaign scheduler: scheduled status jobs");
        self.campaigns.0.counts.add_queued(jobs);
        self.campaigns.0.wake.notify_waiters();
        if is_seldom {
            self.prune(cx).await?;
            cx.idle(self.campaigns.examine(true)).await;
            self.seldom_ms = Some(now_ms + u64::try_from(SELDOM.as_millis()).unwrap_or(u64::MAX));
        }
        self.look_at_queue(cx, &active).await?;
        let shortest = candidates.iter().map(|candidate| Duration::from_millis(candidate.interval_ms)).min();
        let default = self.campaigns.0.settings.interval;
        Ok(shortest.map_or(default, |shortest| shortest.min(default)).max(SHORTEST))
    }

    /// Removes old job rows.
    async fn prune(&self, cx: &Context) -> Result<(), DatabaseError> {
        let shared = &self.campaigns.0;
        for _ in 0..MOST_PARTS {
            if cx.idle(shared.database.prune(shared.settings.job_retention, DEAD_KEPT)).await? == 0 {
                break;
            }
            cx.progress();
        }
        Ok(())
    }

    async fn look_at_queue(&self, cx: &Context, active: &[ActiveRun]) -> Result<(), DatabaseError> {
        let queue = cx.idle(self.campaigns.0.database.queue()).await?;
        self.campaigns.0.counts.set_queue(QueueState {
            waiting: queue.queued,
            in_work: queue.processing,
            oldest: queue.oldest,
            dead: queue.dead,
            active: active.len() as u64,
        });
        Ok(())
    }
}

/// Why a round ended early.
enum RoundError {
    /// The database: it is tried again.
    Database(DatabaseError),
    /// An injected failure: the actor crashes.
    Injected(Failure),
}

impl From<DatabaseError> for RoundError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<Failure> for RoundError {
    fn from(failure: Failure) -> Self {
        Self::Injected(failure)
    }
}

/// The campaigns of active runs. Runs of one campaign have its parameters.
fn candidates(active: &[ActiveRun], interval_ms: impl Fn(&ActiveRun) -> u64) -> Vec<Candidate> {
    let intervals: BTreeMap<CampaignId, u64> =
        active.iter().map(|run| (run.campaign, interval_ms(run))).collect();
    let of = |(campaign, interval_ms)| Candidate { campaign, interval_ms };
    intervals.into_iter().map(of).collect()
}

/// Parts of turns, sorted by campaign, of at most so many where no campaign has more. No campaign is in two parts.
fn whole_campaigns(turns: &[TurnWanted], most: usize) -> impl Iterator<Item = &[TurnWanted]> {
    let mut rest = turns;
    std::iter::from_fn(move || {
        let first = rest.first()?.campaign;
        let own = rest.iter().take_while(|turn| turn.campaign == first).count();
        let mut end = own;
        while let Some(next) = rest.get(end) {
            let more = rest[end..].iter().take_while(|turn| turn.campaign == next.campaign).count();
            if end + more > most {
                break;
            }
            end += more;
        }
        let (part, others) = rest.split_at(end);
        rest = others;
        Some(part)
    })
}

impl Worker for Scheduler {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let interval_ms = self.campaigns.0.settings.interval.as_millis();
        tracing::info!(interval_ms, "campaign scheduler: starting");
        let mut attempts = Attempts::new(CAMPAIGN_SCHEDULER);
        while !cx.is_stopping() {
            let began = cx.clock().now();
            let stop = cx.stop_token();
            let Some(round) = stop.run_until_cancelled(Box::pin(self.round(cx))).await else { break };
            let services = self.campaigns.0.services.clone();
            let next = match round {
                Ok(every) => {
                    attempts.succeeded();
                    services.readiness.written(WHOSE, "scheduler");
                    began + every
                }
                Err(RoundError::Injected(failure)) => return Err(failure),
                Err(RoundError::Database(error)) => {
                    services.report(&error);
                    services.readiness.failed(WHOSE, "scheduler", &error);
                    cx.clock().now() + attempts.failed()
                }
            };
            cx.progress();
            cx.pause(cx.clock().sleep_until(next)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(campaign: u128, run: u128) -> TurnWanted {
        let id = |number: u128| format!("{number:032x}");
        TurnWanted {
            campaign: id(campaign).parse().expect("an id"),
            run: id(run).parse().expect("an id"),
            interval_ms: 1,
        }
    }

    #[test]
    fn the_runs_of_a_campaign_are_never_in_two_calls() {
        let turns = [turn(1, 1), turn(1, 2), turn(2, 3), turn(3, 4), turn(3, 5)];
        let sizes = |most| whole_campaigns(&turns, most).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(10), [5]);
        assert_eq!(sizes(3), [3, 2]);
        assert_eq!(sizes(1), [2, 1, 2]);
        assert_eq!(whole_campaigns(&[], 3).count(), 0);
    }
}
