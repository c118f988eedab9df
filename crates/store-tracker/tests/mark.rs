//! The mark that each pass leaves in the ledger, and from which the next one reads on, of whatever process.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use common::{NOW, Scene, Tracker, finished_epoch, key, ledger, written};
use store_tracker::Reach;
use testkit::FaultProxy;

/// The entries of a day that a tracker has seen, in each timeline.
const DAY: usize = 5_000;

async fn mark(scene: &mut Scene) -> Vec<Option<String>> {
    scene.run("HMGET", &[ledger("meta").as_str(), "early", "active_known", "pending"]).await
}

/// Adds entries that name no epoch of ours.
async fn add_foreign(scene: &mut Scene, first: usize, count: usize, at: i64) {
    let mut arguments = vec![key("metrics:batches:timeline")];
    for number in first..first + count {
        arguments.extend([at.to_string(), format!("peer_discovery:{number}:{at}")]);
    }
    scene.run::<()>("ZADD", &arguments).await;
}

#[tokio::test]
async fn a_restarted_tracker_reads_what_happened_since_and_not_a_day() {
    let mut scene = Scene::new().await;
    let mut market = scene.producer();
    add_foreign(&mut scene, 0, DAY, NOW - 50_000).await;
    finished_epoch(&mut market, 1, 4, NOW - 20).await;
    scene.tracker().recent(NOW).await;
    // Two hours without a tracker.
    finished_epoch(&mut market, 2, 3, NOW + 1_000).await;
    finished_epoch(&mut market, 3, 2, NOW + 7_000).await;
    let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
    let mut bytes = Vec::new();
    for reach in [Reach::New, Reach::Everything] {
        proxy.reset_counts();
        let restarted = Tracker::new(proxy.addr(), common::MARKET);
        let shown = restarted.try_pass((NOW + 7_200) as f64, reach).await.expect("a pass");
        assert_eq!(
            (shown.totals(), shown.pass.is_incomplete()),
            (written(&market.truth()), false),
            "{reach:?}"
        );
        bytes.push(proxy.counts().bytes_to_client);
    }
    assert!(bytes[1] > bytes[0] + 20 * DAY as u64, "{bytes:?} bytes: since the mark, and everything");
}

#[tokio::test]
async fn an_entry_that_was_written_late_is_found_and_one_that_was_removed_hides_none() {
    let mut scene = Scene::new().await;
    add_foreign(&mut scene, 0, 10, NOW - 5_000).await;
    let tracker = scene.tracker();
    tracker.recent(NOW).await;
    // One more and one less in another timeline.
    add_foreign(&mut scene, 10, 1, NOW - 4_000).await;
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 4_000, "open:7").await;
    let late = tracker.recent(NOW + 30).await;
    assert_eq!((late.totals()[1], late.pass.missed_entries, late.written.sealed), (Some(0), true, 0));
    assert_eq!(mark(&mut scene).await, [None, Some("0".to_owned()), None]);
    let next = tracker.recent(NOW + 31).await;
    assert_eq!((next.totals()[1], next.pass.is_incomplete()), (Some(1), false));
    assert!(!tracker.recent(NOW + 32).await.pass.is_incomplete());
}

#[tokio::test]
async fn the_mark_stays_where_it_was_when_another_tracker_has_changed_an_entry_meanwhile() {
    // With 600 epochs a commit takes several runs of its script; the entry that changes is in the first one.
    for epochs in [1, 600] {
        let mut scene = Scene::new().await;
        let tracker = scene.tracker();
        tracker.recent(NOW).await;
        let before = mark(&mut scene).await;
        assert!(before[0].is_some() && before[2].is_none(), "{before:?}");
        for epoch in 1..=epochs {
            scene.zadd(&key("metrics:epochs:timeline"), NOW + 100, &format!("open:{epoch}")).await;
        }
        let mut session = tracker.session().await;
        let pass = tracker.look(&mut session, (NOW + 7_200) as f64, Reach::New).await.expect("read");
        let other = scene.tracker().recent(NOW + 101).await;
        assert_eq!((other.written.stored, other.written.skipped), (epochs, 0));
        // As the pass has read it: another mark would stay for that reason alone.
        let [early, known] = [0, 1].map(|at: usize| before[at].clone().expect("a mark"));
        scene.run::<()>("HSET", &[&ledger("meta"), "early", &early, "active_known", &known]).await;
        let shown = tracker.commit(&mut session, pass).await.expect("written");
        assert_eq!(shown.written.skipped, epochs, "all of them were changed");
        assert_eq!(mark(&mut scene).await, before);
        let next = tracker.recent(NOW + 7_201).await;
        assert_eq!(next.totals()[1], Some(epochs));
        assert_ne!(mark(&mut scene).await[0], before[0]);
    }
}

