//! One node: its transport, its health and its rate limit. It knows nothing of the other nodes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_client::{Bytes, HttpClient, HttpTarget, Trust};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::config::{ChainConfig, NodeUrl};
use crate::counters::{Counters, FaultKind};
use crate::error::ChainError;
use crate::fault::{Fault, Hint};
use crate::http::post;
use crate::json_rpc::{Call, request_text};
use crate::rate::Rate;
use crate::refusal::About;
use crate::request_size::RequestSize;
use crate::throttle::Throttle;
use crate::websocket::WebSocketNode;

/// The limit of calls in one batch, for nodes that have no lower limit.
const MOST_CALLS: u64 = 100;
/// The limit of queries that are joined to one part.
const MOST_JOINED: u64 = 256;
/// How long a node is not asked again for a method that it does not serve.
const UNSERVED_FOR: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) url: NodeUrl,
    pub(crate) archive: bool,
    transport: Transport,
    state: Mutex<State>,
    /// The log lines about it, by kind of fault.
    lines: [Throttle; FaultKind::ALL.len()],
}

#[derive(Debug)]
enum Transport {
    Http(HttpClient, HttpTarget),
    WebSocket(WebSocketNode),
}

/// The state of a node.
#[derive(Debug)]
pub(crate) struct State {
    /// The end of its pause: no request is sent before.
    pub(crate) not_before: Option<Instant>,
    /// Its last fault, until it answers again.
    pub(crate) fault: Option<FaultKind>,
    /// The time of the last fault.
    failed_at: Option<Instant>,
    /// Faults in a row.
    pub(crate) streak: u32,
    /// Its last known head, and when it was reported.
    pub(crate) head: Option<(u64, Instant)>,
    /// When it last reported our chain's id.
    pub(crate) verified: Option<Instant>,
    /// Whether it was behind at the last probe.
    pub(crate) lagging: bool,
    /// The calls that it allows in a second.
    rate: Rate,
    /// The number of blocks that it answers in one query for logs.
    pub(crate) blocks: RequestSize,
    /// The number of calls that it takes at once.
    pub(crate) batch: RequestSize,
    /// The number of queries that are joined, as long as it answers for few blocks at once.
    pub(crate) joined: RequestSize,
    /// Until when it is not asked for what it does not serve.
    unserved: Vec<(About, Instant)>,
}

/// The answer of a node: one text for all calls (HTTP), or one for each call (WebSocket).
#[derive(Debug)]
pub(crate) enum Texts {
    Whole(Bytes),
    Each(Vec<Bytes>),
}

impl Node {
    pub(crate) fn new(
        url: NodeUrl,
        archive: bool,
        config: &ChainConfig,
        http: &HttpClient,
        trust: &Trust,
        heads: &Arc<Notify>,
        counters: &Arc<Counters>,
    ) -> Result<Self, ChainError> {
        let transport = if url.is_websocket() {
            let (url, heads, counters) = (url.clone(), Arc::clone(heads), Arc::clone(counters));
            let trust = trust.clone();
            Transport::WebSocket(WebSocketNode::new(url, config.max_answer, trust, heads, counters))
        } else {
            let target = HttpTarget::new(url.with_credentials());
            let target = target.map_err(|cause| ChainError::BadUrl { node: url.clone(), cause })?;
            Transport::Http(http.clone(), target)
        };
        let state = Mutex::new(State::new(config));
        Ok(Self { url, archive, transport, state, lines: Default::default() })
    }

