//! Whether the configured contracts answer what the collector asks of them. A backfill asks before it reads any block, and
//! `check --connect` asks each node: with a wrong address no block can ever be accepted.

use std::time::Duration;

use actors::collector::CollectorServices;
use domain::chain::ContractAddress;
use evm::{ChainError, views::Moment};
use tokio::time::Instant;

/// The contracts can't be used as they are configured, or no node answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContractError {
    /// No contract is at the address.
    #[error("query the contracts: chain {chain} has no contract at {protocol}")]
    NoContract {
        /// The configured protocol-state contract.
        protocol: ContractAddress,
        /// The chain's id, as it is shown.
        chain: String,
    },
    /// The contract does not answer how long submissions are accepted.
    #[error(
        "query the contracts: contract {protocol} does not say how long submissions for market {market} are accepted"
    )]
    OtherContract {
        /// The configured protocol-state contract.
        protocol: ContractAddress,
        /// The market.
        market: ContractAddress,
        /// The answer.
        #[source]
        source: ChainError,
    },
    /// No node answers.
    #[error("query the contracts")]
    Nodes(#[source] ChainError),
}

/// How long submissions for each market are accepted, as the protocol-state contract says.
///
/// # Errors
/// [`ContractError`] where it says it not of all markets.
pub(crate) async fn submission_windows(
    chain: &CollectorServices,
    protocol: ContractAddress,
    deadline: Instant,
) -> Result<Vec<(ContractAddress, Duration)>, ContractError> {
    let views = chain.source.views(Moment::Latest, deadline);
    let mut windows = Vec::new();
    for (market, _) in &chain.settings.markets {
        let source = match views.submission_window(*market).await {
            Ok(window) => {
                windows.push((*market, window));
                continue;
            }
            Err(error @ (ChainError::Rejected { .. } | ChainError::View { .. })) => error,
            Err(error) => return Err(ContractError::Nodes(error)),
        };
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
