//! The blocks of a generated chain, as the texts of JSON. Pure but for the clock at [`GeneratedChain::new`].

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use sha3::{Digest, Keccak256};

use crate::Contracts;

const PROTOCOL_STATE: &str = "0x00000000000000000000000000000000000000aa";
const MARKET: &str = "0x00000000000000000000000000000000000000bb";
const RELEASED: &str = "EpochReleased(address,uint256,uint256,uint256,uint256)";
const COMPLETED: &str = "BatchSubmissionsCompleted(address,uint256,uint256)";

/// A chain of blocks that depend on their numbers alone.
#[derive(Clone, Debug)]
pub struct GeneratedChain {
    /// The number of the first head.
    pub height: u64,
    /// One block in this many releases an epoch. With 1, each block does, and none completes one.
    pub every: u64,
    /// The time of the genesis block, in Unix seconds.
    pub start: u64,
    /// The seconds from block to block.
    pub interval: u64,
    released: [u8; 32],
    completed: [u8; 32],
}

impl GeneratedChain {
    /// A chain whose head is as old as one block.
    #[must_use]
    pub fn new(height: u64, every: u64, interval: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let topic = |signature: &str| Keccak256::digest(signature).into();
        Self {
            height,
            every: every.max(1),
            start: now.saturating_sub((height + 1) * interval),
            interval,
            released: topic(RELEASED),
            completed: topic(COMPLETED),
        }
    }

    pub(super) fn contracts(&self) -> Contracts {
        Contracts { protocol_state: PROTOCOL_STATE.to_owned(), markets: vec![MARKET.to_owned()] }
    }

    /// The hash of a block.
    #[must_use]
    pub fn hash(&self, number: u64) -> [u8; 32] {
        let mut hash = [0; 32];
        // Three words of noise, as real hashes have; the number at the end finds the block of a hash.
        for (place, word) in hash.chunks_exact_mut(8).take(3).enumerate() {
            word.copy_from_slice(&mixed(number.wrapping_mul(3).wrapping_add(place as u64)).to_be_bytes());
        }
        hash[24..].copy_from_slice(&number.to_be_bytes());
        hash
    }

    /// The hash of the parent of a block.
    #[must_use]
    pub fn parent(&self, number: u64) -> [u8; 32] {
        number.checked_sub(1).map_or([0; 32], |parent| self.hash(parent))
    }

    /// The time of a block.
    #[must_use]
    pub fn time(&self, number: u64) -> u64 {
        self.start + self.interval * number
    }

    /// The number of events up to a block.
    #[must_use]
    pub fn events(&self, to: u64) -> u64 {
        if self.every == 1 {
            return to;
        }
        // The first completion is that of the first epoch, after the second release.
        to / self.every + (to.saturating_sub(1) / self.every).saturating_sub(1)
    }

    pub(super) fn by_hash(&self, text: &str) -> Option<u64> {
        let number = u64::from_str_radix(text.get(50..)?, 16).ok()?;
        let mut known = String::new();
        hex(&mut known, &self.hash(number));
        (known == text).then_some(number)
    }

    /// The topic of a block's event, and its epoch.
    fn event(&self, number: u64) -> Option<(&[u8; 32], u64)> {
        let epoch = number / self.every;
        match number % self.every {
            0 if epoch > 0 => Some((&self.released, epoch)),
            1 if epoch > 1 => Some((&self.completed, epoch - 1)),
            _ => None,
        }
    }

