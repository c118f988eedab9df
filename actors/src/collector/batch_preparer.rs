//! The batch preparer of one market: hands the batches of each closed window to the finalizers, exactly once.
//!
//! It touches the chain's keys in Redis. Promises:
//! - batches, counters and the end of the epoch are written in one step, by compare-and-set. After a kill between any two steps
//!   it starts again, and the same submissions give the same batches;
//! - unreadable submissions and blocks whose hash has expired are counted and reported; the others are prepared;
//! - an epoch that can't be prepared, such as one with a broken key, holds up no other: it is tried again with growing pauses;
//! - an epoch whose submissions have expired is reported and never delivered in part, and an epoch that another program
//!   has delivered is not delivered again;
//! - it waits for a worker no longer than `worker`, and works on an epoch no longer than its budget.

use std::{collections::BTreeMap, time::Instant};

use domain::{
    chain::{ContractAddress, Window},
    collector::{Arrangement, Effect},
};
use retry::{Attempts, table::BATCH_PREPARER};
use store_collector::{
    ChainStore, MarketSnapshot, Outcome,
    operations::{COUNT_SUBMISSIONS, FIND_CLOSED_WINDOWS},
};
use store_redis::{Session, StoreError};
use supervision::{Actor, Address, Budget, Clock, Context, Failure, Inbox, Lease};

use super::{
    CollectorServices,
    metrics::Processing,
    points,
    progress::Prepared,
    step_error::{Cause, NoWorker, StepError},
};
use crate::{
    collector::notifier::{Notice, Severity},
    env::{messages::Wake, report::Place},
    operations::PREPARE_BATCHES,
};

/// The actor.
pub struct BatchPreparer {
    chain: CollectorServices,
    market: ContractAddress,
    /// The edge to the market's lane of the relayer, if the relayer is told of hand-overs.
    relayer: Option<Address<Wake>>,
    /// The edge to the market's rewards, likewise.
    rewards: Option<Address<Wake>>,
    /// The closed epochs that could not be prepared, with their failed attempts, and when they are tried again.
    failing: BTreeMap<u64, (Attempts, Instant)>,
}

impl BatchPreparer {
    /// A preparer of this market.
    #[must_use]
    pub fn new(chain: CollectorServices, market: ContractAddress) -> Self {
        Self { chain, market, relayer: None, rewards: None, failing: BTreeMap::new() }
    }

    /// With edges to the market's lane of the relayer, and to its rewards.
    #[must_use]
    pub fn waking(self, relayer: Address<Wake>, rewards: Address<Wake>) -> Self {
        Self { relayer: Some(relayer), rewards: Some(rewards), ..self }
    }

    /// Prepares all closed windows, once a worker is free.
    async fn run_once(&mut self, cx: &Context) -> Result<(), Cause> {
        let (clock, settings) = (cx.clock(), self.chain.settings.clone());
        let budgets = &settings.budgets;
        let budget = budgets.preparation(clock);
        let began = Instant::now();
        // Idle: a wait for other preparers is no stall.
        let permit = cx.idle(clock.timeout(budgets.worker, self.chain.workers.clone().acquire_owned())).await;
        let waited = began.elapsed();
        self.chain.metrics.worker_waited(waited);
        let Some(Ok(_permit)) = permit else {
            // A permit that comes later is not used: the market is prepared at the next attempt.
            self.chain.progress.with(|state| state.worker_timeouts += 1);
            return Err(NoWorker { waited }.into());
        };
        // Held until the run ends, like the permit.
        let _busy = self.chain.metrics.busy();
        // Boxed: the future of the nested steps is large, and each frame above would hold it by value.
        budget.run(Box::pin(self.all(cx, &budget))).await?
    }

    async fn all(&mut self, cx: &Context, budget: &Budget) -> Result<(), Cause> {
        let (clock, metrics) = (cx.clock(), self.chain.metrics.clone());
        let (began, mut epochs) = (clock.now(), 0);
        loop {
            points::PREPARER_BEFORE_READ.pass().await?;
            let mut session = self.chain.services.store.session(FIND_CLOSED_WINDOWS).await?;
            // Read again for each epoch: the end of one changes the version upon which the next one is handed over.
            let Some(store) = self.chain.chain_store() else { return Ok(()) };
            let snapshot = store.market(&mut session, self.market).await?;
            let closed = snapshot.known.closed();
            self.failing.retain(|failing, _| closed.iter().any(|(epoch, _)| epoch == failing));
            let is_due =
                |epoch: u64| self.failing.get(&epoch).is_none_or(|(_, until)| *until <= cx.clock().now());
            let Some((epoch, window)) = closed.into_iter().find(|(epoch, _)| is_due(*epoch)) else {
                // Most runs find no epoch: they would hide the time that the others take.
                if epochs > 0 {
                    metrics.processed(Processing::Preparation, began, clock);
                }
                return Ok(());
            };
            let began = clock.now();
            let market = self.chain.settings.budgets.market(budget);
            let mut step = Preparation { preparer: self, session, store, snapshot, epoch, window };
            let prepared = match market.run(step.run(cx, &market)).await {
                Ok(prepared) => prepared,
                Err(late) => Err(late.into()),
            };
            match prepared {
                Ok(true) => {
                    epochs += 1;
                    metrics.processed(Processing::Market, began, clock);
                }
                // A conflict ends the run. The closed windows are found again at the next message or interval.
                Ok(false) => return Ok(()),
                Err(cause) if cause.is_of_epoch() => self.set_aside(cx, epoch, cause),
                Err(cause) => return Err(cause),
            }
            cx.progress();
        }
    }

