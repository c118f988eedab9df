//! The numbers that the file notes about itself.

use rusqlite::Connection;

/// From which time on each level, the finest first, has all samples that were not dropped for the limits.
pub(crate) type Kept = [i64; 3];

/// A number of the table of states.
pub(crate) fn read_state(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT value FROM state WHERE name = ?1")?.query_row([name], |row| row.get(0))
}

/// Notes a number in the table of states.
pub(crate) fn write_state(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE state SET value = ?2 WHERE name = ?1")?;
    statement.execute(rusqlite::params![name, value]).map(|_| ())
}
