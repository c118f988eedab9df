//! Reading: ranges, quotes, balances. Each answer is one short read of one state of the file, which no writer changes meanwhile,
//! and its size has a limit.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, params};

use crate::{
    block,
    dictionary::columns,
    error::{HistoryError, HistoryErrorKind},
    level::Level,
    open,
    operations::READ_HISTORY,
    plan::{Plan, plan},
    rollup::{Both, Rollup},
    sample::{LATEST, Subject},
    state::{Kept, read_kept, read_state},
    tail::{keys, runs},
};

/// The most rows that one range reads. Two years of hours are 17,520 rows a series.
const MOST_ROWS: i64 = 2_000_000;
/// The most series whose histories are joined by a name, the newest first.
const MOST_JOINED: i64 = 64;
/// The most quotes of an answer.
pub const MOST_QUOTES: usize = 10_000;
/// The most balances of an answer.
const MOST_BALANCES: i64 = 10_000;

/// Whose history is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// One series.
    Subject(Subject),
    /// All series of a source with this name, as those of a worker whose id changes with each connection.
    Named {
        /// The source.
        source: String,
        /// The name.
        name: String,
    },
    /// The newest series of this id: of the source, or of any.
    Id {
        /// The source.
        source: Option<String>,
        /// The id.
        downstream_id: u32,
    },
}

/// A point of a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistoryPoint {
    /// Its start, in Unix seconds.
    pub timestamp: i64,
    /// What was measured and what was declared in its time; both are empty in a gap.
    pub both: Both,
}

/// The answer to a range.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRange {
    /// The level that answered.
    pub level: Level,
    /// The seconds of a point.
    pub step: i64,
    /// One point for each step from the start to the end of the range, both widened to whole steps.
    pub points: Vec<HistoryPoint>,
}

/// A quote in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteRead {
    /// When, in Unix seconds.
    pub timestamp: i64,
    /// The source.
    pub source: String,
    /// The id in the source's messages.
    pub downstream_id: u32,
    /// The amount.
    pub amount: u64,
}

/// A balance in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceRead {
    /// The source.
    pub source: String,
    /// The balance.
    pub balance: u64,
    /// When it was told, in Unix seconds.
    pub timestamp: i64,
}

/// A reader of a history file with a connection of its own. It is for one thread at a time; the writer never waits for it, nor it
/// for the writer.
#[derive(Debug)]
pub struct HistoryReader {
    connection: Connection,
    path: PathBuf,
}

