//! Checks that the configured contracts answer the collector's queries. `backfill` checks before it reads a block, and
//! `check --connect` checks on each node: with a wrong address no block can ever be accepted.

use std::time::Duration;

use actors::collector::CollectorServices;
use domain::chain::ContractAddress;
use evm::{ChainError, views::Moment};
use tokio::time::Instant;

/// The configured contracts can't be used, or no node answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContractError {
    /// The address has no contract.
    #[error("query the contracts: chain {chain} has no contract at {protocol}")]
    NoContract {
        /// The configured protocol-state contract.
        protocol: ContractAddress,
        /// The chain's id as text, since it may be unknown.
        chain: String,
    },
    /// The contract does not have the view of the submission window.
    #[error(
        "query the contracts: contract {protocol} does not say how long submissions for market {market} are accepted"
    )]
    OtherContract {
        /// The configured protocol-state contract.
        protocol: ContractAddress,
        /// The market.
        market: ContractAddress,
        /// The answer of the node.
        #[source]
        source: ChainError,
    },
    /// No node answers.
    #[error("query the contracts")]
    Nodes(#[source] ChainError),
}

/// The submission window of each market, from the protocol-state contract.
///
/// # Errors
/// [`ContractError`] if it does not answer for every market.
pub(crate) async fn submission_windows(
    chain: &CollectorServices,
    protocol: ContractAddress,
    deadline: Instant,
) -> Result<Vec<(ContractAddress, Duration)>, ContractError> {
    let views = chain.source.views(Moment::Latest, deadline);
    let mut windows = Vec::new();
    // One by one, up to the first error: a wrong protocol contract fails for every market.
    for (market, _) in &chain.settings.markets {
        let source = match views.submission_window(*market).await {
            Ok(window) => {
                windows.push((*market, window));
                continue;
            }
            // Only these two are answers of the contract. Any other error says nothing about the address.
            Err(error @ (ChainError::Rejected { .. } | ChainError::View { .. })) => error,
            Err(error) => return Err(ContractError::Nodes(error)),
        };
        // A call to an address without code succeeds with an empty answer, so the
        // code tells a wrong address from another contract.
        let has_code = views.has_code(protocol).await.map_err(ContractError::Nodes)?;
        if !has_code {
            let chain =
                chain.source.chain_id().map_or_else(|| "of unknown id".to_owned(), |id| id.to_string());
            return Err(ContractError::NoContract { protocol, chain });
        }
        return Err(ContractError::OtherContract { protocol, market: *market, source });
    }
    Ok(windows)
}
