//! Epochs that only the names of their keys tell of, in the whole service.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use common::{MARKETS, SOON, current_epoch, environment, key, service, summary};
use redis::aio::MultiplexedConnection;
use supervision::fail::{Fault, When};
use testkit::{RedisServer, producers::unix_now, wait_until};

async fn run(connection: &mut MultiplexedConnection, command: &str, market: &str, rest: &str, args: &[&str]) {
    let mut command = redis::cmd(command);
    command.arg(key(market, rest)).arg(args).query_async::<redis::Value>(connection).await.expect("right");
}

/// Writes each kind of key of an epoch, each of an epoch of its own; returns how many.
async fn write(connection: &mut MultiplexedConnection, market: &str, now: &str) -> u64 {
    let open = ["window_status", "open", "window_opened_at", now];
    run(connection, "HSET", market, "epoch:23000001:state", &open).await;
    run(connection, "HSET", market, "metrics:epoch:23000002:info", &["status", "closed", "start", now]).await;
    run(connection, "SET", market, "metrics:batch:local:23000003", &["{}"]).await;
    run(connection, "SET", market, "metrics:batch:aggregated:23000004", &["{}"]).await;
    run(connection, "SET", market, "metrics:batch:23000005:validators", &[r#"["validator1"]"#]).await;
    run(connection, "ZADD", market, "epoch:23000006:submissions:ids", &[now, "a"]).await;
    run(connection, "SADD", market, "epoch:2.3000007e+07:processed", &["a", "b"]).await;
    7
}

async fn totals(connection: &mut MultiplexedConnection, market: &str) -> [Option<u64>; 2] {
    let summary = summary(connection, market).await.unwrap_or_default();
    ["epochs_total", "submissions_total"].map(|name| summary[name].as_u64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_any_one_key_tells_of_is_counted_and_can_be_the_current_one() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = environment(redis.addr());
    environment.insert("STATE_TRACKER__INTERVALS__FIND".to_owned(), "100ms".to_owned());
    // Those of the first market are there when the service starts, those of the second one come later.
    let now = unix_now().to_string();
    let epochs = write(&mut connection, MARKETS[0], &now).await;
    let service = service(&environment).await;
    let points = service.tree().failure_points();
    points.arm("finder::before_round", "", Fault::Panic, When::Times(2));
    points.arm("aggregator::before_commit", "", Fault::Panic, When::Times(2));
    for market in [MARKETS[0], MARKETS[1]] {
        if market == MARKETS[1] {
            write(&mut connection, market, &now).await;
        }
        wait_until("all are counted", SOON, async || {
            totals(&mut redis.connection().await.expect("a connection"), market).await
                == [Some(epochs), Some(3)]
        })
        .await;
        wait_until("the open one is the current one", SOON, async || {
            let mut connection = redis.connection().await.expect("a connection");
            let current = current_epoch(&mut connection, market).await.unwrap_or_default();
            current["epoch_id"] == "23000001" && current["phase"] == "submission"
        })
        .await;
    }
    assert_eq!(points.passages("finder::before_round").1, 2);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_wakes_nobody_for_epochs_that_are_known() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    // 50,000 keys of others, and some of sealed epochs.
    let fill = "for n = 1, 50000 do redis.call('SET', 'other:' .. n, '') end";
    redis::cmd("EVAL").arg(fill).arg(0).query_async::<()>(&mut connection).await.expect("filled");
    let old = (unix_now() - 3 * 86_400).to_string();
    run(&mut connection, "HSET", MARKETS[0], "epoch:23000001:state", &["window_opened_at", &old]).await;
    let mut environment = environment(redis.addr());
    environment.insert("STATE_TRACKER__INTERVALS__FIND".to_owned(), "10ms".to_owned());
    let service = service(&environment).await;
    wait_until("it is counted", SOON, async || {
        totals(&mut redis.connection().await.expect("a connection"), MARKETS[0]).await[0] == Some(1)
    })
    .await;
    let rounds = || service.tree().failure_points().passages("finder::after_round").0;
    let before = rounds();
    wait_until("it is searched again", SOON, async || rounds() > before + 1).await;
    let actors = service.tree().health();
    let wakes =
        |actor: &supervision::ActorHealth| actor.mailbox.as_ref().map_or(0, |mailbox| mailbox.accepted);
    let aggregator = actors.iter().find(|actor| actor.path.ends_with("aggregator")).expect("it runs");
    // One of the subscription, and one of the first round; perhaps another one before the first pass has ended.
    assert!(wakes(aggregator) <= 3, "{} messages", wakes(aggregator));
    service.stop().await;
}
