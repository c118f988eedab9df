//! Which actors count as stalled and which do not. In each test an actor that does hang proves that the watch has
//! checked all the others, which it checks first.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use common::{
    HOUR, Hangs, Idles, Job, Log, MINUTE, MS, SECOND, advance_until, all_run, attempts, calm, eventually,
    job, manual, new_mailbox, policy, quiet, record, stalls_after, stop_in_steps,
};
use supervision::{
    Activity, Actor, Address, Child, Clock, Context, ExitKind, Failure, Inbox, Limits, Mailbox, Name,
    Outcome, Overflow, Policy, State, Tree, TreeOptions, WatchSettings, Worker,
    fail::{self, Fault, When},
};
use tokio::sync::Semaphore;

/// 100 restarts an hour; 1 ms before each; a stall is 30 s without progress.
fn watched() -> Policy {
    Policy { stall_after: Some(30 * SECOND), ..policy((100, HOUR), (MS, MS)) }
}

/// A tree with one more actor at its end, which hangs, for 20 s at most: when it is replaced, the watch has checked all
/// actors.
async fn with_canary(clock: &Clock, mut children: Vec<Child>) -> Tree {
    let sooner = Policy { stall_after: Some(20 * SECOND), ..watched() };
    children.push(Child::worker("canary", || Hangs).policy(sooner));
    let tree = common::start(clock, children).await;
    all_run(&tree).await;
    // An actor that has not begun to wait would count as working.
    quiet().await;
    tree
}

async fn the_watch_has_looked(tree: &Tree, times: u64) {
    eventually("the hung one is replaced", || record(tree, "canary").exits(ExitKind::Stalled) >= times).await;
}

fn untouched(tree: &Tree, path: &str) {
    let health = record(tree, path);
    assert_eq!((health.state, health.generation, health.exits), (State::Running, 1, [0; 8]), "{path}");
}

#[tokio::test]
async fn an_actor_that_hangs_is_replaced_as_stalled() {
    let clock = manual();
    let tree = with_canary(&clock, vec![Child::worker("hangs", || Hangs).policy(watched())]).await;
    clock.advance(30 * SECOND - MS);
    the_watch_has_looked(&tree, 1).await;
    let health = record(&tree, "hangs");
    assert_eq!((health.activity, health.generation), (Activity::Working, 1));
    assert_eq!(health.quiet, 30 * SECOND - MS);
    clock.advance(MS);
    eventually("it is replaced", || record(&tree, "hangs").exits(ExitKind::Stalled) == 1).await;
    advance_until(&clock, MS, "it is back", || record(&tree, "hangs").generation == 2).await;
    let crash = tree.crashes("hangs").pop().expect("on record");
    assert_eq!(crash.kind, ExitKind::Stalled);
    assert!(crash.message.starts_with("it worked for 30"), "{}", crash.message);
}

#[tokio::test]
async fn a_stalled_actor_comes_back_even_if_it_is_transient() {
    let clock = manual();
    let transient = Policy { restart: supervision::Restart::Transient, ..watched() };
    let tree = common::start(&clock, vec![Child::worker("hangs", || Hangs).policy(transient)]).await;
    all_run(&tree).await;
    clock.advance(30 * SECOND);
    eventually("it is replaced", || record(&tree, "hangs").exits(ExitKind::Stalled) == 1).await;
    advance_until(&clock, MS, "it is back", || record(&tree, "hangs").generation == 2).await;
}

#[tokio::test]
async fn an_actor_that_waits_for_messages_is_not_taken_for_hung() {
    let clock = manual();
    let (one, to_one) = new_mailbox("one", attempts(1), &clock);
    let (many, to_many) = new_mailbox("many", attempts(1), &clock);
    let batches = Child::actor(many, || Batches).policy(watched());
    let tree = with_canary(&clock, vec![calm(one).policy(watched()), batches]).await;
    eventually("they wait", || {
        ["one", "many"].iter().all(|path| record(&tree, path).activity == Activity::Idle)
    })
    .await;
    clock.advance(HOUR);
    the_watch_has_looked(&tree, 1).await;
    for (path, ends) in [("one", to_one), ("many", to_many)] {
        untouched(&tree, path);
        ends.send(0).await;
        eventually("it works", || ends.stats().handled == 1).await;
    }
}

struct Batches;

impl Actor for Batches {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(batch) = inbox.recv_many().await {
            batch.ack();
        }
        Ok(())
    }
}

/// Sends to full mailboxes for ever, to two of them at the same time.
struct Sends([Address<Job>; 2]);

