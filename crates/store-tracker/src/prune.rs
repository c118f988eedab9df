//! Retention: what is removed from a market's keys, in slices so small that no other client has to wait.

mod active;
mod validators;

use std::sync::LazyLock;

use domain::{EpochId, tracker::Sealed};

use crate::{keys::MarketKeys, operations};
use store_redis::{Age, Batch, Family, Lua, Removal, Replies, Retention as Kept, Session, StoreError};

pub use active::prune_active;
pub use validators::{old_validators, prunable_validators};

/// Removes the oldest members of a zset.
static PRUNE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("prune.lua")));
/// Forgets sealed entries, each once.
static FORGET: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(concat!(include_str!("ledger_common.lua"), include_str!("forget.lua"))));

/// What is to be kept of the producers' timelines, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Of the timelines of epochs, batches, submissions, validations and validators.
    pub timelines: u64,
    /// Of the timelines of priorities.
    pub priorities: u64,
    /// Of the ledger's sealed entries.
    pub sealed: u64,
    /// Of sealed epochs in `epochs:active`, at most as long as `sealed`; `None` keeps them.
    pub active: Option<u64>,
}

/// A zset and the score below which its members are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prunable {
    /// The key.
    pub key: String,
    /// In Unix seconds.
    pub before: u64,
}

impl Retention {
    /// The age that is kept, in seconds; `None` for what is pruned elsewhere.
    fn of(&self, kept: Kept) -> Option<u64> {
        match kept {
            Kept::Timelines => Some(self.timelines),
            Kept::Priorities => Some(self.priorities),
            Kept::Ledger => Some(self.sealed),
            Kept::Active | Kept::Index | Kept::Undo => None,
        }
    }

    /// The sets of active epochs that are pruned, under every spelling; none in a shadow, or without a retention. Sealed epochs whose
    /// last known time is before `before` are removed.
    #[must_use]
    pub fn of_active(&self, keys: &MarketKeys, now: u64) -> Vec<Prunable> {
        let Some(kept) = self.active.filter(|_| !keys.is_shadow()) else { return Vec::new() };
        let before = now.saturating_sub(kept);
        keys.inputs().map(|input| Prunable { key: input.active(), before }).collect()
    }

    /// The zsets of a market that are pruned at `now` (Unix seconds), by the table of key families; of a shadow only the keys of
    /// its ledger. Among the timelines of validators it has that of this one; [`prunable_validators`] finds the others.
    #[must_use]
    pub fn of_market(&self, keys: &MarketKeys, validator: &str, now: u64) -> Vec<Prunable> {
        let inputs = keys.pruned_inputs(validator).filter(|_| !keys.is_shadow());
        let pruned = inputs.chain(keys.pruned_of_ledger());
        let prunable = |(family, key): (&Family, String)| {
            let Removal::Pruned(age) = family.removal else { return None };
            let kept = match age {
                Age::Seconds(seconds) => seconds,
                // A test says that the retention of every family that is pruned here is known here.
                Age::Configured(kept) => self.of(kept)?,
                Age::Epochs(_) => return None,
            };
            Some(Prunable { key, before: now.saturating_sub(kept) })
        };
        pruned.filter_map(prunable).collect()
    }
}

/// Removes one slice; returns the number of removed members, 0 when none is left to remove.
///
/// # Errors
/// [`StoreError`] when the key can't be pruned.
pub async fn prune(session: &mut Session, prunable: &Prunable, slice: usize) -> Result<u64, StoreError> {
    let (operation, key) = (operations::PRUNE_TIMELINE, prunable.key.as_str());
    let fill = |batch: &mut Batch| {
        PRUNE.run(batch, &[key]).arg(prunable.before).arg(slice);
    };
    Replies::new(operation, session.run_scripts(operation, key, fill).await?).required(key)
}

