//! What nodes send, as far as it is read. Chains add fields and leave others out, so nothing else is asked for.

use alloy_core::primitives::{Address, B256, Bloom, BloomInput, Bytes, U64};
use domain::chain::{BlockRef, ContractAddress, Hash};
use serde::Deserialize;

/// The header of a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    pub(crate) number: U64,
    pub(crate) hash: B256,
    pub(crate) parent_hash: B256,
    pub(crate) timestamp: U64,
    pub(crate) logs_bloom: Bloom,
}

impl Header {
    /// Its place in the chain.
    pub(crate) fn block(&self) -> BlockRef {
        BlockRef {
            number: self.number.to(),
            hash: Hash(self.hash.0),
            parent: Hash(self.parent_hash.0),
            time: self.timestamp.to(),
        }
    }

    /// Whether the block may hold a log with these bytes as its address or one of its topics.
    pub(crate) fn may_hold(&self, bytes: &[u8]) -> bool {
        self.logs_bloom.contains_input(BloomInput::Raw(bytes))
    }
}

/// A log, as it stands in a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawLog {
    pub(crate) address: Address,
    pub(crate) topics: Vec<B256>,
    pub(crate) data: Bytes,
    pub(crate) block_number: U64,
    pub(crate) block_hash: B256,
    pub(crate) log_index: U64,
    #[serde(default)]
    pub(crate) removed: bool,
}

impl RawLog {
    pub(crate) fn contract(&self) -> ContractAddress {
        ContractAddress(self.address.0.0)
    }
}

/// What a transaction did.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) logs: Vec<RawLog>,
}
