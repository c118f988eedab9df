//! The ledger's own keys: of another version, of another type, damaged, lost, or with a forgotten script.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use common::{Dump, MARKET, NOW, Scene, finished_epoch, key, ledger, written};
use store_redis::ErrorKind;
use store_tracker::Reach;

const PARTS: [&str; 7] = ["open", "sealed", "sums", "meta", "opened", "aggregated", "included"];
/// The keys that are used only when writing.
const TIMES: [&str; 3] = ["opened", "aggregated", "included"];

/// What the ledger and the summary hold.
async fn dump(scene: &mut Scene) -> Dump {
    let names: Vec<String> =
        PARTS.map(ledger).into_iter().chain([key("dashboard:summary"), key("stats:current")]).collect();
    let mut all = scene.dump().await;
    all.retain(|name, _| names.contains(name));
    all
}

#[tokio::test]
async fn a_ledger_of_another_version_is_refused_with_a_clear_error_and_nothing_is_written() {
    for reach in [Reach::Everything, Reach::New] {
        let mut scene = Scene::new().await;
        let (mut market, tracker) = (scene.producer(), scene.tracker());
        finished_epoch(&mut market, 1, 4, NOW).await;
        scene
            .run::<()>("HSET", &[ledger("meta"), "schema".into(), "7".into(), "born".into(), "5".into()])
            .await;
        let before = dump(&mut scene).await;
        let error = tracker.try_pass(NOW as f64, reach).await.expect_err("another version");
        assert!(
            error.to_string().contains("version 7") && error.to_string().contains("version 2"),
            "{error}"
        );
        assert_eq!(dump(&mut scene).await, before);
    }
}

#[tokio::test]
async fn a_ledger_that_changes_its_version_between_reading_and_writing_is_not_touched() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 1, 4, NOW).await;
    let mut session = tracker.session().await;
    let pass = tracker.look(&mut session, NOW as f64, Reach::Everything).await.expect("read");
    scene.run::<()>("HSET", &[ledger("meta"), "schema".into(), "7".into()]).await;
    let error = tracker.commit(&mut session, pass).await.expect_err("another version");
    assert!(error.kind == ErrorKind::Foreign && error.to_string().contains("version 7"), "{error}");
    let after = dump(&mut scene).await;
    for part in PARTS.into_iter().filter(|part| *part != "meta") {
        assert!(!after.contains_key(&ledger(part)), "{part}");
    }
}

#[tokio::test]
async fn a_ledger_key_of_another_type_is_an_error_and_never_a_wrong_total() {
    for part in PARTS {
        for reach in [Reach::Everything, Reach::New] {
            let mut scene = Scene::new().await;
            let (mut market, tracker) = (scene.producer(), scene.tracker());
            finished_epoch(&mut market, 1, 4, NOW).await;
            market.open_epoch(2, NOW).await.expect("opened");
            market.submit(2, 3, NOW).await.expect("submitted");
            let before = tracker.full(NOW + 1).await;
            // The inputs have expired: only the ledger knows.
            scene.del(&[key("epoch:2:submissions:ids")]).await;
            finished_epoch(&mut market, 3, 5, NOW + 1).await;
            let name = ledger(part);
            let foreign = "foreign".to_owned();
            scene.run::<()>("RENAME", &[&name, "kept"]).await;
            scene.run::<()>("SET", &[&name, &foreign]).await;
            let kept = dump(&mut scene).await;
            let error = tracker.try_pass(NOW as f64 + 2.0, reach).await.expect_err(part);
            assert!(error.to_string().contains(&name), "{part}: {error}");
            assert_eq!(error.kind, ErrorKind::WrongType, "{part}: {error}");
            let mut now = dump(&mut scene).await;
            if TIMES.contains(&part) {
                // The dataset is computed from what was read, and is right.
                for dataset in ["dashboard:summary", "stats:current"] {
                    now.insert(key(dataset), kept[&key(dataset)].clone());
                }
                now.insert(ledger("meta"), kept[&ledger("meta")].clone());
            }
            assert_eq!(now, kept, "{part}, {reach:?}: nothing may change");
            // With the key restored everything is as before, and nothing was counted in part.
            scene.run::<()>("RENAME", &["kept", name.as_str()]).await;
            let after = tracker.full(NOW + 3).await;
            assert_eq!(after.totals(), written(&market.truth()), "{part}, before {:?}", before.totals());
            assert_eq!(tracker.full(NOW + 4).await.totals(), written(&market.truth()), "{part}");
        }
    }
}

#[tokio::test]
async fn an_entry_that_can_not_be_read_is_reported_and_made_anew_from_the_inputs() {
    for damage in ["", "garbage", "1,2,3", "1,-,-,0,99999999999999999999,-,-,", "1,-,-,0,5,-,-,z"] {
        let mut scene = Scene::new().await;
        let (mut market, tracker) = (scene.producer(), scene.tracker());
        market.open_epoch(1, NOW).await.expect("opened");
        market.submit(1, 3, NOW).await.expect("submitted");
        tracker.full(NOW).await;
        scene.run::<()>("HSET", &[ledger("open"), "1".into(), damage.into()]).await;
        scene.run::<()>("HSET", &[ledger("open"), "no epoch".into(), damage.into()]).await;
        let shown = tracker.recent(NOW + 1).await;
        assert!(shown.has_fault(&ledger("open"), ErrorKind::Malformed), "{damage}");
        assert_eq!((shown.totals(), shown.written.stored), (written(&market.truth()), 1), "{damage}");
        let next = tracker.recent(NOW + 2).await;
        assert_eq!((next.totals(), next.written.skipped), (written(&market.truth()), 0), "{damage}");
    }
}

