//! The pruning of `epochs:active`: what leaves the set, what stays, and that no pass notices.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::collections::BTreeSet;

use common::{MARKET, NOW, PROTOCOL, Scene, Tracker, finished_epoch, key, ledger, lower, settings, written};
use domain::Address;
use store_tracker::{MarketKeys, Output, Reach, Retention, forget_sealed, prune_active};
use testkit::{FaultProxy, wait_until};

const DAY: i64 = 86_400;
/// Small, so that a set is read in several slices.
const SLICE: usize = 2;

/// The keys of a tracker whose addresses are configured in lower case.
fn keys() -> MarketKeys {
    let [protocol, market] = [PROTOCOL, MARKET].map(str::to_lowercase);
    MarketKeys::new(&Address::new(&protocol), &Address::new(&market))
}

fn retention(days: i64) -> Retention {
    let day = DAY as u64;
    Retention { timelines: day, priorities: day, sealed: 8 * day, active: Some((days * DAY) as u64) }
}

/// One run of the pruner over every set; how many ids it removed.
async fn prune(tracker: &Tracker, keys: &MarketKeys, days: i64, now: i64) -> u64 {
    let (mut session, mut removed) = (tracker.session().await, 0);
    for set in retention(days).of_active(keys, now as u64) {
        let mut cursor = 0;
        loop {
            let pruned = prune_active(&mut session, keys, &set.key, cursor, set.before, SLICE).await;
            let (next, more) = pruned.expect("pruned");
            removed += more;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    removed
}

async fn members(scene: &mut Scene, set: &str) -> BTreeSet<String> {
    scene.run("SMEMBERS", set).await
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// Sealed epochs 1 and 2 of nine days ago and 3 of now, and 4, which is open.
async fn history(scene: &mut Scene, tracker: &Tracker) -> [Option<u64>; 3] {
    let mut market = scene.producer();
    for epoch in [1, 2] {
        finished_epoch(&mut market, epoch, 3, NOW - 9 * DAY).await;
    }
    tracker.full(NOW - 9 * DAY + 100).await;
    finished_epoch(&mut market, 3, 3, NOW - 60).await;
    market.open_epoch(4, NOW - 10).await.expect("opened");
    tracker.full(NOW).await;
    assert_eq!(scene.run::<u64>("HLEN", ledger("sealed")).await, 3);
    written(&market.truth())
}

#[tokio::test]
async fn epochs_that_are_sealed_and_old_leave_the_set_under_every_spelling_and_no_total_changes() {
    let mut scene = Scene::new().await;
    let [protocol, market] = [PROTOCOL, MARKET].map(str::to_lowercase);
    let tracker = Tracker::with(settings(scene.redis.addr()), &protocol, &market);
    let total = history(&mut scene, &tracker).await;
    // Another form of an id; one that no pass has seen yet; one that is no id.
    scene.run::<()>("SADD", &[lower("epochs:active"), "2e0".to_owned(), "1".to_owned()]).await;
    scene.run::<()>("SADD", &[key("epochs:active"), "77".to_owned(), "no id".to_owned()]).await;
    assert_eq!(prune(&tracker, &keys(), 8, NOW).await, 4);
    assert_eq!(members(&mut scene, &key("epochs:active")).await, ids(&["3", "4", "77", "no id"]));
    assert_eq!(members(&mut scene, &lower("epochs:active")).await, ids(&[]));
    assert_eq!(prune(&tracker, &keys(), 8, NOW).await, 0);
    scene.run::<()>("SREM", &[key("epochs:active"), "77".to_owned(), "no id".to_owned()]).await;
    assert_eq!(tracker.full(NOW + 1).await.totals(), total);
}

#[tokio::test]
async fn a_pass_after_the_pruning_misses_no_epoch() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let total = history(&mut scene, &tracker).await;
    let mut session = tracker.session().await;
    let before = tracker.look(&mut session, NOW as f64 + 1.0, Reach::New).await.expect("read");
    assert!(!before.is_incomplete());
    assert_eq!(prune(&tracker, tracker.market.keys(), 8, NOW).await, 2);
    let after = tracker.look(&mut session, NOW as f64 + 2.0, Reach::New).await.expect("read");
    assert!(!after.is_incomplete(), "the count of known members was lowered in the same step");
    // A pass that had read the set before the pruning leaves the count that the pruning has written.
    let late = tracker.commit(&mut session, before).await.expect("written");
    assert_eq!(late.totals(), total);
    let next = tracker.look(&mut session, NOW as f64 + 3.0, Reach::New).await.expect("read");
    assert!(!next.is_incomplete());
}

#[tokio::test]
async fn an_epoch_whose_entry_was_forgotten_leaves_the_set_and_an_open_one_stays() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    history(&mut scene, &tracker).await;
    let keys = tracker.market.keys();
    let mut session = tracker.session().await;
    let forgotten = forget_sealed(&mut session, keys, 0, (NOW - 8 * DAY) as u64, 500).await;
    assert_eq!(forgotten.expect("forgotten").1, 2);
    // An epoch below the floor that is not sealed.
    let entry: String = scene.run("HGET", &[ledger("open"), "4".to_owned()]).await;
    scene.run::<()>("HSET", &[ledger("open"), "1".to_owned(), entry]).await;
    assert_eq!(prune(&tracker, keys, 8, NOW).await, 1);
    assert_eq!(members(&mut scene, &key("epochs:active")).await, ids(&["1", "3", "4"]));
}

#[tokio::test]
async fn a_shadow_removes_no_active_epoch() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    history(&mut scene, &tracker).await;
    let output = Output { prefix: "shadow".to_owned(), ..Output::default() };
    let shadow = tracker.market.keys().clone().with_output(&output);
    assert_eq!(prune(&tracker, &shadow, 8, NOW).await, 0);
    assert_eq!(members(&mut scene, &key("epochs:active")).await.len(), 4);
}

#[tokio::test]
async fn an_epoch_that_is_sealed_no_more_when_the_script_runs_stays_in_the_set() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    history(&mut scene, &tracker).await;
    let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
    let slow = Tracker::new(proxy.addr(), MARKET);
    let (keys, set) = (slow.market.keys(), key("epochs:active"));
    let mut session = slow.session().await;
    proxy.hold_requests("EVALSHA");
    let pruned = prune_active(&mut session, keys, &set, 0, (NOW - 8 * DAY) as u64, 500);
    let reset = async {
        wait_until("the ledger was read", std::time::Duration::from_secs(10), async || proxy.held() > 0)
            .await;
        scene.run::<()>("HDEL", &[ledger("sealed"), "1".to_owned()]).await;
        proxy.release();
    };
    let (pruned, ()) = tokio::join!(pruned, reset);
    assert_eq!(pruned.expect("pruned").1, 1);
    assert_eq!(members(&mut scene, &set).await, ids(&["1", "3", "4"]));
}
