//! The collector with a real node and a real Redis: whatever happens to it or to the chain, Redis ends with the state of an
//! undisturbed run, key by key.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub)] // A test that can't continue panics.

mod cancelled;
mod cleaning;
#[path = "../common/mod.rs"]
mod common;
mod conflicts;
mod durations;
mod hand_overs;
mod rewards;
mod taking_up;
mod tracker;
mod windows;

use std::time::Duration;

use domain::chain::WindowState;
use evm::StartBlock;
use testkit::{
    Emission, RedisServer,
    contents::{Contents, assert_same, query},
    wait_until,
    world::{WINDOW, World},
};
use tracker::{SOON, Setup, Tracker};

/// The state that an undisturbed run over the present chain leaves in Redis.
async fn undisturbed(world: &World, setup: Setup) -> Contents {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    reach_head(world, &tracker).await;
    assert_eq!(tracker.restarts(), 0, "it was to be undisturbed");
    tracker.stop().await;
    world.left(&mut connection).await
}

async fn reach_head(world: &World, tracker: &Tracker) {
    let height = world.height().await;
    let (hash, ..) = world.anvil.block(height).await.expect("asked").expect("the head");
    tracker.caught_up(height, &hash).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_at_every_step_leave_the_state_of_an_undisturbed_run() {
    let setup = Setup::default();
    let mut world = World::new(1).await;
    world.grow(2_000).await;
    assert!(world.releases() > 500, "{} epochs", world.releases());
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    common::arm_collector(&tracker.tree, 3);
    reach_head(&world, &tracker).await;
    assert!(tracker.restarts() > 100, "{} restarts", tracker.restarts());
    let failed = |point: &&str| tracker.tree.failure_points().passages(point).1 > 0;
    // A large segment is one write, so a catch-up has few; single blocks add as many as it takes.
    for _ in 0..100 {
        if common::COLLECTOR_POINTS.iter().all(failed) {
            break;
        }
        world.grow_collected(1, &mut connection).await;
        reach_head(&world, &tracker).await;
    }
    let spared: Vec<_> = common::COLLECTOR_POINTS.into_iter().filter(|point| !failed(point)).collect();
    assert!(spared.is_empty(), "{spared:?} never failed");
    tracker.stop().await;
    let expected = undisturbed(&world, setup).await;
    assert!(expected.keys().filter(|key| key.starts_with("BatchCountKey.")).count() > 500);
    assert_same(&world.left(&mut connection).await, &expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reorganisations_of_any_depth_between_crashes_leave_the_state_of_the_final_chain() {
    let setup = Setup::default();
    let mut world = World::new(2).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.grow(40).await;
    world.collect(&mut connection, 0).await;
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    common::arm_collector(&tracker.tree, 4);
    for depth in (1..=12).chain((1..=12).rev()) {
        // At odd depths the tracker may be at any block when the chain is reorganised.
        if depth % 2 == 0 {
            reach_head(&world, &tracker).await;
        }
        world.reorganise_collected(depth, &mut connection).await;
        let blocks = 1 + world.dice.roll(30);
        world.grow_collected(blocks, &mut connection).await;
    }
    reach_head(&world, &tracker).await;
    let reorganisations = tracker.chain.progress.now().reorganisations;
    // Fewer are counted than made: an incarnation may crash between the write and the count, and on a busy machine the tracker meets
    // two of them as one.
    assert!(reorganisations > 0, "no reorganisation was followed");
    assert!(tracker.restarts() > 20, "{} restarts", tracker.restarts());
    tracker.stop().await;
    assert_same(&world.left(&mut connection).await, &undisturbed(&world, setup).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_trackers_by_mistake_leave_the_state_of_one() {
    let setup = Setup::default();
    let mut world = World::new(3).await;
    world.grow(300).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let (url, node) = (redis.url(), world.anvil.url());
    let one = Tracker::start(&url, &node, &world.contracts, setup).await;
    let other = Tracker::start(&url, &node, &world.contracts, setup).await;
    reach_head(&world, &one).await;
    world.grow_collected(100, &mut connection).await;
    reach_head(&world, &other).await;
    let conflicts = one.chain.progress.now().conflicts + other.chain.progress.now().conflicts;
    assert!(conflicts > 0, "the two never conflicted");
    one.stop().await;
    other.stop().await;
    assert_same(&world.left(&mut connection).await, &undisturbed(&world, setup).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trackers_with_different_markets_leave_the_state_of_one_with_all_of_them() {
    let setup = Setup::default();
    let mut world = World::new(8).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let (url, node) = (redis.url(), world.anvil.url());
    let trackers = [0, 1].map(|index| {
        let mut contracts = world.contracts.clone();
        contracts.markets = vec![contracts.markets.swap_remove(index)];
        let (url, node) = (url.clone(), node.clone());
        async move { Tracker::start(&url, &node, &contracts, setup).await }
    });
    // Both are there before the first block is followed, so that none has epochs to take over.
    let [one, other] = trackers;
    let (one, other) = tokio::join!(one, other);
    wait_until("both markets are followed", SOON, async || one.chain_state().await.followed.len() == 2).await;
    for _ in 0..5 {
        world.grow_collected(10, &mut connection).await;
        reach_head(&world, &one).await;
        world.reorganise_collected(3, &mut connection).await;
        // More than the undo log keeps: its entries tell which epochs were handed over when the reorganisation came.
        world.grow_collected(40, &mut connection).await;
        reach_head(&world, &other).await;
    }
    one.stop().await;
    other.stop().await;
    let left = world.left(&mut connection).await;
    for market in &world.contracts.markets {
        let counts = left.keys().filter(|key| key.starts_with(&format!("BatchCountKey.{market}"))).count();
        assert!(counts > 20, "{counts} epochs of {market}");
    }
    assert_same(&left, &undisturbed(&world, setup).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorganisation_beyond_the_limit_stops_only_the_fetcher_and_changes_nothing() {
    let mut setup = Setup { max_reorg_depth: 5, ..Setup::default() };
    setup.policy.intensity.max_restarts = 2;
    setup.policy.intensity.within = Duration::from_secs(60);
    let mut world = World::new(4).await;
    world.grow(60).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    reach_head(&world, &tracker).await;
    let before = world.left(&mut connection).await;
    world.reorganise(8).await;
    world.grow(2).await;
    let fetcher = || {
        let health = tracker.tree.health();
        health.into_iter().find(|actor| actor.path == "block-fetcher").expect("it is there")
    };
    wait_until("the fetcher is degraded", SOON, async || fetcher().degraded).await;
    let crash = fetcher().last_crash.expect("a reason");
    assert!(crash.message.contains("all of the last 5 accepted blocks"), "{}", crash.message);
    let others = tracker.tree.health();
    assert!(others.iter().filter(|actor| actor.path != "block-fetcher").all(|actor| !actor.degraded));
    assert_same(&world.left(&mut connection).await, &before);
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorganisation_that_drops_the_first_block_right_after_the_start_is_followed() {
    let mut world = World::new(9).await;
    world.grow(30).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let first = world.height().await;
    let setup = Setup { start: StartBlock::Number(first), ..Setup::default() };
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    reach_head(&world, &tracker).await;
    world.reorganise(4).await;
    world.grow(2).await;
    reach_head(&world, &tracker).await;
    assert_eq!((tracker.restarts(), tracker.chain.progress.now().reorganisations), (0, 1));
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lower_branch_is_not_followed_before_it_is_as_high() {
    let mut world = World::new(23).await;
    world.grow(30).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, Setup::default()).await;
    reach_head(&world, &tracker).await;
    let before = tracker.chain_state().await.checkpoint;
    world.anvil.roll_back(5).await.expect("rolled back");
    // Its blocks have other times, and so other hashes.
    world.grow(3).await;
    let requests = tracker.chain.source.counters().requests();
    wait_until("the lower head was read", SOON, async || {
        tracker.chain.source.counters().requests() > requests + 10
    })
    .await;
    assert_eq!(tracker.chain_state().await.checkpoint, before);
    world.grow(2).await;
    reach_head(&world, &tracker).await;
    assert_eq!((tracker.restarts(), tracker.chain.progress.now().reorganisations), (0, 1));
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_blocks_read_by_their_events_alone_give_the_same_state() {
    let mut world = World::new(5).await;
    world.grow(350).await;
    // No epoch is about to expire: it would get its batches or not, depending on how fast this machine is.
    for _ in 0..40 {
        world.mine().await;
    }
    world.grow(50).await;
    // Blocks older than 100 s are read by their events alone, since their submissions have expired.
    let setup = Setup { inputs_live: 80, ..Setup::default() };
    let by_headers = undisturbed(&world, setup).await;
    let by_events = undisturbed(&world, Setup { old_after: Duration::from_secs(100), ..setup }).await;
    let same = |key: &str| {
        let parts = ["tracker:chain:checkpoint", ":market", "CurrentEpochID", "EpochMarker", "Batch", "Slot"];
        parts.iter().any(|part| key.contains(part))
    };
    let pick =
        |all: &Contents| -> Contents { all.clone().into_iter().filter(|(key, _)| same(key)).collect() };
    assert!(pick(&by_events).keys().any(|key| key.starts_with("BatchCountKey.")));
    assert_same(&pick(&by_events), &pick(&by_headers));
    let hashes = |all: &Contents| all.keys().filter(|key| key.starts_with("BlockHashByNumberKey.")).count();
    assert!(hashes(&by_events) < 150 && hashes(&by_headers) > 400, "{}", hashes(&by_events));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_not_old_while_submissions_at_them_live() {
    let mut world = World::new(5).await;
    world.grow(400).await;
    let by_headers = undisturbed(&world, Setup::default()).await;
    let by_events =
        undisturbed(&world, Setup { old_after: Duration::from_secs(60), ..Setup::default() }).await;
    assert_same(&by_events, &by_headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_epochs_are_reported_and_never_handed_over() {
    let mut world = World::new(6).await;
    world.grow(200).await;
    let setup = Setup { inputs_live: 60, ..Setup::default() };
    let left = undisturbed(&world, setup).await;
    let handed = left.keys().filter(|key| key.starts_with("BatchCountKey.")).count();
    // Only the epochs of the last minute have batches.
    assert!(handed > 5 && handed < world.releases() / 2, "{handed} of {}", world.releases());
    let done: Vec<&String> = left.keys().filter(|key| key.ends_with(":market")).collect();
    assert_eq!(done.len(), 2, "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_open_windows_keep_their_limits_through_a_restart() {
    const MANY: u64 = 130;
    let setup = Setup::default();
    let mut world = World::new(7).await;
    let market = world.contracts.markets[0].clone();
    world.emit(&market, &Emission::ManyReleases { first: 1_000, count: MANY }).await;
    world.mine().await;
    let released = world.height().await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let marked = format!("EpochMarkerSetKey.{market}");
    let (mut open, mut waiting) = (Vec::new(), Vec::new());
    for half in [1, WINDOW / 2] {
        let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
        reach_head(&world, &tracker).await;
        let state = tracker.chain_state().await;
        let windows = &state.markets[&market.parse().expect("an address")].windows;
        let count = |state| windows.values().filter(|window| window.state == state).count() as u64;
        open.push(count(WindowState::Open));
        waiting.push(count(WindowState::Waiting));
        assert_eq!(query::<u64>(&mut connection, &["SCARD", &marked]).await, 100);
        tracker.stop().await;
        for _ in 0..half {
            world.mine().await;
        }
    }
    assert_eq!((open, waiting), (vec![100, 100], vec![30, 30]));
    // The last block before the limit closes no window; the next one closes all of them, and the waiting ones too.
    while world.height().await < released + WINDOW - 1 {
        world.mine().await;
    }
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    reach_head(&world, &tracker).await;
    assert_eq!(query::<u64>(&mut connection, &["SCARD", &marked]).await, 100);
    world.mine().await;
    reach_head(&world, &tracker).await;
    assert_eq!(query::<u64>(&mut connection, &["SCARD", &marked]).await, 0);
    for epoch in 1_000..1_000 + MANY {
        let details = format!("EpochMarkerDetailsKey.{market}.{epoch}");
        let details: String = query(&mut connection, &["GET", &details]).await;
        let limit = format!("\"SubmissionLimitBlockNumber\":{}", released + WINDOW);
        assert!(details.contains(&limit), "{details}");
    }
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_no_block_closes_is_closed_by_the_chains_time() {
    let mut world = World::new(8).await;
    let market = world.contracts.markets[0].clone();
    world.emit(&market, &Emission::EpochReleased { epoch: 77, begin: 0, end: 1 }).await;
    world.mine().await;
    let head = world.height().await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    // Without a block, the window is closed one second after its limit.
    let setup = Setup { silence: 1, ..Setup::default() };
    world.set_window(2).await;
    let tracker = Tracker::start(&redis.url(), &world.anvil.url(), &world.contracts, setup).await;
    let count = format!("BatchCountKey.{market}.77");
    wait_until("its batches are counted", SOON, async || {
        query::<Option<u64>>(&mut connection.clone(), &["GET", &count]).await == Some(0)
    })
    .await;
    // The block that sets the length of windows comes after the release, and is the last block of the window.
    let details: String =
        query(&mut connection, &["GET", &format!("EpochMarkerDetailsKey.{market}.77")]).await;
    let limit = format!("\"EpochReleaseBlockNumber\":{head},\"SubmissionLimitBlockNumber\":{}", head + 1);
    assert!(details.contains(&limit), "{details}");
    tracker.stop().await;
}
