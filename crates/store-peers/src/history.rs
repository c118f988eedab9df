//! The writer's end of a history file.

use std::{
    fmt, fs,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use errors::Operation;
use rusqlite::Connection;

use crate::{
    dictionary::Dictionary,
    error::{HistoryError, HistoryErrorKind},
    limits::Limits,
    open,
    operations::{CHECK_HISTORY, OPEN_HISTORY},
    points::{Point, Probe, Stopped},
    read::HistoryReader,
    state::{Kept, read_kept},
    tail::{Parts, Tail},
};

/// How long the emptying of the log of writes waits for readers.
const LOG_TIMEOUT: Duration = Duration::from_millis(100);

/// A cause inside of a transaction.
enum Cause {
    Sqlite(rusqlite::Error),
    Stopped(Stopped),
}

impl From<rusqlite::Error> for Cause {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Stopped> for Cause {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

/// The one writer of a history file. It is for one thread at a time, and each call may wait for the disk.
pub struct History {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) dictionary: Dictionary,
    pub(crate) kept: Kept,
    /// The latest time that the caller told; none before that.
    pub(crate) now: Option<i64>,
    pub(crate) tail: Tail,
    /// The day on which names were last looked through.
    pub(crate) forgot_on: i64,
    probe: Option<Probe>,
    /// Whether a commit waits for the disk, as the connection is set.
    is_synchronous: bool,
    // Held, never read: it ends with the writer.
    _lock: File,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("path", &self.path)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl History {
    /// Opens a history, or makes a new one. What another process left unfinished is finished by [`History::step`].
    ///
    /// # Errors
    /// [`HistoryError`] when another process writes it, the file is not ours, is damaged, or can't be written.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, HistoryError> {
        limits.check(path)?;
        let lock = open::lock(path)?;
        let connection = open::writer(path)?;
        let failed = |error| HistoryError::sqlite(OPEN_HISTORY, path, error);
        let bytes = i64::try_from(limits.log_bytes()).unwrap_or(i64::MAX);
        connection.pragma_update(None, "journal_size_limit", bytes).map_err(failed)?;
        let kept = read_kept(&connection).map_err(failed)?;
        let tail = Tail::load(&connection).map_err(failed)?;
        let dictionary = Dictionary::load(&connection).map_err(failed)?;
        let path = path.to_owned();
        let (now, forgot_on, probe, is_synchronous) = (None, 0, None, true);
        Ok(Self {
            connection,
            path,
            limits,
            dictionary,
            kept,
            now,
            tail,
            forgot_on,
            probe,
            is_synchronous,
            _lock: lock,
        })
    }

    /// A reader with a connection of its own.
    ///
    /// # Errors
    /// As [`HistoryReader::open`].
    pub fn reader(&self) -> Result<HistoryReader, HistoryError> {
        HistoryReader::open(&self.path)
    }

    /// Calls this at each [`Point`], so that a test or an operator can make an operation fail there.
    pub fn set_probe(&mut self, probe: Probe) {
        self.probe = Some(probe);
    }

    /// The bytes of the file and of its log of writes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        length(&self.path) + self.log_length()
    }

    /// The bytes of the log of writes.
    fn log_length(&self) -> u64 {
        length(&open::beside(&self.path, "-wal"))
    }

    /// Lets SQLite check the whole file, which takes seconds for each GB. Returns what is wrong, at most 100 findings.
    ///
    /// # Errors
    /// [`HistoryError`] when the file can't be read at all.
    pub fn check(&self) -> Result<Vec<String>, HistoryError> {
        let failed = |error| HistoryError::sqlite(CHECK_HISTORY, &self.path, error);
        let mut statement = self.connection.prepare("PRAGMA integrity_check(100)").map_err(failed)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        let found = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    /// Runs one transaction, between two failure points. After a failure, what is held in memory is read again.
    pub(crate) fn transact<T>(
        &mut self,
        operation: Operation,
        [before, after]: [Point; 2],
        work: impl FnOnce(&mut Parts<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, HistoryError> {
        // A commit that is not yet on the disk may be undone by a crash of the machine. Only a batch must not: maintenance is done
        // again, and the next batch takes to the disk what is before it.
        let is_batch = before != Point::CompactionBeforeCommit && before != Point::RetentionBeforeCommit;
        let outcome = self.synchronise(is_batch).and_then(|()| self.try_transact([before, after], work));
        if outcome.is_err() {
            // When this fails too, memory has what is not in the file: the next transaction finds out in the same way.
            let _ = self.reload();
        }
        self.bound_log();
        outcome.map_err(|cause| match cause {
            Cause::Sqlite(error) => HistoryError::sqlite(operation, &self.path, error),
            Cause::Stopped(stopped) => {
                HistoryError::new(operation, &self.path, HistoryErrorKind::Stopped, stopped)
            }
        })
    }

    fn synchronise(&mut self, is_batch: bool) -> Result<(), Cause> {
        if self.is_synchronous != is_batch {
            let mode = if is_batch { "full" } else { "normal" };
            self.connection.pragma_update(None, "synchronous", mode)?;
            self.is_synchronous = is_batch;
        }
        Ok(())
    }

    fn try_transact<T>(
        &mut self,
        [before, after]: [Point; 2],
        work: impl FnOnce(&mut Parts<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Cause> {
        let transaction = self.connection.unchecked_transaction()?;
        let mut parts = Parts {
            connection: &transaction,
            limits: &self.limits,
            dictionary: &mut self.dictionary,
            kept: &mut self.kept,
            tail: &mut self.tail,
        };
        let done = work(&mut parts)?;
        if let Some(probe) = &mut self.probe {
            probe(before)?;
        }
        transaction.commit()?;
        if let Some(probe) = &mut self.probe {
            probe(after)?;
        }
        Ok(done)
    }

    /// Empties the log of writes when it is larger than it may be.
    fn bound_log(&self) {
        if self.log_length() > self.limits.log_bytes() {
            self.empty_log();
        }
    }

    /// Empties the log of writes. SQLite does so only while nobody reads: this waits for the readers of the moment, at most for
    /// [`LOG_TIMEOUT`]. A failure is no loss: the next commit tries again.
    pub(crate) fn empty_log(&self) {
        let _ = self.connection.busy_timeout(LOG_TIMEOUT);
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let _ = self.connection.busy_timeout(open::BUSY_TIMEOUT);
    }

    /// Reads again what is held in memory: after a transaction that may not have been committed.
    fn reload(&mut self) -> rusqlite::Result<()> {
        self.dictionary = Dictionary::load(&self.connection)?;
        self.kept = read_kept(&self.connection)?;
        let since = self.tail.since;
        self.tail = Tail { since, ..Tail::load(&self.connection)? };
        Ok(())
    }
}

/// The bytes of a file; 0 where there is none.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Sample, Subject, Wanted};

    /// SQLite reports a file at its limit of pages as it reports a full disk.
    #[test]
    fn a_full_disk_is_an_error_that_says_so_and_loses_no_batch_that_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history =
            History::open(&folder.path().join("history.sqlite"), Limits::default()).expect("opened");
        let pages: i64 =
            history.connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a number");
        history.connection.pragma_update(None, "max_page_count", pages + 20).expect("set");
        let batch = |number: i64| -> Vec<Sample> {
            let subject = |id| Subject::Miner {
                source: "s".into(),
                downstream_id: Some(id),
                name: "n".repeat(100).into(),
            };
            let sample = |id| Sample {
                timestamp: number,
                subject: subject(id),
                seconds: 5.0,
                work: Some(1.0),
                declared_hs: None,
            };
            (0..100).map(|id| sample(id + number as u32 * 50)).collect()
        };
        let mut written = 0;
        let error = loop {
            match history.write(&Batch { samples: &batch(written), ..Batch::default() }) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, HistoryErrorKind::Full, "{error}");
        assert!(written > 0, "{written}");
        // With room again the same batch is written, and its new names with it.
        history.connection.pragma_update(None, "max_page_count", 1_000_000).expect("set");
        for number in written..written + 3 {
            history.write(&Batch { samples: &batch(number), ..Batch::default() }).expect("written");
        }
        history.compact().expect("compacted");
        assert_eq!(history.check().expect("checked"), Vec::<String>::new());
        let reader = history.reader().expect("a reader");
        for id in 0..150 {
            let range =
                reader.range(&Wanted::Id { source: None, downstream_id: id }, 0, 1_000, 1).expect("a range");
            let samples: u64 = range.points.iter().map(|point| point.both.measured.samples).sum();
            assert_eq!(samples, if id < 50 { 1 } else { 2 }, "{id}");
        }
    }
}
