//! Applies a batch of events: scripts move the states, plain commands add members and times.

use std::{borrow::Cow, collections::BTreeMap};

use domain::{
    EpochId,
    tracker::index::{Changes, EpochState, Machine, SubmissionParts, ValidatorSigns, backwards},
};
use store_redis::{ErrorKind, Session, StoreError};

use crate::operations;

use super::{
    Index, Indexed,
    admit::{Link, take_links},
    place::{Placed, States},
    round_trip::{ADVANCE, Answers, RAISE, RoundTrip},
};

impl Index {
    /// Applies a batch of events. It may be applied again, by any index.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails: a part may be written, and the rest is when the batch is applied
    /// again.
    pub async fn apply(
        &self,
        session: &mut Session,
        changes: &Changes,
        now: u64,
    ) -> Result<Indexed, StoreError> {
        let operation = operations::INDEX_EVENTS;
        let (refused, faults) = self.admit(session, operation, changes, now).await?;
        let mut indexed = Indexed { faults, ..Indexed::default() };
        let changes = if refused.is_empty() {
            Cow::Borrowed(changes)
        } else {
            let (admitted, left_out) = changes.without(&refused);
            indexed.refused = left_out;
            Cow::Owned(admitted)
        };
        let fill = |round: &mut RoundTrip| {
            self.decide(round, &changes);
            self.add(round, &changes);
        };
        let mut answers = self.run(session, operation, fill).await?;
        let mut states = States::default();
        for (epoch, change) in &changes.epochs {
            let state = take_state(&mut answers, &change.steps, "an epoch", &mut indexed.backwards)?;
            states.epochs.extend(state.map(|state| (epoch.clone(), state)));
        }
        for (id, change) in &changes.submissions {
            let state = take_state(&mut answers, &change.steps, "a submission", &mut indexed.backwards)?;
            states.submissions.extend(state.map(|state| (id.clone(), state)));
        }
        for validator in changes.validators.keys() {
            if let Some((seen, batch)) = answers.take::<(u64, u64)>()? {
                states.validators.insert(validator.clone(), ValidatorSigns { seen, batch });
            }
        }
        let (links, unlinked) = take_links(&mut answers, &changes)?;
        indexed.refused += unlinked;
        indexed.faults.extend(answers.finish()?);
        let counted = changes.validators.keys().map(String::as_str).collect();
        let placed = Placed { states, counted, members: self.of_links(&links) };
        indexed.faults.extend(self.place(session, operation, placed, now).await?);
        // A key that can't be written fails again in every repeat.
        indexed.faults.dedup_by(|a, b| (&a.key, a.kind) == (&b.key, b.kind));
        Ok(indexed)
    }

    /// The scripts that move states, in the order in which their answers are read.
    fn decide(&self, round: &mut RoundTrip, changes: &Changes) {
        for (epoch, change) in &changes.epochs {
            // An epoch that is only named is pending.
            let named = [(change.first, EpochState::Pending)];
            let steps = if change.steps.is_empty() { &named } else { change.steps.as_slice() };
            self.advance(round, self.keys.epoch(epoch), steps);
        }
        for (id, change) in &changes.submissions {
            self.advance(round, self.keys.submission(id), &change.steps);
        }
        for (validator, signs) in &changes.validators {
            let raise = round.script(&RAISE, self.keys.validator(validator));
            raise.arg(self.ttl).arg("last_seen").arg(signs.seen).arg("last_batch").arg(signs.batch);
        }
        self.link(round, changes);
    }

    fn advance<S: Machine>(&self, round: &mut RoundTrip, key: String, steps: &[(u64, S)]) {
        let command = round.script(&ADVANCE, key);
        command.arg(self.ttl);
        let mut sent: Vec<S> = Vec::new();
        for &(at, to) in steps {
            // A state that was entered or refused once has no effect later in the batch: each is sent once, so the
            // arguments of the script have a limit.
            if sent.contains(&to) {
                continue;
            }
            sent.push(to);
            let from: Vec<&str> = to.entered_from().map(Machine::as_str).collect();
            command.arg(at).arg(to.as_str()).arg(from.len()).arg(from);
        }
    }

