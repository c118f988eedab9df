//! The pruner: removes entries of all markets' timelines that are older than their retention, those of every validator included, and
//! forgets old sealed entries of the ledger and the state index, and sealed epochs of `epochs:active` where that is configured.
//!
//! It touches the keys of the pruned families ([`Retention::of_market`]), the ledger's sealed entries, and the state index. It
//! works in slices with pauses, so that no other client of Redis waits for it. It can stop or crash between any two slices: the
//! next run continues.

use std::{collections::BTreeSet, time::Duration};

use retry::table::PRUNER;
use store_redis::{ErrorKind, Fault, Session, StoreError};
use store_tracker::{
    Index, IndexPart, MarketKeys, Prunable, Retention, forget_sealed, old_validators,
    operations::{PRUNE_INDEX, PRUNE_TIMELINE},
    prunable_validators, prune, prune_active,
};
use supervision::{Context, Failure, Worker};

use super::{
    market_registry::{Indexes, MarketEdges, MarketRegistry},
    points::PRUNER_POINTS,
    services::TrackerServices,
};
use crate::env::periodic::run_periodically;

/// The most members removed in one step.
const SLICE: usize = 500;
/// The most entries of the index removed in one step; smaller, because each entry is in several keys.
const INDEX_SLICE: usize = 100;
/// How many validators one step asks about.
const VALIDATORS_A_STEP: usize = 100;
/// The most validators of one market whose timelines one run prunes.
const MOST_VALIDATORS: usize = 10_000;
/// The pause after each step, in which Redis serves other clients.
const PAUSE: Duration = Duration::from_millis(2);

/// The actor.
pub struct Pruner {
    tracker: TrackerServices,
    registry: MarketRegistry,
    every: Duration,
    retention: Retention,
    indexes: Option<Indexes>,
    /// The retention of the indexes, in seconds.
    index_kept: u64,
}

impl Pruner {
    /// A pruner of the markets of this registry.
    #[must_use]
    pub fn new(
        tracker: TrackerServices,
        registry: MarketRegistry,
        every: Duration,
        retention: Retention,
    ) -> Self {
        Self { tracker, registry, every, retention, indexes: None, index_kept: 0 }
    }

    /// Adds state indexes to prune, with the retention `kept`.
    #[must_use]
    pub fn with_indexes(self, indexes: Indexes, kept: Duration) -> Self {
        Self { indexes: Some(indexes), index_kept: kept.as_secs(), ..self }
    }

    /// One run over all markets and indexes.
    async fn run_once(&self, cx: &Context) -> Result<(), StoreError> {
        let mut removed = 0;
        // One connection for the whole run: the pool is small, and a run makes thousands of short steps.
        let mut session = self.tracker.services.store.session(PRUNE_TIMELINE).await?;
        // One moment for the whole run, so that all markets have the same boundary.
        let now = cx.clock().unix().as_secs();
        let mut unfinished = None;
        // The markets of this moment: one that is added meanwhile is pruned by the next run.
        for MarketEdges { keys, .. } in &*self.registry.now() {
            removed += self.prune_timelines(cx, &mut session, keys, now, &mut unfinished).await?;
            // Before entries are forgotten: they have the times.
            for set in self.retention.of_active(keys, now) {
                match self.prune_active(cx, &mut session, keys, &set).await {
                    Ok(more) => removed += more,
                    Err(error) => self.set_aside(error, &mut unfinished)?,
                }
            }
            match self.forget(cx, &mut session, keys, now.saturating_sub(self.retention.sealed)).await {
                Ok(more) => removed += more,
                Err(error) => self.set_aside(error, &mut unfinished)?,
            }
        }
        for keys in self.indexes.iter().flat_map(Indexes::now) {
            let index = Index::new(keys, self.index_kept);
            match self.prune_index(cx, &mut session, &index, now.saturating_sub(self.index_kept)).await {
                Ok(more) => removed += more,
                Err(error) => self.set_aside(error, &mut unfinished)?,
            }
        }
        // One line a run, even for 0: it shows operators that pruning works.
        tracing::info!(removed, "removed entries that are older than their retention");
        unfinished.map_or(Ok(()), Err)
    }

    /// Prunes the timelines of one market.
    async fn prune_timelines(
        &self,
        cx: &Context,
        session: &mut Session,
        keys: &MarketKeys,
        now: u64,
        unfinished: &mut Option<StoreError>,
    ) -> Result<u64, StoreError> {
        let naming_validators = self.retention.of_batches(keys, now);
        let (mut removed, mut done) = (0, BTreeSet::new());
        for prunable in self.retention.of_market(keys, &self.tracker.validator, now) {
            let pruned = match naming_validators.contains(&prunable) {
                true => self.prune_batches(cx, session, keys, &prunable, &mut done).await,
                false => self.prune_whole(cx, session, &prunable).await,
            };
            match pruned {
                Ok(more) => removed += more,
                Err(error) => self.set_aside(error, unfinished)?,
            }
        }
        Ok(removed)
    }

