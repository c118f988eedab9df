//! The ledger over the life of epochs: they are found, counted and sealed once, whatever expires meanwhile.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::collections::BTreeSet;

use common::{MARKET, NOW, PROTOCOL, Scene, Tracker, epoch, finished_epoch, key, ledger, lower, written};
use domain::tracker::MeasurementWindow;
use store_tracker::{Reach, Scope, unknown_epochs};
use testkit::{MarketProducer, ProducerConfig, SubmissionStore};

#[tokio::test]
async fn every_total_is_what_the_producers_wrote_at_each_step_of_an_epoch() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    assert_eq!(tracker.full(NOW).await.totals(), [Some(0); 3]);
    market.open_epoch(1, NOW).await.expect("opened");
    assert_eq!(tracker.recent(NOW + 1).await.totals(), written(&market.truth()));
    market.submit(1, 5, NOW + 1).await.expect("submitted");
    let open = tracker.recent(NOW + 2).await;
    assert_eq!(open.totals(), written(&market.truth()));
    assert_eq!(open.summary["processed_submissions"], 5);
    market.close_epoch(1, NOW + 20).await.expect("closed");
    market.local_batch(1, NOW + 21).await.expect("batched");
    let half = tracker.recent(NOW + 22).await;
    assert_eq!((half.totals(), half.written.sealed), (written(&market.truth()), 0));
    market.aggregated_batch(1, &["validator1"], NOW + 23).await.expect("aggregated");
    let last = tracker.recent(NOW + 24).await;
    assert_eq!((last.totals(), last.written.sealed), (written(&market.truth()), 1));
    assert_eq!(last.summary["processed_submissions"], 0);
    assert_eq!(last.totals.all.included, 1);
    let sealed = tracker.recent(NOW + 25).await;
    assert_eq!((sealed.totals(), sealed.written.sealed), (written(&market.truth()), 0));
    assert_eq!(sealed.totals.all.included, 1);
    let validators: Vec<String> = scene.run("SMEMBERS", ledger(&format!("validators:{}", NOW - 600))).await;
    assert_eq!(validators, ["validator1"]);
}

#[tokio::test]
async fn what_the_reader_gets_is_the_same_in_both_forms_and_lives_a_minute() {
    let mut scene = Scene::new().await;
    let mut market = scene.producer();
    finished_epoch(&mut market, 7, 3, NOW).await;
    let shown = scene.tracker().full(NOW + 1).await;
    let json: String = scene.run("GET", key("dashboard:summary")).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json, shown.summary);
    let hash: std::collections::BTreeMap<String, String> = scene.run("HGETALL", key("stats:current")).await;
    for (name, value) in json.as_object().expect("an object") {
        assert_eq!(hash[name], value.to_string(), "{name}");
    }
    for dataset in ["dashboard:summary", "stats:current"] {
        let ttl: i64 = scene.run("TTL", key(dataset)).await;
        assert!((58..=60).contains(&ttl), "{dataset} lives {ttl} s");
    }
}

#[tokio::test]
async fn keys_that_expire_after_a_pass_take_nothing_back() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(1, NOW).await.expect("opened");
    market.submit(1, 9, NOW).await.expect("submitted");
    market.local_batch(1, NOW).await.expect("batched");
    tracker.full(NOW + 1).await;
    let gone = ["epoch:1:submissions:ids", "metrics:epoch:1:info", "epoch:1:state", "metrics:batch:local:1"];
    scene.del(&gone.map(key)).await;
    scene.del(&[key("metrics:epochs:timeline"), key("metrics:batches:timeline"), key("epochs:active")]).await;
    for (at, reach) in [(NOW + 2, Reach::New), (NOW + 3, Reach::Everything), (NOW + 7200, Reach::New)] {
        let shown = tracker.try_pass(at as f64, reach).await.expect("a pass");
        assert_eq!(shown.totals(), written(&market.truth()), "at {at}");
    }
    let open: u64 = scene.run("HLEN", ledger("open")).await;
    assert_eq!(open, 0, "an hour after its window it is sealed");
    assert_eq!(tracker.full(NOW + 7300).await.totals(), written(&market.truth()));
}

