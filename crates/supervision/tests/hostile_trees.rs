//! Actors, makers, policies and owners of trees that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests that can't continue panic")]

mod common;

use std::{
    error::Error,
    fmt,
    future::pending,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use common::{
    HOUR, Hold, Lowered, MS, SECOND, all_run, attempts, calm, eventually, job, manual, new_mailbox, policy,
    record, soon, start,
};
use supervision::{
    Backoff, Budget, ChangeError, Child, Clock, Context, ExitKind, Failure, Intensity, Limits, Name, Notice,
    OnLimit, Outcome, Overflow, Policy, Restart, SendError, Shutdown, State, Tree, TreeOptions,
    WatchSettings, Worker,
};

/// A worker that is a function.
struct Does<F>(F);

impl<F, R> Worker for Does<F>
where
    F: Fn(Context) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), Failure>> + Send,
{
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        (self.0)(cx.clone()).await
    }
}

fn does<F, R>(name: impl Into<Name>, work: F) -> Child
where
    F: Fn(Context) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<(), Failure>> + Send + 'static,
{
    Child::worker(name, move || Does(work.clone()))
}

fn idles(name: impl Into<Name>) -> Child {
    does(name, |cx: Context| async move {
        cx.idle(cx.stopped()).await;
        Ok(())
    })
}

fn quick() -> Policy {
    policy((u32::MAX, MS), (Duration::ZERO, Duration::ZERO))
}

fn comes_back<T: Send + 'static>(within: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || drop(sender.send(work())));
    done.recv_timeout(within).ok()
}

// 1. Drops that panic.

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("its drop panics");
        }
    }
}

impl Worker for PanicsInDrop {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(pending()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_whose_drop_panics_when_it_is_killed_is_not_taken_for_one_that_never_yields() {
    let told = Arc::new(AtomicU64::new(0));
    let on_wedged = {
        let told = told.clone();
        Arc::new(move |_: &str, _: Duration| {
            told.fetch_add(1, Relaxed);
        })
    };
    let watch = WatchSettings { every: MS, report_after: 100 * MS, wedged_after: 200 * MS, on_wedged };
    let child = Child::worker("drops", || PanicsInDrop)
        .policy(Policy { restart: Restart::Temporary, ..Policy::default() });
    let options = TreeOptions { watch, ..TreeOptions::default() };
    let tree = Tree::start(vec![child, idles("other")], options).await.expect("the root starts");
    all_run(&tree).await;
    assert!(tree.kill("drops"));
    eventually("it has ended", || record(&tree, "drops").state == State::Stopped).await;
    tokio::time::sleep(SECOND).await;
    let health = record(&tree, "drops");
    assert_eq!((told.load(Relaxed), health.wedged), (0, false), "{health:?}");
    assert_eq!(health.exits(ExitKind::Killed), 1);
    assert_eq!(tree.stop(5 * SECOND).await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_whose_drop_panics_comes_back_after_every_kind_of_end() {
    let tree = start(
        &Clock::system(),
        vec![
            Child::worker("killed", || PanicsInDrop).policy(quick()),
            Child::worker("crashed", || {
                struct Both;
                impl Drop for Both {
                    fn drop(&mut self) {
                        if !std::thread::panicking() {
                            panic!("its drop panics");
                        }
                    }
                }
                impl Worker for Both {
                    async fn run(&mut self, _: &Context) -> Result<(), Failure> {
                        Err("it fails".into())
                    }
                }
                Both
            })
            .policy(policy((u32::MAX, MS), (10 * MS, 10 * MS))),
            Child::worker("task", || {
                struct Task;
                impl Drop for Task {
                    fn drop(&mut self) {
                        if !std::thread::panicking() {
                            panic!("its drop panics");
                        }
                    }
                }
                impl Worker for Task {
                    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
                        cx.spawn(async { panic!("its sub-task panics") })?;
                        cx.idle(pending()).await
                    }
                }
                Task
            })
            .policy(policy((u32::MAX, MS), (10 * MS, 10 * MS))),
        ],
    )
    .await;
    for _ in 0..3 {
        let before = record(&tree, "killed").generation;
        eventually("killed", || tree.kill("killed")).await;
        eventually("it is back", || record(&tree, "killed").generation > before).await;
    }
    eventually("it is back", || record(&tree, "crashed").generation > 3).await;
    eventually("it is back", || record(&tree, "task").generation > 3).await;
    let task = record(&tree, "task");
    assert!(task.exits(ExitKind::Panicked) >= 3, "{task:?}");
    assert_eq!(tree.stop(5 * SECOND).await.left_behind, 0);
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload of a panic panics");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_whose_payload_panics_is_a_panic_on_record() {
    let child =
        does("bomb", |_| async { std::panic::panic_any(Bomb) }).policy(policy((u32::MAX, MS), (HOUR, HOUR)));
    let tree = start(&Clock::system(), vec![child]).await;
    eventually("it has ended", || record(&tree, "bomb").state == State::BackingOff).await;
    let health = record(&tree, "bomb");
    assert_eq!(health.exits(ExitKind::Panicked), 1, "{health:?}");
    tree.stop(5 * SECOND).await;
}

// 2. Errors that misbehave.

#[derive(Debug)]
struct Own;

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its own cause")
    }
}

impl Error for Own {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

#[test]
fn an_error_that_is_its_own_cause_does_not_hold_the_thread() {
    let ended = comes_back(10 * SECOND, || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let child =
                does("own", |_| async { Err(Own.into()) }).policy(policy((u32::MAX, MS), (HOUR, HOUR)));
            let tree = start(&Clock::system(), vec![child]).await;
            eventually("it has ended", || record(&tree, "own").exits(ExitKind::Failed) == 1).await;
        });
    });
    assert!(ended.is_some(), "the actor's thread is held for ever");
}

