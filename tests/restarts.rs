//! The process dies at any moment, and the next one continues with the same totals.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::Duration;

use common::{MARKETS, Process, environment, producer, summary, totals_reach};
use testkit::{LiveRate, RedisServer, run_live, wait_until};

/// How often the process is killed.
const KILLS: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_at_any_moment_and_started_anew_shows_the_same_totals() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let environment = environment(redis.addr());
    let rate = LiveRate {
        epoch_every: Duration::from_millis(300),
        submissions_per_epoch: 40,
        batch_delay: Duration::from_millis(100),
        ..LiveRate::default()
    };
    let live: Vec<_> = MARKETS
        .iter()
        .map(|market| {
            let mut config = producer(market);
            config.window = Duration::from_millis(900);
            run_live(config, &redis.url(), rate).expect("producers")
        })
        .collect();
    let mut connection = redis.connection().await.expect("a connection");
    for kill in 0..KILLS {
        let mut process = Process::start(&environment).await;
        // Each time at another moment: from before its first pass to long after it.
        let passes = kill / 2;
        let mut seen = None;
        wait_until(&format!("{passes} passes before kill {kill}"), common::SOON, async || {
            let summary = summary(&mut connection, MARKETS[0]).await;
            let total = summary.and_then(|summary| summary["submissions_total"].as_u64());
            let first = *seen.get_or_insert(total.unwrap_or(0));
            total.unwrap_or(0) >= first + u64::from(passes) * 20
        })
        .await;
        process.signal("KILL").await;
        assert_eq!(process.exit_code().await, None, "it was killed");
    }
    let mut process = Process::start(&environment).await;
    for (live, market) in live.into_iter().zip(MARKETS) {
        let truth = live.finish().await.expect("producers end");
        assert!(truth.batches_total() > 10, "the load was too small to mean anything");
        totals_reach(&redis, market, &truth).await;
    }
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
}
