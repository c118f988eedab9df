//! Reads the chain block by block: the head, the child of a block with its events, the fork after a reorganisation. It keeps no
//! state of the chain.

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
use crate::fault::Fault;
use crate::json_rpc::Call;
use crate::pool::{Failure, Measure, NodeRequirements, NodeStatus, Pool, typed};
use crate::throttle::Throttle;
use crate::wire::Header;

/// The limit of headers that are requested together.
const MOST_HEADERS: usize = 100;

/// Reads one chain. Cheap to clone; clones share nodes and counters.
#[derive(Clone, Debug)]
pub struct Source {
    pub(crate) pool: Pool,
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) lines: Arc<Lines>,
}

/// The log lines that a node or a contract can cause with each block.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) bad_logs: Throttle,
    pub(crate) doubtful_blocks: Throttle,
}

/// A block with its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its place in the chain.
    pub at: BlockRef,
    /// The events, in the order of their logs.
    pub events: Vec<MarketEvent>,
    /// Logs that can't be decoded, on every node that was asked.
    pub bad_logs: Vec<BadLog>,
}

/// The successor of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its child.
    Block {
        /// The child.
        block: Block,
        /// The head of the node that was asked.
        head: BlockRef,
    },
    /// There is no child yet.
    NotYet {
        /// The head of the node that was asked; lower than the block if that node or the chain fell back.
        head: BlockRef,
    },
    /// The block is no longer on the chain: call [`Source::fork`].
    Reorganised {
        /// The block that has its height now.
        tip: BlockRef,
    },
}

/// The fork of a reorganisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The last accepted block that is still on the chain.
    pub ancestor: BlockRef,
    /// The number of accepted blocks that are dropped.
    pub depth: u64,
    /// The new blocks above the ancestor, lowest first.
    pub branch: Vec<BlockRef>,
}

impl Source {
    /// A source that has not connected yet.
    ///
    /// # Errors
    /// [`ChainError`] without a node or market, or for a URL that can't be used.
    pub fn new(config: ChainConfig) -> Result<Self, ChainError> {
        let decoder = Arc::new(Decoder::new(&config.contracts));
        Ok(Self { pool: Pool::new(config)?, decoder, lines: Arc::default() })
    }

    /// The chain's id, if it is configured or a node has reported it.
    #[must_use]
    pub fn chain_id(&self) -> Option<u64> {
        self.pool.known_chain_id()
    }

    /// Whether archive nodes are configured.
    #[must_use]
    pub fn has_archive(&self) -> bool {
        !self.pool.config().archive_nodes.is_empty()
    }