#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("it can't be shown")
    }
}

impl Error for Unspeakable {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_can_not_be_shown_is_a_crash_of_its_actor() {
    let child =
        does("error", |_| async { Err(Unspeakable.into()) }).policy(policy((u32::MAX, MS), (HOUR, HOUR)));
    let tree = start(&Clock::system(), vec![child]).await;
    eventually("it has ended", || record(&tree, "error").state == State::BackingOff).await;
    let health = record(&tree, "error");
    let faults = health.exits(ExitKind::Failed) + health.exits(ExitKind::Panicked);
    assert_eq!(faults, 1, "{health:?}");
    tree.stop(5 * SECOND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_of_a_crash_is_bounded() {
    let child = does("talks", |_| async { Err("x".repeat(10 << 20).into()) })
        .policy(policy((u32::MAX, MS), (10 * MS, 10 * MS)));
    let tree = start(&Clock::system(), vec![child]).await;
    eventually("it has crashed often", || record(&tree, "talks").generation > 9).await;
    let held: usize = tree.crashes("talks").iter().map(|crash| crash.message.len()).sum();
    assert!(held <= 1 << 20, "the crashes of one actor hold {held} bytes");
    tree.stop(5 * SECOND).await;
}

// 3. Extremes of policies and settings.

#[test]
fn a_budget_of_any_length_can_be_made() {
    for clock in [Clock::system(), manual()] {
        let whole = Budget::new(&clock, "whole", Duration::MAX);
        let part = whole.child("part", Duration::MAX);
        assert!(part.deadline() <= whole.deadline());
        assert!(whole.remaining() > HOUR);
        let short = Budget::new(&clock, "short", SECOND);
        assert_eq!(short.child("part", Duration::MAX).deadline(), short.deadline());
    }
}

#[tokio::test]
async fn a_manual_clock_can_be_moved_as_far_as_its_type_reaches() {
    let clock = manual();
    let tree = start(&clock, vec![idles("idles")]).await;
    all_run(&tree).await;
    for _ in 0..2 {
        clock.advance(Duration::MAX);
        let _ = (clock.now(), clock.nanos(), clock.unix());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_at_their_extremes_neither_panic_nor_stop_the_tree() {
    let times = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
    let mut children = Vec::new();
    for (a, &time) in times.iter().enumerate() {
        for (b, &other) in times.iter().enumerate() {
            for (c, restarts) in [0, u32::MAX].into_iter().enumerate() {
                let extreme = Policy {
                    restart: Restart::Permanent,
                    intensity: Intensity { max_restarts: restarts, within: time },
                    on_limit: OnLimit::Degrade,
                    backoff: Backoff { first: other, max: time, jitter: true, reset_after: other },
                    start_within: time,
                    shutdown: Shutdown::Within(other),
                    stall_after: Some(other),
                    degraded_retry: time,
                    give_up_after: None,
                };
                let name = format!("{a}{b}{c}");
                children.push(does(format!("ends-{name}"), |_| async { Ok(()) }).policy(extreme));
                children.push(idles(format!("idles-{name}")).policy(extreme));
            }
        }
    }
    let tree = start(&Clock::system(), vec![Child::supervisor("group", children), idles("other")]).await;
    eventually("the other runs", || record(&tree, "other").state == State::Running).await;
    tokio::time::sleep(500 * MS).await;
    for actor in tree.health().iter().filter(|actor| actor.supervisor) {
        assert_eq!((actor.generation, actor.state), (1, State::Running), "{actor:?}");
    }
    let report = soon("the stop", tree.stop(Duration::MAX)).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_zero_tell_the_owner_nothing_about_actors_that_idle() {
    let told = Arc::new(AtomicU64::new(0));
    let on_wedged = {
        let told = told.clone();
        Arc::new(move |_: &str, _: Duration| {
            told.fetch_add(1, Relaxed);
        })
    };
    let watch =
        WatchSettings { every: MS, report_after: Duration::ZERO, wedged_after: Duration::ZERO, on_wedged };
    let options = TreeOptions { watch, ..TreeOptions::default() };
    let tree = Tree::start(vec![idles("idles")], options).await.expect("the root starts");
    all_run(&tree).await;
    tokio::time::sleep(200 * MS).await;
    told.store(0, Relaxed);
    tokio::time::sleep(500 * MS).await;
    let health = record(&tree, "idles");
    assert_eq!((told.load(Relaxed), health.wedged), (0, false), "{health:?}");
}

// 4. Runtimes that end while a tree exists.

#[test]
fn senders_on_another_runtime_learn_that_the_runtime_of_the_tree_has_ended() {
    let senders = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let trees = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clock = Clock::system();
    let (mailbox, ends) = new_mailbox("deaf", Limits { capacity: 1, batch: 1, ..attempts(1) }, &clock);
    struct Deaf;
    impl supervision::Actor for Deaf {
        type Message = common::Job;
        async fn run(
            &mut self,
            cx: &Context,
            _: &mut supervision::Inbox<common::Job>,
        ) -> Result<(), Failure> {
            cx.idle(cx.stopped()).await;
            Ok(())
        }
    }
    let tree = trees.block_on(async {
        let tree = start(&clock, vec![Child::actor(mailbox, || Deaf)]).await;
        all_run(&tree).await;
        ends.send(0).await;
        tree
    });
    let sending = senders.spawn({
        let to = ends.to.clone();
        async move { to.send(job(1)).await }
    });
    senders.block_on(eventually("it waits", || ends.stats().senders_waiting == 1));
    trees.shutdown_timeout(5 * SECOND);
    let sent = senders.block_on(async { tokio::time::timeout(5 * SECOND, sending).await });
    let outcome = senders.block_on(async { tokio::time::timeout(5 * SECOND, tree.ended()).await });
    assert!(outcome.is_ok(), "the end of the tree is known");
    let states: Vec<_> = tree.health().into_iter().map(|actor| (actor.path, actor.state)).collect();
    assert!(
        matches!(sent, Ok(Ok(Err(SendError::Closed(_))))),
        "the sender waits for ever: {sent:?}, {states:?}"
    );
    assert!(states.iter().all(|(_, state)| *state == State::Stopped), "{states:?}");
    assert!(
        matches!(tree.add_child("root", idles("late")), Err(ChangeError::Ended)),
        "a dead tree took a member"
    );
}

// 5. Owners that call from inside.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_can_be_stopped_twice_and_from_inside_an_actor_or_its_maker_can_read_it() {
    let shared: Arc<OnceLock<Arc<Tree>>> = Arc::default();
    let records = Arc::new(AtomicUsize::new(0));
    let reads = Child::worker("reads", {
        let (shared, records) = (shared.clone(), records.clone());
        move || {
            if let Some(tree) = shared.get() {
                records.store(tree.health().len(), Relaxed);
                let _ = (tree.dead_letters(), tree.edges(), tree.crashes("reads"), tree.kill("nobody"));
                let _ = tree.add_child("root", idles("from-a-maker"));
            }
            Does(|cx: Context| async move {
                cx.idle(cx.stopped()).await;
                Ok(())
            })
        }
    })
    .policy(quick());
    let stops = does("stops", {
        let shared = shared.clone();
        move |cx: Context| {
            let shared = shared.clone();
            async move {
                while shared.get().is_none_or(|tree| tree.health().len() < 4) {
                    cx.idle(tokio::time::sleep(MS)).await;
                }
                let tree = shared.get().unwrap().clone();
                tree.stop(20 * SECOND).await;
                Ok(())
            }
        }
    })
    .policy(Policy { shutdown: Shutdown::Within(200 * MS), ..Policy::default() });
    let tree = Arc::new(start(&Clock::system(), vec![reads, stops]).await);
    all_run(&tree).await;
    let _ = shared.set(tree.clone());
    assert!(tree.kill("reads"));
    let outcome = soon("the end", tree.ended()).await;
    assert_eq!(outcome, Outcome::Stopped);
    assert_eq!(records.load(Relaxed), 3);
    let (one, two) = tokio::join!(tree.stop(SECOND), tree.stop(Duration::ZERO));
    assert_eq!((one.left_behind, two.left_behind), (0, 0));
    assert_eq!(one.outcome, Outcome::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_can_kill_and_remove_itself_and_drop_the_tree() {
    let shared: Arc<OnceLock<Arc<Tree>>> = Arc::default();
    let acts = |name: &'static str, shared: &Arc<OnceLock<Arc<Tree>>>| {
        let shared = shared.clone();
        does(name, move |cx: Context| {
            let shared = shared.clone();
            async move {
                while shared.get().is_none() {
                    cx.idle(tokio::time::sleep(MS)).await;
                }
                let tree = shared.get().unwrap().clone();
                match cx.path() {
                    "kills" if cx.generation() < 4 => assert!(tree.kill("kills")),
                    "removes" => drop(tree.remove_child("removes").await),
                    _ => {}
                }
                drop(tree);
                cx.idle(cx.stopped()).await;
                Ok(())
            }
        })
        .policy(Policy { shutdown: Shutdown::Within(100 * MS), ..quick() })
    };
    let tree =
        Arc::new(start(&Clock::system(), vec![acts("kills", &shared), acts("removes", &shared)]).await);
    let _ = shared.set(tree.clone());
    eventually("it has killed itself three times", || record(&tree, "kills").exits(ExitKind::Killed) == 3)
        .await;
    eventually("it has removed itself", || tree.health().iter().all(|actor| actor.path != "removes")).await;
    soon("the stop", tree.stop(5 * SECOND)).await;
    // The last owner of a tree is one of its actors.
    let last: Arc<std::sync::Mutex<Option<Tree>>> = Arc::default();
    let (dropped, done) = mpsc::channel();
    let drops = does("drops", {
        let (last, dropped) = (last.clone(), dropped.clone());
        move |cx: Context| {
            let (last, dropped) = (last.clone(), dropped.clone());
            async move {
                loop {
                    let tree = last.lock().unwrap().take();
                    if tree.is_some() {
                        drop(tree);
                        let _ = dropped.send(());
                    }
                    cx.idle(tokio::time::sleep(MS)).await;
                }
            }
        }
    });
    let tree = start(&Clock::system(), vec![drops]).await;
    all_run(&tree).await;
    *last.lock().unwrap() = Some(tree);
    tokio::task::spawn_blocking(move || done.recv_timeout(10 * SECOND))
        .await
        .unwrap()
        .expect("it was dropped");
}

#[test]
fn a_reaction_that_drops_the_tree_blocks_nobody() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let dropped = comes_back(20 * SECOND, {
        let hold = hold.clone();
        move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let last: Arc<std::sync::Mutex<Option<Tree>>> = Arc::default();
            let (sender, done) = mpsc::channel();
            let on_wedged = {
                let last = last.clone();
                let sender = std::sync::Mutex::new(sender);
                Arc::new(move |_: &str, _: Duration| {
                    if let Some(tree) = last.lock().unwrap().take() {
                        drop(tree);
                        let _ = sender.lock().unwrap().send(());
                    }
                })
            };
            let watch = WatchSettings { every: MS, report_after: 10 * MS, wedged_after: 20 * MS, on_wedged };
            let options = TreeOptions { watch, ..TreeOptions::default() };
            let child = Child::worker("holds", move || common::HoldsAtOnce(hold.clone()));
            let tree = runtime.block_on(Tree::start(vec![child], options)).expect("the root starts");
            *last.lock().unwrap() = Some(tree);
            let dropped = done.recv_timeout(10 * SECOND).is_ok();
            runtime.shutdown_background();
            dropped
        }
    });
    assert_eq!(dropped, Some(true));
}

// 6. Subscriptions.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_with_its_tree_whatever_is_left_of_it() {
    let kept: Arc<std::sync::Mutex<Vec<Context>>> = Arc::default();
    let child = does("leaks", {
        let kept = kept.clone();
        move |cx: Context| {
            kept.lock().unwrap().push(cx.clone());
            async move {
                cx.idle(cx.stopped()).await;
                Ok(())
            }
        }
    });
    let tree = start(&Clock::system(), vec![child]).await;
    let mut subscription = tree.subscribe();
    let unread = tree.subscribe();
    all_run(&tree).await;
    tree.stop(5 * SECOND).await;
    drop(tree);
    let end = async { while let Some(Notice::Changed(_) | Notice::Missed(_)) = subscription.next().await {} };
    let ended = tokio::time::timeout(5 * SECOND, end).await;
    std::thread::spawn(move || drop(unread)).join().unwrap();
    assert!(ended.is_ok(), "the subscription does not end while a clone of a context exists");
}

// 7. Depth and number.

#[test]
fn a_deep_tree_starts_crashes_and_stops() {
    for depth in [50, 400] {
        let ended = comes_back(60 * SECOND, move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let mut child = idles("leaf");
                for level in 0..depth {
                    let name = format!("{level}");
                    child = match level % 3 {
                        0 => Child::supervisor(name, vec![child]),
                        1 => Child::rest_for_one(name, vec![child]),
                        _ => Child::one_for_all(name, vec![child]),
                    }
                    .policy(quick());
                }
                let tree = start(&Clock::system(), vec![child]).await;
                soon("the start", tree.started()).await.unwrap();
                let leaf = tree.health().last().unwrap().path.clone();
                let middle: Vec<&str> = leaf.split('/').take(depth / 2).collect();
                assert!(tree.kill(&middle.join("/")));
                eventually("the leaf is back", || {
                    let leaf = record(&tree, &leaf);
                    (leaf.generation, leaf.state) == (2, State::Running)
                })
                .await;
                tree.stop(50 * SECOND).await
            })
        });
        let report = ended.unwrap_or_else(|| panic!("{depth} levels"));
        assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0), "{depth}");
    }
}

