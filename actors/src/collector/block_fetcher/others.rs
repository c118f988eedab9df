//! What trackers on one chain state do for each other: any of them accepts a block, for the markets of all.

use domain::collector::ChainState;

use super::BlockFetcher;

impl BlockFetcher {
    /// Wakes the actors of our markets whose windows were changed by another tracker.
    pub(super) fn wake_for_others(&mut self, state: &ChainState) {
        for market in self.seen.update(self.chain.store.markets(), state) {
            self.wake(&self.preparers, &market);
            self.wake(&self.epoch_trackers, &market);
        }
    }
}
