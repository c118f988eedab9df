//! The whole service with a chain to follow, against a real node and a real Redis: what is left when it is killed again and
//! again, what its readers see, and what its configuration refuses.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{Process, SOON, environment, service};
use redis::{FromRedisValue, aio::MultiplexedConnection, cmd};
use serde_json::Value;
use state_tracker::config::Config;
use testkit::{
    Emission, MarketProducer, ProducerConfig, RedisServer, producers::unix_now, wait_until, world::World,
};

/// The environment of a service that follows a world.
fn following(redis: &RedisServer, world: &World) -> BTreeMap<String, String> {
    let mut all = environment(redis.addr());
    for (name, value) in [
        ("PROTOCOL_STATE_CONTRACT", world.contracts.protocol_state.clone()),
        ("DATA_MARKET_ADDRESSES", world.contracts.markets.join(",")),
        ("RPC_NODES", world.anvil.url()),
        ("BATCH_SIZE", "5".to_owned()),
        ("STATE_TRACKER__CHAIN__START_BLOCK", "1".to_owned()),
        ("STATE_TRACKER__CHAIN__POLL_INTERVAL", "100ms".to_owned()),
        ("STATE_TRACKER__CHAIN__MAX_CHUNK", "17".to_owned()),
        // The chain of the tests is told quicker than it goes.
        ("STATE_TRACKER__CHAIN__INPUTS_LIVE", "24h".to_owned()),
    ] {
        all.insert(name.to_owned(), value);
    }
    all
}

async fn query<T: FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(connection).await.expect("answered")
}

/// Waits until this block is accepted and no closed window waits for its batches.
async fn followed(connection: &mut MultiplexedConnection, world: &World) {
    let height = world.height().await;
    wait_until(&format!("block {height} is accepted"), 4 * SOON, async || {
        let mut connection = connection.clone();
        let checkpoint: Option<String> = query(&mut connection, &["GET", "tracker:chain:checkpoint"]).await;
        let Some(checkpoint) = checkpoint else { return false };
        let checkpoint: Value = serde_json::from_str(&checkpoint).expect("JSON");
        let mut closed = false;
        for market in &world.contracts.markets {
            let windows: Vec<String> =
                query(&mut connection, &["HVALS", &format!("tracker:chain:{market}:windows")]).await;
            closed |= windows.iter().any(|window| window.contains("Closed"));
        }
        checkpoint["number"] == height && !closed
    })
    .await;
}

