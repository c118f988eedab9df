//! Panics at every stage of an actor's life, in supervisors and in the root: what is recorded, and what continues.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{
    HOUR, Job, MINUTE, MS, all_run, attempts, calm, each, eventually, job, new_mailbox, policy, record, soon,
    start,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Lease, Mailbox, Outcome, Policy, SendError,
    State, Worker,
    fail::{self, Fault, When},
};
use tokio::sync::Semaphore;

/// 100 restarts an hour, 1 ms before each.
fn quick() -> Policy {
    policy((100, HOUR), (MS, MS))
}

/// An actor with a failure point at each stage of its life.
struct Staged;

impl Actor for Staged {
    type Message = Job;

    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        Ok(fail::point("staged::pre_start").await?)
    }

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        fail::point("staged::run").await?;
        while let Some(lease) = inbox.recv().await {
            if is_last(&lease) {
                fail::point("staged::last").await?;
            }
            lease.ack();
        }
        Ok(())
    }

    async fn post_stop(&mut self, _: &Context) -> Result<(), Failure> {
        Ok(fail::point("staged::post_stop").await?)
    }
}

fn is_last(job: &Job) -> bool {
    job.number == u64::MAX
}

#[tokio::test]
async fn a_panic_in_pre_start_or_in_run_is_a_crash_and_the_actor_comes_back() {
    // 1 attempt; 100 restarts an hour; 1 ms before each. The points are armed before the supervisor, which is on this thread,
    // runs for the first time.
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("staged", attempts(1), &clock);
    let other = Mailbox::new("other", attempts(1), &clock);
    let staged = Child::actor(mailbox, || Staged).policy(quick());
    let tree = start(&clock, vec![staged, calm(other)]).await;
    tree.failure_points().arm("staged::pre_start", "", Fault::Panic, When::Times(2));
    tree.failure_points().arm("staged::pre_start", "", Fault::Error, When::Nth(3));
    tree.failure_points().arm("staged::run", "", Fault::Panic, When::Nth(1));
    ends.send(0).await;
    eventually("it is handled", || ends.stats().handled == 1).await;
    all_run(&tree).await;
    let health = record(&tree, "staged");
    assert_eq!(
        (health.generation, health.exits(ExitKind::Panicked), health.exits(ExitKind::Failed)),
        (5, 3, 1)
    );
    assert_eq!((ends.stats().dead_lettered, record(&tree, "other").generation), (0, 1));
    let messages: Vec<_> =
        tree.crashes("staged").into_iter().map(|crash| (crash.id, crash.message)).collect();
    let panic = |point| format!("the failure point staged::{point} was armed with this panic");
    let error = "the failure point staged::pre_start was armed with this error".to_owned();
    let expected = [(1, panic("pre_start")), (2, panic("pre_start")), (3, error), (4, panic("run"))];
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn a_panic_in_post_stop_is_recorded_and_the_stop_goes_on() {
    let clock = Clock::system();
    let mailbox = |name| Mailbox::new(name, attempts(1), &clock);
    let staged = Child::actor(mailbox("staged"), || Staged);
    let children = vec![calm(mailbox("first")), staged, calm(mailbox("last"))];
    let tree = start(&clock, children).await;
    all_run(&tree).await;
    tree.failure_points().arm("staged::post_stop", "", Fault::Panic, When::Always);
    let report = tree.stop(MINUTE).await;
    assert_eq!((&report.outcome, report.left_behind), (&Outcome::Stopped, 0));
    let health = record(&tree, "staged");
    assert_eq!((health.state, health.exits(ExitKind::Panicked)), (State::Stopped, 1));
    for path in ["first", "last"] {
        assert_eq!(record(&tree, path).exits(ExitKind::Stopped), 1, "{path}");
    }
}

#[tokio::test]
async fn a_panic_during_the_stop_ends_its_actor_and_keeps_its_messages() {
    // 2 attempts; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("staged", attempts(2), &clock);
    let gate = Arc::new(Semaphore::new(0));
    let blocker = Child::worker("blocker", {
        let gate = gate.clone();
        move || Blocker(gate.clone())
    });
    let tree = start(&clock, vec![Child::actor(mailbox, || Staged).policy(quick()), blocker]).await;
    all_run(&tree).await;
    // The stop begins with the blocker, so what follows is sent while the tree is stopping.
    let stopping = async {
        eventually("the stop has begun", || record(&tree, "blocker").state == State::Stopping).await;
        tree.failure_points().arm("staged::last", "", Fault::Panic, When::Always);
        ends.to.send(job(u64::MAX)).await.expect("accepted: it has not been stopped yet");
        ends.send(1).await;
        eventually("it panicked", || record(&tree, "staged").exits(ExitKind::Panicked) == 1).await;
        gate.add_permits(1);
    };
    let (report, ()) = tokio::join!(tree.stop(MINUTE), stopping);
    assert_eq!((&report.outcome, report.left_behind), (&Outcome::Stopped, 0));
    // No actor restarts while the tree stops: its messages are neither lost nor handled.
    let health = record(&tree, "staged");
    assert_eq!((health.state, health.generation), (State::Stopped, 1));
    let stats = ends.stats();
    assert_eq!((stats.waiting, stats.handled, stats.dead_lettered), (2, 0, 0));
    assert!(stats.is_conserved());
    assert!(matches!(ends.to.send(job(2)).await, Err(SendError::Closed(_))));
}

struct Blocker(Arc<Semaphore>);

impl Worker for Blocker {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.stopped().await;
        self.0.acquire().await?.forget();
        Ok(())
    }
}

