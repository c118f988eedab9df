//! Which spellings of a market's name are read, how often, and that no key is lost.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::collections::BTreeSet;

use common::{MARKET, NOW, PROTOCOL, Scene, Tracker, ledger, settings, written};
use domain::tracker::current_epoch;
use store_tracker::{Reach, Scope};
use testkit::{FaultProxy, ProducerConfig};

/// A tracker of the market as it is configured in lower case.
fn tracker(server: std::net::SocketAddr) -> Tracker {
    Tracker::with(settings(server), &PROTOCOL.to_lowercase(), &MARKET.to_lowercase())
}

#[tokio::test]
async fn a_spelling_in_use_is_read_alone_until_all_are_looked_at_again() {
    let scene = Scene::new().await;
    let mut market = scene.producer_with(ProducerConfig::new(PROTOCOL.to_lowercase(), MARKET.to_lowercase()));
    for epoch in 1..=20 {
        market.open_epoch(epoch, NOW).await.expect("opened");
        market.submit(epoch, 2, NOW).await.expect("submitted");
    }
    let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
    let tracker = tracker(proxy.addr());
    tracker.full(NOW).await;
    let mut commands = Vec::new();
    // The last pass is due to read all four spellings again.
    for now in [NOW + 1, NOW + 59, NOW + 60] {
        proxy.reset_counts();
        assert_eq!(tracker.recent(now).await.totals(), written(&market.truth()));
        commands.push(proxy.counts().sent("HMGET"));
    }
    let (narrow, wide) = (commands[0], commands[2]);
    assert_eq!(narrow, commands[1]);
    // Of the twenty epochs two hashes each, and one of the market, under three more spellings.
    assert_eq!(wide - narrow, (20 * 2 + 1) * 3, "{commands:?} readings of hashes");
}

#[tokio::test]
async fn keys_under_an_unused_spelling_are_late_by_a_minute_and_not_lost() {
    let mut scene = Scene::new().await;
    let tracker = tracker(scene.redis.addr());
    let mut old = scene.producer_with(ProducerConfig::new(PROTOCOL.to_lowercase(), MARKET.to_lowercase()));
    // More epochs than are read as the newest ones.
    for epoch in 1..=12 {
        old.open_epoch(epoch, NOW).await.expect("opened");
    }
    assert_eq!(tracker.full(NOW).await.totals(), [Some(0), Some(12), Some(0)]);
    // Of the same epoch, a newer producer writes the submissions in checksum form, and another one mixes.
    old.close_epoch(1, NOW + 5).await.expect("closed");
    old.local_batch(1, NOW + 6).await.expect("batched");
    old.aggregated_batch(1, &["validator1"], NOW + 7).await.expect("aggregated");
    let (mixed, checksum) = (format!("{}:{MARKET}", PROTOCOL.to_lowercase()), format!("{PROTOCOL}:{MARKET}"));
    for member in ["a", "b", "c"] {
        scene.zadd(&format!("{checksum}:epoch:1:submissions:ids"), NOW + 6, member).await;
    }
    scene.zadd(&format!("{mixed}:metrics:epochs:timeline"), NOW + 6, "open:20").await;
    let early = tracker.recent(NOW + 30).await;
    assert_eq!(
        (early.totals(), early.written.sealed),
        ([None, Some(12), Some(2)], 0),
        "nothing is sealed, and a batch without submissions is not believed"
    );
    let later = tracker.recent(NOW + 60).await;
    assert_eq!((later.totals(), later.written.sealed), ([Some(3), Some(13), Some(2)], 1));
    let entries: u64 = scene.run("HGET", (ledger("sums"), "submissions")).await;
    assert_eq!(entries, 3, "sealed with all of them");
}

#[tokio::test]
async fn the_current_epoch_is_found_under_a_mixed_spelling() {
    let mut scene = Scene::new().await;
    let tracker = tracker(scene.redis.addr());
    let mixed = format!("{PROTOCOL}:{}", MARKET.to_lowercase());
    scene.zadd(&format!("{mixed}:metrics:epochs:timeline"), NOW, "open:7").await;
    scene.zadd(&format!("{mixed}:epoch:7:submissions:ids"), NOW, "a").await;
    for now in [NOW + 1, NOW + 2] {
        let mut session = tracker.session().await;
        let (candidates, _) =
            tracker.market.latest(&mut session, now as f64, &BTreeSet::new()).await.expect("read");
        let current = current_epoch(&candidates, now as f64).expect("there is one");
        assert_eq!((current.epoch.as_str(), current.submissions), ("7", Some(1)));
    }
}