/// Forgets those of a slice of the ledger's sealed entries that are older than `before` (Unix seconds). Returns the cursor of the next
/// slice, 0 at the end, and how many were forgotten. The highest forgotten id with a time becomes the ledger's floor: ids up to it are
/// known to be sealed.
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
    let (cursor, page): (u64, Vec<(String, String)>) = replies.required(&key)?;
    let floor: Option<String> = replies.required(&keys.meta())?;
    let floor = floor.and_then(|floor| EpochId::parse(&floor).ok());
    let (mut old, mut timeless) = (Vec::new(), Vec::new());
    for (epoch, entry) in page {
        let (Ok(epoch), Ok(entry)) = (EpochId::parse(&epoch), Sealed::decode(&entry)) else { continue };
        match entry.known().last_time() {
            Some(at) if at < before => old.push(epoch),
            Some(_) => {}
            None => timeless.push(epoch),
        }
    }
    // Ids grow with time, so those below one that is old are old. An id without a time proves nothing of others: it is forgotten
    // only when it is not above the floor, since it may be a producer's mistake.
    let floor = old.iter().max().cloned().max(floor);
    old.extend(timeless.into_iter().filter(|epoch| floor.as_ref().is_some_and(|floor| epoch <= floor)));
    if old.is_empty() {
        return Ok((cursor, 0));
    }
    let floor = floor.as_ref().map_or("", EpochId::as_str);
    let names: Vec<&str> = old.iter().map(EpochId::as_str).collect();
    let fill = |batch: &mut Batch| {
        FORGET.run(batch, &[&key, &keys.sums(), &keys.meta()]).arg(floor).arg(&names);
    };
    let answers = session.run_scripts(operation, &key, fill).await?;
    Ok((cursor, Replies::new(operation, answers).required(&key)?))
}

#[cfg(test)]
mod tests {
    use domain::Address;

    use super::*;
    use crate::families::key_families;

    const RETENTION: Retention = Retention { timelines: 10, priorities: 20, sealed: 30, active: Some(25) };

    #[test]
    fn every_retention_that_a_family_is_pruned_by_is_known() {
        let families = key_families().into_iter().flat_map(|table| table.rows);
        let ages = families.filter_map(|family| match family.removal {
            Removal::Pruned(age) => Some(age),
            _ => None,
        });
        for age in ages {
            assert!(
                matches!(age, Age::Seconds(_))
                    || matches!(age, Age::Configured(kept) if RETENTION.of(kept).is_some())
            );
        }
    }

    #[test]
    fn every_timeline_of_a_market_is_pruned_by_its_setting_and_of_a_shadow_only_its_own() {
        let keys = MarketKeys::new(&Address::new("P"), &Address::new("M"));
        let keys = keys.with_priority(&Address::new("Q"), &Address::new("N"));
        let pruned = |keys: &MarketKeys| -> Vec<(String, u64)> {
            let all = RETENTION.of_market(keys, "v:1", 200_000).into_iter();
            all.map(|prunable| (prunable.key, 200_000 - prunable.before)).collect()
        };
        let timelines =
            ["epochs:timeline", "batches:timeline", "submissions:timeline", "validations:timeline"];
        let timelines = timelines.into_iter().chain(["parts:timeline", "validator:v:1:batches"]);
        let timelines = timelines.map(|name| (format!("P:M:metrics:{name}"), 10));
        let priorities = ["Q:N", "P:M"].into_iter().flat_map(|space| {
            ["priority", "submission"].map(|name| (format!("{space}:vpa:{name}:timeline"), 20))
        });
        let own = ["opened", "ended", "local", "aggregated", "listed", "included"];
        let age = |name| if name == "ended" { 3_600 } else { 108_000 };
        let own: Vec<(String, u64)> = own.map(|name| (format!("{{P:M}}:tracker:{name}"), age(name))).to_vec();
        let expected: Vec<_> = timelines.chain(priorities).chain(own.clone()).collect();
        assert_eq!(pruned(&keys), expected);
        let output = crate::Output { prefix: "s".to_owned(), ..crate::Output::default() };
        let own: Vec<_> = own.into_iter().map(|(key, age)| (format!("s:{key}"), age)).collect();
        // The actor recognises those that name validators in the whole list.
        let (all, batches) =
            (RETENTION.of_market(&keys, "v:1", 200_000), RETENTION.of_batches(&keys, 200_000));
        assert!(batches.len() == 1 && all.contains(&batches[0]), "{batches:?}");
        let shadow = keys.with_output(&output);
        assert_eq!((pruned(&shadow), RETENTION.of_active(&shadow, 200_000)), (own, Vec::new()));
        assert_eq!(RETENTION.of_batches(&shadow, 200_000), Vec::new());
    }

    #[test]
    fn active_epochs_are_pruned_by_their_setting_alone_and_under_every_spelling() {
        let keys = MarketKeys::new(&Address::new(&format!("0x{}", "ab".repeat(20))), &Address::new("M"));
        let sets = RETENTION.of_active(&keys, 100);
        assert!(sets.len() == 2 && sets.iter().all(|set| set.before == 75), "{sets:?}");
        assert_eq!(Retention { active: None, ..RETENTION }.of_active(&keys, 100), Vec::new());
    }
}
