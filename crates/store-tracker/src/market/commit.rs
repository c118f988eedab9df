//! The third step of a pass: the ledger's new entries, and the datasets.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    EpochId,
    tracker::{DayStats, Gap, HourStats, MeasurementWindow, Participation, Summary, Totals},
};
use redis::from_redis_value;

use super::{MarketStore, OriginalDatasets, Pass};
use crate::ledger::{self, Run};
use crate::operations;
use crate::scripts::SET_IN_EXISTING_HASH;
use store_redis::{Batch, Fault, Session, StoreError};

/// The TTL of an hour's statistics, in seconds: readers ask for 48 hours.
const HOURLY_TTL: u64 = 49 * 3600;
/// The TTL of the statistics of a day, in seconds.
const DAILY_TTL: u64 = 24 * 3600;
/// The TTL of the set of gaps, in seconds.
const GAPS_TTL: u64 = 24 * 3600;
/// How long a gap stays in the set after a pass last saw it, in seconds.
const GAP_KEPT: f64 = 3600.0;
/// The TTL of `vpa:stats` from the last pass on, in seconds.
const PRIORITIES_TTL: u64 = 7 * 24 * 3600;

/// What a pass writes.
#[derive(Clone, Debug)]
pub struct Datasets<'a> {
    /// `dashboard:summary` and `stats:current`.
    pub summary: &'a Summary,
    /// The measurement window of the summary's rates.
    pub window: MeasurementWindow,
    /// The TTL of the summary.
    pub summary_ttl: Duration,
    /// `metrics:participation`.
    pub participation: Participation,
    /// The TTL of the participation.
    pub participation_ttl: Duration,
    /// `stats:hourly:T` of each of these hours.
    pub hours: Vec<HourStats>,
    /// `stats:daily`.
    pub day: Option<DayStats>,
    /// The gaps of all examined epochs.
    pub gaps: Vec<(EpochId, Gap)>,
    /// Written in place of these datasets when the market is set to the original's numbers.
    pub original: Option<OriginalDatasets>,
}

/// The result of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries stored.
    pub stored: u64,
    /// Entries sealed.
    pub sealed: u64,
    /// Entries skipped because another tracker had changed them.
    pub left: u64,
    /// Writes beside the datasets that were refused, such as to a key of another type.
    pub faults: Vec<Fault>,
}

