//! The stop of a tree: its order, its deadlines, and what happens to messages and their senders.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{future::pending, sync::Arc, time::Duration};

use common::{
    HOUR, Job, Log, MINUTE, MS, SECOND, all_run, attempts, calm, each, eventually, job, manual, new_mailbox,
    policy, record, soon, start, stop_in_steps, while_time_passes,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Lease, Limits, Mailbox, Name, Outcome, Overflow,
    Policy, SendError, Shutdown, State, StopReport, Tree, Worker,
    fail::{self, Fault, When},
};
use tokio::sync::Barrier;

/// Stops a tree while its manual clock moves. Returns the report and how long the stop took, to 10 ms of that clock.
async fn stop(tree: &Tree, clock: &Clock, within: Duration) -> (StopReport, u128) {
    let began = clock.now();
    let report = while_time_passes(clock, 10 * MS, tree.stop(within)).await;
    (report, clock.now().duration_since(began).as_millis())
}

/// Records its start and stop.
struct Noted {
    name: &'static str,
    log: Log<String>,
}

impl Worker for Noted {
    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        self.log.note(format!("+{}", self.name));
        Ok(())
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.stopped().await;
        // Actors that stop later have not been asked to stop.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn post_stop(&mut self, _: &Context) -> Result<(), Failure> {
        self.log.note(format!("-{}", self.name));
        Ok(())
    }
}

/// Can't handle anything: what it needs is away. It tries again every hour.
struct Retries {
    batches: bool,
}

impl Actor for Retries {
    type Message = Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        loop {
            if self.batches {
                let Some(batch) = inbox.recv_many().await else { return Ok(()) };
                batch.nack();
            } else {
                let Some(lease) = inbox.recv().await else { return Ok(()) };
                lease.nack();
            }
            cx.pause(cx.clock().sleep(HOUR)).await;
        }
    }
}

