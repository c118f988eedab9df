//! `[chain]`: which chain is followed, and within which limits.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use actors::collector::Budgets;
use evm::StartBlock;
use serde::{Deserialize, Serialize};

use super::super::secret::Secret;

/// `[chain]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// URLs of nodes, in order of preference. Without any, no chain is followed.
    pub nodes: Vec<Secret>,
    /// URLs of nodes that keep the state of old blocks.
    pub archive_nodes: Vec<Secret>,
    /// The chain's id; 0 for that of the first node that answers.
    pub chain_id: u64,
    /// Where to begin without a checkpoint.
    pub start_block: StartBlock,
    /// Between two looks at the head.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// How many blocks may be undone.
    pub max_reorg_depth: u64,
    /// How many windows of a market are open at once.
    pub max_windows: usize,
    /// How many projects a batch has at most.
    pub batch_size: NonZeroUsize,
    /// How many markets are prepared at once.
    pub workers: usize,
    /// Whether submitted batches are handed to the attestor.
    pub attestor_queue: bool,
    /// The contract that assigns priorities; empty for none.
    pub priorities: String,
    /// Requests a second that each node may get; 0 for any number.
    pub rate_limit: u32,
    /// Bytes of the largest answer that is read.
    pub max_answer: usize,
    /// Blocks that one query for logs covers at most.
    pub max_chunk: u64,
    /// How long a block takes.
    #[serde(with = "humantime_serde")]
    pub block_time: Duration,
    /// How long what was submitted lives.
    #[serde(with = "humantime_serde")]
    pub inputs_live: Duration,
    /// How long after its limit a window waits for a block that closes it.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// Between two times that the contracts are asked what they say of the markets.
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
    /// Between two times that what is over is removed.
    #[serde(with = "humantime_serde")]
    pub clean: Duration,
    /// How long a block, or a part of old ones, may take with all that belongs to it.
    #[serde(with = "humantime_serde")]
    pub block_timeout: Duration,
    /// Within it: reading what it holds.
    #[serde(with = "humantime_serde")]
    pub events_timeout: Duration,
    /// Within it: asking the contracts.
    #[serde(with = "humantime_serde")]
    pub views_timeout: Duration,
    /// How long preparing all that is closed in a market may take.
    #[serde(with = "humantime_serde")]
    pub preparation_timeout: Duration,
    /// Within it: one epoch.
    #[serde(with = "humantime_serde")]
    pub market_timeout: Duration,
    /// Within that: handing over its batches.
    #[serde(with = "humantime_serde")]
    pub batch_timeout: Duration,
    /// How long a market waits for its turn to be prepared.
    #[serde(with = "humantime_serde")]
    pub worker_timeout: Duration,
    /// How long one request to one node may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
}

impl Chain {
    /// Whether a chain is followed at all.
    pub fn is_followed(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// The chain's id, where it is configured.
    pub fn id(&self) -> Option<u64> {
        NonZeroU64::new(self.chain_id).map(NonZeroU64::get)
    }

    /// Requests a second that each node may get, where they are limited.
    pub fn rate(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.rate_limit)
    }

    /// How long each step may take.
    pub fn budgets(&self) -> Budgets {
        Budgets {
            block: self.block_timeout,
            events: self.events_timeout,
            views: self.views_timeout,
            preparation: self.preparation_timeout,
            market: self.market_timeout,
            batch: self.batch_timeout,
            worker: self.worker_timeout,
        }
    }
}