    /// The logs of a block: none or one, with a comma after it.
    pub(super) fn push_logs(&self, number: u64, text: &mut String) {
        let Some((topic, epoch)) = self.event(number) else { return };
        let _ = write!(text, r#"{{"address":"{PROTOCOL_STATE}","topics":[""#);
        hex(text, topic);
        let _ = write!(text, r#"","0x{:0>64}","0x{epoch:064x}"],"data":"0x"#, &MARKET[2..]);
        if topic == &self.released {
            let _ = write!(text, "{:064x}{:064x}", epoch * 10, epoch * 10 + 9);
        }
        let _ = write!(text, r#"{:064x}","blockNumber":"{number:#x}","blockHash":""#, self.time(number));
        hex(text, &self.hash(number));
        text.push_str(r#"","transactionHash":""#);
        hex(text, &self.hash(number ^ 1 << 60));
        text.push_str(r#"","transactionIndex":"0x3","logIndex":"0x2a","removed":false},"#);
    }

    /// The header of a block with the fields of geth's, and the hashes of four transactions.
    pub(super) fn push_header(&self, number: u64, text: &mut String) {
        let _ = write!(text, r#"{{"number":"{number:#x}","hash":""#);
        hex(text, &self.hash(number));
        text.push_str(r#"","parentHash":""#);
        hex(text, &self.parent(number));
        let _ = write!(text, r#"","timestamp":"{:#x}","logsBloom":""#, self.time(number));
        hex(text, &self.bloom(number));
        text.push_str(
            r#"","miner":"0x4200000000000000000000000000000000000011","difficulty":"0x0","extraData":"0x","#,
        );
        text.push_str(
            r#""gasLimit":"0x3938700","gasUsed":"0x2ab4d1","nonce":"0x0000000000000000","size":"0x71c","#,
        );
        text.push_str(r#""baseFeePerGas":"0xf4240","withdrawals":[],"uncles":[]"#);
        let roots =
            ["mixHash", "sha3Uncles", "stateRoot", "transactionsRoot", "receiptsRoot", "withdrawalsRoot"];
        for (name, place) in roots.into_iter().zip(50..) {
            let _ = write!(text, r#","{name}":""#);
            hex(text, &self.hash(number ^ 1 << place));
            text.push('"');
        }
        text.push_str(r#","transactions":["#);
        for place in 60..64 {
            text.push_str(if place == 60 { "\"" } else { ",\"" });
            hex(text, &self.hash(number ^ 1 << place));
            text.push('"');
        }
        text.push_str("]}");
    }

    fn bloom(&self, number: u64) -> [u8; 256] {
        let mut bloom = [0; 256];
        let Some((topic, epoch)) = self.event(number) else { return bloom };
        let (mut market, mut contract, mut number) = ([0; 32], [0; 20], [0; 32]);
        (market[31], contract[19]) = (0xbb, 0xaa);
        number[24..].copy_from_slice(&epoch.to_be_bytes());
        for input in [&contract[..], topic, &market, &number] {
            let digest = Keccak256::digest(input);
            for pair in digest.chunks_exact(2).take(3) {
                // Three bits of 2,048, counted from the end.
                let bit = usize::from(u16::from_be_bytes([pair[0], pair[1]]) & 2_047);
                bloom[255 - bit / 8] |= 1 << (bit % 8);
            }
        }
        bloom
    }
}

/// Splitmix64: noise that depends on its input alone.
fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push_str("0x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn headers_and_logs_are_json_and_their_hashes_chain() {
        assert_eq!(GeneratedChain::new(100, 1, 2).events(7), 7);
        let chain = GeneratedChain::new(100, 10, 2);
        let (mut events, mut last) = (0, String::new());
        for number in 1..=100 {
            let mut text = String::new();
            chain.push_header(number, &mut text);
            let header: Value = serde_json::from_str(&text).unwrap();
            if number > 1 {
                assert_eq!(header["parentHash"], last);
            }
            last = header["hash"].as_str().unwrap().to_owned();
            assert_eq!(chain.by_hash(&last), Some(number));
            let mut text = String::new();
            chain.push_logs(number, &mut text);
            let logs: Vec<Value> =
                serde_json::from_str(&format!("[{}]", text.trim_end_matches(','))).unwrap();
            assert!(logs.iter().all(|log| log["blockHash"] == last));
            assert_eq!(
                header["logsBloom"].as_str().unwrap().contains(|digit| ('1'..='9').contains(&digit)),
                !logs.is_empty()
            );
            events += logs.len() as u64;
            assert_eq!(chain.events(number), events);
        }
        assert_eq!(chain.by_hash(&last.replace("0x", "0y")), None);
    }
}