#[tokio::test]
async fn an_epoch_that_is_only_in_the_active_set_is_found() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.run::<()>("SADD", &[key("epochs:active"), "5".to_owned()]).await;
    scene.zadd(&key("epoch:5:submissions:ids"), NOW, "a").await;
    assert_eq!(tracker.full(NOW).await.totals(), [Some(1), Some(1), Some(0)]);
}

#[tokio::test]
async fn epochs_in_the_active_set_alone_are_found_by_the_next_pass() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(1, NOW).await.expect("opened");
    tracker.full(NOW).await;
    assert!(!tracker.recent(NOW + 1).await.pass.is_incomplete());
    scene.run::<()>("SADD", &[key("epochs:active"), "2".to_owned(), "3".to_owned()]).await;
    market.open_epoch(4, NOW + 2).await.expect("opened");
    let recent = tracker.recent(NOW + 2).await;
    assert!(recent.pass.is_incomplete());
    assert_eq!(recent.totals()[1], Some(2));
    for at in [NOW + 3, NOW + 4] {
        let next = tracker.recent(at).await;
        assert_eq!((next.totals()[1], next.pass.is_incomplete()), (Some(4), false));
    }
}

#[tokio::test]
async fn epochs_that_come_and_go_as_usual_need_no_full_pass() {
    let scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    tracker.full(NOW).await;
    for number in 0..5 {
        let at = NOW + 60 * number;
        let id = u64::try_from(number).expect("small");
        market.open_epoch(id, at).await.expect("opened");
        assert!(!tracker.recent(at + 1).await.pass.is_incomplete(), "opened {id}");
        finished_epoch(&mut market, id, 2, at + 20).await;
        let sealed = tracker.recent(at + 21).await;
        assert!(!sealed.pass.is_incomplete() && sealed.written.sealed == 1, "finished {id}");
        finished_epoch(&mut market, 100 + id, 2, at + 30).await;
        assert!(
            !tracker.recent(at + 31).await.pass.is_incomplete(),
            "opened and finished between two passes"
        );
    }
    assert_eq!(tracker.recent(NOW + 400).await.totals(), written(&market.truth()));
}

#[tokio::test]
async fn a_member_that_names_no_epoch_does_not_make_every_pass_a_full_one() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(1, NOW).await.expect("opened");
    for member in [&b""[..], b"epoch-7", b"1:2:3", b"\xff\xfe", b"-1"] {
        scene.run::<()>("SADD", &[key("epochs:active").as_bytes(), member]).await;
    }
    assert_eq!(tracker.full(NOW).await.totals()[1], Some(1));
    assert!(!tracker.recent(NOW + 1).await.pass.is_incomplete());
    market.open_epoch(2, NOW).await.expect("opened");
    assert!(!tracker.recent(NOW + 2).await.pass.is_incomplete());
}

#[tokio::test]
async fn ids_in_scientific_notation_are_the_epoch_that_they_name() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let timeline = key("metrics:epochs:timeline");
    for (member, at) in [("open:2.3e+07", NOW - 20), ("open:23000000", NOW - 20), ("close:2.3E7", NOW - 5)] {
        scene.zadd(&timeline, at, member).await;
    }
    for member in ["local:2.3e+07", "local:23000000", "aggregated:2.3e7"] {
        scene.zadd(&key("metrics:batches:timeline"), NOW - 2, member).await;
    }
    for member in ["2.3e+07", "23000000", "2.30e+07"] {
        scene.run::<()>("SADD", &[key("epochs:active"), member.to_owned()]).await;
    }
    scene.zadd(&key("epoch:23000000:submissions:ids"), NOW - 10, "a").await;
    let shown = tracker.full(NOW).await;
    assert_eq!(shown.totals(), [Some(1), Some(1), Some(2)]);
    let recent = ["epochs_1m", "batches_1m", "submissions_1m"].map(|name| shown.summary[name].as_u64());
    assert_eq!(recent, [Some(1), Some(2), Some(1)]);
    let again = tracker.recent(NOW + 1).await;
    assert_eq!((again.totals(), again.pass.is_incomplete()), ([Some(1), Some(1), Some(2)], false));
}

