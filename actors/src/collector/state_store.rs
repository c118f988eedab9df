//! The store of the chain state: Redis, or memory for a trial.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    chain::ContractAddress,
    collector::{Following, Note, Stretch},
};
use store_collector::{ChainStore, Known, Left, Outcome, operations::READ_CHECKPOINT};
use store_redis::{Fault, Session, Store, StoreError};

/// The store of the chain state.
pub(super) enum Book {
    /// The state in Redis, shared with other programs.
    Redis(Box<Store>),
    /// The state of a trial, in memory.
    Trial(Arc<Mutex<Following>>),
}

/// A snapshot of the chain state, and where its successor is written.
pub(super) struct Page {
    pub(super) known: Known,
    place: Place,
}

enum Place {
    Redis(Box<(Session, ChainStore)>),
    Trial(Arc<Mutex<Following>>),
}

impl Book {
    /// Reads the present state; in Redis under the keys of `chain`.
    pub(super) async fn read(&self, chain: ChainStore) -> Result<Page, StoreError> {
        match self {
            Self::Redis(redis) => {
                let mut session = redis.session(READ_CHECKPOINT).await?;
                let known = chain.load(&mut session).await?;
                Ok(Page { known, place: Place::Redis(Box::new((session, chain))) })
            }
            Self::Trial(following) => {
                // A trial hands nothing over, so no time passes for its submissions.
                let known = Known::of(locked(following).clone(), 0);
                Ok(Page { known, place: Place::Trial(following.clone()) })
            }
        }
    }
}

fn locked(following: &Mutex<Following>) -> std::sync::MutexGuard<'_, Following> {
    // Poisoning is ignored: the value is only replaced as a whole.
    following.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Page {
    /// What a predecessor has left of each market; nothing for a trial.
    pub(super) async fn left(&mut self) -> Result<(BTreeMap<ContractAddress, Left>, Vec<Fault>), StoreError> {
        match &mut self.place {
            Place::Redis(there) => there.1.left(&mut there.0).await,
            Place::Trial(_) => Ok(Default::default()),
        }
    }

    /// The blocks of this range whose hashes a predecessor has written, the highest first, and the keys that can't be read; none for
    /// a trial.
    pub(super) async fn told_hashes(
        &mut self,
        numbers: RangeInclusive<u64>,
    ) -> Result<(Vec<(u64, String)>, Vec<Fault>), StoreError> {
        match &mut self.place {
            Place::Redis(there) => there.1.told_hashes(&mut there.0, numbers).await,
            Place::Trial(_) => Ok(Default::default()),
        }
    }

    /// Writes the successor of this snapshot, unless the state was changed since it was read; see [`ChainStore::commit`].
    pub(super) async fn write(
        &mut self,
        after: &Following,
        stretch: Option<&Stretch>,
        notes: &[Note],
    ) -> Result<Outcome, StoreError> {
        match &mut self.place {
            Place::Redis(there) => there.1.commit(&mut there.0, &self.known, after, stretch, notes).await,
            Place::Trial(following) => {
                // Nothing to compare: a trial has one writer.
                locked(following).clone_from(after);
                Ok(Outcome::Done { faults: Vec::new() })
            }
        }
    }
}
