//! The queue, and what stays of epochs, blocks and contracts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    super::{
        node::{DAY_SIZE, EPOCHS_IN_A_DAY, NODES, QUOTA},
        script::{CHECKSUM, Id, MARKETS},
    },
    Batch, Look, MINUTE, ROUNDING, SECOND, details_of,
};

const HASH_LIVES: u64 = 30 * MINUTE;
pub(super) const DETAILS_LIVE: u64 = 30 * MINUTE;
const COUNT_LIVES: u64 = 24 * 60 * MINUTE;
const BATCH_LIVES: u64 = 5 * MINUTE;

impl Look<'_> {
    /// The batches of an epoch as they were queued; their order is checked elsewhere.
    pub(super) fn queued(&self, market: usize, epoch: u64) -> Vec<Batch> {
        let jobs = self.rest.queue.iter().filter_map(|job| serde_json::from_str::<Value>(job).ok());
        let ours = jobs.filter(|job| {
            let address = job["DataMarketAddress"].as_str().unwrap_or_default();
            address.eq_ignore_ascii_case(MARKETS[market]) && job["EpochID"] == epoch
        });
        ours.map(|job| serde_json::from_value(job["Batch"].clone()).unwrap_or_default()).collect()
    }

    /// "Each batch exactly once", in the order of its number, and in the form of the contract.
    pub(super) fn queue(&mut self) {
        let mut next: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for job in self.rest.queue.clone() {
            let read: Value = serde_json::from_str(&job).unwrap_or_default();
            let address = read["DataMarketAddress"].as_str().unwrap_or_default().to_owned();
            let market = MARKETS.iter().position(|market| address.eq_ignore_ascii_case(market));
            let (Some(market), Some(epoch)) = (market, read["EpochID"].as_u64()) else {
                self.fault(format!("a job that can't be read: {job}"));
                continue;
            };
            let number = next.entry((market, epoch)).or_insert(0);
            *number += 1;
            let must = json!({ "DataMarketAddress": address, "EpochID": epoch, "BatchID": *number, "Batch": read["Batch"] });
            if read != must {
                self.fault(format!("the job {job} instead of {must}"));
            }
        }
        for ((market, epoch), number) in next {
            let batches = self.judge.done.get(&(market, epoch)).and_then(|done| done.batches.as_ref());
            if batches.map_or(0, Vec::len) as u64 != number {
                let must = batches.map(Vec::len);
                self.fault(format!(
                    "{number} batches of epoch {epoch} of market {market} were queued instead of {must:?}"
                ));
            }
        }
    }

    /// `BlockHashByNumberKey.N`: "a block is accepted; corrected on a reorganisation".
    pub(super) fn hashes(&mut self, branch: &[Id], expected: &mut BTreeSet<String>) {
        let turmoil = !self.judge.visited.is_empty();
        let now = (self.rest.from, self.rest.to);
        let mut hashes = BTreeMap::new();
        for (number, block) in branch.iter().enumerate() {
            let number = number as u64;
            let mut at = now;
            if let Some((known, accepted)) =
                self.judge.hashes.get(&number).filter(|(known, _)| known == block)
            {
                at = if turmoil { (accepted.0, now.1) } else { *accepted };
                debug_assert_eq!(known, block);
            }
            hashes.insert(number, (*block, at));
            let key = format!("BlockHashByNumberKey.{number}");
            let hash = self.script.hash(*block).to_owned();
            // Of blocks that old nobody can ask any more; and those before the first one were not accepted.
            let is_old = self.script.blocks[*block].time * SECOND + HASH_LIVES <= self.rest.to;
            let is_before = number < self.judge.settings.start;
            if (is_old || is_before) && !self.seen.contains_key(&key) {
                continue;
            }
            self.text(&key, Some(&hash), Some((at, HASH_LIVES)));
            expected.insert(key);
        }
        self.judge.hashes = hashes;
    }

    /// What stays of the epochs that are over.
    pub(super) fn outputs(&mut self, expected: &mut BTreeSet<String>) {
        let mut slots: BTreeMap<String, u64> = BTreeMap::new();
        // Those first of which the day is known.
        let mut over: Vec<_> = self.judge.done.clone().into_iter().collect();
        over.sort_by_key(|(_, done)| done.days.len());
        for ((market, epoch), done) in over {
            let name = MARKETS[market];
            let details = format!("EpochMarkerDetailsKey.{name}.{epoch}");
            // A clean-up that removes the marker of another program gives the details their lifetime again.
            let at = match self.judge.replanted.contains(&(market, epoch)) {
                true => (done.at.0, self.rest.to),
                false => done.at,
            };
            let Some(batches) = done.batches else {
                // Whether details are kept of an epoch without batches is nowhere said.
                if let Some(held) = self.seen.get(&details)
                    && held.expires.is_none_or(|expires| expires > done.at.1 + DETAILS_LIVE + ROUNDING)
                {
                    self.fault(format!("{details} is {held:?} after the epoch has expired"));
                }
                expected.insert(details);
                if !self.rest.hindered.contains(&(market, epoch)) {
                    self.text(&format!("BatchCountKey.{name}.{epoch}"), None, None);
                }
                continue;
            };
            let text = details_of(done.release, done.limit).to_string();
            self.text(&details, Some(&text), Some((at, DETAILS_LIVE)));
            expected.insert(details);
            let count = format!("BatchCountKey.{name}.{epoch}");
            self.text(&count, Some(&batches.len().to_string()), Some((done.at, COUNT_LIVES)));
            expected.insert(count);
            if self.queued(market, epoch) != batches {
                self.fault(format!(
                    "the batches of epoch {epoch} of market {market} are no longer what they were"
                ));
            }
            for (index, batch) in batches.iter().enumerate() {
                let key = format!("BatchSubmissionsKey.{name}.{epoch}.{}", index + 1);
                self.text(&key, Some(&json!(batch).to_string()), Some((done.at, BATCH_LIVES)));
                expected.insert(key);
            }
            self.slots(market, epoch, &done.days, &batches, &mut slots);
        }
        self.count("slots", slots.len() as u64);
        for (key, many) in slots {
            self.text(&key, Some(&many.to_string()), None);
            expected.insert(key);
        }
    }

    /// The slots of an epoch are counted under the day at its release: where it may be one of several, under the first one that fits.
    fn slots(
        &mut self,
        market: usize,
        epoch: u64,
        days: &[Option<u64>],
        batches: &[Batch],
        all: &mut BTreeMap<String, u64>,
    ) {
        let mut slots: BTreeMap<u64, u64> = BTreeMap::new();
        for submission in batches.iter().flat_map(|batch| batch.values().flatten()) {
            let slot = submission.rsplit('.').next().and_then(|slot| slot.parse().ok()).unwrap_or(0);
            *slots.entry(slot).or_default() += 1;
        }
        let key = |day: u64, slot: u64| format!("SlotSubmissionsKey.{}.{day}.{slot}", MARKETS[market]);
        let has_room = |day: &&Option<u64>| {
            let Some(day) = day else { return true };
            slots.iter().all(|(slot, many)| {
                let key = key(*day, *slot);
                let held = self.seen.get(&key).and_then(|held| held.words.first()?.parse::<u64>().ok());
                held.unwrap_or(0) >= all.get(&key).copied().unwrap_or(0) + many
            })
        };
        let Some(day) = days.iter().find(has_room).or(days.first()).copied() else { return };
        if let Some(done) = self.judge.done.get_mut(&(market, epoch)) {
            done.days = vec![day];
        }
        // "Without a known day nothing is counted."
        let Some(day) = day else { return };
        slots.into_iter().for_each(|(slot, many)| *all.entry(key(day, slot)).or_default() += many);
    }

    /// What the contract's view functions say.
    pub(super) fn tables(&mut self, expected: &mut BTreeSet<String>) {
        for market in self.rest.asked.keys().filter(|market| !self.rest.failing.contains(market)) {
            self.judge.tabled.insert(*market);
        }
        let first = self.judge.settings.window;
        for key in ["SubmissionLimitTable", "DaySizeTableKey", "DailySnapshotQuotaTableKey"] {
            expected.insert(key.to_owned());
            let found = self.seen.get(key).map(|held| held.words.clone()).unwrap_or_default();
            let mut rows: BTreeMap<&str, &str> =
                found.iter().filter_map(|row| row.split_once(" = ")).collect();
            for (market, name) in CHECKSUM.iter().enumerate().take(self.judge.settings.markets) {
                let value = rows.remove(name).and_then(|value| value.parse::<u64>().ok());
                let may: BTreeSet<u64> = match key {
                    "DaySizeTableKey" => BTreeSet::from([DAY_SIZE]),
                    "DailySnapshotQuotaTableKey" => BTreeSet::from([QUOTA]),
                    _ => self.lengths_asked(market, first),
                };
                match value {
                    Some(value) if may.contains(&value) => drop(self.judge.tabled.insert(market)),
                    None if !self.judge.tabled.contains(&market) => {}
                    _ => self.fault(format!("{key} has {value:?} for market {market} instead of {may:?}")),
                }
            }
            if !rows.is_empty() {
                self.fault(format!("{key} has {rows:?}"));
            }
        }
        let mut numbers = vec![("TotalNodesCount".to_owned(), NODES, true)];
        for (market, name) in MARKETS.iter().enumerate().take(self.judge.settings.markets) {
            let is_there = self.judge.tabled.contains(&market);
            numbers.push((format!("ProtocolState.{name}.EpochsInADay"), EPOCHS_IN_A_DAY, is_there));
        }
        for (key, value, is_there) in numbers {
            let must = value.to_string();
            if self.judge.tip.is_some() {
                self.text(&key, is_there.then_some(must.as_str()), None);
            }
            expected.insert(key);
        }
    }

    /// The lengths that the table may have: those at the heads since the contract was asked, if that was just now.
    fn lengths_asked(&self, market: usize, first: u64) -> BTreeSet<u64> {
        let asked = self.rest.asked.get(&market).filter(|_| !self.rest.failing.contains(&market));
        let Some(asked) = asked else { return self.script.lengths(market, first) };
        asked.iter().map(|id| self.script.length(market, *id).unwrap_or(first)).collect()
    }
}
