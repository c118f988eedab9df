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

mod clean;
mod compare_and_set;
mod contract_values;
mod keys;
pub mod operations;
mod predecessor;
mod rights;
mod submissions;
mod values;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    chain::{BlockRef, ContractAddress, Window},
    collector::{Deeds, Following, Handed, Market, Note, Stretch},
};
use serde_json::json;

pub use clean::Cleaned;
pub use compare_and_set::Outcome;
pub use contract_values::MarketTables;
pub use keys::{BLOCK_HASH_TTL, ChainKeys, family_of, key_families};
pub use predecessor::Left;
pub use submissions::{Basis, ClosedWindow, Inputs};
pub use windows::windows;

use compare_and_set::Guarded;
use store_redis::{Batch, ErrorKind, KeyType, Operation, Replies, Session, StoreError};
use values::{details_of, parse, read, take_json, take_time, text};
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

/// What following the chain has come to, as it was read: what is written later follows from it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What it means.
    pub following: Following,
    /// When it was read, by the clock of Redis, in Unix seconds.
    pub now: u64,
    has_identity: bool,
    /// The version, which each writer raises.
    version: Option<String>,
}

impl Known {
    /// What is known without Redis, as in a trial, at this time in Unix seconds: it can't be written.
    #[must_use]
    pub fn of(following: Following, now: u64) -> Self {
        Self { following, now, ..Self::default() }
    }
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
    pub fn nothing(&self) -> Following {
        let markets = self.markets.iter().map(|market| (*market, Market::default())).collect();
        Following { markets, ..Following::default() }
    }

