//! The rewards of one market: reads the numbers of what is due, and puts them into the outbox as calls of the relayer.
//!
//! It touches the chain's keys in Redis, and asks the contract of the market which past days it shows. Promises:
//! - what an end of an epoch has made due becomes calls once: the calls join the market's lane in the step that removes the plan. A
//!   crash between any two steps repeats the reading and no call; a second one by mistake does no harm;
//! - counters are read in slices of a bounded size, one command each; broken ones are reported and left out;
//! - a plan that can't be settled, such as one whose key is of another type, is told of and tried again, and holds up no other; a node
//!   that does not answer holds up past days alone.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    chain::ContractAddress,
    collector::{RewardPlan, RewardRules},
};
use errors::one_line;
use evm::views::Moment;
use retry::{Attempts, table::REWARDS};
use store_collector::{
    ChainStore,
    operations::{FIND_REWARDS, READ_REWARDS},
    rewards::{Due, Frozen, MOST_SLOTS, SLICE, StoredPlan},
};
use store_redis::{Session, StoreError};
use supervision::{Actor, Address, Context, Failure, Inbox};

use super::{
    CollectorServices, Notice, Severity,
    budgets::deadline,
    points,
    progress::Rewarded,
    step_error::{Cause, NoNodeCount, StepError},
};
use crate::{
    env::{messages::Wake, report::Place},
    operations::TELL_REWARDS,
};

/// How often plans are looked for that nobody has woken it for, such as those of another tracker.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often it looks whether the chain is known, after a start.
const BEGIN_EVERY: Duration = Duration::from_millis(500);

/// The actor.
pub struct Rewards {
    chain: CollectorServices,
    market: ContractAddress,
    /// The edge to the market's lane of the relayer.
    relayer: Address<Wake>,
    /// The plans that could not be settled at the last look.
    held: BTreeSet<String>,
}

impl Rewards {
    /// The rewards of this market, which wake its lane of the relayer.
    #[must_use]
    pub fn new(chain: CollectorServices, market: ContractAddress, relayer: Address<Wake>) -> Self {
        Self { chain, market, relayer, held: BTreeSet::new() }
    }

    fn rules(&self) -> &RewardRules {
        &self.chain.settings.rewards
    }

    /// Settles all plans, each by itself: one that can't be settled holds up no other. Those that need a node come last. Returns whether
    /// all are settled.
    async fn run_once(&mut self, cx: &Context) -> Result<bool, Cause> {
        let Some(store) = self.chain.chain_store() else { return Ok(true) };
        points::REWARDS_BEFORE_READ.pass().await?;
        let mut session = self.chain.services.store.session(FIND_REWARDS).await?;
        let mut due = store.due_rewards(&mut session, &self.market).await?;
        if self.begin(&store, &mut session, &due).await? {
            due = store.due_rewards(&mut session, &self.market).await?;
        }
        self.chain.services.note_faults(&due.faults);
        self.count(|all| all.due = due.plans.len() as u64);
        let is_past = |stored: &&StoredPlan| matches!(stored.plan, RewardPlan::PastDays { .. });
        let (past, others): (Vec<_>, Vec<_>) = due.plans.iter().partition(is_past);
        let mut held = BTreeSet::new();
        for stored in others.into_iter().chain(past) {
            let settled = if is_past(&stored) {
                self.past(cx, &store, &mut session, stored, &due).await
            } else {
                self.slots(cx, &store, &mut session, stored).await
            };
            match settled {
                Ok(()) => {}
                Err(cause)
                    if cause.is_of_epoch() || matches!(cause, Cause::NoNodeCount(_) | Cause::Chain(_)) =>
                {
                    held.insert(stored.plan.id());
                    self.hold(&stored.plan, cause);
                }
                Err(cause) => return Err(cause),
            }
        }
        if held.is_empty() && !self.held.is_empty() {
            let text = format!("all rewards of market {} that were due are in the outbox again", self.market);
            let notice = Notice::new("rewards_go_on", Severity::Medium, self.place(None), text);
            let _ = self.chain.notifier.try_send(notice);
        }
        self.held = held;
        Ok(self.held.is_empty())
    }

    /// A plan can't be settled now. Told once, since an operator may have to mend a key.
    fn hold(&self, plan: &RewardPlan, cause: Cause) {
        let why = one_line(&cause);
        self.report(cause);
        if !self.held.contains(&plan.id()) {
            let text =
                format!("{plan} of market {} can't be told to the relayer, and wait: {why}", self.market);
            self.tell("rewards_held", Severity::High, plan, text);
        }
    }

