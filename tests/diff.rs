//! `diff` against a real Redis: what it finds, how it explains a difference, and that it changes nothing.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::collections::BTreeMap;

use common::{MARKETS, SOON, environment, have_settled, key, producer, service, totals_reach};
use redis::cmd;
use serde_json::{Value, json};
use state_tracker::{
    config::Config,
    diff::{Row, diff},
};
use testkit::{MarketProducer, RedisServer, contents::dumps, producers::unix_now, wait_until};
use tokio::process::Command;

fn config(environment: &BTreeMap<String, String>) -> Config {
    Config::load(None, environment.clone()).expect("a valid configuration").config
}

fn row<'a>(rows: &'a [Row], dataset: &str, field: &str) -> &'a Row {
    let found = rows.iter().find(|row| row.dataset == dataset && row.field == field);
    found.unwrap_or_else(|| panic!("no {dataset} {field} in {rows:#?}"))
}

/// Two epochs, one closed, with foreign entries among the batches.
async fn produced(redis: &RedisServer) -> MarketProducer {
    let mut market = MarketProducer::new(producer(MARKETS[0]), &redis.url()).expect("producers");
    let now = unix_now();
    for epoch in [7, 8] {
        market.open_epoch(epoch, now - 20).await.expect("opened");
        market.submit(epoch, 3, now - 15).await.expect("submitted");
    }
    market.close_epoch(7, now - 10).await.expect("closed");
    market.validators(7, &["v-a", "v-b"], now - 9).await.expect("validators");
    market.local_batch(7, now - 8).await.expect("local batch");
    market
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_are_explained_and_faults_of_the_original_are_named() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let environment = environment(redis.addr());
    let market = produced(&redis).await;
    let service = service(&environment).await;
    totals_reach(&redis, MARKETS[0], &market.truth()).await;
    have_settled(&service, MARKETS[0]).await;
    let config = config(&environment);
    let rows = diff(&config, MARKETS[0]).await.expect("compared");
    let unexplained: Vec<&Row> = rows.iter().filter(|row| !row.explained).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    let total = row(&rows, "dashboard:summary", "submissions_total");
    assert_eq!((&total.computed, &total.stored, &total.why), (&json!(6), &json!(6), &None));
    let epochs = row(&rows, "dashboard:summary", "epochs_5m");
    assert_eq!((&epochs.computed, &epochs.original), (&json!(2), &json!(3)));
    let why = epochs.why_original.as_deref().expect("a reason");
    assert!(why.contains("3 entries in 24 h, 2 of them openings"), "{why}");
    let batches = row(&rows, "dashboard:summary", "batches_5m");
    assert_eq!((&batches.computed, &batches.original), (&json!(1), &json!(3)));
    assert!(
        batches
            .why_original
            .as_deref()
            .is_some_and(|why| why.contains("1 of them local or aggregated batches"))
    );
    let current = row(&rows, "metrics:current_epoch", "epoch_id");
    assert_eq!((&current.computed, &current.original), (&json!("8"), &json!("7")));
    assert!(current.why_original.as_deref().is_some_and(|why| why.contains("first member of epochs:active")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datasets_of_no_tracker_are_unexplained_and_nothing_is_changed() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut market = produced(&redis).await;
    let config = config(&environment(redis.addr()));
    let mut connection = redis.connection().await.expect("a connection");
    let before = dumps(&mut connection).await;
    let rows = diff(&config, MARKETS[0]).await.expect("compared");
    assert_eq!(dumps(&mut connection).await, before, "it only reads");
    let missing = row(&rows, "dashboard:summary", "epochs_total");
    assert_eq!((&missing.computed, &missing.stored, missing.explained), (&json!(2), &Value::Null, false));
    assert!(
        missing.why.as_deref().is_some_and(
            |why| why == "not stored: no tracker runs for this market, or it is connecting again"
        )
    );

    // Another program, an old one, and the original.
    let summary = key(MARKETS[0], "dashboard:summary");
    let put = async |value: Value| {
        let _: () = cmd("SET")
            .arg(&summary)
            .arg(value.to_string())
            .query_async(&mut connection.clone())
            .await
            .expect("set");
        let rows = diff(&config, MARKETS[0]).await.expect("compared");
        let row = row(&rows, "dashboard:summary", "epochs_total");
        (row.explained, row.why.clone().unwrap_or_default())
    };
    let now = unix_now();
    let (explained, why) = put(json!({ "epochs_total": 99, "updated_at": now })).await;
    assert!(!explained && why.starts_with("more than ledger and keys prove"), "{why}");
    let (explained, why) = put(json!({ "epochs_total": 1, "updated_at": now - 3600 })).await;
    assert!(
        !explained && why.starts_with("written 36") && why.contains("no tracker runs for this market"),
        "{why}"
    );
    let (explained, why) = put(json!({ "epochs_total": 0, "updated_at": now })).await;
    assert!(!explained && why.starts_with("the original's number"), "{why}");
    let (explained, why) = put(json!({ "epochs_total": 1, "updated_at": now })).await;
    assert!(!explained && why.contains("have no new entry since"), "{why}");
    let daily = json!({ "epochs_total": 2, "updated_at": now - 4 * 3600 });
    let _: () = cmd("SET")
        .arg(key(MARKETS[0], "stats:daily"))
        .arg(daily.to_string())
        .query_async(&mut connection.clone())
        .await
        .expect("set");
    let rows = diff(&config, MARKETS[0]).await.expect("compared");
    let batches = row(&rows, "stats:daily", "batches_total");
    assert!(
        !batches.explained && batches.why.as_deref().is_some_and(|why| why.contains("10805 s are allowed")),
        "{batches:?}"
    );

    // Values that were right when written, and changes since then.
    market.open_epoch(9, now).await.expect("opened");
    let (explained, why) = put(json!({ "epochs_total": 2, "updated_at": now - 5 })).await;
    assert!(explained && why.contains("the timelines have 1 new entries since"), "{why}");
    let (explained, why) = put(json!({ "epochs_total": 4, "updated_at": now - 5 })).await;
    assert!(!explained && why.starts_with("more than ledger and keys prove"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_the_original_are_explained_with_compat_go() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    environment.insert("STATE_TRACKER__TRACKER__COMPAT".to_owned(), "go".to_owned());
    let _market = produced(&redis).await;
    let service = service(&environment).await;
    let connection = redis.connection().await.expect("a connection");
    wait_until("the original's number is shown", SOON, async || {
        let summary = common::summary(&mut connection.clone(), MARKETS[0]).await;
        summary.is_some_and(|summary| summary["epochs_5m"] == 3)
    })
    .await;
    let rows = diff(&config(&environment), MARKETS[0]).await.expect("compared");
    let epochs = row(&rows, "dashboard:summary", "epochs_5m");
    assert!(epochs.explained && epochs.why.as_deref().is_some_and(|why| why.contains("compat = \"go\"")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_prints_a_table_or_json_and_exits_with_1_for_an_unexplained_difference() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let environment = environment(redis.addr());
    let market = produced(&redis).await;
    let run = async |arguments: &[&str]| {
        let command = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
            .env_clear()
            .envs(&environment)
            .arg("diff")
            .args(arguments)
            .output();
        let output = command.await.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, table, _) = run(&[MARKETS[0]]).await;
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("REDIS, unexplained: not stored: no tracker runs for this market"), "{table}");
    let service = service(&environment).await;
    totals_reach(&redis, MARKETS[0], &market.truth()).await;
    have_settled(&service, MARKETS[0]).await;
    let (code, table, _) = run(&[&MARKETS[0].to_lowercase()]).await;
    assert!(code == Some(0) && table.contains(" 0 differ without an explanation"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 200), "{table}");
    let (code, json, _) = run(&["--json", MARKETS[0]]).await;
    let rows: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    assert!(code == Some(0) && rows.iter().any(|row| row["field"] == "submissions_total"), "{json}");
    let (_, table, _) = run(&["--all"]).await;
    assert!(MARKETS.iter().all(|market| table.contains(&format!("market {market}\n"))), "{table}");
    let (_, json, _) = run(&["--all", "--json"]).await;
    let all: BTreeMap<String, Vec<Value>> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(all.keys().collect::<Vec<_>>(), MARKETS.iter().collect::<Vec<_>>());
    assert_eq!(run(&[]).await.0, Some(2), "without a market or --all");
    let (code, _, error) = run(&["0xunknown"]).await;
    assert!(
        code == Some(1) && error.contains("is no market of tracker.markets") && error.contains(MARKETS[1]),
        "{error}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_shadow_is_explained_after_a_pass_that_seals_and_after_redis_has_lost_its_data() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = environment(redis.addr());
    environment.insert("STATE_TRACKER__OUTPUT__PREFIX".to_owned(), "shadow".to_owned());
    // So that no pass comes by itself.
    environment.insert("STATE_TRACKER__INTERVALS__SUMMARY".to_owned(), "30m".to_owned());
    let service = service(&environment).await;
    have_settled(&service, MARKETS[0]).await;
    let mut market = MarketProducer::new(producer(MARKETS[0]), &redis.url()).expect("producers");
    let now = unix_now();
    market.open_epoch(7, now).await.expect("opened");
    market.submit(7, 3, now).await.expect("submitted");
    market.validators(7, &["v-a", "v-b", "v-c"], now).await.expect("validators");
    market.close_epoch(7, now).await.expect("closed");
    market.local_batch(7, now).await.expect("local batch");
    market.aggregated_batch(7, &["v-a"], now).await.expect("aggregated");
    // What the timelines have at the second of the writing counts as new.
    wait_until("the next second", SOON, async || unix_now() > now).await;
    let key = format!("shadow:{}", key(MARKETS[0], "dashboard:summary"));
    let shown = async |connection: &redis::aio::MultiplexedConnection| {
        let text: Option<String> =
            cmd("GET").arg(&key).query_async(&mut connection.clone()).await.expect("read");
        text.map(|text| serde_json::from_str::<Value>(&text).expect("JSON")["active_validators"].clone())
    };
    // A new subscription makes one pass. It counts validators of the epochs that it seals.
    let _: i64 =
        cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).query_async(&mut connection).await.expect("cut");
    wait_until("the pass has come", SOON, async || shown(&connection).await == Some(json!(3))).await;
    let config = config(&environment);
    let rows = diff(&config, MARKETS[0]).await.expect("compared");
    let validators = row(&rows, "dashboard:summary", "active_validators");
    assert_eq!((&validators.computed, validators.explained), (&json!(1), true), "{validators:?}");
    let unexplained: Vec<&Row> = rows.iter().filter(|row| !row.explained).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");

    let daily = format!("shadow:{}", common::key(MARKETS[0], "stats:daily"));
    let _: i64 = cmd("DEL").arg(&daily).query_async(&mut connection).await.expect("lost");
    let rows = diff(&config, MARKETS[0]).await.expect("compared");
    let lost = row(&rows, "stats:daily", "epochs_total");
    let why = lost.why.as_deref().unwrap_or_default();
    let is_young = why.starts_with("not written yet since the ledger was created ");
    assert!(lost.explained && is_young && why.ends_with("the tracker writes it every 1h"), "{lost:?}");
    let _: () = cmd("FLUSHALL").query_async(&mut connection).await.expect("lost");
    let rows = diff(&config, MARKETS[0]).await.expect("compared");
    let lost = row(&rows, "dashboard:summary", "epochs_total");
    let why = lost.why.as_deref().unwrap_or_default();
    assert!(
        !lost.explained && why.contains("Redis has no ledger of this market: it has lost its data"),
        "{lost:?}"
    );
    service.stop().await;
}
