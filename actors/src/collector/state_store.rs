//! Where it stands what following the chain has come to: in Redis, or, for a trial, nowhere but here.

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

/// What following the chain has come to, to be read and moved on.
pub(super) enum Book {
    /// Everybody's.
    Redis(Box<Store>),
    /// A trial's: it touches nothing of anybody's.
    Trial(Arc<Mutex<Following>>),
}

/// What was read, and where it is to be moved on.
pub(super) struct Page {
    pub(super) known: Known,
    place: Place,
}

enum Place {
    Redis(Box<(Session, ChainStore)>),
    Trial(Arc<Mutex<Following>>),
}

impl Book {
    /// Whether it touches nothing of anybody's.
    pub(super) fn is_trial(&self) -> bool {
        matches!(self, Self::Trial(_))
    }

    /// What stands there now, in Redis as the chain's side of `chain`.
    pub(super) async fn read(&self, chain: ChainStore) -> Result<Page, StoreError> {
        match self {
            Self::Redis(redis) => {
                let mut session = redis.session(READ_CHECKPOINT).await?;
                let known = chain.load(&mut session).await?;
                Ok(Page { known, place: Place::Redis(Box::new((session, chain))) })
            }
            Self::Trial(following) => {
                let known = Known::of(locked(following).clone());
                Ok(Page { known, place: Place::Trial(following.clone()) })
            }
        }
    }
}

fn locked(following: &Mutex<Following>) -> std::sync::MutexGuard<'_, Following> {
    // It is replaced as a whole.
    following.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Page {
    /// What another program has left of each market.
    pub(super) async fn left(&mut self) -> Result<(BTreeMap<ContractAddress, Left>, Vec<Fault>), StoreError> {
        match &mut self.place {
            Place::Redis(there) => there.1.left(&mut there.0).await,
            Place::Trial(_) => Ok(Default::default()),
        }
    }

    /// The blocks among these whose hashes somebody has told of, the highest first.
    pub(super) async fn told_hashes(
        &mut self,
        numbers: RangeInclusive<u64>,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        match &mut self.place {
            Place::Redis(there) => there.1.told_hashes(&mut there.0, numbers).await,
            Place::Trial(_) => Ok(Vec::new()),
        }
    }

    /// Moves on from what was read, if that still stands; see [`ChainStore::commit`].
    pub(super) async fn write(
        &mut self,
        after: &Following,
        stretch: Option<&Stretch>,
        notes: &[Note],
    ) -> Result<Outcome, StoreError> {
        match &mut self.place {
            Place::Redis(there) => there.1.commit(&mut there.0, &self.known, after, stretch, notes).await,
            Place::Trial(following) => {
                locked(following).clone_from(after);
                Ok(Outcome::Done { faults: Vec::new() })
            }
        }
    }
}
