//! `metrics:current_epoch`: which epoch it names, and how long it lives.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::collections::BTreeSet;

use std::time::Duration;

use common::{NOW, Scene, Tracker, finished_epoch, key, ledger};
use domain::tracker::{CurrentEpoch, Phase, current_epoch};
use store_redis::Fault;

async fn current(tracker: &Tracker, now: i64) -> (Option<CurrentEpoch>, Vec<Fault>) {
    let mut session = tracker.session().await;
    let (candidates, faults) =
        tracker.market.latest(&mut session, now as f64, &BTreeSet::new()).await.expect("read");
    (current_epoch(&candidates, now as f64), faults)
}

async fn shown(tracker: &Tracker, now: i64) -> CurrentEpoch {
    current(tracker, now).await.0.expect("there is one")
}

#[tokio::test]
async fn a_market_without_epochs_has_no_current_one() {
    let scene = Scene::new().await;
    assert_eq!(current(&scene.tracker(), NOW).await, (None, vec![]));
}

#[tokio::test]
async fn the_highest_open_epoch_is_the_current_one_through_all_its_phases() {
    let scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    for id in [998, 999, 1000] {
        market.open_epoch(id, NOW).await.expect("opened");
    }
    market.submit(1000, 6, NOW).await.expect("submitted");
    let open = shown(&tracker, NOW + 5).await;
    assert_eq!((open.epoch.as_str(), open.phase, open.submissions), ("1000", Phase::Submission, Some(6)));
    assert_eq!((open.time_remaining, open.window), (15, 20.0));
    assert_eq!(open.data_market.as_deref(), Some(common::MARKET));
    market.close_epoch(1000, NOW + 20).await.expect("closed");
    assert_eq!(shown(&tracker, NOW + 21).await.epoch.as_str(), "999", "the highest that is open");
    market.close_epoch(998, NOW + 20).await.expect("closed");
    market.close_epoch(999, NOW + 20).await.expect("closed");
    let closed = shown(&tracker, NOW + 21).await;
    assert_eq!(
        (closed.epoch.as_str(), closed.phase, closed.time_remaining),
        ("1000", Phase::Finalization, 0)
    );
    market.local_batch(1000, NOW + 22).await.expect("batched");
    assert_eq!(shown(&tracker, NOW + 23).await.phase, Phase::Aggregation);
    market.aggregated_batch(1000, &["validator1"], NOW + 24).await.expect("aggregated");
    assert_eq!(shown(&tracker, NOW + 25).await.phase, Phase::Complete);
}

#[tokio::test]
async fn the_close_of_epoch_2301_says_nothing_of_epoch_230() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    for member in ["open:230", "close:2301", "close:23", "open:23"] {
        scene.zadd(&key("metrics:epochs:timeline"), NOW, member).await;
    }
    let current = shown(&tracker, NOW).await;
    assert_eq!((current.epoch.as_str(), current.phase), ("230", Phase::Submission));
}

#[tokio::test]
async fn an_open_epoch_is_found_behind_any_number_of_newer_entries() {
    let scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(5_000, NOW - 500).await.expect("opened");
    tracker.full(NOW - 499).await;
    for id in 0..100 {
        finished_epoch(&mut market, id, 1, NOW - 400).await;
    }
    assert_eq!(shown(&tracker, NOW).await.epoch.as_str(), "5000");
}

#[tokio::test]
async fn the_remaining_time_counts_from_the_start_under_either_name() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 3, "open:1").await;
    let info = key("metrics:epoch:1:info");
    for (fields, left, window) in [
        (&["start", "1795342200", "duration", "20"][..], 20, 20.0),
        (&["timestamp", "1795342190", "duration", "20.5"], 10, 20.5),
        (&["start", "1795342190", "timestamp", "7"], 50, 60.0),
        (&["duration", "NaN", "start", "inf"], 57, 60.0),
        (&["start", "1", "duration", "20"], 0, 20.0),
        (&["start", "1795349999", "duration", "20"], 20, 20.0),
        (&["duration", "1e300"], 57, 60.0),
    ] {
        scene.del(std::slice::from_ref(&info)).await;
        scene.run::<()>("HSET", [&[info.as_str()], fields].concat()).await;
        let current = shown(&tracker, NOW).await;
        assert_eq!((current.time_remaining, current.window), (left, window), "{fields:?}");
    }
}

