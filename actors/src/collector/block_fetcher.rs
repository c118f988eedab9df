//! The block fetcher: accepts blocks in order from the checkpoint on, with their events.
//!
//! It touches the nodes and the chain's keys in Redis. Promises:
//! - no block is skipped. The checkpoint and the effects of the blocks are written in one step, by compare-and-set: a crash
//!   between any two steps, a lost answer or a second fetcher leaves out no block and repeats none;
//! - each step begins with the state in Redis. What it keeps in memory between two steps only saves requests to nodes;
//! - a reorganisation deeper than the undo log is an error and changes nothing;
//! - an outage of nodes or Redis is no crash: the step is retried.

mod measure;
mod others;
mod seen;
mod start;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use domain::{
    chain::{BlockRef, ContractAddress},
    collector::{Clocks, Following, Note, Rules, Stretch},
};
use evm::{Block, ChainError, Next};
use retry::{Attempts, table::BLOCK_FETCHER};
use store_collector::{Outcome, operations::MOVE_CHECKPOINT};
use supervision::{Budget, Context, Failure, Worker};

use self::seen::Seen;
use super::{
    CollectorServices, FAR_BEHIND, MarketEdge,
    budgets::deadline,
    contract_values::at_releases,
    metrics::Processing,
    points,
    problem::{CollectorProblem, StepError},
    segments::{OldBlocks, boundary},
    state_store::{Book, Page},
};
use crate::{
    collector::notifier::{Notice, Severity},
    env::messages::Wake,
};

/// Segments end this many blocks before the head: most reorganisations drop only the newest blocks.
const MARGIN: u64 = 2;
/// The interval at which the head is read during a backfill.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);

/// The actor.
pub struct BlockFetcher {
    chain: CollectorServices,
    /// Edges to batch preparers, which the end of a window wakes.
    preparers: Vec<MarketEdge>,
    /// Edges to epoch trackers, which a release wakes.
    epoch_trackers: Vec<MarketEdge>,
    rules: Rules,
    book: Book,
    /// The last block to accept; `None` without a limit.
    until: Option<u64>,
    /// The newest block that a node has reported, and when; `None` after a start or a failure, so that it is read again.
    head: Option<(BlockRef, Instant)>,
    /// What this fetcher has last seen of the chain state: what another tracker changed since then is told to our actors.
    seen: Seen,
    /// Whether the chain state has what the configuration wants for our markets.
    has_wanted: bool,
    /// When windows are measured again; `None` is at once.
    measure_after: Option<Instant>,
    /// The reader of segments, while the checkpoint is far behind.
    old: Option<OldBlocks>,
}

/// The outcome of a step.
enum StepOutcome {
    /// Blocks were accepted or rolled back; the next step follows at once.
    Progressed,
    /// The last accepted block is the head.
    CaughtUp,
    /// The nodes do not have the next block, or do not agree on it.
    Waiting,
    /// The block given by [`BlockFetcher::until`] is accepted.
    Done,
}

impl BlockFetcher {
    /// A fetcher that wakes these batch preparers and epoch trackers.
    #[must_use]
    pub fn new(
        chain: CollectorServices,
        preparers: Vec<MarketEdge>,
        epoch_trackers: Vec<MarketEdge>,
    ) -> Self {
        let (rules, book) =
            (chain.settings.rules.clone(), Book::Redis(Box::new(chain.services.store.clone())));
        Self {
            chain,
            preparers,
            epoch_trackers,
            rules,
            book,
            until: None,
            head: None,
            seen: Seen::default(),
            has_wanted: false,
            measure_after: None,
            old: None,
        }
    }

    /// Makes the fetcher end after this block.
    #[must_use]
    pub fn until(self, block: u64) -> Self {
        Self { until: Some(block), ..self }
    }

    /// Makes the fetcher a trial: it starts without a checkpoint, keeps its state in memory, and touches nothing in Redis.
    #[must_use]
    pub fn as_trial(self) -> Self {
        // The state of a trial is lost with its incarnation, so its progress starts again too.
        self.chain.progress.reset();
        let book = Book::Trial(Arc::new(Mutex::new(self.chain.store.nothing())));
        Self { book, ..self }
    }

