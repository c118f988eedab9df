//! The numbers that the file notes about itself.

use rusqlite::Connection;

use crate::level::Level;

/// From which time on each level, the finest first, has all samples that were not dropped for the limits.
pub(crate) type Kept = [i64; 3];

/// A number of the table of states.
pub(crate) fn read_state(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT value FROM state WHERE name = ?1")?.query_row([name], |row| row.get(0))
}

/// From which time on each level is complete, as the file notes it.
pub(crate) fn read_kept(connection: &Connection) -> rusqlite::Result<Kept> {
    let mut kept = Kept::default();
    for (kept, level) in kept.iter_mut().zip(Level::ALL) {
        *kept = read_state(connection, level.kept())?;
    }
    Ok(kept)
}

/// Notes a number in the table of states.
pub(crate) fn write_state(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE state SET value = ?2 WHERE name = ?1")?;
    statement.execute(rusqlite::params![name, value]).map(|_| ())
}
