//! `state-tracker doctor` against real servers: for each kind of fault a Redis with it, and one without.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{
    collections::BTreeMap,
    process::Output,
    time::{Duration, Instant},
};

use common::{MARKETS, PROTOCOL, SOON, environment, key, producer, summary};
use redis::{FromRedisValue, aio::MultiplexedConnection};
use serde_json::{Value, json};
use testkit::{
    FaultProxy, MarketProducer, RedisServer, RedisServerBuilder,
    contents::{Dump, dumps},
    producers::unix_now,
    wait_until,
};
use tokio::process::Command;

const MARKET: &str = MARKETS[0];

/// Runs a command that is written as a line.
async fn run<T: FromRedisValue>(connection: &mut MultiplexedConnection, line: &str) -> T {
    let mut words = line.split_whitespace();
    let mut command = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| {
        command.arg(word);
    });
    command.query_async(connection).await.expect("the command is right")
}

/// A server with the recommended settings.
fn recommended() -> RedisServerBuilder {
    RedisServer::builder().append_only(true).arg("appendfsync", "no")
}

/// The environment of a doctor, and of a service, with one market.
fn settings(redis: &RedisServer) -> BTreeMap<String, String> {
    let mut settings = environment(redis.addr());
    settings.insert("DATA_MARKET_ADDRESSES".to_owned(), MARKET.to_owned());
    settings
}

async fn doctor(settings: &BTreeMap<String, String>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.arg("doctor").args(arguments).env_clear().envs(settings).kill_on_drop(true);
    tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The report for programs.
async fn report(settings: &BTreeMap<String, String>, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = doctor(settings, &[&["--json"], arguments].concat()).await;
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr))), output.status.code())
}

/// Severity, check and object of what was found, notes left out.
fn found(report: &Value) -> Vec<(String, String, String)> {
    let text = |finding: &Value, name: &str| finding[name].as_str().expect("a text").to_owned();
    let findings = report["findings"].as_array().into_iter().flatten();
    let all = findings.map(|finding| ["severity", "check", "object"].map(|name| text(finding, name)));
    all.filter(|[severity, ..]| severity != "note")
        .map(|[severity, check, object]| (severity, check, object))
        .collect()
}

fn expected(severity: &str, check: &str, object: impl Into<String>) -> (String, String, String) {
    (severity.to_owned(), check.to_owned(), object.into())
}

/// The names of the checks that have notes.
fn notes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("a list").iter();
    findings
        .filter(|finding| finding["severity"] == "note")
        .filter_map(|finding| finding["check"].as_str())
        .collect()
}

/// Epochs in all their states.
async fn produce(redis: &RedisServer) {
    let now = unix_now();
    let mut market = MarketProducer::new(producer(MARKET), &redis.url()).expect("producers");
    for epoch in 1..=3 {
        market.open_epoch(epoch, now - 30).await.expect("opened");
        market.submit(epoch, 5, now - 25).await.expect("submitted");
        market.validators(epoch, &["validator2"], now - 20).await.expect("heard");
    }
    market.close_epoch(1, now - 10).await.expect("closed");
    market.local_batch(1, now - 8).await.expect("batched");
    market.aggregated_batch(1, &["validator1"], now - 5).await.expect("aggregated");
    market.vpa(1, 2, true, now).await.expect("noted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_redis_with_a_tracker_at_work_has_no_finding_and_is_not_changed() {
    let redis = recommended().start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    produce(&redis).await;
    let service = common::service(&settings(&redis)).await;
    wait_until("every dataset is there", SOON, async || {
        let names = ["dashboard:summary", "metrics:current_epoch", "stats:daily"];
        let [summary, current, daily] = names.map(|name| key(MARKET, name));
        run::<u64>(&mut connection, &format!("EXISTS {summary} {current} {daily}")).await == 3
    })
    .await;
    let (report, code) = report(&settings(&redis), &[]).await;
    assert_eq!((&report["findings"], &report["worst"], code), (&json!([]), &Value::Null, Some(0)));
    assert_eq!(report["keys"]["complete"], true);
    let families: Vec<&str> = report["memory"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["family"].as_str())
        .collect();
    for family in ["P:M:epoch:*:state", "P:M:dashboard:summary", "{P:M}:tracker:open"] {
        assert!(families.contains(&family), "{family} is not in {families:?}");
    }
    let output = doctor(&settings(&redis), &[MARKET]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).ends_with("errors: 0, warnings: 0, notes: 0: all is well\n"),
        "{}",
        text(&output.stdout)
    );
    service.stop().await;

    let before = everything(&mut connection).await;
    assert_eq!(doctor(&settings(&redis), &[]).await.status.code(), Some(0));
    let after = everything(&mut connection).await;
    assert!(after == before, "it only reads; before: {:?}, after: {:?}", before.keys(), after.keys());
}

