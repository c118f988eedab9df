//! The block fetcher: accepts blocks in order from the checkpoint on, with their events.
//!
//! Touches the chain's nodes and the chain's keys in Redis. Promises:
//! - no block is skipped, and the checkpoint moves in the same step as the effects of the blocks, compared and set: a crash
//!   between any two steps, a lost answer or a second fetcher leaves none out and makes none twice;
//! - each step begins with what stands in Redis; what it keeps of the chain between two steps saves questions, no more;
//! - a reorganisation deeper than may be undone is an error that changes nothing;
//! - nodes or Redis being away is no crash: the step is tried again.

mod start;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use domain::{
    chain::{BlockRef, ContractAddress},
    collector::{Following, Note, Rules, Stretch},
};
use evm::{Block, ChainError, Next};
use retry::{Attempts, table::BLOCK_FETCHER};
use store_collector::{Outcome, operations::MOVE_CHECKPOINT};
use supervision::{Actor, Budget, Context, Failure, NoMessage};

use super::{
    FAR_BEHIND, FollowServices, MarketEdge,
    contract_values::{ask, write},
    points,
    problem::{CollectorProblem, StepError},
    segments::{OldBlocks, boundary},
    state_store::{Book, Page},
};
use crate::{
    collector::notifier::{Notice, Severity},
    env::messages::Look,
};

/// What is fetched in large parts ends so many blocks before the head, where most reorganisations are.
const MARGIN: u64 = 2;
/// While old blocks are read, the head is looked at so often.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);

/// The actor.
pub struct BlockFetcher {
    chain: FollowServices,
    /// Woken when a window of their market closes.
    preparers: Vec<MarketEdge>,
    /// Woken when an epoch of their market is released.
    epoch_trackers: Vec<MarketEdge>,
    rules: Rules,
    book: Book,
    /// The last block to accept.
    until: Option<u64>,
    /// The newest block that a node told of, and when it was asked; at once after a start or a failure.
    head: Option<(BlockRef, Instant)>,
    /// When the contracts are asked again; at once after a start.
    refresh: Option<Instant>,
    /// The reader of old blocks, while there are some.
    old: Option<OldBlocks>,
}

/// The outcome of a step.
enum StepOutcome {
    /// Blocks were accepted or rolled back: there may be more.
    Progressed,
    /// The last accepted block is the head.
    CaughtUp,
    /// The nodes do not have the next block, or do not agree on it.
    Waiting,
    /// The last block that was asked for is accepted.
    Done,
}

