//! The rewards of one market: reads the numbers of what is due, and puts them into the outbox as calls of the relayer.
//!
//! It touches the chain's keys in Redis, and asks the contract of the market which past days it shows. Promises:
//! - what an end of an epoch has made due becomes calls once: the calls join the market's lane in the step that removes the plan. A
//!   crash between any two steps repeats the reading and no call; a second one by mistake does no harm;
//! - counters are read in slices of a bounded size, one command each; broken ones are reported and left out;
//! - a node that does not answer holds up past days alone.

use std::time::Duration;

use domain::{
    chain::ContractAddress,
    collector::{RewardPlan, RewardRules},
};
use evm::views::Moment;
use retry::{Attempts, table::REWARDS};
use store_collector::{
    ChainStore,
    operations::FIND_REWARDS,
    rewards::{Due, Frozen, MOST_SLOTS, SLICE, StoredPlan},
};
use store_redis::Session;
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

/// The actor.
pub struct Rewards {
    chain: CollectorServices,
    market: ContractAddress,
    /// The edge to the market's lane of the relayer.
    relayer: Address<Wake>,
}

impl Rewards {
    /// The rewards of this market, which wake its lane of the relayer.
    #[must_use]
    pub fn new(chain: CollectorServices, market: ContractAddress, relayer: Address<Wake>) -> Self {
        Self { chain, market, relayer }
    }

    fn rules(&self) -> &RewardRules {
        &self.chain.settings.rewards
    }

    /// Settles all plans. Those that need a node come last.
    async fn run_once(&mut self, cx: &Context) -> Result<(), Cause> {
        let Some(store) = self.chain.chain_store() else { return Ok(()) };
        points::REWARDS_BEFORE_READ.pass().await?;
        let mut session = self.chain.services.store.session(FIND_REWARDS).await?;
        let mut due = store.due_rewards(&mut session, &self.market).await?;
        if self.begin(&store, &mut session, &due).await? {
            due = store.due_rewards(&mut session, &self.market).await?;
        }
        self.count(|all| all.due = due.plans.len() as u64);
        let is_past = |stored: &&StoredPlan| matches!(stored.plan, RewardPlan::PastDays { .. });
        let (past, others): (Vec<_>, Vec<_>) = due.plans.iter().partition(is_past);
        for stored in others {
            let (frozen, eligible) = self.numbers(cx, &store, &mut session, &stored.plan).await?;
            self.settle(cx, &store, &mut session, stored, frozen, eligible).await?;
        }
        for stored in past {
            let days: Vec<u64> = stored.plan.past_days(self.rules());
            let is_pending = |day: &u64| due.rollovers.values().any(|rollover| rollover.last_day == *day);
            let days = self.hidden(cx, days.into_iter().filter(|day| !is_pending(day)).collect()).await?;
            let counted = store.eligible_nodes(&mut session, &self.market, &days).await?;
            points::REWARDS_AFTER_READ.pass().await?;
            let nodes = counted.iter().map(|(day, counted)| (*day, counted.nodes)).collect();
            let (calls, mut zero_days) = stored.plan.again(&nodes);
            zero_days.retain(|day| counted.get(day).is_none_or(|counted| !counted.is_marked));
            let frozen = Frozen { calls, zero_days };
            self.settle(cx, &store, &mut session, stored, frozen, None).await?;
        }
        Ok(())
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
        let nodes = store.node_count(session).await?.ok_or(NoNodeCount)?;
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
        let counted = store.eligible_nodes(session, &self.market, &[day]).await?;
        points::REWARDS_AFTER_READ.pass().await?;
        let eligible = counted.get(&day).copied().unwrap_or_default();
        let is_over = matches!(plan, RewardPlan::Final { .. });
        let zero_days = (is_over && eligible.nodes == 0).then_some(day);
        let calls = plan.pieces(&slots, eligible.nodes, self.rules());
        Ok((Frozen { calls, zero_days: zero_days.into_iter().collect() }, Some(eligible.nodes)))
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
                Ok(()) => attempts.succeeded(),
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
