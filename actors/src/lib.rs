//! The supervised actors of the state tracker, one file each, grouped as the tree is.
//!
//! An actor holds the when and the what-if: when it looks, what it does when Redis is away. What the numbers
//! mean stands in `domain`, how they are read and written in `store`.

mod complaints;
mod following;
mod heard;
mod indexer;
mod listener;
mod market;
mod messages;
mod notifier;
mod pruner;
mod roster;
mod rounds;
mod services;
mod status;
pub mod telemetry;

pub use following::{
    BLOCKS, BadStartBlock, BatchPreparer, BlockFetcher, Budgets, CHAIN, Cleaned, Cleaner, FollowServices,
    FollowSettings, FollowState, Prepared, PreparerEdge, Progress, StartBlock,
};
pub use indexer::Indexer;
pub use listener::{IndexEdge, Listener};
pub use market::{Aggregator, EpochTracker};
pub use messages::{Heard, Look};
pub use notifier::{Notice, Notifier, Severity};
pub use pruner::Pruner;
pub use roster::{Indexes, MarketEdges, Roster};
pub use services::{Rhythm, Services};
pub use status::{Readiness, Status};

/// The datasets that every market must have, by their names in the status.
pub const DATASETS: [&str; 2] = [market::SUMMARY, market::CURRENT_EPOCH];
