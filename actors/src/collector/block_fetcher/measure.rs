//! Windows whose length becomes known after their release.

use std::time::Duration;

use domain::{
    chain::{BlockRef, Window},
    collector::{ChainState, Measured},
};
use supervision::{Budget, Context};
use tokio::time::Instant;

use super::BlockFetcher;
use crate::collector::budgets::deadline;

/// How long the blocks that close measured windows are waited for, and the pause after that was in vain.
const MEASURED_WITHIN: Duration = Duration::from_secs(5);
const MEASURE_EVERY: Duration = Duration::from_secs(10);

impl BlockFetcher {
    /// The windows whose length has become known, each with the block that would have closed it, if there is one.
    pub(super) async fn measured(
        &mut self,
        cx: &Context,
        state: &ChainState,
        checkpoint: BlockRef,
        budget: &Budget,
    ) -> Vec<(Measured, Option<u64>)> {
        let measurable = state.measurable(&self.rules);
        if measurable.is_empty() || self.measure_after.is_some_and(|after| cx.clock().now() < after) {
            return Vec::new();
        }
        let mut measured = Vec::new();
        for it in measurable {
            let closing = async {
                if checkpoint.time < it.window.limit {
                    return Some(None);
                }
                self.closing_block(&it.window, checkpoint, deadline(budget)).await.map(Some)
            };
            match cx.idle(closing).await {
                Some(closed_at) => measured.push((it, closed_at)),
                // Tried again after a while: the blocks and the other markets go on.
                None => self.measure_after = Some(cx.clock().now() + MEASURE_EVERY),
            }
        }
        measured
    }

    /// The first accepted block at the limit of a window that is over, by binary search; `None` if the nodes do not answer.
    async fn closing_block(&self, window: &Window, checkpoint: BlockRef, deadline: Instant) -> Option<u64> {
        let soon = deadline.min(Instant::now() + MEASURED_WITHIN);
        let (mut before, mut at) = (window.release_block, checkpoint.number);
        // A release whose limit has passed closes with its own block.
        if window.limit <= window.released {
            return Some(before);
        }
        while at - before > 1 {
            let middle = before + (at - before) / 2;
            match self.chain.source.block_at(middle, soon).await {
                Ok(Some(block)) if block.time < window.limit => before = middle,
                Ok(Some(_)) => at = middle,
                // The node that answered lags: the block is accepted, so another one has it.
                Ok(None) => return None,
                Err(error) => {
                    self.chain.services.report(&self.error(error.into()));
                    return None;
                }
            }
        }
        Some(at)
    }
}
