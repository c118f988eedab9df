//! The chain as one sees it block by block: the head, the child of a block with its events, the fork after a
//! reorganisation. Asks the pool's nodes, keeps nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::chain::{BlockRef, Hash, MarketEvent};
use retry::table::NODES_DISAGREE;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::config::ChainConfig;
use crate::counters::{Counters, FaultKind};
use crate::error::ChainError;
use crate::events::{BadLog, Decoder};
use crate::json_rpc::{Call, Fault};
use crate::pool::{Failure, NodeStatus, Pool, Want, typed};
use crate::wire::Header;

/// Headers asked for at once.
const HEADERS_AT_ONCE: usize = 100;

/// Reads one chain. Cheap to clone; clones share nodes and counters.
#[derive(Clone, Debug)]
pub struct Source {
    pub(crate) pool: Pool,
    pub(crate) decoder: Arc<Decoder>,
}

/// A block with what happened in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its place in the chain.
    pub at: BlockRef,
    /// The events of configured markets, in the order of their logs.
    pub events: Vec<MarketEvent>,
    /// Logs of such events that can't be read, as all nodes that were asked have them.
    pub bad_logs: Vec<BadLog>,
}

/// What follows a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its child.
    Block {
        /// The child.
        block: Block,
        /// The head of the node that was asked.
        head: BlockRef,
    },
    /// Nothing yet.
    NotYet {
        /// The head of the node that was asked; lower than the block when that node or the chain fell back.
        head: BlockRef,
    },
    /// The block is no longer on the chain: ask for the [`Source::fork`].
    Reorganised {
        /// The block that has its height now.
        tip: BlockRef,
    },
}

/// Where the chain forked off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The last accepted block that is still on the chain.
    pub ancestor: BlockRef,
    /// How many accepted blocks are dropped.
    pub depth: u64,
    /// The new blocks above the ancestor, upwards.
    pub branch: Vec<BlockRef>,
}

