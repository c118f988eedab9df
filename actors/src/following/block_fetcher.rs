//! The block fetcher: accepts blocks in order from the checkpoint on, with their events.
//!
//! Touches the chain's nodes and the chain's keys in Redis. Promises:
//! - no block is skipped, and the checkpoint moves in the same step as the effects of the blocks, compared and set: a crash
//!   between any two steps, a lost answer or a second fetcher leaves none out and makes none twice;
//! - it keeps nothing between two steps but a reader of old blocks: each begins with what stands in Redis;
//! - a reorganisation deeper than may be undone is an error that changes nothing;
//! - nodes or Redis being away is no crash: the step is tried again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chain::{Block, ChainError, Next, Step, range::Range};
use domain::chain::{BlockRef, Following, Note, Old, Refused, Rules, Stretch, TooDeep};
use store::{
    Session, StoreError,
    chain::{ChainStore, Known, Outcome},
};
use supervision::{Actor, Address, Budget, Context, DeadlineExceeded, Failure, NoMessage, fail};

use super::{FollowServices, PreparerEdge, StartBlock, views::ask_windows};
use crate::{
    messages::Look,
    notifier::{Notice, Severity},
    roster::Roster,
};

/// Further behind than this, blocks are fetched in large parts.
const FAR_BEHIND: u64 = 32;
/// What is fetched in large parts ends so many blocks before the head, where reorganisations are rare.
const MARGIN: u64 = 12;
/// How soon a failed step is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The actor.
pub struct BlockFetcher {
    chain: FollowServices,
    edges: Vec<PreparerEdge>,
    /// The markets whose epoch trackers are told of released epochs.
    roster: Option<Roster>,
    rules: Rules,
    /// The chain's side in Redis, of the chain that the nodes are of.
    store: ChainStore,
    /// When the contracts are asked again; at once after a start.
    refresh: Option<Instant>,
    /// The reader of old blocks, while there are some.
    backfill: Option<Backfill>,
}

/// Old blocks that are read in large parts.
struct Backfill {
    to: u64,
    /// Only events are read: the hashes would have expired.
    is_old: bool,
    range: Range,
}

/// What a step came to.
enum Came {
    /// Blocks were accepted or taken back: there may be more.
    Further,
    /// All there is was accepted.
    Caught,
}

