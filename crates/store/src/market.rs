//! One market in Redis: what a pass reads and what it writes, each step one round trip whatever the number of
//! epochs.
//!
//! A pass of the summary is three steps: [`MarketStore::discover`] (ledger, timelines, active epochs),
//! [`MarketStore::examine`] (the keys of the epochs that matter), [`MarketStore::commit`]. A pass of the
//! current epoch is [`MarketStore::latest`] and [`MarketStore::write_current_epoch`].

mod facts;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{
    BatchMember, Candidate, CurrentEpoch, Entry, EpochId, EpochMember, MeasurementWindow, Observation,
    Summary, Timed, Totals,
};
use redis::{FromRedisValue, Pipeline, Value, from_redis_value};

use crate::{
    connect::Session,
    error::{ErrorKind, StoreError},
    keys::{InputKeys, MarketKeys},
    ledger::{self, LedgerMark},
    reply::{Fault, Replies},
};

/// How far a pass looks back for epochs that the ledger may not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything that is still there: at the start, and when something may have been missed.
    Full,
    /// The last minutes.
    Recent,
}

/// The timelines are kept for a day.
const FULL_REACH: f64 = 86_400.0;
/// Longer than the five minutes of the recent counts, by the time that a late entry may take.
const RECENT_REACH: f64 = 600.0;
/// How many epochs that are new to the ledger one pass takes, the highest first; each takes some 10 kB meanwhile.
const NEW_EPOCHS_A_PASS: usize = 5_000;
/// How many of the newest timeline entries the current epoch is looked for in.
const NEWEST_ENTRIES: isize = 64;
/// How many epochs are looked at as candidates for the current one.
const MOST_CANDIDATES: usize = 32;

/// What one pass has read so far.
#[derive(Debug, Default)]
pub struct Pass {
    /// What it saw.
    pub seen: Observation,
    /// What the ledger says of itself.
    pub mark: LedgerMark,
    /// Inputs that could not be read.
    pub faults: Vec<Fault>,
    /// Whether `epochs:active` grew by more than the epochs that were found: a full pass is due.
    pub missed_epochs: bool,
    /// There are more new epochs than one pass takes: another full pass is due, and the totals lack some until then.
    pub partial: bool,
    /// The stored entries as text, to recognise whether they changed meanwhile.
    stored_text: BTreeMap<EpochId, String>,
    /// Epochs that the ledger did not know as unsealed.
    unknown: BTreeSet<EpochId>,
    /// Members of `epochs:active` by spelling, where all were read.
    active: Option<BTreeSet<EpochId>>,
    active_count: Option<u64>,
}

/// What a commit did to the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries stored.
    pub stored: u64,
    /// Entries sealed.
    pub sealed: u64,
    /// Entries left alone because another tracker had changed them.
    pub left: u64,
}

/// A dataset that is written: its values and how long it lives.
#[derive(Clone, Debug)]
pub struct Dataset<'a> {
    /// The fields.
    pub summary: &'a Summary,
    /// The window that its rates were measured in.
    pub window: MeasurementWindow,
    /// How long it lives.
    pub ttl: Duration,
}

/// One market.
#[derive(Clone, Debug)]
pub struct MarketStore {
    keys: MarketKeys,
}

impl MarketStore {
    /// The store of the market with these keys.
    #[must_use]
    pub fn new(keys: MarketKeys) -> Self {
        Self { keys }
    }

    /// The names of its keys.
    #[must_use]
    pub fn keys(&self) -> &MarketKeys {
        &self.keys
    }

    fn name(&self) -> &str {
        self.keys.market().checksummed()
    }

