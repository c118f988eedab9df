//! The number of subscribers of the channels of markets.

use store_redis::{Inspector, StoreError};

use crate::keys::MarketKeys;

/// How many are subscribed to the channel of each of `markets`: the most under one spelling, since each tracker of a
/// market is subscribed to all of them.
///
/// # Errors
/// [`StoreError`] when the server does not answer, or refuses.
pub async fn subscribers(inspector: &mut Inspector, markets: &[MarketKeys]) -> Result<Vec<u64>, StoreError> {
    let channels: Vec<String> = markets.iter().flat_map(MarketKeys::events).collect();
    let mut counts = inspector.subscribers(&channels).await?.into_iter();
    let of = |keys: &MarketKeys| counts.by_ref().take(keys.events().count()).max().unwrap_or(0);
    Ok(markets.iter().map(of).collect())
}
