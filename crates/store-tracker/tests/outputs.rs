//! Where datasets are written: under each configured spelling, and under a prefix.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{MARKET, NOW, PROTOCOL, Scene, Tracker, VALIDATOR, ledger, settings};
use domain::{Address, tracker::current_epoch};
use store_redis::Store;
use store_tracker::{MarketKeys, MarketStore, Output, Spelling};

/// A tracker of the market as it is configured in lower case.
fn tracker(scene: &Scene, output: &Output) -> Tracker {
    let (protocol, market) = (PROTOCOL.to_lowercase(), MARKET.to_lowercase());
    let keys = MarketKeys::new(&Address::new(&protocol), &Address::new(&market)).with_output(output);
    let store = Store::new(settings(scene.redis.addr())).expect("settings");
    Tracker { store, market: MarketStore::new(keys, VALIDATOR) }
}

/// Writes every dataset, gaps included.
async fn write_all(scene: &Scene, tracker: &Tracker) {
    let mut producer = scene.producer();
    producer.open_epoch(7, NOW - 100).await.expect("opened");
    producer.close_epoch(7, NOW - 50).await.expect("closed");
    let shown = tracker.full(NOW).await;
    assert_eq!((shown.totals()[1], shown.written.faults), (Some(1), vec![]));
    let mut session = tracker.session().await;
    let (candidates, _) =
        tracker.market.latest(&mut session, NOW as f64, &BTreeSet::new()).await.expect("read");
    let current = current_epoch(&candidates, NOW as f64).expect("there is one");
    let (now, ttl) = (NOW as f64, Duration::from_secs(90));
    tracker
        .market
        .write_current_epoch(&mut session, &current.to_json(now).to_string(), ttl)
        .await
        .expect("written");
}

/// The names of all outputs behind `P:M:`.
fn names() -> BTreeSet<String> {
    let hour = NOW - NOW % 3600;
    let hours = [hour, hour - 3600].map(|hour| format!("stats:hourly:{hour}"));
    let others = ["dashboard:summary", "stats:current", "stats:daily", "epochs:gaps"];
    let metrics = ["metrics:participation", "metrics:current_epoch"];
    others.into_iter().chain(metrics).map(str::to_owned).chain(hours).collect()
}

/// The outputs under `prefix`.
async fn written(scene: &mut Scene, prefix: &str) -> BTreeSet<String> {
    let keys: Vec<String> = scene.run("KEYS", "*").await;
    let behind = keys.iter().filter_map(|key| key.strip_prefix(prefix));
    behind.filter(|name| names().contains(*name)).map(str::to_owned).collect()
}

#[tokio::test]
async fn outputs_stand_under_each_spelling_that_is_asked_for_and_the_ledger_is_one() {
    let checksum = format!("{PROTOCOL}:{MARKET}:");
    let configured = checksum.to_lowercase();
    for (spelling, prefixes) in [
        (Spelling::Checksum, vec![&checksum]),
        (Spelling::Configured, vec![&configured]),
        (Spelling::Both, vec![&checksum, &configured]),
    ] {
        let mut scene = Scene::new().await;
        let tracker = tracker(&scene, &Output { prefix: String::new(), spelling });
        write_all(&scene, &tracker).await;
        for prefix in [&checksum, &configured] {
            let expected = if prefixes.contains(&prefix) { names() } else { BTreeSet::new() };
            assert_eq!(written(&mut scene, prefix).await, expected, "{spelling:?} under {prefix}");
        }
        for name in if spelling == Spelling::Both { names() } else { BTreeSet::new() } {
            let dumps: Vec<Vec<u8>> = [
                scene.run("DUMP", format!("{checksum}{name}")).await,
                scene.run("DUMP", format!("{configured}{name}")).await,
            ]
            .into();
            assert!(dumps[0] == dumps[1], "{name} differs between its two spellings");
        }
        let ledgers: Vec<String> = scene.run("KEYS", "*:tracker:meta").await;
        assert_eq!(ledgers, [ledger("meta")]);
        let again = tracker.full(NOW + 30).await;
        assert!(again.pass.last_summary.is_some(), "it reads back the summary that it has written");
    }
}

#[tokio::test]
async fn a_prefix_moves_every_output_and_the_ledger() {
    let mut scene = Scene::new().await;
    let output = Output { prefix: "shadow".to_owned(), spelling: Spelling::Both };
    let tracker = tracker(&scene, &output);
    write_all(&scene, &tracker).await;
    for prefix in [format!("{PROTOCOL}:{MARKET}:"), format!("{PROTOCOL}:{MARKET}:").to_lowercase()] {
        assert_eq!(written(&mut scene, &prefix).await, BTreeSet::new());
        assert_eq!(written(&mut scene, &format!("shadow:{prefix}")).await, names());
    }
    let ledgers: Vec<String> = scene.run("KEYS", "*:tracker:meta").await;
    assert_eq!(ledgers, [format!("shadow:{}", ledger("meta"))]);
}
