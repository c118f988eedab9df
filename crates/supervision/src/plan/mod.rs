//! The decisions of a supervisor, as a pure state machine: events in, actions out.
//!
//! One for one: a failed child is restarted and its siblings continue. Rest for one: the children after it are stopped too, one
//! after the other in reverse order; when the failed child is back, they are started again in order. One for all: all others are
//! stopped in reverse order, and all are started again in order. Only the failed child has a restart charged. Independent: one for
//! one, and a stop for good does not go from child to child, but asks all at once.
//!
//! It never waits and touches nothing. A child keeps its number while others are added and removed; numbers grow, and give the
//! start order. Each child has a token that changes with every change of its state, and a timer has the token of the moment
//! when it was armed. A late timer is recognised by its old token and ignored, so that no stale restart starts a second
//! incarnation.

mod action;
mod child;

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use self::action::{Action, Index, KILL_GRACE, Timer};
use self::child::Child;
use crate::{
    policy::{Chance, Policy, Restart, Strategy},
    state::{ExitKind, State},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The ordered start waits for this child.
    Starting(Index),
    Running,
    /// The child `from` has failed, and the children that depend on it are being stopped; `at` is stopping now. `due`: the pause
    /// before the restart is over.
    Falling {
        from: Index,
        at: Index,
        due: bool,
    },
    /// One for all: all children have ended, and the pause of this one is not over yet.
    Pausing(Index),
    /// The ordered stop waits for this child.
    Stopping(Index),
    /// All were asked to stop at once, and so many have not ended yet. A count, since a search at each end would take the square
    /// of their number.
    StoppingAll(usize),
    Finished,
}

/// The plan of one supervisor.
#[derive(Debug)]
pub(crate) struct Plan {
    strategy: Strategy,
    phase: Phase,
    children: BTreeMap<Index, Child>,
    chance: Chance,
    /// The children whose states may have changed since they were last shown.
    touched: Vec<Index>,
}

impl Plan {
    pub(crate) fn new(
        strategy: Strategy,
        children: impl IntoIterator<Item = (Index, Arc<Policy>)>,
        chance: Chance,
    ) -> Self {
        let children = children.into_iter().map(|(index, policy)| (index, Child::new(policy)));
        let phase = Phase::Starting(0);
        Self { strategy, phase, children: children.collect(), chance, touched: Vec::new() }
    }

    /// The children whose states may have changed since the last call.
    pub(crate) fn take_touched(&mut self) -> Vec<Index> {
        std::mem::take(&mut self.touched)
    }

    /// The state of a child, and whether it is degraded; `None` for an unknown one.
    pub(crate) fn state(&self, child: Index) -> Option<(State, bool)> {
        self.children.get(&child).map(|child| (child.state, child.degraded))
    }

