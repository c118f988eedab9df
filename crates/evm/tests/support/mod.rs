//! A node with the test contract, and sources that read from it or through proxies.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part of it; a test may panic")]

use std::time::Duration;

use domain::chain::{BlockRef, ChainEvent, MarketEvent};
use evm::{Block, ChainConfig, ChainError, Next, Source};
use retry::{RetryPolicy, table};
use testkit::{Anvil, Contracts, Emission};
use tokio::time::Instant;

/// A node with one market.
pub(crate) struct Chain {
    pub(crate) anvil: Anvil,
    pub(crate) contracts: Contracts,
}

/// The time limit of every wait, long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

impl Chain {
    pub(crate) async fn start() -> Self {
        let anvil = Anvil::start().await.unwrap();
        let contracts = anvil.deploy(1).await.unwrap();
        Self { anvil, contracts }
    }

    pub(crate) fn market(&self) -> &str {
        &self.contracts.markets[0]
    }

    /// Releases an epoch in a block of its own.
    pub(crate) async fn release(&self, epoch: u64) {
        self.emit(&Emission::EpochReleased { epoch, begin: epoch * 10, end: epoch * 10 + 9 }).await;
        self.anvil.mine().await.unwrap();
    }

    pub(crate) async fn emit(&self, emission: &Emission) {
        self.anvil.emit(&self.contracts, self.market(), emission).await.unwrap();
    }

    /// A configuration with these URLs and short pauses.
    pub(crate) fn config(&self, urls: &[&str]) -> ChainConfig {
        let nodes = urls.iter().map(|url| url.parse().unwrap()).collect();
        let protocol_state = self.contracts.protocol_state.parse().unwrap();
        let contracts = evm::Contracts { protocol_state, priorities: Some(protocol_state) };
        ChainConfig {
            poll_interval: Duration::from_millis(20),
            request_timeout: Duration::from_secs(20),
            probe_interval: Duration::from_millis(50),
            after_failure: pauses(table::NODE_FAILED, 20, 100),
            after_wrong_answer: pauses(table::NODE_WRONG, 300, 3_000),
            ..ChainConfig::new(nodes, contracts)
        }
    }

    pub(crate) fn source(&self, urls: &[&str]) -> Source {
        Source::new(self.config(urls)).unwrap()
    }

    /// The block of this height from the node itself, which the code under test did not read.
    pub(crate) async fn at(&self, height: u64) -> BlockRef {
        let (hash, parent, time) = self.anvil.block(height).await.unwrap().unwrap();
        BlockRef { number: height, hash: hash.parse().unwrap(), parent: parent.parse().unwrap(), time }
    }

    pub(crate) async fn genesis(&self) -> BlockRef {
        self.at(0).await
    }
}

/// A row of the table of retries with other pauses, in milliseconds.
fn pauses(policy: RetryPolicy, first: u64, longest: u64) -> RetryPolicy {
    let [first, longest] = [first, longest].map(Duration::from_millis);
    RetryPolicy { first, longest, ..policy }
}

/// Waits for the child of `after`.
pub(crate) async fn next_block(source: &Source, after: &BlockRef) -> Block {
    loop {
        match source.next(after, deadline()).await.unwrap() {
            Next::Block { block, .. } => return block,
            Next::NotYet { .. } => source.wait().await,
            reorganised @ Next::Reorganised { .. } => panic!("{reorganised:?} after {after:?}"),
        }
    }
}

/// All blocks after `after` up to a height.
pub(crate) async fn blocks_to(source: &Source, after: &BlockRef, height: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut last = *after;
    while last.number < height {
        let block = next_block(source, &last).await;
        assert_eq!((block.at.number, block.at.parent), (last.number + 1, last.hash));
        last = block.at;
        blocks.push(block);
    }
    blocks
}

pub(crate) fn epochs(events: &[MarketEvent]) -> Vec<u64> {
    let epoch = |event: &MarketEvent| match event.event {
        ChainEvent::EpochReleased { epoch, .. } => Some(epoch),
        _ => None,
    };
    events.iter().filter_map(epoch).collect()
}

/// The epochs released in these blocks, in order.
pub(crate) fn epochs_of(blocks: &[Block]) -> Vec<u64> {
    blocks.iter().flat_map(|block| epochs(&block.events)).collect()
}

pub(crate) async fn next_or_error(
    source: &Source,
    after: &BlockRef,
    within: Duration,
) -> Result<Next, ChainError> {
    source.next(after, Instant::now() + within).await
}
