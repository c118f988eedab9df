//! The plan against a world that keeps its own books, with events in any order that such a world can produce; and its
//! decisions one by one.

mod world;

use proptest::{prelude::*, strategy::Strategy as Strategist};

use self::world::{Event, World};
use super::*;
use crate::policy::{Backoff, Intensity, OnLimit, Shutdown, Strategy};

const SECOND: Duration = Duration::from_secs(1);

fn event(policy: impl Strategist<Value = Policy> + 'static) -> impl Strategist<Value = Event> {
    let number = 0_usize..1_000;
    let kind = prop::sample::select(ExitKind::ALL.to_vec());
    prop_oneof![
        4 => number.clone().prop_map(Event::Ready),
        4 => (number.clone(), kind).prop_map(|(n, kind)| Event::Exit(n, kind)),
        6 => number.clone().prop_map(Event::Timer),
        3 => number.clone().prop_map(Event::StaleTimer),
        1 => policy.prop_map(Event::Add),
        1 => number.prop_map(Event::Remove),
        2 => (0_u64..40_000).prop_map(|millis| Event::Pass(Duration::from_millis(millis))),
        1 => Just(Event::Stop),
    ]
}

/// 0 to 3 restarts in 10 s or a minute, 1 s to 5 s before each; healthy after 20 s. Some give up a minute after they are degraded.
fn policy() -> impl Strategist<Value = Policy> {
    let restart = prop::sample::select(vec![Restart::Permanent, Restart::Transient, Restart::Temporary]);
    let on_limit = prop::sample::select(vec![OnLimit::Degrade, OnLimit::Degrade, OnLimit::Escalate]);
    let shutdown = prop_oneof![
        2 => (1_u64..5).prop_map(|seconds| Shutdown::Within(Duration::from_secs(seconds))),
        1 => Just(Shutdown::AtOnce),
        1 => Just(Shutdown::Unlimited),
    ];
    let intensity = (0_u32..4, prop::sample::select(vec![10 * SECOND, 60 * SECOND]));
    let choice = (restart, on_limit, shutdown, intensity, any::<bool>());
    choice.prop_map(|(restart, on_limit, shutdown, (max_restarts, within), mandatory)| Policy {
        restart,
        on_limit,
        shutdown,
        intensity: Intensity { max_restarts, within },
        backoff: Backoff { first: SECOND, max: 5 * SECOND, jitter: true, reset_after: 20 * SECOND },
        give_up_after: mandatory.then_some(60 * SECOND),
        ..Policy::default()
    })
}

fn strategy() -> impl Strategist<Value = Strategy> {
    prop::sample::select(vec![
        Strategy::OneForOne,
        Strategy::Independent,
        Strategy::RestForOne,
        Strategy::OneForAll,
    ])
}

