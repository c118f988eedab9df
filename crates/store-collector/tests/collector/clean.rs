//! Clean-up: what is removed, and that nothing else is.

use std::collections::BTreeSet;

use crate::scene::{Chain, MARKET, OTHER, collected, released};

/// Runs it to completion; returns how many markers and sets of submissions were removed.
async fn clean(chain: &Chain) -> (u64, u64) {
    let (mut cursor, mut markers, mut submissions) = (0, 0, 0);
    loop {
        let cleaned = chain.chain.clean(&mut chain.session().await, cursor, 10).await.expect("cleaned");
        assert_eq!(cleaned.faults, []);
        markers += cleaned.markers;
        submissions += cleaned.submissions;
        cursor = cleaned.cursor;
        if cursor == 0 {
            return (markers, submissions);
        }
    }
}

/// A chain with the finished epoch 100 and the current epoch 120, and sets of submissions of all kinds.
async fn scene(prefix: &str) -> Chain {
    let mut chain = Chain::with(prefix, false).await;
    chain.submit(MARKET, 100, 5, 0, &[("a", 1)]).await;
    chain.accept(20, 0, vec![released(MARKET, 100, 5)]).await;
    chain.hand_over_all().await;
    chain.accept(21, 0, vec![released(MARKET, 120, 21), released(OTHER, 3, 21)]).await;
    for epoch in [1, 109, 110, 120] {
        chain.submit(MARKET, epoch, 6, 0, &[("a", 1)]).await;
    }
    chain.submit(OTHER, 1, 6, 0, &[("a", 1)]).await;
    chain.submit("0x0000000000000000000000000000000000000001", 1, 6, 0, &[("a", 1)]).await;
    for key in ["SnapshotCollector", "SnapshotCollector.x.1.y", "SnapshotCollectors.z", "other"] {
        chain.scene.run::<()>("SADD", &[key, "member"]).await;
    }
    let text = format!("SnapshotCollector.{MARKET}.1.text");
    chain.scene.run::<()>("SET", &[&text, "no set"]).await;
    chain
}

#[tokio::test]
async fn only_markers_of_finished_epochs_and_submissions_of_old_ones_are_removed() {
    let mut chain = scene("").await;
    let marked = format!("EpochMarkerSetKey.{MARKET}");
    for leftover in ["100", "99", "text"] {
        chain.scene.run::<()>("SADD", &[&marked, leftover]).await;
    }
    let before: BTreeSet<String> = chain.dump().await.into_keys().collect();
    assert_eq!(clean(&chain).await, (1, 3));
    let after: BTreeSet<String> = chain.dump().await.into_keys().collect();
    // More than ten epochs behind 120, and without a window.
    let gone: BTreeSet<String> =
        [(100, 5), (1, 6), (109, 6)].map(|(epoch, block)| collected(MARKET, epoch, block, 0)).into();
    assert_eq!(before.difference(&after).cloned().collect::<BTreeSet<_>>(), gone);
    assert!(after.is_subset(&before));
    let members: BTreeSet<String> = chain.scene.run("SMEMBERS", &marked).await;
    assert_eq!(members, ["120", "99", "text"].map(str::to_owned).into());
    assert_eq!(clean(&chain).await, (0, 0));
}

#[tokio::test]
async fn a_shadow_leaves_what_others_have_submitted() {
    let mut chain = scene("shadow").await;
    let before = chain.dump().await;
    assert_eq!(clean(&chain).await, (0, 0));
    assert_eq!(chain.dump().await, before);
}
