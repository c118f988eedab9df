//! One market in Redis: what a pass reads and what it writes, each step one round trip whatever the number of
//! epochs.
//!
//! A pass is three steps: [`MarketStore::discover`] (ledger, timelines, active epochs), [`MarketStore::examine`]
//! (the keys of the epochs that matter), [`MarketStore::commit`]. A pass of the current epoch is
//! [`MarketStore::latest`] and [`MarketStore::write_current_epoch`].

mod commit;
mod current;
mod examine;
mod facts;

use std::collections::{BTreeMap, BTreeSet};

use domain::{BatchMember, DAY, Entry, EpochId, EpochMember, HOUR, Observation};

pub use commit::{Datasets, Written};

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

/// What a pass is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// How far it looks back for epochs.
    pub reach: Reach,
    /// Whether the statistics of the hours are due.
    pub hourly: bool,
    /// Whether the statistics of the day are due.
    pub daily: bool,
}

impl Scope {
    /// A pass for the summary alone.
    #[must_use]
    pub fn summary(reach: Reach) -> Self {
        Self { reach, hourly: false, daily: false }
    }

    /// From which second on sealed epochs are needed: those opened in the stretch of the statistics, and those
    /// opened so long before it that their batches may lie in it.
    fn past_since(self, now: u64) -> Option<u64> {
        let before = 3 * HOUR;
        let day = self.daily.then(|| now.saturating_sub(DAY + before));
        let hours = self.hourly.then(|| (now - now % HOUR).saturating_sub(HOUR + before));
        day.or(hours)
    }
}

/// The timelines are kept for a day.
const FULL_REACH: f64 = 86_400.0;
/// Longer than the five minutes of the recent counts, by the time that a late entry may take.
const RECENT_REACH: f64 = 600.0;

/// What one pass has read so far.
#[derive(Debug)]
pub struct Pass {
    /// What it is made for.
    pub scope: Scope,
    /// What it saw.
    pub seen: Observation,
    /// What the ledger says of itself.
    pub mark: LedgerMark,
    /// Inputs that could not be read.
    pub faults: Vec<Fault>,
    /// Whether `epochs:active` grew by more than the epochs that were found: a full pass is due.
    pub missed_epochs: bool,
    /// The stored entries as text, to recognise whether they changed meanwhile.
    stored_text: BTreeMap<EpochId, String>,
    /// Epochs that the ledger did not know as unsealed.
    unknown: BTreeSet<EpochId>,
    /// Sealed epochs that the statistics need.
    past: Vec<EpochId>,
    /// Members of `epochs:active`, where all were read.
    active: Option<BTreeSet<EpochId>>,
    active_count: Option<u64>,
}

/// One market.
#[derive(Clone, Debug)]
pub struct MarketStore {
    keys: MarketKeys,
    validator: String,
}