#[tokio::test]
async fn submissions_of_older_producers_are_counted_too_and_those_of_both_forms_once() {
    for (store, epoch) in [(SubmissionStore::Processed, 1), (SubmissionStore::Both, 2)] {
        let scene = Scene::new().await;
        let config = ProducerConfig { submission_store: store, ..ProducerConfig::new(PROTOCOL, MARKET) };
        let mut market = scene.producer_with(config);
        finished_epoch(&mut market, epoch, 12, NOW).await;
        let shown = scene.tracker().full(NOW + 1).await;
        assert_eq!(shown.totals(), written(&market.truth()), "{store:?}");
        assert_eq!(shown.summary["submissions_1m"], 12, "{store:?}");
    }
}

#[tokio::test]
async fn a_market_whose_keys_are_spelled_in_lower_case_counts_the_same() {
    let scene = Scene::new().await;
    let config = ProducerConfig::new(PROTOCOL.to_lowercase(), MARKET.to_lowercase());
    let mut market = scene.producer_with(config);
    let tracker =
        Tracker::with(common::settings(scene.redis.addr()), &PROTOCOL.to_lowercase(), &MARKET.to_lowercase());
    tracker.full(NOW).await;
    for number in 0..3_u64 {
        finished_epoch(&mut market, number, 4, NOW).await;
    }
    market.open_epoch(9, NOW).await.expect("opened");
    let shown = tracker.recent(NOW + 1).await;
    assert_eq!((shown.totals(), shown.pass.is_incomplete()), (written(&market.truth()), false));
}

#[tokio::test]
async fn a_market_that_mixes_both_spellings_counts_everything_once() {
    let mut scene = Scene::new().await;
    let [lower_protocol, lower_market] = [PROTOCOL, MARKET].map(str::to_lowercase);
    let mut newer = scene.producer();
    let mut older = scene.producer_with(ProducerConfig::new(&lower_protocol, &lower_market));
    let tracker = Tracker::with(common::settings(scene.redis.addr()), &lower_protocol, &lower_market);
    tracker.full(NOW).await;
    // The same epoch by both, each with everything; and one half by either.
    for market in [&mut newer, &mut older] {
        finished_epoch(market, 1, 6, NOW).await;
    }
    newer.open_epoch(2, NOW).await.expect("opened");
    older.submit(2, 4, NOW).await.expect("submitted");
    newer.close_epoch(2, NOW).await.expect("closed");
    older.local_batch(2, NOW).await.expect("batched");
    newer.aggregated_batch(2, &["validator1"], NOW).await.expect("aggregated");
    let shown = tracker.recent(NOW + 1).await;
    assert_eq!(shown.totals(), [Some(10), Some(2), Some(4)]);
    assert_eq!((&shown.summary["epochs_1m"], &shown.summary["batches_1m"]), (&2.into(), &4.into()));
    assert_eq!(shown.summary["submissions_1m"], 10);
    assert!(!shown.pass.is_incomplete(), "an epoch in both active sets is no surprise");
    assert_eq!(tracker.recent(NOW + 2).await.totals(), [Some(10), Some(2), Some(4)]);
    // The ordered set under the other spelling wins over the plain one under the preferred spelling.
    scene.run::<()>("SADD", &[key("epoch:3:processed"), "a".to_owned()]).await;
    for id in ["a", "b"] {
        scene.zadd(&lower("epoch:3:submissions:ids"), NOW, id).await;
    }
    scene.zadd(&key("metrics:epochs:timeline"), NOW, "open:3").await;
    assert_eq!(tracker.recent(NOW + 3).await.totals()[0], Some(12));
}

#[tokio::test]
async fn foreign_members_of_the_batches_timeline_are_no_batches() {
    let mut scene = Scene::new().await;
    let timeline = key("metrics:batches:timeline");
    for member in ["validator:v1:1", "peer_discovery:4:1795341000", "validator:a:b:c:2", "", ":", "local"] {
        scene.zadd(&timeline, NOW, member).await;
    }
    let shown = scene.tracker().full(NOW).await;
    assert_eq!((shown.totals(), &shown.summary["batches_5m"]), ([Some(0); 3], &0.into()));
    assert_eq!(shown.pass.faults, []);
    let open: u64 = scene.run("HLEN", ledger("open")).await;
    assert_eq!(open, 0);
}

