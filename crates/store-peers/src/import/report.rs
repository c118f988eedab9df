//! What an import did.

use std::{collections::BTreeMap, fmt};

/// The schema of a file of the former service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormerSchema {
    /// With `sum_difficulty` and `window_seconds`: measured.
    Deployed,
    /// With `estimated_hashrate`: declared.
    Older,
}

/// Why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unusable {
    /// A column is empty.
    Missing,
    /// A text or bytes where a number must be, or a number that is none.
    NotANumber,
    /// A number below zero.
    Negative,
    /// A number that is larger than it can be.
    Huge,
    /// A time more than a day after the import.
    Future,
    /// A second sample of a peer in the same second, or a window of no length: it covers no time.
    NoTime,
    /// A name that can't be kept; its samples are, without a name.
    Name,
    /// There are too many series.
    Full,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a column is empty",
            Self::NotANumber => "not a number",
            Self::Negative => "negative",
            Self::Huge => "too large",
            Self::Future => "in the future",
            Self::NoTime => "covers no time",
            Self::Name => "a name that can't be kept",
            Self::Full => "too many series",
        })
    }
}

/// What became of the rows of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartReport {
    /// Rows of the file.
    pub rows: u64,
    /// Rows imported, or with a dry run those that would be.
    pub imported: u64,
    /// Rows that an earlier import had.
    pub known: u64,
    /// Rows left out, by reason.
    pub unusable: BTreeMap<Unusable, u64>,
}

impl PartReport {
    pub(super) fn refuse(&mut self, reason: Unusable) {
        *self.unusable.entry(reason).or_default() += 1;
    }
}

/// What an import did, or with a dry run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// The schema of the samples; none where the file has none.
    pub schema: Option<FormerSchema>,
    /// The samples of miners. A total for each of their pictures is made beside them.
    pub samples: PartReport,
    /// Names of miners that could not be kept.
    pub names: PartReport,
    /// Quotes.
    pub quotes: PartReport,
    /// The balance. A newer one that the history has is kept, and the row counts as known.
    pub balance: PartReport,
    /// Rows of the history that the limit of bytes made it lose meanwhile, the oldest of the finest level first.
    pub evicted: u64,
    /// Tables that are not imported, and tables without the columns that are needed, each with the reason.
    pub passed_over: Vec<String>,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would be imported" } else { "imported" };
        let kind = match self.schema {
            None => "no samples",
            Some(FormerSchema::Deployed) => "measured samples",
            Some(FormerSchema::Older) => "declared samples",
        };
        let parts = [
            (kind, &self.samples),
            ("names", &self.names),
            ("quotes", &self.quotes),
            ("balance", &self.balance),
        ];
        for (name, part) in parts {
            write!(f, "{name}: {} of {} {verb}, {} known before", part.imported, part.rows, part.known)?;
            for (reason, many) in &part.unusable {
                write!(f, ", {many} left out ({reason})")?;
            }
            writeln!(f)?;
        }
        if self.evicted > 0 {
            writeln!(f, "{} rows of the oldest history were removed, for the limit of bytes", self.evicted)?;
        }
        for table in &self.passed_over {
            writeln!(f, "passed over: {table}")?;
        }
        Ok(())
    }
}
