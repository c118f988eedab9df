//! One node: how it is asked, and what is known of it. Knows nothing of the other nodes.

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

/// A node that asks for one pause after the other is logged this often.
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

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// It is not asked before.
    pub(crate) not_before: Option<Instant>,
    /// Its last fault, until it answers again.
    pub(crate) fault: Option<FaultKind>,
    /// When that was.
    failed_at: Option<Instant>,
    /// Faults in a row.
    pub(crate) streak: u32,
    /// Its last known head, and when it was known.
    pub(crate) head: Option<(u64, Instant)>,
    /// When it last said that it follows our chain.
    pub(crate) verified: Option<Instant>,
    /// Whether it was behind when it was last looked at.
    pub(crate) lagging: bool,
    /// When the next request fits into its rate.
    next_slot: Option<Instant>,
    /// When it was last logged that it asks for pauses.
    logged: Option<Instant>,
    /// How often it has asked for one since.
    suppressed: u64,
}

/// The answer of a node: one text, or one for each call.
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
            let (url, heads, counters) = (url.secret().clone(), Arc::clone(heads), Arc::clone(counters));
            let trust = trust.clone();
            Transport::WebSocket(WebSocketNode::new(url, config.max_answer, trust, heads, counters))
        } else {
            let target = HttpTarget::new(url.secret());
            let target = target.map_err(|cause| ChainError::BadUrl { node: url.clone(), cause })?;
            Transport::Http(http.clone(), target)
        };
        Ok(Self { url, archive, transport, state: Mutex::default() })
    }

    /// Sends `calls` and waits for the answers for at most `limit`.
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
                if let Transport::WebSocket(node) = &self.transport {
                    node.reset().await;
                }
                Err(Fault::new(FaultKind::Timeout, format!("no answer within {}", errors::rounded(limit))))
            }
        }
    }

    /// Whether to log now that it has asked for a pause: once a minute at most. With it, how often that was left out.
    pub(crate) fn admit_log_line(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state();
        if state.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LOG_INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a request may be sent, given so many a second; takes that place in the queue.
    pub(crate) fn take_slot(&self, per_second: u32) -> Instant {
        let interval = Duration::from_secs(1) / per_second.max(1);
        // A quarter of a second's requests may come at once.
        let burst = interval * (per_second / 4);
        let now = Instant::now();
        let mut state = self.state();
        let earliest = now.checked_sub(burst).unwrap_or(now);
        let slot = state.next_slot.map_or(earliest, |slot| slot.max(earliest));
        state.next_slot = Some(slot + interval);
        slot.max(now)
    }

    /// It answered as it should to what was asked at `asked`. What it did wrong since then stays.
    pub(crate) fn answered(&self, asked: Instant) {
        let mut state = self.state();
        if state.failed_at.is_some_and(|failed| failed > asked) {
            return;
        }
        state.fault = None;
        state.not_before = None;
        state.streak = 0;
    }

    /// It did something wrong; returns how long it is left alone. `random` (0 to 1) spreads the pauses.
    pub(crate) fn failed(&self, fault: &Fault, config: &ChainConfig, random: f64) -> Duration {
        let mut state = self.state();
        let policy = match fault.kind {
            FaultKind::RateLimited => &config.after_rate_limit,
            kind if kind.is_wrong() => &config.after_wrong_answer,
            _ => &config.after_failure,
        };
        let own = policy.pause(state.streak, random);
        let pause = fault.retry_after.map_or(own, |asked| retry::clamp_requested(asked, own));
        state.streak = state.streak.saturating_add(1);
        state.fault = Some(fault.kind);
        state.failed_at = Some(Instant::now());
        state.not_before = Instant::now().checked_add(pause);
        if fault.kind.is_wrong() || fault.kind == FaultKind::Unreachable {
            // Who knows what answers at that address next time.
            state.verified = None;
        }
        pause
    }
}

impl FaultKind {
    /// Whether the node answered, and wrongly: such a node is set aside longer.
    pub(crate) fn is_wrong(self) -> bool {
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
    async fn pauses_grow_with_jitter_to_their_limit_and_begin_anew_after_an_answer() {
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
    async fn a_node_that_names_a_time_is_left_alone_until_then() {
        let (node, config) = node();
        let fault = asking_for(Duration::from_secs(17), FaultKind::RateLimited);
        assert_eq!(node.failed(&fault, &config, 0.9), Duration::from_secs(17));
        assert_eq!(node.state().not_before, Some(Instant::now() + Duration::from_secs(17)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pauses_of_a_node_that_asks_for_none_grow_as_with_any_fault() {
        for (kind, grown) in
            [(FaultKind::RateLimited, [1_000, 2_000, 4_000]), (FaultKind::Server, [200, 400, 800])]
        {
            let (node, config) = node();
            let fault = asking_for(Duration::ZERO, kind);
            assert_eq!([(); 3].map(|()| node.failed(&fault, &config, 0.5).as_millis()), grown, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_that_a_node_names_silences_it_for_good() {
        for asked in [86_400, u64::MAX].map(Duration::from_secs) {
            let (node, config) = node();
            let fault = asking_for(asked, FaultKind::RateLimited);
            let longest = retry::table::LONGEST_REQUESTED;
            assert_eq!(node.failed(&fault, &config, 0.5), longest);
            assert_eq!(node.state().not_before, Some(Instant::now() + longest));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_that_a_node_asks_for_are_logged_once_a_minute() {
        let (node, _) = node();
        assert_eq!([(); 3].map(|()| node.admit_log_line()), [Some(0), None, None]);
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!([(); 2].map(|()| node.admit_log_line()), [Some(2), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_an_earlier_question_does_not_undo_what_came_after_it() {
        let (node, config) = node();
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        node.failed(&Fault::new(FaultKind::RateLimited, ""), &config, 0.5);
        node.answered(asked);
        assert!(node.state().not_before.is_some(), "it asked for fewer requests, and is still left alone");
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
