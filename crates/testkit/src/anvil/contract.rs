//! Our contract on the test node: its deployment, its events and the answers of its views. Calls are encoded by hand
//! from the selectors of the Solidity source: the product's encoder would agree with its own mistakes.

use serde_json::{Value, json};

use super::{Anvil, AnvilError};

/// Bytecode and ABI, made by `scripts/contract` from `ProtocolState.sol` beside it.
const ARTEFACT: &str = include_str!("../../contract/ProtocolState.json");

/// The contracts' addresses, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contracts {
    /// The protocol-state contract, which plays the priority contract too.
    pub protocol_state: String,
    /// Data markets.
    pub markets: Vec<String>,
}

/// An event that the protocol state emits for a market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emission {
    /// `EpochReleased`.
    EpochReleased {
        /// The epoch.
        epoch: u64,
        /// First block of the source chain.
        begin: u64,
        /// Last block of the source chain.
        end: u64,
    },
    /// `SnapshotBatchSubmitted`.
    BatchSubmitted {
        /// The epoch.
        epoch: u64,
        /// The content id.
        cid: String,
    },
    /// `SnapshotBatchFinalized`.
    BatchFinalized {
        /// The epoch.
        epoch: u64,
        /// The content id.
        cid: String,
    },
    /// `BatchSubmissionsCompleted`.
    SubmissionsCompleted {
        /// The epoch.
        epoch: u64,
    },
    /// `DayStartedEvent`; the market's day counter follows.
    DayStarted {
        /// The day.
        day: u64,
    },
    /// `PrioritiesAssigned`.
    PrioritiesAssigned {
        /// The epoch.
        epoch: u64,
        /// The seed.
        seed: u64,
        /// How many validators.
        validators: u64,
    },
    /// An event that no reader knows.
    Unknown {
        /// The epoch.
        epoch: u64,
    },
    /// Many releases in one transaction, from epoch `first` on.
    ManyReleases {
        /// The first epoch.
        first: u64,
        /// How many.
        count: u64,
    },
}

impl Anvil {
    /// Deploys a protocol state and `markets` data markets; mines one block.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn deploy(&self, markets: usize) -> Result<Contracts, AnvilError> {
        let artefact: Value = serde_json::from_str(ARTEFACT)
            .map_err(|source| failed(format!("the artefact of the contract is no JSON: {source}")))?;
        let bytecode =
            |name: &str| artefact["contracts"][name]["bytecode"].as_str().unwrap_or_default().to_owned();
        let mut transactions = vec![self.send(None, &bytecode("ProtocolState")).await?];
        for _ in 0..markets {
            transactions.push(self.send(None, &bytecode("DataMarket")).await?);
        }
        self.mine().await?;
        let mut addresses = Vec::new();
        for transaction in transactions {
            let receipt = self.request("eth_getTransactionReceipt", json!([transaction])).await?;
            let address = receipt["contractAddress"].as_str().filter(|_| receipt["status"] == "0x1");
            addresses.push(
                address.ok_or_else(|| failed(format!("no contract was made: {receipt}")))?.to_lowercase(),
            );
        }
        let protocol_state = addresses.remove(0);
        Ok(Contracts { protocol_state, markets: addresses })
    }

    /// Emits an event of the protocol state, in the next block that is mined.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn emit(
        &self,
        contracts: &Contracts,
        market: &str,
        emission: &Emission,
    ) -> Result<(), AnvilError> {
        self.send(Some(&contracts.protocol_state), &emission.call(market)).await.map(drop)
    }

    /// Emits a log of any form: up to four topics (`0x` and 64 digits each) and data.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn emit_raw(
        &self,
        contracts: &Contracts,
        topics: &[&str],
        data: &[u8],
    ) -> Result<(), AnvilError> {
        // Two dynamic arguments: first the offsets of both, then the topics, then the data.
        let mut call = format!(
            "0x9e738fd3{}{}{}",
            word(64),
            word(64 + 32 * (1 + topics.len() as u64)),
            word(topics.len() as u64)
        );
        for topic in topics {
            call.push_str(topic.trim_start_matches("0x"));
        }
        call.push_str(&bytes(data));
        self.send(Some(&contracts.protocol_state), &call).await.map(drop)
    }

    /// Sets the answers of a market's views: window in seconds, size of a day in microseconds, quota, day, epochs a
    /// day.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn set_market(
        &self,
        contracts: &Contracts,
        market: &str,
        [window, day_size, quota, day, epochs]: [u64; 5],
    ) -> Result<(), AnvilError> {
        let words = [window, day_size, quota, day, epochs].map(word).concat();
        let call = format!("0xf182a857{}{words}", address(market));
        self.send(Some(&contracts.protocol_state), &call).await.map(drop)
    }

    /// Sets the answer of a market's `eligibleNodesForDay`.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn set_eligible_nodes(&self, market: &str, day: u64, count: u64) -> Result<(), AnvilError> {
        self.send(Some(market), &format!("0xe91082c1{}{}", word(day), word(count))).await.map(drop)
    }

    /// Sets the answer of `getTotalNodeCount`.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn set_total_nodes(&self, contracts: &Contracts, count: u64) -> Result<(), AnvilError> {
        self.send(Some(&contracts.protocol_state), &format!("0xdb9a3417{}", word(count))).await.map(drop)
    }

    /// Sets the answer of `slotSubmissionCount` for a market, a slot and a day.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn set_slot_submissions(
        &self,
        contracts: &Contracts,
        market: &str,
        [slot, day, count]: [u64; 3],
    ) -> Result<(), AnvilError> {
        let call = format!("0xd1a6d2a3{}{}", address(market), [slot, day, count].map(word).concat());
        self.send(Some(&contracts.protocol_state), &call).await.map(drop)
    }
}

