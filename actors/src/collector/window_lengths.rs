//! The lengths of submission windows and days, shared by the collector's actors.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::chain::ContractAddress;

/// Lengths by markets, in seconds.
type Lengths = BTreeMap<ContractAddress, u64>;

/// The last known length of each market's submission window, and of its day, in seconds. The actor of the contract values writes them,
/// and the block fetcher reads them.
#[derive(Debug, Default)]
pub struct WindowLengths {
    windows: Mutex<Lengths>,
    days: Mutex<Lengths>,
}

impl WindowLengths {
    /// The lengths of windows now, in seconds.
    #[must_use]
    pub fn now(&self) -> Lengths {
        lengths(&self.windows).clone()
    }

    /// Records the length of a market's windows, in seconds.
    pub fn set(&self, market: ContractAddress, seconds: u64) {
        lengths(&self.windows).insert(market, seconds);
    }

    /// The lengths of days now, in seconds.
    #[must_use]
    pub fn days(&self) -> Lengths {
        lengths(&self.days).clone()
    }

    /// Records the length of a market's days, in seconds.
    pub fn set_day(&self, market: ContractAddress, seconds: u64) {
        lengths(&self.days).insert(market, seconds);
    }
}

fn lengths(all: &Mutex<Lengths>) -> MutexGuard<'_, Lengths> {
    // Poisoning is ignored: an entry is replaced as a whole.
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
