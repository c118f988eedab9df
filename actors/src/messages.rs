//! The messages between actors: one enum or struct an edge, one line each.

use serde::{Deserialize, Serialize};
use supervision::Message;

/// "Something may have changed: look at the keys." It carries no facts; those stand in Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// How many events were heard since the last look.
    pub events: u64,
    /// Events may have been missed: look at everything that is still there.
    pub gap: bool,
}

impl Message for Look {
    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        self.events = self.events.saturating_add(newer.events);
        self.gap |= newer.gap;
        Ok(())
    }
}
