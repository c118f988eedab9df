//! One for one: which children are restarted, how fast, how often, and when a tree gives up.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{
    HOUR, Job, Log, MINUTE, MS, SECOND, all_run, attempts, calm, each, eventually, job, manual, policy,
    record, start,
};
use supervision::{
    Actor, Backoff, Child, Clock, Context, ExitKind, Failure, Intensity, Lease, Mailbox, NoMessage, Outcome,
    Overflow, Policy, Restart, SendError, State, Tree,
};

/// A source that runs until it is stopped, or fails before it is ready while it is broken.
struct Fragile(Arc<AtomicBool>);

impl Actor for Fragile {
    type Message = NoMessage;

    async fn pre_start(&mut self, _: &mut Context<NoMessage>) -> Result<(), Failure> {
        if self.0.load(Relaxed) { Err("the server is away".into()) } else { Ok(()) }
    }

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

fn fragile(name: &str, broken: &Arc<AtomicBool>) -> Child {
    let broken = broken.clone();
    Child::source(name, move || Fragile(broken.clone()))
}

fn sound(name: &str) -> Child {
    fragile(name, &Arc::default())
}

/// Panics over odd numbers.
fn odd(lease: Lease<'_, Job>) -> Result<(), Failure> {
    assert!(lease.number.is_multiple_of(2), "{} is odd", lease.number);
    lease.settle();
    Ok(())
}

#[tokio::test]
async fn a_crash_restarts_only_that_actor() {
    // 1 attempt; 5 restarts a minute; 1 ms before each.
    let clock = Clock::system();
    let mailboxes = ["a", "b", "group/c", "group/d", "e"].map(|path| Mailbox::new(path, attempts(1), &clock));
    let [a, b, c, d, e] = &mailboxes;
    let odd = |name, mailbox| each(name, mailbox, odd).policy(policy((5, MINUTE), (MS, MS)));
    let group = Child::supervisor("group", vec![odd("c", c), odd("d", d)]);
    let tree = start(&clock, vec![odd("a", a), odd("b", b), group, odd("e", e)]).await;
    all_run(&tree).await;
    let generations = |tree: &Tree| -> Vec<(String, u64)> {
        tree.health().into_iter().map(|actor| (actor.path, actor.generation)).collect()
    };
    let expect = |b, d| {
        [("root", 1), ("a", 1), ("b", b), ("group", 1), ("group/c", 1), ("group/d", d), ("e", 1)]
            .map(|(path, generation)| (path.to_owned(), generation))
    };
    assert_eq!(generations(&tree), expect(1, 1));

    b.address("test", Overflow::Wait).send(job(1)).await.expect("accepted");
    eventually("b is back", || record(&tree, "b").generation == 2).await;
    d.address("test", Overflow::Wait).send(job(1)).await.expect("accepted");
    eventually("d is back", || record(&tree, "group/d").generation == 2).await;
    // All of them still work.
    for mailbox in &mailboxes {
        mailbox.address("test", Overflow::Wait).send(job(2)).await.expect("accepted");
    }
    eventually("all have handled it", || mailboxes.iter().all(|mailbox| mailbox.stats().handled == 1)).await;
    assert_eq!(generations(&tree), expect(2, 2));
    for path in ["root", "a", "group", "group/c", "e"] {
        assert_eq!(record(&tree, path).exits, [0; 7], "{path}");
    }
}

#[tokio::test]
async fn children_start_in_their_order_each_when_the_one_before_is_ready() {
    let clock = Clock::system();
    let log = Log::default();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let starter = |name: &'static str| {
        let (log, gate) = (log.clone(), gate.clone());
        Child::source(name, move || Starter { name, log: log.clone(), gate: gate.clone() })
    };
    let group = Child::supervisor("group", vec![starter("b"), starter("c")]);
    let tree = start(&clock, vec![starter("a"), group, starter("d")]).await;
    for passed in ["a", "b", "c", "d"] {
        eventually("its pre_start begins", || log.all().last() == Some(&format!("{passed} starts"))).await;
        gate.add_permits(1);
    }
    all_run(&tree).await;
    let expected = ["a starts", "a is ready", "b starts", "b is ready", "c starts", "c is ready", "d starts"];
    assert_eq!(log.all()[..7], expected);
}

