//! The take-over of a market that was not followed before: the day of its contract, and the windows that a predecessor left
//! open, such as the original collector.
//!
//! It only reads.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    chain::{BlockRef, ContractAddress},
    collector::{Day, Releases, TakeOver},
};
use evm::{ChainError, views::Moment};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    CollectorServices,
    contract_values::{AT_ONCE, at_releases},
    problem::CollectorProblem,
    state_store::StateSession,
    step_error::Cause,
};

/// How long the blocks of all markers are waited for together, and then each by itself.
const TOGETHER_WITHIN: Duration = Duration::from_secs(5);
const SINGLE_WITHIN: Duration = Duration::from_secs(2);
/// How long the days of all markets are waited for together.
const DAYS_WITHIN: Duration = Duration::from_secs(5);

/// The state of each of these markets after this block, and what the contracts said at the blocks that released its windows. What
/// can't be read is reported and left out.
///
/// # Errors
/// [`Cause`] when Redis or the nodes do not answer.
pub(super) async fn take_overs(
    chain: &CollectorServices,
    session: &mut StateSession,
    newcomers: &[ContractAddress],
    block: BlockRef,
    head: BlockRef,
    deadline: Instant,
) -> Result<(BTreeMap<ContractAddress, TakeOver>, Releases), Cause> {
    let (mut left, faults) = session.predecessor().await?;
    chain.services.note_faults(&faults);
    // Windows of later blocks come from the chain itself, when those blocks are accepted.
    left.values_mut().for_each(|left| left.marked.retain(|_, number| *number <= block.number));
    let mut numbers: Vec<u64> = left.values().flat_map(|left| left.marked.values()).copied().collect();
    numbers.sort_unstable();
    // Several markets can be released in one block: each block is requested once.
    numbers.dedup();
    // The times of the releases: markers have only their block numbers.
    let blocks = released_at(chain, &numbers, deadline).await?;
    let until = deadline.min(Instant::now() + DAYS_WITHIN);
    let mut asked = Vec::new();
    for &market in newcomers {
        asked.push(async move { (market, day(chain, market, block, head, until).await) });
    }
    let days: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let (mut all, mut releases) = (BTreeMap::new(), Vec::new());
    for (market, (day, day_length)) in days {
        let left = left.remove(&market).unwrap_or_default();
        // A marker whose block no node has any more is skipped: without its time the limit of the window is unknown.
        let released = |(epoch, number)| Some((epoch, *blocks.get(&number)?));
        let epochs: BTreeMap<_, _> = left.marked.into_iter().filter_map(released).collect();
        releases.extend(epochs.values().map(|block| (market, block.number, Some(block.hash))));
        let epochs = epochs.into_iter().map(|(epoch, block)| (epoch, (block.number, block.time))).collect();
        // It began at this block at the latest.
        let day = day.map(|number| Day { number, since: block.time });
        let (handed, last_day, rollovers) = (left.handed, left.last_day, left.rollovers);
        all.insert(market, TakeOver { day, day_length, last_day, rollovers, epochs, handed });
    }
    Ok((all, at_releases(chain, &releases, head, deadline).await))
}

/// The blocks of these numbers. One that no node has is left out: a predecessor may have left a marker of long ago, whose block the nodes
/// have discarded since.
async fn released_at(
    chain: &CollectorServices,
    numbers: &[u64],
    deadline: Instant,
) -> Result<BTreeMap<u64, BlockRef>, ChainError> {
    // Usually all of them are there.
    let soon = |within| deadline.min(Instant::now() + within);
    if let Ok(blocks) = chain.source.blocks_at(numbers, soon(TOGETHER_WITHIN)).await {
        return Ok(blocks);
    }
    let (mut blocks, mut missing) = (BTreeMap::new(), Vec::new());
    // The newest first: the windows of old ones have expired.
    for &number in numbers.iter().rev() {
        match chain.source.block_at(number, soon(SINGLE_WITHIN)).await {
            Ok(Some(block)) => drop(blocks.insert(number, block)),
            Ok(None) => missing.push(number),
            // Without any node the take-over waits; with one that lacks the block it goes on.
            Err(error) if chain.source.head(soon(SINGLE_WITHIN)).await.is_err() => return Err(error),
            Err(_) => missing.push(number),
        }
    }
    if let Some(&first) = missing.first() {
        chain.services.report(&CollectorProblem::ReleaseMissing { block: first, count: missing.len() });
    }
    Ok(blocks)
}

/// The market's day after this block, and how long its days are, in seconds; `None` when the contract or the nodes do not tell it. The
/// block that releases the market's next epoch is asked again for the day.
async fn day(
    chain: &CollectorServices,
    market: ContractAddress,
    block: BlockRef,
    head: BlockRef,
    deadline: Instant,
) -> (Option<u64>, Option<u64>) {
    let unknown = |cause| {
        chain.services.report(&CollectorProblem::DayUnknown { market, block: block.number, cause });
    };
    if !chain.source.may_have_state(block.number, head.number) {
        unknown(None);
        return (None, None);
    }
    let views = chain.source.views(Moment::Block { number: block.number, hash: Some(block.hash) }, deadline);
    let (day, length) = tokio::join!(views.day_counter(market), views.day_size(market));
    // The market is followed without one: it must not hold up the others.
    let day = day.map_err(|error| unknown(Some(error))).ok();
    (day, length.ok().map(|length| length.as_secs()))
}