/// Why a step ended without its effect.
#[derive(Debug, thiserror::Error)]
enum StepError {
    /// Redis is at fault: the step is tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The nodes are at fault: the same.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// It took too long.
    #[error(transparent)]
    Deadline(#[from] DeadlineExceeded),
    /// The chain goes another way since longer than may be undone.
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
    /// The chain gave blocks that do not stand on the last accepted one. It is asked again.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A failure that was asked for.
    #[error("{0}")]
    Injected(#[from] fail::InjectedFailure),
}

impl BlockFetcher {
    /// A fetcher that wakes these preparers, and the epoch trackers of this roster.
    #[must_use]
    pub fn new(chain: FollowServices, edges: Vec<PreparerEdge>, roster: Option<Roster>) -> Self {
        let (rules, store) = (chain.settings.rules.clone(), chain.store.clone());
        Self { chain, edges, roster, rules, store, refresh: None, backfill: None }
    }

    /// One step: a block, a part of what is old, or a reorganisation.
    async fn step(&mut self, cx: &Context<NoMessage>) -> Result<Came, StepError> {
        let clock = cx.clock().clone();
        let budget = self.chain.settings.budgets.block(&clock);
        // Boxed: what is nested in it is deep.
        budget.run(Box::pin(self.within(cx, &budget))).await?
    }

    async fn within(&mut self, cx: &Context<NoMessage>, budget: &Budget) -> Result<Came, StepError> {
        let events = self.chain.settings.budgets.events(budget);
        let head = cx.idle(self.chain.source.head(deadline(&events))).await?;
        self.chain.progress.head(head);
        // Whoever has told of a head has told of which chain.
        self.store = self.chain.of_chain().unwrap_or_else(|| self.store.clone());
        self.refresh(cx, budget).await?;
        let mut session = self.chain.services.store.session("follow the chain").await?;
        let known = self.store.load(&mut session).await?;
        self.chain.progress.followed(&known.following);
        let Some(checkpoint) = known.following.checkpoint else {
            return self.begin(cx, &mut session, &known, head, &events).await;
        };
        let behind = head.number.saturating_sub(checkpoint.number);
        if behind <= FAR_BEHIND {
            self.backfill = None;
            self.chain.progress.with(|state| state.remaining = 0);
        } else if let Some(stretch) = self.old(cx, checkpoint, head, &events).await? {
            let began = Instant::now();
            let many = stretch.blocks.last().map_or(0, |last| last.number - checkpoint.number);
            let came = self.accept(&mut session, &known, stretch).await?;
            self.chain.progress.with(|state| {
                state.remaining = behind.saturating_sub(many);
                let speed = many as f64 / began.elapsed().as_secs_f64().max(1e-6);
                state.speed = if state.speed > 0.0 { 0.8 * state.speed + 0.2 * speed } else { speed };
            });
            return Ok(came);
        }
        match cx.idle(self.chain.source.next(&checkpoint, deadline(&events))).await? {
            Next::Block(Block { at, events, bad_logs }) => {
                self.note_bad_logs(bad_logs.len(), at.number);
                let events = events.into_iter().map(|event| (at.number, event)).collect();
                let stretch =
                    Stretch { blocks: vec![at], old: None, events, head_time: head.time.max(at.time) };
                self.accept(&mut session, &known, stretch).await
            }
            Next::NotYet { head } => {
                self.chain.progress.head(head);
                self.close_by_clock(&mut session, &known).await
            }
            Next::Reorganised { tip } => self.reorganise(cx, &mut session, &known, tip, &events).await,
        }
    }

    /// Asks the contracts how long windows are, and writes what they say, now and then.
    async fn refresh(&mut self, cx: &Context<NoMessage>, budget: &Budget) -> Result<(), StepError> {
        let now = cx.clock().now();
        if self.refresh.is_some_and(|due| now < due) {
            return Ok(());
        }
        let budget = self.chain.settings.budgets.views(budget);
        self.rules.windows = cx.idle(ask_windows(&self.chain, deadline(&budget))).await?;
        self.refresh = Some(now + self.chain.settings.refresh_every);
        Ok(())
    }

    /// The first checkpoint: the block before the one to begin with.
    async fn begin(
        &self,
        cx: &Context<NoMessage>,
        session: &mut Session,
        known: &Known,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<Came, StepError> {
        let first = match self.chain.settings.start {
            StartBlock::Latest { back } => head.number.saturating_sub(back),
            StartBlock::Number(number) => number,
        };
        let before = first.saturating_sub(1);
        let found = cx.idle(self.chain.source.block_at(before, deadline(budget))).await?;
        let Some(block) = found else {
            // It is still to come.
            self.chain.services.warn("follow the chain", "ahead", "start_block", &format!(
                "the chain has {} blocks and is to be followed from block {first} on: waiting for it (chain.start_block)",
                head.number
            ));
            return Ok(Came::Caught);
        };
        tracing::info!(block = first, "the chain is followed from here on");
        let stretch = Stretch {
            blocks: vec![block],
            old: Some(Old { first: block.number, parent: block.parent }),
            events: Vec::new(),
            head_time: head.time,
        };
        self.accept(session, known, stretch).await
    }

    /// The next part of what lies far behind the head; `None` where the next block has to be asked for by itself.
    async fn old(
        &mut self,
        cx: &Context<NoMessage>,
        checkpoint: BlockRef,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<Option<Stretch>, StepError> {
        if self.backfill.as_ref().is_none_or(|backfill| backfill.to <= checkpoint.number) {
            let (to, is_old) = match self.boundary(cx, checkpoint, head, budget).await? {
                Some(to) => (to, true),
                None => (head.number - MARGIN, false),
            };
            self.backfill = Some(Backfill { to, is_old, range: self.chain.source.range(to) });
        }
        let Some(Backfill { is_old, range, .. }) = &mut self.backfill else { return Ok(None) };
        let deadline = deadline(budget);
        let (blocks, old, events, bad) = if *is_old {
            match cx.idle(range.events(&checkpoint, deadline)).await? {
                Step::Part(part) => {
                    let bad: usize = part.blocks.iter().map(|block| block.bad_logs.len()).sum();
                    let events = part
                        .blocks
                        .into_iter()
                        .flat_map(|block| block.events.into_iter().map(move |event| (block.number, event)));
                    let old = Old { first: part.from, parent: checkpoint.hash };
                    (vec![part.last], Some(old), events.collect::<Vec<_>>(), bad)
                }
                Step::Mismatch | Step::Done => return Ok(self.give_up_backfill()),
            }
        } else {
            match cx.idle(range.blocks(&checkpoint, deadline)).await? {
                Step::Part(part) => {
                    let bad = part.iter().map(|block| block.bad_logs.len()).sum();
                    let blocks: Vec<BlockRef> = part.iter().map(|block| block.at).collect();
                    let events = part.into_iter().flat_map(|block| {
                        block.events.into_iter().map(move |event| (block.at.number, event))
                    });
                    (blocks, None, events.collect(), bad)
                }
                Step::Mismatch | Step::Done => return Ok(self.give_up_backfill()),
            }
        };
        self.note_bad_logs(bad, checkpoint.number + 1);
        Ok(Some(Stretch { blocks, old, events, head_time: head.time }))
    }

    fn give_up_backfill(&mut self) -> Option<Stretch> {
        self.backfill = None;
        None
    }

    /// The last block that is older than hashes are kept, where that is far ahead.
    async fn boundary(
        &self,
        cx: &Context<NoMessage>,
        checkpoint: BlockRef,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<Option<u64>, StepError> {
        let before = head.time.saturating_sub(self.chain.settings.old_after.as_secs());
        let (mut old, mut young) = (checkpoint.number, head.number);
        if checkpoint.time >= before {
            return Ok(None);
        }
        while young - old > FAR_BEHIND {
            let middle = old + (young - old) / 2;
            let block = cx.idle(self.chain.source.block_at(middle, deadline(budget))).await?;
            match block {
                Some(block) if block.time < before => old = middle,
                _ => young = middle,
            }
        }
        Ok(Some(old).filter(|old| *old > checkpoint.number + FAR_BEHIND))
    }

    /// Accepts blocks: their effects and the checkpoint in one step.
    async fn accept(
        &self,
        session: &mut Session,
        known: &Known,
        stretch: Stretch,
    ) -> Result<Came, StepError> {
        let mut after = known.following.clone();
        let notes = after.accept(&stretch, &self.rules)?;
        let before = known.following.checkpoint.map_or(0, |checkpoint| checkpoint.number);
        let many = after.checkpoint.map_or(0, |checkpoint| checkpoint.number.saturating_sub(before));
        if self.commit(session, known, &after, Some(&stretch), notes).await? {
            self.chain.progress.with(|state| state.blocks += if before == 0 { 1 } else { many });
        }
        Ok(Came::Further)
    }

    async fn commit(
        &self,
        session: &mut Session,
        known: &Known,
        after: &Following,
        stretch: Option<&Stretch>,
        notes: Vec<Note>,
    ) -> Result<bool, StepError> {
        fail::point("block_fetcher::before_write").await?;
        let outcome = self.store.commit(session, known, after, stretch, &notes).await?;
        fail::point("block_fetcher::after_write").await?;
        match outcome {
            Outcome::Done { faults } => self.chain.services.note_unwritten("move the checkpoint", &faults),
            Outcome::Changed { key } => {
                // Another fetcher, or a preparer that was done meanwhile: what stands is read again.
                self.chain.progress.with(|state| state.conflicts += 1);
                tracing::debug!(key, "somebody else has moved on meanwhile");
                return Ok(false);
            }
        }
        self.chain.progress.followed(after);
        self.tell(notes);
        fail::point("block_fetcher::after_checkpoint").await?;
        Ok(true)
    }

    /// Wakes whom it concerns.
    fn tell(&self, notes: Vec<Note>) {
        for note in notes {
            // A full edge coalesces, a closed one belongs to an actor that is gone.
            let wake = |actor: &Address<Look>| drop(actor.try_send(Look { events: 1, gap: false }));
            match &note {
                Note::Closed { market, .. } => {
                    let edge = self.edges.iter().find(|edge| edge.market == *market);
                    edge.iter().for_each(|edge| wake(&edge.preparer));
                }
                Note::Released { market, .. } => {
                    let market = domain::Address::from(*market);
                    let markets = self.roster.as_ref().map(Roster::now);
                    let edges = markets.iter().flat_map(|markets| markets.iter());
                    let its = edges.filter(|edges| edges.keys.market().checksummed() == market.checksummed());
                    its.filter_map(|edges| edges.of_chain.as_ref()).for_each(wake);
                }
                _ => {}
            }
            let _ = self.chain.notifier.try_send(Notice::of(&note));
        }
    }

    /// Closes what no block closes, now that all there are were accepted.
    async fn close_by_clock(&self, session: &mut Session, known: &Known) -> Result<Came, StepError> {
        let Some(now) = self.chain.progress.chain_time() else { return Ok(Came::Caught) };
        let mut after = known.following.clone();
        let notes = after.close_by_clock(now, &self.rules);
        if !notes.is_empty() {
            self.commit(session, known, &after, None, notes).await?;
        }
        Ok(Came::Caught)
    }

    async fn reorganise(
        &self,
        cx: &Context<NoMessage>,
        session: &mut Session,
        known: &Known,
        tip: BlockRef,
        budget: &Budget,
    ) -> Result<Came, StepError> {
        let following = &known.following;
        let accepted: BTreeMap<u64, _> =
            following.deeds.iter().map(|deeds| (deeds.block.number, deeds.block.hash)).collect();
        let depth = self.rules.max_reorg_depth;
        let fork = match cx.idle(self.chain.source.fork(&tip, &accepted, depth, deadline(budget))).await {
            Ok(fork) => fork,
            // It was left again meanwhile: the next block is asked for anew.
            Err(ChainError::BlockGone { .. }) => return Ok(Came::Further),
            Err(error) => return Err(error.into()),
        };
        let mut after = following.clone();
        let notes = after.undo_to(fork.ancestor.number, &self.rules)?;
        let from = following.checkpoint.map_or(0, |checkpoint| checkpoint.number);
        let depth = from.saturating_sub(fork.ancestor.number);
        if self.commit(session, known, &after, None, notes).await? {
            self.chain.progress.with(|state| state.reorganisations += 1);
            let text = format!(
                "a reorganisation: blocks {} to {from} were dropped, their effects are taken back",
                fork.ancestor.number + 1
            );
            let _ = self.chain.notifier.try_send(Notice::new("reorganisation", Severity::Medium, text));
            tracing::warn!(depth, ancestor = fork.ancestor.number, "followed a reorganisation");
        }
        Ok(Came::Further)
    }

    fn note_bad_logs(&self, many: usize, block: u64) {
        if many > 0 {
            self.chain.services.warn("read events", "malformed", &format!("block {block}"), &format!(
                "{many} logs of block {block} or after it can't be read as events: they are set aside (see state_tracker_chain_faults_total)"
            ));
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
        while !cx.is_stopping() {
            let stop = cx.stop_token();
            let step = tokio::select! {
                biased;
                // A step may be left at any point: it is whole when it is written, and nothing before.
                () = stop.cancelled() => break,
                step = self.step(cx) => step,
            };
            cx.progress();
            match step {
                Ok(Came::Further) => {
                    self.chain.services.status.written(super::CHAIN, super::BLOCKS);
                    continue;
                }
                Ok(Came::Caught) => {
                    self.chain.services.status.written(super::CHAIN, super::BLOCKS);
                    cx.pause(source.wait()).await;
                    continue;
                }
                // What is wrong with the chain or with us is no matter of waiting.
                Err(StepError::TooDeep(error)) => return Err(error.into()),
                Err(StepError::Chain(error @ ChainError::ReorganisedTooDeep { .. })) => {
                    return Err(error.into());
                }
                Err(StepError::Injected(error)) => return Err(error.into()),
                Err(StepError::Store(error)) => {
                    self.chain.services.note_error(&error);
                    self.chain.services.status.failed(super::CHAIN, super::BLOCKS, &error);
                }
                Err(error) => {
                    self.chain.services.warn("follow the chain", error.kind(), "chain", &error.to_string());
                }
            }
            cx.pause(clock.sleep(RETRY)).await;
        }
        Ok(())
    }
}

impl StepError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind.as_str(),
            Self::Chain(_) => "node",
            Self::Deadline(_) => "timeout",
            Self::TooDeep(_) => "too_deep",
            Self::Refused(_) => "reorganised",
            Self::Injected(_) => "injected",
        }
    }
}
