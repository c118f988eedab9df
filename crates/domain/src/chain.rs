//! Blocks, and the events of data markets in them. Pure types, without any node's wire format.

mod windows;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Address;
pub use windows::{BadEpochSet, EpochSet, Window, WindowState};

/// The address of a contract: 20 bytes, compared as such. `Display` gives the checksum form of EIP-55.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContractAddress(pub [u8; 20]);

/// A 32-byte hash, of a block or of a text. `Display` and serde give `0x` and 64 lower-case digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

/// A text that is not an address or not a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {wanted}: expected 0x and {digits} hex digits")]
pub struct BadHex {
    text: String,
    wanted: &'static str,
    digits: usize,
}

/// One block of a chain, with the hash of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// The hash of the block before it.
    pub parent: Hash,
    /// When it was made, in Unix seconds, as the chain says.
    pub time: u64,
}

/// An event of one market, with its place in the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarketEvent {
    /// The data market.
    pub market: ContractAddress,
    /// The log's index in its block: events of a block are ordered by it.
    pub log_index: u64,
    /// What happened.
    pub event: ChainEvent,
}

/// An event that a contract emits for a market. Times are Unix seconds, taken from the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChainEvent {
    /// `EpochReleased`: snapshots of an epoch may be submitted from now on.
    EpochReleased {
        /// The epoch.
        epoch: u64,
        /// First block of the source chain that it covers.
        begin: u64,
        /// Last block of the source chain that it covers.
        end: u64,
        /// When.
        time: u64,
    },
    /// `SnapshotBatchSubmitted`: a batch of an epoch was submitted.
    SnapshotBatchSubmitted {
        /// The epoch.
        epoch: u64,
        /// The content id of the batch.
        batch_cid: String,
        /// When.
        time: u64,
    },
    /// `SnapshotBatchFinalized`: a batch of an epoch is final.
    SnapshotBatchFinalized {
        /// The epoch.
        epoch: u64,
        /// Keccak-256 of the content id: a log keeps only the hash of an indexed text.
        batch_cid_hash: Hash,
        /// When.
        time: u64,
    },
    /// `BatchSubmissionsCompleted`: all batches of an epoch were submitted.
    BatchSubmissionsCompleted {
        /// The epoch.
        epoch: u64,
        /// When.
        time: u64,
    },
    /// `DayStartedEvent`: a day of the market began.
    DayStarted {
        /// The day, counted from 1.
        day: u64,
        /// When.
        time: u64,
    },
    /// `PrioritiesAssigned`: validators were put in order for an epoch.
    PrioritiesAssigned {
        /// The epoch.
        epoch: u64,
        /// The seed of the order, 256 bits, the highest byte first.
        seed: Hash,
        /// When.
        time: u64,
        /// How many validators were put in order.
        validators: u64,
    },
}

impl ChainEvent {
    /// The event's name in the contract, as a label.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::EpochReleased { .. } => "EpochReleased",
            Self::SnapshotBatchSubmitted { .. } => "SnapshotBatchSubmitted",
            Self::SnapshotBatchFinalized { .. } => "SnapshotBatchFinalized",
            Self::BatchSubmissionsCompleted { .. } => "BatchSubmissionsCompleted",
            Self::DayStarted { .. } => "DayStartedEvent",
            Self::PrioritiesAssigned { .. } => "PrioritiesAssigned",
        }
    }
}

impl ContractAddress {
    /// `0x` and 40 lower-case digits, as the collector's keys spell it.
    #[must_use]
    pub fn lower(&self) -> String {
        hex(&self.0)
    }
}

impl From<ContractAddress> for Address {
    fn from(address: ContractAddress) -> Self {
        Self::new(&address.to_string())
    }
}

impl FromStr for ContractAddress {
    type Err = BadHex;
    fn from_str(text: &str) -> Result<Self, BadHex> {
        unhex(text).map(Self).ok_or_else(|| BadHex::new(text, "contract address", 40))
    }
}

impl FromStr for Hash {
    type Err = BadHex;
    fn from_str(text: &str) -> Result<Self, BadHex> {
        unhex(text).map(Self).ok_or_else(|| BadHex::new(text, "hash", 64))
    }
}

impl BadHex {
    fn new(text: &str, wanted: &'static str, digits: usize) -> Self {
        // The text may come from a node or from Redis: no error may grow with it.
        Self { text: text.chars().take(100).collect(), wanted, digits }
    }
}

macro_rules! as_text {
    ($name:ident, $spell:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$spell(self))
            }
        }

        // The text again: a list of 32 numbers in an error or a failed test can't be compared with a block explorer.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadHex;
            fn try_from(text: String) -> Result<Self, BadHex> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

as_text!(ContractAddress, |address: &ContractAddress| Address::new(&hex(&address.0))
    .checksummed()
    .to_owned());
as_text!(Hash, |hash: &Hash| hex(&hash.0));

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xf)]);
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]);
    "0x".chars().chain(digits).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    // Digit by digit: `u8::from_str_radix` would accept a sign, as in `0x+f`.
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_as_in_its_contract() {
        let (epoch, time) = (1, 2);
        let completed = ChainEvent::BatchSubmissionsCompleted { epoch, time };
        let released = ChainEvent::EpochReleased { epoch, begin: 0, end: 0, time };
        let started = ChainEvent::DayStarted { day: 1, time };
        assert_eq!(
            [completed, released, started].map(|event| event.name()),
            ["BatchSubmissionsCompleted", "EpochReleased", "DayStartedEvent"]
        );
    }

    #[test]
    fn addresses_are_compared_as_addresses_and_spelled_as_each_reader_wants() {
        let mixed: ContractAddress = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse().unwrap();
        let lower: ContractAddress = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed".parse().unwrap();
        assert_eq!(mixed, lower);
        assert_eq!(mixed.to_string(), "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed");
        assert_eq!(mixed.lower(), "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed");
    }

    #[test]
    fn a_hash_reads_what_it_prints() {
        let text = "0x00ff7a3c1d5e000000000000000000000000000000000000000000000000cafe";
        assert_eq!(text.parse::<Hash>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_was_expected() {
        for text in ["", "0x", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aAeb6", "0xgg"] {
            let error = text.parse::<ContractAddress>().unwrap_err().to_string();
            assert!(error.contains("40 hex digits"), "{error}");
        }
        let with_sign = format!("0x+{}", "a".repeat(63));
        assert!(with_sign.parse::<Hash>().is_err());
    }
}
