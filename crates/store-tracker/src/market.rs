//! One market in Redis: what a pass reads and what it writes.
//!
//! A pass of the summary has three steps: [`MarketStore::discover`] (ledger, timelines, active epochs), [`MarketStore::examine`]
//! (the keys of the epochs that matter) and [`MarketStore::commit`]. Each takes one round trip. More are needed after an absence, when
//! `discover` reads long keys in pages, and for more than 1,000 unsealed epochs, whose keys `examine` reads in portions. Where epochs would
//! be sealed without their submissions, [`MarketStore::recover`] reads the timeline of validations before the commit.
//!
//! A pass of the current epoch is [`MarketStore::latest`] and [`MarketStore::write_current_epoch`].

mod aliases;
mod commit;
mod current;
mod discover;
mod examine;
mod facts;
mod members;
mod original;
mod pages;
mod priorities;
mod recover;
mod spellings;
mod upgrade;
mod validators;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    EpochId,
    tracker::{DayStats, Due, EarlyCounts, Known, Moments, Observation, RECENT, Span},
};

use aliases::Aliases;
pub use commit::{Outputs, Written};
use facts::Wanted;
pub use original::OriginalDatasets;
use spellings::{Chosen, Spellings};

use crate::{keys::MarketKeys, ledger::LedgerMark};
use store_redis::{ErrorKind, Fault, Session, StoreError};

/// Which epochs a pass looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of which there is still a trace. For readers without a ledger's mark: `doctor`, `diff`, tests.
    Everything,
    /// Those that no earlier pass has seen, by the ledger's mark; without a mark, all.
    New,
}

/// What a pass is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Which epochs it looks for.
    pub reach: Reach,
    /// It is the first one of an incarnation of its actor: it reads the last summary from Redis, loads the scripts, and writes all
    /// hours.
    pub first: bool,
    /// Which statistics are due.
    pub due: Due,
    /// Earlier hours, by their starts in Unix seconds, whose statistics are due with those of the last two.
    pub hours: BTreeSet<u64>,
    /// Ids of epochs that the finder has found in the names of keys, in any form: the pass takes up those that are new.
    pub named: BTreeSet<String>,
}

impl Scope {
    /// A pass for all datasets that looks for everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { due: Due::ALL, ..Self::summary(Reach::Everything) }
    }

    /// A pass for the summary alone.
    #[must_use]
    pub fn summary(reach: Reach) -> Self {
        let first = reach == Reach::Everything;
        Self { reach, first, due: Due::NONE, hours: BTreeSet::new(), named: BTreeSet::new() }
    }

    /// The period in which the sealed epochs were opened that the statistics of the day need: its start, and its end, which is no part
    /// of it, in Unix seconds. `None` when these statistics are not due.
    fn past(&self, now: u64) -> Option<(u64, u64)> {
        self.due.daily.then(|| DayStats::period(now))
    }
}

/// How far the clock of one producer may be behind that of another, in seconds.
const CLOCKS: f64 = 60.0;
/// The most unsealed epochs in the ledger: no new ones are added beyond that, until some are sealed. A market has some hundred.
const MOST_UNSEALED: usize = 20_000;

/// What one pass has read so far.
#[derive(Debug)]
pub struct Pass {
    /// What it is made for.
    pub scope: Scope,
    /// What it saw.
    pub seen: Observation,
    /// The fields of the ledger's `meta`.
    pub mark: LedgerMark,
    /// Inputs that could not be read.
    pub faults: Vec<Fault>,
    /// There are more new epochs than one pass takes: another pass is due at once, and totals lack epochs until then.
    pub partial: bool,
    /// The ledger has as many unsealed epochs as its limit allows, and there are new ones: totals lack these until others are sealed.
    pub ledger_full: bool,
    /// Whether the part of the epochs timeline that was read has an entry.
    pub has_timeline: bool,
    /// Epochs of the last minutes that are not above the ledger's floor, and so are not counted: the ids started again from low
    /// numbers, or a producer's wrong id has raised the floor.
    pub below_floor: BTreeSet<EpochId>,
    /// How much it reads of the timelines and of `epochs:active`.
    pub span: Span,
    /// Whether there are entries of timelines that no pass has read: the next one reads everything.
    pub missed_entries: bool,
    /// Whether `epochs:active` grew by more than the epochs that were found: the next pass reads its members.
    pub missed_members: bool,
    /// How many entries the timelines have before the last minutes.
    pub early: EarlyCounts,
    /// The last summary in Redis; read only by the first pass of an incarnation.
    pub last_summary: Option<serde_json::Value>,
    /// The stored entries as text, by which the script notices a change by another tracker.
    stored_text: BTreeMap<EpochId, String>,
    /// Epochs that were found and that the ledger does not have as unsealed: new ones and sealed ones.
    unknown: BTreeSet<EpochId>,
    /// The validators of the last minutes, until all are read.
    validators: validators::Validators,
    /// Sealed epochs that the statistics need.
    past: Vec<EpochId>,
    /// Sealed epochs whose window closed within the last hour.
    ended: BTreeSet<EpochId>,
    /// How many members `epochs:active` has.
    active_count: Option<u64>,
    /// The spellings that this pass reads.
    chosen: Chosen,
    /// The epochs whose plain set of submissions is not read, since the last pass has found their ordered set.
    ordered: Arc<BTreeSet<EpochId>>,
}

