//! All slots of a tree that still exist, for the watch: also those of members that were removed and have not ended.

use std::sync::{Arc, Weak};

use crate::{
    slot::Slot,
    sync::{Mutex, lock},
};

#[derive(Default)]
pub(crate) struct Registry(Mutex<Known>);

#[derive(Default)]
struct Known {
    slots: Vec<Weak<Slot>>,
    /// How many there may be before those that are gone are forgotten.
    sweep_at: usize,
}

/// The fewest slots that are worth a sweep.
const SWEEP_AT: usize = 64;

impl Registry {
    pub(crate) fn register(&self, slot: &Arc<Slot>) {
        let mut known = lock(&self.0);
        // Bounds the list by twice the slots that exist, at a constant cost for each registration.
        if known.slots.len() >= known.sweep_at {
            known.slots.retain(|slot| slot.strong_count() > 0);
            known.sweep_at = SWEEP_AT.max(2 * known.slots.len());
        }
        known.slots.push(Arc::downgrade(slot));
    }

    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.0).slots.iter().filter_map(Weak::upgrade).collect()
    }

    /// The number of slots that are known, including those that are gone and not forgotten yet.
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).slots.len()
    }
}
