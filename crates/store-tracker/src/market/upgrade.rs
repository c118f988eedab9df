//! The upgrade of a ledger that an earlier version of this program has written.
//!
//! Version 1 had no sums of hours and no times of local batches, and did not record for which batches the validators are known. The first
//! two follow from its sealed entries. The upgrade can be repeated and interrupted anywhere. Afterwards a tracker of version 1 that still
//! runs refuses the ledger, and writes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use domain::tracker::{HourSums, Sealed};

use super::MarketStore;
use crate::{keys::HOURS_KEPT, ledger::UPGRADABLE, operations};
use store_redis::{Batch, ErrorKind, Lua, Replies, Session, StoreError};

/// The last step of the upgrade.
static UPGRADE: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(concat!(include_str!("../ledger_common.lua"), include_str!("../upgrade.lua"))));

/// How many entries one round trip reads.
const PAGE: usize = 1_000;

/// How often it is tried if another tracker seals epochs meanwhile.
const ATTEMPTS: usize = 5;

impl MarketStore {
    /// Upgrades a ledger of version 1 to the present version: two round trips for each thousand sealed epochs. `false` if the ledger has
    /// another version.
    ///
    /// # Errors
    /// [`StoreError`] when Redis fails, or another tracker seals epochs during every attempt.
    pub async fn upgrade(&self, session: &mut Session, now: f64) -> Result<bool, StoreError> {
        let mut batch = Batch::new();
        batch.cmd("HGET", self.keys.meta()).arg("schema");
        let operation = operations::READ_LEDGER;
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        let schema: Option<String> = replies.required(&self.keys.meta())?;
        if schema.as_deref() != Some(UPGRADABLE) {
            return Ok(false);
        }
        for _ in 0..ATTEMPTS {
            let (entries, hours) = self.read_sealed(session, now).await?;
            let operation = operations::UPGRADE_LEDGER;
            let fill = |batch: &mut Batch| {
                let keys = [self.keys.sums(), self.keys.meta(), self.keys.hours()];
                let command = UPGRADE.run(batch, &keys.each_ref().map(String::as_str)).arg(entries);
                for (start, HourSums { epochs, batches, submissions }) in &hours {
                    for (name, count) in
                        [("epochs", epochs), ("batches", batches), ("submissions", submissions)]
                    {
                        command.arg(format!("{start}:{name}")).arg(count);
                    }
                }
            };
            let answers = session.run_scripts(operation, self.name(), fill).await?;
            if Replies::new(operation, answers).required::<bool>(&self.keys.meta())? {
                return Ok(true);
            }
        }
        let detail = format!("it changed {ATTEMPTS} times: stop the trackers of the earlier version");
        Err(StoreError::new(operations::UPGRADE_LEDGER, self.keys.meta(), ErrorKind::Foreign, detail))
    }

    /// Writes the times of all sealed epochs; returns how many there are, and their sums by hours.
    async fn read_sealed(
        &self,
        session: &mut Session,
        now: f64,
    ) -> Result<(u64, BTreeMap<u64, HourSums>), StoreError> {
        let operation = operations::UPGRADE_LEDGER;
        let oldest = (now.max(0.0) as u64).saturating_sub(HOURS_KEPT);
        let (mut hours, mut counted, mut cursor) = (BTreeMap::<u64, HourSums>::new(), BTreeSet::new(), 0_u64);
        let mut batch = Batch::new();
        batch.cmd("HGET", self.keys.sums()).arg("entries");
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        let entries: Option<u64> = replies.required(&self.keys.sums())?;
        loop {
            let mut batch = Batch::new();
            batch.cmd("HSCAN", self.keys.sealed()).arg(cursor).arg("COUNT").arg(PAGE);
            let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
            let (next, page): (u64, Vec<(String, String)>) = replies.required(&self.keys.sealed())?;
            let mut batch = Batch::new();
            for (epoch, text) in page {
                // A scan may return an entry twice. An unreadable one counts in no hour, as before.
                let Ok(entry) = Sealed::decode(&text).map(|sealed| sealed.counted) else { continue };
                if !counted.insert(epoch.clone()) {
                    continue;
                }
                for (start, more) in entry.hours().into_iter().filter(|&(start, _)| start >= oldest) {
                    let sums = hours.entry(start).or_default();
                    *sums = sums.plus(more);
                }
                // Version 1 does not record for which batches the validators are known, and counted all of them as known.
                for (key, at) in [(self.keys.local(), entry.local), (self.keys.listed(), entry.aggregated)] {
                    if let Some(at) = at.at() {
                        batch.cmd("ZADD", key).arg(at).arg(&epoch);
                    }
                }
            }
            if !batch.is_empty() {
                for answer in session.run(operation, self.name(), batch).await? {
                    answer.map_err(|error| StoreError::redis(operation, self.name(), &error))?;
                }
            }
            if next == 0 {
                return Ok((entries.unwrap_or(0), hours));
            }
            cursor = next;
        }
    }
}