impl MarketStore {
    /// Third round trip: stores and seals entries, and writes the datasets; `dashboard:summary`, `stats:current` and
    /// `metrics:participation` in one transaction. A fourth one where the server had forgotten the scripts.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger or a dataset could not be written. All of it may be written again.
    pub async fn commit(
        &self,
        session: &mut Session,
        pass: &Pass,
        totals: &Totals,
        datasets: &Datasets<'_>,
    ) -> Result<Written, StoreError> {
        // A full pass comes at a start or after a failure, when the server may not know the scripts: loading them saves
        // it a fourth round trip.
        let loads = if pass.active.is_some() { 2 } else { 0 };
        let (facts, sealed) = (&pass.seen.facts, &pass.seen.sealed);
        // Only a pass that has found every member may record their number: a larger one would hide the missed epochs.
        let active_known = pass.active_count.filter(|_| !pass.missed_epochs && !pass.partial);
        let (stored, now) = (&pass.stored_text, pass.seen.now);
        let run = Run { keys: &self.keys, totals, facts, stored, sealed, now, active_known };
        let (mut runs, mut essential, mut extras) = (0, 0, Vec::new());
        let fill = |batch: &mut Batch| {
            if loads > 0 {
                ledger::SCRIPT.load(batch);
                SET_IN_EXISTING_HASH.load(batch);
            }
            // The ledger first: if the connection breaks in between, datasets are old and the ledger is right.
            runs = run.write(batch);
            self.write_summary(batch, pass, datasets);
            self.write_statistics(batch, datasets, pass.seen.now);
            essential = batch.len();
            extras = self.write_extras(batch, pass, totals, datasets);
        };

        // The next pass that reads all spellings reads these epochs under all of them.
        self.spellings.hold(&totals.held);
        let operation = operations::WRITE_DATASETS;
        let answers = session.run_scripts(operation, self.name(), fill).await?;
        let mut written = Written::default();
        // In the order of the commands: scripts loaded, runs of the ledger's script, datasets, extras.
        for (at, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(answer) if (loads..loads + runs).contains(&at) => {
                    let (stored, sealed) = from_redis_value::<(u64, u64)>(answer).unwrap_or_default();
                    written.stored += stored;
                    written.sealed += sealed;
                }
                Ok(_) => {}
                Err(error) if at < essential => {
                    return Err(StoreError::redis(operation, self.name(), &error));
                }
                Err(error) => {
                    let key = extras.get(at - essential).cloned().unwrap_or_default();
                    written.faults.push(Fault::redis(&key, &error));
                }
            }
        }
        let asked = (totals.changed.len() + totals.finished.len()) as u64;
        written.left = asked.saturating_sub(written.stored + written.sealed);
        Ok(written)
    }

    fn write_summary(&self, batch: &mut Batch, pass: &Pass, datasets: &Datasets<'_>) {
        let summary = datasets.summary;
        let ttl = OriginalDatasets::SUMMARY_TTL;
        let (ttl, participation_ttl, json, fields, participation) = match &datasets.original {
            Some(original) => {
                let OriginalDatasets { summary, stats, participation, .. } = original;
                (ttl, ttl, summary.clone(), stats.clone(), participation.clone())
            }
            None => (
                seconds(datasets.summary_ttl),
                seconds(datasets.participation_ttl),
                summary.to_json().to_string(),
                summary.to_hash(),
                datasets.participation.to_json(pass.seen.now).to_string(),
            ),
        };
        // One transaction, so that no reader finds `stats:current` between DEL and HSET. DEL, since a field that
        // became unknown must go.
        batch.transaction(|batch| {
            // After a partial pass the totals lack epochs: a window that began with them would count those as growth.
            if !pass.partial {
                let window = ledger::encode_window(&datasets.window);
                batch.cmd("HSET", self.keys.meta()).arg("window").arg(window);
            }
            for output in self.keys.outputs() {
                let stats = output.stats();
                batch.cmd("SET", output.summary()).arg(&json).arg("EX").arg(ttl);
                batch.cmd("DEL", &stats);
                batch.cmd("HSET", &stats).arg(&fields);
                batch.cmd("EXPIRE", &stats).arg(ttl);
                let set = batch.cmd("SET", output.participation()).arg(&participation);
                set.arg("EX").arg(participation_ttl);
            }
        });
    }

    fn write_statistics(&self, batch: &mut Batch, datasets: &Datasets<'_>, now: f64) {
        let original = datasets.original.as_ref();
        let ttl = original.map_or(HOURLY_TTL, |_| OriginalDatasets::HOURLY_TTL);
        for hour in &datasets.hours {
            let known = original.and_then(|all| all.hours.iter().find(|(start, _)| *start == hour.start));
            let json = known.map_or_else(|| hour.to_json(now).to_string(), |(_, json)| json.clone());
            for output in self.keys.outputs() {
                batch.cmd("SET", output.hourly(hour.start)).arg(&json).arg("EX").arg(ttl);
            }
        }
        if let Some(day) = &datasets.day {
            let json = original.map_or_else(|| day.to_json(now).to_string(), |all| all.day.clone());
            for output in self.keys.outputs() {
                batch.cmd("SET", output.daily()).arg(&json).arg("EX").arg(DAILY_TTL);
            }
        }
    }

    /// Writes what no dataset depends on; returns the keys in the order of the commands, to name a fault.
    fn write_extras(
        &self,
        batch: &mut Batch,
        pass: &Pass,
        totals: &Totals,
        datasets: &Datasets<'_>,
    ) -> Vec<String> {
        let mut keys = Vec::new();
        let (open, closed) = gaps(pass, datasets);
        for output in self.keys.outputs() {
            write_gaps(batch, &mut keys, &output.gaps(), pass.seen.now, &open, &closed);
        }
        // The keys below belong to the producers: a shadow changes none of them.
        if self.keys.is_shadow() {
            return keys;
        }
        for (epoch, entry) in &totals.unsealed {
            let state = pass.seen.facts.get(epoch).and_then(|facts| facts.state);
            if state.is_none_or(|state| state.submissions_count == Some(entry.submissions)) {
                continue;
            }
            // By a script: a plain HSET would bring an expired hash back, without its TTL.
            for input in pass.chosen.inputs_of(&self.keys, epoch) {
                let key = input.state(epoch);
                SET_IN_EXISTING_HASH.run(batch, &[&key]).arg("submissions_count").arg(entry.submissions);
                keys.push(key);
            }
        }
        for space in pass.chosen.priorities(&self.keys) {
            batch.cmd("EXPIRE", space.vpa_stats()).arg(PRIORITIES_TTL);
            keys.push(space.vpa_stats());
        }
        keys
    }
}

/// The members of open gaps, and of gaps that are closed now.
fn gaps(pass: &Pass, datasets: &Datasets<'_>) -> (BTreeSet<String>, Vec<String>) {
    let open: BTreeSet<String> = datasets.gaps.iter().map(|(epoch, gap)| gap.member(epoch)).collect();
    // An epoch whose state could not be read keeps the gaps that it has.
    let read = pass.seen.facts.iter().filter(|(_, facts)| !facts.state_unread).map(|(epoch, _)| epoch);
    let all = read.flat_map(|epoch| Gap::ALL.map(|gap| gap.member(epoch)));
    let closed = all.filter(|member| !open.contains(member)).collect();
    (open, closed)
}

/// Adds open gaps, and removes those that are closed or were not seen for an hour.
fn write_gaps(
    batch: &mut Batch,
    keys: &mut Vec<String>,
    gaps: &str,
    now: f64,
    open: &BTreeSet<String>,
    closed: &[String],
) {
    batch.cmd("ZREMRANGEBYSCORE", gaps).arg("-inf").arg(format!("({}", now - GAP_KEPT));
    keys.push(gaps.to_owned());
    if !open.is_empty() {
        let add = batch.cmd("ZADD", gaps);
        open.iter().for_each(|member| {
            add.arg(now as u64).arg(member);
        });
        batch.cmd("EXPIRE", gaps).arg(GAPS_TTL);
        keys.extend([gaps.to_owned(), gaps.to_owned()]);
    }
    if !closed.is_empty() {
        batch.cmd("ZREM", gaps).arg(closed);
        keys.push(gaps.to_owned());
    }
}

/// Whole seconds for `EX`; Redis refuses 0.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}