    /// Settles a plan about slots.
    async fn slots(
        &self,
        cx: &Context,
        store: &ChainStore,
        session: &mut Session,
        stored: &StoredPlan,
    ) -> Result<(), Cause> {
        let (frozen, eligible) = self.numbers(cx, store, session, &stored.plan).await?;
        self.settle(cx, store, session, stored, frozen, eligible).await
    }

    /// Settles a plan about past days.
    async fn past(
        &self,
        cx: &Context,
        store: &ChainStore,
        session: &mut Session,
        stored: &StoredPlan,
        due: &Due,
    ) -> Result<(), Cause> {
        let days: Vec<u64> = stored.plan.past_days(self.rules());
        let is_pending = |day: &u64| due.rollovers.values().any(|rollover| rollover.last_day == *day);
        let days = self.hidden(cx, days.into_iter().filter(|day| !is_pending(day)).collect()).await?;
        let (counted, faults) = store.eligible_nodes(session, &self.market, &days).await?;
        // A day whose set can't be read is left out: it is told again with the next change of day.
        self.chain.services.note_faults(&faults);
        points::REWARDS_AFTER_READ.pass().await?;
        let nodes = counted.iter().map(|(day, counted)| (*day, counted.nodes)).collect();
        let (calls, mut zero_days) = stored.plan.again(&nodes);
        zero_days.retain(|day| counted.get(day).is_none_or(|counted| !counted.is_marked));
        self.settle(cx, store, session, stored, Frozen { calls, zero_days }, None).await
    }

    /// Plans that past days are told once after the start of the program. Returns whether a plan was added.
    async fn begin(&mut self, store: &ChainStore, session: &mut Session, due: &Due) -> Result<bool, Cause> {
        let of_market = |done: &Rewarded| done.has_begun;
        let begun = self.chain.progress.with(|state| state.rewarded.get(&self.market).is_some_and(of_market));
        // Before the market's first release it has no day.
        let Some((epoch, today)) = due.last.filter(|_| !begun) else { return Ok(false) };
        let started = Some(self.chain.progress.started());
        let plan = RewardPlan::PastDays { epoch, today, except: Vec::new(), started };
        store.plan_rewards(session, &self.market, &plan).await?;
        // A crash before this line adds a plan of the same name again, whose calls have the same keys.
        self.count(|all| all.has_begun = true);
        Ok(true)
    }

    /// What becomes of a plan about slots, and how many nodes are eligible in its day.
    async fn numbers(
        &self,
        cx: &Context,
        store: &ChainStore,
        session: &mut Session,
        plan: &RewardPlan,
    ) -> Result<(Frozen, Option<u64>), Cause> {
        let (RewardPlan::Periodic { day, .. } | RewardPlan::Final { day, .. }) = *plan else {
            return Ok((Frozen::default(), None));
        };
        let (nodes, faults) = store.node_count(session).await?;
        self.chain.services.note_faults(&faults);
        let nodes = nodes.ok_or(NoNodeCount)?;
        if nodes > MOST_SLOTS {
            let market = self.market;
            self.tell("too_many_slots", Severity::High, plan, format!(
                "TotalNodesCount is {nodes}, so market {market} is told of the slots 1 to {MOST_SLOTS} alone; check who writes that key"
            ));
        }
        let (mut slots, mut first) = (Vec::new(), 1);
        let last = nodes.min(MOST_SLOTS);
        while first <= last {
            let until = first.saturating_add(SLICE - 1).min(last);
            let (counters, faults) =
                store.eligible_submissions(session, &self.market, day, first..=until).await?;
            self.chain.services.note_faults(&faults);
            self.count(|all| all.broken += faults.len() as u64);
            slots.extend(counters);
            first = until + 1;
            cx.progress();
        }
        let (counted, faults) = store.eligible_nodes(session, &self.market, &[day]).await?;
        points::REWARDS_AFTER_READ.pass().await?;
        let eligible = counted.get(&day).map(|counted| counted.nodes);
        let is_over = matches!(plan, RewardPlan::Final { .. });
        if let (None, true, Some(fault)) = (eligible, is_over, faults.first()) {
            // Of a day that is over the number is told: without it the plan waits.
            return Err(StoreError::new(READ_REWARDS, &*fault.key, fault.kind, &fault.detail).into());
        }
        self.chain.services.note_faults(&faults);
        let zero_days = (is_over && eligible == Some(0)).then_some(day);
        let calls = plan.pieces(&slots, eligible.unwrap_or_default(), self.rules());
        Ok((Frozen { calls, zero_days: zero_days.into_iter().collect() }, eligible))
    }

