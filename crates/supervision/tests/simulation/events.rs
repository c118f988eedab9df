//! The model of a supervisor's decisions: each change that a subscriber gets must be one that the policies allow.

use supervision::{Change, ExitKind, OnLimit, Restart, State, What};

use super::{
    lives::{Life, Restarts},
    world::Known,
};

fn millis(duration: std::time::Duration) -> u64 {
    duration.as_millis() as u64
}

impl Life {
    pub(crate) fn comes_back(&self, exit: ExitKind) -> bool {
        match self.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !matches!(exit, ExitKind::Finished | ExitKind::Stopped),
            Restart::Temporary => false,
        }
    }

    /// The pause of the restart with this number since it was healthy, without jitter.
    fn pause(&self, number: u32) -> u64 {
        let (first, max) = (millis(self.policy.backoff.first), millis(self.policy.backoff.max));
        first.saturating_mul(1 << number.min(30)).min(max)
    }
}

impl Restarts {
    /// It does not run any more. Returns whether it may have been healthy before.
    fn ran(&mut self, now: u64, before: u64, healthy: u64) -> bool {
        let Some(since) = self.running.take() else { return false };
        self.ran_since = Some(since);
        if since + healthy > now {
            return false;
        }
        if since + healthy <= before {
            self.charged.clear();
            (self.forgiven, self.pauses) = (0, (0, 0));
        } else {
            // At the same move of the clock, the end and the timer of its health come in either order.
            self.forgiven = self.charged.len();
            self.pauses.0 = 0;
        }
        true
    }
}

impl Known {
    pub(crate) fn changed(&mut self, change: &Change) {
        let Change { path, generation, what } = change;
        self.note(format!("{path} {generation} {what:?}"));
        let Some(me) = self.find(path) else { return };
        match *what {
            What::Ended(kind) => {
                self.lives[me].restarts.exit = Some(kind);
                self.lives[me].last_exit = Some((*generation, kind));
            }
            What::State { state, degraded } => self.shows(me, state, degraded),
        }
    }

    fn shows(&mut self, me: usize, state: State, degraded: bool) {
        let (now, awake) = (self.now, self.awake);
        let before = self.lives[me].restarts.state.replace(state);
        let life = &self.lives[me];
        if life.above.is_none() && !life.leaving {
            // The root stops nobody but to end.
            let unasked = life.restarts.exit.is_none_or(|exit| life.comes_back(exit));
            if !self.ending && (state == State::Stopping || (state == State::Stopped && unasked)) {
                self.ending = true;
                self.reasons = (0..self.lives.len()).filter(|&me| self.may_give_up(me)).collect();
            }
        }
        if before != Some(state) {
            match state {
                State::BackingOff | State::Degraded => self.decided(me, state),
                State::Starting => self.starts(me),
                State::Running => {
                    let restarts = &mut self.lives[me].restarts;
                    (restarts.running, restarts.ran_since) = (Some(now), None);
                }
                State::Stopping | State::Stopped | State::Abandoned => {
                    let Life { policy, restarts, .. } = &mut self.lives[me];
                    restarts.ran(now, self.before, millis(policy.backoff.reset_after));
                    restarts.waits = None;
                    restarts.over |= state != State::Stopping;
                    restarts.was_over |= restarts.over;
                    if before.is_some_and(|before| before != State::Stopping) {
                        restarts.prior = before;
                    }
                }
                State::Waiting => {
                    let Life { policy, restarts, .. } = &mut self.lives[me];
                    restarts.ran(now, self.before, millis(policy.backoff.reset_after));
                    (restarts.waits, restarts.exit) = (None, None);
                }
            }
        }
        let Life { path, policy, restarts, .. } = &mut self.lives[me];
        let was = std::mem::replace(&mut restarts.degraded, degraded);
        let down = awake.saturating_sub(restarts.degraded_since);
        let is_too_long = policy.give_up_after.is_some_and(|limit| was && down >= millis(limit));
        restarts.was_down |= is_too_long && before == Some(State::Degraded);
        restarts.was_down &= degraded || state == State::Stopped;
        let (path, healthy) = (path.clone(), millis(policy.backoff.reset_after));
        if degraded && !was {
            restarts.degraded_since = awake;
            self.expect(state == State::Degraded, "only the restart limit makes degraded", || {
                format!("{path}: {state:?}")
            });
        } else if was && !degraded {
            let is_healthy =
                restarts.running.or(restarts.ran_since).is_some_and(|since| now - since >= healthy)
                    || restarts.fresh
                    || state == State::Stopped;
            self.expect(is_healthy, "a degraded actor stays it until it is healthy", || {
                format!("{path}: {state:?}")
            });
        }
    }

