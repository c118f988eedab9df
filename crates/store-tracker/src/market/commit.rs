//! The third step of a pass: the ledger's new entries, and the datasets.

use std::collections::BTreeSet;

use domain::tracker::{Datasets, Gap, HourStats, Totals};
use redis::from_redis_value;

use super::{MarketStore, OriginalDatasets, Pass};
use crate::{
    datasets::{Content, Dataset, GAPS, Interval, Intervals, Made, made},
    ledger::{self, NextMark, Run},
    operations,
    scripts::SET_IN_EXISTING_HASH,
};
use store_redis::{Batch, Fault, Session, StoreError, consequence_of};

/// The TTL of `vpa:stats`, in seconds; each pass renews it.
const PRIORITIES_TTL: u64 = 7 * 24 * 3600;

/// What a pass writes beside the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// The datasets.
    pub datasets: &'a Datasets,
    /// How often they are written: their TTLs follow from that.
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
    pub skipped: u64,
    /// Writes beside the datasets that were refused, such as to a key of another type.
    pub faults: Vec<Fault>,
}

impl MarketStore {
    /// Third step: stores and seals entries, and writes the datasets; `dashboard:summary`, `stats:current` and
    /// `metrics:participation` in one transaction. One round trip, and one more if the server does not know the scripts.
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
        // The server may not know the scripts when a process starts: loading them saves its first pass a round trip.
        let loads = if pass.scope.first { 2 } else { 0 };
        let (facts, sealed) = (&pass.seen.facts, &pass.seen.sealed);
        let (stored, now) = (&pass.stored_text, pass.seen.now);
        let run = Run { keys: &self.keys, totals, facts, stored, sealed, now, mark: pass.next_mark() };
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
                Err(error) if at < essential || consequence_of(&error).voids_batch() => {
                    return Err(StoreError::redis(operation, self.name(), &error));
                }
                Err(error) => {
                    let key = extras.get(at - essential).cloned().unwrap_or_default();
                    written.faults.push(Fault::redis(&key, &error));
                }
            }
        }
        let asked = (totals.changed.len() + totals.finished.len()) as u64;
        written.skipped = asked.saturating_sub(written.stored + written.sealed);
        Ok(written)
    }

    /// Writes the datasets of the summary's interval in one transaction, and then the statistics.
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
            if let Some(forms) = pass.chosen.forms.encode() {
                batch.cmd("HSET", self.keys.meta()).arg("forms").arg(forms);
            }
            // `passed` moves only after the hour in which it lies is written to its end.
            let unfinished = HourStats::unfinished(pass.mark.passed, pass.seen.now.max(0.0) as u64);
            let is_written = |start: u64| datasets.hours.iter().any(|hour| hour.start == start);
            if !pass.partial && unfinished.is_none_or(is_written) {
                batch.cmd("HSET", self.keys.meta()).arg("passed").arg(pass.seen.now);
            }
            summary.into_iter().for_each(|made| self.write(batch, made));
        });
        statistics.into_iter().for_each(|made| self.write(batch, made));
    }

    /// Replaces a dataset under each spelling. Those with members are written by [`MarketStore::write_extras`].
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

    /// Writes the keys whose failure leaves the datasets valid; returns them in the order of the commands, to name a fault.
    fn write_extras(
        &self,
        batch: &mut Batch,
        pass: &Pass,
        totals: &Totals,
        outputs: Outputs<'_>,
    ) -> Vec<String> {
        let mut keys = Vec::new();
        let gaps = Gaps::of(pass, outputs.datasets);
        let ttl = GAPS.ttl(outputs.intervals).as_secs();
        for output in self.keys.outputs() {
            gaps.write(batch, &mut keys, &output.dataset(&GAPS, None), ttl);
        }
        // A window that closed after the seal: the gaps of its epoch are shown for an hour from then on.
        let late = totals.late.iter().map(|(epoch, sealed)| (sealed.known().end_of_window(), epoch.as_str()));
        let late: Vec<(u64, &str)> = late.collect();
        if !late.is_empty() {
            batch.cmd("ZADD", self.keys.ended()).arg(late);
            keys.push(self.keys.ended());
        }
        // The keys below belong to the producers: a shadow changes none of them.
        if self.keys.is_shadow() {
            return keys;
        }
        for (epoch, entry) in &totals.unsealed {
            let state = pass.seen.facts.get(epoch).and_then(|facts| facts.state.value());
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

impl Pass {
    /// The mark for the next pass. Only a pass that found everything writes one, since the next pass does not read again what the mark
    /// covers.
    fn next_mark(&self) -> NextMark<'_> {
        let is_whole = !self.partial && !self.ledger_full;
        // Entries are counted under all spellings. A pass that has not read all of these leaves the mark where it was: entries under
        // the others that were written late would never be read.
        let early = if self.chosen.is_whole() { Some(&self.early) } else { self.mark.early.as_ref() };
        NextMark {
            early: early.filter(|_| is_whole && !self.missed_entries),
            active: self.active_count.filter(|_| is_whole && !self.missed_members),
            read: &self.mark.read,
        }
    }
}

/// The gaps as a pass found them.
struct Gaps {
    now: u64,
    /// The members that the set must have.
    open: BTreeSet<String>,
    /// The members to remove, if the state of some epochs could not be read: their members stay. `None`: every state was read, and the
    /// set is replaced by the open gaps.
    closed: Option<Vec<String>>,
}

impl Gaps {
    fn of(pass: &Pass, datasets: &Datasets) -> Self {
        let open: BTreeSet<String> = datasets.gaps.iter().map(|(epoch, gap)| gap.member(epoch)).collect();
        let now = pass.seen.now.max(0.0) as u64;
        if pass.seen.has_all_states() {
            return Self { now, open, closed: None };
        }
        let read = pass.seen.facts.iter().filter(|(_, facts)| !facts.state.is_unreadable());
        let closed = read.flat_map(|(epoch, _)| Gap::ALL.map(|gap| gap.member(epoch)));
        let closed = closed.filter(|member| !open.contains(member)).collect();
        Self { now, open, closed: Some(closed) }
    }

    /// Updates the set in one transaction: no reader misses a gap that stays.
    fn write(&self, batch: &mut Batch, keys: &mut Vec<String>, key: &str, ttl: u64) {
        let before = batch.len();
        batch.transaction(|batch| {
            match &self.closed {
                None => {
                    batch.cmd("DEL", key);
                }
                Some(closed) if closed.is_empty() => {}
                Some(closed) => {
                    batch.cmd("ZREM", key).arg(closed);
                }
            }
            if !self.open.is_empty() {
                let add = batch.cmd("ZADD", key);
                self.open.iter().for_each(|member| {
                    add.arg(self.now).arg(member);
                });
                batch.cmd("EXPIRE", key).arg(ttl);
            }
        });
        keys.extend((before..batch.len()).map(|_| key.to_owned()));
    }
}
