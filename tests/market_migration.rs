//! Markets that replace others: `state-tracker migrate-markets`, and the same at the start of the service.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use serde_json::Value;
use testkit::{RedisServer, contents::query, wait_until};

const OLD: &str = "0x3333333333333333333333333333333333333333";
const NEW: &str = "0x0c2e22fe7526faef28e7a58c84f8723defce200c";

async fn counted(redis: &RedisServer) {
    let mut connection = redis.connection().await.expect("a connection");
    for (key, value) in [
        ("TotalNodesCount".to_owned(), "10"),
        (format!("LastKnownDayKey.{OLD}"), "7"),
        (format!("SlotSubmissionsKey.{OLD}.7.3"), "12"),
        (format!("SlotSubmissionsKey.{OLD}.6.3"), "12"),
    ] {
        query::<()>(&mut connection, &["SET", &key, value]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_what_it_would_copy_copies_it_and_finds_nothing_to_do_then() {
    let redis = RedisServer::start().await.expect("a Redis server");
    counted(&redis).await;
    let environment = common::environment(redis.addr());
    let (code, _, errors) = common::run(&environment, &["migrate-markets"]).await;
    assert_ne!(code, Some(0));
    assert!(errors.contains("migration.mappings"), "{errors}");
    let mappings = format!("{OLD}:{NEW}");
    let environment = common::with(&environment, &[("MARKET_MIGRATION_MAPPINGS", &mappings)]);
    for (arguments, copied) in [(&["--dry-run"][..], 2), (&[], 2), (&[], 0)] {
        let arguments = [&["migrate-markets", "--json"], arguments].concat();
        let (code, text, errors) = common::run(&environment, &arguments).await;
        assert_eq!(code, Some(0), "{errors}");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let rows = read[0]["keys"].as_array().expect("rows");
        assert_eq!(rows.iter().filter_map(|row| row["copied"].as_u64()).sum::<u64>(), copied, "{text}");
        assert_eq!(read[0]["today"], 7);
    }
    let (_, text, _) = common::run(&environment, &["migrate-markets"]).await;
    assert!(text.contains("  SlotSubmissionsKey of day 7: 1 found, 0 copied\n"), "{text}");
    let mut connection = redis.connection().await.expect("a connection");
    let [now, before]: [Option<u64>; 2] = query(
        &mut connection,
        &["MGET", &format!("SlotSubmissionsKey.{NEW}.7.3"), &format!("SlotSubmissionsKey.{NEW}.6.3")],
    )
    .await;
    assert_eq!((now, before), (Some(12), None), "one day, as the original copies");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_migrates_before_it_starts_where_that_is_wanted() {
    let redis = RedisServer::start().await.expect("a Redis server");
    counted(&redis).await;
    let mappings = format!("{OLD}:{NEW}");
    let wanted = [("MARKET_MIGRATION_MAPPINGS", mappings.as_str()), ("ENABLE_MARKET_MIGRATION", "true")];
    let environment = common::with(&common::environment(redis.addr()), &wanted);
    let mut process = common::Process::start(&environment).await;
    process.wait_ready().await;
    let mut connection = redis.connection().await.expect("a connection");
    wait_until("the counters are copied", common::SOON, async || {
        let key = format!("SlotSubmissionsKey.{NEW}.7.3");
        query::<Option<u64>>(&mut connection.clone(), &["GET", &key]).await == Some(12)
    })
    .await;
    let last: u64 = query(&mut connection, &["GET", &format!("LastKnownDayKey.{NEW}")]).await;
    assert_eq!(last, 7);
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
}
