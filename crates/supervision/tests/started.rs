//! The end of the ordered start, as the owner of a tree waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use common::{HOUR, Hold, Idles, Lowered, MINUTE, MS, SECOND, manual, policy, quiet, record, size, soon};
use supervision::{
    Child, Clock, Context, ExitKind, Failure, NotStarted, OnLimit, Outcome, Policy, Restart, State, Tree,
    TreeOptions, Worker,
};
use tokio::sync::Semaphore;

/// What its first start does; later starts become ready at once.
#[derive(Clone, Copy)]
enum Start {
    Ready,
    Fails,
    Panics,
    Waits,
}

struct Starts {
    start: Start,
    /// How many of its incarnations have begun.
    begun: Arc<AtomicUsize>,
    allowed: Arc<Semaphore>,
}

impl Worker for Starts {
    async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
        if self.begun.fetch_add(1, Relaxed) > 0 {
            return Ok(());
        }
        match self.start {
            Start::Ready => {}
            Start::Fails => return Err("no disk".into()),
            Start::Panics => panic!("a bug"),
            Start::Waits => self.allowed.acquire().await?.forget(),
        }
        Ok(())
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

/// A child that starts in this way: 5 s to become ready, 100 restarts an hour, a second before each.
fn child(name: &str, start: Start, allowed: &Arc<Semaphore>) -> Child {
    let (begun, allowed) = (Arc::<AtomicUsize>::default(), allowed.clone());
    Child::worker(name, move || Starts { start, begun: begun.clone(), allowed: allowed.clone() })
        .policy(Policy { start_within: 5 * SECOND, ..policy((100, HOUR), (SECOND, SECOND)) })
}

async fn tree_of(clock: &Clock, children: Vec<Child>) -> Arc<Tree> {
    let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
    Arc::new(Tree::start(children, options).await.expect("the root starts"))
}

type Started = tokio::task::JoinHandle<Result<(), NotStarted>>;

/// A task that waits for the end of the start.
fn waiting(tree: &Arc<Tree>) -> Started {
    let tree = tree.clone();
    tokio::spawn(async move { tree.started().await })
}

fn none() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

#[tokio::test]
async fn a_start_is_over_when_the_last_actor_is_ready_also_in_nested_supervisors() {
    let allowed = none();
    let child = |name, start| child(name, start, &allowed);
    let inner = Child::rest_for_one("inner", vec![child("b", Start::Ready), child("c", Start::Waits)]);
    let group = Child::one_for_all("group", vec![inner, child("d", Start::Waits)]);
    let tree = tree_of(&manual(), vec![child("a", Start::Ready), group]).await;
    let started = waiting(&tree);
    for waits in ["group/inner/c", "group/d"] {
        quiet().await;
        assert_eq!((record(&tree, waits).state, started.is_finished()), (State::Starting, false));
        allowed.add_permits(1);
    }
    soon("the start is over", started).await.expect("no panic").expect("all are ready");
    assert!(tree.health().iter().all(|actor| actor.state == State::Running));
    // It stays so, whatever happens later.
    assert!(tree.kill("a"));
    quiet().await;
    assert_eq!(soon("it is known", tree.started()).await, Ok(()));
}

#[tokio::test]
async fn a_tree_without_actors_is_started_at_once() {
    let tree = tree_of(&manual(), vec![Child::supervisor("group", vec![])]).await;
    assert_eq!(soon("the start is over", tree.started()).await, Ok(()));
}

#[tokio::test]
async fn actors_that_failed_or_took_too_long_are_named_and_the_tree_continues() {
    let (clock, allowed) = (manual(), none());
    let child = |name, start| child(name, start, &allowed);
    let group =
        vec![child("panics", Start::Panics), child("waits", Start::Waits), child("good", Start::Ready)];
    let children =
        vec![child("fails", Start::Fails), Child::supervisor("group", group), child("last", Start::Ready)];
    let tree = tree_of(&clock, children).await;
    let started = waiting(&tree);
    quiet().await;
    clock.advance(5 * SECOND - MS);
    quiet().await;
    assert_eq!((record(&tree, "group/good").state, started.is_finished()), (State::Waiting, false));
    clock.advance(MS);
    let error = soon("the start is over", started).await.expect("no panic").expect_err("three are not ready");
    let named = |path: &str, why: &str| (path.to_owned(), why.to_owned());
    let expected = vec![
        named("fails", "no disk"),
        named("group/panics", "a bug"),
        named("group/waits", "it was not ready within 5s"),
    ];
    assert_eq!(error, NotStarted::Failed(expected));
    assert_eq!(
        error.to_string(),
        "fails: no disk; group/panics: a bug; group/waits: it was not ready within 5s"
    );
    // The others run, and those come back.
    assert_eq!(["group/good", "last"].map(|path| record(&tree, path).state), [State::Running; 2]);
    allowed.add_permits(1);
    quiet().await;
    for path in ["fails", "group/panics"] {
        assert_eq!(
            (record(&tree, path).state, record(&tree, path).generation),
            (State::Running, 2),
            "{path}"
        );
    }
    assert_eq!(record(&tree, "group/waits").state, State::Running);
}

#[tokio::test]
async fn a_crash_of_an_actor_that_was_ready_is_no_failed_start() {
    struct FailsAtOnce;
    impl Worker for FailsAtOnce {
        async fn run(&mut self, _: &Context) -> Result<(), Failure> {
            Err("later".into())
        }
    }
    let fails = Child::worker("fails", || FailsAtOnce).policy(policy((100, HOUR), (SECOND, SECOND)));
    let tree = tree_of(&manual(), vec![fails, child("good", Start::Ready, &none())]).await;
    assert_eq!(soon("the start is over", tree.started()).await, Ok(()));
    quiet().await;
    assert_eq!(record(&tree, "fails").exits(ExitKind::Failed), 1);
}

#[tokio::test]
async fn an_actor_that_ends_for_good_before_it_is_ready_does_not_hold_the_start() {
    let temporary = child("fails", Start::Fails, &none());
    let policy = Policy { restart: Restart::Temporary, ..policy((100, HOUR), (SECOND, SECOND)) };
    let tree = tree_of(&manual(), vec![temporary.policy(policy), Child::worker("good", || Idles)]).await;
    let error = soon("the start is over", tree.started()).await.expect_err("one has failed");
    assert_eq!(error, NotStarted::Failed(vec![("fails".to_owned(), "no disk".to_owned())]));
    assert_eq!(["fails", "good"].map(|path| record(&tree, path).state), [State::Stopped, State::Running]);
}

#[tokio::test]
async fn a_tree_that_is_stopped_or_gives_up_before_its_start_is_over_has_ended() {
    let ended = |started: Started| async { soon("the wait ends", started).await.expect("no panic") };

    let tree = tree_of(&manual(), vec![child("waits", Start::Waits, &none())]).await;
    let started = waiting(&tree);
    quiet().await;
    // The child ignores the stop, so the tree kills it at its own deadline, which has no length.
    let stop = tokio::spawn({
        let tree = tree.clone();
        async move { tree.stop(std::time::Duration::ZERO).await }
    });
    assert_eq!(ended(started).await, Err(NotStarted::Ended));
    soon("the stop", stop).await.expect("no panic");
    assert_eq!(tree.started().await, Err(NotStarted::Ended), "it never was started");

    let escalates = Policy { on_limit: OnLimit::Escalate, ..policy((0, HOUR), (SECOND, SECOND)) };
    let fails = child("fails", Start::Fails, &none()).policy(escalates);
    let tree = tree_of(&manual(), vec![fails, Child::worker("next", || Idles)]).await;
    assert_eq!(ended(waiting(&tree)).await, Err(NotStarted::Ended));
    assert!(matches!(tree.ended().await, Outcome::GaveUp { .. }));
}

/// The root ends while an actor of it still holds its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_root_that_dies_during_the_start_ends_the_wait_for_it() {
    struct HoldsItsStart(Hold);
    impl Worker for HoldsItsStart {
        async fn pre_start(&mut self, _: &Context) -> Result<(), Failure> {
            self.0.hold();
            Ok(())
        }
        async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
            cx.stopped().await;
            Ok(())
        }
    }
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let holds = Child::worker("holds", move || HoldsItsStart(hold.clone()));
    let tree = tree_of(&Clock::system(), vec![holds]).await;
    let started = waiting(&tree);
    common::eventually("it starts", || record(&tree, "holds").generation == 1).await;
    let stop = tokio::spawn({
        let tree = tree.clone();
        async move { tree.stop(MS).await }
    });
    assert_eq!(soon("the wait ends", started).await.expect("no panic"), Err(NotStarted::Ended));
    assert_eq!(soon("the stop", stop).await.expect("no panic").left_behind, 1);
}

