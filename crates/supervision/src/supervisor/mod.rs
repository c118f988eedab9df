//! The supervisor: a `ractor` actor that carries out a [`Plan`] for the seats of its group.
//!
//! Its seats outlive it. When it crashes, its own supervisor starts it again over the same seats, with their mailboxes,
//! generations and counters; the turnstiles keep new children out until the old ones have ended.

mod group;
mod plan;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ractor::{ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::plan::{Action, Index, Plan, Timer};
pub(crate) use self::{
    group::{Group, Member, MemberKind, Places, stop_within_of},
    plan::KILL_GRACE,
};
use crate::{
    actor::{Begin, Carrier},
    crash::Guarded,
    fail,
    health::{ExitKind, State},
    policy::Strategy,
    seat::{self, Exit, Incarnate, Seat},
    text::shown,
};

/// The messages of a supervisor.
pub(crate) enum Order {
    /// Enter the seat and start the children.
    Begin,
    /// This incarnation of the child is ready.
    Ready(Index, u64),
    /// A timer of the plan is due; a restart comes with its permit.
    Due(Index, Timer, u64, Option<OwnedSemaphorePermit>),
    /// Members of the group were added, or are to leave.
    Changed,
    /// Stop all children in order, and end. `returns`: the supervisor will be started again.
    Stop { returns: bool },
}

/// The arguments of a supervisor.
pub(crate) struct Post {
    pub(crate) seat: Arc<Seat>,
    pub(crate) group: Arc<Group>,
    /// Called when the children have been started.
    pub(crate) ready: Box<dyn FnOnce() + Send>,
}

pub(crate) struct Supervisor;

pub(crate) struct Office {
    seat: Arc<Seat>,
    group: Arc<Group>,
    ready: Option<Box<dyn FnOnce() + Send>>,
    plan: Plan,
    running: BTreeMap<Index, Running>,
    spawned: u64,
    timers: JoinSet<()>,
    /// The timers of each child, which are aborted when it leaves.
    armed: BTreeMap<Index, Vec<AbortHandle>>,
    /// The permit of the restart that is being carried out.
    turn: Option<OwnedSemaphorePermit>,
    /// Whether `Begin` was handled.
    begun: bool,
    /// Whether it will be started again after its stop.
    returns: bool,
    incarnate: Option<Incarnate>,
}

/// A child's present incarnation.
struct Running {
    id: ActorId,
    number: u64,
    hold: Hold,
    /// Its restart permit, until it is ready or takes too long.
    turn: Option<OwnedSemaphorePermit>,
}

enum Hold {
    Worker(CancellationToken),
    Supervisor(ActorRef<Order>),
}

impl ractor::Actor for Supervisor {
    type Msg = Order;
    type State = Office;
    type Arguments = Post;

