//! Take-over from a predecessor.

use std::time::Duration;

use evm::StartBlock;
use redis::aio::MultiplexedConnection;
use testkit::{
    Emission, RedisServer, RpcFault, RpcProxy,
    contents::{Contents, assert_same, query},
    wait_until,
    world::{WINDOW, World},
};

use crate::{
    reach_head,
    tracker::{SOON, Setup, Tracker},
    undisturbed,
};

/// The keys that other programs read: all but the tracker's own keys and `but`.
fn of_others(all: Contents, but: &str) -> Contents {
    all.into_iter().filter(|(key, _)| !key.starts_with("tracker:") && key != but).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_windows_that_a_predecessor_left_open_are_handed_over_and_once() {
    let mut world = World::new(22).await;
    world.grow(60).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    // Without the tracker's own keys, Redis is as a predecessor leaves it.
    let before = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, Setup::default()).await;
    reach_head(&world, &before).await;
    before.stop().await;
    let own: Vec<String> = query(&mut connection, &["KEYS", "tracker:*"]).await;
    let mut delete = vec!["DEL"];
    delete.extend(own.iter().map(String::as_str));
    assert!(query::<u64>(&mut connection, &delete).await > 4);
    let market = world.contracts.markets[0].clone();
    let marked = format!("EpochMarkerSetKey.{market}");
    let open: u64 = query(&mut connection, &["SCARD", &marked]).await;
    assert!(open > 0, "no window is open");
    // As if the predecessor had crashed before it removed the marker of an epoch that it had handed over.
    let handed: u64 = query(&mut connection, &["EXISTS", &format!("BatchCountKey.{market}.101")]).await;
    assert_eq!(handed, 1);
    query::<()>(&mut connection, &["SADD", &marked, "101"]).await;
    let details = format!("EpochMarkerDetailsKey.{market}.101");
    // One marker has no details.
    query::<()>(&mut connection, &["SADD", &marked, "nonsense"]).await;

    // Some blocks come before the tracker starts: it continues where its predecessor stopped.
    world.grow_collected(40, &mut connection).await;
    let clean_every = Duration::from_millis(20);
    let setup = Setup { start: StartBlock::Latest { back: 0 }, clean_every, ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    reach_head(&world, &tracker).await;
    wait_until("the marker of what was handed over is gone", SOON, async || {
        !query::<bool>(&mut connection.clone(), &["SISMEMBER", &marked, "101"]).await
    })
    .await;
    assert!(query::<i64>(&mut connection, &["TTL", &details]).await > 0, "its details are kept for a while");
    tracker.stop().await;
    query::<()>(&mut connection, &["SREM", &marked, "nonsense"]).await;
    let found = of_others(world.left(&mut connection).await, &details);
    assert_same(&found, &of_others(undisturbed(&world, Setup::default()).await, &details));
    // The day is read from the contract; without it the submissions of the taken-over windows would not be counted for slots.
    assert!(found.keys().any(|key| key.starts_with("SlotSubmissionsKey.")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_that_another_program_hands_over_are_reported_and_not_handed_over_again() {
    let mut world = World::new(24).await;
    let market = world.contracts.markets[0].clone();
    world.emit(&market, &Emission::EpochReleased { epoch: 1, begin: 0, end: 1 }).await;
    world.mine().await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    query::<()>(&mut connection, &["SET", &format!("BatchCountKey.{market}.1"), "3"]).await;
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, Setup::default()).await;
    for _ in 0..=WINDOW {
        world.mine().await;
    }
    reach_head(&world, &tracker).await;
    // The preparer counts after its write, which is all that `reach_head` waits for.
    let address = market.parse().expect("an address");
    let prepared = wait_until("the epoch is counted", SOON, async || {
        tracker.chain.progress.now().prepared.get(&address).copied()
    })
    .await;
    assert_eq!((prepared.elsewhere, prepared.epochs), (1, 0), "{prepared:?}");
    assert_eq!(query::<u64>(&mut connection, &["EXISTS", "finalizerQueue"]).await, 0);
    let marked = format!("EpochMarkerSetKey.{market}");
    assert_eq!(query::<u64>(&mut connection, &["SCARD", &marked]).await, 0, "the epoch is finished");
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_whose_tracker_is_away_is_followed_by_the_other_one_and_loses_no_epoch() {
    let mut world = World::new(23).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let (url, node) = (redis.url(), world.anvil.url());
    let [one, other] = [0, 1].map(|index| world.contracts.markets[index].clone());
    let mut first_alone = world.contracts.clone();
    first_alone.markets.truncate(1);
    let setup = Setup::default();
    let both = Tracker::start(&url, &node, &world.contracts, setup).await;
    reach_head(&world, &both).await;
    both.stop().await;
    // The tracker of the other market is away while its day changes and an epoch of it is released.
    let alone = Tracker::start(&url, &node, &first_alone, setup).await;
    for market in [&one, &other] {
        let views = [WINDOW, 86_400_000_000, 10, 8, 7_200];
        world.anvil.set_market(&world.contracts, market, views).await.expect("set");
        world.emit(market, &Emission::DayStarted { day: 8 }).await;
        world.emit(market, &Emission::EpochReleased { epoch: 1, begin: 0, end: 1 }).await;
    }
    world.mine().await;
    collect(&world, &mut connection, &other, 1, 18).await;
    reach_head(&world, &alone).await;
    alone.stop().await;

    let both = Tracker::start(&url, &node, &world.contracts, setup).await;
    world.emit(&other, &Emission::EpochReleased { epoch: 2, begin: 0, end: 1 }).await;
    world.mine().await;
    collect(&world, &mut connection, &other, 2, 17).await;
    for _ in 0..=WINDOW {
        world.mine().await;
    }
    reach_head(&world, &both).await;
    let count = |epoch: u64| format!("BatchCountKey.{other}.{epoch}");
    for (epoch, slot) in [(1, 18), (2, 17)] {
        assert_eq!(query::<Option<u64>>(&mut connection, &["GET", &count(epoch)]).await, Some(1));
        let of_day = |day: u64| format!("SlotSubmissionsKey.{other}.{day}.{slot}");
        assert_eq!(query::<Option<u64>>(&mut connection, &["GET", &of_day(8)]).await, Some(1));
        assert_eq!(query::<Option<u64>>(&mut connection, &["GET", &of_day(7)]).await, None);
    }
    both.stop().await;
}

/// Submits for an epoch at the newest block.
async fn collect(world: &World, connection: &mut MultiplexedConnection, market: &str, epoch: u64, slot: u64) {
    let block = world.anvil.block(world.height().await).await.expect("asked").expect("the head").0;
    let key = format!("SnapshotCollector.{market}.{epoch}.{block}");
    query::<()>(connection, &["SADD", &key, &format!("{market}.{epoch}.project.{slot}")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_whose_release_block_was_discarded_is_left_out_and_following_begins() {
    let mut world = World::new(23).await;
    world.grow(40).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let market = world.contracts.markets[0].clone();
    let height = world.height().await;
    // One release block is there, the other is not.
    for (epoch, block) in [(9_001, 5), (9_002, height - 3)] {
        let details = format!("{{\"EpochReleaseBlockNumber\":{block},\"SubmissionLimitBlockNumber\":0}}");
        query::<()>(&mut connection, &["SADD", &format!("EpochMarkerSetKey.{market}"), &epoch.to_string()])
            .await;
        query::<()>(&mut connection, &["SET", &format!("EpochMarkerDetailsKey.{market}.{epoch}"), &details])
            .await;
    }
    let node = RpcProxy::start(world.anvil.addr()).await.expect("a proxy");
    node.set(RpcFault::Pruned(height - 10));
    let setup = Setup { start: StartBlock::Latest { back: 0 }, max_reorg_depth: 5, ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &node.url(), &world.contracts, setup).await;
    reach_head(&world, &tracker).await;
    let windows = tracker.chain_state().await.markets[&market.parse().expect("an address")].windows.clone();
    assert_eq!(windows.keys().copied().collect::<Vec<_>>(), [9_002]);
    tracker.stop().await;
}
