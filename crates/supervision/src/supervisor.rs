//! The supervisor: an actor that carries out a [`Plan`] for the slots of its group.
//!
//! Its slots outlive it. When it crashes, its own supervisor starts it again over the same slots, with their mailboxes,
//! generations and counters; the gates keep new children out until the old ones have ended.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};
use tracing::Instrument;

use crate::{
    alarm::{Alarm, Time},
    cell::{self, CellId, Event, Host, Link, Next},
    crash::{Guarded, Panicked},
    current,
    exit::{Exit, Failure},
    fail,
    group::{Group, Member, MemberKind},
    plan::{Action, Index, Plan, Timer},
    policy::Shutdown,
    slot::{Incarnation, Slot},
    state::{ExitKind, State},
    sync::CancellationToken,
    text::shown,
};

/// The messages of a supervisor.
pub(crate) enum Order {
    /// Enter the slot and start the children.
    Begin,
    /// This incarnation of the child is ready.
    Ready(Index, u64),
    /// A timer of the plan is due; a restart comes with its permit.
    Due(Reminder, Option<OwnedSemaphorePermit>),
    /// Members of the group were added, or are to leave.
    Changed,
    /// Stop all children in order, and end. `returns`: the supervisor will be started again.
    Stop { returns: bool },
}

/// What a timer reminds of.
#[derive(Clone, Copy)]
pub(crate) struct Reminder {
    child: Index,
    timer: Timer,
    token: u64,
}

/// One incarnation of a supervisor.
pub(crate) struct Supervisor {
    place: Place,
    /// From its first order on.
    begun: Option<Begun>,
}

/// What a supervisor is given.
struct Place {
    slot: Arc<Slot>,
    group: Arc<Group>,
    is_root: bool,
    /// Called when the children have been started for the first time.
    ready: Option<Box<dyn FnOnce() + Send>>,
}

/// What a supervisor has while it runs.
struct Begun {
    incarnation: Incarnation,
    plan: Plan,
    alarm: Alarm<Reminder>,
    /// The restarts that wait for their permits.
    waiting: JoinSet<()>,
    running: BTreeMap<Index, Running>,
    by_cell: HashMap<CellId, Index>,
    spawned: u64,
    /// The permit of the restart that is being carried out.
    permit: Option<OwnedSemaphorePermit>,
    /// Whether it will be started again after its stop.
    returns: bool,
    /// Why it fails when its children have been stopped.
    escalates: Option<String>,
}

/// A child's present incarnation.
struct Running {
    cell: CellId,
    number: u64,
    hold: Hold,
    /// Its restart permit, until it is ready or takes too long.
    permit: Option<OwnedSemaphorePermit>,
}

enum Hold {
    Actor(CancellationToken),
    Supervisor(Link<Order>),
}

/// What a step of a supervisor leads to.
enum Step {
    Continue,
    /// All children have ended.
    Finished,
}

impl Host for Supervisor {
    type Order = Order;

    async fn handle(&mut self, me: &Link<Order>, event: Event<Order>) -> Next {
        let slot = self.place.slot.clone();
        let step = async {
            // Guarded like an actor: a panic of a supervisor gets its backtrace and its place in the record.
            let outcome = {
                let work = pin!(Some(current::scope(slot.identity.clone(), self.step(me, event))));
                Guarded::new(work, slot.progress()).await
            };
            self.conclude(outcome)
        };
        step.instrument(slot.span()).await
    }
}

impl Supervisor {
    pub(crate) fn new(
        slot: Arc<Slot>,
        group: Arc<Group>,
        is_root: bool,
        ready: Box<dyn FnOnce() + Send>,
    ) -> Self {
        Self { place: Place { slot, group, is_root, ready: Some(ready) }, begun: None }
    }

    async fn step(&mut self, me: &Link<Order>, event: Event<Order>) -> Result<Step, Failure> {
        // The first order is `Begin`. From here on, a failure is recorded as a crash of this supervisor.
        let begun = match &mut self.begun {
            Some(begun) => begun,
            none => none.insert(self.place.enter(me).await),
        };
        Work { place: &mut self.place, begun, me }.step(event).await
    }

