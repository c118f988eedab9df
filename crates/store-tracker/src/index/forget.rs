//! Retention of the index: old entities are removed slice by slice from every key that names them, and last from the
//! key by which they are found. So an interrupted slice is found again.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    EpochId,
    tracker::index::{EpochState, Machine, SubmissionParts, SubmissionState, ValidatorState},
};

use super::{Index, VALIDATOR_FIELD, place::take_counts, round_trip::RoundTrip};
use crate::{operations, scripts::SET_IN_EXISTING_HASH};
use store_redis::{Fault, Operation, Session, StoreError};

const OPERATION: Operation = operations::PRUNE_INDEX;

/// A part of the index that is pruned on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexPart {
    /// Submissions, by the time of their first event.
    Submissions,
    /// Epochs, likewise.
    Epochs,
    /// Finalizations.
    Finalizations,
}

impl IndexPart {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::Submissions, Self::Epochs, Self::Finalizations];
}

impl Index {
    /// The first key of a part, as a report names it.
    fn by_time(&self, part: IndexPart) -> String {
        match part {
            IndexPart::Submissions => self.keys.submissions_by_time(),
            IndexPart::Epochs => self.keys.epochs_by_time(),
            IndexPart::Finalizations => self.keys.finalizations_by_time(),
        }
    }

    /// Forgets a slice of a part: entities whose first event was before `before`, in Unix seconds. Returns how many
    /// were forgotten, 0 when none is left, and the keys that could not be written.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails.
    pub async fn forget(
        &self,
        session: &mut Session,
        part: IndexPart,
        before: u64,
        slice: usize,
    ) -> Result<(u64, Vec<Fault>), StoreError> {
        let by_time = self.by_time(part);
        let fill = |round: &mut RoundTrip| {
            let range = round.cmd("ZRANGEBYSCORE", by_time.clone());
            range.arg("-inf").arg(format!("({before}")).arg("LIMIT").arg(0).arg(slice);
        };
        let mut answers = self.run(session, OPERATION, fill).await?;
        let old = answers.take::<Vec<String>>()?.unwrap_or_default();
        let mut faults = answers.finish()?;
        if old.is_empty() {
            return Ok((0, faults));
        }
        faults.extend(match part {
            IndexPart::Submissions => self.forget_submissions(session, &old).await?,
            IndexPart::Epochs => self.forget_epochs(session, &old).await?,
            // No other key names them.
            IndexPart::Finalizations => Vec::new(),
        });
        let fill = |round: &mut RoundTrip| {
            round.cmd("ZREM", by_time.clone()).arg(&old);
        };
        let mut answers = self.run(session, OPERATION, fill).await?;
        let forgotten = answers.take::<u64>()?.unwrap_or_default();
        faults.extend(answers.finish()?);
        Ok((forgotten, faults))
    }

    async fn forget_submissions(
        &self,
        session: &mut Session,
        old: &[String],
    ) -> Result<Vec<Fault>, StoreError> {
        let mut members: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for id in old {
            let Some(parts) = SubmissionParts::of(id) else { continue };
            let of_epoch = self.keys.epoch_submissions(&parts.epoch);
            for key in self.of_submission(&parts).into_iter().chain([of_epoch]) {
                members.entry(key).or_default().push(id);
            }
        }
        let fill = |round: &mut RoundTrip| {
            for &set in SubmissionState::SETS {
                round.cmd("SREM", self.keys.set(set)).arg(old);
            }
            for (key, members) in &members {
                round.cmd("SREM", key.clone()).arg(members);
            }
            for id in old {
                // UNLINK frees memory in the background; DEL would make other clients wait.
                round.cmd("UNLINK", self.keys.submission(id));
            }
        };
        self.run(session, OPERATION, fill).await?.finish()
    }

