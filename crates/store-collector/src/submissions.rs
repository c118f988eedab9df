//! The submissions of a closed window, and the hand-over of its batches, once.

use std::collections::BTreeSet;

use domain::{
    chain::{ContractAddress, EpochSet, Window, WindowState},
    collector::Arrangement,
};
use serde_json::json;

use crate::{
    ChainStore,
    compare_and_set::{Guarded, Outcome},
    keys::{BATCH_TTL, COUNT_TTL, ChainKeys, DETAILS_TTL},
    operations,
    values::{details_of, parse, take_time},
    windows::take_windows,
};
use store_redis::{Batch, Fault, KeyType, Replies, Session, StoreError};

/// Blocks of one round trip.
const SLICE: usize = 1_000;

/// A closed window, whose batches are due, as it was read.
#[derive(Clone, Debug)]
pub struct ClosedWindow {
    /// The market.
    pub market: ContractAddress,
    /// The epoch.
    pub epoch: u64,
    /// Its window.
    pub window: Window,
    text: String,
    done: EpochSet,
    done_text: Option<String>,
}

/// The submissions of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The keys of the submissions.
    pub submissions: BTreeSet<String>,
    /// Blocks of the window whose hash is no longer stored: the submissions at them can't be found.
    pub missing: Vec<u64>,
    /// Keys that could not be read.
    pub faults: Vec<Fault>,
    /// The hash by which the hand-over notices a reorganisation.
    pub basis: Basis,
}

/// The hash of a window's last block, read before all other hashes: as long as it is the same, so are those of the
/// blocks before it. The inner `None`: no hash was stored. The outer `None`: it could not be read, and nothing is
/// compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis(Option<Option<String>>);