#[tokio::test]
async fn the_end_of_an_epoch_is_read_under_every_spelling_before_its_numbers() {
    let mut scene = Scene::new().await;
    let tracker = tracker(scene.redis.addr());
    let lower = format!("{}:{}", PROTOCOL.to_lowercase(), MARKET.to_lowercase());
    scene.zadd(&format!("{lower}:metrics:epochs:timeline"), NOW, "open:7").await;
    // It logs every command.
    scene.run::<()>("CONFIG", &["SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "10000"]).await;
    tracker.full(NOW + 1).await;
    let logged: Vec<(i64, i64, i64, Vec<String>, String, String)> =
        scene.run("SLOWLOG", &["GET", "-1"]).await;
    // The newest command comes first.
    let keys: Vec<String> =
        logged.into_iter().rev().filter_map(|(.., words, _, _)| words.get(1).cloned()).collect();
    let places = |rest: &str| {
        let of_epoch = keys.iter().enumerate().filter(|(_, key)| key.ends_with(rest));
        of_epoch.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let ends =
        ["metrics:epoch:7:info", "epoch:7:state", "metrics:batch:local:7", "metrics:batch:aggregated:7"];
    let ends: Vec<usize> = ends.into_iter().flat_map(places).collect();
    let numbers = [places("epoch:7:submissions:ids"), places("epoch:7:processed")].concat();
    assert!(ends.len() >= 4 * 4 && numbers.len() >= 2 * 4, "{ends:?} and {numbers:?} under four spellings");
    assert!(ends.iter().max() < numbers.iter().min(), "{ends:?} before {numbers:?}");
}

#[tokio::test]
async fn an_entry_that_was_written_late_under_an_unused_spelling_is_found() {
    // The second one lies before the mark of the next pass, and behind the mark of the pass before.
    for late in [NOW - 2_000, NOW - 580] {
        let mut scene = Scene::new().await;
        let tracker = tracker(scene.redis.addr());
        let mut old =
            scene.producer_with(ProducerConfig::new(PROTOCOL.to_lowercase(), MARKET.to_lowercase()));
        old.open_epoch(1, NOW - 100).await.expect("opened");
        tracker.recent(NOW).await;
        tracker.recent(NOW + 1).await;
        scene.zadd(&format!("{PROTOCOL}:{MARKET}:metrics:epochs:timeline"), late, "open:20").await;
        for after in [30, 31, 61] {
            tracker.recent(NOW + after).await;
        }
        let shown = tracker.recent(NOW + 91).await;
        assert_eq!((shown.totals()[1], shown.pass.is_incomplete()), (Some(2), false), "written at {late}");
    }
}

#[tokio::test]
async fn the_pass_after_one_that_missed_something_reads_all_spellings() {
    let mut scene = Scene::new().await;
    let tracker = tracker(scene.redis.addr());
    let mut old = scene.producer_with(ProducerConfig::new(PROTOCOL.to_lowercase(), MARKET.to_lowercase()));
    old.open_epoch(1, NOW - 100).await.expect("opened");
    tracker.recent(NOW).await;
    scene.zadd(&format!("{PROTOCOL}:{MARKET}:metrics:epochs:timeline"), NOW - 2_000, "open:20").await;
    assert!(tracker.recent(NOW + 1).await.pass.missed_entries);
    let next = tracker.recent(NOW + 2).await;
    assert_eq!((next.totals()[1], next.pass.is_incomplete()), (Some(2), false));
}

#[tokio::test]
async fn an_epoch_that_was_found_by_the_names_of_its_keys_is_read_under_every_spelling() {
    let mut scene = Scene::new().await;
    let tracker = tracker(scene.redis.addr());
    let mut market = scene.producer_with(ProducerConfig::new(PROTOCOL.to_lowercase(), MARKET.to_lowercase()));
    market.open_epoch(7, NOW - 30).await.expect("opened");
    let current = async |now: i64, named: &BTreeSet<String>| {
        let mut session = tracker.session().await;
        let (candidates, _) = tracker.market.latest(&mut session, now as f64, named).await.expect("read");
        current_epoch(&candidates, now as f64).expect("there is one").epoch.to_string()
    };
    let nothing = BTreeSet::new();
    tracker.full(NOW).await;
    assert_eq!(current(NOW, &nothing).await, "7");
    // Only its info tells of it, under a spelling that is not in use.
    let info = format!("{PROTOCOL}:{MARKET}:metrics:epoch:9:info");
    let start = (NOW - 5).to_string();
    scene.run::<()>("HSET", &[info.as_str(), "status", "open", "start", start.as_str()]).await;
    let named = BTreeSet::from(["9".to_owned()]);
    assert_eq!(current(NOW + 1, &named).await, "9", "the epoch tracker may be woken before the aggregator");
    let mut session = tracker.session().await;
    let scope = Scope { named, ..Scope::summary(Reach::New) };
    let pass = tracker.market.read(&mut session, (NOW + 1) as f64, scope).await.expect("read");
    let shown = tracker.commit(&mut session, pass).await.expect("written");
    assert_eq!(shown.totals()[1], Some(2));
    let entry: String = scene.run("HGET", (ledger("open"), "9")).await;
    assert!(entry.contains(&start), "{entry}: it knows when it was opened");
    assert_eq!(current(NOW + 2, &nothing).await, "9");
}

#[tokio::test]
async fn an_epoch_that_the_ledger_tells_of_is_read_under_every_spelling_at_once() {
    let mut scene = Scene::new().await;
    let tracker = tracker(scene.redis.addr());
    let lower = format!("{}:{}", PROTOCOL.to_lowercase(), MARKET.to_lowercase());
    let mut market = scene.producer_with(ProducerConfig::new(PROTOCOL.to_lowercase(), MARKET.to_lowercase()));
    market.open_epoch(7, NOW - 30).await.expect("opened");
    let current = async |now: i64| {
        let mut session = tracker.session().await;
        let (candidates, _) =
            tracker.market.latest(&mut session, now as f64, &BTreeSet::new()).await.expect("read");
        let current = current_epoch(&candidates, now as f64).expect("there is one");
        (current.epoch.to_string(), current.data_market)
    };
    tracker.full(NOW).await;
    assert_eq!(current(NOW).await.0, "7");
    // The set that tells of it has a spelling in use, its other keys have not. The aggregator finds it first.
    scene.run::<()>("SADD", &[format!("{lower}:epochs:active"), "9".to_owned()]).await;
    let (info, start) = (format!("{PROTOCOL}:{MARKET}:metrics:epoch:9:info"), (NOW - 5).to_string());
    let fields = [info.as_str(), "status", "open", "start", start.as_str(), "data_market", MARKET];
    scene.run::<()>("HSET", &fields).await;
    tracker.full(NOW + 20).await;
    for now in [NOW + 21, NOW + 22] {
        assert_eq!(current(now).await, ("9".to_owned(), Some(MARKET.to_owned())), "not a minute later");
    }
}
