//! The indexer: keeps the state index from the events that the listener hands over.
//!
//! Touches the keys of the index in Redis, and nothing else. Promises:
//! - a message is settled when all that it changes is written; a crash in between, a second delivery or a second
//!   indexer has no second effect;
//! - Redis being away is no crash and no message's fault: it is tried again;
//! - a message that brings the indexer down again and again becomes a dead letter, and no other: its mailbox finds it;
//! - validators fall to inactive and offline as time passes, also when nothing is heard.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use domain::tracker::index::Changes;
use retry::{Attempts, table::INDEXER};
use store_redis::StoreError;
use store_tracker::{
    Index, IndexKeys, Indexed,
    operations::{AGE_VALIDATORS, INDEX_EVENTS},
};
use supervision::{Actor, Batch, Clock, Context, Failure, fail::InjectedFailure};

use super::{listener::IndexEdge, metrics::IndexOutcome, points, services::TrackerServices};
use crate::env::messages::IndexEvents;

/// How often validators are looked at for the time that has passed.
const AGE_EVERY: Duration = Duration::from_secs(60);
/// How many validators are looked at in one step.
const SLICE: usize = 500;

/// The actor.
pub struct Indexer {
    tracker: TrackerServices,
    edge: IndexEdge,
    /// How long the index is kept, in seconds.
    retention: u64,
}

/// Why messages were not settled.
enum CommitError {
    /// Redis is at fault: they are taken again.
    Store(StoreError),
    /// The actor is at fault: it crashes.
    Actor(Failure),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<InjectedFailure> for CommitError {
    fn from(failure: InjectedFailure) -> Self {
        Self::Actor(failure.into())
    }
}

impl Indexer {
    /// How many messages, of at most 128 events, go into one commit at most: the batch of its mailbox.
    pub const AT_ONCE: usize = 8;

    /// An indexer of what comes over this edge; what it writes is kept for `retention`.
    #[must_use]
    pub fn new(tracker: TrackerServices, edge: IndexEdge, retention: Duration) -> Self {
        Self { tracker, edge, retention: retention.as_secs() }
    }

    /// Writes what these messages change.
    async fn commit(&self, work: Work, clock: &Clock) -> Result<(), CommitError> {
        points::INDEXER_BEFORE_COMMIT.pass().await?;
        let (began, now) = (Instant::now(), clock.unix().as_secs());
        let services = &self.tracker.services;
        let mut session = services.store.session(INDEX_EVENTS).await?;
        services.telemetry.pool_waited(began.elapsed());
        let (mut indexed, mut backwards) = (0, 0);
        for (keys, changes) in work.changes {
            let index = Index::new(keys, self.retention);
            let Indexed { backwards: more, faults } = index.apply(&mut session, &changes, now).await?;
            services.note_unwritten(INDEX_EVENTS, &faults);
            backwards += more;
            indexed += changes.events;
        }
        points::INDEXER_AFTER_COMMIT.pass().await?;
        let dropped = work.numbers.iter().map(|&(number, events)| self.edge.take(number, events)).sum();
        let metrics = &self.tracker.metrics;
        metrics.index_events(IndexOutcome::Indexed, indexed);
        metrics.index_events(IndexOutcome::Backwards, backwards);
        metrics.index_events(IndexOutcome::Dropped, dropped);
        services.telemetry.round_trips("index", session.round_trips());
        Ok(())
    }

    /// Commits what was taken, and settles it. What is not settled stays in hand.
    async fn settle(&self, taken: Batch<'_, IndexEvents>, clock: &Clock) -> Result<(), CommitError> {
        self.commit(Work::of(taken.iter()), clock).await?;
        taken.settle();
        Ok(())
    }

    /// Lets validators fall to where the time has brought them.
    async fn age(&self, cx: &Context<IndexEvents>, clock: &Clock) -> Result<(), StoreError> {
        let mut session = self.tracker.services.store.session(AGE_VALIDATORS).await?;
        // Those of markets that are gone are left to their retention.
        for keys in self.edge.indexes().now() {
            let index = Index::new(keys, self.retention);
            let mut cursor = 0;
            loop {
                let now = clock.unix().as_secs();
                let (next, faults) = index.age_validators(&mut session, cursor, SLICE, now).await?;
                self.tracker.services.note_unwritten(AGE_VALIDATORS, &faults);
                cx.progress();
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }
}

/// What some messages ask for.
#[derive(Default)]
struct Work {
    changes: BTreeMap<IndexKeys, Changes>,
    /// Of each message its number and how many events it has.
    numbers: Vec<(u64, u64)>,
}

impl Work {
    fn of<'a>(messages: impl Iterator<Item = &'a IndexEvents>) -> Self {
        let mut work = Self::default();
        for heard in messages {
            work.numbers.push((heard.number, heard.events.len() as u64));
            let changes = work.changes.entry(heard.index.clone()).or_default();
            heard.events.iter().for_each(|event| changes.add(heard.at, event));
        }
        work
    }
}

/// The next messages; `None` when there are none before the time comes, and `Err` when the actor shall stop.
async fn next<'a>(
    cx: &'a mut Context<IndexEvents>,
    clock: &Clock,
    until: Instant,
) -> Result<Option<Batch<'a, IndexEvents>>, Stop> {
    tokio::select! {
        biased;
        taken = cx.recv_many() => taken.map(Some).ok_or(Stop),
        () = clock.sleep_until(until) => Ok(None),
    }
}

struct Stop;

impl Actor for Indexer {
    type Message = IndexEvents;

    async fn run(&mut self, cx: &mut Context<IndexEvents>) -> Result<(), Failure> {
        let clock = cx.clock().clone();
        let retry = INDEXER.at_most(self.tracker.rhythm.reconnect_within);
        let (mut commits, mut ageings) = (Attempts::new(retry), Attempts::new(retry));
        let mut age_at = clock.now();
        loop {
            if clock.now() >= age_at {
                age_at = clock.now() + AGE_EVERY;
                let aged = tokio::select! {
                    biased;
                    // It may be left between any two steps.
                    () = cx.stopped() => Ok(()),
                    aged = self.age(cx, &clock) => aged,
                };
                match aged {
                    Ok(()) => ageings.succeeded(),
                    Err(error) => {
                        self.tracker.services.report(&error);
                        age_at = clock.now() + ageings.failed();
                    }
                }
            }
            let committed = match next(cx, &clock, age_at).await {
                Ok(Some(taken)) => self.settle(taken, &clock).await,
                Ok(None) => continue,
                Err(Stop) => return Ok(()),
            };
            match committed {
                Ok(()) => commits.succeeded(),
                Err(CommitError::Actor(failure)) => return Err(failure),
                Err(CommitError::Store(error)) => {
                    self.tracker.services.report(&error);
                    // Best effort: what Redis does not take before the stop is not waited for.
                    if cx.is_stopping() {
                        return Ok(());
                    }
                    cx.pause(clock.sleep(commits.failed())).await;
                }
            }
        }
    }
}
