//! The chain's side in Redis: what following a chain has come to, the keys that finalizers, relayers and attestors read,
//! and the hand-over of batches.
//!
//! Every change is compared and set: it is written only if all that it was concluded from is still there, together and
//! once. So two trackers at once, a crash or a lost answer leave no effect out and make none twice; the one that loses the
//! race reads again. A script may touch one slot of a cluster only, so this part refuses clusters.
//!
//! **Invariant:** every key of the collector is named in this crate and nowhere else, and none is written but by a
//! compare-and-set script. It has no clock and no retry, asks no node, and knows nothing of the tracker.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod basis;
mod clean;
mod commit;
mod compare_and_set;
mod contract_values;
mod days;
mod finalized;
mod inspect;
mod keys;
mod market;
pub mod migration;
pub mod operations;
pub mod outbox;
mod predecessor;
mod readings;
pub mod rewards;
mod rights;
mod submissions;
mod values;
mod windows;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    chain::ContractAddress,
    collector::{ChainState, Day, Market, UndoEntry},
};

pub use basis::{Basis, Outcome};
pub use clean::Cleaned;
pub use contract_values::MarketTables;
pub use finalized::{FinalizedEpoch, finalized_epoch};
pub use keys::{BLOCK_HASH_TTL, ChainKeys, family_of, key_families};
pub use market::MarketSnapshot;
pub use predecessor::Left;
pub use readings::{DayCounts, Entries, LARGEST_READING, LastSubmission, Reader};
pub use rights::needs_of_migration;
pub use submissions::Inputs;
pub use windows::windows;

use store_redis::{Batch, ErrorKind, Replies, Session, StoreError};
use values::{MARKET_FIELDS, parse, read, take_json, take_rollovers, take_time};
use windows::take_windows;

/// The chain's side of some markets. Clones share what they know of other trackers.
#[derive(Clone, Debug)]
pub struct ChainStore {
    keys: ChainKeys,
    identity: String,
    markets: Vec<ContractAddress>,
    attest: bool,
    /// The markets of other trackers, as of the last read: asking for them at once saves a round trip.
    others: Arc<Mutex<BTreeSet<ContractAddress>>>,
}

/// The chain state, as it was read.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The state.
    pub state: ChainState,
    /// When it was read, by the clock of Redis, in Unix seconds.
    pub now: u64,
    /// What effects that follow from it are written upon.
    pub basis: Basis,
}

impl ChainStore {
    /// The chain's side of these markets under these keys. The identity names chain and contract: the keys of another one
    /// are not touched. With `attest`, submitted batches may be handed to the attestor; see [`domain::collector::Followed`].
    #[must_use]
    pub fn new(keys: ChainKeys, identity: String, markets: Vec<ContractAddress>, attest: bool) -> Self {
        Self { keys, identity, markets, attest, others: Arc::default() }
    }

    /// The markets of this tracker.
    #[must_use]
    pub fn markets(&self) -> &[ContractAddress] {
        &self.markets
    }

    /// The same for the chain of this id.
    #[must_use]
    pub fn of_chain(&self, id: u64) -> Self {
        Self { identity: format!("{id}:{}", self.identity), ..self.clone() }
    }

    /// What is known before anything was followed, as for a trial.
    #[must_use]
    pub fn nothing(&self) -> ChainState {
        let markets = self.markets.iter().map(|market| (*market, Market::default())).collect();
        ChainState { markets, ..ChainState::default() }
    }

    /// Reads all that is known of this tracker's markets, and of all markets that others follow: one round trip, at one moment;
    /// one more when another tracker has added a market.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, when something of ours can't be read, or when it is of another
    /// chain or contract.
    pub async fn load(&self, session: &mut Session) -> Result<Snapshot, StoreError> {
        let mut others = self.others().clone();
        // Each round asks for at least one more market.
        loop {
            let asked: BTreeSet<_> = self.markets.iter().chain(&others).copied().collect();
            let mut known = self.load_markets(session, &asked).await?;
            let ChainState { followed, markets, .. } = &mut known.state;
            others = followed.keys().filter(|market| !self.markets.contains(market)).copied().collect();
            if !others.is_subset(&asked) {
                continue;
            }
            // What was removed since the last read is no more of the state.
            markets.retain(|market, _| self.markets.contains(market) || others.contains(market));
            self.others().clone_from(&others);
            return Ok(known);
        }
    }

