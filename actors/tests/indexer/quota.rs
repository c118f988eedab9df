//! The quota of the state index, flooded by the right to publish alone.

use std::time::Duration;

use domain::tracker::index::{LONGEST_ID, Quota};
use redis::aio::MultiplexedConnection;
use testkit::{RedisServer, wait_until};

use super::{COMMON, SOON, Setup, Tracker, bytes, members, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_published_ids_stays_within_the_quota_and_known_epochs_go_on() {
    const FLOOD: u64 = 20_000;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let quota = Quota { epochs: 100, submissions: 300, validators: 20 };
    let tracker = Tracker::start(redis.url(), Setup { quota, ..Setup::default() }).await;
    publish(&mut connection, COMMON, &bytes(&["epoch:open:1"])).await;
    wait_until("the first event is indexed", SOON, async || tracker.events("indexed") == 1.0).await;
    let before = used_memory(&mut connection).await;
    let flood: Vec<Vec<u8>> = (2..FLOOD)
        .map(|at| match at % 4 {
            0 => format!("epoch:open:{at}"),
            1 => format!("batch:validator:{at:v>64}:{at}"),
            _ => format!("submission:received:{at}:{at}:{}:1:p", "x".repeat(LONGEST_ID - 24)),
        })
        .map(String::into_bytes)
        .collect();
    publish(&mut connection, COMMON, &flood).await;
    let taken = ["indexed", "dropped"];
    wait_until("the flood is over", 2 * SOON, async || {
        taken.iter().map(|outcome| tracker.events(outcome)).sum::<f64>() >= (FLOOD - 1) as f64
    })
    .await;
    assert!(tracker.events("refused") > (FLOOD / 10) as f64, "{}", tracker.events("refused"));
    let keys: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("counted");
    assert!(keys <= quota.most_keys(), "{keys} keys");
    let grown = used_memory(&mut connection).await.saturating_sub(before);
    assert!(grown <= quota.most_bytes(0), "{grown} bytes");
    publish(&mut connection, COMMON, &bytes(&["batch:aggregated:1"])).await;
    wait_until("the known epoch is completed", SOON, async || {
        members(&mut connection, "completed:epochs").await.contains("1")
    })
    .await;
    tracker.stop().await;
}

async fn used_memory(connection: &mut MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("memory").query_async(connection).await.expect("told");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
    used.and_then(|used| used.trim().parse().ok()).expect("a number of bytes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_full_takes_new_epochs_after_it_was_pruned() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let quota = Quota { epochs: 2, ..Quota::default() };
    let setup = Setup { quota, kept: Duration::from_secs(1), ..Setup::default() };
    let tracker = Tracker::start(redis.url(), setup).await;
    publish(&mut connection, COMMON, &bytes(&["epoch:open:1", "epoch:open:2", "epoch:open:3"])).await;
    wait_until("the third is refused", SOON, async || tracker.events("refused") == 1.0).await;
    wait_until("another one is taken", SOON, async || {
        publish(&mut connection, COMMON, &bytes(&["epoch:open:4"])).await;
        members(&mut connection, "active:epochs").await.contains("4")
    })
    .await;
    tracker.stop().await;
}
