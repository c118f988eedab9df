//! Calls of the contracts' view functions. Their numbers are returned with units.

use std::time::Duration;

use alloy_core::primitives::{Address, Bytes, U256};
use alloy_core::sol;
use alloy_core::sol_types::SolCall;
use domain::chain::{ContractAddress, Hash};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::ChainError;
use crate::json_rpc::Call;
use crate::pool::{METHOD_NOT_FOUND, NodeRequirements, typed};
use crate::refusal::About;
use crate::source::Source;

// The functions that are called; the contracts have more.
sol! {
    function snapshotSubmissionWindow(address dataMarket) external view returns (uint256);
    function DAY_SIZE(address dataMarket) external view returns (uint256);
    function dailySnapshotQuota(address dataMarket) external view returns (uint256);
    function dayCounter(address dataMarket) external view returns (uint256);
    function epochsInADay(address dataMarket) external view returns (uint256);
    function getTotalNodeCount() external view returns (uint256);
}

/// The number of blocks behind the head whose state every node keeps. For older state only archive nodes are reliable.
const RECENT_STATE_BLOCKS: u64 = 128;

fn is_old(block: u64, head: u64) -> bool {
    block.saturating_add(RECENT_STATE_BLOCKS) < head
}

/// The block at which a view function is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The head of the node that answers.
    Latest,
    /// The state after this block; for an old block archive nodes are asked first. With its hash a node on another branch gives no
    /// number, unless no node takes a hash (EIP-1898).
    Block {
        /// The block's number.
        number: u64,
        /// Its hash, where it is known.
        hash: Option<Hash>,
    },
}

/// The view functions of the protocol-state contract. Made by [`Source::views`].
#[derive(Clone, Copy, Debug)]
pub struct Views<'a> {
    source: &'a Source,
    moment: Moment,
    deadline: Instant,
}

impl Source {
    /// The view functions at a moment; each call ends at the deadline. Their errors: [`ChainError::NoAnswer`],
    /// [`ChainError::Rejected`] if the contract reverts or all nodes have discarded the state, [`ChainError::View`] if the answer is no 64-bit number.
    #[must_use]
    pub fn views(&self, moment: Moment, deadline: Instant) -> Views<'_> {
        Views { source: self, moment, deadline }
    }

    /// Whether a node may have the state after this block when the newest one is `head`. Nodes that are no archives discard it after
    /// some blocks: a request could only fail then, on every node.
    #[must_use]
    pub fn may_have_state(&self, block: u64, head: u64) -> bool {
        !is_old(block, head) || self.has_archive()
    }
}

impl Views<'_> {
    /// The submission window of an epoch, from its release on (in the contract: seconds).
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn submission_window(&self, market: ContractAddress) -> Result<Duration, ChainError> {
        let call = snapshotSubmissionWindowCall { dataMarket: Address::from(market.0) };
        self.call_protocol_state("snapshotSubmissionWindow", &call).await.map(Duration::from_secs)
    }

    /// The length of a market's day (in the contract: microseconds).
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn day_size(&self, market: ContractAddress) -> Result<Duration, ChainError> {
        let call = DAY_SIZECall { dataMarket: Address::from(market.0) };
        self.call_protocol_state("DAY_SIZE", &call).await.map(Duration::from_micros)
    }

    /// The number of snapshots that a slot must submit in a day.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn daily_snapshot_quota(&self, market: ContractAddress) -> Result<u64, ChainError> {
        let call = dailySnapshotQuotaCall { dataMarket: Address::from(market.0) };
        self.call_protocol_state("dailySnapshotQuota", &call).await
    }

    /// The current day, counted from 1.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn day_counter(&self, market: ContractAddress) -> Result<u64, ChainError> {
        self.call_protocol_state("dayCounter", &dayCounterCall { dataMarket: Address::from(market.0) }).await
    }

    /// The number of epochs in a day.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn epochs_in_a_day(&self, market: ContractAddress) -> Result<u64, ChainError> {
        self.call_protocol_state("epochsInADay", &epochsInADayCall { dataMarket: Address::from(market.0) })
            .await
    }

    /// The number of nodes.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn total_node_count(&self) -> Result<u64, ChainError> {
        self.call_protocol_state("getTotalNodeCount", &getTotalNodeCountCall {}).await
    }

    /// Whether a contract exists at this address.
    ///
    /// # Errors
    /// [`ChainError::NoAnswer`] at the deadline.
    pub async fn has_code(&self, contract: ContractAddress) -> Result<bool, ChainError> {
        let (tag, want) = self.block_tag();
        let call = Call::new("eth_getCode", json!([contract.lower(), tag]));
        let read = |results: &[&RawValue]| Ok(typed::<Bytes>(results[0])?);
        let (code, _) = self.source.pool.ask(&[call], want, self.deadline, read).await?;
        Ok(!code.is_empty())
    }

    /// The block's hash, where it is known.
    fn hash(&self) -> Option<Hash> {
        match self.moment {
            Moment::Block { hash, .. } => hash,
            Moment::Latest => None,
        }
    }

    /// The block parameter of a request by number, and the requirements for a node.
    fn block_tag(&self) -> (String, NodeRequirements) {
        let (tag, block) = match self.moment {
            Moment::Latest => ("latest".to_owned(), None),
            Moment::Block { number, .. } => (format!("{number:#x}"), Some(number)),
        };
        // The known head, without a request: a wrong guess costs only one question to a node that has pruned the state.
        let head = self.source.pool.highest_head();
        let archive = block.is_some_and(|block| is_old(block, head));
        (tag, NodeRequirements { block, archive, ..NodeRequirements::default() })
    }

    async fn call_protocol_state(&self, view: &'static str, call: &impl SolCall) -> Result<u64, ChainError> {
        self.read(self.source.pool.config().contracts.protocol_state, view, call).await
    }

    async fn read(
        &self,
        contract: ContractAddress,
        view: &'static str,
        call: &impl SolCall,
    ) -> Result<u64, ChainError> {
        let (tag, want) = self.block_tag();
        let call = json!({ "to": contract.lower(), "data": Bytes::from(call.abi_encode()) });
        let ask = async |tag: Value, want: NodeRequirements| {
            let read = |results: &[&RawValue]| Ok(typed::<Bytes>(results[0])?);
            let call = Call::new("eth_call", json!([call, tag]));
            self.source.pool.ask(&[call], want, self.deadline, read).await
        };
        let by_hash = match self.hash() {
            Some(hash) => {
                let want = NodeRequirements { about: About::ViewByHash, hash: Some(hash), ..want };
                Some(ask(json!({ "blockHash": hash }), want).await)
            }
            None => None,
        };
        let (bytes, _) = match by_hash {
            Some(Err(ChainError::Rejected { code: METHOD_NOT_FOUND, .. })) | None => {
                ask(json!(tag), NodeRequirements { about: About::View, ..want }).await
            }
            Some(answer) => answer,
        }?;
        // The ABI encodes a number as one word of 32 bytes.
        let problem = match <[u8; 32]>::try_from(bytes.as_ref()) {
            Ok(word) => match u64::try_from(U256::from_be_bytes(word)) {
                Ok(number) => return Ok(number),
                Err(_) => "the number is larger than 64 bits".to_owned(),
            },
            // A call to an address without a contract succeeds with an empty answer.
            Err(_) if bytes.is_empty() => "it answered nothing".to_owned(),
            Err(_) => format!("it answered {} bytes instead of 32", bytes.len()),
        };
        Err(ChainError::View { view, contract, problem })
    }
}