/// `PROPTEST_CASES`, or 1,000.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(1_000, |cases| cases.parse().expect("PROPTEST_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// `World` itself asserts: never two incarnations of a child, nothing of stale timers, one stop after the other or all at once, no
    /// restart beyond the limit, pauses that grow, no kill before its time.
    #[test]
    fn whatever_happens_no_child_lives_twice_and_the_stop_ends(
        strategy in strategy(),
        policies in prop::collection::vec(policy(), 0..6),
        events in prop::collection::vec(event(policy()), 0..120),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(strategy, &policies, seed);
        for event in events {
            world.happen(event);
        }
        world.stop();
        // Every `Stop` and `Kill` is answered by an exit.
        while world.finished == 0 {
            let asked = world.children.iter().position(|being| being.alive && being.asked);
            prop_assert!(asked.is_some(), "the stop waits for no child");
            world.exit(asked.unwrap_or_default(), ExitKind::Stopped);
        }
        prop_assert_eq!(world.finished, 1);
        // Only children that a kill did not end may be left.
        for (child, being) in world.children.iter().enumerate() {
            prop_assert!(!being.alive || being.killed, "{} was left behind", child);
        }
        prop_assert!(world.started <= 1 || !matches!(strategy, Strategy::OneForOne | Strategy::Independent));
        let in_order = world.first_starts.is_sorted_by(|earlier, later| earlier < later);
        prop_assert!(in_order, "started in the order {:?}", world.first_starts);
        prop_assert!(world.stops.is_sorted_by(|earlier, later| earlier > later), "stopped {:?}", world.stops);
    }

    /// Without further failures, every child that should run runs in the end.
    #[test]
    fn whatever_has_happened_all_that_come_back_run_in_the_end(
        strategy in strategy(),
        policies in prop::collection::vec(policy().prop_map(degrades), 0..6),
        events in prop::collection::vec(event(policy().prop_map(degrades)), 0..120),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(strategy, &policies, seed);
        for event in events.into_iter().filter(|event| !matches!(event, Event::Stop)) {
            world.happen(event);
        }
        world.settle();
        for (child, being) in world.children.iter().enumerate() {
            let runs = world.plan.state(child).is_some_and(|(state, _)| state == State::Running);
            if being.leaving {
                prop_assert!(being.gone, "{child} did not leave");
            } else if !being.ended {
                prop_assert!(runs && being.alive && being.ready, "{child} is not there: {:?}", world.plan);
            }
        }
    }

    /// A stop that no child answers ends by its timers alone, unless a child may take as long as it needs.
    #[test]
    fn a_stop_that_no_child_answers_ends_by_its_deadlines(
        strategy in strategy(),
        policies in prop::collection::vec(policy().prop_map(has_a_deadline), 0..6),
        events in prop::collection::vec(event(policy().prop_map(has_a_deadline)), 0..60),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(strategy, &policies, seed);
        for event in events {
            world.happen(event);
        }
        let began = world.now;
        world.stop();
        while world.finished == 0 {
            let next = world.next_timer(|_| true);
            prop_assert!(next.is_some(), "no deadline is set");
            let (at, due) = next.unwrap_or((0, began));
            world.now = world.now.max(due);
            world.fire(at);
        }
        let limit = |policy: &Policy| policy.shutdown.limit().unwrap_or_default() + KILL_GRACE;
        let limits = world.children.iter().map(|being| limit(&being.policy));
        let bound: Duration = match strategy {
            Strategy::Independent => limits.max().unwrap_or_default(),
            _ => limits.sum(),
        };
        prop_assert!(world.now.duration_since(began) <= bound);
    }
}

fn degrades(policy: Policy) -> Policy {
    Policy { on_limit: OnLimit::Degrade, ..policy }
}

fn has_a_deadline(policy: Policy) -> Policy {
    let limit = policy.shutdown.limit().unwrap_or(SECOND);
    Policy { shutdown: Shutdown::Within(limit), ..policy }
}

/// The child and the token of a timer that was armed.
fn armed(actions: &[Action], timer: Timer) -> (Index, u64) {
    let armed = actions.iter().find_map(|action| match *action {
        Action::Arm { child, timer: armed, token, .. } if armed == timer => Some((child, token)),
        _ => None,
    });
    armed.expect("the timer was set")
}

fn at(plan: &mut Plan, actions: &[Action], timer: Timer) -> Vec<Action> {
    let (child, token) = armed(actions, timer);
    plan.due(child, timer, token)
}

/// A plan of one child, or of four.
fn one(policy: Policy) -> Plan {
    Plan::new(Strategy::OneForOne, [(0, Arc::new(policy))], Chance::new(0))
}

fn four(strategy: Strategy, policy: Policy) -> Plan {
    let mut plan = Plan::new(strategy, (0..4).map(|child| (child, Arc::new(policy))), Chance::new(0));
    plan.start();
    (0..4).for_each(|child| drop(plan.ready(child)));
    plan
}

/// The actions without the timers.
fn only(actions: &[Action]) -> Vec<Action> {
    actions.iter().copied().filter(|action| !matches!(action, Action::Arm { .. })).collect()
}