    /// The commands that only add members and times.
    fn add(&self, round: &mut RoundTrip, changes: &Changes) {
        let keys = &self.keys;
        let finalizations: Vec<(u64, String)> = changes
            .epochs
            .iter()
            .flat_map(|(epoch, change)| {
                change.steps.iter().filter_map(move |&(at, to)| Some((at, finalization(epoch, to)?)))
            })
            .collect();
        self.add_finalizations(round, finalizations.iter().map(|(at, member)| (*at, member.as_str())));
        // Validators are named by their peer ids where they have one, so a peer maps to itself.
        let peers: Vec<&String> = changes.validators.keys().filter(|id| is_peer(id)).collect();
        if !peers.is_empty() {
            let mapping = round.cmd("HSET", keys.peer_mapping());
            for peer in peers {
                mapping.arg(peer).arg(peer);
            }
        }
        let mut members: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for id in changes.submissions.keys() {
            let Some(parts) = SubmissionParts::of(id) else { continue };
            let about = round.cmd("HSET", keys.submission(id));
            about.arg("epoch").arg(parts.epoch.as_str()).arg("project").arg(parts.project);
            parts.slot.map(|slot| about.arg("slot").arg(slot));
            parts.peer.map(|peer| about.arg("peer").arg(peer));
            for key in self.of_submission(&parts) {
                members.entry(key).or_default().push(id);
            }
            // The epoch's set is a key of the epoch: an epoch without room has none.
            if changes.epochs.contains_key(&parts.epoch) {
                members.entry(keys.epoch_submissions(&parts.epoch)).or_default().push(id);
            }
        }
        self.add_members(round, &members);
    }

    /// Adds members to sets, one command a set, so that a storm of events does not make one a member.
    pub(super) fn add_members(&self, round: &mut RoundTrip, members: &BTreeMap<String, Vec<&str>>) {
        for (key, members) in members {
            round.cmd("SADD", key.clone()).arg(members);
            round.cmd("EXPIRE", key.clone()).arg(self.ttl);
        }
    }

    /// The sets that links of epochs and validators belong to.
    fn of_links<'a>(&self, links: &[Link<'a>]) -> BTreeMap<String, Vec<&'a str>> {
        let mut members: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for &(epoch, validator) in links {
            if let Some(key) = self.keys.epoch_validators(epoch) {
                members.entry(key).or_default().push(validator);
            }
            for key in [self.keys.validator_epochs(validator), self.keys.validator_batches(validator)] {
                members.entry(key).or_default().push(epoch.as_str());
            }
        }
        members
    }

    /// The sets of project and slot that a submission belongs to by its id.
    pub(super) fn of_submission(&self, parts: &SubmissionParts<'_>) -> Vec<String> {
        let mut all = vec![self.keys.project_submissions(parts.project)];
        all.extend(parts.slot.map(|slot| self.keys.snapshotter_submissions(slot)));
        all
    }
}

/// The state that `advance.lua` returned for an entity; `None` where it can't be read. Steps that would have gone
/// backwards are added to `refused`.
fn take_state<S: Machine>(
    answers: &mut Answers,
    steps: &[(u64, S)],
    entity: &str,
    refused: &mut u64,
) -> Result<Option<S>, StoreError> {
    let Some((before, state)) = answers.take::<(String, String)>()? else { return Ok(None) };
    let steps: Vec<S> = steps.iter().map(|&(_, to)| to).collect();
    *refused += backwards(S::named(&before), &steps);
    let known = S::named(&state);
    if known.is_none() {
        answers.fault(ErrorKind::Malformed, format!("`{state}` is not a state of {entity}"));
    }
    Ok(known)
}

/// The member of `metrics:finalizations:by_time` for an epoch that reached this state, as in the producers' timeline.
fn finalization(epoch: &EpochId, to: EpochState) -> Option<String> {
    match to {
        EpochState::Aggregating => Some(format!("local:{epoch}")),
        EpochState::Completed => Some(format!("aggregated:{epoch}")),
        EpochState::Pending | EpochState::Processing | EpochState::Finalizing => None,
    }
}

/// Whether a validator is named by its peer id (libp2p, of an Ed25519, secp256k1 or RSA key).
fn is_peer(validator: &str) -> bool {
    let begins = ["12D3KooW", "16Uiu2HA", "Qm"].iter().any(|begin| validator.starts_with(begin));
    begins && validator.len() >= 46 && validator.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
