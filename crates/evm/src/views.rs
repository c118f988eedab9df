//! The contracts' views, as numbers with their units.

use std::time::Duration;

use alloy_core::primitives::{Address, Bytes, U256};
use alloy_core::sol;
use alloy_core::sol_types::SolCall;
use domain::chain::ContractAddress;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::error::ChainError;
use crate::json_rpc::Call;
use crate::pool::{Want, typed};
use crate::source::Source;

sol! {
    function snapshotSubmissionWindow(address dataMarket) external view returns (uint256);
    function DAY_SIZE(address dataMarket) external view returns (uint256);
    function dailySnapshotQuota(address dataMarket) external view returns (uint256);
    function dayCounter(address dataMarket) external view returns (uint256);
    function epochsInADay(address dataMarket) external view returns (uint256);
    function getTotalNodeCount() external view returns (uint256);
}

/// Blocks behind the head whose state every node keeps; that of older ones, archive nodes alone keep for certain.
pub const STATE_KEPT: u64 = 128;

/// As of when a view is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The head of the node that is asked.
    Latest,
    /// After this block; an old one is asked of archive nodes first.
    Block(u64),
}

/// The views of the protocol-state contract and of the data markets. Made by [`Source::views`].
#[derive(Clone, Copy, Debug)]
pub struct Views<'a> {
    source: &'a Source,
    moment: Moment,
    deadline: Instant,
}

impl Source {
    /// Views as of a moment, each answered before the deadline. Their errors: [`ChainError::NoAnswer`],
    /// [`ChainError::Rejected`] where the contract reverts, [`ChainError::View`] where it answers no such number.
    #[must_use]
    pub fn views(&self, moment: Moment, deadline: Instant) -> Views<'_> {
        Views { source: self, moment, deadline }
    }
}

impl Views<'_> {
    /// How long snapshots of an epoch may be submitted after its release (the contract: seconds).
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn submission_window(&self, market: ContractAddress) -> Result<Duration, ChainError> {
        let call = snapshotSubmissionWindowCall { dataMarket: Address::from(market.0) };
        self.of_state("snapshotSubmissionWindow", &call).await.map(Duration::from_secs)
    }

    /// How long a day of the market lasts (the contract: microseconds).
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn day_size(&self, market: ContractAddress) -> Result<Duration, ChainError> {
        let call = DAY_SIZECall { dataMarket: Address::from(market.0) };
        self.of_state("DAY_SIZE", &call).await.map(Duration::from_micros)
    }

    /// How many snapshots a day a slot owes.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn daily_snapshot_quota(&self, market: ContractAddress) -> Result<u64, ChainError> {
        let call = dailySnapshotQuotaCall { dataMarket: Address::from(market.0) };
        self.of_state("dailySnapshotQuota", &call).await
    }

    /// The current day, counted from 1.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn day_counter(&self, market: ContractAddress) -> Result<u64, ChainError> {
        self.of_state("dayCounter", &dayCounterCall { dataMarket: Address::from(market.0) }).await
    }

    /// How many epochs a day has.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn epochs_in_a_day(&self, market: ContractAddress) -> Result<u64, ChainError> {
        self.of_state("epochsInADay", &epochsInADayCall { dataMarket: Address::from(market.0) }).await
    }

    /// How many nodes there are.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn total_node_count(&self) -> Result<u64, ChainError> {
        self.of_state("getTotalNodeCount", &getTotalNodeCountCall {}).await
    }

    /// Whether there is a contract at this address.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn has_code(&self, contract: ContractAddress) -> Result<bool, ChainError> {
        let (tag, want) = self.at();
        let call = Call::new("eth_getCode", json!([contract.lower(), tag]));
        let read = |results: &[&RawValue]| Ok(typed::<Bytes>(results[0])?);
        let (code, _) = self.source.pool.ask(&[call], want, self.deadline, read).await?;
        Ok(!code.is_empty())
    }

    /// The moment as a node reads it, and which nodes may be asked.
    fn at(&self) -> (String, Want) {
        let (tag, block) = match self.moment {
            Moment::Latest => ("latest".to_owned(), None),
            Moment::Block(number) => (format!("{number:#x}"), Some(number)),
        };
        let head = self.source.pool.highest_head();
        let archive = block.is_some_and(|block| block.saturating_add(STATE_KEPT) < head);
        (tag, Want { block, archive, ..Want::default() })
    }

    async fn of_state(&self, view: &'static str, call: &impl SolCall) -> Result<u64, ChainError> {
        self.read(self.source.pool.config().contracts.protocol_state, view, call).await
    }

    async fn read(
        &self,
        contract: ContractAddress,
        view: &'static str,
        call: &impl SolCall,
    ) -> Result<u64, ChainError> {
        let (tag, want) = self.at();
        let params = json!([{ "to": contract.lower(), "data": Bytes::from(call.abi_encode()) }, tag]);
        let read = |results: &[&RawValue]| Ok(typed::<Bytes>(results[0])?);
        let call = Call::new("eth_call", params);
        let (bytes, _) = self.source.pool.ask(&[call], want, self.deadline, read).await?;
        let problem = match <[u8; 32]>::try_from(bytes.as_ref()) {
            Ok(word) => match u64::try_from(U256::from_be_bytes(word)) {
                Ok(number) => return Ok(number),
                Err(_) => "the number is larger than 64 bits".to_owned(),
            },
            Err(_) if bytes.is_empty() => "it answered nothing".to_owned(),
            Err(_) => format!("it answered {} bytes instead of 32", bytes.len()),
        };
        Err(ChainError::View { view, contract, problem })
    }
}