    async fn pre_start(&self, _: ActorRef<Order>, post: Post) -> Result<Office, ActorProcessingErr> {
        let Post { seat, group, ready } = post;
        Ok(Office {
            seat,
            group,
            ready: Some(ready),
            plan: Plan::new(Strategy::default(), []),
            running: BTreeMap::new(),
            spawned: 0,
            timers: JoinSet::new(),
            armed: BTreeMap::new(),
            turn: None,
            begun: false,
            returns: false,
            incarnate: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        office: &mut Office,
    ) -> Result<(), ActorProcessingErr> {
        let seat = office.seat.clone();
        let step = async {
            // Guarded like an actor: a panic of a supervisor gets its backtrace and its place in the record.
            let work = office.obey(&myself, order);
            let outcome = Guarded::new(seat::scope(seat.clone(), work), &seat.progress).await;
            office.conclude(&myself, outcome)
        };
        step.instrument(seat.span()).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Order>,
        event: SupervisionEvent,
        office: &mut Office,
    ) -> Result<(), ActorProcessingErr> {
        // Every end comes as one of these two; a kill is a termination.
        let (SupervisionEvent::ActorTerminated(cell, ..) | SupervisionEvent::ActorFailed(cell, _)) = event
        else {
            return Ok(());
        };
        let seat = office.seat.clone();
        let step = async {
            let work = office.bury(&myself, &cell);
            let outcome = Guarded::new(seat::scope(seat.clone(), work), &seat.progress).await;
            office.conclude(&myself, outcome)
        };
        step.instrument(seat.span()).await
    }
}

impl Office {
    async fn obey(&mut self, myself: &ActorRef<Order>, order: Order) -> Result<bool, crate::Failure> {
        if self.incarnate.is_none() {
            // The first order, which is `Begin`. From here on, a failure is recorded as a crash of this supervisor.
            self.incarnate = Some(self.seat.enter().await);
        }
        fail::point("supervisor::before_order").await?;
        let now = self.seat.tree.clock.now();
        let actions = match order {
            Order::Begin => {
                // After a crash of this supervisor: children that had ended for good have closed mailboxes, and are started again.
                let members = self.group.members();
                for member in members.values() {
                    member.seat.mailbox.iter().for_each(|mailbox| mailbox.reopen());
                }
                self.begun = true;
                // Read before `begun` is set: a member that is added later sends `Changed`. Members that were leaving died with the
                // last incarnation of this supervisor.
                let (leaving, staying): (Vec<_>, Vec<_>) =
                    members.iter().partition(|(_, member)| member.is_leaving());
                let policies = staying.iter().map(|(index, member)| (**index, member.seat.policy));
                self.plan = Plan::new(self.group.strategy, policies);
                self.show_all();
                let gone = leaving.into_iter().map(|(&index, _)| Action::Gone(index));
                // The leaving members first: their callers have waited through the restart.
                gone.chain(self.plan.start()).collect()
            }
            // `Begin` follows and reads the members.
            Order::Changed if !self.begun => Vec::new(),
            Order::Changed => self.follow_group(),
            Order::Ready(index, number) => match self.running.get_mut(&index) {
                // The number, because a report can arrive after the incarnation that sent it was replaced.
                Some(child) if child.number == number => {
                    child.turn = None;
                    self.plan.ready(index)
                }
                _ => Vec::new(),
            },
            Order::Due(index, timer, token, turn) => {
                let actions = self.plan.due(index, timer, token, now);
                if timer == Timer::StartOverdue {
                    // A child that never becomes ready must not keep its permit.
                    self.running.get_mut(&index).and_then(|child| child.turn.take());
                }
                self.turn = turn;
                actions
            }
            Order::Stop { returns } => {
                self.returns = returns;
                self.plan.stop()
            }
        };
        let finished = self.carry_out(myself, actions).await;
        // Returns the permit of a restart that was void by now.
        self.turn = None;
        Ok(finished)
    }

    /// Makes the plan agree with the group.
    fn follow_group(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (index, member) in self.group.members() {
            actions.extend(self.plan.add(index, member.seat.policy));
            if member.is_leaving() {
                actions.extend(self.plan.remove(index));
            }
        }
        actions
    }

    /// Handles the end of a child.
    async fn bury(&mut self, myself: &ActorRef<Order>, cell: &ActorCell) -> Result<bool, crate::Failure> {
        // `ractor` also reports the end of an abandoned child that was replaced long ago: its id is unknown by then.
        let child = self.running.iter().find(|(_, running)| running.id == cell.get_id());
        let Some(&index) = child.map(|(index, _)| index) else { return Ok(false) };
        self.running.remove(&index);
        // Taken before the failure point: the exit is recorded even if this supervisor crashes there.
        let member = self.group.member(index);
        let exit = member.as_ref().and_then(|member| member.seat.take_exit());
        let now = self.seat.tree.clock.now();
        // No exit on record: the incarnation still waited at the turnstile, and ended with its cell.
        let actions = self.plan.exited(index, exit.unwrap_or(ExitKind::Killed), now);
        if let Some(member) = &member {
            // Its state first: a change below it then finds either this state, or a supervisor that acts.
            self.show(index, member);
            member.fell(self.plan.state(index).0 == State::Stopped);
        }
        fail::point("supervisor::after_exit").await?;
        Ok(self.carry_out(myself, actions).await)
    }

    /// Does what the plan says; `true` when everything has ended.
    async fn carry_out(&mut self, myself: &ActorRef<Order>, actions: Vec<Action>) -> bool {
        // Without this the set would keep every finished timer.
        while self.timers.try_join_next().is_some() {}
        let mut finished = false;
        for action in actions {
            match action {
                Action::Spawn(index) => {
                    if let Err(error) = self.spawn(myself, index).await {
                        // Spawning fails only while this supervisor is being killed.
                        tracing::warn!("could not start a child: {error}");
                    }
                }
                Action::Arm { child, timer, token, after } => self.arm(myself, child, timer, token, after),
                Action::Stop(index) => self.stop(index, self.returns),
                Action::Pause(index) => self.stop(index, true),
                Action::Kill(index) => {
                    if let Some(member) = self.group.member(index) {
                        let why = format!("it did not stop within {}", shown(member.stop_within()));
                        member.seat.kill(ExitKind::Killed, why);
                    }
                }
                Action::Started => {
                    if let Some(ready) = self.ready.take() {
                        ready();
                    }
                }
                Action::Gone(index) => self.let_go(index),
                Action::GiveUp(index) => {
                    if let Some(member) = self.group.member(index) {
                        // The whole tree, not this supervisor: without a mandatory actor the service is useless.
                        self.seat.tree.give_up(&member.seat);
                    }
                }
                Action::Finished => finished = true,
            }
        }
        self.show_all();
        finished
    }

    /// Forgets a child that has left: its timers and its place in the group.
    fn let_go(&mut self, index: Index) {
        self.running.remove(&index);
        self.armed.remove(&index).into_iter().flatten().for_each(|timer| timer.abort());
        if let Some(member) = self.group.take(index) {
            member.dismiss();
        }
    }

    fn show_all(&self) {
        self.group.members().iter().for_each(|(&index, member)| self.show(index, member));
    }

    /// Copies a child's state from the plan to its record.
    fn show(&self, index: Index, member: &Member) {
        let (state, degraded) = self.plan.state(index);
        member.seat.set_state(state);
        member.seat.set_degraded(degraded);
        if let Some(mailbox) = &member.seat.mailbox
            && matches!(state, State::Stopped | State::Abandoned)
            // The children of a supervisor that returns are started again, so their mailboxes stay open.
            && !self.returns
        {
            // A sender must not wait for a reader that will never come.
            mailbox.close();
        }
    }

    fn arm(&mut self, myself: &ActorRef<Order>, child: Index, timer: Timer, token: u64, after: Duration) {
        let (tree, supervisor) = (self.seat.tree.clone(), myself.clone());
        let after = match (timer, self.group.member(child)) {
            // A supervisor may have got more children since the plan knew its policy.
            (Timer::StopOverdue, Some(member)) => after.max(member.stop_within()),
            _ => after,
        };
        let armed = self.timers.spawn(async move {
            match timer {
                // A child that could not run has missed no deadline.
                Timer::StartOverdue | Timer::StopOverdue | Timer::KillOverdue | Timer::GiveUp => {
                    tree.clock.sleep_awake(after).await;
                }
                Timer::Restart | Timer::Healthy => tree.clock.sleep(after).await,
            }
            // Actors that crashed together restart a few at a time. An aborted timer leaves the queue of the semaphore.
            let turn = match timer {
                Timer::Restart => tree.restarts.clone().acquire_owned().await.ok(),
                _ => None,
            };
            // Refused only by a supervisor that has ended.
            let _ = supervisor.cast(Order::Due(child, timer, token, turn));
        });
        let all = self.armed.entry(child).or_default();
        // Bounds the list: a child that restarts for days arms timers without end.
        all.retain(|timer| !timer.is_finished());
        all.push(armed);
    }

    async fn spawn(&mut self, myself: &ActorRef<Order>, index: Index) -> Result<(), ractor::SpawnErr> {
        let Some(member) = self.group.member(index) else {
            return Ok(());
        };
        self.show(index, &member);
        self.spawned += 1;
        let number = self.spawned;
        let ready: Box<dyn FnOnce() + Send> = {
            let supervisor = myself.clone();
            // Refused only by a supervisor that has ended.
            Box::new(move || drop(supervisor.cast(Order::Ready(index, number))))
        };
        let (cell, hold) = match &member.kind {
            MemberKind::Worker(make) => {
                let stop = CancellationToken::new();
                let life = make(member.seat.clone(), stop.clone(), ready);
                let (carrier, _) =
                    ractor::Actor::spawn_linked(None, Carrier, life, myself.get_cell()).await?;
                // Before `Begin`: a kill must find the cell as soon as the incarnation runs.
                member.seat.seated(carrier.get_cell());
                let _ = carrier.cast(Begin);
                (carrier.get_cell(), Hold::Worker(stop))
            }
            MemberKind::Supervisor(group) => {
                let post = Post { seat: member.seat.clone(), group: group.clone(), ready };
                let (child, _) =
                    ractor::Actor::spawn_linked(None, Supervisor, post, myself.get_cell()).await?;
                member.seat.seated(child.get_cell());
                let _ = child.cast(Order::Begin);
                (child.get_cell(), Hold::Supervisor(child))
            }
        };
        let turn = self.turn.take();
        self.running.insert(index, Running { id: cell.get_id(), number, hold, turn });
        Ok(())
    }

    /// Asks a child to stop. If it is for good, its mailbox is closed: the child still handles the accepted messages, and new ones
    /// are refused. A child that `returns` keeps its mailbox open.
    fn stop(&self, index: Index, returns: bool) {
        let Some(running) = self.running.get(&index) else {
            return;
        };
        if let Some(member) = self.group.member(index) {
            self.show(index, &member);
            // Before the stop: the exit is counted by it, as `Sibling` or as `Stopped`.
            member.seat.set_returns(returns);
            if !returns {
                member.seat.mailbox.iter().for_each(|mailbox| mailbox.close());
            }
        }
        match &running.hold {
            Hold::Worker(stop) => stop.cancel(),
            Hold::Supervisor(child) => drop(child.cast(Order::Stop { returns })),
        }
    }

    /// Ends this supervisor when a step has finished the stop, failed or panicked.
    fn conclude(
        &mut self,
        myself: &ActorRef<Order>,
        outcome: Result<Result<bool, crate::Failure>, crate::crash::Panicked>,
    ) -> Result<(), ActorProcessingErr> {
        let exit = match outcome {
            Ok(Ok(false)) => return Ok(()),
            Ok(Ok(true)) => {
                if let Some(incarnate) = self.incarnate.take() {
                    // Recorded before `ractor` reports the end, at which the parent reads the exit.
                    incarnate.end(Exit::new(ExitKind::Stopped, "stopped as asked"));
                }
                myself.stop(None);
                return Ok(());
            }
            Ok(Err(failure)) => Exit::failed(&failure),
            Err(panicked) => Exit::panicked(panicked),
        };
        // `ractor` kills its linked children; their seats wait for the next incarnation.
        let kind = exit.kind.as_str();
        if let Some(incarnate) = self.incarnate.take() {
            incarnate.end(exit);
        }
        Err(format!("the supervisor {} {kind}", self.seat.path).into())
    }
}
