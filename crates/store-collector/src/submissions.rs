//! What was submitted for an epoch whose window is closed, and the one hand-over of its batches.

use std::collections::BTreeSet;

use domain::{
    chain::{ContractAddress, EpochSet, Window, WindowState},
    collector::Arrangement,
};
use serde_json::json;

use crate::{
    ChainStore,
    compare_and_set::{Guarded, Outcome},
    keys::ChainKeys,
    values::{DETAILS_TTL, details_of, parse},
    windows::take_windows,
};
use store_redis::{Batch, Fault, KeyType, Replies, Session, StoreError};

/// How long the number of an epoch's batches is kept, in seconds.
const COUNT_TTL: u64 = 24 * 60 * 60;
/// How long a batch can be asked for, in seconds.
const BATCH_TTL: u64 = 5 * 60;
/// How many blocks are asked for at once.
const SLICE: usize = 1_000;

/// A window whose batches are to be prepared, as it was read.
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

/// What was submitted for an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The keys of the submissions.
    pub submissions: BTreeSet<String>,
    /// Blocks of the window whose hash is not known any more: what was submitted at them can't be found.
    pub missing: Vec<u64>,
    /// Keys that could not be read.
    pub faults: Vec<Fault>,
    /// On which blocks all this stands.
    pub basis: Basis,
}

/// The hash of a window's last block as it was read first of all, `None` inside where it was not known: as long as it is the
/// same, so are those of the blocks before it. Without one (it could not be read) nothing is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis(Option<Option<String>>);

impl ChainStore {
    /// The closed windows of a market, in the order of their release: one round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, when something of ours can't be read, or when it is of another
    /// chain or contract.
    pub async fn closed(
        &self,
        session: &mut Session,
        market: ContractAddress,
    ) -> Result<Vec<ClosedWindow>, StoreError> {
        let operation = "look for closed windows";
        let (windows, key) = (self.keys.windows(&market), self.keys.market(&market));
        let identity = self.keys.identity();
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.cmd("GET", &identity);
            batch.cmd("HGETALL", &windows);
            batch.cmd("HGET", &key).arg("done");
        });
        let mut replies = Replies::new(operation, session.run(operation, &windows, batch).await?);
        self.check_identity(operation, replies.own::<Option<String>>(&identity)?.as_deref())?;
        let all = take_windows(&mut replies, &windows)?;
        let done_text: Option<String> = replies.own(&key)?;
        let done = parse(&key, done_text.as_deref())?.unwrap_or_default();
        let mut closed = Vec::new();
        for (epoch, (window, text)) in all {
            if matches!(window.state, WindowState::Closed { .. }) {
                let (done, done_text) = (EpochSet::clone(&done), done_text.clone());
                closed.push(ClosedWindow { market, epoch, window, text, done, done_text });
            }
        }
        closed.sort_unstable_by_key(|closed| (closed.window.release_block, closed.epoch));
        Ok(closed)
    }

    /// What was submitted within a window: two round trips for each thousand blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer; what can't be read is reported in [`Inputs`].
    pub async fn inputs(&self, session: &mut Session, closed: &ClosedWindow) -> Result<Inputs, StoreError> {
        let operation = "read submissions";
        let mut inputs = Inputs::default();
        let numbers: Vec<u64> = (closed.window.release_block..=closed.window.last_block()).collect();
        // The last ones first: what a reorganisation changes meanwhile, it changes behind the basis.
        for (at, numbers) in numbers.rchunks(SLICE).enumerate() {
            let mut batch = Batch::new();
            let keys: Vec<String> = numbers.iter().map(|number| self.keys.block_hash(*number)).collect();
            // At one moment: the last of them tells whether all of them still stand.
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
                // What is no text is no submission either: it is set aside with the others.
                let members = members.iter().map(|member| String::from_utf8_lossy(member).into_owned());
                inputs.submissions.extend(members);
            }
            inputs.faults.extend(replies.into_faults());
        }
        inputs.missing.sort_unstable();
        Ok(inputs)
    }

    /// Hands the batches of an epoch to the finalizers, counts its submissions, and ends it: all of that, or nothing, once,
    /// and only while the blocks of their basis stand and nobody else has counted its batches. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known whether it was done, or when a key holds another type than it should: then
    /// nothing was.
    pub async fn hand_over(
        &self,
        session: &mut Session,
        closed: &ClosedWindow,
        basis: &Basis,
        arrangement: &Arrangement,
    ) -> Result<Outcome, StoreError> {
        let (keys, ClosedWindow { market, epoch, window, .. }) = (&self.keys, closed);
        let mut all = self.ending(closed);
        // The window alone does not tell: another block of the same number may have closed it once more.
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
        all.expect(&count, None);
        all.write("SET", &count, KeyType::String, &[&many, &"EX", &COUNT_TTL]);
        for (slot, many) in window.day.into_iter().flat_map(|day| {
            arrangement.slots.iter().map(move |(slot, many)| (keys.slot(market, day, *slot), many))
        }) {
            all.write("INCRBY", &slot, KeyType::String, &[many]);
        }
        all.run(session, "hand over batches", &keys.windows(market)).await
    }

    /// Whether nothing was handed over because another program has handed this epoch over already, such as the one that did
    /// this before us.
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
        all.run(session, "end an epoch without batches", &self.keys.windows(&closed.market)).await
    }

    /// What ends an epoch in any case, and what must stand for that.
    fn ending(&self, closed: &ClosedWindow) -> Guarded {
        let (keys, ClosedWindow { market, epoch, window, text, .. }) = (&self.keys, closed);
        let (windows, of_market) = (keys.windows(market), keys.market(market));
        let mut done = closed.done.clone();
        done.insert(*epoch);
        let mut all = Guarded::default();
        all.expect(&keys.identity(), Some(&self.identity));
        all.expect_field(&windows, &epoch.to_string(), Some(text));
        all.expect_field(&of_market, "done", closed.done_text.as_deref());
        all.write("HDEL", &windows, KeyType::Hash, &[epoch]);
        all.write("HSET", &of_market, KeyType::Hash, &[&"done", &done.to_string()]);
        all.write("SREM", &keys.marked(market), KeyType::Set, &[epoch]);
        let details = keys.details(market, *epoch);
        all.write("SET", &details, KeyType::String, &[&details_of(window), &"EX", &DETAILS_TTL]);
        all
    }
}