#[test]
fn the_restart_beyond_the_intensity_is_the_one_that_degrades() {
    // 3 restarts in 10 s are tolerated; then one every 30 s.
    let policy =
        Policy { intensity: Intensity { max_restarts: 3, within: 10 * SECOND }, ..Policy::default() };
    let mut plan = one(policy);
    let now = Instant::now();
    plan.start();
    for _ in 0..3 {
        let actions = plan.exited(0, ExitKind::Failed, now);
        assert_eq!(plan.state(0), Some((State::BackingOff, false)));
        assert_eq!(at(&mut plan, &actions, Timer::Restart).first(), Some(&Action::Spawn(0)));
    }
    let actions = plan.exited(0, ExitKind::Failed, now);
    assert_eq!(plan.state(0), Some((State::Degraded, true)));
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
    let mut plan = one(policy);
    let now = Instant::now();
    plan.start();
    let degraded = plan.exited(0, ExitKind::Failed, now);
    at(&mut plan, &degraded, Timer::Restart);
    let ready = plan.ready(0);
    assert_eq!(plan.state(0), Some((State::Running, true)));
    at(&mut plan, &ready, Timer::Healthy);
    assert_eq!(plan.state(0), Some((State::Running, false)));
    assert_eq!(at(&mut plan, &degraded, Timer::GiveUp), []);
    // Degraded again: the minute starts again, and the timer of the first time is ignored.
    let again = plan.exited(0, ExitKind::Failed, now + 61 * SECOND);
    assert_eq!(at(&mut plan, &degraded, Timer::GiveUp), []);
    assert_eq!(at(&mut plan, &again, Timer::GiveUp), [Action::GiveUp(0)]);
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
    let mut plan = one(policy);
    let now = Instant::now();
    plan.start();
    let degraded = plan.exited(0, ExitKind::Failed, now);
    at(&mut plan, &degraded, Timer::Restart);
    plan.ready(0);
    assert_eq!(at(&mut plan, &degraded, Timer::GiveUp), [], "it runs");
    let again = plan.exited(0, ExitKind::Failed, now + 61 * SECOND);
    assert_eq!(again.first(), Some(&Action::GiveUp(0)), "it has fallen after its time was over");
}

#[test]
fn those_behind_a_child_that_falls_stop_in_reverse_and_start_again_in_order_and_only_it_is_charged() {
    // No restart is tolerated: one that has a restart charged is degraded, and retried after 30 s.
    let policy =
        Policy { intensity: Intensity { max_restarts: 0, within: 10 * SECOND }, ..Policy::default() };
    let mut plan = four(Strategy::RestForOne, policy);
    let now = Instant::now();
    let fell = plan.exited(1, ExitKind::Panicked, now);
    assert_eq!(only(&fell), [Action::Pause(3)]);
    assert_eq!(only(&plan.exited(3, ExitKind::Sibling, now)), [Action::Pause(2)]);
    // Its restart comes while one is still stopping: it waits for that.
    assert_eq!(at(&mut plan, &fell, Timer::Restart), []);
    let mut last = plan.exited(2, ExitKind::Sibling, now + 31 * SECOND);
    for child in 1..4 {
        assert_eq!(only(&at(&mut plan, &last, Timer::Restart)), [Action::Spawn(child)]);
        last = plan.ready(child);
    }
    assert!(last.contains(&Action::Started));
    let states: Vec<_> = (0..4).filter_map(|child| plan.state(child)).collect();
    let (whole, degraded) = ((State::Running, false), (State::Running, true));
    assert_eq!(states, [whole, degraded, whole, whole]);
}

