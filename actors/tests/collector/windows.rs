//! Windows whose end is in doubt, and epochs that can't be prepared.

use std::time::Duration;

use actors::collector::Budgets;
use domain::chain::WindowState;
use supervision::fail::{Fault, When};
use testkit::{Emission, RedisServer, RpcFault, RpcProxy, contents::query, wait_until, world::World};

use crate::{
    reach_head,
    tracker::{SOON, Setup, Tracker},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_closes_no_window_while_the_chain_is_shorter_than_what_was_accepted() {
    let mut world = World::new(11).await;
    world.set_window(3).await;
    let market = world.contracts.markets[0].clone();
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let setup = Setup { silence: 1, ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    world.emit(&market, &Emission::EpochReleased { epoch: 77, begin: 0, end: 1 }).await;
    world.mine().await;
    reach_head(&world, &tracker).await;
    // The chain loses the block that released the epoch, and stays shorter.
    world.anvil.roll_back(1).await.expect("rolled back");
    let window = async || {
        let state = tracker.chain_state().await;
        state.markets[&market.parse().expect("an address")].windows.get(&77).copied()
    };
    let limit = window().await.expect("it is open").limit;
    wait_until("the limit and the silence are over", SOON, async || {
        tracker.chain.progress.chain_time().is_some_and(|now| now > limit + setup.silence + 1)
    })
    .await;
    assert_eq!(window().await.map(|window| window.state), Some(WindowState::Open));
    let count = format!("BatchCountKey.{market}.77");
    assert_eq!(query::<Option<u64>>(&mut connection, &["GET", &count]).await, None);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_block_whose_time_was_ahead_does_not_end_the_windows_after_it() {
    let mut world = World::new(20).await;
    let market = world.contracts.markets[0].clone();
    let redis = RedisServer::start().await.expect("a Redis server");
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, Setup::default()).await;
    let time = world.anvil.block(world.height().await).await.expect("asked").expect("a head").2;
    world.anvil.mine_at(time + 500).await.expect("mined");
    reach_head(&world, &tracker).await;
    world.anvil.roll_back(1).await.expect("rolled back");
    world.emit(&market, &Emission::EpochReleased { epoch: 77, begin: 0, end: 1 }).await;
    world.mine().await;
    reach_head(&world, &tracker).await;
    // A few polls at the head: at each of them the clock could close the window.
    let requests = tracker.chain.source.counters().requests();
    wait_until("the head was read again", SOON, async || {
        tracker.chain.source.counters().requests() > requests + 10
    })
    .await;
    let state = tracker.chain_state().await;
    let window = state.markets[&market.parse().expect("an address")].windows.get(&77).copied();
    assert_eq!(window.map(|window| window.state), Some(WindowState::Open));
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node_a_window_is_closed_before_its_submissions_expire() {
    let mut world = World::new(12).await;
    world.set_window(2).await;
    let market = world.contracts.markets[0].clone();
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    // The submissions live 20 s, of which two seconds are the margin: so the last moment to close is 16 s after the release.
    let budgets = Budgets { events: Duration::from_secs(1), ..Budgets::default() };
    let setup = Setup { inputs_live: 20, budgets, ..Setup::default() };
    let proxy = testkit::FaultProxy::start(world.anvil.addr()).await.expect("a proxy");
    let node = format!("http://{}", proxy.addr());
    let tracker = Tracker::start(&redis.url(), &node, &world.contracts, setup).await;
    world.emit(&market, &Emission::EpochReleased { epoch: 77, begin: 0, end: 1 }).await;
    world.mine().await;
    reach_head(&world, &tracker).await;
    proxy.set_upstream("127.0.0.1:1".parse().expect("an address"));
    proxy.cut();
    let count = format!("BatchCountKey.{market}.77");
    wait_until("its batches are counted", SOON, async || {
        query::<Option<u64>>(&mut connection.clone(), &["GET", &count]).await == Some(0)
    })
    .await;
    let expired = tracker.chain.progress.now().prepared.values().map(|all| all.expired).sum::<u64>();
    assert_eq!(expired, 0);
    let _: u64 = query(&mut connection, &["DEL", &count]).await;
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_epoch_that_expires_between_its_reading_and_its_hand_over_is_not_handed_over() {
    const POINT: &str = "batch_preparer::before_write";
    let mut world = World::new(22).await;
    world.set_window(2).await;
    let market = world.contracts.markets[0].clone();
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    // Of which a second is the margin.
    let setup = Setup { inputs_live: 10, ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    reach_head(&world, &tracker).await;
    let points = tracker.tree.failure_points();
    points.arm(POINT, "", Fault::Spin, When::Times(1));
    world.emit(&market, &Emission::EpochReleased { epoch: 77, begin: 0, end: 1 }).await;
    for _ in 0..4 {
        world.mine().await;
    }
    wait_until("the submissions are read", SOON, async || points.passages(POINT).1 > 0).await;
    let windows = tracker.chain_state().await.markets[&market.parse().expect("an address")].windows.clone();
    let expires = windows[&77].expires;
    wait_until("they have expired", SOON, async || {
        let time: Vec<String> = query(&mut connection.clone(), &["TIME"]).await;
        time[0].parse::<u64>().expect("a time") > expires
    })
    .await;
    points.disarm(POINT);
    let prepared = || {
        let progress = tracker.chain.progress.now();
        progress.prepared.values().fold((0, 0), |sum, all| (sum.0 + all.epochs, sum.1 + all.expired))
    };
    wait_until("the epoch is over", SOON, async || prepared() != (0, 0)).await;
    assert_eq!(prepared(), (0, 1));
    let count = format!("BatchCountKey.{market}.77");
    assert_eq!(query::<Option<u64>>(&mut connection, &["GET", &count]).await, None);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_with_a_broken_key_holds_up_no_other_and_is_prepared_once_it_is_mended() {
    let mut world = World::new(13).await;
    world.grow(60).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let market = world.contracts.markets[0].clone();
    // The first epoch of the market.
    let broken = format!("BatchCountKey.{market}.100");
    let _: u64 = query(&mut connection, &["SADD", &broken, "a member"]).await;
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, Setup::default()).await;
    let closed = async || {
        let state = tracker.chain_state().await;
        let windows = &state.markets[&market.parse().expect("an address")].windows;
        let is_closed = |state: &WindowState| matches!(state, WindowState::Closed { .. });
        windows.iter().filter(|(_, window)| is_closed(&window.state)).map(|(epoch, _)| *epoch).collect()
    };
    let height = world.height().await;
    wait_until("all other epochs are handed over", SOON, async || {
        let accepted = tracker.chain_state().await.checkpoint.is_some_and(|at| at.number == height);
        let left: Vec<u64> = closed().await;
        accepted && left == [100]
    })
    .await;
    let _: u64 = query(&mut connection, &["DEL", &broken]).await;
    wait_until("it is handed over too", Duration::from_secs(60), async || {
        let left: Vec<u64> = closed().await;
        left.is_empty()
    })
    .await;
    assert_eq!(tracker.restarts(), 0);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_whose_contract_reverts_or_hangs_holds_up_no_other_and_loses_no_epoch() {
    for hangs in [false, true] {
        let mut world = World::new(14).await;
        world.set_window(3).await;
        let [bad, good] = [0, 1].map(|index| world.contracts.markets[index].clone());
        let node = RpcProxy::start(world.anvil.addr()).await.expect("a proxy");
        let argument = bad.to_lowercase().replace("0x", "");
        if hangs {
            // With the zeros before it, only the argument of a view function holds the address.
            node.hold(&format!("{:0>64}", argument));
        } else {
            node.set(RpcFault::Reverts(argument));
        }
        let redis = RedisServer::start().await.expect("a Redis server");
        let connection = redis.connection().await.expect("a connection");
        let budgets = Budgets { contract_values: Duration::from_secs(3), ..Budgets::default() };
        let setup = Setup { budgets, ..Setup::default() };
        let tracker = Tracker::start(&redis.url(), &node.url(), &world.contracts, setup).await;
        wait_until("both markets are followed", SOON, async || {
            tracker.chain_state().await.followed.len() == 2
        })
        .await;
        for market in [&bad, &good] {
            world.emit(market, &Emission::EpochReleased { epoch: 77, begin: 0, end: 1 }).await;
        }
        for _ in 0..5 {
            world.mine().await;
        }
        let counted = async |market: &str| {
            let count = format!("BatchCountKey.{market}.77");
            query::<Option<u64>>(&mut connection.clone(), &["GET", &count]).await == Some(0)
        };
        wait_until("the other market is prepared", SOON, async || counted(&good).await).await;
        let state = tracker.chain_state().await;
        let windows = &state.markets[&bad.parse().expect("an address")].windows;
        assert_eq!(windows[&77].state, WindowState::Unmeasured);
        assert!(tracker.metrics().contains("operation=\"query_contracts\"") || hangs);
        // Its contract answers at last.
        node.clear();
        node.release();
        wait_until("the market is prepared", SOON, async || counted(&bad).await).await;
        assert_eq!(tracker.restarts(), 0);
        tracker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_lasts_as_long_as_the_contract_said_when_its_epoch_was_released() {
    let mut world = World::new(15).await;
    let market = world.contracts.markets[0].clone();
    for (epoch, seconds) in [(77, 30), (78, 50)] {
        world.set_window(seconds).await;
        world.emit(&market, &Emission::EpochReleased { epoch, begin: 0, end: 1 }).await;
        world.mine().await;
    }
    let redis = RedisServer::start().await.expect("a Redis server");
    // When it begins, the contract says 50.
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, Setup::default()).await;
    reach_head(&world, &tracker).await;
    let state = tracker.chain_state().await;
    let windows = &state.markets[&market.parse().expect("an address")].windows;
    assert_eq!([77, 78].map(|epoch| windows[&epoch].length()), [Some(30), Some(50)]);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_values_are_read_though_their_actor_crashes_at_every_point() {
    let mut world = World::new(16).await;
    world.grow(30).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let setup = Setup { refresh_every: Duration::from_millis(20), ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    let points =
        ["contract_values::before_pause", "contract_values::before_round", "contract_values::after_round"];
    for point in points {
        tracker.tree.failure_points().arm(point, "", Fault::Panic, When::Every(2));
    }
    wait_until("every point has acted", SOON, async || {
        points.iter().all(|point| tracker.tree.failure_points().passages(point).1 > 0)
    })
    .await;
    reach_head(&world, &tracker).await;
    assert_eq!(tracker.chain.lengths.now().len(), 2);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_value_that_no_node_gave_is_asked_for_again_soon() {
    let mut world = World::new(17).await;
    world.grow(5).await;
    let node = RpcProxy::start(world.anvil.addr()).await.expect("a proxy");
    // `epochsInADay`: the lengths of the windows, which are asked for again in any case, are there.
    node.hold("0x0a1b7227");
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let budgets = Budgets { contract_values: Duration::from_secs(2), ..Budgets::default() };
    // The next regular round is an hour away.
    let setup = Setup { budgets, ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &node.url(), &world.contracts, setup).await;
    wait_until("both markets are followed", SOON, async || tracker.chain_state().await.followed.len() == 2)
        .await;
    let failures = || {
        let metrics = tracker.metrics();
        let counts = metrics.lines().filter(|line| line.contains("operation=\"query_contracts\""));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    let before = failures();
    wait_until("a round has failed", SOON, async || node.held() > 0 && failures() > before).await;
    assert_eq!(tracker.chain.lengths.now().len(), 2);
    node.release();
    let market = world.contracts.markets[0].clone();
    let key = format!("ProtocolState.{}.EpochsInADay", tracker.chain.settings.markets[0].1);
    wait_until("it is there", SOON, async || {
        query::<Option<String>>(&mut connection, &["GET", &key]).await.is_some()
    })
    .await;
    assert!(key.to_lowercase().contains(&market.to_lowercase()));
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_is_asked_at_the_very_block_that_released_an_epoch() {
    let mut world = World::new(19).await;
    let node = RpcProxy::start(world.anvil.addr()).await.expect("a proxy");
    let redis = RedisServer::start().await.expect("a Redis server");
    let tracker = Tracker::start(&redis.url(), &node.url(), &world.contracts, Setup::default()).await;
    reach_head(&world, &tracker).await;
    // By its hash: a node on another branch would tell another day of a block with the same number.
    node.hold("},{\"blockHash\"");
    let market = world.contracts.markets[0].clone();
    world.emit(&market, &Emission::EpochReleased { epoch: 77, begin: 0, end: 1 }).await;
    world.mine().await;
    wait_until("it is asked for length and day", SOON, async || node.held() >= 2).await;
    node.release();
    reach_head(&world, &tracker).await;
    tracker.stop().await;
}
