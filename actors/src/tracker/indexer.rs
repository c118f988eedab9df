//! The indexer: maintains the state index from the events that the listener sends.
//!
//! It touches the keys of the index in Redis and nothing else. Promises:
//! - a message is acknowledged when all its changes are written; a crash in between, a redelivery or a second indexer has no
//!   second effect;
//! - an outage of Redis is no crash and is charged to no message: the commit is retried;
//! - an index that is full takes no new entities until the pruner has removed old ones; what it refuses is counted and logged;
//! - a message that crashes the indexer again and again becomes a dead letter, and no other message does;
//! - validators become inactive and offline as time passes, even without events.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use domain::tracker::index::{Changes, Quota};
use retry::{Attempts, table::INDEXER};
use store_redis::StoreError;
use store_tracker::{
    Index, IndexKeys, Indexed,
    operations::{AGE_VALIDATORS, INDEX_EVENTS},
};
use supervision::{Actor, Batch, Clock, Context, Failure, Inbox, fail::InjectedFailure};

use super::{listener::IndexEdge, metrics::IndexOutcome, points, services::TrackerServices};
use crate::env::messages::IndexEvents;

/// The interval at which the states of validators are aged.
const AGE_EVERY: Duration = Duration::from_secs(60);
/// Logged while an index refuses entities.
const FULL: &str = "the quota is full: new epochs, submissions or validators are refused until the pruner has removed old ones";
/// The most validators aged in one step.
const SLICE: usize = 500;

/// The actor.
pub struct Indexer {
    tracker: TrackerServices,
    edge: IndexEdge,
    /// The retention of the index, in seconds.
    retention: u64,
    quota: Quota,
}

/// Why messages were not acknowledged.
enum CommitError {
    /// Redis failed: the messages are taken again.
    Store(StoreError),
    /// The actor failed: it crashes.
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
    /// The most messages (of at most 128 events) in one commit: the batch of its mailbox.
    pub const AT_ONCE: usize = 8;

    /// An indexer of the messages of this edge, with this retention.
    #[must_use]
    pub fn new(tracker: TrackerServices, edge: IndexEdge, retention: Duration) -> Self {
        Self { tracker, edge, retention: retention.as_secs(), quota: Quota::default() }
    }

    /// Sets how many entities each index may hold.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// Writes the changes of some messages.
    async fn commit(&self, work: Work, clock: &Clock) -> Result<(), CommitError> {
        points::INDEXER_BEFORE_COMMIT.pass().await?;
        let (began, now) = (Instant::now(), clock.unix().as_secs());
        let services = &self.tracker.services;
        let mut session = services.store.session(INDEX_EVENTS).await?;
        services.telemetry.pool_waited(began.elapsed());
        let (mut indexed, mut backwards, mut refused) = (0, 0, 0);
        // One index after the other: a crash in between repeats all of them, which changes nothing the second time.
        for (keys, changes) in work.changes {
            let index = Index::new(keys.clone(), self.retention).with_quota(self.quota);
            let done: Indexed = index.apply(&mut session, &changes, now).await?;
            services.note_unwritten(INDEX_EVENTS, &done.faults);
            if done.refused > 0 {
                services.warn(INDEX_EVENTS, keys.name(), FULL);
            }
            backwards += done.backwards;
            refused += done.refused;
            indexed += changes.events;
        }
        points::INDEXER_AFTER_COMMIT.pass().await?;
        // Only now: the events of a commit that failed are neither dropped nor indexed, since they come again.
        let dropped = work.numbers.iter().map(|&(number, events)| self.edge.take(number, events)).sum();
        let metrics = &self.tracker.metrics;
        metrics.index_events(IndexOutcome::Indexed, indexed);
        metrics.index_events(IndexOutcome::Backwards, backwards);
        metrics.index_events(IndexOutcome::Refused, refused);
        metrics.index_events(IndexOutcome::Dropped, dropped);
        services.telemetry.round_trips("index", session.round_trips());
        Ok(())
    }

