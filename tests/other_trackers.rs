//! Keys of another tracker: under another prefix, of another chain or contract, of a market that is not configured, of the original.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::collections::BTreeMap;

use common::{MARKETS, PROTOCOL, SOON, following, run, with};
use redis::{aio::MultiplexedConnection, cmd};
use serde_json::Value;
use testkit::{RedisServer, contents::dumps, wait_until, world::World};

type Environment = BTreeMap<String, String>;

/// What is found with this check: severity, object, problem and remedy.
async fn found(environment: &Environment, check: &str) -> Vec<[String; 4]> {
    let (_, report, _) = run(environment, &["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let findings = report["findings"].as_array().expect("a list").iter();
    let text = |finding: &Value, name: &str| finding[name].as_str().expect("a text").to_owned();
    findings
        .filter(|finding| finding["check"] == check)
        .map(|finding| ["severity", "object", "problem", "remedy"].map(|name| text(finding, name)))
        .collect()
}

async fn send(connection: &mut MultiplexedConnection, words: &[&str]) {
    cmd(words[0]).arg(&words[1..]).exec_async(connection).await.expect("sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_state_of_another_chain_or_contract_is_an_error_before_the_service_starts() {
    let mut world = World::new(71).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let environment = following(redis.addr(), &world);
    let service = common::service(&environment).await;
    world.grow_collected(5, &mut connection).await;
    wait_until("the chain is followed", SOON, async || common::checkpoint(&mut connection).await.is_some())
        .await;
    service.stop().await;
    assert_eq!(found(&environment, "chain_identity").await, Vec::<[String; 4]>::new());
    let (code, said, _) = run(&environment, &["check", "--connect"]).await;
    assert_eq!(code, Some(0), "{said}");
    let identity: String =
        cmd("GET").arg("tracker:chain:identity").query_async(&mut connection).await.expect("an identity");
    let (id, contract) = identity.split_once(':').expect("a chain and a contract");
    let before = dumps(&mut connection).await;

    // The doctor asks no node, so the chain is known to it by its setting; `check` asks the nodes.
    let other = format!("999:{contract}");
    send(&mut connection, &["SET", "tracker:chain:identity", &other]).await;
    let configured = with(&environment, &[("STATE_TRACKER__COLLECTOR__CHAIN_ID", id)]);
    let all = found(&configured, "chain_identity").await;
    let [[severity, object, problem, remedy]] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((severity.as_str(), object.as_str()), ("error", "tracker:chain:identity"));
    assert!(problem.contains(&format!("it is of {other}, and this program follows {identity}")), "{problem}");
    assert!(
        remedy.contains("another redis.db or output.prefix") && remedy.contains("Only if no tracker follows"),
        "{remedy}"
    );
    let (code, said, _) = run(&environment, &["check", "--connect"]).await;
    let line = said.lines().find(|line| line.starts_with("failed")).unwrap_or_default();
    assert!(
        code == Some(1) && line.contains("chain state") && line.contains(&format!("it is of {other}")),
        "{said}"
    );

    let other = format!("{id}:0x00000000000000000000000000000000000000aa");
    send(&mut connection, &["SET", "tracker:chain:identity", &other]).await;
    let all = found(&environment, "chain_identity").await;
    assert!(all.len() == 1 && all[0][2].contains(&format!("it is of {other}")), "{all:?}");

    send(&mut connection, &["SET", "tracker:chain:identity", &identity]).await;
    send(&mut connection, &["SET", "tracker:chain:checkpoint", "none"]).await;
    let all = found(&environment, "chain_state").await;
    assert!(all.len() == 1 && all[0][0] == "error" && all[0][1] == "tracker:chain:checkpoint", "{all:?}");
    send(&mut connection, &["DEL", "tracker:chain:checkpoint"]).await;
    send(&mut connection, &["HSET", "tracker:chain:checkpoint", "a", "b"]).await;
    let all = found(&environment, "wrong_type").await;
    assert!(all.len() == 1 && all[0][2].starts_with("it is a hash, and must be a string"), "{all:?}");
    assert!(dumps(&mut connection).await.len() >= before.len(), "nothing was removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_tracker_with_another_prefix_or_of_another_market_are_noted() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = common::environment(redis.addr());
    environment.insert("DATA_MARKET_ADDRESSES".to_owned(), MARKETS[0].to_owned());
    let service = common::service(&with(&environment, &[("STATE_TRACKER__OUTPUT__PREFIX", "blue")])).await;
    common::have_settled(&service, MARKETS[0]).await;
    service.stop().await;
    let all = found(&environment, "other_tracker").await;
    let [[severity, object, problem, remedy]] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((severity.as_str(), object.as_str()), ("note", "keys with the prefix blue:"));
    let space = format!("{PROTOCOL}:{}", MARKETS[0]);
    assert!(
        problem.contains(&space) && problem.contains("this configuration's prefix has none"),
        "{problem}"
    );
    assert!(remedy.contains("set output.prefix to blue"), "{remedy}");
    let blue = with(&environment, &[("STATE_TRACKER__OUTPUT__PREFIX", "blue")]);
    assert_eq!(found(&blue, "other_tracker").await, Vec::<[String; 4]>::new());

    // The same prefix with another market.
    let other = with(&blue, &[("DATA_MARKET_ADDRESSES", MARKETS[1])]);
    let all = found(&other, "other_tracker").await;
    assert!(all.len() == 1 && all[0][2].contains(&space), "{all:?}");
    assert!(all[0][3].contains(&format!("`state-tracker ledger remove {}`", MARKETS[0])), "{all:?}");

    // The original's collector leaves batches, and no state.
    send(&mut connection, &["FLUSHALL"]).await;
    send(
        &mut connection,
        &["SET", &format!("BatchCountKey.{}.7", MARKETS[0].to_lowercase()), "1", "EX", "600"],
    )
    .await;
    assert_eq!(
        found(&environment, "other_tracker").await,
        Vec::<[String; 4]>::new(),
        "no collector is configured"
    );
    let collects = with(&environment, &[("RPC_NODES", "http://127.0.0.1:1")]);
    let all = found(&collects, "other_tracker").await;
    assert!(all.len() == 1 && all[0][2].contains("the original collector, or another one"), "{all:?}");
    assert!(all[0][3].contains("stop it before this collector starts"), "{all:?}");
}