#[tokio::test]
async fn an_epoch_is_sealed_an_hour_after_its_window_when_its_batches_never_come() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    market.open_epoch(1, NOW).await.expect("opened");
    market.submit(1, 3, NOW).await.expect("submitted");
    assert_eq!(tracker.full(NOW + 3619).await.written.sealed, 0);
    let shown = tracker.recent(NOW + 3620).await;
    assert_eq!((shown.written.sealed, shown.totals()), (1, written(&market.truth())));
    assert_eq!(shown.totals.all.unaccounted, 0);
    assert_eq!(scene.run::<u64>("HLEN", ledger("open")).await, 0);
}

#[tokio::test]
async fn times_in_the_future_keep_no_epoch_from_being_sealed() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    // One producer counts in milliseconds; another writes texts that are no durations or ends.
    scene.zadd(&key("metrics:epochs:timeline"), NOW * 1000, "open:1").await;
    scene.zadd(&key("metrics:epochs:timeline"), NOW * 1000, "close:1").await;
    scene.zadd(&key("metrics:epochs:timeline"), NOW, "open:2").await;
    scene.run::<()>("HSET", &[key("metrics:epoch:2:info"), "duration".to_owned(), "1e300".to_owned()]).await;
    scene.zadd(&key("metrics:epochs:timeline"), NOW, "open:3").await;
    scene.run::<()>("HSET", &[key("metrics:epoch:3:info"), "end".to_owned(), "1e18".to_owned()]).await;
    let first = tracker.full(NOW).await;
    assert_eq!((first.totals()[1], first.written.sealed), (Some(3), 0));
    for minute in 1..=60 {
        let at = NOW + 60 * minute;
        assert_eq!(tracker.recent(at).await.totals()[1], Some(3));
    }
    let late = tracker.recent(NOW + 3720).await;
    assert_eq!(late.totals()[1], Some(3));
    assert_eq!(scene.run::<u64>("HLEN", ledger("open")).await, 0, "{late:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_back_changes_no_total() {
    let scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 1, 3, NOW).await;
    market.open_epoch(2, NOW).await.expect("opened");
    tracker.full(NOW + 1).await;
    for (at, reach) in [
        (NOW - 7200, Reach::New),
        (NOW - 7200, Reach::Everything),
        (60, Reach::Everything),
        (0, Reach::Everything),
    ] {
        let shown = tracker.try_pass(at as f64, reach).await.expect("a pass");
        assert_eq!(shown.totals(), written(&market.truth()), "at {at}");
    }
    assert_eq!(tracker.full(NOW + 5).await.totals(), written(&market.truth()));
}

#[tokio::test]
async fn counts_of_the_last_minutes_are_of_half_open_stretches() {
    let mut scene = Scene::new().await;
    for (id, at) in
        [("1", NOW - 60), ("2", NOW - 59), ("3", NOW), ("4", NOW + 1), ("5", NOW - 300), ("6", NOW - 299)]
    {
        scene.zadd(&key("metrics:epochs:timeline"), at, format!("open:{id}")).await;
        scene.zadd(&key("metrics:batches:timeline"), at, format!("local:{id}")).await;
        scene.zadd(&key("epoch:1:submissions:ids"), at, id).await;
    }
    let shown = scene.tracker().full(NOW).await;
    for kind in ["epochs", "batches", "submissions"] {
        let count = |minutes: &str| shown.summary[format!("{kind}_{minutes}")].as_u64();
        assert_eq!((count("1m"), count("5m")), (Some(2), Some(4)), "{kind}");
    }
}

