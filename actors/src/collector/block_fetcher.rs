//! The block fetcher: accepts blocks in order from the checkpoint on, with their events.
//!
//! It touches the nodes, by its block stream, and the chain's keys in Redis. Promises:
//! - no block is skipped. The checkpoint and the effects of the blocks are written in one step, by compare-and-set: a crash
//!   between any two steps, a lost answer or a second fetcher leaves out no block and repeats none;
//! - each step begins with the state in Redis. What it keeps in memory between two steps only saves requests to nodes;
//! - a reorganisation deeper than the undo log is an error and changes nothing;
//! - an outage of nodes or Redis is no crash: the step is retried.

mod measure;
mod others;
mod seen;
mod start;
mod write;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use domain::{
    chain::BlockRef,
    collector::{ChainState, Rules, Segment},
};
use retry::{Attempts, table::BLOCK_FETCHER};
use store_collector::{Basis, Snapshot};
use supervision::{Address, Budget, Context, Failure, Worker};

use self::seen::Seen;
use super::{
    CollectorServices, MarketEdge,
    block_stream::{Advance, BlockStream},
    budgets::deadline,
    contract_values::at_releases,
    metrics::Processing,
    state_store::{StateSession, StateStore},
    step_error::{Cause, StepError},
};
use crate::{
    collector::notifier::{Notice, Severity},
    env::{messages::BatchFinalized, report::Place},
    operations::FOLLOW_CHAIN,
};

/// The actor.
pub struct BlockFetcher {
    chain: CollectorServices,
    /// Edges to batch preparers, which the end of a window wakes.
    preparers: Vec<MarketEdge>,
    /// Edges to epoch trackers, which a release wakes.
    epoch_trackers: Vec<MarketEdge>,
    /// The edge to the finalized batches of the state index, if there is one.
    finalized: Option<Address<BatchFinalized>>,
    rules: Rules,
    states: StateStore,
    stream: BlockStream,
    /// The last accepted block of the state that the present step has read.
    checkpoint: Option<BlockRef>,
    /// What this fetcher has last seen of the chain state: what another tracker changed since then is told to our actors.
    seen: Seen,
    /// Whether the chain state has what the configuration wants for our markets.
    has_wanted: bool,
    /// When windows are measured again; `None` is at once.
    measure_after: Option<Instant>,
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

/// The chain state as a step has read it, and the connection by which its successor is written.
struct Open {
    session: StateSession,
    state: ChainState,
    basis: Basis,
    /// When it was read, by the clock of Redis, in Unix seconds.
    now: u64,
}

impl BlockFetcher {
    /// A fetcher that wakes these batch preparers and epoch trackers.
    #[must_use]
    pub fn new(
        chain: CollectorServices,
        preparers: Vec<MarketEdge>,
        epoch_trackers: Vec<MarketEdge>,
    ) -> Self {
        let (rules, states) =
            (chain.settings.rules.clone(), StateStore::Redis(Box::new(chain.services.store.clone())));
        Self {
            stream: BlockStream::new(&chain, None),
            chain,
            preparers,
            epoch_trackers,
            finalized: None,
            rules,
            states,
            checkpoint: None,
            seen: Seen::default(),
            has_wanted: false,
            measure_after: None,
        }
    }

    /// Makes the fetcher tell of finalised batches.
    #[must_use]
    pub fn telling_of_finalized(self, finalized: Address<BatchFinalized>) -> Self {
        Self { finalized: Some(finalized), ..self }
    }

    /// Makes the fetcher end after this block.
    #[must_use]
    pub fn until(self, block: u64) -> Self {
        Self { stream: BlockStream::new(&self.chain, Some(block)), ..self }
    }

    /// Makes the fetcher a trial: it starts without a checkpoint, keeps its state in memory, and touches nothing in Redis.
    #[must_use]
    pub fn as_trial(self) -> Self {
        // The state of a trial is lost with its incarnation, so its progress starts again too.
        self.chain.progress.reset();
        let states = StateStore::Trial(Arc::new(Mutex::new(self.chain.store.nothing())));
        Self { states, ..self }
    }