struct Starter {
    name: &'static str,
    log: Log<String>,
    gate: Arc<tokio::sync::Semaphore>,
}

impl Actor for Starter {
    type Message = NoMessage;

    async fn pre_start(&mut self, _: &mut Context<NoMessage>) -> Result<(), Failure> {
        self.log.note(format!("{} starts", self.name));
        self.gate.acquire().await?.forget();
        self.log.note(format!("{} is ready", self.name));
        Ok(())
    }

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        cx.stopped().await;
        Ok(())
    }
}

#[tokio::test]
async fn a_child_that_is_not_ready_in_time_keeps_its_siblings_waiting_no_longer() {
    let clock = manual();
    let log = Log::<String>::default();
    let slow = Child::source("slow", {
        let log = log.clone();
        move || Starter { name: "slow", log: log.clone(), gate: Arc::new(tokio::sync::Semaphore::new(0)) }
    });
    let slow = slow.policy(Policy { start_within: 5 * SECOND, stall_after: None, ..Policy::default() });
    let tree = start(&clock, vec![slow, sound("next")]).await;
    eventually("the slow one starts", || log.len() == 1 && clock.sleepers() == 1).await;
    clock.advance(5 * SECOND - MS);
    assert_eq!((clock.sleepers(), record(&tree, "next").state), (1, State::Waiting));
    clock.advance(MS);
    eventually("the next one runs", || record(&tree, "next").state == State::Running).await;
    assert_eq!(record(&tree, "slow").state, State::Starting);
}

/// 2 restarts in 10 s, 100 ms and 200 ms before them; degraded, one retry every 30 s; healthy after a minute.
fn strict() -> Policy {
    Policy {
        intensity: Intensity { max_restarts: 2, within: 10 * SECOND },
        backoff: Backoff { first: 100 * MS, max: SECOND, jitter: false, reset_after: MINUTE },
        degraded_retry: 30 * SECOND,
        start_within: HOUR,
        stall_after: None,
        ..Policy::default()
    }
}

/// Lets the pause of a restart pass: nothing happens a moment before its end. (Pauses are doubled as floats.)
fn pass(clock: &Clock, pause: Duration) {
    let timers = clock.sleepers();
    clock.advance(pause - MS);
    assert_eq!(clock.sleepers(), timers, "a restart before its time");
    clock.advance(2 * MS);
    assert_eq!(clock.sleepers(), timers - 1, "a restart in time");
}

/// Waits for this state of an actor, and for this many timers.
async fn comes_to((tree, clock): (&Tree, &Clock), path: &str, state: State, generation: u64, timers: usize) {
    eventually(&format!("{path} is {state:?} in generation {generation} with {timers} timers"), || {
        let health = record(tree, path);
        health.state == state && health.generation == generation && clock.sleepers() == timers
    })
    .await;
}