#[test]
fn one_for_all_stops_all_others_in_reverse_and_starts_all_in_order_and_only_one_is_charged() {
    // No restart is tolerated: one that has a restart charged is degraded, and retried after 30 s.
    let policy =
        Policy { intensity: Intensity { max_restarts: 0, within: 10 * SECOND }, ..Policy::default() };
    // The pause is over while others still stop, or afterwards.
    for is_early in [true, false] {
        let mut plan = four(Strategy::OneForAll, policy);
        let now = Instant::now();
        let fell = plan.exited(1, ExitKind::Panicked, now);
        assert_eq!(only(&fell), [Action::Pause(3)]);
        assert_eq!(only(&plan.exited(3, ExitKind::Sibling, now)), [Action::Pause(2)]);
        // Stopped in the middle of this: its failure is that of the first one.
        assert_eq!(only(&plan.exited(2, ExitKind::Failed, now)), [Action::Pause(0)]);
        let mut last = Vec::new();
        if is_early {
            assert_eq!(at(&mut plan, &fell, Timer::Restart), []);
            last.extend(plan.exited(0, ExitKind::Sibling, now + 31 * SECOND));
        } else {
            assert_eq!(only(&plan.exited(0, ExitKind::Sibling, now)), []);
            assert_eq!(plan.state(0), Some((State::Waiting, false)));
            last.extend(at(&mut plan, &fell, Timer::Restart));
        }
        for child in 0..4 {
            let spawned = at(&mut plan, &last, Timer::Restart);
            assert_eq!(only(&spawned), [Action::Spawn(child)]);
            last = plan.ready(child);
        }
        assert!(last.contains(&Action::Started));
        let degraded: Vec<_> = (0..4).filter_map(|child| plan.state(child)).map(|state| state.1).collect();
        assert_eq!(degraded, [false, true, false, false]);
    }
}

#[test]
fn an_outage_never_degrades_a_child_and_its_pauses_grow() {
    // No restart is tolerated; pauses of 1 s, 2 s, 4 s, 5 s.
    let policy = Policy {
        intensity: Intensity { max_restarts: 0, within: 10 * SECOND },
        backoff: Backoff { first: SECOND, max: 5 * SECOND, jitter: false, reset_after: 20 * SECOND },
        on_limit: OnLimit::Escalate,
        ..Policy::default()
    };
    let mut plan = one(policy);
    let now = Instant::now();
    plan.start();
    for pause in [1, 2, 4, 5, 5] {
        let actions = plan.exited(0, ExitKind::Unavailable, now);
        assert_eq!(plan.state(0), Some((State::BackingOff, false)));
        let due = |action: &Action| matches!(*action, Action::Arm { timer: Timer::Restart, after, .. } if after == pause * SECOND);
        assert!(actions.iter().any(due), "{actions:?}");
        at(&mut plan, &actions, Timer::Restart);
    }
    assert_eq!(plan.exited(0, ExitKind::Failed, now).first(), Some(&Action::Escalate(0)));
}

#[test]
fn a_child_that_escalates_stops_the_others_in_reverse_and_nothing_is_started_again() {
    let policy = Policy {
        intensity: Intensity { max_restarts: 0, within: 10 * SECOND },
        on_limit: OnLimit::Escalate,
        ..Policy::default()
    };
    for strategy in [Strategy::OneForOne, Strategy::RestForOne, Strategy::OneForAll] {
        let mut plan = four(strategy, policy);
        let now = Instant::now();
        assert_eq!(only(&plan.exited(2, ExitKind::Failed, now)), [Action::Escalate(2), Action::Stop(3)]);
        assert_eq!(only(&plan.exited(3, ExitKind::Failed, now)), [Action::Stop(1)]);
        assert_eq!(only(&plan.exited(1, ExitKind::Stopped, now)), [Action::Stop(0)]);
        assert_eq!(plan.exited(0, ExitKind::Stopped, now), [Action::Finished]);
        let states: Vec<_> = (0..4).filter_map(|child| plan.state(child)).collect();
        assert_eq!(states, [(State::Stopped, false); 4]);
    }
    let mut plan = four(Strategy::Independent, policy);
    let others = [3, 1, 0].map(Action::Stop);
    assert_eq!(
        only(&plan.exited(2, ExitKind::Failed, Instant::now())),
        [&[Action::Escalate(2)], &others[..]].concat()
    );
}

