//! The contract values of the markets: the lengths of windows, which the fetcher needs, and the tables that other programs read.

use std::collections::BTreeMap;

use domain::chain::ContractAddress;
use evm::ChainError;
use evm::views::Moment;
use store_collector::{MarketTables, operations::WRITE_CONTRACT_VALUES};
use tokio::time::Instant;

use super::{CollectorServices, problem::CollectorProblem};

/// The contract values of all markets.
pub(super) struct Answers {
    markets: Vec<(ContractAddress, MarketTables)>,
    /// `getTotalNodeCount`, in decimal digits.
    nodes: Option<String>,
}

impl Answers {
    /// The length of each market's submission window, in seconds.
    pub(super) fn windows(&self) -> BTreeMap<ContractAddress, u64> {
        let window = |(market, tables): &(ContractAddress, MarketTables)| {
            tables.submission_window.map(|seconds| (*market, seconds))
        };
        self.markets.iter().filter_map(window).collect()
    }
}

/// Queries the contracts. A value that can't be read is reported and left out.
///
/// # Errors
/// [`ChainError`] when the length of a market's windows can't be read and is not `known`: without it no epoch of the market
/// can be followed, and no block accepted.
pub(super) async fn ask(
    chain: &CollectorServices,
    known: &BTreeMap<ContractAddress, u64>,
    deadline: Instant,
) -> Result<Answers, ChainError> {
    let views = chain.source.views(Moment::Latest, deadline);
    let number = |answer: Result<u64, ChainError>| match answer {
        Ok(number) => Some(number),
        Err(error) => {
            chain.services.report(&CollectorProblem::View(error));
            None
        }
    };
    let told = |answer| number(answer).map(|number| number.to_string());
    let mut markets = Vec::new();
    for (market, configured) in &chain.settings.markets {
        let window = match views.submission_window(*market).await {
            // Known lengths stay valid: an outage of the nodes must not stop markets that are followed already.
            Err(error) if !known.contains_key(market) => return Err(error),
            window => number(window.map(|window| window.as_secs())),
        };
        // The contract counts in microseconds, and other programs read its number as it is.
        let day_size =
            views.day_size(*market).await.map(|size| u64::try_from(size.as_micros()).unwrap_or(u64::MAX));
        let tables = MarketTables {
            configured: configured.clone(),
            submission_window: window,
            day_size: told(day_size),
            quota: told(views.daily_snapshot_quota(*market).await),
            epochs_in_a_day: told(views.epochs_in_a_day(*market).await),
        };
        markets.push((*market, tables));
    }
    Ok(Answers { markets, nodes: told(views.total_node_count().await) })
}

/// Writes the contract values to Redis, and reports what can't be written.
pub(super) async fn write(chain: &CollectorServices, answers: &Answers) {
    let operation = WRITE_CONTRACT_VALUES;
    let written = async {
        let mut session = chain.services.store.session(operation).await?;
        chain.store.write_tables(&mut session, &answers.markets, answers.nodes.as_deref()).await
    };
    match written.await {
        Ok(faults) => chain.services.note_unwritten(operation, &faults),
        // Only reported: no decision depends on these tables, and in an outage the fetcher's own step fails next and is retried.
        Err(error) => chain.services.report(&error),
    }
}