#[tokio::test]
async fn a_child_over_its_restart_limit_is_degraded_retried_slowly_and_recovers() {
    let clock = manual();
    let broken = Arc::new(AtomicBool::new(true));
    let child = fragile("child", &broken).policy(strict());
    let sibling = Mailbox::new("sibling", attempts(1), &clock);
    let tree = start(&clock, vec![child, calm("sibling", &sibling).policy(strict())]).await;
    let here = (&tree, &clock);
    // Timers: two of the sibling (overdue start, health) and, of the child, one for each overdue start and one
    // for its restart.
    comes_to(here, "child", State::BackingOff, 1, 4).await;
    pass(&clock, 100 * MS);
    comes_to(here, "child", State::BackingOff, 2, 5).await;
    pass(&clock, 200 * MS);
    comes_to(here, "child", State::Degraded, 3, 6).await;
    pass(&clock, 30 * SECOND);
    comes_to(here, "child", State::Degraded, 4, 7).await;
    assert!(record(&tree, "child").degraded);
    assert_eq!(record(&tree, "child").last_crash.expect("it crashed").message, "the server is away");

    broken.store(false, Relaxed);
    // 30 s later it runs, but is not yet trusted; the timers of its first minute begin to go off.
    clock.advance(30 * SECOND);
    eventually("it runs", || record(&tree, "child").state == State::Running).await;
    assert!(record(&tree, "child").degraded);
    common::advance_until(&clock, SECOND, "it is healthy", || !record(&tree, "child").degraded).await;
    let health = record(&tree, "child");
    assert_eq!((health.state, health.generation, health.exits(ExitKind::Failed)), (State::Running, 5, 4));

    // Its sibling never noticed, and works.
    let health = record(&tree, "sibling");
    assert_eq!((health.state, health.degraded, health.generation), (State::Running, false, 1));
    sibling.address("test", Overflow::Wait).send(job(0)).await.expect("accepted");
    eventually("it is handled", || sibling.stats().handled == 1).await;
    assert_eq!(tree.stop(HOUR).await.outcome, Outcome::Stopped);
}

#[tokio::test]
async fn restarts_that_are_far_enough_apart_are_tolerated_for_ever() {
    // 2 restarts in 10 s; the pauses grow to a second. One crash every 6 s.
    let clock = manual();
    let broken = Arc::<AtomicBool>::default();
    let tree = start(&clock, vec![fragile("child", &broken).policy(strict())]).await;
    for generation in 1..=20 {
        common::advance_until(&clock, 100 * MS, "it runs", || {
            let health = record(&tree, "child");
            health.state == State::Running && health.generation == generation
        })
        .await;
        clock.advance(5 * SECOND);
        assert!(tree.kill("child"));
        eventually("it was killed", || record(&tree, "child").exits(ExitKind::Killed) == generation).await;
        eventually("it waits", || record(&tree, "child").state != State::Running).await;
        assert_eq!(record(&tree, "child").state, State::BackingOff, "after crash {generation}");
    }
    assert!(!record(&tree, "child").degraded);
}

#[tokio::test]
async fn a_mandatory_child_that_stays_degraded_ends_the_tree() {
    let clock = manual();
    let broken = Arc::new(AtomicBool::new(true));
    let mandatory = fragile("listener", &broken);
    let mandatory = mandatory.policy(Policy { give_up_after: Some(10 * MINUTE), ..strict() });
    let log = Log::default();
    let sibling = Child::source("sibling", {
        let log = log.clone();
        move || Stopper(log.clone())
    });
    let group = Child::supervisor("group", vec![mandatory]);
    let tree = start(&clock, vec![sibling, group]).await;
    let degraded = || record(&tree, "group/listener").state == State::Degraded;
    common::advance_until(&clock, 100 * MS, "it is degraded", degraded).await;
    let since = clock.now();
    let outcome = tokio::select! {
        outcome = tree.ended() => outcome,
        () = common::advance_until(&clock, SECOND, "the end", || false) => unreachable!("it never holds"),
    };
    let after = clock.now().duration_since(since);
    assert!(after >= 10 * MINUTE - 2 * SECOND && after < 11 * MINUTE, "gave up after {after:?}");
    let expected =
        Outcome::GaveUp { path: "group/listener".to_owned(), reason: "the server is away".to_owned() };
    assert_eq!(outcome, expected);
    // The others were stopped in order.
    assert_eq!(log.all(), ["post_stop"]);
    let report = tree.stop(MINUTE).await;
    assert_eq!((report.outcome, report.left_behind), (expected, 0));
}

struct Stopper(Log<&'static str>);

impl Actor for Stopper {
    type Message = NoMessage;

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }

    async fn post_stop(&mut self, _: &mut Context<NoMessage>) -> Result<(), Failure> {
        self.0.note("post_stop");
        Ok(())
    }
}