    /// First round trip: the ledger's unsealed entries, the timelines, the active epochs, the queue.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole is of no use, or when the ledger is of another version.
    pub async fn discover(&self, session: &mut Session, now: f64, reach: Reach) -> Result<Pass, StoreError> {
        let full = reach == Reach::Full;
        let since = now - if full { FULL_REACH } else { RECENT_REACH };
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(self.keys.open());
        pipeline.cmd("HGETALL").arg(self.keys.meta());
        if full {
            pipeline.cmd("HKEYS").arg(self.keys.sealed());
        }
        for input in self.keys.inputs() {
            pipeline.cmd(if full { "SMEMBERS" } else { "SCARD" }).arg(input.active());
            for timeline in [input.epochs_timeline(), input.batches_timeline()] {
                pipeline.cmd("ZRANGEBYSCORE").arg(timeline).arg(since).arg("+inf").arg("WITHSCORES");
            }
            pipeline.cmd("LLEN").arg(input.queue());
        }
        let operation = "read the timelines";
        let mut replies = Replies::new(operation, session.run(operation, self.name(), &pipeline).await?);
        let mut pass = Pass { seen: Observation { now, ..Observation::default() }, ..Pass::default() };
        self.take_ledger(&mut replies, &mut pass)?;
        let mut sealed = BTreeSet::new();
        if full {
            let fields = replies.own::<Vec<String>>(&self.keys.sealed())?;
            sealed.extend(fields.iter().filter_map(|epoch| EpochId::parse(epoch).ok()));
        }
        let (mut active, mut active_count) = (full.then(BTreeSet::new), Some(0));
        let (mut epochs_timeline, mut batches_timeline) = (Joined::default(), Joined::default());
        let mut queue = Joined::default();
        for input in self.keys.inputs() {
            if let Some(active) = &mut active {
                let members = replies.epochs(&input.active())?;
                active_count = active_count.zip(members.as_ref()).map(|(sum, (_, more))| sum + more);
                active.extend(members.into_iter().flat_map(|(members, _)| members));
            } else {
                let members = replies.take::<u64>(&input.active())?;
                active_count = active_count.zip(members).map(|(sum, more)| sum + more);
            }
            epochs_timeline.add(replies.timeline(&input.epochs_timeline(), EpochMember::parse)?);
            batches_timeline.add(replies.timeline(&input.batches_timeline(), BatchMember::parse)?);
            queue.add(
                replies.take::<u64>(&input.queue())?.map(|length| vec![length; usize::from(length > 0)]),
            );
        }
        pass.seen.epochs_timeline = epochs_timeline.known();
        pass.seen.batches_timeline = batches_timeline.known();
        pass.seen.queue = queue.known().map(|lengths| lengths.iter().sum());
        pass.faults.extend(replies.into_faults());
        pass.seen.facts = pass.seen.stored.keys().map(|epoch| (epoch.clone(), Default::default())).collect();
        let recent = now - RECENT_REACH;
        let named =
            |at: f64, epoch: &EpochId| (at > recent || !sealed.contains(epoch)).then(|| epoch.clone());
        let opened = pass
            .seen
            .epochs_timeline
            .iter()
            .flatten()
            .filter_map(|entry| named(entry.at, entry.what.epoch()));
        let batched = pass.seen.batches_timeline.iter().flatten();
        let batched = batched.filter_map(|entry| named(entry.at, entry.what.epoch()?));
        let listed = active.iter().flatten().filter(|epoch| !sealed.contains(*epoch)).cloned();
        let unknown = opened.chain(batched).chain(listed);
        let unknown: BTreeSet<EpochId> =
            unknown.filter(|epoch| !pass.seen.stored.contains_key(epoch)).collect();
        let (again, new): (BTreeSet<_>, BTreeSet<_>) =
            unknown.into_iter().partition(|epoch| sealed.contains(epoch));
        pass.partial = full && new.len() > NEW_EPOCHS_A_PASS;
        let most = if full { NEW_EPOCHS_A_PASS } else { new.len() };
        pass.unknown = again.into_iter().chain(new.into_iter().rev().take(most)).collect();
        pass.seen.facts.extend(pass.unknown.iter().map(|epoch| (epoch.clone(), Default::default())));
        (pass.active, pass.active_count) = (active, active_count);
        Ok(pass)
    }

    fn take_ledger(&self, replies: &mut Replies, pass: &mut Pass) -> Result<(), StoreError> {
        // Without its own keys no total is right: nothing is concluded then.
        for (epoch, text) in replies.own::<Vec<(String, String)>>(&self.keys.open())? {
            let Ok(epoch) = EpochId::parse(&epoch) else {
                replies.fault(
                    &self.keys.open(),
                    ErrorKind::Malformed,
                    format!("the field `{epoch}` names no epoch"),
                );
                continue;
            };
            match Entry::decode(&text) {
                Ok(entry) => drop(pass.seen.stored.insert(epoch.clone(), entry)),
                // It is recomputed from the inputs, and replaced.
                Err(error) => {
                    replies.fault(&self.keys.open(), ErrorKind::Malformed, error);
                    pass.seen.stored.insert(epoch.clone(), Entry::default());
                }
            }
            pass.stored_text.insert(epoch, text);
        }
        pass.mark = LedgerMark::from_fields(replies.own(&self.keys.meta())?);
        pass.seen.window = pass.mark.window;
        if let Some(schema) = &pass.mark.foreign_schema {
            let detail = format!("it has version {schema}, this program knows version {}", ledger::SCHEMA);
            return Err(StoreError::new("read the ledger", self.keys.meta(), ErrorKind::Refused, detail));
        }
        Ok(())
    }

