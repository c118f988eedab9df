//! Writes the sets of states from the states of entities, and ages validators.

use std::collections::BTreeMap;

use domain::{
    EpochId,
    tracker::index::{EpochState, IndexSet, Machine, SubmissionState, ValidatorSigns, ValidatorState},
};

use super::{
    Index,
    round_trip::{Answers, RAISE, RoundTrip},
};
use crate::operations;
use store_redis::{Fault, Operation, Session, StoreError};

/// How often the sets are written again because another index moved a state meanwhile. An epoch can move four times.
const REPEATS: usize = 8;

/// A cursor, and validators with their last signs.
pub(super) type SeenSlice = (u64, Vec<(String, String)>);

/// The states of entities.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    pub(super) epochs: BTreeMap<EpochId, EpochState>,
    pub(super) submissions: BTreeMap<String, SubmissionState>,
    pub(super) validators: BTreeMap<String, ValidatorSigns>,
}

/// The states and members to write to the sets.
pub(super) struct Placed<'a> {
    pub(super) states: States,
    /// Validators whose statistics are written.
    pub(super) counted: Vec<&'a str>,
    /// Other sets, and their new members.
    pub(super) members: BTreeMap<String, Vec<&'a str>>,
}

impl From<States> for Placed<'_> {
    fn from(states: States) -> Self {
        Self { states, counted: Vec::new(), members: BTreeMap::new() }
    }
}

impl States {
    fn is_empty(&self) -> bool {
        self.epochs.is_empty() && self.submissions.is_empty() && self.validators.is_empty()
    }

    /// The states that differ from `before`.
    fn moved_since(self, before: &Self, now: u64) -> Self {
        // By state: newer signs of the same state change no set.
        let same = |signs: &ValidatorSigns, other: &ValidatorSigns| signs.state(now) == other.state(now);
        let Self { mut epochs, mut submissions, mut validators } = self;
        epochs.retain(|epoch, state| before.epochs.get(epoch) != Some(state));
        submissions.retain(|id, state| before.submissions.get(id) != Some(state));
        validators.retain(|id, signs| !before.validators.get(id).is_some_and(|known| same(signs, known)));
        Self { epochs, submissions, validators }
    }
}

impl Index {
    /// Writes the members, the statistics and the sets of the states. The sets are written again as long as another index has moved a
    /// state meanwhile.
    pub(super) async fn place(
        &self,
        session: &mut Session,
        operation: Operation,
        placed: Placed<'_>,
        now: u64,
    ) -> Result<Vec<Fault>, StoreError> {
        let (Placed { mut states, mut counted, mut members }, mut faults) = (placed, Vec::new());
        for _ in 0..REPEATS {
            if states.is_empty() && members.is_empty() {
                break;
            }
            let fill = |round: &mut RoundTrip| {
                // Before the members are counted: commands on one key keep their order.
                self.add_members(round, &members);
                counted.iter().for_each(|validator| self.ask_counts(round, validator));
                self.write_sets(round, &states, now);
            };
            let mut answers = self.run(session, operation, fill).await?;
            for _ in 0..2 * members.len() {
                answers.skip()?;
            }
            let mut stats = Vec::new();
            for &validator in &counted {
                let (batches, epochs) = take_counts(&mut answers)?;
                stats.extend(batches.zip(epochs).map(|(batches, epochs)| (validator, batches, epochs)));
            }
            faults.extend(answers.finish()?);

            // Read in a round trip of its own, after the sets are written: only then a move in between is seen.
            let fill = |round: &mut RoundTrip| {
                self.ask(round, &states);
                for &(validator, batches, epochs) in &stats {
                    // Raised and not set: two indexes may have counted at different moments.
                    let raise = round.script(&RAISE, self.keys.validator_stats(validator));
                    raise.arg(self.ttl).arg("batches").arg(batches).arg("epochs").arg(epochs);
                    let signs = states.validators.get(validator).copied().unwrap_or_default();
                    raise.arg("last_batch_at").arg(signs.batch);
                }
            };
            let mut answers = self.run(session, operation, fill).await?;
            let found = read(&mut answers, &states)?;
            faults.extend(answers.finish()?);
            states = found.moved_since(&states, now);
            // Members and statistics don't depend on states, so no repeat writes them.
            (counted, members) = Default::default();
        }
        Ok(faults)
    }

    fn write_sets(&self, round: &mut RoundTrip, states: &States, now: u64) {
        let epochs: Vec<_> = states.epochs.iter().map(|(id, &state)| (id.as_str(), state)).collect();
        self.write_states(round, EpochState::SETS, &epochs, EpochState::is_in);
        let submissions: Vec<_> =
            states.submissions.iter().map(|(id, &state)| (id.as_str(), state)).collect();
        self.write_states(round, SubmissionState::SETS, &submissions, SubmissionState::is_in);
        let validators: Vec<_> =
            states.validators.iter().map(|(id, signs)| (id.as_str(), signs.state(now))).collect();
        self.write_states(round, ValidatorState::SETS, &validators, ValidatorState::is_in);
        for (validator, signs) in &states.validators {
            let key = self.keys.validator(validator);
            round.cmd("HSET", key.clone()).arg("state").arg(signs.state(now).as_str());
            // In case that HSET has made the hash anew after it expired.
            round.cmd("EXPIRE", key).arg(self.ttl);
        }
    }