#[tokio::test]
async fn an_actor_whose_server_is_away_stops_without_being_killed() {
    for batches in [false, true] {
        let clock = manual();
        let (mailbox, ends) = new_mailbox("retries", attempts(1), &clock);
        let retries = Child::actor(mailbox, move || Retries { batches });
        let tree = start(
            &clock,
            vec![retries.policy(Policy { shutdown: Shutdown::Within(MINUTE), ..Policy::default() })],
        )
        .await;
        for number in 0..3 {
            ends.send(number).await;
        }
        let waits = || {
            let stats = ends.stats();
            stats.in_flight == 3 && record(&tree, "retries").activity == supervision::Activity::Idle
        };
        eventually("it waits for the server", waits).await;
        let report = soon("the stop", tree.stop(HOUR)).await;
        assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
        assert_eq!(record(&tree, "retries").exits(ExitKind::Stopped), 1);
        let stats = ends.stats();
        assert_eq!((stats.waiting, stats.dead_lettered, stats.is_conserved()), (3, 0, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_the_stop_is_the_reverse_of_the_order_of_the_start() {
    let log = Log::default();
    let noted = |name| {
        let log = log.clone();
        Child::worker(name, move || Noted { name, log: log.clone() })
    };
    let inner = Child::supervisor("inner", vec![noted("c"), noted("d")]);
    let group = Child::supervisor("group", vec![noted("b"), inner, noted("e")]);
    let tree = start(&Clock::system(), vec![noted("a"), group, noted("f")]).await;
    all_run(&tree).await;
    let report = soon("the stop", tree.stop(MINUTE)).await;
    assert_eq!(log.all(), ["+a", "+b", "+c", "+d", "+e", "+f", "-f", "-e", "-d", "-c", "-b", "-a"]);
    assert_eq!((report.outcome, report.left_behind, report.abandoned.len()), (Outcome::Stopped, 0, 0));
    for actor in tree.health() {
        assert_eq!((actor.state, actor.exits(ExitKind::Stopped)), (State::Stopped, 1), "{}", actor.path);
    }
    assert_eq!(tree.ended().await, Outcome::Stopped);
}

/// Ignores the request to stop.
struct Deaf;

impl Actor for Deaf {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        let _in_flight = inbox.recv().await;
        pending().await
    }
}

#[tokio::test]
async fn an_actor_that_does_not_stop_is_killed_at_its_deadline_and_the_others_stop() {
    // 1 attempt; 1 s to stop for the deaf one; no restarts needed.
    let clock = manual();
    let (mailbox, ends) = new_mailbox("deaf", attempts(1), &clock);
    ends.to.try_send(job(0)).expect("room");
    let deaf = Child::actor(mailbox, || Deaf);
    let deaf =
        deaf.policy(Policy { shutdown: Shutdown::Within(SECOND), stall_after: None, ..Policy::default() });
    let log = Log::default();
    let noted = |name| {
        let log = log.clone();
        Child::worker(name, move || Noted { name, log: log.clone() })
    };
    let group = Child::supervisor("group", vec![noted("b"), deaf, noted("c")]);
    let tree = start(&clock, vec![noted("a"), group]).await;
    all_run(&tree).await;
    eventually("it has a message in flight", || ends.stats().in_flight == 1).await;
    let (report, took) = stop(&tree, &clock, MINUTE).await;
    assert_eq!((report.outcome, report.left_behind, report.abandoned.len()), (Outcome::Stopped, 0, 0));
    assert_eq!(took, 1_000);
    assert_eq!(log.all()[3..], ["-c", "-b", "-a"]);
    let health = record(&tree, "group/deaf");
    assert_eq!((health.state, health.exits(ExitKind::Killed)), (State::Stopped, 1));
    assert_eq!(health.last_crash.expect("on record").message, "it did not stop within 1s");
    // It was not the message's fault.
    let stats = ends.stats();
    assert_eq!((stats.waiting, stats.in_flight, stats.dead_lettered), (1, 0, 0));
}

/// Ends only when all others like it have been asked to stop.
struct Together {
    name: &'static str,
    all: Arc<Barrier>,
    log: Log<String>,
}

impl Worker for Together {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.stopped().await;
        self.all.wait().await;
        self.log.note(format!("-{}", self.name));
        Ok(())
    }
}

#[tokio::test]
async fn independent_children_stop_at_once_and_those_around_and_below_them_in_order() {
    // An hour for each to stop, none of which passes: a child that were asked alone would wait for the others for ever.
    let patient = || Policy { shutdown: Shutdown::Within(HOUR), stall_after: None, ..Policy::default() };
    let (log, all) = (Log::default(), Arc::new(Barrier::new(3)));
    let noted = |name| {
        let log = log.clone();
        Child::worker(name, move || Noted { name, log: log.clone() })
    };
    let together = |name| {
        let (log, all) = (log.clone(), all.clone());
        Child::worker(name, move || Together { name, all: all.clone(), log: log.clone() }).policy(patient())
    };
    let pair = |name, first, second| Child::supervisor(name, vec![noted(first), together(second)]);
    let group = vec![pair("one", "b", "c"), pair("two", "d", "e"), pair("three", "f", "g")];
    let tree = start(&manual(), vec![noted("a"), Child::independent("group", group), noted("z")]).await;
    all_run(&tree).await;
    log.take();
    let report = soon("the stop", tree.stop(HOUR)).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
    for actor in tree.health() {
        assert_eq!((actor.state, actor.exits(ExitKind::Stopped)), (State::Stopped, 1), "{}", actor.path);
    }
    let log = log.all();
    assert_eq!((log.first(), log.last(), log.len()), (Some(&"-z".to_owned()), Some(&"-a".to_owned()), 8));
    let at = |name: &str| log.iter().position(|noted| noted == name);
    for [first, second] in [["-b", "-c"], ["-d", "-e"], ["-f", "-g"]] {
        assert!(at(second) < at(first), "{log:?}");
    }
}

#[tokio::test]
async fn independent_children_that_do_not_stop_are_killed_each_at_its_own_deadline() {
    let clock = manual();
    let deaf = |name: &str, limit: Duration| {
        let (mailbox, _) = new_mailbox(name, attempts(1), &clock);
        let policy = Policy { shutdown: Shutdown::Within(limit), stall_after: None, ..Policy::default() };
        Child::actor(mailbox, || Deaf).policy(policy)
    };
    let (x, y, z) = (deaf("x", SECOND), deaf("y", 3 * SECOND), deaf("z", 2 * SECOND));
    let noted = Child::worker("noted", || Noted { name: "noted", log: Log::default() });
    let tree = start(&clock, vec![Child::independent("group", vec![x, y, noted, z])]).await;
    all_run(&tree).await;
    let (report, took) = stop(&tree, &clock, MINUTE).await;
    // As long as the slowest, and their supervisor is not killed.
    assert_eq!((report.outcome, report.abandoned.len(), took), (Outcome::Stopped, 0, 3_000));
    for (path, limit) in [("group/x", 1), ("group/y", 3), ("group/z", 2)] {
        let crash = record(&tree, path).last_crash.expect("on record");
        assert_eq!(crash.message, format!("it did not stop within {limit}s"));
    }
    for path in ["group", "group/noted"] {
        assert_eq!(record(&tree, path).exits(ExitKind::Stopped), 1, "{path}");
    }
}

/// Never yields: not even a kill ends it.
struct Spins;

impl Worker for Spins {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.stopped().await;
        Ok(fail::point("spins::stopping").await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn actors_that_never_yield_are_abandoned_one_by_one_and_reported() {
    // 1 s to stop, and half a second after the kill; no restarts needed.
    let clock = manual();
    let spins = |name: &str| {
        let policy = Policy { shutdown: Shutdown::Within(SECOND), stall_after: None, ..Policy::default() };
        Child::worker(name, || Spins).policy(policy)
    };
    let log = Log::default();
    let noted = Child::worker("noted", {
        let log = log.clone();
        move || Noted { name: "noted", log: log.clone() }
    });
    let noted = noted.policy(Policy { shutdown: Shutdown::Within(10 * MS), ..Policy::default() });
    let group = Child::supervisor("group", vec![noted, spins("x"), spins("y"), spins("z")]);
    let tree = start(&clock, vec![group]).await;
    all_run(&tree).await;
    tree.failure_points().arm("spins::stopping", "", Fault::Spin, When::Always);
    let (report, took) = stop_in_steps(&tree, &clock, HOUR).await;
    tree.failure_points().disarm("spins::stopping");
    // Their supervisor had the time to wait for all of them, and to stop the one before them in order.
    assert_eq!(report.outcome, Outcome::Stopped);
    assert_eq!(
        (report.abandoned, report.left_behind),
        (["group/x", "group/y", "group/z"].map(String::from).to_vec(), 3)
    );
    // At least: the clock moves while the threads that are not held are busy.
    assert!((4_500..60_000).contains(&took), "{took} ms");
    assert_eq!(log.all(), ["+noted", "-noted"]);
    assert_eq!(record(&tree, "group").exits(ExitKind::Stopped), 1);
}

#[tokio::test]
async fn a_tree_that_does_not_stop_in_time_is_killed_as_a_whole() {
    let clock = manual();
    let (mailbox, _) = new_mailbox("deaf", attempts(1), &clock);
    let deaf = Child::actor(mailbox, || Deaf);
    let deaf =
        deaf.policy(Policy { shutdown: Shutdown::Within(HOUR), stall_after: None, ..Policy::default() });
    let noted = Child::worker("noted", || Noted { name: "noted", log: Log::default() });
    let tree = start(&clock, vec![noted, deaf]).await;
    all_run(&tree).await;
    let (report, took) = stop(&tree, &clock, 2 * SECOND).await;
    let reason = "the tree did not stop within 2s".to_owned();
    assert_eq!((report.outcome, took), (Outcome::RootEnded { reason }, 2_000));
    assert_eq!(report.left_behind, 0);
    for path in ["noted", "deaf"] {
        assert_eq!(record(&tree, path).exits(ExitKind::Killed), 1, "{path}");
    }
}

#[tokio::test]
async fn messages_accepted_before_the_stop_are_handled_and_later_ones_are_returned() {
    // 1 attempt; no restarts needed.
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("worker", Limits { batch: 16, capacity: 1_000, ..attempts(1) }, &clock);
    let addresses = [Overflow::Wait, Overflow::Coalesce, Overflow::DropOldest]
        .map(|overflow| mailbox.address("late", overflow));
    let handled = Log::default();
    let worker = each(mailbox, {
        let handled = handled.clone();
        move |lease: Lease<'_, Job>| {
            handled.note(lease.number);
            lease.ack();
            Ok(())
        }
    });
    let tree = start(&clock, vec![worker]).await;
    all_run(&tree).await;
    for number in 0..1_000 {
        ends.to.try_send(job(number)).expect("room");
    }
    let late = ends.to.send(job(1_000));
    let (report, late) = tokio::join!(tree.stop(MINUTE), late);
    assert_eq!(report.outcome, Outcome::Stopped);
    // The one that waited for room was either accepted and handled, or handed back.
    let accepted = 1_000 + u64::from(late.is_ok());
    assert_eq!(handled.all(), (0..accepted).collect::<Vec<_>>());
    if let Err(refused) = late {
        assert!(matches!(refused, SendError::Closed(Job { number: 1_000, .. })));
    }
    for address in addresses {
        assert!(matches!(address.send(job(7)).await, Err(SendError::Closed(Job { number: 7, .. }))));
        assert!(matches!(address.try_send(job(8)), Err(SendError::Closed(Job { number: 8, .. }))));
    }
    let stats = ends.stats();
    assert_eq!((stats.accepted, stats.handled), (accepted, accepted));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn a_slow_actor_gets_the_messages_that_it_had_accepted_by_the_batch_too() {
    // 1 attempt; no restarts needed.
    struct Batches(Log<usize>);
    impl Actor for Batches {
        type Message = Job;
        async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
            while let Some(mut batch) = inbox.recv_many().await {
                self.0.note(batch.len());
                // One at a time; the rest stays in flight.
                batch.lease().expect("never empty").ack();
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    }
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("worker", Limits { batch: 4, ..attempts(1) }, &clock);
    for number in 0..10 {
        ends.to.try_send(job(number)).expect("room");
    }
    let sizes = Log::default();
    let worker = Child::actor(mailbox, {
        let sizes = sizes.clone();
        move || Batches(sizes.clone())
    });
    let tree = start(&clock, vec![worker]).await;
    eventually("it has begun", || sizes.len() > 0).await;
    assert_eq!(soon("the stop", tree.stop(MINUTE)).await.outcome, Outcome::Stopped);
    assert_eq!(sizes.all(), [4, 3, 2, 1, 4, 3, 2, 1, 2, 1]);
    assert_eq!((ends.stats().handled, ends.stats().dead_lettered), (10, 0));
}

#[tokio::test]
async fn a_stop_releases_senders_that_wait_for_room_in_the_mailbox_of_a_degraded_actor() {
    // 1 attempt; no restart is tolerated; the degraded one would be retried after an hour.
    let clock = manual();
    let (mailbox, ends) = new_mailbox("degraded", Limits { capacity: 1, ..attempts(1) }, &clock);
    let failing = each(mailbox, |_lease: Lease<'_, Job>| Err("it fails".into()));
    let failing = failing.policy(Policy { degraded_retry: HOUR, ..policy((0, HOUR), (MS, MS)) });
    let tree = start(&clock, vec![failing]).await;
    ends.send(0).await;
    eventually("it is degraded", || record(&tree, "degraded").state == State::Degraded).await;
    ends.to.send(job(1)).await.expect("it takes messages all the same");
    let to = ends.to.clone();
    let waiting = tokio::spawn(async move { to.send(job(2)).await });
    eventually("a send waits", || ends.stats().senders_waiting == 1).await;
    assert_eq!(soon("the stop", tree.stop(MINUTE)).await.outcome, Outcome::Stopped);
    match soon("the send ends", waiting).await.expect("joined") {
        Err(SendError::Closed(message)) => assert_eq!(message, job(2)),
        other => panic!("not closed: {other:?}"),
    }
    assert_eq!(record(&tree, "degraded").state, State::Stopped);
}

#[tokio::test]
async fn an_actor_that_is_blocked_on_the_mailbox_of_one_that_is_down_still_stops_in_order() {
    // 1 attempt; no restart is tolerated; an hour to stop: it must not be needed.
    struct Forwards {
        to: supervision::Address<Job>,
        log: Log<&'static str>,
    }
    impl Worker for Forwards {
        async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
            while self.to.send(job(0)).await.is_ok() {}
            cx.stopped().await;
            self.log.note("stopped in order");
            Ok(())
        }
    }
    let clock = manual();
    let (mailbox, ends) = new_mailbox("down", Limits { capacity: 4, ..attempts(1) }, &clock);
    let strict =
        Policy { degraded_retry: HOUR, shutdown: Shutdown::Within(HOUR), ..policy((0, HOUR), (MS, MS)) };
    let (log, name) = (Log::default(), Name::new("forwards"));
    let forwards = Child::worker(&name, {
        let (to, log) = (mailbox.address(&name, Overflow::Wait), log.clone());
        move || Forwards { to: to.clone(), log: log.clone() }
    });
    let down = each(mailbox, |_lease: Lease<'_, Job>| Err("it fails".into())).policy(strict);
    let tree = start(&clock, vec![forwards.policy(strict), down]).await;
    eventually("it is blocked", || ends.stats().senders_waiting == 1).await;
    assert_eq!(record(&tree, "forwards").activity, supervision::Activity::Blocked);
    let report = soon("the stop", tree.stop(MINUTE)).await;
    assert_eq!((report.outcome, log.all()), (Outcome::Stopped, vec!["stopped in order"]));
}

#[tokio::test]
async fn a_tree_that_is_dropped_lets_everybody_go() {
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("deaf", Limits { capacity: 1, batch: 1, ..attempts(1) }, &clock);
    let other = Mailbox::new("other", attempts(1), &clock);
    let tree = start(&clock, vec![Child::actor(mailbox, || Deaf), calm(other)]).await;
    all_run(&tree).await;
    for number in 0..2 {
        ends.send(number).await;
    }
    let to = ends.to.clone();
    let waiting = tokio::spawn(async move { to.send(job(2)).await });
    eventually("a send waits", || ends.stats().senders_waiting == 1).await;
    drop(tree);
    assert!(matches!(soon("the send ends", waiting).await.expect("joined"), Err(SendError::Closed(_))));
    eventually("the actor is gone", || ends.stats().in_flight == 0).await;
    assert_eq!(ends.stats().waiting, 2);
}

#[tokio::test]
async fn a_stop_during_the_start_ends_those_that_had_been_started() {
    // An hour to become ready: it must not be needed.
    struct Patient(Log<&'static str>);
    impl Worker for Patient {
        async fn pre_start(&mut self, cx: &Context) -> Result<(), Failure> {
            self.0.note("starts");
            cx.stopped().await;
            Ok(())
        }
        async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
            assert!(cx.is_stopping());
            Ok(())
        }
    }
    let clock = manual();
    let log = Log::default();
    let patient = Child::worker("patient", {
        let log = log.clone();
        move || Patient(log.clone())
    });
    let never = Log::default();
    let next = Child::worker("next", {
        let log = never.clone();
        move || Noted { name: "next", log: log.clone() }
    });
    let tree =
        start(&clock, vec![patient.policy(Policy { start_within: HOUR, ..Policy::default() }), next]).await;
    eventually("it starts", || log.len() == 1).await;
    assert_eq!(soon("the stop", tree.stop(MINUTE)).await.outcome, Outcome::Stopped);
    assert_eq!((never.len(), record(&tree, "next").generation), (0, 0));
    assert_eq!(record(&tree, "patient").exits(ExitKind::Stopped), 1);
}
