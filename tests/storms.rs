//! Storms of events, and of huge ones: memory stays bounded, and the datasets are right.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::Duration;

use common::{MARKETS, Process, SOON, environment, get, producer};
use testkit::{MarketProducer, RedisServer, event_storm, producers::unix_now, wait_until};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Small events a second, and for how long.
const EVENTS_A_SECOND: u64 = 100_000;
const LASTS: Duration = Duration::from_secs(3);
/// Payloads of nothing but colons.
const HUGE: usize = 1 << 20;
const HUGE_ONES: u64 = 150;
/// How much more memory the process may take meanwhile, in bytes.
const MORE: u64 = 192 << 20;

/// Resident memory of a process, in bytes.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("it has memory");
    1024 * line
        .split_whitespace()
        .nth(1)
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_events_and_of_huge_ones_takes_bounded_memory_and_changes_no_total() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = MarketProducer::new(producer(MARKETS[0]), &redis.url()).expect("producers");
    market.open_epoch(1, unix_now()).await.expect("opened");
    market.submit(1, 5, unix_now()).await.expect("submitted");
    let process = Process::start(&environment(redis.addr())).await;
    process.wait_ready().await;
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    let (pid, before) = (process.pid(), resident(process.pid()));
    let (over, mut is_over) = oneshot::channel::<()>();
    let watch = tokio::spawn(async move {
        let mut most = 0;
        while is_over.try_recv() == Err(TryRecvError::Empty) {
            most = most.max(resident(pid));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        most
    });
    let url = redis.url();
    let small = tokio::spawn(async move {
        event_storm(&url, 1, EVENTS_A_SECOND, tokio::time::sleep(LASTS)).await.expect("a storm")
    });
    let mut connection = redis.connection().await.expect("a connection");
    let colons = vec![b':'; HUGE];
    for _ in 0..HUGE_ONES {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("state:change").arg(&colons);
        publish.query_async::<()>(&mut connection).await.expect("published");
    }
    let small = small.await.expect("it ends");
    market.submit(1, 4, unix_now()).await.expect("submitted");
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    // What was heard is counted; what was not, for the server cut off a reader that it found too slow, is a gap.
    let value = |metrics: &str, name: &str| -> f64 {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let mut shown = (0.0, 0.0);
    wait_until("all is heard, or a gap is counted", SOON, async || {
        let (_, metrics) = get(process.metrics, "/metrics").await;
        let heard = value(&metrics, "state_tracker_events_received_total");
        shown = (heard, value(&metrics, "state_tracker_subscription_gaps_total"));
        shown.1 > 0.0 || heard >= (small.published + HUGE_ONES) as f64
    })
    .await;
    over.send(()).expect("it is watched until now");
    let most = watch.await.expect("it ends");
    println!(
        "{} small events, {HUGE_ONES} huge ones: {before} → {most} bytes, heard and gaps {shown:?}",
        small.published
    );
    assert!(most < before + MORE, "{before} → {most} bytes");
}