impl HistoryReader {
    /// Opens a file that a [`crate::History`] has made.
    ///
    /// # Errors
    /// [`HistoryError`] when it is missing, not ours, or can't be read.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        Ok(Self { connection: open::reader(path)?, path: path.to_owned() })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, HistoryError> {
        let transaction = self.connection.unchecked_transaction();
        let done = transaction.and_then(|transaction| {
            let done = work(&transaction)?;
            transaction.finish()?;
            Ok(done)
        });
        done.map_err(|error| HistoryError::sqlite(READ_HISTORY, &self.path, error))
    }

    fn check(&self, from: i64, to: i64) -> Result<(i64, i64), HistoryError> {
        let (from, to) = (from.clamp(0, LATEST), to.clamp(0, LATEST));
        if from < to {
            return Ok((from, to));
        }
        let detail = format!("{from} to {to}");
        Err(HistoryError::new(READ_HISTORY, &self.path, HistoryErrorKind::BadRange, detail))
    }

    /// The history of a subject in a range of Unix seconds, in at most [`crate::MOST_POINTS`] points of at least `shortest` seconds:
    /// the interval of the samples, since shorter points would be gaps. A subject that is unknown has gaps only.
    ///
    /// # Errors
    /// [`HistoryError`] when `from` is not before `to`, or the file can't be read.
    pub fn range(
        &self,
        wanted: &Wanted,
        from: i64,
        to: i64,
        shortest: i64,
    ) -> Result<HistoryRange, HistoryError> {
        let (from, to) = self.check(from, to)?;
        let answer = self.read(|connection| {
            let kept = read_kept(connection)?;
            let plan = plan(from, to, shortest.clamp(1, LATEST), &kept);
            let series = series_of(connection, wanted)?;
            answer(connection, plan, &kept, &series)
        })?;
        answer.ok_or_else(|| {
            let detail = format!("more than {MOST_ROWS} rows from {from} to {to}");
            HistoryError::new(READ_HISTORY, &self.path, HistoryErrorKind::TooMuch, detail)
        })
    }

    /// The range as one level has it, in points of `step` seconds, a multiple of the level's bucket: for checks of one level against
    /// another.
    ///
    /// # Errors
    /// As [`HistoryReader::range`].
    pub fn range_of_level(
        &self,
        wanted: &Wanted,
        level: Level,
        from: i64,
        to: i64,
        step: i64,
    ) -> Result<HistoryRange, HistoryError> {
        let (from, to) = self.check(from, to)?;
        let step = (step.max(1) + level.bucket() - 1) / level.bucket() * level.bucket();
        let start = from - from % step;
        let plan = Plan { level, start, end: (to + step - 1) / step * step, step };
        let answer = self.read(|connection| {
            let series = series_of(connection, wanted)?;
            answer(connection, plan, &[0; 3], &series)
        })?;
        answer.ok_or_else(|| {
            HistoryError::new(READ_HISTORY, &self.path, HistoryErrorKind::TooMuch, "too many rows or points")
        })
    }

    /// The end of the newest sample of a subject that was measured in a range of Unix seconds and is still kept raw.
    ///
    /// # Errors
    /// As [`HistoryReader::range`].
    pub fn measured_until(&self, subject: Subject, from: i64, to: i64) -> Result<Option<i64>, HistoryError> {
        // A raw point of one second has the time of its samples.
        let range = self.range_of_level(&Wanted::Subject(subject), Level::Raw, from, to, 1)?;
        let newest = range.points.iter().rev().find(|point| point.both.measured.samples > 0);
        Ok(newest.map(|point| point.timestamp))
    }

    /// The newest quotes in a range of Unix seconds, the newest first: at most `limit`, and at most [`MOST_QUOTES`].
    ///
    /// # Errors
    /// As [`HistoryReader::range`].
    pub fn quotes(&self, from: i64, to: i64, limit: usize) -> Result<Vec<QuoteRead>, HistoryError> {
        let (from, to) = self.check(from, to)?;
        let limit = i64::try_from(limit.min(MOST_QUOTES)).unwrap_or_default();
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT timestamp, name, downstream_id, amount FROM quotes JOIN sources ON id = source \
                 WHERE timestamp >= ?1 AND timestamp < ?2 ORDER BY timestamp DESC, source, downstream_id, amount, n LIMIT ?3",
            )?;
            let rows = statement.query_map([from, to, limit], |row| {
                let (timestamp, source, downstream_id) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(QuoteRead { timestamp, source, downstream_id, amount: amount(row, 3)? })
            })?;
            rows.collect()
        })
    }

    /// The newest balance of each source.
    ///
    /// # Errors
    /// [`HistoryError`] when the file can't be read.
    pub fn balances(&self) -> Result<Vec<BalanceRead>, HistoryError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, balance, timestamp FROM balances JOIN sources ON id = source ORDER BY name LIMIT ?1",
            )?;
            let rows = statement.query_map([MOST_BALANCES], |row| {
                Ok(BalanceRead { source: row.get(0)?, balance: amount(row, 1)?, timestamp: row.get(2)? })
            })?;
            rows.collect()
        })
    }
}

/// The numbers of the series that are wanted.
fn series_of(connection: &Connection, wanted: &Wanted) -> rusqlite::Result<Vec<i64>> {
    let id = |row: &Row<'_>| row.get(0);
    match wanted {
        Wanted::Subject(subject) => {
            let (source, kind, downstream_id, name) = columns(subject);
            let mut statement = connection.prepare_cached(
                "SELECT id FROM series WHERE source = coalesce((SELECT id FROM sources WHERE name = ?1), iif(?1 IS NULL, 0, -1)) \
                 AND kind = ?2 AND downstream_id = ?3 AND name = ?4",
            )?;
            statement.query_map(params![source.map(|name| &**name), kind, downstream_id, name], id)?.collect()
        }
        Wanted::Named { source, name } => {
            let mut statement = connection.prepare_cached(
                "SELECT id FROM series WHERE source = (SELECT id FROM sources WHERE name = ?1) AND kind = 2 AND name = ?2 \
                 ORDER BY id DESC LIMIT ?3",
            )?;
            statement.query_map(params![source, name, MOST_JOINED], id)?.collect()
        }
        Wanted::Id { source, downstream_id } => {
            let mut statement = connection.prepare_cached(
                "SELECT max(id) FROM series WHERE kind = 2 AND downstream_id = ?2 \
                 AND (?1 IS NULL OR source = (SELECT id FROM sources WHERE name = ?1)) HAVING max(id) IS NOT NULL",
            )?;
            statement.query_map(params![source, downstream_id], id)?.collect()
        }
    }
}

