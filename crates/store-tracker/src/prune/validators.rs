//! The pruning of the timelines of other validators, `metrics:validator:V:batches`.
//!
//! No key lists these validators. Producers note a batch of one in the batches timeline too, as `validator:V:E`, so entries that are
//! too old there name the validators whose timelines have such entries. They are read in the slices in which the pruner removes them,
//! and before that: a run that is interrupted in between finds the names again. The work grows with what is removed.

use domain::tracker::BatchMember;
use store_redis::{Batch, Fault, Replies, Session, StoreError};

use super::{Prunable, Retention};
use crate::{keys::MarketKeys, operations};

impl Retention {
    /// The batches timelines of a market under every spelling, which name other validators; none in a shadow.
    #[must_use]
    pub fn of_batches(&self, keys: &MarketKeys, now: u64) -> Vec<Prunable> {
        let before = now.saturating_sub(self.timelines);
        let inputs = keys.inputs().filter(|_| !keys.is_shadow());
        inputs.map(|input| Prunable { key: input.batches_timeline(), before }).collect()
    }
}

/// The validators in the slice of a batches timeline that [`prune`](super::prune) would remove next; a validator may be named twice.
///
/// # Errors
/// [`StoreError`] when the timeline can't be read.
pub async fn old_validators(
    session: &mut Session,
    timeline: &Prunable,
    slice: usize,
) -> Result<Vec<String>, StoreError> {
    let (operation, key) = (operations::PRUNE_TIMELINE, timeline.key.as_str());
    let mut batch = Batch::new();
    // The oldest first, as they are removed.
    let page = batch.cmd("ZRANGEBYSCORE", key).arg("-inf").arg(format!("({}", timeline.before));
    page.arg("LIMIT").arg(0).arg(slice);
    let mut replies = Replies::new(operation, session.run(operation, key, batch).await?);
    let members: Vec<Vec<u8>> = replies.required(key)?;
    let named = members.into_iter().filter_map(|member| {
        match BatchMember::parse(std::str::from_utf8(&member).ok()?) {
            Ok(BatchMember::Validator(validator, _)) => Some(validator),
            // Passes report members that can't be read.
            _ => None,
        }
    });
    Ok(named.collect())
}

/// The timelines of these validators, under every spelling, that have entries older than `before`. A key that can't be read is a
/// fault, and left out.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub async fn prunable_validators(
    session: &mut Session,
    keys: &MarketKeys,
    validators: &[String],
    before: u64,
) -> Result<(Vec<Prunable>, Vec<Fault>), StoreError> {
    if validators.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let of_one = |validator: &String| keys.inputs().map(|input| input.own_batches(validator)).collect();
    let timelines: Vec<String> = validators.iter().flat_map::<Vec<String>, _>(of_one).collect();
    let mut batch = Batch::new();
    for timeline in &timelines {
        batch.cmd("ZCOUNT", timeline).arg("-inf").arg(format!("({before}"));
    }
    let (operation, market) = (operations::PRUNE_TIMELINE, keys.market().checksummed());
    let mut replies = Replies::new(operation, session.run(operation, market, batch).await?);
    let mut all = Vec::new();
    for key in timelines {
        if replies.take::<u64>(&key)?.is_some_and(|old| old > 0) {
            all.push(Prunable { key, before });
        }
    }
    Ok((all, replies.into_faults()))
}
