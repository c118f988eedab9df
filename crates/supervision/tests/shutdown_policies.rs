//! The ways in which a policy lets a child be stopped: within a time, at once, without a limit.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Ends, HOUR, Job, Log, MINUTE, MS, SECOND, all_run, attempts, job, manual, new_mailbox, policy, quiet,
    record, soon, start, while_time_passes,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Outcome, Policy, SendError, Shutdown, State,
    StopReport, Tree, Worker,
    fail::{Fault, When},
};
use tokio::sync::Semaphore;

/// Takes a message, and stops when it has a permit.
struct Stops {
    name: &'static str,
    permits: Arc<Semaphore>,
    events: Log<String>,
}

impl Actor for Stops {
    type Message = Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        let lease = inbox.recv().await;
        cx.idle(cx.stopped()).await;
        self.events.note(format!("{} is asked", self.name));
        self.permits.acquire().await?.forget();
        lease.into_iter().for_each(|lease| lease.ack());
        self.events.note(format!("{} stops", self.name));
        Ok(())
    }
}

/// What a test has of one actor.
struct One {
    ends: Ends,
    permits: Arc<Semaphore>,
}

fn child(name: &'static str, shutdown: Shutdown, clock: &Clock, events: &Log<String>) -> (Child, One) {
    let (mailbox, ends) = new_mailbox(name, attempts(1), clock);
    let permits = Arc::new(Semaphore::new(0));
    let stops = Child::actor(mailbox, {
        let (permits, events) = (permits.clone(), events.clone());
        move || Stops { name, permits: permits.clone(), events: events.clone() }
    });
    let policy = Policy { shutdown, ..policy((100, HOUR), (SECOND, SECOND)) };
    (stops.policy(policy), One { ends, permits })
}

/// Stops the tree while its clock moves; also returns after how much of that time it ended.
async fn stop(tree: &Tree, clock: &Clock, within: Duration) -> (StopReport, Duration) {
    let began = clock.now();
    let report = while_time_passes(clock, 10 * MS, tree.stop(within)).await;
    (report, clock.now().duration_since(began))
}

#[tokio::test]
async fn a_child_that_is_stopped_at_once_is_killed_without_being_asked() {
    let (clock, events) = (manual(), Log::default());
    let (first, of_first) = child("first", Shutdown::Within(MINUTE), &clock, &events);
    let (kills, of_kills) = child("kills", Shutdown::AtOnce, &clock, &events);
    let tree = start(&clock, vec![first, kills]).await;
    all_run(&tree).await;
    for number in 0..2 {
        of_kills.ends.send(number).await;
    }
    of_first.permits.add_permits(1);
    quiet().await;
    let (report, took) = stop(&tree, &clock, HOUR).await;
    assert_eq!((report.outcome, report.left_behind, took), (Outcome::Stopped, 0, Duration::ZERO));
    assert_eq!(events.all(), ["first is asked", "first stops"]);
    let health = record(&tree, "kills");
    assert_eq!((health.state, health.exits(ExitKind::Killed)), (State::Stopped, 1));
    assert_eq!(health.last_crash.expect("on record").message, "its policy is to kill it at once");
    // What it had is neither handled nor charged, and nothing more is accepted.
    let stats = of_kills.ends.stats();
    assert_eq!((stats.waiting, stats.handled, stats.dead_lettered), (2, 0, 0));
    assert!(matches!(of_kills.ends.to.try_send(job(7)), Err(SendError::Closed(_))));
}

/// Notes when it learns of its stop. It looks all the time.
struct Looks(Log<bool>);

