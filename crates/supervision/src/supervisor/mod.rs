//! The supervisor: a ractor actor that carries out a [`Plan`] for the seats of its group.
//!
//! Its seats outlive it. When it crashes, its own supervisor starts it anew over the same seats, with their
//! mailboxes, generations and counters; the turnstiles keep the new children out until the old ones are gone.

mod plan;

use std::{sync::Arc, time::Duration};

use ractor::{ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::plan::KILL_GRACE;
use self::plan::{Action, Index, Plan, Timer};
use crate::{
    actor::{Begin, Carrier, Life},
    crash::Guarded,
    fail,
    health::{ExitKind, State},
    seat::{self, Exit, Incarnate, Seat},
};

/// What a supervisor is told.
pub(crate) enum Order {
    /// Enter the seat and start the children.
    Begin,
    /// This incarnation of the child is ready.
    Ready(Index, u64),
    /// A timer of the plan went off.
    Due(Index, Timer, u64),
    /// Stop everything, in order, and end.
    Stop,
}

/// A member of a group: its seat and what sits in it.
pub(crate) struct Member {
    pub(crate) seat: Arc<Seat>,
    pub(crate) kind: MemberKind,
}

/// Makes one incarnation: it gets its stop token and a way to say that it is ready.
pub(crate) type MakeLife =
    Box<dyn Fn(Arc<Seat>, CancellationToken, Box<dyn FnOnce() + Send>) -> Life + Send + Sync>;

pub(crate) enum MemberKind {
    Worker(MakeLife),
    Supervisor(Arc<Group>),
}

/// The members under one supervisor, in start order.
pub(crate) struct Group {
    pub(crate) members: Vec<Member>,
}

/// What a supervisor actor is started with.
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
    running: Vec<Option<Running>>,
    spawned: u64,
    timers: JoinSet<()>,
    incarnate: Option<Incarnate>,
}

/// A child's present incarnation.
struct Running {
    id: ActorId,
    number: u64,
    hold: Hold,
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
        let plan = Plan::new(group.members.iter().map(|member| member.seat.policy));
        let running = group.members.iter().map(|_| None).collect();
        let timers = JoinSet::new();
        Ok(Office { seat, group, ready: Some(ready), plan, running, spawned: 0, timers, incarnate: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        office: &mut Office,
    ) -> Result<(), ActorProcessingErr> {
        let seat = office.seat.clone();
        let work = office.obey(&myself, order);
        let outcome = Guarded::new(seat::scope(seat.clone(), work), &seat.progress).await;
        office.conclude(&myself, outcome)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Order>,
        event: SupervisionEvent,
        office: &mut Office,
    ) -> Result<(), ActorProcessingErr> {
        let (SupervisionEvent::ActorTerminated(cell, ..) | SupervisionEvent::ActorFailed(cell, _)) = event
        else {
            return Ok(());
        };
        let seat = office.seat.clone();
        let work = office.bury(&myself, &cell);
        let outcome = Guarded::new(seat::scope(seat.clone(), work), &seat.progress).await;
        office.conclude(&myself, outcome)
    }
}

impl Office {
    async fn obey(&mut self, myself: &ActorRef<Order>, order: Order) -> Result<bool, crate::Failure> {
        if self.incarnate.is_none() {
            // The first order, which is `Begin`: whatever goes wrong from here on is on record.
            self.incarnate = Some(self.seat.enter().await);
        }
        fail::point("supervisor::before_order").await?;
        let now = self.seat.tree.clock.now();
        let actions = match order {
            Order::Begin => {
                // Children of a supervisor that crashed left their last state behind, and perhaps a mailbox
                // that was closed when they ended for good.
                self.group
                    .members
                    .iter()
                    .filter_map(|member| member.seat.mailbox.as_ref())
                    .for_each(|mailbox| mailbox.reopen());
                (0..self.group.members.len()).for_each(|index| self.show(index));
                self.plan.start()
            }
            Order::Ready(index, number) => {
                let current = self
                    .running
                    .get(index)
                    .and_then(Option::as_ref)
                    .is_some_and(|child| child.number == number);
                if current { self.plan.ready(index) } else { Vec::new() }
            }
            Order::Due(index, timer, token) => self.plan.due(index, timer, token, now),
            Order::Stop => self.plan.stop(),
        };
        Ok(self.carry_out(myself, actions).await)
    }

    /// Takes note of a child's end.
    async fn bury(&mut self, myself: &ActorRef<Order>, cell: &ActorCell) -> Result<bool, crate::Failure> {
        let child = self.running.iter_mut().enumerate().find_map(|(index, running)| {
            running.take_if(|running| running.id == cell.get_id()).map(|_| index)
        });
        let Some(index) = child else { return Ok(false) };
        // The end of the child is on record before anything here can fail.
        let exit = self.group.members.get(index).and_then(|member| member.seat.take_exit());
        let now = self.seat.tree.clock.now();
        let actions = self.plan.exited(index, exit.unwrap_or(ExitKind::Killed), now);
        fail::point("supervisor::after_exit").await?;
        Ok(self.carry_out(myself, actions).await)
    }

