//! The cost of a pass: a constant number of round trips, counted between the tracker and Redis.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::net::SocketAddr;

use common::{MARKETS, SOON, environment, producer, service, summary};
use testkit::{FaultProxy, MarketProducer, RedisServer, wait_until};

/// Unfinished epochs of the market, in three runs.
const EPOCHS: [u64; 3] = [10, 100, 1_000];
/// So many passes are counted.
const PASSES: u64 = 10;
/// The most round trips of a pass.
const MOST: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_takes_the_same_few_round_trips_whatever_the_number_of_unfinished_epochs() {
    let mut found = Vec::new();
    for epochs in EPOCHS {
        found.push((epochs, round_trips_a_pass(epochs).await));
    }
    assert!(
        found.iter().all(|&(_, trips)| trips == found[0].1 && trips <= MOST),
        "(epochs, round trips): {found:?}"
    );
}

async fn round_trips_a_pass(epochs: u64) -> u64 {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = MarketProducer::new(producer(MARKETS[0]), &redis.url()).expect("producers");
    let now = testkit::producers::unix_now();
    for epoch in 0..epochs {
        market.open_epoch(23_000_000 + epoch, now).await.expect("opened");
        market.submit(23_000_000 + epoch, 3, now).await.expect("submitted");
    }
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let mut environment = environment(proxy.addr());
    environment.insert("DATA_MARKET_ADDRESSES".to_owned(), MARKETS[0].to_owned());
    environment.insert("STATE_TRACKER__INTERVALS__SUMMARY".to_owned(), "200ms".to_owned());
    environment.insert("STATE_TRACKER__INTERVALS__CURRENT_EPOCH".to_owned(), "24h".to_owned());
    // Its slices would be counted too.
    environment.insert("STATE_TRACKER__INTERVALS__FIND".to_owned(), "0s".to_owned());
    let service = service(&environment).await;
    let mut connection = redis.connection().await.expect("a connection");
    wait_until("the first pass", SOON, async || {
        summary(&mut connection, MARKETS[0]).await.is_some_and(|summary| summary["epochs_total"] == epochs)
    })
    .await;
    let metrics = service.http().metrics_address();
    // The first pass sends its script too.
    wait_until("the first pass is told", SOON, async || told(metrics).await.passes >= 1).await;
    let (first, before) = (told(metrics).await, proxy.counts());
    wait_until("some passes", SOON, async || told(metrics).await.passes >= first.passes + PASSES).await;
    let (last, after) = (told(metrics).await, proxy.counts());
    service.stop().await;
    let (passes, of_passes) = (last.passes - first.passes, last.of_passes - first.of_passes);
    assert_eq!(of_passes % passes, 0, "{of_passes} round trips in {passes} passes");
    // What the tracker tells of itself is what passed to Redis. Beside it, connections are checked when they are borrowed, and the
    // listener publishes its own message. The passes that run at the beginning and at the end are told with their end.
    let sent = |name: &str| after.sent(name) - before.sent(name);
    let passed = after.round_trips - before.round_trips - sent("PING") - sent("PUBLISH");
    let of_all = last.of_all - first.of_all;
    assert!(
        passed.abs_diff(of_all) < passes,
        "{passed} round trips, told are {of_all}: {before:?} {after:?}"
    );
    of_passes / passes
}

/// What the tracker tells of itself.
struct Told {
    /// Passes that wrote the summary.
    passes: u64,
    /// The round trips of those.
    of_passes: u64,
    /// The round trips of all operations.
    of_all: u64,
}

/// What it tells at one moment: the lines of a page are read one after the other, and a pass may end in between. Then the next page
/// tells of another pass.
async fn told(metrics: SocketAddr) -> Told {
    let mut last = page(metrics).await;
    for _ in 0..100 {
        let next = page(metrics).await;
        if (next.passes, next.of_passes) == (last.passes, last.of_passes) {
            return last;
        }
        last = next;
    }
    panic!("a pass ends with each page");
}

async fn page(metrics: SocketAddr) -> Told {
    let page = common::get(metrics, "/metrics").await.1;
    // Counts are whole.
    let sum = |beginning: &str| common::sum_of(&page, beginning) as u64;
    Told {
        passes: sum(r#"state_tracker_datasets_generated_total{dataset_type="dashboard_summary""#),
        of_passes: sum(r#"state_tracker_round_trips_total{operation="summary""#),
        of_all: sum("state_tracker_round_trips_total"),
    }
}
