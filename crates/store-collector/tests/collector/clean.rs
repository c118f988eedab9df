//! Clean-up: what is removed, and that nothing else is.

use std::collections::BTreeSet;

use crate::scene::{Chain, MARKET, OTHER, collected, market, released};

/// Runs it; returns how many markers and sets of submissions were removed.
async fn clean(chain: &Chain) -> (u64, u64) {
    let markets = [MARKET, OTHER].map(market);
    let cleaned = chain.chain.clean(&mut chain.session().await, &markets).await.expect("cleaned");
    assert_eq!(cleaned.faults, []);
    (cleaned.markers, cleaned.submissions)
}

/// A chain with the finished epochs 100, 109 and 110 and the current epoch 120, and sets of submissions of all kinds.
async fn scene(prefix: &str) -> Chain {
    let mut chain = Chain::with(prefix, false).await;
    for (epoch, block) in [(100, 5), (109, 6), (110, 7)] {
        chain.submit(MARKET, epoch, block, 0, &[("a", 1)]).await;
        chain.submit(MARKET, epoch, block + 1, 0, &[("a", 2)]).await;
        // Neither in its window nor on its branch.
        chain.submit(MARKET, epoch, 4, 0, &[("a", 1)]).await;
        chain.submit(MARKET, epoch, block, 1, &[("a", 1)]).await;
    }
    let releases = vec![released(MARKET, 100, 5), released(MARKET, 109, 6), released(MARKET, 110, 7)];
    chain.accept(20, 0, releases).await;
    chain.hand_over_all().await;
    chain.accept(21, 0, vec![released(MARKET, 120, 21), released(OTHER, 3, 21)]).await;
    chain.submit(MARKET, 120, 21, 0, &[("a", 1)]).await;
    chain.submit(OTHER, 1, 6, 0, &[("a", 1)]).await;
    chain.submit("0x0000000000000000000000000000000000000001", 1, 6, 0, &[("a", 1)]).await;
    for key in ["SnapshotCollector", "SnapshotCollector.x.1.y", "SnapshotCollectors.z", "other"] {
        chain.scene.run::<()>("SADD", &[key, "member"]).await;
    }
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
    assert_eq!(clean(&chain).await, (1, 4));
    let after: BTreeSet<String> = chain.dump().await.into_keys().collect();
    // More than ten epochs behind 120.
    let gone: BTreeSet<String> = [(100, 5), (100, 6), (109, 6), (109, 7)]
        .map(|(epoch, block)| collected(MARKET, epoch, block, 0))
        .into();
    assert_eq!(before.difference(&after).cloned().collect::<BTreeSet<_>>(), gone);
    assert!(after.is_subset(&before));
    let members: BTreeSet<String> = chain.scene.run("SMEMBERS", &marked).await;
    assert_eq!(members, ["120", "99", "text"].map(str::to_owned).into());
    assert_eq!(clean(&chain).await, (0, 0));
    // The next epoch is in no hurry: nothing was forgotten.
    chain.accept(22, 0, vec![released(MARKET, 121, 22)]).await;
    assert_eq!(clean(&chain).await, (0, 2));
    assert!(!chain.scene.run::<bool>("EXISTS", format!("tracker:chain:{MARKET}:ended")).await);
}

#[tokio::test]
async fn what_is_known_of_ended_epochs_has_a_limit_where_no_current_epoch_grows() {
    let mut chain = Chain::new().await;
    chain.accept(3, 0, vec![released(MARKET, 7, 3)]).await;
    let ended = format!("tracker:chain:{MARKET}:ended");
    let fields: Vec<String> =
        (1_000..2_100).flat_map(|epoch| [epoch.to_string(), r#"["0xab"]"#.to_owned()]).collect();
    chain.scene.run::<()>("HSET", &[vec![ended.clone()], fields].concat()).await;
    chain.scene.run::<()>("HSET", &[ended.as_str(), "999", "no list"]).await;
    let markets = [market(MARKET)];
    let cleaned = chain.chain.clean(&mut chain.session().await, &markets).await.expect("cleaned");
    assert_eq!(cleaned.faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [ended.as_str()]);
    let mut left: Vec<u64> = chain.scene.run("HKEYS", &ended).await;
    left.sort_unstable();
    assert_eq!((left.len(), left[0]), (1_000, 1_100));
}

#[tokio::test]
async fn a_shadow_leaves_what_others_have_submitted() {
    let mut chain = scene("shadow").await;
    let mut others = async || {
        let mut all = chain.dump().await;
        all.retain(|key, _| !key.starts_with("shadow:"));
        (all, clean(&chain).await)
    };
    let before = others().await;
    assert_eq!(before.1, (0, 0));
    assert_eq!(others().await, before);
    // It remembers no more of them than it needs.
    let ended: Vec<u64> = chain.scene.run("HKEYS", format!("shadow:tracker:chain:{MARKET}:ended")).await;
    assert_eq!(ended, [110]);
}
