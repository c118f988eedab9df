//! The writing of effects: one step for all of them, upon the version from which they were concluded.
//!
//! The chain state has a version, and so has each market in it. Every commit raises the one of the chain, and those of the markets
//! whose windows, finished epochs or changes of day it changes. Blocks are accepted upon the version of the chain; batches are handed over upon the
//! version of their market, so that blocks that don't concern it hold up no hand-over.

use std::collections::BTreeSet;

use domain::{
    chain::{ContractAddress, Window},
    collector::{Batch as Projects, Effect, FinalizedBatch, RelayCall, SubmittedBatch},
};
use serde_json::json;
use store_redis::{KeyType, Operation, Session, StoreError};

use crate::{
    ChainStore,
    basis::{Basis, Outcome},
    compare_and_set::{CompareAndSet, Written},
    keys::{BATCH_TTL, BLOCK_HASH_TTL, COUNT_TTL, DETAILS_TTL},
    operations::{DELIVER_BATCHES, END_EPOCH, MOVE_CHECKPOINT},
    outbox::{CALL_FIELD, KEY_FIELD, Stage},
    values::{details_of, text},
};

impl ChainStore {
    /// Writes effects: all of them in one step, or none. With `until`, they are not written after that moment by the clock of Redis, in
    /// Unix seconds. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether they were written, or when a key holds another type than it should, the user may
    /// not write one, or the server takes no writes: then none was.
    pub async fn commit(
        &self,
        session: &mut Session,
        basis: &Basis,
        effects: &[Effect],
        until: Option<u64>,
    ) -> Result<Outcome, StoreError> {
        let keys = &self.keys;
        let mut all = CompareAndSet::new(until);
        all.expect(&keys.identity(), basis.has_identity.then_some(self.identity.as_str()));
        match &basis.market {
            Some(market) => all.expect(&keys.version_of(market), basis.version.as_deref()),
            None => all.expect(&keys.version(), basis.version.as_deref()),
        }
        // First: where the server takes no writes at all, it says so here, and nothing was written.
        all.write("INCRBY", &keys.version(), KeyType::String, &[&1]);
        let markets: BTreeSet<ContractAddress> = effects.iter().filter_map(Effect::of_hand_overs).collect();
        for market in markets {
            all.write("INCRBY", &keys.version_of(&market), KeyType::String, &[&1]);
        }
        if !basis.has_identity {
            all.write("SET", &keys.identity(), KeyType::String, &[&self.identity]);
        }
        let mut counts = BTreeSet::new();
        for effect in effects {
            self.add(&mut all, effect);
            if let Effect::Batches { market, epoch, .. } = effect {
                counts.insert(keys.batch_count(market, *epoch));
            }
        }
        Ok(match all.run(session, operation_of(effects), &keys.version()).await? {
            Written::All { faults } => Outcome::Done { faults },
            Written::Changed { key } if counts.contains(&key) => Outcome::HandedOverElsewhere,
            Written::Changed { .. } => Outcome::Changed,
            Written::Late => Outcome::Late,
        })
    }

    /// Adds the writes of an effect.
    fn add(&self, all: &mut CompareAndSet, effect: &Effect) {
        use KeyType::{Hash, String as Text};
        let keys = &self.keys;
        match effect {
            Effect::Checkpoint(block) => all.write("SET", &keys.checkpoint(), Text, &[&text(block)]),
            Effect::BlockHash(block) => {
                let (key, hash) = (keys.block_hash(block.number), block.hash.to_string());
                all.write("SET", &key, Text, &[&hash, &"EX", &BLOCK_HASH_TTL]);
            }
            Effect::Logged(entry) => {
                all.write("HSET", &keys.undo_log(), Hash, &[&entry.block.number, &text(entry)]);
            }
            Effect::Unlogged(number) => all.write("HDEL", &keys.undo_log(), Hash, &[number]),
            Effect::Dropped(number) => {
                all.write("HDEL", &keys.undo_log(), Hash, &[number]);
                all.write("DEL", &keys.block_hash(*number), Text, &[]);
            }
            Effect::Orphaned(batches) => all.write("SET", &keys.orphaned(), Text, &[&text(batches)]),
            Effect::Followed(markets) => all.write("SET", &keys.followed(), Text, &[&text(markets)]),
            Effect::Window { market, epoch, window, was_marked } => {
                self.add_window(all, market, *epoch, window.as_ref(), *was_marked);
            }
            Effect::Done { market, done } => {
                all.write("HSET", &keys.market(market), Hash, &[&"done", &done.to_string()]);
            }
            Effect::Current { market, epoch } => {
                self.add_field(all, market, "current", *epoch);
                match epoch {
                    Some(epoch) => all.write("SET", &keys.current_epoch(market), Text, &[epoch]),
                    None => all.write("DEL", &keys.current_epoch(market), Text, &[]),
                }
            }
            Effect::Day { .. }
            | Effect::Rollover { .. }
            | Effect::RolledOver { .. }
            | Effect::Plan { .. } => self.add_of_days(all, effect),
            Effect::Attest(batch) => self.add_attest(all, batch),
            Effect::Ended { market, epoch, window, submitted_at } => {
                self.add_end(all, market, *epoch, window, submitted_at);
            }
            Effect::Finalized(FinalizedBatch { market, epoch, batch }) => {
                let key = keys.finalized(market, *epoch);
                all.write("SADD", &key, KeyType::Set, &[&batch.to_string()]);
                all.write("EXPIRE", &key, KeyType::Set, &[&COUNT_TTL]);
            }
            Effect::NotFinalized(FinalizedBatch { market, epoch, batch }) => {
                all.write("SREM", &keys.finalized(market, *epoch), KeyType::Set, &[&batch.to_string()]);
            }
            Effect::Removed { market } => all.write("DEL", &keys.ended(market), Hash, &[]),
            Effect::Batches { market, epoch, batches } => self.add_batches(all, market, *epoch, batches),
            Effect::SlotCounts { market, day, slots } => {
                slots.iter().for_each(|(slot, many)| all.count(&keys.slot(market, *day, *slot), many));
            }
            Effect::Relay { market, call } => self.add_call(all, market, call),
        }
    }

