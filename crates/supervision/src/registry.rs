//! All slots of a tree that still exist, for the watch: also those of members that were removed and have not ended.

use std::sync::{Arc, Weak};

use crate::{
    slot::Slot,
    sync::{Mutex, lock},
    weak_list,
};

#[derive(Default)]
pub(crate) struct Registry(Mutex<Vec<Weak<Slot>>>);

impl Registry {
    pub(crate) fn register(&self, slot: &Arc<Slot>) {
        weak_list::push(&mut lock(&self.0), slot);
    }

    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.0).iter().filter_map(Weak::upgrade).collect()
    }

    /// The number of slots that are known, including those that are gone and not forgotten yet.
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}
