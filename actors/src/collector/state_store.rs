//! The store of the chain state: Redis, or memory for a trial.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    chain::ContractAddress,
    collector::{ChainState, Transition},
};
use store_collector::{Basis, ChainStore, Left, Outcome, Snapshot, operations::READ_CHECKPOINT};
use store_redis::{Fault, Session, Store, StoreError};

/// The store.
pub(super) enum StateStore {
    /// Redis, shared with other programs.
    Redis(Box<Store>),
    /// The memory of a trial.
    Trial(Arc<Mutex<ChainState>>),
}

/// A connection to the store.
pub(super) enum StateSession {
    Redis(Box<(Session, ChainStore)>),
    Trial(Arc<Mutex<ChainState>>),
}

impl StateStore {
    /// A connection; in Redis under the keys of `chain`.
    pub(super) async fn session(&self, chain: ChainStore) -> Result<StateSession, StoreError> {
        Ok(match self {
            Self::Redis(redis) => {
                StateSession::Redis(Box::new((redis.session(READ_CHECKPOINT).await?, chain)))
            }
            Self::Trial(state) => StateSession::Trial(state.clone()),
        })
    }
}

fn locked(state: &Mutex<ChainState>) -> std::sync::MutexGuard<'_, ChainState> {
    // Poisoning is ignored: the value is only replaced as a whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateSession {
    /// Reads the present state.
    pub(super) async fn load(&mut self) -> Result<Snapshot, StoreError> {
        match self {
            Self::Redis(there) => there.1.load(&mut there.0).await,
            // A trial hands nothing over, so no time passes for its submissions.
            Self::Trial(state) => Ok(Snapshot { state: locked(state).clone(), ..Snapshot::default() }),
        }
    }

    /// What a predecessor has left of each market; nothing for a trial.
    pub(super) async fn predecessor(
        &mut self,
    ) -> Result<(BTreeMap<ContractAddress, Left>, Vec<Fault>), StoreError> {
        match self {
            Self::Redis(there) => there.1.left(&mut there.0).await,
            Self::Trial(_) => Ok(Default::default()),
        }
    }

    /// The blocks of this range whose hashes a predecessor has written, the highest first, and the keys that can't be read; none for
    /// a trial.
    pub(super) async fn stored_hashes(
        &mut self,
        numbers: RangeInclusive<u64>,
    ) -> Result<(Vec<(u64, String)>, Vec<Fault>), StoreError> {
        match self {
            Self::Redis(there) => there.1.stored_hashes(&mut there.0, numbers).await,
            Self::Trial(_) => Ok(Default::default()),
        }
    }

    /// Writes a transition of the state that was read upon this basis; see [`ChainStore::commit`].
    pub(super) async fn commit(
        &mut self,
        basis: &Basis,
        transition: &Transition,
    ) -> Result<Outcome, StoreError> {
        match self {
            Self::Redis(there) => there.1.commit(&mut there.0, basis, &transition.effects, None).await,
            Self::Trial(state) => {
                // Nothing to compare: a trial has one writer.
                locked(state).clone_from(&transition.state);
                Ok(Outcome::Done { faults: Vec::new() })
            }
        }
    }
}
