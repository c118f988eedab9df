//! Applies a batch of events: scripts move the states, plain commands add members and times.

use std::collections::BTreeMap;

use domain::{
    EpochId,
    tracker::index::{Changes, EpochState, Machine, SubmissionParts, ValidatorSigns, backwards},
};
use store_redis::{ErrorKind, Session, StoreError};

use crate::operations;

use super::{
    Index, Indexed, VALIDATOR_FIELD,
    place::States,
    rounds::{ADVANCE, Answers, RAISE, Round},
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
        let fill = |round: &mut Round| {
            self.decide(round, changes);
            self.add(round, changes);
        };
        let mut answers = self.run(session, operation, fill).await?;
        let (mut indexed, mut states) = (Indexed::default(), States::default());
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
        indexed.faults = answers.finish()?;
        let counted: Vec<&str> = changes.validators.keys().map(String::as_str).collect();
        indexed.faults.extend(self.place(session, operation, states, &counted, now).await?);
        // A key that can't be written fails again in every repeat.
        indexed.faults.dedup_by(|a, b| (&a.key, a.kind) == (&b.key, b.kind));
        Ok(indexed)
    }

    /// The scripts that move states, in the order in which their answers are read.
    fn decide(&self, round: &mut Round, changes: &Changes) {
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
    }

    fn advance<S: Machine>(&self, round: &mut Round, key: String, steps: &[(u64, S)]) {
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
    fn add(&self, round: &mut Round, changes: &Changes) {
        let keys = &self.keys;
        let epochs = changes.epochs.iter().map(|(epoch, change)| (change.first, epoch.as_str().to_owned()));
        add_times(round, keys.epochs_by_time(), epochs);
        let submissions = changes.submissions.iter().map(|(id, change)| (change.first, id.clone()));
        add_times(round, keys.submissions_by_time(), submissions);
        let finalizations = changes.epochs.iter().flat_map(|(epoch, change)| {
            change.steps.iter().filter_map(move |&(at, to)| Some((at, finalization(epoch, to)?)))
        });
        add_times(round, keys.finalizations_by_time(), finalizations);
        if !changes.validators.is_empty() {
            let raise = round.script(&RAISE, keys.last_seen());
            // No TTL: the hash belongs to all validators.
            raise.arg(0);
            for (validator, signs) in &changes.validators {
                raise.arg(validator).arg(signs.seen);
            }
        }
        // Validators are named by their peer ids where they have one, so a peer maps to itself.
        let peers: Vec<&String> = changes.validators.keys().filter(|id| is_peer(id)).collect();
        if !peers.is_empty() {
            let mapping = round.cmd("HSET", keys.peer_mapping());
            for peer in peers {
                mapping.arg(peer).arg(peer);
            }
        }
        let mut members: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (epoch, change) in &changes.epochs {
            for (validator, &first) in &change.validators {
                // Retention finds the epoch's validators in its state hash.
                let field = format!("{VALIDATOR_FIELD}{validator}");
                round.cmd("HSETNX", keys.epoch(epoch)).arg(field).arg(first);
                if let Some(key) = keys.epoch_validators(epoch) {
                    members.entry(key).or_default().push(validator);
                }
                for key in [keys.validator_epochs(validator), keys.validator_batches(validator)] {
                    members.entry(key).or_default().push(epoch.as_str());
                }
            }
        }
        for id in changes.submissions.keys() {
            let Some(parts) = SubmissionParts::of(id) else { continue };
            let about = round.cmd("HSET", keys.submission(id));
            about.arg("epoch").arg(parts.epoch.as_str()).arg("project").arg(parts.project);
            parts.slot.map(|slot| about.arg("slot").arg(slot));
            parts.peer.map(|peer| about.arg("peer").arg(peer));
            for key in self.of_submission(&parts) {
                members.entry(key).or_default().push(id);
            }
        }
        for (key, members) in members {
            // One command a set, so that a storm of events does not make one a member.
            round.cmd("SADD", key.clone()).arg(members);
            round.cmd("EXPIRE", key).arg(self.ttl);
        }
    }

    /// The sets that a submission belongs to by its id.
    pub(super) fn of_submission(&self, parts: &SubmissionParts<'_>) -> Vec<String> {
        let mut all =
            vec![self.keys.epoch_submissions(&parts.epoch), self.keys.project_submissions(parts.project)];
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

/// Adds members with their times. An earlier time that is known stays (`LT`): portions may be applied in any order.
fn add_times(round: &mut Round, key: String, members: impl Iterator<Item = (u64, String)>) {
    let mut members = members.peekable();
    if members.peek().is_some() {
        let command = round.cmd("ZADD", key);
        command.arg("LT");
        for (at, member) in members {
            command.arg(at).arg(member);
        }
    }
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