/// A group whose workers wait at a gate while they handle a message.
struct Gated {
    gate: Arc<Semaphore>,
}

impl Actor for Gated {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            self.gate.acquire().await?.forget();
            lease.ack();
        }
        Ok(())
    }
}

async fn a_supervisor_that_panics_comes_back_with_the_mailboxes_of_its_children(point: &str, fault: Fault) {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let gate = Arc::new(Semaphore::new(0));
    let gated = |name| {
        let gate = gate.clone();
        let (mailbox, ends) = new_mailbox(name, attempts(1), &clock);
        (Child::actor(mailbox, move || Gated { gate: gate.clone() }).policy(quick()), ends)
    };
    let [(a, to_a), (b, to_b), (aside, to_aside)] = ["a", "b", "aside"].map(gated);
    let mailboxes = [to_a, to_b, to_aside];
    let inner = Child::supervisor("inner", vec![b]).policy(quick());
    let group = Child::supervisor("group", vec![a, inner]).policy(quick());
    let tree = start(&clock, vec![group, aside]).await;
    all_run(&tree).await;
    for ends in &mailboxes {
        for number in 0..100 {
            ends.send(number).await;
        }
    }
    let in_flight = || mailboxes.iter().all(|ends| ends.stats().in_flight > 0);
    eventually("all work", in_flight).await;

    tree.failure_points().arm(point, "group", fault, When::Nth(1));
    assert!(tree.kill("group/a"));
    eventually("the group is back", || record(&tree, "group").generation == 2).await;
    eventually("its children too", || record(&tree, "group/inner/b").generation == 2).await;
    all_run(&tree).await;
    assert_eq!(record(&tree, "aside").generation, 1);
    gate.add_permits(1_000);
    eventually("all is handled", || mailboxes.iter().all(|ends| ends.stats().handled == 100)).await;
    for ends in &mailboxes {
        assert!(ends.stats().is_conserved());
        assert_eq!(ends.stats().dead_lettered, 0);
    }
    let health = record(&tree, "group");
    let kind = if fault == Fault::Panic { ExitKind::Panicked } else { ExitKind::Failed };
    assert_eq!((health.exits(kind), health.exits.iter().sum::<u64>()), (1, 1));
    assert!(health.last_crash.expect("it crashed").message.contains(point));
    assert_eq!(record(&tree, "group/inner").exits(ExitKind::Killed), 1);
    let report = tree.stop(MINUTE).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
}

#[tokio::test]
async fn a_supervisor_that_panics_at_an_exit_returns_with_its_childrens_mailboxes() {
    a_supervisor_that_panics_comes_back_with_the_mailboxes_of_its_children(
        "supervisor::after_exit",
        Fault::Panic,
    )
    .await;
}

#[tokio::test]
async fn a_supervisor_that_panics_at_an_order_returns_with_its_childrens_mailboxes() {
    a_supervisor_that_panics_comes_back_with_the_mailboxes_of_its_children(
        "supervisor::before_order",
        Fault::Panic,
    )
    .await;
}

#[tokio::test]
async fn a_supervisor_that_fails_comes_back_with_the_mailboxes_of_its_children() {
    a_supervisor_that_panics_comes_back_with_the_mailboxes_of_its_children(
        "supervisor::after_exit",
        Fault::Error,
    )
    .await;
}