    /// Second round trip: the sealed sums and the keys of all epochs that [`MarketStore::discover`] found.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole is of no use.
    pub async fn examine(&self, session: &mut Session, pass: &mut Pass) -> Result<(), StoreError> {
        let now = pass.seen.now;
        let known: Vec<EpochId> = pass.seen.stored.keys().cloned().collect();
        let unknown: Vec<EpochId> = pass.unknown.iter().cloned().collect();
        let all: Vec<EpochId> = pass.seen.facts.keys().cloned().collect();
        let mut pipeline = redis::pipe();
        // One moment for both: an epoch counts either in the sums or as unsealed.
        pipeline.cmd("MULTI").cmd("HGETALL").arg(self.keys.sums());
        if !all.is_empty() {
            pipeline
                .cmd("HMGET")
                .arg(self.keys.sealed())
                .arg(all.iter().map(EpochId::as_str).collect::<Vec<_>>());
        }
        pipeline.cmd("EXEC");
        for epoch in &all {
            self.keys.inputs().for_each(|input| facts::ask(&mut pipeline, input, epoch, now));
        }
        for input in self.keys.inputs() {
            if !known.is_empty() {
                let keys: Vec<_> = known.iter().map(|epoch| input.validators(epoch)).collect();
                pipeline.cmd("SUNION").arg(keys);
            }
            for epoch in &unknown {
                pipeline.cmd("SMEMBERS").arg(input.validators(epoch));
            }
            if pass.active.is_none() && !unknown.is_empty() {
                pipeline.cmd("SMISMEMBER").arg(input.active());
                pipeline.arg(unknown.iter().map(EpochId::as_str).collect::<Vec<_>>());
            }
        }
        let operation = "read the epochs";
        let mut replies = Replies::new(operation, session.run(operation, self.name(), &pipeline).await?);
        self.take_sealed(&mut replies, pass, &all)?;
        for epoch in &all {
            let mut merged = facts::Gathered::default();
            for input in self.keys.inputs() {
                merged.add(facts::take(&mut replies, input, epoch)?);
            }
            pass.seen.facts.insert(epoch.clone(), merged.finish());
        }
        self.take_validators(&mut replies, pass, &known, &unknown)?;
        if let Some(active) = &pass.active {
            for (epoch, facts) in &mut pass.seen.facts {
                facts.active = active.contains(epoch);
            }
        }
        pass.seen.attach_timelines();
        pass.faults.extend(replies.into_faults());
        Ok(())
    }

    fn take_sealed(&self, replies: &mut Replies, pass: &mut Pass, all: &[EpochId]) -> Result<(), StoreError> {
        let sums = self.keys.sums();
        let queued = 2 + usize::from(!all.is_empty());
        for _ in 0..queued {
            replies.raw(&sums)?;
        }
        let mut answers = match replies.raw(&sums)? {
            Some(Value::Array(answers)) => answers.into_iter(),
            other => {
                let detail = format!("the transaction answered {other:?}");
                return Err(StoreError::new("read the ledger", sums, ErrorKind::Malformed, detail));
            }
        };
        // Without the sums no total is right: nothing is concluded then.
        let fields: Vec<(String, u64)> = own_answer(answers.next(), &sums)?;
        pass.seen.sums = ledger::sums(&fields);
        let sealed: Vec<Option<Vec<u8>>> = own_answer(answers.next(), &self.keys.sealed())?;
        let is_sealed = all.iter().zip(sealed).filter(|(_, entry)| entry.is_some());
        pass.seen.sealed = is_sealed.map(|(epoch, _)| epoch.clone()).collect();
        Ok(())
    }

