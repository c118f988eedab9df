//! The current epoch: its candidates with their keys, and the dataset.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{
    EpochId,
    tracker::{Candidate, DAY, Entry, EpochMember, Observation, Sealed, Timed},
};

use super::{
    Chosen, Joined, MarketStore,
    aliases::Forms,
    facts::Wanted,
    members::{self, OtherForms},
};
use crate::{datasets::CURRENT_EPOCH, operations};
use store_redis::{Batch, Fault, Replies, Session, StoreError};

/// How many of the newest timeline entries are read.
const NEWEST_ENTRIES: isize = 64;
/// The most candidates among the epochs that may be open, and the most among those without any trace but their id.
const MOST_CANDIDATES: usize = 32;
/// How many of the most recent epochs of the ledger are candidates, open or not.
const MOST_RECENT: usize = 2;

/// The current epoch has no list of validators.
const WANTED: Wanted = Wanted { entries: true, validators: false, plain: true, recent: false };

impl MarketStore {
    /// The epochs that may be the current one, with what was read of their keys: two round trips. The epochs of `named`, which the
    /// finder has found, are among them, since the ledger may not have them yet.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails, or when no epoch is found and an input could not be read.
    pub async fn latest(
        &self,
        session: &mut Session,
        now: f64,
        named: &BTreeSet<String>,
    ) -> Result<(Vec<Candidate>, Vec<Fault>), StoreError> {
        let (mut seen, mut chosen, mut faults) = self.find_candidates(session, now, named).await?;
        let epochs: Vec<EpochId> = seen.facts.keys().cloned().collect();
        if epochs.is_empty() {
            self.current_spellings.learn(&chosen);
            return Ok((Vec::new(), faults));
        }
        let mut batch = Batch::new();
        let names: Vec<_> = epochs.iter().map(EpochId::as_str).collect();
        batch.cmd("HMGET", self.keys.sealed()).arg(names);
        let mut wide = self.current_spellings.widen(&chosen, &epochs);
        for epoch in &epochs {
            self.ask_facts(&mut batch, &wide, epoch, now, WANTED);
        }
        let operation = operations::READ_CURRENT_EPOCH;
        let answers = session.run(operation, self.name(), batch).await?;
        let mut replies = Replies::new(operation, answers).noting_present(wide.detects_use());
        let sealed = replies.take::<Vec<Option<String>>>(&self.keys.sealed())?.unwrap_or_default();
        for (epoch, text) in epochs.iter().zip(sealed) {
            if let Some(Ok(sealed)) = text.map(|text| Sealed::decode(&text)) {
                seen.stored.insert(epoch.clone(), sealed.known().clone());
            }
        }
        for epoch in &epochs {
            let facts = self.take_facts(&mut replies, &wide, epoch, WANTED)?;
            seen.facts.insert(epoch.clone(), facts);
        }
        let present = replies.present();
        chosen.note(&self.keys, &present);
        wide.note(&self.keys, &present);
        self.current_spellings.learn(&chosen);
        self.current_spellings.learn_candidates(&chosen, &wide, epochs);
        seen.attach_timelines();
        faults.extend(replies.into_faults());
        let known = |epoch: &EpochId| seen.stored.get(epoch).cloned();
        let candidates = seen.facts.iter().map(|(epoch, facts)| Candidate {
            epoch: epoch.clone(),
            facts: facts.clone(),
            known: known(epoch),
        });
        Ok((candidates.collect(), faults))
    }