impl Emission {
    fn call(&self, market: &str) -> String {
        let market = address(market);
        match self {
            Self::EpochReleased { epoch, begin, end } => {
                format!("0x0a1dd459{market}{}", [*epoch, *begin, *end].map(word).concat())
            }
            Self::BatchSubmitted { epoch, cid } => {
                format!("0xbb817ced{market}{}{}{}", word(96), word(*epoch), bytes(cid.as_bytes()))
            }
            Self::BatchFinalized { epoch, cid } => {
                format!("0x9c16d61e{market}{}{}{}", word(*epoch), word(96), bytes(cid.as_bytes()))
            }
            Self::SubmissionsCompleted { epoch } => format!("0x548b3ef3{market}{}", word(*epoch)),
            Self::DayStarted { day } => format!("0xf0cf55d3{market}{}", word(*day)),
            Self::PrioritiesAssigned { epoch, seed, validators } => {
                format!("0xedb40ad7{market}{}", [*epoch, *seed, *validators].map(word).concat())
            }
            Self::Unknown { epoch } => format!("0xde6a6a93{market}{}", word(*epoch)),
            Self::ManyReleases { first, count } => {
                format!("0xc8435dfd{market}{}{}", word(*first), word(*count))
            }
        }
    }
}

fn word(number: u64) -> String {
    format!("{number:064x}")
}

fn address(address: &str) -> String {
    format!("{:0>64}", address.trim_start_matches("0x").to_lowercase())
}

/// Dynamic data: its length, and the bytes padded to whole words.
fn bytes(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let padded = digits.len().div_ceil(64) * 64;
    format!("{}{digits:0<padded$}", word(bytes.len() as u64))
}

fn failed(problem: String) -> AnvilError {
    AnvilError::Request { method: "the deployment".to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use sha3::{Digest, Sha3_256};

    use super::*;

    #[test]
    fn the_artefact_was_made_from_the_source_beside_it() {
        let source = include_bytes!("../../contract/ProtocolState.sol");
        let hash: String = Sha3_256::digest(source).iter().map(|byte| format!("{byte:02x}")).collect();
        let artefact: Value = serde_json::from_str(ARTEFACT).unwrap();
        assert_eq!(artefact["source_sha3_256"], hash, "run scripts/contract after a change of the source");
    }
}
