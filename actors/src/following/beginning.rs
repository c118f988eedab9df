//! Where a market is taken up when nothing was followed yet: the day that the contracts tell of, and the windows that another
//! program has left open, such as the collector that did this before us.
//!
//! Reads only.

use std::collections::BTreeMap;

use chain::{ChainError, views::Moment};
use domain::chain::{Beginning, BlockRef, ContractAddress};
use store::StoreError;
use tokio::time::Instant;

use super::{
    FollowServices,
    book::{Book, Page},
};

/// The state of blocks this far behind the head is kept by every node.
const STATE_KEPT: u64 = 64;

/// Why it can't be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeginError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Where each market stands after this block, the one before the first that is accepted.
///
/// # Errors
/// [`BeginError`] when Redis or the nodes do not answer. What can't be read is told and left out.
pub(super) async fn beginnings(
    chain: &FollowServices,
    book: &Book,
    page: &mut Page,
    block: BlockRef,
    head: BlockRef,
    deadline: Instant,
) -> Result<BTreeMap<ContractAddress, Beginning>, BeginError> {
    let mut all = BTreeMap::new();
    let (mut marked, faults) = book.marked(page).await?;
    chain.services.note_faults(&faults);
    for (market, _) in &chain.settings.markets {
        let mut beginning =
            Beginning { day: day(chain, *market, block, head, deadline).await?, ..Beginning::default() };
        // Of later ones the chain will tell.
        let marked = marked.remove(market).unwrap_or_default();
        for (epoch, number) in marked.into_iter().filter(|(_, number)| *number <= block.number) {
            if let Some(released) = chain.source.block_at(number, deadline).await? {
                beginning.epochs.insert(epoch, (number, released.time));
            }
        }
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
    let is_young = head.number.saturating_sub(block.number) <= STATE_KEPT;
    if !is_young && !chain.source.has_archive() {
        return Ok(None);
    }
    match chain.source.views(Moment::Block(block.number), deadline).day_counter(market).await {
        Ok(day) => Ok(Some(day)),
        Err(error @ ChainError::NoAnswer { .. }) if is_young => Err(error),
        Err(error) => {
            chain.services.warn("ask contracts", "view", "contracts", &error.to_string());
            Ok(None)
        }
    }
}
