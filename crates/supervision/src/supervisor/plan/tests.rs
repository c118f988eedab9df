//! The plan against a world that keeps its own books: children that live, timers that are set, and events in
//! any order that such a world can produce.

use proptest::{prelude::*, strategy::Strategy as Strategist};

use super::*;
use crate::policy::{Backoff, Intensity, Strategy};

const SECOND: Duration = Duration::from_secs(1);

/// What may happen next; the numbers choose among what is possible.
#[derive(Clone, Debug)]
enum Event {
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

fn event() -> impl Strategist<Value = Event> {
    let number = 0_usize..1_000;
    prop_oneof![
        4 => number.clone().prop_map(Event::Ready),
        4 => (number.clone(), prop::sample::select(ExitKind::ALL.to_vec())).prop_map(|(n, kind)| Event::Exit(n, kind)),
        6 => number.clone().prop_map(Event::Timer),
        3 => number.clone().prop_map(Event::StaleTimer),
        1 => policy().prop_map(Event::Add),
        1 => number.prop_map(Event::Remove),
        2 => (0_u64..40_000).prop_map(|millis| Event::Pass(Duration::from_millis(millis))),
        1 => Just(Event::Stop),
    ]
}

fn policy() -> impl Strategist<Value = Policy> {
    let restart = prop::sample::select(vec![Restart::Permanent, Restart::Transient, Restart::Temporary]);
    (restart, 0_u32..4, any::<bool>()).prop_map(|(restart, max_restarts, mandatory)| Policy {
        restart,
        intensity: Intensity { max_restarts, within: 10 * SECOND },
        backoff: Backoff { first: SECOND, max: 5 * SECOND, jitter: true, reset_after: 20 * SECOND },
        give_up_after: mandatory.then_some(60 * SECOND),
        ..Policy::default()
    })
}

fn strategy() -> impl Strategist<Value = Strategy> {
    prop::sample::select(vec![Strategy::OneForOne, Strategy::RestForOne])
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

struct World {
    plan: Plan,
    strategy: Strategy,
    now: Instant,
    alive: Vec<bool>,
    ready: Vec<bool>,
    asked: Vec<bool>,
    killed: Vec<bool>,
    leaving: Vec<bool>,
    gone: Vec<bool>,
    /// Counts what voids a timer: starts, exits, and the stop.
    life: Vec<u64>,
    timers: Vec<Set>,
    first_starts: Vec<Index>,
    stops: Vec<Index>,
    /// Who was paused since the last start of anybody.
    pauses: Vec<Index>,
    stopping: bool,
    started: u32,
    finished: u32,
}

impl World {
    fn new(strategy: Strategy, policies: &[Policy]) -> Self {
        let none = vec![false; policies.len()];
        let mut world = Self {
            plan: Plan::new(strategy, policies.iter().copied().enumerate()),
            strategy,
            now: Instant::now(),
            alive: none.clone(),
            ready: none.clone(),
            asked: none.clone(),
            killed: none.clone(),
            leaving: none.clone(),
            gone: none,
            life: vec![0; policies.len()],
            timers: Vec::new(),
            first_starts: Vec::new(),
            stops: Vec::new(),
            pauses: Vec::new(),
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
                Action::Spawn(child) => {
                    assert!(!self.alive[child], "a second incarnation of {child}");
                    assert!(!self.stopping, "an incarnation of {child} during the stop");
                    assert!(!self.leaving[child], "an incarnation of {child}, which is to leave");
                    if self.strategy == Strategy::RestForOne {
                        let before = (child + 1..self.alive.len())
                            .find(|&other| self.alive[other] && !self.leaving[other]);
                        assert_eq!(before, None, "it lives before {child}, on which it depends");
                    }
                    self.pauses.clear();
                    self.alive[child] = true;
                    (self.ready[child], self.asked[child], self.killed[child]) = (false, false, false);
                    self.life[child] += 1;
                    if !self.first_starts.contains(&child) {
                        self.first_starts.push(child);
                    }
                }
                Action::Arm { child, timer, token, after } => {
                    let (at, life) = (self.now + after, self.life[child]);
                    self.timers.push(Set { child, timer, token, at, life, fired: false });
                }
                Action::Stop(child) if !self.stopping => {
                    assert!(self.leaving[child] && self.alive[child], "{child} was asked to leave");
                    self.asked[child] = true;
                }
                Action::Stop(child) => {
                    assert!(self.stopping && self.alive[child], "{child} was asked to stop");
                    let before = self.stops.last().copied();
                    let gone = before.is_none_or(|before| !self.alive[before] || self.killed[before]);
                    assert!(gone, "{child} was asked to stop before {before:?} had ended");
                    self.asked[child] = true;
                    self.stops.push(child);
                }
                Action::Pause(child) => {
                    assert_eq!(self.strategy, Strategy::RestForOne);
                    assert!(
                        self.alive[child] && !self.leaving[child] && !self.stopping,
                        "{child} was paused"
                    );
                    assert!((0..child).any(|other| !self.alive[other]), "nobody before {child} has fallen");
                    if let Some(&before) = self.pauses.last() {
                        assert!(before > child, "{child} was paused after {before}");
                        assert!(!self.alive[before], "{child} was paused before {before} had ended");
                    }
                    self.asked[child] = true;
                    self.life[child] += 1;
                    self.pauses.push(child);
                }
                Action::Kill(child) => {
                    assert!(self.asked[child] && self.alive[child], "{child} was killed");
                    self.killed[child] = true;
                }
                Action::Started => self.started += 1,
                Action::GiveUp(child) => {
                    let (state, degraded) = self.plan.state(child);
                    assert!(
                        degraded && state != State::Running,
                        "{child} is {state:?}, degraded: {degraded}"
                    );
                    assert!(!self.alive[child] || !self.ready[child], "{child} runs");
                }
                Action::Gone(child) => {
                    assert!(self.leaving[child] && !self.stopping && !self.gone[child], "{child} is gone");
                    assert!(!self.alive[child] || self.killed[child], "{child} left alive");
                    (self.gone[child], self.alive[child]) = (true, false);
                    self.life[child] += 1;
                }
                Action::Finished => self.finished += 1,
            }
        }
    }

    fn exit(&mut self, child: Index, kind: ExitKind) {
        self.alive[child] = false;
        self.life[child] += 1;
        let actions = self.plan.exited(child, kind, self.now);
        self.carry_out(&actions);
    }

    fn fire(&mut self, at: usize) {
        let Set { child, timer, token, life, .. } = self.timers[at];
        self.timers[at].fired = true;
        let stale = life != self.life[child] && timer != Timer::GiveUp;
        let before = (0..self.alive.len()).map(|child| self.plan.state(child)).collect::<Vec<_>>();
        let actions = self.plan.due(child, timer, token, self.now);
        if timer == Timer::KillOverdue && !stale && !self.stopping && !self.leaving[child] {
            // Nobody waits for it any longer.
            self.alive[child] = false;
            self.life[child] += 1;
        }
        if stale {
            assert_eq!(actions, [], "a stale {timer:?} of {child} did something");
            let after = (0..self.alive.len()).map(|child| self.plan.state(child)).collect::<Vec<_>>();
            assert_eq!(before, after, "a stale {timer:?} of {child} changed something");
        }
        self.carry_out(&actions);
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.life.iter_mut().for_each(|life| *life += 1);
        }
        let actions = self.plan.stop();
        self.carry_out(&actions);
    }

