//! The time limits of the collector's steps. A nested step gets at most what its outer step has left.
//!
//! ```text
//! block 300 s ⊃ events 30 s
//! contract values 30 s
//! preparation 60 s ⊃ market 30 s ⊃ batch 120 s
//! ```

use std::time::Duration;

use supervision::{Budget, Clock};

/// The names of the steps in the errors of their budgets.
pub mod steps {
    /// Accepting a block, or a segment.
    pub const ACCEPT_BLOCKS: &str = "accepting blocks";
    /// Within that: reading its events.
    pub const READ_EVENTS: &str = "reading events";
    /// Querying the contracts.
    pub const QUERY_CONTRACTS: &str = "querying contracts";
    /// Preparing all closed windows of a market.
    pub const PREPARE_MARKET: &str = "preparing the batches of a market";
    /// Within that: one epoch.
    pub const PREPARE_EPOCH: &str = "preparing an epoch";
    /// Within that: delivering its batches.
    pub const DELIVER_BATCHES: &str = "delivering batches";
    /// Every step.
    pub const ALL: [&str; 6] =
        [ACCEPT_BLOCKS, READ_EVENTS, QUERY_CONTRACTS, PREPARE_MARKET, PREPARE_EPOCH, DELIVER_BATCHES];
}

/// The time limit of each step, before it is cut to what the outer step has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Accepting a block or a segment, with everything in it.
    pub block: Duration,
    /// Reading the events of a block or a segment.
    pub events: Duration,
    /// Querying the contracts.
    pub contract_values: Duration,
    /// Preparing all closed windows of a market.
    pub preparation: Duration,
    /// Preparing one epoch of a market.
    pub market: Duration,
    /// Handing over the batches of an epoch.
    pub batch: Duration,
    /// Waiting for a worker.
    pub worker: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            block: seconds(300),
            events: seconds(30),
            contract_values: seconds(30),
            preparation: seconds(60),
            market: seconds(30),
            batch: seconds(120),
            worker: seconds(5),
        }
    }
}

impl Budgets {
    /// The budget of one step of the fetcher.
    pub(super) fn block(&self, clock: &Clock) -> Budget {
        Budget::new(clock, steps::ACCEPT_BLOCKS, self.block)
    }

    /// The part of a fetcher's step for reading events.
    pub(super) fn events(&self, block: &Budget) -> Budget {
        block.child(steps::READ_EVENTS, self.events)
    }

    /// The budget of one round of the contract values.
    pub(super) fn contract_values(&self, clock: &Clock) -> Budget {
        Budget::new(clock, steps::QUERY_CONTRACTS, self.contract_values)
    }

    /// The budget of one run of a preparer.
    pub(super) fn preparation(&self, clock: &Clock) -> Budget {
        Budget::new(clock, steps::PREPARE_MARKET, self.preparation)
    }

    /// The part of a preparer's run for one epoch.
    pub(super) fn market(&self, preparation: &Budget) -> Budget {
        preparation.child(steps::PREPARE_EPOCH, self.market)
    }

    /// The part of an epoch for the hand-over.
    pub(super) fn batch(&self, market: &Budget) -> Budget {
        market.child(steps::DELIVER_BATCHES, self.batch)
    }
}

/// The deadline as `evm` takes it. Nodes answer in real time, whatever the clock of the tree.
pub(super) fn deadline(budget: &Budget) -> tokio::time::Instant {
    tokio::time::Instant::now() + budget.remaining()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_step_outlasts_its_outer_step(allowances in proptest::array::uniform7(0_u64..400)) {
            let [block, events, contract_values, preparation, market, batch, worker] = allowances.map(Duration::from_secs);
            let budgets = Budgets { block, events, contract_values, preparation, market, batch, worker };
            let clock = Clock::manual(Duration::ZERO);
            let block = budgets.block(&clock);
            prop_assert!(budgets.events(&block).deadline() <= block.deadline());
            let preparation = budgets.preparation(&clock);
            let market = budgets.market(&preparation);
            prop_assert!(market.deadline() <= preparation.deadline());
            prop_assert!(budgets.batch(&market).deadline() <= market.deadline());
        }
    }

    #[test]
    fn a_batch_gets_at_most_what_its_market_has_left() {
        let (clock, budgets) = (Clock::manual(Duration::ZERO), Budgets::default());
        let market = budgets.market(&budgets.preparation(&clock));
        assert_eq!(budgets.batch(&market).remaining(), Duration::from_secs(30));
        assert_eq!(budgets.events(&budgets.block(&clock)).remaining(), Duration::from_secs(30));
    }
}