    pub(crate) fn add_field(
        &self,
        all: &mut CompareAndSet,
        market: &ContractAddress,
        field: &str,
        value: Option<u64>,
    ) {
        let key = self.keys.market(market);
        match value {
            Some(value) => all.write("HSET", &key, KeyType::Hash, &[&field, &value]),
            None => all.write("HDEL", &key, KeyType::Hash, &[&field]),
        }
    }

    /// A window, and how others see it.
    fn add_window(
        &self,
        all: &mut CompareAndSet,
        market: &ContractAddress,
        epoch: u64,
        window: Option<&Window>,
        was_marked: bool,
    ) {
        let keys = &self.keys;
        let (windows, set, details) =
            (keys.windows(market), keys.marked(market), keys.details(market, epoch));
        match window {
            Some(window) => all.write("HSET", &windows, KeyType::Hash, &[&epoch, &text(window)]),
            None => all.write("HDEL", &windows, KeyType::Hash, &[&epoch]),
        }
        match window.filter(|window| window.is_marked()) {
            Some(window) => {
                all.write("SADD", &set, KeyType::Set, &[&epoch]);
                all.write("SET", &details, KeyType::String, &[&details_of(window)]);
            }
            None if was_marked => {
                all.write("SREM", &set, KeyType::Set, &[&epoch]);
                all.write("DEL", &details, KeyType::String, &[]);
            }
            None => {}
        }
    }

    fn add_end(
        &self,
        all: &mut CompareAndSet,
        market: &ContractAddress,
        epoch: u64,
        window: &Window,
        submitted_at: &[String],
    ) {
        let keys = &self.keys;
        all.write("HDEL", &keys.windows(market), KeyType::Hash, &[&epoch]);
        all.write("SREM", &keys.marked(market), KeyType::Set, &[&epoch]);
        let details = keys.details(market, epoch);
        all.write("SET", &details, KeyType::String, &[&details_of(window), &"EX", &DETAILS_TTL]);
        if !submitted_at.is_empty() {
            all.write(
                "HSET",
                &keys.ended(market),
                KeyType::Hash,
                &[&epoch, &json!(submitted_at).to_string()],
            );
        }
    }

    fn add_batches(
        &self,
        all: &mut CompareAndSet,
        market: &ContractAddress,
        epoch: u64,
        batches: &[Projects],
    ) {
        let keys = &self.keys;
        for (index, batch) in batches.iter().enumerate() {
            let number = index + 1;
            let job = json!({
                "DataMarketAddress": market, "EpochID": epoch, "BatchID": number, "Batch": batch,
            });
            all.write("LPUSH", &keys.finalizer_queue(), KeyType::List, &[&job.to_string()]);
            let key = keys.batch(market, epoch, number);
            all.write("SET", &key, KeyType::String, &[&json!(batch).to_string(), &"EX", &BATCH_TTL]);
        }
        let count = keys.batch_count(market, epoch);
        // A number of batches means that another program has handed this epoch over.
        all.expect(&count, None);
        all.write("SET", &count, KeyType::String, &[&batches.len(), &"EX", &COUNT_TTL]);
    }

    /// A call joins the lane of its market. Its idempotency key is made here, once: it is the same at each attempt.
    pub(crate) fn add_call(&self, all: &mut CompareAndSet, market: &ContractAddress, call: &RelayCall) {
        let keys = &self.keys;
        let key = format!("{}:{}:{}", self.identity, market.lower(), call.id());
        all.write("SADD", &keys.lanes(), KeyType::Set, &[&market.lower()]);
        let lane = Stage::Waiting.key(keys, market);
        all.write("XADD", &lane, KeyType::Stream, &[&"*", &KEY_FIELD, &key, &CALL_FIELD, &text(call)]);
    }

    fn add_attest(
        &self,
        all: &mut CompareAndSet,
        SubmittedBatch { market, epoch, batch_cid }: &SubmittedBatch,
    ) {
        let batch = json!({ "DataMarketAddress": market, "BatchCID": batch_cid, "EpochID": epoch });
        all.write("LPUSH", &self.keys.attestor_queue(), KeyType::List, &[&batch.to_string()]);
    }
}

fn operation_of(effects: &[Effect]) -> Operation {
    let has = |is_so: fn(&Effect) -> bool| effects.iter().any(is_so);
    if has(|effect| matches!(effect, Effect::Batches { .. })) {
        DELIVER_BATCHES
    } else if has(|effect| matches!(effect, Effect::Ended { .. })) {
        END_EPOCH
    } else {
        MOVE_CHECKPOINT
    }
}