    /// Lets everything that was begun come to its end, without another fall.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let living = |list: &[bool]| (0..list.len()).find(|&child| self.alive[child] && list[child]);
            let unready: Vec<bool> = self.ready.iter().map(|ready| !ready).collect();
            if let Some(child) = living(&self.asked) {
                self.exit(child, ExitKind::Sibling);
            } else if let Some(child) = living(&unready) {
                self.ready[child] = true;
                let actions = self.plan.ready(child);
                self.carry_out(&actions);
            } else {
                let waits = |set: &Set| !set.fired && !matches!(set.timer, Timer::Healthy | Timer::GiveUp);
                let next = self
                    .timers
                    .iter()
                    .enumerate()
                    .filter(|(_, set)| waits(set))
                    .min_by_key(|(_, set)| set.at);
                let Some((at, due)) = next.map(|(at, set)| (at, set.at)) else { return };
                self.now = self.now.max(due);
                self.fire(at);
            }
        }
        panic!("it never comes to rest: {:?}", self.plan);
    }

    fn happen(&mut self, event: Event) {
        if self.finished > 0 {
            return;
        }
        match event {
            Event::Ready(number) => {
                let waiting: Vec<_> =
                    (0..self.alive.len()).filter(|&child| self.alive[child] && !self.ready[child]).collect();
                if let Some(&child) = waiting.get(number % waiting.len().max(1)) {
                    self.ready[child] = true;
                    let actions = self.plan.ready(child);
                    self.carry_out(&actions);
                }
            }
            Event::Exit(number, kind) => {
                let living: Vec<_> = (0..self.alive.len()).filter(|&child| self.alive[child]).collect();
                if let Some(&child) = living.get(number % living.len().max(1)) {
                    self.exit(child, kind);
                }
            }
            Event::Timer(number) => {
                let due: Vec<_> = self.timers.iter().enumerate().filter(|(_, set)| !set.fired).collect();
                if let Some(&(at, set)) = due.get(number % due.len().max(1)) {
                    self.now = self.now.max(set.at);
                    self.fire(at);
                }
            }
            Event::StaleTimer(number) => {
                let old: Vec<_> = (0..self.timers.len())
                    .filter(|&at| self.timers[at].life != self.life[self.timers[at].child])
                    .collect();
                if let Some(&at) = old.get(number % old.len().max(1)) {
                    self.fire(at);
                }
            }
            Event::Pass(time) => self.now += time,
            Event::Add(policy) => {
                let child = self.alive.len();
                let lists = [&mut self.alive, &mut self.ready, &mut self.asked, &mut self.killed];
                for list in lists.into_iter().chain([&mut self.leaving, &mut self.gone]) {
                    list.push(false);
                }
                self.life.push(0);
                let actions = self.plan.add(child, policy);
                assert_eq!(self.plan.add(child, policy), [], "it was added already");
                self.carry_out(&actions);
            }
            Event::Remove(number) => {
                let present: Vec<_> = (0..self.alive.len()).filter(|&child| !self.gone[child]).collect();
                if let Some(&child) = present.get(number % present.len().max(1)) {
                    if !self.stopping && !self.leaving[child] {
                        self.leaving[child] = true;
                        self.life[child] += 1;
                    }
                    let actions = self.plan.remove(child);
                    self.carry_out(&actions);
                }
            }
            Event::Stop => self.stop(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// 0 to 3 restarts in 10 s, 1 s to 5 s before each; some give up a minute after they are degraded. `World`
    /// itself asserts: never two incarnations of a child, nothing of stale timers, one stop after the other.
    #[test]
    fn whatever_happens_no_child_lives_twice_and_the_stop_comes_to_an_end(
        strategy in strategy(),
        policies in prop::collection::vec(policy(), 0..6),
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new(strategy, &policies);
        for event in events {
            world.happen(event);
        }
        world.stop();
        // Every `Stop` and `Kill` is answered by an exit.
        while world.finished == 0 {
            let asked = (0..world.alive.len()).find(|&child| world.alive[child] && world.asked[child]);
            prop_assert!(asked.is_some(), "the stop waits for nobody");
            world.exit(asked.unwrap_or_default(), ExitKind::Stopped);
        }
        prop_assert_eq!(world.finished, 1);
        // Only children that a kill did not end may be left.
        for child in 0..world.alive.len() {
            prop_assert!(!world.alive[child] || world.killed[child], "{} was left behind", child);
        }
        prop_assert!(world.started <= 1 || strategy == Strategy::RestForOne);
        let in_order = world.first_starts.is_sorted_by(|earlier, later| earlier < later);
        prop_assert!(in_order, "started in the order {:?}", world.first_starts);
        prop_assert!(world.stops.is_sorted_by(|earlier, later| earlier > later), "stopped {:?}", world.stops);
    }

    /// Without further failures, every child that should run runs in the end.
    #[test]
    fn whatever_has_happened_all_who_come_back_run_in_the_end(
        strategy in strategy(),
        policies in prop::collection::vec(policy(), 0..6),
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new(strategy, &policies);
        let mut all = policies.clone();
        for event in events.into_iter().filter(|event| !matches!(event, Event::Stop)) {
            all.extend(if let Event::Add(policy) = &event { Some(*policy) } else { None });
            world.happen(event);
        }
        world.settle();
        for (child, policy) in all.iter().enumerate() {
            let runs = world.alive[child] && world.ready[child] && world.plan.state(child).0 == State::Running;
            if world.leaving[child] {
                prop_assert!(world.gone[child], "{child} did not leave");
            } else if policy.restart == Restart::Permanent {
                prop_assert!(runs, "{child} is not there: {:?}", world.plan);
            }
        }
    }

    /// A stop that no child answers ends by its timers alone.
    #[test]
    fn a_stop_that_nobody_answers_comes_to_an_end_by_its_deadlines(
        strategy in strategy(),
        policies in prop::collection::vec(policy(), 0..6),
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new(strategy, &policies);
        let mut all = policies.clone();
        for event in events {
            all.extend(if let Event::Add(policy) = &event { Some(*policy) } else { None });
            world.happen(event);
        }
        let began = world.now;
        world.stop();
        while world.finished == 0 {
            let next = world.timers.iter().enumerate().filter(|(_, set)| !set.fired).min_by_key(|(_, set)| set.at);
            let next = next.map(|(at, set)| (at, set.at));
            prop_assert!(next.is_some(), "no deadline is set");
            let (at, due) = next.unwrap_or((0, began));
            world.now = world.now.max(due);
            world.fire(at);
        }
        let bound: Duration = all.iter().map(|policy| policy.stop_within + KILL_GRACE).sum();
        prop_assert!(world.now.duration_since(began) <= bound);
    }
}

fn at(plan: &mut Plan, actions: &[Action], timer: Timer, now: Instant) -> Vec<Action> {
    let armed = actions.iter().find_map(|action| match *action {
        Action::Arm { child, timer: armed, token, .. } if armed == timer => Some((child, token)),
        _ => None,
    });
    let (child, token) = armed.expect("the timer was set");
    plan.due(child, timer, token, now)
}

#[test]
fn the_restart_beyond_the_intensity_is_the_one_that_degrades() {
    // 3 restarts in 10 s are tolerated; then one every 30 s.
    let policy =
        Policy { intensity: Intensity { max_restarts: 3, within: 10 * SECOND }, ..Policy::default() };
    let mut plan = Plan::new(Strategy::OneForOne, [(0, policy)]);
    let now = Instant::now();
    plan.start();
    for _ in 0..3 {
        let actions = plan.exited(0, ExitKind::Failed, now);
        assert_eq!(plan.state(0), (State::BackingOff, false));
        assert_eq!(at(&mut plan, &actions, Timer::Restart, now).first(), Some(&Action::Spawn(0)));
    }
    let actions = plan.exited(0, ExitKind::Failed, now);
    assert_eq!(plan.state(0), (State::Degraded, true));
    let retry = |action: &Action| matches!(action, Action::Arm { timer: Timer::Restart, after, .. } if (15..=30).contains(&after.as_secs()));
    assert!(actions.iter().any(retry), "{actions:?}");
}

#[test]
fn a_child_that_recovered_in_time_does_not_make_the_root_give_up() {
    // No restart is tolerated; a minute of being degraded is the end.
    let policy = Policy {
        intensity: Intensity { max_restarts: 0, within: 10 * SECOND },
        give_up_after: Some(60 * SECOND),
        ..Policy::default()
    };
    let mut plan = Plan::new(Strategy::OneForOne, [(0, policy)]);
    let now = Instant::now();
    plan.start();
    let degraded = plan.exited(0, ExitKind::Failed, now);
    at(&mut plan, &degraded, Timer::Restart, now + 30 * SECOND);
    let ready = plan.ready(0);
    assert_eq!(plan.state(0), (State::Running, true));
    at(&mut plan, &ready, Timer::Healthy, now + 50 * SECOND);
    assert_eq!(plan.state(0), (State::Running, false));
    assert_eq!(at(&mut plan, &degraded, Timer::GiveUp, now + 60 * SECOND), []);
    // Degraded again: the minute starts again, and the timer of the first time is ignored.
    let again = plan.exited(0, ExitKind::Failed, now + 61 * SECOND);
    assert_eq!(at(&mut plan, &degraded, Timer::GiveUp, now + 62 * SECOND), []);
    assert_eq!(at(&mut plan, &again, Timer::GiveUp, now + 121 * SECOND), [Action::GiveUp(0)]);
}

#[test]
fn the_root_gives_up_only_while_the_mandatory_child_is_down() {
    // No restart is tolerated; a minute of being degraded is the end; healthy after an hour.
    let policy = Policy {
        intensity: Intensity { max_restarts: 0, within: 10 * SECOND },
        give_up_after: Some(60 * SECOND),
        backoff: Backoff { reset_after: 3_600 * SECOND, ..Policy::default().backoff },
        ..Policy::default()
    };
    let mut plan = Plan::new(Strategy::OneForOne, [(0, policy)]);
    let now = Instant::now();
    plan.start();
    let degraded = plan.exited(0, ExitKind::Failed, now);
    at(&mut plan, &degraded, Timer::Restart, now + 57 * SECOND);
    plan.ready(0);
    assert_eq!(at(&mut plan, &degraded, Timer::GiveUp, now + 60 * SECOND), [], "it runs");
    let again = plan.exited(0, ExitKind::Failed, now + 61 * SECOND);
    assert_eq!(again.first(), Some(&Action::GiveUp(0)), "it has fallen after its time was over");
}

#[test]
fn those_behind_a_child_that_falls_stop_in_reverse_and_start_again_in_order_and_only_it_is_charged() {
    // No restart is tolerated: who has one charged is degraded, and retried after 30 s.
    let policy =
        Policy { intensity: Intensity { max_restarts: 0, within: 10 * SECOND }, ..Policy::default() };
    let mut plan = Plan::new(Strategy::RestForOne, (0..4).map(|child| (child, policy)));
    let now = Instant::now();
    plan.start();
    (0..4).for_each(|child| drop(plan.ready(child)));
    let only = |actions: &[Action]| -> Vec<Action> {
        actions.iter().copied().filter(|action| !matches!(action, Action::Arm { .. })).collect()
    };
    let fell = plan.exited(1, ExitKind::Panicked, now);
    assert_eq!(only(&fell), [Action::Pause(3)]);
    assert_eq!(only(&plan.exited(3, ExitKind::Sibling, now)), [Action::Pause(2)]);
    // Its restart comes while one is still stopping: it waits for that.
    assert_eq!(at(&mut plan, &fell, Timer::Restart, now + 30 * SECOND), []);
    let mut last = plan.exited(2, ExitKind::Sibling, now + 31 * SECOND);
    for child in 1..4 {
        assert_eq!(only(&at(&mut plan, &last, Timer::Restart, now + 31 * SECOND)), [Action::Spawn(child)]);
        last = plan.ready(child);
    }
    assert!(last.contains(&Action::Started));
    let states: Vec<_> = (0..4).map(|child| plan.state(child)).collect();
    let (whole, degraded) = ((State::Running, false), (State::Running, true));
    assert_eq!(states, [whole, degraded, whole, whole]);
}
