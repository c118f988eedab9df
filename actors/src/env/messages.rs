//! The messages between actors.

use domain::tracker::index::IndexEvent;
use serde::{Deserialize, Serialize};
use store_tracker::IndexKeys;
use supervision::Message;

/// Wakes an actor: something may have changed in Redis. It carries no data, so to lose, merge or repeat one changes no
/// result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Events may have been missed, so a full pass is needed.
    pub gap: bool,
}

impl Message for Wake {
    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        // A merged message must ask for no less than either of the two.
        self.gap |= newer.gap;
        Ok(())
    }
}

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
