//! Calls of the contracts' view functions. Their numbers are returned with units.

use std::time::Duration;

use alloy_core::primitives::{Address, Bytes, U256};
use alloy_core::sol;
use alloy_core::sol_types::SolCall;
use domain::chain::{ContractAddress, Hash};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::counters::FaultKind;
use crate::error::ChainError;
use crate::fault::Fault;
use crate::json_rpc::Call;
use crate::pool::{METHOD_NOT_FOUND, NodeRequirements, typed};
use crate::refusal::About;
use crate::source::{Source, by_number, read_header};

// The functions that are called; the contracts have more.
sol! {
    function snapshotSubmissionWindow(address dataMarket) external view returns (uint256);
    function DAY_SIZE(address dataMarket) external view returns (uint256);
    function dailySnapshotQuota(address dataMarket) external view returns (uint256);
    function dayCounter(address dataMarket) external view returns (uint256);
    function epochsInADay(address dataMarket) external view returns (uint256);
    function getTotalNodeCount() external view returns (uint256);
    function eligibleNodesForDay(uint256 day) external view returns (uint256);
    function slotSubmissionCount(address dataMarket, uint256 slotId, uint256 day) external view returns (uint256);
}

/// The number of blocks behind the head whose state every node keeps. For older state only archive nodes are reliable.
const RECENT_STATE_BLOCKS: u64 = 128;

fn is_old(block: u64, head: u64) -> bool {
    block.saturating_add(RECENT_STATE_BLOCKS) < head
}

/// The block at which a view function is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The head of the node that answers, which is none that lags.
    Latest,
    /// The state after this block; for an old block archive nodes are asked first. With its hash a node on another branch gives no
    /// number: one that takes no hash (EIP-1898) is asked by number, if it has this very block.
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

    /// How many nodes were eligible for rewards in a day, as the contract of the market shows it; 0 before it does.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn eligible_nodes(&self, market: ContractAddress, day: u64) -> Result<u64, ChainError> {
        self.read(market, "eligibleNodesForDay", &eligibleNodesForDayCall { day: U256::from(day) }).await
    }

    /// The number of eligible submissions of a slot in a day.
    ///
    /// # Errors
    /// See [`Source::views`].
    pub async fn slot_submission_count(
        &self,
        market: ContractAddress,
        slot: u64,
        day: u64,
    ) -> Result<u64, ChainError> {
        let (slot, day) = (U256::from(slot), U256::from(day));
        let call = slotSubmissionCountCall { dataMarket: Address::from(market.0), slotId: slot, day };
        self.call_protocol_state("slotSubmissionCount", &call).await
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
        // The newest values are not those of a node that lags.
        (tag, NodeRequirements { block, archive, at_head: block.is_none(), ..NodeRequirements::default() })
    }

    async fn call_protocol_state(&self, view: &'static str, call: &impl SolCall) -> Result<u64, ChainError> {
        self.read(self.source.pool.config().contracts.protocol_state, view, call).await
    }

    /// Sends one call, for the state that the tag names.
    async fn ask(
        &self,
        call: &Value,
        tag: Value,
        want: NodeRequirements,
    ) -> Result<(Bytes, usize), ChainError> {
        let read = |results: &[&RawValue]| Ok(typed::<Bytes>(results[0])?);
        let call = Call::new("eth_call", json!([call, tag]));
        self.source.pool.ask(&[call], want, self.deadline, read).await
    }

    /// The answer by number of a node that has the block of this hash, before and after it.
    async fn ask_by_number(&self, call: &Value, hash: Hash) -> Result<Bytes, ChainError> {
        let (tag, want) = self.block_tag();
        let want = NodeRequirements { hash: Some(hash), ..want };
        let node = self.node_with(hash, want).await?;
        let want_view = NodeRequirements { about: About::View, prefer: Some(node), ..want };
        let (bytes, node) = self.ask(call, json!(tag), want_view).await?;
        self.node_with(hash, NodeRequirements { only: Some(node), ..want }).await?;
        Ok(bytes)
    }

    /// A node that has the block of this hash at its number.
    async fn node_with(&self, hash: Hash, want: NodeRequirements) -> Result<usize, ChainError> {
        let number = want.block.unwrap_or_default();
        let read = |results: &[&RawValue]| match read_header(results[0], number)? {
            Some(header) if header.block().hash == hash => Ok(()),
            _ => Err(Fault::new(FaultKind::Pruned, "it has another block of that number").into()),
        };
        let ((), node) = self.source.pool.ask(&[by_number(number)], want, self.deadline, read).await?;
        Ok(node)
    }

    async fn read(
        &self,
        contract: ContractAddress,
        view: &'static str,
        call: &impl SolCall,
    ) -> Result<u64, ChainError> {
        let (tag, want) = self.block_tag();
        let call = json!({ "to": contract.lower(), "data": Bytes::from(call.abi_encode()) });
        let bytes = match self.hash() {
            Some(hash) => {
                let want = NodeRequirements { about: About::ViewByHash, hash: Some(hash), ..want };
                match self.ask(&call, json!({ "blockHash": hash }), want).await {
                    // By words that are not known: they may also mean that a node lacks the block.
                    Err(ChainError::Rejected { code: METHOD_NOT_FOUND, .. }) => {
                        self.ask_by_number(&call, hash).await?
                    }
                    answer => answer?.0,
                }
            }
            None => {
                let want = NodeRequirements { about: About::View, ..want };
                self.ask(&call, json!(tag), want).await?.0
            }
        };
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
