//! The submissions of a closed window.

use std::collections::BTreeSet;

use domain::chain::{ContractAddress, Window};

use crate::{ChainStore, keys::ChainKeys, operations};
use store_redis::{Batch, ErrorKind, Fault, Operation, Replies, Session, StoreError};

/// The most blocks of a window.
const MOST_BLOCKS: u64 = 1_000_000;
/// The most hashes that are remembered of an epoch.
const MOST_HASHES: usize = 10_000;
/// Blocks of one round trip.
const SLICE: usize = 1_000;

/// The submissions of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The keys of the submissions.
    pub submissions: BTreeSet<String>,
    /// Blocks of the window whose hash is no longer stored: the submissions at them can't be found.
    pub missing: Vec<u64>,
    /// Keys that could not be read.
    pub faults: Vec<Fault>,
    /// The hashes of the blocks at which something was submitted, of a limited number of them.
    pub submitted_at: Vec<String>,
}

impl ChainStore {
    /// The submissions at the blocks of a window: two round trips for each thousand blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer; what can't be read is reported in [`Inputs`].
    pub async fn inputs(
        &self,
        session: &mut Session,
        market: ContractAddress,
        epoch: u64,
        window: &Window,
    ) -> Result<Inputs, StoreError> {
        let operation = operations::READ_SUBMISSIONS;
        let mut inputs = Inputs::default();
        let (first, last) = (window.release_block, window.last_block());
        // No chain is that fast. Our own key is not believed either: such a window would fill the memory.
        if last < first || last - first >= MOST_BLOCKS {
            let detail = format!("the window of epoch {epoch} has the blocks {first} to {last}");
            return Err(StoreError::new(operation, self.keys.windows(&market), ErrorKind::Malformed, detail));
        }
        let numbers: Vec<u64> = (first..=last).collect();
        for numbers in numbers.chunks(SLICE) {
            let mut batch = Batch::new();
            let keys: Vec<String> = numbers.iter().map(|number| self.keys.block_hash(*number)).collect();
            // Where a reorganisation comes in between, the window opens again, which refuses the hand-over.
            keys.iter().for_each(|key| {
                batch.cmd("GET", key);
            });
            let mut replies = Replies::new(operation, session.run(operation, &keys[0], batch).await?);
            let mut hashes = Vec::new();
            for (number, key) in numbers.iter().zip(&keys) {
                match replies.take::<Option<String>>(key)?.flatten() {
                    Some(hash) => hashes.push(hash),
                    None => inputs.missing.push(*number),
                }
            }
            inputs.faults.extend(replies.into_faults());
            inputs.read(session, operation, (&market, epoch), hashes).await?;
        }
        Ok(inputs)
    }
}

impl Inputs {
    /// Reads the submissions of an epoch at the blocks with these hashes: a round trip for each thousand.
    pub(crate) async fn read(
        &mut self,
        session: &mut Session,
        operation: Operation,
        (market, epoch): (&ContractAddress, u64),
        hashes: Vec<String>,
    ) -> Result<(), StoreError> {
        for hashes in hashes.chunks(SLICE) {
            let sets: Vec<String> =
                hashes.iter().map(|hash| ChainKeys::submitted(market, epoch, hash)).collect();
            let mut batch = Batch::new();
            sets.iter().for_each(|set| {
                batch.cmd("SMEMBERS", set);
            });
            let mut replies = Replies::new(operation, session.run(operation, &sets[0], batch).await?);
            for (set, hash) in sets.iter().zip(hashes) {
                let members: Vec<Vec<u8>> = replies.take(set)?.unwrap_or_default();
                if !members.is_empty() && self.submitted_at.len() < MOST_HASHES {
                    self.submitted_at.push(hash.clone());
                }
                // A member that is not text is malformed, and reported with the other malformed ones.
                let members = members.iter().map(|member| String::from_utf8_lossy(member).into_owned());
                self.submissions.extend(members);
            }
            self.faults.extend(replies.into_faults());
        }
        Ok(())
    }
}
