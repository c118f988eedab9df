//! The state index in a real Redis: what events leave there, in both forms of its keys, however often, in whatever
//! order and by however many they are delivered.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{MARKET, PROTOCOL, Scene, settings};
use domain::{
    Address,
    index::{Changes, IndexEvent},
};
use store::{ErrorKind, Index, IndexKeys, IndexPart, Indexed, MarketKeys, Output, Session, Store};
use testkit::{FaultProxy, wait_until};

/// The moment at which most tests happen, in Unix seconds.
const NOW: u64 = 1_800_000_000;
const WEEK: u64 = 7 * 86_400;
const CID: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG";
const PEER: &str = "12D3KooWD3bfmNbuuuVCYwkjnFt3ukm3qaB3hDED3peHHXawvRAi";

/// Everything there is in Redis, but for times of expiry.
type Dump = BTreeMap<String, BTreeSet<String>>;

struct Indexing {
    scene: Scene,
    store: Store,
    index: Index,
}

impl Indexing {
    async fn under(keys: IndexKeys) -> Self {
        let scene = Scene::new().await;
        let store = Store::new(settings(scene.redis.addr())).expect("settings");
        Self { scene, store, index: Index::new(keys, WEEK) }
    }

    async fn plain() -> Self {
        Self::under(IndexKeys::plain(&Output::default())).await
    }

    async fn of_market() -> Self {
        let keys = MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET));
        Self::under(IndexKeys::of_market(&keys)).await
    }

    async fn session(&self) -> Session {
        self.store.session("test").await.expect("a session")
    }

    /// Applies events that were heard at `at`.
    async fn hear(&self, at: u64, events: &[&str]) -> Indexed {
        apply(&self.store, &self.index, at, events).await
    }

    async fn members(&mut self, key: &str) -> Vec<String> {
        let mut members: Vec<String> = self.scene.run("SMEMBERS", key).await;
        members.sort();
        members
    }

    async fn field(&mut self, key: &str, field: &str) -> Option<String> {
        self.scene.run("HGET", &[key, field]).await
    }

    async fn keys(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = self.scene.run("KEYS", "*").await;
        keys.sort();
        keys
    }

    async fn dump(&mut self) -> Dump {
        let mut dump = Dump::new();
        for key in self.keys().await {
            let kind: String = self.scene.run("TYPE", &key).await;
            let content: Vec<String> = match kind.as_str() {
                "set" => self.scene.run("SMEMBERS", &key).await,
                "zset" => {
                    let members: Vec<(String, f64)> =
                        self.scene.run("ZRANGE", &[&key, "0", "-1", "WITHSCORES"]).await;
                    members.into_iter().map(|(member, score)| format!("{member} {score}")).collect()
                }
                "hash" => {
                    let fields: Vec<(String, String)> = self.scene.run("HGETALL", &key).await;
                    fields.into_iter().map(|(field, value)| format!("{field}={value}")).collect()
                }
                other => vec![other.to_owned()],
            };
            dump.insert(key, content.into_iter().collect());
        }
        dump
    }
}

fn changes(at: u64, events: &[&str]) -> Changes {
    let mut changes = Changes::default();
    for event in events {
        changes.add(at, &IndexEvent::parse(event.as_bytes()).expect(event));
    }
    changes
}

async fn apply(store: &Store, index: &Index, at: u64, events: &[&str]) -> Indexed {
    let mut session = store.session("test").await.expect("a session");
    let changes = changes(at, events);
    index.apply(&mut session, &changes, at).await.expect("indexed")
}

/// An epoch's whole life, with its submissions and a validator.
fn life() -> Vec<String> {
    let ids = ["7-pair:UNI-V3-1763900000000000000".to_owned(), format!("7-pair:UNI-V3-42-{CID}")];
    let (colons, other) = ("7:42:pair:UNI:1763900000:peer", "no-form-of-ours");
    let mut all = vec!["epoch:open:7".to_owned()];
    all.extend([&ids[0], colons, other].map(|id| format!("submission:received:{id}")));
    all.push(format!("submission:validated:{}", ids[1]));
    all.push(format!("submission:rejected:{other}"));
    all.push(format!("submission:finalized:{}", ids[1]));
    all.extend(["epoch:closed:7", "part:created:7:0", "batch:local:7"].map(str::to_owned));
    all.push(format!("batch:validator:{PEER}:7"));
    all.push("batch:validator:name:with:colons:8".to_owned());
    all.push("batch:aggregated:7".to_owned());
    all
}

