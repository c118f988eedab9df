//! The lengths of submission windows, shared by the collector's actors.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::chain::ContractAddress;

/// The last known length of each market's submission window, in seconds. The actor of the contract values writes it, and the block
/// fetcher reads it.
#[derive(Debug, Default)]
pub struct WindowLengths(Mutex<BTreeMap<ContractAddress, u64>>);

impl WindowLengths {
    /// The lengths now, in seconds.
    #[must_use]
    pub fn now(&self) -> BTreeMap<ContractAddress, u64> {
        self.lengths().clone()
    }

    /// Records the length of a market's windows, in seconds.
    pub fn set(&self, market: ContractAddress, seconds: u64) {
        self.lengths().insert(market, seconds);
    }

    fn lengths(&self) -> MutexGuard<'_, BTreeMap<ContractAddress, u64>> {
        // Poisoning is ignored: an entry is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