#[test]
fn independent_children_are_asked_to_stop_at_once_and_the_last_to_end_finishes_it() {
    let policy = Policy { shutdown: Shutdown::Within(SECOND), ..Policy::default() };
    let mut plan = four(Strategy::Independent, policy);
    let now = Instant::now();
    let down = plan.exited(1, ExitKind::Failed, now);
    let asked = plan.stop();
    assert_eq!(only(&asked), [Action::Stop(3), Action::Stop(2), Action::Stop(0)]);
    assert_eq!(plan.stop(), [], "once");
    assert_eq!(at(&mut plan, &down, Timer::Restart), [], "one that was down stays down");
    assert_eq!(plan.exited(0, ExitKind::Stopped, now), []);
    assert_eq!(plan.add(4, Arc::new(policy)), [], "nothing starts any more");
    // Each has a deadline of its own: this one does not end, not even when it is killed.
    let killed = at(&mut plan, &asked, Timer::StopOverdue);
    assert_eq!(only(&killed), [Action::Kill(3)]);
    assert_eq!(at(&mut plan, &killed, Timer::KillOverdue), []);
    // Nobody waits for it any longer, so its end is not that of the one that is left.
    assert_eq!(plan.exited(3, ExitKind::Killed, now), []);
    assert_eq!(plan.exited(2, ExitKind::Failed, now), [Action::Finished]);
    let none = Plan::new(Strategy::Independent, [], Chance::new(0)).stop();
    assert_eq!(none, [Action::Finished]);
}

#[test]
fn a_child_is_stopped_as_its_policy_says() {
    let stop = |shutdown| {
        let mut plan = one(Policy { shutdown, ..Policy::default() });
        plan.start();
        plan.ready(0);
        let actions = plan.stop();
        let timers: Vec<_> = actions
            .iter()
            .filter_map(|action| match *action {
                Action::Arm { timer, after, .. } => Some((timer, after)),
                _ => None,
            })
            .collect();
        (only(&actions), timers)
    };
    let asked = vec![Action::Stop(0)];
    assert_eq!(stop(Shutdown::Within(SECOND)), (asked.clone(), vec![(Timer::StopOverdue, SECOND)]));
    assert_eq!(stop(Shutdown::Unlimited), (asked, Vec::new()));
    let killed = vec![Action::Stop(0), Action::Kill(0)];
    assert_eq!(stop(Shutdown::AtOnce), (killed, vec![(Timer::KillOverdue, KILL_GRACE)]));
}

#[test]
fn a_timer_is_void_once_its_child_has_gone_on_and_not_before() {
    // One restart is tolerated; then it is degraded.
    let intensity = Intensity { max_restarts: 0, within: 10 * SECOND };
    let mut plan = one(Policy { intensity, give_up_after: Some(60 * SECOND), ..Policy::default() });
    let now = Instant::now();
    let start = armed(&plan.start(), Timer::StartOverdue).1;
    assert!(!plan.is_void(0, Timer::StartOverdue, start));
    let healthy = armed(&plan.ready(0), Timer::Healthy).1;
    assert!(plan.is_void(0, Timer::StartOverdue, start), "it has started");
    assert!(!plan.is_void(0, Timer::Healthy, healthy));
    let fell = plan.exited(0, ExitKind::Failed, now);
    assert!(plan.is_void(0, Timer::Healthy, healthy), "it has ended");
    let (restart, give_up) = (armed(&fell, Timer::Restart).1, armed(&fell, Timer::GiveUp).1);
    assert!(!plan.is_void(0, Timer::Restart, restart));
    let again = armed(&plan.due(0, Timer::Restart, restart), Timer::StartOverdue).1;
    assert!(plan.is_void(0, Timer::Restart, restart), "it was started");
    assert!(plan.is_void(0, Timer::StartOverdue, start) && !plan.is_void(0, Timer::StartOverdue, again));
    // This one lasts over restarts.
    assert!(!plan.is_void(0, Timer::GiveUp, give_up));
    assert!(plan.is_void(7, Timer::GiveUp, give_up), "there is no such child");
}

#[test]
fn the_timers_of_a_child_that_is_stopped_for_another_are_void() {
    let mut plan = Plan::new(
        Strategy::RestForOne,
        (0..2).map(|child| (child, Arc::new(Policy::default()))),
        Chance::new(0),
    );
    plan.start();
    plan.ready(0);
    let healthy = armed(&plan.ready(1), Timer::Healthy).1;
    assert!(!plan.is_void(1, Timer::Healthy, healthy));
    assert_eq!(only(&plan.exited(0, ExitKind::Failed, Instant::now())), [Action::Pause(1)]);
    assert!(plan.is_void(1, Timer::Healthy, healthy));
}
