//! The whole service with a chain to follow, against a real node and a real Redis: what repeated kills leave, what
//! readers see, and what the configuration refuses.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;
#[path = "chain/finalized.rs"]
mod finalized;
#[path = "chain/lost_writes.rs"]
mod lost_writes;
#[path = "chain/metrics.rs"]
mod metrics;
#[path = "chain/readers.rs"]
mod readers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use common::{Process, SOON, checkpoint, environment, following, service};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use state_tracker::config::Config;
use testkit::{
    Emission, MarketProducer, ProducerConfig, RedisServer, RpcFault, RpcProxy,
    contents::{Contents, assert_same, query},
    producers::unix_now,
    wait_until,
    world::World,
};

/// Waits until the chain's head is accepted and no closed window waits for its batches.
async fn followed(connection: &mut MultiplexedConnection, world: &World) {
    let height = world.height().await;
    let (hash, ..) = world.anvil.block(height).await.expect("asked").expect("the head");
    let head = Some((height, hash));
    wait_until(&format!("block {height} is accepted"), 4 * SOON, async || {
        let mut connection = connection.clone();
        // In this order, so that windows that the last block closes are seen.
        let accepted = checkpoint(&mut connection).await == head;
        let mut closed = false;
        for market in &world.contracts.markets {
            let windows: Vec<String> =
                query(&mut connection, &["HVALS", &format!("tracker:chain:{market}:windows")]).await;
            closed |= windows.iter().any(|window| window.contains("Closed"));
        }
        accepted && !closed
    })
    .await;
}

async fn stop(process: &mut Process) {
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0), "{}", *process.log.borrow());
}

async fn kill(process: &mut Process) {
    process.signal("KILL").await;
    assert_eq!(process.exit_code().await, None);
}

