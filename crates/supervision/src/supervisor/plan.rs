//! The decisions of a one-for-one supervisor, as a pure state machine: events in, actions out.
//!
//! It never waits and touches nothing. A child has a number that it keeps while others come and go; numbers grow, and
//! their order is the order of the start. Each child has a token that changes with every step of its life, and a
//! timer carries the token of the moment in which it was set: a timer that comes late is recognised and
//! ignored, so that no stale restart can start a second incarnation.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    time::{Duration, Instant},
};

use crate::{
    health::{ExitKind, State},
    policy::{Pauses, Policy, Restart},
};

/// A child by its number in the start order.
pub(crate) type Index = usize;

/// A reminder that the plan asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The pause before a restart is over.
    Restart,
    /// The child took too long to become ready; the next sibling need not wait for it.
    StartOverdue,
    /// The child has run long enough to count as healthy.
    Healthy,
    /// The child took too long to stop.
    StopOverdue,
    /// The child did not even end when it was killed.
    KillOverdue,
    /// A mandatory child may have been degraded for too long.
    GiveUp,
}

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start an incarnation.
    Spawn(Index),
    /// Remind the plan after `after`.
    Arm { child: Index, timer: Timer, token: u64, after: Duration },
    /// Ask the child to stop for good.
    Stop(Index),
    /// Kill the child.
    Kill(Index),
    /// Every child has been started once.
    Started,
    /// A mandatory child has been degraded for too long.
    GiveUp(Index),
    /// A child that was to leave has ended, or could not be ended.
    Gone(Index),
    /// Every child has ended.
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The ordered start has come to this child.
    Starting(Index),
    Running,
    /// The ordered stop has come to this child.
    Stopping(Index),
    Finished,
}

#[derive(Debug)]
struct Child {
    policy: Policy,
    state: State,
    token: u64,
    pauses: Pauses,
    restarts: VecDeque<Instant>,
    degraded_since: Option<Instant>,
    /// It is to end for good while its siblings go on.
    leaving: bool,
}

/// The plan of one supervisor.
#[derive(Debug)]
pub(crate) struct Plan {
    phase: Phase,
    children: BTreeMap<Index, Child>,
}

/// How long a killed child has to end before the stop goes on without it.
pub(crate) const KILL_GRACE: Duration = Duration::from_millis(500);

impl Plan {
    pub(crate) fn new(children: impl IntoIterator<Item = (Index, Policy)>) -> Self {
        let children = children.into_iter().map(|(index, policy)| (index, Child::new(policy)));
        Self { phase: Phase::Starting(0), children: children.collect() }
    }

    /// The state of a child, and whether it counts as degraded.
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

    /// A child more, unless it is there already. It is started when its turn in the ordered start comes, or at once when that is over.
    pub(crate) fn add(&mut self, index: Index, policy: Policy) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.children.contains_key(&index) {
            return actions;
        }
        let child = self.children.entry(index).or_insert_with(|| Child::new(policy));
        match self.phase {
            Phase::Starting(_) => {}
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
        child.leaving = true;
        // Whatever was planned for it (a restart above all) is void.
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
        let Some(child) = self.children.get_mut(&index) else {
            return actions;
        };
        child.token += 1;
        if stopping {
            child.state = State::Stopped;
            self.stop_on(index, &mut actions);
            return actions;
        }
        if child.leaving {
            self.gone(index, &mut actions);
            return actions;
        }
        let comes_back = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !matches!(exit, ExitKind::Finished | ExitKind::Stopped),
            Restart::Temporary => false,
        };
        if comes_back {
            child.plan_restart(index, now, &mut actions);
        } else {
            child.state = State::Stopped;
        }
        self.started(index, &mut actions);
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
            Timer::GiveUp => {
                let limit = child.policy.give_up_after;
                let down = child.degraded_since.map(|since| now.saturating_duration_since(since));
                if !stopping && !child.leaving && limit.zip(down).is_some_and(|(limit, down)| down >= limit) {
                    actions.push(Action::GiveUp(index));
                }
            }
            _ if token != child.token => {}
            Timer::Restart => {
                child.spawn(index, &mut actions);
            }
            Timer::StartOverdue => self.started(index, &mut actions),
            Timer::Healthy => {
                child.restarts.clear();
                child.pauses.reset();
                child.degraded_since = None;
            }
            Timer::StopOverdue => {
                actions.push(Action::Kill(index));
                child.arm(index, Timer::KillOverdue, KILL_GRACE, &mut actions);
            }
            Timer::KillOverdue => {
                child.state = State::Abandoned;
                if child.leaving && !stopping {
                    self.gone(index, &mut actions);
                } else {
                    self.stop_on(index, &mut actions);
                }
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
            // Whatever was planned for it (a restart above all) is void.
            child.token += 1;
            if !child.lives() {
                child.state = State::Stopped;
            }
        }
        self.stop_from(Bound::Unbounded, &mut actions);
        actions
    }

    /// Goes on with the ordered start when it stands at `index`.
    fn started(&mut self, index: Index, actions: &mut Vec<Action>) {
        if self.phase == Phase::Starting(index) {
            self.start_next(Bound::Excluded(index), actions);
        }
    }

    /// Starts the first child behind `after`.
    fn start_next(&mut self, after: Bound<Index>, actions: &mut Vec<Action>) {
        match self.children.range_mut((after, Bound::Unbounded)).next() {
            Some((&index, child)) => {
                self.phase = Phase::Starting(index);
                child.spawn(index, actions);
            }
            None => {
                self.phase = Phase::Running;
                actions.push(Action::Started);
            }
        }
    }

    /// Goes on with the ordered stop when it stands at `index`.
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

impl Child {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Waiting,
            token: 0,
            pauses: Pauses::new(policy.backoff),
            restarts: VecDeque::new(),
            degraded_since: None,
            leaving: false,
        }
    }

    fn lives(&self) -> bool {
        matches!(self.state, State::Starting | State::Running | State::Stopping)
    }

    fn arm(&self, child: Index, timer: Timer, after: Duration, actions: &mut Vec<Action>) {
        actions.push(Action::Arm { child, timer, token: self.token, after });
    }

    fn spawn(&mut self, index: Index, actions: &mut Vec<Action>) {
        self.token += 1;
        self.state = State::Starting;
        actions.push(Action::Spawn(index));
        self.arm(index, Timer::StartOverdue, self.policy.start_within, actions);
    }

    fn plan_restart(&mut self, index: Index, now: Instant, actions: &mut Vec<Action>) {
        let intensity = self.policy.intensity;
        self.restarts.push_back(now);
        while self.restarts.front().is_some_and(|&at| now.saturating_duration_since(at) > intensity.within) {
            self.restarts.pop_front();
        }
        let too_many = self.restarts.len() > intensity.max_restarts as usize;
        // A degraded child that fails again before it was healthy is still degraded.
        if !too_many && self.degraded_since.is_none() {
            self.state = State::BackingOff;
            let pause = self.pauses.next();
            return self.arm(index, Timer::Restart, pause, actions);
        }
        self.state = State::Degraded;
        if self.degraded_since.is_none() {
            self.degraded_since = Some(now);
            if let Some(limit) = self.policy.give_up_after {
                self.arm(index, Timer::GiveUp, limit, actions);
            }
        }
        self.arm(index, Timer::Restart, self.policy.degraded_retry, actions);
    }
}

#[cfg(test)]
mod tests;