impl BlockFetcher {
    /// A fetcher that wakes these batch preparers and epoch trackers.
    #[must_use]
    pub fn new(chain: FollowServices, preparers: Vec<MarketEdge>, epoch_trackers: Vec<MarketEdge>) -> Self {
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
            refresh: None,
            old: None,
        }
    }

    /// The same up to this block, and then it ends.
    #[must_use]
    pub fn until(self, block: u64) -> Self {
        Self { until: Some(block), ..self }
    }

    /// The same for a trial that begins with nothing, and touches nothing in Redis.
    #[must_use]
    pub fn as_trial(self) -> Self {
        // Told anew, also after a crash.
        self.chain.progress.forget();
        let book = Book::Trial(Arc::new(Mutex::new(self.chain.store.nothing())));
        Self { book, ..self }
    }

    /// One step: a block, a part of what is old, or a reorganisation.
    async fn step(&mut self, cx: &Context<NoMessage>) -> Result<StepOutcome, StepError> {
        let clock = cx.clock().clone();
        let budget = self.chain.settings.budgets.block(&clock);
        // Boxed: what is nested in it is deep.
        budget.run(Box::pin(self.within(cx, &budget))).await?
    }

    async fn within(&mut self, cx: &Context<NoMessage>, budget: &Budget) -> Result<StepOutcome, StepError> {
        let events = self.chain.settings.budgets.events(budget);
        let head = match self.head {
            Some((head, _)) => head,
            None => {
                let head = cx.idle(self.chain.source.head(deadline(&events))).await?;
                self.saw(cx, head);
                head
            }
        };
        self.refresh(cx, budget).await?;
        // A node that has reported a head has reported its chain id: state of another chain is refused.
        let store = self.chain.of_chain().unwrap_or_else(|| self.chain.store.clone());
        let mut page = self.book.read(store).await?;
        self.chain.progress.followed(&page.known.following);
        let Some(checkpoint) = page.known.following.checkpoint else {
            return self.begin(cx, &mut page, head, &events).await;
        };
        let goal = self.until.unwrap_or(u64::MAX);
        if checkpoint.number >= goal {
            return Ok(StepOutcome::Done);
        }
        if page.known.following.newcomers().next().is_some() {
            return self.join(cx, &mut page, checkpoint, head, &events).await;
        }
        let left = head.number.min(goal).saturating_sub(checkpoint.number);
        if left <= FAR_BEHIND {
            self.old = None;
            self.chain.progress.with(|state| state.backfill = None);
        } else if Box::pin(self.old_part(cx, &mut page, checkpoint, head, &events)).await? {
            return Ok(StepOutcome::Progressed);
        }
        let next = cx.idle(self.chain.source.next(&checkpoint, deadline(&events))).await?;
        match next {
            Next::Block { block: Block { at, events, bad_logs }, head } => {
                self.saw(cx, head);
                self.note_bad_logs(bad_logs.len(), at.number);
                let events = events.into_iter().map(|event| (at.number, event)).collect();
                let head_time = head.time.max(at.time);
                let stretch = Stretch { blocks: vec![at], old: None, events, head_time };
                self.accept(&mut page, stretch).await
            }
            Next::NotYet { head } => {
                self.saw(cx, head);
                self.close_by_clock(&mut page).await
            }
            Next::Reorganised { tip } => {
                self.head = None;
                self.reorganise(cx, &mut page, tip, &events).await
            }
        }
    }

    /// A node told of this head.
    fn saw(&mut self, cx: &Context<NoMessage>, head: BlockRef) {
        self.head = Some((head, cx.clock().now()));
        self.chain.progress.head(head);
    }

    /// Asks the contracts how long windows are, and writes what they say, now and then.
    async fn refresh(&mut self, cx: &Context<NoMessage>, budget: &Budget) -> Result<(), StepError> {
        let now = cx.clock().now();
        if self.refresh.is_some_and(|due| now < due) {
            return Ok(());
        }
        let budget = self.chain.settings.budgets.views(budget);
        let answers = cx.idle(ask(&self.chain, &self.rules.windows, deadline(&budget))).await?;
        if !self.book.is_trial() {
            write(&self.chain, &answers).await;
        }
        // What is known stays where there is no answer.
        self.rules.windows.extend(answers.windows());
        self.refresh = Some(now + self.chain.settings.refresh_every);
        Ok(())
    }

    /// Accepts the next part of what lies far behind the head, and reads the one after it meanwhile. Whether there was one;
    /// else the next block has to be asked for by itself.
    async fn old_part(
        &mut self,
        cx: &Context<NoMessage>,
        page: &mut Page,
        checkpoint: BlockRef,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<bool, StepError> {
        let (source, deadline) = (self.chain.source.clone(), deadline(budget));
        let goal = self.until.unwrap_or(u64::MAX).min(head.number);
        self.chain.progress.with(|state| state.backfill = Some(goal));
        let mut old = match self.old.take().filter(|old| old.to() > checkpoint.number) {
            Some(old) => old,
            None => {
                // The hashes of blocks of windows that get batches are needed.
                let longest = self.rules.windows.values().max().copied().unwrap_or(0);
                let needed = Duration::from_secs(self.rules.inputs_live.saturating_add(longest));
                let old_after = self.chain.settings.old_after.max(needed);
                let to = cx.idle(boundary(&source, checkpoint, head, old_after, deadline)).await?;
                let (to, by_events) = to.map_or((head.number - MARGIN, false), |to| (to, true));
                OldBlocks::new(&source, to.min(goal), by_events, cx.clock())
            }
        };
        let Some(mut part) = cx.idle(old.after(&checkpoint, deadline)).await? else { return Ok(false) };
        let Some(last) = part.last() else { return Ok(false) };
        part.stretch.head_time = head.time;
        self.note_bad_logs(part.bad_logs, checkpoint.number + 1);
        let asked = self.head.map(|(_, asked)| asked);
        let is_due = asked.is_none_or(|asked| cx.clock().now() >= asked + OBSERVE_EVERY);
        let look = async {
            // It is only observed: a failure comes up again where the head is needed.
            if is_due { source.head(deadline).await.ok() } else { None }
        };
        let meanwhile = Box::pin(async { tokio::join!(old.read_ahead(&last, deadline), look).1 });
        let meanwhile = async { Ok::<_, StepError>(cx.idle(meanwhile).await) };
        let (_, seen) = tokio::try_join!(Box::pin(self.accept(page, part.stretch)), meanwhile)?;
        if let Some(seen) = seen {
            self.saw(cx, seen);
        }
        old.accepted(last.number - checkpoint.number, last.number, &self.chain.progress);
        self.old = Some(old);
        Ok(true)
    }

    /// Accepts blocks: their effects and the checkpoint in one step.
    async fn accept(&mut self, page: &mut Page, stretch: Stretch) -> Result<StepOutcome, StepError> {
        let mut after = page.known.following.clone();
        let notes = after.accept(&stretch, &self.rules)?;
        let [before, now] =
            [&page.known.following, &after].map(|all| all.checkpoint.map_or(0, |block| block.number));
        if self.commit(page, &after, Some(&stretch), notes).await? {
            self.chain.progress.with(|state| state.blocks += now.saturating_sub(before));
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
                // Another fetcher, or a preparer that was done meanwhile: what stands is read again.
                self.chain.progress.with(|state| state.conflicts += 1);
                tracing::debug!(key, "another tracker was ahead, the state is read again");
                return Ok(false);
            }
        }
        self.chain.progress.followed(after);
        self.tell(notes);
        points::FETCHER_AFTER_CHECKPOINT.pass().await?;
        Ok(true)
    }

    /// Wakes batch preparers and epoch trackers, and sends notices.
    fn tell(&self, notes: Vec<Note>) {
        for note in notes {
            // A full edge coalesces, a closed one belongs to an actor that is gone.
            let wake = |edges: &[MarketEdge], market: &ContractAddress| {
                for edge in edges.iter().filter(|edge| edge.market == *market) {
                    drop(edge.actor.try_send(Look { gap: false }));
                }
            };
            match &note {
                Note::Closed { market, .. } => wake(&self.preparers, market),
                Note::Released { market, .. } => wake(&self.epoch_trackers, market),
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

    /// Closes what no block closes, now that all there are were accepted.
    async fn close_by_clock(&mut self, page: &mut Page) -> Result<StepOutcome, StepError> {
        let Some(now) = self.chain.progress.chain_time() else { return Ok(StepOutcome::CaughtUp) };
        let mut after = page.known.following.clone();
        let notes = after.close_by_clock(now, &self.rules);
        if !notes.is_empty() {
            self.commit(page, &after, None, notes).await?;
        }
        Ok(StepOutcome::CaughtUp)
    }

    async fn reorganise(
        &mut self,
        cx: &Context<NoMessage>,
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
            // It was left again meanwhile: the next block is asked for anew.
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
                "a reorganisation: blocks {} to {from} were dropped, their effects are taken back",
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

/// As the sources of blocks want it.
fn deadline(budget: &Budget) -> tokio::time::Instant {
    tokio::time::Instant::now() + budget.remaining()
}

impl Actor for BlockFetcher {
    type Message = NoMessage;

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        let clock = cx.clock().clone();
        let source = self.chain.source.clone();
        let mut attempts = Attempts::new(BLOCK_FETCHER);
        while !cx.is_stopping() {
            let stop = cx.stop_token();
            let step = tokio::select! {
                biased;
                // A step may be left at any point: it is whole when it is written, and nothing before.
                () = stop.cancelled() => break,
                step = self.step(cx) => step,
            };
            cx.progress();
            match &step {
                Ok(_) => attempts.succeeded(),
                // What was known of the chain may be why.
                Err(_) => (self.head, self.old) = (None, None),
            }
            match step {
                Ok(StepOutcome::Done) => return Ok(()),
                Ok(StepOutcome::Progressed) => {
                    self.chain.services.status.written(super::PART, super::BLOCKS);
                    continue;
                }
                Ok(outcome @ (StepOutcome::CaughtUp | StepOutcome::Waiting)) => {
                    if matches!(outcome, StepOutcome::CaughtUp) {
                        self.chain.services.status.written(super::PART, super::BLOCKS);
                    }
                    cx.pause(source.wait()).await;
                    continue;
                }
                Err(error) if error.is_fatal() => return Err(self.chain.services.fatal(error)),
                Err(error) => {
                    self.chain.services.report(&error);
                    if let StepError::Store(error) = &error {
                        let why = self.chain.services.line(error);
                        self.chain.services.status.failed(super::PART, super::BLOCKS, why);
                    }
                }
            }
            cx.pause(clock.sleep(attempts.failed())).await;
        }
        Ok(())
    }
}
