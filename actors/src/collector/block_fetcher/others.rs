//! What trackers on one chain state do for each other: any of them accepts a block, for the markets of all.

use domain::collector::Following;

use super::BlockFetcher;
use crate::collector::{problem::StepError, state_store::Page};

impl BlockFetcher {
    /// Writes what the configuration wants for our markets, once after a start. Returns whether it wrote, or another tracker was ahead.
    pub(super) async fn want(&mut self, page: &mut Page) -> Result<bool, StepError> {
        let mut after = page.known.following.clone();
        let is_changed = after.want(self.chain.store.markets(), &self.rules);
        // After a conflict or an error the next step tries again.
        self.has_wanted = !is_changed || self.commit(page, &after, None, Vec::new()).await?;
        Ok(is_changed)
    }

    /// Wakes the actors of our markets whose windows were changed by another tracker.
    pub(super) fn wake_for_others(&mut self, following: &Following) {
        for market in self.seen.update(self.chain.store.markets(), following) {
            self.wake(&self.preparers, &market);
            self.wake(&self.epoch_trackers, &market);
        }
    }
}
