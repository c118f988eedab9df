//! Sub-tasks that hold a thread: their actor's successor waits for them, and the watch reports them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;
use std::{future::pending, time::Duration};

use common::{HOUR, Hangs, Hold, Idles, Log, Lowered, MS, eventually, policy, record, soon, stalls_after};
use supervision::{
    Child, Context, ExitKind, Failure, Policy, Shutdown, State, Tree, TreeOptions, WatchSettings, Worker,
};

/// How the actor itself ends.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Fails,
    Panics,
    AtItsStop,
    Never,
}

/// In its first incarnation, starts a sub-task that holds its thread, and ends when that has begun.
struct Holds {
    hold: Hold,
    began: Hold,
    ends: Ends,
    events: Log<&'static str>,
}

impl Worker for Holds {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        if cx.generation() > 1 {
            self.events.note("the successor begins");
            cx.idle(cx.stopped()).await;
            return Ok(());
        }
        let (hold, began, events) = (self.hold.clone(), self.began.clone(), self.events.clone());
        cx.spawn(async move {
            began.lower();
            hold.hold();
            events.note("the sub-task ends");
        })?;
        // A timer wakes it on any thread. What the sub-task woke would wait for the sub-task's thread.
        while self.began.is_raised() {
            tokio::time::sleep(MS).await;
        }
        match self.ends {
            Ends::Fails => Err("it fails".into()),
            Ends::Panics => panic!("it panics"),
            Ends::AtItsStop => {
                cx.idle(cx.stopped()).await;
                Ok(())
            }
            Ends::Never => cx.idle(pending()).await,
        }
    }
}

/// A tree with the actor `group/holds` after `group/first`, whose sub-task holds a thread now; and its events.
async fn holding(hold: &Hold, ends: Ends, policy: Policy, watch: WatchSettings) -> (Tree, Log<&'static str>) {
    let (began, events) = (Hold::raised(), Log::default());
    let holds = Child::worker("holds", {
        let (hold, began, events) = (hold.clone(), began.clone(), events.clone());
        move || Holds { hold: hold.clone(), began: began.clone(), ends, events: events.clone() }
    });
    let canary = Child::worker("canary", || Hangs).policy(stalls_after(20 * MS));
    let group = Child::supervisor("group", vec![Child::worker("first", || Idles), holds.policy(policy)]);
    let options = TreeOptions { watch, ..TreeOptions::default() };
    let tree = Tree::start(vec![group, canary], options).await.expect("the root starts");
    eventually("the sub-task holds its thread", || !began.is_raised()).await;
    (tree, events)
}

/// Waits until the watch has looked at every actor ten times.
async fn looks(tree: &Tree) {
    let looks = || record(tree, "canary").exits(ExitKind::Stalled);
    let before = looks();
    eventually("the watch looks", || looks() >= before + 10).await;
}

fn quick() -> Policy {
    policy((1_000, HOUR), (MS, MS))
}

