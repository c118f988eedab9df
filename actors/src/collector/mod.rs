//! The actors of the collector: a block fetcher, a batch preparer, the rewards and a lane of the relayer for each
//! market, the contract values, a cleaner, and the notifier.
//!
//! ```text
//! node → block fetcher → effects and checkpoint, in one step → "a window is closed" → batch preparer → batches and outbox, once
//!      → relayer: one lane of the outbox a market, at least once, in order
//!      → "rewards are due" → rewards: numbers of the finalizers, frozen into calls of the outbox, once
//! ```
//!
//! Only the fetcher moves the checkpoint and only the preparers hand over. Both write by compare-and-set, so a second fetcher
//! or preparer by mistake does no harm. Their messages only wake: all data is in Redis.

mod batch_preparer;
mod block_fetcher;
mod block_stream;
mod budgets;
mod cleaner;
mod contract_values;
pub(crate) mod metrics;
mod notifier;
pub(crate) mod points;
mod problem;
mod progress;
mod relayer;
mod rewards;
mod segments;
mod state_store;
mod step_error;
mod take_over;
mod window_lengths;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use domain::{
    chain::ContractAddress,
    collector::{RewardRules, Rules},
};
use evm::{Source, StartBlock};
use store_collector::ChainStore;
use supervision::Address;
use tokio::sync::{RwLock, Semaphore};

pub use batch_preparer::BatchPreparer;
pub use block_fetcher::BlockFetcher;
pub use budgets::{Budgets, steps};
pub use cleaner::Cleaner;
pub use contract_values::ContractValues;
pub use metrics::CollectorMetrics;
pub use notifier::{Notice, Notifier, Severity};
pub use problem::CollectorProblem;
use progress::faults;
pub use progress::{CallOutcome, Cleaned, Prepared, Progress, ProgressSnapshot, Relayed, Rewarded};
pub use relayer::Relayer;
pub use rewards::Rewards;
pub use step_error::{NoNodeCount, NoWorker};
pub use window_lengths::WindowLengths;

use crate::env::{messages::Wake, services::Services};

/// The collector's path in the tree, and the owner in the readiness condition `collector: blocks`.
pub const COLLECTOR: &str = "collector";
/// The collector's readiness condition: blocks are accepted.
pub const BLOCKS_CONDITION: &str = "blocks";

/// The distance from the head, in blocks, beyond which blocks are fetched in segments.
const FAR_BEHIND: u64 = 16;

/// The services that the collector's actors share. A clone shares them.
#[derive(Clone)]
pub struct CollectorServices {
    /// Redis, the metrics of the process, readiness, the log.
    pub services: Services,
    /// The chain's keys in Redis, before the chain id is known; see [`Self::chain_store`].
    pub store: ChainStore,
    /// The nodes of the chain.
    pub source: Source,
    /// The lengths of the submission windows.
    pub lengths: Arc<WindowLengths>,
    /// The progress of the collector.
    pub progress: Arc<Progress>,
    /// The metrics of the collector.
    pub metrics: CollectorMetrics,
    /// The settings.
    pub settings: Arc<CollectorSettings>,
    /// The edge to the notifier.
    pub notifier: Address<Notice>,
    /// The workers: a preparer holds a permit while it prepares, which limits the markets that are prepared at once.
    pub workers: Arc<Semaphore>,
    /// Held for reading by each hand-over, and whole by the block fetcher when hand-overs follow each other faster than it writes.
    pub hand_overs: Arc<RwLock<()>>,
    /// Whether the relayer is told of hand-overs.
    pub tells_relayer: bool,
}

impl CollectorServices {
    /// The chain's keys in Redis for the nodes' chain, once a node has reported the chain id.
    pub fn chain_store(&self) -> Option<ChainStore> {
        self.source.chain_id().map(|id| self.store.of_chain(id))
    }

    /// The number of faults of nodes and of unreadable logs, by kind.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        faults(self.source.counters())
    }
}

/// The settings of the collector's actors.
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// The first block, when there is no checkpoint.
    pub start: StartBlock,
    /// The followed markets, each with its spelling in the configuration.
    pub markets: Vec<(ContractAddress, String)>,
    /// The rules for windows, without their lengths, which are read from the contracts.
    pub rules: Rules,
    /// The age beyond which blocks are read by their events alone, since their hashes would have expired in Redis.
    pub old_after: Duration,
    /// The most projects of a batch.
    pub batch_size: NonZeroUsize,
    /// When the relayer is told of rewards.
    pub rewards: RewardRules,
    /// Whether notices tell how many nodes are eligible, with each periodic call.
    pub reports_eligible: bool,
    /// The time limit of each step.
    pub budgets: Budgets,
    /// The interval at which preparers look for closed windows when no message wakes them.
    pub prepare_every: Duration,
    /// The interval at which the contracts are queried again.
    pub refresh_every: Duration,
    /// The interval of the cleaner.
    pub clean_every: Duration,
}

/// An edge from the block fetcher to an actor of one market.
#[derive(Clone)]
pub struct MarketEdge {
    /// The market.
    pub market: ContractAddress,
    /// Its actor.
    pub actor: Address<Wake>,
}