#[tokio::test]
async fn a_mark_that_is_damaged_or_of_another_time_costs_a_pass_over_everything() {
    for damage in ["", "x", "1795341600", "-1 0", "99999999999 0 0"] {
        let mut scene = Scene::new().await;
        let (mut market, tracker) = (scene.producer(), scene.tracker());
        finished_epoch(&mut market, 1, 4, NOW - 5_000).await;
        tracker.recent(NOW).await;
        finished_epoch(&mut market, 2, 4, NOW - 4_000).await;
        scene.run::<()>("HSET", &[ledger("meta").as_str(), "early", damage]).await;
        let mut shown = tracker.recent(NOW + 1).await;
        if shown.pass.is_incomplete() {
            shown = tracker.recent(NOW + 2).await;
        }
        assert_eq!(
            (shown.totals(), shown.pass.is_incomplete()),
            (written(&market.truth()), false),
            "{damage}"
        );
    }
}

#[tokio::test]
async fn a_pass_that_a_loss_of_the_ledger_overtakes_leaves_no_mark_in_the_new_one() {
    // The second pass is one after a pass that has missed something, and reads no mark.
    for has_mark in [true, false] {
        let mut scene = Scene::new().await;
        let (mut market, tracker) = (scene.producer(), scene.tracker());
        finished_epoch(&mut market, 1, 4, NOW - 20).await;
        tracker.full(NOW).await;
        if !has_mark {
            scene.run::<()>("HDEL", &[ledger("meta").as_str(), "early", "active_known"]).await;
        }
        let mut session = tracker.session().await;
        // It finds nothing new, so that it has no entry by which its commit could notice.
        let pass = tracker.look(&mut session, (NOW + 10) as f64, Reach::New).await.expect("read");
        let names: Vec<String> = scene.run("KEYS", "{*}:tracker:*").await;
        scene.del(&names).await;
        tracker.commit(&mut session, pass).await.expect("written");
        assert_eq!(mark(&mut scene).await, [None, None, None]);
        assert_eq!(tracker.recent(NOW + 20).await.totals(), written(&market.truth()));
    }
}

#[tokio::test]
async fn epochs_with_times_far_ahead_keep_no_pass_from_its_end_once_they_are_sealed() {
    const EPOCHS: u64 = 5_200;
    let mut scene = Scene::new().await;
    // Their producer writes milliseconds.
    for first in (1..=EPOCHS).step_by(400) {
        let mut arguments = vec![key("metrics:epochs:timeline")];
        for epoch in first..first + 400 {
            let at = 1_000 * (NOW - 100_000) as u64 + epoch;
            arguments.extend([
                at.to_string(),
                format!("open:{epoch}"),
                at.to_string(),
                format!("close:{epoch}"),
            ]);
        }
        scene.run::<()>("ZADD", &arguments).await;
    }
    let tracker = scene.tracker();
    // More than one pass takes; all of them are sealed in the end.
    let (mut at, mut sealed) = (NOW, 0);
    while sealed < EPOCHS {
        sealed += tracker.recent(at).await.written.sealed;
        at += 1_000;
        assert!(at < NOW + 20_000, "{sealed} are sealed");
    }
    scene.zadd(&key("metrics:epochs:timeline"), at, "open:6000").await;
    for after in [1, 2] {
        let shown = tracker.recent(at + after).await;
        assert_eq!((shown.totals()[1], shown.pass.is_incomplete()), (Some(EPOCHS + 1), false));
    }
}

#[tokio::test]
async fn an_active_set_that_expired_in_an_absence_and_has_as_many_other_members_is_read() {
    let mut scene = Scene::new().await;
    let (active, tracker) = (key("epochs:active"), scene.tracker());
    scene.run::<()>("SADD", &[active.as_str(), "1", "2", "3"]).await;
    tracker.recent(NOW).await;
    scene.del(std::slice::from_ref(&active)).await;
    scene.run::<()>("SADD", &[active.as_str(), "11", "12", "13"]).await;
    let shown = scene.tracker().recent(NOW + 172_800).await;
    assert_eq!((shown.totals()[1], shown.pass.is_incomplete()), (Some(6), false));
}

