//! Where a market is taken up that was not followed up to now: the day that its contract tells of, and the windows that
//! another program has left open, such as the collector that did this before us.
//!
//! Reads only.

use std::collections::BTreeMap;

use domain::{
    chain::{BlockRef, ContractAddress},
    collector::Beginning,
};
use evm::{
    ChainError,
    views::{Moment, RECENT_STATE_BLOCKS},
};
use tokio::time::Instant;

use super::{
    FollowServices,
    problem::{CollectorProblem, StepError},
    state_store::Page,
};

/// Where each of these markets stands after this block.
///
/// # Errors
/// [`StepError`] when Redis or the nodes do not answer. What can't be read is told and left out.
pub(super) async fn beginnings(
    chain: &FollowServices,
    page: &mut Page,
    newcomers: &[ContractAddress],
    block: BlockRef,
    head: BlockRef,
    deadline: Instant,
) -> Result<BTreeMap<ContractAddress, Beginning>, StepError> {
    let (mut left, faults) = page.left().await?;
    chain.services.note_faults(&faults);
    // Of later ones the chain will tell.
    left.values_mut().for_each(|left| left.marked.retain(|_, number| *number <= block.number));
    let mut numbers: Vec<u64> = left.values().flat_map(|left| left.marked.values()).copied().collect();
    numbers.sort_unstable();
    numbers.dedup();
    let blocks = chain.source.blocks_at(&numbers, deadline).await?;
    let mut all = BTreeMap::new();
    for market in newcomers {
        let left = left.remove(market).unwrap_or_default();
        let released = |(epoch, number)| Some((epoch, (number, blocks.get(&number)?.time)));
        let beginning = Beginning {
            day: day(chain, *market, block, head, deadline).await?,
            epochs: left.marked.into_iter().filter_map(released).collect(),
            handed: left.handed,
        };
        all.insert(*market, beginning);
    }
    Ok(all)
}

/// The day after this block, where a node can tell.
async fn day(
    chain: &FollowServices,
    market: ContractAddress,
    block: BlockRef,
    head: BlockRef,
    deadline: Instant,
) -> Result<Option<u64>, ChainError> {
    let unknown = |cause| {
        chain.services.report(&CollectorProblem::DayUnknown { market, block: block.number, cause });
    };
    if head.number.saturating_sub(block.number) > RECENT_STATE_BLOCKS && !chain.source.has_archive() {
        unknown(None);
        return Ok(None);
    }
    match chain.source.views(Moment::Block(block.number), deadline).day_counter(market).await {
        Ok(day) => Ok(Some(day)),
        Err(error @ (ChainError::Rejected { .. } | ChainError::View { .. })) => {
            unknown(Some(error));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
