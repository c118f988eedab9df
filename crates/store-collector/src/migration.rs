//! The migration of a market: copies what the finalizers and the collector have counted for an old market to the one that replaces it.
//!
//! It only adds: a key that the new market has stays as it is, and sets are joined. So it can be repeated, be cut off anywhere, and run
//! beside trackers. Nothing of the old market is changed. Copied are, for the last days of the old market:
//!
//! | key | how |
//! |---|---|
//! | `SlotSubmissionsKey`, `EligibleSlotSubmissionsKey` of slots 1 to `TotalNodesCount` | where the new market has none |
//! | `EligibleNodeByDayKey` | joined |
//! | `CurrentDayKey` with its TTL, `LastKnownDayKey` | where the new market has none |
//! | `DayRolloverEpochMarkerSetKey` with `DayRolloverEpochMarkerDetailsKey` | changes of day that the new market does not have, with the counters
//! of their days, unless a tracker follows the new market already: it would not read them |
//!
//! Not copied: windows and batches, since epochs are released for each market by itself; values of contracts, since the new market has
//! its own; the outbox, since a call names its market.

use std::collections::BTreeSet;

use domain::chain::ContractAddress;
use serde::Serialize;
use store_redis::{Batch, ErrorKind, Fault, Replies, Session, StoreError};

use crate::{
    days::rollover_of,
    keys::{ChainKeys, ELIGIBLE_NODES, ELIGIBLE_SLOT, ROLLOVER_DETAILS, SLOT},
    operations::MIGRATE_MARKET,
    rewards::{MOST_SLOTS, SLICE, node_count_of},
};

/// The most members of a set that are copied.
const MOST_MEMBERS: usize = 100_000;

/// A market that replaces another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The old market.
    pub from: ContractAddress,
    /// The new one.
    pub to: ContractAddress,
    /// How many days are copied: the present one of the old market, and those before.
    pub days: u64,
}

/// What was copied of one kind of key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopiedKeys {
    /// Its name, up to the market.
    pub key: &'static str,
    /// The day, where it is of one.
    pub day: Option<u64>,
    /// How many the old market has.
    pub found: u64,
    /// How many were copied, or would be.
    pub copied: u64,
    /// How many the new market has with another value: they stay.
    pub kept: u64,
}

/// What a migration did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The day of the old market; `None` if it has none, and then nothing was copied.
    pub today: Option<u64>,
    /// What was copied.
    pub keys: Vec<CopiedKeys>,
    /// Keys that could not be read or written.
    pub faults: Vec<Fault>,
}

/// Copies what is counted of the old market. A dry run copies nothing, and says what would be. Two round trips for each thousand slots
/// of a day and kind, and some more.
///
/// # Errors
/// [`StoreError`] when the server does not answer: what was copied by then stays, and a repetition copies the rest.
pub async fn migrate(
    session: &mut Session,
    keys: &ChainKeys,
    migration: &Migration,
    is_dry_run: bool,
) -> Result<Migrated, StoreError> {
    let Migration { from, to, days } = migration;
    let mut all = Copying { session, keys, is_dry_run, done: Migrated::default() };
    let (last, current) = (keys.last_known_day(from), keys.current_day(from));
    let there = all.texts(&[last.clone(), current.clone()]).await?;
    all.done.today = there.into_iter().flatten().find_map(|day| day.parse().ok());
    let Some(today) = all.done.today else { return Ok(all.done) };
    let nodes = all.texts(&[keys.nodes()]).await?.pop().flatten();
    let Some(nodes) = nodes.and_then(|nodes| node_count_of(nodes.as_bytes())).filter(|nodes| *nodes > 0)
    else {
        // Nothing else is copied either: with the day the new market would seem to have been migrated.
        let detail = "it has no number of nodes, so the slots are not known, and nothing is copied";
        all.done.faults.push(Fault::new(keys.nodes(), ErrorKind::Malformed, detail));
        return Ok(all.done);
    };
    let nodes = nodes.min(MOST_SLOTS);
    let changes = all.changes(from, to).await?;
    let mut wanted: BTreeSet<u64> = (today.saturating_sub(days.saturating_sub(1)).max(1)..=today).collect();
    // The rewards of these days are not told yet, and need what was counted in them.
    wanted.extend(changes.iter().filter_map(|(_, text)| rollover_of(text)).map(|rollover| rollover.last_day));
    for day in wanted {
        let sets = [from, to].map(|market| ChainKeys::eligible_nodes(market, day));
        all.join(ELIGIBLE_NODES.name, day, sets).await?;
        let eligible = |market, slot| ChainKeys::eligible_slot(market, day, slot);
        all.counters(ELIGIBLE_SLOT.name, day, nodes, |slot| [eligible(from, slot), eligible(to, slot)])
            .await?;
        let slot_of = |market, slot| keys.slot(market, day, slot);
        all.counters(SLOT.name, day, nodes, |slot| [slot_of(from, slot), slot_of(to, slot)]).await?;
    }
    all.rollovers(to, changes).await?;
    // Last: with it the new market is known to go on from here.
    all.day(crate::keys::CURRENT_DAY.name, [current, keys.current_day(to)]).await?;
    all.day(crate::keys::LAST_KNOWN_DAY.name, [last, keys.last_known_day(to)]).await?;
    Ok(all.done)
}

