//! The state index in Redis: what a batch of events changes, in a constant number of round trips.
//!
//! Its keys lie in many hash slots, and a script may touch only one slot of a cluster. So no command depends on another one
//! of the same round trip, and every step may be repeated:
//! 1. Scripts admit the entities, each kind in the one key that holds all of its kind. They count there, so no number of indexers
//!    exceeds the quota. An entity without room is left out of the steps below.
//! 2. The script `advance.lua` moves each state within its own hash, and returns the state. Commands that only add
//!    members and times go in the same round trip.
//! 3. The sets of states are written from the returned states, whether this batch moved them or an earlier one. So the
//!    second delivery of a batch completes the first one, if that broke off.
//! 4. The states are read again. Steps 3 and 4 are repeated for those that another index has moved meanwhile. The last
//!    writer always reads after its write, so two indexes at once leave the sets right.

mod admit;
mod apply;
mod forget;
mod place;
mod remove;
mod round_trip;
mod submissions;

use domain::tracker::index::Quota;
use store_redis::Fault;

use crate::keys::IndexKeys;
pub use forget::IndexPart;

/// The TTL of an entity's keys, in retentions from its last event on. The pruner removes them earlier; without a pruner they expire.
const LIVES: u64 = 2;

/// Where the index is written, how long it is kept, and how large it may become.
#[derive(Clone, Debug)]
pub struct Index {
    keys: IndexKeys,
    /// In seconds.
    ttl: u64,
    quota: Quota,
}

/// The result of applying a batch of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Events that would have gone backwards, and changed nothing.
    pub backwards: u64,
    /// Steps and batches of entities that the index had no room for.
    pub refused: u64,
    /// Keys that could not be written; all others were.
    pub faults: Vec<Fault>,
}

impl Index {
    /// The index under these keys, kept for this many seconds, with the default quota.
    #[must_use]
    pub fn new(keys: IndexKeys, retention: u64) -> Self {
        Self { keys, ttl: LIVES * retention.max(1), quota: Quota::default() }
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keys.name()
    }

    /// Sets how many entities it may hold.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }
}

/// In the state hash of an epoch, the prefix of the fields that name its validators.
const VALIDATOR_FIELD: &str = "validator:";
