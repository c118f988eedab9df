//! The cleaner beside the other actors of the collector.

use std::{collections::BTreeSet, time::Duration};

use supervision::fail::{Fault, When};
use testkit::{RedisServer, contents::query, wait_until, world::World};

use crate::{
    reach_head,
    tracker::{SOON, Setup, Tracker},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_submissions_of_old_epochs_are_removed_even_if_the_cleaner_crashes() {
    let mut world = World::new(21).await;
    world.grow(200).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    // A market that is not followed.
    let other = "SnapshotCollector.0x0000000000000000000000000000000000000001.1.0x01";
    query::<()>(&mut connection, &["SADD", other, "member"]).await;
    let setup = Setup { clean_every: Duration::from_millis(20), ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    let points = ["cleaner::before_pause", "cleaner::before_round", "cleaner::after_round"];
    for point in points {
        tracker.tree.failure_points().arm(point, "", Fault::Panic, When::Every(2));
    }
    reach_head(&world, &tracker).await;

    let state = tracker.chain_state().await;
    let is_kept = |key: &str| {
        let mut parts = key.split('.').skip(1);
        let (Some(market), Some(epoch)) = (parts.next(), parts.next()) else { return true };
        let market = market.parse().expect("an address");
        let Some(known) = state.markets.get(&market) else { return true };
        let epoch: u64 = epoch.parse().expect("a number");
        known.windows.contains_key(&epoch) || known.current.is_none_or(|current| current <= epoch + 10)
    };
    let collected =
        async || query::<BTreeSet<String>>(&mut connection.clone(), &["KEYS", "SnapshotCollector.*"]).await;
    wait_until("only what is needed is left", SOON, async || {
        collected().await.iter().all(|key| is_kept(key))
    })
    .await;
    let left = collected().await;
    assert!(left.contains(other));
    assert!(left.len() > 1, "the submissions of the last epochs are still there");
    let cleaned = tracker.chain.progress.now().cleaned;
    assert!(cleaned.submissions > 50, "{cleaned:?}");
    wait_until("every point has acted", SOON, async || {
        points.iter().all(|point| tracker.tree.failure_points().passages(point).1 > 0)
    })
    .await;
    tracker.stop().await;
}