impl Worker for Sends {
    async fn run(&mut self, _: &Context) -> Result<(), Failure> {
        let [left, right] = &self.0;
        loop {
            let (left, right) = tokio::join!(left.send(job(0)), right.send(job(0)));
            if left.is_err() && right.is_err() {
                return Ok(());
            }
        }
    }
}

#[tokio::test]
async fn an_actor_that_waits_on_a_full_edge_is_not_taken_for_hung() {
    let clock = manual();
    let full = [(); 2].map(|()| Mailbox::new("outside", Limits { capacity: 1, ..attempts(1) }, &clock));
    let name = Name::new("sends");
    let addresses = full.each_ref().map(|mailbox| mailbox.address(&name, Overflow::Wait));
    let sends = Child::worker(&name, move || Sends(addresses.clone()));
    let tree = with_canary(&clock, vec![sends.policy(watched())]).await;
    let blocked =
        |left, right| full[0].stats().senders_waiting == left && full[1].stats().senders_waiting == right;
    eventually("it waits on both", || blocked(1, 1)).await;
    assert_eq!(record(&tree, "sends").activity, Activity::Blocked);
    clock.advance(HOUR);
    the_watch_has_looked(&tree, 1).await;
    untouched(&tree, "sends");
    // One of the two continues; the other still waits.
    let mut inbox = full[0].open().expect("the only reader");
    inbox.recv().await.expect("a message").ack();
    eventually("it waits on the other", || blocked(0, 1)).await;
    advance_until(&clock, MS, "the canary is back", || record(&tree, "canary").state == State::Running).await;
    assert_eq!(record(&tree, "sends").activity, Activity::Blocked);
    clock.advance(HOUR);
    the_watch_has_looked(&tree, 2).await;
    untouched(&tree, "sends");
}

/// Works slowly without messages, and reports progress.
struct Crawls {
    steps: Arc<Semaphore>,
    done: Log<u64>,
}

impl Worker for Crawls {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        for step in 0.. {
            self.steps.acquire().await?.forget();
            cx.progress();
            self.done.note(step);
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_actor_that_is_slow_but_gets_on_is_not_taken_for_hung() {
    let clock = manual();
    let (steps, done) = (Arc::new(Semaphore::new(0)), Log::default());
    let crawls = Child::worker("crawls", {
        let (steps, done) = (steps.clone(), done.clone());
        move || Crawls { steps: steps.clone(), done: done.clone() }
    });
    let tree = with_canary(&clock, vec![crawls.policy(watched())]).await;
    for round in 1..=10 {
        // 29 s of 30 pass each time; only together they would be a stall.
        clock.advance(29 * SECOND);
        the_watch_has_looked(&tree, round).await;
        assert_eq!(record(&tree, "crawls").activity, Activity::Working);
        steps.add_permits(1);
        eventually("it gets on", || done.len() as u64 == round).await;
        advance_until(&clock, MS, "the canary is back", || {
            record(&tree, "canary").generation == round + 1 && record(&tree, "canary").state == State::Running
        })
        .await;
    }
    untouched(&tree, "crawls");
    // Without further progress it is replaced like any other actor.
    clock.advance(30 * SECOND);
    eventually("it is replaced", || record(&tree, "crawls").exits(ExitKind::Stalled) == 1).await;
}

/// Waits for something outside, again and again.
struct Waits {
    outside: Arc<Semaphore>,
}

impl Worker for Waits {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        loop {
            cx.idle(self.outside.acquire()).await?.forget();
        }
    }
}

#[tokio::test]
async fn an_actor_that_waits_for_something_outside_and_says_so_is_not_taken_for_hung() {
    let clock = manual();
    let outside = Arc::new(Semaphore::new(0));
    let waits = Child::worker("waits", {
        let outside = outside.clone();
        move || Waits { outside: outside.clone() }
    });
    let tree = with_canary(&clock, vec![waits.policy(watched())]).await;
    for round in 1..=3 {
        clock.advance(HOUR);
        the_watch_has_looked(&tree, round).await;
        outside.add_permits(1);
        quiet().await;
        assert_eq!(outside.available_permits(), 0, "it continues to wait");
        advance_until(&clock, MS, "the canary is back", || record(&tree, "canary").state == State::Running)
            .await;
    }
    untouched(&tree, "waits");
}

/// Takes 3 min for each batch, in steps of 20 s after each of which it reports progress; then waits for a server for an
/// hour, with the batch in flight; unless it is stopped.
struct SaysThatItIsSlow;

impl Actor for SaysThatItIsSlow {
    type Message = Job;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(batch) = inbox.recv_many().await {
            for _ in 0..9 {
                cx.clock().sleep(20 * SECOND).await;
                cx.progress();
            }
            cx.pause(cx.clock().sleep(HOUR)).await;
            if cx.is_stopping() {
                batch.nack();
            } else {
                batch.ack();
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_actor_reports_progress_waits_and_learns_of_its_stop_with_messages_in_flight() {
    let clock = manual();
    let (mailbox, ends) = new_mailbox("slow", attempts(1), &clock);
    let slow = Child::actor(mailbox, || SaysThatItIsSlow).policy(watched());
    let tree = with_canary(&clock, vec![slow]).await;
    ends.send(0).await;
    let began = clock.now();
    advance_until(&clock, 10 * SECOND, "it has worked", || clock.now().duration_since(began) >= 4 * MINUTE)
        .await;
    advance_until(&clock, 10 * MINUTE, "the batch is handled", || ends.stats().handled == 1).await;
    assert!(clock.now().duration_since(began) >= HOUR);
    untouched(&tree, "slow");
    ends.send(1).await;
    let waits = || record(&tree, "slow").activity == Activity::Idle && ends.stats().in_flight == 1;
    advance_until(&clock, 10 * SECOND, "it waits for the server", waits).await;
    // The canary never stops by itself, so the clock moves on.
    let (report, _) = stop_in_steps(&tree, &clock, MINUTE).await;
    assert_eq!(report.outcome, Outcome::Stopped);
    assert_eq!(record(&tree, "slow").exits(ExitKind::Stopped), 1);
    assert_eq!((ends.stats().waiting, ends.stats().dead_lettered), (1, 0));
}

/// Waits for two things, and hangs at the first one that comes.
struct HangsBesideAWait {
    tick: Arc<Semaphore>,
}

impl Actor for HangsBesideAWait {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(lease) => lease.ack(),
                    None => return Ok(()),
                },
                tick = self.tick.acquire() => {
                    tick?.forget();
                    pending::<()>().await;
                }
            }
        }
    }
}