/// The points of a plan; none when there are too many rows.
fn answer(
    connection: &Connection,
    plan: Plan,
    kept: &Kept,
    series: &[i64],
) -> rusqlite::Result<Option<HistoryRange>> {
    let Plan { level, start, end, step } = plan;
    let count = (end - start) / step;
    if count > MOST_ROWS {
        return Ok(None);
    }
    let at = |index: i64| HistoryPoint { timestamp: start + index * step, both: Both::default() };
    let mut sums =
        Sums { plan, oldest: kept[Level::Hours as usize], rows: 0, points: (0..count).map(at).collect() };
    let (active, cursor) = (read_state(connection, "active")?, read_state(connection, "cursor")?);
    for series in series {
        sums.add_level(connection, *series)?;
        sums.add_tail(connection, active, *series)?;
        // What the compaction has moved is in the levels.
        if *series > cursor {
            sums.add_tail(connection, 1 - active, *series)?;
        }
    }
    let is_whole = sums.rows <= MOST_ROWS;
    Ok(is_whole.then_some(HistoryRange { level, step, points: sums.points }))
}

struct Sums {
    plan: Plan,
    /// Before this time no level is complete.
    oldest: i64,
    rows: i64,
    points: Vec<HistoryPoint>,
}

impl Sums {
    fn add(&mut self, timestamp: i64, both: &Both) {
        self.rows += 1;
        let index = timestamp.saturating_sub(self.plan.start).div_euclid(self.plan.step);
        let point = usize::try_from(index).ok().and_then(|index| self.points.get_mut(index));
        if let Some(point) = point.filter(|_| timestamp >= self.oldest) {
            point.both.merge(both);
        }
    }

    /// Adds the rows of a series that its level has, a chunk at a time.
    fn add_level(&mut self, connection: &Connection, series: i64) -> rusqlite::Result<()> {
        let Plan { level, start, end, .. } = self.plan;
        let (first, last) = (level.place(start).0, level.place(end - 1).0);
        let columns = match level {
            Level::Raw => "samples",
            Level::Minutes | Level::Hours => {
                "work, seconds, lowest, highest, samples, declared_work, declared_seconds, declared_lowest, \
                 declared_highest, declared_samples"
            }
        };
        let table = level.table();
        // Chunks without any rows are skipped: a range may be far longer than the history.
        let mut statement = connection.prepare_cached(&format!(
            "SELECT at, {columns} FROM {table} WHERE chunk = ?1 AND series = ?2 AND at >= ?3 AND at <= ?4 LIMIT ?5"
        ))?;
        let mut next =
            connection.prepare_cached(&format!("SELECT min(chunk) FROM {table} WHERE chunk >= ?1"))?;
        let mut from = first;
        while let Some(chunk) = next.query_row([from], |row| row.get::<_, Option<i64>>(0))? {
            if chunk > last || self.rows > MOST_ROWS {
                break;
            }
            let low = if chunk == first { level.place(start).1 } else { 0 };
            let high = if chunk == last { level.place(end - 1).1 } else { i64::MAX };
            let mut rows = statement.query([chunk, series, low, high, MOST_ROWS - self.rows + 1])?;
            while let Some(row) = rows.next()? {
                let time = level.time(chunk, row.get(0)?);
                if level != Level::Raw {
                    self.add(time, &Both { measured: rollup(row, 1)?, declared: rollup(row, 6)? });
                    continue;
                }
                for (offset, seconds, work, declared_hs) in block::samples(row.get_ref(1)?.as_str()?) {
                    self.add(time.saturating_add(offset), &Both::of(seconds, work, declared_hs));
                }
            }
            from = chunk + 1;
        }
        Ok(())
    }

    /// Adds the samples of a series that a table of the tail has: one look-up a run.
    fn add_tail(&mut self, connection: &Connection, table: i64, series: i64) -> rusqlite::Result<()> {
        let Plan { start, end, .. } = self.plan;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT timestamp, seconds, work, declared_hs FROM tail_{table} WHERE id BETWEEN ?1 AND ?2"
        ))?;
        for run in 0..runs(connection, table)? {
            let mut rows = statement.query(keys(run, series..=series))?;
            while let Some(row) = rows.next()? {
                let timestamp = row.get(0)?;
                if (start..end).contains(&timestamp) {
                    self.add(timestamp, &Both::of(row.get(1)?, row.get(2)?, row.get(3)?));
                }
            }
        }
        Ok(())
    }
}

/// A roll-up whose columns start here; without samples they are empty.
fn rollup(row: &Row<'_>, first: usize) -> rusqlite::Result<Rollup> {
    let Some(samples) = row.get::<_, Option<i64>>(first + 4)? else { return Ok(Rollup::default()) };
    let samples = samples.unsigned_abs();
    let number = |index: usize| row.get::<_, f64>(first + index);
    Ok(Rollup { work: number(0)?, seconds: number(1)?, lowest: number(2)?, highest: number(3)?, samples })
}

/// A number that the writer keeps only where it is not negative.
fn amount(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}