// 8. Names.

#[tokio::test]
async fn odd_names_are_names() {
    let names = [" ", "\n", "\0", "ä/".trim_end_matches('/'), "🦀", "a@b=c*d,e", "..", "\u{1b}[31m", "root"];
    let long = "x".repeat(1 << 20);
    let children = names.iter().map(|name| idles(*name)).chain([idles(long.as_str())]).collect();
    let clock = Clock::system();
    let tree = start(&clock, vec![Child::supervisor("odd", children)]).await;
    all_run(&tree).await;
    for name in names {
        let path = format!("odd/{name}");
        assert!(tree.kill(&path), "{name:?}");
    }
    assert!(!tree.kill("root") && !tree.kill("") && !tree.kill("odd/") && !tree.kill("/odd"));
    assert!(matches!(tree.add_child("", idles("x")), Err(ChangeError::NoSupervisor(_))));
    soon("the removal", tree.remove_child("odd/root")).await.unwrap();
    soon("the stop", tree.stop(5 * SECOND)).await;
    let other = start(&clock, vec![Child::supervisor("odd", vec![idles("root")])]).await;
    all_run(&other).await;
    soon("the stop", other.stop(5 * SECOND)).await;
}

// 9. Members, while things fall.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mailbox_stays_open_for_a_member_that_is_added_while_its_supervisor_or_tree_ends() {
    let clock = Clock::system();
    let began = std::time::Instant::now();
    let mut round = 0_u64;
    while began.elapsed() < 8 * SECOND {
        round += 1;
        let leaf = does("fails", |_| async { Err("it fails".into()) }).policy(Policy {
            on_limit: OnLimit::Escalate,
            ..policy((0, HOUR), (Duration::ZERO, Duration::ZERO))
        });
        let group =
            Child::supervisor("group", vec![leaf]).policy(Policy { restart: Restart::Temporary, ..quick() });
        let tree = Arc::new(start(&clock, vec![group]).await);
        let mut added = Vec::new();
        for number in 0..40_u64 {
            if number % (1 + round % 7) == 0 {
                tokio::task::yield_now().await;
            }
            let parent = if round.is_multiple_of(2) { "root" } else { "group" };
            if round.is_multiple_of(2) && number == round % 40 {
                tokio::spawn({
                    let tree = tree.clone();
                    async move { tree.stop(5 * SECOND).await }
                });
            }
            let (mailbox, ends) =
                new_mailbox(&format!("m{number}"), Limits { capacity: 1, ..attempts(1) }, &clock);
            if tree.add_child(parent, calm(mailbox)).is_ok() {
                added.push(ends);
            }
        }
        if round.is_multiple_of(2) {
            soon("the end", tree.ended()).await;
        } else {
            eventually("the group has ended", || record(&tree, "group").state == State::Stopped).await;
        }
        for ends in added {
            eventually(&format!("closed, round {round}"), || {
                matches!(ends.to.try_send(job(1)), Err(SendError::Closed(_)))
            })
            .await;
        }
        soon("the stop", tree.stop(5 * SECOND)).await;
    }
    println!("{round} rounds");
}

