//! Compaction: moves the samples of a sealed tail into the three levels, a series at a time.
//!
//! Each sample is added to its raw row, its minute and its hour in one transaction with the note of how far the compaction is
//! (`cursor`, the last series that is done). So a sample is in a level or in the visible tail, never in both and never in
//! neither: after a crash, after a late sample, after a leap of the clock. Nothing is rolled up from one level to the next, so no
//! row is ever missing in a coarser level; retention only deletes. The order of times plays no role: rows are merged, and merging
//! commutes.
//!
//! Figures and the alternative (adding to the levels at each flush) are in the bench `history`.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    block,
    error::HistoryError,
    history::History,
    level::Level,
    operations::COMPACT_HISTORY,
    points::Point,
    rollup::{Both, Rollup},
    state::{Kept, write_state},
    tail::{Parts, Row, Sealed, keys, seal, series_of_key},
};

/// What a step moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Samples that left the tail.
    pub samples: u64,
    /// Those of them that were too old for every level, and are dropped.
    pub dropped: u64,
    /// Rows of levels that were written.
    pub rows: u64,
}

impl History {
    /// Compacts what is in the tail, whatever its age, to the end.
    ///
    /// # Errors
    /// As [`History::write`].
    pub fn compact(&mut self) -> Result<Compacted, HistoryError> {
        let mut all = Compacted::default();
        for _ in 0..2 {
            while self.tail.sealed.is_some() {
                let step = self.compact_step()?;
                all.samples += step.samples;
                all.dropped += step.dropped;
                all.rows += step.rows;
            }
            if self.tail.rows > 0 {
                self.seal_tail()?;
            }
        }
        Ok(all)
    }

    pub(crate) fn seal_tail(&mut self) -> Result<(), HistoryError> {
        let points = [Point::CompactionBeforeCommit, Point::CompactionAfterCommit];
        self.transact(COMPACT_HISTORY, points, seal)
    }

    /// Moves some series of the sealed tail in one transaction of about as many rows as a step may have.
    pub(crate) fn compact_step(&mut self) -> Result<Compacted, HistoryError> {
        let points = [Point::CompactionBeforeCommit, Point::CompactionAfterCommit];
        let now = self.now;
        self.transact(COMPACT_HISTORY, points, |parts| step(parts, now))
    }
}

fn step(parts: &mut Parts<'_>, now: Option<i64>) -> rusqlite::Result<Compacted> {
    let Some(sealed) = parts.tail.sealed else { return Ok(Compacted::default()) };
    let last = last_series(parts.connection)?;
    let (rows, cursor) = some_series(parts.connection, sealed, last, parts.limits.step_rows)?;
    let mut mover = Mover {
        connection: parts.connection,
        first: now.map(|now| Level::ALL.map(|level| parts.limits.first_chunk(level, now))),
        kept: parts.kept,
        done: Compacted::default(),
    };
    let before = *mover.kept;
    for samples in rows.chunk_by(|one, other| one.series == other.series) {
        mover.move_series(samples)?;
    }
    let done = mover.done;
    for ((level, before), kept) in Level::ALL.into_iter().zip(before).zip(*parts.kept) {
        if kept != before {
            write_state(parts.connection, level.kept(), kept)?;
        }
    }
    if cursor >= last {
        // Without a condition SQLite frees the pages as a whole, and doesn't look at the rows.
        parts.connection.execute_batch(&format!("DELETE FROM tail_{}", sealed.table))?;
        parts.tail.sealed = None;
    } else {
        write_state(parts.connection, "cursor", cursor)?;
        parts.tail.sealed = Some(Sealed { cursor, ..sealed });
    }
    Ok(done)
}

/// The highest number that a series ever had.
fn last_series(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'series'";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// The samples of the next series of a sealed table, by series and time: about as many as a step may have, at least those of one
/// series. And the last of these series.
fn some_series(
    connection: &Connection,
    sealed: Sealed,
    last: i64,
    step: usize,
) -> rusqlite::Result<(Vec<Row>, i64)> {
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    // As if each series had as many samples.
    let mut width = (number(step).saturating_mul(last) / number(sealed.rows).max(1)).max(1);
    let mut first = sealed.cursor + 1;
    loop {
        let end = first.saturating_add(width - 1).min(last);
        let most = if end > first { step.saturating_mul(4) } else { usize::MAX };
        match samples_of(connection, sealed, first..=end, most)? {
            None => width = (width / 2).max(1),
            Some(rows) if rows.is_empty() && end < last => {
                (first, width) = (end + 1, width.saturating_mul(2))
            }
            Some(mut rows) => {
                rows.sort_by_key(|row| (row.series, row.timestamp));
                return Ok((rows, end));
            }
        }
    }
}

/// The samples of these series in all runs; none when there are too many.
fn samples_of(
    connection: &Connection,
    sealed: Sealed,
    series: RangeInclusive<i64>,
    most: usize,
) -> rusqlite::Result<Option<Vec<Row>>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, timestamp, seconds, work, declared_hs FROM tail_{} WHERE id BETWEEN ?1 AND ?2",
        sealed.table
    ))?;
    let mut all = Vec::new();
    for run in 0..sealed.runs {
        let mut rows = statement.query(keys(run, series.clone()))?;
        while let Some(row) = rows.next()? {
            let (series, timestamp, seconds) = (series_of_key(row.get(0)?), row.get(1)?, row.get(2)?);
            all.push(Row { series, timestamp, seconds, work: row.get(3)?, declared_hs: row.get(4)? });
        }
        if all.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(all))
}

