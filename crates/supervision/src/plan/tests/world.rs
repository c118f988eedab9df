//! A world around a plan, which keeps its own books: children that live, timers that are set, restarts that are charged. It
//! checks each action of the plan against them.

use super::*;

/// What may happen next; the numbers choose among what is possible.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Ready(usize),
    Exit(usize, ExitKind),
    /// A timer goes off when its time has come.
    Timer(usize),
    /// A timer of any age is delivered again, or late.
    StaleTimer(usize),
    Pass(Duration),
    Add(Policy),
    Remove(usize),
    Stop,
}

/// A timer that was set, and how much life its child had behind it then.
#[derive(Clone, Copy, Debug)]
struct Set {
    child: Index,
    timer: Timer,
    token: u64,
    at: Instant,
    life: u64,
    fired: bool,
}

/// What the world knows about one child.
pub(super) struct Being {
    pub(super) policy: Policy,
    pub(super) alive: bool,
    pub(super) ready: bool,
    pub(super) asked: bool,
    pub(super) killed: bool,
    pub(super) leaving: bool,
    pub(super) gone: bool,
    /// It ended in a way after which its policy does not restart it.
    pub(super) ended: bool,
    /// Its deadline for the stop has passed.
    overdue: bool,
    /// Counts what voids a timer: starts, exits, and the stop.
    life: u64,
    /// When it had restarts charged, since it was last healthy.
    charged: Vec<Instant>,
    /// How many pauses it had since it was last healthy.
    pauses: u32,
    degraded_since: Option<Instant>,
}

impl Being {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            alive: false,
            ready: false,
            asked: false,
            killed: false,
            leaving: false,
            gone: false,
            ended: false,
            overdue: false,
            life: 0,
            charged: Vec::new(),
            pauses: 0,
            degraded_since: None,
        }
    }

    fn comes_back(&self, kind: ExitKind) -> bool {
        match self.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !matches!(kind, ExitKind::Finished | ExitKind::Stopped),
            Restart::Temporary => false,
        }
    }
}

pub(super) struct World {
    pub(super) plan: Plan,
    strategy: Strategy,
    pub(super) now: Instant,
    pub(super) children: Vec<Being>,
    timers: Vec<Set>,
    pub(super) first_starts: Vec<Index>,
    pub(super) stops: Vec<Index>,
    /// The children that were paused since the last start of one.
    pauses: Vec<Index>,
    /// The child for which others are paused, until the next start of one.
    falling: Option<Index>,
    pub(super) stopping: bool,
    pub(super) started: u32,
    pub(super) finished: u32,
}

impl World {
    pub(super) fn new(strategy: Strategy, policies: &[Policy], seed: u64) -> Self {
        let children = policies.iter().map(|&policy| Arc::new(policy)).enumerate();
        let mut world = Self {
            plan: Plan::new(strategy, children, Chance::new(seed)),
            strategy,
            now: Instant::now(),
            children: policies.iter().map(|&policy| Being::new(policy)).collect(),
            timers: Vec::new(),
            first_starts: Vec::new(),
            stops: Vec::new(),
            pauses: Vec::new(),
            falling: None,
            stopping: false,
            started: 0,
            finished: 0,
        };
        let actions = world.plan.start();
        world.carry_out(&actions);
        world
    }

