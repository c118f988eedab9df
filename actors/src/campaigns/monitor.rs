//! The monitor's actor: reads the runs that have changed, and makes each change an event of the log.
//!
//! It touches the database and Redis. Promises: a change of a run's status or summary becomes an event, also of a program other than this one, and one that came
//! while the monitor was down; several monitors make it one event; while the database or Redis is away it tries again, and what
//! it could not tell is told then. It learns of changes by reading; a listener only makes it read sooner.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use domain::campaigns::{RunId, RunStatus};
use retry::{Attempts, table::CAMPAIGN_MONITOR};
use store_campaign_log::{Appended, operations::READ_WATCHED};
use store_campaigns::{DatabaseError, RunRow, Seen};
use store_redis::StoreError;
use supervision::{Context, Failure, Worker};

use super::{
    heard::News,
    points,
    shared::{Campaigns, WHOSE, is_watched},
    told::{self, Told},
};
use crate::env::lock::lock;

/// The most runs of one page and of one call.
const PAGE: usize = 1_000;
/// The most runs that are watched.
const MOST_RUNS: usize = 100_000;
/// How often the runs are read without a listener.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often they are read with one: it finds what the listener missed.
const LOOK_SELDOM: Duration = Duration::from_secs(15);
/// How often all statuses are offered again: after Redis has lost its data, those that join get them from there.
const OFFER_AGAIN: Duration = Duration::from_secs(30);
/// How often the database is asked for rights and row-level security.
const EXAMINE_EVERY: Duration = Duration::from_mins(5);

/// The actor.
pub struct Monitor {
    campaigns: Campaigns,
    /// What the log has of each run that is watched.
    seen: BTreeMap<RunId, Seen>,
    /// The runs that the log's list of watched runs has.
    listed: BTreeSet<RunId>,
    offered: Option<Instant>,
    examined: Option<Instant>,
}

/// Why a look ended early.
enum LookError {
    Database(DatabaseError),
    Log(StoreError),
    /// An injected failure: the actor crashes.
    Injected(Failure),
}

impl From<DatabaseError> for LookError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for LookError {
    fn from(error: StoreError) -> Self {
        Self::Log(error)
    }
}

impl From<Failure> for LookError {
    fn from(failure: Failure) -> Self {
        Self::Injected(failure)
    }
}

impl Monitor {
    /// The monitor of these campaigns.
    #[must_use]
    pub fn new(campaigns: Campaigns) -> Self {
        Self { campaigns, seen: BTreeMap::new(), listed: BTreeSet::new(), offered: None, examined: None }
    }

    /// All running runs, with what tells whether they have changed.
    async fn running(&self, cx: &Context) -> Result<BTreeMap<RunId, Seen>, DatabaseError> {
        let (mut all, mut after) = (BTreeMap::new(), None);
        loop {
            let page = cx.idle(self.campaigns.0.database.running(after, PAGE)).await?;
            all.extend(page.rows.into_iter().map(|seen| (seen.run, seen)));
            after = page.next;
            if after.is_none() || all.len() >= MOST_RUNS {
                return Ok(all);
            }
        }
    }

    /// The watched runs of all monitors: one may have ended while no monitor looked.
    async fn take_over(&mut self, cx: &Context) -> Result<(), LookError> {
        if !self.listed.is_empty() {
            return Ok(());
        }
        let shared = &self.campaigns.0;
        let mut session = cx.idle(shared.services.store.session(READ_WATCHED)).await?;
        let watched = cx.idle(shared.keys.watched(&mut session)).await?;
        for run in watched.iter().filter_map(|run| run.parse::<RunId>().ok()) {
            self.listed.insert(run);
            // As if it had been seen running, with another summary than any.
            let unseen = Seen { run, status: RunStatus::Running, fingerprint: String::new() };
            self.seen.entry(run).or_insert(unseen);
        }
        Ok(())
    }

    /// Asks now and then whether the database shows its rows.
    async fn examine(&mut self, cx: &Context) {
        if self.examined.is_none_or(|at| cx.clock().now() >= at + EXAMINE_EVERY) {
            self.examined = Some(cx.clock().now());
            cx.idle(self.campaigns.examine(self.campaigns.0.settings.writes)).await;
        }
    }

    /// One look at all runs.
    async fn look(&mut self, cx: &Context) -> Result<(), LookError> {
        self.examine(cx).await;
        self.take_over(cx).await?;
        let running = self.running(cx).await?;
        let has_changed = |seen: &&Seen| self.seen.get(&seen.run) != Some(seen);
        let mut ids: Vec<RunId> = running.values().filter(has_changed).map(|seen| seen.run).collect();
        let left: Vec<Seen> =
            self.seen.values().filter(|seen| !running.contains_key(&seen.run)).cloned().collect();
        for part in left.chunks(PAGE) {
            let changes = cx.idle(self.campaigns.0.database.changes(part)).await?;
            self.forget(&changes.gone);
            ids.extend(changes.changed.iter().map(|row| row.run));
        }
        let is_again = self.offered.is_none_or(|at| cx.clock().now() >= at + OFFER_AGAIN);
        if is_again {
            ids.extend(running.keys().chain(left.iter().map(|seen| &seen.run)));
            ids.sort_unstable();
            ids.dedup();
        }
        self.tell(cx, &ids, is_again).await?;
        if is_again {
            self.offered = Some(cx.clock().now());
        }
        self.list(cx, is_again).await
    }

