//! Failure points: places before and after each commit, where a probe of the caller can stop the operation, abort the process,
//! or wait.

use std::fmt;

/// A place in an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A batch is written and not committed.
    BatchBeforeCommit,
    /// A batch is committed.
    BatchAfterCommit,
    /// A step of compaction is written and not committed.
    CompactionBeforeCommit,
    /// A step of compaction is committed.
    CompactionAfterCommit,
    /// A step of retention has removed rows and is not committed.
    RetentionBeforeCommit,
    /// A step of retention is committed.
    RetentionAfterCommit,
    /// A step of an import is written and not committed.
    ImportBeforeCommit,
    /// A step of an import is committed.
    ImportAfterCommit,
}

impl Point {
    /// All points.
    pub const ALL: [Self; 8] = [
        Self::BatchBeforeCommit,
        Self::BatchAfterCommit,
        Self::CompactionBeforeCommit,
        Self::CompactionAfterCommit,
        Self::RetentionBeforeCommit,
        Self::RetentionAfterCommit,
        Self::ImportBeforeCommit,
        Self::ImportAfterCommit,
    ];
}

/// What a probe answers to stop the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped(pub Point);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the probe stopped it at {:?}", self.0)
    }
}

impl std::error::Error for Stopped {}

/// Is called at each point.
pub type Probe = Box<dyn FnMut(Point) -> Result<(), Stopped> + Send>;
