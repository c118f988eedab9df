//! The datasets over hours and days, participation, gaps, priorities, and late changes.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use common::{MARKET, NOW, PROTOCOL, Scene, epoch, finished_epoch, key, ledger, lower, settings, written};
use domain::{Address, tracker::Gap};
use serde_json::{Value, json};
use store_redis::Store;
use store_tracker::{MarketKeys, MarketStore, Retention, forget_sealed, prune};

const HOUR: i64 = 3600;
/// The start of the running hour.
const THIS: i64 = NOW - NOW % HOUR;

async fn json_at(scene: &mut Scene, name: &str) -> Value {
    let text: String = scene.run("GET", name).await;
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn hours_count_what_happened_in_them_and_a_boundary_belongs_to_the_later_one() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    // The whole life of each epoch is one second; the third one is still open.
    finished_epoch(&mut market, 1, 2, THIS - HOUR).await;
    finished_epoch(&mut market, 2, 3, THIS - 1).await;
    finished_epoch(&mut market, 3, 4, THIS).await;
    market.open_epoch(4, NOW - 5).await.expect("opened");
    market.submit(4, 5, NOW - 4).await.expect("submitted");
    finished_epoch(&mut market, 5, 100, THIS - HOUR - 1).await;
    // Counted from the unsealed entries, and then from the sealed ones.
    for pass in 0..2 {
        tracker.full(NOW + pass).await;
        let before = json_at(&mut scene, &key(&format!("stats:hourly:{}", THIS - HOUR))).await;
        let running = json_at(&mut scene, &key(&format!("stats:hourly:{THIS}"))).await;
        for (hour, epochs, batches, submissions, validators) in
            [(&before, 2, 4, 5, 2), (&running, 2, 2, 9, 2)]
        {
            let counts = json!([epochs, batches, submissions, validators]);
            let shown =
                json!([hour["epochs"], hour["batches"], hour["submissions"], hour["unique_validators"]]);
            assert_eq!(shown, counts, "pass {pass}: {hour}");
        }
        assert_eq!(before["hour_end"], running["hour_start"]);
        let day = json_at(&mut scene, &key("stats:daily")).await;
        assert_eq!(
            json!([day["epochs_total"], day["batches_total"], day["submissions_total"]]),
            json!([5, 8, 114])
        );
        let breakdown = day["hourly_breakdown"].as_array().expect("an array");
        let opened: Vec<u64> =
            breakdown.iter().map(|hour| hour["epochs"].as_u64().expect("a count")).collect();
        assert_eq!(
            (opened.len(), opened[22], opened[23], opened.iter().sum::<u64>()),
            (24, 2, 3, 5),
            "{day}"
        );
    }
    for (name, most) in [(key(&format!("stats:hourly:{THIS}")), 49 * HOUR), (key("stats:daily"), 24 * HOUR)] {
        let left: i64 = scene.run("TTL", name).await;
        assert!(left > most - 60 && left <= most, "{left}");
    }
}

#[tokio::test]
async fn participation_counts_own_batches_inclusions_and_aggregated_batches_of_a_day() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    for id in 1..=3 {
        finished_epoch(&mut market, id, 1, NOW - 60).await;
    }
    finished_epoch(&mut market, 9, 1, NOW - 24 * HOUR).await;
    market.open_epoch(4, NOW - 50).await.expect("opened");
    market.aggregated_batch(4, &["validator7"], NOW - 40).await.expect("aggregated");
    for pass in 0..2 {
        tracker.full(NOW + pass).await;
        let shown = json_at(&mut scene, &key("metrics:participation")).await;
        let counts =
            ["epochs_total_24h", "level1_batches_24h", "level2_inclusions_24h", "epochs_participated_24h"];
        assert_eq!(counts.map(|name| shown[name].as_u64()), [Some(4), Some(3), Some(3), Some(3)], "{shown}");
        assert_eq!((&shown["participation_rate"], &shown["inclusion_rate"]), (&json!(75), &json!(100)));
    }
}