#[tokio::test]
async fn an_early_entry_of_an_unsealed_epoch_is_found_where_the_count_hides_it() {
    // The epoch's opening is not known; or it was just now, and the clock of the batch's producer is behind.
    for (opened, batched) in [(None, NOW - 4_000), (Some(NOW - 560), NOW - 610)] {
        let mut scene = Scene::new().await;
        let batches = key("metrics:batches:timeline");
        add_foreign(&mut scene, 0, 1, NOW - 5_000).await;
        match opened {
            None => scene.run::<()>("SADD", &[key("epochs:active").as_str(), "7"]).await,
            Some(at) => scene.zadd(&key("metrics:epochs:timeline"), at, "open:7").await,
        }
        let tracker = scene.tracker();
        tracker.recent(NOW).await;
        scene.run::<()>("ZREMRANGEBYRANK", &[batches.as_str(), "0", "0"]).await;
        scene.zadd(&batches, batched, "aggregated:7").await;
        let shown = tracker.recent(NOW + 1).await;
        assert_eq!((shown.totals()[2], shown.pass.is_incomplete()), (Some(1), false), "opened {opened:?}");
    }
}

#[tokio::test]
async fn an_active_set_that_lost_members_is_read_since_others_may_have_joined() {
    let mut scene = Scene::new().await;
    let (active, tracker) = (key("epochs:active"), scene.tracker());
    scene.run::<()>("SADD", &[active.as_str(), "1", "2", "3"]).await;
    tracker.recent(NOW).await;
    scene.run::<()>("SREM", &[active.as_str(), "1", "2"]).await;
    scene.run::<()>("SADD", &[active.as_str(), "11"]).await;
    assert!(tracker.recent(NOW + 1).await.pass.missed_members);
    let shown = tracker.recent(NOW + 2).await;
    assert_eq!((shown.totals()[1], shown.pass.is_incomplete()), (Some(4), false));
}

#[tokio::test]
async fn nothing_is_sealed_by_a_pass_that_has_missed_something() {
    for missed in ["entries", "members"] {
        let mut scene = Scene::new().await;
        let (mut market, tracker) = (scene.producer(), scene.tracker());
        tracker.recent(NOW).await;
        finished_epoch(&mut market, 1, 4, NOW + 10).await;
        match missed {
            "entries" => scene.zadd(&key("metrics:epochs:timeline"), NOW - 4_000, "open:7").await,
            _ => scene.run::<()>("SADD", &[key("epochs:active").as_str(), "7"]).await,
        }
        let shown = tracker.recent(NOW + 11).await;
        assert_eq!((shown.pass.is_incomplete(), shown.written.sealed), (true, 0), "{missed}");
        assert!(tracker.recent(NOW + 12).await.written.sealed > 0, "{missed}");
    }
}

#[tokio::test]
async fn the_mark_stays_where_it_was_when_another_tracker_has_noted_a_late_change_meanwhile() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 1, 4, NOW - 20).await;
    assert_eq!(tracker.recent(NOW).await.written.sealed, 1);
    let before = mark(&mut scene).await;
    market.submit(1, 2, NOW + 1).await.expect("submitted");
    let mut session = tracker.session().await;
    let pass = tracker.look(&mut session, (NOW + 2) as f64, Reach::New).await.expect("read");
    market.submit(1, 2, NOW + 3).await.expect("submitted");
    assert_eq!(scene.tracker().recent(NOW + 4).await.totals.late.len(), 1);
    let [early, known] = [0, 1].map(|at: usize| before[at].clone().expect("a mark"));
    scene.run::<()>("HSET", &[&ledger("meta"), "early", &early, "active_known", &known]).await;
    tracker.commit(&mut session, pass).await.expect("written");
    assert_eq!(mark(&mut scene).await, before);
}

#[tokio::test]
async fn a_late_entry_in_another_form_is_found_though_the_number_of_entries_is_the_same() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let timeline = key("metrics:batches:timeline");
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 1_800, "open:23000000").await;
    scene.zadd(&timeline, NOW - 1_700, "peer_discovery:1:1").await;
    tracker.recent(NOW).await;
    // One is written late, and another one moves.
    scene.zadd(&timeline, NOW - 1_750, "local:2.3e+07").await;
    scene.zadd(&timeline, NOW + 50, "peer_discovery:1:1").await;
    let shown = tracker.recent(NOW + 100).await;
    let entry: String = scene.run("HGET", (ledger("open"), "23000000")).await;
    assert!(entry.contains(&(NOW - 1_750).to_string()), "{entry}");
    assert_eq!(shown.totals()[2], Some(1));
}
