//! Inspecting a real server, as the commands do.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::time::Duration;

use common::{Scene, Tracker, key};
use store_redis::{Inspector, KeyFacts, KeyRequest, KeyType};

async fn inspector(tracker: &Tracker) -> Inspector {
    tracker.store.inspectors().await.expect("reached").pop().expect("one server")
}

#[tokio::test]
async fn a_server_tells_its_version_settings_keys_and_a_clock_that_is_ours() {
    let mut scene = Scene::new().await;
    scene.run::<()>("SET", &["a", "b"]).await;
    let facts = inspector(&scene.tracker()).await.facts().await.expect("answered");
    assert!(facts.info("redis_version").is_some_and(|version| version.contains('.')));
    assert_eq!((facts.setting("save"), facts.setting("timeout"), facts.keys), (Some(""), Some("0"), 1));
    assert!(facts.setting("client-output-buffer-limit").is_some_and(|limits| limits.contains("pubsub")));
    let clock = facts.clock.expect("it has one");
    // Both clocks are this machine's: the difference is only the time of the request.
    assert!(clock.ahead.abs() <= clock.uncertainty + 0.001, "{clock:?}");
    assert_eq!(facts.unanswered, []);
}

#[tokio::test]
async fn keys_are_named_once_with_type_life_and_size_where_asked_for() {
    let mut scene = Scene::new().await;
    for number in 0..1_200 {
        scene.run::<()>("SET", &[format!("session:{number}"), "x".to_owned()]).await;
    }
    scene.run::<()>("SADD", &[key("epochs:active"), "7".to_owned()]).await;
    scene.run::<()>("EXPIRE", &[key("epochs:active"), "600".to_owned()]).await;
    let mut inspector = inspector(&scene.tracker()).await;
    let (mut cursor, mut names) = (0, Vec::new());
    loop {
        let (next, more) = inspector.scan(cursor, "*", 100).await.expect("scanned");
        names.extend(more);
        if next == 0 {
            break;
        }
        cursor = next;
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 1_201);
    let active = key("epochs:active").into_bytes();
    let wanted = [(&active[..], true), (b"session:1", false), (b"gone", true)];
    let wanted = wanted.map(|(key, size)| KeyRequest { key, size });
    let looked = inspector.examine(&wanted).await.expect("looked");
    let facts: Vec<KeyFacts> = looked.into_iter().flatten().collect();
    let [active, session, gone] = facts.try_into().expect("three");
    assert_eq!(active.kind, KeyType::Set);
    assert!(active.expires_in.is_some_and(|lives| lives > Duration::from_secs(500)), "{active:?}");
    assert!(active.bytes.is_some_and(|bytes| bytes > 50), "{active:?}");
    assert_eq!(session, KeyFacts { kind: KeyType::String, expires_in: None, bytes: None });
    assert_eq!(gone, KeyFacts { kind: KeyType::None, expires_in: None, bytes: None });
    assert_eq!(inspector.examine(&[]).await.expect("nothing is asked"), []);
}
