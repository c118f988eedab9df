//! A process that did not run for a while holds that against nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use common::{
    HOUR, Hangs, MINUTE, MS, SECOND, all_run, eventually, manual, policy, quiet, record, soon, stalls_after,
    start,
};
use supervision::{
    Child, Context, ExitKind, Failure, Outcome, Policy, Shutdown, State, Tree, TreeOptions, WatchSettings,
    Worker,
};
use tokio::sync::Semaphore;

/// Works, with a sign of progress every 20 ms, which it counts.
struct Works(Arc<AtomicU64>);

impl Worker for Works {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        while !cx.is_stopping() {
            tokio::time::sleep(20 * MS).await;
            cx.progress();
            self.0.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

/// Ends when it is allowed to.
struct EndsLate(Arc<Semaphore>);

impl Worker for EndsLate {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        let _allowed = cx.idle(self.0.acquire()).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_freeze_counts_for_no_stall_and_hides_none() {
    let clock = manual();
    let works = Child::worker("works", || Hangs).policy(stalls_after(30 * SECOND));
    let canary = Child::worker("canary", || Hangs).policy(stalls_after(20 * SECOND));
    let tree = start(&clock, vec![works, canary]).await;
    all_run(&tree).await;
    let stalls = |path: &str| record(&tree, path).exits(ExitKind::Stalled);
    clock.advance(10 * SECOND);
    clock.freeze(HOUR);
    clock.advance(10 * SECOND);
    eventually("the watch has looked", || stalls("canary") == 1).await;
    assert_eq!((stalls("works"), record(&tree, "works").wedged), (0, false), "it worked for 20 s");
    clock.advance(10 * SECOND);
    eventually("it is replaced after 30 s", || stalls("works") == 1).await;
}

#[tokio::test]
async fn a_freeze_during_a_stop_kills_nobody() {
    let clock = manual();
    let allowed = Arc::new(Semaphore::new(0));
    let ends = Child::worker("ends", {
        let allowed = allowed.clone();
        move || EndsLate(allowed.clone())
    });
    let ends = ends.policy(Policy { shutdown: Shutdown::Within(10 * SECOND), ..policy((1, HOUR), (MS, MS)) });
    let tree = Arc::new(start(&clock, vec![ends]).await);
    all_run(&tree).await;
    let stop = tokio::spawn({
        let tree = tree.clone();
        async move { tree.stop(MINUTE).await }
    });
    eventually("it is asked to stop", || record(&tree, "ends").state == State::Stopping).await;
    clock.advance(10 * SECOND - MS);
    clock.freeze(30 * MINUTE);
    quiet().await;
    assert_eq!(record(&tree, "ends").state, State::Stopping);
    allowed.add_permits(1);
    let report = soon("the stop", stop).await.expect("joined");
    assert_eq!((report.outcome, report.left_behind), (Outcome::Stopped, 0));
    assert_eq!(record(&tree, "ends").exits(ExitKind::Stopped), 1);
}

/// With the machine's own clock, and a process that is really stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_finds_its_actors_as_they_were() {
    let watch = WatchSettings { every: 10 * MS, report_after: 300 * MS, ..WatchSettings::default() };
    let signs = Arc::new(AtomicU64::new(0));
    let works = (0..20).map(|number| {
        let signs = signs.clone();
        let works = Child::worker(format!("works{number}"), move || Works(signs.clone()));
        works.policy(stalls_after(500 * MS))
    });
    let tree = Tree::start(works.collect(), TreeOptions { watch, ..TreeOptions::default() }).await;
    let tree = tree.expect("the root starts");
    all_run(&tree).await;
    for _ in 0..5 {
        let own = std::process::id();
        let script = format!("kill -STOP {own}; sleep 1; kill -CONT {own}");
        let mut stopper = Command::new("sh").args(["-c", &script]).spawn().expect("a shell");
        let ended = tokio::task::spawn_blocking(move || stopper.wait()).await.expect("joined");
        assert!(ended.expect("waited for").success());
        // The watch looks twice as often as they work.
        let before = signs.load(Relaxed);
        eventually("all have worked on", || signs.load(Relaxed) >= before + 200).await;
        for actor in tree.health().into_iter().filter(|actor| !actor.supervisor) {
            assert_eq!((actor.generation, actor.wedged), (1, false), "{}", actor.path);
        }
    }
}
