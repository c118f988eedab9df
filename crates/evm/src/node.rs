//! One node: its transport, its health and its rate limit. It knows nothing of the other nodes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_client::{Bytes, HttpClient, HttpTarget, Trust};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::config::{ChainConfig, NodeUrl};
use crate::counters::{Counters, FaultKind};
use crate::error::ChainError;
use crate::http::post;
use crate::json_rpc::{Call, Fault, request_text};
use crate::websocket::WebSocketNode;

/// The interval between log lines about a node that requests pauses again and again.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) url: NodeUrl,
    pub(crate) archive: bool,
    transport: Transport,
    state: Mutex<State>,
}

#[derive(Debug)]
enum Transport {
    Http(HttpClient, HttpTarget),
    WebSocket(WebSocketNode),
}

/// The state of a node.
#[derive(Clone, Debug, Default)]
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
    /// When its rate limit allows the next request.
    next_slot: Option<Instant>,
    /// When a requested pause was last logged.
    logged: Option<Instant>,
    /// The number of requested pauses since then.
    suppressed: u64,
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
            let (url, heads, counters) =
                (url.with_credentials().clone(), Arc::clone(heads), Arc::clone(counters));
            let trust = trust.clone();
            Transport::WebSocket(WebSocketNode::new(url, config.max_answer, trust, heads, counters))
        } else {
            let target = HttpTarget::new(url.with_credentials());
            let target = target.map_err(|cause| ChainError::BadUrl { node: url.clone(), cause })?;
            Transport::Http(http.clone(), target)
        };
        Ok(Self { url, archive, transport, state: Mutex::default() })
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
                Err(Fault::new(FaultKind::Timeout, format!("no answer within {}", errors::rounded(limit))))
            }
        }
    }

    /// Whether to log a requested pause, which happens once a minute at most; returns the number of lines left out since.
    pub(crate) fn should_log(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state();
        if state.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LOG_INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }

    // Held for single statements, and never across an await. A poisoned state is used all the same: it is only about health.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the next moment at which a rate of `per_second` allows a request, and returns it.
    pub(crate) fn take_slot(&self, per_second: u32) -> Instant {
        let interval = Duration::from_secs(1) / per_second.max(1);
        // A quarter of a second's requests may be sent at once: a block needs several requests, one after the other.
        // With a rate below 4 this is 0, and requests are spread evenly.
        let burst = interval * (per_second / 4);
        let now = Instant::now();
        let mut state = self.state();
        // A slot in the past is unused allowance; only that of the burst is kept.
        let earliest = now.checked_sub(burst).unwrap_or(now);
        let slot = state.next_slot.map_or(earliest, |slot| slot.max(earliest));
        state.next_slot = Some(slot + interval);
        slot.max(now)
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

    fn node() -> (Node, ChainConfig) {
        let address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse().unwrap();
        let contracts = Contracts { protocol_state: address, priorities: None, markets: vec![address] };
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
    async fn requested_pauses_are_logged_once_a_minute() {
        let (node, _) = node();
        assert_eq!([(); 3].map(|()| node.should_log()), [Some(0), None, None]);
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!([(); 2].map(|()| node.should_log()), [Some(2), None]);
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
        let (node, _) = node();
        let start = Instant::now();
        let waits: Vec<u128> = (0..6).map(|_| (node.take_slot(10) - start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
    }
}
