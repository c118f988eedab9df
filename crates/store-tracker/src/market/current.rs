//! The current epoch: its candidates with their keys, and the dataset.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    EpochId,
    tracker::{Candidate, Entry, EpochMember, Observation, Timed},
};

use super::{
    Joined, MarketStore,
    members::{self, OtherForms},
};
use crate::{datasets::CURRENT_EPOCH, operations};
use store_redis::{Batch, Fault, Replies, Session, StoreError};

/// How many of the newest timeline entries are read.
const NEWEST_ENTRIES: isize = 64;
/// The most candidates among the epochs that may be open, and the most among those of which nothing is known.
const MOST_CANDIDATES: usize = 32;

impl MarketStore {
    /// The epochs that may be the current one, with what was read of their keys: two round trips.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails, or when no epoch is found and an input could not be read.
    pub async fn latest(
        &self,
        session: &mut Session,
        now: f64,
    ) -> Result<(Vec<Candidate>, Vec<Fault>), StoreError> {
        let mut chosen = self.current_spellings.choose(&self.keys, now, false);
        let mut batch = Batch::new();
        batch.cmd("HGETALL", self.keys.open());
        for input in chosen.inputs(&self.keys) {
            let newest = batch.cmd("ZREVRANGE", input.epochs_timeline());
            newest.arg(0).arg(NEWEST_ENTRIES - 1).arg("WITHSCORES");
        }
        let operation = operations::READ_NEWEST_EPOCHS;
        let answers = session.run(operation, self.name(), batch).await?;
        let mut replies = Replies::new(operation, answers).noting_present(chosen.finds_out());
        let mut seen = Observation { now, ..Observation::default() };
        let (mut unsealed, mut bare) = (BTreeSet::new(), BTreeSet::new());
        for (epoch, entry) in replies.take::<Vec<(String, String)>>(&self.keys.open())?.unwrap_or_default() {
            // The ledger is one source of two here, and the aggregator reports what is unreadable in it.
            let (Ok(epoch), Ok(entry)) = (EpochId::parse(&epoch), Entry::decode(&entry)) else { continue };
            // A closed epoch is a candidate by the timeline only, where the most recent ones are.
            if entry.closed.is_none() {
                (if entry.is_bare() { &mut bare } else { &mut unsealed }).insert(epoch);
            }
        }
        let (mut timeline, mut forms) = (Joined::default(), OtherForms::new());
        for input in chosen.inputs(&self.keys) {
            let key = input.epochs_timeline();
            timeline.add(members::timeline(&mut replies, &key, EpochMember::parse, &mut forms)?);
        }
        seen.epochs_timeline = timeline.known();
        chosen.note(&self.keys, &replies.present());
        chosen.forms = self.aliases.learn(forms);
        let mut faults = replies.into_faults();
        for epoch in choose(seen.epochs_timeline.as_deref().unwrap_or_default(), unsealed, bare) {
            seen.facts.insert(epoch, Default::default());
        }
        let epochs: Vec<EpochId> = seen.facts.keys().cloned().collect();
        if let (true, None, Some(fault)) = (epochs.is_empty(), &seen.epochs_timeline, faults.first()) {
            // An epoch may exist in what could not be read: `metrics:current_epoch` must not vanish for that.
            return Err(StoreError::new(operation, &fault.key, fault.kind, &fault.detail));
        }
        if epochs.is_empty() {
            self.current_spellings.learn(&chosen);
            return Ok((Vec::new(), faults));
        }
        chosen.widen(&epochs);
        let mut batch = Batch::new();
        for epoch in &epochs {
            self.ask_facts(&mut batch, &chosen, epoch, now);
        }
        let operation = operations::READ_CURRENT_EPOCH;
        let answers = session.run(operation, self.name(), batch).await?;
        let mut replies = Replies::new(operation, answers).noting_present(chosen.finds_out());
        for epoch in &epochs {
            seen.facts.insert(epoch.clone(), self.take_facts(&mut replies, &chosen, epoch)?);
        }
        chosen.note(&self.keys, &replies.present());
        self.current_spellings.learn(&chosen);
        seen.attach_timelines();
        faults.extend(replies.into_faults());
        Ok((seen.facts.into_iter().map(|(epoch, facts)| Candidate { epoch, facts }).collect(), faults))
    }

    /// Writes `metrics:current_epoch`: one round trip.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written.
    pub async fn write_current_epoch(
        &self,
        session: &mut Session,
        json: &str,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let operation = operations::WRITE_CURRENT_EPOCH;
        let ttl = ttl.as_secs().max(1);
        let keys: Vec<String> =
            self.keys.outputs().map(|output| output.dataset(&CURRENT_EPOCH, None)).collect();
        let mut batch = Batch::new();
        for key in &keys {
            batch.cmd("SET", key).arg(json).arg("EX").arg(ttl);
        }
        for (key, answer) in keys.iter().zip(session.run(operation, self.name(), batch).await?) {
            answer.map_err(|error| StoreError::redis(operation, key, &error))?;
        }
        Ok(())
    }
}

/// The candidates: all epochs that may be open, the highest first, and the most recent ones. Ids of which nothing is
/// known have places of their own, since `epochs:active` keeps such ids for ever and they would displace the others.
fn choose(
    timeline: &[Timed<EpochMember>],
    unsealed: BTreeSet<EpochId>,
    bare: BTreeSet<EpochId>,
) -> BTreeSet<EpochId> {
    let closed: BTreeSet<&EpochId> = timeline
        .iter()
        .filter(|entry| matches!(entry.what, EpochMember::Closed(_)))
        .map(|entry| entry.what.epoch())
        .collect();
    let opened = timeline.iter().map(|entry| entry.what.epoch()).filter(|epoch| !closed.contains(epoch));
    let open: BTreeSet<EpochId> = opened.cloned().chain(unsealed).collect();
    let mut recent: Vec<&Timed<EpochMember>> = timeline.iter().collect();
    recent.sort_by(|a, b| b.at.total_cmp(&a.at));
    // Usually the openings and closes of the two newest epochs.
    let recent = recent.into_iter().take(4).map(|entry| entry.what.epoch().clone());
    let bare = bare.into_iter().rev().filter(|epoch| !open.contains(epoch)).take(MOST_CANDIDATES);
    let bare: Vec<EpochId> = bare.collect();
    open.into_iter().rev().take(MOST_CANDIDATES).chain(bare).chain(recent).collect()
}
