//! A step that is left in the middle, by a stop or because its time is over: what stands in Redis is wholly from before it or
//! wholly from after it, and whoever goes on comes to the right end. Answers and requests are held back at the wanted place.

use std::time::Duration;

use actors::Budgets;
use domain::chain::WindowState;
use futures_util::future::join_all;
use testkit::{
    Emission, FaultProxy, RedisServer, RpcFault, RpcProxy,
    contents::{Contents, assert_same, query},
    wait_until,
    world::{WINDOW, World},
};

use crate::tracker::{SOON, Setup, Tracker};

const EPOCH: u64 = 77;

/// Where a step is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Views,
    Block,
    BeforeTheWrite,
    AfterTheWrite,
    Turn,
    Inputs,
    BeforeTheHandOver,
    AfterTheHandOver,
}

use Phase::{
    AfterTheHandOver, AfterTheWrite, BeforeTheHandOver, BeforeTheWrite, Block, Head, Inputs, Turn, Views,
};

const PHASES: [Phase; 9] =
    [Head, Views, Block, BeforeTheWrite, AfterTheWrite, Turn, Inputs, BeforeTheHandOver, AfterTheHandOver];

/// By what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    Stop,
    TimeIsOver,
}

/// A chain whose last block closes a window, and what stands in Redis before that block, with it, and when the window's
/// batches are handed over.
struct Stage {
    world: World,
    before: Contents,
    accepted: Contents,
    handed_over: Contents,
}

/// A server, the node that hides the last block until it is told to show it, and proxies before both.
struct Surroundings {
    redis: RedisServer,
    to_redis: FaultProxy,
    to_node: RpcProxy,
}

impl Surroundings {
    async fn new(world: &World) -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let to_redis = FaultProxy::start(redis.addr()).await.expect("a proxy");
        let to_node = RpcProxy::start(world.anvil.addr()).await.expect("a proxy");
        let (eve, market) = (world.height().await - 1, &world.contracts.markets[0]);
        to_node.set(RpcFault::Frozen(eve));
        let (hash, ..) = world.anvil.block(eve + 1 - WINDOW).await.expect("asked").expect("the release");
        let mut add = redis::cmd("SADD");
        add.arg(format!("SnapshotCollector.{market}.{EPOCH}.{hash}"));
        for number in 0..20 {
            add.arg(format!("{market}.{EPOCH}.project-{number}.{}", number % 7));
        }
        let mut connection = redis.connection().await.expect("a connection");
        let _: u64 = add.query_async(&mut connection).await.expect("written");
        Self { redis, to_redis, to_node }
    }

    async fn left(&self, world: &World) -> Contents {
        world.left(&mut self.redis.connection().await.expect("a connection")).await
    }

    /// A tracker that goes by the proxies.
    async fn tracker(&self, world: &World, setup: Setup) -> Tracker {
        let url = format!("redis://{}/0", self.to_redis.addr());
        Tracker::start(&url, &self.to_node.url(), &world.contracts, setup).await
    }

    /// Follows all blocks but the last one.
    async fn up_to_the_eve(&self, world: &World) {
        let tracker = self.tracker(world, Setup::default()).await;
        let eve = world.height().await - 1;
        let (hash, ..) = world.anvil.block(eve).await.expect("asked").expect("the eve");
        tracker.caught_up(eve, &hash).await;
        tracker.stop().await;
    }
}

/// Waits until the last block is accepted.
async fn accepts_the_last_block(world: &World, tracker: &Tracker) {
    let height = world.height().await;
    wait_until("the last block is accepted", SOON, async || {
        tracker.following().await.checkpoint.is_some_and(|checkpoint| checkpoint.number == height)
    })
    .await;
}

