//! The messages of a simulation: each is one value that reports to the world when it is merged or dropped.

use serde::{Serialize, Serializer};
use supervision::{Message, Reply};

use super::world::World;

/// A message. Its number is its identity.
pub(crate) struct Msg {
    pub(crate) id: usize,
    pub(crate) weight: usize,
    /// Messages with the same key can be merged; `None` with no other one.
    pub(crate) key: Option<u64>,
    pub(crate) reply: Option<Reply<u64>>,
    pub(crate) world: World,
}

impl Message for Msg {
    fn weight(&self) -> usize {
        self.weight
    }

    fn merge(&mut self, newer: Self) -> Result<(), Self> {
        if self.key.is_none() || self.key != newer.key {
            return Err(newer);
        }
        self.weight = self.weight.max(newer.weight);
        self.world.with(|world| world.merged(newer.id, self.id));
        Ok(())
    }
}

impl Serialize for Msg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.id as u64)
    }
}

impl Drop for Msg {
    fn drop(&mut self) {
        self.world.with(|world| world.drops.push(self.id));
    }
}
