//! A failed operation on a history file, with its kind and its cause. What to do about it is known where the settings are.

use std::{error::Error, fmt, io, path::Path};

use errors::{Operation, sanitise};
use rusqlite::{ErrorCode, ffi};

errors::kinds! {
    /// How an operation on a history file fails.
    pub enum HistoryErrorKind;
    Missing: "missing", "The folder of the file, or the file to read, does not exist";
    Denied: "file_denied", "The operating system does not allow the access";
    InUse: "in_use", "Another process writes this history";
    NotADatabase: "not_a_database", "The file is no SQLite database, or it is encrypted";
    Foreign: "foreign_file", "The file is a database of another program";
    Newer: "newer", "The file was written by a newer version of this program";
    ReadOnlyFile: "read_only_file", "The file or its file system takes no writes";
    Full: "full", "The disk is full";
    Corrupt: "corrupt", "The file is damaged";
    Busy: "busy", "Another connection held the file for longer than the time limit";
    TooMuch: "too_much", "An answer would read more rows than its limit";
    BadRange: "bad_range", "A range of times does not start before its end";
    BadLimits: "bad_limits", "The limits of the history do not fit together";
    Stopped: "stopped", "A failure point stopped the operation";
    Failed: "failed", "SQLite or the operating system refused for another reason, which its message gives";
}

impl HistoryErrorKind {
    /// Whether the operation may succeed later without a change of anything but the surroundings: disk, rights, other programs.
    #[must_use]
    pub const fn is_outage(self) -> bool {
        matches!(self, Self::Full | Self::Busy | Self::Denied | Self::ReadOnlyFile | Self::Failed)
    }
}

/// A failed operation. Shown as `operation: file: kind: cause`; the cause is the source.
#[derive(Debug)]
pub struct HistoryError {
    /// The operation that failed.
    pub operation: Operation,
    /// The file.
    pub object: String,
    /// The kind of failure.
    pub kind: HistoryErrorKind,
    detail: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl HistoryError {
    /// An error without a cause.
    pub(crate) fn new(
        operation: Operation,
        object: &Path,
        kind: HistoryErrorKind,
        detail: impl fmt::Display,
    ) -> Self {
        let (object, detail) = (sanitise(object.display()), sanitise(detail));
        Self { operation, object, kind, detail, cause: None }
    }

    pub(crate) fn sqlite(operation: Operation, object: &Path, error: rusqlite::Error) -> Self {
        let mut all = Self::new(operation, object, kind_of(&error), &error);
        all.cause = Some(Box::new(error));
        all
    }

    pub(crate) fn io(operation: Operation, object: &Path, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => HistoryErrorKind::Missing,
            io::ErrorKind::PermissionDenied => HistoryErrorKind::Denied,
            io::ErrorKind::ReadOnlyFilesystem => HistoryErrorKind::ReadOnlyFile,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HistoryErrorKind::Full,
            _ => HistoryErrorKind::Failed,
        };
        let mut all = Self::new(operation, object, kind, &error);
        all.cause = Some(Box::new(error));
        all
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, object, kind, detail, .. } = self;
        write!(f, "{operation}: {object}: {kind}: {detail}")
    }
}

impl Error for HistoryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

fn kind_of(error: &rusqlite::Error) -> HistoryErrorKind {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return HistoryErrorKind::Failed };
    match failure.code {
        ErrorCode::NotADatabase => HistoryErrorKind::NotADatabase,
        ErrorCode::DatabaseCorrupt => HistoryErrorKind::Corrupt,
        ErrorCode::ReadOnly => HistoryErrorKind::ReadOnlyFile,
        ErrorCode::DiskFull => HistoryErrorKind::Full,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => HistoryErrorKind::Busy,
        ErrorCode::PermissionDenied | ErrorCode::CannotOpen => HistoryErrorKind::Denied,
        _ if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ => HistoryErrorKind::Corrupt,
        _ => HistoryErrorKind::Failed,
    }
}
