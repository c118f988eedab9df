//! The messages between actors: one enum or struct an edge, one line each.

use domain::tracker::index::IndexEvent;
use serde::{Deserialize, Serialize};
use store_tracker::IndexKeys;
use supervision::Message;

/// "Something may have changed: look at the keys." It carries no facts; those stand in Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Events may have been missed: look at everything that is still there.
    pub gap: bool,
}

impl Message for Look {
    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        self.gap |= newer.gap;
        Ok(())
    }
}

/// Events for the state index, as the listener heard them. Best effort: what is dropped is not heard of again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEvents {
    /// How many events were handed over before these. A hole between two messages says how many never came.
    pub number: u64,
    /// When they were heard, in Unix seconds.
    pub at: u64,
    /// The index that they belong to.
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