    /// Prunes one timeline, slice by slice.
    async fn prune_whole(
        &self,
        cx: &Context,
        session: &mut Session,
        prunable: &Prunable,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let more = prune(session, prunable, SLICE).await?;
            removed += more;
            if more < SLICE as u64 {
                return Ok(removed);
            }
            rest(cx).await;
        }
    }

    /// Prunes a batches timeline; before each slice of it, the timelines of the validators that the slice names. `done` are the
    /// validators whose timelines this run has pruned.
    async fn prune_batches(
        &self,
        cx: &Context,
        session: &mut Session,
        keys: &MarketKeys,
        timeline: &Prunable,
        done: &mut BTreeSet<String>,
    ) -> Result<u64, StoreError> {
        let (mut removed, mut left_out) = (0, false);
        loop {
            let mut named = BTreeSet::from_iter(old_validators(session, timeline, SLICE).await?);
            // The own timeline is one of those that every market has.
            named.retain(|validator| *validator != self.tracker.validator && !done.contains(validator));
            let room = MOST_VALIDATORS.saturating_sub(done.len());
            if named.len() > room && !std::mem::replace(&mut left_out, true) {
                let detail = format!(
                    "it names more than {MOST_VALIDATORS} validators: the timelines of the others are not pruned in this run"
                );
                let fault = Fault::new(&timeline.key, ErrorKind::Malformed, detail);
                self.tracker.services.note_unwritten(PRUNE_TIMELINE, &[fault]);
            }
            let new: Vec<String> = named.into_iter().take(room).collect();
            removed += self.prune_validators(cx, session, keys, &new, timeline.before).await?;
            done.extend(new);
            let more = prune(session, timeline, SLICE).await?;
            removed += more;
            if more < SLICE as u64 {
                return Ok(removed);
            }
            rest(cx).await;
        }
    }

    /// Prunes the timelines of these validators, and pauses after each step: nearly all of them have few old entries.
    async fn prune_validators(
        &self,
        cx: &Context,
        session: &mut Session,
        keys: &MarketKeys,
        validators: &[String],
        before: u64,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for validators in validators.chunks(VALIDATORS_A_STEP) {
            let (timelines, faults) = prunable_validators(session, keys, validators, before).await?;
            self.tracker.services.note_unwritten(PRUNE_TIMELINE, &faults);
            for timeline in timelines {
                removed += self.prune_whole(cx, session, &timeline).await?;
            }
            rest(cx).await;
        }
        Ok(removed)
    }

    /// Continues after an error of one step, so that it keeps no other key and no other market from being pruned. An error of the
    /// server as a whole ends the run, which is repeated. Refused writes don't end it, since removing entries is what frees a full
    /// memory; the run is repeated afterwards.
    fn set_aside(&self, error: StoreError, unfinished: &mut Option<StoreError>) -> Result<(), StoreError> {
        if error.kind.is_outage() {
            return Err(error);
        }
        // The caller of the run reports the error that it returns.
        if error.kind == ErrorKind::WritesRefused && unfinished.is_none() {
            *unfinished = Some(error);
        } else {
            self.tracker.services.report(&error);
        }
        Ok(())
    }

    async fn prune_index(
        &self,
        cx: &Context,
        session: &mut Session,
        index: &Index,
        before: u64,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for part in IndexPart::ALL {
            loop {
                let (more, faults) = index.forget(session, part, before, INDEX_SLICE).await?;
                self.tracker.services.note_unwritten(PRUNE_INDEX, &faults);
                removed += more;
                if more == 0 {
                    break;
                }
                rest(cx).await;
            }
        }
        let mut cursor = 0;
        loop {
            let (next, more, faults) = index.forget_validators(session, cursor, before, INDEX_SLICE).await?;
            self.tracker.services.note_unwritten(PRUNE_INDEX, &faults);
            removed += more;
            if next == 0 {
                return Ok(removed);
            }
            cursor = next;
            rest(cx).await;
        }
    }

    /// Removes sealed epochs from one set of active ones.
    async fn prune_active(
        &self,
        cx: &Context,
        session: &mut Session,
        keys: &MarketKeys,
        set: &Prunable,
    ) -> Result<u64, StoreError> {
        let (mut cursor, mut removed) = (0, 0);
        loop {
            let (next, more) = prune_active(session, keys, &set.key, cursor, set.before, SLICE).await?;
            removed += more;
            if next == 0 {
                return Ok(removed);
            }
            cursor = next;
            rest(cx).await;
        }
    }

    async fn forget(
        &self,
        cx: &Context,
        session: &mut Session,
        keys: &MarketKeys,
        before: u64,
    ) -> Result<u64, StoreError> {
        let (mut cursor, mut forgotten) = (0, 0);
        loop {
            let (next, more) = forget_sealed(session, keys, cursor, before, SLICE).await?;
            forgotten += more;
            // Redis' scans end with the cursor 0.
            if next == 0 {
                return Ok(forgotten);
            }
            cursor = next;
            rest(cx).await;
        }
    }
}

/// Pauses between two slices, and reports progress: a run over many markets takes longer than a stall may.
async fn rest(cx: &Context) {
    cx.clock().sleep(PAUSE).await;
    cx.progress();
}

impl Worker for Pruner {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let services = &self.tracker.services;
        // Not at the start: a crash loop would repeat it with every restart.
        run_periodically(cx, services, [self.every; 2], PRUNER, &PRUNER_POINTS, || self.run_once(cx)).await
    }
}
