//! What an import is told.

use std::sync::Arc;

/// How an import is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The source that the history belongs to.
    pub source: Arc<str>,
    /// The time of the import, in Unix seconds. What is more than a day later than it is left out.
    pub now: i64,
    /// Whether only the report is made.
    pub dry_run: bool,
}
