//! The pruner in a private tree, against a real server.

#![allow(clippy::expect_used)] // A test that can't continue panics.

mod common;

use std::time::{Duration, Instant};

use actors::{
    env::Wake,
    tracker::{MarketEdges, MarketRegistry, Pruner, TrackerServices, WakeEdges},
};
use common::timing;
use domain::{
    Address,
    tracker::{Entry, Moment},
};
use redis::aio::MultiplexedConnection;
use store_tracker::{MarketKeys, Retention};
use supervision::{Child, Clock, Limits, Mailbox, Name, Tree, TreeOptions};
use testkit::{RedisServer, producers::unix_now, wait_until};

const SOON: Duration = Duration::from_secs(30);
const MARKETS: [&str; 2] = ["one", "two"];

async fn pruning(redis: &RedisServer) -> Tree {
    pruning_active(redis, None).await
}

async fn pruning_active(redis: &RedisServer, active: Option<u64>) -> Tree {
    let clock = Clock::system();
    pruning_with(services(redis, &clock), clock, active).await
}

fn services(redis: &RedisServer, clock: &Clock) -> TrackerServices {
    common::tracker(&redis.url(), Duration::from_secs(5), timing(Duration::from_secs(1)), clock)
}

async fn pruning_with(services: TrackerServices, clock: Clock, active: Option<u64>) -> Tree {
    let nobody = Mailbox::<Wake>::new("nobody", Limits::default(), &clock);
    let nobody = WakeEdges::new(&Name::new("test"), &nobody, &nobody);
    let edges = |name: &&str| MarketEdges {
        keys: MarketKeys::new(&Address::new("P"), &Address::new(name)),
        listener: nobody.clone(),
        finder: nobody.clone(),
    };
    let registry = MarketRegistry::new(MARKETS.iter().map(edges).collect());
    let retention = Retention { timelines: 86_400, priorities: 86_400, sealed: 8 * 86_400, active };
    let make = move || Pruner::new(services.clone(), registry.clone(), Duration::from_millis(20), retention);
    let options = TreeOptions { clock, ..TreeOptions::default() };
    Tree::start(vec![Child::worker("pruner", make)], options).await.expect("a tree")
}

async fn fill(connection: &mut MultiplexedConnection, key: &str, members: u64) {
    let (old, young) = (unix_now() - 2 * 86_400, unix_now());
    for chunk in 0..members.div_ceil(1_000) {
        let mut command = redis::cmd("ZADD");
        command.arg(key);
        for member in 1_000 * chunk..(1_000 * (chunk + 1)).min(members) {
            command.arg(old).arg(format!("received:{member}"));
        }
        command.query_async::<()>(connection).await.expect("filled");
    }
    redis::cmd("ZADD").arg(key).arg(young).arg("young").query_async::<()>(connection).await.expect("filled");
}