#[tokio::test]
async fn the_dataset_is_whole_and_expires_after_the_time_it_was_given() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(23_000_001, NOW).await.expect("opened");
    let current = shown(&tracker, NOW).await;
    let mut session = tracker.session().await;
    let now = NOW as f64 + 0.7;
    tracker
        .market
        .write_current_epoch(&mut session, &current.to_json(now).to_string(), Duration::from_secs(90))
        .await
        .expect("written");
    let ttl: i64 = scene.run("TTL", key("metrics:current_epoch")).await;
    assert!((89..=90).contains(&ttl), "{ttl}");
    let json: String = scene.run("GET", key("metrics:current_epoch")).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let expected = serde_json::json!({
        "epoch_id": "23000001", "phase": "submission", "time_remaining_seconds": 20, "window_duration": 20,
        "submissions_received": 0, "data_market": common::MARKET, "timestamp": NOW,
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn what_can_not_be_read_is_unknown_and_the_epoch_is_still_found() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(1, NOW).await.expect("opened");
    market.submit(1, 4, NOW).await.expect("submitted");
    tracker.full(NOW).await;
    for spoilt in ["metrics:epochs:timeline", "epoch:1:submissions:ids", "metrics:epoch:1:info"] {
        scene.spoil(&key(spoilt)).await;
        let (current, faults) = current(&tracker, NOW + 1).await;
        assert_eq!(current.expect("still found").epoch.as_str(), "1", "{spoilt}");
        assert!(faults.iter().any(|fault| fault.key == key(spoilt)), "{spoilt}");
    }
    let submissions = shown(&tracker, NOW + 1).await.submissions;
    assert_eq!(submissions, Some(4), "what the ledger knows, and not zero");
}

#[tokio::test]
async fn a_timeline_that_can_not_be_read_is_an_error_where_nothing_else_names_an_epoch() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.spoil(&key("metrics:epochs:timeline")).await;
    let mut session = tracker.session().await;
    let error =
        tracker.market.latest(&mut session, NOW as f64, &BTreeSet::new()).await.expect_err("nobody knows");
    assert!(error.to_string().contains(&key("metrics:epochs:timeline")), "{error}");
    assert_eq!(error.kind, store_redis::ErrorKind::WrongType);
}

#[tokio::test]
async fn a_ledger_that_can_not_be_read_is_an_error_where_nothing_else_names_an_epoch() {
    for part in ["open", "meta", "opened"] {
        let mut scene = Scene::new().await;
        let tracker = scene.tracker();
        scene.spoil(&ledger(part)).await;
        let mut session = tracker.session().await;
        let latest = tracker.market.latest(&mut session, NOW as f64, &BTreeSet::new()).await;
        let error = latest.expect_err("nobody knows");
        assert!(error.to_string().contains(&ledger(part)), "{error}");
        // Another source is enough.
        scene.zadd(&key("metrics:epochs:timeline"), NOW, "open:7").await;
        assert_eq!(shown(&tracker, NOW + 1).await.epoch.as_str(), "7");
    }
}

#[tokio::test]
async fn the_epoch_that_was_opened_last_is_shown_though_no_key_tells_of_it_any_more_and_a_higher_one_is_sealed()
 {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let timeline = key("metrics:epochs:timeline");
    for (member, ago) in [("open:6", 5_000), ("close:6", 4_900), ("close:9", 3_000)] {
        scene.zadd(&timeline, NOW - ago, member).await;
    }
    let info = key("metrics:epoch:8:info");
    let [start, end] = [NOW - 4_000, NOW - 3_900].map(|at| at.to_string());
    scene.run::<()>("HSET", &[info.as_str(), "status", "closed", "start", &start, "end", &end]).await;
    scene.run::<()>("SADD", &[key("epochs:active").as_str(), "8"]).await;
    tracker.full(NOW).await;
    assert_eq!(tracker.full(NOW + 1_000).await.totals()[1], Some(3));
    assert_eq!(scene.run::<u64>("HLEN", ledger("open")).await, 0, "all are sealed");
    scene.del(&[info]).await;
    assert_eq!(shown(&tracker, NOW + 1_001).await.epoch.as_str(), "8");
}

#[tokio::test]
async fn an_opening_of_a_forgotten_epoch_that_was_written_days_late_makes_it_not_the_current_one() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 57, 2, NOW - 2_000).await;
    tracker.full(NOW).await;
    scene.run::<()>("HSET", &[&ledger("meta"), "floor", "50"]).await;
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 200_000, "open:26").await;
    assert_eq!(shown(&tracker, NOW + 1).await.epoch.as_str(), "57");
    // The ids started again.
    scene.zadd(&key("metrics:epochs:timeline"), NOW, "open:27").await;
    assert_eq!(shown(&tracker, NOW + 1).await.epoch.as_str(), "27");
}

#[tokio::test]
async fn a_close_of_a_low_epoch_that_was_written_days_late_makes_it_not_the_current_one() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 15, 2, NOW - 600_000).await;
    tracker.full(NOW - 590_000).await;
    // Of the newest one a batch is known, and no opening.
    scene.zadd(&key("metrics:batches:timeline"), NOW - 50_000, "aggregated:60").await;
    tracker.full(NOW - 49_000).await;
    tracker.full(NOW).await;
    assert_eq!(scene.run::<u64>("HLEN", ledger("sealed")).await, 2);
    // The pruner keeps 30 hours of them, and a day of the timeline.
    scene.del(&[ledger("opened"), key("metrics:epochs:timeline")]).await;
    assert_eq!(shown(&tracker, NOW + 1).await.epoch.as_str(), "60");
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 599_000, "close:15").await;
    assert_eq!(shown(&tracker, NOW + 2).await.epoch.as_str(), "60");
}
