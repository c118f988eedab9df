//! The tracker's side in Redis: the names of its keys, and the commands that read and write them.
//!
//! It knows how keys are read and written; the caller decides when. A pass hands what it read to `domain` as an
//! [`Observation`](domain::tracker::Observation); an input that can't be read is left out and reported as a
//! [`Fault`](store_redis::Fault).
//!
//! **Invariant:** every key of the tracker is named in this crate and nowhere else. It reads no clock and retries nothing. It remembers
//! only what saves commands: the spellings in use, other forms of epoch ids, and which epochs have an ordered set of submissions. It
//! knows nothing of the collector.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

pub mod datasets;
mod families;
mod find;
mod index;
pub mod inspect;
mod keys;
mod ledger;
mod market;
pub mod operations;
mod prune;
mod scripts;
mod transfer;

pub use datasets::{DATASETS, Dataset, Intervals};
pub use families::{family_of, key_families};
pub use find::{EPOCH_KEYS, EpochNames, unknown_epochs};
pub use index::{Index, IndexPart, Indexed};
pub use keys::{
    EVENTS, IndexKeys, MarketKeys, NOT_WRITTEN, Output, OutputKeys, Spelling, channels, echo_channel,
};
pub use ledger::{LedgerMark, SCHEMA};
pub use market::{MarketStore, OriginalDatasets, Outputs, Pass, Reach, Scope, Written};
pub use prune::{
    Prunable, Retention, forget_sealed, old_validators, prunable_validators, prune, prune_active,
};
pub use transfer::{
    Archive, ArchiveError, Head, Import, Imported, MOST_ELEMENTS, TransferError, export_ledger,
    import_ledger, remove_datasets, remove_index, reset_ledger,
};