impl Stage {
    async fn new(seed: u64) -> Self {
        let mut world = World::new(seed).await;
        let market = world.contracts.markets[0].clone();
        world.emit(&market, &Emission::EpochReleased { epoch: EPOCH, begin: 0, end: 1 }).await;
        for _ in 0..=WINDOW {
            world.mine().await;
        }
        let around = Surroundings::new(&world).await;
        around.up_to_the_eve(&world).await;
        let before = around.left(&world).await;
        around.to_node.clear();
        let tracker = around.tracker(&world, Setup { workers: 0, ..Setup::default() }).await;
        accepts_the_last_block(&world, &tracker).await;
        let following = tracker.following().await;
        let states = following.markets.values().flat_map(|market| market.windows.values());
        let closed = states.filter(|window| matches!(window.state, WindowState::Closed { .. })).count();
        assert_eq!(closed, 1, "the window waits for its batches");
        let accepted = around.left(&world).await;
        tracker.chain.workers.add_permits(1);
        crate::reach_head(&world, &tracker).await;
        assert_eq!(tracker.restarts(), 0, "it was to be undisturbed");
        tracker.stop().await;
        let handed_over = around.left(&world).await;
        assert_eq!(handed_over.keys().filter(|key| key.starts_with("finalizerQueue")).count(), 1);
        Self { world, before, accepted, handed_over }
    }

    /// Leaves a step in this phase, looks at what stands in Redis, and lets the next one go on.
    async fn interrupt(&self, phase: Phase, by: Interruption) {
        let world = &self.world;
        let around = Surroundings::new(world).await;
        around.up_to_the_eve(world).await;
        around.to_node.clear();
        match phase {
            Head => around.to_node.hold("[\"latest\",false]"),
            Views => around.to_node.hold("eth_call"),
            Block => around.to_node.hold("eth_getLogs"),
            // No preparer has its turn then: nobody else names it.
            BeforeTheWrite => around.to_redis.hold_requests("BlockHashByNumberKey"),
            AfterTheWrite => around.to_redis.hold_answers("BlockHashByNumberKey"),
            Turn => {}
            Inputs => around.to_redis.hold_requests("SMEMBERS"),
            BeforeTheHandOver => around.to_redis.hold_requests("BatchCountKey"),
            AfterTheHandOver => around.to_redis.hold_answers("BatchCountKey"),
        }
        let is_of_fetcher = matches!(phase, Head | Views | Block | BeforeTheWrite | AfterTheWrite);
        let workers = if is_of_fetcher || phase == Turn { 0 } else { 1 };
        let budgets = match by {
            Interruption::Stop => Budgets::default(),
            Interruption::TimeIsOver => short(phase),
        };
        let tracker = around.tracker(world, Setup { workers, budgets, ..Setup::default() }).await;
        if phase == Turn {
            accepts_the_last_block(world, &tracker).await;
            // It has been told, so that it looks: there is no turn for it.
            let told = || {
                tracker.tree.health().iter().any(|actor| {
                    actor.path.starts_with("preparer")
                        && actor.mailbox.as_ref().is_some_and(|box_| box_.accepted > 0)
                })
            };
            wait_until("the preparer is told", SOON, async || told()).await;
        } else {
            let held = || around.to_node.held() + around.to_redis.held() > 0;
            wait_until(&format!("{phase:?} is reached"), SOON, async || held()).await;
        }
        let expected = match phase {
            Head | Views | Block | BeforeTheWrite => &self.before,
            AfterTheWrite | Turn | Inputs | BeforeTheHandOver => &self.accepted,
            AfterTheHandOver => &self.handed_over,
        };
        match by {
            Interruption::Stop => {
                tracker.stop().await;
                assert_same(&around.left(world).await, expected);
                // The next one goes another way: what is held still hangs in the air.
                let url = around.redis.url();
                let next = Tracker::start(&url, &world.anvil.url(), &world.contracts, Setup::default()).await;
                crate::reach_head(world, &next).await;
                next.stop().await;
            }
            Interruption::TimeIsOver => {
                wait_until(&format!("{phase:?} is given up"), SOON, async || {
                    let metrics = tracker.metrics();
                    metrics.lines().any(|line| {
                        line.starts_with("state_tracker_errors_total{") && line.contains(over(phase))
                    })
                })
                .await;
                assert_same(&around.left(world).await, expected);
                around.to_node.release();
                around.to_redis.release();
                tracker.chain.workers.add_permits(1);
                crate::reach_head(world, &tracker).await;
                assert_eq!(tracker.restarts(), 0, "that the time is over is no crash");
                tracker.stop().await;
            }
        }
        assert_same(&around.left(world).await, &self.handed_over);
        around.to_redis.release();
        wait_until("what hung in the air has arrived", SOON, async || {
            around.to_redis.open_connections() == 0
        })
        .await;
        assert_same(&around.left(world).await, &self.handed_over);
        let queued: u64 =
            query(&mut around.redis.connection().await.expect("a connection"), &["LLEN", "finalizerQueue"])
                .await;
        assert_eq!(queued, 4, "20 projects are 4 batches");
    }
}