async fn left(connection: &mut MultiplexedConnection, key: &str) -> u64 {
    redis::cmd("ZCARD").arg(key).query_async(connection).await.expect("counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_that_cannot_be_pruned_does_not_keep_others_from_being_pruned() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    for spoilt in ["P:one:metrics:epochs:timeline", "{P:one}:tracker:sealed"] {
        redis::cmd("SET").arg(spoilt).arg("spoilt").query_async::<()>(&mut connection).await.expect("spoilt");
    }
    let key = "P:two:metrics:submissions:timeline";
    fill(&mut connection, key, 10).await;
    let tree = pruning(&redis).await;
    wait_until("the other market is pruned", SOON, async || left(&mut connection, key).await == 1).await;
    assert_eq!(
        tree.health().iter().map(|actor| actor.restarts()).sum::<u64>(),
        0,
        "a key of another type is no crash"
    );
    assert_eq!(tree.stop(SOON).await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_is_served_during_a_long_run_of_the_pruner_and_a_kill_only_delays_the_run() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let key = "P:two:metrics:submissions:timeline";
    fill(&mut connection, key, 100_000).await;
    let tree = pruning(&redis).await;
    let (mut slowest, mut served, mut killed) = (Duration::ZERO, 0, false);
    let deadline = Instant::now() + 2 * SOON;
    loop {
        let asked = Instant::now();
        let members = left(&mut connection, key).await;
        slowest = slowest.max(asked.elapsed());
        served += 1;
        if members < 50_000 && !killed {
            killed = tree.kill("pruner");
        }
        if members == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "{members} members are left");
    }
    assert!(killed && served > 200, "served {served} times, at the slowest in {slowest:?}");
    assert_eq!(tree.stop(SOON).await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_epochs_leave_the_set_of_active_ones_where_that_is_configured() {
    const SEALED: u64 = 1_200;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let old = u64::try_from(unix_now()).expect("after 1970") - 2 * 86_400;
    let entry = Entry { seen: old, opened: Moment::At(old), ..Entry::default() }.encode();
    let (mut sealed, mut active) = (redis::cmd("HSET"), redis::cmd("SADD"));
    sealed.arg("{P:one}:tracker:sealed");
    active.arg("P:one:epochs:active").arg(SEALED);
    for epoch in 0..SEALED {
        sealed.arg(epoch).arg(&entry);
        active.arg(epoch);
    }
    sealed.query_async::<()>(&mut connection).await.expect("written");
    active.query_async::<()>(&mut connection).await.expect("written");
    let members = async || -> u64 {
        let mut ask = redis::cmd("SCARD");
        ask.arg("P:one:epochs:active")
            .query_async(&mut redis.connection().await.expect("a connection"))
            .await
            .expect("counted")
    };
    let key = "P:two:metrics:submissions:timeline";
    fill(&mut connection, key, 10).await;
    let tree = pruning(&redis).await;
    // The markets are pruned in this order.
    wait_until("both markets are pruned", SOON, async || left(&mut connection, key).await == 1).await;
    assert_eq!(members().await, SEALED + 1, "it is off by default");
    assert_eq!(tree.stop(SOON).await.left_behind, 0);
    let tree = pruning_active(&redis, Some(86_400)).await;
    wait_until("the unsealed epoch alone is left", SOON, async || members().await == 1).await;
    assert_eq!(tree.stop(SOON).await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timelines_of_many_validators_are_pruned_before_the_entries_that_name_them() {
    const VALIDATORS: u64 = 1_200;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let (old, young) = (unix_now() - 2 * 86_400, unix_now());
    let timeline = |validator: &str| format!("P:one:metrics:validator:{validator}:batches");
    let mut pipeline = redis::pipe();
    let names = (0..VALIDATORS).map(|number| format!("v:{number}"));
    for name in names.chain(["spoilt".to_owned()]) {
        pipeline.zadd("P:one:metrics:batches:timeline", format!("validator:{name}:7"), old).ignore();
        pipeline.zadd(timeline(&name), 7, old).zadd(timeline(&name), 8, young).ignore();
    }
    pipeline.zadd("P:one:metrics:batches:timeline", "validator:late:9", young).ignore();
    pipeline.zadd(timeline("late"), 7, old).ignore();
    pipeline.set(timeline("spoilt"), "of another type").ignore();
    pipeline.query_async::<()>(&mut connection).await.expect("written");
    let tree = pruning(&redis).await;
    wait_until("the batches timeline is pruned", SOON, async || {
        left(&mut connection, "P:one:metrics:batches:timeline").await == 1
    })
    .await;
    for number in 0..VALIDATORS {
        let key = timeline(&format!("v:{number}"));
        assert_eq!(left(&mut connection, &key).await, 1, "{key}: it is pruned before");
    }
    assert_eq!(left(&mut connection, &timeline("late")).await, 1, "only old entries name validators");
    assert_eq!(tree.health().iter().map(|actor| actor.restarts()).sum::<u64>(), 0);
    assert_eq!(tree.stop(SOON).await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_validators_than_one_run_prunes_are_reported() {
    const MOST: u64 = 10_000;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let old = unix_now() - 2 * 86_400;
    let timeline = |number: u64| format!("P:one:metrics:validator:{number}:batches");
    let mut pipeline = redis::pipe();
    for number in 0..=MOST {
        pipeline.zadd("P:one:metrics:batches:timeline", format!("validator:{number}:7"), old).ignore();
        pipeline.zadd(timeline(number), 7, old).ignore();
    }
    pipeline.query_async::<()>(&mut connection).await.expect("written");
    let clock = Clock::system();
    let services = services(&redis, &clock);
    let tree = pruning_with(services.clone(), clock, None).await;
    wait_until("the batches timeline is pruned", 2 * SOON, async || {
        left(&mut connection, "P:one:metrics:batches:timeline").await == 0
    })
    .await;
    // A timeline is gone with its last entry.
    let mut ask = redis::cmd("EXISTS");
    (0..=MOST).for_each(|number| {
        ask.arg(timeline(number));
    });
    assert_eq!(ask.query_async::<u64>(&mut connection).await.expect("counted"), 1);
    let metrics = services.services.telemetry.render().expect("metrics");
    let is_counted = |line: &str| line.contains("prune_timeline") && line.contains("kind=\"malformed\"");
    assert!(metrics.lines().any(|line| is_counted(line) && line.ends_with(" 1")), "{metrics}");
    assert_eq!(tree.stop(SOON).await.left_behind, 0);
}
