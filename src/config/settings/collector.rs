//! `[collector]`: the nodes of the chain, and the limits of the collector.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use actors::collector::Budgets;
use evm::StartBlock;

use super::super::checks::{ADDRESS_OR_NONE, START_BLOCK};
use super::super::secret::Secret;
use super::super::setting::{
    DAY, HOUR, Kind, MINUTE, SECOND, duration, flag, integer, list, millis, section, text,
};

section! {
    /// The collector follows the blocks of an EVM chain: it opens and closes submission windows and hands the batches of each
    /// window to the finalizers. It runs if nodes are set. Then tracker.protocol and tracker.markets must be real addresses, and
    /// redis.cluster must be empty.
    pub struct Collector in "collector" formerly "chain" {
        /// URLs of the chain's JSON-RPC nodes, in order of preference. Nodes with ws and wss also announce new blocks. The URLs
        /// may hold credentials and are never shown.
        nodes: Vec<Secret> = list(Kind::Nodes).variable("RPC_NODES").secret(),
        /// URLs of nodes that keep the state of old blocks; they are queried for data that the other nodes have pruned.
        archive_nodes: Vec<Secret> = list(Kind::Nodes).variable("ARCHIVE_RPC_NODES").secret(),
        /// Id of the chain; 0 for that of the first node that answers. Nodes of another chain are not used.
        chain_id: u64 = integer(0, "a chain's id or 0", 0..=i64::MAX),
        /// First block to read without a checkpoint: `latest`, a block's number, or `latest - 1000`.
        start_block: StartBlock = text("latest", START_BLOCK),
        /// Time between two requests for the newest block.
        poll_interval: Duration = duration("500ms", millis(100)..=MINUTE),
        /// How many blocks a reorganisation may drop. A deeper one stops the block fetcher.
        max_reorg_depth: u64 = integer(64, "a number of blocks", 1..=1_000),
        /// How many windows of a market may be open at once; further ones wait.
        max_windows: usize = integer(100, "a number of windows", 1..=10_000),
        /// How many projects a batch may have.
        batch_size: NonZeroUsize = integer(20, "a number of projects", 1..=100_000).variable("BATCH_SIZE"),
        /// How many markets are prepared at once; 0 means as many as processors. Each one uses a connection of the shared pool for that time.
        workers: usize = integer(0, "a number of markets", 0..=1_024),
        /// Whether submitted batches are also queued for the attestor.
        attestor_queue: bool = flag(false).variable("ATTESTOR_QUEUE_PUSH_ENABLED"),
        /// Address of the contract that assigns priorities; empty for none.
        priorities_contract: String = text("", ADDRESS_OR_NONE).formerly("priorities"),
        /// Highest number of requests a second to each node; 0 for no limit.
        rate_limit: u32 = integer(0, "a number of requests a second", 0..=1_000_000),
        /// Largest answer that is read, in bytes. A larger one counts as a fault of the node.
        max_answer_bytes: usize = integer(10_485_760, "a number of bytes", 65_536..=1_073_741_824)
            .formerly("max_answer"),
        /// How many blocks one query for logs may cover. It is halved when a node refuses it.
        max_log_range: u64 = integer(2_000, "a number of blocks", 1..=1_000_000).formerly("max_chunk"),
        /// Time between two blocks of the chain, to estimate the last block of a window.
        // Milliseconds for chains of tests; the variable of the original takes whole seconds.
        block_time: Duration = duration("2s", millis(10)..=HOUR).seconds_variable("BLOCK_TIME"),
        /// TTL of the submissions that collectors write. An epoch that is met later is expired and gets no batches.
        submissions_ttl: Duration = duration("20m", MINUTE..=DAY).formerly("inputs_live"),
        /// Time after the limit of a window at which the clock closes it, if no block has.
        close_grace: Duration = duration("30s", SECOND..=HOUR).formerly("silence"),
        /// Time between two requests for the contracts' values of the markets.
        contract_refresh_interval: Duration = duration("5m", SECOND..=DAY).formerly("refresh"),
        /// Time between two runs of the cleaner, which removes markers of finished epochs and submissions more than ten epochs
        /// old. It does not run at start.
        cleanup_interval: Duration = duration("10m", millis(100)..=DAY).formerly("clean"),
        /// How long a block or a segment of old blocks may take; its steps are cut to the time that is left.
        block_timeout: Duration = duration("5m", SECOND..=HOUR).seconds_variable("BLOCK_FETCH_TIMEOUT"),
        /// How long reading events may take; within block_timeout.
        events_timeout: Duration = duration("30s", SECOND..=HOUR)
            .seconds_variable("EVENT_PROCESSING_TIMEOUT"),
        /// How long querying the contracts may take; within block_timeout.
        contract_values_timeout: Duration = duration("30s", SECOND..=HOUR)
            .seconds_variable("CONTRACT_QUERY_TIMEOUT")
            .formerly("views_timeout"),
        /// How long preparing all closed windows of a market may take.
        preparation_timeout: Duration = duration("1m", SECOND..=HOUR),
        /// How long one epoch of a market may take; within preparation_timeout.
        market_timeout: Duration = duration("30s", SECOND..=HOUR),
        /// How long the hand-over of the batches of an epoch may take; within market_timeout.
        // Longer than market_timeout, as in the original. The budget of the outer step cuts it.
        batch_timeout: Duration = duration("2m", SECOND..=HOUR).seconds_variable("BATCH_PROCESSING_TIMEOUT"),
        /// How long a market waits for a free worker.
        worker_timeout: Duration = duration("5s", millis(100)..=HOUR),
        /// How long one request to a node may take.
        request_timeout: Duration = duration("5s", millis(100)..=HOUR).seconds_variable("HTTP_TIMEOUT"),
    }
}

impl Collector {
    /// Whether the collector runs: it does if nodes are set.
    pub fn is_enabled(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// The configured id of the chain.
    pub fn id(&self) -> Option<u64> {
        NonZeroU64::new(self.chain_id).map(NonZeroU64::get)
    }

    /// Highest number of requests a second to each node; `None` for no limit.
    pub fn rate(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.rate_limit)
    }

    /// The time limits of the steps.
    pub fn budgets(&self) -> Budgets {
        Budgets {
            block: self.block_timeout,
            events: self.events_timeout,
            contract_values: self.contract_values_timeout,
            preparation: self.preparation_timeout,
            market: self.market_timeout,
            batch: self.batch_timeout,
            worker: self.worker_timeout,
        }
    }
}
