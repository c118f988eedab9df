//! The lifetime of a market's keys: export and import of its ledger, its reset, and the removal of a market that left.
//!
//! An [`Archive`] is a ledger as text. It is read from Redis in one transaction, and takes effect in one step. So neither side ever
//! sees a part of a ledger, whatever trackers do meanwhile.

mod archive;
mod export;
mod import;
mod read;
mod remove;

pub use archive::{Archive, Head, MOST_ELEMENTS};
pub use export::export_ledger;
pub use import::{Import, Imported, import_ledger};
pub use read::ArchiveError;
pub use remove::{remove_datasets, remove_index, reset_ledger};
use store_redis::StoreError;

use crate::keys::STAGED_KEPT;

/// Why an export or an import was not made.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Redis failed, or the ledger is damaged.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// There is nothing to export.
    #[error("export the ledger: market {0}: it has no ledger")]
    Absent(String),
    /// The ledger has more elements than an archive may have.
    #[error("export the ledger: market {market}: it has {elements} elements, the limit is {MOST_ELEMENTS}")]
    TooLarge {
        /// The market.
        market: String,
        /// How many elements it has.
        elements: usize,
    },
    /// The import would replace a ledger.
    #[error("import the ledger: market {0}: it has a ledger already, and nothing was changed")]
    Exists(String),
    /// The import took too long, or something deleted its keys.
    #[error(
        "import the ledger: market {0}: its parts were not all there any more (they live for {STAGED_KEPT} s), and nothing was changed"
    )]
    Incomplete(String),
}
