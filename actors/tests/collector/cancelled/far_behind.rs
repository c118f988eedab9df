//! Old blocks, of which the next segment is read while one is written.

use super::{
    Budgets, Contents, Hold, Interruption, Over, Phase, SHORT, Setup, Surroundings, World, assert_same,
    join_all,
};

/// The first followed block, with the contracts deployed.
const START: u64 = 4;
/// The number of blocks of a segment.
const PART: u64 = 13;

/// A long chain, and the contents of Redis at the start, after the first segment, after the second, and at the end.
pub(super) struct Stage {
    world: World,
    begun: Contents,
    first: Contents,
    second: Contents,
    all: Contents,
}

impl Stage {
    pub(super) async fn new(seed: u64) -> Self {
        let mut world = World::new(seed).await;
        world.grow(60).await;
        let around = Surroundings::new(world.anvil.addr(), START).await;
        let begun = around.up_to(&world, START - 1).await;
        let first = around.up_to(&world, START - 1 + PART).await;
        let second = around.up_to(&world, START - 1 + 2 * PART).await;
        let tracker = around.tracker(&world, Setup::default()).await;
        crate::reach_head(&world, &tracker).await;
        tracker.stop().await;
        let all = around.left(&world).await;
        Self { world, begun, first, second, all }
    }

    pub(super) async fn interrupt_in_each_phase(&self, by: Interruption) {
        let all = Budgets::default();
        let (events, block) = (Budgets { events: SHORT, ..all }, Budgets { block: SHORT, ..all });
        let phase = |hold, short, over, blocks, expected| {
            Phase::of_fetcher(hold, short, over, START - 1 + blocks, expected)
        };
        let block_hash = "BlockHashByNumberKey";
        let phases = [
            phase(Hold::Node("\"fromBlock\":\"0x4\""), events, Over::Nodes, 0, &self.begun),
            // The third segment, while the second one is written.
            phase(Hold::Node("\"fromBlock\":\"0x1e\""), events, Over::Nodes, 2 * PART, &self.second),
            phase(Hold::Request(block_hash), block, Over::Step, 0, &self.begun),
            phase(Hold::Answer(block_hash), block, Over::Step, PART, &self.first),
        ];
        join_all(phases.map(async |phase| {
            let around = Surroundings::new(self.world.anvil.addr(), START).await;
            // The markets are taken over by a tracker without a short deadline: that could cut the reading of their days on a busy
            // machine, and then they are followed without a day.
            assert_same(&around.up_to(&self.world, START - 1).await, &self.begun);
            around.interrupt(&self.world, phase, by, &self.all).await;
        }))
        .await;
    }
}