// 10. Sub-tasks.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sub_tasks_that_breed_end_with_their_actor() {
    fn breed(cx: Context, alive: Arc<AtomicUsize>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        struct Alive(Arc<AtomicUsize>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        alive.fetch_add(1, Relaxed);
        let _alive = Alive(alive.clone());
        Box::pin(async move {
            let _alive = _alive;
            loop {
                let _ = cx.spawn(breed(cx.clone(), alive.clone()));
                tokio::task::yield_now().await;
            }
        })
    }
    let alive = Arc::new(AtomicUsize::new(0));
    let child = does("breeds", {
        let alive = alive.clone();
        move |cx: Context| {
            let alive = alive.clone();
            async move {
                cx.spawn(breed(cx.clone(), alive))?;
                cx.idle(cx.stopped()).await;
                Ok(())
            }
        }
    })
    .policy(quick());
    let tree = start(&Clock::system(), vec![child]).await;
    for generation in 2..4 {
        eventually("it has bred", || alive.load(Relaxed) > 50).await;
        assert!(tree.kill("breeds"));
        eventually("it is back", || record(&tree, "breeds").generation == generation).await;
    }
    let report = soon("the stop", tree.stop(20 * SECOND)).await;
    eventually("all have ended", || alive.load(Relaxed) == 0).await;
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
}

