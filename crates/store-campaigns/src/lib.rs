//! The status of campaigns in the users' own PostgreSQL: which runs are counted, the job rows that count them, the figures of a run,
//! its summary.
//!
//! A [`Database`] is a small pool of connections; each call is one transaction with its own time limits, so that it works behind a
//! PgBouncer that gives each transaction another connection: no state of a session, no prepared statement, no start-up option is
//! relied on. A call of one statement is one round trip.
//!
//! A run's turn is a row of the users' `jobs`: [`Database::enqueue`] plans it, [`Database::claim`] takes it under a lease,
//! [`Database::compute`] counts the run ([`Database::compute_small`] several), [`Database::finish`] writes the summary and ends the turn in one statement that has an
//! effect only while the claim is held. So a crash at any point leads to another claim, and never to two writes.
//!
//! With the opt-in migration ([`Database::migrate`]) a [`Listener`] hears of changed runs, [`Database::counted`] reads the counts of
//! a run of any size in milliseconds, and summaries are kept for trends.
//!
//! **Invariant:** it has no retry, no log line, and no task but those that drive its connections: the caller decides when. The
//! migration, which an operator waits for, and the listener, which connects again, are the exceptions. It measures how long a
//! computation took, and reads no other clock than the database's, but for the listener's limit of silence. Of the users it
//! alters nothing but job rows of the queue `status` and `campaign_runs.summary`; what the migration adds is our own. Every statement has a time limit, every answer a limit of rows and of the sizes
//! in them; text and numbers of the users are never trusted to be what their names say.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod claim;
mod compute;
mod connect;
mod counts;
mod database;
mod dead;
mod enqueue;
mod error;
mod finish;
mod history;
mod inspect;
mod listener;
mod migration;
pub mod operations;
mod progress;
mod rows;
mod runs;
mod settings;
mod statement;
mod status_rows;

pub use claim::{Claim, Claimed, Queue};
pub use compute::Computed;
pub use connect::Dedicated;
pub use counts::{ChangedJob, ChangedJobs, CountStep, Counted, RecountOutcome, Recounted};
pub use database::{Database, PoolStatus};
pub use dead::{DeadLetter, Failed, JobFailure};
pub use enqueue::{Enqueued, TurnWanted};
pub use error::{DatabaseError, DatabaseErrorKind};
pub use finish::{Finished, SummaryWrite};
pub use history::{History, HistoryPlace, KeptSummary, SummaryPage};
pub use inspect::{ColumnGap, INDEXES, Inspection, TableFacts, TableRight, WantedIndex};
pub use listener::{DEAF_AFTER, Heard, Listener, ListenerState, Pooling};
pub use migration::{LOCK_TIMEOUT, Migrated, MigrationKind, MigrationState};
pub use progress::Progress;
pub use rows::{ActiveRun, Page, RunRow, Seen};
pub use runs::Changes;
pub use settings::{BadUrl, DatabaseSettings, JobRows};
