//! Sub-tasks of an actor: they end with their incarnation, a panic in one is a crash, and their waits are their own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    Ends, HOUR, Hangs, Job, Log, MINUTE, MS, SECOND, all_run, attempts, job, manual, new_mailbox, policy,
    quiet, record, soon, start,
};
use supervision::{
    Activity, Actor, Address, Child, Clock, Context, ExitKind, Failure, Inbox, Limits, Mailbox, Overflow,
    Policy, SpawnError, State, Task, Tree, TreeOptions, Worker,
    fail::{self, Fault, When},
};

/// Notes its end.
struct Noted(Log<String>, &'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.note(self.1.to_owned());
    }
}

/// Has two sub-tasks that never end by themselves, and ends at a message in the way of its number.
struct Spawns(Log<String>);

impl Actor for Spawns {
    type Message = Job;

    async fn pre_start(&mut self, cx: &Context) -> Result<(), Failure> {
        self.0.note(format!("start {}", cx.generation()));
        let noted = Noted(self.0.clone(), "the first ends");
        drop(cx.spawn(async move {
            let _noted = noted;
            pending::<()>().await;
        })?);
        Ok(())
    }

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        let noted = Noted(self.0.clone(), "the second ends");
        let inner = cx.clone();
        cx.spawn(async move {
            let _noted = noted;
            inner.idle(pending::<()>()).await;
        })?;
        let Some(lease) = inbox.recv().await else { return Ok(()) };
        let way = lease.number;
        lease.ack();
        match way {
            0 => Ok(()),
            1 => Err("as the message says".into()),
            2 => panic!("as the message says"),
            _ => pending().await,
        }
    }
}

#[tokio::test]
async fn sub_tasks_end_with_their_incarnation_before_the_next_one_begins() {
    let (clock, log) = (manual(), Log::default());
    let (mailbox, ends) = new_mailbox("spawns", attempts(1), &clock);
    let spawns = Child::actor(mailbox, {
        let log = log.clone();
        move || Spawns(log.clone())
    });
    let tree = start(&clock, vec![spawns.policy(policy((100, HOUR), (MS, MS)))]).await;
    let kinds = [ExitKind::Finished, ExitKind::Failed, ExitKind::Panicked, ExitKind::Killed];
    for (way, kind) in (0_u64..).zip(kinds) {
        quiet().await;
        assert_eq!(log.take(), [format!("start {}", way + 1)], "they run as long as their actor");
        ends.send(way).await;
        quiet().await;
        assert_eq!(tree.kill("spawns"), kind == ExitKind::Killed);
        quiet().await;
        assert_eq!(sorted(&log), ["the first ends", "the second ends"], "{kind:?}");
        assert_eq!(record(&tree, "spawns").exits(kind), 1, "{kind:?}");
        clock.advance(MS);
    }
    quiet().await;
    log.take();
    soon("the stop", tree.stop(MINUTE)).await;
    assert_eq!(sorted(&log), ["the first ends", "the second ends"]);
    assert_eq!(record(&tree, "spawns").exits(ExitKind::Stopped), 1);
}

fn sorted(log: &Log<String>) -> Vec<String> {
    let mut events = log.take();
    events.sort();
    events
}

/// Runs a function with its context, and then until it is stopped.
struct Does<F>(F);