    /// Reports that an epoch can't be prepared, and tries it again after a pause: the others go on.
    fn set_aside(&mut self, cx: &Context, epoch: u64, cause: Cause) {
        self.chain.services.report(&self.error(Some(epoch), cause));
        let every = self.chain.settings.prepare_every;
        let new = || (Attempts::new(BATCH_PREPARER.at_most(every)), cx.clock().now());
        let (attempts, until) = self.failing.entry(epoch).or_insert_with(new);
        *until = cx.clock().now() + attempts.failed();
    }

    fn error(&self, epoch: Option<u64>, cause: Cause) -> StepError {
        StepError { operation: PREPARE_BATCHES, place: self.place(epoch), cause }
    }

    fn place(&self, epoch: Option<u64>) -> Place {
        Place { market: Some(self.market), epoch, block: None }
    }

    fn count(&self, change: impl FnOnce(&mut Prepared)) {
        self.chain.progress.with(|state| change(state.prepared.entry(self.market).or_default()));
    }
}

/// The preparation of one epoch.
struct Preparation<'a> {
    preparer: &'a BatchPreparer,
    session: Session,
    store: ChainStore,
    /// The market as it was read; upon its version the epoch ends.
    snapshot: MarketSnapshot,
    epoch: u64,
    window: Window,
}

