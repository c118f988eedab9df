//! The actors of the tracker: the listener, an aggregator and an epoch tracker for each market, the indexer, the pruner.

mod aggregator;
mod epoch_tracker;
pub(crate) mod event_counters;
mod indexer;
mod listener;
pub(crate) mod market_registry;
pub(crate) mod metrics;
mod passes;
mod problem;
mod pruner;

pub use aggregator::Aggregator;
pub use epoch_tracker::EpochTracker;
pub use indexer::Indexer;
pub use listener::{IndexEdge, Listener};
pub use market_registry::{Indexes, MarketEdges, MarketRegistry};
pub use problem::LedgerLost;
pub use pruner::Pruner;

/// The datasets that every market must have, by their names in readiness.
pub const DATASETS: [&str; 2] = [aggregator::DATASET, epoch_tracker::DATASET];
