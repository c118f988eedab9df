//! Quotes and the balance of a former file.

use std::collections::HashMap;

use rusqlite::params;

use super::{
    file::{Former, whole},
    options::ImportOptions,
    report::{ImportReport, PartReport, Unusable},
};
use crate::{
    dictionary::DAY,
    error::HistoryError,
    history::History,
    operations::IMPORT_HISTORY,
    points::Point,
    sample::{Balance, LATEST},
    tail::Parts,
    write::write_balance,
};

/// Quotes of a transaction.
const STEP: usize = 10_000;

/// A quote of the file: time, id, amount, and how many equal ones were before it.
type Row = (i64, i64, i64, i64);

/// Imports the quotes that the history does not have: of equal ones as many as the file has.
pub(super) fn import_quotes(
    history: &mut History,
    former: &Former,
    options: &ImportOptions,
    report: &mut ImportReport,
) -> Result<(), HistoryError> {
    if !former.has_quotes {
        return Ok(());
    }
    let mut batch: Vec<Row> = Vec::new();
    // Of the second that is being read.
    let mut equal: HashMap<(i64, i64, i64), i64> = HashMap::new();
    let sql = "SELECT timestamp, downstream_id, amount FROM quote_history ORDER BY 1, 2, 3";
    former.each(sql, |row| {
        report.quotes.rows += 1;
        let read = || -> Result<(i64, i64, i64), Unusable> {
            let timestamp = whole(row, 0, LATEST)?;
            if timestamp > options.now.saturating_add(DAY) {
                return Err(Unusable::Future);
            }
            Ok((timestamp, whole(row, 1, i64::from(u32::MAX))?, whole(row, 2, i64::MAX)?))
        };
        match read() {
            Err(reason) => report.quotes.refuse(reason),
            Ok(quote) => {
                if batch.last().is_some_and(|last| last.0 != quote.0) {
                    equal.clear();
                }
                let number = equal.entry(quote).or_default();
                batch.push((quote.0, quote.1, quote.2, *number));
                *number += 1;
            }
        }
        if batch.len() >= STEP {
            write_quotes(history, options, &mut batch, &mut report.quotes)?;
        }
        Ok(())
    })?;
    write_quotes(history, options, &mut batch, &mut report.quotes)
}

fn write_quotes(
    history: &mut History,
    options: &ImportOptions,
    batch: &mut Vec<Row>,
    report: &mut PartReport,
) -> Result<(), HistoryError> {
    let rows = &*batch;
    let new = if options.dry_run {
        let source = &options.source;
        new_quotes(history, source, rows)
            .map_err(|error| HistoryError::sqlite(IMPORT_HISTORY, &history.path, error))?
    } else {
        let points = [Point::ImportBeforeCommit, Point::ImportAfterCommit];
        history.transact(IMPORT_HISTORY, points, |parts| insert_quotes(parts, options, rows))?
    };
    match new {
        None => *report.unusable.entry(Unusable::Full).or_default() += rows.len() as u64,
        Some(new) => {
            report.imported += new;
            report.known += rows.len() as u64 - new;
        }
    }
    batch.clear();
    Ok(())
}

/// How many of these the history does not have.
fn new_quotes(history: &History, source: &str, rows: &[Row]) -> rusqlite::Result<Option<u64>> {
    let mut statement = history.connection.prepare_cached(
        "SELECT 1 FROM quotes JOIN sources ON id = source AND name = ?1 \
         WHERE timestamp = ?2 AND downstream_id = ?3 AND amount = ?4 AND n = ?5",
    )?;
    let mut new = 0;
    for (timestamp, id, amount, number) in rows {
        new += u64::from(!statement.exists(params![source, timestamp, id, amount, number])?);
    }
    Ok(Some(new))
}

/// Inserts those that are new, and returns how many; none when there is no room for the source.
fn insert_quotes(
    parts: &mut Parts<'_>,
    options: &ImportOptions,
    rows: &[Row],
) -> rusqlite::Result<Option<u64>> {
    let source = parts.dictionary.source(parts.connection, parts.limits, &options.source)?;
    let Ok(source) = source else { return Ok(None) };
    let mut insert =
        parts.connection.prepare_cached("INSERT OR IGNORE INTO quotes VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut new = 0;
    for (timestamp, id, amount, number) in rows {
        new += insert.execute(params![timestamp, source, id, amount, number])? as u64;
    }
    Ok(Some(new))
}

/// Imports the balance: of several rows the newest. One without a time is older than any that the history has.
pub(super) fn import_balance(
    history: &mut History,
    former: &Former,
    options: &ImportOptions,
    report: &mut ImportReport,
) -> Result<(), HistoryError> {
    let Some(time) = former.balance_time else { return Ok(()) };
    let mut newest: Option<(i64, i64)> = None;
    former.each(&format!("SELECT balance, {} FROM balance", time.unwrap_or("0")), |row| {
        report.balance.rows += 1;
        let read = || -> Result<(i64, i64), Unusable> {
            let timestamp = match whole(row, 1, LATEST) {
                // A text, as SQLite's own date: it is no number, and the balance is good.
                Err(Unusable::NotANumber | Unusable::Missing) => 0,
                other => other?,
            };
            Ok((timestamp.min(options.now.max(0)), whole(row, 0, i64::MAX)?))
        };
        match read() {
            Err(reason) => report.balance.refuse(reason),
            Ok(read) => newest = newest.max(Some(read)),
        }
        Ok(())
    })?;
    let Some((timestamp, amount)) = newest else { return Ok(()) };
    let failed = |error| HistoryError::sqlite(IMPORT_HISTORY, &former.path, error);
    let known = known_balance(history, &options.source).map_err(failed)?;
    if known.is_some_and(|known| known >= timestamp) {
        report.balance.known += 1;
        return Ok(());
    }
    report.balance.imported += 1;
    if options.dry_run {
        return Ok(());
    }
    let balance = Balance { timestamp, source: options.source.clone(), balance: amount.unsigned_abs() };
    let points = [Point::ImportBeforeCommit, Point::ImportAfterCommit];
    let written = history.transact(IMPORT_HISTORY, points, |parts| write_balance(parts, &balance))?;
    if written.is_err() {
        report.balance.imported -= 1;
        report.balance.refuse(Unusable::Full);
    }
    Ok(())
}

/// The time of the balance that the history has.
fn known_balance(history: &History, source: &str) -> rusqlite::Result<Option<i64>> {
    use rusqlite::OptionalExtension;
    let sql = "SELECT timestamp FROM balances JOIN sources ON id = source WHERE name = ?1";
    history.connection.prepare_cached(sql)?.query_row([source], |row| row.get(0)).optional()
}