impl Preparation<'_> {
    /// Returns whether the epoch is finished; if not, another program changed the market meanwhile.
    async fn run(&mut self, cx: &Context, budget: &Budget) -> Result<bool, Cause> {
        let CollectorServices { services, settings, progress, metrics, .. } = &self.preparer.chain;
        let (market, epoch, window) = (self.preparer.market, self.epoch, self.window);
        // Before anything is read: of expired submissions an unknown part is still there, and would be delivered as the whole.
        if window.has_expired(self.snapshot.now) {
            return self.expired().await;
        }
        let inputs = self.store.inputs(&mut self.session, market, epoch, &window).await?;
        services.note_faults(&inputs.faults);
        points::PREPARER_AFTER_READ.pass().await?;
        let arrangement = Arrangement::of(inputs.submissions, &market.lower(), epoch, settings.batch_size);
        points::PREPARER_BEFORE_WRITE.pass().await?;
        let began = cx.clock().now();
        let effects = self.snapshot.known.hand_over(
            market,
            epoch,
            &arrangement,
            inputs.submitted_at,
            self.preparer.chain.tells_relayer.then_some(&settings.rewards),
        );
        // Checked in the step itself: the submissions were read before, and a set that expired meanwhile would be missing.
        let until = Some(window.expires);
        let outcome = settings.budgets.batch(budget).run(self.commit(&effects, until)).await??;
        points::PREPARER_AFTER_WRITE.pass().await?;
        let faults = match outcome {
            Outcome::Done { faults } => faults,
            Outcome::Late => return self.expired().await,
            Outcome::HandedOverElsewhere => {
                let text = format!(
                    "another program has already counted the batches of epoch {epoch} of market {market}: they are not handed over again; stop that program"
                );
                return self
                    .give_up(|all| all.elsewhere += 1, "handed_over_elsewhere", Severity::Medium, text)
                    .await;
            }
            // A reorganisation has undone the window, or another tracker was ahead: the next run reads it again.
            Outcome::Changed => {
                progress.with(|state| state.conflicts += 1);
                return Ok(false);
            }
        };
        metrics.processed(Processing::Batch, began, cx.clock());
        for edge in [&self.preparer.relayer, &self.preparer.rewards].into_iter().flatten() {
            // The edge coalesces, so this is refused only while its actor is being stopped. Calls and plans are in Redis.
            let _ = edge.try_send(Wake::default());
        }
        services.note_unwritten(COUNT_SUBMISSIONS, &faults);
        let many: u64 = arrangement.slots.values().sum();
        self.preparer.count(|all| {
            all.epochs += 1;
            all.batches += arrangement.batches.len() as u64;
            all.submissions += many;
            all.malformed += arrangement.bad.len() as u64;
            all.missing += inputs.missing.len() as u64;
        });
        tracing::info!(%market, epoch, batches = arrangement.batches.len(), submissions = many, "delivered the batches of an epoch");
        self.report_losses(&arrangement, &inputs.missing);
        Ok(true)
    }

    async fn commit(&mut self, effects: &[Effect], until: Option<u64>) -> Result<Outcome, StoreError> {
        let _turn = self.preparer.chain.hand_overs.read().await;
        self.store.commit(&mut self.session, &self.snapshot.basis, effects, until).await
    }

    /// Ends an epoch whose submissions have begun to expire.
    async fn expired(&mut self) -> Result<bool, Cause> {
        let (market, epoch) = (self.preparer.market, self.epoch);
        let text = format!(
            "epoch {epoch} of market {market} was closed too long ago: its submissions have expired, it gets no batches"
        );
        self.give_up(|all| all.expired += 1, "epoch_expired", Severity::High, text).await
    }

    /// Sends notices of what was left out of the batches of an epoch.
    fn report_losses(&self, arrangement: &Arrangement, missing: &[u64]) {
        let (market, epoch) = (self.preparer.market, self.epoch);
        // One notice for all of them, with an example: a broken producer writes thousands.
        if let Some((key, why)) = arrangement.bad.first() {
            let bad = arrangement.bad.len();
            // Any program can write members of any length.
            let key: String = key.chars().take(100).collect();
            self.tell("malformed_submissions", Severity::Medium, format!(
                "{bad} submissions of epoch {epoch} of market {market} are set aside, for example `{key}`: {why}; check the program that wrote it"
            ));
        }
        if let Some(first) = missing.first() {
            let many = missing.len();
            self.tell("missing_block_hashes", Severity::High, format!(
                "the hashes of {many} blocks of epoch {epoch} of market {market} have expired, for example of block {first}: the submissions at them are left out"
            ));
        }
        // Without submissions there is nothing that could be missing from a slot.
        if self.window.day.is_none() && !arrangement.slots.is_empty() {
            self.tell("day_unknown", Severity::Medium, format!(
                "the day of epoch {epoch} of market {market} is unknown: its submissions are not counted for their slots"
            ));
        }
    }

    /// Ends an epoch that gets no batches. Returns whether it is finished; then it is counted and reported.
    async fn give_up(
        &mut self,
        count: impl FnOnce(&mut Prepared),
        kind: &str,
        severity: Severity,
        text: String,
    ) -> Result<bool, Cause> {
        let effects = self.snapshot.known.give_up(self.preparer.market, self.epoch);
        let outcome = self.commit(&effects, None).await?;
        // Counted and reported only after the write: a crash before it repeats the attempt, not the report.
        let is_over = matches!(outcome, Outcome::Done { .. });
        if is_over {
            self.preparer.count(count);
            self.tell(kind, severity, text);
        }
        Ok(is_over)
    }

    fn tell(&self, kind: &str, severity: Severity, text: String) {
        let notice = Notice::new(kind, severity, self.preparer.place(Some(self.epoch)), text);
        // The edge drops the oldest notice, so this is refused only while the notifier is being stopped.
        let _ = self.preparer.chain.notifier.try_send(notice);
    }
}

impl Actor for BatchPreparer {
    type Message = Wake;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Wake>) -> Result<(), Failure> {
        let clock = cx.clock();
        // At once after a start: the message about a closed window may have been lost with the last process.
        let mut next = clock.now();
        let every = self.chain.settings.prepare_every;
        let mut attempts = Attempts::new(BATCH_PREPARER.at_most(every));
        while !cx.is_stopping() {
            if wait(inbox, clock, next).await.is_none() {
                break;
            }
            let done = tokio::select! {
                biased;
                // A run can be cancelled at any await: each epoch is written in one step.
                () = cx.stopped() => break,
                done = self.run_once(cx) => done,
            };
            // Set before the outcome is examined, for the branches that continue.
            next = clock.now() + every;
            match done {
                Ok(()) => attempts.succeeded(),
                // The only error that is a crash: all others pass by themselves.
                Err(cause) if cause.is_fatal() => {
                    return Err(self.chain.services.fatal(self.error(None, cause)));
                }
                Err(cause) => {
                    self.chain.services.report(&self.error(None, cause));
                    next = clock.now() + attempts.failed();
                }
            }
        }
        Ok(())
    }
}

/// Waits for a message or for the time `next`; `None` when the actor is stopped. A message carries no data and is acknowledged at
/// once: the closed window is in Redis, where every run looks for it.
async fn wait(inbox: &mut Inbox<Wake>, clock: &Clock, next: Instant) -> Option<()> {
    tokio::select! {
        biased;
        wake = inbox.recv() => wake.map(Lease::ack),
        () = clock.sleep_until(next) => Some(()),
    }
}
