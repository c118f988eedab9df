//! The jobs that workers have in their hands. It outlives the workers, so that one that was started again knows what its former
//! incarnation was at. Pure but for its lock.

use std::{collections::BTreeMap, sync::Mutex};

use store_campaigns::Claim;

use crate::env::lock::lock;

/// Claims by the workers' numbers. A worker has a few at most.
#[derive(Debug, Default)]
pub(super) struct Hands(Mutex<BTreeMap<usize, Vec<Claim>>>);

impl Hands {
    pub(super) fn take_up(&self, worker: usize, claim: &Claim) {
        lock(&self.0).entry(worker).or_default().push(claim.clone());
    }

    pub(super) fn put_down(&self, worker: usize, claim: &Claim) {
        if let Some(claims) = lock(&self.0).get_mut(&worker) {
            claims.retain(|held| held != claim);
        }
    }

    /// What a worker has in its hands, which it has no more.
    pub(super) fn take(&self, worker: usize) -> Vec<Claim> {
        lock(&self.0).remove(&worker).unwrap_or_default()
    }
}