    /// Whether a timer of a child that was armed with `token` reminds of nothing any more.
    pub(crate) fn is_void(&self, child: Index, timer: Timer, token: u64) -> bool {
        let Some(known) = self.children.get(&child) else { return true };
        match timer {
            // It has a token of its own.
            Timer::GiveUp => false,
            Timer::StartOverdue => known.token != token || known.state != State::Starting,
            _ => known.token != token,
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_) | Phase::StoppingAll(_) | Phase::Finished)
    }

    /// Begins the ordered start.
    pub(crate) fn start(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.start_next(Bound::Unbounded, &mut actions);
        actions
    }

    /// Adds a child, unless it is known already. It is started in its place of a running ordered start, else at once.
    pub(crate) fn add(&mut self, index: Index, policy: Arc<Policy>) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.children.contains_key(&index) {
            return actions;
        }
        self.touched.push(index);
        let child = self.children.entry(index).or_insert_with(|| Child::new(policy));
        match self.phase {
            // The ordered start reaches it, since its number is the highest.
            Phase::Starting(_) | Phase::Falling { .. } | Phase::Pausing(_) => {}
            Phase::Running => child.spawn(index, &mut actions),
            Phase::Stopping(_) | Phase::StoppingAll(_) | Phase::Finished => child.state = State::Stopped,
        }
        actions
    }

    /// Ends a child for good; [`Action::Gone`] follows.
    pub(crate) fn remove(&mut self, index: Index) -> Vec<Action> {
        let mut actions = Vec::new();
        let stopping = self.is_stopping();
        self.touched.push(index);
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
            child.stop(index, Action::Stop(index), &mut actions);
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
        if self.phase == Phase::Pausing(index) {
            self.start_next(Bound::Unbounded, actions);
        }
    }

    /// A child's `pre_start` is done.
    pub(crate) fn ready(&mut self, index: Index) -> Vec<Action> {
        let mut actions = Vec::new();
        self.touched.push(index);
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
        let falls_with = matches!(self.phase, Phase::Falling { from, .. } if self.depends(index, from));
        self.touched.push(index);
        let Some(child) = self.children.get_mut(&index) else {
            return actions;
        };
        if stopping {
            // No restart during a stop, whatever the policy.
            self.stopped(index, State::Stopped, &mut actions);
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
            // It has ended as its policy expects, so nobody waits for it to become healthy.
            child.degraded = false;
            self.started(index, &mut actions);
            self.fall_on(index, &mut actions);
        } else if falls_with {
            // It ended because of the failed child, or while it waited for it: no restart of its own is charged.
            child.state = State::Waiting;
            self.fall_on(index, &mut actions);
        } else {
            child.plan_restart(index, exit, now, &mut self.chance, &mut actions);
            if actions.contains(&Action::Escalate(index)) {
                actions.extend(self.stop());
                return actions;
            }
            match self.strategy {
                Strategy::OneForOne | Strategy::Independent => self.started(index, &mut actions),
                Strategy::RestForOne | Strategy::OneForAll => self.fall(index, &mut actions),
            }
        }
        actions
    }

    /// Whether the child `index` depends on `other`.
    fn depends(&self, index: Index, other: Index) -> bool {
        match self.strategy {
            Strategy::OneForOne | Strategy::Independent => false,
            Strategy::RestForOne => index > other,
            Strategy::OneForAll => index != other,
        }
    }

    /// The lower bound of the children that depend on `from`. One for all, `from` itself is beyond it too.
    fn first_dependant(&self, from: Index) -> Bound<Index> {
        if self.strategy == Strategy::OneForAll { Bound::Unbounded } else { Bound::Excluded(from) }
    }

    /// A timer went off.
    pub(crate) fn due(&mut self, index: Index, timer: Timer, token: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        let stopping = self.is_stopping();
        self.touched.push(index);
        let Some(child) = self.children.get_mut(&index) else {
            return actions;
        };
        match timer {
            // It has a token of its own: a degraded child is restarted again and again while this timer runs. It alone says how
            // long the child was degraded, since it does not count time in which the process did not run.
            Timer::GiveUp => {
                let is_over = child.degraded && child.give_up.0 == token;
                // One that runs, or is stopped for a sibling, is not down: its next fall decides, or its health.
                let runs = matches!(child.state, State::Running | State::Stopping);
                child.give_up.1 |= is_over;
                if is_over && !stopping && !child.leaving && !runs {
                    actions.push(Action::GiveUp(index));
                }
            }
            // A late timer: the child has changed its state since it was armed.
            _ if token != child.token => {}
            Timer::Restart => match &mut self.phase {
                // Not all children after it have stopped yet: the restart follows when they have.
                Phase::Falling { from, due, .. } if *from == index => *due = true,
                // It is started in its place of the order.
                Phase::Pausing(pausing) if *pausing == index => {
                    child.state = State::Waiting;
                    self.start_next(Bound::Unbounded, &mut actions);
                }
                _ => child.spawn(index, &mut actions),
            },
            // The child continues to start; only its siblings stop waiting for it.
            Timer::StartOverdue => self.started(index, &mut actions),
            Timer::Healthy => {
                // The token is still that of its start, so it has not crashed since.
                child.restarts.clear();
                child.pauses.reset();
                child.degraded = false;
            }
            Timer::StopOverdue => child.kill(index, &mut actions),
            Timer::KillOverdue if stopping => self.stopped(index, State::Abandoned, &mut actions),
            Timer::KillOverdue if child.leaving => {
                child.state = State::Abandoned;
                self.gone(index, &mut actions);
            }
            Timer::KillOverdue => {
                // Its successor waits at the gate until it ends; its siblings don't wait.
                child.token += 1;
                child.state = State::Waiting;
                self.fall_on(index, &mut actions);
            }
        }
        actions
    }

    /// Begins the stop: in reverse order, or of all children at once.
    pub(crate) fn stop(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.is_stopping() {
            return actions;
        }
        for (&index, child) in &mut self.children {
            // Makes its armed timers void, above all a restart.
            child.token += 1;
            if !child.lives() {
                child.state = State::Stopped;
                self.touched.push(index);
            }
        }
        match self.strategy {
            Strategy::Independent => self.stop_all(&mut actions),
            _ => self.stop_from(Bound::Unbounded, &mut actions),
        }
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
                self.touched.push(index);
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

    /// `from` has failed: the children that depend on it are stopped too.
    fn fall(&mut self, from: Index, actions: &mut Vec<Action>) {
        let first = self.first_dependant(from);
        let down = |child: &Child| !child.lives() && child.state != State::Stopped;
        let others = self.children.range_mut((first, Bound::Unbounded));
        for (&index, child) in others.filter(|(index, child)| **index != from && down(child)) {
            // Makes its armed timers void, above all a restart: it waits for `from` now.
            child.token += 1;
            child.state = State::Waiting;
            self.touched.push(index);
        }
        match &mut self.phase {
            // A child that depends on both is being stopped already; that stop continues.
            Phase::Falling { from: before, due, .. } => (*before, *due) = (from, false),
            _ => self.fall_from(from, false, Bound::Unbounded, actions),
        }
    }

    /// Continues the stop of the children that depend on a failed one if it waits for `index`.
    fn fall_on(&mut self, index: Index, actions: &mut Vec<Action>) {
        if let Phase::Falling { from, at, due } = self.phase
            && at == index
        {
            self.fall_from(from, due, Bound::Excluded(index), actions);
        }
    }

    /// Stops the last living child before `end` that depends on `from`. When there is none, the ordered start waits for `from` to
    /// be restarted.
    fn fall_from(&mut self, from: Index, due: bool, end: Bound<Index>, actions: &mut Vec<Action>) {
        let for_all = self.strategy == Strategy::OneForAll;
        let first = self.first_dependant(from);
        let mut others = self.children.range_mut((first, end)).rev();
        let living = others.find(|(index, child)| **index != from && child.lives() && !child.leaving);
        if let Some((&at, child)) = living {
            child.token += 1;
            child.stop(at, Action::Pause(at), actions);
            self.touched.push(at);
            self.phase = Phase::Falling { from, at, due };
            return;
        }
        match self.children.get_mut(&from) {
            None => self.start_next(first, actions),
            Some(child) if for_all && due => {
                child.state = State::Waiting;
                self.touched.push(from);
                self.start_next(Bound::Unbounded, actions);
            }
            Some(_) if for_all => self.phase = Phase::Pausing(from),
            Some(child) => {
                self.phase = Phase::Starting(from);
                if due {
                    // The first permit was returned while the others were being stopped: the timer brings a new one.
                    child.arm(from, Timer::Restart, Duration::ZERO, actions);
                }
            }
        }
    }

    /// During the stop, `index` has ended or could not be ended. Continues the stop if it waits for it.
    fn stopped(&mut self, index: Index, state: State, actions: &mut Vec<Action>) {
        let Some(child) = self.children.get_mut(&index) else { return };
        // Nobody waits any longer for an abandoned child, which may end at last.
        let lived = child.lives();
        child.token += 1;
        child.state = state;
        if !lived {
            return;
        }
        match self.phase {
            Phase::Stopping(at) if at == index => self.stop_from(Bound::Excluded(index), actions),
            Phase::StoppingAll(left) => self.wait_for_all(left.saturating_sub(1), actions),
            _ => {}
        }
    }

    /// Stops all living children at once.
    fn stop_all(&mut self, actions: &mut Vec<Action>) {
        let mut asked = 0;
        for (&index, child) in self.children.iter_mut().rev().filter(|(_, child)| child.lives()) {
            child.stop(index, Action::Stop(index), actions);
            self.touched.push(index);
            asked += 1;
        }
        self.wait_for_all(asked, actions);
    }

    fn wait_for_all(&mut self, left: usize, actions: &mut Vec<Action>) {
        if left > 0 {
            self.phase = Phase::StoppingAll(left);
            return;
        }
        self.phase = Phase::Finished;
        actions.push(Action::Finished);
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
        child.stop(index, Action::Stop(index), actions);
        self.touched.push(index);
    }
}

#[cfg(test)]
mod tests;