    /// Reads all that is known of this tracker's markets, and of all markets that others follow: one round trip, at one moment;
    /// one more when another tracker has added a market.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, when something of ours can't be read, or when it is of another
    /// chain or contract.
    pub async fn load(&self, session: &mut Session) -> Result<Known, StoreError> {
        let mut others = self.others().clone();
        // Each round asks for at least one more market.
        loop {
            let asked: BTreeSet<_> = self.markets.iter().chain(&others).copied().collect();
            let mut known = self.load_markets(session, &asked).await?;
            let Following { followed, markets, .. } = &mut known.following;
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
    ) -> Result<Known, StoreError> {
        let operation = operations::READ_CHECKPOINT;
        let keys = &self.keys;
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.keyless("TIME");
            batch.cmd("GET", keys.identity());
            batch.cmd("GET", keys.version());
            batch.cmd("GET", keys.checkpoint());
            batch.cmd("GET", keys.kept());
            batch.cmd("GET", keys.followed());
            batch.cmd("HGETALL", keys.deeds());
            for market in markets {
                batch.cmd("HGETALL", keys.windows(market));
                batch.cmd("HMGET", keys.market(market)).arg(&["done", "current", "day"]);
            }
        });
        let key = keys.checkpoint();
        let mut replies = Replies::new(operation, session.run(operation, &key, batch).await?);
        let now = take_time(&mut replies, &key).map_err(of_single)?;
        let identity: Option<String> = replies.required(&keys.identity()).map_err(of_single)?;
        self.check_identity(operation, identity.as_deref())?;
        let version = replies.required(&keys.version())?;
        let mut following = Following {
            checkpoint: take_json(&mut replies, &key)?,
            kept: take_json(&mut replies, &keys.kept())?.unwrap_or_default(),
            followed: take_json(&mut replies, &keys.followed())?.unwrap_or_default(),
            ..Following::default()
        };
        for (_, text) in replies.required::<Vec<(String, String)>>(&keys.deeds())? {
            following.deeds.push(read::<Deeds>(&keys.deeds(), &text)?);
        }
        following.deeds.sort_unstable_by_key(|deeds| deeds.block.number);
        for market in markets {
            let windows = take_windows(&mut replies, &keys.windows(market))?;
            let windows = windows.into_iter().map(|(epoch, (window, _))| (epoch, window)).collect();
            let key = keys.market(market);
            let [done, current, day] = replies.required::<[Option<String>; 3]>(&key)?;
            let known = Market {
                windows,
                done: parse(&key, done.as_deref())?.unwrap_or_default(),
                current: parse(&key, current.as_deref())?,
                day: parse(&key, day.as_deref())?,
            };
            following.markets.insert(*market, known);
        }
        Ok(Known { following, now, has_identity: identity.is_some(), version })
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
        let (operation, key) = (operations::REMOVE_MARKET, self.keys.identity());
        let mut batch = Batch::new();
        batch.cmd("GET", &key);
        let mut replies = Replies::new(operation, session.run(operation, &key, batch).await?);
        let Some(there) = replies.required::<Option<String>>(&key)? else { return Ok(Some(false)) };
        let of_chain = match there.split_once(':') {
            Some((id, contract)) if contract == self.identity => {
                Self { identity: format!("{id}:{contract}"), ..self.clone() }
            }
            _ => self.clone(),
        };
        let known = of_chain.load(session).await?;
        let mut after = known.following.clone();
        if !after.remove(market) {
            return Ok(Some(false));
        }
        let outcome = of_chain.commit(session, &known, &after, None, &[]).await?;
        Ok(matches!(outcome, Outcome::Done { .. }).then_some(true))
    }

    /// Refuses what is of another chain or contract.
    fn check_identity(&self, operation: Operation, there: Option<&str>) -> Result<(), StoreError> {
        let Some(there) = there.filter(|there| *there != self.identity) else { return Ok(()) };
        let detail = format!("it is of {there}, and this program follows {}", self.identity);
        Err(StoreError::new(operation, self.keys.identity(), ErrorKind::Foreign, detail))
    }

    /// Writes what became of it: the checkpoint with all effects, if nobody has changed the state since it was read. `stretch` is what
    /// was accepted, where something was; `notes` are what came of it.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether it was written, or when a key holds another type than it should: then
    /// nothing was.
    pub async fn commit(
        &self,
        session: &mut Session,
        known: &Known,
        after: &Following,
        stretch: Option<&Stretch>,
        notes: &[Note],
    ) -> Result<Outcome, StoreError> {
        let (keys, before) = (&self.keys, &known.following);
        let mut all = Guarded::default();
        all.expect(&keys.identity(), known.has_identity.then_some(self.identity.as_str()));
        // Each change of any part of the state raises it.
        all.expect(&keys.version(), known.version.as_deref());
        self.raise_version(&mut all);
        if !known.has_identity {
            all.write("SET", &keys.identity(), KeyType::String, &[&self.identity]);
        }
        if let Some(checkpoint) = after.checkpoint.filter(|_| after.checkpoint != before.checkpoint) {
            all.write("SET", &keys.checkpoint(), KeyType::String, &[&text(&checkpoint)]);
        }
        if after.kept != before.kept {
            all.write("SET", &keys.kept(), KeyType::String, &[&text(&after.kept)]);
        }
        if after.followed != before.followed {
            all.write("SET", &keys.followed(), KeyType::String, &[&text(&after.followed)]);
        }
        self.write_blocks(&mut all, before, after, stretch);
        for (market, there) in &after.markets {
            let was = before.markets.get(market).cloned().unwrap_or_default();
            self.write_market(&mut all, market, &was, there);
        }
        for note in notes {
            if let Note::Submitted(Handed { market, epoch, batch_cid }) = note
                && after.followed.get(market).is_some_and(|followed| followed.attest)
            {
                let batch = json!({
                    "DataMarketAddress": market, "BatchCID": batch_cid, "EpochID": epoch,
                });
                all.write("LPUSH", &keys.attestor_queue(), KeyType::List, &[&batch.to_string()]);
            }
        }
        all.run(session, operations::MOVE_CHECKPOINT, &keys.checkpoint()).await
    }

    /// Makes every change of the state that was computed from an earlier one fail.
    fn raise_version(&self, all: &mut Guarded) {
        all.write("INCRBY", &self.keys.version(), KeyType::String, &[&1]);
    }

    /// Hashes of blocks that came and went, and what is kept to undo them.
    fn write_blocks(
        &self,
        all: &mut Guarded,
        before: &Following,
        after: &Following,
        stretch: Option<&Stretch>,
    ) {
        let keys = &self.keys;
        let deeds = keys.deeds();
        let by_number = |following: &Following| -> BTreeMap<u64, BlockRef> {
            following.deeds.iter().map(|deeds| (deeds.block.number, deeds.block)).collect()
        };
        let (was, is) = (by_number(before), by_number(after));
        for (number, block) in &was {
            let now = is.get(number);
            if now == Some(block) {
                continue;
            }
            if now.is_none() {
                all.write("HDEL", &deeds, KeyType::Hash, &[number]);
            }
            if after.checkpoint.is_some_and(|checkpoint| *number > checkpoint.number) {
                all.write("DEL", &keys.block_hash(*number), KeyType::String, &[]);
            }
        }
        for done in after.deeds.iter().filter(|deeds| was.get(&deeds.block.number) != Some(&deeds.block)) {
            all.write("HSET", &deeds, KeyType::Hash, &[&done.block.number, &text(done)]);
        }
        let accepted =
            stretch.filter(|stretch| stretch.old.is_none()).map(|stretch| stretch.blocks.as_slice());
        for block in accepted.unwrap_or_default() {
            let hash = block.hash.to_string();
            all.write(
                "SET",
                &keys.block_hash(block.number),
                KeyType::String,
                &[&hash, &"EX", &BLOCK_HASH_TTL],
            );
        }
    }

    /// What changed of a market: its windows with their markers, and the rest.
    fn write_market(&self, all: &mut Guarded, market: &ContractAddress, was: &Market, there: &Market) {
        let keys = &self.keys;
        let windows = keys.windows(market);
        let mut epochs: Vec<u64> = was.windows.keys().chain(there.windows.keys()).copied().collect();
        epochs.sort_unstable();
        epochs.dedup();
        for epoch in epochs {
            let (old, new) = (was.windows.get(&epoch), there.windows.get(&epoch));
            if old == new {
                continue;
            }
            match new {
                Some(window) => all.write("HSET", &windows, KeyType::Hash, &[&epoch, &text(window)]),
                None => all.write("HDEL", &windows, KeyType::Hash, &[&epoch]),
            }
            self.write_marker(all, market, epoch, old, new);
        }
        let key = keys.market(market);
        if there.done != was.done {
            all.write("HSET", &key, KeyType::Hash, &[&"done", &there.done.to_string()]);
        }
        for (field, old, new) in [("current", was.current, there.current), ("day", was.day, there.day)] {
            if old == new {
                continue;
            }
            match new {
                Some(new) => all.write("HSET", &key, KeyType::Hash, &[&field, &new]),
                None => all.write("HDEL", &key, KeyType::Hash, &[&field]),
            }
        }
        if there.current != was.current {
            let key = keys.current_epoch(market);
            match there.current {
                Some(epoch) => all.write("SET", &key, KeyType::String, &[&epoch]),
                None => all.write("DEL", &key, KeyType::String, &[]),
            }
        }
    }

    /// How others see a window.
    fn write_marker(
        &self,
        all: &mut Guarded,
        market: &ContractAddress,
        epoch: u64,
        old: Option<&Window>,
        new: Option<&Window>,
    ) {
        let (set, details) = (self.keys.marked(market), self.keys.details(market, epoch));
        match new.filter(|window| window.is_marked()) {
            Some(window) => {
                all.write("SADD", &set, KeyType::Set, &[&epoch]);
                all.write("SET", &details, KeyType::String, &[&details_of(window)]);
            }
            None if old.is_some_and(Window::is_marked) => {
                all.write("SREM", &set, KeyType::Set, &[&epoch]);
                all.write("DEL", &details, KeyType::String, &[]);
            }
            None => {}
        }
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
