//! A log that takes no more lines. It is the log of the whole process, so this test is alone in its binary.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{Hangs, Log, MS, all_run, eventually, record, stalls_after};
use supervision::{
    Child, Context, ExitKind, Failure, Tree, TreeOptions, WatchSettings, Worker,
    fail::{self, Fault, When},
};

/// Counts the threads that log something for the watch, and blocks them.
#[derive(Clone, Default)]
struct Blocked {
    lines: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

/// Lets everything go on at the end of the test, even of one that fails.
struct Release<'a>(&'a Blocked, &'a Tree);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Relaxed);
        self.1.failure_points().disarm("passes::by");
    }
}

impl tracing::Subscriber for Blocked {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "supervision::watch"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.lines.fetch_add(1, Relaxed);
        while !self.over.load(Relaxed) {
            std::thread::park_timeout(MS);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Passes a failure point again and again.
struct Passes;

impl Worker for Passes {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        while !cx.is_stopping() {
            fail::point("passes::by").await?;
            cx.idle(cx.clock().sleep(MS)).await;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_blocks_does_not_keep_the_watch_from_acting() {
    let log = Blocked::default();
    tracing::subscriber::set_global_default(log.clone()).expect("the only one");
    let wedged = Log::default();
    let on_wedged = {
        let wedged = wedged.clone();
        Arc::new(move |path: &str, _: Duration| wedged.note(path.to_owned()))
    };
    let watch = WatchSettings { every: MS, report_after: 10 * MS, wedged_after: 500 * MS, on_wedged };
    let children = vec![
        Child::worker("passes", || Passes),
        Child::worker("hangs", || Hangs).policy(stalls_after(20 * MS)),
    ];
    let tree = Tree::start(children, TreeOptions { watch, ..TreeOptions::default() }).await;
    let tree = tree.expect("the root starts");
    let _release = Release(&log, &tree);
    all_run(&tree).await;
    tree.failure_points().arm("passes::by", "", Fault::Spin, When::Nth(1));
    eventually("it is reported", || record(&tree, "passes").wedged && log.lines.load(Relaxed) > 0).await;
    // From here on, the log takes no line. The watch still replaces actors that hang, and calls the owner of the process.
    let stalls = || record(&tree, "hangs").exits(ExitKind::Stalled);
    let before = stalls();
    eventually("the watch acts", || stalls() >= before + 2).await;
    eventually("the owner is called", || wedged.all() == ["passes"]).await;
}
