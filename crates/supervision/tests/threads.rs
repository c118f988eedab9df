//! Actors that hold a thread, or never let go of a message: what the others, the supervisor and the watch do meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use common::{
    HOUR, Hangs, Hold, HoldsAtOnce, Idles, Job, Lowered, MS, SECOND, all_run, attempts, eventually,
    new_mailbox, policy, record, stalls_after, start,
};
use supervision::{
    Actor, Child, Clock, Context, ExitKind, Failure, Inbox, Policy, State, Tree, TreeOptions, WatchSettings,
    Worker,
};

/// Returns its message uncharged, for ever, and waits for nothing.
struct Returns {
    hold: Hold,
    batches: bool,
}

impl Actor for Returns {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while self.hold.is_raised() {
            if self.batches {
                let Some(batch) = inbox.recv_many().await else { return Ok(()) };
                batch.nack();
            } else {
                let Some(lease) = inbox.recv().await else { return Ok(()) };
                lease.nack();
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_actor_that_returns_its_message_again_and_again_lets_others_run() {
    for batches in [false, true] {
        let hold = Hold::raised();
        let _lowered = Lowered(hold.clone());
        let (mailbox, ends) = new_mailbox("returns", attempts(1), &Clock::system());
        let returns = Child::actor(mailbox, {
            let hold = hold.clone();
            move || Returns { hold: hold.clone(), batches }
        });
        let tree = start(&Clock::system(), vec![returns]).await;
        all_run(&tree).await;
        ends.send(0).await;
        // There is one worker: this task runs on it only when the actor yields.
        tokio::spawn(async {}).await.expect("it runs");
        assert!(tree.kill("returns"));
        eventually("it is killed", || record(&tree, "returns").exits(ExitKind::Killed) == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_holds_its_thread_at_once_does_not_hold_its_supervisor() {
    for _ in 0..10 {
        let hold = Hold::raised();
        let _lowered = Lowered(hold.clone());
        let holds = Child::worker("holds", {
            let hold = hold.clone();
            move || HoldsAtOnce(hold.clone())
        });
        let tree = start(&Clock::system(), vec![holds, Child::worker("next", || Idles)]).await;
        eventually("the next one runs", || record(&tree, "next").state == State::Running).await;
        assert!(hold.is_raised());
    }
}

/// Holds its thread in its start.
struct HoldsItsStart(Hold);

impl Worker for HoldsItsStart {
    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        self.0.hold();
        Ok(())
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_holds_its_thread_in_its_start_does_not_hold_its_supervisor() {
    for _ in 0..10 {
        let hold = Hold::raised();
        let _lowered = Lowered(hold.clone());
        let holds = Child::worker("holds", {
            let hold = hold.clone();
            move || HoldsItsStart(hold.clone())
        });
        let holds = holds.policy(Policy { start_within: MS, ..policy((1, HOUR), (MS, MS)) });
        let tree = start(&Clock::system(), vec![holds, Child::worker("next", || Idles)]).await;
        eventually("the next one runs", || record(&tree, "next").state == State::Running).await;
        assert!(hold.is_raised());
    }
}

/// Is dropped slowly.
struct DropsSlowly(Hold);

impl Drop for DropsSlowly {
    fn drop(&mut self) {
        self.0.hold();
    }
}

impl Worker for DropsSlowly {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(pending()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_that_blocks_during_a_kill_is_reported_as_never_yielding() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let drops = Child::worker("drops", {
        let hold = hold.clone();
        move || DropsSlowly(hold.clone())
    });
    let watch = WatchSettings { every: MS, report_after: 10 * MS, ..WatchSettings::default() };
    let options = TreeOptions { watch, ..TreeOptions::default() };
    let tree = Tree::start(vec![drops], options).await.expect("the root starts");
    all_run(&tree).await;
    assert!(tree.kill("drops"));
    eventually("it is reported", || record(&tree, "drops").wedged).await;
    assert!(tree.not_yielding(10 * MS).iter().any(|(path, _)| path == "drops"));
    hold.lower();
    eventually("it is back", || record(&tree, "drops").generation == 2).await;
}

/// How often the canary, which hangs, has been replaced: each time the watch has looked at everything before it.
fn looks(tree: &Tree) -> u64 {
    record(tree, "canary").exits(ExitKind::Stalled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_successor_that_waits_for_a_wedged_predecessor_is_not_killed_in_its_place() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let wedges = Child::worker("wedges", {
        let hold = hold.clone();
        move || HoldsAtOnce(hold.clone())
    });
    let other = Child::worker("other", || Idles);
    let group = vec![other, wedges.policy(stalls_after(20 * MS))];
    let canary = Child::worker("canary", || Hangs).policy(stalls_after(20 * MS));
    let group = Child::supervisor("group", group).policy(policy((1_000, HOUR), (MS, MS)));
    let tree = start(&Clock::system(), vec![group, canary]).await;
    // Not only that it runs: a kill before its first poll would find it willing to end.
    eventually("it wedges", || tree.not_yielding(MS).iter().any(|(path, _)| path == "group/wedges")).await;
    assert!(tree.kill("group"));
    eventually("the group is back", || record(&tree, "group/other").generation == 2).await;
    let before = looks(&tree);
    eventually("the watch has looked ten times", || looks(&tree) >= before + 10).await;
    let health = record(&tree, "group/wedges");
    assert_eq!((health.generation, health.state, health.degraded), (1, State::Starting, false));
    hold.lower();
    eventually("its successor runs", || {
        let health = record(&tree, "group/wedges");
        (health.generation, health.state) == (2, State::Running)
    })
    .await;
    assert_eq!(record(&tree, "group/wedges").exits(ExitKind::Stalled), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_reaction_that_panics_does_not_end_the_watch() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let holds = Child::worker("holds", {
        let hold = hold.clone();
        move || HoldsAtOnce(hold.clone())
    });
    let told = Arc::new(AtomicBool::new(false));
    let on_wedged = {
        let told = told.clone();
        Arc::new(move |_: &str, _| {
            told.store(true, Relaxed);
            panic!("the reaction fails");
        })
    };
    let watch = WatchSettings { every: MS, report_after: 10 * MS, wedged_after: 20 * MS, on_wedged };
    let options = TreeOptions { watch, ..TreeOptions::default() };
    let canary = Child::worker("canary", || Hangs).policy(stalls_after(20 * MS));
    let tree = Tree::start(vec![holds, canary], options).await.expect("the root starts");
    eventually("the owner is told", || told.load(Relaxed)).await;
    let before = looks(&tree);
    eventually("the watch looks on", || looks(&tree) >= before + 2).await;
    tree.stop(SECOND).await;
}