/// Every key that does not expire within seconds, with its content and the moment at which it expires.
async fn everything(connection: &mut MultiplexedConnection) -> BTreeMap<String, Dump> {
    let soon = (unix_now() + 120) * 1_000;
    let mut all = dumps(connection).await;
    all.retain(|_, (_, expires)| *expires < 0 || *expires > soon);
    all
}

/// Runs `lines` on an empty server, and runs the doctor on it.
async fn examined(redis: &RedisServer, lines: &[String]) -> (Value, Option<i32>) {
    let mut connection = redis.connection().await.expect("a connection");
    run::<()>(&mut connection, "FLUSHALL").await;
    for line in lines {
        run::<()>(&mut connection, line).await;
    }
    report(&settings(redis), &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_key_is_found_with_its_object() {
    let redis = recommended().start().await.expect("a Redis server");
    let lower = format!("{}:{}:epochs:active", PROTOCOL.to_lowercase(), MARKET.to_lowercase());
    let brackets = format!("{PROTOCOL}:[\"{MARKET}\"]:epochs:active");
    let [timeline, processed, summary] =
        ["metrics:epochs:timeline", "epoch:7:processed", "dashboard:summary"].map(|name| key(MARKET, name));
    let now = unix_now();
    let theirs = json!({ "updated_at": now });
    let old = json!({ "updated_at": now - 600, "unaccounted_epochs": 0 });
    for (line, severity, check, object) in [
        (format!("SADD {lower} 7"), "error", "spelling", &lower),
        (format!("SADD {brackets} 7"), "warning", "brackets", &brackets),
        (format!("SADD {processed} a"), "warning", "no_ttl", &processed),
        (format!("RPUSH {timeline} open:7"), "error", "wrong_type", &timeline),
        (format!("ZADD {timeline} {now} open:epoch"), "warning", "unreadable", &timeline),
        (format!("ZADD {timeline} {} open:7", now + 3_600), "warning", "future", &timeline),
        (format!("ZADD {timeline} {} open:7", now * 1_000), "warning", "future", &timeline),
        (format!("SET {summary} none EX 60"), "error", "unreadable", &summary),
        (format!("SET {summary} {theirs} EX 60"), "warning", "writer", &summary),
        (format!("SET {summary} {old} EX 60"), "warning", "stale", &summary),
    ] {
        let (report, code) = examined(&redis, std::slice::from_ref(&line)).await;
        assert_eq!(found(&report), [expected(severity, check, object)], "{line}: {report:#}");
        assert_eq!(code, Some(if severity == "error" { 4 } else { 3 }), "{line}");
    }
    let both = [format!("SADD {lower} 7"), format!("ZADD {timeline} {now} open:7")];
    let (report, _) = examined(&redis, &both).await;
    assert_eq!(
        found(&report),
        [expected("warning", "spelling", &lower)],
        "where there are others: {report:#}"
    );
    let (report, _) = examined(&redis, &["HSET P:M:epoch:7:state a b".to_owned()]).await;
    assert_eq!(found(&report), [expected("warning", "unknown_market", format!("market {MARKET}"))]);
    for (line, noted) in [
        ("HSET P:M:else a b".to_owned(), &["no_producer", "no_tracker"][..]),
        (format!("ZADD {timeline} 1 open:epoch"), &["no_tracker"]),
    ] {
        let (report, code) = examined(&redis, std::slice::from_ref(&line)).await;
        assert_eq!((found(&report), code), (vec![], Some(0)), "no concern of the tracker: {line}");
        assert_eq!(notes(&report), noted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_ledger_is_found() {
    let redis = recommended().start().await.expect("a Redis server");
    let [meta, sums, sealed, open] =
        ["meta", "sums", "sealed", "open"].map(|part| format!("{{{PROTOCOL}:{MARKET}}}:tracker:{part}"));
    let (timeline, now) = (key(MARKET, "metrics:epochs:timeline"), unix_now());
    let made = format!("HSET {meta} schema 2 born 1");
    for (lines, severity, check, object) in [
        (vec![format!("HSET {meta} schema 99")], "error", "ledger_schema", meta.clone()),
        (vec![format!("HSET {sums} entries 5")], "error", "ledger_torn", sealed),
        (vec![format!("SET {open} x")], "error", "wrong_type", open.clone()),
        (vec![made.clone(), format!("EXPIRE {meta} 600")], "error", "ledger_ttl", meta.clone()),
        (vec![format!("HSET {open} 7 none")], "warning", "unreadable", open),
        (
            vec![format!("{made} floor 500"), format!("ZADD {timeline} {now} open:7")],
            "warning",
            "ledger_floor",
            format!("market {MARKET}"),
        ),
    ] {
        let (report, _) = examined(&redis, &lines).await;
        assert_eq!(found(&report), [expected(severity, check, object)], "{lines:?}: {report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_setting_of_a_server_that_harms_is_found() {
    let master = recommended().start().await.expect("a Redis server");
    let replica = recommended().arg("replicaof", format!("127.0.0.1 {}", master.port()));
    let cases = [
        (recommended().arg("maxmemory", "100mb").arg("maxmemory-policy", "allkeys-lru"), "error", "eviction"),
        (
            recommended().arg("maxmemory", "100mb").arg("maxmemory-policy", "volatile-lru"),
            "warning",
            "eviction",
        ),
        (RedisServer::builder(), "warning", "persistence"),
        (recommended().arg("client-output-buffer-limit", "pubsub 0 0 0"), "warning", "output_buffer"),
        (recommended().arg("client-output-buffer-limit", "pubsub 4kb 4kb 1"), "warning", "output_buffer"),
        (replica, "error", "role"),
    ];
    for (builder, severity, check) in cases {
        let redis = builder.start().await.expect("a Redis server");
        let (report, _) = report(&settings(&redis), &[]).await;
        let checks: Vec<_> =
            found(&report).into_iter().map(|(severity, check, _)| (severity, check)).collect();
        assert_eq!(checks, [(severity.to_owned(), check.to_owned())], "{report:#}");
    }
    for (builder, check) in [
        (RedisServer::builder().arg("save", "3600 1"), "persistence"),
        (recommended().arg("timeout", "60"), "timeout"),
    ] {
        let redis = builder.start().await.expect("a Redis server");
        let (report, code) = report(&settings(&redis), &[]).await;
        assert!(notes(&report).contains(&check) && code == Some(0), "{check}: {report:#}");
    }
    let failing = recommended().arg("enable-protected-configs", "yes").start().await.expect("a Redis server");
    let mut connection = failing.connection().await.expect("a connection");
    // That server refuses writes.
    run::<()>(&mut connection, "CONFIG SET dir /proc").await;
    run::<()>(&mut connection, "BGSAVE").await;
    wait_until("the snapshot has failed", SOON, async || {
        run::<String>(&mut connection, "INFO persistence").await.contains("rdb_last_bgsave_status:err")
    })
    .await;
    let (report, code) = report(&settings(&failing), &[]).await;
    let checks: Vec<_> = found(&report).into_iter().map(|(_, check, _)| check).collect();
    assert_eq!((checks, code), (vec!["last_save".to_owned()], Some(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_trackers_user_may_not_ask_is_noted() {
    let redis = recommended().start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    produce(&redis).await;
    run::<()>(&mut connection, "SET other:1 x").await;
    let mut settings = settings(&redis);
    settings.insert("REDIS_USERNAME".to_owned(), "tracker".to_owned());
    settings.insert("REDIS_PASSWORD".to_owned(), "secret".to_owned());
    let list = text(&doctor(&settings, &["--acl"]).await.stdout);
    run::<()>(&mut connection, &list).await;
    run::<()>(&mut connection, "ACL SETUSER tracker >secret").await;
    let (report, code) = report(&settings, &[]).await;
    assert_eq!((found(&report), code), (vec![], Some(0)), "{report:#}");
    let unanswered = notes(&report).into_iter().filter(|check| *check == "unanswered").count();
    assert_eq!(unanswered, 4, "INFO, CONFIG, TIME and a key of another program: {report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistyped_protocol_or_market_is_found_by_the_keys_of_its_neighbour() {
    let redis = recommended().start().await.expect("a Redis server");
    produce(&redis).await;
    for (variable, wrong, right) in [
        ("PROTOCOL_STATE_CONTRACT", PROTOCOL.to_lowercase().replace("0xe8", "0xe9"), PROTOCOL),
        ("DATA_MARKET_ADDRESSES", MARKET.to_lowercase().replace("0x0c", "0x0d"), MARKET),
    ] {
        let mut settings = settings(&redis);
        settings.insert(variable.to_owned(), wrong);
        let (report, code) = report(&settings, &[]).await;
        let findings = found(&report);
        assert_eq!((findings.len(), code), (1, Some(4)), "{report:#}");
        assert_eq!(findings[0].1, "unknown_market");
        let remedy = report["findings"][0]["remedy"].as_str().expect("a text");
        assert!(remedy.contains(&format!("({variable}) to {right}")), "{remedy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producers_key_of_a_wrong_type_names_both_types_and_the_producer() {
    let redis = recommended().start().await.expect("a Redis server");
    let timeline = key(MARKET, "metrics:epochs:timeline");
    let (report, _) = examined(&redis, &[format!("RPUSH {timeline} open:7")]).await;
    let wrong =
        report["findings"].as_array().expect("a list").iter().find(|one| one["check"] == "wrong_type");
    let wrong = wrong.expect("found");
    assert_eq!(wrong["problem"], "it is a list, and must be a zset");
    let remedy = wrong["remedy"].as_str().expect("a text");
    assert!(remedy.starts_with("fix the producer: this key is written by event monitor"), "{remedy}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_says_what_it_watches_and_that_all_is_well() {
    let redis = recommended().start().await.expect("a Redis server");
    produce(&redis).await;
    let service = common::service(&settings(&redis)).await;
    common::have_settled(&service, MARKET).await;
    let output = doctor(&settings(&redis), &["--watch", "1s"]).await;
    service.stop().await;
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    let what = "dashboard:summary and metrics:current_epoch of 1 market for 1s";
    assert!(said.contains(&format!("watching {what}")), "{said}");
    assert!(shown.contains("all fresh, and written by one program"), "{shown}");
    assert!(shown.ends_with(": all is well\n") && output.status.code() == Some(0), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_sequences_in_keys_and_members_do_not_reach_the_terminal() {
    let redis = recommended().start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let evil = "\x1b]0;owned\x07\u{9b}2J\nforged";
    let add = async |key: String, member: &str| {
        let mut command = redis::cmd("ZADD");
        command.arg(key).arg(unix_now()).arg(member);
        command.exec_async(&mut connection.clone()).await.expect("added");
    };
    add(key(MARKET, "metrics:epochs:timeline"), &format!("open:{evil}")).await;
    add(key(MARKET, &format!("epoch:{evil}:processed")), "x").await;
    add(evil.to_owned(), "x").await;
    run::<()>(&mut connection, "PING").await;
    let shown = text(&doctor(&settings(&redis), &[]).await.stdout);
    assert!(shown.contains("\\u{1b}]0;owned") && shown.contains("forged"), "{shown}");
    assert!(shown.chars().all(|character| character == '\n' || !character.is_control()), "{shown:?}");
    assert!(!shown.lines().any(|line| line.starts_with("forged")), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_beside_a_tracker_is_found() {
    let redis = recommended().start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut settings = settings(&redis);
    // So that the tracker does not overwrite what the other program writes meanwhile.
    settings.insert("STATE_TRACKER__INTERVALS__SUMMARY".to_owned(), "1h".to_owned());
    let service = common::service(&settings).await;
    common::have_settled(&service, MARKET).await;
    let theirs = json!({ "updated_at": unix_now() });
    let put = format!("SET {} {theirs} EX 60", key(MARKET, "dashboard:summary"));
    run::<()>(&mut connection, &put).await;
    let (seen, code) = report(&settings, &[]).await;
    assert_eq!(found(&seen), [expected("warning", "writer", key(MARKET, "dashboard:summary"))]);
    assert_eq!(code, Some(3));

    // While it is watched, the summary is first the tracker's and then the other one's. It is watched again when it
    // was the other one's too late.
    let proxy = FaultProxy::start(redis.addr()).await.expect("a proxy");
    let mut watching = settings.clone();
    watching.insert("REDIS_PORT".to_owned(), proxy.addr().port().to_string());
    wait_until("both are seen", SOON, async || {
        let again = common::service(&settings).await;
        common::have_settled(&again, MARKET).await;
        let ours = summary(&mut connection, MARKET).await.expect("a summary");
        assert!(ours["unaccounted_epochs"].is_u64(), "the tracker's: {ours}");
        let looks = || proxy.counts().sent("MEMORY");
        let (before, watching) = (looks(), watching.clone());
        let watched = tokio::spawn(async move { report(&watching, &["--watch", "2s"]).await });
        wait_until("the first look is over", SOON, async || looks() > before).await;
        run::<()>(&mut connection, &put).await;
        let (seen, code) = watched.await.expect("it ended");
        again.stop().await;
        let errors: Vec<_> = found(&seen).into_iter().filter(|(severity, ..)| severity == "error").collect();
        errors == [expected("error", "writer", key(MARKET, "dashboard:summary"))] && code == Some(4)
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_still_loading_is_found_and_what_it_did_say_is_reported() {
    // It takes a twentieth of a second over each key, and looks up after every second one.
    let directives = [
        ("save", "3600 1"),
        ("rdbcompression", "no"),
        ("key-load-delay", "50000"),
        ("loading-process-events-interval-bytes", "1024"),
        ("maxmemory", "100mb"),
        ("maxmemory-policy", "allkeys-lru"),
    ];
    let redis =
        directives.into_iter().fold(RedisServer::builder(), |redis, (name, value)| redis.arg(name, value));
    let mut redis = redis.start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    for number in 0..60 {
        run::<()>(&mut connection, &format!("SET key:{number} {}", "x".repeat(500))).await;
    }
    redis.stop().await.expect("stopped");
    let settings = settings(&redis);
    let restarted = tokio::spawn(async move { redis.restart().await.map(|()| redis) });
    let mut seen = (Value::Null, None);
    wait_until("it is found to be loading", SOON, async || {
        let output = doctor(&settings, &["--json"]).await;
        seen = (serde_json::from_slice(&output.stdout).unwrap_or_default(), output.status.code());
        found(&seen.0).iter().any(|(_, check, _)| check == "loading")
    })
    .await;
    let mut checks: Vec<_> = found(&seen.0).into_iter().map(|(_, check, _)| check).collect();
    checks.sort();
    assert_eq!(
        (checks, seen.1),
        (vec!["eviction".to_owned(), "loading".to_owned(), "redis".to_owned()], Some(4))
    );
    restarted.await.expect("it ended").expect("it came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_json_array_of_markets_is_found_in_the_environment() {
    let redis = recommended().start().await.expect("a Redis server");
    let mut settings = settings(&redis);
    settings.insert("DATA_MARKET_ADDRESSES".to_owned(), format!("[\"{MARKET}\"]"));
    let (report, _) = report(&settings, &[]).await;
    assert_eq!(found(&report), [expected("warning", "brackets", "DATA_MARKET_ADDRESSES")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_looked_at_while_others_are_served_and_a_short_time_makes_a_sample() {
    let redis = recommended().start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let fill = "for number = 1, 100000 do redis.call('SET', 'session:' .. number, 'x') end";
    redis::cmd("EVAL").arg(fill).arg(0).query_async::<()>(&mut connection).await.expect("filled");
    let settings = settings(&redis);
    let examined = tokio::spawn({
        let settings = settings.clone();
        async move { report(&settings, &[]).await.0 }
    });
    let (mut served, mut slowest) = (0, Duration::ZERO);
    while !examined.is_finished() {
        let asked = Instant::now();
        run::<String>(&mut connection, "PING").await;
        slowest = slowest.max(asked.elapsed());
        served += 1;
    }
    let whole = examined.await.expect("it ended");
    assert_eq!((&whole["keys"]["complete"], &whole["keys"]["examined"]), (&json!(true), &json!(100_000)));
    assert_eq!(
        (&whole["memory"][0]["family"], &whole["memory"][0]["keys"]),
        (&json!("session:*"), &json!(100_000))
    );
    assert!(served > 200, "served {served} times, at the slowest in {slowest:?}");
    let (sample, _) = report(&settings, &["--for", "0s"]).await;
    let examined = sample["keys"]["examined"].as_u64().expect("a number");
    assert!((1..5_000).contains(&examined) && sample["keys"]["complete"] == false, "{}", sample["keys"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_and_a_market_that_is_not_configured_are_no_findings() {
    let redis = recommended().start().await.expect("a Redis server");
    let mut settings = settings(&redis);
    let output = doctor(&settings, &["0xother"]).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    assert!(text(&output.stderr).contains(MARKET), "it names those that are: {}", text(&output.stderr));
    settings.insert("REDIS_PORT".to_owned(), common::free_port().await.to_string());
    let output = doctor(&settings, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("unavailable"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_state_index_is_found() {
    let redis = recommended().start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    run::<()>(&mut connection, "ZADD metrics:epochs:by_time 1 7").await;
    let mut settings = settings(&redis);
    settings.insert("STATE_TRACKER__INDEX__ENABLED".to_owned(), "true".to_owned());
    settings.insert("STATE_TRACKER__INDEX__MAX_EPOCHS".to_owned(), "1".to_owned());
    let (report, _) = report(&settings, &[]).await;
    assert!(found(&report).iter().any(|(_, check, _)| check == "index_full"), "{report}");
}
