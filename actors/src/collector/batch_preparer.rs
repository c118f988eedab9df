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

use domain::{chain::ContractAddress, collector::Arrangement};
use retry::{Attempts, table::BATCH_PREPARER};
use store_collector::{
    ChainStore, ClosedWindow, Outcome,
    operations::{COUNT_SUBMISSIONS, FIND_CLOSED_WINDOWS, READ_SUBMISSIONS},
};
use store_redis::{ErrorKind, Session, StoreError};
use supervision::{
    Actor, Budget, Clock, Context, DeadlineExceeded, Failure, Inbox, Lease, fail::InjectedFailure,
};

use super::{CollectorServices, metrics::Processing, points, problem::CollectorProblem, progress::Prepared};
use crate::{
    collector::notifier::{Notice, Severity},
    env::messages::Wake,
};

/// The actor.
pub struct BatchPreparer {
    chain: CollectorServices,
    market: ContractAddress,
    /// The closed epochs that could not be prepared, with their failed attempts, and when they are tried again.
    failing: BTreeMap<u64, (Attempts, Instant)>,
}

/// Why a run ended before every closed window was prepared.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    /// Redis failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The budget ran out.
    #[error(transparent)]
    Deadline(#[from] DeadlineExceeded),
    /// No worker became free in time.
    #[error(transparent)]
    NoWorker(CollectorProblem),
    /// A failure point was armed.
    #[error("{0}")]
    Injected(#[from] InjectedFailure),
}

impl PrepareError {
    /// Whether it concerns the keys or the size of one epoch, and not the server or the actor.
    fn is_of_epoch(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error.kind,
                ErrorKind::WrongType | ErrorKind::Malformed | ErrorKind::Denied | ErrorKind::TooLarge
            ),
            Self::Deadline(_) => true,
            Self::NoWorker(_) | Self::Injected(_) => false,
        }
    }
}

impl BatchPreparer {
    /// A preparer of this market.
    #[must_use]
    pub fn new(chain: CollectorServices, market: ContractAddress) -> Self {
        Self { chain, market, failing: BTreeMap::new() }
    }

