//! The pruning of `epochs:active`, from which producers never remove an id.
//!
//! It reads the set and the ledger, and removes only ids that the ledger has sealed. What it promises: no id of an unsealed epoch is
//! removed, and no total changes.

use std::sync::LazyLock;

use domain::{EpochId, tracker::Sealed};
use store_redis::{Batch, Lua, Replies, Session, StoreError};

use crate::{keys::MarketKeys, operations};

/// Removes the given ids if they are still sealed.
static PRUNE_ACTIVE: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(concat!(include_str!("../ledger_common.lua"), include_str!("active.lua"))));

/// A member that may be removed.
struct Old {
    member: String,
    epoch: EpochId,
    /// Its sealed entry as it was read; `None` for one that was forgotten.
    entry: Option<String>,
}

/// Removes from a slice of this set the ids that are sealed and whose last known time is before `before`. Returns the cursor of the
/// next slice, 0 at the end, and how many ids were removed.
///
/// # Errors
/// [`StoreError`] when the set or the ledger can't be read or written.
pub async fn prune_active(
    session: &mut Session,
    keys: &MarketKeys,
    set: &str,
    cursor: u64,
    before: u64,
    slice: usize,
) -> Result<(u64, u64), StoreError> {
    let operation = operations::PRUNE_ACTIVE_EPOCHS;
    let mut batch = Batch::new();
    batch.cmd("SSCAN", set).arg(cursor).arg("COUNT").arg(slice);
    batch.cmd("HGET", keys.meta()).arg("floor");
    let mut replies = Replies::new(operation, session.run(operation, set, batch).await?);
    let (cursor, members): (u64, Vec<Vec<u8>>) = replies.required(set)?;
    let floor: Option<String> = replies.required(&keys.meta())?;
    let floor = floor.and_then(|floor| EpochId::parse(&floor).ok());
    // A member that is no id stays: passes report it.
    let read = |member: Vec<u8>| {
        let member = String::from_utf8(member).ok()?;
        Some((EpochId::parse(&member).ok()?, member))
    };
    let ids: Vec<(EpochId, String)> = members.into_iter().filter_map(read).collect();
    let mut removed = 0;
    // The server returns a small set as a whole, whatever the slice is.
    for ids in ids.chunks(slice.max(1)) {
        let old = find_old(session, keys, ids, floor.as_ref(), before).await?;
        removed += remove(session, keys, set, &old).await?;
    }
    Ok((cursor, removed))
}

/// Which of these ids are sealed and old.
async fn find_old(
    session: &mut Session,
    keys: &MarketKeys,
    ids: &[(EpochId, String)],
    floor: Option<&EpochId>,
    before: u64,
) -> Result<Vec<Old>, StoreError> {
    let operation = operations::PRUNE_ACTIVE_EPOCHS;
    let names: Vec<&str> = ids.iter().map(|(epoch, _)| epoch.as_str()).collect();
    let mut batch = Batch::new();
    batch.cmd("HMGET", keys.sealed()).arg(&names);
    batch.cmd("HMGET", keys.open()).arg(&names);
    let mut replies = Replies::new(operation, session.run(operation, &keys.sealed(), batch).await?);
    let sealed: Vec<Option<String>> = replies.required(&keys.sealed())?;
    let open: Vec<Option<String>> = replies.required(&keys.open())?;
    let mut old = Vec::new();
    for ((id, entry), open) in ids.iter().zip(sealed).zip(open) {
        let (epoch, member) = id;
        let is_below = floor.is_some_and(|floor| epoch <= floor);
        let is_old = match entry.as_deref().map(Sealed::decode) {
            // Its entry was forgotten, which happens later than this pruning: its retention is at most that of entries.
            None => is_below && open.is_none(),
            // An id without a time proves nothing of its age, unless newer ones were forgotten.
            Some(Ok(sealed)) => sealed.known().last_time().map_or(is_below, |at| at < before),
            Some(Err(_)) => false,
        };
        if is_old {
            old.push(Old { member: member.clone(), epoch: epoch.clone(), entry });
        }
    }
    Ok(old)
}

async fn remove(session: &mut Session, keys: &MarketKeys, set: &str, old: &[Old]) -> Result<u64, StoreError> {
    let operation = operations::PRUNE_ACTIVE_EPOCHS;
    if old.is_empty() {
        return Ok(0);
    }
    if session.spans_servers() {
        return remove_from_another_node(session, keys, set, old).await;
    }
    let [sealed, open, meta] = [keys.sealed(), keys.open(), keys.meta()];
    let fill = |batch: &mut Batch| {
        let command = PRUNE_ACTIVE.run(batch, &[set, &sealed, &open, &meta]);
        for Old { member, epoch, entry } in old {
            command.arg(member).arg(epoch.as_str()).arg(entry.as_deref().unwrap_or_default());
        }
    };
    Replies::new(operation, session.run_scripts(operation, set, fill).await?).required(set)
}

/// The same on a cluster: set and ledger lie on different nodes, so no script can see both.
///
/// Whether the ids are sealed is not checked a second time. They were sealed when they were read, and only a reset or a loss of the ledger
/// changes that: then the result is the same as if they had been removed just before the reset. If a producer adds one of them again
/// meanwhile, it adds a sealed epoch, which changes no total.
///
/// The number of known members can't be lowered in the same step either. If it were too high, the next pass would miss as many new ids.
/// So it is deleted, and the next pass reads the set. It is deleted before the removal, since this run may end in between, and again
/// after it, since a pass in between records the former number.
async fn remove_from_another_node(
    session: &mut Session,
    keys: &MarketKeys,
    set: &str,
    old: &[Old],
) -> Result<u64, StoreError> {
    let members: Vec<&str> = old.iter().map(|old| old.member.as_str()).collect();
    forget_known(session, keys).await?;
    let (operation, mut batch) = (operations::PRUNE_ACTIVE_EPOCHS, Batch::new());
    batch.cmd("SREM", set).arg(members);
    let removed = Replies::new(operation, session.run(operation, set, batch).await?).required(set)?;
    forget_known(session, keys).await?;
    Ok(removed)
}

/// Forgets how many members the set had at the last pass that knew them all.
async fn forget_known(session: &mut Session, keys: &MarketKeys) -> Result<(), StoreError> {
    let (operation, meta, mut batch) = (operations::PRUNE_ACTIVE_EPOCHS, keys.meta(), Batch::new());
    batch.cmd("HDEL", &meta).arg("active_known");
    let answers = session.run(operation, &meta, batch).await?;
    Replies::new(operation, answers).required::<u64>(&meta).map(drop)
}
