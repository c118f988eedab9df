//! The first checkpoint of a chain, and of a market that is added later.
//!
//! Both take over from a predecessor: its open windows stay open, and an epoch that it delivered is not delivered again.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    chain::BlockRef,
    collector::{ChainState, Clocks, EventsOnly, Rules, Segment, Transition},
};
use store_collector::BLOCK_HASH_TTL;
use supervision::{Budget, Context};

use super::{BlockFetcher, Open, StepOutcome};
use crate::collector::{
    StartBlock, budgets::deadline, problem::CollectorProblem, state_store::StateSession, step_error::Cause,
    take_over::take_overs,
};

/// How long the ancestors of the first block are waited for.
const ANCESTORS_WITHIN: Duration = Duration::from_secs(10);
/// The most blocks in which the hashes of a predecessor are searched.
const MOST_TOLD: u64 = 5_000;

impl BlockFetcher {
    /// Writes the first checkpoint: the block before the first one to follow. It is not counted as accepted.
    pub(super) async fn begin(
        &mut self,
        cx: &Context,
        mut open: Open,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<StepOutcome, Cause> {
        // `latest` is resolved here, with the head of this moment, and never again: from now on the checkpoint decides.
        let first = self.chain.settings.start.number(head.number);
        let before = match self.chain.settings.start {
            StartBlock::Latest { .. } => {
                cx.idle(self.resume_after_predecessor(&mut open.session, first, head, budget)).await?
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
            self.stream.forget();
            let newest = head.number;
            self.chain.services.report(&CollectorProblem::StartBlockAhead { first, newest });
            return Ok(StepOutcome::Waiting);
        };
        let blocks = cx.idle(self.with_ancestors(block, budget)).await;
        let Some(lowest) = blocks.first() else { return Ok(StepOutcome::Waiting) };
        let segment = Segment {
            // Their own events are before the start. As old blocks they bring none.
            events_only: Some(EventsOnly { first: lowest.number, parent: lowest.parent }),
            blocks,
            now: Clocks { chain: head.time, redis: open.now },
            ..Segment::default()
        };
        // First the take-over: the windows have to exist when the first checkpoint is written with them, in one step.
        let mut take_over = self.take_over(cx, &mut open, block, head, budget).await?;
        let begin = |state, now, rules: &Rules| {
            Ok(take_over(state, now, rules).then(|state| state.apply(&segment, rules))?)
        };
        if self.write(&mut open, begin).await? {
            tracing::info!(block = block.number + 1, "follows the chain from this block on");
        }
        Ok(StepOutcome::Progressed)
    }

    /// A block with as many of its ancestors as a reorganisation may drop, the lowest first: without them in the undo log, one that drops
    /// the first blocks could not be followed. Those that no node has are left out.
    async fn with_ancestors(&self, block: BlockRef, budget: &Budget) -> Vec<BlockRef> {
        let numbers: Vec<u64> =
            (block.number.saturating_sub(self.rules.max_reorg_depth)..block.number).collect();
        // A part of the time is left for the step itself.
        let soon = deadline(budget).min(tokio::time::Instant::now() + ANCESTORS_WITHIN);
        let known = self.chain.source.blocks_at(&numbers, soon).await.unwrap_or_else(|error| {
            tracing::warn!(
                block = block.number, %error,
                "the blocks before the first one can't be read: a reorganisation that drops it could not be followed"
            );
            BTreeMap::new()
        });
        let mut blocks = vec![block];
        // By hash: the answers may be of two branches.
        for ancestor in known.into_values().rev() {
            if blocks.last().is_some_and(|child| child.parent != ancestor.hash) {
                break;
            }
            blocks.push(ancestor);
        }
        blocks.reverse();
        blocks
    }

    /// The last block whose hash a predecessor has written, if it is before `first`: to start at `first` would lose the epochs
    /// released in between.
    async fn resume_after_predecessor(
        &self,
        session: &mut StateSession,
        first: u64,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<Option<BlockRef>, Cause> {
        // Older hashes have expired in Redis.
        let kept = (BLOCK_HASH_TTL as f64 / self.rules.block_time) as u64;
        let from = head.number.saturating_sub(kept.min(MOST_TOLD));
        let (hashes, faults) = session.stored_hashes(from..=first.saturating_sub(1)).await?;
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
        mut open: Open,
        checkpoint: BlockRef,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<StepOutcome, Cause> {
        let mut take_over = self.take_over(cx, &mut open, checkpoint, head, budget).await?;
        if self.write(&mut open, |state, now, rules| Ok(take_over(state, now, rules))).await? {
            tracing::info!(block = checkpoint.number + 1, "follows new markets from this block on");
        }
        Ok(StepOutcome::Progressed)
    }

    /// How the new markets are taken over after this block: all of them in one transition, so that a crash in between leaves none half
    /// taken over.
    async fn take_over(
        &self,
        cx: &Context,
        open: &mut Open,
        block: BlockRef,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<impl FnMut(ChainState, u64, &Rules) -> Transition + use<>, Cause> {
        let newcomers: Vec<_> = open.state.newcomers().collect();
        let markets = take_overs(&self.chain, &mut open.session, &newcomers, block, head, deadline(budget));
        let (markets, releases) = cx.idle(markets).await?;
        Ok(move |state: ChainState, redis, rules: &Rules| {
            state.take_over(&markets, &releases, Clocks { chain: head.time, redis }, rules)
        })
    }
}