    /// Prepares all closed windows, once a worker is free.
    async fn run_once(&mut self, cx: &Context) -> Result<(), PrepareError> {
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
            let problem = CollectorProblem::NoWorker { market: self.market, waited };
            return Err(PrepareError::NoWorker(problem));
        };
        // Held until the run ends, like the permit.
        let _busy = self.chain.metrics.busy();
        // Boxed: the future of the nested steps is large, and each frame above would hold it by value.
        budget.run(Box::pin(self.all(cx, &budget))).await?
    }

    async fn all(&mut self, cx: &Context, budget: &Budget) -> Result<(), PrepareError> {
        let (clock, metrics) = (cx.clock(), self.chain.metrics.clone());
        let (began, mut epochs) = (clock.now(), 0);
        loop {
            points::PREPARER_BEFORE_READ.pass().await?;
            let mut session = self.chain.services.store.session(FIND_CLOSED_WINDOWS).await?;
            // Read again for each epoch: the end of one changes the values that the hand-over of the next is compared with.
            let Some(store) = self.chain.chain_store() else { return Ok(()) };
            let (closed, now) = store.closed(&mut session, self.market).await?;
            // Returns the connection: the pool is small, and the hand-over takes its own session.
            drop(session);
            self.failing.retain(|epoch, _| closed.iter().any(|closed| closed.epoch == *epoch));
            let is_due = |closed: &ClosedWindow| {
                self.failing.get(&closed.epoch).is_none_or(|(_, until)| *until <= cx.clock().now())
            };
            let Some(closed) = closed.into_iter().find(is_due) else {
                // Most runs find no epoch: they would hide the time that the others take.
                if epochs > 0 {
                    metrics.processed(Processing::Preparation, began, clock);
                }
                return Ok(());
            };
            let began = clock.now();
            let market = self.chain.settings.budgets.market(budget);
            let prepared = match market.run(self.one(cx, &store, &closed, now, &market)).await {
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
                Err(error) if error.is_of_epoch() => self.set_aside(cx, closed.epoch, &error),
                Err(error) => return Err(error),
            }
            cx.progress();
        }
    }

    /// Reports that an epoch can't be prepared, and tries it again after a pause: the others go on.
    fn set_aside(&mut self, cx: &Context, epoch: u64, error: &PrepareError) {
        self.report(error);
        let every = self.chain.settings.prepare_every;
        let new = || (Attempts::new(BATCH_PREPARER.at_most(every)), cx.clock().now());
        let (attempts, until) = self.failing.entry(epoch).or_insert_with(new);
        *until = cx.clock().now() + attempts.failed();
    }

    fn report(&self, error: &PrepareError) {
        let services = &self.chain.services;
        match error {
            PrepareError::Store(error) => services.report(error),
            PrepareError::NoWorker(problem) => services.report(problem),
            PrepareError::Deadline(cause) => {
                let (market, cause) = (self.market, cause.clone());
                services.report(&CollectorProblem::PreparationLate { market, cause });
            }
            // It crashes the actor, which is reported there.
            PrepareError::Injected(_) => {}
        }
    }

    /// Prepares one epoch at `now`, by the clock of Redis in Unix seconds. Returns whether the epoch is finished; if not, another
    /// program changed its keys meanwhile.
    async fn one(
        &self,
        cx: &Context,
        store: &ChainStore,
        closed: &ClosedWindow,
        now: u64,
        budget: &Budget,
    ) -> Result<bool, PrepareError> {
        let ClosedWindow { market, epoch, window, .. } = closed;
        let CollectorServices { services, settings, progress, metrics, .. } = &self.chain;
        let mut session = services.store.session(READ_SUBMISSIONS).await?;
        // Before anything is read: of expired submissions an unknown part is still there, and would be delivered as the whole.
        if window.has_expired(now) {
            return self.expired(store, &mut session, closed).await;
        }
        let inputs = store.inputs(&mut session, closed).await?;
        services.note_faults(&inputs.faults);
        points::PREPARER_AFTER_READ.pass().await?;
        let arrangement = Arrangement::of(inputs.submissions, &market.lower(), *epoch, settings.batch_size);
        points::PREPARER_BEFORE_WRITE.pass().await?;
        let began = cx.clock().now();
        let handing = store.hand_over(&mut session, closed, &inputs.basis, &arrangement);
        let outcome = settings.budgets.batch(budget).run(handing).await??;
        points::PREPARER_AFTER_WRITE.pass().await?;
        // Before the general conflict: this one does not go away by reading again.
        if store.is_handed_over_elsewhere(closed, &outcome) {
            let text = format!(
                "another program has already counted the batches of epoch {epoch} of market {market}: they are not handed over again; stop that program"
            );
            let notice = Notice::new("handed_over_elsewhere", Severity::Medium, text);
            return self.give_up(store, &mut session, closed, |all| all.elsewhere += 1, notice).await;
        }
        let faults = match outcome {
            Outcome::Done { faults } => faults,
            Outcome::Late => return self.expired(store, &mut session, closed).await,
            // A reorganisation has undone the window, or another tracker was ahead: the next run reads it again.
            Outcome::Changed { .. } => {
                progress.with(|state| state.conflicts += 1);
                return Ok(false);
            }
        };
        metrics.processed(Processing::Batch, began, cx.clock());
        services.note_unwritten(COUNT_SUBMISSIONS, &faults);
        let many: u64 = arrangement.slots.values().sum();
        self.count(|all| {
            all.epochs += 1;
            all.batches += arrangement.batches.len() as u64;
            all.submissions += many;
            all.malformed += arrangement.bad.len() as u64;
            all.missing += inputs.missing.len() as u64;
        });
        tracing::info!(%market, epoch, batches = arrangement.batches.len(), submissions = many, "delivered the batches of an epoch");
        self.report_losses(closed, &arrangement, &inputs.missing);
        Ok(true)
    }

    /// Ends an epoch whose submissions have begun to expire.
    async fn expired(
        &self,
        store: &ChainStore,
        session: &mut Session,
        closed: &ClosedWindow,
    ) -> Result<bool, PrepareError> {
        let ClosedWindow { market, epoch, .. } = closed;
        let text = format!(
            "epoch {epoch} of market {market} was closed too long ago: its submissions have expired, it gets no batches"
        );
        let notice = Notice::new("epoch_expired", Severity::High, text);
        self.give_up(store, session, closed, |all| all.expired += 1, notice).await
    }

    /// Sends notices of what was left out of the batches of an epoch.
    fn report_losses(&self, closed: &ClosedWindow, arrangement: &Arrangement, missing: &[u64]) {
        let ClosedWindow { market, epoch, window, .. } = closed;
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
        if window.day.is_none() && !arrangement.slots.is_empty() {
            self.tell("day_unknown", Severity::Medium, format!(
                "the day of epoch {epoch} of market {market} is unknown: its submissions are not counted for their slots"
            ));
        }
    }

    /// Ends an epoch that gets no batches. Returns whether it is finished; then it is counted and reported.
    async fn give_up(
        &self,
        store: &ChainStore,
        session: &mut Session,
        closed: &ClosedWindow,
        count: impl FnOnce(&mut Prepared),
        notice: Notice,
    ) -> Result<bool, PrepareError> {
        // Counted and reported only after the write: a crash before it repeats the attempt, not the report.
        let is_over = matches!(store.give_up(session, closed).await?, Outcome::Done { .. });
        if is_over {
            self.count(count);
            // The edge drops the oldest notice, so this is refused only while the notifier is being stopped.
            let _ = self.chain.notifier.try_send(notice);
        }
        Ok(is_over)
    }

    fn count(&self, change: impl FnOnce(&mut Prepared)) {
        self.chain.progress.with(|state| change(state.prepared.entry(self.market).or_default()));
    }

    fn tell(&self, kind: &str, severity: Severity, text: String) {
        let _ = self.chain.notifier.try_send(Notice::new(kind, severity, text));
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
                Err(PrepareError::Injected(error)) => return Err(error.into()),
                Err(error) => {
                    self.report(&error);
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