fn often() -> WatchSettings {
    WatchSettings { every: MS, ..WatchSettings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_successor_of_a_killed_actor_begins_after_the_last_sub_task_has_ended() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let (tree, events) = holding(&hold, Ends::Never, quick(), often()).await;
    // Else its own start could be taken for that of its successor.
    eventually("it runs", || record(&tree, "group/holds").state == State::Running).await;
    assert!(tree.kill("group/holds"));
    eventually("its successor waits", || record(&tree, "group/holds").state == State::Starting).await;
    looks(&tree).await;
    let health = record(&tree, "group/holds");
    assert_eq!((health.state, health.generation), (State::Starting, 1));
    hold.lower();
    eventually("its successor runs", || record(&tree, "group/holds").state == State::Running).await;
    assert_eq!(events.all(), ["the sub-task ends", "the successor begins"]);
}

async fn a_crash_is_recorded_as_it_was(ends: Ends, kind: ExitKind, message: &str) {
    // The watch kills the incarnation, which makes no progress while it waits for its sub-task.
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let (tree, events) = holding(&hold, ends, stalls_after(20 * MS), often()).await;
    eventually("its successor waits", || record(&tree, "group/holds").state == State::Starting).await;
    looks(&tree).await;
    assert_eq!((record(&tree, "group/holds").generation, events.len()), (1, 0));
    hold.lower();
    eventually("its successor runs", || events.len() == 2).await;
    assert_eq!(events.all(), ["the sub-task ends", "the successor begins"]);
    let crash = tree.crashes("group/holds").into_iter().next().expect("it crashed");
    assert_eq!((crash.kind, crash.message.as_str(), crash.generation), (kind, message, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_successor_of_an_actor_that_failed_begins_after_the_last_sub_task_has_ended() {
    a_crash_is_recorded_as_it_was(Ends::Fails, ExitKind::Failed, "it fails").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_successor_of_an_actor_that_panicked_begins_after_the_last_sub_task_has_ended() {
    a_crash_is_recorded_as_it_was(Ends::Panics, ExitKind::Panicked, "it panics").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_ordered_stop_waits_for_the_last_sub_task_of_an_actor() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let policy = Policy { shutdown: Shutdown::Within(HOUR), ..quick() };
    let (tree, events) = holding(&hold, Ends::AtItsStop, policy, often()).await;
    let tree = Arc::new(tree);
    let stop = tokio::spawn({
        let tree = tree.clone();
        async move { tree.remove_child("group").await }
    });
    eventually("it is asked to stop", || record(&tree, "group/holds").state == State::Stopping).await;
    looks(&tree).await;
    assert_eq!(record(&tree, "group/first").state, State::Running, "its turn has not come");
    hold.lower();
    let removed = soon("the stop", stop).await.expect("no panic").expect("removed");
    assert_eq!((removed.killed, events.all()), (vec![], vec!["the sub-task ends"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_sub_task_that_does_not_yield_is_reported_as_its_actor() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let wedged = Log::default();
    let on_wedged = {
        let wedged = wedged.clone();
        Arc::new(move |path: &str, _: Duration| wedged.note(path.to_owned()))
    };
    let watch = WatchSettings { every: MS, report_after: 10 * MS, wedged_after: 20 * MS, on_wedged };
    let (tree, _) = holding(&hold, Ends::Never, quick(), watch).await;
    eventually("it is reported", || record(&tree, "group/holds").wedged && wedged.len() > 0).await;
    assert_eq!(wedged.all(), ["group/holds"]);
    assert!(tree.not_yielding(10 * MS).iter().any(|(path, _)| path == "group/holds"));
    hold.lower();
    eventually("it yields", || !record(&tree, "group/holds").wedged).await;
    assert!(!tree.not_yielding(10 * MS).iter().any(|(path, _)| path == "group/holds"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_actor_that_ended_in_order_but_for_a_sub_task_that_was_killed_was_killed() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let policy = Policy { shutdown: Shutdown::Within(MS), ..quick() };
    let (tree, _) = holding(&hold, Ends::AtItsStop, policy, often()).await;
    let report = soon("the stop", tree.stop(HOUR)).await;
    assert_eq!(report.abandoned, ["group/holds"]);
    hold.lower();
    let exits = |kind| record(&tree, "group/holds").exits(kind);
    eventually("it ends", || {
        exits(ExitKind::Killed) + exits(ExitKind::Stopped) + exits(ExitKind::Finished) == 1
    })
    .await;
    assert_eq!(exits(ExitKind::Killed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_sub_task_that_holds_its_thread_is_reported_by_the_stop_of_the_tree() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let policy = Policy { shutdown: Shutdown::Within(MS), ..quick() };
    let (tree, _) = holding(&hold, Ends::Never, policy, often()).await;
    let report = soon("the stop", tree.stop(HOUR)).await;
    assert_eq!((report.abandoned, report.left_behind), (vec!["group/holds".to_owned()], 1));
}
