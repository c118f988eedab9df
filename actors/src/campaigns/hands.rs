//! The jobs that workers have in their hands. It outlives the workers, so that one that was started again knows what its former
//! incarnation was at. Pure but for its lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use domain::campaigns::JobId;
use store_campaigns::Claim;

use crate::env::lock::lock;

/// Claims, each with whether its work has begun.
type Held = BTreeMap<JobId, (Claim, bool)>;

/// Claims by the workers' numbers. A worker has a few dozens at most.
#[derive(Debug, Default)]
pub(super) struct Hands(Mutex<BTreeMap<usize, Held>>);

impl Hands {
    pub(super) fn take_up(&self, worker: usize, claims: &[Claim]) {
        let claims = claims.iter().map(|claim| (claim.job, (claim.clone(), false)));
        lock(&self.0).entry(worker).or_default().extend(claims);
    }

    /// Notes that the work at these jobs begins: a crash is charged to them.
    pub(super) fn begin(&self, worker: usize, jobs: &BTreeSet<JobId>) {
        let mut all = lock(&self.0);
        let held = all.get_mut(&worker).into_iter().flatten();
        held.filter(|(job, _)| jobs.contains(job)).for_each(|(_, (_, has_begun))| *has_begun = true);
    }

    pub(super) fn put_down(&self, worker: usize, job: JobId) {
        if let Some(claims) = lock(&self.0).get_mut(&worker) {
            claims.remove(&job);
        }
    }

    /// What a worker has in its hands, which it has no more: each claim, and whether its work had begun.
    pub(super) fn take(&self, worker: usize) -> Vec<(Claim, bool)> {
        lock(&self.0).remove(&worker).unwrap_or_default().into_values().collect()
    }
}
