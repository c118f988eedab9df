//! The samples of a former file: in the order of time, each for the time since the peer's sample before.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{OptionalExtension, Row, params};

use super::{
    file::{Former, amount, whole},
    options::ImportOptions,
    report::{FormerSchema as Schema, ImportReport, Unusable},
};
use crate::{
    dictionary::DAY,
    error::HistoryError,
    history::History,
    operations::IMPORT_HISTORY,
    points::Point,
    sample::{LATEST, MOST_SECONDS, MOST_WORK, Refusal, Sample, Subject, total_of},
    step::Step,
    tail::Parts,
    write::{Batch, write_batch},
};

/// The part of an import under which its progress is noted.
const PART: &str = "hashrate_samples";
/// An older sample has no window: it is an estimate from the shares of five minutes.
const OLDER_WINDOW: f64 = 300.0;
/// Samples of a transaction, about: all samples of a second are in one.
const STEP: usize = 20_000;
/// The most names and peers that are held in memory.
const MOST_PEERS: usize = 1_000_000;

/// How far an import is: the time and the id of its last sample.
type Mark = (i64, i64);

struct Import<'a> {
    history: &'a mut History,
    options: &'a ImportOptions,
    report: &'a mut ImportReport,
    names: HashMap<i64, Arc<str>>,
    /// The time of each peer's last sample.
    before: HashMap<i64, i64>,
    mark: Mark,
    /// The last row that was seen, which a repetition need not see again.
    seen: Mark,
    picture: Vec<Sample>,
    batch: Vec<Sample>,
}

pub(super) fn import(
    history: &mut History,
    former: &Former,
    options: &ImportOptions,
    report: &mut ImportReport,
) -> Result<(), HistoryError> {
    let Some(schema) = former.schema else { return Ok(()) };
    let mark = read_mark(history, options)
        .map_err(|error| HistoryError::sqlite(IMPORT_HISTORY, &history.path, error))?;
    let names = if former.has_names { names(former, report)? } else { HashMap::new() };
    let (before, picture, batch) = (HashMap::new(), Vec::new(), Vec::new());
    let mut import = Import { history, options, report, names, before, mark, seen: mark, picture, batch };
    let sql = match schema {
        Schema::Deployed => {
            "SELECT timestamp, downstream_id, sum_difficulty, window_seconds FROM hashrate_samples ORDER BY 1, 2"
        }
        Schema::Older => {
            "SELECT timestamp, downstream_id, estimated_hashrate FROM hashrate_samples ORDER BY 1, 2"
        }
    };
    former.each(sql, |row| import.row(schema, row))?;
    import.finish_picture();
    import.write()?;
    if options.dry_run { Ok(()) } else { import.keep_limits() }
}

