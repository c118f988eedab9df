//! The messages between actors.

use std::collections::BTreeSet;

use domain::{chain::ContractAddress, tracker::index::IndexEvent};
use serde::{Deserialize, Serialize};
use store_tracker::IndexKeys;
use supervision::Message;

/// Wakes an actor: something may have changed in Redis. To lose, merge or repeat one changes no result, since passes depend on what
/// is in Redis alone, and the finder finds an epoch again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Epochs that keys name which no pass reads by itself, in the form in which they name them.
    pub named: BTreeSet<String>,
}

/// The most epochs that one message names.
const MOST_NAMED: usize = 5_000;

impl Message for Wake {
    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        // A merged message must ask for no less than either of the two, within its limit.
        self.named.extend(newer.named);
        while self.named.len() > MOST_NAMED {
            self.named.pop_first();
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.named.iter().map(|name| size_of::<String>() + name.len()).sum::<usize>()
    }
}

/// The chain has finalised a batch of an epoch. To repeat it changes nothing; a dropped one is lost for the state index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFinalized {
    /// The market.
    pub market: ContractAddress,
    /// The epoch.
    pub epoch: u64,
}

impl Message for BatchFinalized {}

/// Events for the state index, as the listener received them. Best effort: a dropped event is lost for the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEvents {
    /// The number of events that were sent before these. A hole between two messages is the number of dropped events.
    pub number: u64,
    /// When they were received, in Unix seconds.
    pub at: u64,
    /// Their index.
    pub index: IndexKeys,
    /// The events, oldest first.
    pub events: Vec<IndexEvent>,
}

impl Message for IndexEvents {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + self.index.name().len()
            + self.events.iter().map(IndexEvent::weight).sum::<usize>()
    }
}
