//! Memory that grows in loops. Alone in its process, whose memory it counts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests that can't continue panic")]

#[path = "common/allocator.rs"]
mod allocator;
mod common;

use std::time::Duration;

use common::{
    HOUR, MS, SECOND, attempts, calm, eventually, job, manual, new_mailbox, policy, quiet, record, soon,
    start,
};
use supervision::{Child, Clock, Context, ExitKind, Failure, Policy, Restart, Worker};
use tokio::sync::{Mutex, MutexGuard};

/// One test at a time: the memory is that of the process.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

struct Fails;

impl Worker for Fails {
    async fn run(&mut self, _: &Context) -> Result<(), Failure> {
        Err("it fails".into())
    }
}

struct Ends;

impl Worker for Ends {
    async fn run(&mut self, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

struct Idles;

impl Worker for Idles {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

/// How much `work` leaves behind each time: measured over `times`, after as many to warm up.
async fn left<F: Future<Output = ()>>(times: usize, mut work: impl FnMut() -> F) -> f64 {
    for _ in 0..times {
        work().await;
    }
    let before = allocator::live();
    for _ in 0..times {
        work().await;
    }
    (allocator::live() as f64 - before as f64) / times as f64
}

#[tokio::test]
async fn a_degraded_child_that_fails_for_ever_takes_no_more_memory() {
    let _alone = alone().await;
    let clock = manual();
    let child = Child::worker("fails", || Fails)
        .policy(Policy { degraded_retry: SECOND, ..policy((2, Duration::MAX), (MS, MS)) });
    let tree = start(&clock, vec![child]).await;
    let step = || async {
        clock.advance(SECOND);
        quiet().await;
    };
    let left = left(3_000, step).await;
    assert!(record(&tree, "fails").exits(ExitKind::Failed) > 5_000);
    assert!(left < 4.0, "each retry leaves {left} bytes");
    soon("the stop", common::stop_in_steps(&tree, &clock, HOUR)).await;
}

#[tokio::test]
async fn a_child_that_ends_in_a_loop_takes_no_more_memory_and_lets_others_run() {
    let _alone = alone().await;
    let clock = Clock::system();
    let quick = policy((1_000_000, MS), (Duration::ZERO, Duration::ZERO));
    let tree =
        start(&clock, vec![Child::worker("ends", || Ends).policy(quick), Child::worker("other", || Idles)])
            .await;
    let wait = |generation| {
        let tree = &tree;
        eventually("it has ended often", move || record(tree, "ends").generation > generation)
    };
    wait(5_000).await;
    let before = allocator::live();
    wait(20_000).await;
    let left = (allocator::live() as f64 - before as f64) / 15_000.0;
    assert!(left < 4.0, "each end leaves {left} bytes");
    assert_eq!(record(&tree, "other").generation, 1);
    soon("the stop", tree.stop(5 * SECOND)).await;
}

#[tokio::test]
async fn trees_that_come_and_go_with_and_without_a_stop_leave_nothing() {
    let _alone = alone().await;
    let clock = manual();
    for stops in [true, false] {
        let work = || async {
            let (mailbox, ends) = new_mailbox("reader", attempts(1), &clock);
            let group = Child::one_for_all("group", vec![calm(mailbox), Child::worker("idles", || Idles)]);
            let tree = start(&clock, vec![group]).await;
            quiet().await;
            ends.send(1).await;
            let subscription = tree.subscribe();
            assert!(tree.kill("group"));
            quiet().await;
            if stops {
                soon("the stop", tree.stop(HOUR)).await;
            }
            drop(tree);
            quiet().await;
            drop(subscription);
        };
        let left = left(200, work).await;
        assert!(left < 32.0, "each tree leaves {left} bytes, stopped: {stops}");
    }
}

#[tokio::test]
async fn members_addresses_sub_tasks_subscriptions_and_questions_that_come_and_go_leave_nothing() {
    let _alone = alone().await;
    let clock = manual();
    let (mailbox, ends) = new_mailbox("reader", attempts(1), &clock);
    let fixed = Child::worker("temporary", || Ends)
        .policy(Policy { restart: Restart::Temporary, ..Policy::default() });
    let tree = start(&clock, vec![calm(mailbox), fixed]).await;
    quiet().await;
    let work = || async {
        let (mailbox, own) = new_mailbox("guest", attempts(1), &clock);
        let other = ends.to.for_sender(mailbox.name());
        tree.add_child("root", calm(mailbox)).unwrap();
        quiet().await;
        other.send(job(1)).await.unwrap();
        own.send(1).await;
        let subscriptions: Vec<_> = (0..3).map(|_| tree.subscribe()).collect();
        let waits = own.to.clone();
        let _ = tokio::time::timeout(MS, async {
            for n in 0..2_000 {
                let _ = waits.send(job(n)).await;
            }
        })
        .await;
        assert!(tree.kill("guest"));
        quiet().await;
        soon("the removal", common::while_time_passes(&clock, 10 * MS, tree.remove_child("guest")))
            .await
            .unwrap();
        drop(subscriptions);
    };
    let left = left(300, work).await;
    assert!(left < 64.0, "each round leaves {left} bytes");
    let breeder = Child::worker("breeder", || Breeds);
    tree.add_child("root", breeder).unwrap();
    eventually("bred", || BRED.load(std::sync::atomic::Ordering::Relaxed) > 2_000).await;
    let before = allocator::live();
    eventually("bred", || BRED.load(std::sync::atomic::Ordering::Relaxed) > 20_000).await;
    let grown = allocator::live() as f64 - before as f64;
    assert!(grown < 400_000.0, "20,000 sub-tasks leave {grown} bytes");
    soon("the stop", common::stop_in_steps(&tree, &clock, HOUR)).await;
}

static BRED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

struct Breeds;

impl Worker for Breeds {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        while BRED.load(std::sync::atomic::Ordering::Relaxed) <= 20_002 {
            cx.spawn(async {})?.await;
            let aborted = cx.spawn(std::future::pending::<()>())?;
            aborted.abort();
            BRED.fetch_add(2, std::sync::atomic::Ordering::Relaxed);
            cx.progress();
        }
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}
