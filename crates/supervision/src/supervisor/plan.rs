//! The decisions of a supervisor, as a pure state machine: events in, actions out.
//!
//! One for one: a failed child is restarted and its siblings continue. Rest for one: the children after it are stopped too, one
//! after the other in reverse order; when the failed child is back, they are started again in order. Only the failed child has
//! a restart charged.
//!
//! It never waits and touches nothing. A child keeps its number while others are added and removed; numbers grow, and give the
//! start order. Each child has a token that changes with every change of its state, and a timer has the token of the moment
//! when it was armed. A late timer is recognised by its old token and ignored, so that no stale restart starts a second
//! incarnation.

mod child;

use std::{
    collections::BTreeMap,
    ops::Bound,
    time::{Duration, Instant},
};

use self::child::Child;
use crate::{
    health::{ExitKind, State},
    policy::{Policy, Restart, Strategy},
};

/// A child by its number in the start order.
pub(crate) type Index = usize;

/// A reminder that the plan asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The pause before a restart is over.
    Restart,
    /// The child took too long to become ready; the next sibling does not wait longer.
    StartOverdue,
    /// The child has run long enough to count as healthy.
    Healthy,
    /// The child took too long to stop.
    StopOverdue,
    /// The child did not end even when it was killed.
    KillOverdue,
    /// A mandatory child may have been degraded for too long.
    GiveUp,
}

/// A task for the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start an incarnation.
    Spawn(Index),
    /// Remind the plan after `after`.
    Arm { child: Index, timer: Timer, token: u64, after: Duration },
    /// Ask the child to stop for good.
    Stop(Index),
    /// Ask the child to stop because a sibling before it has failed; it will be started again.
    Pause(Index),
    /// Kill the child.
    Kill(Index),
    /// An ordered start is finished: the first one, or one after a failure.
    Started,
    /// A mandatory child has been degraded for too long.
    GiveUp(Index),
    /// A leaving child has ended, or could not be ended.
    Gone(Index),
    /// Every child has ended.
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The ordered start waits for this child.
    Starting(Index),
    Running,
    /// The child `from` has failed, and the children after it are being stopped; `at` is stopping now. `due`: the pause before
    /// the restart is over.
    Falling {
        from: Index,
        at: Index,
        due: bool,
    },
    /// The ordered stop waits for this child.
    Stopping(Index),
    Finished,
}

/// The plan of one supervisor.
#[derive(Debug)]
pub(crate) struct Plan {
    strategy: Strategy,
    phase: Phase,
    children: BTreeMap<Index, Child>,
}

/// How long a killed child has to end before the stop continues without it.
pub(crate) const KILL_GRACE: Duration = Duration::from_millis(500);

impl Plan {
    pub(crate) fn new(strategy: Strategy, children: impl IntoIterator<Item = (Index, Policy)>) -> Self {
        let children = children.into_iter().map(|(index, policy)| (index, Child::new(policy)));
        Self { strategy, phase: Phase::Starting(0), children: children.collect() }
    }

