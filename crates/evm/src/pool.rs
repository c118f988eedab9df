//! Which node is asked, and what happens when it fails. Each question ends at its deadline.
//!
//! The first working node of the configuration is asked. A failing node is retried with growing backoff, and a node that
//! answers wrongly after a longer pause; meanwhile the next one is asked at once. A probe of all nodes every few seconds
//! finds those that are back, on another chain, or behind.

mod choice;
mod survey;

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

/// The nodes, shared by all that ask.
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
    /// The chain's id; 0 while it is not known.
    chain_id: AtomicU64,
    surveying: AtomicBool,
    last_survey: std::sync::Mutex<Option<Instant>>,
}

/// What a node must be able to do for a question.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Want {
    /// The block that it is about: nodes whose head is known to be lower are passed over.
    pub(crate) block: Option<u64>,
    /// The hash that it is about: where no node knows it, the answer is [`ChainError::BlockGone`].
    pub(crate) hash: Option<Hash>,
    /// It is about an old state: archive nodes first.
    pub(crate) archive: bool,
    /// It is about the head of the chain: a node that lags may not answer.
    pub(crate) leading: bool,
    /// It is about a range of blocks that can be halved.
    pub(crate) range: bool,
    /// Not this node, unless there is no other: its answer is to be verified.
    pub(crate) other_than: Option<usize>,
}

/// Which node is asked next.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Node(usize),
    /// Nobody before this moment.
    Wait(Instant),
    /// Every node that could be asked lacks it.
    NoneKnows,
}

/// How an answer was of no use.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node is at fault; another one is asked.
    Fault(Fault),
    /// No other node would do better.
    End(ChainError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What is known of a node, for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node, without credentials.
    pub node: NodeUrl,
    /// Whether it is one for old blocks.
    pub archive: bool,
    /// Its last known head.
    pub head: Option<u64>,
    /// Whether it is behind the best one by more than allowed.
    pub lagging: bool,
    /// Its last fault, until it answers again.
    pub fault: Option<FaultKind>,
    /// For how long it is still left alone.
    pub set_aside_for: Duration,
}