#[tokio::test]
async fn gaps_are_listed_while_they_last() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(1, NOW - 50).await.expect("opened");
    assert_eq!(tracker.full(NOW - 49).await.summary["epoch_gaps_count"], 0);
    market.close_epoch(1, NOW - 30).await.expect("closed");
    scene.run::<()>("HSET", &[key("epoch:1:state"), "level1_status".into(), "pending".into()]).await;
    let shown = tracker.recent(NOW - 29).await;
    assert_eq!(
        (&shown.summary["epoch_gaps_count"], &shown.summary["epoch_gaps_rate"]),
        (&json!(1), &json!(0.5))
    );
    let members =
        async |scene: &mut Scene| scene.run::<Vec<String>>("ZRANGE", &[&key("epochs:gaps"), "0", "-1"]).await;
    assert_eq!(members(&mut scene).await, [Gap::Level1.member(&epoch("1"))]);
    scene.run::<()>("HSET", &[key("epoch:1:state"), "level1_status".into(), "completed".into()]).await;
    tracker.recent(NOW - 28).await;
    assert_eq!(members(&mut scene).await, [Gap::Level2.member(&epoch("1"))]);
    scene.run::<()>("HSET", &[key("epoch:1:state"), "level2_status".into(), "collecting".into()]).await;
    tracker.recent(NOW - 27).await;
    assert_eq!(members(&mut scene).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_state_of_an_unfinished_epoch_shows_its_submissions_where_there_is_a_state() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(1, NOW).await.expect("opened");
    market.submit(1, 3, NOW).await.expect("submitted");
    market.open_epoch(2, NOW).await.expect("opened");
    market.submit(2, 4, NOW).await.expect("submitted");
    scene.del(&[key("epoch:2:state")]).await;
    tracker.full(NOW + 1).await;
    let count = key("epoch:1:state");
    assert_eq!(scene.run::<String>("HGET", &[&count, "submissions_count"]).await, "3");
    assert_eq!(scene.run::<u64>("EXISTS", key("epoch:2:state")).await, 0, "no hash is made");
    market.submit(1, 2, NOW + 2).await.expect("submitted");
    tracker.recent(NOW + 3).await;
    assert_eq!(scene.run::<String>("HGET", &[&count, "submissions_count"]).await, "5");
    assert!(scene.run::<i64>("TTL", &count).await > 6 * 24 * HOUR, "its time to live is its own");
}

#[tokio::test]
async fn priorities_are_found_in_the_second_namespace_first() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let stats = |namespace: &str, assignments: &str| {
        [namespace, "total_priority_assignments", assignments, "total_submissions_success", "3"]
            .map(str::to_owned)
    };
    scene.run::<()>("HSET", &stats(&key("vpa:stats"), "5")).await;
    scene.zadd(&key("vpa:priority:timeline"), NOW - 10, "1:1:ok").await;
    scene.zadd(&key("vpa:priority:timeline"), NOW - 25 * HOUR, "0:1:ok").await;
    let shown = tracker.full(NOW).await.summary;
    assert_eq!(
        (&shown["vpa_priority_assignments_total"], &shown["vpa_priority_assignments_24h"]),
        (&json!(5), &json!(1))
    );
    assert!(
        shown.get("vpa_submission_success_rate").is_none() && shown.get("vpa_no_priority_count").is_none()
    );
    let refreshed: i64 = scene.run("TTL", key("vpa:stats")).await;
    assert!(refreshed > 6 * 24 * HOUR, "{refreshed}");

    scene.run::<()>("HSET", &stats("P2:M2:vpa:stats", "9")).await;
    scene.run::<()>("HSET", &["P2:M2:vpa:stats", "total_submissions_failed", "1"]).await;
    let keys = MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET));
    let keys = keys.with_priority(&Address::new("P2"), &Address::new("M2"));
    let two = common::Tracker {
        store: Store::new(settings(scene.redis.addr())).expect("settings"),
        market: MarketStore::new(keys, common::VALIDATOR),
    };
    let shown = two.full(NOW + 1).await.summary;
    assert_eq!(
        (&shown["vpa_priority_assignments_total"], &shown["vpa_submission_success_rate"]),
        (&json!(9), &json!(75))
    );
    assert_eq!(shown["vpa_priority_assignments_24h"], 1);
    scene.spoil("P2:M2:vpa:stats").await;
    assert!(
        two.recent(NOW + 2).await.summary["vpa_submissions_success"].is_null(),
        "an error is no other value"
    );
}

