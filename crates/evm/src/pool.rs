//! Chooses a node for each request, and fails over to others. Each request ends at its deadline.
//!
//! The first working node of the configuration is asked. A failing node is retried with growing backoff, and a node that
//! answers wrongly after a longer pause; meanwhile the next node is asked at once. A probe of all nodes every few seconds
//! finds nodes that have recovered, follow another chain, or lag.

mod exchange;
mod faults;
mod node_choice;
mod node_health;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domain::chain::Hash;
use http_client::{HttpClient, Trust};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::{ChainConfig, NodeUrl};
use crate::counters::{Counters, FaultKind};
use crate::error::{ChainError, NodeFault};
use crate::fault::Fault;
use crate::json_rpc::Call;
use crate::node::Node;
use crate::refusal::About;

/// The least time before a deadline that is worth one more request.
const LEAST_TIME: Duration = Duration::from_millis(10);
/// The least time between two waits that notifications end: a node can notify of heads that don't exist.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// The codes of JSON-RPC and of EIP-4444 for what no node serves or has.
pub(crate) const METHOD_NOT_FOUND: i64 = -32_601;
const PRUNED: i64 = 4_444;

/// The nodes of a chain. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ChainConfig,
    nodes: Vec<Node>,
    counters: Arc<Counters>,
    heads: Arc<Notify>,
    /// The chain's id; 0 while it is unknown.
    chain_id: AtomicU64,
    /// Set while a probe runs, so that slow nodes don't make probes pile up.
    probing: AtomicBool,
    last_probe: std::sync::Mutex<Option<Instant>>,
    /// When a notification ended a wait for a head.
    last_notified: std::sync::Mutex<Option<Instant>>,
}

/// The conditions that a node must meet for a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeRequirements {
    /// The block's number: nodes with a lower known head are passed over.
    pub(crate) block: Option<u64>,
    /// The block's hash: if no node has it, the error is [`ChainError::BlockGone`].
    pub(crate) hash: Option<Hash>,
    /// The request needs an old state: archive nodes come first.
    pub(crate) archive: bool,
    /// The request is about the head of the chain: a lagging node is passed over.
    pub(crate) at_head: bool,
    /// What is asked, which decides what an error means.
    pub(crate) about: About,
    /// What a node may limit.
    pub(crate) measure: Measure,
    /// Not this node, unless there is no other: its answer is being verified.
    pub(crate) except: Option<usize>,
    /// This node, unless it fails: its answer to another request belongs to this one.
    pub(crate) prefer: Option<usize>,
    /// No other node than this one: the answers are joined, and have to be of one branch.
    pub(crate) only: Option<usize>,
}

/// What a question measures, with the most that is wanted. Each node has its own limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Measure {
    /// Nothing: the question has one form.
    #[default]
    Fixed,
    /// Blocks of a range.
    Blocks(u64),
    /// Calls in a batch.
    Calls(u64),
}

/// One question: its requests so far.
#[derive(Debug)]
struct Trial {
    want: NodeRequirements,
    method: &'static str,
    started: Instant,
    deadline: Instant,
    attempts: u32,
    last: Option<NodeFault>,
    /// The nodes that lack the block or state. For this question only: a node that lacks one block has others.
    missing: Vec<bool>,
    /// Whether all of them have discarded it.
    discarded: bool,
}

/// The next step of a request.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// Ask this node.
    Node(usize),
    /// Wait until this moment, when the first pause ends.
    Wait(Instant),
    /// Give up: every usable node lacks the block or state.
    AllLackIt,
}

