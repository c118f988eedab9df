//! Each kind of key, read or written, gets a wrong type in turn: it is reported, its own fields are unknown, and all
//! other fields and datasets are right.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{MARKET, NOW, PROTOCOL, Scene, Tracker, finished_epoch, key, ledger, settings};
use domain::{Address, tracker::current_epoch};
use serde_json::{Map, Value};
use store_redis::ErrorKind;
use store_tracker::{MarketKeys, MarketStore, Reach};

const HOUR: i64 = 3600;
const THIS: i64 = NOW - NOW % HOUR;
/// The second namespace.
const SECOND: &str = "P2:M2";

/// A sealed and an open epoch, two closed ones of which one has a gap, and everything else that producers write.
async fn scene() -> Scene {
    let mut scene = Scene::new().await;
    let mut market = scene.producer();
    finished_epoch(&mut market, 1, 4, NOW - 40).await;
    market.open_epoch(2, NOW - 30).await.expect("opened");
    market.submit(2, 3, NOW - 20).await.expect("submitted");
    market.validators(2, &["validator2", "validator3"], NOW - 20).await.expect("heard");
    market.close_epoch(2, NOW - 10).await.expect("closed");
    market.local_batch(2, NOW - 8).await.expect("batched");
    market.open_epoch(4, NOW - 15).await.expect("opened");
    market.close_epoch(4, NOW - 6).await.expect("closed");
    market.open_epoch(3, NOW - 5).await.expect("opened");
    market.submit(3, 2, NOW - 4).await.expect("submitted");
    market.validators(3, &["validator4"], NOW - 4).await.expect("heard");
    market.vpa(1, 1, true, NOW - 30).await.expect("assigned");
    market.vpa(2, 2, false, NOW - 20).await.expect("assigned");
    market.vpa(3, 0, false, NOW - 5).await.expect("assigned");
    scene.run::<()>("RPUSH", &[key("submissionQueue"), "a".to_owned(), "b".to_owned()]).await;
    scene.run::<()>("HSET", &[&format!("{SECOND}:epoch:2:state"), "onchain_status", "queued"]).await;
    scene
}

fn tracker(scene: &Scene) -> Tracker {
    let keys = MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET))
        .with_priority(&Address::new("P2"), &Address::new("M2"));
    let store = store_redis::Store::new(settings(scene.redis.addr())).expect("settings");
    Tracker { store, market: MarketStore::new(keys, common::VALIDATOR) }
}

/// Faults by key and kind.
type Faults = Vec<(String, ErrorKind)>;

/// One pass of each kind: every field of every dataset as readers find it, and the reported faults.
async fn pass(scene: &mut Scene, tracker: &Tracker, reach: Reach) -> (BTreeMap<String, Value>, Faults) {
    let shown = tracker.try_pass(NOW as f64, reach).await.expect("a pass goes on");
    let mut faults = [shown.pass.faults, shown.written.faults].concat();
    let mut session = tracker.session().await;
    let (candidates, more) =
        tracker.market.latest(&mut session, NOW as f64, &BTreeSet::new()).await.expect("read");
    faults.extend(more);
    let current = current_epoch(&candidates, NOW as f64).expect("there is one");
    let minute = std::time::Duration::from_secs(60);
    tracker
        .market
        .write_current_epoch(&mut session, &current.to_json(NOW as f64).to_string(), minute)
        .await
        .expect("written");
    let mut fields = BTreeMap::new();
    for (name, rest) in [
        ("summary", "dashboard:summary".to_owned()),
        ("participation", "metrics:participation".to_owned()),
        ("current", "metrics:current_epoch".to_owned()),
        ("hour", format!("stats:hourly:{THIS}")),
        ("before", format!("stats:hourly:{}", THIS - HOUR)),
        ("day", "stats:daily".to_owned()),
    ] {
        let text: String = scene.run("GET", key(&rest)).await;
        let object: Map<String, Value> = serde_json::from_str(&text).expect("an object");
        fields.extend(object.into_iter().map(|(field, value)| (format!("{name}.{field}"), value)));
    }
    let stats: BTreeMap<String, String> = scene.run("HGETALL", key("stats:current")).await;
    fields.extend(stats.into_iter().map(|(field, value)| (format!("stats.{field}"), value.into())));
    let gaps: Result<Vec<String>, _> =
        redis::cmd("ZRANGE").arg(key("epochs:gaps")).arg(0).arg(-1).query_async(&mut scene.connection).await;
    fields.insert("gaps.members".to_owned(), gaps.map_or(Value::Null, Value::from));
    for id in [2, 3, 4] {
        let state = key(&format!("epoch:{id}:state"));
        let mut count = redis::cmd("HGET");
        let count =
            count.arg(state).arg("submissions_count").query_async::<String>(&mut scene.connection).await;
        fields.insert(format!("state.{id}"), count.map_or(Value::Null, Value::from));
    }
    (fields, faults.into_iter().map(|fault| (fault.key, fault.kind)).collect())
}