/// What finalizers, relayers and dashboards read of the chain: every key with what is in it, the queue by markets.
async fn left(connection: &mut MultiplexedConnection) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for family in [
        "*.CurrentEpochID",
        "EpochMarker*",
        "BatchCountKey.*",
        "SlotSubmissionsKey.*",
        "tracker:chain:*",
        "BlockHash*",
    ] {
        for key in query::<Vec<String>>(connection, &["KEYS", family]).await {
            let kind: String = query(connection, &["TYPE", &key]).await;
            let mut values: Vec<String> = match kind.as_str() {
                "string" => vec![query(connection, &["GET", &key]).await],
                "set" => query(connection, &["SMEMBERS", &key]).await,
                _ => {
                    let fields: BTreeMap<String, String> = query(connection, &["HGETALL", &key]).await;
                    fields.into_iter().map(|(field, value)| format!("{field} = {value}")).collect()
                }
            };
            values.sort();
            all.insert(key, values);
        }
    }
    for job in query::<Vec<String>>(connection, &["LRANGE", "finalizerQueue", "0", "-1"]).await {
        let market = serde_json::from_str::<Value>(&job).expect("JSON")["DataMarketAddress"].to_string();
        all.entry(market).or_default().push(job);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_leaves_what_one_leaves_that_is_not() {
    let mut world = World::new(11).await;
    world.grow(600).await;
    let mut found = Vec::new();
    for kills in [0, 12] {
        let redis = RedisServer::start().await.expect("a Redis server");
        let mut connection = redis.connection().await.expect("a connection");
        world.collect(&mut connection, 0).await;
        let environment = following(&redis, &world);
        let mut process = Process::start(&environment).await;
        for kill in 0..kills {
            // Somewhere on its way, further on each time.
            let at = 40 * (kill + 1);
            wait_until("it has got on", SOON, async || {
                let checkpoint: Option<String> =
                    query(&mut connection.clone(), &["GET", "tracker:chain:checkpoint"]).await;
                let number = |text: String| serde_json::from_str::<Value>(&text).ok()?["number"].as_u64();
                checkpoint.and_then(number).is_some_and(|number| number >= at)
            })
            .await;
            process.signal("KILL").await;
            assert_eq!(process.exit_code().await, None);
            process = Process::start(&environment).await;
        }
        followed(&mut connection, &world).await;
        process.signal("TERM").await;
        assert_eq!(process.exit_code().await, Some(0), "{}", *process.log.borrow());
        found.push(left(&mut connection).await);
    }
    let [undisturbed, killed] = found.try_into().expect("two");
    assert!(undisturbed.keys().filter(|key| key.starts_with("BatchCountKey.")).count() > 100);
    for key in undisturbed.keys().chain(killed.keys()) {
        assert_eq!(killed.get(key), undisturbed.get(key), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_the_chain_released_is_current_before_a_producer_has_written_of_it() {
    let mut world = World::new(12).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let connection = redis.connection().await.expect("a connection");
    let mut environment = following(&redis, &world);
    // Only the chain can wake it.
    environment.insert("STATE_TRACKER__INTERVALS__CURRENT_EPOCH".to_owned(), "1h".to_owned());
    let service = service(&environment).await;
    let market = world.contracts.markets[0].clone();
    world.emit(&market, &Emission::EpochReleased { epoch: 4_711, begin: 0, end: 1 }).await;
    world.mine().await;
    let key = format!(
        "{}:{}:metrics:current_epoch",
        domain::Address::new(&world.contracts.protocol_state).checksummed(),
        domain::Address::new(&market).checksummed()
    );
    wait_until("the epoch is current", SOON, async || {
        let text: Option<String> = query(&mut connection.clone(), &["GET", &key]).await;
        text.is_some_and(|text| {
            let current: Value = serde_json::from_str(&text).expect("JSON");
            current["epoch_id"] == "4711" && current["window_duration"] == 20
        })
    })
    .await;
    let metrics = common::get(service.http().metrics_address(), "/metrics").await.1;
    let height = format!("state_tracker_block_height {}", world.height().await);
    assert!(metrics.contains(&height), "{metrics}");
    assert!(metrics.contains("state_tracker_rpc_nodes{state=\"up\"} 1"), "{metrics}");
    let is_open =
        |line: &str| line.starts_with("state_tracker_windows{") && line.ends_with("state=\"open\"} 1");
    assert!(metrics.lines().any(is_open), "{metrics}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_chain_and_producers_tell_of_an_epoch_its_dataset_is_what_producers_alone_make_it() {
    let mut world = World::new(15).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let connection = redis.connection().await.expect("a connection");
    let both = service(&following(&redis, &world)).await;
    let mut environment = following(&redis, &world);
    environment.remove("RPC_NODES");
    environment.insert("STATE_TRACKER__OUTPUT__PREFIX".to_owned(), "alone".to_owned());
    let alone = service(&environment).await;
    let checksummed = |address: &str| domain::Address::new(address).checksummed().to_owned();
    let (protocol, market) =
        (checksummed(&world.contracts.protocol_state), checksummed(&world.contracts.markets[0]));
    let config =
        ProducerConfig { window: Duration::from_secs(77), ..ProducerConfig::new(&protocol, &market) };
    let mut producer = MarketProducer::new(config, &redis.url()).expect("producers");
    world.emit(&world.contracts.markets[0], &Emission::EpochReleased { epoch: 7, begin: 0, end: 1 }).await;
    world.mine().await;
    // What changes with time is left out.
    let shown = async |prefix: &str| -> Option<Value> {
        let key = format!("{prefix}{protocol}:{market}:metrics:current_epoch");
        let text: String = query::<Option<String>>(&mut connection.clone(), &["GET", &key]).await?;
        let mut current: Value = serde_json::from_str(&text).expect("JSON");
        let fields = current.as_object_mut().expect("an object");
        for field in ["timestamp", "time_remaining_seconds"] {
            fields.remove(field).expect("it is there");
        }
        Some(current)
    };
    wait_until("the chain's word counts while there is no other", SOON, async || {
        shown("").await.is_some_and(|current| current["window_duration"] == 20)
    })
    .await;
    producer.open_epoch(7, unix_now()).await.expect("opened");
    producer.submit(7, 3, unix_now()).await.expect("submitted");
    for phase in ["submission", "finalization"] {
        wait_until(&format!("both show the {phase} as the producers tell"), SOON, async || {
            let expected = |current: &Value| {
                current["phase"] == phase
                    && current["window_duration"] == 77
                    && current["submissions_received"] == 3
            };
            let (both, alone) = (shown("").await, shown("alone:").await);
            both == alone && both.as_ref().is_some_and(expected)
        })
        .await;
        producer.close_epoch(7, unix_now()).await.expect("closed");
    }
    both.stop().await;
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node_the_service_is_not_ready_and_its_datasets_go_on() {
    let world = World::new(13).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = following(&redis, &world);
    environment.insert("STATE_TRACKER__CHAIN__REQUEST_TIMEOUT".to_owned(), "100ms".to_owned());
    environment.insert("STATE_TRACKER__CHAIN__EVENTS_TIMEOUT".to_owned(), "1s".to_owned());
    let service = service(&environment).await;
    let address = service.http().metrics_address();
    wait_until("it is ready", SOON, async || common::get(address, "/readyz").await.0 == 200).await;
    world.anvil.pause().expect("paused");
    wait_until("the chain is the reason that it is not", SOON, async || {
        let (status, text) = common::get(address, "/readyz?verbose").await;
        let is_chain = |line: &str| line.starts_with("not ok:") && line.contains("chain");
        status == 503 && text.lines().any(is_chain)
    })
    .await;
    let fetcher = common::actor(&service, "chain/block-fetcher");
    assert_eq!(fetcher.generation, 1, "a node that is away is no crash");
    world.anvil.resume().expect("resumed");
    wait_until("it is ready again", SOON, async || common::get(address, "/readyz").await.0 == 200).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorganisation_too_deep_to_follow_takes_neither_the_process_nor_its_datasets_down() {
    let mut world = World::new(14).await;
    world.grow(30).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = following(&redis, &world);
    for (name, value) in [
        ("CHAIN__MAX_REORG_DEPTH", "5"),
        ("SUPERVISION__MAX_RESTARTS", "1"),
        ("SUPERVISION__BACKOFF_MAX", "100ms"),
        ("SUPERVISION__DEGRADED_RETRY", "100ms"),
        // What is mandatory would end the process now.
        ("SUPERVISION__GIVE_UP_AFTER", "1s"),
    ] {
        environment.insert(format!("STATE_TRACKER__{name}"), value.to_owned());
    }
    let service = service(&environment).await;
    followed(&mut connection, &world).await;
    let before = world.left(&mut connection).await;
    world.reorganise(8).await;
    world.grow(2).await;
    // Longer than anything mandatory may be degraded.
    wait_until("it was tried again and again", SOON, async || {
        common::actor(&service, "chain/block-fetcher").generation > 20
    })
    .await;
    let crash = common::actor(&service, "chain/block-fetcher").last_crash.expect("a reason");
    assert!(crash.message.contains("chain.max_reorg_depth"), "{}", crash.message);
    let (status, text) = common::get(service.http().metrics_address(), "/readyz?verbose").await;
    assert!(status == 503 && text.contains("chain/block-fetcher"), "{text}");
    let crashed = |path: &String| common::actor(&service, path).generation > 1;
    let crashed: Vec<String> = common::workers(&service).into_iter().filter(crashed).collect();
    assert_eq!(crashed, ["chain/block-fetcher"], "nothing else fell");
    assert_eq!(world.left(&mut connection).await, before, "nothing was changed");
    // The datasets go on.
    let key = format!(
        "{}:{}:dashboard:summary",
        domain::Address::new(&world.contracts.protocol_state).checksummed(),
        domain::Address::new(&world.contracts.markets[0]).checksummed()
    );
    query::<()>(&mut connection, &["DEL", &key]).await;
    wait_until("the summary is written", SOON, async || {
        query::<bool>(&mut connection.clone(), &["EXISTS", &key]).await
    })
    .await;
    assert!(tokio::time::timeout(std::time::Duration::ZERO, service.tree().ended()).await.is_err());
    service.stop().await;
}

#[test]
fn a_chain_is_refused_where_it_can_not_be_followed() {
    let with = |name: &str, value: &str| {
        let mut environment = environment("127.0.0.1:1".parse().expect("an address"));
        environment.insert("RPC_NODES".to_owned(), "http://127.0.0.1:2".to_owned());
        environment.insert(name.to_owned(), value.to_owned());
        Config::load(None, environment).map(|_| ()).map_err(|errors| errors.to_string())
    };
    assert_eq!(with("BATCH_SIZE", "7"), Ok(()));
    let errors = with("PROTOCOL_STATE_CONTRACT", "P").expect_err("no address");
    assert!(errors.contains("tracker.protocol") && errors.contains("chain.nodes"), "{errors}");
    let errors = with("RPC_NODES", "ftp://secret@host").expect_err("no node");
    assert!(errors.contains("chain.nodes") && !errors.contains("secret"), "{errors}");
}