    /// Reads these runs, and offers what has changed of them.
    async fn tell(&mut self, cx: &Context, ids: &[RunId], is_again: bool) -> Result<(), LookError> {
        for part in ids.chunks(PAGE) {
            let rows = cx.idle(self.campaigns.0.database.runs(part)).await?;
            points::MONITOR_AFTER_READ.pass().await.map_err(Failure::from)?;
            let told: Vec<Vec<Told>> = rows.iter().map(|row| self.offers(row, is_again)).collect();
            let counts: Vec<usize> = told.iter().map(Vec::len).collect();
            let outcomes = cx.idle(self.campaigns.append(told.into_iter().flatten().collect())).await?;
            points::MONITOR_AFTER_APPEND.pass().await.map_err(Failure::from)?;
            let mut outcomes = outcomes.into_iter();
            for (row, many) in rows.iter().zip(counts) {
                let all = outcomes.by_ref().take(many).collect::<Vec<_>>();
                // What was refused or overtaken is read and offered again.
                if all.iter().all(|outcome| !matches!(outcome, Err(_) | Ok(Appended::Overtaken(_)))) {
                    self.saw(row);
                }
            }
            cx.progress();
        }
        Ok(())
    }

    /// What is offered of a run: what the log does not have, as far as this monitor knows, or all.
    fn offers(&self, row: &RunRow, is_again: bool) -> Vec<Told> {
        let shared = &self.campaigns.0;
        let alert = told::alert(row, shared.settings.alert_below);
        let all = [told::status(row), Some(told::run(row)), alert];
        let known = lock(&shared.known);
        all.into_iter().flatten().filter(|told| is_again || !known.has(told)).collect()
    }

    fn saw(&mut self, row: &RunRow) {
        if is_watched(row) {
            self.seen.insert(row.run, row.seen());
        } else {
            self.seen.remove(&row.run);
        }
    }

    fn forget(&mut self, gone: &[RunId]) {
        for run in gone {
            self.seen.remove(run);
            lock(&self.campaigns.0.known).forget(&run.to_string());
        }
    }

    /// Writes the list of watched runs, where it has changed; now and then all of it, so that it stays.
    async fn list(&mut self, cx: &Context, is_again: bool) -> Result<(), LookError> {
        let added: Vec<RunId> =
            self.seen.keys().filter(|run| is_again || !self.listed.contains(run)).copied().collect();
        let removed: Vec<RunId> =
            self.listed.iter().filter(|run| !self.seen.contains_key(run)).copied().collect();
        if added.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let shared = &self.campaigns.0;
        let text = |runs: &[RunId]| runs.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut session = cx.idle(shared.services.store.session(READ_WATCHED)).await?;
        cx.idle(shared.keys.watch(&mut session, &text(&added), &text(&removed))).await?;
        self.listed.retain(|run| !removed.contains(run));
        self.listed.extend(added);
        Ok(())
    }

    fn succeeded(&self) {
        let shared = &self.campaigns.0;
        shared.services.readiness.written(WHOSE, "monitor");
        if shared.counts.is_stale.swap(false, Relaxed) {
            tracing::info!("campaign monitor: the database answers again");
        }
    }

    fn failed(&self, error: &LookError) {
        let shared = &self.campaigns.0;
        match error {
            LookError::Database(error) => {
                shared.services.report(error);
                shared.services.readiness.failed(WHOSE, "monitor", error);
                if !shared.counts.is_stale.swap(true, Relaxed) {
                    tracing::info!("campaign monitor: the database is away, trying again");
                }
            }
            LookError::Log(error) => {
                shared.services.report(error);
                shared.services.readiness.hindered(WHOSE, "monitor", error);
            }
            LookError::Injected(_) => {}
        }
    }
}

impl Monitor {
    /// Looks at all runs if that is due, else at those that were heard of.
    async fn work(&mut self, cx: &Context, news: &News, is_due: bool) -> Result<(), LookError> {
        if is_due {
            return self.look(cx).await;
        }
        let ids = news.runs.iter().copied().collect::<Vec<_>>();
        self.tell(cx, &ids, false).await
    }
}

impl Worker for Monitor {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let campaigns = self.campaigns.clone();
        let shared = &campaigns.0;
        let listens = shared.counts.is_listening.load(Relaxed);
        tracing::info!(listens, "campaign monitor: starting");
        let mut attempts = Attempts::new(CAMPAIGN_MONITOR);
        let (mut is_away, mut next) = (true, cx.clock().now());
        while !cx.is_stopping() {
            // What comes during the work leaves a mark, and is done after it.
            let (news, began) = (shared.heard.take(), cx.clock().now());
            let is_due = news.is_all || is_away || began >= next;
            let stop = cx.stop_token();
            let Some(done) = stop.run_until_cancelled(Box::pin(self.work(cx, &news, is_due))).await else {
                break;
            };
            match done {
                Ok(()) => {
                    attempts.succeeded();
                    self.succeeded();
                    let listens = shared.counts.is_listening.load(Relaxed);
                    if std::mem::take(&mut is_away) {
                        tracing::info!(listens, "campaign monitor: watching campaign_runs");
                    }
                    if is_due {
                        next = began + if listens { LOOK_SELDOM } else { LOOK_EVERY };
                    }
                }
                Err(LookError::Injected(failure)) => return Err(failure),
                Err(error) => {
                    self.failed(&error);
                    // Then all runs are looked at: some of what was heard may not have been told.
                    is_away = true;
                    next = cx.clock().now() + attempts.failed();
                }
            }
            cx.progress();
            let until = next.saturating_duration_since(cx.clock().now());
            cx.pause(async {
                let _ = cx.clock().timeout(until, shared.look.notified()).await;
            })
            .await;
        }
        Ok(())
    }
}
