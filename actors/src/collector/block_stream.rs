//! The block stream: what follows the last accepted block, in the way that is the fastest.
//!
//! It queries nodes and writes nothing. Near the head it gives single blocks, far behind it segments, and segments of events alone
//! where the hashes of the blocks would have expired in Redis. What it keeps in memory only saves requests to nodes: each block is
//! verified to be the child of the last accepted one. Promise: what it gives is complete, and in order.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    chain::BlockRef,
    collector::{ChainState, Segment},
};
use evm::{Block, ChainError, Next, Source};
use supervision::Clock;
use tokio::time::Instant as Deadline;

use super::{
    CollectorServices, FAR_BEHIND, Progress,
    problem::CollectorProblem,
    segments::{SegmentReader, boundary},
};
use crate::env::services::Services;

/// Segments end this many blocks before the head: most reorganisations drop only the newest blocks.
const MARGIN: u64 = 2;
/// The interval at which the head is read during a backfill.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);

/// What follows the last accepted block.
pub(super) enum Advance {
    /// Blocks; `head` is the newest one that is known.
    Segment {
        /// The blocks with their events. Nothing is known of Redis and of contracts.
        segment: Segment,
        /// The newest block.
        head: BlockRef,
    },
    /// The chain has dropped blocks after this one.
    Fork {
        /// The last accepted block that is still on the chain.
        ancestor: BlockRef,
    },
    /// Nothing, as far as the nodes tell.
    Idle {
        /// Whether the last accepted block is the newest one.
        is_newest: bool,
    },
}

/// The stream.
pub(super) struct BlockStream {
    source: Source,
    services: Services,
    clock: Clock,
    progress: Arc<Progress>,
    /// The age beyond which blocks are read by their events alone.
    old_after: Duration,
    /// The time for reading a segment.
    events_within: Duration,
    /// How many blocks may be undone.
    max_reorg_depth: u64,
    /// The last block to give.
    until: u64,
    /// The newest block that a node has reported, and when; `None` after a start or a failure, so that it is read again.
    head: Option<(BlockRef, Instant)>,
    /// The reader of segments, while the checkpoint is far behind.
    segments: Option<SegmentReader>,
}

impl BlockStream {
    /// A stream up to this block; without a limit if there is none.
    pub(super) fn new(chain: &CollectorServices, until: Option<u64>) -> Self {
        let settings = &chain.settings;
        // A block is old only when no window of it can still get batches, for which the preparer needs the hashes of its blocks: when the
        // submissions of every epoch that was released before it have expired.
        let old_after = settings.old_after.max(Duration::from_secs(settings.rules.inputs_live));
        Self {
            source: chain.source.clone(),
            services: chain.services.clone(),
            clock: chain.progress.clock().clone(),
            progress: chain.progress.clone(),
            old_after,
            events_within: settings.budgets.events,
            max_reorg_depth: settings.rules.max_reorg_depth,
            until: until.unwrap_or(u64::MAX),
            head: None,
            segments: None,
        }
    }

    /// Whether this block is the last one to give.
    pub(super) fn ends_with(&self, block: &BlockRef) -> bool {
        block.number >= self.until
    }

    /// The newest block, as it was last reported. It saves a request for each block of a catch-up; every answer that has a newer one
    /// replaces it.
    pub(super) async fn head(&mut self, deadline: Deadline) -> Result<BlockRef, ChainError> {
        match self.head {
            Some((head, _)) => Ok(head),
            None => {
                let head = self.source.head(deadline).await?;
                self.saw(head);
                Ok(head)
            }
        }
    }

    /// Forgets everything that it remembers of the nodes' answers: some of it may be the cause of a failure.
    pub(super) fn forget(&mut self) {
        (self.head, self.segments) = (None, None);
    }

