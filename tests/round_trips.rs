//! The cost of a pass: a constant number of round trips, counted between the tracker and Redis.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::Duration;

use common::{MARKETS, SOON, environment, producer, service, summary};
use testkit::{FaultProxy, MarketProducer, ProxyCounts, RedisServer, wait_until};

/// Unfinished epochs of the market, in three runs.
const EPOCHS: [u64; 3] = [10, 100, 1_000];
/// The most round trips of a pass: one to check the pool's connection, three for the pass itself.
const MOST: u64 = 4;

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
    environment.insert("STATE_TRACKER__INTERVALS__SUMMARY".to_owned(), "500ms".to_owned());
    environment.insert("STATE_TRACKER__INTERVALS__CURRENT_EPOCH".to_owned(), "24h".to_owned());
    // Its slices would be counted too.
    environment.insert("STATE_TRACKER__INTERVALS__FIND".to_owned(), "0s".to_owned());
    let service = service(&environment).await;
    let mut connection = redis.connection().await.expect("a connection");
    wait_until("the first pass", SOON, async || {
        summary(&mut connection, MARKETS[0]).await.is_some_and(|summary| summary["epochs_total"] == epochs)
    })
    .await;
    let passes = |counts: &ProxyCounts| counts.command_names.get("EVALSHA").copied().unwrap_or(0);
    // Between two passes, so that whole passes are counted.
    let boundary = async || {
        let at = passes(&proxy.counts());
        wait_until("the end of a pass", SOON, async || passes(&proxy.counts()) > at).await;
        let mut before = proxy.counts();
        wait_until("quiet after a pass", SOON, async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = proxy.counts();
            let quiet = now.round_trips == before.round_trips;
            before = now;
            quiet
        })
        .await;
        proxy.counts()
    };
    let before = boundary().await;
    boundary().await;
    boundary().await;
    let after = boundary().await;
    service.stop().await;
    let made = passes(&after) - passes(&before);
    // The listener publishes its own message every few seconds, each in a round trip.
    let published = |counts: &ProxyCounts| counts.command_names.get("PUBLISH").copied().unwrap_or(0);
    let trips = after.round_trips - before.round_trips - (published(&after) - published(&before));
    assert!(made >= 3 && trips.is_multiple_of(made), "{trips} round trips in {made} passes: {after:?}");
    trips / made
}