    fn take_validators(
        &self,
        replies: &mut Replies,
        pass: &mut Pass,
        known: &[EpochId],
        unknown: &[EpochId],
    ) -> Result<(), StoreError> {
        let (mut validators, mut readable) = (BTreeSet::new(), true);
        let (mut listed, mut new) = (BTreeSet::new(), 0);
        let mut take = |replies: &mut Replies, key: &str, counts: bool| -> Result<(), StoreError> {
            match replies.take::<Vec<Vec<u8>>>(key)? {
                Some(members) if counts => validators.extend(members),
                Some(_) => {}
                None => readable = false,
            }
            Ok(())
        };
        for input in self.keys.inputs() {
            match known {
                [] => {}
                [one] => take(replies, &input.validators(one), true)?,
                // Which one of them is at fault the server does not say.
                _ => take(replies, &input.validators_of_any(), true)?,
            }
            for epoch in unknown {
                take(replies, &input.validators(epoch), !pass.seen.sealed.contains(epoch))?;
            }
            if pass.active.is_none() && !unknown.is_empty() {
                let membership = replies.take::<Vec<bool>>(&input.active())?.unwrap_or_default();
                let members = unknown.iter().zip(membership).filter(|(_, member)| *member);
                for (epoch, _) in members {
                    // One in the sets of both spellings is two members.
                    new += u64::from(!pass.seen.sealed.contains(epoch));
                    listed.insert(epoch);
                }
            }
        }
        pass.seen.validators = readable.then_some(validators.len() as u64);
        if pass.active.is_none() {
            let explained = pass.mark.active_known.map(|known| known + new);
            pass.missed_epochs = pass.active_count.is_some() && pass.active_count != explained;
            for epoch in listed {
                if let Some(facts) = pass.seen.facts.get_mut(epoch) {
                    facts.active = true;
                }
            }
        }
        Ok(())
    }

    /// Third round trip: stores and seals entries, and writes `dashboard:summary` and `stats:current` in one
    /// transaction.
    ///
    /// # Errors
    /// [`StoreError`] when something could not be written. All of it may be written again.
    pub async fn commit(
        &self,
        session: &mut Session,
        pass: &Pass,
        totals: &Totals,
        dataset: &Dataset<'_>,
    ) -> Result<Written, StoreError> {
        let mut pipeline = redis::pipe();
        // A full pass begins an incarnation or follows a failure: the server may not know the script.
        let loads = pass.active.is_some();
        if loads {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(ledger::SOURCE);
        }
        let as_read = |epoch: &EpochId| pass.stored_text.get(epoch).cloned().unwrap_or_default();
        let known = pass.active_count.filter(|_| !pass.missed_epochs && !pass.partial);
        let runs = ledger::write(&mut pipeline, &self.keys, totals, as_read, pass.seen.now, known);
        pipeline.cmd("MULTI");
        // A window that began with totals that lack some would take what is found later for growth.
        if !pass.partial {
            let window = ledger::encode_window(&dataset.window);
            pipeline.cmd("HSET").arg(self.keys.meta()).arg("window").arg(window);
        }
        let (ttl, stats) = (dataset.ttl.as_secs().max(1), self.keys.stats());
        pipeline
            .cmd("SET")
            .arg(self.keys.summary())
            .arg(dataset.summary.to_json().to_string())
            .arg("EX")
            .arg(ttl);
        pipeline.cmd("DEL").arg(&stats);
        pipeline.cmd("HSET").arg(&stats).arg(dataset.summary.to_hash());
        pipeline.cmd("EXPIRE").arg(&stats).arg(ttl).cmd("EXEC");

        let operation = "write the summary";
        let answers = session.run(operation, self.name(), &pipeline).await?;
        let mut written = Written::default();
        for (at, answer) in answers.into_iter().enumerate() {
            let answer = answer.and_then(Value::extract_error);
            let answer = answer.map_err(|error| StoreError::redis(operation, self.name(), &error))?;
            let is_run = at >= usize::from(loads) && at < usize::from(loads) + runs;
            if let Some((stored, sealed)) =
                is_run.then(|| from_redis_value::<(u64, u64)>(answer).ok()).flatten()
            {
                written.stored += stored;
                written.sealed += sealed;
            }
        }
        let asked = (totals.changed.len() + totals.finished.len()) as u64;
        written.left = asked.saturating_sub(written.stored + written.sealed);
        Ok(written)
    }