/// What one undisturbed process leaves that follows the present chain.
async fn undisturbed(world: &World) -> Contents {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let mut process = Process::start(&following(redis.addr(), world)).await;
    followed(&mut connection, world).await;
    stop(&mut process).await;
    world.left(&mut connection).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_leaves_what_one_leaves_that_is_not() {
    let mut world = World::new(11).await;
    world.grow(600).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let environment = following(redis.addr(), &world);
    let mut process = Process::start(&environment).await;
    for kills in 1..=12 {
        // Somewhere on the way, each time further.
        wait_until("it has got on", SOON, async || {
            checkpoint(&mut connection.clone()).await.is_some_and(|(number, _)| number >= 40 * kills)
        })
        .await;
        kill(&mut process).await;
        process = Process::start(&environment).await;
    }
    followed(&mut connection, &world).await;
    stop(&mut process).await;
    let expected = undisturbed(&world).await;
    assert!(expected.keys().filter(|key| key.starts_with("BatchCountKey.")).count() > 100);
    assert_same(&world.left(&mut connection).await, &expected);
}

/// The time of a reorganisation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeTheKill,
    WhileItIsDown,
    AfterTheStart,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_during_reorganisations_leave_what_the_final_chain_leaves() {
    let mut world = World::new(14).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.grow(60).await;
    world.collect(&mut connection, 0).await;
    let environment = following(redis.addr(), &world);
    let mut process = Process::start(&environment).await;
    followed(&mut connection, &world).await;
    let mut told = 0;
    for depth in 1..=12 {
        for moment in [Moment::BeforeTheKill, Moment::WhileItIsDown, Moment::AfterTheStart] {
            // The next one may meet it in the middle of this one.
            if depth % 4 != 0 {
                followed(&mut connection, &world).await;
            }
            if moment == Moment::BeforeTheKill {
                world.reorganise_collected(depth, &mut connection).await;
            }
            kill(&mut process).await;
            told += process.log.borrow().matches("followed a reorganisation").count();
            if moment == Moment::WhileItIsDown {
                world.reorganise_collected(depth, &mut connection).await;
            }
            process = Process::start(&environment).await;
            if moment == Moment::AfterTheStart {
                world.reorganise_collected(depth, &mut connection).await;
            }
            let blocks = 1 + world.dice.roll(10);
            world.grow_collected(blocks, &mut connection).await;
        }
    }
    // What is kept to undo blocks is as much again as before the last reorganisation.
    world.grow_collected(70, &mut connection).await;
    followed(&mut connection, &world).await;
    stop(&mut process).await;
    // A reorganisation right before a kill may not have been logged.
    told += process.log.borrow().matches("followed a reorganisation").count();
    assert!(told > 20, "{told} reorganisations were met");
    let expected = undisturbed(&world).await;
    assert!(expected.keys().filter(|key| key.starts_with("BatchCountKey.")).count() > 50);
    assert_same(&world.left(&mut connection).await, &expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_by_mistake_leave_what_one_leaves_and_each_batch_once() {
    let mut world = World::new(15).await;
    world.grow(200).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let environment = following(redis.addr(), &world);
    let (mut one, mut other) = tokio::join!(Process::start(&environment), Process::start(&environment));
    for _ in 0..10 {
        world.grow_collected(10, &mut connection).await;
        followed(&mut connection, &world).await;
    }
    let mut conflicts = 0;
    for process in [&one, &other] {
        conflicts += metric(process.metrics, "chain_conflicts_total").await.expect("a chain is followed");
    }
    assert!(conflicts > 0, "they never met");
    stop(&mut one).await;
    stop(&mut other).await;
    let queue: Vec<String> = query(&mut connection, &["LRANGE", "finalizerQueue", "0", "-1"]).await;
    let each: BTreeSet<[String; 3]> = queue
        .iter()
        .map(|job| {
            let job: Value = serde_json::from_str(job).expect("JSON");
            ["DataMarketAddress", "EpochID", "BatchID"].map(|name| job[name].to_string())
        })
        .collect();
    assert!(queue.len() > 50 && each.len() == queue.len(), "{} of {} once", each.len(), queue.len());
    assert_same(&world.left(&mut connection).await, &undisturbed(&world).await);
}

/// The value of a metric, with its labels as they are written.
async fn metric(address: SocketAddr, name: &str) -> Option<u64> {
    let text = common::get(address, "/metrics").await.1;
    text.lines().find_map(|line| {
        line.strip_prefix("state_tracker_")?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_the_chain_released_is_current_before_a_producer_has_written_of_it() {
    let mut world = World::new(12).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let connection = redis.connection().await.expect("a connection");
    let mut environment = following(redis.addr(), &world);
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
async fn producers_win_over_the_chain_in_the_dataset_of_the_current_epoch() {
    let mut world = World::new(15).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let connection = redis.connection().await.expect("a connection");
    let both = service(&following(redis.addr(), &world)).await;
    let mut environment = following(redis.addr(), &world);
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
    let mut environment = following(redis.addr(), &world);
    environment.insert("STATE_TRACKER__COLLECTOR__REQUEST_TIMEOUT".to_owned(), "100ms".to_owned());
    environment.insert("STATE_TRACKER__COLLECTOR__EVENTS_TIMEOUT".to_owned(), "1s".to_owned());
    let service = service(&environment).await;
    let address = service.http().metrics_address();
    wait_until("it is ready", SOON, async || common::get(address, "/readyz").await.0 == 200).await;
    world.anvil.pause().expect("paused");
    wait_until("the chain is the reason that it is not", SOON, async || {
        let (status, text) = common::get(address, "/readyz?verbose").await;
        let is_chain = |line: &str| line.starts_with("not ok:") && line.contains("collector: blocks");
        status == 503 && text.lines().any(is_chain)
    })
    .await;
    let fetcher = common::actor(&service, "collector/block-fetcher");
    assert_eq!(fetcher.generation, 1, "a node that is away is no crash");
    world.anvil.resume().expect("resumed");
    wait_until("it is ready again", SOON, async || common::get(address, "/readyz").await.0 == 200).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_too_deep_reorganisation_stops_neither_the_process_nor_its_datasets() {
    let mut world = World::new(14).await;
    world.grow(30).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = following(redis.addr(), &world);
    for (name, value) in [
        ("COLLECTOR__MAX_REORG_DEPTH", "5"),
        ("SUPERVISION__MAX_RESTARTS", "1"),
        ("SUPERVISION__BACKOFF_MAX", "100ms"),
        ("SUPERVISION__DEGRADED_RETRY_INTERVAL", "100ms"),
        // A mandatory actor would end the process now.
        ("SUPERVISION__GIVE_UP_TIMEOUT", "1s"),
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
        common::actor(&service, "collector/block-fetcher").generation > 20
    })
    .await;
    let crash = common::actor(&service, "collector/block-fetcher").last_crash.expect("a reason");
    assert!(crash.message.contains("collector.max_reorg_depth"), "{}", crash.message);
    let (status, text) = common::get(service.http().metrics_address(), "/readyz?verbose").await;
    assert!(status == 503 && text.contains("collector/block-fetcher"), "{text}");
    let crashed = |path: &String| common::actor(&service, path).generation > 1;
    let crashed: Vec<String> = common::workers(&service).into_iter().filter(crashed).collect();
    assert_eq!(crashed, ["collector/block-fetcher"], "nothing else fell");
    assert_same(&world.left(&mut connection).await, &before);
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
    // What the message says helps.
    assert!(crash.message.contains("delete the keys tracker:chain:*"), "{}", crash.message);
    for key in query::<Vec<String>>(&mut connection, &["KEYS", "tracker:chain:*"]).await {
        query::<()>(&mut connection, &["DEL", &key]).await;
    }
    followed(&mut connection, &world).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_is_tried_before_a_rollout_and_the_contract_behind_it() {
    let world = World::new(16).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = following(redis.addr(), &world);
    let check = async |environment: &BTreeMap<String, String>| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_state-tracker"));
        let output = command.args(["check", "--connect"]).env_clear().envs(environment).output().await;
        let output = output.expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, told) = check(&environment).await;
    assert!(
        code == Some(0) && told.starts_with("The configuration is valid and every server answers."),
        "{told}"
    );
    assert!(told.contains(&format!("is at block {}, chain id 31337", world.height().await)), "{told}");
    assert_eq!(told.matches("submissions are accepted for 20s").count(), 2, "{told}");

    environment
        .insert("RPC_NODES".to_owned(), format!("{},http://user:hunter2@127.0.0.1:1", world.anvil.url()));
    let (code, told) = check(&environment).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("chain id 31337"), "the other one is told of: {told}");
    assert!(told.contains("failed  node http://127.0.0.1:1: ") && !told.contains("hunter2"), "{told}");

    let other_chain = RpcProxy::start(world.anvil.addr()).await.expect("a proxy");
    other_chain.set(RpcFault::ChainId(1));
    let both = format!("{},{}", world.anvil.url(), other_chain.url());
    environment.insert("RPC_NODES".to_owned(), both);
    let (code, told) = check(&environment).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("of several chains, {1, 31337}"), "{told}");

    environment.insert("RPC_NODES".to_owned(), world.anvil.url());
    environment.insert("PROTOCOL_STATE_CONTRACT".to_owned(), world.contracts.markets[0].clone());
    let (code, told) = check(&environment).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("tracker.protocol"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_warns_of_a_window_that_leaves_no_time_for_its_batches() {
    let mut world = World::new(17).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = following(redis.addr(), &world);
    // Submissions of a minute are certainly there for 54 s. A window that no block closes needs 10 s more.
    for (name, value) in [("SUBMISSIONS_TTL", "1m"), ("CLOSE_GRACE", "4s")] {
        environment.insert(format!("STATE_TRACKER__COLLECTOR__{name}"), value.to_owned());
    }
    let check = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_state-tracker"));
        command.args(["check", "--connect"]).args(more).env_clear().envs(&environment);
        let output = command.output().await.expect("it runs");
        assert!(output.status.success(), "a warning is no failure");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (length, warning) in [
        (44, None),
        (45, Some("only 9s are left for the batches, and up to 10s are needed")),
        (54, Some("its epochs get no batches")),
        (600, Some("its epochs get no batches")),
    ] {
        world.set_window(length).await;
        let told = check(&[]).await;
        let verdict = told.lines().next().unwrap_or_default();
        match warning {
            None => {
                assert!(verdict.ends_with("every server answers.") && !told.contains("\nwarn "), "{told}")
            }
            Some(warning) => {
                assert!(verdict.ends_with("every server answers, with 2 warnings."), "{told}");
                let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("warn ")).collect();
                let is_whole =
                    |line: &&str| line.contains(warning) && line.contains("raise collector.submissions_ttl");
                assert!(lines.len() == 2 && lines.iter().all(is_whole), "{told}");
            }
        }
    }
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"]).await).expect("JSON");
    let connections = json["connections"].as_array().expect("a list");
    assert_eq!(
        connections.iter().filter(|connection| connection["warning"].is_string()).count(),
        2,
        "{json}"
    );
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
    assert!(errors.contains("tracker.protocol") && errors.contains("collector.nodes"), "{errors}");
    let errors = with("RPC_NODES", "ftp://secret@host").expect_err("no node");
    assert!(errors.contains("collector.nodes") && !errors.contains("secret"), "{errors}");
}
