//! `state-tracker ledger`, run as a process beside trackers: what it changes, and what it refuses.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
};

use common::{
    MARKETS, PROTOCOL, SOON, environment, free_port, key, producer, run, service, totals_reach, with,
};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use testkit::{
    MarketProducer, ProducerConfig, RedisServer,
    contents::{contents, query},
    producers::unix_now,
    wait_until,
};
use tokio::{io::AsyncWriteExt, process::Command};

type Environment = BTreeMap<String, String>;

/// Runs `ledger`; exit code, standard output, standard error.
async fn ledger(environment: &Environment, arguments: &[&str]) -> (Option<i32>, String, String) {
    run(environment, &[&["ledger"], arguments].concat()).await
}

/// Finished epochs and an open one.
async fn produce(redis: &RedisServer, market: &str) -> MarketProducer {
    let config = ProducerConfig { market_channel: true, ..producer(market) };
    let (mut market, now) = (MarketProducer::new(config, &redis.url()).expect("producers"), unix_now());
    for epoch in 7..12 {
        market.open_epoch(epoch, now - 30).await.expect("opened");
        market.submit(epoch, epoch, now - 25).await.expect("submitted");
        if epoch < 11 {
            market.close_epoch(epoch, now - 20).await.expect("closed");
            market.local_batch(epoch, now - 15).await.expect("batched");
            market.aggregated_batch(epoch, &["validator1"], now - 10).await.expect("aggregated");
        }
    }
    market
}

