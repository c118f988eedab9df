//! The chain subtree: one block fetcher, a batch preparer for each market, and a cleaner.
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
mod cleaner;
mod contract_values;
pub(crate) mod metrics;
mod notifier;
pub(crate) mod points;
mod problem;
mod progress;
mod segments;
mod state_store;
mod take_over;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use domain::{chain::ContractAddress, collector::Rules};
use evm::{Source, StartBlock};
use store_collector::ChainStore;
use supervision::Address;
use tokio::sync::Semaphore;

pub use batch_preparer::BatchPreparer;
pub use block_fetcher::BlockFetcher;
pub use budgets::{Budgets, steps};
pub use cleaner::Cleaner;
pub use metrics::CollectorMetrics;
pub use notifier::{Notice, Notifier, Severity};
pub use problem::CollectorProblem;
use progress::faults;
pub use progress::{Cleaned, FollowState, Prepared, Progress};

use crate::env::{messages::Look, services::Services};

/// The collector in the tree of actors, and in the readiness condition `collector: blocks`.
pub const PART: &str = "collector";
/// See [`PART`].
pub const BLOCKS: &str = "blocks";

/// Further behind than this, blocks are fetched in large parts.
const FAR_BEHIND: u64 = 16;

/// What the actors of the chain work with. Clones share everything.
#[derive(Clone)]
pub struct FollowServices {
    /// Redis, the metrics, the status.
    pub services: Services,
    /// The chain's side in Redis, of whatever chain.
    pub store: ChainStore,
    /// The chain.
    pub source: Source,
    /// How far it was followed.
    pub progress: Arc<Progress>,
    /// The metrics of the collector.
    pub metrics: CollectorMetrics,
    /// What is followed, and how.
    pub settings: Arc<FollowSettings>,
    /// The edge to the notifier.
    pub notifier: Address<Notice>,
    /// At most so many markets are prepared at once.
    pub workers: Arc<Semaphore>,
}

impl FollowServices {
    /// The chain's side of the chain that the nodes are of, once one has told its id.
    pub fn of_chain(&self) -> Option<ChainStore> {
        self.source.chain_id().map(|id| self.store.of_chain(id))
    }

    /// What nodes did wrong, and logs that can't be read: how often, by kind.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        faults(self.source.counters())
    }
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
    /// How often what is over is removed.
    pub clean_every: Duration,
}

/// An edge to an actor of one market, which the block fetcher wakes.
#[derive(Clone)]
pub struct MarketEdge {
    /// The market.
    pub market: ContractAddress,
    /// Its actor.
    pub actor: Address<Look>,
}
