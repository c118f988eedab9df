//! What a predecessor left in Redis: the windows that it had opened, and the hashes of the blocks that it had read.

use std::collections::{BTreeMap, BTreeSet};

use domain::{chain::ContractAddress, collector::Rollover};
use serde::Deserialize;

use crate::{ChainStore, operations};
use store_redis::{Batch, ErrorKind, Fault, Replies, Session, StoreError};

/// The part of `EpochMarkerDetailsKey` that is used. The limit block beside it is an estimate.
#[derive(Deserialize)]
struct Details {
    #[serde(rename = "EpochReleaseBlockNumber")]
    release_block: u64,
}

/// What a predecessor left of a market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The epochs that are marked, each with the number of the block that released it.
    pub marked: BTreeMap<u64, u64>,
    /// The marked epochs whose batches were counted, and so handed over.
    pub handed: BTreeSet<u64>,
    /// The day of the epoch that was released last.
    pub last_day: Option<u64>,
    /// The changes of day whose rewards it has not told.
    pub rollovers: BTreeMap<u64, Rollover>,
}

impl ChainStore {
    /// What a predecessor left of each market: four round trips. What can't be read is reported and left out.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn left(
        &self,
        session: &mut Session,
    ) -> Result<(BTreeMap<ContractAddress, Left>, Vec<Fault>), StoreError> {
        let (mut left, mut faults) = self.windows_left(session).await?;
        faults.extend(self.days_left(session, &mut left).await?);
        Ok((left, faults))
    }

    /// The windows that a predecessor left.
    async fn windows_left(
        &self,
        session: &mut Session,
    ) -> Result<(BTreeMap<ContractAddress, Left>, Vec<Fault>), StoreError> {
        let (operation, keys) = (operations::READ_PREDECESSOR, &self.keys);
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
                    Ok(epoch) => wanted.push((*market, epoch)),
                    Err(_) => replies.fault(set, ErrorKind::Malformed, format!("`{member}` is no epoch")),
                }
            }
        }
        let (mut left, mut faults) = (BTreeMap::<_, Left>::new(), replies.into_faults());
        if wanted.is_empty() {
            return Ok((left, faults));
        }
        let mut batch = Batch::new();
        for (market, epoch) in &wanted {
            batch.cmd("GET", keys.details(market, *epoch));
            batch.cmd("EXISTS", keys.batch_count(market, *epoch));
        }
        let mut replies = Replies::new(operation, session.run(operation, route, batch).await?);
        for (market, epoch) in wanted {
            let (key, count) = (keys.details(&market, epoch), keys.batch_count(&market, epoch));
            let text = replies.take::<Option<String>>(&key)?;
            let of_market = left.entry(market).or_default();
            // A count proves the hand-over, even if the predecessor stopped before it removed the marker.
            if replies.take::<bool>(&count)? == Some(true) {
                of_market.handed.insert(epoch);
                continue;
            }
            let Some(text) = text else { continue };
            // Missing details are reported as unreadable: without its release block an epoch can't be taken over.
            let text = text.unwrap_or_default();
            match serde_json::from_str::<Details>(&text) {
                Ok(details) => {
                    of_market.marked.insert(epoch, details.release_block);
                }
                Err(error) => {
                    let detail =
                        format!("epoch {epoch} is marked, and its details `{text}` can't be read: {error}");
                    replies.fault(&key, ErrorKind::Malformed, detail);
                }
            }
        }
        faults.extend(replies.into_faults());
        Ok((left, faults))
    }

    /// The blocks of this range whose hashes are stored, with the hashes, the highest block first, and the keys that can't be read:
    /// one round trip.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn stored_hashes(
        &self,
        session: &mut Session,
        numbers: std::ops::RangeInclusive<u64>,
    ) -> Result<(Vec<(u64, String)>, Vec<Fault>), StoreError> {
        let operation = operations::READ_BLOCK_HASHES;
        let keys: Vec<(u64, String)> =
            numbers.rev().map(|number| (number, self.keys.block_hash(number))).collect();
        let Some((_, route)) = keys.first() else { return Ok(Default::default()) };
        let mut batch = Batch::new();
        keys.iter().for_each(|(_, key)| {
            batch.cmd("GET", key);
        });
        let mut replies = Replies::new(operation, session.run(operation, route, batch).await?);
        let mut told = Vec::new();
        for (number, key) in &keys {
            if let Some(Some(hash)) = replies.take::<Option<String>>(key)? {
                told.push((*number, hash));
            }
        }
        Ok((told, replies.into_faults()))
    }
}
