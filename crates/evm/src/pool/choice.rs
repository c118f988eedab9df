//! Which node is asked next. Pure, but for the nodes' states and the clock.

use std::time::Duration;

use retry::table::NODE_BEHIND;
use tokio::time::Instant;

use super::{Choice, Pool, Want};
use crate::node::Node;

/// What a node said of its head longer ago says nothing about the others any more.
const HEAD_KNOWN_FOR: Duration = Duration::from_secs(30);

impl Pool {
    /// Of the nodes that are not left alone and don't lack what is asked for: those in good health first, then in the
    /// order of the configuration (archive nodes last, or first where an old state is asked for).
    pub(super) fn choose(&self, want: &Want, missing: &[bool]) -> Choice {
        let now = Instant::now();
        let best = self.best_head(now);
        let mut earliest: Option<Instant> = None;
        let mut found: Option<(u8, usize)> = None;
        for (index, node) in self.inner.nodes.iter().enumerate() {
            if missing[index] {
                continue;
            }
            let state = node.state();
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
            let verified_before = want.other_than == Some(index);
            let rank = u8::from(verified_before) << 2
                | u8::from(unhealthy) << 1
                | u8::from(node.archive != want.archive);
            if found.is_none_or(|(lowest, _)| rank < lowest) {
                found = Some((rank, index));
            }
        }
        match (found, earliest) {
            (Some((_, index)), _) => Choice::Node(index),
            // A node in good health lacks it: those that are left alone are not waited for.
            (None, Some(until)) if !missing.contains(&true) => Choice::Wait(until),
            (None, _) => Choice::NoneKnows,
        }
    }

    /// The highest head that a node lately had.
    pub(super) fn best_head(&self, now: Instant) -> u64 {
        let head = |node: &Node| {
            let (number, at) = node.state().head?;
            (now.saturating_duration_since(at) < HEAD_KNOWN_FOR).then_some(number)
        };
        self.inner.nodes.iter().filter_map(head).max().unwrap_or(0)
    }

    /// The highest head that a node lately had, for those that need no deadline.
    pub(crate) fn highest_head(&self) -> u64 {
        self.best_head(Instant::now())
    }

    /// Whether a node whose head is known is too far behind for the question.
    fn is_behind(&self, head: &Option<(u64, Instant)>, best: u64, want: &Want) -> bool {
        let Some((number, _)) = *head else { return false };
        // What a node told at some time it can only have more of since.
        let lags = number.saturating_add(self.inner.config.max_lag) < best;
        lags && (want.leading || want.block.is_some_and(|block| number < block))
    }

    /// Notes a node's head; whether it is far behind the best one.
    pub(super) fn note_head(&self, index: usize, number: u64) -> bool {
        let now = Instant::now();
        self.inner.nodes[index].state().head = Some((number, now));
        let lags = number.saturating_add(self.inner.config.max_lag) < self.best_head(now);
        self.inner.nodes[index].state().lagging = lags;
        lags
    }
}
