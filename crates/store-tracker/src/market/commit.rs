//! The third step of a pass: the ledger's new entries, and the datasets.

use std::collections::BTreeSet;

use domain::tracker::{Datasets, Gap, Totals};
use redis::from_redis_value;

use super::{MarketStore, OriginalDatasets, Pass};
use crate::{
    datasets::{Content, Dataset, GAPS, Interval, Intervals, Made, made},
    ledger::{self, Run},
    operations,
    scripts::SET_IN_EXISTING_HASH,
};
use store_redis::{Batch, Fault, Session, StoreError};

/// How long a gap stays in the set after a pass last saw it, in seconds.
const GAP_KEPT: f64 = 3600.0;
/// The TTL of `vpa:stats` from the last pass on, in seconds.
const PRIORITIES_TTL: u64 = 7 * 24 * 3600;

/// What a pass writes beside the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// The datasets.
    pub datasets: &'a Datasets,
    /// How often they are written, which decides how long they live.
    pub intervals: &'a Intervals,
    /// Written in place of these datasets when the market is set to the original's numbers.
    pub original: Option<&'a OriginalDatasets>,
}

/// The result of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The datasets that were written.
    pub datasets: Vec<&'static Dataset>,
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
        outputs: Outputs<'_>,
    ) -> Result<Written, StoreError> {
        // A full pass comes at a start or after a failure, when the server may not know the scripts: loading them saves
        // it a fourth round trip.
        let loads = if pass.active.is_some() { 2 } else { 0 };
        let (facts, sealed) = (&pass.seen.facts, &pass.seen.sealed);
        // Only a pass that has found every member may record their number: a larger one would hide the missed epochs.
        let active_known = pass.active_count.filter(|_| !pass.missed_epochs && !pass.partial);
        let (stored, now) = (&pass.stored_text, pass.seen.now);
        let run = Run { keys: &self.keys, totals, facts, stored, sealed, now, active_known };
        let all = made(outputs.datasets, outputs.intervals);
        let all = outputs.original.map_or_else(|| all.clone(), |original| original.in_place_of(&all));
        let (mut runs, mut essential, mut extras) = (0, 0, Vec::new());
        let fill = |batch: &mut Batch| {
            if loads > 0 {
                ledger::SCRIPT.load(batch);
                SET_IN_EXISTING_HASH.load(batch);
            }
            // The ledger first: if the connection breaks in between, datasets are old and the ledger is right.
            runs = run.write(batch);
            self.write_datasets(batch, pass, outputs.datasets, &all);
            essential = batch.len();
            extras = self.write_extras(batch, pass, totals, outputs);
        };

        // The next pass that reads all spellings reads these epochs under all of them.
        self.spellings.hold(&totals.held);
        let operation = operations::WRITE_DATASETS;
        let answers = session.run_scripts(operation, self.name(), fill).await?;
        let mut written =
            Written { datasets: all.iter().map(|made| made.dataset).collect(), ..Written::default() };
        written.datasets.dedup();
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

    /// Writes what is made with each summary in one transaction, and the statistics.
    fn write_datasets(&self, batch: &mut Batch, pass: &Pass, datasets: &Datasets, all: &[Made]) {
        let (summary, statistics): (Vec<&Made>, Vec<&Made>) =
            all.iter().partition(|made| made.dataset.interval == Interval::Summary);
        // One transaction, so that no reader finds `stats:current` between DEL and HSET. DEL, since a field that
        // became unknown must go.
        batch.transaction(|batch| {
            // After a partial pass the totals lack epochs: a window that began with them would count those as growth.
            if !pass.partial {
                let window = ledger::encode_window(&datasets.window);
                batch.cmd("HSET", self.keys.meta()).arg("window").arg(window);
            }
            summary.into_iter().for_each(|made| self.write(batch, made));
        });
        statistics.into_iter().for_each(|made| self.write(batch, made));
    }

    /// Replaces a dataset under each spelling. The members of a zset are no whole: they are added and removed.
    fn write(&self, batch: &mut Batch, made: &Made) {
        for output in self.keys.outputs() {
            let key = made.key(output.space());
            match &made.content {
                Content::Json(json) => {
                    batch.cmd("SET", &key).arg(json).arg("EX").arg(made.ttl);
                }
                Content::Fields(fields) => {
                    batch.cmd("DEL", &key);
                    batch.cmd("HSET", &key).arg(fields);
                    batch.cmd("EXPIRE", &key).arg(made.ttl);
                }
                Content::Members(_) => {}
            }
        }
    }

    /// Writes what no dataset depends on; returns the keys in the order of the commands, to name a fault.
    fn write_extras(
        &self,
        batch: &mut Batch,
        pass: &Pass,
        totals: &Totals,
        outputs: Outputs<'_>,
    ) -> Vec<String> {
        let mut keys = Vec::new();
        let (open, closed) = gaps(pass, outputs.datasets);
        let ttl = GAPS.ttl(outputs.intervals).as_secs();
        for output in self.keys.outputs() {
            let gaps = GapsOf { key: &output.dataset(&GAPS, None), now: pass.seen.now, ttl };
            gaps.write(batch, &mut keys, &open, &closed);
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
fn gaps(pass: &Pass, datasets: &Datasets) -> (BTreeSet<String>, Vec<String>) {
    let open: BTreeSet<String> = datasets.gaps.iter().map(|(epoch, gap)| gap.member(epoch)).collect();
    // An epoch whose state could not be read keeps the gaps that it has.
    let read = pass.seen.facts.iter().filter(|(_, facts)| !facts.state_unread).map(|(epoch, _)| epoch);
    let all = read.flat_map(|epoch| Gap::ALL.map(|gap| gap.member(epoch)));
    let closed = all.filter(|member| !open.contains(member)).collect();
    (open, closed)
}

/// The set of gaps under one spelling.
struct GapsOf<'a> {
    key: &'a str,
    now: f64,
    ttl: u64,
}

impl GapsOf<'_> {
    /// Adds open gaps, and removes those that are closed or were not seen for an hour.
    fn write(&self, batch: &mut Batch, keys: &mut Vec<String>, open: &BTreeSet<String>, closed: &[String]) {
        let Self { key, now, ttl } = *self;
        batch.cmd("ZREMRANGEBYSCORE", key).arg("-inf").arg(format!("({}", now - GAP_KEPT));
        keys.push(key.to_owned());
        if !open.is_empty() {
            let add = batch.cmd("ZADD", key);
            open.iter().for_each(|member| {
                add.arg(now as u64).arg(member);
            });
            batch.cmd("EXPIRE", key).arg(ttl);
            keys.extend([key.to_owned(), key.to_owned()]);
        }
        if !closed.is_empty() {
            batch.cmd("ZREM", key).arg(closed);
            keys.push(key.to_owned());
        }
    }
}