    /// Makes one step, within its budget: a block, a segment, or a reorganisation.
    async fn step(&mut self, cx: &Context) -> Result<StepOutcome, StepError> {
        let budget = self.chain.settings.budgets.block(cx.clock());
        let (began, before) = (cx.clock().now(), self.accepted());
        // Boxed: the future of the nested steps is large, and each frame above would hold it by value.
        let outcome = budget.run(Box::pin(self.within(cx, &budget))).await;
        let outcome = outcome.map_err(Cause::from).flatten().map_err(|cause| self.error(cause))?;
        // The polls at the head would be most of the steps, and are as fast as the node.
        if self.accepted() > before {
            self.chain.metrics.processed(Processing::Block, began, cx.clock());
        }
        Ok(outcome)
    }

    /// The error of a step, with the block that it was about: the one after the last accepted block.
    fn error(&self, cause: Cause) -> StepError {
        let block = self.checkpoint.map(|block| block.number.saturating_add(1));
        StepError { operation: FOLLOW_CHAIN, place: Place { block, ..Place::default() }, cause }
    }

    /// How many blocks were accepted so far.
    fn accepted(&self) -> u64 {
        self.chain.progress.with(|state| state.blocks)
    }

    async fn within(&mut self, cx: &Context, budget: &Budget) -> Result<StepOutcome, Cause> {
        let events = self.chain.settings.budgets.events(budget);
        let head = cx.idle(self.stream.head(deadline(&events))).await?;
        self.rules.windows = self.chain.lengths.now();
        self.rules.day_lengths = self.chain.lengths.days();
        let mut open = self.open().await?;
        self.wake_for_others(&open.state);
        let Some(checkpoint) = open.state.checkpoint else {
            return self.begin(cx, open, head, &events).await;
        };
        if self.stream.ends_with(&checkpoint) {
            return Ok(StepOutcome::Done);
        }
        // Before the next block: its events of a new market have to meet the windows that were taken over.
        if open.state.newcomers().next().is_some() {
            return self.join(cx, open, checkpoint, head, &events).await;
        }
        if !self.has_wanted {
            let markets = self.chain.store.markets().to_vec();
            // After a conflict or an error the next step tries again.
            self.has_wanted =
                self.write(&mut open, |state, _, rules| Ok(state.want(&markets, rules))).await?;
            return Ok(StepOutcome::Progressed);
        }
        let measured = self.measured(cx, &open.state, checkpoint, &events).await;
        if !measured.is_empty() {
            self.write(&mut open, |state, _, _| Ok(state.measure(&measured))).await?;
            return Ok(StepOutcome::Progressed);
        }
        match cx.idle(self.stream.next(&open.state, deadline(&events))).await? {
            Advance::Segment { segment, head } => self.accept(cx, open, segment, head, &events).await,
            Advance::Fork { ancestor } => self.reorganise(open, checkpoint, ancestor).await,
            Advance::Idle { is_newest } => {
                let now = self.chain.progress.chain_time().filter(|_| is_newest);
                self.close_by_clock(open, now).await?;
                Ok(if is_newest { StepOutcome::CaughtUp } else { StepOutcome::Waiting })
            }
        }
    }

    /// Reads the chain state. A node has reported the chain id before, so the keys are those of that chain: state of another chain
    /// is never continued.
    async fn open(&mut self) -> Result<Open, Cause> {
        let store = self.chain.chain_store().unwrap_or_else(|| self.chain.store.clone());
        let mut session = self.states.session(store).await?;
        let Snapshot { state, basis, now } = session.load().await?;
        self.chain.progress.followed(&state, self.chain.store.markets());
        self.checkpoint = state.checkpoint;
        Ok(Open { session, state, basis, now })
    }

    /// Asks the contracts of the windows that a segment opens, at the blocks that released their epochs.
    async fn ask_contracts(
        &self,
        state: &ChainState,
        segment: &mut Segment,
        head: BlockRef,
        budget: &Budget,
    ) {
        // Of old blocks that are read by their events alone, the hashes are not known.
        let hash = |number| {
            let at = segment.blocks.binary_search_by_key(&number, |block| block.number).ok()?;
            Some(segment.blocks[at].hash)
        };
        let releases = state.releases(segment, &self.rules).into_iter();
        let releases: Vec<_> = releases.map(|(market, block)| (market, block, hash(block))).collect();
        if !releases.is_empty() {
            segment.releases = at_releases(&self.chain, &releases, head, deadline(budget)).await;
        }
    }