    /// Does what the plan says; `true` when everything has ended.
    async fn carry_out(&mut self, myself: &ActorRef<Order>, actions: Vec<Action>) -> bool {
        while self.timers.try_join_next().is_some() {}
        let mut finished = false;
        for action in actions {
            match action {
                Action::Spawn(index) => {
                    self.show(index);
                    if let Err(error) = self.spawn(myself, index).await {
                        // Only a supervisor that is itself being killed can't spawn.
                        tracing::warn!(supervisor = self.seat.path, "could not start a child: {error}");
                    }
                }
                Action::Arm { child, timer, token, after } => self.arm(myself, child, timer, token, after),
                Action::Stop(index) => {
                    self.show(index);
                    self.stop(index);
                }
                Action::Kill(index) => {
                    if let Some(member) = self.group.members.get(index) {
                        let why = format!("it did not stop within {:?}", member.seat.policy.stop_within);
                        member.seat.kill(ExitKind::Killed, why);
                    }
                }
                Action::Started => {
                    if let Some(ready) = self.ready.take() {
                        ready();
                    }
                }
                Action::GiveUp(index) => {
                    if let Some(member) = self.group.members.get(index) {
                        self.seat.tree.give_up(&member.seat);
                    }
                }
                Action::Finished => finished = true,
            }
        }
        (0..self.group.members.len()).for_each(|index| self.show(index));
        finished
    }

    /// Copies a child's state from the plan to its record.
    fn show(&self, index: Index) {
        if let Some(member) = self.group.members.get(index) {
            let (state, degraded) = self.plan.state(index);
            member.seat.set_state(state);
            member.seat.set_degraded(degraded);
            if let Some(mailbox) = &member.seat.mailbox
                && matches!(state, State::Stopped | State::Abandoned)
            {
                // Whoever sends must not wait for a reader that will never come.
                mailbox.close();
            }
        }
    }

    fn arm(&mut self, myself: &ActorRef<Order>, child: Index, timer: Timer, token: u64, after: Duration) {
        let (clock, supervisor) = (self.seat.tree.clock.clone(), myself.clone());
        self.timers.spawn(async move {
            clock.sleep(after).await;
            // Refused only by a supervisor that has ended, which needs no reminder.
            let _ = supervisor.cast(Order::Due(child, timer, token));
        });
    }

    async fn spawn(&mut self, myself: &ActorRef<Order>, index: Index) -> Result<(), ractor::SpawnErr> {
        let Some(member) = self.group.members.get(index) else {
            return Ok(());
        };
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
        if let Some(running) = self.running.get_mut(index) {
            *running = Some(Running { id: cell.get_id(), number, hold });
        }
        Ok(())
    }

    /// Asks a child to stop for good. What its mailbox has accepted it still handles; more is refused.
    fn stop(&self, index: Index) {
        let Some(running) = self.running.get(index).and_then(Option::as_ref) else {
            return;
        };
        if let Some(mailbox) = self.group.members.get(index).and_then(|member| member.seat.mailbox.as_ref()) {
            mailbox.close();
        }
        match &running.hold {
            Hold::Worker(stop) => stop.cancel(),
            Hold::Supervisor(child) => drop(child.cast(Order::Stop)),
        }
    }

    /// Turns the outcome of a step into this supervisor's own fate.
    fn conclude(
        &mut self,
        myself: &ActorRef<Order>,
        outcome: Result<Result<bool, crate::Failure>, crate::crash::Panicked>,
    ) -> Result<(), ActorProcessingErr> {
        let exit = match outcome {
            Ok(Ok(false)) => return Ok(()),
            Ok(Ok(true)) => {
                if let Some(incarnate) = self.incarnate.take() {
                    incarnate.end(Exit::new(ExitKind::Stopped, "stopped as asked"));
                }
                myself.stop(None);
                return Ok(());
            }
            Ok(Err(failure)) => Exit::failed(&failure),
            Err(panicked) => Exit::panicked(panicked),
        };
        // Its children die with it; their seats wait for the next incarnation.
        let kind = exit.kind.as_str();
        if let Some(incarnate) = self.incarnate.take() {
            incarnate.end(exit);
        }
        Err(format!("the supervisor {} {kind}", self.seat.path).into())
    }
}

impl Group {
    /// Calls `visit` with every seat below, in start order.
    pub(crate) fn walk(&self, visit: &mut impl FnMut(&Arc<Seat>)) {
        for member in &self.members {
            visit(&member.seat);
            if let MemberKind::Supervisor(group) = &member.kind {
                group.walk(visit);
            }
        }
    }

    /// Closes every mailbox below.
    pub(crate) fn close_mailboxes(&self) {
        self.walk(&mut |seat| seat.mailbox.iter().for_each(|mailbox| mailbox.close()));
    }

    /// The paths of everything below that did not end, not even when it was killed.
    pub(crate) fn overdue(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.walk(&mut |seat| {
            if matches!(seat.state(), State::Abandoned) {
                paths.push(seat.path.clone());
            }
        });
        paths
    }
}