    fn others(&self) -> std::sync::MutexGuard<'_, BTreeSet<ContractAddress>> {
        // Poisoning is ignored: the set is only replaced as a whole.
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load_markets(
        &self,
        session: &mut Session,
        markets: &BTreeSet<ContractAddress>,
    ) -> Result<Snapshot, StoreError> {
        let operation = operations::READ_CHECKPOINT;
        let keys = &self.keys;
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.keyless("TIME");
            batch.cmd("GET", keys.identity());
            batch.cmd("GET", keys.version());
            batch.cmd("GET", keys.checkpoint());
            batch.cmd("GET", keys.orphaned());
            batch.cmd("GET", keys.followed());
            batch.cmd("HGETALL", keys.undo_log());
            for market in markets {
                batch.cmd("HGETALL", keys.windows(market));
                batch.cmd("HMGET", keys.market(market)).arg(MARKET_FIELDS);
                batch.cmd("HGETALL", keys.rollovers(market));
            }
        });
        let key = keys.checkpoint();
        let mut replies = Replies::new(operation, session.run(operation, &key, batch).await?);
        let now = take_time(&mut replies, &key).map_err(of_single)?;
        let identity: Option<String> = replies.required(&keys.identity()).map_err(of_single)?;
        self.check_identity(operation, identity.as_deref())?;
        let version = replies.required(&keys.version())?;
        let mut state = ChainState {
            checkpoint: take_json(&mut replies, &key)?,
            orphaned: take_json(&mut replies, &keys.orphaned())?.unwrap_or_default(),
            followed: take_json(&mut replies, &keys.followed())?.unwrap_or_default(),
            ..ChainState::default()
        };
        for (_, text) in replies.required::<Vec<(String, String)>>(&keys.undo_log())? {
            state.undo_log.push(read::<UndoEntry>(&keys.undo_log(), &text)?);
        }
        state.undo_log.sort_unstable_by_key(|entry| entry.block.number);
        for market in markets {
            let windows = take_windows(&mut replies, &keys.windows(market))?;
            let key = keys.market(market);
            let [done, current, day, since, last_day] = replies.required::<[Option<String>; 5]>(&key)?;
            let since: Option<u64> = parse(&key, since.as_deref())?;
            let day = parse(&key, day.as_deref())?;
            let day = day.map(|number| Day { number, since: since.unwrap_or_default() });
            let known = Market {
                windows,
                done: parse(&key, done.as_deref())?.unwrap_or_default(),
                current: parse(&key, current.as_deref())?,
                day,
                last_day: parse(&key, last_day.as_deref())?,
                rollovers: take_rollovers(&mut replies, &keys.rollovers(market))?,
            };
            state.markets.insert(*market, known);
        }
        Ok(Snapshot { state, now, basis: Basis::of_chain(identity.is_some(), version) })
    }

    /// Removes a market from the chain state: its windows and markers go, its finished epochs stay. Returns whether it was followed;
    /// `None` when another tracker changed the state meanwhile, so that nothing was written. Three round trips.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::commit`]; the id of the chain need not be known.
    pub async fn remove(
        &self,
        session: &mut Session,
        market: ContractAddress,
    ) -> Result<Option<bool>, StoreError> {
        let there = self.identity_there(session, operations::REMOVE_MARKET).await?;
        let Some(there) = there else { return Ok(Some(false)) };
        let of_chain = self.of_identity(&there);
        let known = of_chain.load(session).await?;
        let after = known.state.remove(market);
        if after.effects.is_empty() {
            return Ok(Some(false));
        }
        let outcome = of_chain.commit(session, &known.basis, &after.effects, None).await?;
        Ok(matches!(outcome, Outcome::Done { .. }).then_some(true))
    }
}

/// Says what a node of a cluster means here.
fn of_single(error: StoreError) -> StoreError {
    if error.kind != ErrorKind::Topology {
        return error;
    }
    error.with_context(
        "a chain is followed on a single server only, since all effects of a block are one step",
    )
}
