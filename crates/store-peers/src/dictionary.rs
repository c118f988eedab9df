//! The names of sources and series, each once in the file and once in memory; rows have their numbers.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, params};

use crate::{
    limits::Limits,
    sample::{Refusal, Subject},
};

/// The id of a miner that has none, in the file.
pub(crate) const NO_ID: i64 = -1;
/// The seconds of a day.
pub(crate) const DAY: i64 = 86_400;

/// What a subject is in the table of series: source, kind, id, name.
pub(crate) fn columns(subject: &Subject) -> (Option<&Arc<str>>, i64, i64, &str) {
    match subject {
        Subject::All => (None, 0, NO_ID, ""),
        Subject::Source(source) => (Some(source), 1, NO_ID, ""),
        Subject::Miner { source, downstream_id, name } => {
            (Some(source), 2, downstream_id.map_or(NO_ID, i64::from), name)
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: i64,
    /// The day of its newest sample.
    last_day: i64,
}

/// All names that the file has.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    sources: HashMap<Arc<str>, i64>,
    /// By the bytes of source, kind, id and name, so that a look-up allocates nothing.
    series: HashMap<Box<[u8]>, Entry>,
    key: Vec<u8>,
}

impl Dictionary {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut all = Self::default();
        let mut sources = connection.prepare("SELECT name, id FROM sources")?;
        let mut rows = sources.query([])?;
        while let Some(row) = rows.next()? {
            all.sources.insert(row.get::<_, String>(0)?.into(), row.get(1)?);
        }
        let mut series =
            connection.prepare("SELECT source, kind, downstream_id, name, id, last_day FROM series")?;
        let mut rows = series.query([])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(3)?.as_str()?;
            all.set_key(row.get(0)?, row.get(1)?, row.get(2)?, name);
            all.series.insert(all.key.as_slice().into(), Entry { id: row.get(4)?, last_day: row.get(5)? });
        }
        Ok(all)
    }

    pub(crate) fn series_count(&self) -> usize {
        self.series.len()
    }

    fn set_key(&mut self, source: i64, kind: i64, downstream_id: i64, name: &str) {
        self.key.clear();
        for number in [source, kind, downstream_id] {
            self.key.extend_from_slice(&number.to_le_bytes());
        }
        self.key.extend_from_slice(name.as_bytes());
    }

    /// The number of a source, which is added where it is new.
    pub(crate) fn source(
        &mut self,
        connection: &Connection,
        limits: &Limits,
        name: &Arc<str>,
    ) -> rusqlite::Result<Result<i64, Refusal>> {
        if let Some(id) = self.sources.get(name) {
            return Ok(Ok(*id));
        }
        if self.sources.len() >= limits.sources {
            return Ok(Err(Refusal::Full));
        }
        let id = connection
            .prepare_cached("INSERT INTO sources(name) VALUES (?1) RETURNING id")?
            .query_row([&**name], |row| row.get(0))?;
        self.sources.insert(name.clone(), id);
        Ok(Ok(id))
    }

    /// The number of a series, which is added where it is new, and notes the day of its newest sample.
    pub(crate) fn series(
        &mut self,
        connection: &Connection,
        limits: &Limits,
        subject: &Subject,
        timestamp: i64,
    ) -> rusqlite::Result<Result<i64, Refusal>> {
        let (source, kind, downstream_id, name) = columns(subject);
        let source = match source.map(|source| self.source(connection, limits, source)).transpose()? {
            None => 0,
            Some(Ok(id)) => id,
            Some(Err(refusal)) => return Ok(Err(refusal)),
        };
        let day = timestamp / DAY;
        self.set_key(source, kind, downstream_id, name);
        if let Some(entry) = self.series.get_mut(self.key.as_slice()) {
            if day > entry.last_day {
                connection
                    .prepare_cached("UPDATE series SET last_day = ?2 WHERE id = ?1")?
                    .execute([entry.id, day])?;
                entry.last_day = day;
            }
            return Ok(Ok(entry.id));
        }
        if self.series.len() >= limits.series {
            return Ok(Err(Refusal::Full));
        }
        let id = connection
            .prepare_cached(
                "INSERT INTO series(source, kind, downstream_id, name, last_day) VALUES (?1, ?2, ?3, ?4, ?5) \
                 RETURNING id",
            )?
            .query_row(params![source, kind, downstream_id, name, day], |row| row.get(0))?;
        self.series.insert(self.key.as_slice().into(), Entry { id, last_day: day });
        Ok(Ok(id))
    }

    /// Removes at most so many series whose newest sample is before a day, the oldest first, and sources that have nothing
    /// any more. Returns the number of series.
    pub(crate) fn forget(
        &mut self,
        connection: &Connection,
        before: i64,
        most: usize,
    ) -> rusqlite::Result<usize> {
        let mut old: Vec<(i64, i64)> = self
            .series
            .values()
            .filter(|entry| entry.last_day < before)
            .map(|entry| (entry.last_day, entry.id))
            .collect();
        if old.is_empty() {
            return Ok(0);
        }
        old.sort_unstable();
        old.truncate(most);
        let mut delete = connection
            .prepare_cached("DELETE FROM series WHERE id = ?1 RETURNING source, kind, downstream_id, name")?;
        for (_, id) in &old {
            let mut rows = delete.query([id])?;
            while let Some(row) = rows.next()? {
                let name: String = row.get(3)?;
                self.set_key(row.get(0)?, row.get(1)?, row.get(2)?, &name);
                self.series.remove(self.key.as_slice());
            }
        }
        let mut delete = connection.prepare_cached(
            "DELETE FROM sources WHERE id NOT IN (SELECT source FROM series) AND id NOT IN (SELECT source FROM quotes) \
             AND id NOT IN (SELECT source FROM balances) AND id NOT IN (SELECT source FROM imports) RETURNING name",
        )?;
        let mut rows = delete.query([])?;
        while let Some(row) = rows.next()? {
            self.sources.remove(row.get_ref(0)?.as_str()?);
        }
        Ok(old.len())
    }
}