    /// Ends this supervisor when a step has finished the stop, failed or panicked.
    fn conclude(&mut self, outcome: Result<Result<Step, Failure>, Box<Panicked>>) -> Next {
        let exit = match outcome {
            Ok(Ok(Step::Continue)) => return Next::Continue,
            Ok(Ok(Step::Finished)) => match self.begun.as_mut().and_then(|begun| begun.escalates.take()) {
                None => Exit::new(ExitKind::Stopped, "stopped as asked"),
                Some(reason) => Exit::new(ExitKind::Failed, reason),
            },
            Ok(Err(failure)) => Exit::failed(&failure),
            Err(panicked) => Exit::panicked(panicked),
        };
        let (is_stopped, kind) = (exit.kind == ExitKind::Stopped, exit.kind.as_str());
        if let Some(mut begun) = self.begun.take() {
            // Recorded before the cell ends, at which the parent reads the exit.
            begun.incarnation.ending(exit);
            begun.incarnation.end();
        }
        // Where it failed, its linked children are killed; their slots wait for the next incarnation.
        if is_stopped {
            Next::End
        } else {
            Next::Fail(format!("the supervisor {} {kind}", self.place.slot.path()))
        }
    }
}

impl Place {
    async fn enter(&mut self, me: &Link<Order>) -> Begun {
        let incarnation = self.slot.enter().await;
        let env = self.slot.env();
        let members = self.group.begin({
            let me = me.clone();
            move || me.order(Order::Changed)
        });
        // Members that were leaving died with the last incarnation of this supervisor.
        let staying = members.iter().filter(|(_, member)| !member.is_leaving());
        let policies = staying.map(|(index, member)| (*index, member.slot.policy.clone()));
        Begun {
            incarnation,
            plan: Plan::new(self.group.strategy, policies, env.chance()),
            alarm: Alarm::new(&env.clock, {
                let me = me.clone();
                move |reminder| me.order(Order::Due(reminder, None))
            }),
            waiting: JoinSet::new(),
            running: BTreeMap::new(),
            by_cell: HashMap::new(),
            spawned: 0,
            permit: None,
            returns: false,
            escalates: None,
        }
    }
}

/// One step of a supervisor.
struct Work<'a> {
    place: &'a mut Place,
    begun: &'a mut Begun,
    me: &'a Link<Order>,
}

