//! The batch preparer of one market: hands the batches of each epoch whose window is closed to the finalizers, once.
//!
//! Touches the chain's keys in Redis. Promises:
//! - batches, counters and the end of the epoch are one step, compared and set: killed between any two steps it begins
//!   anew, and the same submissions give the same batches;
//! - submissions that can't be read and blocks whose hash has expired are counted and reported; the others are prepared;
//! - an epoch whose submissions have expired is reported and never delivered in part, and an epoch that another program
//!   has delivered is not delivered again;
//! - it waits for its turn no longer than `worker`, and works on an epoch no longer than its budget.

use std::time::Instant;

use domain::{chain::ContractAddress, collector::Arrangement};
use retry::{Attempts, table::BATCH_PREPARER};
use store_collector::{
    ChainStore, ClosedWindow, Outcome,
    operations::{COUNT_SUBMISSIONS, FIND_CLOSED_WINDOWS, READ_SUBMISSIONS},
};
use store_redis::{Session, StoreError};
use supervision::{Actor, Budget, Clock, Context, DeadlineExceeded, Failure, Lease, fail::InjectedFailure};

use super::{FollowServices, points, problem::CollectorProblem, progress::Prepared};
use crate::{
    collector::notifier::{Notice, Severity},
    env::messages::Look,
};

/// The actor.
pub struct BatchPreparer {
    chain: FollowServices,
    market: ContractAddress,
}

