//! Maintenance, in steps of one short transaction each: the limit of bytes, compaction, retention, names, size.

use rusqlite::{Connection, OptionalExtension};

use crate::{
    compact::Compacted,
    dictionary::DAY,
    error::HistoryError,
    history::History,
    level::Level,
    operations::{RETIRE_HISTORY, SHRINK_HISTORY},
    points::Point,
    sample::LATEST,
    state::write_state,
    tail::Parts,
};

/// Pages that one step returns to the disk.
const SHRINK_PAGES: i64 = 1_024;
/// Days in which a name has to be seen to be kept when there are nearly too many.
const ACTIVE_DAYS: i64 = 2;

/// A part of the history that is removed by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The rows of a level.
    Level(Level),
    /// The quotes.
    Quotes,
}

/// Rows that a step removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Where.
    pub part: Part,
    /// How many.
    pub rows: u64,
    /// Before this time, in Unix seconds, the part is no longer complete.
    pub before: i64,
}

/// What one step of maintenance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The file has more bytes than it may have: the oldest of the finest part that has any was removed.
    Evicted(Removed),
    /// Samples were moved from the tail into the levels.
    Compacted(Compacted),
    /// What is older than its part keeps was removed.
    Retired(Removed),
    /// So many series without samples, or not seen for days while there are nearly too many, lost their names.
    Forgotten(usize),
    /// So many free pages were returned to the disk.
    Shrunk(u64),
    /// There is nothing to do.
    Idle,
}

impl History {
    /// Does one step of what is most urgent, at the time `now` in Unix seconds. Call it after each batch until it is idle; between
    /// two steps other batches can be written. Readers never wait for a step: they see the state before it until it is committed.
    ///
    /// A clock that leaps ahead makes history seem old: the caller should be sure of the time.
    ///
    /// # Errors
    /// As [`History::write`].
    pub fn step(&mut self, now: i64) -> Result<Step, HistoryError> {
        self.now = Some(now);
        if self.used_bytes()? > self.limits.used_bytes()
            && let Some(removed) = self.remove(LATEST + 1, |_, _| true)?
        {
            return Ok(Step::Evicted(removed));
        }
        if self.tail.sealed.is_some() {
            return Ok(Step::Compacted(self.compact_step()?));
        }
        if self.tail.rows > 0 {
            let since = *self.tail.since.get_or_insert(now);
            let age = i64::try_from(self.limits.tail_age.as_secs()).unwrap_or(i64::MAX);
            // A clock that leaps back doesn't put the compaction off.
            if now < since || now - since >= age {
                self.seal_tail()?;
                return Ok(Step::Compacted(self.compact_step()?));
            }
        }
        let first = Level::ALL.map(|level| self.limits.first_chunk(level, now));
        let quotes = now.saturating_sub(self.limits.keep(Level::Hours));
        let retired = self.remove(quotes, |part, oldest| match part {
            Part::Level(level) => oldest < first[level as usize],
            Part::Quotes => oldest < quotes,
        })?;
        if let Some(removed) = retired {
            return Ok(Step::Retired(removed));
        }
        match self.forget(now)? {
            0 => {}
            series => return Ok(Step::Forgotten(series)),
        }
        self.shrink()
    }

    fn pragma(&self, name: &str) -> Result<u64, HistoryError> {
        let number = self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let number = number.map_err(|error| HistoryError::sqlite(SHRINK_HISTORY, &self.path, error))?;
        Ok(u64::try_from(number).unwrap_or_default())
    }

    /// The bytes of pages in use.
    fn used_bytes(&self) -> Result<u64, HistoryError> {
        let pages = self.pragma("page_count")?.saturating_sub(self.pragma("freelist_count")?);
        Ok(pages * self.pragma("page_size")?)
    }

    /// Removes rows of the oldest chunk of the finest part whose oldest chunk, or time of the oldest quote, is `due`. Of quotes those
    /// from `quotes` on are left.
    fn remove(
        &mut self,
        quotes: i64,
        due: impl Fn(Part, i64) -> bool,
    ) -> Result<Option<Removed>, HistoryError> {
        let mut found = None;
        for part in Level::ALL.map(Part::Level).into_iter().chain([Part::Quotes]) {
            let oldest = oldest(&self.connection, part)
                .map_err(|error| HistoryError::sqlite(RETIRE_HISTORY, &self.path, error))?;
            if let Some(oldest) = oldest.filter(|oldest| due(part, *oldest)) {
                found = Some((part, oldest));
                break;
            }
        }
        let Some((part, oldest)) = found else { return Ok(None) };
        let points = [Point::RetentionBeforeCommit, Point::RetentionAfterCommit];
        self.transact(RETIRE_HISTORY, points, |parts| match part {
            Part::Level(level) => remove_chunk(parts, level, oldest).map(Some),
            Part::Quotes => remove_quotes(parts, oldest, quotes).map(Some),
        })
    }