#[tokio::test]
async fn a_root_that_panics_ends_the_tree_and_leaves_nobody_waiting() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let gate = Arc::new(Semaphore::new(0));
    let (mailbox, ends) = new_mailbox("gated", supervision::Limits { capacity: 1, ..attempts(1) }, &clock);
    let gated = Child::actor(mailbox, move || Gated { gate: gate.clone() });
    let other = Mailbox::new("other", attempts(1), &clock);
    let children = vec![Child::supervisor("group", vec![gated]), calm(other).policy(quick())];
    let tree = start(&clock, children).await;
    all_run(&tree).await;
    // One in flight, one waiting in the mailbox, one without room.
    for number in 0..2 {
        ends.send(number).await;
    }
    let to = ends.to.clone();
    let waiting = tokio::spawn(async move { to.send(job(2)).await });
    eventually("a send waits", || ends.stats().senders_waiting == 1).await;

    tree.failure_points().arm("supervisor::after_exit", "root", Fault::Panic, When::Nth(1));
    assert!(tree.kill("other"));
    match soon("the tree ends", tree.ended()).await {
        Outcome::RootEnded { reason } => assert!(reason.contains("supervisor::after_exit"), "{reason}"),
        other => panic!("the tree ended otherwise: {other:?}"),
    }
    match soon("the send ends", waiting).await.expect("joined") {
        Err(SendError::Closed(message)) => assert_eq!(message, job(2)),
        other => panic!("not closed: {other:?}"),
    }
    let report = tree.stop(MINUTE).await;
    assert!(matches!(report.outcome, Outcome::RootEnded { .. }));
    assert_eq!(report.left_behind, 0);
    let stats = ends.stats();
    assert_eq!((stats.waiting, stats.in_flight), (2, 0));
    assert!(stats.is_conserved());
}

#[tokio::test]
async fn a_root_that_panics_over_its_first_order_is_on_record() {
    let clock = Clock::system();
    let (mailbox, _) = new_mailbox("calm", attempts(1), &clock);
    let tree = start(&clock, vec![calm(mailbox)]).await;
    // On this one thread the root has not had its first turn yet.
    tree.failure_points().arm("supervisor::before_order", "root", Fault::Panic, When::Nth(1));
    match soon("the tree ends", tree.ended()).await {
        Outcome::RootEnded { reason } => assert!(reason.contains("supervisor::before_order"), "{reason}"),
        other => panic!("the tree ended otherwise: {other:?}"),
    }
    assert_eq!(tree.health()[0].exits(ExitKind::Panicked), 1);
}

#[inline(never)]
fn a_function_that_blows_up(number: u64) {
    assert!(number != 1, "number {number} blew up");
}