    fn carry_out(&mut self, actions: &[Action]) {
        for &action in actions {
            assert_eq!(self.finished, 0, "{action:?} after the end");
            match action {
                Action::Spawn(child) => self.spawned(child),
                Action::Arm { child, timer, token, after } => self.armed(child, timer, token, after),
                Action::Stop(child) => self.asked_to_stop(child),
                Action::Pause(child) => self.paused(child),
                Action::Kill(child) => {
                    let at_once = self.children[child].policy.shutdown == Shutdown::AtOnce;
                    let being = &mut self.children[child];
                    assert!(being.asked && being.alive, "{child} was killed");
                    assert!(being.overdue || at_once, "{child} was killed before its time was over");
                    being.killed = true;
                }
                Action::Started => self.started += 1,
                Action::GiveUp(child) => self.given_up(child),
                Action::Escalate(child) => {
                    let being = &self.children[child];
                    assert_eq!(being.policy.on_limit, OnLimit::Escalate, "{child}");
                    assert!(!self.stopping && !being.leaving && !being.alive, "{child} escalates");
                    self.begin_stop();
                }
                Action::Gone(child) => {
                    let being = &mut self.children[child];
                    assert!(being.leaving && !self.stopping && !being.gone, "{child} is gone");
                    assert!(!being.alive || being.killed, "{child} left alive");
                    (being.gone, being.alive) = (true, false);
                    being.life += 1;
                }
                Action::Finished => self.finished += 1,
            }
        }
        for (child, being) in self.children.iter().enumerate() {
            let asked_at_once = being.asked && being.policy.shutdown == Shutdown::AtOnce;
            assert!(!being.alive || !asked_at_once || being.killed, "{child} was asked and not killed");
            let stops = self.stopping && self.strategy == Strategy::Independent;
            assert!(!stops || !being.alive || being.asked, "{child} was not asked with the others");
        }
    }

    fn spawned(&mut self, child: Index) {
        let lives = |other: &Index| self.children[*other].alive && !self.children[*other].leaving;
        assert!(!self.children[child].alive, "a second incarnation of {child}");
        assert!(!self.stopping, "an incarnation of {child} during the stop");
        assert!(!self.children[child].leaving, "an incarnation of {child}, which is to leave");
        assert!(!self.children[child].ended, "an incarnation of {child}, which has ended for good");
        let others = match self.strategy {
            Strategy::OneForOne | Strategy::Independent => 0..0,
            Strategy::RestForOne => child + 1..self.children.len(),
            // After a failure all others have ended before the first start; else they start in order.
            Strategy::OneForAll if self.falling.is_some() => 0..self.children.len(),
            Strategy::OneForAll => child + 1..self.children.len(),
        };
        let early = others.into_iter().find(lives);
        assert_eq!(early, None, "it lives before {child}, on which it depends");
        self.pauses.clear();
        self.falling = None;
        let being = &mut self.children[child];
        being.alive = true;
        (being.ready, being.asked, being.killed, being.overdue) = (false, false, false, false);
        being.life += 1;
        if !self.first_starts.contains(&child) {
            self.first_starts.push(child);
        }
    }

    fn armed(&mut self, child: Index, timer: Timer, token: u64, after: Duration) {
        let being = &self.children[child];
        if timer == Timer::StopOverdue {
            assert_eq!(being.policy.shutdown, Shutdown::Within(after), "the deadline of {child}");
        }
        let (at, life) = (self.now + after, being.life);
        self.timers.push(Set { child, timer, token, at, life, fired: false });
    }

    fn asked_to_stop(&mut self, child: Index) {
        let being = &self.children[child];
        if !self.stopping {
            assert!(being.leaving && being.alive, "{child} was asked to leave");
        } else {
            assert!(being.alive, "{child} was asked to stop");
            let before = self.stops.last().map(|&before| (before, &self.children[before]));
            let at_once = self.strategy == Strategy::Independent;
            let gone = at_once || before.is_none_or(|(_, before)| !before.alive || before.killed);
            assert!(
                gone,
                "{child} was asked to stop before {:?} had ended",
                before.map(|(before, _)| before)
            );
            self.stops.push(child);
        }
        (self.children[child].asked, self.children[child].overdue) = (true, false);
    }

    fn paused(&mut self, child: Index) {
        let being = &self.children[child];
        assert!(being.alive && !being.leaving && !self.stopping, "{child} was paused");
        let fallen = match self.strategy {
            Strategy::OneForOne | Strategy::Independent => panic!("{child} was paused, one for one"),
            Strategy::RestForOne => 0..child,
            Strategy::OneForAll => 0..self.children.len(),
        };
        assert!(
            fallen.into_iter().any(|other| !self.children[other].alive),
            "{child} depends on none that fell"
        );
        if let Some(&before) = self.pauses.last() {
            assert!(before > child, "{child} was paused after {before}");
            assert!(!self.children[before].alive, "{child} was paused before {before} had ended");
        }
        self.pauses.push(child);
        let being = &mut self.children[child];
        (being.asked, being.overdue) = (true, false);
        being.life += 1;
    }