    /// The counters of all nodes together.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.pool.counters()
    }

    /// The state of each node.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        self.pool.status()
    }

    /// Waits for the poll interval, or until a WebSocket notifies of a new head.
    pub async fn wait(&self) {
        self.pool.wait().await;
    }

    /// The head of a node that does not lag.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn head(&self, deadline: Instant) -> Result<BlockRef, ChainError> {
        Ok(self.pool.head(deadline).await?.0.block())
    }

    /// The block of this height, if the chain has reached it.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn block_at(&self, number: u64, deadline: Instant) -> Result<Option<BlockRef>, ChainError> {
        Ok(self.header_at(number, None, deadline).await?.map(|(header, _)| header.block()))
    }

    /// The blocks of these heights, which the chain must have reached.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline, or if a block does not exist.
    pub async fn blocks_at(
        &self,
        numbers: &[u64],
        deadline: Instant,
    ) -> Result<BTreeMap<u64, BlockRef>, ChainError> {
        let mut blocks = BTreeMap::new();
        let mut rest = numbers;
        while !rest.is_empty() {
            let headers = self.headers_of(rest, deadline).await?;
            blocks.extend(headers.iter().map(|header| (header.number.to(), header.block())));
            rest = &rest[headers.len()..];
        }
        Ok(blocks)
    }

    /// The block of this hash, which may be on a dropped branch.
    ///
    /// # Errors
    /// [`ChainError::BlockGone`] if no node has it, [`ChainError::NoAnswer`] at the deadline.
    pub async fn block_of(&self, hash: Hash, deadline: Instant) -> Result<BlockRef, ChainError> {
        let call = Call::new("eth_getBlockByHash", json!([hash, false]));
        let want = NodeRequirements { hash: Some(hash), ..NodeRequirements::default() };
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

    /// The child of `after` with its events, if it exists.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline. A block that is dropped while it is read is no error.
    pub async fn next(&self, after: &BlockRef, deadline: Instant) -> Result<Next, ChainError> {
        loop {
            let (head, node) = self.pool.head(deadline).await?;
            let child = match head.block() {
                // A lower head alone proves no reorganisation: the chain may get back to the same block.
                at if at.number < after.number => return Ok(Next::NotYet { head: at }),
                at if at.number == after.number && at.hash == after.hash => {
                    return Ok(Next::NotYet { head: at });
                }
                at if at.number == after.number => {
                    match self.confirm_reorganisation(after, at, at, node, deadline).await? {
                        Some(next) => return Ok(next),
                        None => continue,
                    }
                }
                // At the head, the usual case, the header is known already and saves a request.
                at if at.number == after.number + 1 => Some((head.clone(), node)),
                // From the node that reported the head, if possible: another one may be on another branch.
                _ => self.header_at(after.number + 1, Some(node), deadline).await?,
            };
            let Some((child, answered)) = child else {
                self.pause_without_child(after.number + 1, node, deadline).await;
                continue;
            };
            if child.block().parent != after.hash {
                // Only the node with the head decides: the one that answered in its place may lag, on a dropped branch.
                if answered != node {
                    self.pause_after_contradiction(deadline).await;
                    continue;
                }
                // By hash: at our height a node that is stuck on the dropped branch would answer with the old block for ever.
                let tip = match self.block_of(child.block().parent, deadline).await {
                    Ok(tip) if tip.number == after.number => tip,
                    // The branch was dropped meanwhile, or the heights don't fit.
                    Ok(_) | Err(ChainError::BlockGone { .. }) => {
                        self.pause_after_contradiction(deadline).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                match self.confirm_reorganisation(after, tip, head.block(), node, deadline).await? {
                    Some(next) => return Ok(next),
                    None => continue,
                }
            }
            match self.read_block(&child, deadline).await {
                Ok(block) => return Ok(Next::Block { block, head: head.block() }),
                Err(ChainError::BlockGone { .. }) => self.pause_after_contradiction(deadline).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Confirms that the chain dropped `after` for `tip`: no other node with a head as high as `head` still has `after`. If one has,
    /// the reporting node is on a branch of its own, and `None` makes the caller ask again.
    async fn confirm_reorganisation(
        &self,
        after: &BlockRef,
        tip: BlockRef,
        head: BlockRef,
        node: usize,
        deadline: Instant,
    ) -> Result<Option<Next>, ChainError> {
        if self.pool.has_other_usable(node) {
            let calls =
                [by_number(after.number), Call::new("eth_getBlockByNumber", json!(["latest", false]))];
            let want = NodeRequirements { at_head: true, except: Some(node), ..NodeRequirements::default() };
            let read = |results: &[&serde_json::value::RawValue]| {
                let header = |result| -> Result<Option<Header>, Failure> { Ok(typed(result)?) };
                Ok((header(results[0])?, header(results[1])?))
            };
            // Not the caller's whole time: a second node that hangs must not hold up a reorganisation.
            let soon = deadline.min(Instant::now() + self.pool.config().request_timeout);
            // Without an answer of another node, the report stands.
            if let Ok(((same_height, latest), other)) = self.pool.ask(&calls, want, soon, read).await {
                let holds = same_height.is_some_and(|header| header.block().hash == after.hash);
                // A node with a lower head may just not have seen the new branch.
                let as_high = latest.is_some_and(|latest| latest.block().number >= head.number);
                // `other` may be the same node, if no other one was usable: its second answer confirms nothing.
                if other != node && holds && as_high {
                    let detail = "it is on a branch that another node as high is not on";
                    self.pool.fault(node, &Fault::new(FaultKind::Inconsistent, detail));
                    return Ok(None);
                }
            }
        }
        // Counted after the confirmation, so that a node on its own branch adds nothing.
        self.counters().add_reorganisation();
        Ok(Some(Next::Reorganised { tip }))
    }

    /// The common ancestor of `tip` and the accepted blocks with these hashes, at most `max_depth` below.
    ///
    /// # Errors
    /// [`ChainError::ReorganisedTooDeep`], [`ChainError::BlockGone`] if this branch was dropped meanwhile too (call
    /// [`Source::next`] again), [`ChainError::NoAnswer`] at the deadline.
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
                // Collected from the tip down.
                branch.reverse();
                return Ok(Fork { ancestor: block, depth, branch });
            }
            branch.push(block);
            if block.number == 0 || depth == max_depth {
                break;
            }
            // By hash, which stays on this branch; a height may belong to another one by now.
            let parent = self.block_of(block.parent, deadline).await?;
            // Heights that don't count down contradict the hashes; the caller starts again.
            if parent.number + 1 != block.number {
                return Err(ChainError::BlockGone { hash: block.parent });
            }
            block = parent;
        }
        Err(ChainError::ReorganisedTooDeep { depth: tip.number - block.number, number: block.number })
    }

    /// The headers of these heights, each the parent of the next; fewer if a reorganisation broke the chain of parents, or if the
    /// deadline came.
    pub(crate) async fn headers(
        &self,
        from: u64,
        to: u64,
        deadline: Instant,
    ) -> Result<Vec<Header>, ChainError> {
        let mut headers: Vec<Header> = Vec::new();
        let mut rest = from..=to;
        while !rest.is_empty() {
            let numbers: Vec<u64> = rest.clone().take(MOST_HEADERS).collect();
            let found = match self.headers_of(&numbers, deadline).await {
                Ok(found) => found,
                // What a slow node has answered counts, or a range that needs many requests would never be read.
                Err(ChainError::NoAnswer { .. }) if !headers.is_empty() => break,
                Err(error) => return Err(error),
            };
            rest = *rest.start() + found.len() as u64..=to;
            for header in found {
                // Batches may come from different nodes, so the link between them is checked.
                if headers.last().is_some_and(|last| last.hash != header.parent_hash) {
                    return Ok(headers);
                }
                headers.push(header);
            }
        }
        Ok(headers)
    }

    /// The headers of the first of these heights from one node, in their order: as many as it answers at once.
    async fn headers_of(&self, numbers: &[u64], deadline: Instant) -> Result<Vec<Header>, ChainError> {
        let want = NodeRequirements {
            block: numbers.iter().max().copied(),
            measure: Measure::Calls(numbers.len() as u64),
            ..NodeRequirements::default()
        };
        let first = |size: u64| numbers.iter().copied().take(usize::try_from(size).unwrap_or(usize::MAX));
        let calls = |size| first(size).map(by_number).collect();
        let read = |size, results: &[&serde_json::value::RawValue]| {
            let header = |(result, number): (_, u64)| read_header(result, number);
            let headers: Result<Vec<Option<Header>>, Failure> =
                results.iter().copied().zip(first(size)).map(header).collect();
            // A node with gaps counts as pruned: another node is asked for all of them.
            let headers: Option<Vec<Header>> = headers?.into_iter().collect();
            Ok(headers.ok_or_else(|| Fault::new(FaultKind::Pruned, "it lacks some of the blocks"))?)
        };
        Ok(self.pool.ask_sized(want, deadline, calls, read).await?.0)
    }

    /// The header of this height, and the node that answered.
    pub(crate) async fn header_at(
        &self,
        number: u64,
        prefer: Option<usize>,
        deadline: Instant,
    ) -> Result<Option<(Header, usize)>, ChainError> {
        let want = NodeRequirements { block: Some(number), prefer, ..NodeRequirements::default() };
        let read = |results: &[&serde_json::value::RawValue]| read_header(results[0], number);
        let (header, node) = self.pool.ask(&[by_number(number)], want, deadline, read).await?;
        Ok(header.map(|header| (header, node)))
    }

    /// Waits a moment after a node did not have a child below its head: a load balancer may have asked another server. A node that
    /// is alone with its head and lacks the child is at fault.
    async fn pause_without_child(&self, child: u64, node: usize, deadline: Instant) {
        if self.pool.claims_alone(node, Some(child)) {
            let detail = format!("it lacks block {child} below its head");
            self.pool.fault(node, &Fault::new(FaultKind::Inconsistent, detail));
            return;
        }
        self.pause_after_contradiction(deadline).await;
    }

    /// Waits a moment after answers that contradict each other.
    async fn pause_after_contradiction(&self, deadline: Instant) {
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
