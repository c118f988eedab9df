//! The chain subtree: one block fetcher, and a batch preparer for each market.
//!
//! ```text
//! node → block fetcher → effects and checkpoint, in one step → "a window is closed" → batch preparer → batches, once
//! ```
//!
//! The fetcher alone moves the checkpoint, the preparers alone hand over; both compare and set, so a second of either by
//! mistake does no harm. What they tell each other only wakes: everything stands in Redis.

mod batch_preparer;
mod block_fetcher;
mod budgets;
mod progress;
mod views;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use chain::Source;
use domain::chain::{ContractAddress, Rules};
use store::chain::ChainStore;
use supervision::Address;
use tokio::sync::Semaphore;

pub use batch_preparer::BatchPreparer;
pub use block_fetcher::BlockFetcher;
pub use budgets::Budgets;
pub use progress::{FollowState, Progress};

use crate::{messages::Look, notifier::Notice, services::Services};

/// What readiness knows the chain as, and what is followed of it.
pub const CHAIN: &str = "chain";
/// See [`CHAIN`].
pub const BLOCKS: &str = "blocks";

/// What the actors of the chain work with. Clones share everything.
#[derive(Clone)]
pub struct FollowServices {
    /// Redis, the metrics, the status.
    pub services: Services,
    /// The chain's side in Redis.
    pub store: ChainStore,
    /// The chain.
    pub source: Source,
    /// How far it was followed.
    pub progress: Arc<Progress>,
    /// What is followed, and how.
    pub settings: Arc<FollowSettings>,
    /// Whoever tells others.
    pub notifier: Address<Notice>,
    /// At most so many markets are prepared at once.
    pub workers: Arc<Semaphore>,
}

/// What is followed, and how.
#[derive(Clone, Debug)]
pub struct FollowSettings {
    /// Where to begin without a checkpoint.
    pub start: StartBlock,
    /// The markets, each as the configuration spells it.
    pub markets: Vec<(ContractAddress, String)>,
    /// What is gone by, but for the lengths of windows, which the contracts tell.
    pub rules: Rules,
    /// Blocks older than this are read by their events alone: their hashes would have expired.
    pub old_after: Duration,
    /// How many projects a batch has at most.
    pub batch_size: NonZeroUsize,
    /// How long each step may take.
    pub budgets: Budgets,
    /// How often preparers look for closed windows when nobody wakes them.
    pub prepare_every: Duration,
    /// How often the contracts are asked again.
    pub refresh_every: Duration,
    /// Without a first answer of a node for this long, what follows the chain is not ready.
    pub stale_after: Duration,
}

/// Where to begin without a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartBlock {
    /// So many blocks before the newest one.
    Latest {
        /// How many blocks before it.
        back: u64,
    },
    /// With this block.
    Number(u64),
}

/// A market's edge to its batch preparer.
#[derive(Clone)]
pub struct PreparerEdge {
    /// The market.
    pub market: ContractAddress,
    /// "A window is closed."
    pub preparer: Address<Look>,
    /// "An epoch was released": the market's epoch tracker.
    pub tracker: Option<Address<Look>>,
}