    fn given_up(&self, child: Index) {
        let being = &self.children[child];
        let degraded = self.plan.state(child).map(|(state, degraded)| (state != State::Running, degraded));
        assert_eq!(degraded, Some((true, true)), "{child} is given up");
        assert!(!being.alive || !being.ready, "{child} runs");
        let down = being.degraded_since.map(|since| self.now.duration_since(since));
        assert!(down >= being.policy.give_up_after && down.is_some(), "{child} is given up after {down:?}");
    }

    pub(super) fn exit(&mut self, child: Index, kind: ExitKind) {
        let depends = |from| match self.strategy {
            Strategy::OneForOne | Strategy::Independent => false,
            Strategy::RestForOne => child > from,
            Strategy::OneForAll => child != from,
        };
        let for_another = self.falling.is_some_and(depends);
        let being = &mut self.children[child];
        (being.alive, being.life) = (false, being.life + 1);
        let stays = !self.stopping && !being.leaving;
        let comes_back = stays && being.comes_back(kind);
        being.ended |= stays && !comes_back;
        let actions = self.plan.exited(child, kind, self.now);
        if comes_back && for_another {
            assert_eq!(self.plan.state(child), Some((State::Waiting, being.degraded_since.is_some())));
        } else if comes_back {
            self.charge(child, kind, &actions);
        }
        self.carry_out(&actions);
    }

    /// The restart of a child after an exit of its own: its state, its pause, and the limit.
    fn charge(&mut self, child: Index, kind: ExitKind, actions: &[Action]) {
        if !matches!(self.strategy, Strategy::OneForOne | Strategy::Independent) {
            self.falling = Some(child);
        }
        let being = &mut self.children[child];
        let Policy { intensity, backoff, degraded_retry, on_limit, .. } = being.policy;
        if kind != ExitKind::Unavailable {
            being.charged.push(self.now);
        }
        let recent = |&&at: &&Instant| self.now.duration_since(at) <= intensity.within;
        let exceeds = being.charged.iter().filter(recent).count() > intensity.max_restarts as usize;
        if exceeds && on_limit == OnLimit::Escalate {
            assert_eq!(actions.first(), Some(&Action::Escalate(child)));
            return;
        }
        if exceeds {
            being.degraded_since.get_or_insert(self.now);
        }
        let (state, longest) = match being.degraded_since {
            Some(_) => ((State::Degraded, true), degraded_retry),
            None => {
                being.pauses += 1;
                let doubled = backoff.first * 2_u32.pow((being.pauses - 1).min(8));
                ((State::BackingOff, false), doubled.min(backoff.max))
            }
        };
        assert_eq!(self.plan.state(child), Some(state), "{child} after {kind:?}");
        let pause = actions.iter().find_map(|action| match *action {
            Action::Arm { child: of, timer: Timer::Restart, after, .. } if of == child => Some(after),
            _ => None,
        });
        let pause = pause.expect("a restart is planned");
        assert!(pause <= longest && pause >= longest / 2, "{child} pauses for {pause:?} of {longest:?}");
    }

    fn states(&self) -> Vec<Option<(State, bool)>> {
        (0..self.children.len()).map(|child| self.plan.state(child)).collect()
    }

    pub(super) fn fire(&mut self, at: usize) {
        let Set { child, timer, token, life, .. } = self.timers[at];
        self.timers[at].fired = true;
        let is_stale = life != self.children[child].life && timer != Timer::GiveUp;
        let before = self.states();
        let actions = self.plan.due(child, timer, token);
        let being = &mut self.children[child];
        if is_stale {
            assert_eq!(actions, [], "a stale {timer:?} of {child} did something");
            assert_eq!(before, self.states(), "a stale {timer:?} of {child} changed something");
            return;
        }
        match timer {
            Timer::StopOverdue => being.overdue = true,
            Timer::Healthy => {
                (being.degraded_since, being.pauses) = (None, 0);
                being.charged.clear();
            }
            Timer::KillOverdue if !self.stopping && !being.leaving => {
                // Its siblings do not wait for it any longer.
                (being.alive, being.life) = (false, being.life + 1);
            }
            _ => {}
        }
        self.carry_out(&actions);
    }

