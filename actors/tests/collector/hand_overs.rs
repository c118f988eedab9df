//! Blocks that are accepted while batches are handed over.

use std::time::Duration;

use testkit::{FaultProxy, RedisServer, contents::query, world::World};

use crate::{
    reach_head,
    tracker::{Setup, Tracker},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_overs_that_follow_each_other_faster_than_the_node_answers_hold_up_no_block() {
    let mut world = World::new(18).await;
    world.grow(60).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let node = FaultProxy::start(world.anvil.addr()).await.expect("a proxy");
    let url = format!("http://{}", node.addr());
    let tracker = Tracker::start(&redis.url(), &url, &world.contracts, Setup::default()).await;
    node.delay(Duration::from_millis(100));
    // As preparers do without a pause: each hand-over raises the version of the chain state.
    let mut connection = redis.connection().await.expect("a connection");
    let hand_overs = tokio::spawn(async move {
        loop {
            let _: u64 = query(&mut connection, &["INCR", "tracker:chain:version"]).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    world.grow(20).await;
    reach_head(&world, &tracker).await;
    assert!(tracker.chain.progress.now().conflicts > 0, "nothing was in the way");
    assert_eq!(tracker.restarts(), 0);
    hand_overs.abort();
    tracker.stop().await;
}
