//! What follows from a fault of a node: a smaller request, another node, or a pause.

use errors::rounded;
use retry::table::NODE_BEHIND;
use tokio::time::Instant;

use super::{Pool, Trial};
use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::fault::{Fault, Hint};
use crate::refusal::About;

impl Pool {
    /// Draws the conclusions from the fault of a request for `blocks` blocks. An error ends the question.
    pub(super) fn failed(
        &self,
        index: usize,
        fault: Fault,
        blocks: u64,
        trial: &mut Trial,
    ) -> Result<(), ChainError> {
        let node = &self.inner.nodes[index];
        let fault = Fault { detail: node.url.redact(&fault.detail), ..fault };
        let is_known = fault.sent.is_some_and(|sent| node.has_failed_since(sent, fault.kind));
        // Requests that were refused together cast one doubt on their size.
        let asks_for_less = !(is_known && fault.hint == Hint::Doubt) && node.shrink(&fault, blocks);
        if Instant::now() >= trial.deadline && fault.kind == FaultKind::Timeout {
            // The deadline was shorter than the request's time limit, which is no fault of the node: the fault before, if there
            // was one, is the cause.
            trial.last.get_or_insert_with(|| fault.of(&node.url));
            return Err(trial.no_answer());
        }
        trial.last = Some(fault.of(&node.url));
        if asks_for_less {
            tracing::debug!(node = %node.url, problem = fault.detail, "asking a node for less");
            return Ok(());
        }
        // Nodes that only lack an answer are healthy. They are skipped for this question, and not set aside.
        match (fault.kind, fault.hint) {
            (_, Hint::Unserved) => {
                node.does_not_serve(trial.want.about);
                trial.missing[index] = true;
            }
            // An answer above our own limit: it serves other blocks.
            (_, Hint::Large) if trial.want.about == About::Receipts => trial.missing[index] = true,
            // Not of a block of this hash: it may have been dropped, or another server behind the node's address does not have it yet.
            (FaultKind::Pruned, _)
                if trial.want.hash.is_none() && self.claims_alone(index, trial.want.block) =>
            {
                let detail = "it lacks a block that it alone claims to have";
                self.fault(index, &Fault::new(FaultKind::Inconsistent, detail));
            }
            (FaultKind::Pruned, _) => {
                self.inner.counters.add_fault(fault.kind);
                trial.missing[index] = true;
                trial.discarded &= fault.hint == Hint::Discarded;
            }
            (FaultKind::Lagging, _) => {
                self.inner.counters.add_fault(fault.kind);
                node.pause(NODE_BEHIND.first);
            }
            // Its pause has begun; only a longer one that the node asks for counts.
            _ if is_known => {
                self.inner.counters.add_fault(fault.kind);
                node.prolong(fault.retry_after);
            }
            _ => self.fault(index, &fault),
        }
        Ok(())
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
            // Between two faults the node answers probes, so the pauses of a node that stays wrong are short.
            if let Some(suppressed) = node.should_log(fault.kind) {
                tracing::warn!(
                    node = %node.url, kind = fault.kind.label(), problem = fault.detail,
                    suppressed = Some(suppressed).filter(|&lines| lines > 0),
                    "setting a node aside for {}", rounded(pause)
                );
            }
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
        if let Some(suppressed) = node.should_log(fault.kind) {
            tracing::warn!(
                node = %node.url, suppressed = Some(suppressed).filter(|&lines| lines > 0), problem = fault.detail,
                "a node asked for {asked}; the next request to it follows in {}", rounded(pause)
            );
        }
    }
}