    /// The first of the two round trips: which epochs are candidates, and what the ledger knows of them.
    async fn find_candidates(
        &self,
        session: &mut Session,
        now: f64,
        named: &BTreeSet<String>,
    ) -> Result<(Observation, Chosen, Vec<Fault>), StoreError> {
        // The finder has found its epochs under any spelling.
        let mut chosen = self.current_spellings.choose(&self.keys, now, !named.is_empty());
        let mut batch = Batch::new();
        batch.cmd("HGETALL", self.keys.open());
        batch.cmd("HMGET", self.keys.meta()).arg(&["latest", "latest_entry", "forms", "floor"]);
        let recent = batch.cmd("ZREVRANGE", self.keys.opened());
        recent.arg(0).arg(MOST_RECENT - 1);
        for input in chosen.inputs(&self.keys) {
            let newest = batch.cmd("ZREVRANGE", input.epochs_timeline());
            newest.arg(0).arg(NEWEST_ENTRIES - 1).arg("WITHSCORES");
        }
        let operation = operations::READ_NEWEST_EPOCHS;
        let answers = session.run(operation, self.name(), batch).await?;
        let mut replies = Replies::new(operation, answers).noting_present(chosen.detects_use());
        let mut seen = Observation { now, ..Observation::default() };
        let open = replies.take::<Vec<(String, String)>>(&self.keys.open())?;
        let mut is_unread = open.is_none();
        for (epoch, entry) in open.unwrap_or_default() {
            // The ledger is one source of two here, and the aggregator reports what is unreadable in it.
            if let (Ok(epoch), Ok(entry)) = (EpochId::parse(&epoch), Entry::decode(&entry)) {
                seen.stored.insert(epoch, entry);
            }
        }
        let meta = replies.take::<Vec<Option<String>>>(&self.keys.meta())?;
        let opened = replies.take::<Vec<String>>(&self.keys.opened())?;
        is_unread |= meta.is_none() || opened.is_none();
        let (meta, opened) = (meta.unwrap_or_default(), opened.unwrap_or_default());
        let (mut timeline, mut forms) = (Joined::default(), OtherForms::new());
        for input in chosen.inputs(&self.keys) {
            let key = input.epochs_timeline();
            timeline.add(members::timeline(&mut replies, &key, EpochMember::parse, &mut forms)?);
        }
        seen.epochs_timeline = timeline.known();
        is_unread |= seen.epochs_timeline.is_none();
        chosen.note(&self.keys, &replies.present());
        if let [latest, entry, known, floor] = &meta[..] {
            // The aggregator finds forms in keys that these passes don't read.
            forms.extend(Forms::decode(known.as_deref().unwrap_or_default()));
            // After a day without epochs, the highest sealed epoch is the only one with a time.
            let latest = latest.as_deref().and_then(|latest| EpochId::parse(latest).ok());
            let entry = entry.as_deref().and_then(|entry| Entry::decode(entry).ok());
            let timed =
                latest.as_ref().filter(|_| entry.as_ref().is_some_and(|entry| entry.last_time().is_some()));
            let floor = floor.as_deref().and_then(|floor| EpochId::parse(floor).ok());
            drop_outdated(&mut seen, timed.max(floor.as_ref()));
            seen.stored.extend(latest.zip(entry));
        }
        let named = members::named(named, &mut forms);
        chosen.forms = self.aliases.learn(forms);
        let faults = replies.into_faults();
        let timeline = seen.epochs_timeline.as_deref().unwrap_or_default();
        let named = named.into_iter().rev().take(MOST_CANDIDATES);
        // The highest sealed epoch may lack its opening, and these be in no timeline.
        let opened = opened.iter().filter_map(|epoch| EpochId::parse(epoch).ok());
        for epoch in choose(timeline, &seen.stored).into_iter().chain(opened).chain(named) {
            seen.facts.insert(epoch, Default::default());
        }
        if let (true, true, Some(fault)) = (seen.facts.is_empty(), is_unread, faults.first()) {
            // An epoch may exist in the key that could not be read: `metrics:current_epoch` must not expire because of that.
            return Err(StoreError::new(operation, &fault.key, fault.kind, &fault.detail));
        }
        Ok((seen, chosen, faults))
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

/// Drops entries more than a day old of epochs up to `newest`, the highest one with a time that was sealed: one that was written late
/// must not make its epoch the current one, and unsealed ones are candidates without it. A recent entry may: the ids started again.
fn drop_outdated(seen: &mut Observation, newest: Option<&EpochId>) {
    let (Some(timeline), Some(newest)) = (&mut seen.epochs_timeline, newest) else { return };
    let oldest = seen.now - DAY as f64;
    timeline.retain(|entry| entry.at > oldest || entry.what.epoch() > newest);
}

/// The candidates: all epochs that may be open, the highest first, and the most recent ones. Ids of which nothing is
/// known but the id have a limit of their own, since `epochs:active` keeps such ids for ever and they would displace the others.
fn choose(timeline: &[Timed<EpochMember>], stored: &BTreeMap<EpochId, Entry>) -> BTreeSet<EpochId> {
    let closed: BTreeSet<&EpochId> = timeline
        .iter()
        .filter(|entry| matches!(entry.what, EpochMember::Closed(_)))
        .map(|entry| entry.what.epoch())
        .collect();
    let opened = timeline.iter().map(|entry| entry.what.epoch()).filter(|epoch| !closed.contains(epoch));
    let unclosed = stored.iter().filter(|(_, entry)| !entry.closed.has_happened());
    let (bare, unsealed): (Vec<_>, Vec<_>) = unclosed.partition(|(_, entry)| entry.is_bare());
    let open: BTreeSet<&EpochId> = opened.chain(unsealed.into_iter().map(|(epoch, _)| epoch)).collect();
    let bare = bare.into_iter().map(|(epoch, _)| epoch).rev().filter(|epoch| !open.contains(epoch));
    let mut recent: Vec<&Timed<EpochMember>> = timeline.iter().collect();
    recent.sort_by(|a, b| b.at.total_cmp(&a.at));
    // Usually the openings and closes of the two newest epochs.
    let recent = recent.into_iter().take(4).map(|entry| entry.what.epoch());
    // In the order by which `domain` chooses the most recent one.
    let known = stored.iter().filter(|(_, entry)| entry.last_time().is_some());
    let mut known: Vec<_> = known
        .map(|(epoch, entry)| ([entry.opened.at(), entry.closed.at(), entry.last_time()], epoch))
        .collect();
    known.sort_unstable();
    let known = known.into_iter().rev().take(MOST_RECENT).map(|(_, epoch)| epoch);
    let open = open.iter().copied().rev().take(MOST_CANDIDATES);
    open.chain(bare.take(MOST_CANDIDATES)).chain(recent).chain(known).cloned().collect()
}
