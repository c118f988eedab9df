//! What another program that followed the chain before us has left: the windows that it has opened.

use std::collections::BTreeMap;

use domain::chain::ContractAddress;
use serde::Deserialize;

use super::ChainStore;
use crate::{
    Session,
    batch::Batch,
    error::{ErrorKind, StoreError},
    reply::{Fault, Replies},
};

/// `EpochMarkerDetailsKey`, as far as it matters.
#[derive(Deserialize)]
struct Details {
    #[serde(rename = "EpochReleaseBlockNumber")]
    release_block: u64,
}

/// The epochs that are marked, each with the number of the block that released it, by their markets.
pub type MarkedEpochs = BTreeMap<ContractAddress, BTreeMap<u64, u64>>;

impl ChainStore {
    /// The epochs that are marked: two round trips. Markers without readable details are reported and left out.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn marked(&self, session: &mut Session) -> Result<(MarkedEpochs, Vec<Fault>), StoreError> {
        let (operation, keys) = ("read markers", &self.keys);
        let mut batch = Batch::new();
        let sets: Vec<String> = self.markets.iter().map(|market| keys.marked(market)).collect();
        sets.iter().for_each(|set| {
            batch.cmd("SMEMBERS", set);
        });
        let Some(route) = sets.first() else { return Ok(Default::default()) };
        let mut replies = Replies::new(operation, session.run(operation, route, batch).await?);
        let mut wanted = Vec::new();
        for (market, set) in self.markets.iter().zip(&sets) {
            for member in replies.take::<Vec<Vec<u8>>>(set)?.unwrap_or_default() {
                let member = String::from_utf8_lossy(&member);
                match member.parse() {
                    Ok(epoch) => wanted.push((*market, epoch, keys.details(market, epoch))),
                    Err(_) => replies.fault(set, ErrorKind::Malformed, format!("`{member}` is no epoch")),
                }
            }
        }
        let (mut marked, mut faults) = (MarkedEpochs::new(), replies.into_faults());
        if wanted.is_empty() {
            return Ok((marked, faults));
        }
        let mut batch = Batch::new();
        wanted.iter().for_each(|(_, _, key)| {
            batch.cmd("GET", key);
        });
        let mut replies = Replies::new(operation, session.run(operation, route, batch).await?);
        for (market, epoch, key) in &wanted {
            let Some(text) = replies.take::<Option<String>>(key)?.flatten() else { continue };
            match serde_json::from_str::<Details>(&text) {
                Ok(details) => {
                    marked.entry(*market).or_default().insert(*epoch, details.release_block);
                }
                Err(error) => replies.fault(key, ErrorKind::Malformed, error),
            }
        }
        faults.extend(replies.into_faults());
        Ok((marked, faults))
    }
}
