//! `scripts/seed-market`, `docs/producers.md` and the program agree: a reader who follows the page and runs the script
//! sees what both promise.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeSet, process::Output};

use common::{MARKETS, PROTOCOL, SOON, environment, key, service};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use testkit::{
    RedisServer,
    contents::{dumps, query},
};
use tokio::{
    process::Command,
    time::{Duration, Instant, sleep},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/seed-market");
const PAGE: &str = include_str!("../docs/producers.md");

/// The rows of the page for which the script has no key, since their content is not known.
const NOT_WRITTEN: [&str; 2] = ["P:M:metrics:parts:timeline", "P:M:metrics:submissions:metadata:N"];

async fn seed(redis: &RedisServer) -> Output {
    let mut command = Command::new(SCRIPT);
    command.arg(format!("PROTOCOL={PROTOCOL}")).arg(format!("MARKET={}", MARKETS[0]));
    command.arg("REDIS_HOST=127.0.0.1").arg(format!("REDIS_PORT={}", redis.port()));
    command.env_remove("REDIS_DB").output().await.expect("the script runs")
}

/// The values that the script announces: dataset, field or member, value.
fn expectations(output: &Output) -> Vec<[String; 3]> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().filter_map(|line| line.strip_prefix("  P:M:"));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    lines.map(|line| words(line).try_into().expect("three words")).collect()
}

/// The value that a reader finds.
async fn shown(connection: &mut MultiplexedConnection, dataset: &str, field: &str) -> String {
    let key = key(MARKETS[0], dataset);
    match query::<String>(connection, &["TYPE", &key]).await.as_str() {
        "string" => {
            let json: String = query(connection, &["GET", &key]).await;
            let json: Value = serde_json::from_str(&json).expect("a dataset is JSON");
            json[field].as_str().map_or_else(|| json[field].to_string(), str::to_owned)
        }
        "hash" => query::<Option<String>>(connection, &["HGET", &key, field]).await.unwrap_or_default(),
        "zset" => {
            let score: Option<f64> = query(connection, &["ZSCORE", &key, field]).await;
            score.map_or("no member", |_| "member").to_owned()
        }
        other => format!("a key of type {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_written_by_hand_is_shown_as_the_script_says() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut expected = expectations(&seed(&redis).await);
    let summary: Vec<_> = expected.iter().filter(|line| line[0] == "dashboard:summary").cloned().collect();
    let hash = summary.into_iter().map(|[_, field, value]| ["stats:current".to_owned(), field, value]);
    expected.extend(hash.collect::<Vec<_>>());
    assert!(expected.len() > 50, "the script says too little: {expected:?}");

    let service = service(&environment(redis.addr())).await;
    let mut connection = redis.connection().await.expect("a connection");
    let deadline = Instant::now() + SOON;
    loop {
        let mut wrong = Vec::new();
        for [dataset, field, value] in &expected {
            let found = shown(&mut connection, dataset, field).await;
            if found != *value {
                wrong.push(format!("{dataset} {field}: {value} is expected, {found} is shown"));
            }
        }
        if wrong.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{wrong:#?}");
        sleep(Duration::from_millis(20)).await;
    }
    let (_, metrics) = common::get(service.http().metrics_address(), "/metrics").await;
    let errors: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("state_tracker_errors_total") && !line.ends_with(" 0"))
        .collect();
    assert_eq!(errors, [""; 0], "everything that the script writes can be read");
    service.stop().await;
}

/// A row of the page's table of keys.
struct Row {
    key: &'static str,
    kind: &'static str,
    ttl: Option<i64>,
}

impl Row {
    fn parse(line: &'static str) -> Option<Self> {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.strip_suffix('`')?;
        let (kind, ttl) = (cells.next()?, cells.next()?);
        let seconds = |text: &str| {
            let (number, unit) = text.split_once(' ')?;
            let unit = match unit {
                "h" => 3_600,
                "days" => 86_400,
                _ => return None,
            };
            Some(number.parse::<i64>().ok()? * unit)
        };
        let ttl = (ttl != "none").then(|| seconds(ttl).expect("a number of hours or days"));
        Some(Self { key, kind, ttl })
    }

    /// Whether it is the row of this key: `E` stands for digits, `V` for any name.
    fn has(&self, key: &str) -> bool {
        let same = |(pattern, segment): (&str, &str)| match pattern {
            "E" => segment.bytes().all(|byte| byte.is_ascii_digit()),
            "V" => !segment.is_empty(),
            literal => literal == segment,
        };
        let (patterns, segments) = (self.key.split(':'), key.split(':'));
        patterns.clone().count() == segments.clone().count() && patterns.zip(segments).all(same)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_of_the_script_is_in_the_page_with_its_type_and_ttl() {
    let (_, table) = PAGE.split_once("## Keys of a market\n").expect("the table of keys");
    let (table, _) = table.split_once("\n## ").expect("a page that goes on");
    let (table, _) = table.split_once("\n### ").expect("a section on the state");
    let rows: Vec<Row> = table.lines().filter_map(Row::parse).collect();
    let redis = RedisServer::start().await.expect("a Redis server");
    expectations(&seed(&redis).await);

    let mut connection = redis.connection().await.expect("a connection");
    let mut met = BTreeSet::from(NOT_WRITTEN);
    for name in query::<Vec<String>>(&mut connection, &["KEYS", "*"]).await {
        let key = name.replacen(&format!("{PROTOCOL}:{}", MARKETS[0]), "P:M", 1);
        let row = rows.iter().find(|row| row.has(&key)).unwrap_or_else(|| panic!("{key} is not in the page"));
        assert_eq!(query::<String>(&mut connection, &["TYPE", &name]).await, row.kind, "{key}");
        let ttl: i64 = query(&mut connection, &["TTL", &name]).await;
        match row.ttl {
            Some(expected) => assert!((expected - 60..=expected).contains(&ttl), "{key}: {ttl} s"),
            None => assert_eq!(ttl, -1, "{key}"),
        }
        met.insert(row.key);
    }
    assert_eq!(met, rows.iter().map(|row| row.key).collect(), "the script writes every row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_that_has_keys_is_refused_and_stays_as_it_is() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let ledger = format!("{{{PROTOCOL}:{}}}:tracker:meta", MARKETS[0]);
    for present in [key(MARKETS[0], "epochs:active"), ledger] {
        let _: () = query(&mut connection, &["FLUSHALL"]).await;
        let _: i64 = query(&mut connection, &["SADD", &present, "7"]).await;
        let before = dumps(&mut connection).await;
        let output = seed(&redis).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains("has keys already"), "{error}");
        assert_eq!(dumps(&mut connection).await, before);
    }
}