/// Budgets of which the one for this phase is over soon.
fn short(phase: Phase) -> Budgets {
    let (soon, all) = (Duration::from_millis(300), Budgets::default());
    match phase {
        Head | Block => Budgets { events: soon, ..all },
        Views => Budgets { views: soon, ..all },
        BeforeTheWrite | AfterTheWrite => Budgets { block: soon, ..all },
        Turn => Budgets { worker: soon, ..all },
        Inputs => Budgets { market: soon, ..all },
        BeforeTheHandOver | AfterTheHandOver => Budgets { batch: soon, ..all },
    }
}

/// The label of the error that is counted when it is.
fn over(phase: Phase) -> &'static str {
    match phase {
        // By the time that the nodes had.
        Head | Views | Block => r#"kind="node",operation="follow the chain""#,
        BeforeTheWrite | AfterTheWrite => r#"kind="timeout",operation="follow the chain""#,
        Turn | Inputs | BeforeTheHandOver | AfterTheHandOver => {
            r#"kind="timeout",operation="prepare batches""#
        }
    }
}

async fn in_each_phase(seed: u64, by: Interruption) {
    let stage = Stage::new(seed).await;
    join_all(PHASES.map(|phase| stage.interrupt(phase, by))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_any_phase_leaves_nothing_half_done_and_the_next_start_goes_on() {
    in_each_phase(20, Interruption::Stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_whose_time_is_over_in_any_phase_leaves_nothing_half_done_and_the_next_one_goes_on() {
    in_each_phase(21, Interruption::TimeIsOver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_turn_is_measured_ends_in_time_and_the_epoch_is_prepared_once_it_comes() {
    let stage = Stage::new(22).await;
    let world = &stage.world;
    let around = Surroundings::new(world).await;
    around.to_node.clear();
    let worker = Duration::from_millis(200);
    let budgets = Budgets { worker, ..Budgets::default() };
    let tracker = around.tracker(world, Setup { workers: 0, budgets, ..Setup::default() }).await;
    accepts_the_last_block(world, &tracker).await;
    let value = |name: &str| -> f64 {
        let metrics = tracker.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).expect("the metric is there")
    };
    // Both markets wait, again and again.
    wait_until("turns do not come", SOON, async || value("state_tracker_worker_timeouts_total") >= 4.0).await;
    assert!(value(r#"state_tracker_errors_total{kind="timeout",operation="prepare batches"}"#) >= 4.0);
    assert!(value("state_tracker_worker_wait_seconds_sum") >= 4.0 * worker.as_secs_f64());
    assert_same(&around.left(world).await, &stage.accepted);
    tracker.chain.workers.add_permits(1);
    crate::reach_head(world, &tracker).await;
    assert_eq!(tracker.restarts(), 0, "that no turn comes is no crash");
    tracker.stop().await;
    assert_same(&around.left(world).await, &stage.handed_over);
}
