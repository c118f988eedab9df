//! Retention: what is removed from a market's keys, in slices so small that no other client has to wait.

use domain::{
    EpochId,
    tracker::{HOUR, Sealed},
};

use crate::{keys::MarketKeys, operations};
use store_redis::{Batch, Replies, Session, StoreError};

const SOURCE: &str = include_str!("prune.lua");
/// Forgets sealed entries, each once.
const FORGET: &str = include_str!("forget.lua");

/// How long the tracker keeps the times of sealed epochs, in seconds: the statistics look back 27 hours.
const TIMES_KEPT: u64 = 30 * HOUR;

/// What is to be kept of the producers' timelines, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Of the timelines of epochs, batches, submissions, validations and validators.
    pub timelines: u64,
    /// Of the timelines of priorities.
    pub priorities: u64,
    /// Of the ledger's sealed entries.
    pub sealed: u64,
}

/// A zset and the score below which its members go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prunable {
    /// The key.
    pub key: String,
    /// In Unix seconds.
    pub before: u64,
}

impl Retention {
    /// Everything of a market that is pruned, at `now` in Unix seconds: of a shadow only what is its own.
    #[must_use]
    pub fn of_market(&self, keys: &MarketKeys, validator: &str, now: u64) -> Vec<Prunable> {
        let mut all = Vec::new();
        let mut add = |key: String, kept: u64| all.push(Prunable { key, before: now.saturating_sub(kept) });
        if !keys.is_shadow() {
            for input in keys.inputs() {
                for key in input.timelines(validator) {
                    add(key, self.timelines);
                }
            }
            for space in keys.priorities() {
                add(space.vpa_assignments(), self.priorities);
                add(space.vpa_submissions(), self.priorities);
            }
        }
        for key in [keys.opened(), keys.aggregated(), keys.included()] {
            add(key, TIMES_KEPT);
        }
        all
    }
}

/// Removes one slice; how many members that were. 0 means that nothing is left to remove.
///
/// # Errors
/// [`StoreError`] when the key can't be pruned.
pub async fn prune(session: &mut Session, prunable: &Prunable, slice: usize) -> Result<u64, StoreError> {
    let (operation, key) = (operations::PRUNE_TIMELINE, prunable.key.as_str());
    let mut batch = Batch::new();
    batch.script("EVAL", SOURCE, &[key]).arg(prunable.before).arg(slice);
    Replies::new(operation, session.run(operation, key, batch).await?).own(key)
}

/// Forgets a slice of the ledger's sealed entries that are older than `before`; the cursor to go on with, 0
/// at the end, and how many were forgotten. The highest forgotten id becomes the ledger's floor: ids up to
/// it are known to have been sealed.
///
/// # Errors
/// [`StoreError`] when the ledger can't be read or written.
pub async fn forget_sealed(
    session: &mut Session,
    keys: &MarketKeys,
    cursor: u64,
    before: u64,
    slice: usize,
) -> Result<(u64, u64), StoreError> {
    let (operation, key) = (operations::FORGET_SEALED_EPOCHS, keys.sealed());
    let mut batch = Batch::new();
    batch.cmd("HSCAN", &key).arg(cursor).arg("COUNT").arg(slice);
    batch.cmd("HGET", keys.meta()).arg("floor");
    let mut replies = Replies::new(operation, session.run(operation, &key, batch).await?);
    let (cursor, page): (u64, Vec<(String, String)>) = replies.own(&key)?;
    let floor: Option<String> = replies.own(&keys.meta())?;
    let is_old = |sealed: &Sealed| sealed.known().last_sign() < before;
    let old: Vec<EpochId> = page
        .iter()
        .filter(|(_, entry)| Sealed::decode(entry).as_ref().is_ok_and(is_old))
        .filter_map(|(epoch, _)| EpochId::parse(epoch).ok())
        .collect();
    if old.is_empty() {
        return Ok((cursor, 0));
    }
    let floor = floor.and_then(|floor| EpochId::parse(&floor).ok());
    let floor = old.iter().chain(&floor).max().map_or("", EpochId::as_str);
    let mut batch = Batch::new();
    let forget = batch.script("EVAL", FORGET, &[&key, &keys.sums(), &keys.meta()]);
    forget.arg(floor).arg(old.iter().map(EpochId::as_str).collect::<Vec<_>>());
    let forgotten = Replies::new(operation, session.run(operation, &key, batch).await?).own(&key)?;
    Ok((cursor, forgotten))
}