#[tokio::test]
async fn a_crash_is_recorded_with_its_message_place_and_backtrace() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::manual(std::time::Duration::from_secs(1_700_000_000));
    let (mailbox, ends) = new_mailbox("worker", attempts(1), &clock);
    let worker = each(mailbox, |lease: Lease<'_, Job>| {
        a_function_that_blows_up(lease.number);
        lease.ack();
        Ok(())
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    ends.send(1).await;
    eventually("it crashed", || record(&tree, "worker").last_crash.is_some()).await;
    let crash = tree.crashes("worker").pop().expect("it crashed");
    assert_eq!((crash.id, crash.generation, crash.kind), (1, 1, ExitKind::Panicked));
    assert_eq!(crash.message, "number 1 blew up");
    assert!((crash.at - 1_700_000_000.0).abs() < 0.001, "at {}", crash.at);
    let location = crash.location.as_deref().expect("a panic has a place");
    assert!(location.contains("crashes.rs:"), "{location}");
    let backtrace = crash.backtrace.as_deref().expect("a panic has a backtrace");
    assert!(backtrace.contains("a_function_that_blows_up"), "{backtrace}");
    assert!(tree.crashes("nobody").is_empty());
    // As JSON, without the backtrace. The pause never ends on this clock.
    eventually("a restart is planned", || record(&tree, "worker").state == State::BackingOff).await;
    let shown = serde_json::to_value(record(&tree, "worker")).expect("serialisable");
    assert_eq!(shown["last_crash"]["message"], "number 1 blew up");
    assert_eq!(
        (&shown["state"], &shown["last_crash"]["backtrace"]),
        (&"backing_off".into(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn an_error_is_recorded_with_what_caused_it() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    #[derive(Debug, thiserror::Error)]
    #[error("the block could not be read")]
    struct Unreadable(#[source] std::num::ParseIntError);

    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("worker", attempts(1), &clock);
    let worker = each(mailbox, |_lease: Lease<'_, Job>| {
        Err(Unreadable("x".parse::<u64>().expect_err("no number")).into())
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    ends.send(1).await;
    eventually("it crashed", || record(&tree, "worker").last_crash.is_some()).await;
    let crash = tree.crashes("worker").pop().expect("it crashed");
    assert_eq!(crash.message, "the block could not be read: invalid digit found in string");
    assert_eq!((crash.kind, crash.location, crash.backtrace), (ExitKind::Failed, None, None));
}

#[tokio::test]
async fn a_cause_that_an_error_repeats_is_told_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("the block could not be read: {0}")]
    struct Unreadable(#[source] std::num::ParseIntError);

    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("worker", attempts(1), &clock);
    let worker = each(mailbox, |_lease: Lease<'_, Job>| {
        Err(Unreadable("x".parse::<u64>().expect_err("no number")).into())
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    ends.send(1).await;
    eventually("it crashed", || record(&tree, "worker").last_crash.is_some()).await;
    let crash = tree.crashes("worker").pop().expect("it crashed");
    assert_eq!(crash.message, "the block could not be read: invalid digit found in string");
}

#[tokio::test]
async fn a_panic_that_is_handed_on_is_not_taken_for_an_earlier_one() {
    // 1 attempt; 100 restarts an hour; 1 ms before each.
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("worker", attempts(1), &clock);
    let worker = each(mailbox, |lease: Lease<'_, Job>| {
        // The actor deals with one panic itself; another one comes from a task that it had started.
        assert!(std::panic::catch_unwind(|| panic!("dealt with")).is_err());
        lease.ack();
        std::panic::resume_unwind(Box::new("from a task"));
    });
    let tree = start(&clock, vec![worker.policy(quick())]).await;
    ends.send(1).await;
    eventually("it crashed", || record(&tree, "worker").last_crash.is_some()).await;
    assert_eq!(tree.crashes("worker").pop().expect("it crashed").message, "from a task");
}

#[tokio::test]
async fn counters_add_up_over_the_generations() {
    // 1 attempt; 1,000 restarts an hour; 1 ms before each. Message n ends the actor in the n-th way.
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("worker", attempts(1), &clock);
    let worker = Child::actor(mailbox, || EndsSomehow).policy(policy((1_000, HOUR), (MS, MS)));
    let tree = start(&clock, vec![worker]).await;
    for round in 1..=10 {
        for way in 0..4 {
            ends.send(way).await;
            let endings = (round - 1) * 4 + way + 1;
            if way == 3 {
                eventually("the message is in flight", || ends.stats().in_flight == 1).await;
                eventually("it can be killed", || tree.kill("worker")).await;
                eventually("the message is in flight again", || record(&tree, "worker").generation > endings)
                    .await;
                // Killed, not charged: it is still there, and must go before the next round.
                tree.failure_points().arm("ends::hang", "", Fault::Error, When::Always);
                assert!(ends.stats().is_conserved());
                eventually("it is acknowledged", || ends.stats().handled == round).await;
                tree.failure_points().disarm("ends::hang");
            }
            eventually("it is back", || {
                let health = record(&tree, "worker");
                health.exits.iter().sum::<u64>() >= endings && health.state == State::Running
            })
            .await;
        }
    }
    let health = record(&tree, "worker");
    assert_eq!(health.exits(ExitKind::Finished), 10);
    assert_eq!(health.exits(ExitKind::Panicked), 10);
    assert_eq!(health.exits(ExitKind::Killed), 10);
    assert_eq!(health.exits.iter().sum::<u64>() + 1, health.generation, "one of them still runs");
    let stats = ends.stats();
    assert_eq!((stats.handled, stats.dead_lettered, stats.accepted), (10, 30, 40));
    // The last reports are kept, and each one has a number of its own.
    let crashes = tree.crashes("worker");
    assert_eq!(crashes.len(), 8);
    assert!(
        crashes
            .windows(2)
            .all(|pair| pair[0].id + 1 == pair[1].id && pair[0].generation < pair[1].generation)
    );
    tree.stop(MINUTE).await;
    let health = record(&tree, "worker");
    assert_eq!(health.exits.iter().sum::<u64>(), health.generation);
    assert_eq!(health.exits(ExitKind::Stopped), 1);
}

/// Ends at each message in the way of its number.
struct EndsSomehow;

impl Actor for EndsSomehow {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            match lease.number {
                0 => {
                    lease.dead_letter("no use");
                    return Ok(());
                }
                1 => return Err("as the message says".into()),
                2 => panic!("as the message says"),
                _ => {
                    while fail::point("ends::hang").await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                    lease.ack();
                }
            }
        }
        Ok(())
    }
}