    /// The state of a child, and whether it is degraded.
    pub(crate) fn state(&self, child: Index) -> (State, bool) {
        self.children
            .get(&child)
            .map_or((State::Stopped, false), |child| (child.state, child.degraded_since.is_some()))
    }

    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_) | Phase::Finished)
    }

    /// Begins the ordered start.
    pub(crate) fn start(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.start_next(Bound::Unbounded, &mut actions);
        actions
    }

    /// Adds a child, unless it is known already. It is started in its place of a running ordered start, else at once.
    pub(crate) fn add(&mut self, index: Index, policy: Policy) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.children.contains_key(&index) {
            return actions;
        }
        let child = self.children.entry(index).or_insert_with(|| Child::new(policy));
        match self.phase {
            // The ordered start reaches it, since its number is the highest.
            Phase::Starting(_) | Phase::Falling { .. } => {}
            Phase::Running => child.spawn(index, &mut actions),
            Phase::Stopping(_) | Phase::Finished => child.state = State::Stopped,
        }
        actions
    }

    /// Ends a child for good; [`Action::Gone`] follows.
    pub(crate) fn remove(&mut self, index: Index) -> Vec<Action> {
        let mut actions = Vec::new();
        let stopping = self.is_stopping();
        let Some(child) = self.children.get_mut(&index) else {
            return actions;
        };
        if stopping || child.leaving {
            return actions;
        }
        // Kept until it has ended: an exit of an unknown child would be ignored, and `Gone` would never follow.
        child.leaving = true;
        // Makes its armed timers void, above all a restart.
        child.token += 1;
        if child.lives() {
            child.state = State::Stopping;
            actions.push(Action::Stop(index));
            child.arm(index, Timer::StopOverdue, child.policy.stop_within, &mut actions);
        } else {
            self.gone(index, &mut actions);
        }
        actions
    }

    fn gone(&mut self, index: Index, actions: &mut Vec<Action>) {
        self.children.remove(&index);
        actions.push(Action::Gone(index));
        self.started(index, actions);
        self.fall_on(index, actions);
    }

    /// A child's `pre_start` is done.
    pub(crate) fn ready(&mut self, index: Index) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(child) = self.children.get_mut(&index) else {
            return actions;
        };
        if child.state == State::Starting {
            child.state = State::Running;
            child.arm(index, Timer::Healthy, child.policy.backoff.reset_after, &mut actions);
        }
        self.started(index, &mut actions);
        actions
    }

    /// A child's incarnation ended.
    pub(crate) fn exited(&mut self, index: Index, exit: ExitKind, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let stopping = self.is_stopping();
        let falls_with = matches!(self.phase, Phase::Falling { from, .. } if index > from);
        let Some(child) = self.children.get_mut(&index) else {
            return actions;
        };
        if stopping {
            // No restart during a stop, whatever the policy.
            child.token += 1;
            child.state = State::Stopped;
            self.stop_on(index, &mut actions);
            return actions;
        }
        if child.leaving {
            self.gone(index, &mut actions);
            return actions;
        }
        if !child.lives() {
            // An abandoned child that yielded at last: its place was freed when it was abandoned.
            return actions;
        }
        child.token += 1;
        let comes_back = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !matches!(exit, ExitKind::Finished | ExitKind::Stopped),
            Restart::Temporary => false,
        };
        if !comes_back {
            child.state = State::Stopped;
            self.started(index, &mut actions);
            self.fall_on(index, &mut actions);
        } else if falls_with {
            // It ended because of the failed child, or while it waited for it: no restart of its own is charged.
            child.state = State::Waiting;
            self.fall_on(index, &mut actions);
        } else {
            child.plan_restart(index, now, &mut actions);
            match self.strategy {
                Strategy::OneForOne => self.started(index, &mut actions),
                Strategy::RestForOne => self.fall(index, &mut actions),
            }
        }
        actions
    }

    /// A timer went off.
    pub(crate) fn due(&mut self, index: Index, timer: Timer, token: u64, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let stopping = self.is_stopping();
        let Some(child) = self.children.get_mut(&index) else {
            return actions;
        };
        match timer {
            // Without its token: a degraded child is restarted again and again while this timer runs.
            Timer::GiveUp => {
                let limit = child.policy.give_up_after;
                let down = child.degraded_since.map(|since| now.saturating_duration_since(since));
                let is_over = limit.zip(down).is_some_and(|(limit, down)| down >= limit);
                // One that runs, or is stopped for a sibling, is not down: its next fall decides, or its health.
                let runs = matches!(child.state, State::Running | State::Stopping);
                if is_over && !stopping && !child.leaving && !runs {
                    actions.push(Action::GiveUp(index));
                }
            }
            // A late timer: the child has changed its state since it was armed.
            _ if token != child.token => {}
            Timer::Restart => match &mut self.phase {
                // Not all children after it have stopped yet: the restart follows when they have.
                Phase::Falling { from, due, .. } if *from == index => *due = true,
                _ => child.spawn(index, &mut actions),
            },
            // The child continues to start; only its siblings stop waiting for it.
            Timer::StartOverdue => self.started(index, &mut actions),
            Timer::Healthy => {
                // The token is still that of its start, so it has not crashed since.
                child.restarts.clear();
                child.pauses.reset();
                child.degraded_since = None;
            }
            Timer::StopOverdue => {
                // The second deadline: a child that does not yield can't be killed, and the stop has to go on.
                actions.push(Action::Kill(index));
                child.arm(index, Timer::KillOverdue, KILL_GRACE, &mut actions);
            }
            Timer::KillOverdue if stopping => {
                child.state = State::Abandoned;
                self.stop_on(index, &mut actions);
            }
            Timer::KillOverdue if child.leaving => {
                child.state = State::Abandoned;
                self.gone(index, &mut actions);
            }
            Timer::KillOverdue => {
                // Its successor waits at the turnstile until it ends; its siblings don't wait.
                child.token += 1;
                child.state = State::Waiting;
                self.fall_on(index, &mut actions);
            }
        }
        actions
    }

    /// Begins the stop, in reverse order.
    pub(crate) fn stop(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.is_stopping() {
            return actions;
        }
        for child in self.children.values_mut() {
            // Makes its armed timers void, above all a restart.
            child.token += 1;
            if !child.lives() {
                child.state = State::Stopped;
            }
        }
        self.stop_from(Bound::Unbounded, &mut actions);
        actions
    }

    /// Continues the ordered start if it waits for `index`.
    fn started(&mut self, index: Index, actions: &mut Vec<Action>) {
        if self.phase == Phase::Starting(index) {
            self.start_next(Bound::Excluded(index), actions);
        }
    }

    /// Starts the first waiting child after `after`.
    fn start_next(&mut self, after: Bound<Index>, actions: &mut Vec<Action>) {
        let mut behind = self.children.range_mut((after, Bound::Unbounded));
        match behind.find(|(_, child)| child.state == State::Waiting) {
            Some((&index, child)) => {
                self.phase = Phase::Starting(index);
                if child.begun {
                    // This is a restart, which needs a permit: the timer brings one.
                    child.arm(index, Timer::Restart, Duration::ZERO, actions);
                } else {
                    child.spawn(index, actions);
                }
            }
            None => {
                self.phase = Phase::Running;
                actions.push(Action::Started);
            }
        }
    }

    /// `from` has failed: the children after it are stopped too.
    fn fall(&mut self, from: Index, actions: &mut Vec<Action>) {
        let behind = self.children.range_mut((Bound::Excluded(from), Bound::Unbounded));
        for (_, child) in behind.filter(|(_, child)| !child.lives() && child.state != State::Stopped) {
            // Makes its armed timers void, above all a restart: it waits for `from` now.
            child.token += 1;
            child.state = State::Waiting;
        }
        match &mut self.phase {
            // A child after both is being stopped already; that stop continues.
            Phase::Falling { from: before, due, .. } => (*before, *due) = (from, false),
            _ => self.fall_from(from, false, Bound::Unbounded, actions),
        }
    }

    /// Continues the stop of the children after a failed one if it waits for `index`.
    fn fall_on(&mut self, index: Index, actions: &mut Vec<Action>) {
        if let Phase::Falling { from, at, due } = self.phase
            && at == index
        {
            self.fall_from(from, due, Bound::Excluded(index), actions);
        }
    }

    /// Stops the last living child between `from` and `end`. When there is none, the ordered start waits for `from` to be
    /// restarted.
    fn fall_from(&mut self, from: Index, due: bool, end: Bound<Index>, actions: &mut Vec<Action>) {
        let behind = self.children.range_mut((Bound::Excluded(from), end)).rev();
        let living = behind.into_iter().find(|(_, child)| child.lives() && !child.leaving);
        if let Some((&at, child)) = living {
            child.token += 1;
            child.state = State::Stopping;
            actions.push(Action::Pause(at));
            child.arm(at, Timer::StopOverdue, child.policy.stop_within, actions);
            self.phase = Phase::Falling { from, at, due };
            return;
        }
        self.phase = Phase::Starting(from);
        match self.children.get(&from) {
            // The first permit was returned while the others were being stopped: the timer brings a new one.
            Some(child) if due => child.arm(from, Timer::Restart, Duration::ZERO, actions),
            Some(_) => {}
            None => self.start_next(Bound::Excluded(from), actions),
        }
    }

    /// Continues the ordered stop if it waits for `index`.
    fn stop_on(&mut self, index: Index, actions: &mut Vec<Action>) {
        if self.phase == Phase::Stopping(index) {
            self.stop_from(Bound::Excluded(index), actions);
        }
    }

    /// Stops the last living child before `end`.
    fn stop_from(&mut self, end: Bound<Index>, actions: &mut Vec<Action>) {
        let before = self.children.range_mut((Bound::Unbounded, end));
        let living = before.rev().find(|(_, child)| child.lives()).map(|(&index, child)| (index, child));
        let Some((index, child)) = living else {
            self.phase = Phase::Finished;
            return actions.push(Action::Finished);
        };
        self.phase = Phase::Stopping(index);
        child.state = State::Stopping;
        actions.push(Action::Stop(index));
        child.arm(index, Timer::StopOverdue, child.policy.stop_within, actions);
    }
}

#[cfg(test)]
mod tests;
