//! The state index in Redis: what a batch of events changes, in a constant number of round trips.
//!
//! Its keys lie in any number of hash slots, and a script may touch one slot of a cluster only. So no command depends
//! on another of the same round trip, and everything may be done again:
//! 1. The script `advance.lua` decides each state within its own hash, and says where it stands then. What only adds
//!    (members, times) goes with it.
//! 2. The sets of states follow from what stands, whether it was moved just now or before: so a batch whose index
//!    crashed half-way is completed by its second delivery.
//! 3. What stands is read again. Where another index has moved on meanwhile, 2 and 3 are repeated for that alone.
//!    Whoever wrote last has read after it, so two indexes at once leave the sets right.

mod apply;
mod forget;
mod place;
mod rounds;

use store_redis::Fault;

use crate::keys::IndexKeys;
pub use forget::IndexPart;

/// Keys of one entity live this many times the retention, counted from the last event: they are removed with the entity,
/// and by themselves where nobody prunes.
const LIVES: u64 = 2;

/// Where the index is written, and how long it is kept.
#[derive(Clone, Debug)]
pub struct Index {
    keys: IndexKeys,
    ttl: u64,
}

/// What a batch of events came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Events that would have gone backwards, and changed nothing.
    pub backwards: u64,
    /// Keys that could not be written; all others were.
    pub faults: Vec<Fault>,
}

impl Index {
    /// The index under these keys, kept for this many seconds.
    #[must_use]
    pub fn new(keys: IndexKeys, retention: u64) -> Self {
        Self { keys, ttl: LIVES * retention.max(1) }
    }
}

/// Before the name of a validator, in the state of an epoch.
const VALIDATOR_FIELD: &str = "validator:";