/// Why a round ended before everything was prepared.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    /// Redis is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It took too long.
    #[error(transparent)]
    Deadline(#[from] DeadlineExceeded),
    /// No turn came in time.
    #[error(transparent)]
    NoWorker(CollectorProblem),
    /// A failure that was asked for.
    #[error("{0}")]
    Injected(#[from] InjectedFailure),
}

impl BatchPreparer {
    /// The preparer of this market.
    #[must_use]
    pub fn new(chain: FollowServices, market: ContractAddress) -> Self {
        Self { chain, market }
    }

    /// Prepares all that is closed.
    async fn round(&self, cx: &Context<Look>) -> Result<(), PrepareError> {
        let clock = cx.clock().clone();
        let budgets = &self.chain.settings.budgets;
        let budget = budgets.preparation(&clock);
        let began = Instant::now();
        let turn = cx.idle(clock.timeout(budgets.worker, self.chain.workers.acquire())).await;
        let waited = began.elapsed();
        self.chain.metrics.worker_waited(waited);
        let Some(Ok(_turn)) = turn else {
            self.chain.progress.with(|state| state.worker_timeouts += 1);
            let problem = CollectorProblem::NoWorker { market: self.market, waited };
            return Err(PrepareError::NoWorker(problem));
        };
        let _busy = self.chain.metrics.busy();
        // Boxed: what is nested in it is deep.
        budget.run(Box::pin(self.all(cx, &budget))).await?
    }

    async fn all(&self, cx: &Context<Look>, budget: &Budget) -> Result<(), PrepareError> {
        loop {
            points::PREPARER_BEFORE_READ.pass().await?;
            let mut session = self.chain.services.store.session(FIND_CLOSED_WINDOWS).await?;
            // Looked for anew after each: what ends one epoch changes what the next one is compared with.
            let Some(store) = self.chain.of_chain() else { return Ok(()) };
            let closed = store.closed(&mut session, self.market).await?;
            drop(session);
            let Some(closed) = closed.into_iter().next() else { return Ok(()) };
            let market = self.chain.settings.budgets.market(budget);
            if !market.run(self.one(&store, &closed, &market)).await?? {
                return Ok(());
            }
            cx.progress();
        }
    }

    /// Prepares one epoch. Whether it is over; else somebody else has changed something meanwhile.
    async fn one(
        &self,
        store: &ChainStore,
        closed: &ClosedWindow,
        budget: &Budget,
    ) -> Result<bool, PrepareError> {
        let ClosedWindow { market, epoch, window, .. } = closed;
        let FollowServices { services, settings, progress, .. } = &self.chain;
        let mut session = services.store.session(READ_SUBMISSIONS).await?;
        if self.now().is_some_and(|now| window.has_expired(now, settings.rules.inputs_live)) {
            let text = format!(
                "epoch {epoch} of market {market} was closed too long ago: what was submitted has expired, it gets no batches"
            );
            let notice = Notice::new("epoch_expired", Severity::High, text);
            return self.give_up(store, &mut session, closed, |all| all.expired += 1, notice).await;
        }
        let inputs = store.inputs(&mut session, closed).await?;
        services.note_faults(&inputs.faults);
        points::PREPARER_AFTER_READ.pass().await?;
        let arrangement = Arrangement::of(inputs.submissions, &market.lower(), *epoch, settings.batch_size);
        points::PREPARER_BEFORE_WRITE.pass().await?;
        let handing = store.hand_over(&mut session, closed, &inputs.basis, &arrangement);
        let outcome = settings.budgets.batch(budget).run(handing).await??;
        points::PREPARER_AFTER_WRITE.pass().await?;
        if store.is_handed_over_elsewhere(closed, &outcome) {
            let text = format!(
                "another program has counted the batches of epoch {epoch} of market {market} already: they are not handed over again; see that it runs no more"
            );
            let notice = Notice::new("handed_over_elsewhere", Severity::Medium, text);
            return self.give_up(store, &mut session, closed, |all| all.elsewhere += 1, notice).await;
        }
        let Outcome::Done { faults } = outcome else {
            // A reorganisation has taken the window back, or another tracker was here: it is looked at anew.
            progress.with(|state| state.conflicts += 1);
            return Ok(false);
        };
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
        if let Some((key, why)) = arrangement.bad.first() {
            let bad = arrangement.bad.len();
            let key: String = key.chars().take(100).collect();
            self.tell("malformed_submissions", Severity::Medium, format!(
                "{bad} submissions of epoch {epoch} of market {market} are set aside, one is `{key}`: {why}; see which collector wrote it"
            ));
        }
        if let Some(first) = inputs.missing.first() {
            let missing = inputs.missing.len();
            self.tell("missing_block_hashes", Severity::High, format!(
                "the hashes of {missing} blocks of epoch {epoch} of market {market} are not known any more, block {first} for one: what was submitted at them is left out"
            ));
        }
        if window.day.is_none() && many > 0 {
            self.tell("day_unknown", Severity::Medium, format!(
                "the day of epoch {epoch} of market {market} is not known: its submissions are not counted to slots"
            ));
        }
        Ok(true)
    }

    /// Ends an epoch that gets no batches. Whether it is over; it is counted and told then.
    async fn give_up(
        &self,
        store: &ChainStore,
        session: &mut Session,
        closed: &ClosedWindow,
        count: impl FnOnce(&mut Prepared),
        notice: Notice,
    ) -> Result<bool, PrepareError> {
        let is_over = matches!(store.give_up(session, closed).await?, Outcome::Done { .. });
        if is_over {
            self.count(count);
            let _ = self.chain.notifier.try_send(notice);
        }
        Ok(is_over)
    }

    /// The chain's time, once a node has told of a block.
    fn now(&self) -> Option<u64> {
        self.chain.progress.chain_time()
    }

    fn count(&self, change: impl FnOnce(&mut Prepared)) {
        self.chain.progress.with(|state| change(state.prepared.entry(self.market).or_default()));
    }

    fn tell(&self, kind: &str, severity: Severity, text: String) {
        let _ = self.chain.notifier.try_send(Notice::new(kind, severity, text));
    }
}

impl Actor for BatchPreparer {
    type Message = Look;

    async fn run(&mut self, cx: &mut Context<Look>) -> Result<(), Failure> {
        let clock = cx.clock().clone();
        let stop = cx.stop_token();
        let mut next = clock.now();
        let every = self.chain.settings.prepare_every;
        let mut attempts = Attempts::new(BATCH_PREPARER.at_most(every));
        while !stop.is_cancelled() {
            if wait(cx, &clock, next).await.is_none() {
                break;
            }
            // Before a node has told what time it is on the chain, nobody knows what has expired.
            if self.now().is_none() {
                next = clock.now() + attempts.failed();
                continue;
            }
            let round = tokio::select! {
                biased;
                // A round may be left at any point: what it does is whole when it is written.
                () = stop.cancelled() => break,
                round = self.round(cx) => round,
            };
            next = clock.now() + every;
            let services = &self.chain.services;
            match round {
                Ok(()) => {
                    attempts.succeeded();
                    continue;
                }
                Err(PrepareError::Injected(error)) => return Err(error.into()),
                Err(PrepareError::Store(error)) => services.report(&error),
                Err(PrepareError::NoWorker(problem)) => services.report(&problem),
                Err(PrepareError::Deadline(cause)) => {
                    services.report(&CollectorProblem::PreparationLate { market: self.market, cause });
                }
            }
            next = clock.now() + attempts.failed();
        }
        Ok(())
    }
}

/// Waits for a reason to look. The message carries no facts, so it is settled at once: what it told of stands in Redis, and
/// is looked for at every round. `None` when the actor shall stop.
async fn wait(cx: &mut Context<Look>, clock: &Clock, next: Instant) -> Option<()> {
    tokio::select! {
        biased;
        look = cx.recv() => look.map(Lease::settle),
        () = clock.sleep_until(next) => Some(()),
    }
}
