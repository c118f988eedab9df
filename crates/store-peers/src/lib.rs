//! The history of connected peers in one SQLite file: who computed how much, when, by what was measured and by what was declared.
//!
//! A [`History`] is the one writer, [`HistoryReader`]s read beside it. A flush writes one [`Batch`]; [`History::step`] does what a file
//! needs to stay small, in short steps. A sample is a rate that held for some seconds; the file keeps it raw for days, in minutes
//! for a month, in hours for years ([`Limits`]), and answers a range from the level that reads the fewest rows.
//!
//! All calls block, for the disk or for a lock: call them from a thread that may wait.
//!
//! **Invariant:** it has no clock, no retry, no thread and no log line: times are arguments, and the caller decides when. It
//! knows no message of any sender. A value outside of its limits never reaches the file, measured and declared hashrates are
//! never added, and a sample that was written is in every range once, from every level that still has it.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod block;
mod compact;
mod dictionary;
mod error;
mod history;
mod import;
mod level;
mod limits;
mod open;
pub mod operations;
mod plan;
mod points;
mod read;
mod rollup;
mod sample;
mod schema;
mod state;
mod step;
mod tail;
mod write;

pub use compact::Compacted;
pub use error::{HistoryError, HistoryErrorKind};
pub use history::History;
pub use import::{FormerSchema, ImportOptions, ImportReport, PartReport, Unusable};
pub use level::Level;
pub use limits::{FEWEST_BYTES, Limits};
pub use plan::MOST_POINTS;
pub use points::{Point, Probe, Stopped};
pub use read::{BalanceRead, HistoryPoint, HistoryRange, HistoryReader, MOST_QUOTES, QuoteRead, Wanted};
pub use rollup::{Both, Rollup};
pub use sample::{
    Balance, FEWEST_SECONDS, LATEST, LONGEST_NAME, MOST_SECONDS, MOST_WORK, Quote, Refusal, Refused, Sample,
    Subject, total_of,
};
pub use step::{Part, Removed, Step};
pub use write::{Batch, Written};
