//! What to do about errors of the history of peers. Pure.

use store_peers::HistoryErrorKind as Kind;

/// The remedy of a kind.
pub(super) fn of_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing => "create the folder, or correct peers.history",
        Kind::Denied => {
            "give the user of this process the right to read and write peers.history and its folder"
        }
        Kind::InUse => "stop the other process, or give this one a peers.history of its own",
        Kind::NotADatabase => "move the file away, and a new one is made; or correct peers.history",
        Kind::Foreign => "correct peers.history; this program does not write into another one's file",
        Kind::Newer => "run the newer version, or move the file away, and a new one is made",
        Kind::ReadOnlyFile => "mount the file system for writing, and make the file writable",
        Kind::Full => "free space on the disk, or lower peers.max_bytes; writes succeed again at once",
        Kind::Corrupt => {
            "move the file with its -wal file away, and a new one is made; `.recover` of sqlite3 may save a part"
        }
        Kind::Busy => "find out which program holds the file, such as a backup or an open sqlite3",
        Kind::TooMuch => "ask for a shorter range",
        Kind::BadRange => "give a start before the end, both in Unix seconds",
        Kind::BadLimits => {
            "correct peers.keep_samples, peers.keep_minutes, peers.keep_hours and peers.max_bytes"
        }
        Kind::Stopped => "disarm the failure point",
        Kind::Failed => "see the message of SQLite or of the operating system",
    }
}
