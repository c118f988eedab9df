//! Producers that write to another database, or under another spelling, than the configured one: `doctor`, `check --connect` and
//! `/readyz?verbose` say so.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::collections::BTreeMap;

use common::{MARKETS, PROTOCOL, Process, SOON, environment, producer, run, with};
use redis::cmd;
use serde_json::Value;
use testkit::{MarketProducer, RedisCluster, RedisServer, contents::dumps, producers::unix_now, wait_until};

type Environment = BTreeMap<String, String>;

/// The environment of one market in database 3.
fn in_database_3(redis: &RedisServer) -> Environment {
    with(&environment(redis.addr()), &[("DATA_MARKET_ADDRESSES", MARKETS[0]), ("REDIS_DB", "3")])
}

/// An open epoch of the market in this database.
async fn produce(redis: &RedisServer, database: u32) {
    let url = redis.url().replace("/0", &format!("/{database}"));
    let mut market = MarketProducer::new(producer(MARKETS[0]), &url).expect("producers");
    market.open_epoch(7, unix_now()).await.expect("opened");
}

/// The problem and the remedy of the finding with this check, and the exit code of the doctor.
async fn found(environment: &Environment, check: &str) -> (Option<i32>, Option<String>) {
    let (code, report, _) = run(environment, &["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let mut findings = report["findings"].as_array().expect("a list").iter();
    let finding = findings.find(|finding| finding["check"] == check);
    (code, finding.map(|finding| format!("{}; {}", finding["problem"], finding["remedy"])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_check_name_the_database_with_the_producers_keys() {
    let redis = RedisServer::start().await.expect("a Redis server");
    produce(&redis, 0).await;
    let mut connection = redis.connection().await.expect("a connection");
    // A key of an old test is in a third database.
    cmd("SELECT").arg(5).exec_async(&mut connection).await.expect("selected");
    let queue = common::key(MARKETS[0], "submissionQueue");
    cmd("RPUSH").arg(queue).arg("x").exec_async(&mut connection).await.expect("pushed");
    cmd("SELECT").arg(0).exec_async(&mut connection).await.expect("selected");
    let (before, wrong) = (dumps(&mut connection).await, in_database_3(&redis));
    let (code, finding) = found(&wrong, "other_database").await;
    let finding = finding.expect("a finding");
    assert!(
        code == Some(4) && finding.contains("database 3 has no key of this market's producers"),
        "{finding}"
    );
    assert!(finding.contains("database 0 has ") && finding.contains("(REDIS_DB)"), "{finding}");
    let (code, said, _) = run(&wrong, &["check", "--connect"]).await;
    assert!(code == Some(1) && said.contains("database 0 has ") && said.contains("(REDIS_DB)"), "{said}");
    assert_eq!(dumps(&mut connection).await, before, "they only read");

    let right = with(&wrong, &[("REDIS_DB", "0")]);
    assert_eq!(found(&right, "other_database").await.1, None);
    let (code, said, _) = run(&right, &["check", "--connect"]).await;
    assert!(code == Some(0) && !said.contains("of this market's producers"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_not_ask_gets_a_sentence_and_no_failure() {
    let redis = RedisServer::start().await.expect("a Redis server");
    produce(&redis, 0).await;
    let mut connection = redis.connection().await.expect("a connection");
    let user = [("REDIS_USERNAME", "tracker"), ("REDIS_PASSWORD", "secret")];
    let wrong = with(&in_database_3(&redis), &user);
    let (_, list, _) = run(&wrong, &["doctor", "--acl"]).await;
    let words: Vec<&str> = list.split_whitespace().collect();
    let mut set = cmd(words[0]);
    set.arg(&words[1..]).arg(">secret").exec_async(&mut connection).await.expect("set");
    // It may not run INFO: the databases of a server with default settings are tried.
    let (code, finding) = found(&wrong, "other_database").await;
    assert!(
        code == Some(4) && finding.is_some_and(|finding| finding.contains("database 0 has ")),
        "{code:?}"
    );

    cmd("SET").arg("x").arg(1).exec_async(&mut connection).await.expect("set");
    let denied = ["SETUSER", "tracker", "-select"];
    // Redis selects the configured database at the login, so that the user needs the right for any database but 0.
    let none = with(&wrong, &[("REDIS_DB", "0")]);
    cmd("FLUSHALL").exec_async(&mut connection).await.expect("flushed");
    cmd("ACL").arg(&denied).exec_async(&mut connection).await.expect("set");
    let (code, finding) = found(&none, "no_producer").await;
    let finding = finding.expect("a note");
    assert!(
        code.is_some_and(|code| code < 4) && finding.contains("Redis refused INFO"),
        "{code:?} {finding}"
    );
    let (code, said, _) = run(&none, &["check", "--connect"]).await;
    assert!(code == Some(0) && said.contains("Redis refused INFO"), "{code:?} {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_a_spelling_that_is_not_read_fail_the_check() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let space = format!("{}:{}", PROTOCOL.to_lowercase(), MARKETS[0].to_lowercase());
    let active = format!("{space}:epochs:active");
    cmd("SADD").arg(active).arg(7).exec_async(&mut connection).await.expect("added");
    let checksum = with(&in_database_3(&redis), &[("REDIS_DB", "0")]);
    let (code, said, _) = run(&checksum, &["check", "--connect"]).await;
    assert!(code == Some(1) && said.contains(&format!("{space} has 1 key")), "{said}");
    let lower = [("PROTOCOL_STATE_CONTRACT", PROTOCOL), ("DATA_MARKET_ADDRESSES", MARKETS[0])];
    let lower = lower.map(|(name, address)| (name, address.to_lowercase()));
    let lower = lower.each_ref().map(|(name, address)| (*name, address.as_str()));
    let (code, said, _) = run(&with(&checksum, &lower), &["check", "--connect"]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_another_spelling_are_found_by_a_user_with_the_least_rights() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let space = format!("{}:{}", PROTOCOL.to_lowercase(), MARKETS[0].to_lowercase());
    let active = format!("{space}:epochs:active");
    cmd("SADD").arg(&active).arg(7).exec_async(&mut connection).await.expect("added");
    let user = [("REDIS_USERNAME", "tracker"), ("REDIS_PASSWORD", "secret"), ("REDIS_DB", "0")];
    let checksum = with(&in_database_3(&redis), &user);
    let (_, list, _) = run(&checksum, &["doctor", "--acl"]).await;
    let words: Vec<&str> = list.split_whitespace().collect();
    let mut set = cmd(words[0]);
    set.arg(&words[1..]).arg(">secret").exec_async(&mut connection).await.expect("set");
    // It may not ask for that key, and `check` says which command finds it.
    let (code, said, _) = run(&checksum, &["check", "--connect"]).await;
    assert!(
        code == Some(0)
            && said.contains("may not ask for keys in other spellings: `state-tracker doctor` finds them"),
        "{said}"
    );
    let (code, finding) = found(&checksum, "spelling").await;
    assert!(
        code == Some(4) && finding.is_some_and(|finding| finding.contains("spell tracker.protocol")),
        "{code:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_has_one_database_and_its_keys_are_found() {
    let cluster = RedisCluster::start(3).await.expect("a cluster");
    let nodes: Vec<String> = cluster.addrs().iter().map(ToString::to_string).collect();
    let environment = with(
        &environment(cluster.addrs()[0]),
        &[("DATA_MARKET_ADDRESSES", MARKETS[0]), ("REDIS_CLUSTER", &nodes.join(","))],
    );
    let environment: Environment = environment
        .into_iter()
        .filter(|(name, _)| !["REDIS_HOST", "REDIS_PORT"].contains(&name.as_str()))
        .collect();
    let (code, said, _) = run(&environment, &["check", "--connect"]).await;
    assert!(code == Some(0) && said.contains("the cluster has no key of this market's producers"), "{said}");
    let mut market = MarketProducer::to_cluster(producer(MARKETS[0]), cluster.client());
    market.open_epoch(7, unix_now()).await.expect("opened");
    let (code, said, _) = run(&environment, &["check", "--connect"]).await;
    assert!(code == Some(0) && !said.contains("of this market's producers"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_notes_a_market_without_producers_until_their_first_key() {
    let redis = RedisServer::start().await.expect("a Redis server");
    produce(&redis, 0).await;
    let process = Process::start(&in_database_3(&redis)).await;
    process.wait_ready().await;
    let note = format!("note: market {}: the last pass found no key of its producers", MARKETS[0]);
    wait_until("the note is shown, and the service ready", SOON, async || {
        let (status, text) = process.get(process.metrics, "/readyz?verbose").await;
        status == 200 && text.contains(&note)
    })
    .await;
    produce(&redis, 3).await;
    wait_until("the note is gone", SOON, async || {
        let (status, text) = process.get(process.metrics, "/readyz?verbose").await;
        status == 200 && !text.contains("note:")
    })
    .await;
}