#[tokio::test]
async fn a_damaged_set_of_an_hour_tears_no_total() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    tracker.full(NOW).await;
    scene.spoil(&ledger(&format!("validators:{}", NOW - 600))).await;
    finished_epoch(&mut market, 1, 4, NOW).await;
    assert_eq!(tracker.recent(NOW + 1).await.written.sealed, 1);
    assert_eq!(tracker.recent(NOW + 2).await.totals(), written(&market.truth()));
}

#[tokio::test]
async fn entries_at_the_edge_of_their_numbers_make_nothing_overflow() {
    let mut scene = Scene::new().await;
    let most = u64::MAX;
    let entry = format!("{most},{most},{most},{most},{most},{most},{most},a");
    scene.run::<()>("HSET", &[ledger("open"), "1".into(), entry.clone(), "2".into(), entry]).await;
    let shown = scene.tracker().full(NOW).await;
    assert_eq!((shown.totals()[1], shown.written.sealed), (Some(2), 0));
}

#[tokio::test]
async fn forgotten_scripts_are_sent_by_the_same_pass_in_a_fourth_round_trip() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    tracker.full(NOW).await;
    finished_epoch(&mut market, 1, 4, NOW).await;
    market.open_epoch(2, NOW).await.expect("opened");
    market.submit(2, 3, NOW).await.expect("submitted");
    scene.run::<()>("HSET", &[&key("epoch:2:state"), "window_status", "open"]).await;
    let mut session = tracker.session().await;
    let pass = tracker.look(&mut session, NOW as f64 + 1.0, Reach::New).await.expect("read");
    scene.run::<()>("SCRIPT", "FLUSH").await;
    let shown = tracker.commit(&mut session, pass).await.expect("written");
    assert_eq!(session.round_trips(), 4);
    assert_eq!(shown.totals(), written(&market.truth()));
    // Of each script one run: the ledger's, with its answer, and that of the counts.
    assert_eq!((shown.written.sealed, shown.written.skipped, shown.written.faults), (1, 0, vec![]));
    assert_eq!(scene.run::<u64>("HLEN", ledger("sealed")).await, 1);
    assert_eq!(scene.run::<u64>("HGET", &[&key("epoch:2:state"), "submissions_count"]).await, 3);
    // The next one finds them there.
    let mut session = tracker.session().await;
    let pass = tracker.look(&mut session, NOW as f64 + 2.0, Reach::New).await.expect("read");
    assert_eq!(tracker.commit(&mut session, pass).await.expect("written").totals(), written(&market.truth()));
    assert_eq!(session.round_trips(), 3);
}

#[tokio::test]
async fn a_failed_commit_explains_no_epoch_away_that_it_did_not_store() {
    let mut scene = Scene::new().await;
    let (one, two) = (scene.tracker(), scene.tracker());
    one.full(NOW).await;
    scene.run::<()>("SADD", &[key("epochs:active"), "5".to_owned()]).await;
    // One finds it, and the server takes the rest of the pipeline but not the script.
    let mut session = one.session().await;
    let pass = one.look(&mut session, NOW as f64, Reach::Everything).await.expect("read");
    scene.run::<()>("SET", &[ledger("opened"), "foreign".to_owned()]).await;
    one.commit(&mut session, pass).await.expect_err("refused");
    scene.del(&[ledger("opened")]).await;
    assert!(two.recent(NOW + 1).await.pass.is_incomplete(), "two still wonders what the new member is");
}

#[tokio::test]
async fn a_redis_that_was_emptied_is_counted_anew_from_what_is_there() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 1, 4, NOW).await;
    tracker.full(NOW).await;
    scene.run::<()>("FLUSHALL", "SYNC").await;
    scene.run::<()>("SADD", &[key("epochs:active"), "9".to_owned()]).await;
    let shown = tracker.recent(NOW + 1).await;
    assert_eq!((shown.totals(), shown.pass.is_incomplete()), ([Some(0), Some(1), Some(0)], false));
    assert!(tracker.recent(NOW + 2).await.pass.mark.born.is_some_and(|born| born > NOW as f64));
}

#[tokio::test]
async fn a_lost_part_of_the_ledger_is_an_error_and_its_epochs_are_not_counted_again() {
    for part in ["sealed", "sums", "meta"] {
        let mut scene = Scene::new().await;
        let (mut market, tracker) = (scene.producer(), scene.tracker());
        finished_epoch(&mut market, 1, 4, NOW).await;
        tracker.full(NOW).await;
        scene.del(&[ledger(part)]).await;
        for reach in [Reach::New, Reach::Everything] {
            let error = tracker.try_pass(NOW as f64 + 1.0, reach).await.expect_err(part);
            assert_eq!(error.kind, ErrorKind::Torn, "{part}: {error}");
            assert!(error.to_string().contains(&format!("market {MARKET}")), "{error}");
            assert!(
                error.to_string().contains(&ledger(if part == "meta" { "meta" } else { "sealed" })),
                "{error}"
            );
        }
        // After its other keys are deleted, the ledger is created anew.
        scene.del(&PARTS.map(ledger)).await;
        assert_eq!(tracker.full(NOW + 2).await.totals(), written(&market.truth()));
    }
}
