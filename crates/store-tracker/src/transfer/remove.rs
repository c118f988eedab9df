//! Deletes what a tracker has written for a market: its ledger, its datasets, its state index. Keys of producers are not named here.

use store_redis::{Batch, Fault, Replies, Session, StoreError};

use crate::{
    datasets::DATASETS,
    index::Index,
    keys::{IndexKeys, LedgerPart, MarketKeys, hours_with_keys},
    operations::{REMOVE_DATASETS, RESET_LEDGER},
};

/// Deletes the ledger of a market in one transaction, of whatever types its keys are; returns the names of the parts that were there. A
/// tracker that runs makes a new one from what the producers' keys still show.
///
/// # Errors
/// [`StoreError`] when Redis fails.
pub async fn reset_ledger(
    session: &mut Session,
    keys: &MarketKeys,
    now: u64,
) -> Result<Vec<String>, StoreError> {
    let parts: Vec<(String, String)> =
        LedgerPart::all(now).map(|part| (part.name(), keys.of_part(&part))).collect();
    let mut batch = Batch::new();
    batch.transaction(|batch| {
        for (_, key) in &parts {
            batch.cmd("UNLINK", key);
        }
    });
    let answers = session.run(RESET_LEDGER, keys.market().checksummed(), batch).await?;
    let mut replies = Replies::new(RESET_LEDGER, answers);
    let mut removed = Vec::new();
    for (name, key) in parts {
        if replies.required(&key)? {
            removed.push(name);
        }
    }
    Ok(removed)
}

/// Those of these datasets to which this command answers with a 1.
async fn answered(
    session: &mut Session,
    command: &str,
    keys: &MarketKeys,
    all: Vec<String>,
) -> Result<Vec<String>, StoreError> {
    let mut batch = Batch::new();
    for key in &all {
        batch.cmd(command, key);
    }
    if batch.is_empty() {
        return Ok(all);
    }
    let answers = session.run(REMOVE_DATASETS, keys.market().checksummed(), batch).await?;
    let mut replies = Replies::new(REMOVE_DATASETS, answers);
    let mut yes = Vec::new();
    for key in all {
        if replies.required(&key)? {
            yes.push(key);
        }
    }
    Ok(yes)
}

/// Deletes the datasets of a market under every spelling of its outputs; returns the keys that were there.
///
/// # Errors
/// [`StoreError`] when Redis fails; some may be deleted then.
pub async fn remove_datasets(
    session: &mut Session,
    keys: &MarketKeys,
    now: u64,
) -> Result<Vec<String>, StoreError> {
    let mut all = Vec::new();
    for output in keys.outputs() {
        for dataset in DATASETS {
            match dataset.family.ids() {
                0 => all.push(output.dataset(dataset, None)),
                _ => all.extend(hours_with_keys(now).map(|hour| output.dataset(dataset, Some(hour)))),
            }
        }
    }
    // Only what is there is deleted: in spellings under which this configuration does not write, the tracker has no right to.
    let all = answered(session, "EXISTS", keys, all).await?;
    answered(session, "UNLINK", keys, all).await
}

/// Deletes the state index of a market, under the first spelling of its outputs, slice by slice; returns how many entities it had, and
/// the keys that could not be written. An index without a market in its names is that of all markets, and stays.
///
/// # Errors
/// [`StoreError`] when Redis fails; the rest of the index can be removed again.
pub async fn remove_index(session: &mut Session, keys: &MarketKeys) -> Result<(u64, Vec<Fault>), StoreError> {
    Index::new(IndexKeys::of_market(keys), 1).remove(session).await
}