    /// Makes one step, within its budget: a block, a segment, or a reorganisation.
    async fn step(&mut self, cx: &Context) -> Result<StepOutcome, StepError> {
        let budget = self.chain.settings.budgets.block(cx.clock());
        let (began, before) = (cx.clock().now(), self.accepted());
        // Boxed: the future of the nested steps is large, and each frame above would hold it by value.
        let outcome = budget.run(Box::pin(self.within(cx, &budget))).await??;
        // The polls at the head would be most of the steps, and are as fast as the node.
        if self.accepted() > before {
            self.chain.metrics.processed(Processing::Block, began, cx.clock());
        }
        Ok(outcome)
    }

    /// How many blocks were accepted so far.
    fn accepted(&self) -> u64 {
        self.chain.progress.with(|state| state.blocks)
    }

    async fn within(&mut self, cx: &Context, budget: &Budget) -> Result<StepOutcome, StepError> {
        let events = self.chain.settings.budgets.events(budget);
        // The remembered head saves a request for each block of a catch-up; it is replaced by every answer that has a newer one.
        let head = match self.head {
            Some((head, _)) => head,
            None => {
                let head = cx.idle(self.chain.source.head(deadline(&events))).await?;
                self.saw(cx, head);
                head
            }
        };
        self.rules.windows = self.chain.lengths.now();
        // The head came from a node that has also reported its chain id, so the keys are those of that chain. State of another
        // chain is never continued.
        let store = self.chain.chain_store().unwrap_or_else(|| self.chain.store.clone());
        let mut page = self.book.read(store).await?;
        self.chain.progress.followed(&page.known.following, self.chain.store.markets());
        self.wake_for_others(&page.known.following);
        let Some(checkpoint) = page.known.following.checkpoint else {
            return self.begin(cx, &mut page, head, &events).await;
        };
        let goal = self.until.unwrap_or(u64::MAX);
        if checkpoint.number >= goal {
            return Ok(StepOutcome::Done);
        }
        // Before the next block: its events of a new market have to meet the windows that were taken over.
        if page.known.following.newcomers().next().is_some() {
            return self.join(cx, &mut page, checkpoint, head, &events).await;
        }
        if !self.has_wanted && self.want(&mut page).await? {
            return Ok(StepOutcome::Progressed);
        }
        if self.measure(cx, &mut page, checkpoint, &events).await? {
            return Ok(StepOutcome::Progressed);
        }
        let left = head.number.min(goal).saturating_sub(checkpoint.number);
        if left <= FAR_BEHIND {
            // Single blocks from here on: they are checked for reorganisations one by one.
            self.old = None;
            self.chain.progress.with(|state| state.backfill = None);
        } else if Box::pin(self.old_part(cx, &mut page, checkpoint, head, &events)).await? {
            return Ok(StepOutcome::Progressed);
        }
        let until = deadline(&events);
        match cx.idle(self.chain.source.next(&checkpoint, until)).await? {
            Next::Block { block: Block { at, events, bad_logs }, head } => {
                self.saw(cx, head);
                self.note_bad_logs(bad_logs.len(), at.number);
                let events = events.into_iter().map(|event| (at.number, event)).collect();
                // A lagging node can report a head that is older than the block itself.
                let now = Clocks { chain: head.time.max(at.time), redis: page.known.now };
                let mut stretch = Stretch { blocks: vec![at], events, now, ..Stretch::default() };
                cx.idle(self.ask_contracts(&page, &mut stretch, head, until)).await;
                self.accept(cx, &mut page, stretch).await
            }
            Next::NotYet { head } => {
                self.saw(cx, head);
                // A shorter chain may have dropped the block that released an epoch.
                let is_newest = head.hash == checkpoint.hash;
                let now = self.chain.progress.chain_time().filter(|_| is_newest);
                self.close_by_clock(&mut page, now).await?;
                Ok(if is_newest { StepOutcome::CaughtUp } else { StepOutcome::Waiting })
            }
            Next::Reorganised { tip } => {
                // The remembered head may be on the dropped branch.
                self.head = None;
                self.reorganise(cx, &mut page, tip, &events).await
            }
        }
    }

