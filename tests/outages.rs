//! Redis is away at the start or later, hangs, or is silent. No crash, and right datasets at once when it is back.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{
    MARKETS, Process, SOON, current_epoch, environment, free_port, get, metric, producer, shown, summary,
    written,
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

/// Intervals too long to matter: the pool's connections are idle between events.
const NO_POLLING: [(&str, &str); 2] =
    [("STATE_TRACKER__INTERVALS__SUMMARY", "1h"), ("STATE_TRACKER__INTERVALS__CURRENT_EPOCH", "1h")];

/// The time in which a subscription on the wrong server must be noticed and replaced: two intervals of pings, and a pause.
const NOTICED: Duration = Duration::from_secs(15);

async fn run(redis: &RedisServer, words: &[&str]) {
    let mut connection = redis.connection().await.expect("a connection");
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).exec_async(&mut connection).await.expect("done");
}

/// The number of subscribers at this server.
async fn listeners(redis: &RedisServer) -> u64 {
    let mut connection = redis.connection().await.expect("a connection");
    let mut ask = redis::cmd("PUBSUB");
    let counted = ask.arg("NUMSUB").arg("state:change").query_async::<(String, u64)>(&mut connection);
    counted.await.expect("counted").1
}

/// Waits until the subscription has proven itself.
async fn is_proven(process: &Process) {
    wait_until("the subscription is proven", SOON, async || {
        metric(process.metrics, "state_tracker_subscription_proven").await > 0.0
    })
    .await;
}

/// A process behind one address that leads to the first of two servers, with its subscription proven and its pool idle.
async fn behind_one_address() -> ([RedisServer; 2], FaultProxy, Process) {
    let old = RedisServer::start().await.expect("a Redis server");
    let new = RedisServer::start().await.expect("a Redis server");
    let proxy = FaultProxy::start(old.addr()).await.expect("a proxy");
    let mut environment = environment(proxy.addr());
    environment.extend(NO_POLLING.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let process = Process::start(&environment).await;
    process.wait_ready().await;
    is_proven(&process).await;
    let mut before = proxy.counts().round_trips;
    wait_until("the first passes are over", SOON, async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        std::mem::replace(&mut before, proxy.counts().round_trips) == proxy.counts().round_trips
    })
    .await;
    ([old, new], proxy, process)
}

/// Whether events that are published on this server are received, without a crash and with a gap counted.
async fn hears(process: &Process, redis: &RedisServer) {
    let before = metric(process.metrics, "state_tracker_events_received_total").await;
    one_epoch(redis, MARKETS[0]).await;
    wait_until("its events are received", SOON, async || {
        metric(process.metrics, "state_tracker_events_received_total").await > before
    })
    .await;
    process.wait_ready().await;
    is_proven(process).await;
    assert!(metric(process.metrics, "state_tracker_subscription_gaps_total").await >= 1.0);
    assert_eq!(crashes(process).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_on_a_former_master_that_lives_on_is_noticed_and_replaced() {
    let ([old, new], proxy, process) = behind_one_address().await;
    proxy.set_upstream(new.addr());
    let moved = Instant::now();
    proxy.reset_counts();
    // The pool's connections alone: the old server still answers the subscription's pings.
    run(&old, &["CLIENT", "KILL", "TYPE", "normal"]).await;
    let published = || proxy.counts().sent("PUBLISH");
    wait_until("the own message is published on the new server", SOON, async || published() > 0).await;
    assert_eq!((listeners(&old).await, listeners(&new).await), (1, 0));
    // Nothing new is let in, so that the state between two subscriptions can be seen.
    proxy.refuse(true).await.expect("refusing");
    not_ready(&process, "events are not received").await;
    proxy.refuse(false).await.expect("accepting");
    wait_until("the subscription is on the new server", SOON, async || listeners(&new).await == 1).await;
    assert!(moved.elapsed() < NOTICED, "{:?}", moved.elapsed());
    assert!(process.log.borrow().contains("its own message did not arrive"));
    hears(&process, &new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_moves_the_pool_to_another_master_moves_the_subscription_too() {
    let ([old, new], proxy, process) = behind_one_address().await;
    proxy.set_upstream(new.addr());
    // Each event causes a pass with something to write.
    one_epoch(&new, MARKETS[0]).await;
    // A replica delivers what is published on its master, own messages included, so that only the refused write tells.
    run(&old, &["REPLICAOF", "127.0.0.1", &new.port().to_string()]).await;
    wait_until("the old server follows the new one", SOON, async || {
        run(&new, &["PUBLISH", "state:change", "epoch:open:1"]).await;
        metric(process.metrics, "state_tracker_events_received_total").await > 0.0
    })
    .await;
    let refused = Instant::now();
    wait_until("the subscription is on the new server", SOON, async || listeners(&new).await == 1).await;
    assert!(refused.elapsed() < NOTICED, "{:?}", refused.elapsed());
    run(&old, &["REPLICAOF", "NO", "ONE"]).await;
    hears(&process, &new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_not_publish_is_logged_once_and_hears_events_without_a_proof() {
    let channels = MARKETS.map(|market| format!("&{}", common::key(market, "state:change")));
    let no_channel = ["+@all", "resetchannels", "&state:change", &channels[0], &channels[1]];
    for rights in [&["+@all", "&*", "-publish"][..], &no_channel] {
        let redis = RedisServer::start().await.expect("a Redis server");
        let user = ["ACL", "SETUSER", "tracker", "on", ">secret", "~*"];
        run(&redis, &[&user[..], rights].concat()).await;
        let mut environment = environment(redis.addr());
        let login = [("REDIS_USERNAME", "tracker"), ("REDIS_PASSWORD", "secret")];
        environment.extend(login.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let process = Process::start(&environment).await;
        process.wait_ready().await;
        // Twice, so that the second subscription meets the same refusal.
        for subscriptions in 1..=2 {
            wait_until("it is subscribed, without a proof", SOON, async || {
                let gaps = metric(process.metrics, "state_tracker_subscription_gaps_total").await;
                let (status, body) = get(process.metrics, "/readyz?verbose").await;
                gaps + 1.0 >= f64::from(subscriptions) && status == 200 && body.contains("without a proof")
            })
            .await;
            let before = metric(process.metrics, "state_tracker_events_received_total").await;
            run(&redis, &["PUBLISH", "state:change", "epoch:open:1"]).await;
            wait_until("events are received", SOON, async || {
                metric(process.metrics, "state_tracker_events_received_total").await > before
            })
            .await;
            assert!(metric(process.metrics, "state_tracker_subscription_proven").await < 1.0);
            if subscriptions == 1 {
                run(&redis, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            }
        }
        let log = process.log.borrow().clone();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("can't prove")).collect();
        assert!(lines.len() == 1 && lines[0].contains("doctor --acl"), "{lines:?}");
        assert_eq!(crashes(&process).await, 0);
    }
}
