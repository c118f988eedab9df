//! Blocks that are undone by a reorganisation.

use super::{
    Budgets, Contents, Hold, Interruption, Over, Phase, SHORT, Setup, Surroundings, World, assert_same,
    join_all,
};
use testkit::Anvil;

/// How many blocks are dropped.
const DEPTH: u64 = 3;

/// A reorganised chain, and the contents of Redis before, when the dropped blocks are undone, and when the new ones are
/// accepted.
pub(super) struct Stage {
    world: World,
    /// The node without the reorganisation.
    original: Anvil,
    head: u64,
    before: Contents,
    undone: Contents,
    after: Contents,
}

impl Stage {
    pub(super) async fn new(seed: u64) -> Self {
        let mut world = World::new(seed).await;
        // All accepted blocks can be undone.
        world.grow(14).await;
        let original = world.anvil.copy().await.expect("a copy");
        world.reorganise(DEPTH).await;
        let head = world.height().await;
        let on_original = Surroundings::new(original.addr(), 1).await;
        let before = on_original.up_to(&world, head).await;
        let around = Surroundings::new(world.anvil.addr(), 1).await;
        let undone = around.up_to(&world, head - DEPTH).await;
        let tracker = around.tracker(&world, Setup::default()).await;
        crate::reach_head(&world, &tracker).await;
        tracker.stop().await;
        let after = around.left(&world).await;
        assert!(before != undone && undone != after && before != after);
        Self { world, original, head, before, undone, after }
    }

    pub(super) async fn interrupt_in_each_phase(&self, by: Interruption) {
        let all = Budgets::default();
        let (events, block) = (Budgets { events: SHORT, ..all }, Budgets { block: SHORT, ..all });
        let phase = Phase::of_fetcher;
        let block_hash = "BlockHashByNumberKey";
        let phases = [
            phase(Hold::Node("eth_getBlockByHash"), events, Over::Nodes, self.head, &self.before),
            phase(Hold::Request(block_hash), block, Over::Step, self.head, &self.before),
            phase(Hold::Answer(block_hash), block, Over::Step, self.head - DEPTH, &self.undone),
        ];
        join_all(phases.map(async |phase| {
            let original = Surroundings::new(self.original.addr(), 1).await;
            assert_same(&original.up_to(&self.world, self.head).await, &self.before);
            let node = Surroundings::new(self.world.anvil.addr(), 1).await;
            let around = Surroundings { to_node: node.to_node, ..original };
            around.interrupt(&self.world, phase, by, &self.after).await;
        }))
        .await;
    }
}
