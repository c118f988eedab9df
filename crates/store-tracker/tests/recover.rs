//! Submissions of epochs whose own keys expired while no tracker ran.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use common::{NOW, SEAL_AFTER, Scene, Shown, Tracker, VALIDATOR, key};
use domain::tracker::Totals;
use store_tracker::Reach;
use testkit::MarketProducer;

/// Hours without a tracker, with an epoch each; the keys of the submissions of the first ones have expired.
const EPOCHS: u64 = 6;
const EXPIRED: u64 = 4;
const HOUR: i64 = 3_600;
const BACK: i64 = NOW + EPOCHS as i64 * HOUR;

/// The absence: a tracker that has passed before, and producers who did not wait for it.
async fn absence() -> (Scene, Tracker, MarketProducer) {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    tracker.recent(NOW).await;
    for epoch in 1..=EPOCHS {
        let at = NOW + epoch as i64 * HOUR - 1_800;
        market.open_epoch(epoch, at).await.expect("opened");
        market.submit(epoch, epoch, at + 5).await.expect("submitted");
        market.close_epoch(epoch, at + 60).await.expect("closed");
        market.local_batch(epoch, at + 70).await.expect("batched");
        market.aggregated_batch(epoch, &["validator1"], at + 80).await.expect("aggregated");
    }
    for epoch in 1..=EXPIRED {
        scene
            .del(&[key(&format!("epoch:{epoch}:submissions:ids")), key(&format!("epoch:{epoch}:processed"))])
            .await;
    }
    (scene, tracker, market)
}

/// A pass, with the recovery as the aggregator makes it.
async fn pass(tracker: &Tracker) -> (Shown, usize) {
    let mut session = tracker.session().await;
    let mut pass = tracker.look(&mut session, BACK as f64, Reach::New).await.expect("read");
    let totals = Totals::of(&pass.seen, VALIDATOR, SEAL_AFTER);
    let unaccounted: Vec<_> = totals.unaccounted().cloned().collect();
    let recovered = tracker.market.recover(&mut session, &mut pass, &unaccounted).await.expect("read");
    (tracker.commit(&mut session, pass).await.expect("written"), recovered)
}

/// The submissions in the ledger and how many epochs are unaccounted.
async fn sealed(scene: &mut Scene) -> [u64; 2] {
    let sums: [Option<u64>; 2] =
        scene.run("HMGET", &[common::ledger("sums").as_str(), "submissions", "unaccounted"]).await;
    sums.map(Option::unwrap_or_default)
}

#[tokio::test]
async fn submissions_that_expired_in_an_absence_are_taken_from_the_timeline_that_proves_them() {
    let (mut scene, tracker, market) = absence().await;
    let (shown, recovered) = pass(&tracker).await;
    assert_eq!((recovered as u64, shown.totals()), (EXPIRED, common::written(&market.truth())));
    assert_eq!(sealed(&mut scene).await, [(1..=EPOCHS).sum(), 0]);
}

#[tokio::test]
async fn a_timeline_with_other_ids_or_with_nothing_to_compare_proves_nothing() {
    let timeline = key("metrics:validations:timeline");
    let known: u64 = (EXPIRED + 1..=EPOCHS).sum();
    for what in ["another dequeuer", "one less", "other ids", "nothing to compare", "spoilt"] {
        let (mut scene, tracker, _market) = absence().await;
        let last = format!("{EPOCHS}-");
        let ids: Vec<String> = scene.run("ZRANGE", &[&timeline, "0", "-1"]).await;
        let of_last: Vec<&String> = ids.iter().filter(|id| id.starts_with(&last)).collect();
        let mut expected = [known, EXPIRED];
        match what {
            "another dequeuer" => scene.zadd(&timeline, BACK - 1_700, &format!("{last}project-9-cid")).await,
            "one less" => scene.run::<()>("ZREM", &[&timeline, of_last[0]]).await,
            "other ids" => {
                for id in &of_last {
                    scene.run::<()>("ZREM", &[&timeline, *id]).await;
                    scene.zadd(&timeline, BACK - 1_700, &format!("{id}x")).await;
                }
            }
            "nothing to compare" => {
                for epoch in EXPIRED + 1..=EPOCHS {
                    scene.del(&[key(&format!("epoch:{epoch}:submissions:ids"))]).await;
                }
                expected = [0, EPOCHS];
            }
            _ => scene.spoil(&timeline).await,
        }
        let (_, recovered) = pass(&tracker).await;
        assert_eq!((recovered, sealed(&mut scene).await), (0, expected), "{what}");
    }
}