    /// What follows the last accepted block of this state; nothing where there is none.
    pub(super) async fn next(
        &mut self,
        state: &ChainState,
        deadline: Deadline,
    ) -> Result<Advance, ChainError> {
        let Some(checkpoint) = state.checkpoint else { return Ok(Advance::Idle { is_newest: false }) };
        let head = self.head(deadline).await?;
        let left = head.number.min(self.until).saturating_sub(checkpoint.number);
        // What a reader has begun to read ahead is used: to drop it would ask for the same blocks again.
        let is_reading = self.segments.as_ref().is_some_and(|segments| segments.to() > checkpoint.number);
        if left <= FAR_BEHIND && !is_reading {
            // Single blocks from here on: they are checked for reorganisations one by one.
            self.segments = None;
            self.progress.with(|state| state.backfill = None);
        } else if let Some(segment) = Box::pin(self.segment(checkpoint, head, deadline)).await? {
            return Ok(Advance::Segment { segment, head: self.head(deadline).await? });
        }
        match self.source.next(&checkpoint, deadline).await? {
            Next::Block { block: Block { at, events, bad_logs }, head } => {
                self.saw(head);
                self.note_bad_logs(bad_logs.len(), at.number);
                let events = events.into_iter().map(|event| (at.number, event)).collect();
                let mut segment = Segment { blocks: vec![at], events, ..Segment::default() };
                // A lagging node can report a head that is older than the block itself.
                segment.now.chain = head.time.max(at.time);
                Ok(Advance::Segment { segment, head })
            }
            Next::NotYet { head } => {
                self.saw(head);
                // A shorter chain may have dropped the block that released an epoch.
                Ok(Advance::Idle { is_newest: head.hash == checkpoint.hash })
            }
            Next::Reorganised { tip } => {
                // The remembered head may be on the dropped branch.
                self.head = None;
                self.fork(state, tip, deadline).await
            }
        }
    }

    /// Records that a segment was accepted.
    pub(super) fn accepted(&mut self, many: u64, last: BlockRef) {
        if let Some(segments) = &mut self.segments {
            segments.accepted(many, last.number, &self.progress);
        }
    }

    /// Records the head that a node reported.
    fn saw(&mut self, head: BlockRef) {
        self.head = Some((head, self.clock.now()));
        self.progress.head(head);
    }

    /// The next segment; `None` if the next block has to be read singly.
    async fn segment(
        &mut self,
        checkpoint: BlockRef,
        head: BlockRef,
        deadline: Deadline,
    ) -> Result<Option<Segment>, ChainError> {
        let goal = self.until.min(head.number);
        self.progress.with(|state| state.backfill = Some(goal));
        // A reader whose last block is accepted is finished; the blocks after it need a new one.
        let mut segments = match self.segments.take().filter(|it| it.to() > checkpoint.number) {
            Some(segments) => segments,
            None => {
                let old = boundary(&self.source, checkpoint, head, self.old_after, deadline).await?;
                let (to, by_events) = old.map_or((head.number - MARGIN, false), |to| (to, true));
                SegmentReader::new(&self.source, to.min(goal), by_events, self.events_within, &self.clock)
            }
        };
        let asked = self.head.map(|(_, asked)| asked);
        let is_due = asked.is_none_or(|asked| self.clock.now() >= asked + OBSERVE_EVERY);
        let source = self.source.clone();
        let observed = async {
            // An error is ignored: the head is only shown here, and a step that needs it reads it again.
            if is_due { source.head(deadline).await.ok() } else { None }
        };
        let (part, seen) = tokio::join!(segments.after(&checkpoint, deadline), observed);
        if let Some(seen) = seen {
            self.saw(seen);
        }
        let Some(mut part) = part? else { return Ok(None) };
        // Kept only after success: after an error what was read ahead may belong to a dropped branch.
        self.segments = Some(segments);
        self.note_bad_logs(part.bad_logs, checkpoint.number + 1);
        part.segment.now.chain = head.time;
        Ok(Some(part.segment))
    }

    /// Where the branch of this block leaves the accepted blocks.
    async fn fork(
        &self,
        state: &ChainState,
        tip: BlockRef,
        deadline: Deadline,
    ) -> Result<Advance, ChainError> {
        let accepted: BTreeMap<u64, _> =
            state.undo_log.iter().map(|entry| (entry.block.number, entry.block.hash)).collect();
        match self.source.fork(&tip, &accepted, self.max_reorg_depth, deadline).await {
            Ok(fork) => Ok(Advance::Fork { ancestor: fork.ancestor }),
            // The new branch was dropped again meanwhile: the next step asks for the next block again.
            Err(ChainError::BlockGone { .. }) => Ok(Advance::Idle { is_newest: false }),
            Err(error) => Err(error),
        }
    }

    fn note_bad_logs(&self, many: usize, block: u64) {
        if many > 0 {
            self.services.report(&CollectorProblem::BadLogs { block, count: many });
        }
    }
}
