//! Histories that made totals wrong: strays, clocks that are ahead, pruners that meet, gaps after the seal, empty members.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::{MARKET, NOW, PROTOCOL, Scene, finished_epoch, key, ledger};
use domain::Address;
use serde_json::Value;
use store_tracker::{MarketKeys, forget_sealed};

const DAY: i64 = 86_400;

fn keys() -> MarketKeys {
    MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET))
}

/// Forgets what was sealed before `before`, in slices of this size.
async fn forget(scene: &Scene, before: i64, slice: usize) -> u64 {
    let tracker = scene.tracker();
    let (mut session, mut cursor, mut forgotten) = (tracker.session().await, 0, 0);
    loop {
        let (next, more) =
            forget_sealed(&mut session, &keys(), cursor, before as u64, slice).await.expect("forgotten");
        forgotten += more;
        cursor = next;
        if cursor == 0 {
            return forgotten;
        }
    }
}

async fn floor(scene: &mut Scene) -> Option<String> {
    scene.run("HGET", &[ledger("meta"), "floor".to_owned()]).await
}

#[tokio::test]
async fn a_stray_id_is_sealed_and_forgotten_without_an_end_of_the_counting() {
    let mut scene = Scene::new().await;
    let (tracker, mut market) = (scene.tracker(), scene.producer());
    finished_epoch(&mut market, 100, 3, NOW).await;
    scene.run::<()>("SADD", &[key("epochs:active"), "99999999".to_owned()]).await;
    tracker.full(NOW).await;
    // A day later the stray is long over; two days later everything of that day is forgotten.
    tracker.full(NOW + DAY).await;
    assert_eq!(scene.run::<u64>("HLEN", ledger("sealed")).await, 2, "both are sealed");
    forget(&scene, NOW + DAY / 2, 500).await;
    assert_eq!(floor(&mut scene).await.as_deref(), Some("100"), "the floor is that of an id with a time");
    // New epochs count, the stray only once.
    for epoch in 101..104 {
        finished_epoch(&mut market, epoch, 2, NOW + 2 * DAY).await;
    }
    let later = tracker.full(NOW + 2 * DAY).await;
    assert_eq!(later.totals(), [Some(9), Some(5), Some(8)]);
    assert!(later.pass.below_floor.is_empty());
}

#[tokio::test]
async fn a_new_epoch_below_the_floor_is_told_and_not_counted() {
    let mut scene = Scene::new().await;
    let (tracker, mut market) = (scene.tracker(), scene.producer());
    finished_epoch(&mut market, 100, 3, NOW).await;
    tracker.full(NOW).await;
    forget(&scene, NOW + DAY, 500).await;
    assert_eq!(floor(&mut scene).await.as_deref(), Some("100"));
    // The producers begin their ids anew.
    market.open_epoch(7, NOW + 2 * DAY).await.expect("opened");
    let pass = tracker.recent(NOW + 2 * DAY).await;
    assert_eq!(pass.totals()[1], Some(1));
    assert!(
        pass.pass.faults.iter().any(|fault| fault.detail.contains("not above 100")),
        "{:?}",
        pass.pass.faults
    );
}

#[tokio::test]
async fn two_pruners_at_once_forget_each_epoch_once_and_the_floor_only_rises() {
    let mut scene = Scene::new().await;
    let (tracker, mut market) = (scene.tracker(), scene.producer());
    for epoch in 1..=200 {
        finished_epoch(&mut market, epoch, 1, NOW + epoch as i64).await;
    }
    let before = tracker.full(NOW + 300).await.totals();
    // Each has read its page before the other writes, again and again.
    for round in 1..=20 {
        let until = NOW + 10 * round;
        let (one, other) = tokio::join!(forget(&scene, until, 7), forget(&scene, until - 5, 11));
        assert!(one + other <= 10, "{one} and {other}");
        let highest = floor(&mut scene).await.map_or(0, |floor| floor.parse::<i64>().expect("a number"));
        assert_eq!(highest, 10 * round - 1, "round {round}");
    }
    assert_eq!(tracker.full(NOW + 300).await.totals(), before);
    let entries: Option<u64> = scene.run("HGET", &[ledger("sums"), "entries".to_owned()]).await;
    assert_eq!(entries, Some(scene.run::<u64>("HLEN", ledger("sealed")).await));
}