#[tokio::test]
async fn five_thousand_finished_epochs_are_sealed_in_the_first_pass_and_once() {
    const EPOCHS: u64 = 5_000;
    let mut scene = Scene::new().await;
    let mut pipeline = redis::pipe();
    for number in 0..EPOCHS {
        let (id, at) = (number.to_string(), NOW - 80_000 + i64::try_from(number).expect("small") * 12);
        pipeline.sadd(key("epochs:active"), &id).ignore();
        pipeline.zadd(key("metrics:epochs:timeline"), format!("open:{id}"), at).ignore();
        pipeline.zadd(key("metrics:epochs:timeline"), format!("close:{id}"), at).ignore();
        pipeline.zadd(key("metrics:batches:timeline"), format!("local:{id}"), at).ignore();
        pipeline.zadd(key("metrics:batches:timeline"), format!("aggregated:{id}"), at).ignore();
        pipeline.zadd(key(&format!("epoch:{id}:submissions:ids")), "a", at).ignore();
    }
    pipeline.query_async::<()>(&mut scene.connection).await.expect("written");
    let tracker = scene.tracker();
    let expected = [Some(EPOCHS), Some(EPOCHS), Some(2 * EPOCHS)];
    let first = tracker.full(NOW).await;
    assert_eq!((first.totals(), first.written.sealed), (expected, EPOCHS));
    assert_eq!(scene.run::<u64>("HLEN", ledger("sealed")).await, EPOCHS);
    for reach in [Reach::New, Reach::Everything] {
        let shown = tracker.try_pass(NOW as f64 + 1.0, reach).await.expect("a pass");
        assert_eq!((shown.totals(), shown.written.sealed), (expected, 0), "{reach:?}");
        assert!(!shown.pass.is_incomplete() && shown.pass.seen.facts.len() < 100, "{reach:?}");
    }
    for times in ["opened", "aggregated"] {
        assert_eq!(scene.run::<u64>("ZCARD", ledger(times)).await, EPOCHS, "{times}");
    }
}

#[tokio::test]
async fn the_measurement_window_survives_a_restart_and_is_renewed_after_a_day() {
    let scene = Scene::new().await;
    let mut market: MarketProducer = scene.producer();
    finished_epoch(&mut market, 1, 10, NOW).await;
    let first = scene.tracker().full(NOW).await;
    assert_eq!(first.summary["measurement_duration"], 0);
    finished_epoch(&mut market, 2, 30, NOW + 50).await;
    let restarted = scene.tracker();
    let later = restarted.full(NOW + 100).await;
    assert_eq!(later.summary["measurement_duration"], 100);
    assert_eq!(later.summary["submission_rate"], 0.3);
    let end = NOW + 86_400;
    assert_eq!(restarted.recent(end - 1).await.summary["measurement_duration"], 86_399);
    let renewed = restarted.recent(end).await;
    assert_eq!(
        (&renewed.summary["measurement_duration"], &renewed.summary["submission_rate"]),
        (&0.into(), &0.into())
    );
    let began = MeasurementWindow { began: end as f64, submissions: 40, epochs: 2, batches: 4 };
    assert_eq!(restarted.recent(end + 10).await.pass.mark.window, Some(began));
}

#[tokio::test]
async fn ids_of_any_length_and_order_are_kept_apart() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let long = "9".repeat(80);
    for id in ["230", "2301", "0230", long.as_str(), &"9".repeat(97)] {
        scene.zadd(&key("metrics:epochs:timeline"), NOW, format!("open:{id}")).await;
    }
    let shown = tracker.full(NOW).await;
    assert_eq!(shown.totals()[1], Some(3));
    assert!(shown.pass.seen.facts.contains_key(&epoch(&long)));
}

#[tokio::test]
async fn a_history_of_any_length_is_taken_up_in_portions_until_the_totals_are_whole() {
    const EPOCHS: u64 = 24_000;
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene
        .run::<()>(
            "EVAL",
            &["for id = 1, 24000 do redis.call('SADD', KEYS[1], id) end", "1", &key("epochs:active")],
        )
        .await;
    let mut market = scene.producer();
    finished_epoch(&mut market, EPOCHS + 1, 7, NOW).await;
    let mut passes = 0;
    let whole = loop {
        passes += 1;
        assert!(passes < 5, "it comes to an end");
        let shown = tracker.recent(NOW + passes).await;
        assert!(shown.pass.seen.facts.len() < 12_000, "{} at once", shown.pass.seen.facts.len());
        assert_eq!(shown.totals()[0], Some(7), "the newest come first");
        if !shown.pass.partial {
            break shown;
        }
        let passed: Option<String> = scene.run("HGET", &[ledger("meta").as_str(), "passed"]).await;
        assert_eq!(passed, None, "its datasets are not all written");
        assert_eq!((shown.summary["measurement_duration"].as_u64(), passes < 3), (Some(0), true));
    };
    assert_eq!(whole.totals(), [Some(7), Some(EPOCHS + 1), Some(2)]);
    let next = tracker.recent(NOW + 10).await;
    assert_eq!((next.totals(), next.pass.is_incomplete()), (whole.totals(), false));
    assert_eq!(next.summary["epoch_rate"], 0, "what was there before is no growth");
    assert!(next.pass.seen.facts.len() < 1_100, "{} are still looked at", next.pass.seen.facts.len());
}

