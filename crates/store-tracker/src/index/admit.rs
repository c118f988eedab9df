//! Admits entities within the quota of the index.
//!
//! Each kind has one key that holds all of its entities, from before their other keys are written until after these are removed.
//! One script counts and adds there, so the quota holds exactly, with any number of indexers and in any hash slot. An epoch or
//! submission that is about to be removed is not admitted: its keys could be written while the pruner removes them, and would stay.

use std::sync::LazyLock;

use domain::{
    EpochId,
    tracker::index::{Changes, EpochState, Machine, Quota, Refused, VALIDATORS_AN_EPOCH},
};
use store_redis::{Fault, Lua, Operation, Session, StoreError};

use super::{
    Index, LIVES, VALIDATOR_FIELD,
    round_trip::{Answers, RoundTrip},
};
use crate::operations;

/// How long before its removal an entity accepts no more events, in seconds: longer than a commit takes, and than clocks differ. With a
/// retention of less than ten minutes it is a tenth of the retention.
const BEFORE_REMOVAL: u64 = 60;

/// Admits members of a zset.
static ADMIT: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("admit.lua")));
/// Admits fields of a hash of times.
static ADMIT_SEEN: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("admit_seen.lua")));
/// Names validators in the hash of an epoch.
static LINK: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("link.lua")));

impl Index {
    /// Admits the entities of these changes; returns those without room. An entity whose key can't be read has none: without the
    /// count nothing bounds the index.
    pub(super) async fn admit(
        &self,
        session: &mut Session,
        operation: Operation,
        changes: &Changes,
        now: u64,
    ) -> Result<(Refused, Vec<Fault>), StoreError> {
        let (epochs, submissions) = (&changes.epochs, &changes.submissions);
        let oldest = self.oldest(now);
        let fill = |round: &mut RoundTrip| {
            let times = epochs.iter().map(|(epoch, change)| (change.first, epoch.as_str()));
            admit_times(round, self.keys.epochs_by_time(), [self.quota.epochs, oldest], times);
            let times = submissions.iter().map(|(id, change)| (change.first, id.as_str()));
            admit_times(round, self.keys.submissions_by_time(), [self.quota.submissions, oldest], times);
            if !changes.validators.is_empty() {
                let admit = round.script(&ADMIT_SEEN, self.keys.last_seen());
                admit.arg(self.quota.validators);
                for (validator, signs) in &changes.validators {
                    admit.arg(validator).arg(signs.seen);
                }
            }
        };
        let mut answers = self.run(session, operation, fill).await?;
        let refused = Refused {
            epochs: take_refused(&mut answers, epochs.keys())?,
            submissions: take_refused(&mut answers, submissions.keys())?,
            validators: take_refused(&mut answers, changes.validators.keys())?,
        };
        Ok((refused, answers.finish()?))
    }

    /// The time before which an entity is not admitted any more.
    fn oldest(&self, now: u64) -> u64 {
        let retention = self.ttl / LIVES;
        now.saturating_sub(retention) + (retention / 10).min(BEFORE_REMOVAL)
    }

    /// How many epochs, submissions and validators it has, and its quota; `None` for a count that can't be read.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails.
    pub async fn usage(
        &self,
        session: &mut Session,
    ) -> Result<[(&'static str, Option<u64>, u64); 3], StoreError> {
        let fill = |round: &mut RoundTrip| {
            round.cmd("ZCARD", self.keys.epochs_by_time());
            round.cmd("ZCARD", self.keys.submissions_by_time());
            round.cmd("HLEN", self.keys.last_seen());
        };
        let mut answers = self.run(session, operations::EXAMINE_INDEX, fill).await?;
        let Quota { epochs, submissions, validators } = self.quota;
        Ok([
            ("epochs", answers.take()?, epochs),
            ("submissions", answers.take()?, submissions),
            ("validators", answers.take()?, validators),
        ])
    }

    /// Adds finalizations with their times.
    pub(super) fn add_finalizations<'a>(
        &self,
        round: &mut RoundTrip,
        members: impl Iterator<Item = (u64, &'a str)>,
    ) {
        // They are removed by their own times, and so can outlive their epoch: they have a quota of their own.
        admit_times(round, self.keys.finalizations_by_time(), [self.quota.finalizations(), 0], members);
    }

    /// Names the validators of each epoch in its hash; [`take_links`] reads the answers.
    pub(super) fn link(&self, round: &mut RoundTrip, changes: &Changes) {
        for (epoch, change) in changes.epochs.iter().filter(|(_, change)| !change.validators.is_empty()) {
            let link = round.script(&LINK, self.keys.epoch(epoch));
            link.arg(VALIDATORS_AN_EPOCH).arg(2 + EpochState::ALL.len()).arg(&["state", "updated_at"]);
            for state in EpochState::ALL {
                link.arg(format!("{}_at", state.as_str()));
            }
            for (validator, first) in &change.validators {
                link.arg(format!("{VALIDATOR_FIELD}{validator}")).arg(first);
            }
        }
    }
}

/// An epoch and one of its validators.
pub(super) type Link<'a> = (&'a EpochId, &'a str);

/// The epochs with those of their validators that they name now, and how many they had no room for.
pub(super) fn take_links<'a>(
    answers: &mut Answers,
    changes: &'a Changes,
) -> Result<(Vec<Link<'a>>, u64), StoreError> {
    let (mut links, mut refused) = (Vec::new(), 0);
    for (epoch, change) in changes.epochs.iter().filter(|(_, change)| !change.validators.is_empty()) {
        // Without an answer none is linked: the pruner finds an epoch's validators in this hash alone.
        let Some(linked) = answers.take::<Vec<bool>>()? else { continue };
        for (validator, is_linked) in change.validators.keys().zip(linked) {
            if is_linked {
                links.push((epoch, validator.as_str()));
            } else {
                refused += 1;
            }
        }
    }
    Ok((links, refused))
}

/// Admits members with their times.
fn admit_times<'a>(
    round: &mut RoundTrip,
    key: String,
    quota_and_oldest: [u64; 2],
    members: impl Iterator<Item = (u64, &'a str)>,
) {
    let mut members = members.peekable();
    if members.peek().is_some() {
        let admit = round.script(&ADMIT, key);
        admit.arg(&quota_and_oldest);
        for (at, member) in members {
            admit.arg(at).arg(member);
        }
    }
}

/// The entities that were not admitted. For an empty list no command was sent.
fn take_refused<'a, T: Clone + Ord + 'a, C: FromIterator<T> + Default>(
    answers: &mut Answers,
    asked: impl ExactSizeIterator<Item = &'a T>,
) -> Result<C, StoreError> {
    if asked.len() == 0 {
        return Ok(C::default());
    }
    let admitted = answers.take::<Vec<bool>>()?.unwrap_or_default();
    let is_admitted = |at: usize| admitted.get(at).copied().unwrap_or_default();
    Ok(asked.enumerate().filter(|&(at, _)| !is_admitted(at)).map(|(_, id)| id.clone()).collect())
}
