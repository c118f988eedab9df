//! What `doctor`, `diff`, `check` and `ledger` read of a market, beside the service: the needed rights, the datasets that readers see, the
//! spellings that producers use, subscribers, entries ahead of the clock. Only reads; the callers draw the conclusions.

mod entries;
mod needs;
mod produced;
mod watched;

mod subscribers;

pub use entries::{datasets, entries_since, raw_entries};
pub use needs::{need_of_doctor, need_of_finder};
pub use produced::{Produced, Producers, produced, produced_at};
pub use subscribers::subscribers;
pub use watched::{Ahead, WatchedDataset, ahead, watched_datasets};
