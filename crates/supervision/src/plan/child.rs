//! One child of a plan: its state, its token, and what its restarts cost.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::action::{Action, Index, KILL_GRACE, Timer};
use crate::{
    policy::{Chance, OnLimit, Pauses, Policy, Shutdown, jittered},
    state::{ExitKind, State},
};

#[derive(Debug)]
pub(super) struct Child {
    pub(super) policy: Arc<Policy>,
    pub(super) state: State,
    pub(super) token: u64,
    pub(super) pauses: Pauses,
    pub(super) restarts: VecDeque<Instant>,
    /// It has exceeded its restart limit and has not been healthy since.
    pub(super) degraded: bool,
    /// The token of the timer that says when it has been degraded for too long, and whether that time is over.
    pub(super) give_up: (u64, bool),
    /// Whether it is being removed while its siblings continue.
    pub(super) leaving: bool,
    /// Whether it has been started before.
    pub(super) begun: bool,
}

impl Child {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            state: State::Waiting,
            token: 0,
            pauses: Pauses::default(),
            restarts: VecDeque::new(),
            degraded: false,
            give_up: (0, false),
            leaving: false,
            begun: false,
        }
    }

    pub(super) fn lives(&self) -> bool {
        matches!(self.state, State::Starting | State::Running | State::Stopping)
    }

    pub(super) fn arm(&self, child: Index, timer: Timer, after: Duration, actions: &mut Vec<Action>) {
        actions.push(Action::Arm { child, timer, token: self.token, after });
    }

    pub(super) fn spawn(&mut self, index: Index, actions: &mut Vec<Action>) {
        self.token += 1;
        self.begun = true;
        self.state = State::Starting;
        actions.push(Action::Spawn(index));
        self.arm(index, Timer::StartOverdue, self.policy.start_within, actions);
    }

    /// Asks it to stop by `ask`, within the deadline of its policy.
    pub(super) fn stop(&mut self, index: Index, ask: Action, actions: &mut Vec<Action>) {
        self.state = State::Stopping;
        actions.push(ask);
        match self.policy.shutdown {
            Shutdown::Within(limit) => self.arm(index, Timer::StopOverdue, limit, actions),
            Shutdown::AtOnce => self.kill(index, actions),
            Shutdown::Unlimited => {}
        }
    }

    pub(super) fn kill(&mut self, index: Index, actions: &mut Vec<Action>) {
        actions.push(Action::Kill(index));
        // The second deadline: a child that does not yield can't be killed, and the stop has to go on.
        self.arm(index, Timer::KillOverdue, KILL_GRACE, actions);
    }

    /// It ended by `exit` at `now` and comes back: with a pause, degraded, or not, since its supervisor has to fail.
    pub(super) fn plan_restart(
        &mut self,
        index: Index,
        exit: ExitKind,
        now: Instant,
        chance: &mut Chance,
        actions: &mut Vec<Action>,
    ) {
        let Policy { intensity, backoff, .. } = *self.policy;
        // An outage is not the actor's fault, however often it meets one.
        if exit != ExitKind::Unavailable {
            self.restarts.push_back(now);
        }
        while self.restarts.front().is_some_and(|&at| now.saturating_duration_since(at) > intensity.within) {
            self.restarts.pop_front();
        }
        // The list holds the restarts of one period only, and of those no more than it takes to exceed the limit: a degraded child
        // is retried for ever.
        let most = (intensity.max_restarts as usize).saturating_add(1);
        if self.restarts.len() > most {
            self.restarts.pop_front();
        }
        let too_many = self.restarts.len() == most;
        // A degraded child stays degraded until it is healthy, even if its restarts have left the period.
        if !too_many && !self.degraded {
            self.state = State::BackingOff;
            let pause = self.pauses.next(&backoff, chance);
            return self.arm(index, Timer::Restart, pause, actions);
        }
        if self.policy.on_limit == OnLimit::Escalate {
            // It has ended, so the stop that follows must not wait for it.
            self.state = State::Stopped;
            return actions.push(Action::Escalate(index));
        }
        self.state = State::Degraded;
        // Once: the time to give up counts from the first degraded restart, not from the last.
        if !std::mem::replace(&mut self.degraded, true) {
            self.give_up = (self.token, false);
            let limit = self.policy.give_up_after;
            limit.into_iter().for_each(|limit| self.arm(index, Timer::GiveUp, limit, actions));
        } else if self.give_up.1 {
            // It ran when its time was over, and has crashed again before it was healthy.
            actions.push(Action::GiveUp(index));
        }
        let retry = jittered(self.policy.degraded_retry, &backoff, chance);
        self.arm(index, Timer::Restart, retry, actions);
    }
}
