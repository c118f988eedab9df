//! The first checkpoint of a chain, and of a market that is added later.
//!
//! Both take over from a predecessor: its open windows stay open, and an epoch that it delivered is not delivered again.

use domain::{
    chain::BlockRef,
    collector::{Following, Note, Old, Stretch},
};
use store_collector::BLOCK_HASH_TTL;
use supervision::{Budget, Context};

use super::{BlockFetcher, StepOutcome, deadline};
use crate::collector::{
    StartBlock,
    problem::{CollectorProblem, StepError},
    state_store::Page,
    take_over::beginnings,
};

/// The most blocks in which the hashes of a predecessor are searched.
const MOST_TOLD: u64 = 5_000;

impl BlockFetcher {
    /// Writes the first checkpoint: the block before the first one to follow. It is not counted as accepted.
    pub(super) async fn begin(
        &mut self,
        cx: &Context,
        page: &mut Page,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<StepOutcome, StepError> {
        // `latest` is resolved here, with the head of this moment, and never again: from now on the checkpoint decides.
        let first = self.chain.settings.start.number(head.number);
        let before = match self.chain.settings.start {
            StartBlock::Latest { .. } => {
                cx.idle(self.resume_after_predecessor(page, first, head, budget)).await?
            }
            // An operator who names the block wants exactly that one.
            StartBlock::Number(_) => None,
        };
        let before = match before {
            Some(block) => Some(block),
            None => {
                // The checkpoint is the block before: with its hash, the first followed block is checked like any other.
                let before = first.saturating_sub(1);
                cx.idle(self.chain.source.block_at(before, deadline(budget))).await?
            }
        };
        let Some(block) = before else {
            // The start block is in the future. The head is read again until it exists.
            // Forgotten, so that the next step asks for the head again.
            self.head = None;
            let newest = head.number;
            self.chain.services.report(&CollectorProblem::StartBlockAhead { first, newest });
            return Ok(StepOutcome::Waiting);
        };
        let stretch = Stretch {
            blocks: vec![block],
            // Its own events are before the start. As an old block it brings none.
            old: Some(Old { first: block.number, parent: block.parent }),
            events: Vec::new(),
            head_time: head.time,
        };
        let (mut after, mut notes) = self.taken_up(cx, page, block, head, budget).await?;
        // After the take-over: the windows have to exist when the first checkpoint is written with them, in one step.
        notes.extend(after.accept(&stretch, &self.rules)?);
        if self.commit(page, &after, Some(&stretch), notes).await? {
            tracing::info!(block = block.number + 1, "follows the chain from this block on");
        }
        Ok(StepOutcome::Progressed)
    }

    /// The last block whose hash a predecessor has written, if it is before `first`: to start at `first` would lose the epochs
    /// released in between.
    async fn resume_after_predecessor(
        &self,
        page: &mut Page,
        first: u64,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<Option<BlockRef>, StepError> {
        // Older hashes have expired in Redis.
        let kept = (BLOCK_HASH_TTL as f64 / self.rules.block_time) as u64;
        let from = head.number.saturating_sub(kept.min(MOST_TOLD));
        let (hashes, faults) = page.told_hashes(from..=first.saturating_sub(1)).await?;
        self.chain.services.note_faults(&faults);
        // From the highest down: the first one that is still on the chain is where the predecessor stopped.
        for (number, hash) in hashes {
            let block = self.chain.source.block_at(number, deadline(budget)).await?;
            // The predecessor may have written the hash of a block that a reorganisation has dropped since.
            if let Some(block) = block.filter(|block| block.hash.to_string() == hash) {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// Adds markets that were not followed before, at the checkpoint.
    pub(super) async fn join(
        &mut self,
        cx: &Context,
        page: &mut Page,
        checkpoint: BlockRef,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<StepOutcome, StepError> {
        let (after, notes) = self.taken_up(cx, page, checkpoint, head, budget).await?;
        if self.commit(page, &after, None, notes).await? {
            tracing::info!(block = checkpoint.number + 1, "follows new markets from this block on");
        }
        Ok(StepOutcome::Progressed)
    }

    /// The chain state after this block with the new markets taken over, and the notes of that.
    async fn taken_up(
        &self,
        cx: &Context,
        page: &mut Page,
        block: BlockRef,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<(Following, Vec<Note>), StepError> {
        let newcomers: Vec<_> = page.known.following.newcomers().collect();
        let beginnings = beginnings(&self.chain, page, &newcomers, block, head, deadline(budget));
        let beginnings = cx.idle(beginnings).await?;
        let (mut after, mut notes) = (page.known.following.clone(), Vec::new());
        // All new markets in one write: a crash in between leaves none of them half taken over.
        for (market, beginning) in beginnings {
            notes.extend(after.take_up(market, &beginning, head.time, &self.rules));
        }
        Ok((after, notes))
    }
}
