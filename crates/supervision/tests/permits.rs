//! Restart permits: how many actors of a tree restart at the same time, and in which order they wait.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use common::{HOUR, Idles, Log, MS, SECOND, all_run, eventually, manual, policy, quiet, record, soon};
use supervision::{Child, Context, Failure, Policy, State, Tree, TreeOptions, Worker};
use tokio::sync::Semaphore;

/// Starts when it gets a permit of the test, and records its name then.
struct StartsBy {
    name: String,
    permits: Arc<Semaphore>,
    started: Log<String>,
}

impl Worker for StartsBy {
    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        self.permits.acquire().await?.forget();
        self.started.note(self.name.clone());
        Ok(())
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

/// The permits that let actors become ready, and the actors in the order in which they did.
#[derive(Clone)]
struct Starts {
    permits: Arc<Semaphore>,
    started: Log<String>,
}

impl Starts {
    fn new(permits: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(permits)), started: Log::default() }
    }

    /// An actor with this pause before its restarts, whose start may take an hour.
    fn child(&self, name: &str, pause: std::time::Duration) -> Child {
        let (name, Self { permits, started }) = (name.to_owned(), self.clone());
        let make = {
            let name = name.clone();
            move || StartsBy { name: name.clone(), permits: permits.clone(), started: started.clone() }
        };
        let policy = policy((1_000, HOUR), (pause, pause));
        Child::worker(name, make).policy(Policy { start_within: HOUR, ..policy })
    }
}

fn paths_in(tree: &Tree, state: State) -> Vec<String> {
    let of_actors = tree.health().into_iter().filter(|actor| !actor.supervisor && actor.state == state);
    of_actors.map(|actor| actor.path).collect()
}

#[tokio::test]
async fn actors_that_crash_together_restart_a_few_at_a_time() {
    let (clock, starts) = (manual(), Starts::new(40));
    let child = |number: usize| starts.child(&number.to_string(), MS);
    let groups = (0..4).map(|group| Child::supervisor(format!("group{group}"), (0..10).map(child).collect()));
    let options = TreeOptions { clock: clock.clone(), simultaneous_restarts: 3, ..TreeOptions::default() };
    let tree = Tree::start(groups.collect(), options).await.expect("the root starts");
    all_run(&tree).await;
    for path in paths_in(&tree, State::Running) {
        assert!(tree.kill(&path));
    }
    quiet().await;
    assert_eq!(paths_in(&tree, State::BackingOff).len(), 40);
    clock.advance(MS);
    for done in 0..40 {
        quiet().await;
        let starting = paths_in(&tree, State::Starting).len();
        assert_eq!((starting, starts.started.len()), (3.min(40 - done), 40 + done), "after {done} restarts");
        starts.permits.add_permits(1);
    }
    all_run(&tree).await;
    tree.stop(10 * SECOND).await;
}

#[tokio::test]
async fn restarts_wait_for_their_permits_in_the_order_in_which_their_pauses_end() {
    // One restart at a time. Pauses of 1 s to 4 s, against the order of the start.
    let (clock, starts) = (manual(), Starts::new(4));
    let names = ["d", "c", "b", "a"];
    let children =
        names.into_iter().zip([4, 3, 2, 1]).map(|(name, pause)| starts.child(name, pause * SECOND));
    let options = TreeOptions { clock: clock.clone(), simultaneous_restarts: 1, ..TreeOptions::default() };
    let tree = Tree::start(children.collect(), options).await.expect("the root starts");
    all_run(&tree).await;
    for name in names {
        assert!(tree.kill(name));
    }
    quiet().await;
    for _ in 0..4 {
        clock.advance(SECOND);
        quiet().await;
    }
    assert_eq!(paths_in(&tree, State::Starting), ["a"], "it has the only permit");
    assert_eq!(paths_in(&tree, State::BackingOff), ["d", "c", "b"]);
    starts.permits.add_permits(4);
    all_run(&tree).await;
    assert_eq!(starts.started.all()[4..], ["a", "b", "c", "d"]);
    tree.stop(10 * SECOND).await;
}

/// Fails to start on demand.
struct FailsToStart(Arc<AtomicBool>);

impl Worker for FailsToStart {
    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        if self.0.load(Relaxed) { Err("it must not start".into()) } else { Ok(()) }
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_crashes_or_is_removed_returns_its_permit() {
    let quick = policy((1_000_000, HOUR), (MS, MS));
    let bad = Arc::new(AtomicBool::new(false));
    let children = ["good", "gone"].map(|name| Child::worker(name, || Idles));
    let fails = Child::worker("bad", {
        let bad = bad.clone();
        move || FailsToStart(bad.clone())
    });
    let children = children.into_iter().chain([fails]).map(|child| child.policy(quick)).collect();
    let options = TreeOptions { simultaneous_restarts: 1, ..TreeOptions::default() };
    let tree = Tree::start(children, options).await.expect("the root starts");
    all_run(&tree).await;
    bad.store(true, Relaxed);
    assert!(tree.kill("bad"));
    eventually("it crashes at each start", || record(&tree, "bad").generation > 10).await;
    for round in 2..6 {
        assert!(tree.kill("good"));
        eventually("it is back all the same", || record(&tree, "good").generation == round).await;
    }
    assert!(tree.kill("gone"));
    soon("it is removed", tree.remove_child("gone")).await.expect("removed");
    soon("it is removed", tree.remove_child("bad")).await.expect("removed");
    assert!(tree.kill("good"));
    eventually("the permit is free", || record(&tree, "good").generation == 6).await;
    tree.stop(10 * SECOND).await;
}
