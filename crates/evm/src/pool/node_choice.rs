//! Chooses the node of the next request, by the nodes' states and the clock. It sends nothing.

use std::time::Duration;

use retry::table::NODE_BEHIND;
use tokio::time::Instant;

use super::{Choice, NodeRequirements, Pool};
use crate::counters::FaultKind;
use crate::node::Node;
use crate::refusal::About;

/// How long a reported head counts for comparing nodes. Without a limit, a node that reports a wrong head and dies would make all
/// others lag for good.
const HEAD_KNOWN_FOR: Duration = Duration::from_secs(30);

impl Pool {
    /// Chooses among the nodes without a pause that may have the block or state: healthy nodes first, then in the order of the
    /// configuration (archive nodes last, or first for an old state).
    pub(super) fn choose(&self, want: &NodeRequirements, missing: &[bool]) -> Choice {
        let now = Instant::now();
        let best = self.best_head(now);
        let mut earliest: Option<Instant> = None;
        let mut found: Option<(u8, usize)> = None;
        let mut lacking = false;
        for (index, node) in self.inner.nodes.iter().enumerate() {
            if want.only.is_some_and(|only| only != index) {
                continue;
            }
            let state = node.state();
            if missing[index] || !state.serves(want.about, now) {
                lacking = true;
                continue;
            }
            let later = match state.not_before {
                Some(until) if until > now => Some(until),
                _ if self.is_behind(&state.head, best, want) => Some(now + NODE_BEHIND.first),
                _ => None,
            };
            if let Some(until) = later {
                earliest = Some(earliest.map_or(until, |earliest| earliest.min(until)));
                continue;
            }
            let unhealthy = state.fault.is_some();
            let verified_before = want.except == Some(index);
            let other = want.prefer.is_some_and(|preferred| preferred != index);
            // The lowest rank wins. The bits are ordered by weight: a node that is being verified comes last even if it is the only
            // healthy one, and health counts more than being an archive.
            let rank = u8::from(verified_before) << 3
                | u8::from(unhealthy) << 2
                | u8::from(other) << 1
                | u8::from(node.archive != want.archive);
            if found.is_none_or(|(lowest, _)| rank < lowest) {
                found = Some((rank, index));
            }
        }
        match (found, earliest) {
            (Some((_, index)), _) => Choice::Node(index),
            // If a healthy node lacks the block, nodes in a pause are not waited for: the block is probably gone, and the caller
            // should hear of it soon.
            (None, Some(until)) if !lacking => Choice::Wait(until),
            (None, _) => Choice::AllLackIt,
        }
    }

    /// The highest head that a node reported lately.
    pub(super) fn best_head(&self, now: Instant) -> u64 {
        // Without a report the highest head is 0, and no node lags.
        self.inner.nodes.iter().filter_map(|node| known_head(node, now)).max().unwrap_or(0)
    }

    /// Whether this node alone claims to have this block: its head is above all others by more than the allowed lag, and none of the
    /// others reaches the block.
    pub(crate) fn claims_alone(&self, index: usize, block: Option<u64>) -> bool {
        let now = Instant::now();
        let others = self.inner.nodes.iter().enumerate().filter(|(other, _)| *other != index);
        // Without another head there is nothing to compare with.
        let Some(highest) = others.filter_map(|(_, node)| known_head(node, now)).max() else { return false };
        let limit = highest.saturating_add(self.inner.config.max_lag);
        let head = known_head(&self.inner.nodes[index], now);
        head.is_some_and(|head| head > limit) && block.is_some_and(|block| block > highest)
    }

    /// Whether a node is known not to serve this.
    pub(super) fn is_unserved(&self, about: About) -> bool {
        let now = Instant::now();
        self.inner.nodes.iter().any(|node| !node.state().serves(about, now))
    }

    /// The highest head that a node reported lately, without a request.
    pub(crate) fn highest_head(&self) -> u64 {
        self.best_head(Instant::now())
    }

    /// Whether a node with a known head is too far behind for the request.
    fn is_behind(&self, head: &Option<(u64, Instant)>, best: u64, want: &NodeRequirements) -> bool {
        let Some((number, _)) = *head else { return false };
        // An old report still counts here, since a head hardly ever falls. A node without a report is tried.
        let lags = number.saturating_add(self.inner.config.max_lag) < best;
        lags && (want.at_head || want.block.is_some_and(|block| number < block))
    }

    /// Notes a node's head; returns whether the node lags.
    pub(super) fn note_head(&self, index: usize, number: u64) -> bool {
        let now = Instant::now();
        self.inner.nodes[index].state().head = Some((number, now));
        // Its own head is noted before, so that the highest node never lags behind a stale value of itself.
        let lags = number.saturating_add(self.inner.config.max_lag) < self.best_head(now);
        self.inner.nodes[index].state().lagging = lags;
        lags
    }
}

/// The head that a node reported lately. A node that answered wrongly has no say, or a wrong head would make all others lag.
fn known_head(node: &Node, now: Instant) -> Option<u64> {
    let state = node.state();
    if state.fault.is_some_and(FaultKind::is_wrong_answer) {
        return None;
    }
    let (number, at) = state.head?;
    (now.saturating_duration_since(at) < HEAD_KNOWN_FOR).then_some(number)
}