impl ChainStore {
    /// The closed windows of a market, in the order of their release, and the time of Redis in Unix seconds: one round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or when the chain state can't be read or belongs to another
    /// chain or contract.
    pub async fn closed(
        &self,
        session: &mut Session,
        market: ContractAddress,
    ) -> Result<(Vec<ClosedWindow>, u64), StoreError> {
        let operation = operations::FIND_CLOSED_WINDOWS;
        let (windows, key) = (self.keys.windows(&market), self.keys.market(&market));
        let identity = self.keys.identity();
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.keyless("TIME");
            batch.cmd("GET", &identity);
            batch.cmd("HGETALL", &windows);
            batch.cmd("HGET", &key).arg("done");
        });
        let mut replies = Replies::new(operation, session.run(operation, &windows, batch).await?);
        let now = take_time(&mut replies, &windows)?;
        self.check_identity(operation, replies.required::<Option<String>>(&identity)?.as_deref())?;
        let all = take_windows(&mut replies, &windows)?;
        let done_text: Option<String> = replies.required(&key)?;
        let done = parse(&key, done_text.as_deref())?.unwrap_or_default();
        let mut closed = Vec::new();
        for (epoch, (window, text)) in all {
            if matches!(window.state, WindowState::Closed { .. }) {
                let (done, done_text) = (EpochSet::clone(&done), done_text.clone());
                closed.push(ClosedWindow { market, epoch, window, text, done, done_text });
            }
        }
        closed.sort_unstable_by_key(|closed| (closed.window.release_block, closed.epoch));
        Ok((closed, now))
    }

    /// The submissions at the blocks of a window: two round trips for each thousand blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer; what can't be read is reported in [`Inputs`].
    pub async fn inputs(&self, session: &mut Session, closed: &ClosedWindow) -> Result<Inputs, StoreError> {
        let operation = operations::READ_SUBMISSIONS;
        let mut inputs = Inputs::default();
        let numbers: Vec<u64> = (closed.window.release_block..=closed.window.last_block()).collect();
        // The last blocks first: a reorganisation after that changes the basis, and the hand-over is refused.
        for (at, numbers) in numbers.rchunks(SLICE).enumerate() {
            let mut batch = Batch::new();
            let keys: Vec<String> = numbers.iter().map(|number| self.keys.block_hash(*number)).collect();
            // One transaction, so that these hashes are of one branch, and the last of them proves the others.
            batch.transaction(|batch| {
                for key in &keys {
                    batch.cmd("GET", key);
                }
            });
            let mut replies = Replies::new(operation, session.run(operation, &keys[0], batch).await?);
            let mut sets = Vec::new();
            let mut last = None;
            for (number, key) in numbers.iter().zip(&keys) {
                last = replies.take::<Option<String>>(key)?;
                match last.as_ref().and_then(Option::as_ref) {
                    Some(hash) => sets.push(ChainKeys::submitted(&closed.market, closed.epoch, hash)),
                    None => inputs.missing.push(*number),
                }
            }
            if at == 0 {
                inputs.basis = Basis(last);
            }
            inputs.faults.extend(replies.into_faults());
            let Some(first) = sets.first() else { continue };
            let mut batch = Batch::new();
            sets.iter().for_each(|key| {
                batch.cmd("SMEMBERS", key);
            });
            let mut replies = Replies::new(operation, session.run(operation, first, batch).await?);
            for key in &sets {
                let members: Vec<Vec<u8>> = replies.take(key)?.unwrap_or_default();
                // A member that is not text is malformed, and reported with the other malformed ones.
                let members = members.iter().map(|member| String::from_utf8_lossy(member).into_owned());
                inputs.submissions.extend(members);
            }
            inputs.faults.extend(replies.into_faults());
        }
        inputs.missing.sort_unstable();
        Ok(inputs)
    }

    /// Queues the batches of an epoch for the finalizers, counts its submissions by slot, and ends the epoch: all or
    /// nothing, once, and only while the basis is unchanged, no submission can have expired, and no other program has written the
    /// number of its batches. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether it was done, or when a key has the wrong type: then nothing was
    /// done.
    pub async fn hand_over(
        &self,
        session: &mut Session,
        closed: &ClosedWindow,
        basis: &Basis,
        arrangement: &Arrangement,
    ) -> Result<Outcome, StoreError> {
        let (keys, ClosedWindow { market, epoch, window, .. }) = (&self.keys, closed);
        let mut all = self.ending(closed);
        // Checked in the step itself: the submissions were read before, and a set that expired meanwhile would be missing.
        all.until(window.expires);
        // The window's text is no proof: after a reorganisation a block of the same number may have closed it again.
        if let Basis(Some(hash)) = basis {
            all.expect(&keys.block_hash(window.last_block()), hash.as_deref());
        }
        for (index, batch) in arrangement.batches.iter().enumerate() {
            let number = index + 1;
            let job = json!({
                "DataMarketAddress": market, "EpochID": epoch, "BatchID": number, "Batch": batch,
            });
            all.write("LPUSH", &keys.finalizer_queue(), KeyType::List, &[&job.to_string()]);
            let submissions = json!(batch).to_string();
            let key = keys.batch(market, *epoch, number);
            all.write("SET", &key, KeyType::String, &[&submissions, &"EX", &BATCH_TTL]);
        }
        let (count, many) = (keys.batch_count(market, *epoch), arrangement.batches.len());
        // A number of batches means that another program has handed this epoch over.
        all.expect(&count, None);
        all.write("SET", &count, KeyType::String, &[&many, &"EX", &COUNT_TTL]);
        // Without a known day nothing is counted: a wrong day would be worse.
        for (slot, many) in window.day.into_iter().flat_map(|day| {
            arrangement.slots.iter().map(move |(slot, many)| (keys.slot(market, day, *slot), many))
        }) {
            all.count(&slot, many);
        }
        all.run(session, operations::DELIVER_BATCHES, &keys.windows(market)).await
    }

    /// Whether nothing was handed over because another program, such as a predecessor, has handed this epoch over
    /// already.
    #[must_use]
    pub fn is_handed_over_elsewhere(&self, closed: &ClosedWindow, outcome: &Outcome) -> bool {
        let count = self.keys.batch_count(&closed.market, closed.epoch);
        matches!(outcome, Outcome::Changed { key } if *key == count)
    }

    /// Ends an epoch that gets no batches: its submissions have expired, or others have handed it over. One round trip.
    ///
    /// # Errors
    /// As [`Self::hand_over`].
    pub async fn give_up(&self, session: &mut Session, closed: &ClosedWindow) -> Result<Outcome, StoreError> {
        let all = self.ending(closed);
        all.run(session, operations::END_EPOCH, &self.keys.windows(&closed.market)).await
    }

    /// The writes that end an epoch in any case, and their conditions.
    fn ending(&self, closed: &ClosedWindow) -> Guarded {
        let (keys, ClosedWindow { market, epoch, window, text, .. }) = (&self.keys, closed);
        let (windows, of_market) = (keys.windows(market), keys.market(market));
        let mut done = closed.done.clone();
        done.insert(*epoch);
        let mut all = Guarded::default();
        all.expect(&keys.identity(), Some(&self.identity));
        all.expect_field(&windows, &epoch.to_string(), Some(text));
        // The whole set is written below: of two epochs that end at once, the second must read it again.
        all.expect_field(&of_market, "done", closed.done_text.as_deref());
        self.raise_version(&mut all);
        all.write("HDEL", &windows, KeyType::Hash, &[epoch]);
        all.write("HSET", &of_market, KeyType::Hash, &[&"done", &done.to_string()]);
        all.write("SREM", &keys.marked(market), KeyType::Set, &[epoch]);
        let details = keys.details(market, *epoch);
        all.write("SET", &details, KeyType::String, &[&details_of(window), &"EX", &DETAILS_TTL]);
        all
    }
}
