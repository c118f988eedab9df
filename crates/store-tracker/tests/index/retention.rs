//! The retention of the index.

use crate::scene::{Indexing, NOW, life, texts};
use store_tracker::IndexPart;

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