    /// Sends `calls`, and waits for the answers for at most `limit`.
    pub(crate) async fn send(
        &self,
        calls: &[Call],
        max_answer: usize,
        limit: Duration,
    ) -> Result<Texts, Fault> {
        let answer = async {
            match &self.transport {
                Transport::Http(client, target) => {
                    post(client, target, request_text(calls), max_answer).await.map(Texts::Whole)
                }
                Transport::WebSocket(node) => node.ask(calls).await.map(Texts::Each),
            }
        };
        match timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                // A connection that lost one answer may be half-open; hyper drops its own with the request.
                if let Transport::WebSocket(node) = &self.transport {
                    node.reset().await;
                }
                let detail = format!("no answer within {}", errors::rounded(limit));
                Err(Fault::new(FaultKind::Timeout, detail).hint(Hint::Late))
            }
        }
    }

    /// Whether to log a fault of this kind now; returns the number of lines left out since the last one.
    pub(crate) fn should_log(&self, kind: FaultKind) -> Option<u64> {
        self.lines[kind as usize].should_log()
    }

    // Held for single statements, and never across an await. A poisoned state is used all the same: it is only about health.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the time of `calls` calls at the rate that the node allows, and returns the moment of the first.
    pub(crate) fn take_slots(&self, calls: u32) -> Instant {
        self.state().rate.take(calls, Instant::now())
    }

    /// Notes that so many calls were answered, though perhaps with errors. Refusals for the rate are none.
    pub(crate) fn answered_calls(&self, calls: u32) {
        self.state().rate.answered(calls, Instant::now());
    }

    /// The end of its pause, if it is in one.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.state().not_before.filter(|until| *until > Instant::now())
    }

    /// Whether a fault of the same kind came after the moment `sent`. Requests that run at the same time fail together, and count
    /// as one failure.
    pub(crate) fn has_failed_since(&self, sent: Instant, kind: FaultKind) -> bool {
        let state = self.state();
        state.fault == Some(kind) && state.failed_at.is_some_and(|failed| failed > sent)
    }

    /// Prolongs a pause to what the node asks for.
    pub(crate) fn prolong(&self, asked: Option<Duration>) {
        let Some(asked) = asked else { return };
        self.pause(retry::clamp_requested(asked, Duration::ZERO));
    }

    /// Starts a short pause, for a node that may have the block soon.
    pub(crate) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state();
        state.not_before = Some(state.not_before.map_or(until, |before| before.max(until)));
    }

    /// Notes that the node does not serve this.
    pub(crate) fn does_not_serve(&self, about: About) {
        let mut state = self.state();
        state.unserved.retain(|(known, _)| *known != about);
        state.unserved.push((about, Instant::now() + UNSERVED_FOR));
    }

    /// Adapts the sizes of the next requests to a fault of one for `blocks` blocks. Returns whether the size explains the fault, so
    /// that the node is asked for less at once.
    pub(crate) fn shrink(&self, fault: &Fault, blocks: u64) -> bool {
        let mut state = self.state();
        let calls = fault.calls;
        // The range before the batch: the logs are most of an answer, and few requests have both.
        match fault.hint {
            Hint::Range(suggested) if blocks > 1 => state.blocks.too_large(blocks, suggested),
            Hint::Large if blocks > 1 => state.blocks.too_large(blocks, None),
            Hint::Late if blocks > 1 => return state.blocks.too_slow(blocks),
            Hint::Batch(answered) if calls > 1 => {
                state.batch.too_large(calls, answered);
                // The pause of a rate limit is kept.
                return fault.kind != FaultKind::RateLimited;
            }
            Hint::Range(_) | Hint::Large if calls > 1 => state.batch.too_large(calls, None),
            Hint::Late if calls > 1 => return state.batch.too_slow(calls),
            Hint::Doubt => {
                if blocks > 1 {
                    state.blocks.doubt(blocks);
                } else if calls > 1 {
                    state.batch.doubt(calls);
                }
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Notes a right answer to a request of the moment `asked`. Faults since then stay.
    pub(crate) fn answered(&self, asked: Instant) {
        let mut state = self.state();
        // Requests run at the same time: an old answer must not end the pause that a newer fault began.
        if state.failed_at.is_some_and(|failed| failed > asked) {
            return;
        }
        state.fault = None;
        state.not_before = None;
        state.streak = 0;
    }

    /// Notes a fault; returns the pause before the next request. `random` (0 to 1) is the jitter.
    pub(crate) fn failed(&self, fault: &Fault, config: &ChainConfig, random: f64) -> Duration {
        let mut state = self.state();
        if fault.kind == FaultKind::RateLimited {
            state.rate.refused(Instant::now());
        }
        let policy = match fault.kind {
            FaultKind::RateLimited => &config.after_rate_limit,
            kind if kind.is_wrong_answer() => &config.after_wrong_answer,
            _ => &config.after_failure,
        };
        let own = policy.pause(state.streak, random);
        let pause = fault.retry_after.map_or(own, |asked| retry::clamp_requested(asked, own));
        state.streak = state.streak.saturating_add(1);
        state.fault = Some(fault.kind);
        state.failed_at = Some(Instant::now());
        // `None` on overflow would mean no pause; `clamp_requested` keeps the pause to minutes.
        state.not_before = Instant::now().checked_add(pause);
        if fault.kind.is_wrong_answer() || fault.kind == FaultKind::Unreachable {
            // Another server may answer at this address next time, so its chain is verified again.
            state.verified = None;
        }
        pause
    }
}

impl State {
    fn new(config: &ChainConfig) -> Self {
        // A larger batch would exceed the rate by itself.
        let calls = config.rate_limit.map_or(MOST_CALLS, |rate| MOST_CALLS.min(rate.get().into()));
        Self {
            not_before: None,
            fault: None,
            failed_at: None,
            streak: 0,
            head: None,
            verified: None,
            lagging: false,
            rate: Rate::new(config.rate_limit),
            blocks: RequestSize::new(config.max_log_range),
            batch: RequestSize::new(calls),
            joined: RequestSize::new(MOST_JOINED),
            unserved: Vec::new(),
        }
    }

    /// Whether the node may serve this, as far as it is known.
    pub(crate) fn serves(&self, about: About, now: Instant) -> bool {
        !self.unserved.iter().any(|(known, until)| *known == about && *until > now)
    }
}

impl FaultKind {
    /// Whether the node answered wrongly: such a node is set aside, with longer pauses than one that failed.
    pub(crate) fn is_wrong_answer(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::Oversized
                | Self::WrongChain
                | Self::MissingLogs
                | Self::Inconsistent
                | Self::Refused
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Contracts;

    fn node_with_rate(per_second: u32) -> Node {
        let (node, _) = node();
        node.state().rate = Rate::new(std::num::NonZeroU32::new(per_second));
        node
    }

    fn node() -> (Node, ChainConfig) {
        let address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse().unwrap();
        let contracts = Contracts { protocol_state: address, priorities: None };
        let url: NodeUrl = "http://127.0.0.1:1".parse().unwrap();
        let config = ChainConfig::new(vec![url.clone()], contracts);
        let trust = Trust::default();
        let (http, heads, counters) = (HttpClient::new(trust.clone()), Arc::default(), Arc::default());
        (Node::new(url, false, &config, &http, &trust, &heads, &counters).unwrap(), config)
    }

    fn asking_for(pause: Duration, kind: FaultKind) -> Fault {
        Fault { retry_after: Some(pause), ..Fault::new(kind, "") }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_with_jitter_to_their_limit_and_reset_after_an_answer() {
        let (node, config) = node();
        let fault = Fault::new(FaultKind::Unreachable, "");
        let pauses: Vec<u128> = (0..8).map(|_| node.failed(&fault, &config, 0.5).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        node.answered(Instant::now());
        assert_eq!(node.failed(&fault, &config, 0.0).as_millis(), 150);
        node.answered(Instant::now());
        assert_eq!(node.failed(&fault, &config, 1.0).as_millis(), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn a_requested_pause_is_kept() {
        let (node, config) = node();
        let fault = asking_for(Duration::from_secs(17), FaultKind::RateLimited);
        assert_eq!(node.failed(&fault, &config, 0.9), Duration::from_secs(17));
        assert_eq!(node.state().not_before, Some(Instant::now() + Duration::from_secs(17)));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_although_a_node_requests_zero_seconds() {
        for (kind, grown) in
            [(FaultKind::RateLimited, [1_000, 2_000, 4_000]), (FaultKind::Server, [200, 400, 800])]
        {
            let (node, config) = node();
            let fault = asking_for(Duration::ZERO, kind);
            assert_eq!([(); 3].map(|()| node.failed(&fault, &config, 0.5).as_millis()), grown, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_huge_requested_pause_is_limited() {
        for asked in [86_400, u64::MAX].map(Duration::from_secs) {
            let (node, config) = node();
            let fault = asking_for(asked, FaultKind::RateLimited);
            let longest = retry::table::LONGEST_REQUESTED;
            assert_eq!(node.failed(&fault, &config, 0.5), longest);
            assert_eq!(node.state().not_before, Some(Instant::now() + longest));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_an_earlier_request_does_not_end_a_later_pause() {
        let (node, config) = node();
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        node.failed(&Fault::new(FaultKind::RateLimited, ""), &config, 0.5);
        node.answered(asked);
        assert!(node.state().not_before.is_some(), "the pause of the rate limit goes on");
        node.answered(Instant::now());
        assert!(node.state().not_before.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_answers_wrongly_is_set_aside_longer_each_time() {
        let (node, config) = node();
        let fault = Fault::new(FaultKind::WrongChain, "");
        let pauses: Vec<u64> = (0..5).map(|_| node.failed(&fault, &config, 0.5).as_secs()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_spread_over_the_second_after_a_short_burst() {
        let node = node_with_rate(10);
        let start = Instant::now();
        let waits: Vec<u128> = (0..6).map(|_| (node.take_slots(1) - start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_counts_each_call_of_a_batch() {
        let node = node_with_rate(10);
        let start = Instant::now();
        // The second request has a whole second's calls, so the first one has to be a second old.
        let waits = [5, 10, 1].map(|calls| (node.take_slots(calls) - start).as_millis());
        assert_eq!(waits, [0, 1_000, 2_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_shrinks_the_range_or_the_batch() {
        let (node, _) = node();
        let sizes = || {
            let state = node.state();
            (state.blocks.get(), state.batch.get())
        };
        let of = |hint, calls| Fault { calls, ..Fault::new(FaultKind::Server, "").hint(hint) };
        assert!(node.shrink(&of(Hint::Range(None), 3), 2_000));
        assert_eq!(sizes(), (1_000, 100));
        assert!(node.shrink(&of(Hint::Batch(Some(7)), 100), 1));
        assert_eq!(sizes(), (1_000, 7));
        assert!(node.shrink(&of(Hint::Large, 3), 1_000));
        assert!(node.shrink(&of(Hint::Large, 7), 1));
        assert_eq!(sizes(), (500, 3));
        assert!(node.shrink(&of(Hint::Late, 3), 500), "the size is doubted first");
        assert!(!node.shrink(&of(Hint::Late, 3), 250), "the second time the node is");
        assert_eq!(sizes(), (125, 3));
        assert!(!node.shrink(&of(Hint::Range(None), 1), 1), "one call for one block can't be smaller");
        let limited = Fault { calls: 3, ..Fault::new(FaultKind::RateLimited, "").hint(Hint::Batch(None)) };
        assert!(!node.shrink(&limited, 1), "the pause of a rate limit is kept");
        assert_eq!(sizes(), (125, 1));
    }
}
