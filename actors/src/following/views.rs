//! What the contracts say of the markets: how long windows are, which the fetcher needs, and what other programs read.

use std::collections::BTreeMap;

use chain::ChainError;
use chain::views::Moment;
use domain::chain::ContractAddress;
use store::chain::MarketTables;
use tokio::time::Instant;

use super::FollowServices;

/// Asks how long windows are, in seconds, and writes all that the contracts say to Redis.
///
/// # Errors
/// [`ChainError`] where a window's length can't be had: without it no epoch of the market can be followed. Anything else
/// that can't be had is told and left as it stands.
pub(super) async fn ask_windows(
    chain: &FollowServices,
    deadline: Instant,
) -> Result<BTreeMap<ContractAddress, u64>, ChainError> {
    let views = chain.source.views(Moment::Latest, deadline);
    let (mut windows, mut tables) = (BTreeMap::new(), Vec::new());
    let told = |answer: Result<u64, ChainError>| match answer {
        Ok(number) => Some(number.to_string()),
        Err(error) => {
            chain.services.warn("ask contracts", "view", "contracts", &error.to_string());
            None
        }
    };
    for (market, configured) in &chain.settings.markets {
        let window = views.submission_window(*market).await?.as_secs();
        windows.insert(*market, window);
        let day_size =
            views.day_size(*market).await.map(|size| u64::try_from(size.as_micros()).unwrap_or(u64::MAX));
        tables.push((
            *market,
            MarketTables {
                configured: configured.clone(),
                submission_window: Some(window),
                day_size: told(day_size),
                quota: told(views.daily_snapshot_quota(*market).await),
                epochs_in_a_day: told(views.epochs_in_a_day(*market).await),
            },
        ));
    }
    let nodes = told(views.total_node_count().await);
    let written = async {
        let mut session = chain.services.store.session("write what the contracts say").await?;
        chain.store.write_tables(&mut session, &tables, nodes.as_deref()).await
    };
    match written.await {
        Ok(faults) => chain.services.note_unwritten("write what the contracts say", &faults),
        // The fetcher meets the same outage, and waits.
        Err(error) => chain.services.note_error(&error),
    }
    Ok(windows)
}