/// The keys of a market's ledger with their contents, but `meta`, which each pass writes.
async fn ledger_of(connection: &mut MultiplexedConnection, market: &str) -> testkit::contents::Contents {
    let space = format!("{{{PROTOCOL}:{market}}}:tracker:");
    contents(connection, |key| key.starts_with(&space) && !key.ends_with(":meta")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_is_exported_reset_and_imported_beside_a_running_tracker() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let environment = environment(redis.addr());
    let produced = produce(&redis, MARKETS[0]).await;
    let service = service(&environment).await;
    totals_reach(&redis, MARKETS[0], &produced.truth()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ledger.jsonl");
    let file = file.to_str().expect("UTF-8");
    // In another spelling than the configuration's.
    let bare = MARKETS[0].to_lowercase().replacen("0x", "", 1);
    let (code, out, notes) = ledger(&environment, &["export", &bare, "--to", file]).await;
    assert_eq!((code, out.as_str()), (Some(0), ""), "{notes}");
    assert!(notes.contains("in one transaction"), "{notes}");
    let (code, _, error) = ledger(&environment, &["export", &bare, "--to", file]).await;
    assert!(code == Some(1) && error.contains("name a file that does not exist"), "{error}");
    let (code, out, _) = ledger(&environment, &["export", MARKETS[0]]).await;
    assert_eq!(
        (code, out.lines().count()),
        (Some(0), fs::read_to_string(file).expect("text").lines().count())
    );

    let before = ledger_of(&mut connection, MARKETS[0]).await;
    let (code, _, error) = ledger(&environment, &["reset", MARKETS[0]]).await;
    assert!(
        code == Some(2) && error.contains("; repeat with --yes") && error.lines().count() == 1,
        "{error}"
    );
    let (code, _, error) = ledger(&environment, &["import", MARKETS[0], "--from", file]).await;
    assert!(code == Some(1) && error.contains("repeat with --replace"), "{error}");
    assert_eq!(ledger_of(&mut connection, MARKETS[0]).await, before);

    let (code, out, error) =
        ledger(&environment, &["import", &bare, "--from", file, "--replace", "--json"]).await;
    assert_eq!(code, Some(0), "{error}");
    let done: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(done["market"], MARKETS[0]);
    assert!(done["imported"].as_u64() > Some(20), "{done}");
    assert!(
        done["notes"][0].as_str().is_some_and(|note| note.contains("a tracker seems to serve this market"))
    );
    let (code, out, error) = ledger(&environment, &["reset", &bare, "--yes", "--json"]).await;
    assert_eq!(code, Some(0), "{error}");
    let done: Value = serde_json::from_str(&out).expect("JSON");
    let parts: BTreeSet<&str> =
        done["ledger"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(["open", "sealed", "sums", "meta"].iter().all(|part| parts.contains(part)), "{parts:?}");
    // What the producers' keys show is counted again, by the tracker that has run on.
    wait_until("the ledger is there again", SOON, async || {
        ledger_of(&mut connection.clone(), MARKETS[0]).await.keys().eq(before.keys())
    })
    .await;
    totals_reach(&redis, MARKETS[0], &produced.truth()).await;
    assert_eq!(service.stop().await.left_behind, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_export_of_this_market_is_refused_and_changes_nothing() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let environment = environment(redis.addr());
    let produced = produce(&redis, MARKETS[0]).await;
    let running = service(&environment).await;
    totals_reach(&redis, MARKETS[0], &produced.truth()).await;
    running.stop().await;
    let (_, export, _) = ledger(&environment, &["export", MARKETS[0]]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let whole = write("whole", &export);
    let half = write("half\u{1b}[2J", &export[..export.len() / 2]);
    let changed = write("changed", &export.replacen("\"sealed\"", "\"seal\u{202e}ed\"", 1));
    let absent = Path::new(&whole).with_extension("absent");
    let absent = absent.to_str().expect("UTF-8");
    let none = "0x0000000000000000000000000000000000000001";
    let before = contents(&mut connection, |_| true).await;
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (
            &["import", MARKETS[0], "--replace", "--from", &half],
            1,
            &["\\u{1b}", ": line ", "cut off", "nothing was written"],
        ),
        (
            &["import", MARKETS[0], "--replace", "--from", &changed],
            1,
            &["no part of a ledger", "nothing was written"],
        ),
        (&["import", MARKETS[0], "--replace", "--from", absent], 1, &["can't be read", "No such file"]),
        (&["import", MARKETS[0], "--replace"], 1, &["standard input is no usable export", "line 1: "]),
        (&["import", MARKETS[1], "--from", &whole], 1, &[MARKETS[0], "--other-market"]),
        (&["import", none, "--from", &whole], 1, &["is no market of tracker.markets"]),
        (&["export", none], 1, &["has no ledger", "check the market"]),
        (&["export", "M\u{1b}[2J"], 1, &["M\\u{1b}[2J", "has no ledger"]),
    ];
    for (arguments, expected, parts) in cases {
        let (code, out, error) = ledger(&environment, arguments).await;
        assert_eq!(
            (code, out.as_str(), error.lines().count()),
            (Some(expected), "", 1),
            "{arguments:?}: {error}"
        );
        assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?}: {error}");
        assert!(!error.trim_end().contains(char::is_control) && !error.contains('\u{202e}'), "{error:?}");
    }
    let (code, ..) = ledger(&environment, &["reset", none, "--yes"]).await;
    assert_eq!(code, Some(0), "there is nothing to delete");
    assert_eq!(contents(&mut connection, |_| true).await, before);
    let (code, _, error) =
        ledger(&environment, &["import", MARKETS[1], "--replace", "--other-market", "--from", &whole]).await;
    assert_eq!(code, Some(0), "{error}");
    let of = async |market| -> Vec<testkit::contents::Content> {
        ledger_of(&mut connection.clone(), market).await.into_values().collect()
    };
    assert_eq!(of(MARKETS[1]).await, of(MARKETS[0]).await);
    // A torn ledger is exported, and the exit code says that it is no backup.
    let sums = format!("{{{PROTOCOL}:{}}}:tracker:sums", MARKETS[0]);
    query::<()>(&mut connection, &["HINCRBY", &sums, "entries", "1"]).await;
    let (code, out, error) = ledger(&environment, &["export", MARKETS[0]]).await;
    assert!(code == Some(1) && !out.is_empty() && error.contains("the ledger was torn"), "{error}");
    let unreachable = with(&environment, &[("REDIS_PORT", &free_port().await.to_string())]);
    let (code, _, error) = ledger(&unreachable, &["export", MARKETS[0]]).await;
    assert!(code == Some(1) && error.contains("check that Redis runs"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_that_has_left_is_removed_with_ledger_datasets_and_index_and_no_other_key() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let (leaving, staying) = (MARKETS[0].to_lowercase(), MARKETS[1]);
    let all = with(
        &environment(redis.addr()),
        &[
            ("DATA_MARKET_ADDRESSES", &format!("{leaving},{staying}")),
            ("STATE_TRACKER__OUTPUT__SPELLING", "both"),
            ("STATE_TRACKER__INDEX__ENABLED", "true"),
            ("STATE_TRACKER__INDEX__NAMESPACED", "true"),
        ],
    );
    let running = service(&all).await;
    wait_until("the subscription stands", SOON, async || {
        running.tree().failure_points().passages("listener::after_subscribe").0 > 0
    })
    .await;
    let mut produced = Vec::new();
    for market in MARKETS {
        let market_events = produce(&redis, market).await;
        totals_reach(&redis, market, &market_events.truth()).await;
        produced.push(market_events);
    }
    wait_until("the index is complete", SOON, async || {
        let indexed = key(MARKETS[0], "completed:epochs");
        query::<u64>(&mut connection.clone(), &["SCARD", &indexed]).await == 4
    })
    .await;
    running.stop().await;
    // What the same producers write on a server without a tracker.
    let other = RedisServer::start().await.expect("a Redis server");
    produce(&other, MARKETS[0]).await;
    let theirs: BTreeSet<String> =
        contents(&mut other.connection().await.expect("one"), |_| true).await.into_keys().collect();
    let before = contents(&mut connection, |_| true).await;
    let is_leaving = |key: &str| key.to_lowercase().contains(&leaving);
    assert!(before.keys().filter(|key| is_leaving(key)).count() > theirs.len() + 30);

    let left = with(&all, &[("DATA_MARKET_ADDRESSES", staying)]);
    // By the other spelling than the one of the configuration.
    let (code, out, error) = ledger(&left, &["remove", MARKETS[0], "--yes", "--json"]).await;
    assert_eq!(code, Some(0), "{error}");
    let done: Value = serde_json::from_str(&out).expect("JSON");
    let after = contents(&mut connection, |_| true).await;
    let kept: BTreeSet<String> = after.keys().filter(|key| is_leaving(key)).cloned().collect();
    assert_eq!(kept, theirs, "of this market the producers' keys stay");
    assert!(
        done["index"].as_u64() >= Some(5) && done["datasets"].as_array().map(Vec::len) >= Some(10),
        "{done}"
    );
    for (key, content) in &after {
        assert_eq!(before.get(key), Some(content), "{key}");
    }
    assert!(before.keys().all(|key| is_leaving(key) || after.contains_key(key)), "the other market stays");
    let (_, out, _) = ledger(&left, &["remove", MARKETS[0], "--yes", "--json"]).await;
    let done: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&done["ledger"], &done["datasets"], &done["index"]), (&json!([]), &json!([]), &json!(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_rights_are_enough_for_a_configured_market_and_a_denial_of_another_says_so() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let own = [
        ("DATA_MARKET_ADDRESSES", MARKETS[0]),
        ("REDIS_USERNAME", "tracker"),
        ("REDIS_PASSWORD", "secret"),
        ("STATE_TRACKER__INDEX__ENABLED", "true"),
        ("STATE_TRACKER__INDEX__NAMESPACED", "true"),
    ];
    let environment = with(&environment(redis.addr()), &own);
    let (_, command, _) = run(&environment, &["doctor", "--acl"]).await;
    let words: Vec<&str> = command.split_whitespace().chain([">secret"]).collect();
    query::<()>(&mut connection, &words).await;
    let produced = produce(&redis, MARKETS[0]).await;
    let running = service(&environment).await;
    totals_reach(&redis, MARKETS[0], &produced.truth()).await;
    running.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ledger.jsonl");
    let file = file.to_str().expect("UTF-8");
    for arguments in [
        &["export", MARKETS[0], "--to", file][..],
        &["reset", MARKETS[0], "--yes"],
        &["import", MARKETS[0], "--from", file],
        &["import", MARKETS[0], "--from", file, "--replace"],
        &["remove", MARKETS[0], "--yes"],
    ] {
        let (code, _, error) = ledger(&environment, arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {error}");
    }
    let (code, _, error) = ledger(&environment, &["remove", MARKETS[1], "--yes"]).await;
    assert!(code == Some(1) && error.contains("the rights for this configuration do not include"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_a_reset_asks_and_only_yes_deletes() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let environment = environment(redis.addr());
    let sums = format!("{{{PROTOCOL}:{}}}:tracker:sums", MARKETS[0]);
    for (answer, code, left) in [("y\n", 1, 1), ("\n", 1, 1), ("yes\n", 0, 0)] {
        query::<()>(&mut connection, &["HSET", &sums, "epochs", "1"]).await;
        // `script` of util-linux gives the command a terminal.
        let line = format!("{} ledger reset {}", env!("CARGO_BIN_EXE_state-tracker"), MARKETS[0]);
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).envs(&environment).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(answer.as_bytes()).await.expect("typed");
        let output =
            tokio::time::timeout(SOON, child.wait_with_output()).await.expect("it ends").expect("it runs");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains(&format!("Delete the ledger of market {}?", MARKETS[0])), "{shown}");
        assert_eq!(output.status.code(), Some(code), "{shown}");
        assert_eq!(query::<u64>(&mut connection, &["EXISTS", &sums]).await, left, "{answer:?}: {shown}");
    }
}