    /// Adds each entity to the sets of its state, and removes it from the others, in whichever it may have been.
    fn write_states<S: Copy>(
        &self,
        round: &mut RoundTrip,
        sets: &[IndexSet],
        states: &[(&str, S)],
        is_in: fn(S, IndexSet) -> bool,
    ) {
        for &set in sets {
            for (name, within) in [("SADD", true), ("SREM", false)] {
                let members = states.iter().filter(|(_, state)| is_in(*state, set) == within);
                let members: Vec<&str> = members.map(|(id, _)| *id).collect();
                if !members.is_empty() {
                    round.cmd(name, self.keys.set(set)).arg(members);
                }
            }
        }
    }

    fn ask(&self, round: &mut RoundTrip, states: &States) {
        for epoch in states.epochs.keys() {
            round.cmd("HGET", self.keys.epoch(epoch)).arg("state");
        }
        for id in states.submissions.keys() {
            round.cmd("HGET", self.keys.submission(id)).arg("state");
        }
        for validator in states.validators.keys() {
            round.cmd("HMGET", self.keys.validator(validator)).arg(&["last_seen", "last_batch"]);
        }
    }

    /// Asks how many batches and epochs are known of a validator; [`take_counts`] reads the answers.
    pub(super) fn ask_counts(&self, round: &mut RoundTrip, validator: &str) {
        round.cmd("SCARD", self.keys.validator_batches(validator));
        round.cmd("SCARD", self.keys.validator_epochs(validator));
    }

    /// A slice of the known validators, each with its last sign, and the cursor of the next slice, 0 at the end; `None`
    /// when they can't be listed.
    pub(super) async fn seen_validators(
        &self,
        session: &mut Session,
        operation: Operation,
        cursor: u64,
        slice: usize,
    ) -> Result<(Option<SeenSlice>, Vec<Fault>), StoreError> {
        let fill = |round: &mut RoundTrip| {
            // COUNT is a hint: Redis returns a small hash as a whole.
            round.cmd("HSCAN", self.keys.last_seen()).arg(cursor).arg("COUNT").arg(slice);
        };
        let mut answers = self.run(session, operation, fill).await?;
        Ok((answers.take()?, answers.finish()?))
    }

    /// Updates the states of a slice of validators, which change with time alone; returns the cursor of the next slice,
    /// 0 at the end.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails.
    pub async fn age_validators(
        &self,
        session: &mut Session,
        cursor: u64,
        slice: usize,
        now: u64,
    ) -> Result<(u64, Vec<Fault>), StoreError> {
        let operation = operations::AGE_VALIDATORS;
        let (page, mut faults) = self.seen_validators(session, operation, cursor, slice).await?;
        // Without the list this run ends; the next one starts again.
        let Some((cursor, validators)) = page else { return Ok((0, faults)) };
        let fill = |round: &mut RoundTrip| {
            for (validator, _) in &validators {
                let fields = ["last_seen", "last_batch", "state"];
                round.cmd("HMGET", self.keys.validator(validator)).arg(&fields);
            }
        };
        let mut answers = self.run(session, operation, fill).await?;
        let mut states = States::default();
        for (validator, last_seen) in &validators {
            let Some(fields) = answers.take::<Vec<Option<String>>>()? else { continue };
            // The later of both: a round trip that broke off may have raised only one of the two hashes.
            let seen = ValidatorSigns { seen: last_seen.parse().unwrap_or_default(), batch: 0 };
            let signs = signs(&fields).joined(seen);
            if fields.get(2).cloned().flatten().as_deref() != Some(signs.state(now).as_str()) {
                states.validators.insert(validator.clone(), signs);
            }
        }
        faults.extend(answers.finish()?);
        faults.extend(self.place(session, operation, states.into(), now).await?);
        Ok((cursor, faults))
    }
}

/// How many batches and epochs are known of a validator.
pub(super) fn take_counts(answers: &mut Answers) -> Result<(Option<u64>, Option<u64>), StoreError> {
    Ok((answers.take()?, answers.take()?))
}

/// The present states of the same entities; one that is gone or can't be read is left out.
fn read(answers: &mut Answers, asked: &States) -> Result<States, StoreError> {
    let mut found = States::default();
    for epoch in asked.epochs.keys() {
        let state = answers.take::<Option<String>>()?.flatten();
        if let Some(state) = state.and_then(|state| EpochState::named(&state)) {
            found.epochs.insert(epoch.clone(), state);
        }
    }
    for id in asked.submissions.keys() {
        let state = answers.take::<Option<String>>()?.flatten();
        if let Some(state) = state.and_then(|state| SubmissionState::named(&state)) {
            found.submissions.insert(id.clone(), state);
        }
    }
    for (validator, before) in &asked.validators {
        if let Some(fields) = answers.take::<Vec<Option<String>>>()? {
            found.validators.insert(validator.clone(), signs(&fields).joined(*before));
        }
    }
    Ok(found)
}

fn signs(fields: &[Option<String>]) -> ValidatorSigns {
    let number = |at: usize| fields.get(at)?.as_ref()?.parse().ok();
    ValidatorSigns { seen: number(0).unwrap_or_default(), batch: number(1).unwrap_or_default() }
}
