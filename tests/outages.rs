//! Redis is away at the start or later, hangs, or is silent. No crash, and right datasets at once when it is back.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{
    MARKETS, Process, SOON, current_epoch, environment, free_port, get, producer, shown, summary, written,
};
use testkit::{FaultProxy, MarketProducer, RedisServer, producers::unix_now, wait_until};
use tokio::time::Instant;

/// The service's promise for the time after an outage.
const RECOVERY: Duration = Duration::from_secs(2);

async fn not_ready(process: &Process, word: &str) {
    wait_until(&format!("it is not ready and says `{word}`"), SOON, async || {
        let (status, body) = get(process.metrics, "/readyz").await;
        status == 503 && body.contains(word)
    })
    .await;
}

async fn one_epoch(redis: &RedisServer, market: &str) -> MarketProducer {
    let mut market = MarketProducer::new(producer(market), &redis.url()).expect("producers");
    let now = unix_now();
    market.open_epoch(23_000_001, now).await.expect("opened");
    market.submit(23_000_001, 7, now).await.expect("submitted");
    market
}

async fn crashes(process: &Process) -> u64 {
    let (status, body) = get(process.operator, "/health").await;
    assert_eq!(status, 200);
    let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let generations =
        health["actors"].as_array().expect("actors").iter().map(|actor| actor["generation"].as_u64());
    generations.map(|generation| generation.expect("a number").saturating_sub(1)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_at_the_start_is_waited_for() {
    let port = free_port().await;
    let process = Process::start(&environment(SocketAddr::from(([127, 0, 0, 1], port)))).await;
    not_ready(&process, "waiting for Redis").await;
    assert_eq!(get(process.metrics, "/livez").await.0, 200);
    let mut log = process.log.clone();
    let said = log.wait_for(|log| log.contains("check that Redis runs at this address"));
    assert!(tokio::time::timeout(SOON, said).await.is_ok(), "{}", *process.log.borrow());
    let redis = RedisServer::builder().port(port).start().await.expect("a Redis server on that port");
    process.wait_ready().await;
    let market = one_epoch(&redis, MARKETS[0]).await;
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    assert_eq!(crashes(&process).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_finds_right_datasets_within_two_seconds() {
    let mut redis = RedisServer::builder().append_only(true).start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    // Only a wake can bring the datasets back in time: no interval is short enough.
    environment.insert("STATE_TRACKER__INTERVALS__SUMMARY".to_owned(), "20s".to_owned());
    environment.insert("STATE_TRACKER__INTERVALS__CURRENT_EPOCH".to_owned(), "20s".to_owned());
    let truth = one_epoch(&redis, MARKETS[0]).await.truth();
    let process = Process::start(&environment).await;
    process.wait_ready().await;
    for _ in 0..3 {
        redis.kill_hard().expect("killed");
        not_ready(&process, "Redis is away").await;
        redis.restart().await.expect("back");
        let back = Instant::now();
        let mut connection = redis.connection().await.expect("a connection");
        // Redis kept the old ones: only new ones count.
        let cleared: i64 = redis::cmd("DEL")
            .arg(common::key(MARKETS[0], "dashboard:summary"))
            .arg(common::key(MARKETS[0], "metrics:current_epoch"))
            .query_async(&mut connection)
            .await
            .expect("cleared");
        assert!(cleared <= 2);
        let mut first = None;
        wait_until("both datasets are back", SOON, async || {
            let (summary, epoch) = (
                summary(&mut connection, MARKETS[0]).await,
                current_epoch(&mut connection, MARKETS[0]).await,
            );
            if first.is_none() {
                first = summary;
            }
            first.is_some() && epoch.is_some_and(|epoch| epoch["submissions_received"] == 7)
        })
        .await;
        let took = back.elapsed();
        assert_eq!(shown(&first.expect("just seen")), written(&truth), "the very first dataset is right");
        assert!(took < RECOVERY, "it took {took:?}");
        process.wait_ready().await;
    }
    assert_eq!(crashes(&process).await, 0, "an outage is no crash");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_missed_during_a_cut_connection_change_no_total() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let service = common::service(&environment(proxy.addr())).await;
    let mut market = one_epoch(&redis, MARKETS[0]).await;
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    proxy.refuse(true).await.expect("refusing");
    proxy.cut();
    let now = unix_now();
    market.submit(23_000_001, 5, now).await.expect("submitted unheard");
    market.open_epoch(23_000_002, now).await.expect("opened unheard");
    proxy.refuse(false).await.expect("accepting");
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    let listener = common::actor(&service, "listener");
    assert_eq!(listener.generation, 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_noticed_and_what_was_missed_is_made_up_for() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let process = Process::start(&environment(proxy.addr())).await;
    process.wait_ready().await;
    let mut market = one_epoch(&redis, MARKETS[0]).await;
    // From now on no answer comes, and no connection is closed.
    proxy.blackhole(true);
    let silent = Instant::now();
    not_ready(&process, "Redis is away").await;
    assert!(silent.elapsed() < Duration::from_secs(15), "{:?}", silent.elapsed());
    market.submit(23_000_001, 5, unix_now()).await.expect("submitted unheard");
    proxy.cut();
    proxy.blackhole(false);
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    process.wait_ready().await;
    assert_eq!(crashes(&process).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_does_not_keep_the_process_from_stopping() {
    for signal in ["TERM", "INT"] {
        let redis = RedisServer::start().await.expect("a Redis server");
        let mut process = Process::start(&environment(redis.addr())).await;
        process.wait_ready().await;
        redis.pause().expect("hung");
        not_ready(&process, "market").await;
        let told = Instant::now();
        process.signal(signal).await;
        assert_eq!(process.exit_code().await, Some(0));
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    }
}

/// How long Redis does not answer, across many passes.
const HUNG: Duration = Duration::from_secs(20);

/// Every dataset of a market as a reader finds it, without its times.
async fn datasets(redis: &RedisServer, market: &str) -> serde_json::Value {
    let of_time = [
        "updated_at",
        "timestamp",
        "hour_end",
        "measurement_duration",
        "submission_rate",
        "epoch_rate",
        "time_remaining_seconds",
        "phase",
        "period_start",
        "period_end",
        "hourly_breakdown",
        // Epochs of the beginning of the test are older than a minute at its end.
        "epochs_1m",
        "submissions_1m",
    ];
    let mut connection = redis.connection().await.expect("a connection");
    let mut all = serde_json::Map::new();
    for name in ["dashboard:summary", "metrics:participation", "metrics:current_epoch", "stats:daily"] {
        let mut command = redis::cmd("GET");
        let text: Option<String> =
            command.arg(common::key(market, name)).query_async(&mut connection).await.expect("read");
        let text = text.unwrap_or_else(|| panic!("{name} is empty"));
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).expect("an object");
        let fields = object.into_iter().filter(|(field, _)| !of_time.contains(&field.as_str()));
        all.insert(name.to_owned(), fields.collect::<serde_json::Map<_, _>>().into());
    }
    all.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_redis_empties_no_dataset_and_is_logged_once_a_minute_by_kind() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let market = one_epoch(&redis, MARKETS[0]).await;
    let other = one_epoch(&redis, MARKETS[1]).await;
    let process = Process::start(&environment(redis.addr())).await;
    process.wait_ready().await;
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    common::totals_reach(&redis, MARKETS[1], &other.truth()).await;
    let before = [datasets(&redis, MARKETS[0]).await, datasets(&redis, MARKETS[1]).await];
    assert_eq!(before[0]["dashboard:summary"]["submissions_total"], 7);
    redis.pause().expect("hung");
    let hung = Instant::now();
    let counted = r#"state_tracker_errors_total{kind="timeout""#;
    wait_until("it is counted by its kind", SOON, async || {
        let (_, metrics) = get(process.metrics, "/metrics").await;
        metrics.lines().any(|line| line.starts_with(counted) && !line.ends_with(" 0"))
    })
    .await;
    not_ready(&process, "Redis is away").await;
    tokio::time::sleep(HUNG.saturating_sub(hung.elapsed())).await;
    redis.resume().expect("awake");
    // From its first answer on, through many passes.
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        for (market, before) in MARKETS.iter().zip(&before) {
            assert_eq!(datasets(&redis, market).await, *before, "{market}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.wait_ready().await;
    common::totals_reach(&redis, MARKETS[0], &market.truth()).await;
    assert_eq!(crashes(&process).await, 0);
    // Each operation with its error, at most once a minute.
    let log = process.log.borrow().clone();
    let mut told = std::collections::BTreeMap::new();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON log line");
        let [message, kind] = ["message", "kind"].map(|field| line[field].as_str().unwrap_or_default());
        // Operation and object stand before the kind.
        if let Some((subject, _)) = message.split_once(&format!(": {kind}: ")) {
            *told.entry(format!("{subject}: {kind}")).or_insert(0) += 1;
        }
    }
    assert!(!told.is_empty() && told.values().all(|lines| *lines == 1), "{told:?}");
}