#[tokio::test]
async fn a_pruner_that_comes_too_late_fails_nothing() {
    let mut scene = Scene::new().await;
    let (tracker, mut market) = (scene.tracker(), scene.producer());
    finished_epoch(&mut market, 5, 1, NOW).await;
    tracker.full(NOW).await;
    let entry: String = scene.run("HGET", &[ledger("sealed"), "5".to_owned()]).await;
    assert_eq!(forget(&scene, NOW + DAY, 500).await, 1);
    // Another pruner had read it before: nothing is left to delete.
    scene.run::<()>("HSET", &[ledger("sealed"), "5".to_owned(), entry]).await;
    let tracker = scene.tracker();
    let mut session = tracker.session().await;
    let (keys, all) = (keys(), (NOW + DAY) as u64);
    let (read, deleted) = tokio::join!(forget_sealed(&mut session, &keys, 0, all, 500), async {
        forget(&scene, NOW + DAY, 500).await
    });
    assert_eq!(read.expect("no error").1 + deleted, 1);
}

#[tokio::test]
async fn an_epoch_of_producers_whose_clock_is_ahead_counts_where_it_belongs() {
    for ahead in [1, 4, 5, 10] {
        let scene = Scene::new().await;
        let (tracker, mut market) = (scene.tracker(), scene.producer());
        finished_epoch(&mut market, 7, 3, NOW + ahead).await;
        tracker.full(NOW).await;
        let shown = tracker.full(NOW + 30).await;
        assert_eq!(shown.totals(), [Some(3), Some(1), Some(2)], "{ahead} s ahead");
        let later = tracker.full(NOW + 300).await;
        let participation = participation(&scene).await;
        assert_eq!(later.totals.unfinished, 0);
        let rates = ["epochs_total_24h", "level2_inclusions_24h", "participation_rate"];
        let rates = rates.map(|name| participation[name].as_f64());
        assert_eq!(rates, [Some(1.0), Some(1.0), Some(100.0)], "{ahead} s ahead");
        let hour = dataset(&scene, &format!("stats:hourly:{}", NOW - NOW % 3_600)).await;
        assert_eq!((&hour["epochs"], &hour["batches"]), (&1.into(), &2.into()));
    }
}

async fn dataset(scene: &Scene, name: &str) -> Value {
    let mut connection = scene.redis.connection().await.expect("a connection");
    let text: String =
        redis::cmd("GET").arg(key(name)).query_async(&mut connection).await.expect("the dataset exists");
    serde_json::from_str(&text).expect("JSON")
}

async fn participation(scene: &Scene) -> Value {
    dataset(scene, "metrics:participation").await
}

#[tokio::test]
async fn batches_without_an_opening_stay_in_hour_and_day_when_their_epoch_is_sealed() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 3, "close:7").await;
    scene.zadd(&key("metrics:batches:timeline"), NOW - 2, "local:7").await;
    scene.zadd(&key("metrics:batches:timeline"), NOW - 1, "aggregated:7").await;
    for (at, sealed) in [(NOW, false), (NOW + 120, true), (NOW + 180, true)] {
        let shown = tracker.full(at).await;
        assert_eq!(shown.totals.unfinished == 0, sealed, "at {}", at - NOW);
        let hour = dataset(&scene, &format!("stats:hourly:{}", NOW - NOW % 3_600)).await;
        let day = dataset(&scene, "stats:daily").await;
        assert_eq!((&hour["batches"], &day["batches_total"]), (&2.into(), &2.into()), "at {}", at - NOW);
    }
}

