//! The inputs of the original's datasets, beyond its recorded outputs (`actors/tests/original.rs`).

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use common::{DAY, NOW, Scene, key, lower};
use domain::tracker::EventsSinceStart;
use serde_json::Value;
use store_tracker::{Reach, Scope};

/// The summary and the current epoch as the original has them, after a pass of the ledger.
async fn original(scene: &Scene) -> (Value, Value) {
    let tracker = common::Tracker::with(
        common::settings(scene.redis.addr()),
        &common::PROTOCOL.to_lowercase(),
        &common::MARKET.to_lowercase(),
    );
    let mut session =
        tracker.store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    let scope = Scope::summary(Reach::Everything);
    let mut pass = tracker.market.discover(&mut session, NOW as f64, scope).await.expect("read");
    tracker.market.examine(&mut session, &mut pass).await.expect("read");
    let heard = EventsSinceStart { began: NOW as f64 - DAY, ..EventsSinceStart::default() };
    let before = session.round_trips();
    let (datasets, faults) =
        tracker.market.original(&mut session, NOW as f64, &heard, 0).await.expect("read");
    assert_eq!((session.round_trips() - before <= 2, faults), (true, Vec::new()));
    let (current, _) = tracker.market.original_current(&mut session, NOW as f64).await.expect("read");
    let json = |text: &str| serde_json::from_str(text).expect("JSON");
    (json(&datasets.summary), current.map_or(Value::Null, |text| json(&text)))
}

#[tokio::test]
async fn priorities_have_their_fields_where_they_have_a_source() {
    let mut scene = Scene::new().await;
    let (summary, _) = original(&scene).await;
    assert!(summary.get("vpa_submissions_success").is_none(), "{summary}");
    let fields = [
        "total_priority_assignments",
        "5",
        "total_submissions_success",
        "3",
        "total_submissions_failed",
        "1",
    ];
    let key = key("vpa:stats");
    scene.run::<()>("HSET", &[&[key.as_str()], &fields[..]].concat()).await;
    let (summary, _) = original(&scene).await;
    assert_eq!(
        (&summary["vpa_priority_assignments_total"], &summary["vpa_submissions_failed"]),
        (&5.into(), &1.into())
    );
    assert_eq!(summary["vpa_submission_success_rate"], 75);
    assert!(summary.get("vpa_no_priority_count").is_none());
}

#[tokio::test]
async fn a_market_whose_producers_write_the_address_as_configured_has_its_numbers() {
    let mut scene = Scene::new().await;
    scene.zadd(&lower("metrics:epochs:timeline"), NOW - 10, "open:7").await;
    scene.zadd(&lower("metrics:epochs:timeline"), NOW - 20, "close:6").await;
    scene.zadd(&lower("epoch:7:submissions:ids"), NOW - 5, "a").await;
    scene.run::<()>("SADD", &[lower("epochs:active"), "7".to_owned()]).await;
    let (summary, current) = original(&scene).await;
    assert_eq!((&summary["epochs_1m"], &summary["processed_submissions"]), (&2.into(), &1.into()));
    assert_eq!((&current["epoch_id"], &current["submissions_received"]), (&"7".into(), &1.into()));
}
