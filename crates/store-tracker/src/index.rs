//! The state index in Redis: what a batch of events changes, in a constant number of round trips.
//!
//! Its keys lie in any number of hash slots, and a script may touch only one slot of a cluster. So no command depends
//! on another one of the same round trip, and every step may be repeated:
//! 1. The script `advance.lua` moves each state within its own hash, and returns the state. Commands that only add
//!    members and times go in the same round trip.
//! 2. The sets of states are written from the returned states, whether this batch moved them or an earlier one. So the
//!    second delivery of a batch completes the first one, if that broke off.
//! 3. The states are read again. Steps 2 and 3 are repeated for those that another index has moved meanwhile. The last
//!    writer always reads after its write, so two indexes at once leave the sets right.

mod apply;
mod forget;
mod place;
mod remove;
mod rounds;

use store_redis::Fault;

use crate::keys::IndexKeys;
pub use forget::IndexPart;

/// The TTL of an entity's keys is this many retentions from its last event on. The pruner removes them earlier; they
/// expire where no pruner runs.
const LIVES: u64 = 2;

/// Where the index is written, and how long it is kept.
#[derive(Clone, Debug)]
pub struct Index {
    keys: IndexKeys,
    ttl: u64,
}

/// The result of applying a batch of events.
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

/// In the state hash of an epoch, the prefix of the fields that name its validators.
const VALIDATOR_FIELD: &str = "validator:";