    /// Accepts blocks: writes their effects and the checkpoint in one step.
    async fn accept(
        &mut self,
        cx: &Context,
        mut open: Open,
        mut segment: Segment,
        head: BlockRef,
        budget: &Budget,
    ) -> Result<StepOutcome, Cause> {
        cx.idle(self.ask_contracts(&open.state, &mut segment, head, budget)).await;
        let began = cx.clock().now();
        let before = open.state.checkpoint.map_or(0, |block| block.number);
        let Some(&last) = segment.blocks.last() else { return Ok(StepOutcome::Waiting) };
        let apply = |state: ChainState, now, rules: &Rules| {
            segment.now.redis = now;
            Ok(state.apply(&segment, rules)?)
        };
        // A conflict is no error: the next step starts from what the other fetcher wrote.
        if self.write(&mut open, apply).await? {
            let many = last.number.saturating_sub(before);
            self.stream.accepted(many, last);
            self.chain.progress.with(|state| state.blocks += many);
            if !segment.events.is_empty() {
                self.chain.metrics.processed(Processing::Events, began, cx.clock());
            }
        }
        Ok(StepOutcome::Progressed)
    }

    /// Closes windows by the clock. `chain` is the chain's time if the checkpoint is its newest block, see
    /// [`ChainState::close`].
    async fn close_by_clock(&mut self, mut open: Open, chain: Option<u64>) -> Result<(), Cause> {
        self.write(&mut open, |state, now, rules| Ok(state.close(chain, now, rules))).await?;
        Ok(())
    }

    /// While no node answers: closes the windows whose submissions would otherwise expire.
    async fn close_before_loss(&mut self) -> Result<(), Cause> {
        // Of which chain the state is, a node has to have said.
        if self.chain.chain_store().is_none() {
            return Ok(());
        }
        let open = self.open().await?;
        self.close_by_clock(open, None).await
    }

    async fn reorganise(
        &mut self,
        mut open: Open,
        checkpoint: BlockRef,
        ancestor: BlockRef,
    ) -> Result<StepOutcome, Cause> {
        let revert = |state: ChainState, now, rules: &Rules| Ok(state.revert(ancestor.number, now, rules)?);
        if self.write(&mut open, revert).await? {
            self.chain.progress.with(|state| state.reorganisations += 1);
            let (first, from) = (ancestor.number + 1, checkpoint.number);
            let text =
                format!("a reorganisation dropped the blocks {first} to {from}; their effects are undone");
            let place = Place { block: Some(first), ..Place::default() };
            let notice = Notice::new("reorganisation", Severity::Medium, place, text);
            let _ = self.chain.notifier.try_send(notice);
            tracing::info!(
                depth = from - ancestor.number,
                ancestor = ancestor.number,
                "followed a reorganisation"
            );
        }
        Ok(StepOutcome::Progressed)
    }

    /// Reports a failed step that is retried.
    async fn report(&mut self, error: StepError) {
        let services = &self.chain.services;
        services.report(&error);
        let why = services.line(&error);
        // Failures of nodes make readiness fail only by the age of the last success.
        if matches!(error.cause, Cause::Store(_)) {
            return services.readiness.failed(super::COLLECTOR, super::BLOCKS_CONDITION, why);
        }
        services.readiness.hindered(super::COLLECTOR, super::BLOCKS_CONDITION, why);
        if let Err(cause) = self.close_before_loss().await {
            self.chain.services.report(&self.error(cause));
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
            let readiness = &self.chain.services.readiness;
            match step {
                Ok(StepOutcome::Done) => return Ok(()),
                Ok(StepOutcome::Progressed) => {
                    attempts.succeeded();
                    readiness.written(super::COLLECTOR, super::BLOCKS_CONDITION);
                }
                Ok(outcome @ (StepOutcome::CaughtUp | StepOutcome::Waiting)) => {
                    attempts.succeeded();
                    // `Waiting` is no success: without the next block readiness has to fail after a while.
                    if matches!(outcome, StepOutcome::CaughtUp) {
                        readiness.written(super::COLLECTOR, super::BLOCKS_CONDITION);
                    }
                    cx.pause(source.wait()).await;
                }
                // A crash, so that the restart limit and the health record show it: waiting does not help.
                Err(error) if error.cause.is_fatal() => return Err(self.chain.services.fatal(error)),
                Err(error) => {
                    self.stream.forget();
                    self.report(error).await;
                    cx.pause(cx.clock().sleep(attempts.failed())).await;
                }
            }
        }
        Ok(())
    }
}