impl Source {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`ChainError`] where there is no node or market, or a node can't be requested.
    pub fn new(config: ChainConfig) -> Result<Self, ChainError> {
        let decoder = Arc::new(Decoder::new(&config.contracts));
        Ok(Self { pool: Pool::new(config)?, decoder })
    }

    /// The chain's id, once it is configured or a node has told it.
    #[must_use]
    pub fn chain_id(&self) -> Option<u64> {
        self.pool.known_chain_id()
    }

    /// Whether there are nodes that keep the state of old blocks.
    #[must_use]
    pub fn has_archive(&self) -> bool {
        !self.pool.config().archive_nodes.is_empty()
    }

    /// What went wrong so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.pool.counters()
    }

    /// The nodes and their state.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        self.pool.status()
    }

    /// Until the next look at the head is due: the poll interval, or a WebSocket's word of a new head.
    pub async fn wait(&self) {
        self.pool.wait().await;
    }

    /// The head, as a node that does not lag has it.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn head(&self, deadline: Instant) -> Result<BlockRef, ChainError> {
        Ok(self.pool.head(deadline).await?.0.block())
    }

    /// The block of this height, where the chain has it.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn block_at(&self, number: u64, deadline: Instant) -> Result<Option<BlockRef>, ChainError> {
        Ok(self.header_at(number, deadline).await?.map(|header| header.block()))
    }

    /// The blocks of these heights, which the chain has.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline, also where there is no such block.
    pub async fn blocks_at(
        &self,
        numbers: &[u64],
        deadline: Instant,
    ) -> Result<BTreeMap<u64, BlockRef>, ChainError> {
        let mut blocks = BTreeMap::new();
        for numbers in numbers.chunks(HEADERS_AT_ONCE) {
            let headers = self.headers_of(numbers, deadline).await?;
            blocks.extend(headers.iter().map(|header| (header.number.to(), header.block())));
        }
        Ok(blocks)
    }

    /// The block of this hash, also where it lies on a branch that was left.
    ///
    /// # Errors
    /// [`ChainError::BlockGone`] where no node has it, [`ChainError::NoAnswer`] at the deadline.
    pub async fn block_of(&self, hash: Hash, deadline: Instant) -> Result<BlockRef, ChainError> {
        let call = Call::new("eth_getBlockByHash", json!([hash, false]));
        let want = Want { hash: Some(hash), ..Want::default() };
        let read = |results: &[&serde_json::value::RawValue]| {
            let header: Option<Header> = typed(results[0])?;
            let header =
                header.ok_or_else(|| Fault::new(FaultKind::Pruned, "it has no block of that hash"))?;
            if header.block().hash != hash {
                return Err(Fault::new(FaultKind::Inconsistent, "it answered with another block").into());
            }
            Ok(header.block())
        };
        Ok(self.pool.ask(&[call], want, deadline, read).await?.0)
    }

    /// The child of `after` with its events, once there is one.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline; a block that vanishes while it is read is no error.
    pub async fn next(&self, after: &BlockRef, deadline: Instant) -> Result<Next, ChainError> {
        loop {
            let (head, node) = self.pool.head(deadline).await?;
            let child = match head.block() {
                at if at.number < after.number => return Ok(Next::NotYet { head: at }),
                at if at.number == after.number && at.hash == after.hash => {
                    return Ok(Next::NotYet { head: at });
                }
                at if at.number == after.number => {
                    match self.confirmed(after, at, at, node, deadline).await? {
                        Some(next) => return Ok(next),
                        None => continue,
                    }
                }
                at if at.number == after.number + 1 => Some(head.clone()),
                _ => self.header_at(after.number + 1, deadline).await?,
            };
            // The node that was asked is not as far as the head: it is asked again.
            let Some(child) = child else {
                self.contradiction(deadline).await;
                continue;
            };
            if child.block().parent != after.hash {
                let tip = self.block_at(after.number, deadline).await?;
                match tip.filter(|tip| tip.hash == child.block().parent) {
                    Some(tip) => match self.confirmed(after, tip, head.block(), node, deadline).await? {
                        Some(next) => return Ok(next),
                        None => continue,
                    },
                    // Two nodes, or a reorganisation between the two questions.
                    None => self.contradiction(deadline).await,
                }
                continue;
            }
            match self.read_block(&child, deadline).await {
                Ok(block) => return Ok(Next::Block { block, head: head.block() }),
                Err(ChainError::BlockGone { .. }) => self.contradiction(deadline).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether `after` was really left for `tip`: no other node as high as `head` still has it. One that has it shows
    /// that the node which told otherwise is on a branch of its own, and `None` comes back to ask again.
    async fn confirmed(
        &self,
        after: &BlockRef,
        tip: BlockRef,
        head: BlockRef,
        node: usize,
        deadline: Instant,
    ) -> Result<Option<Next>, ChainError> {
        if self.pool.has_other(node) {
            let calls =
                [by_number(after.number), Call::new("eth_getBlockByNumber", json!(["latest", false]))];
            let want = Want { leading: true, other_than: Some(node), ..Want::default() };
            let read = |results: &[&serde_json::value::RawValue]| {
                let header = |result| -> Result<Option<Header>, Failure> { Ok(typed(result)?) };
                Ok((header(results[0])?, header(results[1])?))
            };
            let soon = deadline.min(Instant::now() + self.pool.config().request_timeout);
            // Where no other node answers, the one that did is believed.
            if let Ok(((same_height, latest), other)) = self.pool.ask(&calls, want, soon, read).await {
                let holds = same_height.is_some_and(|header| header.block().hash == after.hash);
                let as_high = latest.is_some_and(|latest| latest.block().number >= head.number);
                if other != node && holds && as_high {
                    let detail = "it is on a branch that another node as high is not on";
                    self.pool.fault(node, &Fault::new(FaultKind::Inconsistent, detail));
                    return Ok(None);
                }
            }
        }
        self.counters().add_reorganisation();
        Ok(Some(Next::Reorganised { tip }))
    }

    /// The common ancestor of `tip` and the accepted blocks whose hashes are given, at most `max_depth` below.
    ///
    /// # Errors
    /// [`ChainError::ReorganisedTooDeep`], [`ChainError::BlockGone`] where the branch was left again meanwhile (ask
    /// for the next block anew), [`ChainError::NoAnswer`] at the deadline.
    pub async fn fork(
        &self,
        tip: &BlockRef,
        accepted: &BTreeMap<u64, Hash>,
        max_depth: u64,
        deadline: Instant,
    ) -> Result<Fork, ChainError> {
        let mut branch = Vec::new();
        let mut block = *tip;
        for depth in 0..=max_depth {
            if accepted.get(&block.number) == Some(&block.hash) {
                branch.reverse();
                return Ok(Fork { ancestor: block, depth, branch });
            }
            branch.push(block);
            if block.number == 0 || depth == max_depth {
                break;
            }
            let parent = self.block_of(block.parent, deadline).await?;
            if parent.number + 1 != block.number {
                return Err(ChainError::BlockGone { hash: block.parent });
            }
            block = parent;
        }
        Err(ChainError::ReorganisedTooDeep { depth: tip.number - block.number, number: block.number })
    }

    /// Headers of these heights, each the parent of the next; fewer where a link was broken meanwhile.
    pub(crate) async fn headers(
        &self,
        from: u64,
        to: u64,
        deadline: Instant,
    ) -> Result<Vec<Header>, ChainError> {
        let mut headers: Vec<Header> = Vec::new();
        let mut next = from;
        while next <= to {
            let end = to.min(next + HEADERS_AT_ONCE as u64 - 1);
            let numbers: Vec<u64> = (next..=end).collect();
            for header in self.headers_of(&numbers, deadline).await? {
                if headers.last().is_some_and(|last| last.hash != header.parent_hash) {
                    return Ok(headers);
                }
                headers.push(header);
            }
            next = end + 1;
        }
        Ok(headers)
    }

    /// The headers of these heights, from one node, in their order.
    async fn headers_of(&self, numbers: &[u64], deadline: Instant) -> Result<Vec<Header>, ChainError> {
        let calls: Vec<Call> = numbers.iter().copied().map(by_number).collect();
        let want = Want { block: numbers.iter().max().copied(), ..Want::default() };
        let read = |results: &[&serde_json::value::RawValue]| {
            let header = |(result, number): (&_, &u64)| read_header(result, *number);
            let headers: Result<Vec<Option<Header>>, Failure> =
                results.iter().copied().zip(numbers).map(header).collect();
            let headers: Option<Vec<Header>> = headers?.into_iter().collect();
            Ok(headers.ok_or_else(|| Fault::new(FaultKind::Pruned, "it lacks some of the blocks"))?)
        };
        Ok(self.pool.ask(&calls, want, deadline, read).await?.0)
    }

    async fn header_at(&self, number: u64, deadline: Instant) -> Result<Option<Header>, ChainError> {
        let want = Want { block: Some(number), ..Want::default() };
        let read = |results: &[&serde_json::value::RawValue]| read_header(results[0], number);
        Ok(self.pool.ask(&[by_number(number)], want, deadline, read).await?.0)
    }

    async fn contradiction(&self, deadline: Instant) {
        let pause = NODES_DISAGREE.first.min(deadline.saturating_duration_since(Instant::now()));
        sleep(pause).await;
    }
}

pub(crate) fn by_number(number: u64) -> Call {
    Call::new("eth_getBlockByNumber", json!([format!("{number:#x}"), false]))
}

pub(crate) fn read_header(
    result: &serde_json::value::RawValue,
    number: u64,
) -> Result<Option<Header>, Failure> {
    let header: Option<Header> = typed(result)?;
    match header {
        Some(header) if header.block().number != number => {
            Err(Fault::new(FaultKind::Inconsistent, "it answered with another block").into())
        }
        header => Ok(header),
    }
}