#[tokio::test]
async fn an_actor_that_hangs_in_another_branch_than_its_wait_for_messages_is_replaced() {
    let clock = manual();
    let tick = Arc::new(Semaphore::new(0));
    let (mailbox, _) = new_mailbox("hangs", attempts(1), &clock);
    let hangs = Child::actor(mailbox, {
        let tick = tick.clone();
        move || HangsBesideAWait { tick: tick.clone() }
    });
    let tree = with_canary(&clock, vec![hangs.policy(watched())]).await;
    eventually("it waits", || record(&tree, "hangs").activity == Activity::Idle).await;
    clock.advance(HOUR);
    the_watch_has_looked(&tree, 1).await;
    untouched(&tree, "hangs");
    tick.add_permits(1);
    eventually("it works", || record(&tree, "hangs").activity == Activity::Working).await;
    clock.advance(30 * SECOND);
    eventually("it is replaced", || record(&tree, "hangs").exits(ExitKind::Stalled) == 1).await;
}

/// Passes a failure point with each message.
struct Works;

impl Actor for Works {
    type Message = Job;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Job>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            fail::point("works::before_ack").await?;
            lease.ack();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_never_yields_is_reported_from_outside() {
    // 2 attempts; 100 restarts an hour; 1 ms before each; a stall is 30 s without progress. Reported after
    // 10 s in one poll, handed to the owner of the process after a minute.
    let clock = manual();
    let (mailbox, ends) = new_mailbox("works", attempts(2), &clock);
    let works = Child::actor(mailbox, || Works).policy(watched());
    let wedged = Log::default();
    let on_wedged = {
        let wedged = wedged.clone();
        Arc::new(move |path: &str, polling: Duration| wedged.note((path.to_owned(), polling)))
    };
    let watch = WatchSettings { every: MS, report_after: 10 * SECOND, wedged_after: MINUTE, on_wedged };
    let options = TreeOptions { clock: clock.clone(), watch, ..TreeOptions::default() };
    let canary = Child::worker("canary", || Hangs).policy(watched());
    let children = vec![Child::supervisor("group", vec![works]), Child::worker("other", || Idles), canary];
    let tree = Tree::start(children, options).await.expect("the root starts");
    all_run(&tree).await;
    tree.failure_points().arm("works::before_ack", "", Fault::Spin, When::Nth(1));
    ends.send(0).await;
    eventually("it spins", || tree.failure_points().passages("works::before_ack") == (1, 1)).await;

    clock.advance(10 * SECOND - MS);
    assert!(!record(&tree, "group/works").wedged);
    clock.advance(MS);
    eventually("it is reported", || record(&tree, "group/works").wedged).await;
    assert!(!record(&tree, "other").wedged && wedged.len() == 0);
    // A kill does not reach it: it is as it was.
    clock.advance(30 * SECOND);
    let health = record(&tree, "group/works");
    assert_eq!((health.generation, health.exits(ExitKind::Stalled)), (1, 0));
    clock.advance(20 * SECOND);
    eventually("the owner is told", || wedged.len() > 0).await;
    let stalls = || record(&tree, "canary").exits(ExitKind::Stalled);
    let looked = stalls() + 2;
    advance_until(&clock, SECOND, "the watch looks on", || stalls() >= looked).await;
    let [(path, polling)] = wedged.all().try_into().expect("told once, at however many looks");
    assert_eq!(path, "group/works");
    assert!(polling >= MINUTE && polling < MINUTE + SECOND, "{polling:?}");
    // When it yields at last, it is replaced, and its message comes again.
    tree.failure_points().disarm("works::before_ack");
    advance_until(&clock, MS, "it is replaced", || record(&tree, "group/works").generation == 2).await;
    eventually("its message is handled", || ends.stats().handled == 1).await;
    let health = record(&tree, "group/works");
    assert_eq!((health.exits(ExitKind::Stalled), health.wedged), (1, false));
    // It never yields again, and is reported again.
    tree.failure_points().arm("works::before_ack", "", Fault::Spin, When::Nth(1));
    ends.send(1).await;
    eventually("it spins", || tree.failure_points().passages("works::before_ack").1 == 2).await;
    clock.advance(MINUTE);
    eventually("the owner is told", || wedged.len() == 2).await;
    tree.failure_points().disarm("works::before_ack");
    // The canary may have been replaced at the end of that minute. It ignores the stop, so only its deadline ends it: the
    // clock has to go on.
    assert_eq!(stop_in_steps(&tree, &clock, MINUTE).await.0.outcome, Outcome::Stopped);
}

/// Counts the ticks of a timer.
struct Ticks(Arc<AtomicU64>);

impl Worker for Ticks {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        while !cx.is_stopping() {
            cx.idle(cx.clock().sleep(MS)).await;
            self.0.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

/// Is woken by a timer and holds its thread until its sibling has counted some ticks, or for 5 s.
struct HoldsItsThread {
    ticks: Arc<AtomicU64>,
    turns: Log<u64>,
}

impl Worker for HoldsItsThread {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        while !cx.is_stopping() {
            cx.idle(cx.clock().sleep(5 * MS)).await;
            let (before, began) = (self.ticks.load(Relaxed), Instant::now());
            let turns = || self.ticks.load(Relaxed) - before;
            while turns() < 5 && began.elapsed() < 5 * SECOND {
                std::thread::sleep(MS);
            }
            self.turns.note(turns());
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_timers_of_others_continue_while_an_actor_holds_the_thread_that_drives_them() {
    let (ticks, turns) = (Arc::new(AtomicU64::new(0)), Log::default());
    let sibling = Child::worker("sibling", {
        let ticks = ticks.clone();
        move || Ticks(ticks.clone())
    });
    let holds = Child::worker("holds", {
        let (ticks, turns) = (ticks.clone(), turns.clone());
        move || HoldsItsThread { ticks: ticks.clone(), turns: turns.clone() }
    });
    let tree = common::start(&Clock::system(), vec![sibling, holds]).await;
    eventually("it held its thread twenty times", || turns.len() >= 20).await;
    assert!(turns.all().iter().all(|&turns| turns >= 5), "{:?}", turns.all());
    tree.stop(SECOND).await;
}

/// Leaves a task behind that idles with its context for ever, and fails; the next incarnation hangs.
struct LeavesAnIdler;

impl Worker for LeavesAnIdler {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        if cx.generation() > 1 {
            return pending().await;
        }
        let left = cx.clone();
        let (began, begun) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            left.idle(async {
                let _ = began.send(());
                pending::<()>().await;
            })
            .await;
        });
        begun.await?;
        Err("it leaves".into())
    }
}

#[tokio::test]
async fn a_wait_that_an_incarnation_has_left_behind_does_not_hide_a_hang_of_the_next() {
    let clock = manual();
    let tree =
        common::start(&clock, vec![Child::worker("leaves", || LeavesAnIdler).policy(stalls_after(MINUTE))])
            .await;
    advance_until(&clock, SECOND, "it is replaced", || record(&tree, "leaves").exits(ExitKind::Stalled) > 0)
        .await;
}
