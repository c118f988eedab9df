//! The block that closes a window, and the hand-over of its batches.

use super::{
    Budgets, Contents, Duration, Hold, Interruption, Over, Phase, SHORT, SOON, Setup, Surroundings, World,
    accepts, assert_same, join_all, wait_until,
};
use testkit::{Emission, world::WINDOW};

const EPOCH: u64 = 77;

/// A chain whose last block closes a window, and the contents of Redis before that block, with it, and after the
/// hand-over of the window's batches.
pub(super) struct Stage {
    world: World,
    head: u64,
    before: Contents,
    accepted: Contents,
    handed_over: Contents,
}

/// A server where all blocks but the last one are accepted, with the submissions.
async fn before_the_last_block(world: &World) -> (Surroundings, Contents) {
    let around = Surroundings::new(world.anvil.addr(), 1).await;
    let (head, market) = (world.height().await, &world.contracts.markets[0]);
    let (hash, ..) = world.anvil.block(head - WINDOW).await.expect("asked").expect("the release");
    let mut add = redis::cmd("SADD");
    add.arg(format!("SnapshotCollector.{market}.{EPOCH}.{hash}"));
    for number in 0..20 {
        add.arg(format!("{market}.{EPOCH}.project-{number}.{}", number % 7));
    }
    let mut connection = around.redis.connection().await.expect("a connection");
    let _: u64 = add.query_async(&mut connection).await.expect("written");
    let before = around.up_to(world, head - 1).await;
    (around, before)
}

impl Stage {
    pub(super) async fn new(seed: u64) -> Self {
        let mut world = World::new(seed).await;
        let market = world.contracts.markets[0].clone();
        world.emit(&market, &Emission::EpochReleased { epoch: EPOCH, begin: 0, end: 1 }).await;
        for _ in 0..=WINDOW {
            world.mine().await;
        }
        let head = world.height().await;
        let (around, before) = before_the_last_block(&world).await;
        let accepted = around.up_to(&world, head).await;
        let tracker = around.tracker(&world, Setup::default()).await;
        crate::reach_head(&world, &tracker).await;
        assert_eq!(tracker.restarts(), 0, "it was to be undisturbed");
        tracker.stop().await;
        let handed_over = around.left(&world).await;
        let queue = handed_over.iter().find(|(key, _)| key.starts_with("finalizerQueue"));
        assert_eq!(queue.expect("it is queued").1.words.len(), 4, "20 projects are 4 batches");
        Self { world, head, before, accepted, handed_over }
    }

    pub(super) async fn interrupt_in_each_phase(&self, by: Interruption) {
        let all = Budgets::default();
        let of_fetcher = |hold, short, over, (accepted, expected)| {
            Phase::of_fetcher(hold, short, over, accepted, expected)
        };
        let of_preparer = |hold, short, expected| {
            let (prepares, over) = (!matches!(hold, Hold::Worker), Over::Preparer);
            Phase { hold, short, over, prepares, accepted: self.head, expected }
        };
        let events = Budgets { events: SHORT, ..all };
        let block = Budgets { block: SHORT, ..all };
        let (market, batch) = (Budgets { market: SHORT, ..all }, Budgets { batch: SHORT, ..all });
        let (before, accepted) = ((self.head - 1, &self.before), (self.head, &self.accepted));
        // While no preparer has a worker, only the fetcher names a block's hash.
        let (block_hash, count) = ("BlockHashByNumberKey", "BatchCountKey");
        let phases = [
            of_fetcher(Hold::Node("[\"latest\",false]"), events, Over::Nodes, before),
            of_fetcher(Hold::Node("eth_getLogs"), events, Over::Nodes, before),
            of_fetcher(Hold::Request(block_hash), block, Over::Step, before),
            of_fetcher(Hold::Answer(block_hash), block, Over::Step, accepted),
            of_preparer(Hold::Worker, Budgets { worker: SHORT, ..all }, &self.accepted),
            of_preparer(Hold::Request("SMEMBERS"), market, &self.accepted),
            of_preparer(Hold::Request(count), batch, &self.accepted),
            of_preparer(Hold::Answer(count), batch, &self.handed_over),
        ];
        join_all(phases.map(async |phase| {
            let (around, before) = before_the_last_block(&self.world).await;
            assert_same(&before, &self.before);
            around.interrupt(&self.world, phase, by, &self.handed_over).await;
        }))
        .await;
    }

    pub(super) async fn without_a_worker(&self) {
        let world = &self.world;
        let (around, _) = before_the_last_block(world).await;
        let worker = Duration::from_millis(200);
        let budgets = Budgets { worker, ..Budgets::default() };
        let tracker = around.tracker(world, Setup { workers: 0, budgets, ..Setup::default() }).await;
        accepts(&tracker, self.head).await;
        let value = |name: &str| -> f64 {
            let metrics = tracker.metrics();
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.and_then(|value| value.parse().ok()).expect("the metric is there")
        };
        // Both markets wait, again and again.
        let timeouts = "state_tracker_worker_timeouts_total";
        wait_until("no worker becomes free", SOON, async || value(timeouts) >= 4.0).await;
        assert!(value(r#"state_tracker_errors_total{kind="timeout",operation="prepare_batches"}"#) >= 4.0);
        assert!(value("state_tracker_worker_wait_seconds_sum") >= 4.0 * worker.as_secs_f64());
        assert_same(&around.left(world).await, &self.accepted);
        tracker.chain.workers.add_permits(1);
        crate::reach_head(world, &tracker).await;
        assert_eq!(tracker.restarts(), 0, "a wait for a worker that ends in vain is no crash");
        tracker.stop().await;
        assert_same(&around.left(world).await, &self.handed_over);
    }
}
