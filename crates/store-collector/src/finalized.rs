//! The submissions of the epochs whose batches the chain has finalised.

use std::collections::BTreeSet;

use domain::chain::ContractAddress;
use store_redis::{Batch, ErrorKind, Fault, Replies, Session, StoreError};

use crate::{keys::ChainKeys, operations::READ_FINALIZED, submissions::Inputs};

/// What is known of an epoch of which a batch was finalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinalizedEpoch {
    /// All of its batches are final: these are the keys of its submissions, and the keys of Redis that could not be read.
    Whole(BTreeSet<String>, Vec<Fault>),
    /// Some of its batches are final. Which submissions they have is not known, since a batch is submitted under its content id alone.
    Partly {
        /// How many are final.
        finalized: u64,
        /// How many it has.
        batches: u64,
    },
    /// Its batches were not handed over here, or too long ago.
    Unknown,
}

/// What is known of an epoch of which a batch was finalised: one round trip, and one for each thousand blocks with submissions.
///
/// # Errors
/// [`StoreError`] when the server does not answer, or what is known can't be read.
pub async fn finalized_epoch(
    session: &mut Session,
    keys: &ChainKeys,
    market: &ContractAddress,
    epoch: u64,
) -> Result<FinalizedEpoch, StoreError> {
    let (operation, count) = (READ_FINALIZED, keys.batch_count(market, epoch));
    let (finalized, ended) = (keys.finalized(market, epoch), keys.ended(market));
    let mut batch = Batch::new();
    batch.cmd("GET", &count);
    batch.cmd("SCARD", &finalized);
    batch.cmd("HGET", &ended).arg(epoch);
    let mut replies = Replies::new(operation, session.run(operation, &ended, batch).await?);
    let batches: Option<u64> = replies.required(&count)?;
    let finalized: u64 = replies.required(&finalized)?;
    let hashes: Option<String> = replies.required(&ended)?;
    let Some((batches, hashes)) = batches.zip(hashes) else { return Ok(FinalizedEpoch::Unknown) };
    if finalized < batches {
        return Ok(FinalizedEpoch::Partly { finalized, batches });
    }
    let hashes: Vec<String> = serde_json::from_str(&hashes)
        .map_err(|error| StoreError::caused(operation, &ended, ErrorKind::Malformed, error))?;
    let mut inputs = Inputs::default();
    inputs.read(session, operation, (market, epoch), hashes).await?;
    let Inputs { submissions, faults, .. } = inputs;
    // Without any they have expired since.
    let is_known = !submissions.is_empty() || !faults.is_empty();
    Ok(if is_known { FinalizedEpoch::Whole(submissions, faults) } else { FinalizedEpoch::Unknown })
}