#[tokio::test]
async fn pauses_grow_from_the_first_to_the_longest_and_begin_anew_after_a_healthy_period() {
    // 1,000 restarts an hour; 100 ms, doubled to 1 s; healthy after an hour.
    let clock = manual();
    let calm = policy((1_000, HOUR), (100 * MS, SECOND));
    let calm = Policy { start_within: 2 * HOUR, ..calm };
    let tree = start(&clock, vec![sound("child").policy(calm)]).await;
    let here = (&tree, &clock);
    for (generation, pause) in (1_u64..).zip([100, 200, 400, 800, 1_000, 1_000]) {
        comes_to(here, "child", State::Running, generation, 2 * generation as usize).await;
        assert!(tree.kill("child"));
        comes_to(here, "child", State::BackingOff, generation, 2 * generation as usize + 1).await;
        pass(&clock, Duration::from_millis(pause));
    }
    comes_to(here, "child", State::Running, 7, 14).await;
    // After an hour the timers of its health go off (those of its starts do not), one order each.
    let orders = || tree.failure_points().passages("supervisor::before_order").0;
    let before = orders();
    clock.advance(HOUR);
    eventually("they were dealt with", || orders() == before + 7).await;
    assert!(tree.kill("child"));
    comes_to(here, "child", State::BackingOff, 7, 8).await;
    pass(&clock, 100 * MS);
    comes_to(here, "child", State::Running, 8, 9).await;
}

#[tokio::test]
async fn jitter_shortens_a_pause_by_half_at_most() {
    // 1,000 restarts an hour; 100 ms, doubled to 300 ms, jittered.
    let clock = manual();
    let jittered = Policy { start_within: 2 * HOUR, ..policy((1_000, HOUR), (100 * MS, 300 * MS)) };
    let jittered = Policy { backoff: Backoff { jitter: true, ..jittered.backoff }, ..jittered };
    let tree = start(&clock, vec![sound("child").policy(jittered)]).await;
    let here = (&tree, &clock);
    for (generation, (least, most)) in (1_u64..).zip([(50, 100), (100, 200), (150, 300), (150, 300)]) {
        comes_to(here, "child", State::Running, generation, 2 * generation as usize).await;
        assert!(tree.kill("child"));
        comes_to(here, "child", State::BackingOff, generation, 2 * generation as usize + 1).await;
        let timers = clock.sleepers();
        clock.advance(Duration::from_millis(least) - MS);
        assert_eq!(clock.sleepers(), timers, "a pause shorter than {least} ms");
        clock.advance(Duration::from_millis(most - least) + MS);
        assert_eq!(clock.sleepers(), timers - 1, "a pause longer than {most} ms");
    }
}

#[tokio::test]
async fn permanent_children_always_restart_transient_after_a_crash_temporary_never() {
    // 1 attempt; 100 restarts an hour; 1 ms before each. Message 0 ends the actor, 1 makes it fail.
    let clock = Clock::system();
    let children = [Restart::Permanent, Restart::Transient, Restart::Temporary].map(|restart| {
        let name = format!("{restart:?}");
        let mailbox = Mailbox::new(name.clone(), attempts(1), &clock);
        let child = Child::actor(name, &mailbox, || Ends);
        (mailbox, child.policy(Policy { restart, ..policy((100, HOUR), (MS, MS)) }))
    });
    let [(permanent, a), (transient, b), (temporary, c)] = children;
    let tree = start(&clock, vec![a, b, c]).await;
    all_run(&tree).await;
    for mailbox in [&permanent, &transient, &temporary] {
        mailbox.address("test", Overflow::Wait).send(job(1)).await.expect("accepted");
    }
    let state = |path: &str, state, generation| {
        let health = record(&tree, path);
        health.state == state && health.generation == generation
    };
    eventually("the permanent one is back", || state("Permanent", State::Running, 2)).await;
    eventually("the transient one is back", || state("Transient", State::Running, 2)).await;
    eventually("the temporary one is gone", || state("Temporary", State::Stopped, 1)).await;
    for mailbox in [&permanent, &transient] {
        mailbox.address("test", Overflow::Wait).send(job(0)).await.expect("accepted");
    }
    eventually("the permanent one is back", || state("Permanent", State::Running, 3)).await;
    eventually("the transient one is gone", || state("Transient", State::Stopped, 2)).await;
    assert_eq!(record(&tree, "Transient").exits(ExitKind::Finished), 1);

    // Sending to an actor that will not return is an error.
    for mailbox in [&transient, &temporary] {
        match mailbox.address("test", Overflow::Wait).send(job(7)).await {
            Err(SendError::Closed(message)) => assert_eq!(message, job(7)),
            other => panic!("not closed: {other:?}"),
        }
    }
    permanent.address("test", Overflow::Wait).send(job(2)).await.expect("accepted");
}