    async fn forget_epochs(&self, session: &mut Session, old: &[String]) -> Result<Vec<Fault>, StoreError> {
        // A member that names no epoch has no keys of its own; it leaves the sets with the others.
        let epochs: Vec<EpochId> = old.iter().filter_map(|epoch| EpochId::parse(epoch).ok()).collect();
        let fill = |round: &mut RoundTrip| {
            for epoch in &epochs {
                round.cmd("HKEYS", self.keys.epoch(epoch));
            }
        };
        let mut answers = self.run(session, OPERATION, fill).await?;
        let mut of_validators: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for epoch in &epochs {
            for field in answers.take::<Vec<String>>()?.unwrap_or_default() {
                if let Some(validator) = field.strip_prefix(VALIDATOR_FIELD) {
                    of_validators.entry(validator.to_owned()).or_default().push(epoch.as_str());
                }
            }
        }
        let mut faults = answers.finish()?;

        let fill = |round: &mut RoundTrip| {
            for &set in EpochState::SETS {
                round.cmd("SREM", self.keys.set(set)).arg(old);
            }
            for (validator, epochs) in &of_validators {
                round.cmd("SREM", self.keys.validator_epochs(validator)).arg(epochs);
                round.cmd("SREM", self.keys.validator_batches(validator)).arg(epochs);
            }
            for epoch in &epochs {
                round.cmd("UNLINK", self.keys.epoch_submissions(epoch));
                if let Some(key) = self.keys.epoch_validators(epoch) {
                    round.cmd("UNLINK", key);
                }
            }
        };
        faults.extend(self.run(session, OPERATION, fill).await?.finish()?);
        faults.extend(self.count_again(session, of_validators.keys()).await?);

        // The state hash names the validators of an epoch, so it goes last.
        let fill = |round: &mut RoundTrip| {
            for epoch in &epochs {
                round.cmd("UNLINK", self.keys.epoch(epoch));
            }
        };
        faults.extend(self.run(session, OPERATION, fill).await?.finish()?);
        Ok(faults)
    }

    /// Writes the statistics of validators from the present sizes of their sets.
    async fn count_again(
        &self,
        session: &mut Session,
        validators: impl Iterator<Item = &String> + Clone,
    ) -> Result<Vec<Fault>, StoreError> {
        let fill = |round: &mut RoundTrip| {
            validators.clone().for_each(|validator| self.ask_counts(round, validator));
        };
        let mut answers = self.run(session, OPERATION, fill).await?;
        let mut counted = Vec::new();
        for validator in validators {
            counted.push((validator, take_counts(&mut answers)?));
        }
        let mut faults = answers.finish()?;
        let fill = |round: &mut RoundTrip| {
            for &(validator, (batches, epochs)) in &counted {
                for (field, count) in [("batches", batches), ("epochs", epochs)] {
                    let Some(count) = count else { continue };
                    // Not for a validator that was forgotten meanwhile: it would come back without a TTL.
                    round
                        .script(&SET_IN_EXISTING_HASH, self.keys.validator_stats(validator))
                        .arg(field)
                        .arg(count);
                }
            }
        };
        faults.extend(self.run(session, OPERATION, fill).await?.finish()?);
        Ok(faults)
    }

    /// Forgets a slice of the validators that were last seen before `before`, in Unix seconds. Returns the cursor of
    /// the next slice, 0 at the end, how many were forgotten, and the keys that could not be written. A validator that
    /// is seen during its removal is indexed again from its next event on.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails.
    pub async fn forget_validators(
        &self,
        session: &mut Session,
        cursor: u64,
        before: u64,
        slice: usize,
    ) -> Result<(u64, u64, Vec<Fault>), StoreError> {
        let (page, mut faults) = self.seen_validators(session, OPERATION, cursor, slice).await?;
        let Some((cursor, validators)) = page else { return Ok((0, 0, faults)) };
        // An unreadable time counts as old, or its validator would stay for ever.
        let is_old = |seen: &str| seen.parse::<u64>().unwrap_or_default() < before;
        let old: BTreeSet<&str> =
            validators.iter().filter(|(_, seen)| is_old(seen)).map(|(id, _)| id.as_str()).collect();
        if old.is_empty() {
            return Ok((cursor, 0, faults));
        }
        let fill = |round: &mut RoundTrip| {
            for &set in ValidatorState::SETS {
                round.cmd("SREM", self.keys.set(set)).arg(&old);
            }
            round.cmd("HDEL", self.keys.peer_mapping()).arg(&old);
            for &id in &old {
                let keys = &self.keys;
                let of_one = [keys.validator(id), keys.validator_stats(id), keys.validator_epochs(id)];
                for key in of_one.into_iter().chain([keys.validator_batches(id)]) {
                    round.cmd("UNLINK", key);
                }
            }
        };
        faults.extend(self.run(session, OPERATION, fill).await?.finish()?);
        let fill = |round: &mut RoundTrip| {
            // The key by which validators are found: last.
            round.cmd("HDEL", self.keys.last_seen()).arg(&old);
        };
        faults.extend(self.run(session, OPERATION, fill).await?.finish()?);
        Ok((cursor, old.len() as u64, faults))
    }
}