    fn begin_stop(&mut self) {
        self.stopping = true;
        self.children.iter_mut().for_each(|being| being.life += 1);
    }

    pub(super) fn stop(&mut self) {
        if !self.stopping {
            self.begin_stop();
        }
        let actions = self.plan.stop();
        self.carry_out(&actions);
    }

    /// The timer that goes off first, and when.
    pub(super) fn next_timer(&self, counts: impl Fn(Timer) -> bool) -> Option<(usize, Instant)> {
        let waiting = self.timers.iter().enumerate().filter(|(_, set)| !set.fired && counts(set.timer));
        waiting.map(|(at, set)| (at, set.at)).min_by_key(|(_, due)| *due)
    }

    fn find(&self, wanted: impl Fn(&Being) -> bool) -> Option<Index> {
        self.children.iter().position(wanted)
    }

    fn ready(&mut self, child: Index) {
        self.children[child].ready = true;
        let actions = self.plan.ready(child);
        self.carry_out(&actions);
    }

    /// Finishes everything that was begun, without another failure.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if let Some(child) = self.find(|being| being.alive && being.asked) {
                self.exit(child, ExitKind::Sibling);
            } else if let Some(child) = self.find(|being| being.alive && !being.ready) {
                self.ready(child);
            } else {
                let counts = |timer| !matches!(timer, Timer::Healthy | Timer::GiveUp);
                let Some((at, due)) = self.next_timer(counts) else { return };
                self.now = self.now.max(due);
                self.fire(at);
            }
        }
        panic!("it never comes to rest: {:?}", self.plan);
    }

    /// The `number`-th of the children that are `wanted`, if there is one.
    fn choose(&self, number: usize, wanted: impl Fn(&Being) -> bool) -> Option<Index> {
        let all: Vec<_> = (0..self.children.len()).filter(|&child| wanted(&self.children[child])).collect();
        all.get(number % all.len().max(1)).copied()
    }

    pub(super) fn happen(&mut self, event: Event) {
        if self.finished > 0 {
            return;
        }
        match event {
            Event::Ready(number) => {
                let starting = self.choose(number, |being| being.alive && !being.ready);
                starting.into_iter().for_each(|child| self.ready(child));
            }
            Event::Exit(number, kind) => {
                let living = self.choose(number, |being| being.alive);
                living.into_iter().for_each(|child| self.exit(child, kind));
            }
            Event::Timer(number) => {
                let due: Vec<_> = (0..self.timers.len()).filter(|&at| !self.timers[at].fired).collect();
                if let Some(&at) = due.get(number % due.len().max(1)) {
                    self.now = self.now.max(self.timers[at].at);
                    self.fire(at);
                }
            }
            Event::StaleTimer(number) => {
                // The time to give up has no token of the child's state: it comes once, and not before its time.
                let is_old = |set: &Set| {
                    set.life != self.children[set.child].life
                        && (set.timer != Timer::GiveUp || set.at <= self.now)
                };
                let old: Vec<_> = (0..self.timers.len()).filter(|&at| is_old(&self.timers[at])).collect();
                old.get(number % old.len().max(1)).into_iter().for_each(|&at| self.fire(at));
            }
            Event::Pass(time) => self.now += time,
            Event::Add(policy) => {
                let child = self.children.len();
                self.children.push(Being::new(policy));
                let actions = self.plan.add(child, Arc::new(policy));
                assert_eq!(self.plan.add(child, Arc::new(policy)), [], "it was added already");
                self.carry_out(&actions);
            }
            Event::Remove(number) => {
                let Some(child) = self.choose(number, |being| !being.gone) else { return };
                let being = &mut self.children[child];
                if !self.stopping && !being.leaving {
                    (being.leaving, being.life) = (true, being.life + 1);
                }
                let actions = self.plan.remove(child);
                self.carry_out(&actions);
            }
            Event::Stop => self.stop(),
        }
    }
}
