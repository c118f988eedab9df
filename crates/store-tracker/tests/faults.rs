//! Faulty inputs: each is reported, and affects only what depends on it.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use common::{MARKET, NOW, PROTOCOL, Scene, Shown, Tracker, finished_epoch, key, lower};
use serde_json::Value;
use store_redis::ErrorKind;
use store_tracker::Reach;

/// A market with one finished and one open epoch, two submissions queued.
async fn scene() -> Scene {
    let mut scene = Scene::new().await;
    let mut market = scene.producer();
    finished_epoch(&mut market, 1, 4, NOW - 20).await;
    market.open_epoch(2, NOW - 10).await.expect("opened");
    market.submit(2, 3, NOW - 5).await.expect("submitted");
    market.validators(2, &["validator2", "validator3", "validator4"], NOW - 5).await.expect("heard");
    scene.run::<()>("RPUSH", &[key("submissionQueue"), "a".to_owned(), "b".to_owned()]).await;
    scene
}

fn count(shown: &Shown, name: &str) -> Option<u64> {
    shown.summary[name].as_u64()
}

/// All fields but those that tell the time.
fn fields(shown: &Shown) -> Vec<(String, Value)> {
    let of_time = ["updated_at", "measurement_duration", "epoch_rate", "batch_rate", "submission_rate"];
    let object = shown.summary.as_object().expect("an object").clone();
    object.into_iter().filter(|(name, _)| !of_time.contains(&name.as_str())).collect()
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_reported_and_only_its_own_fields_are_unknown() {
    const SUBMISSIONS: [&str; 4] =
        ["submissions_1m", "submissions_5m", "submissions_total", "processed_submissions"];
    let cases: [(&str, &[&str]); 10] = [
        ("submissionQueue", &["submissions_queue"]),
        ("epochs:active", &[]),
        ("metrics:epochs:timeline", &["epochs_1m", "epochs_5m", "epoch_gaps_rate"]),
        ("metrics:batches:timeline", &["batches_1m", "batches_5m", "active_validators"]),
        ("epoch:2:validators", &["active_validators"]),
        ("epoch:2:submissions:ids", &SUBMISSIONS),
        ("epoch:2:processed", &[]),
        ("metrics:epoch:2:info", &[]),
        ("epoch:2:state", &["epoch_gaps_count", "epoch_gaps_rate"]),
        ("metrics:batch:1:validators", &["active_validators"]),
    ];
    for reach in [Reach::Everything, Reach::New] {
        for (spoilt, unknown) in cases {
            let mut scene = scene().await;
            let tracker = scene.tracker();
            // The first pass of a tracker reads everything; the ledger knows the epochs when it looks back less.
            let before = match reach {
                Reach::Everything => None,
                Reach::New => Some(tracker.full(NOW).await),
            };
            let right = match before {
                Some(_) => tracker.recent(NOW).await,
                None => self::scene().await.tracker().full(NOW).await,
            };
            assert_eq!(right.totals(), [Some(7), Some(2), Some(2)]);
            let (name, kept) = (key(spoilt), before.is_some() && unknown == SUBMISSIONS);
            scene.del(std::slice::from_ref(&name)).await;
            scene.run::<()>("HSET", &[name.as_str(), "spoilt", "yes"]).await;
            if spoilt.contains("info") || spoilt.contains("state") {
                scene.spoil(&name).await;
            }
            let shown = tracker.try_pass(NOW as f64, reach).await.expect("the pass goes on");
            // The plain set is not read where the pass before has found an ordered one.
            let is_read = before.is_none() || spoilt != "epoch:2:processed";
            assert_eq!(
                shown.has_fault(&name, ErrorKind::WrongType),
                is_read,
                "{spoilt}: {:?}",
                shown.pass.faults
            );
            // The ledger keeps what it knew.
            let unknown = if kept { &SUBMISSIONS[..2] } else { unknown };
            for (name, value) in fields(&right) {
                let expected = if unknown.contains(&name.as_str()) { Value::Null } else { value };
                assert_eq!(shown.summary[&name], expected, "{spoilt} is spoilt, {reach:?}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_spoilt_key_is_no_zero_where_its_other_spelling_is_missing() {
    let [lower_protocol, lower_market] = [PROTOCOL, MARKET].map(str::to_lowercase);
    for spell in [key as fn(&str) -> String, lower] {
        let mut scene = scene().await;
        let other: fn(&str) -> String = if spell("") == key("") { lower } else { key };
        let spoilt = ["submissionQueue", "metrics:epochs:timeline", "metrics:batches:timeline"];
        for rest in spoilt {
            scene.del(&[key(rest)]).await;
            scene.spoil(&spell(rest)).await;
        }
        scene.del(&[key("epoch:2:submissions:ids"), other("epoch:2:validators")]).await;
        scene.spoil(&spell("epoch:2:submissions:ids")).await;
        let tracker = Tracker::with(common::settings(scene.redis.addr()), &lower_protocol, &lower_market);
        let shown = tracker.full(NOW).await;
        for name in [
            "submissions_queue",
            "epochs_1m",
            "epochs_5m",
            "batches_1m",
            "batches_5m",
            "submissions_1m",
            "submissions_total",
            "processed_submissions",
            "submission_rate",
        ] {
            assert!(shown.summary[name].is_null(), "{name} is {} with {}", shown.summary[name], spell("*"));
        }
        assert_eq!(shown.totals()[1..], [Some(2), Some(2)]);
    }
}

#[tokio::test]
async fn a_key_that_is_spoilt_under_an_unused_spelling_disturbs_nothing() {
    let [lower_protocol, lower_market] = [PROTOCOL, MARKET].map(str::to_lowercase);
    let mut scene = scene().await;
    for rest in
        ["submissionQueue", "metrics:epochs:timeline", "metrics:batches:timeline", "epoch:2:submissions:ids"]
    {
        scene.spoil(&lower(rest)).await;
    }
    let tracker = Tracker::with(common::settings(scene.redis.addr()), &lower_protocol, &lower_market);
    let shown = tracker.full(NOW).await;
    assert!(shown.has_fault(&lower("submissionQueue"), ErrorKind::WrongType));
    assert_eq!(shown.totals(), [Some(7), Some(2), Some(2)]);
    let counts =
        ["submissions_queue", "epochs_1m", "batches_1m", "submissions_1m"].map(|name| count(&shown, name));
    assert_eq!(counts, [Some(2), Some(2), Some(2), Some(7)]);
}

#[tokio::test]
async fn an_epoch_whose_submissions_can_not_be_read_is_not_sealed_with_a_zero() {
    let mut scene = Scene::new().await;
    let (mut market, tracker) = (scene.producer(), scene.tracker());
    finished_epoch(&mut market, 1, 4, NOW).await;
    let ids = key("epoch:1:submissions:ids");
    scene.run::<()>("RENAME", &[ids.as_str(), "kept"]).await;
    scene.spoil(&ids).await;
    let spoilt = tracker.full(NOW + 1).await;
    assert_eq!((spoilt.written.sealed, spoilt.totals()), (0, [None, Some(1), Some(2)]));
    scene.run::<()>("RENAME", &["kept", ids.as_str()]).await;
    let mended = tracker.recent(NOW + 2).await;
    assert_eq!((mended.written.sealed, mended.totals()), (1, [Some(4), Some(1), Some(2)]));
    // An epoch whose key stays unreadable is sealed when its time is over, and counted as unaccounted.
    finished_epoch(&mut market, 2, 4, NOW).await;
    scene.spoil(&key("epoch:2:submissions:ids")).await;
    assert_eq!(tracker.recent(NOW + 3).await.totals(), [None, Some(2), Some(4)]);
    let over = tracker.recent(NOW + 3700).await;
    assert_eq!((over.written.sealed, over.totals.all.unaccounted), (1, 1));
    let shown = tracker.recent(NOW + 3701).await;
    assert_eq!((shown.totals(), shown.totals.all.unaccounted), ([Some(4), Some(2), Some(4)], 1));
}

#[tokio::test]
async fn a_count_that_was_read_before_its_key_was_spoilt_is_kept() {
    let mut scene = scene().await;
    let tracker = scene.tracker();
    tracker.full(NOW).await;
    scene.spoil(&key("epoch:2:submissions:ids")).await;
    let shown = tracker.recent(NOW + 1).await;
    assert!(shown.totals()[0].is_none_or(|total| total == 7), "{:?}", shown.totals());
    scene.del(&[key("epoch:2:submissions:ids")]).await;
    assert_eq!(tracker.recent(NOW + 2).await.totals()[0], Some(7));
}

#[tokio::test]
async fn validators_in_json_that_can_not_be_read_are_reported_and_are_not_none() {
    for json in ["", "{", "[1,2]", "{\"a\":1}", "null", "[\"validator1\"", "\u{0}"] {
        let mut scene = Scene::new().await;
        let mut market = scene.producer();
        finished_epoch(&mut market, 1, 4, NOW - 20).await;
        let tracker = scene.tracker();
        let name = key("metrics:batch:1:validators");
        assert_eq!(tracker.full(NOW - 10).await.written.sealed, 1);
        scene.run::<()>("SET", &[name.as_str(), json]).await;
        let shown = tracker.recent(NOW).await;
        // An empty text is no list: nothing is wrong with it, and nobody is named.
        let is_reported = shown.has_fault(&name, ErrorKind::Malformed);
        assert_eq!(is_reported, !json.is_empty(), "{json}: {:?}", shown.pass.faults);
        let active = &shown.summary["active_validators"];
        assert_eq!(active.is_null(), is_reported, "{json}: {active}");
        assert_eq!(shown.totals(), [Some(4), Some(1), Some(2)]);
    }
}

#[tokio::test]
async fn odd_times_and_durations_are_reported_and_replaced_by_the_default() {
    for odd in ["NaN", "inf", "-inf", "-5", "soon", "1e400", "1e300", ""] {
        let mut scene = Scene::new().await;
        let mut market = scene.producer();
        market.open_epoch(1, NOW - 5).await.expect("opened");
        let info = key("metrics:epoch:1:info");
        scene.run::<()>("HSET", &[info.as_str(), "duration", odd, "start", odd, "end", odd]).await;
        scene.del(&[key("epoch:1:state")]).await;
        let tracker = scene.tracker();
        let shown = tracker.full(NOW).await;
        assert_eq!((shown.totals()[1], shown.written.sealed), (Some(1), 0), "{odd}");
        assert_eq!(shown.has_fault(&info, ErrorKind::Malformed), !odd.is_empty(), "{odd}");
        assert_eq!(tracker.recent(NOW + 54).await.written.sealed, 0, "{odd}");
        assert_eq!(tracker.recent(NOW + 55 + 3600).await.written.sealed, 1, "{odd}: an hour after 60 s");
    }
}

#[tokio::test]
async fn members_of_any_bytes_are_set_aside_and_reported_once_a_key() {
    let mut scene = scene().await;
    let odd: [&[u8]; 8] =
        [b"", b":", b"open:", b"open:1:2", b"open:::::", b"\xff\xfe:\x00", b"close:\xf0\x28", b"opened:7"];
    for member in odd {
        scene.zadd(&key("metrics:epochs:timeline"), NOW, member).await;
        scene.run::<()>("SADD", &[key("epochs:active").as_bytes(), member]).await;
    }
    for member in [&b"local:"[..], b"aggregated:x", b"local:1:2", b"\xff\xfe"] {
        scene.zadd(&key("metrics:batches:timeline"), NOW, member).await;
    }
    for member in [&b""[..], b"a:b:c:d", b"\x00\xff", &[b':'; 5000]] {
        scene.run::<()>("SADD", &[key("epoch:2:validators").as_bytes(), member]).await;
        scene.zadd(&key("epoch:2:submissions:ids"), NOW, member).await;
    }
    let tracker = scene.tracker();
    for reach in [Reach::Everything, Reach::New] {
        let shown = tracker.try_pass(NOW as f64, reach).await.expect("the pass goes on");
        // An empty member is no submission.
        assert_eq!(shown.totals(), [Some(10), Some(2), Some(2)]);
        assert_eq!(count(&shown, "active_validators"), Some(7));
        for timeline in ["metrics:epochs:timeline", "metrics:batches:timeline"] {
            let faults = shown.pass.faults.iter().filter(|fault| fault.key == key(timeline));
            assert_eq!(faults.clone().count(), 1, "{timeline}");
            assert!(faults.into_iter().all(|fault| fault.detail.len() < 300));
        }
        assert!(!shown.pass.is_incomplete(), "{reach:?}");
    }
}

#[tokio::test]
async fn a_binary_field_disturbs_no_other_field_of_its_hash() {
    let mut scene = Scene::new().await;
    let mut market = scene.producer();
    market.open_epoch(1, NOW).await.expect("opened");
    let info = key("metrics:epoch:1:info");
    let command: [&[u8]; 3] = [info.as_bytes(), b"data_market", b"\xff\xfe"];
    scene.run::<()>("HSET", &command).await;
    let shown = scene.tracker().full(NOW).await;
    let facts = &shown.pass.seen.facts[&common::epoch("1")];
    assert_eq!((facts.open, facts.start, facts.duration), (Some(true), Some(NOW as f64), Some(20.0)));
}

#[tokio::test]
async fn a_user_who_may_not_read_an_input_gets_an_error_that_says_so_and_no_dataset() {
    let mut scene = scene().await;
    let rule = "ACL SETUSER weak on >word ~* &* +@all -llen";
    let words: Vec<&str> = rule.split(' ').collect();
    scene.run::<()>(words[0], &words[1..]).await;
    let mut settings = common::settings(scene.redis.addr());
    let url = format!("redis://weak:word@{}/0", scene.redis.addr());
    settings.servers = redis::IntoConnectionInfo::into_connection_info(url).expect("a URL").into();
    let error = Tracker::with(settings, PROTOCOL, MARKET).try_pass(NOW as f64, Reach::Everything).await;
    let error = error.expect_err("denied");
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.to_string().contains("submissionQueue"), "{error}");
    assert!(!scene.run::<bool>("EXISTS", key("dashboard:summary")).await);
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_is_an_outage_and_not_empty() {
    let mut scene = scene().await;
    scene.run::<()>("CONFIG", &["SET", "busy-reply-threshold", "20"]).await;
    let tracker = scene.tracker();
    let before = tracker.full(NOW).await;
    let mut session = tracker.session().await;
    let mut other = scene.redis.connection().await.expect("a connection");
    let busy = tokio::spawn(async move {
        let mut eval = redis::cmd("EVAL");
        eval.arg("while true do end").arg(0);
        eval.query_async::<()>(&mut other).await
    });
    let mut kind = None;
    for _ in 0..200 {
        if let Err(error) = tracker.look(&mut session, NOW as f64 + 1.0, Reach::New).await {
            kind = Some(error.kind);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let kind = kind.expect("it is busy some time");
    assert!(kind.is_outage(), "{kind:?}");
    scene.run::<()>("SCRIPT", "KILL").await;
    let _ = busy.await;
    assert_eq!(tracker.recent(NOW + 2).await.totals(), before.totals());
}