    /// Its supervisor has decided to restart it later.
    fn decided(&mut self, me: usize, state: State) {
        let (now, before) = (self.now, self.before);
        let life = &mut self.lives[me];
        let exit = life.restarts.exit.take().unwrap_or(ExitKind::Killed);
        let comes_back = life.comes_back(exit);
        let (policy, path) = (life.policy, life.path.clone());
        let (healthy, within) = (millis(policy.backoff.reset_after), millis(policy.intensity.within));
        let restarts = &mut life.restarts;
        let may_be_healthy = restarts.fresh | restarts.ran(now, before, healthy);
        restarts.fresh = false;
        if exit != ExitKind::Unavailable {
            restarts.charged.push_back(now);
        }
        while restarts.charged.front().is_some_and(|at| now - at > within) {
            restarts.charged.pop_front();
            restarts.forgiven = restarts.forgiven.saturating_sub(1);
        }
        let (most, was) = (restarts.charged.len(), restarts.degraded);
        let (least, limit) = (most - restarts.forgiven, policy.intensity.max_restarts as usize);
        let jitter = |pause: u64| if policy.backoff.jitter { pause } else { 2 * pause };
        if state == State::BackingOff {
            let (low, high) = restarts.pauses;
            restarts.pauses = (low + 1, high + 1);
            let (low, high) = (jitter(life.pause(low)), life.pause(high));
            life.restarts.waits = Some((now, low, high));
            self.expect(least <= limit, "no more restarts than the limit", || {
                format!("{path} restarts {least} times in {within} ms, not {limit}")
            });
            self.expect(!was || may_be_healthy, "a degraded actor is retried slowly", || path.clone());
        } else {
            let retry = millis(policy.degraded_retry);
            life.restarts.waits = Some((now, jitter(retry), retry));
            self.expect(most > limit || was, "only the restart limit makes degraded", || {
                format!("{path} had {most} restarts in {within} ms, of {limit}")
            });
            self.expect(
                policy.on_limit == OnLimit::Degrade,
                "the limit escalates where the policy says so",
                || path.clone(),
            );
        }
        self.expect(comes_back, "only the exits of its policy restart it", || format!("{path}: {exit:?}"));
    }

    /// An incarnation is about to begin.
    fn starts(&mut self, me: usize) {
        let (now, awake) = (self.now, self.awake);
        let life = &mut self.lives[me];
        (life.restarts.starting, life.restarts.running, life.restarts.exit) = (awake, None, None);
        life.restarts.over = false;
        let path = life.path.clone();
        let jitter = life.policy.backoff.jitter;
        if let Some((since, twice_low, high)) = life.restarts.waits.take() {
            let paused = now - since;
            // Where the bounds are half the pause and the pause, chance may have shortened it, and only that.
            if jitter && twice_low == high && high > 0 {
                self.pauses.0 += 1;
                self.pauses.1 += u64::from(paused < high);
            }
            self.expect(2 * paused >= twice_low, "no restart before its pause is over", || {
                format!("{path} paused {paused} ms, less than half of {twice_low}")
            });
        }
        if self.lives[me].kind.supervises() {
            // A new incarnation of a supervisor has a new plan.
            for child in self.lives.iter_mut().filter(|life| life.above == Some(me)) {
                child.restarts.charged.clear();
                (child.restarts.forgiven, child.restarts.pauses) = (0, (0, 0));
                child.restarts.fresh = true;
                child.restarts.running = None;
            }
        }
    }
}
