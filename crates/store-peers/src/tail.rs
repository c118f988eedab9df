//! The tail: samples that no level has yet, in two tables. One takes new samples while the other is being compacted.
//!
//! Each flush is a run: its samples in the order of their series, at the end of the table. So a flush appends, and the samples of
//! a series are one look-up in each run.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension};

use crate::{
    dictionary::Dictionary,
    limits::Limits,
    state::{Kept, write_state},
};

/// The bits of a key for the samples of one series in one run.
const NUMBER_BITS: u32 = 14;
/// The bits for the series.
const SERIES_BITS: u32 = 32;
/// The most samples of a series in one run.
pub(crate) const MOST_IN_RUN: i64 = 1 << NUMBER_BITS;
/// The most runs of a table: then it is compacted, whatever it has.
pub(crate) const MOST_RUNS: i64 = 1_000;

/// The key of a sample.
pub(crate) const fn key(run: i64, series: i64, number: i64) -> i64 {
    (run << (NUMBER_BITS + SERIES_BITS)) | (series << NUMBER_BITS) | number
}

/// The series of a key.
pub(crate) const fn series_of_key(key: i64) -> i64 {
    (key >> NUMBER_BITS) & ((1 << SERIES_BITS) - 1)
}

/// The keys of some series in a run.
pub(crate) fn keys(run: i64, series: RangeInclusive<i64>) -> [i64; 2] {
    [key(run, *series.start(), 0), key(run, *series.end(), MOST_IN_RUN - 1)]
}

/// A sample in a tail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) series: i64,
    pub(crate) timestamp: i64,
    pub(crate) seconds: f64,
    pub(crate) work: Option<f64>,
    pub(crate) declared_hs: Option<f64>,
}

/// The tail, as the writer knows it.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Which of the two tables takes new samples.
    pub(crate) active: i64,
    /// Its rows.
    pub(crate) rows: usize,
    /// Its runs.
    pub(crate) runs: i64,
    /// Since when it is known to have rows, by the caller's time.
    pub(crate) since: Option<i64>,
    /// The other table, while it is being compacted.
    pub(crate) sealed: Option<Sealed>,
}

/// A table that takes no more samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    pub(crate) table: i64,
    pub(crate) rows: usize,
    pub(crate) runs: i64,
    /// The last series that was moved into the levels.
    pub(crate) cursor: i64,
}

impl Tail {
    /// The tail as the file has it.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let active = crate::state::read_state(connection, "active")?;
        let (rows, runs) = (rows(connection, active)?, runs(connection, active)?);
        let table = 1 - active;
        let sealed = match runs_of(connection, table)? {
            None => None,
            Some(runs) => {
                let cursor = crate::state::read_state(connection, "cursor")?;
                Some(Sealed { table, rows: self::rows(connection, table)?, runs, cursor })
            }
        };
        Ok(Self { active, rows, runs, since: None, sealed })
    }
}

/// What a transaction works with.
pub(crate) struct Parts<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) limits: &'a Limits,
    pub(crate) dictionary: &'a mut Dictionary,
    pub(crate) kept: &'a mut Kept,
    pub(crate) tail: &'a mut Tail,
}

/// Lets the other table take new samples, so that this one can be compacted. The other one must be empty.
pub(crate) fn seal(parts: &mut Parts<'_>) -> rusqlite::Result<()> {
    let tail = &mut *parts.tail;
    tail.sealed = Some(Sealed { table: tail.active, rows: tail.rows, runs: tail.runs, cursor: 0 });
    tail.active = 1 - tail.active;
    (tail.rows, tail.runs, tail.since) = (0, 0, None);
    write_state(parts.connection, "active", tail.active)?;
    write_state(parts.connection, "cursor", 0)
}

fn rows(connection: &Connection, table: i64) -> rusqlite::Result<usize> {
    let rows: i64 =
        connection.query_row(&format!("SELECT count(*) FROM tail_{table}"), [], |row| row.get(0))?;
    Ok(usize::try_from(rows).unwrap_or_default())
}

fn runs_of(connection: &Connection, table: i64) -> rusqlite::Result<Option<i64>> {
    let sql = format!("SELECT id FROM tail_{table} ORDER BY id DESC LIMIT 1");
    let last = connection.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0)).optional()?;
    Ok(last.map(|last| (last >> (NUMBER_BITS + SERIES_BITS)) + 1))
}

/// The runs of a table.
pub(crate) fn runs(connection: &Connection, table: i64) -> rusqlite::Result<i64> {
    Ok(runs_of(connection, table)?.unwrap_or_default())
}