#[tokio::test]
async fn a_restart_of_a_supervisor_during_the_start_does_not_hold_the_start() {
    // `b` fails, and its supervisor with it; the next incarnation of the supervisor starts both.
    let (clock, allowed) = (manual(), none());
    let escalates = Policy { on_limit: OnLimit::Escalate, ..policy((0, HOUR), (SECOND, SECOND)) };
    let fails = child("b", Start::Fails, &allowed).policy(escalates);
    let group = Child::supervisor("group", vec![child("a", Start::Ready, &allowed), fails]);
    let group = group.policy(policy((100, HOUR), (SECOND, SECOND)));
    let tree = tree_of(&clock, vec![group, Child::worker("last", || Idles)]).await;
    let error = soon("the start is over", tree.started()).await.expect_err("one has failed");
    let NotStarted::Failed(failed) = error else { panic!("{error}") };
    let paths: Vec<&str> = failed.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["group", "group/b"]);
    clock.advance(SECOND);
    quiet().await;
    assert!(tree.health().iter().all(|actor| actor.state == State::Running));
    assert_eq!(soon("the stop", tree.stop(MINUTE)).await.outcome, Outcome::Stopped);
}

/// In many trees, since the last actor becomes ready in the same moment in which the start is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_start_is_over_every_actor_is_shown_as_running() {
    for tree in 0..size(2_000) {
        let group = Child::supervisor("group", vec![Child::worker("last", || Idles)]);
        let tree_of = Tree::start(vec![Child::worker("first", || Idles), group], TreeOptions::default());
        let running = tree_of.await.expect("the root starts");
        running.started().await.unwrap_or_else(|error| panic!("tree {tree}: {error}"));
        let late: Vec<_> =
            running.health().into_iter().filter(|actor| actor.state != State::Running).collect();
        assert!(late.is_empty(), "tree {tree}: {late:#?}");
        running.stop(MINUTE).await;
    }
}