#[tokio::test]
async fn what_comes_after_sealing_is_counted_as_late_once_and_changes_no_total() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 1, 4, NOW).await;
    tracker.full(NOW + 1).await;
    let total = written(&market.truth());
    market.submit(1, 3, NOW + 2).await.expect("submitted too late");
    for pass in 3..6 {
        let shown = tracker.recent(NOW + pass).await;
        assert_eq!(shown.totals(), total, "pass {pass}");
        for name in [key(&format!("stats:hourly:{THIS}")), key("stats:daily")] {
            let shown = json_at(&mut scene, &name).await;
            let submissions = if name.contains("hourly") { "submissions" } else { "submissions_total" };
            assert_eq!(shown[submissions], 4, "pass {pass}: {name} shows what was sealed");
        }
    }
    assert_eq!(scene.run::<String>("HGET", &[ledger("sums"), "late".to_owned()]).await, "1");
}

#[tokio::test]
async fn pruning_keeps_what_is_young_and_what_was_forgotten_is_not_counted_again() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    let day = 24 * HOUR;
    for id in 1..=2 {
        finished_epoch(&mut market, id, 2, NOW - 9 * day).await;
    }
    tracker.full(NOW - 9 * day + 100).await;
    finished_epoch(&mut market, 3, 2, NOW - 60).await;
    let total = written(&market.truth());
    assert_eq!(tracker.full(NOW).await.totals(), total);
    for old in 0..1_200 {
        scene.zadd(&key("metrics:submissions:timeline"), NOW - 2 * day, format!("old-{old}")).await;
    }
    scene.zadd(&lower("metrics:submissions:timeline"), NOW - 2 * day, "old").await;

    let retention =
        Retention { timelines: day as u64, priorities: 7 * day as u64, sealed: 8 * day as u64, active: None };
    let keys = tracker.market.keys();
    let mut session = tracker.session().await;
    for prunable in retention.of_market(keys, common::VALIDATOR, NOW as u64) {
        let mut slices = 0;
        while prune(&mut session, &prunable, 500).await.expect("pruned") > 0 {
            slices += 1;
        }
        assert!(!prunable.key.ends_with("submissions:timeline") || slices == 3, "{}: {slices}", prunable.key);
    }
    let young = scene.run::<u64>("ZCARD", key("metrics:submissions:timeline")).await;
    assert!(young > 0 && young < 20, "{young}");
    let (cursor, forgotten) =
        forget_sealed(&mut session, keys, 0, (NOW - 8 * day) as u64, 500).await.expect("forgotten");
    assert_eq!((cursor, forgotten, scene.run::<u64>("HLEN", ledger("sealed")).await), (0, 2, 1));
    // They are still members of `epochs:active`, which is never pruned.
    assert_eq!(scene.run::<u64>("SCARD", key("epochs:active")).await, 3);
    for pass in 1..4 {
        assert_eq!(tracker.full(NOW + pass).await.totals(), total, "pass {pass}");
    }
    // Two pruners at once forget each entry once.
    assert_eq!(
        forget_sealed(&mut session, keys, 0, (NOW - 8 * day) as u64, 500).await.expect("nothing"),
        (0, 0)
    );
}

#[tokio::test]
async fn validators_of_a_batch_are_kept_for_their_hour_though_the_opening_is_told_later() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let list = key("metrics:batch:7:validators");
    scene.zadd(&key("metrics:batches:timeline"), NOW - 20, "aggregated:7").await;
    scene.run::<()>("SET", &[list.as_str(), r#"["v1","v2"]"#]).await;
    tracker.full(NOW).await;
    // Hours later the list has expired, and only then the opening is told.
    scene.run::<()>("DEL", &list).await;
    let start = (NOW - 60).to_string();
    scene
        .run::<()>("HSET", &[&key("metrics:epoch:7:info"), "status", "closed", "start", start.as_str()])
        .await;
    tracker.full(NOW + 5 * HOUR).await;
    let hour = json_at(&mut scene, &key(&format!("stats:hourly:{THIS}"))).await;
    assert_eq!([&hour["epochs"], &hour["batches"], &hour["unique_validators"]], [1, 1, 2], "{hour}");
}
