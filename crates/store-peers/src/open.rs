//! Opening the file: rights, lock, version, and the settings of SQLite that the promises of this crate rest on.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use crate::{
    error::{HistoryError, HistoryErrorKind as Kind},
    operations::OPEN_HISTORY,
    schema,
};

/// How long a connection waits for another one before it fails.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The cache of the writer, in KiB.
const WRITER_CACHE: i64 = 8 * 1_024;
/// The cache of a reader, in KiB.
const READER_CACHE: i64 = 4 * 1_024;
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 64;

type Opened<T> = Result<T, HistoryError>;

/// The path with an ending of its own beside the file.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Takes the lock of the writer, which ends with the returned file. It is a file of its own: closing any handle of the database
/// itself would drop SQLite's own locks on it.
pub(crate) fn lock(path: &Path) -> Opened<File> {
    let beside = beside(path, "-lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&beside);
    let file = file.map_err(|error| HistoryError::io(OPEN_HISTORY, &beside, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(HistoryError::new(OPEN_HISTORY, path, Kind::InUse, "the lock beside it is taken"))
        }
        Err(TryLockError::Error(error)) => Err(HistoryError::io(OPEN_HISTORY, &beside, error)),
    }
}

/// Makes the file where there is none, for its owner alone, and takes the rights of others on one that is there: names of miners
/// are in it. SQLite gives its other files the same rights.
fn protect(path: &Path) -> io::Result<()> {
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let rights = fs::metadata(path)?.permissions();
            if rights.mode() & 0o077 == 0 {
                return Ok(());
            }
            fs::set_permissions(path, PermissionsExt::from_mode(rights.mode() & 0o700))
        }
        Err(error) => Err(error),
    }
}

/// Opens the file for the one writer, and makes or updates its tables. The lock must be held.
pub(crate) fn writer(path: &Path) -> Opened<Connection> {
    let failed = |error| HistoryError::sqlite(OPEN_HISTORY, path, error);
    if path.is_dir() {
        return Err(HistoryError::new(OPEN_HISTORY, path, Kind::NotADatabase, "it is a folder"));
    }
    protect(path).map_err(|error| HistoryError::io(OPEN_HISTORY, path, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    if connection.is_readonly("main").map_err(failed)? {
        let detail = "SQLite could open it for reading only";
        return Err(HistoryError::new(OPEN_HISTORY, path, Kind::ReadOnlyFile, detail));
    }
    let found = version(&connection, path)?;
    configure(&connection, found == 0).map_err(failed)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let detail =
            format!("its journal stays `{mode}`, and readers need `wal`: is it on a network file system?");
        return Err(HistoryError::new(OPEN_HISTORY, path, Kind::Failed, detail));
    }
    if found < schema::VERSION {
        schema::migrate(&connection, found).map_err(failed)?;
    }
    Ok(connection)
}

/// The version of a file of ours; 0 for an empty one.
fn version(connection: &Connection, path: &Path) -> Opened<i32> {
    let failed = |error| HistoryError::sqlite(OPEN_HISTORY, path, error);
    let number = |pragma: &str| -> Opened<i32> {
        connection.pragma_query_value(None, pragma, |row| row.get(0)).map_err(failed)
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let new = |kind, detail: String| Err(HistoryError::new(OPEN_HISTORY, path, kind, detail));
    if application == 0 && version == 0 && tables == 0 {
        return Ok(0);
    }
    if application != schema::APPLICATION_ID || version < 1 {
        return new(Kind::Foreign, format!("its application id is {application:#x}"));
    }
    if version > schema::VERSION {
        return new(Kind::Newer, format!("its version is {version}, this program's is {}", schema::VERSION));
    }
    Ok(version)
}

fn configure(connection: &Connection, is_new: bool) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    if is_new {
        // Only an empty file takes this: pages that are free can be returned to the disk in small steps.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    // A batch is on the disk when its commit returns: a crash of the machine too loses none that was acknowledged.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE)?;
    connection.pragma_update(None, "trusted_schema", "off")?;
    connection.pragma_update(None, "cell_size_check", "on")
}

/// Opens the file for reading. It must have been made by [`writer`].
pub(crate) fn reader(path: &Path) -> Opened<Connection> {
    let failed = |error| HistoryError::sqlite(OPEN_HISTORY, path, error);
    fs::metadata(path).map_err(|error| HistoryError::io(OPEN_HISTORY, path, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    if version(&connection, path)? != schema::VERSION {
        return Err(HistoryError::new(OPEN_HISTORY, path, Kind::Foreign, "it has no tables of this version"));
    }
    connection.pragma_update(None, "cache_size", -READER_CACHE).map_err(failed)?;
    connection.pragma_update(None, "trusted_schema", "off").map_err(failed)?;
    Ok(connection)
}