/// Fields of the summary, which are those of the hash too.
fn summary(fields: &[&str]) -> Vec<String> {
    fields.iter().flat_map(|field| [format!("summary.{field}"), format!("stats.{field}")]).collect()
}

/// Each kind of key, whether a wrong type is noticed, and the fields that are unknown then.
fn table() -> Vec<(String, bool, Vec<String>)> {
    let vpa = [
        "vpa_priority_assignments_total",
        "vpa_no_priority_count",
        "vpa_submissions_success",
        "vpa_submissions_failed",
        "vpa_submission_success_rate",
    ];
    let other = |fields: &[&str]| fields.iter().map(ToString::to_string).collect::<Vec<_>>();
    let level1 = ["epochs_participated_24h", "level1_batches_24h", "inclusion_rate"];
    let level1 = level1.map(|field| format!("participation.{field}")).to_vec();
    let recent = summary(&["submissions_1m", "submissions_5m"]);
    // A known gap stays when its epoch can't be read.
    let gaps = [summary(&["epoch_gaps_count", "epoch_gaps_rate"]), other(&["state.4"])].concat();
    let mut table = vec![
        // Read.
        (key("submissionQueue"), true, summary(&["submissions_queue"])),
        (key("epochs:active"), true, vec![]),
        (key("metrics:epochs:timeline"), true, summary(&["epochs_1m", "epochs_5m", "epoch_gaps_rate"])),
        (key("metrics:batches:timeline"), true, summary(&["batches_1m", "batches_5m", "active_validators"])),
        (key("metrics:epoch:3:info"), true, other(&["current.data_market"])),
        (key("epoch:4:state"), true, gaps),
        (key("epoch:2:validators"), true, summary(&["active_validators"])),
        (key("epoch:2:submissions:ids"), true, recent.clone()),
        (key("epoch:3:submissions:ids"), true, recent),
        (key("epoch:2:processed"), true, vec![]),
        (key("metrics:batch:local:2"), false, vec![]),
        (key("metrics:batch:aggregated:1"), false, vec![]),
        (key("metrics:batch:1:validators"), true, summary(&["active_validators"])),
        (key("metrics:validator:validator1:batches"), true, level1),
        (key("vpa:stats"), true, summary(&vpa)),
        (key("vpa:priority:timeline"), true, summary(&["vpa_priority_assignments_24h"])),
        (key("vpa:submission:timeline"), true, summary(&["vpa_submissions_24h"])),
        (format!("{SECOND}:epoch:2:state"), true, vec![]),
        (ledger(&format!("validators:{THIS}")), true, other(&["hour.unique_validators"])),
        (ledger(&format!("validators:{}", THIS - HOUR)), true, other(&["before.unique_validators"])),
    ];
    // Written as a whole, whatever was there.
    for rest in
        ["epochs:gaps", "stats:current", "metrics:participation", "metrics:current_epoch", "stats:daily"]
    {
        table.push((key(rest), false, vec![]));
    }
    for start in [THIS, THIS - HOUR] {
        table.push((key(&format!("stats:hourly:{start}")), false, vec![]));
    }
    table
}

