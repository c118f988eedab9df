//! The JSON objects of nodes, with the fields that are used. Chains add fields and omit others, so no other field is required.

use alloy_core::primitives::{Address, B256, Bloom, BloomInput, Bytes, U64};
use domain::chain::{BlockRef, ContractAddress, Hash};
use serde::{Deserialize, Deserializer};

/// From this many of its 2,048 bits on a bloom filter tells little: an event's contract, topic and market then match by
/// chance in one block of nine, with three bits each.
const SATURATED: u32 = 1_600;

/// The header of a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    pub(crate) number: U64,
    pub(crate) hash: B256,
    pub(crate) parent_hash: B256,
    pub(crate) timestamp: U64,
    /// `None` if the chain has no bloom filters, or if a node omits them.
    #[serde(default, deserialize_with = "bloom")]
    logs_bloom: Option<Bloom>,
}

/// A bloom filter. Some chains and nodes give `0x` or `null` instead.
fn bloom<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bloom>, D::Error> {
    let bytes: Option<Bytes> = Option::deserialize(deserializer)?;
    Ok(bytes.filter(|bytes| bytes.len() == Bloom::len_bytes()).map(|bytes| Bloom::from_slice(&bytes)))
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
        self.logs_bloom.is_none_or(|bloom| bloom.contains_input(BloomInput::Raw(bytes)))
    }

    /// Whether the bloom filter excludes most events that the block does not have.
    pub(crate) fn has_telling_bloom(&self) -> bool {
        self.logs_bloom.is_some_and(|bloom| bits(&bloom) < SATURATED)
    }
}

fn bits(bloom: &Bloom) -> u32 {
    bloom.iter().map(|byte| byte.count_ones()).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_without_a_bloom_filter_may_hold_everything() {
        let word = format!("\"0x{:064x}\"", 1);
        let read = |bloom: &str| {
            let text =
                format!(r#"{{"number":"0x1","hash":{word},"parentHash":{word},"timestamp":"0x1"{bloom}}}"#);
            serde_json::from_str::<Header>(&text)
        };
        let filled = |byte: &str| format!(r#","logsBloom":"0x{}""#, byte.repeat(256));
        for bloom in ["", r#","logsBloom":"0x""#, r#","logsBloom":null"#, &filled("ff")] {
            let header = read(bloom).unwrap();
            assert!(header.may_hold(b"anything") && !header.has_telling_bloom(), "{bloom}");
        }
        let empty = read(&filled("00")).unwrap();
        assert!(!empty.may_hold(b"anything") && empty.has_telling_bloom());
        assert!(read(r#","logsBloom":7"#).is_err());
    }
}
