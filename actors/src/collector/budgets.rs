//! How long each step may take. A step within another one is cut to what that has left.
//!
//! ```text
//! block 300 s ⊃ events 30 s ⊃ a view
//! preparation 60 s ⊃ market 30 s ⊃ batch 120 s
//! ```

use std::time::Duration;

use supervision::{Budget, Clock};

/// The names of the steps, as errors of their budgets have them.
pub mod steps {
    /// A block, or a segment of old ones.
    pub const ACCEPT_BLOCKS: &str = "accepting blocks";
    /// Within it: reading what it holds.
    pub const READ_EVENTS: &str = "reading events";
    /// Within it: querying contracts.
    pub const QUERY_CONTRACTS: &str = "querying contracts";
    /// All closed windows of a market.
    pub const PREPARE_MARKET: &str = "preparing the batches of a market";
    /// Within it: one epoch.
    pub const PREPARE_EPOCH: &str = "preparing an epoch";
    /// Within an epoch: delivering.
    pub const DELIVER_BATCHES: &str = "delivering batches";
    /// Every step.
    pub const ALL: [&str; 6] =
        [ACCEPT_BLOCKS, READ_EVENTS, QUERY_CONTRACTS, PREPARE_MARKET, PREPARE_EPOCH, DELIVER_BATCHES];
}

/// The allowances, each cut to what its parent has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// A block, or a stretch of old ones, with all that belongs to it.
    pub block: Duration,
    /// Reading what a block or a stretch holds.
    pub events: Duration,
    /// A contract's views.
    pub views: Duration,
    /// Preparing all that is closed in a market.
    pub preparation: Duration,
    /// One epoch of a market.
    pub market: Duration,
    /// Handing over the batches of an epoch.
    pub batch: Duration,
    /// Waiting for one's turn to prepare.
    pub worker: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            block: seconds(300),
            events: seconds(30),
            views: seconds(30),
            preparation: seconds(60),
            market: seconds(30),
            batch: seconds(120),
            worker: seconds(5),
        }
    }
}

impl Budgets {
    /// For one step of the fetcher.
    pub(super) fn block(&self, clock: &Clock) -> Budget {
        Budget::new(clock, steps::ACCEPT_BLOCKS, self.block)
    }

    /// Within a step of the fetcher: reading it.
    pub(super) fn events(&self, block: &Budget) -> Budget {
        block.child(steps::READ_EVENTS, self.events)
    }

    /// Within a step of the fetcher: asking contracts.
    pub(super) fn views(&self, block: &Budget) -> Budget {
        block.child(steps::QUERY_CONTRACTS, self.views)
    }

    /// For one round of a preparer.
    pub(super) fn preparation(&self, clock: &Clock) -> Budget {
        Budget::new(clock, steps::PREPARE_MARKET, self.preparation)
    }

    /// Within a round: one epoch.
    pub(super) fn market(&self, preparation: &Budget) -> Budget {
        preparation.child(steps::PREPARE_EPOCH, self.market)
    }

    /// Within an epoch: handing over.
    pub(super) fn batch(&self, market: &Budget) -> Budget {
        market.child(steps::DELIVER_BATCHES, self.batch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_step_may_take_longer_than_the_one_it_belongs_to(allowances in proptest::array::uniform7(0_u64..400)) {
            let [block, events, views, preparation, market, batch, worker] = allowances.map(Duration::from_secs);
            let budgets = Budgets { block, events, views, preparation, market, batch, worker };
            let clock = Clock::manual(Duration::ZERO);
            let block = budgets.block(&clock);
            prop_assert!(budgets.events(&block).deadline() <= block.deadline());
            prop_assert!(budgets.views(&block).deadline() <= block.deadline());
            let preparation = budgets.preparation(&clock);
            let market = budgets.market(&preparation);
            prop_assert!(market.deadline() <= preparation.deadline());
            prop_assert!(budgets.batch(&market).deadline() <= market.deadline());
        }
    }

    #[test]
    fn a_batch_has_no_longer_than_its_market_has_left() {
        let (clock, budgets) = (Clock::manual(Duration::ZERO), Budgets::default());
        let market = budgets.market(&budgets.preparation(&clock));
        assert_eq!(budgets.batch(&market).remaining(), Duration::from_secs(30));
        assert_eq!(budgets.events(&budgets.block(&clock)).remaining(), Duration::from_secs(30));
    }
}