#[tokio::test]
async fn a_timer_of_no_interval_lets_others_run_and_one_of_any_interval_is_no_panic() {
    for clock in [Clock::system(), manual()] {
        let (mailbox, ends) = new_mailbox("ticks", attempts(1), &clock);
        let to = mailbox.address("itself", Overflow::DropOldest);
        let child = does("timer", {
            move |cx: Context| {
                let to = to.clone();
                async move {
                    cx.send_every(Duration::ZERO, &to, || job(1))?;
                    cx.send_every(Duration::MAX, &to, || job(2))?;
                    cx.send_after(Duration::MAX, &to, job(3))?;
                    cx.idle(cx.stopped()).await;
                    Ok(())
                }
            }
        });
        let tree = start(&clock, vec![calm(mailbox), child]).await;
        eventually("it ticks", || ends.stats().handled > 1_000).await;
        soon("the stop", tree.stop(5 * SECOND)).await;
    }
}

// 12. Two trees at once, dropped without a stop, over and over: what is left?

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn makers_that_panic_block_or_are_slow_are_crashes_or_reports_and_not_more() {
    let hold = Hold::raised();
    let _lowered = Lowered(hold.clone());
    let turn = Arc::new(AtomicU64::new(0));
    let panics = Child::worker("panics", {
        let turn = turn.clone();
        move || {
            assert!(turn.fetch_add(1, Relaxed) > 2, "the maker panics");
            Does(|cx: Context| async move {
                cx.idle(cx.stopped()).await;
                Ok(())
            })
        }
    })
    .policy(policy((10, HOUR), (MS, MS)));
    let blocks = Child::worker("blocks", {
        let hold = hold.clone();
        move || {
            hold.hold();
            Does(|cx: Context| async move {
                cx.idle(cx.stopped()).await;
                Ok(())
            })
        }
    })
    .policy(Policy { start_within: 50 * MS, ..Policy::default() });
    let watch = WatchSettings { every: MS, report_after: 20 * MS, ..WatchSettings::default() };
    let options = TreeOptions { watch, ..TreeOptions::default() };
    let tree = Tree::start(vec![panics, blocks, idles("other")], options).await.unwrap();
    let started = soon("the start", tree.started()).await;
    assert!(started.is_err());
    eventually("it is reported", || record(&tree, "blocks").wedged).await;
    eventually("they run", || {
        ["panics", "other"].iter().all(|path| record(&tree, path).state == State::Running)
    })
    .await;
    assert_eq!(record(&tree, "panics").exits(ExitKind::Panicked), 3);
    assert!(tree.crashes("panics").iter().all(|crash| crash.location.is_some() && crash.backtrace.is_some()));
    hold.lower();
    eventually("all run", || record(&tree, "blocks").state == State::Running).await;
    assert_eq!(soon("the stop", tree.stop(5 * SECOND)).await.left_behind, 0);
    let held = AtomicBool::new(hold.is_raised());
    assert!(!held.load(Relaxed));
}