struct Mover<'a> {
    connection: &'a Connection,
    /// The first chunk of each level that is not too old, where the time is known.
    first: Option<[i64; 3]>,
    kept: &'a mut Kept,
    done: Compacted,
}

impl Mover<'_> {
    /// Moves samples of one series, in the order of their times.
    fn move_series(&mut self, samples: &[Row]) -> rusqlite::Result<()> {
        self.add_raw(samples)?;
        self.add(Level::Minutes, samples)?;
        let dropped = self.add(Level::Hours, samples)?;
        self.done.samples += samples.len() as u64;
        self.done.dropped += dropped;
        Ok(())
    }

    /// Whether a level still takes a time. What it does not take, it no longer has as a whole: that is noted.
    fn takes(&mut self, level: Level, timestamp: i64) -> bool {
        let kept = &mut self.kept[level as usize];
        let chunk = level.place(timestamp).0;
        if timestamp >= *kept && self.first.is_none_or(|first| chunk >= first[level as usize]) {
            return true;
        }
        *kept = (*kept).max((chunk + 1) * level.chunk());
        false
    }

    /// Adds samples to the blocks of the raw level.
    fn add_raw(&mut self, samples: &[Row]) -> rusqlite::Result<()> {
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO raw VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET samples = samples || ',' || excluded.samples",
        )?;
        let mut block = String::new();
        for of_row in samples.chunk_by(|one, other| same_row(Level::Raw, one, other)) {
            let Some(first) = of_row.first().filter(|first| self.takes(Level::Raw, first.timestamp)) else {
                continue;
            };
            let (chunk, at) = Level::Raw.place(first.timestamp);
            let start = Level::Raw.time(chunk, at);
            block.clear();
            for row in of_row {
                block::push(&mut block, row.timestamp - start, row.seconds, row.work, row.declared_hs);
            }
            upsert.execute(params![chunk, first.series, at, block])?;
            self.done.rows += 1;
        }
        Ok(())
    }

    /// Adds samples to the rows of a level, and returns how many are too old for it.
    fn add(&mut self, level: Level, samples: &[Row]) -> rusqlite::Result<u64> {
        let mut too_old = 0;
        for of_row in samples.chunk_by(|one, other| same_row(level, one, other)) {
            let Some(first) = of_row.first() else { continue };
            if !self.takes(level, first.timestamp) {
                too_old += of_row.len() as u64;
                continue;
            }
            let mut sum = Both::default();
            for row in of_row {
                sum.merge(&Both::of(row.seconds, row.work, row.declared_hs));
            }
            self.merge(level, first, &sum)?;
        }
        Ok(too_old)
    }

    fn merge(&mut self, level: Level, of: &Row, both: &Both) -> rusqlite::Result<()> {
        let ((chunk, at), series) = (level.place(of.timestamp), of.series);
        let (measured, declared) = (values(&both.measured), values(&both.declared));
        let mut upsert = self.connection.prepare_cached(merge_of(level))?;
        upsert.execute(params![
            chunk, series, at, measured.0, measured.1, measured.2, measured.3, measured.4, declared.0,
            declared.1, declared.2, declared.3, declared.4,
        ])?;
        self.done.rows += 1;
        Ok(())
    }
}

/// Whether two samples belong to the same row of a level.
fn same_row(level: Level, one: &Row, other: &Row) -> bool {
    level.place(one.timestamp) == level.place(other.timestamp)
}

/// The columns of a roll-up; without samples all are empty, which takes no room.
type Values = (Option<f64>, Option<f64>, Option<f64>, Option<f64>, Option<i64>);

fn values(rollup: &Rollup) -> Values {
    let is_some = rollup.samples > 0;
    let number = |number: f64| is_some.then_some(number);
    let samples = is_some.then(|| i64::try_from(rollup.samples).unwrap_or(i64::MAX));
    (number(rollup.work), number(rollup.seconds), number(rollup.lowest), number(rollup.highest), samples)
}

macro_rules! merge_into {
    ($table:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO UPDATE SET \
             work = coalesce(work + excluded.work, work, excluded.work), \
             seconds = coalesce(seconds + excluded.seconds, seconds, excluded.seconds), \
             lowest = coalesce(min(lowest, excluded.lowest), lowest, excluded.lowest), \
             highest = coalesce(max(highest, excluded.highest), highest, excluded.highest), \
             samples = coalesce(samples + excluded.samples, samples, excluded.samples), \
             declared_work = coalesce(declared_work + excluded.declared_work, declared_work, excluded.declared_work), \
             declared_seconds = coalesce(declared_seconds + excluded.declared_seconds, declared_seconds, \
                excluded.declared_seconds), \
             declared_lowest = coalesce(min(declared_lowest, excluded.declared_lowest), declared_lowest, \
                excluded.declared_lowest), \
             declared_highest = coalesce(max(declared_highest, excluded.declared_highest), declared_highest, \
                excluded.declared_highest), \
             declared_samples = coalesce(declared_samples + excluded.declared_samples, declared_samples, \
                excluded.declared_samples)"
        )
    };
}

/// The statement that adds a row to a level of roll-ups: what is there and what comes, or the one of them that is there.
const fn merge_of(level: Level) -> &'static str {
    match level {
        Level::Hours => merge_into!("hours"),
        Level::Minutes | Level::Raw => merge_into!("minutes"),
    }
}
