//! Two trackers on one Redis: each epoch is sealed once, and no total is ever too high or decreases.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::Duration;

use common::{NOW, SEAL_AFTER, Scene, VALIDATOR, finished_epoch, key, ledger, written};
use domain::tracker::{Reading, Totals};
use store_tracker::{Reach, Scope};
use testkit::{LiveRate, ProducerConfig, RedisServer, run_live};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_trackers_that_pass_at_the_same_moment_seal_each_epoch_once() {
    const ROUNDS: u64 = 150;
    let mut scene = Scene::new().await;
    let mut market = scene.producer();
    let (one, two) = (scene.tracker(), scene.tracker());
    one.full(NOW).await;
    let mut sealed = 0;
    for round in 0..ROUNDS {
        let at = NOW + i64::try_from(round).expect("small");
        // One epoch that both have known for a while, one that is new to both.
        if round > 0 {
            finished_epoch(&mut market, 2 * round - 1, 1 + round % 7, at).await;
        }
        finished_epoch(&mut market, 2 * round, 3, at).await;
        market.open_epoch(2 * round + 1, at).await.expect("opened");
        let reach = |n: u64| if (round + n).is_multiple_of(5) { Reach::Everything } else { Reach::New };
        let (first, second) =
            tokio::join!(one.try_pass(at as f64 + 0.5, reach(0)), two.try_pass(at as f64 + 0.7, reach(2)),);
        let (first, second) = (first.expect("a pass"), second.expect("a pass"));
        assert_eq!(first.totals(), written(&market.truth()), "round {round}, one");
        assert_eq!(second.totals(), written(&market.truth()), "round {round}, two");
        sealed += first.written.sealed + second.written.sealed;
        assert_eq!(scene.run::<u64>("HLEN", ledger("sealed")).await, sealed, "round {round}");
    }
    assert_eq!(sealed, 2 * ROUNDS - 1);
    let sums: u64 = scene.run("HGET", &[ledger("sums"), "epochs".to_owned()]).await;
    assert_eq!(sums, sealed);
    assert_eq!(one.full(NOW + 200).await.totals(), written(&market.truth()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trackers_beside_living_producers_never_show_too_much_or_fall_back() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut config = ProducerConfig::new(common::PROTOCOL, common::MARKET);
    config.window = Duration::from_millis(150);
    let rate = LiveRate {
        epoch_every: Duration::from_millis(30),
        submissions_per_epoch: 40,
        batch_delay: Duration::from_millis(25),
        epochs: Some(60),
        ..LiveRate::default()
    };
    let live = run_live(config, &redis.url(), rate).expect("producers");
    let truth = live.shared_truth();
    let passing = |index: u32| {
        let (truth, tracker) = (truth.clone(), common::Tracker::new(redis.addr(), common::MARKET));
        tokio::spawn(async move {
            let (mut passes, mut last) = (0_u32, [Some(0); 3]);
            let ended =
                |truth: &testkit::Truth| truth.epochs_total() == 60 && truth.incomplete_epochs().is_empty();
            while !truth.read(ended) {
                let least = truth.read(written);
                let reach = if passes == 0 || (passes + index).is_multiple_of(7) {
                    Reach::Everything
                } else {
                    Reach::New
                };
                let now = testkit::producers::unix_now() as f64 + 0.999;
                let shown = tracker.try_pass(now, reach).await.expect("a pass").totals();
                // A step is in Redis before it is in the truth, so the check may repeat.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let most = truth.read(written);
                for at in 0..3 {
                    assert!(shown[at] >= least[at] && shown[at] <= most[at], "{least:?} {shown:?} {most:?}");
                    assert!(shown[at] >= last[at], "it fell from {last:?} to {shown:?}");
                }
                (passes, last) = (passes + 1, shown);
            }
            passes
        })
    };
    let trackers = [passing(0), passing(1), passing(2)];
    for tracker in trackers {
        assert!(tracker.await.expect("no panic") > 10);
    }
    let truth = live.finish().await.expect("producers end");
    let last = common::Tracker::new(redis.addr(), common::MARKET);
    assert_eq!(last.full(testkit::producers::unix_now() + 1).await.totals(), written(&truth));
}

#[tokio::test]
async fn an_entry_that_another_tracker_changed_is_skipped_until_the_next_pass() {
    let mut scene = Scene::new().await;
    let (mut market, slow, quick) = (scene.producer(), scene.tracker(), scene.tracker());
    market.open_epoch(1, NOW).await.expect("opened");
    market.submit(1, 2, NOW).await.expect("submitted");
    slow.full(NOW).await;
    // The slow one reads, the quick one stores more, and only then the slow one writes.
    let mut session = slow.session().await;
    let behind = slow.look(&mut session, NOW as f64 + 1.0, Reach::New).await.expect("read");
    market.submit(1, 3, NOW).await.expect("submitted");
    market.local_batch(1, NOW).await.expect("batched");
    assert_eq!(quick.recent(NOW + 2).await.written.stored, 1);
    let stored: String = scene.run("HGET", &[ledger("open"), "1".to_owned()]).await;
    let late = slow.commit(&mut session, behind).await.expect("written");
    assert_eq!((late.written.stored, late.written.sealed), (0, 0));
    assert_eq!(scene.run::<String>("HGET", &[ledger("open"), "1".to_owned()]).await, stored);
    assert_eq!(slow.recent(NOW + 3).await.totals(), written(&market.truth()));

    // The same when the slow one wants to seal.
    market.close_epoch(1, NOW + 3).await.expect("closed");
    market.aggregated_batch(1, &["validator1"], NOW + 3).await.expect("aggregated");
    let behind = slow.look(&mut session, NOW as f64 + 4.0, Reach::New).await.expect("read");
    market.submit(1, 1, NOW + 4).await.expect("one that was late");
    let mut session_of_quick = quick.session().await;
    let mut ahead = quick.look(&mut session_of_quick, NOW as f64 + 4.0, Reach::New).await.expect("read");
    // The quick one stores without sealing: it still waits for something.
    for facts in ahead.seen.facts.values_mut() {
        facts.aggregated_batch = false;
        facts.timeline.aggregated = None;
        facts.state = Reading::Absent;
    }
    assert_eq!(quick.commit(&mut session_of_quick, ahead).await.expect("written").written.stored, 1);
    let left = slow.commit(&mut session, behind).await.expect("written").written;
    assert_eq!((left.sealed, left.skipped), (0, 1));
    let next = slow.recent(NOW + 5).await;
    assert_eq!((next.written.sealed, next.totals()), (1, written(&market.truth())));
}

#[tokio::test]
async fn a_pass_that_read_before_another_sealed_counts_nothing_twice() {
    let mut scene = Scene::new().await;
    let (mut market, slow, quick) = (scene.producer(), scene.tracker(), scene.tracker());
    for known in [false, true] {
        let id = if known { 2 } else { 1 };
        market.open_epoch(id, NOW).await.expect("opened");
        if known {
            slow.full(NOW).await;
        }
        finished_epoch(&mut market, id, 4, NOW).await;
        let expected = written(&market.truth());
        let mut session = slow.session().await;
        // Sealed by the other between the two readings …
        let mut pass = slow
            .market
            .discover(&mut session, NOW as f64 + 1.0, Scope::summary(Reach::Everything))
            .await
            .expect("read");
        assert_eq!(quick.full(NOW + 1).await.written.sealed, 1);
        slow.market.examine(&mut session, &mut pass).await.expect("read");
        let shown = slow.commit(&mut session, pass).await.expect("written");
        assert_eq!((shown.totals(), shown.written.sealed), (expected, 0), "known: {known}");
        // … and between reading and writing.
        finished_epoch(&mut market, id + 10, 4, NOW + 2).await;
        let pass = slow.look(&mut session, NOW as f64 + 3.0, Reach::New).await.expect("read");
        quick.recent(NOW + 3).await;
        let shown = slow.commit(&mut session, pass).await.expect("written");
        assert_eq!(
            (shown.totals(), shown.written.sealed, shown.written.skipped),
            (written(&market.truth()), 0, 1)
        );
    }
    assert_eq!(slow.full(NOW + 5).await.totals(), written(&market.truth()));
    assert_eq!(scene.run::<u64>("HLEN", ledger("open")).await, 0);
}

#[tokio::test]
async fn validators_written_after_their_aggregated_batch_still_count_as_inclusion() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(1, NOW).await.expect("opened");
    market.close_epoch(1, NOW + 1).await.expect("closed");
    market.local_batch(1, NOW + 1).await.expect("batched");
    scene.run::<()>("SET", &[key("metrics:batch:aggregated:1"), "{}".to_owned()]).await;
    let between = tracker.full(NOW + 2).await;
    assert_eq!(between.totals()[2], Some(2));
    market.aggregated_batch(1, &["validator1"], NOW + 2).await.expect("aggregated");
    let after = tracker.recent(NOW + 3).await;
    assert_eq!((after.totals.all.included, after.totals()[2]), (1, Some(2)));
    assert_eq!(tracker.recent(NOW + 4).await.totals.all.included, 1);
    assert_eq!(scene.run::<u64>("HLEN", ledger("sealed")).await, 1);
}

#[tokio::test]
async fn an_epoch_whose_submissions_expired_while_nobody_looked_is_counted_as_unaccounted() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    // Seen when it opened, with two of its submissions; the others came and expired unseen.
    market.open_epoch(1, NOW).await.expect("opened");
    market.submit(1, 2, NOW).await.expect("submitted");
    // Seen to its end.
    market.open_epoch(2, NOW).await.expect("opened");
    market.submit(2, 4, NOW).await.expect("submitted");
    let shown = tracker.full(NOW).await;
    assert_eq!(shown.totals.all.unaccounted, 0, "what is still open can still be counted");
    market.close_epoch(2, NOW + 20).await.expect("closed");
    let mut session = tracker.session().await;
    let mut pass = tracker.look(&mut session, NOW as f64 + 21.0, Reach::New).await.expect("read");
    pass.seen.facts.remove(&common::epoch("1"));
    pass.seen.stored.remove(&common::epoch("1"));
    tracker.commit(&mut session, pass).await.expect("written");
    scene.del(&["1", "2"].map(|id| key(&format!("epoch:{id}:submissions:ids")))).await;
    let back = tracker.full(NOW + 3 * 3600).await;
    assert_eq!((back.written.sealed, back.totals.all.unaccounted), (2, 1));
    assert_eq!(back.totals()[0], Some(6));
    let totals = Totals::of(&back.pass.seen, VALIDATOR, SEAL_AFTER);
    assert_eq!(totals.all, back.totals.all);
}