impl Worker for Looks {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        loop {
            if cx.is_stopping() {
                self.0.note(true);
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_stopped_at_once_does_not_see_the_stop_before_it_is_killed() {
    for _ in 0..100 {
        let seen = Log::default();
        let looks = Child::worker("looks", {
            let seen = seen.clone();
            move || Looks(seen.clone())
        });
        let at_once = Policy { shutdown: Shutdown::AtOnce, ..policy((100, HOUR), (SECOND, SECOND)) };
        let tree = start(&Clock::system(), vec![looks.policy(at_once)]).await;
        all_run(&tree).await;
        assert_eq!(soon("the stop", tree.stop(MINUTE)).await.outcome, Outcome::Stopped);
        assert_eq!((seen.len(), record(&tree, "looks").exits(ExitKind::Killed)), (0, 1));
    }
}

#[tokio::test]
async fn a_removed_child_and_the_sibling_of_a_failed_one_are_killed_at_once_too() {
    let (clock, events) = (manual(), Log::default());
    let (fails, _) = child("fails", Shutdown::Within(MINUTE), &clock, &events);
    let (kills, of_kills) = child("kills", Shutdown::AtOnce, &clock, &events);
    let tree = start(&clock, vec![Child::one_for_all("group", vec![fails, kills])]).await;
    all_run(&tree).await;
    assert!(tree.kill("group/fails"));
    quiet().await;
    assert_eq!(record(&tree, "group/kills").exits(ExitKind::Killed), 1);
    of_kills.ends.send(0).await;
    clock.advance(SECOND);
    quiet().await;
    assert_eq!(record(&tree, "group/kills").state, State::Running);
    let removed = soon("it is removed", tree.remove_child("group/kills")).await.expect("removed");
    assert_eq!((removed.killed, events.len()), (vec!["group/kills".to_owned()], 0));
}

#[tokio::test]
async fn a_child_without_a_limit_has_all_the_time_that_it_needs_and_so_has_its_supervisor() {
    let (clock, events) = (manual(), Log::default());
    let (first, of_first) = child("first", Shutdown::Within(MINUTE), &clock, &events);
    let (endless, of_endless) = child("endless", Shutdown::Unlimited, &clock, &events);
    of_first.permits.add_permits(1);
    let inner = Child::supervisor("inner", vec![first, endless]);
    let tree = Arc::new(start(&clock, vec![Child::supervisor("group", vec![inner])]).await);
    all_run(&tree).await;
    let removal = tokio::spawn({
        let tree = tree.clone();
        async move { tree.remove_child("group/inner").await }
    });
    for _ in 0..100 {
        quiet().await;
        clock.advance(HOUR);
    }
    quiet().await;
    assert_eq!((events.all(), removal.is_finished()), (vec!["endless is asked".to_owned()], false));
    of_endless.permits.add_permits(1);
    let removed = soon("it is removed", removal).await.expect("no panic").expect("removed");
    assert_eq!(removed.killed, Vec::<String>::new());
    assert_eq!(events.all(), ["endless is asked", "endless stops", "first is asked", "first stops"]);
}

#[tokio::test]
async fn the_deadline_of_the_tree_ends_a_child_without_a_limit() {
    let (clock, events) = (manual(), Log::default());
    let (endless, _) = child("endless", Shutdown::Unlimited, &clock, &events);
    let tree = start(&clock, vec![Child::supervisor("group", vec![endless])]).await;
    all_run(&tree).await;
    let (report, took) = stop(&tree, &clock, MINUTE).await;
    let reason = "the tree did not stop within 1m".to_owned();
    assert_eq!((report.outcome, report.left_behind), (Outcome::RootEnded { reason }, 0));
    assert_eq!((events.all(), took), (vec!["endless is asked".to_owned()], MINUTE));
    assert_eq!(record(&tree, "group/endless").exits(ExitKind::Killed), 1);
}

#[tokio::test]
async fn a_supervisor_has_the_time_that_its_children_may_take_one_after_the_other() {
    // 10 s for each of the three that never stop, in two supervisors.
    let (clock, events) = (manual(), Log::default());
    let late = |name| child(name, Shutdown::Within(10 * SECOND), &clock, &events).0;
    let inner = Child::supervisor("inner", vec![late("a"), late("b")]);
    let (orderly, of_orderly) = child("orderly", Shutdown::Within(SECOND), &clock, &events);
    of_orderly.permits.add_permits(1);
    let tree = start(&clock, vec![Child::supervisor("group", vec![orderly, inner, late("c")])]).await;
    all_run(&tree).await;
    let (report, took) = stop(&tree, &clock, HOUR).await;
    assert_eq!((report.outcome, report.left_behind, took), (Outcome::Stopped, 0, 30 * SECOND));
    assert_eq!(events.all(), ["c is asked", "b is asked", "a is asked", "orderly is asked", "orderly stops"]);
    for supervisor in ["group", "group/inner"] {
        assert_eq!(record(&tree, supervisor).exits(ExitKind::Stopped), 1, "{supervisor}");
    }
}

#[tokio::test]
async fn a_supervisor_gets_the_time_for_a_child_that_was_added_later() {
    let (clock, events) = (manual(), Log::default());
    let tree =
        start(&clock, vec![Child::supervisor("group", vec![Child::supervisor("inner", vec![])])]).await;
    all_run(&tree).await;
    let (late, _) = child("late", Shutdown::Within(HOUR), &clock, &events);
    tree.add_child("group/inner", late).expect("added");
    all_run(&tree).await;
    let began = clock.now();
    let removal = while_time_passes(&clock, SECOND, tree.remove_child("group")).await.expect("removed");
    assert_eq!(removal.killed, ["group/inner/late"]);
    assert_eq!(clock.now().duration_since(began), HOUR);
}

#[tokio::test]
async fn a_supervisor_has_no_deadline_while_a_child_that_was_added_later_has_none() {
    let (clock, events) = (manual(), Log::default());
    let tree = Arc::new(start(&clock, vec![Child::supervisor("group", vec![])]).await);
    all_run(&tree).await;
    let (endless, of_endless) = child("endless", Shutdown::Unlimited, &clock, &events);
    tree.add_child("group", endless).expect("added");
    all_run(&tree).await;
    let removal = tokio::spawn({
        let tree = tree.clone();
        async move { tree.remove_child("group").await }
    });
    for _ in 0..100 {
        quiet().await;
        clock.advance(HOUR);
    }
    quiet().await;
    assert_eq!((record(&tree, "group").state, removal.is_finished()), (State::Stopping, false));
    of_endless.permits.add_permits(1);
    let removed = soon("it is removed", removal).await.expect("no panic").expect("removed");
    assert_eq!((removed.killed, events.len()), (vec![], 2));
}

#[tokio::test]
async fn a_supervisor_that_does_not_react_is_killed_at_the_deadline_of_its_children() {
    // The failure point holds it when it is asked to stop, so it never asks its child.
    let (clock, events) = (manual(), Log::default());
    let (late, _) = child("late", Shutdown::Within(10 * SECOND), &clock, &events);
    let tree = start(&clock, vec![Child::supervisor("group", vec![late])]).await;
    all_run(&tree).await;
    tree.failure_points().arm("supervisor::before_order", "group", Fault::Hang, When::Always);
    let (report, took) = stop(&tree, &clock, HOUR).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
    // 10 s for the child, half a second for its kill, and a second of its own.
    assert_eq!(took, 11 * SECOND + 500 * MS);
    assert_eq!(record(&tree, "group").exits(ExitKind::Killed), 1);
    assert_eq!(record(&tree, "group/late").exits(ExitKind::Killed), 1);
}