    /// Records the head that a node reported.
    fn saw(&mut self, cx: &Context, head: BlockRef) {
        self.head = Some((head, cx.clock().now()));
        self.chain.progress.head(head);
    }

    /// Accepts the next segment, and reads the one after it meanwhile. Returns whether there was one; if not, the next block has
    /// to be read singly.
    async fn old_part(
        &mut self,
        cx: &Context,
        page: &mut Page,
        checkpoint: BlockRef,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<bool, StepError> {
        let (source, deadline) = (self.chain.source.clone(), deadline(budget));
        let goal = self.until.unwrap_or(u64::MAX).min(head.number);
        self.chain.progress.with(|state| state.backfill = Some(goal));
        // A reader whose last block is accepted is finished; the blocks after it need a new one.
        let mut old = match self.old.take().filter(|old| old.to() > checkpoint.number) {
            Some(old) => old,
            None => {
                // A block is old only when no window of it can still get batches, for which the preparer needs the hashes of its blocks:
                // when the submissions of every epoch that was released before it have expired.
                let old_after =
                    self.chain.settings.old_after.max(Duration::from_secs(self.rules.inputs_live));
                let to = cx.idle(boundary(&source, checkpoint, head, old_after, deadline)).await?;
                let (to, by_events) = to.map_or((head.number - MARGIN, false), |to| (to, true));
                OldBlocks::new(&source, to.min(goal), by_events, cx.clock())
            }
        };
        let Some(mut part) = cx.idle(old.after(&checkpoint, deadline)).await? else { return Ok(false) };
        let Some(last) = part.last() else { return Ok(false) };
        // The segment may have been read ahead, when the head was older.
        part.stretch.now = Clocks { chain: head.time, redis: page.known.now };
        self.note_bad_logs(part.bad_logs, checkpoint.number + 1);
        cx.idle(self.ask_contracts(page, &mut part.stretch, head, deadline)).await;
        let asked = self.head.map(|(_, asked)| asked);
        let is_due = asked.is_none_or(|asked| cx.clock().now() >= asked + OBSERVE_EVERY);
        let observed = async {
            // An error is ignored: the head is only shown here, and a step that needs it reads it again.
            if is_due { source.head(deadline).await.ok() } else { None }
        };
        // Reading and writing overlap, so the slower of the two sets the speed. `try_join` drops the read when the write fails: the
        // next step starts from another state.
        let meanwhile = Box::pin(async { tokio::join!(old.read_ahead(&last, deadline), observed).1 });
        // Reading ahead never fails the step: the segment at hand is written in any case.
        let meanwhile = async { Ok::<_, StepError>(cx.idle(meanwhile).await) };
        let (_, seen) = tokio::try_join!(Box::pin(self.accept(cx, page, part.stretch)), meanwhile)?;
        if let Some(seen) = seen {
            self.saw(cx, seen);
        }
        // Put back only after success: after an error the read-ahead may belong to a dropped branch.
        old.accepted(last.number - checkpoint.number, last.number, &self.chain.progress);
        self.old = Some(old);
        Ok(true)
    }

    /// Asks the contracts of the windows that a segment opens, at the blocks that released their epochs.
    async fn ask_contracts(
        &self,
        page: &Page,
        stretch: &mut Stretch,
        head: BlockRef,
        deadline: tokio::time::Instant,
    ) {
        let releases = page.known.following.releases(stretch, &self.rules);
        if !releases.is_empty() {
            stretch.releases = at_releases(&self.chain, &releases, head, deadline).await;
        }
    }

    fn wake(&self, edges: &[MarketEdge], market: &ContractAddress) {
        for edge in edges.iter().filter(|edge| edge.market == *market) {
            // A refusal needs no handling: the actor is stopped, or messages that wake it already wait.
            drop(edge.actor.try_send(Wake::default()));
        }
    }

    /// Accepts blocks: writes their effects and the checkpoint in one step.
    async fn accept(
        &mut self,
        cx: &Context,
        page: &mut Page,
        stretch: Stretch,
    ) -> Result<StepOutcome, StepError> {
        let began = cx.clock().now();
        // A copy: the store writes the difference of the two, and compares Redis with the first.
        let mut after = page.known.following.clone();
        let notes = after.accept(&stretch, &self.rules)?;
        let [before, now] =
            [&page.known.following, &after].map(|all| all.checkpoint.map_or(0, |block| block.number));
        // A conflict is no error: the next step starts from what the other fetcher wrote.
        if self.commit(page, &after, Some(&stretch), notes).await? {
            self.chain.progress.with(|state| state.blocks += now.saturating_sub(before));
            if !stretch.events.is_empty() {
                self.chain.metrics.processed(Processing::Events, began, cx.clock());
            }
        }
        Ok(StepOutcome::Progressed)
    }

    async fn commit(
        &mut self,
        page: &mut Page,
        after: &Following,
        stretch: Option<&Stretch>,
        notes: Vec<Note>,
    ) -> Result<bool, StepError> {
        points::FETCHER_BEFORE_WRITE.pass().await?;
        let outcome = page.write(after, stretch, &notes).await?;
        points::FETCHER_AFTER_WRITE.pass().await?;
        match outcome {
            Outcome::Done { faults } => self.chain.services.note_unwritten(MOVE_CHECKPOINT, &faults),
            Outcome::Changed { key } => {
                // Another fetcher, or a preparer that ended an epoch meanwhile. The next step reads the state again.
                self.chain.progress.with(|state| state.conflicts += 1);
                tracing::debug!(key, "another tracker was ahead; the state is read again");
                return Ok(false);
            }
            // Only hand-overs have a last moment.
            Outcome::Late => return Ok(false),
        }
        self.chain.progress.followed(after, self.chain.store.markets());
        drop(self.seen.update(self.chain.store.markets(), after));
        // Only after the write: an actor that is woken earlier would find nothing.
        self.tell(notes);
        points::FETCHER_AFTER_CHECKPOINT.pass().await?;
        Ok(true)
    }

    /// Wakes batch preparers and epoch trackers, and sends notices.
    fn tell(&self, notes: Vec<Note>) {
        for note in notes {
            match &note {
                Note::Closed { market, .. } => self.wake(&self.preparers, market),
                Note::Released { market, .. } | Note::Measured { market, .. } => {
                    self.wake(&self.epoch_trackers, market);
                }
                // Counted here and not by a preparer, which never sees an epoch that had expired before its release was read.
                Note::Expired { market, .. } => {
                    self.chain.progress.with(|all| all.prepared.entry(*market).or_default().expired += 1);
                }
                _ => {}
            }
            let notice = Notice::of(&note);
            self.chain.progress.with(|state| *state.notes.entry(notice.kind.clone()).or_default() += 1);
            let _ = self.chain.notifier.try_send(notice);
        }
    }

    /// Closes windows by the clock. `chain` is the chain's time if the checkpoint is its newest block, see
    /// [`Following::close_by_clock`].
    async fn close_by_clock(&mut self, page: &mut Page, chain: Option<u64>) -> Result<(), StepError> {
        let mut after = page.known.following.clone();
        let notes = after.close_by_clock(chain, page.known.now, &self.rules);
        // Without a note there is nothing to write: this runs at every poll of an idle chain.
        if !notes.is_empty() {
            self.commit(page, &after, None, notes).await?;
        }
        Ok(())
    }

    /// While no node answers: closes the windows whose submissions would otherwise expire.
    async fn close_before_loss(&mut self) -> Result<(), StepError> {
        // Of which chain the state is, a node has to have said.
        let Some(store) = self.chain.chain_store() else { return Ok(()) };
        let mut page = self.book.read(store).await?;
        self.close_by_clock(&mut page, None).await
    }

    async fn reorganise(
        &mut self,
        cx: &Context,
        page: &mut Page,
        tip: BlockRef,
        budget: &Budget,
    ) -> Result<StepOutcome, StepError> {
        let following = &page.known.following;
        let accepted: BTreeMap<u64, _> =
            following.deeds.iter().map(|deeds| (deeds.block.number, deeds.block.hash)).collect();
        let depth = self.rules.max_reorg_depth;
        let fork = match cx.idle(self.chain.source.fork(&tip, &accepted, depth, deadline(budget))).await {
            Ok(fork) => fork,
            // The new branch was dropped again meanwhile: the next step asks for the next block again.
            Err(ChainError::BlockGone { .. }) => return Ok(StepOutcome::Waiting),
            Err(error) => return Err(error.into()),
        };
        let mut after = following.clone();
        let notes = after.undo_to(fork.ancestor.number, &self.rules)?;
        let from = following.checkpoint.map_or(0, |checkpoint| checkpoint.number);
        let depth = from.saturating_sub(fork.ancestor.number);
        if self.commit(page, &after, None, notes).await? {
            self.chain.progress.with(|state| state.reorganisations += 1);
            let text = format!(
                "a reorganisation dropped the blocks {} to {from}; their effects are undone",
                fork.ancestor.number + 1
            );
            let _ = self.chain.notifier.try_send(Notice::new("reorganisation", Severity::Medium, text));
            tracing::info!(depth, ancestor = fork.ancestor.number, "followed a reorganisation");
        }
        Ok(StepOutcome::Progressed)
    }

    fn note_bad_logs(&self, many: usize, block: u64) {
        if many > 0 {
            self.chain.services.report(&CollectorProblem::BadLogs { block, count: many });
        }
    }
}

impl Worker for BlockFetcher {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let source = self.chain.source.clone();
        let mut attempts = Attempts::new(BLOCK_FETCHER);
        while !cx.is_stopping() {
            let step = tokio::select! {
                biased;
                // A step can be cancelled at any await: its only write is one transaction.
                () = cx.stopped() => break,
                step = self.step(cx) => step,
            };
            // A finished step is progress, whatever its outcome: a fetcher that fails again and again is not stalled.
            cx.progress();
            match &step {
                Ok(_) => attempts.succeeded(),
                // The remembered head or segment may be the cause, for example from a node with wrong data.
                Err(_) => (self.head, self.old) = (None, None),
            }
            match step {
                Ok(StepOutcome::Done) => return Ok(()),
                Ok(StepOutcome::Progressed) => {
                    self.chain.services.readiness.written(super::COLLECTOR, super::BLOCKS_CONDITION);
                    continue;
                }
                Ok(outcome @ (StepOutcome::CaughtUp | StepOutcome::Waiting)) => {
                    // `Waiting` is no success: without the next block readiness has to fail after a while.
                    if matches!(outcome, StepOutcome::CaughtUp) {
                        self.chain.services.readiness.written(super::COLLECTOR, super::BLOCKS_CONDITION);
                    }
                    cx.pause(source.wait()).await;
                    continue;
                }
                // A crash, so that the restart limit and the health record show it: waiting does not help.
                Err(error) if error.is_fatal() => return Err(self.chain.services.fatal(error)),
                Err(error) => {
                    self.chain.services.report(&error);
                    let why = self.chain.services.line(&error);
                    let readiness = &self.chain.services.readiness;
                    // Failures of nodes make readiness fail only by the age of the last success.
                    if matches!(error, StepError::Store(_)) {
                        readiness.failed(super::COLLECTOR, super::BLOCKS_CONDITION, why);
                    } else {
                        readiness.hindered(super::COLLECTOR, super::BLOCKS_CONDITION, why);
                        if let Err(error) = self.close_before_loss().await {
                            self.chain.services.report(&error);
                        }
                    }
                }
            }
            cx.pause(cx.clock().sleep(attempts.failed())).await;
        }
        Ok(())
    }
}