/// A migration under way.
struct Copying<'a> {
    session: &'a mut Session,
    keys: &'a ChainKeys,
    is_dry_run: bool,
    done: Migrated,
}

impl Copying<'_> {
    /// The values of keys; `None` where there is none, or no text.
    async fn texts(&mut self, keys: &[String]) -> Result<Vec<Option<String>>, StoreError> {
        let Some(route) = keys.first() else { return Ok(Vec::new()) };
        let mut batch = Batch::new();
        let command = batch.cmd("MGET", route);
        keys.iter().skip(1).for_each(|key| {
            command.arg(key);
        });
        let answers = self.session.run(MIGRATE_MARKET, route, batch).await?;
        let found: Vec<Option<Vec<u8>>> = Replies::new(MIGRATE_MARKET, answers).required(route)?;
        Ok(found.into_iter().map(|text| String::from_utf8(text?).ok()).collect())
    }

    /// Copies texts to keys that are not there, each with a TTL in milliseconds if it has one. Returns how many were, or would be.
    async fn add(&mut self, texts: &[(String, String, Option<u64>)]) -> Result<u64, StoreError> {
        let Some((route, ..)) = texts.first() else { return Ok(0) };
        if self.is_dry_run {
            return Ok(texts.len() as u64);
        }
        let mut batch = Batch::new();
        for (key, text, lives) in texts {
            // Compared and set by Redis: what another program writes meanwhile, such as a tracker of the new market, stays.
            let command = batch.cmd("SET", key).arg(text).arg("NX");
            if let Some(millis) = lives {
                command.arg("PX").arg(*millis);
            }
        }
        let answers = self.session.run(MIGRATE_MARKET, route, batch).await?;
        let mut replies = Replies::new(MIGRATE_MARKET, answers);
        let mut added = 0;
        for (key, ..) in texts {
            added += u64::from(replies.take::<Option<String>>(key)?.flatten().is_some());
        }
        self.done.faults.extend(replies.into_faults());
        Ok(added)
    }

    /// Copies the counters of a day.
    async fn counters(
        &mut self,
        name: &'static str,
        day: u64,
        nodes: u64,
        keys_of: impl Fn(u64) -> [String; 2],
    ) -> Result<(), StoreError> {
        let mut row = CopiedKeys { key: name, day: Some(day), ..CopiedKeys::default() };
        let slots: Vec<u64> = (1..=nodes).collect();
        for slots in slots.chunks(SLICE as usize) {
            let (old, new): (Vec<_>, Vec<_>) =
                slots.iter().map(|slot| keys_of(*slot)).map(|[a, b]| (a, b)).unzip();
            let (olds, news) = (self.texts(&old).await?, self.texts(&new).await?);
            let mut wanted = Vec::new();
            for ((old, new), (text, there)) in old.iter().zip(new).zip(olds.into_iter().zip(news)) {
                let Some(text) = text else { continue };
                row.found += 1;
                if text.parse::<u64>().is_err() {
                    self.done.faults.push(Fault::new(old, ErrorKind::Malformed, "it is no number"));
                    continue;
                }
                match there {
                    None => wanted.push((new, text, None)),
                    Some(there) => row.kept += u64::from(there != text),
                }
            }
            let copied = self.add(&wanted).await?;
            // What is of another type, or came meanwhile, stays.
            row.kept += wanted.len() as u64 - copied;
            row.copied += copied;
        }
        self.done.keys.push(row);
        Ok(())
    }

    /// Adds the members of the old set to the new one.
    async fn join(
        &mut self,
        name: &'static str,
        day: u64,
        [old, new]: [String; 2],
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.cmd("SMEMBERS", &old);
        batch.cmd("SMEMBERS", &new);
        let answers = self.session.run(MIGRATE_MARKET, &old, batch).await?;
        let mut replies = Replies::new(MIGRATE_MARKET, answers);
        let mut members: Vec<Vec<u8>> = replies.take(&old)?.unwrap_or_default();
        let there: Vec<Vec<u8>> = replies.take(&new)?.unwrap_or_default();
        self.done.faults.extend(replies.into_faults());
        let found = members.len() as u64;
        if members.len() > MOST_MEMBERS {
            let detail = format!("it has {found} members, of which {MOST_MEMBERS} are copied");
            self.done.faults.push(Fault::new(&old, ErrorKind::TooLarge, detail));
            members.truncate(MOST_MEMBERS);
        }
        let there: BTreeSet<_> = there.into_iter().collect();
        members.retain(|member| !there.contains(member));
        let mut row = CopiedKeys { key: name, day: Some(day), found, ..CopiedKeys::default() };
        for members in members.chunks(SLICE as usize) {
            if self.is_dry_run {
                row.copied += members.len() as u64;
                continue;
            }
            let mut batch = Batch::new();
            batch.cmd("SADD", &new).arg(members);
            let answers = self.session.run(MIGRATE_MARKET, &new, batch).await?;
            let mut replies = Replies::new(MIGRATE_MARKET, answers);
            row.copied += replies.take::<u64>(&new)?.unwrap_or(0);
            self.done.faults.extend(replies.into_faults());
        }
        self.done.keys.push(row);
        Ok(())
    }

    /// The changes of day of the old market whose rewards are not due, each with its details; none where a tracker follows the new market.
    async fn changes(
        &mut self,
        from: &ContractAddress,
        to: &ContractAddress,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let (old, followed) = (self.keys.rolled_over(from), self.keys.market(to));
        let mut batch = Batch::new();
        batch.cmd("SMEMBERS", &old);
        batch.cmd("EXISTS", &followed);
        let answers = self.session.run(MIGRATE_MARKET, &old, batch).await?;
        let mut replies = Replies::new(MIGRATE_MARKET, answers);
        let members: Vec<Vec<u8>> = replies.take(&old)?.unwrap_or_default();
        let is_followed = replies.take::<bool>(&followed)?.unwrap_or_default();
        self.done.faults.extend(replies.into_faults());
        let text = |member: Vec<u8>| String::from_utf8(member).ok()?.parse::<u64>().ok();
        let epochs: Vec<u64> = members.into_iter().filter_map(text).take(SLICE as usize).collect();
        if is_followed && !epochs.is_empty() {
            let detail = format!(
                "{} changes of day are not copied, since the new market is followed already and would not read them",
                epochs.len()
            );
            self.done.faults.push(Fault::new(&old, ErrorKind::Refused, detail));
            return Ok(Vec::new());
        }
        let details: Vec<String> =
            epochs.iter().map(|epoch| self.keys.rollover_details(from, *epoch)).collect();
        let texts = self.texts(&details).await?;
        Ok(epochs.into_iter().zip(texts).filter_map(|(epoch, text)| Some((epoch, text?))).collect())
    }

    /// Copies changes of day: the details first, since a marker without them can't be read.
    async fn rollovers(
        &mut self,
        to: &ContractAddress,
        changes: Vec<(u64, String)>,
    ) -> Result<(), StoreError> {
        let new = self.keys.rolled_over(to);
        let mut row = CopiedKeys { key: ROLLOVER_DETAILS.name, ..CopiedKeys::default() };
        for (epoch, text) in changes {
            row.found += 1;
            let key = self.keys.rollover_details(to, epoch);
            match self.texts(std::slice::from_ref(&key)).await?.pop().flatten() {
                Some(there) => row.kept += u64::from(there != text),
                None => row.copied += self.add(&[(key, text, None)]).await?,
            }
            if !self.is_dry_run {
                let mut batch = Batch::new();
                batch.cmd("SADD", &new).arg(epoch);
                let answers = self.session.run(MIGRATE_MARKET, &new, batch).await?;
                let mut replies = Replies::new(MIGRATE_MARKET, answers);
                replies.take::<u64>(&new)?;
                self.done.faults.extend(replies.into_faults());
            }
        }
        self.done.keys.push(row);
        Ok(())
    }

    /// Copies a day with its TTL.
    async fn day(&mut self, name: &'static str, [old, new]: [String; 2]) -> Result<(), StoreError> {
        let mut row = CopiedKeys { key: name, ..CopiedKeys::default() };
        let [day, there] = &self.texts(&[old.clone(), new.clone()]).await?[..] else { return Ok(()) };
        let mut batch = Batch::new();
        batch.cmd("PTTL", &old);
        let answers = self.session.run(MIGRATE_MARKET, &old, batch).await?;
        let lives: i64 = Replies::new(MIGRATE_MARKET, answers).required(&old)?;
        if let Some(day) = day {
            row.found = 1;
            match there {
                Some(there) => row.kept = u64::from(there != day),
                // It may have expired since.
                None if lives == -2 => {}
                None => {
                    let lives = u64::try_from(lives).ok().filter(|millis| *millis > 0);
                    row.copied = self.add(&[(new, day.clone(), lives)]).await?;
                }
            }
        }
        self.done.keys.push(row);
        Ok(())
    }
}