/// One market. Clones share what they know of its spellings.
#[derive(Clone, Debug)]
pub struct MarketStore {
    keys: MarketKeys,
    validator: String,
    /// The spellings in use, as the aggregator's passes found them.
    spellings: Arc<Spellings>,
    /// The spellings in use, as the epoch tracker's passes found them, which read fewer keys.
    current_spellings: Arc<Spellings>,
    /// Other forms of epoch ids, found by passes of both kinds.
    aliases: Arc<Aliases>,
    /// The epochs whose submissions the last pass has found in an ordered set.
    ordered: Arc<Ordered>,
}

/// The epochs whose submissions the last pass has found in an ordered set.
#[derive(Debug, Default)]
struct Ordered(Mutex<Arc<BTreeSet<EpochId>>>);

impl Ordered {
    fn known(&self) -> Arc<BTreeSet<EpochId>> {
        // A poisoned lock is used on: each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, seen: &Observation) {
        let ordered = seen.facts.iter().filter(|(_, facts)| facts.submissions_recent.is_some());
        let ordered = ordered.filter(|(_, facts)| facts.submissions.is_there());
        let ordered = Arc::new(ordered.map(|(epoch, _)| epoch.clone()).collect());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ordered;
    }
}

impl MarketStore {
    /// The store of the market with these keys, as this validator sees it.
    #[must_use]
    pub fn new(keys: MarketKeys, validator: &str) -> Self {
        let (spellings, current_spellings, aliases, ordered) = Default::default();
        Self { keys, validator: validator.to_owned(), spellings, current_spellings, aliases, ordered }
    }

    /// The names of its keys.
    #[must_use]
    pub fn keys(&self) -> &MarketKeys {
        &self.keys
    }

    fn name(&self) -> &str {
        self.keys.market().checksummed()
    }

    /// Both steps in which a pass reads: [`MarketStore::discover`] and [`MarketStore::examine`].
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails, or when the ledger can't be read.
    pub async fn read(&self, session: &mut Session, now: f64, scope: Scope) -> Result<Pass, StoreError> {
        let mut pass = self.discover(session, now, scope).await?;
        self.examine(session, &mut pass).await?;
        Ok(pass)
    }
}

