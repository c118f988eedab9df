//! A step that is interrupted, by a stop or by its deadline: Redis holds either the whole step or none of it, and the
//! next step continues correctly. Requests and answers are held back at the wanted place.

mod closing;
mod far_behind;
mod reorganised;

use std::{net::SocketAddr, time::Duration};

use actors::collector::Budgets;
use evm::StartBlock;
use futures_util::future::join_all;
use testkit::{
    FaultProxy, RedisServer, RpcFault, RpcProxy,
    contents::{Contents, assert_same},
    wait_until,
    world::World,
};

use crate::tracker::{SOON, Setup, Tracker};

/// What interrupts a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    Stop,
    Deadline,
}

/// The phase in which a step is interrupted.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// A request to the node that contains this.
    Node(&'static str),
    /// A request to Redis that contains this: the server does not receive it.
    Request(&'static str),
    /// The answer to it: the server has executed the request.
    Answer(&'static str),
    /// The wait for a worker.
    Worker,
}

/// The deadline that passes, by the label of the counted error.
#[derive(Clone, Copy, Debug)]
enum Over {
    /// That of the nodes.
    Nodes,
    /// That of a step of the fetcher.
    Step,
    /// That of the preparer.
    Preparer,
}

/// Where a step is interrupted, and the contents of Redis then.
struct Phase<'a> {
    hold: Hold,
    /// Budgets of which the tested one is short.
    short: Budgets,
    over: Over,
    /// Whether preparers get a worker.
    prepares: bool,
    /// The blocks up to this one are accepted first.
    accepted: u64,
    expected: &'a Contents,
}

impl<'a> Phase<'a> {
    /// A step of the fetcher, while nothing is prepared.
    fn of_fetcher(hold: Hold, short: Budgets, over: Over, accepted: u64, expected: &'a Contents) -> Self {
        Self { hold, short, over, prepares: false, accepted, expected }
    }
}

/// A short deadline, and yet long enough on a busy machine for what is not held back.
const SHORT: Duration = Duration::from_secs(1);

/// A server and a node, with a proxy in front of each, and the block from which the chain is followed.
struct Surroundings {
    start: u64,
    redis: RedisServer,
    to_redis: FaultProxy,
    to_node: RpcProxy,
}

impl Surroundings {
    async fn new(node: SocketAddr, start: u64) -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let to_redis = FaultProxy::start(redis.addr()).await.expect("a proxy");
        let to_node = RpcProxy::start(node).await.expect("a proxy");
        Self { start, redis, to_redis, to_node }
    }

    async fn left(&self, world: &World) -> Contents {
        world.left(&mut self.redis.connection().await.expect("a connection")).await
    }

    /// Compares what is left of an interrupted step. The contract values are written by an actor of their own meanwhile.
    async fn assert_left(&self, world: &World, expected: &Contents) {
        let steps = |contents: &Contents| -> Contents {
            let is_value = |key: &str| {
                key.ends_with("Table")
                    || key.ends_with("TableKey")
                    || key.starts_with("ProtocolState.")
                    || key == "TotalNodesCount"
            };
            contents
                .iter()
                .filter(|(key, _)| !is_value(key))
                .map(|(key, it)| (key.clone(), it.clone()))
                .collect()
        };
        assert_same(&steps(&self.left(world).await), &steps(expected));
    }

    /// A tracker that uses the proxies.
    async fn tracker(&self, world: &World, setup: Setup) -> Tracker {
        let url = format!("redis://{}/0", self.to_redis.addr());
        Tracker::start(
            &url,
            &self.to_node.url(),
            &world.contracts,
            Setup { start: StartBlock::Number(self.start), ..setup },
        )
        .await
    }

    /// Accepts the blocks up to this one, and prepares nothing.
    async fn up_to(&self, world: &World, height: u64) -> Contents {
        self.to_node.set(RpcFault::Frozen(height));
        let tracker = self.tracker(world, Setup { workers: 0, ..Setup::default() }).await;
        accepts(&tracker, height).await;
        tracker.stop().await;
        self.to_node.clear();
        self.left(world).await
    }

    /// Interrupts a step in this phase, checks the contents of Redis, and lets the next step finish.
    async fn interrupt(&self, world: &World, phase: Phase<'_>, by: Interruption, end: &Contents) {
        let Phase { hold, short, over, prepares, accepted, expected } = phase;
        match hold {
            Hold::Node(word) => self.to_node.hold(word),
            Hold::Request(word) => self.to_redis.hold_requests(word),
            Hold::Answer(word) => self.to_redis.hold_answers(word),
            Hold::Worker => {}
        }
        let budgets = if by == Interruption::Stop { Budgets::default() } else { short };
        let tracker =
            self.tracker(world, Setup { workers: prepares.into(), budgets, ..Setup::default() }).await;
        wait_until(&format!("{hold:?} is reached"), SOON, async || match hold {
            // The preparer has been woken, and no worker is free.
            Hold::Worker => tracker.tree.health().iter().any(|actor| {
                actor.path.starts_with("preparer")
                    && actor.mailbox.as_ref().is_some_and(|mailbox| mailbox.accepted > 0)
            }),
            _ => self.to_node.held() + self.to_redis.held() > 0,
        })
        .await;
        if let Hold::Answer(word) = hold {
            // The next step, which comes soon after the deadline, writes nothing before the contents are compared.
            self.to_redis.hold_requests(word);
        }
        accepts(&tracker, accepted).await;
        match by {
            Interruption::Stop => {
                tracker.stop().await;
                self.assert_left(world, expected).await;
                // The next tracker uses no proxies, so held requests and answers stay held.
                let url = self.redis.url();
                let next = Tracker::start(&url, &world.anvil.url(), &world.contracts, Setup::default()).await;
                crate::reach_head(world, &next).await;
                next.stop().await;
            }
            Interruption::Deadline => {
                let label = match over {
                    Over::Nodes => r#"kind="node",operation="follow_chain""#,
                    Over::Step => r#"kind="timeout",operation="follow_chain""#,
                    Over::Preparer => r#"kind="timeout",operation="prepare_batches""#,
                };
                let error = format!("state_tracker_errors_total{{{label}}}");
                wait_until(&format!("{hold:?} is given up"), SOON, async || {
                    tracker.metrics().lines().any(|line| line.starts_with(&error))
                })
                .await;
                self.assert_left(world, expected).await;
                self.to_node.release();
                self.to_redis.release();
                tracker.chain.workers.add_permits(1);
                crate::reach_head(world, &tracker).await;
                assert_eq!(tracker.restarts(), 0, "a passed deadline is no crash");
                tracker.stop().await;
            }
        }
        assert_same(&self.left(world).await, end);
        self.to_redis.release();
        wait_until("the held requests have arrived", SOON, async || self.to_redis.open_connections() == 0)
            .await;
        assert_same(&self.left(world).await, end);
    }
}

/// Waits until the blocks up to this one are accepted.
async fn accepts(tracker: &Tracker, height: u64) {
    wait_until(&format!("block {height} is accepted"), SOON, async || {
        tracker.chain_state().await.checkpoint.is_some_and(|checkpoint| checkpoint.number == height)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_any_phase_leaves_nothing_half_done_and_the_next_start_continues() {
    closing::Stage::new(20).await.interrupt_in_each_phase(Interruption::Stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_times_out_in_any_phase_leaves_nothing_half_done() {
    closing::Stage::new(21).await.interrupt_in_each_phase(Interruption::Deadline).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorganisation_interrupted_in_any_phase_is_followed_by_the_next_step() {
    let stage = reorganised::Stage::new(23).await;
    for by in [Interruption::Stop, Interruption::Deadline] {
        stage.interrupt_in_each_phase(by).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_interrupted_in_any_phase_is_read_by_the_next_step() {
    let stage = far_behind::Stage::new(24).await;
    for by in [Interruption::Stop, Interruption::Deadline] {
        stage.interrupt_in_each_phase(by).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_a_worker_is_measured_and_ends_in_time() {
    closing::Stage::new(22).await.without_a_worker().await;
}
