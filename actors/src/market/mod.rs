//! The actors of one market.

mod aggregator;
mod epoch_tracker;
mod pace;

pub use aggregator::Aggregator;
pub use epoch_tracker::EpochTracker;

pub(crate) use aggregator::DATASET as SUMMARY;
pub(crate) use epoch_tracker::DATASET as CURRENT_EPOCH;