#[tokio::test]
async fn keys_that_are_named_by_an_id_in_scientific_notation_are_those_of_the_epoch() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    let (odd, at) = ("2.3000001e+07", NOW - 30);
    scene.run::<()>("SADD", &[&key("epochs:active"), odd]).await;
    scene.zadd(&key("metrics:epochs:timeline"), at, format!("open:{odd}")).await;
    let info = key(&format!("metrics:epoch:{odd}:info"));
    let start = at.to_string();
    scene.run::<()>("HSET", &[&info, "status", "open", "start", &start, "duration", "20"]).await;
    // One producer writes the one form, another one the other.
    for id in ["a", "b", "c"] {
        scene.zadd(&key(&format!("epoch:{odd}:submissions:ids")), at + 5, id).await;
    }
    scene.run::<()>("SADD", &[&key("epoch:23000001:validators"), "validator2"]).await;
    scene.run::<()>("SADD", &[&key(&format!("epoch:{odd}:validators")), "validator3"]).await;
    scene.run::<()>("HSET", &[&key(&format!("epoch:{odd}:state")), "window_status", "open"]).await;
    for reach in [Reach::Everything, Reach::New] {
        let shown = tracker.try_pass(NOW as f64, reach).await.expect("a pass");
        assert_eq!(shown.totals(), [Some(3), Some(1), Some(0)], "{reach:?}");
        assert_eq!(shown.summary["active_validators"], 2, "{reach:?}");
        assert!(shown.pass.faults.is_empty(), "{:?}", shown.pass.faults);
    }
    let count: String = scene.run("HGET", &[&key(&format!("epoch:{odd}:state")), "submissions_count"]).await;
    assert_eq!(count, "3");
    let mut session = tracker.session().await;
    let (candidates, _) =
        tracker.market.latest(&mut session, NOW as f64, &BTreeSet::new()).await.expect("read");
    let current = domain::tracker::current_epoch(&candidates, NOW as f64).expect("there is one");
    assert_eq!((current.epoch.as_str(), current.submissions, current.window), ("23000001", Some(3), 20.0));
    // And the batches, which are known by the existence of their metadata only.
    for kind in ["local", "aggregated"] {
        scene.run::<()>("SET", &[&key(&format!("metrics:batch:{kind}:{odd}")), "{}"]).await;
    }
    scene.run::<()>("SET", &[&key(&format!("metrics:batch:{odd}:validators")), "[\"validator1\"]"]).await;
    // The list of validators is read once a batch is known.
    for (at, included) in [(NOW + 1, 0), (NOW + 2, 1)] {
        let shown = tracker.recent(at).await;
        assert_eq!((shown.totals(), shown.totals.all.included), ([Some(3), Some(1), Some(2)], included));
        assert_eq!(shown.written.sealed, included);
    }
}

#[tokio::test]
async fn keys_in_another_form_than_every_member_are_read_once_their_names_were_found() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 10, "open:23000000").await;
    scene.zadd(&key("epoch:2.3e+07:submissions:ids"), NOW - 5, "a").await;
    assert_eq!(tracker.recent(NOW).await.totals()[0], Some(0), "no member has this form");
    let mut session = tracker.session().await;
    let names = ["23000000", "2.3e+07"].map(str::to_owned);
    let asked = [(tracker.market.keys(), names.into())];
    let (unknown, _) = unknown_epochs(&mut session, &asked).await.expect("answered");
    assert_eq!(unknown, [["2.3e+07".to_owned()].into()]);
    let scope = Scope { named: unknown[0].clone(), ..Scope::summary(Reach::New) };
    let pass = tracker.market.read(&mut session, (NOW + 1) as f64, scope).await.expect("read");
    assert_eq!(tracker.commit(&mut session, pass).await.expect("written").totals()[0], Some(1));
    // Once it is sealed its keys don't count any more.
    tracker.full(NOW + 10_000).await;
    let (unknown, _) = unknown_epochs(&mut session, &asked).await.expect("answered");
    assert_eq!(unknown, [BTreeSet::new()]);
}