impl Pass {
    /// Whether another pass is due at once, since this one has not read everything.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.partial || self.missed_entries || self.missed_members
    }

    /// What is known before the pass looks for epochs.
    fn known(&self) -> Known<'_> {
        let Self { seen, span, ended, mark, .. } = self;
        Known { now: seen.now, span: *span, stored: &seen.stored, ended, floor: mark.floor.as_ref() }
    }

    /// Which optional keys of an epoch are read, by what the ledger and the timelines say of it.
    fn wanted(&self, epoch: &EpochId, by_timelines: Moments) -> Wanted {
        let stored = self.seen.stored.get(epoch);
        let opened = stored.and_then(|entry| entry.opened.at());
        let is_young = opened.is_some_and(|at| at as f64 > self.seen.now - RECENT + CLOCKS);
        let is_stored = stored.is_some_and(|entry| entry.aggregated.has_happened());
        let Moments { closed, local, aggregated, .. } = by_timelines;
        let is_past = |at: Option<f64>| at.is_some_and(|at| at <= self.seen.now - RECENT);
        Wanted {
            // Some may be older than the part of the timelines that is read. The number of earlier entries stays the same where one is
            // added and another one moved, so it does not show every change.
            entries: self.scope.reach == Reach::New && stored.is_some() && !is_young,
            // Without a batch there is no list. A batch that no timeline names is in the stored entry at the next pass.
            validators: aggregated.is_some() || is_stored || !is_young,
            plain: !self.ordered.contains(epoch),
            // One that was finished before is found only after an absence, and is sealed.
            recent: ![closed, local, aggregated].into_iter().all(is_past),
        }
    }

    /// The entries that an earlier pass has counted, if this one reads on from there.
    fn followed(&self) -> Option<&EarlyCounts> {
        let early = self.mark.early.as_ref().filter(|_| self.scope.reach == Reach::New);
        early.filter(|early| self.span.follows(early))
    }

    /// Whether it found a key of the market's producers, readable or not: epochs, timelines, active epochs, queue.
    #[must_use]
    pub fn has_producers(&self) -> bool {
        !self.seen.facts.is_empty()
            || self.has_timeline
            || self.early.entries.iter().any(|entries| *entries != Some(0))
            || self.active_count != Some(0)
            || self.seen.queue != Some(0)
    }

    fn new(scope: Scope, now: f64) -> Self {
        Self {
            scope,
            seen: Observation { now, ..Observation::default() },
            mark: LedgerMark::default(),
            faults: Vec::new(),
            below_floor: BTreeSet::new(),
            span: Span::everything(now),
            missed_entries: false,
            missed_members: false,
            early: EarlyCounts { before: now - RECENT, entries: Vec::new() },
            partial: false,
            ledger_full: false,
            has_timeline: false,
            last_summary: None,
            stored_text: BTreeMap::new(),
            unknown: BTreeSet::new(),
            validators: validators::Validators::default(),
            past: Vec::new(),
            ended: BTreeSet::new(),
            active_count: None,
            chosen: Chosen::default(),
            ordered: Arc::default(),
        }
    }

    /// Reports times that can't be read, and epochs that are not counted: one fault for all times, one for each reason, since there
    /// may be very many.
    fn note_odd_epochs(&mut self, market: &str) {
        let odd = self.seen.facts.iter().flat_map(|(epoch, facts)| {
            facts.unreadable_times(self.seen.now).map(move |(name, at)| (epoch, name, at))
        });
        let odd: Vec<_> = odd.collect();
        if let Some((epoch, name, at)) = odd.first() {
            let detail =
                format!("{} times are no times of the past, one is {name} of epoch {epoch}: {at}", odd.len());
            self.faults.push(Fault::new(market, ErrorKind::Malformed, detail));
        }
        if self.ledger_full {
            let detail = format!(
                "{} epochs are unsealed, {MOST_UNSEALED} are the limit: new ones are not counted until some are sealed",
                self.seen.stored.len()
            );
            self.faults.push(Fault::new(market, ErrorKind::Malformed, detail));
        }
        if let (Some(epoch), Some(floor)) = (self.below_floor.first(), &self.mark.floor) {
            let detail = format!(
                "{} new epochs, one is {epoch}, are not above {floor}, up to which all were sealed and forgotten: they are not \
                 counted",
                self.below_floor.len()
            );
            self.faults.push(Fault::new(market, ErrorKind::Malformed, detail));
        }
    }

    /// How many epochs can be added to the ledger.
    fn room(&self) -> usize {
        MOST_UNSEALED.saturating_sub(self.seen.stored.len())
    }

    /// Drops the new epochs that the ledger has no room for, the lowest ones first. Called when it is known which epochs are sealed.
    fn drop_beyond_limit(&mut self) {
        let new = self.unknown.iter().filter(|epoch| !self.seen.sealed.contains_key(*epoch));
        let dropped: Vec<EpochId> = new.rev().skip(self.room()).cloned().collect();
        self.ledger_full = !dropped.is_empty();
        // Another pass would find no room either.
        self.partial &= !self.ledger_full;
        for epoch in dropped {
            self.unknown.remove(&epoch);
            self.seen.facts.remove(&epoch);
        }
    }
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

    /// What was found; `None` when nothing was found and a spelling could not be read.
    fn known(self) -> Option<Vec<T>> {
        (!self.unread || !self.found.is_empty()).then_some(self.found)
    }
}