impl MarketStore {
    /// The store of the market with these keys, as this validator sees it.
    #[must_use]
    pub fn new(keys: MarketKeys, validator: &str) -> Self {
        Self { keys, validator: validator.to_owned() }
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
    pub async fn discover(&self, session: &mut Session, now: f64, scope: Scope) -> Result<Pass, StoreError> {
        let full = scope.reach == Reach::Full;
        let since = now - if full { FULL_REACH } else { RECENT_REACH };
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(self.keys.open());
        pipeline.cmd("HGETALL").arg(self.keys.meta());
        if full {
            pipeline.cmd("HKEYS").arg(self.keys.sealed());
        }
        let past_since = scope.past_since(now.max(0.0) as u64);
        if let Some(since) = past_since {
            pipeline.cmd("ZRANGEBYSCORE").arg(self.keys.opened()).arg(since).arg("+inf");
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
        let mut pass = Pass::new(scope, now);
        self.take_ledger(&mut replies, &mut pass)?;
        let sealed: BTreeSet<EpochId> = if full {
            let sealed = replies.epochs(&self.keys.sealed())?;
            sealed.ok_or_else(|| self.unreadable_ledger(&mut replies))?.into_iter().collect()
        } else {
            BTreeSet::new()
        };
        if past_since.is_some() {
            let past = replies.epochs(&self.keys.opened())?;
            pass.past = past.ok_or_else(|| self.unreadable_ledger(&mut replies))?;
        }
        let (mut active, mut active_count) = (full.then(BTreeSet::new), Some(0));
        for input in self.keys.inputs() {
            if let Some(active) = &mut active {
                let members = replies.epochs(&input.active())?;
                active_count = active_count.zip(members.as_ref()).map(|(sum, more)| sum + more.len() as u64);
                active.extend(members.into_iter().flatten());
            } else {
                let members = replies.take::<u64>(&input.active())?;
                active_count = active_count.zip(members).map(|(sum, more)| sum + more);
            }
            let epochs = replies.timeline(&input.epochs_timeline(), EpochMember::parse)?;
            let batches = replies.timeline(&input.batches_timeline(), BatchMember::parse)?;
            let queue = replies.take::<u64>(&input.queue())?;
            join(&mut pass.seen.epochs_timeline, epochs);
            join(&mut pass.seen.batches_timeline, batches);
            pass.seen.queue = join_counts(pass.seen.queue, queue);
        }
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
        pass.unknown = opened
            .chain(batched)
            .chain(listed)
            .filter(|epoch| !pass.seen.stored.contains_key(epoch))
            .collect();
        pass.seen.facts.extend(pass.unknown.iter().map(|epoch| (epoch.clone(), Default::default())));
        (pass.active, pass.active_count) = (active, active_count);
        Ok(pass)
    }

    fn take_ledger(&self, replies: &mut Replies, pass: &mut Pass) -> Result<(), StoreError> {
        let open = self.keys.open();
        let stored = replies.take::<Vec<(String, String)>>(&open)?;
        for (epoch, text) in stored.ok_or_else(|| self.unreadable_ledger(replies))? {
            let Ok(epoch) = EpochId::parse(&epoch) else {
                replies.fault(&open, ErrorKind::Malformed, format!("the field `{epoch}` names no epoch"));
                continue;
            };
            // What can't be read is recomputed from the inputs, and replaced.
            let entry = Entry::decode(&text);
            if let Err(error) = &entry {
                replies.fault(&open, ErrorKind::Malformed, error);
            }
            pass.seen.stored.insert(epoch.clone(), entry.unwrap_or_default());
            pass.stored_text.insert(epoch, text);
        }
        let mark = replies.take::<Vec<(String, String)>>(&self.keys.meta())?;
        let mark = mark.ok_or_else(|| self.unreadable_ledger(replies))?;
        pass.mark = LedgerMark::from_fields(mark);
        pass.seen.window = pass.mark.window;
        if let Some(schema) = &pass.mark.foreign_schema {
            let detail = format!("it has version {schema}, this program knows version {}", ledger::SCHEMA);
            return Err(StoreError::new("read the ledger", self.keys.meta(), ErrorKind::Refused, detail));
        }
        Ok(())
    }

    /// Without its ledger a market has no totals: nothing is concluded, and nothing written.
    fn unreadable_ledger(&self, replies: &mut Replies) -> StoreError {
        let fault = replies.last_fault();
        let (key, kind, detail) = fault
            .map_or((self.keys.open(), ErrorKind::Malformed, String::new()), |fault| {
                (fault.key.clone(), fault.kind, fault.detail.clone())
            });
        StoreError::new("read the ledger", key, kind, detail)
    }
}

impl Pass {
    fn new(scope: Scope, now: f64) -> Self {
        Self {
            scope,
            seen: Observation { now, ..Observation::default() },
            mark: LedgerMark::default(),
            faults: Vec::new(),
            missed_epochs: false,
            stored_text: BTreeMap::new(),
            unknown: BTreeSet::new(),
            past: Vec::new(),
            active: None,
            active_count: None,
        }
    }
}

fn join<T>(all: &mut Option<Vec<T>>, more: Option<Vec<T>>) {
    match (all.as_mut(), more) {
        (Some(all), Some(more)) => all.extend(more),
        (None, more) => *all = more,
        (Some(_), None) => {}
    }
}

fn join_counts(all: Option<u64>, more: Option<u64>) -> Option<u64> {
    match (all, more) {
        (Some(all), Some(more)) => Some(all + more),
        (all, more) => all.or(more),
    }
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