#[tokio::test]
async fn a_wrong_type_at_any_key_is_reported_and_makes_only_its_own_fields_unknown() {
    let mut scene = scene().await;
    let tracker = tracker(&scene);
    tracker.full(NOW).await;
    for reach in [Reach::Everything, Reach::New] {
        let (right, faults) = pass(&mut scene, &tracker, reach).await;
        assert_eq!((faults.len(), &right["gaps.members"]), (0, &Value::from(vec!["4:missing_level1"])));
        assert_eq!(right["state.3"], "2");
        for (name, shows, unknown) in table() {
            let kept = format!("{name}:kept");
            let existed: bool = scene.run("EXISTS", &name).await;
            if existed {
                scene.run::<()>("RENAME", &[&name, &kept]).await;
            }
            // A list is the right type for the queue only.
            let wrong =
                if name.contains("Queue") { ("SET", vec!["spoilt"]) } else { ("RPUSH", vec!["spoilt"]) };
            let mut words = vec![name.as_str()];
            words.extend(wrong.1);
            scene.run::<()>(wrong.0, &words).await;
            let (shown, faults) = pass(&mut scene, &tracker, reach).await;
            let reported = faults.contains(&(name.clone(), ErrorKind::WrongType));
            assert_eq!(reported, shows, "{name}, {reach:?}: {faults:?}");
            assert!(faults.iter().all(|(key, _)| *key == name), "{name}: {faults:?}");
            for (field, value) in &right {
                let shown = shown.get(field).unwrap_or(&Value::Null);
                let expected = if unknown.contains(field) { &Value::Null } else { value };
                assert_eq!(shown, expected, "{name} is a wrong type, {reach:?}: {field}");
            }
            if shows || existed {
                scene.del(std::slice::from_ref(&name)).await;
            }
            if existed {
                scene.run::<()>("RENAME", &[&kept, &name]).await;
            }
            let (mended, faults) = pass(&mut scene, &tracker, reach).await;
            assert_eq!((mended, faults), (right.clone(), vec![]), "{name} was mended");
        }
    }
}

#[tokio::test]
async fn scores_that_are_no_times_make_epochs_that_count_and_belong_to_no_hour() {
    let mut scene = Scene::new().await;
    let tracker = scene.tracker();
    for (member, score) in [
        ("open:1", "-inf"),
        ("open:2", "+inf"),
        ("open:3", "-1795341600"),
        ("open:4", "1e300"),
        ("open:5", "0"),
        ("close:4", "-1e300"),
    ] {
        scene.run::<()>("ZADD", &[&key("metrics:epochs:timeline"), score, member]).await;
        scene.run::<()>("SADD", &[&key("epochs:active"), &member[member.len() - 1..]]).await;
    }
    for (member, score) in [("local:1", "inf"), ("aggregated:1", "-inf"), ("local:2", "9e18")] {
        scene.run::<()>("ZADD", &[&key("metrics:batches:timeline"), score, member]).await;
    }
    for pass in 0..3 {
        let shown = tracker.try_pass((NOW + pass) as f64, Reach::Everything).await.expect("a pass");
        // An entry older than the day is found by the set of active epochs only, a batch not at all.
        assert_eq!(shown.totals(), [Some(0), Some(5), Some(2)], "pass {pass}");
        let hour: String = scene.run("GET", key(&format!("stats:hourly:{THIS}"))).await;
        let hour: Value = serde_json::from_str(&hour).expect("JSON");
        assert_eq!((&hour["epochs"], &hour["batches"]), (&0.into(), &0.into()), "pass {pass}");
        assert_eq!(shown.summary["epochs_5m"], 0);
        let [fault] = &shown.pass.faults[..] else { panic!("{:?}", shown.pass.faults) };
        assert!(fault.detail.contains("times are no times of the past"), "{fault:?}");
    }
}
