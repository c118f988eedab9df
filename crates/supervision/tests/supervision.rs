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
    HOUR, Job, Log, MINUTE, MS, SECOND, all_run, attempts, calm, each, eventually, job, manual, new_mailbox,
    policy, quiet, record, soon, start, while_time_passes,
};
use supervision::{
    Actor, Backoff, Child, Clock, Context, ExitKind, Failure, Inbox, Intensity, Lease, Outcome, Policy,
    Restart, SendError, State, Tree, Worker,
};

/// A worker that runs until it is stopped, or fails before it is ready while it is broken.
struct Fragile(Arc<AtomicBool>);

impl Worker for Fragile {
    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        if self.0.load(Relaxed) { Err("the server is away".into()) } else { Ok(()) }
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

fn fragile(name: &str, broken: &Arc<AtomicBool>) -> Child {
    let broken = broken.clone();
    Child::worker(name, move || Fragile(broken.clone()))
}

fn sound(name: &str) -> Child {
    fragile(name, &Arc::default())
}

/// Panics over odd numbers.
fn panics_at_odd(lease: Lease<'_, Job>) -> Result<(), Failure> {
    assert!(lease.number.is_multiple_of(2), "{} is odd", lease.number);
    lease.ack();
    Ok(())
}

#[tokio::test]
async fn a_crash_restarts_only_that_actor() {
    // 1 attempt; 5 restarts a minute; 1 ms before each.
    let clock = Clock::system();
    let mut mailboxes = Vec::new();
    let mut odd = |name| {
        let (mailbox, ends) = new_mailbox(name, attempts(1), &clock);
        mailboxes.push(ends);
        each(mailbox, panics_at_odd).policy(policy((5, MINUTE), (MS, MS)))
    };
    let children = vec![odd("a"), odd("b"), Child::supervisor("group", vec![odd("c"), odd("d")]), odd("e")];
    let tree = start(&clock, children).await;
    all_run(&tree).await;
    let generations = |tree: &Tree| -> Vec<(String, u64)> {
        tree.health().into_iter().map(|actor| (actor.path, actor.generation)).collect()
    };
    let expect = |b, d| {
        [("root", 1), ("a", 1), ("b", b), ("group", 1), ("group/c", 1), ("group/d", d), ("e", 1)]
            .map(|(path, generation)| (path.to_owned(), generation))
    };
    assert_eq!(generations(&tree), expect(1, 1));

    mailboxes[1].send(1).await;
    eventually("b is back", || record(&tree, "b").generation == 2).await;
    mailboxes[3].send(1).await;
    eventually("d is back", || record(&tree, "group/d").generation == 2).await;
    // All of them still work.
    for ends in &mailboxes {
        ends.send(2).await;
    }
    eventually("all have handled it", || mailboxes.iter().all(|ends| ends.stats().handled == 1)).await;
    assert_eq!(generations(&tree), expect(2, 2));
    for path in ["root", "a", "group", "group/c", "e"] {
        assert_eq!(record(&tree, path).exits, [0; 8], "{path}");
    }
}

#[tokio::test]
async fn children_start_in_their_order_each_when_the_one_before_is_ready() {
    let clock = Clock::system();
    let log = Log::default();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let starter = |name: &'static str| {
        let (log, gate) = (log.clone(), gate.clone());
        Child::worker(name, move || Starter { name, log: log.clone(), gate: gate.clone() })
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

impl Worker for Starter {
    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        self.log.note(format!("{} starts", self.name));
        self.gate.acquire().await?.forget();
        self.log.note(format!("{} is ready", self.name));
        Ok(())
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.stopped().await;
        Ok(())
    }
}

#[tokio::test]
async fn a_child_that_is_not_ready_in_time_keeps_its_siblings_waiting_no_longer() {
    let clock = manual();
    let log = Log::<String>::default();
    let slow = Child::worker("slow", {
        let log = log.clone();
        move || Starter { name: "slow", log: log.clone(), gate: Arc::new(tokio::sync::Semaphore::new(0)) }
    });
    let slow = slow.policy(Policy { start_within: 5 * SECOND, stall_after: None, ..Policy::default() });
    let tree = start(&clock, vec![slow, sound("next")]).await;
    quiet().await;
    clock.advance(5 * SECOND - MS);
    quiet().await;
    assert_eq!((log.all(), record(&tree, "next").state), (vec!["slow starts".to_owned()], State::Waiting));
    clock.advance(MS);
    quiet().await;
    assert_eq!([record(&tree, "slow").state, record(&tree, "next").state], [State::Starting, State::Running]);
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

/// Lets the pause of the restart of `child` pass: it does not happen a moment before its end.
async fn pass(tree: &Tree, clock: &Clock, pause: Duration) {
    quiet().await;
    let generation = || record(tree, "child").generation;
    let before = generation();
    clock.advance(pause - MS);
    quiet().await;
    assert_eq!(generation(), before, "a restart before its time");
    clock.advance(MS);
    quiet().await;
    assert_eq!(generation(), before + 1, "no restart after {pause:?}");
}

/// The state of `child` and its generation, when nothing more happens.
async fn state(tree: &Tree) -> (State, u64) {
    quiet().await;
    let health = record(tree, "child");
    (health.state, health.generation)
}

#[tokio::test]
async fn a_child_over_its_restart_limit_is_degraded_retried_slowly_and_recovers() {
    let clock = manual();
    let broken = Arc::new(AtomicBool::new(true));
    let child = fragile("child", &broken).policy(strict());
    let (sibling, ends) = new_mailbox("sibling", attempts(1), &clock);
    let tree = start(&clock, vec![child, calm(sibling).policy(strict())]).await;
    assert_eq!(state(&tree).await, (State::BackingOff, 1));
    pass(&tree, &clock, 100 * MS).await;
    assert_eq!(state(&tree).await, (State::BackingOff, 2));
    pass(&tree, &clock, 200 * MS).await;
    assert_eq!(state(&tree).await, (State::Degraded, 3));
    pass(&tree, &clock, 30 * SECOND).await;
    assert_eq!(state(&tree).await, (State::Degraded, 4));
    assert!(record(&tree, "child").degraded);
    assert_eq!(record(&tree, "child").last_crash.expect("it crashed").message, "the server is away");

    broken.store(false, Relaxed);
    // 30 s later it runs. It is healthy after another minute.
    pass(&tree, &clock, 30 * SECOND).await;
    assert_eq!(state(&tree).await, (State::Running, 5));
    clock.advance(MINUTE - MS);
    quiet().await;
    assert!(record(&tree, "child").degraded);
    clock.advance(MS);
    quiet().await;
    let health = record(&tree, "child");
    assert_eq!((health.state, health.degraded, health.exits(ExitKind::Failed)), (State::Running, false, 4));

    // Its sibling never noticed, and works.
    let health = record(&tree, "sibling");
    assert_eq!((health.state, health.degraded, health.generation), (State::Running, false, 1));
    ends.send(0).await;
    eventually("it is handled", || ends.stats().handled == 1).await;
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
    let sibling = Child::worker("sibling", {
        let log = log.clone();
        move || Stopper(log.clone())
    });
    let group = Child::supervisor("group", vec![mandatory]);
    let tree = start(&clock, vec![sibling, group]).await;
    while record(&tree, "group/listener").state != State::Degraded {
        clock.advance(100 * MS);
        quiet().await;
    }
    let since = clock.now();
    let outcome = while_time_passes(&clock, SECOND, tree.ended()).await;
    assert_eq!(clock.now().duration_since(since), 10 * MINUTE);
    let expected =
        Outcome::GaveUp { path: "group/listener".to_owned(), reason: "the server is away".to_owned() };
    assert_eq!(outcome, expected);
    // The others were stopped in order.
    assert_eq!(log.all(), ["post_stop"]);
    let report = tree.stop(MINUTE).await;
    assert_eq!((report.outcome, report.left_behind), (expected, 0));
}

struct Stopper(Log<&'static str>);

impl Worker for Stopper {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }

    async fn post_stop(&mut self, _: &Context) -> Result<(), Failure> {
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
    for (generation, pause) in (1_u64..).zip([100, 200, 400, 800, 1_000, 1_000]) {
        assert_eq!(state(&tree).await, (State::Running, generation));
        assert!(tree.kill("child"));
        assert_eq!(state(&tree).await, (State::BackingOff, generation));
        pass(&tree, &clock, Duration::from_millis(pause)).await;
    }
    assert_eq!(state(&tree).await, (State::Running, 7));
    clock.advance(HOUR - MS);
    quiet().await;
    // A crash just before the end of the period: the pause does not begin anew.
    assert!(tree.kill("child"));
    pass(&tree, &clock, SECOND).await;
    clock.advance(HOUR);
    quiet().await;
    assert!(tree.kill("child"));
    pass(&tree, &clock, 100 * MS).await;
    assert_eq!(state(&tree).await, (State::Running, 9));
}

#[tokio::test]
async fn permanent_children_always_restart_transient_after_a_crash_temporary_never() {
    // 1 attempt; 100 restarts an hour; 1 ms before each. Message 0 ends the actor, 1 makes it fail.
    let clock = Clock::system();
    let children = [Restart::Permanent, Restart::Transient, Restart::Temporary].map(|restart| {
        let (mailbox, ends) = new_mailbox(&format!("{restart:?}"), attempts(1), &clock);
        let child = Child::actor(mailbox, || EndsAsTold);
        (ends, child.policy(Policy { restart, ..policy((100, HOUR), (MS, MS)) }))
    });
    let [(permanent, a), (transient, b), (temporary, c)] = children;
    let tree = start(&clock, vec![a, b, c]).await;
    all_run(&tree).await;
    for ends in [&permanent, &transient, &temporary] {
        ends.send(1).await;
    }
    let state = |path: &str, state, generation| {
        let health = record(&tree, path);
        health.state == state && health.generation == generation
    };
    eventually("the permanent one is back", || state("Permanent", State::Running, 2)).await;
    eventually("the transient one is back", || state("Transient", State::Running, 2)).await;
    eventually("the temporary one is gone", || state("Temporary", State::Stopped, 1)).await;
    for ends in [&permanent, &transient] {
        ends.send(0).await;
    }
    eventually("the permanent one is back", || state("Permanent", State::Running, 3)).await;
    eventually("the transient one is gone", || state("Transient", State::Stopped, 2)).await;
    assert_eq!(record(&tree, "Transient").exits(ExitKind::Finished), 1);

    // Sending to an actor that will not return is an error.
    for ends in [&transient, &temporary] {
        match ends.to.send(job(7)).await {
            Err(SendError::Closed(message)) => assert_eq!(message, job(7)),
            other => panic!("not closed: {other:?}"),
        }
    }
    permanent.send(2).await;
}

/// Ends at message 0, fails at 1, acknowledges all.
struct EndsAsTold;

impl Actor for EndsAsTold {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            let number = lease.number;
            lease.ack();
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
    let (mailbox, ends) = new_mailbox("child", attempts(1), &clock);
    let child = Child::actor(mailbox, || EndsAsTold);
    let child = child.policy(Policy { restart: Restart::Transient, ..policy((100, HOUR), (MS, MS)) });
    let group = Child::supervisor("group", vec![child]).policy(policy((100, HOUR), (MS, MS)));
    let tree = start(&clock, vec![group]).await;
    ends.send(0).await;
    eventually("it ended", || record(&tree, "group/child").state == State::Stopped).await;
    assert!(tree.kill("group"));
    eventually("it is back", || record(&tree, "group/child").generation == 2).await;
    ends.send(2).await;
    eventually("it is handled", || ends.stats().handled == 2).await;
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
    quiet().await;
    clock.advance(MS);
    quiet().await;
    assert_eq!((generation("group"), generation("group/child")), (2, 2));
    clock.advance(2 * MINUTE);
    quiet().await;
    assert_eq!((generation("group/child"), record(&tree, "group/child").state), (2, State::Running));
    // A restart that is planned and not yet due at the stop never happens.
    assert!(tree.kill("group/child"));
    eventually("a restart is planned", || record(&tree, "group/child").state == State::BackingOff).await;
    assert_eq!(soon("the stop", tree.stop(HOUR)).await.outcome, Outcome::Stopped);
    clock.advance(HOUR);
    quiet().await;
    assert_eq!((generation("group/child"), record(&tree, "group/child").exits.iter().sum::<u64>()), (2, 2));
}