impl Work<'_> {
    async fn step(&mut self, event: Event<Order>) -> Result<Step, Failure> {
        let order = match event {
            Event::Ended(cell) => return self.ended(cell).await,
            Event::Order(order) => order,
        };
        fail::point("supervisor::before_order").await?;
        let actions = match order {
            Order::Begin => self.start(),
            Order::Changed => self.follow_group(),
            Order::Ready(index, number) => match self.begun.running.get_mut(&index) {
                // The number, because a report can arrive after the incarnation that sent it was replaced.
                Some(child) if child.number == number => {
                    child.permit = None;
                    self.begun.plan.ready(index)
                }
                _ => Vec::new(),
            },
            Order::Due(reminder, permit) => {
                let Reminder { child, timer, token } = reminder;
                if timer == Timer::Restart && permit.is_none() {
                    self.wait_for_permit(reminder);
                    return Ok(Step::Continue);
                }
                let actions = self.begun.plan.due(child, timer, token);
                if timer == Timer::StartOverdue && !self.begun.plan.is_void(child, timer, token) {
                    // A child that never becomes ready must not keep its permit.
                    self.begun.running.get_mut(&child).and_then(|child| child.permit.take());
                }
                self.begun.permit = permit;
                actions
            }
            Order::Stop { returns } => {
                self.begun.returns = returns;
                self.begun.plan.stop()
            }
        };
        let step = self.carry_out(actions).await;
        // Returns the permit of a restart that was void by now.
        self.begun.permit = None;
        Ok(step)
    }

    /// The first actions of this incarnation.
    fn start(&mut self) -> Vec<Action> {
        let members = self.place.group.members();
        let mut actions = Vec::new();
        for (&index, member) in &members {
            // After a crash of this supervisor: children that had ended for good have closed mailboxes, and are started again.
            member.slot.mailbox.iter().for_each(|mailbox| mailbox.reopen());
            // One that leaves since this incarnation has read the list is in the plan: it is removed like any other.
            if member.is_leaving() && self.begun.plan.state(index).is_none() {
                // First: their callers have waited through the restart.
                actions.push(Action::Gone(index));
            }
            self.show(index, member);
        }
        actions.extend(self.begun.plan.start());
        actions
    }

    /// Actors that crashed together restart a few at a time.
    fn wait_for_permit(&mut self, reminder: Reminder) {
        while self.begun.waiting.try_join_next().is_some() {}
        if self.begun.plan.is_void(reminder.child, reminder.timer, reminder.token) {
            return;
        }
        let (permits, me) = (self.place.slot.env().restarts.clone(), self.me.clone());
        self.begun.waiting.spawn(async move {
            // Never closed, so this can't fail.
            if let Ok(permit) = permits.acquire_owned().await {
                me.order(Order::Due(reminder, Some(permit)));
            }
        });
    }

    /// Makes the plan agree with the group.
    fn follow_group(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (index, member) in self.place.group.take_changed() {
            actions.extend(self.begun.plan.add(index, member.slot.policy.clone()));
            if member.is_leaving() {
                actions.extend(self.begun.plan.remove(index));
            }
        }
        actions
    }

    /// Handles the end of a child.
    async fn ended(&mut self, cell: CellId) -> Result<Step, Failure> {
        // The end of an abandoned child that was replaced long ago comes too: its cell is unknown by then.
        let Some(index) = self.begun.by_cell.remove(&cell) else { return Ok(Step::Continue) };
        self.begun.running.remove(&index);
        // Taken before the failure point: the exit is recorded even if this supervisor crashes there.
        let member = self.place.group.member(index);
        let exit = member.as_ref().and_then(|member| member.slot.take_exit());
        let now = self.place.slot.env().clock.now();
        // No exit on record: the incarnation still waited at the gate, and ended with its cell.
        let actions = self.begun.plan.exited(index, exit.unwrap_or(ExitKind::Killed), now);
        // Before any state is shown: the children of a supervisor that returns keep their mailboxes open.
        if actions.contains(&Action::Escalate(index)) {
            self.escalate(index);
        }
        if let Some(member) = &member {
            // Its state first: a change below it then finds either this state, or a supervisor that acts.
            self.show(index, member);
            let ended = self.begun.plan.state(index).is_none_or(|(state, _)| state == State::Stopped);
            member.fell(ended && !self.begun.returns);
        }
        fail::point("supervisor::after_exit").await?;
        Ok(self.carry_out(actions).await)
    }

    /// Does what the plan says.
    async fn carry_out(&mut self, actions: Vec<Action>) -> Step {
        let (mut step, mut is_started) = (Step::Continue, false);
        for action in actions {
            match action {
                Action::Spawn(index) => {
                    if let Err(error) = self.spawn(index).await {
                        // Spawning fails only while this supervisor is being killed.
                        tracing::warn!("could not start a child: {error}");
                    }
                }
                Action::Arm { child, timer, token, after } => {
                    self.arm(Reminder { child, timer, token }, after)
                }
                Action::Stop(index) => self.stop(index, self.begun.returns),
                Action::Pause(index) => self.stop(index, true),
                Action::Kill(index) => self.kill(index),
                Action::Started => is_started = true,
                Action::Gone(index) => self.let_go(index),
                Action::GiveUp(index) => self.give_up(index),
                // Done when the child had ended.
                Action::Escalate(_) => {}
                Action::Finished => step = Step::Finished,
            }
        }
        for index in self.begun.plan.take_touched() {
            if let Some(member) = self.place.group.member(index) {
                self.show(index, &member);
            }
        }
        // Last: to those that wait for it, all children must be shown as running.
        if is_started && let Some(ready) = self.place.ready.take() {
            ready();
        }
        step
    }

    /// Forgets a child that has left.
    fn let_go(&mut self, index: Index) {
        if let Some(running) = self.begun.running.remove(&index) {
            self.begun.by_cell.remove(&running.cell);
        }
        if let Some(member) = self.place.group.take(index) {
            member.dismiss();
        }
    }

    /// The whole tree ends, not this supervisor: without a mandatory actor it is useless.
    fn give_up(&self, index: Index) {
        let Some(member) = self.place.group.member(index) else { return };
        let reason = member.slot.last_crash().unwrap_or_else(|| "no crash on record".to_owned());
        let path = member.slot.path();
        tracing::error!(actor = path, "giving up: a mandatory actor stayed degraded for too long: {reason}");
        self.place.slot.env().give_up(path, &reason);
    }

    /// A child has exceeded its restart limit, and this supervisor fails for it.
    fn escalate(&mut self, index: Index) {
        let Some(member) = self.place.group.member(index) else { return };
        let crash = member.slot.last_crash().unwrap_or_else(|| "no crash on record".to_owned());
        let path = member.slot.path();
        let reason = format!("its child {path} exceeded its restart limit: {crash}");
        if self.place.is_root {
            tracing::error!(actor = path, "giving up: an actor exceeded its restart limit: {crash}");
            return self.place.slot.env().give_up(path, &crash);
        }
        self.begun.returns = true;
        self.begun.escalates = Some(reason);
    }

    /// Copies a child's state from the plan to its record.
    fn show(&self, index: Index, member: &Member) {
        // One that the plan does not know is about to be added, or has left.
        let Some((state, degraded)) = self.begun.plan.state(index) else { return };
        member.slot.show(state, degraded);
        // The children of a supervisor that returns are started again, so their mailboxes stay open. Otherwise no sender must
        // wait for a reader that will never come.
        if matches!(state, State::Stopped | State::Abandoned) && !self.begun.returns {
            member.close();
        }
    }

    fn arm(&mut self, reminder: Reminder, after: Duration) {
        let member = || self.place.group.member(reminder.child);
        let (time, after) = match reminder.timer {
            Timer::Restart | Timer::Healthy => (Time::Passed, after),
            // A supervisor may have got more children since the plan knew its policy.
            Timer::StopOverdue => match member().map(|member| member.stop_within()) {
                Some(None) => return,
                Some(Some(needed)) => (Time::Awake, after.max(needed)),
                None => (Time::Awake, after),
            },
            Timer::StartOverdue | Timer::KillOverdue | Timer::GiveUp => (Time::Awake, after),
        };
        let Begun { alarm, plan, .. } = &mut *self.begun;
        let is_void = |known: &Reminder| plan.is_void(known.child, known.timer, known.token);
        alarm.arm(after, time, reminder, is_void);
    }

    async fn spawn(&mut self, index: Index) -> Result<(), Failure> {
        let Some(member) = self.place.group.member(index) else {
            return Ok(());
        };
        self.show(index, &member);
        self.begun.spawned += 1;
        let number = self.begun.spawned;
        let ready: Box<dyn FnOnce() + Send> = {
            let me = self.me.clone();
            Box::new(move || me.order(Order::Ready(index, number)))
        };
        let above = self.me.cell();
        let (cell, hold) = match &member.kind {
            MemberKind::Actor(make) => {
                let stop = CancellationToken::new();
                let spawned =
                    cell::spawn_life(make(member.slot.clone(), stop.clone(), ready), &above).await?;
                let cell = spawned.cell.clone();
                // Before it begins: a kill must find the cell as soon as the incarnation runs.
                member.slot.spawned(cell.switch());
                spawned.begin();
                (cell, Hold::Actor(stop))
            }
            MemberKind::Supervisor(group) => {
                let supervisor = Supervisor::new(member.slot.clone(), group.clone(), false, ready);
                let link = cell::host(supervisor, &above).await?;
                member.slot.spawned(link.cell().switch());
                link.order(Order::Begin);
                (link.cell(), Hold::Supervisor(link))
            }
        };
        let permit = self.begun.permit.take();
        let running = Running { cell: cell.id(), number, hold, permit };
        self.begun.by_cell.insert(cell.id(), index);
        if let Some(abandoned) = self.begun.running.insert(index, running) {
            // Its end, whenever it comes, is not the end of this one.
            self.begun.by_cell.remove(&abandoned.cell);
        }
        Ok(())
    }

    /// Asks a child to stop. If it is for good, its mailbox is closed: the child still handles the accepted messages, and new ones
    /// are refused. A child that `returns` keeps its mailbox open.
    fn stop(&self, index: Index, returns: bool) {
        let Some(running) = self.begun.running.get(&index) else {
            return;
        };
        let mut at_once = false;
        if let Some(member) = self.place.group.member(index) {
            at_once = member.slot.policy.shutdown == Shutdown::AtOnce;
            self.show(index, &member);
            // Before the stop: the exit is counted by it, as `Sibling` or as `Stopped`.
            member.slot.set_returns(returns);
            if !returns {
                member.close();
            }
        }
        match &running.hold {
            // It is killed instead, and must not see the stop first.
            Hold::Actor(_) if at_once => {}
            Hold::Actor(stop) => stop.cancel(),
            Hold::Supervisor(child) => child.order(Order::Stop { returns }),
        }
    }

    fn kill(&self, index: Index) {
        let Some(member) = self.place.group.member(index) else { return };
        let why = match member.stop_within() {
            Some(limit) if !limit.is_zero() => format!("it did not stop within {}", shown(limit)),
            _ => "its policy is to kill it at once".to_owned(),
        };
        member.slot.kill(ExitKind::Killed, why);
    }
}
