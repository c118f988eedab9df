//! A file of the former service, opened for reading only. Nothing in it is trusted: not its schema, its types or its sizes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, Row, types::ValueRef};

use super::report::{FormerSchema as Schema, Unusable};
use crate::{
    error::{HistoryError, HistoryErrorKind},
    operations::IMPORT_HISTORY,
};

/// The longest text that SQLite may make of the file, in bytes. Names are far shorter.
const LONGEST_VALUE: i32 = 1 << 20;
/// A table that is known and not imported.
const CURRENT: &str = "current_stats";

/// The columns of a table that an import needs.
const DEPLOYED: [&str; 4] = ["timestamp", "downstream_id", "sum_difficulty", "window_seconds"];
const OLDER: [&str; 3] = ["timestamp", "downstream_id", "estimated_hashrate"];
const QUOTES: [&str; 3] = ["timestamp", "downstream_id", "amount"];
const NAMES: [&str; 2] = ["downstream_id", "name"];

/// The file, and what it has.
pub(super) struct Former {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) schema: Option<Schema>,
    pub(super) has_names: bool,
    pub(super) has_quotes: bool,
    /// The column of the balance's time; `None` where there is no balance, `Some(None)` where it has no time.
    pub(super) balance_time: Option<Option<&'static str>>,
    pub(super) passed_over: Vec<String>,
}

impl Former {
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        fs::metadata(path).map_err(|error| HistoryError::io(IMPORT_HISTORY, path, error))?;
        let failed = |error| HistoryError::sqlite(IMPORT_HISTORY, path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(crate::open::BUSY_TIMEOUT).map_err(failed)?;
        connection.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE).map_err(failed)?;
        for (pragma, value) in [("trusted_schema", "off"), ("cell_size_check", "on"), ("query_only", "on")] {
            connection.pragma_update(None, pragma, value).map_err(failed)?;
        }
        let mut former = Self {
            connection,
            path: path.to_owned(),
            schema: None,
            has_names: false,
            has_quotes: false,
            balance_time: None,
            passed_over: Vec::new(),
        };
        former.look().map_err(failed)?;
        if former.schema.is_none() && !former.has_quotes && former.balance_time.is_none() {
            let detail = format!("it has no table of the former service; {}", former.passed_over.join("; "));
            return Err(HistoryError::new(IMPORT_HISTORY, path, HistoryErrorKind::Foreign, detail));
        }
        Ok(former)
    }

    /// Finds out what the file has.
    fn look(&mut self) -> rusqlite::Result<()> {
        if let Some(columns) = self.columns("hashrate_samples")? {
            let has =
                |needed: &[&str]| needed.iter().all(|needed| columns.iter().any(|column| column == needed));
            self.schema = match () {
                () if has(&DEPLOYED) => Some(Schema::Deployed),
                () if has(&OLDER) => Some(Schema::Older),
                () => None,
            };
            if self.schema.is_none() {
                let needed = [DEPLOYED.join(", "), OLDER.join(", ")].join(", nor ");
                self.passed_over.push(format!("hashrate_samples has neither {needed}"));
            }
        }
        self.has_names = self.has("downstreams", &NAMES)?;
        self.has_quotes = self.has("quote_history", &QUOTES)?;
        if self.has("balance", &["balance"])? {
            let columns = self.columns("balance")?.unwrap_or_default();
            let times = ["timestamp", "updated_at", "last_updated"];
            self.balance_time =
                Some(times.into_iter().find(|time| columns.iter().any(|column| column == time)));
        }
        if self.columns(CURRENT)?.is_some() {
            self.passed_over.push(format!("{CURRENT}: it is no history"));
        }
        Ok(())
    }

    /// Whether a table has these columns; one that lacks some is passed over.
    fn has(&mut self, table: &str, needed: &[&str]) -> rusqlite::Result<bool> {
        let Some(columns) = self.columns(table)? else { return Ok(false) };
        let missing = needed.iter().find(|needed| !columns.iter().any(|column| column == *needed));
        if let Some(missing) = missing {
            self.passed_over.push(format!("{table} has no column {missing}"));
        }
        Ok(missing.is_none())
    }

    /// The columns of a table; none where there is no such table. A view or a virtual table of that name is none: reading it would
    /// run what its author wrote.
    fn columns(&self, table: &str) -> rusqlite::Result<Option<Vec<String>>> {
        let sql =
            "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND name = ?1 AND type = 'table'";
        if self.connection.query_row(sql, [table], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(None);
        }
        // Generated columns are not listed.
        let mut statement = self.connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let columns = statement.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Some(columns))
    }

    /// Reads all rows of a query.
    pub(super) fn each(
        &self,
        sql: &str,
        mut work: impl FnMut(&Row<'_>) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        let failed = |error| HistoryError::sqlite(IMPORT_HISTORY, &self.path, error);
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            work(row)?;
        }
        Ok(())
    }
}

/// A whole number that is not negative.
pub(super) fn whole(row: &Row<'_>, column: usize, most: i64) -> Result<i64, Unusable> {
    let number = match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => number,
        // As some programs write whole numbers; above 2^53 they would not be exact.
        Ok(ValueRef::Real(number)) if number.fract() == 0.0 && number.abs() < 9e15 => number as i64,
        Ok(ValueRef::Real(number)) if number.abs() >= 9e15 => return Err(Unusable::Huge),
        Ok(ValueRef::Null) => return Err(Unusable::Missing),
        _ => return Err(Unusable::NotANumber),
    };
    match number {
        ..0 => Err(Unusable::Negative),
        number if number > most => Err(Unusable::Huge),
        number => Ok(number),
    }
}

/// A number that is not negative.
pub(super) fn amount(row: &Row<'_>, column: usize, most: f64) -> Result<f64, Unusable> {
    let number = match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => number as f64,
        Ok(ValueRef::Real(number)) if !number.is_nan() => number,
        Ok(ValueRef::Null) => return Err(Unusable::Missing),
        _ => return Err(Unusable::NotANumber),
    };
    if number < 0.0 {
        return Err(Unusable::Negative);
    }
    if number > most { Err(Unusable::Huge) } else { Ok(number) }
}