    /// Commits messages and acknowledges them. After a failure of Redis they stay in flight, uncharged, and come again.
    async fn write(&self, taken: Batch<'_, IndexEvents>, clock: &Clock) -> Result<(), CommitError> {
        let committed = self.commit(Work::of(taken.iter()), clock).await;
        match &committed {
            Ok(()) => taken.ack(),
            Err(CommitError::Store(_)) => taken.nack(),
            // Not answered: the messages are charged, or suspected if there are several; see the mailbox.
            Err(CommitError::Actor(_)) => {}
        }
        committed
    }

    /// Ages the states of validators: to inactive, then to offline.
    async fn age(&self, cx: &Context) -> Result<(), StoreError> {
        let mut session = self.tracker.services.store.session(AGE_VALIDATORS).await?;
        // The index of a removed market is not aged; its retention removes it.
        for keys in self.edge.indexes().now() {
            let index = Index::new(keys, self.retention);
            let mut cursor = 0;
            loop {
                // Read for each step: a run over many validators takes a while.
                let now = cx.clock().unix().as_secs();
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

/// The changes of some messages.
#[derive(Default)]
struct Work {
    changes: BTreeMap<IndexKeys, Changes>,
    /// For each message its number and its count of events.
    numbers: Vec<(u64, u64)>,
}

impl Work {
    fn of<'a>(messages: impl Iterator<Item = &'a IndexEvents>) -> Self {
        let mut work = Self::default();
        for message in messages {
            work.numbers.push((message.number, message.events.len() as u64));
            // Merged by index, so that a storm of small messages costs one write each commit.
            let changes = work.changes.entry(message.index.clone()).or_default();
            message.events.iter().for_each(|event| changes.add(message.at, event));
        }
        work
    }
}

/// The next messages; `None` when none come before `until`, `Err` when the actor is stopped.
async fn next<'a>(
    inbox: &'a mut Inbox<IndexEvents>,
    clock: &Clock,
    until: Instant,
) -> Result<Option<Batch<'a, IndexEvents>>, Stop> {
    tokio::select! {
        biased;
        taken = inbox.recv_many() => taken.map(Some).ok_or(Stop),
        // `recv_many` marks the wait as idle, so this branch needs no mark of its own.
        () = clock.sleep_until(until) => Ok(None),
    }
}

struct Stop;

impl Actor for Indexer {
    type Message = IndexEvents;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<IndexEvents>) -> Result<(), Failure> {
        let clock = cx.clock();
        let retry = INDEXER.at_most(self.tracker.timing.reconnect_within);
        // Counted apart: a commit that succeeds must not shorten the pause of an ageing that fails.
        let (mut commits, mut ageings) = (Attempts::new(retry), Attempts::new(retry));
        // At once after a start: validators may have aged while no indexer ran.
        let mut age_at = clock.now();
        loop {
            if clock.now() >= age_at {
                // Before the run, so that the interval does not grow by the time that a run takes.
                age_at = clock.now() + AGE_EVERY;
                let aged = tokio::select! {
                    biased;
                    // Ageing can be cancelled between any two steps: the next run ages the rest.
                    () = cx.stopped() => Ok(()),
                    aged = self.age(cx) => aged,
                };
                match aged {
                    Ok(()) => ageings.succeeded(),
                    Err(error) => {
                        self.tracker.services.report(&error);
                        age_at = clock.now() + ageings.failed();
                    }
                }
            }
            let committed = match next(inbox, clock, age_at).await {
                Ok(Some(taken)) => self.write(taken, clock).await,
                Ok(None) => continue,
                Err(Stop) => return Ok(()),
            };
            match committed {
                Ok(()) => commits.succeeded(),
                Err(CommitError::Actor(failure)) => return Err(failure),
                Err(CommitError::Store(error)) => {
                    self.tracker.services.report(&error);
                    // Best effort: a stop does not wait for Redis. The next message is none then, and the events are lost for the
                    // index.
                    cx.pause(clock.sleep(commits.failed())).await;
                }
            }
        }
    }
}
