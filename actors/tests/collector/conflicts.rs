//! What a tracker has concluded from a state that another one has changed since.

use supervision::fail::{Fault, When};
use testkit::{RedisServer, wait_until, world::World};

use crate::{
    reach_head,
    tracker::{SOON, Setup, Tracker},
};

const POINT: &str = "block_fetcher::before_write";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn blocks_that_another_tracker_has_accepted_meanwhile_are_not_dropped_by_an_older_conclusion() {
    let setup = Setup::default();
    let mut world = World::new(21).await;
    world.grow(30).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let (url, node) = (redis.url(), world.anvil.url());
    let slow = Tracker::start(&url, &node, &world.contracts, setup).await;
    reach_head(&world, &slow).await;
    // It is about to drop two blocks.
    let points = slow.tree.failure_points();
    points.arm(POINT, "", Fault::Spin, When::Times(1));
    let held = points.passages(POINT).1;
    world.reorganise(2).await;
    wait_until("it has seen the reorganisation", SOON, async || points.passages(POINT).1 > held).await;
    let other = Tracker::start(&url, &node, &world.contracts, setup).await;
    world.grow(5).await;
    reach_head(&world, &other).await;
    assert_eq!(other.chain.progress.now().reorganisations, 1);
    other.stop().await;
    points.disarm(POINT);
    world.grow(1).await;
    reach_head(&world, &slow).await;
    let progress = slow.chain.progress.now();
    assert!(progress.conflicts > 0, "nothing was in the way");
    assert_eq!((progress.reorganisations, slow.restarts()), (0, 0));
    slow.stop().await;
}
