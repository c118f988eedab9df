//! What events leave in the keys of an index, and the names of these keys.

use std::collections::BTreeSet;

use store_tracker::{IndexPart, Indexed};

use crate::common::{MARKET, PROTOCOL};
use crate::scene::{CID, Dump, Indexing, NOW, PEER, changes, life, texts};

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
    // Forgetting doesn't touch it either.
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
    // An event that arrives late takes nothing back.
    scene.hear(NOW + 10, &["batch:validator:v:6"]).await;
    assert_eq!(scene.field("validators:last_seen", "v").await, Some((NOW + 4000).to_string()));
}

#[tokio::test]
async fn a_batch_of_any_size_takes_four_round_trips() {
    let scene = Indexing::plain().await;
    scene.hear(NOW, &["epoch:open:1", "batch:validator:v:1"]).await;
    for events in [1_u32, 500] {
        let events: Vec<String> = (0..events)
            .flat_map(|at| [format!("submission:received:s{at}"), format!("batch:validator:v{at}:{at}")])
            .collect();
        let mut session = scene.session().await;
        scene.index.apply(&mut session, &changes(NOW, &texts(&events)), NOW).await.expect("indexed");
        assert_eq!(session.round_trips(), 4);
    }
}
