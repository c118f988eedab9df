//! The actors of the tracker: the listener, the finder, the indexer, the finalized batches, the pruner, and for each market an aggregator and an epoch tracker.
//!
//! **Invariant:** it imports nothing of the collector; the two share data in Redis and messages of `env`.

mod aggregator;
mod epoch_tracker;
mod event_counters;
mod finalized_batches;
mod finder;
mod indexer;
mod listener;
mod market_registry;
pub(crate) mod metrics;
mod passes;
pub(crate) mod points;
mod problem;
mod pruner;
mod services;

pub use aggregator::Aggregator;
pub use epoch_tracker::EpochTracker;
pub use event_counters::EventCounters;
pub use finalized_batches::FinalizedBatches;
pub use finder::Finder;
pub use indexer::Indexer;
pub use listener::{IndexEdge, Listener};
pub use market_registry::{Indexes, MarketEdges, MarketRegistry, WakeEdges};
pub use metrics::{IndexOutcome, TrackerMetrics};
pub use problem::LedgerLost;
pub use pruner::Pruner;
pub use services::{Timing, TrackerServices};
