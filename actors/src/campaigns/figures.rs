//! The figures of runs: by their counted changes where the migration has them, else computed in full.
//!
//! It touches the database. Small runs, and those that are counted by their changes, are read several at once; a run's last summary is always
//! computed in full by itself, since changes may not be applied yet.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use domain::campaigns::{Metrics, RunId};
use store_campaigns::{Claim, Computed, Counted, DatabaseError, DatabaseErrorKind};
use supervision::Context;

use super::shared::Campaigns;

/// How often a run that is counted by its changes is counted anew.
const RECOUNT_EVERY: Duration = Duration::from_hours(1);
/// How often a claim is extended during a long computation.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// The figures of those of these runs that can be read together. The others are for [`of_run`].
pub(super) async fn of_several(
    campaigns: &Campaigns,
    cx: &Context,
    runs: &[RunId],
) -> Result<Vec<Computed>, DatabaseError> {
    let shared = &campaigns.0;
    if !shared.counts.is_counting.load(Relaxed) {
        let computed = cx.idle(Box::pin(shared.database.compute_small(runs))).await?;
        let running: Vec<Computed> =
            computed.into_iter().filter(|computed| !computed.status.has_left()).collect();
        running.iter().for_each(|computed| shared.counts.computed(computed));
        return Ok(running);
    }
    let counted = cx.idle(Box::pin(shared.database.counted_runs(runs))).await?;
    let figures: Vec<Computed> = counted.into_iter().filter_map(fresh).collect();
    shared.counts.counted(&figures);
    Ok(figures)
}

/// The figures of one run, of whatever size; the claim is held meanwhile. `None` where the run is gone.
pub(super) async fn of_run(
    campaigns: &Campaigns,
    cx: &Context,
    claim: &Claim,
) -> Result<Option<Computed>, DatabaseError> {
    let shared = &campaigns.0;
    if !claim.is_last && shared.counts.is_counting.load(Relaxed) {
        match counted(campaigns, cx, claim).await {
            Ok(Some(computed)) => return Ok(Some(computed)),
            Ok(None) => {}
            Err(error) if error.kind.is_outage() && error.kind != DatabaseErrorKind::Slow => {
                return Err(error);
            }
            Err(error) => shared.services.report(&error),
        }
    }
    let mut computing = Box::pin(shared.database.compute(claim.run));
    loop {
        let next = cx.clock().timeout(EXTEND_EVERY, &mut computing);
        if let Some(computed) = cx.idle(next).await {
            let computed = computed?;
            computed.iter().for_each(|computed| shared.counts.computed(computed));
            return Ok(computed);
        }
        cx.progress();
        // Whether the claim is still held is decided when the summary is written.
        if let Err(error) = cx.idle(shared.database.extend(claim)).await {
            shared.services.report(&error);
        }
    }
}

/// The counted figures of a run that runs; nothing where it must be computed in full. Now and then it is counted anew, which finds what no
/// trigger saw.
async fn counted(
    campaigns: &Campaigns,
    cx: &Context,
    claim: &Claim,
) -> Result<Option<Computed>, DatabaseError> {
    let shared = &campaigns.0;
    let counted = cx.idle(Box::pin(shared.database.counted(claim.run))).await?;
    let has_left = counted.as_ref().is_some_and(|counted| counted.status.has_left());
    if has_left {
        return Ok(None);
    }
    if let Some(computed) = counted.and_then(fresh) {
        shared.counts.counted(std::slice::from_ref(&computed));
        return Ok(Some(computed));
    }
    let Some(recounted) = cx.idle(Box::pin(shared.database.recount(claim.run))).await? else {
        return Ok(None);
    };
    let store_campaigns::Recounted { run, campaign, status, tally, took, .. } = recounted;
    let computed = Computed { run, campaign, status, metrics: Metrics::of(&tally), tally, took };
    shared.counts.computed(&computed);
    // Percentiles of counts are approximate: those of a last summary are not.
    Ok(Some(computed).filter(|computed| !computed.status.has_left()))
}

/// The figures of counts that are not to be made anew, of a run that runs.
fn fresh(counted: Counted) -> Option<Computed> {
    let Counted { run, campaign, status, tally, age } = counted;
    let is_fresh = age < RECOUNT_EVERY && !status.has_left();
    let metrics = Metrics::of(&tally);
    is_fresh.then_some(Computed { run, campaign, status, metrics, tally, took: Duration::ZERO })
}