#[tokio::test]
async fn a_gap_of_a_sealed_epoch_stays_until_it_is_closed_or_an_hour_old() {
    let mut scene = Scene::new().await;
    let (tracker, mut market) = (scene.tracker(), scene.producer());
    finished_epoch(&mut market, 5, 1, NOW).await;
    let state = key("epoch:5:state");
    let set = |field: &str, value: &str| vec![state.clone(), field.to_owned(), value.to_owned()];
    scene.run::<()>("HSET", set("onchain_status", "pending")).await;
    let look = async |at: i64, scene: &mut Scene| {
        let shown = tracker.recent(at).await;
        let members: Vec<String> = scene.run("ZRANGE", (key("epochs:gaps"), 0, -1)).await;
        assert_eq!(shown.summary["epoch_gaps_count"], members.len(), "count and set agree");
        members
    };
    let missing = ["5:missing_onchain"];
    // Sealed by now, and out of every recent timeline.
    assert_eq!(look(NOW + 61, &mut scene).await, missing);
    assert_eq!(look(NOW + 1_800, &mut scene).await, missing);
    scene.run::<()>("HSET", set("onchain_status", "queued")).await;
    assert_eq!(look(NOW + 1_900, &mut scene).await, [""; 0], "gone at once");
    scene.run::<()>("HSET", set("onchain_status", "failed")).await;
    assert_eq!(look(NOW + 2_000, &mut scene).await, missing, "a later failure shows");
    assert_eq!(look(NOW + 3_600 + 1, &mut scene).await, [""; 0], "an hour after its window closed");
}

#[tokio::test]
async fn an_empty_member_is_no_validator_and_no_submission() {
    let mut scene = Scene::new().await;
    let (tracker, mut market) = (scene.tracker(), scene.producer());
    market.open_epoch(5, NOW).await.expect("opened");
    market.submit(5, 2, NOW).await.expect("submitted");
    market.validators(5, &["validator2", ""], NOW).await.expect("heard");
    scene.zadd(&key("epoch:5:submissions:ids"), NOW, "").await;
    let shown = tracker.full(NOW).await;
    assert_eq!(shown.summary["active_validators"], 1);
    assert_eq!(shown.totals()[0], Some(2));
    let empty = shown.pass.faults.iter().filter(|fault| fault.detail.contains("empty")).count();
    assert_eq!(empty, 2, "{:?}", shown.pass.faults);
}

#[tokio::test]
async fn the_hours_of_an_absence_are_written_from_what_the_ledger_knows() {
    let scene = Scene::new().await;
    let (tracker, mut market) = (scene.tracker(), scene.producer());
    let start = NOW - NOW % 3_600;
    tracker.full(NOW).await;
    // Four hours without a tracker.
    for hour in 1..5 {
        finished_epoch(&mut market, 100 + hour, 2, start + 3_600 * hour as i64 + 60).await;
    }
    let back = start + 5 * 3_600 + 10;
    tracker.full(back).await;
    tracker.full(back + 120).await;
    for hour in 1..5 {
        let stats = dataset(&scene, &format!("stats:hourly:{}", start + 3_600 * hour)).await;
        assert_eq!(
            (&stats["epochs"], &stats["submissions"], &stats["batches"]),
            (&1.into(), &2.into(), &2.into())
        );
        assert_eq!(stats["unique_validators"], 2);
    }
}