impl<F> Worker for Does<F>
where
    F: AsyncDoes,
{
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        self.0.act(cx).await?;
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

/// What a [`Does`] does.
trait AsyncDoes: Clone + Send + Sync + 'static {
    fn act(&self, cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl<F, R> AsyncDoes for F
where
    F: Fn(Context) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<(), Failure>> + Send,
{
    fn act(&self, cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send {
        self(cx.clone())
    }
}

/// The actor `does`, which does this. A second of pause before its restarts; no stalls.
fn does<R>(act: impl Fn(Context) -> R + Clone + Send + Sync + 'static) -> Child
where
    R: Future<Output = Result<(), Failure>> + Send + 'static,
{
    Child::worker("does", move || Does(act.clone())).policy(policy((100, HOUR), (SECOND, SECOND)))
}

#[tokio::test]
async fn a_sub_task_returns_its_output_and_can_be_aborted_or_forgotten() {
    let log = Log::default();
    let tree = {
        let log = log.clone();
        let act = move |cx: Context| {
            let log = log.clone();
            async move {
                let output = cx.spawn(async { 5 })?;
                log.note(format!("output {}", output.await));
                let noted = Noted(log.clone(), "aborted");
                let endless = cx.spawn(async move {
                    let _noted = noted;
                    pending::<()>().await;
                })?;
                let done = cx.spawn(async {})?;
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                assert!(done.is_finished() && !endless.is_finished());
                endless.abort();
                let forgotten = log.clone();
                drop(cx.spawn(async move {
                    tokio::task::yield_now().await;
                    forgotten.note("the forgotten one goes through".to_owned());
                })?);
                Ok(())
            }
        };
        start(&manual(), vec![does(act)]).await
    };
    quiet().await;
    assert_eq!(log.take(), ["output 5", "aborted", "the forgotten one goes through"]);
    assert_eq!((record(&tree, "does").state, record(&tree, "does").generation), (State::Running, 1));
}

#[inline(never)]
fn a_function_that_blows_up() {
    panic!("a sub-task blew up");
}

/// Waits for a sub-task that panics while it handles a message.
struct Panics;

impl Actor for Panics {
    type Message = Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            let tasks = [(); 3].map(|()| cx.spawn(async { a_function_that_blows_up() }));
            for task in tasks {
                task?.await;
            }
            lease.ack();
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_in_a_sub_task_is_one_crash_of_its_actor_with_its_place_and_backtrace() {
    let clock = manual();
    let (mailbox, ends) = new_mailbox("panics", attempts(1), &clock);
    let panics = Child::actor(mailbox, || Panics).policy(policy((100, HOUR), (SECOND, SECOND)));
    let tree = start(&clock, vec![panics]).await;
    ends.send(0).await;
    quiet().await;
    let health = record(&tree, "panics");
    assert_eq!((health.state, health.exits(ExitKind::Panicked)), (State::BackingOff, 1));
    let [crash] = tree.crashes("panics").try_into().expect("one crash");
    assert_eq!(crash.message, "a sub-task blew up");
    assert!(crash.location.as_deref().is_some_and(|at| at.contains("sub_tasks.rs:")), "{:?}", crash.location);
    assert!(crash.backtrace.is_some_and(|frames| frames.contains("a_function_that_blows_up")));
    // What the actor was handling is charged, as for a panic of its own.
    let letters = tree.dead_letters();
    assert_eq!(letters[0].reason, "its actor panicked: a sub-task blew up");
    assert_eq!(ends.stats().dead_lettered, 1);
}

#[tokio::test]
async fn a_panic_in_a_sub_task_at_the_end_of_its_actor_is_not_lost() {
    let act = |cx: Context| async move {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        drop(cx.spawn(async move {
            let _ = sender.send(());
            panic!("too late");
        })?);
        receiver.await?;
        Err(Failure::from("unused"))
    };
    struct Returns<F>(F);
    impl<F: AsyncDoes> Worker for Returns<F> {
        async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
            // On one thread, the sub-task has panicked when this one continues.
            drop(self.0.act(cx).await);
            Ok(())
        }
    }
    let returns = Child::worker("does", move || Returns(act)).policy(policy((100, HOUR), (SECOND, SECOND)));
    let tree = start(&manual(), vec![returns]).await;
    quiet().await;
    assert_eq!(record(&tree, "does").last_crash.expect("it crashed").message, "too late");
    assert_eq!(record(&tree, "does").exits(ExitKind::Panicked), 1);
}

#[tokio::test]
async fn a_failure_point_in_a_sub_task_belongs_to_its_actor() {
    let act = |cx: Context| async move {
        let injected = cx.spawn(async { fail::point("sub_task::runs").await.is_err() })?;
        assert!(!injected.await, "the second incarnation passes");
        Ok(())
    };
    let (clock, other) = (manual(), Child::worker("other", || Hangs));
    let tree = start(&clock, vec![does(act), other]).await;
    tree.failure_points().arm("sub_task::runs", "does", Fault::Error, When::Nth(1));
    quiet().await;
    assert!(
        record(&tree, "does").last_crash.is_some_and(|crash| crash.message.contains("second incarnation"))
    );
    clock.advance(SECOND);
    quiet().await;
    assert_eq!((record(&tree, "does").state, record(&tree, "does").generation), (State::Running, 2));
}

/// 30 s of work without progress are a stall.
fn watched(child: Child) -> Child {
    child.policy(Policy { stall_after: Some(30 * SECOND), ..policy((100, HOUR), (SECOND, SECOND)) })
}

/// How many times the actor `does` has been replaced as stalled, after 30 s.
async fn stalls(clock: &Clock, tree: &Tree) -> u64 {
    quiet().await;
    clock.advance(30 * SECOND);
    quiet().await;
    record(tree, "does").exits(ExitKind::Stalled)
}

#[tokio::test]
async fn an_actor_that_hangs_is_replaced_although_its_sub_tasks_idle_wait_or_make_progress() {
    let clock = manual();
    let full = Mailbox::new("outside", Limits { capacity: 1, ..attempts(1) }, &clock);
    let to: Address<Job> = full.address("test", Overflow::Wait);
    let act = move |cx: Context| {
        let to = to.clone();
        async move {
            let (idles, makes_progress) = (cx.clone(), cx.clone());
            cx.spawn(async move { idles.idle(pending::<()>()).await })?;
            cx.spawn(async move {
                loop {
                    makes_progress.progress();
                    makes_progress.clock().sleep(SECOND).await;
                }
            })?;
            cx.spawn(async move { while to.send(job(0)).await.is_ok() {} })?;
            pending().await
        }
    };
    let tree = start(&clock, vec![watched(does(act))]).await;
    quiet().await;
    assert_eq!((full.stats().senders_waiting, record(&tree, "does").activity), (1, Activity::Working));
    assert_eq!(stalls(&clock, &tree).await, 1);
}

#[tokio::test]
async fn an_actor_that_idles_is_not_replaced_although_its_sub_tasks_hang() {
    let clock = manual();
    let act = |cx: Context| async move {
        drop(cx.spawn(pending::<()>())?);
        Ok(())
    };
    let tree = start(&clock, vec![watched(does(act))]).await;
    assert_eq!(stalls(&clock, &tree).await, 0);
    assert_eq!(record(&tree, "does").activity, Activity::Idle);
}

#[tokio::test]
async fn an_actor_has_at_most_ten_thousand_sub_tasks_at_a_time() {
    let log = Log::default();
    let act = {
        let log = log.clone();
        move |cx: Context| {
            let log = log.clone();
            async move {
                let mut tasks: Vec<Task<()>> = Vec::new();
                loop {
                    match cx.spawn(pending()) {
                        Ok(task) => tasks.push(task),
                        Err(error) => break log.note((tasks.len(), error)),
                    }
                }
                tasks.pop().expect("many").abort();
                tokio::task::yield_now().await;
                log.note((usize::from(cx.spawn(pending::<()>()).is_ok()), SpawnError::TooMany));
                Ok(())
            }
        }
    };
    let _tree = start(&manual(), vec![does(act)]).await;
    quiet().await;
    assert_eq!(log.all(), [(10_000, SpawnError::TooMany), (1, SpawnError::TooMany)]);
}

#[tokio::test]
async fn a_context_that_outlives_its_incarnation_starts_nothing_and_does_not_hold_the_next_one() {
    let clock = manual();
    let (mailbox, ends) = new_mailbox("reads", attempts(1), &clock);
    let Ends { to, view } = ends;
    let kept = Arc::<Mutex<Vec<Context>>>::default();
    let act = {
        let kept = kept.clone();
        move |cx: Context| {
            kept.lock().unwrap().push(cx);
            async { Ok(()) }
        }
    };
    let tree = start(&clock, vec![does(act), common::calm(mailbox)]).await;
    all_run(&tree).await;
    assert!(tree.kill("does"));
    quiet().await;
    clock.advance(SECOND);
    quiet().await;
    let health = record(&tree, "does");
    assert_eq!((health.state, health.generation), (State::Running, 2));
    let contexts = kept.lock().unwrap().clone();
    let [old, new] = contexts.try_into().unwrap_or_else(|_| panic!("two incarnations"));
    assert_eq!([old.generation(), new.generation()], [1, 2]);
    let refused = [
        old.spawn(async {}).err(),
        old.send_after(MS, &to, job(1)).err(),
        old.send_every(MS, &to, || job(2)).err(),
    ];
    assert_eq!(refused, [Some(SpawnError::Ended); 3]);
    assert!(new.spawn(async {}).is_ok());
    clock.advance(SECOND);
    quiet().await;
    assert_eq!(view.stats().accepted, 0);
    let report = soon("the stop", tree.stop(MINUTE)).await;
    assert_eq!(report.left_behind, 0, "neither of them counts as running");
    assert_eq!(new.spawn(async {}).err(), Some(SpawnError::Ended));
}

#[tokio::test]
async fn a_context_that_outlives_its_incarnation_says_nothing_of_the_next_one() {
    let clock = manual();
    let kept = Arc::<Mutex<Vec<Context>>>::default();
    let act = {
        let kept = kept.clone();
        move |cx: Context| {
            kept.lock().unwrap().push(cx);
            pending::<Result<(), Failure>>()
        }
    };
    let tree = start(&clock, vec![does(act)]).await;
    quiet().await;
    assert!(tree.kill("does"));
    quiet().await;
    clock.advance(SECOND);
    quiet().await;
    let contexts = kept.lock().unwrap().clone();
    let [old, new] = contexts.try_into().unwrap_or_else(|_| panic!("two incarnations"));
    let waits = tokio::spawn({
        let old = old.clone();
        async move { old.idle(pending::<()>()).await }
    });
    quiet().await;
    assert_eq!(record(&tree, "does").activity, Activity::Working);
    waits.abort();
    let tokens = [old.stop_token(), new.stop_token()];
    assert_eq!(tokens.each_ref().map(|token| token.is_cancelled()), [false, false]);
    let stop = tokio::spawn(async move { tree.stop(MINUTE).await });
    quiet().await;
    assert!(tokens[1].is_cancelled() && new.is_stopping());
    stop.abort();
}

/// Starts a sub-task when its runtime has begun to shut down.
struct StartsLate(std::sync::mpsc::Sender<bool>);

impl Worker for StartsLate {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        self.0.send(false)?;
        // A runtime that shuts down ends a new task at once.
        while !tokio::spawn(pending::<()>()).is_finished() {
            std::thread::yield_now();
        }
        let _task = cx.spawn(pending::<()>())?;
        self.0.send(true)?;
        Ok(())
    }
}

#[test]
fn a_sub_task_that_is_started_while_its_runtime_shuts_down_holds_no_thread() {
    let (sender, events) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tree = runtime.block_on(async {
        let child = Child::worker("starts late", move || StartsLate(sender.clone()));
        Tree::start(vec![child], TreeOptions::default()).await.unwrap()
    });
    assert_eq!(events.recv_timeout(HOUR), Ok(false));
    runtime.shutdown_background();
    // A thread that waited for itself would never say so.
    assert_eq!(events.recv_timeout(Duration::from_secs(10)), Ok(true));
    drop(tree);
}