/// Ends at message 0, fails at 1, settles all.
struct Ends;

impl Actor for Ends {
    type Message = Job;

    async fn run(&mut self, cx: &mut Context<Job>) -> Result<(), Failure> {
        while let Some(lease) = cx.recv().await {
            let number = lease.number;
            lease.settle();
            match number {
                0 => return Ok(()),
                1 => return Err("as the message says".into()),
                _ => {}
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_child_that_ended_for_good_starts_again_with_its_supervisor() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let mailbox = Mailbox::new("group/child", attempts(1), &clock);
    let child = Child::actor("child", &mailbox, || Ends);
    let child = child.policy(Policy { restart: Restart::Transient, ..policy((100, HOUR), (MS, MS)) });
    let group = Child::supervisor("group", vec![child]).policy(policy((100, HOUR), (MS, MS)));
    let tree = start(&clock, vec![group]).await;
    let address = mailbox.address("test", Overflow::Wait);
    address.send(job(0)).await.expect("accepted");
    eventually("it ended", || record(&tree, "group/child").state == State::Stopped).await;
    assert!(tree.kill("group"));
    eventually("it is back", || record(&tree, "group/child").generation == 2).await;
    address.send(job(2)).await.expect("accepted");
    eventually("it is handled", || mailbox.stats().handled == 2).await;
}

#[tokio::test]
async fn no_stale_restart_starts_a_second_incarnation() {
    // 100 restarts an hour, a minute before those of the child, 1 ms before those of its supervisor.
    let clock = manual();
    let child = sound("child").policy(policy((100, HOUR), (MINUTE, MINUTE)));
    let group = Child::supervisor("group", vec![child]).policy(policy((100, HOUR), (MS, MS)));
    let tree = start(&clock, vec![group]).await;
    all_run(&tree).await;
    assert!(tree.kill("group/child"));
    eventually("a restart is planned", || record(&tree, "group/child").state == State::BackingOff).await;
    // The supervisor that planned it dies; the next one starts the child at once.
    assert!(tree.kill("group"));
    let generation = |path| record(&tree, path).generation;
    common::advance_until(&clock, MS, "both are back", || {
        generation("group/child") == 2 && record(&tree, "group/child").state == State::Running
    })
    .await;
    clock.advance(2 * MINUTE);
    // A restart of the child's own is a sign that the supervisor has seen all that came before.
    assert!(tree.kill("group/child"));
    eventually("a restart is planned", || record(&tree, "group/child").state == State::BackingOff).await;
    assert_eq!((generation("group"), generation("group/child")), (2, 2));
    // A restart that is planned and not yet due at the stop never happens.
    let stop = tokio::select! {
        report = tree.stop(HOUR) => report,
        () = common::advance_until(&clock, SECOND, "the end", || false) => unreachable!("it never holds"),
    };
    assert_eq!(stop.outcome, Outcome::Stopped);
    clock.advance(HOUR);
    assert_eq!((generation("group/child"), record(&tree, "group/child").exits.iter().sum::<u64>()), (2, 2));
}
