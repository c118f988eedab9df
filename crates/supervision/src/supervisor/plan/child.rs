//! One child of a plan: its state, its token, and what its restarts cost.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Action, Index, Timer};
use crate::{
    health::State,
    policy::{Pauses, Policy},
};

#[derive(Debug)]
pub(super) struct Child {
    pub(super) policy: Policy,
    pub(super) state: State,
    pub(super) token: u64,
    pub(super) pauses: Pauses,
    pub(super) restarts: VecDeque<Instant>,
    pub(super) degraded_since: Option<Instant>,
    /// Whether it is being removed while its siblings continue.
    pub(super) leaving: bool,
    /// Whether it has been started before.
    pub(super) begun: bool,
}

impl Child {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Waiting,
            token: 0,
            pauses: Pauses::new(policy.backoff),
            restarts: VecDeque::new(),
            degraded_since: None,
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

    pub(super) fn plan_restart(&mut self, index: Index, now: Instant, actions: &mut Vec<Action>) {
        let intensity = self.policy.intensity;
        self.restarts.push_back(now);
        while self.restarts.front().is_some_and(|&at| now.saturating_duration_since(at) > intensity.within) {
            self.restarts.pop_front();
        }
        // The list holds the restarts of one period only.
        let too_many = self.restarts.len() > intensity.max_restarts as usize;
        // A degraded child stays degraded until it is healthy, even if its restarts have left the period.
        if !too_many && self.degraded_since.is_none() {
            self.state = State::BackingOff;
            let pause = self.pauses.next();
            return self.arm(index, Timer::Restart, pause, actions);
        }
        self.state = State::Degraded;
        match (self.degraded_since, self.policy.give_up_after) {
            // Once: the time to give up counts from the first degraded restart, not from the last.
            (None, limit) => {
                self.degraded_since = Some(now);
                limit.into_iter().for_each(|limit| self.arm(index, Timer::GiveUp, limit, actions));
            }
            // It ran when its time was over, and has crashed again before it was healthy.
            (Some(since), Some(limit)) if now.saturating_duration_since(since) >= limit => {
                actions.push(Action::GiveUp(index));
            }
            (Some(_), _) => {}
        }
        let retry = self.pauses.jittered(self.policy.degraded_retry);
        self.arm(index, Timer::Restart, retry, actions);
    }
}