    /// The epochs that may be the current one, with what their keys say: two round trips.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole is of no use, or when none is found where not all could be read.
    pub async fn latest(
        &self,
        session: &mut Session,
        now: f64,
    ) -> Result<(Vec<Candidate>, Vec<Fault>), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(self.keys.open());
        for input in self.keys.inputs() {
            pipeline
                .cmd("ZREVRANGE")
                .arg(input.epochs_timeline())
                .arg(0)
                .arg(NEWEST_ENTRIES - 1)
                .arg("WITHSCORES");
        }
        let operation = "read the newest epochs";
        let mut replies = Replies::new(operation, session.run(operation, self.name(), &pipeline).await?);
        let mut seen = Observation { now, ..Observation::default() };
        let mut unsealed = BTreeSet::new();
        for (epoch, entry) in replies.take::<Vec<(String, String)>>(&self.keys.open())?.unwrap_or_default() {
            let (Ok(epoch), Ok(entry)) = (EpochId::parse(&epoch), Entry::decode(&entry)) else { continue };
            if entry.closed.is_none() {
                unsealed.insert(epoch);
            }
        }
        let mut timeline = Joined::default();
        for input in self.keys.inputs() {
            timeline.add(replies.timeline(&input.epochs_timeline(), EpochMember::parse)?);
        }
        seen.epochs_timeline = timeline.known();
        let mut faults = replies.into_faults();
        for epoch in choose(seen.epochs_timeline.as_deref().unwrap_or_default(), unsealed) {
            seen.facts.insert(epoch, Default::default());
        }
        let epochs: Vec<EpochId> = seen.facts.keys().cloned().collect();
        if let (true, None, Some(fault)) = (epochs.is_empty(), &seen.epochs_timeline, faults.first()) {
            // That there is none is not known.
            return Err(StoreError::new(operation, &fault.key, fault.kind, &fault.detail));
        }
        if epochs.is_empty() {
            return Ok((Vec::new(), faults));
        }
        let mut pipeline = redis::pipe();
        for epoch in &epochs {
            self.keys.inputs().for_each(|input| facts::ask(&mut pipeline, input, epoch, now));
        }
        let operation = "read the current epoch";
        let mut replies = Replies::new(operation, session.run(operation, self.name(), &pipeline).await?);
        for epoch in &epochs {
            let mut merged = facts::Gathered::default();
            for input in self.keys.inputs() {
                merged.add(facts::take(&mut replies, input, epoch)?);
            }
            seen.facts.insert(epoch.clone(), merged.finish());
        }
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
        current: &CurrentEpoch,
        now: f64,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let (operation, key) = ("write the current epoch", self.keys.current_epoch());
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("SET")
            .arg(&key)
            .arg(current.to_json(now).to_string())
            .arg("EX")
            .arg(ttl.as_secs().max(1));
        for answer in session.run(operation, &key, &pipeline).await? {
            answer.map_err(|error| StoreError::redis(operation, &key, &error))?;
        }
        Ok(())
    }
}

/// The epochs worth a look: all that may be open, the highest first, and the most recent ones.
fn choose(timeline: &[Timed<EpochMember>], unsealed: BTreeSet<EpochId>) -> BTreeSet<EpochId> {
    let closed: BTreeSet<&EpochId> = timeline
        .iter()
        .filter(|entry| matches!(entry.what, EpochMember::Closed(_)))
        .map(|entry| entry.what.epoch())
        .collect();
    let opened = timeline.iter().map(|entry| entry.what.epoch()).filter(|epoch| !closed.contains(epoch));
    let open: BTreeSet<EpochId> = opened.cloned().chain(unsealed).collect();
    let mut recent: Vec<&Timed<EpochMember>> = timeline.iter().collect();
    recent.sort_by(|a, b| b.at.total_cmp(&a.at));
    let recent = recent.into_iter().take(4).map(|entry| entry.what.epoch().clone());
    open.into_iter().rev().take(MOST_CANDIDATES).chain(recent).collect()
}

/// One kind of key under all its spellings.
struct Joined<T> {
    found: Vec<T>,
    unread: bool,
}

impl<T> Default for Joined<T> {
    fn default() -> Self {
        Self { found: Vec::new(), unread: false }
    }
}

impl<T> Joined<T> {
    fn add(&mut self, more: Option<Vec<T>>) {
        self.unread |= more.is_none();
        self.found.extend(more.into_iter().flatten());
    }

    /// What was found. Nothing, while one spelling could not be read, is not known to be nothing.
    fn known(self) -> Option<Vec<T>> {
        (!self.unread || !self.found.is_empty()).then_some(self.found)
    }
}

/// An answer of a transaction that reads the tracker's own keys.
fn own_answer<T: FromRedisValue>(answer: Option<Value>, key: &str) -> Result<T, StoreError> {
    let answer = answer.unwrap_or(Value::Array(Vec::new())).extract_error();
    let answer = answer.and_then(|answer| from_redis_value(answer).map_err(Into::into));
    answer.map_err(|error| StoreError::redis("read the ledger", key, &error))
}

impl InputKeys<'_> {
    /// The keys of an epoch in the order in which [`facts`] asks for them.
    fn of_epoch(self, epoch: &EpochId) -> [String; 7] {
        [
            self.info(epoch),
            self.state(epoch),
            self.local_batch(epoch),
            self.aggregated_batch(epoch),
            self.batch_validators(epoch),
            self.submission_ids(epoch),
            self.processed(epoch),
        ]
    }
}