#[tokio::test]
async fn a_ledger_that_the_first_version_left_goes_on_with_its_totals_hours_and_rates() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.restore(include_str!("ledger_v1.txt")).await;
    // When it was recorded, and the start of the first of its hours.
    let (now, start) = (1_795_341_550, 1_795_334_400);
    let refused =
        tracker.try_pass(now as f64, store_tracker::Reach::Everything).await.expect_err("not by reading");
    assert!(refused.to_string().contains("upgrades it"), "{refused}");
    let mut session = tracker.session().await;
    for upgraded in [true, false] {
        assert_eq!(tracker.market.upgrade(&mut session, now as f64).await.expect("upgraded"), upgraded);
    }
    // All keys of the producers have expired.
    let shown = tracker.full(now).await;
    assert_eq!(shown.totals(), [Some(82), Some(14), Some(24)]);
    assert_eq!(shown.summary["measurement_duration"], 7_150);
    for (hour, epochs, submissions, batches) in [(start, 6, 21, 12), (start + 3_600, 7, 61, 12)] {
        let shown = dataset(&scene, &format!("stats:hourly:{hour}")).await;
        assert_eq!((&shown["epochs"], &shown["submissions"]), (&epochs.into(), &submissions.into()));
        assert_eq!((&shown["batches"], &shown["unique_validators"]), (&batches.into(), &2.into()));
    }
    let rates = participation(&scene).await;
    assert_eq!((&rates["level2_inclusions_24h"], &rates["participation_rate"]), (&12.into(), &100.into()));
    // It goes on: a new epoch counts once.
    let mut market = scene.producer();
    finished_epoch(&mut market, 120, 2, now + 60).await;
    tracker.full(now + 90).await;
    assert_eq!(tracker.full(now + 200).await.totals(), [Some(84), Some(15), Some(26)]);
}

#[tokio::test]
async fn a_ledger_of_the_present_version_is_read_as_it_was_recorded() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.restore(include_str!("ledger_v2.txt")).await;
    let shown = tracker.full(1_795_341_550).await;
    assert_eq!(shown.totals(), [Some(82), Some(14), Some(24)]);
    let hour = dataset(&scene, "stats:hourly:1795338000").await;
    assert_eq!(
        (&hour["epochs"], &hour["submissions"], &hour["batches"]),
        (&7.into(), &61.into(), &12.into())
    );
    let mut session = tracker.session().await;
    let (candidates, _) =
        tracker.market.latest(&mut session, 1_795_341_550.0, &BTreeSet::new()).await.expect("read");
    let current = domain::tracker::current_epoch(&candidates, 1_795_341_550.0).expect("there is one");
    assert_eq!((current.epoch.as_str(), current.submissions), ("112", Some(4)));
}

#[tokio::test]
async fn an_upgrade_that_was_interrupted_is_repeated() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.restore(include_str!("ledger_v1.txt")).await;
    // It had written times, and sums of hours of other entries, when it was killed.
    scene.zadd(&ledger("local"), 1_795_334_460, "100").await;
    scene.run::<()>("HSET", &[ledger("hours").as_str(), "1795334400:epochs", "5"]).await;
    let mut session = tracker.session().await;
    assert!(tracker.market.upgrade(&mut session, 1_795_341_550.0).await.expect("upgraded"));
    let epochs: u64 = scene.run("HGET", &[ledger("hours").as_str(), "1795334400:epochs"]).await;
    assert_eq!((epochs, scene.run::<u64>("ZCARD", ledger("local")).await), (6, 12));
}

#[tokio::test]
async fn a_gap_that_a_late_close_and_a_late_state_show_stays_for_an_hour() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let info = |field: &str, value: String| vec![key("metrics:epoch:5:info"), field.to_owned(), value];
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 13_000, "open:5").await;
    assert_eq!(tracker.full(NOW).await.written.sealed, 1);
    scene.zadd(&key("metrics:epochs:timeline"), NOW + 10, "close:5").await;
    scene.run::<()>("HSET", info("status", "closed".to_owned())).await;
    tracker.recent(NOW + 20).await;
    scene
        .run::<()>("HSET", vec![key("epoch:5:state"), "level1_status".to_owned(), "completed".to_owned()])
        .await;
    for (at, count) in [(NOW + 200, 1), (NOW + 300, 1), (NOW + 2_000, 1), (NOW + 3_609, 1), (NOW + 3_611, 0)]
    {
        let shown = tracker.full(at).await;
        assert_eq!(shown.summary["epoch_gaps_count"], count, "{} s later", at - NOW);
    }
}