/// Why an answer can't be used.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node is at fault; another node is asked.
    Fault(Fault),
    /// The request ends, since no other node would answer better.
    Final(ChainError),
    /// The node began a pause before the request was sent.
    Paused,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The state of a node, for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node, without credentials.
    pub node: NodeUrl,
    /// Whether it is an archive node.
    pub archive: bool,
    /// Its last known head.
    pub head: Option<u64>,
    /// Whether it is behind the highest head by more than allowed.
    pub lagging: bool,
    /// Its last fault, until it answers again.
    pub fault: Option<FaultKind>,
    /// The rest of its pause.
    pub set_aside_for: Duration,
    /// The number of blocks that it is asked for in one query for logs; `None` while that is the configured limit.
    pub log_range: Option<u64>,
}

impl Pool {
    /// Sets up the nodes without connecting.
    ///
    /// # Errors
    /// [`ChainError`] without a node, or for a URL that can't be used.
    pub fn new(config: ChainConfig) -> Result<Self, ChainError> {
        if config.nodes.is_empty() {
            return Err(ChainError::NoNode);
        }
        // One for all nodes, so that the system's certificates are read once.
        let trust = Trust::default();
        let (http, heads, counters) = (HttpClient::new(trust.clone()), Arc::default(), Arc::default());
        let node = |url: &NodeUrl, archive| {
            Node::new(url.clone(), archive, &config, &http, &trust, &heads, &counters)
        };
        let nodes = config.nodes.iter().map(|url| node(url, false));
        let nodes = nodes.chain(config.archive_nodes.iter().map(|url| node(url, true)));
        let nodes = nodes.collect::<Result<_, _>>()?;
        let chain_id = AtomicU64::new(config.chain_id.unwrap_or(0));
        let inner = Inner {
            nodes,
            counters,
            heads,
            chain_id,
            probing: AtomicBool::new(false),
            last_probe: std::sync::Mutex::default(),
            last_notified: std::sync::Mutex::default(),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The counters of all nodes together.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// The nodes in the order of the configuration, archive nodes last.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        let now = Instant::now();
        let status = |node: &Node| {
            let state = node.state();
            NodeStatus {
                node: node.url.clone(),
                archive: node.archive,
                head: state.head.map(|(number, _)| number),
                lagging: state.lagging,
                fault: state.fault,
                set_aside_for: state.not_before.map_or(Duration::ZERO, |until| until - now.min(until)),
                log_range: Some(state.blocks.get()).filter(|size| *size < self.inner.config.max_log_range),
            }
        };
        self.inner.nodes.iter().map(status).collect()
    }

    /// Waits for the poll interval, or until a WebSocket notifies of a new head.
    pub async fn wait(&self) {
        let last = || self.inner.last_notified.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let poll = Instant::now() + self.inner.config.poll_interval;
        let earliest = last().map(|last| last + LEAST_WAIT);
        tokio::select! {
            () = sleep_until(poll) => {}
            // `notify_one` stores one permit, so that a head between two waits is not missed.
            () = self.inner.heads.notified() => {
                if let Some(earliest) = earliest {
                    sleep_until(earliest.min(poll)).await;
                }
                *last() = Some(Instant::now());
            }
        }
    }

    pub(crate) fn config(&self) -> &ChainConfig {
        &self.inner.config
    }

    pub(crate) fn node_name(&self, index: usize) -> &NodeUrl {
        &self.inner.nodes[index].url
    }

    /// Whether another node than this one can be asked now.
    pub(crate) fn has_other_usable(&self, index: usize) -> bool {
        let now = Instant::now();
        let usable = |node: &Node| node.state().not_before.is_none_or(|until| until <= now);
        self.inner.nodes.iter().enumerate().any(|(other, node)| other != index && usable(node))
    }

    /// The size of the next request to the node that is asked next.
    pub(crate) fn likely_size(&self, measure: Measure) -> u64 {
        let index = match self.choose(&NodeRequirements::default(), &vec![false; self.inner.nodes.len()]) {
            Choice::Node(index) => index,
            Choice::Wait(_) | Choice::AllLackIt => 0,
        };
        measure.of(&self.inner.nodes[index])
    }

    /// The number of queries of this many blocks that are joined: 1 unless it is the settled size of a node, since a search for a
    /// node's limit is no reason to send many.
    pub(crate) fn joined_queries(&self, blocks: u64) -> u64 {
        let joined = self.inner.nodes.iter().map(|node| {
            let state = node.state();
            let is_of_it = state.blocks.is_settled() && state.blocks.get() == blocks;
            if is_of_it { state.joined.get() } else { 1 }
        });
        joined.max().unwrap_or(1)
    }

    /// Notes whether so many joined queries were of use. A node that refuses before their end has to be asked for fewer, or none
    /// of its answers would ever count.
    pub(crate) fn note_joined(&self, index: usize, queries: u64, is_of_use: bool) {
        let mut state = self.inner.nodes[index].state();
        if is_of_use { state.joined.fitted(queries) } else { state.joined.too_large(queries, None) }
    }

    /// The number of calls that a node takes at once.
    pub(crate) fn batch_of(&self, index: usize) -> u64 {
        self.inner.nodes[index].state().batch.get()
    }

    /// Sends `calls` to the best node, and to others as long as nodes fail or `read` reports a fault. Returns the value of `read`,
    /// and the node that answered.
    pub(crate) async fn ask<T>(
        &self,
        calls: &[Call],
        want: NodeRequirements,
        deadline: Instant,
        read: impl Fn(&[&RawValue]) -> Result<T, Failure>,
    ) -> Result<(T, usize), ChainError> {
        self.ask_sized(want, deadline, |_| calls.to_vec(), |_, results| read(results)).await
    }

    /// As [`Pool::ask`], for a question that nodes answer in parts. `calls` and `read` are given the size that the node takes.
    pub(crate) async fn ask_sized<T>(
        &self,
        want: NodeRequirements,
        deadline: Instant,
        calls: impl Fn(u64) -> Vec<Call>,
        read: impl Fn(u64, &[&RawValue]) -> Result<T, Failure>,
    ) -> Result<(T, usize), ChainError> {
        let method = calls(1).first().map_or("nothing", |call| call.method);
        let mut trial = Trial::new(want, method, deadline, self.inner.nodes.len());
        loop {
            let index = self.next_node(&trial).await?;
            if trial.attempts > 0 {
                if deadline.saturating_duration_since(Instant::now()) < LEAST_TIME {
                    // A request without time would only hide the last fault behind its own.
                    return Err(trial.no_answer());
                }
                self.inner.counters.add_retry();
            }
            trial.attempts += 1;
            let size = want.measure.of(&self.inner.nodes[index]);
            let (blocks, calls) = (want.measure.blocks(size), calls(size));
            let asked = self.attempt(index, &calls, &want, blocks, deadline, |results| read(size, results));
            match asked.await {
                Ok(value) => return Ok((value, index)),
                Err(Failure::Final(error)) => return Err(error),
                // Nothing was sent. `next_node` waits for the end of the pause, or takes another node.
                Err(Failure::Paused) => trial.attempts -= 1,
                Err(Failure::Fault(fault)) => self.failed(index, fault, blocks, &mut trial)?,
            }
        }
    }

    /// The node of the next request; waits while all usable nodes are in a pause.
    async fn next_node(&self, trial: &Trial) -> Result<usize, ChainError> {
        loop {
            match self.choose(&trial.want, &trial.missing) {
                Choice::Node(index) => return Ok(index),
                Choice::Wait(until) if until < trial.deadline => {
                    // Lagging nodes may have caught up; only a probe notices it.
                    self.probe_when_due();
                    sleep_until(until).await;
                }
                // Every pause outlasts the deadline, so the caller gets its error now and not at the deadline.
                Choice::Wait(_) => return Err(trial.no_answer()),
                Choice::AllLackIt => {
                    let is_unserved = self.is_unserved(trial.want.about);
                    return Err(trial.all_lack_it(&self.inner.nodes[0].url, is_unserved));
                }
            }
        }
    }

    async fn attempt<T>(
        &self,
        index: usize,
        calls: &[Call],
        want: &NodeRequirements,
        blocks: u64,
        deadline: Instant,
        read: impl Fn(&[&RawValue]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // Taken before the request: `answered` compares it with faults of other requests meanwhile.
        let asked = Instant::now();
        self.verify_chain(index, deadline).await?;
        let results = self.exchange(index, calls, want, blocks, deadline).await?;
        let results: Vec<&RawValue> = results.iter().map(AsRef::as_ref).collect();
        let value = read(&results)?;
        let node = &self.inner.nodes[index];
        node.answered(asked);
        if matches!(want.measure, Measure::Blocks(_)) {
            node.state().blocks.fitted(blocks);
        }
        Ok(value)
    }

    pub(crate) fn known_chain_id(&self) -> Option<u64> {
        Some(self.inner.chain_id.load(Ordering::Acquire)).filter(|id| *id != 0)
    }
}

impl Trial {
    fn new(want: NodeRequirements, method: &'static str, deadline: Instant, nodes: usize) -> Self {
        let (started, missing) = (Instant::now(), vec![false; nodes]);
        Self { want, method, started, deadline, attempts: 0, last: None, missing, discarded: true }
    }

    fn no_answer(&self) -> ChainError {
        ChainError::NoAnswer {
            method: self.method,
            block: self.want.block,
            waited: self.started.elapsed(),
            attempts: self.attempts,
            last: self.last.clone(),
        }
    }

    /// The error when every usable node lacks the answer. One that does not serve what was asked may have the block.
    fn all_lack_it(&self, node: &NodeUrl, is_unserved: bool) -> ChainError {
        let rejected = |code, message| {
            let node = self.last.as_ref().map_or(node, |last| &last.node).clone();
            ChainError::Rejected { method: self.method, node, code, message }
        };
        let lacks_block = self.last.as_ref().is_some_and(|last| last.kind == FaultKind::Pruned);
        // A node in a pause may still have the state.
        let all_asked = self.missing.iter().all(|missing| *missing);
        match (self.want.about, self.want.hash) {
            (About::Receipts | About::ViewByHash, Some(_)) if is_unserved || !lacks_block => {
                rejected(METHOD_NOT_FOUND, "no node serves it".to_owned())
            }
            (About::View | About::ViewByHash, _) if all_asked && self.discarded => {
                rejected(PRUNED, self.last.as_ref().map(|last| last.detail.clone()).unwrap_or_default())
            }
            (_, Some(hash)) => ChainError::BlockGone { hash },
            (_, None) => self.no_answer(),
        }
    }
}

/// Parses a result; another form is the node's fault.
pub(crate) fn typed<'a, T: serde::Deserialize<'a>>(result: &'a RawValue) -> Result<T, Fault> {
    serde_json::from_str(result.get()).map_err(|source| {
        Fault::caused(FaultKind::Malformed, "its result is not of the expected form", source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Contracts;

    #[tokio::test(start_paused = true)]
    async fn a_notification_ends_a_wait_at_once_but_not_the_next_one() {
        let contracts =
            Contracts { protocol_state: domain::chain::ContractAddress([1; 20]), priorities: None };
        let url = "ws://127.0.0.1:1".parse().unwrap();
        let pool = Pool::new(ChainConfig::new(vec![url], contracts)).unwrap();
        let waited = async |notified: bool| {
            let began = Instant::now();
            if notified {
                pool.inner.heads.notify_one();
            }
            pool.wait().await;
            began.elapsed()
        };
        let poll = pool.config().poll_interval;
        assert!(poll > LEAST_WAIT);
        // Also right after a wait that the poll interval ended.
        assert!(waited(false).await >= poll && waited(true).await < LEAST_WAIT / 10);
        assert!(waited(true).await >= LEAST_WAIT - Duration::from_millis(1));
        assert!(waited(false).await >= poll && waited(true).await < LEAST_WAIT / 10);
    }
}