impl Pool {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`ChainError`] where there is no node or market, or a node can't be requested.
    pub fn new(config: ChainConfig) -> Result<Self, ChainError> {
        if config.nodes.is_empty() {
            return Err(ChainError::NoNode);
        }
        if config.contracts.markets.is_empty() {
            return Err(ChainError::NoMarket);
        }
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
            surveying: AtomicBool::new(false),
            last_survey: std::sync::Mutex::default(),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What went wrong so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// The nodes, in the order of the configuration, those for old blocks last.
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

    /// Until the next look at the head is due: the poll interval, or a WebSocket's word of a new head.
    pub async fn wait(&self) {
        tokio::select! {
            () = sleep(self.inner.config.poll_interval) => {}
            () = self.inner.heads.notified() => {}
        }
    }

    pub(crate) fn config(&self) -> &ChainConfig {
        &self.inner.config
    }

    pub(crate) fn node_name(&self, index: usize) -> &NodeUrl {
        &self.inner.nodes[index].url
    }

    /// Whether a node other than this one could be asked now.
    pub(crate) fn has_other(&self, index: usize) -> bool {
        let now = Instant::now();
        let usable = |node: &Node| node.state().not_before.is_none_or(|until| until <= now);
        self.inner.nodes.iter().enumerate().any(|(other, node)| other != index && usable(node))
    }

    /// Asks `calls` of the best node, and of others while `read` finds fault with the answers. Returns what `read`
    /// made of the results, and the node that gave them.
    pub(crate) async fn ask<T>(
        &self,
        calls: &[Call],
        want: Want,
        deadline: Instant,
        read: impl Fn(&[&RawValue]) -> Result<T, Failure>,
    ) -> Result<(T, usize), ChainError> {
        let started = Instant::now();
        let method = calls.first().map_or("nothing", |call| call.method);
        let mut attempts = 0;
        let mut last = None;
        let mut missing = vec![false; self.inner.nodes.len()];
        let no_answer = |attempts, last: Option<NodeFault>| {
            let waited = started.elapsed();
            ChainError::NoAnswer { method, block: want.block, waited, attempts, last }
        };
        loop {
            let index = match self.choose(&want, &missing) {
                Choice::Node(index) => index,
                Choice::Wait(until) if until < deadline => {
                    // Those that were behind may have caught up.
                    self.survey_when_due();
                    sleep_until(until).await;
                    continue;
                }
                Choice::Wait(_) => {
                    // Nothing would change before the deadline, so that waiting for it is of no use.
                    return Err(no_answer(attempts, last));
                }
                Choice::NoneKnows => match want.hash {
                    Some(hash) => return Err(ChainError::BlockGone { hash }),
                    None => return Err(no_answer(attempts, last)),
                },
            };
            if attempts > 0 {
                self.inner.counters.add_retry();
            }
            attempts += 1;
            match self.attempt(index, calls, &want, deadline, &read).await {
                Ok(value) => return Ok((value, index)),
                Err(Failure::End(error)) => return Err(error),
                Err(Failure::Fault(fault)) => {
                    let node = &self.inner.nodes[index];
                    last = Some(fault.of(&node.url));
                    if Instant::now() >= deadline && fault.kind == FaultKind::Timeout {
                        // The caller had no more time; that says nothing about the node.
                        return Err(no_answer(attempts, last));
                    }
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

    /// Notes what a node did wrong, and leaves it alone for a while.
    pub(crate) fn fault(&self, index: usize, fault: &Fault) {
        self.inner.counters.add_fault(fault.kind);
        let node = &self.inner.nodes[index];
        if fault.kind == FaultKind::Lagging {
            node.state().lagging = true;
            return;
        }
        let pause = node.failed(fault, &self.inner.config, retry::random());
        if fault.kind.is_wrong() {
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
        if let Some(suppressed) = node.admit_log_line() {
            tracing::warn!(
                node = %node.url, suppressed = Some(suppressed).filter(|&lines| lines > 0), problem = fault.detail,
                "a node asked for {asked}, its next request comes in {}", rounded(pause)
            );
        }
    }

    async fn attempt<T>(
        &self,
        index: usize,
        calls: &[Call],
        want: &Want,
        deadline: Instant,
        read: &impl Fn(&[&RawValue]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let asked = Instant::now();
        self.verify_chain(index, deadline).await?;
        let value = self.exchange(index, calls, want.range, deadline, read).await?;
        self.inner.nodes[index].answered(asked);
        Ok(value)
    }

    /// One request to one node, within its rate.
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
            let slot = node.take_slot(rate.get());
            if timeout_at(deadline, sleep_until(slot)).await.is_err() {
                let detail = "its rate leaves no place before the deadline";
                return Err(Fault::new(FaultKind::Timeout, detail).into());
            }
        }
        let limit = config.request_timeout.min(deadline.saturating_duration_since(Instant::now()));
        self.inner.counters.add_request();
        let texts = match node.send(calls, config.max_answer, limit).await {
            Ok(texts) => texts,
            // A smaller range may well be answered.
            Err(Fault { kind: FaultKind::Timeout | FaultKind::Oversized, .. })
                if range && Instant::now() < deadline =>
            {
                return Err(Failure::End(ChainError::RangeTooLarge { node: node.url.clone() }));
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
                Err(Failure::End(ChainError::RangeTooLarge { node: node.url.clone() }))
            }
            Meaning::RangeTooLarge => {
                let detail = format!("it answered {} `{message}` to a question for one block", error.code);
                Err(Fault::new(FaultKind::Server, detail).into())
            }
            Meaning::Rejected => {
                let (method, node, code) = (call.method, node.url.clone(), error.code);
                Err(Failure::End(ChainError::Rejected { method, node, code, message }))
            }
        }
    }

    pub(crate) fn known_chain_id(&self) -> Option<u64> {
        Some(self.inner.chain_id.load(Ordering::Acquire)).filter(|id| *id != 0)
    }
}

/// A result as what it should be, or the node's fault.
pub(crate) fn typed<'a, T: serde::Deserialize<'a>>(result: &'a RawValue) -> Result<T, Fault> {
    serde_json::from_str(result.get()).map_err(|source| {
        Fault::caused(FaultKind::Malformed, "its result is not of the expected form", source)
    })
}
