//! How long the collector's operations took, as the metrics tell it.

use supervision::fail::{Fault, When};
use testkit::{Emission, RedisServer, wait_until, world::World};

use crate::{
    reach_head,
    tracker::{SOON, Setup, Tracker},
};

const NAME: &str = "state_tracker_processing_duration_seconds";

/// How many times an operation was measured, and how long it took in all, in seconds.
fn measured(tracker: &Tracker, operation: &str) -> (u64, f64) {
    let text = tracker.metrics();
    let value = |part: &str| {
        let series = format!("{NAME}_{part}{{operation=\"{operation}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    (value("count") as u64, value("sum"))
}

async fn is_measured(tracker: &Tracker, operation: &str, times: u64) {
    let found = || measured(tracker, operation).0;
    // An operation is measured a moment after its write.
    wait_until(&format!("{operation} {times} times"), SOON, async || found() >= times).await;
    assert_eq!(found(), times, "{operation}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_finished_operation_is_measured_once() {
    let mut world = World::new(31).await;
    world.grow(60).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, Setup::default()).await;
    reach_head(&world, &tracker).await;
    let epochs = async || {
        let prepared = tracker.chain.progress.now().prepared;
        prepared.values().map(|market| market.epochs).sum::<u64>()
    };
    wait_until("all of them are counted", SOON, async || {
        epochs().await > 0 && measured(&tracker, "market").0 == epochs().await
    })
    .await;
    is_measured(&tracker, "batch", epochs().await).await;
    let (market, in_markets) = measured(&tracker, "market");
    let runs = || measured(&tracker, "preparation").0;
    wait_until("its run is over", SOON, async || runs() > 0).await;
    assert!(runs() <= market, "runs without an epoch are not measured");
    assert!(measured(&tracker, "batch").1 <= in_markets, "batches are a part of their market");

    // The checkpoint is followed by segments, of several blocks each, and then by single ones.
    let (blocks, in_blocks) = measured(&tracker, "block");
    let accepted = tracker.chain.progress.now().blocks;
    assert!(blocks > 1 && blocks < accepted, "{blocks} steps for {accepted} blocks");
    let (with_events, in_events) = measured(&tracker, "events");
    assert!((1..=blocks).contains(&with_events) && in_events <= in_blocks, "{with_events} of {blocks}");
    for step in 1..=3 {
        world.mine().await;
        reach_head(&world, &tracker).await;
        is_measured(&tracker, "block", blocks + step).await;
    }
    is_measured(&tracker, "events", with_events).await;
    let market = world.contracts.markets[0].clone();
    world.emit(&market, &Emission::EpochReleased { epoch: 7_777, begin: 0, end: 1 }).await;
    world.mine().await;
    reach_head(&world, &tracker).await;
    is_measured(&tracker, "events", with_events + 1).await;
    is_measured(&tracker, "block", blocks + 4).await;
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_that_fail_are_not_measured() {
    let mut world = World::new(32).await;
    world.grow(60).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let setup = Setup { workers: 0, ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    wait_until("the first blocks are accepted", SOON, async || measured(&tracker, "block").0 > 0).await;
    let failures = tracker.tree.failure_points();
    failures.arm("batch_preparer::before_write", "", Fault::Error, When::Always);
    tracker.chain.workers.add_permits(2);
    wait_until("preparers fail", SOON, async || failures.passages("batch_preparer::before_write").1 > 2)
        .await;
    failures.arm("block_fetcher::before_write", "", Fault::Error, When::Always);
    let failed = || failures.passages("block_fetcher::before_write").1;
    world.mine().await;
    wait_until("the fetcher fails", SOON, async || failed() > 0).await;
    let before = ["block", "events"].map(|operation| measured(&tracker, operation).0);
    let many = failed();
    wait_until("it fails again", SOON, async || failed() > many + 2).await;
    assert_eq!(["block", "events"].map(|operation| measured(&tracker, operation).0), before);
    for operation in ["preparation", "market", "batch"] {
        assert_eq!(measured(&tracker, operation).0, 0, "{operation}");
    }
    tracker.stop().await;
}
