//! How much of the history is kept, and how large a step of work is.

use std::{path::Path, time::Duration};

use crate::{
    error::{HistoryError, HistoryErrorKind},
    level::Level,
    operations::OPEN_HISTORY,
};

/// The least limit of bytes.
pub const FEWEST_BYTES: u64 = 4 << 20;

/// The bytes of a sample in the tail, about.
const SAMPLE_BYTES: u64 = 32;

/// How much is kept. The default is that of the data contract, with 10 GB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long raw samples are kept.
    pub raw: Duration,
    /// How long minutes are kept: longer than raw samples.
    pub minutes: Duration,
    /// How long hours and quotes are kept: longer than minutes.
    pub hours: Duration,
    /// The most bytes of the file with its log of writes, at least [`FEWEST_BYTES`].
    pub bytes: u64,
    /// About how many samples one transaction of compaction moves; one of retention removes a tenth of it in rows.
    pub step_rows: usize,
    /// With so many samples in the tail it is compacted: the more of each series, the fewer pages change a sample. The limit of bytes
    /// can make it fewer.
    pub tail_rows: usize,
    /// The tail is compacted after so long with whatever it has.
    pub tail_age: Duration,
    /// The most series, which are miners and totals.
    pub series: usize,
    /// The most sources.
    pub sources: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            raw: 2 * DAY,
            minutes: 30 * DAY,
            hours: 730 * DAY,
            bytes: 10_000_000_000,
            step_rows: 50_000,
            tail_rows: 4_000_000,
            tail_age: Duration::from_secs(600),
            series: 250_000,
            sources: 4_096,
        }
    }
}

impl Limits {
    /// How long a level is kept, in seconds.
    pub(crate) fn keep(&self, level: Level) -> i64 {
        let keep = match level {
            Level::Raw => self.raw,
            Level::Minutes => self.minutes,
            Level::Hours => self.hours,
        };
        i64::try_from(keep.as_secs()).unwrap_or(i64::MAX)
    }

    /// The rows that a step of retention removes: a raw row has several samples.
    pub(crate) fn removed_rows(&self) -> i64 {
        i64::try_from(self.step_rows / 10 + 1).unwrap_or(i64::MAX)
    }

    /// The first chunk of a level that is kept at a time.
    pub(crate) fn first_chunk(&self, level: Level, now: i64) -> i64 {
        now.saturating_sub(self.keep(level)).div_euclid(level.chunk())
    }

    /// The bytes that the log of writes may keep when it is empty.
    pub(crate) fn log_bytes(&self) -> u64 {
        (self.bytes / 8).min(64 << 20)
    }

    /// The bytes of pages in use above which history is evicted: below the limit by the log and one batch.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.file_bytes() - self.bytes / 16
    }

    /// The bytes of the file itself above which it is shrunk.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.bytes - self.log_bytes()
    }

    /// The samples with which the tail is compacted: an eighth of the limit of bytes for both tables.
    pub(crate) fn tail_rows(&self) -> usize {
        let most = usize::try_from(self.bytes / 16 / SAMPLE_BYTES).unwrap_or(usize::MAX);
        self.tail_rows.min(most)
    }

    pub(crate) fn check(&self, path: &Path) -> Result<(), HistoryError> {
        let bad =
            |detail: &str| Err(HistoryError::new(OPEN_HISTORY, path, HistoryErrorKind::BadLimits, detail));
        if self.raw > self.minutes || self.minutes > self.hours {
            return bad("raw samples are kept longer than minutes, or minutes longer than hours");
        }
        if self.bytes < FEWEST_BYTES {
            return bad("the limit of bytes is below 4 MiB");
        }
        if [self.step_rows, self.tail_rows, self.series, self.sources].contains(&0) {
            return bad("a limit of rows, series or sources is 0");
        }
        Ok(())
    }
}