    /// The days of these whose eligible nodes the contract of the market does not show.
    async fn hidden(&self, cx: &Context, days: Vec<u64>) -> Result<Vec<u64>, Cause> {
        let deadline = deadline(&self.chain.settings.budgets.contract_values(cx.clock()));
        let views = self.chain.source.views(Moment::Latest, deadline);
        let mut hidden = Vec::new();
        for day in days {
            match cx.idle(views.eligible_nodes(self.market, day)).await {
                Ok(0) => hidden.push(day),
                Ok(_) => {}
                // A contract that does not have the view shows nothing.
                Err(error) if error.is_lasting() => {
                    self.report(error.into());
                    hidden.push(day);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(hidden)
    }

    /// Puts what becomes of a plan into the outbox, and removes the plan.
    async fn settle(
        &self,
        cx: &Context,
        store: &ChainStore,
        session: &mut Session,
        stored: &StoredPlan,
        frozen: Frozen,
        eligible: Option<u64>,
    ) -> Result<(), Cause> {
        points::REWARDS_BEFORE_WRITE.pass().await?;
        let is_written = store.freeze_rewards(session, &self.market, stored, &frozen).await?;
        points::REWARDS_AFTER_WRITE.pass().await?;
        cx.progress();
        if !is_written {
            self.chain.progress.with(|state| state.conflicts += 1);
            return Ok(());
        }
        // The edge coalesces, so this is refused only while the lane is being stopped. The calls are in Redis.
        let _ = self.relayer.try_send(Wake::default());
        let (market, plan) = (self.market, &stored.plan);
        let epoch = plan.epoch();
        tracing::info!(%market, epoch, calls = frozen.calls.len(), "put {plan} into the outbox");
        self.count(|all| {
            all.due = all.due.saturating_sub(1);
            all.settled += 1;
            all.calls += frozen.calls.len() as u64;
        });
        match (plan, eligible) {
            (RewardPlan::Periodic { day, .. }, Some(nodes)) if self.chain.settings.reports_eligible => {
                let text =
                    format!("{nodes} nodes of market {market} are eligible in day {day} by epoch {epoch}");
                self.tell("eligible_nodes", Severity::Low, plan, text);
            }
            (RewardPlan::Final { day, .. }, Some(nodes)) => {
                let text = format!("{nodes} nodes of market {market} were eligible in day {day}");
                self.tell("eligible_nodes_of_day", Severity::Low, plan, text);
            }
            _ => {}
        }
        Ok(())
    }

    fn place(&self, epoch: Option<u64>) -> Place {
        Place { market: Some(self.market), epoch, block: None }
    }

    fn tell(&self, kind: &str, severity: Severity, plan: &RewardPlan, text: String) {
        let notice = Notice::new(kind, severity, self.place(Some(plan.epoch())), text);
        // The edge drops the oldest notice, so this is refused only while the notifier is being stopped.
        let _ = self.chain.notifier.try_send(notice);
    }

    fn error(&self, cause: Cause) -> StepError {
        StepError { operation: TELL_REWARDS, place: self.place(None), cause }
    }

    fn report(&self, cause: Cause) {
        self.chain.services.report(&self.error(cause));
    }

    fn count(&self, change: impl FnOnce(&mut Rewarded)) {
        self.chain.progress.with(|state| change(state.rewarded.entry(self.market).or_default()));
    }
}

impl Actor for Rewards {
    type Message = Wake;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Wake>) -> Result<(), Failure> {
        let clock = cx.clock();
        // At once after a start: the message about an ended epoch may have been lost with the last process.
        let mut next = clock.now();
        let mut attempts = Attempts::new(REWARDS);
        while !cx.is_stopping() {
            tokio::select! {
                biased;
                wake = inbox.recv() => match wake {
                    Some(wake) => wake.ack(),
                    None => break,
                },
                () = clock.sleep_until(next) => {}
            }
            let done = tokio::select! {
                biased;
                // A run can be cancelled at any await: each plan is settled in one step.
                () = cx.stopped() => break,
                // Boxed: the future of the nested steps is large, and each frame above would hold it by value.
                done = Box::pin(self.run_once(cx)) => done,
            };
            next = clock.now() + LOOK_EVERY;
            match done {
                Ok(true) => {
                    attempts.succeeded();
                    if self.chain.chain_store().is_none() {
                        next = clock.now() + BEGIN_EVERY;
                    }
                }
                Ok(false) => next = clock.now() + attempts.failed(),
                Err(cause) if cause.is_fatal() => {
                    return Err(self.chain.services.fatal(self.error(cause)));
                }
                Err(cause) => {
                    self.report(cause);
                    next = clock.now() + attempts.failed();
                }
            }
        }
        Ok(())
    }
}