fn texts(events: &[String]) -> Vec<&str> {
    events.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn every_key_of_the_index_follows_from_the_events() {
    let mut scene = Indexing::plain().await;
    let events = life();
    let indexed = scene.hear(NOW, &texts(&events)).await;
    assert_eq!(indexed, Indexed::default());
    let dump = scene.dump().await;
    let holds = |key: &str, members: &[&str]| {
        let expected: BTreeSet<String> = members.iter().map(|&member| member.to_owned()).collect();
        assert_eq!(dump.get(key), Some(&expected), "{key}");
    };
    let (nanos, cid) = ("7-pair:UNI-V3-1763900000000000000", format!("7-pair:UNI-V3-42-{CID}"));
    let (colons, other) = ("7:42:pair:UNI:1763900000:peer", "no-form-of-ours");
    let timed = |member: &str| format!("{member} {NOW}");
    holds("metrics:submissions:by_time", &[&timed(nanos), &timed(&cid), &timed(colons), &timed(other)]);
    holds("metrics:epochs:by_time", &[&timed("7"), &timed("8")]);
    holds("metrics:finalizations:by_time", &[&timed("local:7"), &timed("aggregated:7")]);
    holds("epoch:7:submissions", &[nanos, &cid, colons]);
    holds("epoch:7:validators", &[PEER]);
    holds("epoch:8:validators", &["name:with:colons"]);
    for what in ["epochs", "batches"] {
        holds(&format!("validator:{PEER}:{what}"), &["7"]);
        holds(&format!("validator:name:with:colons:{what}"), &["8"]);
    }
    holds("project:pair:UNI-V3:submissions", &[nanos, &cid]);
    holds("project:pair:UNI:submissions", &[colons]);
    holds("snapshotter:42:submissions", &[&cid, colons]);
    holds("completed:epochs", &["7"]);
    holds("pending:epochs", &["8"]);
    holds("active:submissions", &[nanos, colons]);
    holds("rejected:submissions", &[other]);
    holds("finalized:submissions", &[&cid]);
    holds("online:validators", &[PEER, "name:with:colons"]);
    holds("active:validators", &[PEER, "name:with:colons"]);
    let seen = |validator: &str| format!("{validator}={NOW}");
    holds("validators:last_seen", &[&seen(PEER), &seen("name:with:colons")]);
    holds("validators:peer_mapping", &[&format!("{PEER}={PEER}")]);
    let stats = ["batches=1", "epochs=1", &format!("last_batch_at={NOW}")];
    holds(&format!("validator:{PEER}:stats"), &stats);
    for key in ["active:epochs", "offline:validators", "validators:by_stake"] {
        assert!(!dump.contains_key(key), "{key}");
    }
    for (key, field, value) in [
        ("state:epoch:7", "state", "completed"),
        ("state:epoch:7", "finalizing_at", &NOW.to_string()),
        ("state:epoch:8", "state", "pending"),
        (&format!("state:submission:{cid}"), "state", "finalized"),
        (&format!("state:submission:{cid}"), "project", "pair:UNI-V3"),
        (&format!("state:submission:{colons}"), "peer", "peer"),
        (&format!("state:submission:{colons}"), "slot", "42"),
        (&format!("state:validator:{PEER}"), "state", "active"),
    ] {
        assert_eq!(scene.field(key, field).await.as_deref(), Some(value), "{key} {field}");
    }
}

#[tokio::test]
async fn the_index_of_a_market_stands_under_its_name_and_leaves_the_producers_key_alone() {
    let mut scene = Indexing::of_market().await;
    let of_producers = format!("{PROTOCOL}:{MARKET}:epoch:7:validators");
    scene.scene.run::<()>("SADD", &[&of_producers, "remote"]).await;
    scene.scene.run::<()>("EXPIRE", &[&of_producers, "7200"]).await;
    let events = life();
    scene.hear(NOW, &texts(&events)).await;
    let namespaced = scene.dump().await;
    assert_eq!(scene.members(&of_producers).await, ["remote"]);
    let mut plain = Indexing::plain().await;
    plain.hear(NOW, &texts(&events)).await;
    let mut expected: Dump = plain.dump().await;
    expected.retain(|key, _| !key.starts_with("epoch:") || !key.ends_with(":validators"));
    let mut found: Dump = Dump::new();
    for (key, content) in namespaced.into_iter().filter(|(key, _)| *key != of_producers) {
        let name = key.strip_prefix(&format!("{PROTOCOL}:{MARKET}:")).expect("under the market's name");
        found.insert(name.to_owned(), content);
    }
    assert_eq!(found, expected);
    // Forgetting touches it no more than indexing did.
    let mut session = scene.session().await;
    for part in IndexPart::ALL {
        scene.index.forget(&mut session, part, NOW + 1, 100).await.expect("forgotten");
    }
    assert_eq!(scene.members(&of_producers).await, ["remote"]);
    let lives: i64 = scene.scene.run("TTL", &of_producers).await;
    assert!((7100..=7200).contains(&lives), "it lives {lives} s");
}

#[tokio::test]
async fn a_second_delivery_changes_nothing_and_another_order_comes_to_the_same() {
    let mut scene = Indexing::plain().await;
    let events = life();
    scene.hear(NOW, &texts(&events)).await;
    let once = scene.dump().await;
    // Whole, later; then one by one.
    scene.hear(NOW, &texts(&events)).await;
    assert_eq!(scene.dump().await, once);
    for event in &events {
        scene.hear(NOW, &[event]).await;
    }
    assert_eq!(scene.dump().await, once);

    let states = |dump: &Dump| -> Dump {
        let is_moment = |line: &String| line.split('=').next().is_some_and(|field| field.ends_with("_at"));
        let mut dump = dump.clone();
        dump.values_mut().for_each(|lines| lines.retain(|line| !is_moment(line)));
        dump
    };
    let mut turned = Indexing::plain().await;
    let backwards: Vec<&str> = events.iter().rev().map(String::as_str).collect();
    let mut refused = 0;
    for event in backwards {
        refused += turned.hear(NOW, &[event]).await.backwards;
    }
    assert_eq!(states(&turned.dump().await), states(&once));
    // Of epoch 7: local, part, closed, open. Of submissions: a validated and a received behind it.
    assert_eq!(refused, 6);
}

#[tokio::test]
async fn an_event_that_would_go_backwards_changes_nothing_and_is_counted() {
    let mut scene = Indexing::plain().await;
    scene.hear(NOW, &["batch:local:7", "submission:validated:s"]).await;
    let before = scene.dump().await;
    let events = ["epoch:open:7", "epoch:closed:7", "submission:received:s", "submission:rejected:s"];
    assert_eq!(scene.hear(NOW + 5, &events).await.backwards, 4);
    assert_eq!(scene.dump().await, before);
}

#[tokio::test]
async fn a_crash_between_the_state_and_its_sets_is_made_good_by_the_second_delivery() {
    let mut scene = Indexing::plain().await;
    let events = life();
    scene.hear(NOW, &texts(&events)).await;
    let whole = scene.dump().await;
    for lost in ["completed:epochs", "active:submissions", "rejected:submissions", "online:validators"] {
        scene.scene.del(&[lost.to_owned()]).await;
    }
    // What a crash left undone: the sets of the state before.
    scene.scene.run::<()>("SADD", &["active:epochs", "7"]).await;
    scene.hear(NOW, &texts(&events)).await;
    assert_eq!(scene.dump().await, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_indexers_at_once_leave_every_entity_in_the_set_of_its_state() {
    let mut scene = Indexing::plain().await;
    let steps = ["epoch:open", "epoch:closed", "batch:local", "batch:aggregated"];
    let mut tasks = Vec::new();
    for indexer in 0..4_usize {
        let (store, index) = (scene.store.clone(), scene.index.clone());
        tasks.push(tokio::spawn(async move {
            for epoch in 0..40 {
                for turn in 0..steps.len() {
                    // Each in an order of its own, so that all of them overtake each other.
                    let step = steps[(turn + indexer) % steps.len()];
                    let submission =
                        ["received", "validating", "validated", "finalized"][(turn * 3 + indexer) % 4];
                    let events = [
                        format!("{step}:{epoch}"),
                        format!("submission:{submission}:s{epoch}"),
                        format!("batch:validator:v{}:{epoch}", epoch % 3),
                    ];
                    apply(&store, &index, NOW, &events.each_ref().map(String::as_str)).await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("it indexed");
    }
    let mut all: Vec<String> = (0..40).map(|epoch| epoch.to_string()).collect();
    all.sort();
    assert_eq!(scene.members("completed:epochs").await, all);
    let mut submissions: Vec<String> = (0..40).map(|epoch| format!("s{epoch}")).collect();
    submissions.sort();
    assert_eq!(scene.members("finalized:submissions").await, submissions);
    for empty in ["active:epochs", "pending:epochs", "active:submissions", "rejected:submissions"] {
        assert_eq!(scene.members(empty).await, Vec::<String>::new(), "{empty}");
    }
    assert_eq!(scene.field("validator:v0:stats", "batches").await.as_deref(), Some("14"));
}

#[tokio::test]
async fn validators_fall_with_time_and_rise_with_a_batch() {
    let mut scene = Indexing::plain().await;
    scene.hear(NOW, &["batch:validator:v:7", "batch:validator:w:7"]).await;
    for (after, state, online, active, offline) in [
        (600, "active", true, true, false),
        (601, "inactive", true, false, false),
        (3601, "offline", false, false, true),
    ] {
        let mut session = scene.session().await;
        let aged = scene.index.age_validators(&mut session, 0, 100, NOW + after).await.expect("aged");
        assert_eq!(aged, (0, Vec::new()));
        assert_eq!(scene.field("state:validator:v", "state").await.as_deref(), Some(state));
        for (set, within) in
            [("online:validators", online), ("active:validators", active), ("offline:validators", offline)]
        {
            let expected: &[&str] = if within { &["v", "w"] } else { &[] };
            assert_eq!(scene.members(set).await, expected, "{set} after {after} s");
        }
    }
    scene.hear(NOW + 4000, &["batch:validator:v:8"]).await;
    assert_eq!(scene.members("active:validators").await, ["v"]);
    assert_eq!(scene.members("offline:validators").await, ["w"]);
    // A batch that is heard of late takes nothing back.
    scene.hear(NOW + 10, &["batch:validator:v:6"]).await;
    assert_eq!(scene.field("validators:last_seen", "v").await, Some((NOW + 4000).to_string()));
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_reported_and_every_other_key_is_written() {
    let events = life();
    let whole = {
        let mut scene = Indexing::plain().await;
        scene.hear(NOW, &texts(&events)).await;
        scene.dump().await
    };
    for spoilt in whole.keys() {
        let mut scene = Indexing::plain().await;
        scene.scene.spoil(spoilt).await;
        let indexed = scene.hear(NOW, &texts(&events)).await;
        let wrong = |fault: &store::Fault| fault.kind == ErrorKind::WrongType && fault.key == *spoilt;
        assert!(indexed.faults.iter().any(wrong), "{spoilt}: {:?}", indexed.faults);
        assert!(indexed.faults.iter().all(wrong), "{spoilt}: {:?}", indexed.faults);
        let dump = scene.dump().await;
        let differs: Vec<&String> = whole.keys().filter(|key| dump.get(*key) != whole.get(*key)).collect();
        // Where the state itself is lost, its entity stands in no set of states; counts follow their sets.
        let follows = |key: &String| {
            let of_state = ["epochs", "submissions", "validators"].iter().any(|kind| {
                spoilt.starts_with("state:") && key.split_once(':').is_some_and(|(_, last)| last == *kind)
            });
            let counts = spoilt.starts_with("validator") && key.ends_with(":stats");
            let state = spoilt.starts_with("state:validator") && key.ends_with(":stats");
            key == spoilt || of_state || counts || state
        };
        assert!(differs.iter().all(|key| follows(key)), "{spoilt} kept {differs:?} from being written");
        // The same at the hands of the pruner: all else goes.
        let mut session = scene.session().await;
        for part in IndexPart::ALL {
            scene.index.forget(&mut session, part, NOW + 1, 100).await.expect("forgotten");
        }
        scene.index.forget_validators(&mut session, 0, NOW + 1, 100).await.expect("forgotten");
        scene.index.age_validators(&mut session, 0, 100, NOW).await.expect("aged");
    }
    assert!(whole.len() > 25, "{:?}", whole.keys());
}

#[tokio::test]
async fn a_state_that_is_none_is_reported_and_not_overwritten() {
    let mut scene = Indexing::plain().await;
    scene.scene.run::<()>("HSET", &["state:epoch:7", "state", "dancing"]).await;
    let indexed = scene.hear(NOW, &["epoch:open:7", "epoch:open:8"]).await;
    let [fault] = indexed.faults.as_slice() else { panic!("{:?}", indexed.faults) };
    assert_eq!((fault.key.as_str(), fault.kind), ("state:epoch:7", ErrorKind::Malformed));
    assert_eq!(scene.field("state:epoch:7", "state").await.as_deref(), Some("dancing"));
    assert_eq!(scene.members("active:epochs").await, ["8"]);
}

#[tokio::test]
async fn what_fell_out_of_the_retention_goes_from_every_key_and_the_rest_stays() {
    let mut scene = Indexing::plain().await;
    let young =
        ["epoch:open:9", "submission:received:9-pair:UNI-V3-1763900000000000000", "batch:validator:w:9"];
    scene.hear(NOW + 100, &young).await;
    let kept = scene.dump().await;
    let events = life();
    scene.hear(NOW, &texts(&events)).await;
    let mut session = scene.session().await;
    for part in IndexPart::ALL {
        // In slices of one, until nothing is left.
        loop {
            let (forgotten, faults) =
                scene.index.forget(&mut session, part, NOW + 50, 1).await.expect("forgotten");
            assert_eq!(faults, Vec::new());
            if forgotten == 0 {
                break;
            }
        }
    }
    let (cursor, validators, faults) =
        scene.index.forget_validators(&mut session, 0, NOW + 50, 100).await.expect("forgotten");
    assert_eq!((cursor, validators, faults), (0, 2, Vec::new()));
    assert_eq!(scene.dump().await, kept);
}

#[tokio::test]
async fn a_validator_that_stays_loses_the_epochs_that_go() {
    let mut scene = Indexing::plain().await;
    scene.hear(NOW, &["batch:validator:v:7", "batch:validator:v:8"]).await;
    scene.hear(NOW + 100, &["batch:validator:v:9"]).await;
    let mut session = scene.session().await;
    scene.index.forget(&mut session, IndexPart::Epochs, NOW + 50, 100).await.expect("forgotten");
    assert_eq!(scene.members("validator:v:epochs").await, ["9"]);
    assert_eq!(scene.members("validator:v:batches").await, ["9"]);
    assert_eq!(scene.field("validator:v:stats", "batches").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn keys_of_one_entity_expire_even_where_nobody_prunes() {
    let mut scene = Indexing::plain().await;
    let events = life();
    scene.hear(NOW, &texts(&events)).await;
    let of_all = |key: &str| {
        let last = key.rsplit(':').next().unwrap_or_default();
        matches!(last, "by_time" | "last_seen" | "peer_mapping")
            || matches!(
                key.split(':').next(),
                Some("pending" | "active" | "completed" | "rejected" | "finalized")
            )
            || matches!(key.split(':').next(), Some("online" | "offline"))
    };
    for key in scene.keys().await {
        let lives: i64 = scene.scene.run("TTL", &key).await;
        if of_all(&key) {
            assert_eq!(lives, -1, "{key}");
        } else {
            assert!((2 * 604_800 - 60..=2 * 604_800).contains(&lives), "{key} lives {lives} s");
        }
    }
}

#[tokio::test]
async fn a_batch_of_any_size_takes_three_round_trips() {
    let scene = Indexing::plain().await;
    scene.hear(NOW, &["epoch:open:1", "batch:validator:v:1"]).await;
    for events in [1_u32, 500] {
        let events: Vec<String> = (0..events)
            .flat_map(|at| [format!("submission:received:s{at}"), format!("batch:validator:v{at}:{at}")])
            .collect();
        let mut session = scene.session().await;
        scene.index.apply(&mut session, &changes(NOW, &texts(&events)), NOW).await.expect("indexed");
        assert_eq!(session.round_trips(), 3);
    }
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_costs_no_event() {
    let mut scene = Indexing::plain().await;
    scene.hear(NOW, &["epoch:open:1"]).await;
    scene.scene.run::<()>("SCRIPT", "FLUSH").await;
    assert_eq!(scene.hear(NOW, &["epoch:closed:1", "batch:validator:v:1"]).await, Indexed::default());
    assert_eq!(scene.field("state:epoch:1", "state").await.as_deref(), Some("finalizing"));
    assert_eq!(scene.members("active:validators").await, ["v"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexer_that_is_overtaken_half_way_leaves_the_sets_of_the_later_state() {
    let mut scene = Indexing::plain().await;
    let proxy = FaultProxy::start(scene.scene.redis.addr()).await.expect("a proxy");
    let slow = Store::new(settings(proxy.addr())).expect("settings");
    let index = scene.index.clone();
    apply(&slow, &index, NOW, &["epoch:open:1"]).await;
    // Between the script of the slow one and its sets there are 200 ms, in which the quick one goes all the way.
    proxy.delay(Duration::from_millis(100));
    let overtaken = tokio::spawn(async move {
        apply(&slow, &index, NOW, &["epoch:open:7", "submission:received:s"]).await;
    });
    let mut connection = scene.scene.connection.clone();
    wait_until("the slow one has decided", Duration::from_secs(20), async || {
        let state: Option<String> = redis::cmd("HGET")
            .arg(&["state:epoch:7", "state"])
            .query_async(&mut connection)
            .await
            .expect("answered");
        state.is_some()
    })
    .await;
    scene.hear(NOW, &["batch:aggregated:7", "submission:finalized:s"]).await;
    overtaken.await.expect("it indexed");
    assert_eq!(scene.members("completed:epochs").await, ["7"]);
    assert_eq!(scene.members("active:epochs").await, ["1"]);
    assert_eq!(scene.members("finalized:submissions").await, ["s"]);
    assert_eq!(scene.members("active:submissions").await, Vec::<String>::new());
}

#[tokio::test]
async fn the_documented_rights_are_enough_for_an_index_and_its_pruning() {
    let plain = "~metrics:*:by_time ~epoch:* ~validator:* ~validators:* ~project:* ~snapshotter:* ~state:* \
                 ~*:epochs ~*:submissions ~*:validators";
    let of_market = format!("~{PROTOCOL}:{MARKET}:* ~{{{PROTOCOL}:{MARKET}}}:tracker:*");
    for (mut scene, keys) in [(Indexing::plain().await, plain), (Indexing::of_market().await, &of_market)] {
        let rules = format!(
            "SETUSER tracker on >secret {keys} +@read +@write +@connection +@scripting +@transaction +@pubsub -@dangerous"
        );
        scene.scene.run::<()>("ACL", rules.split_whitespace().collect::<Vec<_>>()).await;
        let mut settings = settings(scene.scene.redis.addr());
        let login =
            settings.connection.redis_settings().clone().set_username("tracker").set_password("secret");
        settings.connection = settings.connection.set_redis_settings(login);
        let store = Store::new(settings).expect("settings");
        let events = life();
        assert_eq!(apply(&store, &scene.index, NOW, &texts(&events)).await, Indexed::default());
        let mut session = store.session("test").await.expect("a session");
        scene.index.age_validators(&mut session, 0, 100, NOW + 700).await.expect("aged");
        for part in IndexPart::ALL {
            let (_, faults) = scene.index.forget(&mut session, part, NOW + 1, 100).await.expect("forgotten");
            assert_eq!(faults, Vec::new());
        }
        scene.index.forget_validators(&mut session, 0, NOW + 1, 100).await.expect("forgotten");
        assert_eq!(scene.keys().await, Vec::<String>::new());
    }
}
