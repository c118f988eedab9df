//! The JSON objects of nodes, with the fields that are used. Chains add fields and omit others, so no other field is required.

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
    /// Number, hash, parent and time of the block.
    pub(crate) fn block(&self) -> BlockRef {
        BlockRef {
            number: self.number.to(),
            hash: Hash(self.hash.0),
            parent: Hash(self.parent_hash.0),
            time: self.timestamp.to(),
        }
    }

    /// Whether the bloom filter allows a log with these bytes as its address or one of its topics.
    pub(crate) fn may_hold(&self, bytes: &[u8]) -> bool {
        self.logs_bloom.contains_input(BloomInput::Raw(bytes))
    }
}

/// A log of a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawLog {
    pub(crate) address: Address,
    pub(crate) topics: Vec<B256>,
    pub(crate) data: Bytes,
    pub(crate) block_number: U64,
    pub(crate) block_hash: B256,
    pub(crate) log_index: U64,
    // May be absent, which means false. `typed_logs` refuses a query's answer with a removed log.
    #[serde(default)]
    pub(crate) removed: bool,
}

impl RawLog {
    pub(crate) fn contract(&self) -> ContractAddress {
        ContractAddress(self.address.0.0)
    }
}

/// A transaction's receipt.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) logs: Vec<RawLog>,
}
