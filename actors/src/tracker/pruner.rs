//! The pruner: removes what is older than the retention from the timelines of all markets, and forgets ledger
//! entries of which nothing is left that could bring them back.
//!
//! Touches the keys of the families that are pruned ([`Retention::of_market`]), the ledger's sealed entries, and the state index. It works in slices with a
//! pause between them, so that no other client of Redis waits for it, and it may be stopped or crash between any
//! two slices: the next round goes on.

use std::time::Duration;

use retry::table::PRUNER;
use store_redis::{ErrorKind, Session, StoreError};
use store_tracker::{
    Index, IndexPart, MarketKeys, Retention, forget_sealed,
    operations::{PRUNE_INDEX, PRUNE_TIMELINE},
    prune,
};
use supervision::{Actor, Clock, Context, Failure, NoMessage};

use super::{
    market_registry::{Indexes, MarketEdges, MarketRegistry},
    points::PRUNER_POINTS,
    services::TrackerServices,
};
use crate::env::periodic::keep_making;

/// How many members go in one step.
const SLICE: usize = 500;
/// The same for the index, in which each stands in several keys.
const INDEX_SLICE: usize = 100;
/// The pause after each step.
const PAUSE: Duration = Duration::from_millis(2);

/// The actor.
pub struct Pruner {
    tracker: TrackerServices,
    registry: MarketRegistry,
    every: Duration,
    retention: Retention,
    indexes: Option<Indexes>,
    /// How long the indexes are kept, in seconds.
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

    /// The same with state indexes to prune, each kept for `kept`.
    #[must_use]
    pub fn with_indexes(self, indexes: Indexes, kept: Duration) -> Self {
        Self { indexes: Some(indexes), index_kept: kept.as_secs(), ..self }
    }

    /// One round over all markets.
    async fn round(&self, cx: &Context<NoMessage>) -> Result<(), StoreError> {
        let (clock, mut removed) = (cx.clock().clone(), 0);
        let mut session = self.tracker.services.store.session(PRUNE_TIMELINE).await?;
        let now = clock.unix().as_secs();
        for MarketEdges { keys, .. } in &*self.registry.now() {
            for prunable in self.retention.of_market(keys, &self.tracker.validator, now) {
                loop {
                    match prune(&mut session, &prunable, SLICE).await {
                        Ok(0) => break,
                        Ok(more) => removed += more,
                        // A key of another type is reported, and the others go on.
                        Err(error) if error.kind == ErrorKind::WrongType => {
                            self.tracker.services.report(&error);
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                    rest(cx, &clock).await;
                }
            }
            match self.forget(cx, &mut session, keys, now.saturating_sub(self.retention.sealed)).await {
                Ok(more) => removed += more,
                Err(error) if error.kind == ErrorKind::WrongType => self.tracker.services.report(&error),
                Err(error) => return Err(error),
            }
        }
        for keys in self.indexes.iter().flat_map(Indexes::now) {
            let index = Index::new(keys, self.index_kept);
            removed +=
                self.prune_index(cx, &mut session, &index, now.saturating_sub(self.index_kept)).await?;
        }
        tracing::info!(removed, "removed entries that are older than their retention");
        Ok(())
    }

    async fn prune_index(
        &self,
        cx: &Context<NoMessage>,
        session: &mut Session,
        index: &Index,
        before: u64,
    ) -> Result<u64, StoreError> {
        let (clock, mut removed) = (cx.clock().clone(), 0);
        for part in IndexPart::ALL {
            loop {
                let (more, faults) = index.forget(session, part, before, INDEX_SLICE).await?;
                self.tracker.services.note_unwritten(PRUNE_INDEX, &faults);
                removed += more;
                if more == 0 {
                    break;
                }
                rest(cx, &clock).await;
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
            rest(cx, &clock).await;
        }
    }

    async fn forget(
        &self,
        cx: &Context<NoMessage>,
        session: &mut Session,
        keys: &MarketKeys,
        before: u64,
    ) -> Result<u64, StoreError> {
        let (clock, mut cursor, mut forgotten) = (cx.clock().clone(), 0, 0);
        loop {
            let (next, more) = forget_sealed(session, keys, cursor, before, SLICE).await?;
            forgotten += more;
            if next == 0 {
                return Ok(forgotten);
            }
            cursor = next;
            rest(cx, &clock).await;
        }
    }
}

/// Lets the others have Redis; a round takes long and moves on, which is progress.
async fn rest(cx: &Context<NoMessage>, clock: &Clock) {
    clock.sleep(PAUSE).await;
    cx.progress();
}

impl Actor for Pruner {
    type Message = NoMessage;

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        let services = &self.tracker.services;
        keep_making(cx, services, self.every, PRUNER, &PRUNER_POINTS, || self.round(cx)).await
    }
}