    /// Once a day, and whenever there are nearly too many series.
    fn forget(&mut self, now: i64) -> Result<usize, HistoryError> {
        let today = now / DAY;
        let is_nearly_full = self.dictionary.series_count() > self.limits.series / 10 * 9;
        let gone = self.kept[Level::Hours as usize] / DAY;
        let before = if is_nearly_full { gone.max(today - ACTIVE_DAYS) } else { gone };
        if self.forgot_on == today && !is_nearly_full {
            return Ok(0);
        }
        let points = [Point::RetentionBeforeCommit, Point::RetentionAfterCommit];
        let forgotten = self.transact(RETIRE_HISTORY, points, |parts| {
            let most = parts.limits.step_rows;
            parts.dictionary.forget(parts.connection, before, most)
        })?;
        if forgotten == 0 {
            self.forgot_on = today;
        }
        Ok(forgotten)
    }

    /// Returns free pages to the disk while the file is too large. Others are used again.
    fn shrink(&mut self) -> Result<Step, HistoryError> {
        let (pages, free) = (self.pragma("page_count")?, self.pragma("freelist_count")?);
        let most = self.limits.file_bytes() / self.pragma("page_size")?.max(1);
        if pages <= most || free == 0 {
            return Ok(Step::Idle);
        }
        let failed = |error| HistoryError::sqlite(SHRINK_HISTORY, &self.path, error);
        let step = i64::try_from(pages - most).unwrap_or(i64::MAX).min(SHRINK_PAGES);
        vacuum(&self.connection, step).map_err(failed)?;
        // Only then the file itself is shorter.
        self.empty_log();
        Ok(Step::Shrunk(pages.saturating_sub(self.pragma("page_count")?)))
    }
}

fn vacuum(connection: &Connection, pages: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    // A row a page: the statement works only while it is read.
    while rows.next()?.is_some() {}
    Ok(())
}

/// The oldest chunk of a level, or the time of the oldest quote.
fn oldest(connection: &Connection, part: Part) -> rusqlite::Result<Option<i64>> {
    let sql = match part {
        Part::Level(level) => format!("SELECT min(chunk) FROM {}", level.table()),
        Part::Quotes => "SELECT min(timestamp) FROM quotes".to_owned(),
    };
    connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))
}

fn remove_chunk(parts: &mut Parts<'_>, level: Level, chunk: i64) -> rusqlite::Result<Removed> {
    let table = level.table();
    let step = parts.limits.removed_rows();
    let series_at = |offset: i64| {
        let sql =
            format!("SELECT series FROM {table} WHERE chunk = ?1 ORDER BY chunk, series LIMIT 1 OFFSET ?2");
        let mut statement = parts.connection.prepare_cached(&sql)?;
        statement.query_row([chunk, offset], |row| row.get::<_, i64>(0)).optional()
    };
    // Whole series, so that the rows are neighbours; at least one.
    let (first, next) = (series_at(0)?.unwrap_or_default(), series_at(step)?);
    let last = next.map_or(i64::MAX, |next| (next - 1).max(first));
    let mut delete =
        parts.connection.prepare_cached(&format!("DELETE FROM {table} WHERE chunk = ?1 AND series <= ?2"))?;
    let rows = delete.execute([chunk, last])? as u64;
    let before = (chunk + 1) * level.chunk();
    let kept = &mut parts.kept[level as usize];
    if before > *kept {
        *kept = before;
        write_state(parts.connection, level.kept(), before)?;
    }
    Ok(Removed { part: Part::Level(level), rows, before: *kept })
}

fn remove_quotes(parts: &mut Parts<'_>, oldest: i64, end: i64) -> rusqlite::Result<Removed> {
    let step = parts.limits.removed_rows();
    // Of the quotes of one second all go, or none.
    let mut next = parts
        .connection
        .prepare_cached("SELECT timestamp FROM quotes ORDER BY timestamp LIMIT 1 OFFSET ?1")?;
    let next: Option<i64> = next.query_row([step], |row| row.get(0)).optional()?;
    let before = next.unwrap_or(LATEST + 1).min(end).max(oldest + 1);
    let mut delete = parts.connection.prepare_cached("DELETE FROM quotes WHERE timestamp < ?1")?;
    let rows = delete.execute([before])? as u64;
    Ok(Removed { part: Part::Quotes, rows, before })
}
