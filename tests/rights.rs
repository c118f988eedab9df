//! The rights of the tracker's user in a real Redis: the printed access list is enough, and each part of it is needed.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, process::Output};

use common::{SOON, following, have_settled};
use domain::Address;
use redis::{Value, aio::MultiplexedConnection, cmd};
use state_tracker::{
    config::Config,
    rights::missing,
    service::{Service, connect},
};
use testkit::{MarketProducer, ProducerConfig, RedisServer, contents::query, wait_until, world::World};
use tokio::process::Command;

type Environment = BTreeMap<String, String>;

async fn run(environment: &Environment, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.args(arguments).env_clear().envs(environment).kill_on_drop(true);
    let output = tokio::time::timeout(SOON, command.output()).await.expect("it ends");
    let Output { status, stdout, stderr } = output.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// The words of the command that `doctor --acl` prints.
async fn printed(environment: &Environment) -> Vec<String> {
    let (code, command, notes) = run(environment, &["doctor", "--acl"]).await;
    assert_eq!((code, command.lines().count()), (Some(0), 1), "{command}{notes}");
    assert!(notes.contains("note: the user keeps its passwords"), "{notes}");
    command.split_whitespace().map(str::to_owned).collect()
}

/// Makes the user what these words say, and nothing else.
async fn set_user(connection: &mut MultiplexedConnection, words: &[String]) {
    let (head, rules) = words.split_at(3);
    let mut command = cmd(&head[0]);
    command.arg(&head[1..]).arg("reset").arg(rules).arg(">secret");
    command.exec_async(connection).await.expect("the server takes the list");
}

fn with(environment: &Environment, settings: &[(&str, &str)]) -> Environment {
    let own = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    environment.clone().into_iter().chain(own).collect()
}

fn config(environment: &Environment) -> Config {
    Config::load(None, environment.clone()).expect("an allowed configuration").config
}

/// A world whose addresses are configured in lower case, and a user in its Redis.
fn settings(redis: &RedisServer, world: &World) -> Environment {
    let environment = following(redis.addr(), world);
    with(
        &environment,
        &[
            ("DATA_MARKET_ADDRESSES", &world.contracts.markets[0]),
            ("REDIS_USERNAME", "tracker"),
            ("REDIS_PASSWORD", "secret"),
            ("ATTESTOR_QUEUE_PUSH_ENABLED", "true"),
            ("STATE_TRACKER__INTERVALS__PRUNE", "100ms"),
            ("STATE_TRACKER__COLLECTOR__CLEANUP_INTERVAL", "100ms"),
            ("STATE_TRACKER__INDEX__ENABLED", "true"),
            ("STATE_TRACKER__RETENTION__ACTIVE", "8days"),
        ],
    )
}

const PREFIX: &str = "STATE_TRACKER__OUTPUT__PREFIX";

/// One market with an index of its own names; two markets with indexes, a second namespace and two spellings; a shadow.
fn variants(redis: &RedisServer, world: &World) -> [Environment; 3] {
    let one = settings(redis, world);
    let two = [
        ("DATA_MARKET_ADDRESSES", world.contracts.markets.join(",")),
        (
            "STATE_TRACKER__TRACKER__PRIORITY_PROTOCOL",
            "0x21cb57c1f2352ad215a463dd867b838749cd3b8f".to_owned(),
        ),
        ("STATE_TRACKER__OUTPUT__SPELLING", "both".to_owned()),
        ("STATE_TRACKER__INDEX__NAMESPACED", "true".to_owned()),
    ];
    let two = with(&one, &two.each_ref().map(|(name, value)| (*name, value.as_str())));
    let shadow = with(&one, &[(PREFIX, "shadow")]);
    [one, two, shadow]
}

/// Whether Redis has denied something.
async fn is_denied(connection: &MultiplexedConnection) -> bool {
    !query::<Vec<Value>>(&mut connection.clone(), &["ACL", "LOG"]).await.is_empty()
}

/// Lets the whole service do everything that it does: passes, prunes, cleans, hands over, keeps an index.
async fn work(environment: &Environment, world: &mut World, redis: &RedisServer) {
    let mut connection = redis.connection().await.expect("a connection");
    let service: Service = common::service(environment).await;
    let [protocol, market] = [&world.contracts.protocol_state, &world.contracts.markets[0]];
    // One address in checksum form and the other as it is configured.
    let (protocol, market) = (Address::new(protocol).checksummed().to_owned(), market.clone());
    // Events of the common channel name no market.
    let config = ProducerConfig { market_channel: true, ..ProducerConfig::new(&protocol, &market) };
    let mut producer = MarketProducer::new(config, &redis.url()).expect("producers");
    let points = service.tree().failure_points();
    let passages = |point: &str| points.passages(point).0;
    let before = ["pruner::after_round", "cleaner::after_round", "indexer::after_commit"]
        .map(|point| (point, passages(point)));
    wait_until("the subscription stands", SOON, async || passages("listener::after_subscribe") > 0).await;
    producer.finish_epoch(23_000_001, 3).await.expect("produced");
    producer.open_epoch(23_000_002, testkit::producers::unix_now()).await.expect("opened");
    world.grow_collected(60, &mut connection).await;
    let height = world.height().await;
    let prefix = environment.get(PREFIX).map_or_else(String::new, |prefix| format!("{prefix}:"));
    wait_until("the chain's head is accepted", SOON, async || {
        let key = format!("{prefix}tracker:chain:checkpoint");
        let text: Option<String> = query(&mut connection.clone(), &["GET", &key]).await;
        text.is_some_and(|text| text.contains(&format!("\"number\":{height},")))
    })
    .await;
    wait_until("batches are handed over", SOON, async || {
        query::<u64>(&mut connection.clone(), &["EXISTS", &format!("{prefix}finalizerQueue")]).await == 1
    })
    .await;
    have_settled(&service, Address::new(&market).checksummed()).await;
    for (point, before) in before {
        wait_until(point, SOON, async || passages(point) > before || is_denied(&connection).await).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_access_list_is_enough_for_the_whole_service() {
    let mut world = World::new(51).await;
    for variant in 0..3 {
        let redis = RedisServer::start().await.expect("a Redis server");
        let mut admin = redis.connection().await.expect("a connection");
        let environment = variants(&redis, &world)[variant].clone();
        set_user(&mut admin, &printed(&environment).await).await;
        work(&environment, &mut world, &redis).await;
        let denied: Vec<Value> = query(&mut admin, &["ACL", "LOG"]).await;
        assert!(denied.is_empty(), "{variant}: {denied:#?}");
        let (_, report, error) = run(&environment, &["doctor", "--json"]).await;
        assert!(!report.contains("\"acl\"") && report.contains("\"findings\""), "{variant}: {report}{error}");
        let (code, shown, error) = run(&environment, &["check", "--connect"]).await;
        assert!(code == Some(0) && shown.contains("grants all rights"), "{variant}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_pattern_or_channel_that_is_taken_away_is_found() {
    let (world, redis) = (World::new(52).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    for environment in variants(&redis, &world) {
        let (words, config) = (printed(&environment).await, config(&environment));
        let store = connect(&config).expect("a connection");
        let markets = &config.tracker.markets;
        set_user(&mut admin, &words).await;
        assert_eq!(missing(&config, &store, markets).await.expect("asked"), [], "{words:?}");
        let is_pattern = |word: &&String| word.starts_with(['~', '%', '&']);
        let patterns: Vec<&String> = words.iter().filter(is_pattern).collect();
        assert!(patterns.len() > 5, "{words:?}");
        for taken in patterns {
            let rest: Vec<String> = words.iter().filter(|word| *word != taken).cloned().collect();
            set_user(&mut admin, &rest).await;
            let found = missing(&config, &store, markets).await.expect("asked");
            let name = taken.trim_start_matches("%R").trim_start_matches(['~', '&']);
            assert!(found.iter().any(|missing| missing.object.contains(name)), "{taken}: {found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_command_is_found() {
    let (world, redis) = (World::new(53).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    let environment = settings(&redis, &world);
    let (words, config) = (printed(&environment).await, config(&environment));
    let store = connect(&config).expect("a connection");
    for command in [
        "multi", "exec", "eval", "evalsha", "set", "hset", "hget", "del", "sadd", "srem", "zadd", "lpush",
        "incrby", "hsetnx", "unlink", "expire", "scan", "hscan", "smembers", "zcount", "type", "script",
        "publish", "sscan",
    ] {
        let denied = [format!("-{command}")];
        set_user(&mut admin, &[&words[..], &denied].concat()).await;
        let found = missing(&config, &store, &config.tracker.markets).await.expect("asked");
        let object = format!("command {}", command.to_uppercase());
        assert!(found.iter().any(|missing| missing.object == object), "{command}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_check_fail_for_a_user_that_may_only_read_or_not_reach_the_collectors_keys() {
    let (world, redis) = (World::new(54).await, RedisServer::start().await.expect("a Redis server"));
    let mut admin = redis.connection().await.expect("a connection");
    let environment = settings(&redis, &world);
    let words = printed(&environment).await;
    let own = |word: &&String| !word.contains("tracker:chain");
    let read_only =
        "ACL SETUSER tracker on ~* &* +@read +@connection +@pubsub -@dangerous".split(' ').map(str::to_owned);
    for (words, lacks) in [
        (words.iter().filter(own).cloned().collect(), "keys tracker:chain:*"),
        (read_only.collect::<Vec<_>>(), "command SET"),
    ] {
        set_user(&mut admin, &words).await;
        let (code, report, _) = run(&environment, &["doctor"]).await;
        assert!(code == Some(4) && report.contains(&format!("error   {lacks}\n")), "{code:?}: {report}");
        assert!(report.contains("state-tracker doctor --acl"), "{report}");
        let (code, said, _) = run(&environment, &["check", "--connect"]).await;
        assert!(code == Some(1) && said.contains(&format!(" {lacks}: the user may not")), "{code:?}: {said}");
    }
}
