//! Configured places of reading and writing: a shadow beside a running original, and a second namespace for priorities.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use common::{MARKETS, PROTOCOL, SOON, environment, key, producer, summary};
use redis::{FromRedisValue, ToRedisArgs, aio::MultiplexedConnection};
use serde_json::{Value, json};
use state_tracker::{config::Config, service::Service};
use supervision::TreeOptions;
use testkit::{MarketProducer, RedisServer, contents::dumps, producers::unix_now, wait_until};

async fn run<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    name: &str,
    arguments: impl ToRedisArgs,
) -> T {
    redis::cmd(name).arg(arguments).query_async(connection).await.expect("the command is right")
}

/// A market with everything that a tracker would change: a timeline with an old entry, a state without its count,
/// priorities that expire, a gap.
async fn fill(redis: &RedisServer, connection: &mut MultiplexedConnection) {
    let (now, market) = (unix_now(), MARKETS[0]);
    let mut producers = MarketProducer::new(producer(market), &redis.url()).expect("producers");
    for epoch in [1, 2, 3] {
        producers.open_epoch(epoch, now - 120).await.expect("opened");
        producers.submit(epoch, 5, now - 110).await.expect("submitted");
    }
    producers.close_epoch(1, now - 60).await.expect("closed");
    let old = ("open:0".to_owned(), now - 2 * 86_400);
    run::<()>(connection, "ZADD", (key(market, "metrics:epochs:timeline"), old.1, old.0)).await;
    run::<()>(connection, "HSET", (key(market, "epoch:2:state"), "window_status", "open")).await;
    run::<()>(connection, "HSET", (key(market, "vpa:stats"), "no_priority_count", 3)).await;
    run::<()>(connection, "EXPIRE", (key(market, "vpa:stats"), 1_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_shows_every_dataset_under_its_prefix_and_changes_nothing_outside_it() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    fill(&redis, &mut connection).await;
    let market = MARKETS[0];
    let before = dumps(&mut connection).await;
    // When the pruner has taken this away, it has been everywhere.
    let opened = format!("shadow:{{{PROTOCOL}:{market}}}:tracker:opened");
    run::<()>(&mut connection, "ZADD", (&opened, 1, "0")).await;

    let mut settings = environment(redis.addr());
    settings.insert("DATA_MARKET_ADDRESSES".to_owned(), market.to_owned());
    settings.insert("STATE_TRACKER__INTERVALS__PRUNE".to_owned(), "100ms".to_owned());
    let mut shadow = settings.clone();
    shadow.insert("STATE_TRACKER__OUTPUT__PREFIX".to_owned(), "shadow".to_owned());
    let service = common::service(&shadow).await;
    for name in ["dashboard:summary", "metrics:current_epoch", "stats:daily", "epochs:gaps"] {
        let name = format!("shadow:{}", key(market, name));
        wait_until(&name, SOON, async || run::<bool>(&mut connection, "EXISTS", &name).await).await;
    }
    wait_until("the shadow's own ledger is pruned", SOON, async || {
        run::<Option<f64>>(&mut connection, "ZSCORE", (&opened, "0")).await.is_none()
    })
    .await;
    let shown: String =
        run(&mut connection, "GET", format!("shadow:{}", key(market, "dashboard:summary"))).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&shown["epochs_total"], &shown["submissions_total"]), (&json!(3), &json!(15)));
    service.stop().await;
    let mut after = dumps(&mut connection).await;
    after.retain(|name, _| !name.starts_with("shadow:"));
    assert!(after == before, "before: {:?}\nafter: {:?}", before.keys(), after.keys());

    // The same without a prefix changes all of that, so the comparison can fail.
    let service = common::service(&settings).await;
    wait_until("the timeline is pruned", SOON, async || {
        let old = (key(market, "metrics:epochs:timeline"), "open:0");
        run::<Option<f64>>(&mut connection, "ZSCORE", old).await.is_none()
    })
    .await;
    wait_until("the count is written", SOON, async || {
        run::<Option<u64>>(&mut connection, "HGET", (key(market, "epoch:2:state"), "submissions_count")).await
            == Some(5)
    })
    .await;
    let lives: i64 = run(&mut connection, "TTL", key(market, "vpa:stats")).await;
    assert!(lives > 1_000, "its life was not renewed: {lives} s");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_namespace_named_for_one_market_is_shown_in_its_summary_and_in_no_other() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let now = unix_now();
    for (space, assigned) in [("Q:N", 12), (&format!("{PROTOCOL}:{}", MARKETS[1]), 5)] {
        let stats = (format!("{space}:vpa:stats"), "total_priority_assignments", assigned);
        run::<()>(&mut connection, "HSET", stats).await;
    }
    run::<()>(&mut connection, "ZADD", ("Q:N:vpa:priority:timeline", now, "7:1:ok")).await;
    // A level 2 that is done, and what became of it on the chain in the second namespace alone.
    for market in MARKETS {
        let mut producers = MarketProducer::new(producer(market), &redis.url()).expect("producers");
        producers.open_epoch(7, now - 60).await.expect("opened");
        producers.close_epoch(7, now - 40).await.expect("closed");
        for level in ["level1_status", "level2_status"] {
            run::<()>(&mut connection, "HSET", (key(market, "epoch:7:state"), level, "completed")).await;
        }
    }
    run::<()>(&mut connection, "HSET", ("Q:N:epoch:7:state", "onchain_status", "confirmed")).await;

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("markets.toml");
    let table =
        format!("[markets.'{}']\npriority = {{ protocol = 'Q', market = 'N' }}\n", MARKETS[0].to_lowercase());
    std::fs::write(&file, table).expect("a file");
    let config = Config::load(Some(&file), environment(redis.addr())).expect("allowed").config;
    let service = Service::start(&config, TreeOptions::default()).await.expect("it starts");
    for (market, assigned, lately, gaps) in [(MARKETS[0], 12, 1, 0), (MARKETS[1], 5, 0, 1)] {
        let expected = [json!(assigned), json!(lately), json!(gaps)];
        wait_until("the summary shows its priorities", SOON, async || {
            let shown = summary(&mut connection, market).await.unwrap_or_default();
            let names =
                ["vpa_priority_assignments_total", "vpa_priority_assignments_24h", "epoch_gaps_count"];
            names.map(|name| shown[name].clone()) == expected
        })
        .await;
    }
    service.stop().await;
}
