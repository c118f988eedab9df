//! The third step of a pass: the ledger's new entries, and the datasets.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    EpochId,
    tracker::{DayStats, Gap, HourStats, MeasurementWindow, Participation, Summary, Totals},
};
use redis::from_redis_value;

use super::{MarketStore, OriginalDatasets, Pass};
use crate::ledger::{self, Run};
use crate::scripts::SET_IN_EXISTING_HASH;
use store_redis::{Batch, Fault, Session, StoreError};

/// How long an hour's statistics live: readers ask for 48 hours.
const HOURLY_TTL: u64 = 49 * 3600;
/// How long the statistics of a day live.
const DAILY_TTL: u64 = 24 * 3600;
/// How long the set of gaps lives, and how long a gap stays in it.
const GAPS_TTL: u64 = 24 * 3600;
const GAP_KEPT: f64 = 3600.0;
/// How long `vpa:stats` lives on from the last pass.
const PRIORITIES_TTL: u64 = 7 * 24 * 3600;

/// What a pass writes.
#[derive(Clone, Debug)]
pub struct Datasets<'a> {
    /// `dashboard:summary` and `stats:current`.
    pub summary: &'a Summary,
    /// The window that the rates of the summary were measured in.
    pub window: MeasurementWindow,
    /// How long the summary lives.
    pub summary_ttl: Duration,
    /// `metrics:participation`.
    pub participation: Participation,
    /// How long the participation lives.
    pub participation_ttl: Duration,
    /// `stats:hourly:T` of each of these hours.
    pub hours: Vec<HourStats>,
    /// `stats:daily`.
    pub day: Option<DayStats>,
    /// The gaps of all examined epochs.
    pub gaps: Vec<(EpochId, Gap)>,
    /// What is written in place of these datasets, where the original's numbers are asked for.
    pub original: Option<OriginalDatasets>,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries stored.
    pub stored: u64,
    /// Entries sealed.
    pub sealed: u64,
    /// Entries left alone because another tracker had changed them.
    pub left: u64,
    /// Writes beside the datasets that were refused: a key of another type.
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
        // A full pass begins an incarnation or follows a failure: that the server may not know the scripts shall not cost
        // it a round trip more.
        let loads = if pass.active.is_some() { 2 } else { 0 };
        let (facts, sealed) = (&pass.seen.facts, &pass.seen.sealed);
        let active_known = pass.active_count.filter(|_| !pass.missed_epochs && !pass.partial);
        let (stored, now) = (&pass.stored_text, pass.seen.now);
        let run = Run { keys: &self.keys, totals, facts, stored, sealed, now, active_known };
        let (mut runs, mut essential, mut extras) = (0, 0, Vec::new());
        let fill = |batch: &mut Batch| {
            if loads > 0 {
                ledger::SCRIPT.load(batch);
                SET_IN_EXISTING_HASH.load(batch);
            }
            runs = run.write(batch);
            self.write_summary(batch, pass, datasets);
            self.write_statistics(batch, datasets, pass.seen.now);
            essential = batch.len();
            extras = self.write_extras(batch, pass, totals, datasets);
        };

        self.spellings.hold(&totals.held);
        let operation = "write the datasets";
        let answers = session.run_scripts(operation, self.name(), fill).await?;
        let mut written = Written::default();
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
        batch.transaction(|batch| {
            // A window that began with totals that lack some would take what is found later for growth.
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

    /// What no dataset depends on; the keys in the order of the commands.
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
        // What follows is the producers'.
        if self.keys.is_shadow() {
            return keys;
        }
        for (epoch, entry) in &totals.unsealed {
            let state = pass.seen.facts.get(epoch).and_then(|facts| facts.state);
            if state.is_none_or(|state| state.submissions_count == Some(entry.submissions)) {
                continue;
            }
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

/// The members of the gaps that are open, and of those that are closed by now.
fn gaps(pass: &Pass, datasets: &Datasets<'_>) -> (BTreeSet<String>, Vec<String>) {
    let open: BTreeSet<String> = datasets.gaps.iter().map(|(epoch, gap)| gap.member(epoch)).collect();
    // One whose state could not be read has the gaps that it had.
    let read = pass.seen.facts.iter().filter(|(_, facts)| !facts.state_unread).map(|(epoch, _)| epoch);
    let all = read.flat_map(|epoch| Gap::ALL.map(|gap| gap.member(epoch)));
    let closed = all.filter(|member| !open.contains(member)).collect();
    (open, closed)
}

/// Adds the gaps that are open, and removes those that are closed or of which nothing was seen for an hour.
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

fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}