fn read_mark(history: &History, options: &ImportOptions) -> rusqlite::Result<Mark> {
    let sql = "SELECT timestamp, downstream_id FROM imports JOIN sources ON id = source WHERE name = ?1 AND part = ?2";
    let mut statement = history.connection.prepare_cached(sql)?;
    let mark =
        statement.query_row([&options.source, PART], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(mark.unwrap_or((-1, -1)))
}

/// The names of peers. Their addresses are not read.
fn names(former: &Former, report: &mut ImportReport) -> Result<HashMap<i64, Arc<str>>, HistoryError> {
    let mut all = HashMap::new();
    former.each("SELECT downstream_id, name FROM downstreams", |row| {
        report.names.rows += 1;
        let id = match whole(row, 0, i64::from(u32::MAX)) {
            Ok(id) => id,
            Err(reason) => {
                report.names.refuse(reason);
                return Ok(());
            }
        };
        let name = row.get_ref(1).ok().and_then(|name| name.as_str().ok());
        match name.filter(|name| name.len() <= crate::LONGEST_NAME && all.len() < MOST_PEERS) {
            None => report.names.refuse(Unusable::Name),
            Some(name) => {
                all.insert(id, Arc::from(name));
                report.names.imported += 1;
            }
        }
        Ok(())
    })?;
    Ok(all)
}

impl Import<'_> {
    fn row(&mut self, schema: Schema, row: &Row<'_>) -> Result<(), HistoryError> {
        self.report.samples.rows += 1;
        let (mark, sample) = match self.read(schema, row) {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.report.samples.known += 1;
                return Ok(());
            }
            Err(reason) => {
                self.report.samples.refuse(reason);
                return Ok(());
            }
        };
        if self.picture.last().is_some_and(|last| last.timestamp != sample.timestamp) {
            self.finish_picture();
            if self.batch.len() >= STEP {
                self.write()?;
            }
        }
        self.picture.push(sample);
        self.seen = mark;
        Ok(())
    }

    /// A sample with its mark; none where an earlier import had it.
    fn read(&mut self, schema: Schema, row: &Row<'_>) -> Result<Option<(Mark, Sample)>, Unusable> {
        let timestamp = whole(row, 0, LATEST)?;
        if timestamp > self.options.now.saturating_add(DAY) {
            return Err(Unusable::Future);
        }
        let id = whole(row, 1, i64::from(u32::MAX))?;
        let (rate, window) = match schema {
            Schema::Deployed => {
                let (sum, window) = (amount(row, 2, MOST_WORK)?, amount(row, 3, MOST_SECONDS)?);
                if window == 0.0 {
                    return Err(Unusable::NoTime);
                }
                (sum / window, window)
            }
            Schema::Older => (amount(row, 2, MOST_WORK)?, OLDER_WINDOW),
        };
        if self.before.len() >= MOST_PEERS && !self.before.contains_key(&id) {
            return Err(Unusable::Full);
        }
        let before = self.before.insert(id, timestamp);
        // Also of those that are known: the next one begins at them.
        if (timestamp, id) <= self.mark {
            return Ok(None);
        }
        // The rate holds since the sample before, and not for longer than it was measured.
        let seconds = before.map_or(window, |before| window.min((timestamp - before) as f64));
        let name = self.names.get(&id).cloned().unwrap_or_default();
        let downstream_id = u32::try_from(id).ok();
        let subject = Subject::Miner { source: self.options.source.clone(), downstream_id, name };
        let (work, declared_hs) = match schema {
            Schema::Deployed => (Some(rate * seconds), None),
            Schema::Older => (None, Some(rate)),
        };
        let sample = Sample { timestamp, subject, seconds, work, declared_hs };
        sample.check().map_err(|refusal| match refusal {
            Refusal::Seconds => Unusable::NoTime,
            _ => Unusable::Huge,
        })?;
        Ok(Some(((timestamp, id), sample)))
    }

    /// Adds the samples of one time to the batch, with their total.
    fn finish_picture(&mut self) {
        let Some(last) = self.picture.last() else { return };
        let total = total_of(&self.options.source, last.timestamp, &self.picture);
        self.report.samples.imported += self.picture.len() as u64;
        self.batch.append(&mut self.picture);
        self.batch.extend(total);
    }

    /// Compacts what is due and keeps the limits, since an old file may be larger than the history may be.
    fn keep_limits(&mut self) -> Result<(), HistoryError> {
        loop {
            match self.history.step(self.options.now)? {
                Step::Idle => return Ok(()),
                Step::Evicted(removed) => self.report.evicted += removed.rows,
                _ => {}
            }
        }
    }

    /// Writes the batch with the mark, in one transaction.
    fn write(&mut self) -> Result<(), HistoryError> {
        if self.options.dry_run || self.batch.is_empty() {
            self.batch.clear();
            return Ok(());
        }
        self.keep_limits()?;
        let points = [Point::ImportBeforeCommit, Point::ImportAfterCommit];
        let (batch, source, mark) = (&self.batch, &self.options.source, self.seen);
        let full = self.history.transact(IMPORT_HISTORY, points, |parts| {
            let written = write_batch(parts, &Batch { samples: batch, ..Batch::default() })?;
            write_mark(parts, source, mark)?;
            Ok(written.refused.get(&Refusal::Full).copied().unwrap_or_default())
        })?;
        if full > 0 {
            self.report.samples.imported = self.report.samples.imported.saturating_sub(full);
            *self.report.samples.unusable.entry(Unusable::Full).or_default() += full;
        }
        self.batch.clear();
        Ok(())
    }
}

fn write_mark(parts: &mut Parts<'_>, source: &Arc<str>, mark: Mark) -> rusqlite::Result<()> {
    // A source for which there is no room has no samples either.
    let Ok(source) = parts.dictionary.source(parts.connection, parts.limits, source)? else { return Ok(()) };
    let mut statement =
        parts.connection.prepare_cached("INSERT OR REPLACE INTO imports VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![source, PART, mark.0, mark.1]).map(|_| ())
}
