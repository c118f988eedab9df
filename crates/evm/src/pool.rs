//! Chooses a node for each request, and fails over to others. Each request ends at its deadline.
//!
//! The first working node of the configuration is asked. A failing node is retried with growing backoff, and a node that
//! answers wrongly after a longer pause; meanwhile the next node is asked at once. A probe of all nodes every few seconds
//! finds nodes that have recovered, follow another chain, or lag.

mod node_choice;
mod node_health;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domain::chain::Hash;
use errors::rounded;
use http_client::{HttpClient, Trust};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::config::{ChainConfig, NodeUrl};
use crate::counters::{Counters, FaultKind};
use crate::error::{ChainError, NodeFault};
use crate::json_rpc::{Call, Fault, Meaning, Outcome, outcomes};
use crate::node::{Node, Texts};

/// The least time before a deadline that is worth one more request.
const LEAST_TIME: Duration = Duration::from_millis(10);

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
    /// The request is for a range of blocks, which the caller can make smaller.
    pub(crate) range: bool,
    /// Not this node, unless there is no other: its answer is being verified.
    pub(crate) except: Option<usize>,
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
}

impl Pool {
    /// Sets up the nodes without connecting.
    ///
    /// # Errors
    /// [`ChainError`] without a node or market, or for a URL that can't be used.
    pub fn new(config: ChainConfig) -> Result<Self, ChainError> {
        if config.nodes.is_empty() {
            return Err(ChainError::NoNode);
        }
        if config.contracts.markets.is_empty() {
            return Err(ChainError::NoMarket);
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
            }
        };
        self.inner.nodes.iter().map(status).collect()
    }

    /// Waits for the poll interval, or until a WebSocket notifies of a new head.
    pub async fn wait(&self) {
        tokio::select! {
            () = sleep(self.inner.config.poll_interval) => {}
            // `notify_one` stores one permit, so that a head between two waits is not missed.
            () = self.inner.heads.notified() => {}
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

    /// Sends `calls` to the best node, and to others as long as nodes fail or `read` reports a fault. Returns the value of `read`,
    /// and the node that answered.
    pub(crate) async fn ask<T>(
        &self,
        calls: &[Call],
        want: NodeRequirements,
        deadline: Instant,
        read: impl Fn(&[&RawValue]) -> Result<T, Failure>,
    ) -> Result<(T, usize), ChainError> {
        let started = Instant::now();
        let method = calls.first().map_or("nothing", |call| call.method);
        let mut attempts = 0;
        let mut last = None;
        // For this request only: a node that lacks one block has others.
        let mut missing = vec![false; self.inner.nodes.len()];
        let no_answer = |attempts, last: Option<NodeFault>| {
            let waited = started.elapsed();
            ChainError::NoAnswer { method, block: want.block, waited, attempts, last }
        };
        loop {
            let index = match self.choose(&want, &missing) {
                Choice::Node(index) => index,
                Choice::Wait(until) if until < deadline => {
                    // Lagging nodes may have caught up; only a probe notices it.
                    self.probe_when_due();
                    sleep_until(until).await;
                    continue;
                }
                Choice::Wait(_) => {
                    // Every pause outlasts the deadline, so the caller gets its error now and not at the deadline.
                    return Err(no_answer(attempts, last));
                }
                Choice::AllLackIt => match want.hash {
                    Some(hash) => return Err(ChainError::BlockGone { hash }),
                    None => return Err(no_answer(attempts, last)),
                },
            };
            if attempts > 0 {
                if deadline.saturating_duration_since(Instant::now()) < LEAST_TIME {
                    // A request without time would only hide the last fault behind its own.
                    return Err(no_answer(attempts, last));
                }
                self.inner.counters.add_retry();
            }
            attempts += 1;
            match self.attempt(index, calls, &want, deadline, &read).await {
                Ok(value) => return Ok((value, index)),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Fault(fault)) => {
                    let node = &self.inner.nodes[index];
                    if Instant::now() >= deadline && fault.kind == FaultKind::Timeout {
                        // The deadline was shorter than the request's time limit, which is no fault of the node: the fault
                        // before, if there was one, is the cause.
                        return Err(no_answer(attempts, last.or_else(|| Some(fault.of(&node.url)))));
                    }
                    last = Some(fault.of(&node.url));
                    // A pruned node is healthy. It is skipped for this request only, and not set aside.
                    if fault.kind == FaultKind::Pruned {
                        self.inner.counters.add_fault(fault.kind);
                        missing[index] = true;
                    } else {
                        self.fault(index, &fault);
                    }
                }
            }
        }
    }

    /// Counts and logs a fault of a node, and starts its pause.
    pub(crate) fn fault(&self, index: usize, fault: &Fault) {
        self.inner.counters.add_fault(fault.kind);
        let node = &self.inner.nodes[index];
        // A lagging node gets no pause: it is passed over by its head, and may still answer for older blocks.
        if fault.kind == FaultKind::Lagging {
            node.state().lagging = true;
            return;
        }
        let pause = node.failed(fault, &self.inner.config, retry::random());
        if fault.kind.is_wrong_answer() {
            self.inner.counters.add_set_aside();
            tracing::warn!(
                node = %node.url, kind = fault.kind.label(), problem = fault.detail,
                "setting a node aside for {}", rounded(pause)
            );
            return;
        }
        tracing::debug!(
            node = %node.url, kind = fault.kind.label(), problem = fault.detail,
            "retrying a node in {}", rounded(pause)
        );
        let asked = match fault.retry_after {
            Some(asked) => format!("a pause of {}", rounded(asked)),
            None if fault.kind == FaultKind::RateLimited => "fewer requests".to_owned(),
            None => return,
        };
        // An operator should see that a provider's quota is too small; other failures show in metrics and in the caller's error.
        if let Some(suppressed) = node.should_log() {
            tracing::warn!(
                node = %node.url, suppressed = Some(suppressed).filter(|&lines| lines > 0), problem = fault.detail,
                "a node asked for {asked}; the next request to it follows in {}", rounded(pause)
            );
        }
    }

    async fn attempt<T>(
        &self,
        index: usize,
        calls: &[Call],
        want: &NodeRequirements,
        deadline: Instant,
        read: &impl Fn(&[&RawValue]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // Taken before the request: `answered` compares it with faults of other requests meanwhile.
        let asked = Instant::now();
        self.verify_chain(index, deadline).await?;
        let value = self.exchange(index, calls, want.range, deadline, read).await?;
        self.inner.nodes[index].answered(asked);
        Ok(value)
    }

    /// Sends one request to one node, within its rate limit.
    async fn exchange<T>(
        &self,
        index: usize,
        calls: &[Call],
        range: bool,
        deadline: Instant,
        read: &impl Fn(&[&RawValue]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let node = &self.inner.nodes[index];
        let config = &self.inner.config;
        if let Some(rate) = config.rate_limit {
            // The slot is used up even if the deadline comes first: callers behind this one have been given later slots already.
            let slot = node.take_slot(rate.get());
            if timeout_at(deadline, sleep_until(slot)).await.is_err() {
                let detail = "its rate limit allows no request before the deadline";
                return Err(Fault::new(FaultKind::Timeout, detail).into());
            }
        }
        let limit = config.request_timeout.min(deadline.saturating_duration_since(Instant::now()));
        self.inner.counters.add_request();
        let texts = match node.send(calls, config.max_answer, limit).await {
            Ok(texts) => texts,
            // The node may answer for a smaller range. At the deadline there is no time for one, so it stays a timeout.
            Err(Fault { kind: FaultKind::Timeout | FaultKind::Oversized, .. })
                if range && Instant::now() < deadline =>
            {
                return Err(Failure::Final(ChainError::RangeTooLarge { node: node.url.clone() }));
            }
            Err(fault) => return Err(fault.into()),
        };
        let outcomes = match &texts {
            Texts::Whole(text) => outcomes(text, calls.len())?,
            Texts::Each(texts) => {
                let each = texts.iter().map(|text| outcomes(text, 1));
                each.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
            }
        };
        let results = outcomes.into_iter().zip(calls);
        let results: Vec<&RawValue> = results
            .map(|(outcome, call)| self.result_of(outcome, call, node, range))
            .collect::<Result<_, _>>()?;
        read(&results)
    }

    fn result_of<'a>(
        &self,
        outcome: Outcome<'a>,
        call: &Call,
        node: &Node,
        range: bool,
    ) -> Result<&'a RawValue, Failure> {
        let error = match outcome {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let message = errors::sanitise(&error.message);
        match error.meaning() {
            Meaning::Fault(kind) => {
                Err(Fault::new(kind, format!("it answered {} `{message}`", error.code)).into())
            }
            Meaning::RangeTooLarge if range => {
                Err(Failure::Final(ChainError::RangeTooLarge { node: node.url.clone() }))
            }
            // The caller can't ask for less than one block.
            Meaning::RangeTooLarge => {
                let detail = format!("it answered {} `{message}` to a question for one block", error.code);
                Err(Fault::new(FaultKind::Server, detail).into())
            }
            Meaning::Rejected => {
                let (method, node, code) = (call.method, node.url.clone(), error.code);
                Err(Failure::Final(ChainError::Rejected { method, node, code, message }))
            }
        }
    }

    pub(crate) fn known_chain_id(&self) -> Option<u64> {
        Some(self.inner.chain_id.load(Ordering::Acquire)).filter(|id| *id != 0)
    }
}

/// Parses a result; another form is the node's fault.
pub(crate) fn typed<'a, T: serde::Deserialize<'a>>(result: &'a RawValue) -> Result<T, Fault> {
    serde_json::from_str(result.get()).map_err(|source| {
        Fault::caused(FaultKind::Malformed, "its result is not of the expected form", source)
    })
}
