//! One market in Redis: what a pass reads and what it writes, each step one round trip whatever the number of
//! epochs.
//!
//! A pass is three steps: [`MarketStore::discover`] (ledger, timelines, active epochs), [`MarketStore::examine`]
//! (the keys of the epochs that matter), [`MarketStore::commit`]. A pass of the current epoch is
//! [`MarketStore::latest`] and [`MarketStore::write_current_epoch`].

mod aliases;
mod commit;
mod current;
mod examine;
mod facts;
mod members;
mod original;
mod spellings;
mod upgrade;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{
    EpochId,
    tracker::{BatchMember, Claim, DayStats, Due, Entry, EpochMember, GAP_SHOWN, Observation},
};

use aliases::Aliases;
pub use commit::{Outputs, Written};
use members::OtherForms;
pub use original::OriginalDatasets;
use spellings::{Chosen, Spellings};

use crate::{
    keys::MarketKeys,
    ledger::{self, LedgerMark},
    operations,
};
use store_redis::{Batch, ErrorKind, Fault, Replies, Session, StoreError};

/// How far a pass looks back for epochs that the ledger may not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything that is still there: at the start, and when something may have been missed.
    Full,
    /// The last minutes.
    Recent,
}

/// What a pass is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// How far it looks back for epochs.
    pub reach: Reach,
    /// Which statistics are due.
    pub due: Due,
    /// Earlier hours, by their starts, whose statistics are due with those of the last two.
    pub hours: BTreeSet<u64>,
    /// What the pass before knew of the earlier parts of the timelines.
    pub early: Option<Early>,
}

/// How many entries the timelines of a market have before a moment. A later pass that finds another number there has missed some, which
/// were written late, or were pruned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Early {
    /// The moment, in Unix seconds.
    pub before: f64,
    /// How many entries.
    pub entries: u64,
}

impl Scope {
    /// A pass for all datasets that looks back as far as it can, as the first one after a start.
    #[must_use]
    pub fn everything() -> Self {
        Self { reach: Reach::Full, due: Due::ALL, hours: BTreeSet::new(), early: None }
    }

    /// A pass for the summary alone.
    #[must_use]
    pub fn summary(reach: Reach) -> Self {
        Self { reach, due: Due::NONE, hours: BTreeSet::new(), early: None }
    }

    /// When the sealed epochs were opened that the statistics need, in Unix seconds: from the first on, before the second.
    fn past(&self, now: u64) -> Option<(u64, u64)> {
        self.due.daily.then(|| DayStats::period(now))
    }
}

/// How far a full pass looks back, in seconds: timelines are kept for a day.
const FULL_REACH: f64 = 86_400.0;
/// How far a recent pass looks back, in seconds: the five minutes of the recent counts, and five more for late entries.
const RECENT_REACH: f64 = 600.0;
/// The most new epochs that one pass adds to the ledger, the highest first; each needs some 10 kB during the pass.
const NEW_EPOCHS_A_PASS: usize = 5_000;

/// The most sealed epochs of the last hour of which the state is read, the last ones first.
const MOST_ENDED: usize = 2_000;

/// What one pass has read so far.
#[derive(Debug)]
pub struct Pass {
    /// What it is made for.
    pub scope: Scope,
    /// What it saw.
    pub seen: Observation,
    /// The ledger's own data.
    pub mark: LedgerMark,
    /// Inputs that could not be read.
    pub faults: Vec<Fault>,
    /// There are more new epochs than one pass takes: another full pass is due, and totals lack epochs until then.
    pub partial: bool,
    /// Epochs of the last minutes that are not above the ledger's floor, and so are not counted: their ids began anew, or the floor
    /// came from an id that was no real one.
    pub below_floor: BTreeSet<EpochId>,
    /// Whether `epochs:active` grew by more than the epochs that were found, or the earlier parts of the timelines changed: a full
    /// pass is due.
    pub missed_epochs: bool,
    /// How many entries the timelines have before what a recent pass reads; `None`: could not be read.
    pub early: Option<Early>,
    /// The summary in Redis, read by a full pass only.
    pub shown: Option<serde_json::Value>,
    /// The stored entries as text, by which the script notices a change by another tracker.
    stored_text: BTreeMap<EpochId, String>,
    /// Epochs that the ledger did not know as unsealed.
    unknown: BTreeSet<EpochId>,
    /// Sealed epochs that the statistics need.
    past: Vec<EpochId>,
    /// Sealed epochs whose window closed within the last hour.
    ended: BTreeSet<EpochId>,
    /// The members of `epochs:active`, read by a full pass only.
    active: Option<BTreeSet<EpochId>>,
    active_count: Option<u64>,
    /// The spellings that are read.
    chosen: Chosen,
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
}

impl MarketStore {
    /// The store of the market with these keys, as this validator sees it.
    #[must_use]
    pub fn new(keys: MarketKeys, validator: &str) -> Self {
        let (spellings, current_spellings, aliases) = Default::default();
        Self { keys, validator: validator.to_owned(), spellings, current_spellings, aliases }
    }

    /// The names of its keys.
    #[must_use]
    pub fn keys(&self) -> &MarketKeys {
        &self.keys
    }

    fn name(&self) -> &str {
        self.keys.market().checksummed()
    }

    /// Both round trips in which a pass reads: [`MarketStore::discover`] and [`MarketStore::examine`].
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails, or when the ledger can't be read.
    pub async fn read(&self, session: &mut Session, now: f64, scope: Scope) -> Result<Pass, StoreError> {
        let mut pass = self.discover(session, now, scope).await?;
        self.examine(session, &mut pass).await?;
        Ok(pass)
    }

    /// First round trip: the ledger's unsealed entries, the timelines, the active epochs, the queue.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails, or when the ledger is of another version.
    pub async fn discover(&self, session: &mut Session, now: f64, scope: Scope) -> Result<Pass, StoreError> {
        let full = scope.reach == Reach::Full;
        let mut chosen = self.spellings.choose(&self.keys, now, full);
        let past = scope.past(now.max(0.0) as u64);
        let mut batch = self.ask_to_discover(&chosen, now, full, past);
        let recent = now - RECENT_REACH;
        let before = scope.early.map_or(recent, |early| early.before);
        self.ask_early(&mut batch, [before, recent]);
        let operation = operations::READ_TIMELINES;
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        replies = replies.noting_present(chosen.finds_out());
        let mut pass = Pass::new(scope, now);
        pass.seen.scattered = session.spans_servers();
        self.take_ledger(&mut replies, &mut pass)?;
        let mut sealed = BTreeSet::new();
        if full {
            // A recent pass does without the list: it asks for the few epochs of its timelines in the second round
            // trip.
            let fields = replies.required::<Vec<String>>(&self.keys.sealed())?;
            sealed.extend(fields.iter().filter_map(|epoch| EpochId::parse(epoch).ok()));
            // Only a source of last good values: this pass writes it anew, so unreadable JSON does not matter.
            let shown = replies.take::<Option<Vec<u8>>>(&self.keys.shown())?.flatten();
            pass.shown = shown.and_then(|json| serde_json::from_slice(&json).ok());
        }
        if past.is_some() {
            let past = replies.required::<Vec<String>>(&self.keys.opened())?;
            pass.past = past.iter().filter_map(|epoch| EpochId::parse(epoch).ok()).collect();
        }
        let ended = replies.take::<Vec<String>>(&self.keys.ended())?.unwrap_or_default();
        pass.ended = ended.iter().filter_map(|epoch| EpochId::parse(epoch).ok()).collect();
        let mut forms = OtherForms::new();
        let (active, active_count) = self.take_timelines(&mut replies, &chosen, &mut pass, &mut forms)?;
        let [then, entries] = self.take_early(&mut replies)?;
        pass.early = entries.map(|entries| Early { before: recent, entries });
        // A full pass has read everything that there is.
        let expected = pass.scope.early.filter(|_| !full).map(|early| early.entries);
        pass.missed_epochs = expected.zip(then).is_some_and(|(expected, found)| expected != found);
        // Learnt before the second round trip, which reads the epochs' keys under the other forms too.
        chosen.note(&self.keys, &replies.present());
        chosen.forms = self.aliases.learn(forms);
        pass.chosen = chosen;
        pass.faults.extend(replies.into_faults());
        pass.find_epochs(&sealed, active.as_ref());
        (pass.active, pass.active_count) = (active, active_count);
        Ok(pass)
    }

    fn ask_to_discover(&self, chosen: &Chosen, now: f64, full: bool, past: Option<(u64, u64)>) -> Batch {
        // The answers are taken in the order of these commands, in `discover` and below.
        let since = now - if full { FULL_REACH } else { RECENT_REACH };
        let mut batch = Batch::new();
        batch.cmd("HGETALL", self.keys.open());
        batch.cmd("HGETALL", self.keys.meta());
        if full {
            batch.cmd("HKEYS", self.keys.sealed());
            batch.cmd("GET", self.keys.shown());
        }
        if let Some((since, until)) = past {
            batch.cmd("ZRANGEBYSCORE", self.keys.opened()).arg(since).arg(format!("({until}"));
        }
        let ended = batch.cmd("ZREVRANGEBYSCORE", self.keys.ended()).arg("+inf").arg(now - GAP_SHOWN as f64);
        ended.arg("LIMIT").arg(0).arg(MOST_ENDED);
        for input in chosen.inputs(&self.keys) {
            // Producers never remove from `epochs:active`. A recent pass compares the number of its members with the
            // last one, and reads none of them.
            batch.cmd(if full { "SMEMBERS" } else { "SCARD" }, input.active());
            for timeline in [input.epochs_timeline(), input.batches_timeline()] {
                // Half open, as all periods.
                batch.cmd("ZRANGEBYSCORE", timeline).arg(format!("({since}")).arg("+inf").arg("WITHSCORES");
            }
            batch.cmd("LLEN", input.queue());
        }
        batch
    }

    /// Takes timelines, queue and active epochs under the chosen spellings. Returns the members of `epochs:active`, in
    /// a full pass, and their number.
    fn take_timelines(
        &self,
        replies: &mut Replies,
        chosen: &Chosen,
        pass: &mut Pass,
        forms: &mut OtherForms,
    ) -> Result<(Option<BTreeSet<EpochId>>, Option<u64>), StoreError> {
        let full = pass.scope.reach == Reach::Full;
        let (mut active, mut active_count) = (full.then(BTreeSet::new), Some(0));
        let (mut epochs_timeline, mut batches_timeline) = (Joined::default(), Joined::default());
        let mut queue = Joined::default();
        for input in chosen.inputs(&self.keys) {
            if let Some(active) = &mut active {
                let members = members::epochs(replies, &input.active(), forms)?;
                active_count = active_count.zip(members.as_ref()).map(|(sum, (_, more))| sum + more);
                active.extend(members.into_iter().flat_map(|(members, _)| members));
            } else {
                let members = replies.take::<u64>(&input.active())?;
                active_count = active_count.zip(members).map(|(sum, more)| sum + more);
            }
            let (epochs, batches) = (input.epochs_timeline(), input.batches_timeline());
            epochs_timeline.add(members::timeline(replies, &epochs, EpochMember::parse, forms)?);
            batches_timeline.add(members::timeline(replies, &batches, BatchMember::parse, forms)?);
            let length = replies.take::<u64>(&input.queue())?;
            // No length instead of 0: an empty queue under one spelling must not hide that another one could not be
            // read.
            queue.add(length.map(|length| vec![length; usize::from(length > 0)]));
        }
        pass.seen.epochs_timeline = epochs_timeline.known();
        pass.seen.batches_timeline = batches_timeline.known();
        pass.seen.queue = queue.known().map(|lengths| lengths.iter().sum());
        Ok((active, active_count))
    }

    /// Asks for the numbers of timeline entries before these moments, under every spelling.
    fn ask_early(&self, batch: &mut Batch, moments: [f64; 2]) {
        for input in self.keys.inputs() {
            for timeline in [input.epochs_timeline(), input.batches_timeline()] {
                for before in moments {
                    batch.cmd("ZCOUNT", &timeline).arg("-inf").arg(before);
                }
            }
        }
    }

    fn take_early(&self, replies: &mut Replies) -> Result<[Option<u64>; 2], StoreError> {
        let mut sums = [Some(0); 2];
        for input in self.keys.inputs() {
            for timeline in [input.epochs_timeline(), input.batches_timeline()] {
                for sum in &mut sums {
                    let count = replies.unreported::<u64>(&timeline)?;
                    *sum = sum.zip(count).map(|(sum, count)| sum + count);
                }
            }
        }
        Ok(sums)
    }

    fn take_ledger(&self, replies: &mut Replies, pass: &mut Pass) -> Result<(), StoreError> {
        // Without the ledger's own keys every total would be wrong: an error of `own` ends the pass.
        let open = self.keys.open();
        for (epoch, text) in replies.required::<Vec<(String, String)>>(&open)? {
            let Ok(epoch) = EpochId::parse(&epoch) else {
                replies.fault(&open, ErrorKind::Malformed, format!("the field `{epoch}` names no epoch"));
                continue;
            };
            // An unreadable entry is recomputed from the inputs, and replaced.
            let entry = Entry::decode(&text);
            if let Err(error) = &entry {
                replies.fault(&open, ErrorKind::Malformed, error);
            }
            pass.seen.stored.insert(epoch.clone(), entry.unwrap_or_default());
            pass.stored_text.insert(epoch, text);
        }
        pass.mark = LedgerMark::from_fields(replies.required(&self.keys.meta())?);
        pass.seen.window = pass.mark.window;
        pass.seen.passed = pass.mark.passed;
        if let Some(schema) = &pass.mark.foreign_schema {
            let upgraded =
                if schema == ledger::UPGRADABLE { ": its tracker's first pass upgrades it" } else { "" };
            let detail =
                format!("it has version {schema}, this program knows version {}{upgraded}", ledger::SCHEMA);
            return Err(StoreError::new(
                operations::READ_LEDGER,
                self.keys.meta(),
                ErrorKind::Foreign,
                detail,
            ));
        }
        Ok(())
    }
}

impl Pass {
    /// Whether another pass that reads everything is due at once. It is not repeated for missed epochs: it has read everything that
    /// there is.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.partial || (self.missed_epochs && self.scope.reach == Reach::Recent)
    }

    fn new(scope: Scope, now: f64) -> Self {
        Self {
            scope,
            seen: Observation { now, ..Observation::default() },
            mark: LedgerMark::default(),
            faults: Vec::new(),
            below_floor: BTreeSet::new(),
            missed_epochs: false,
            early: None,
            partial: false,
            shown: None,
            stored_text: BTreeMap::new(),
            unknown: BTreeSet::new(),
            past: Vec::new(),
            ended: BTreeSet::new(),
            active: None,
            active_count: None,
            chosen: Chosen::default(),
        }
    }

    /// Notes times that can't be read, and epochs that are not counted: one fault each, since there may be very many.
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
        if let (Some(epoch), Some(floor)) = (self.below_floor.first(), &self.mark.floor) {
            let detail = format!(
                "{} new epochs, one is {epoch}, are not above {floor}, up to which all were sealed and forgotten: they are not \
                 counted",
                self.below_floor.len()
            );
            self.faults.push(Fault::new(market, ErrorKind::Malformed, detail));
        }
    }

    /// Decides which epochs are examined: the unsealed ones, those of the last minutes, and those that are new.
    fn find_epochs(&mut self, sealed: &BTreeSet<EpochId>, active: Option<&BTreeSet<EpochId>>) {
        let full = active.is_some();
        let recent = self.seen.now - RECENT_REACH;
        // Up to the floor every epoch is sealed, though its entry may be forgotten.
        let floor = self.mark.floor.as_ref();
        // A sealed epoch counts as long as its timeline entries are recent, so that late changes are noticed. What is a little ahead
        // is not yet true.
        let counts = |at: f64, epoch: &EpochId| {
            floor.is_none_or(|floor| epoch > floor)
                && (at > recent || !sealed.contains(epoch))
                && Claim::of(at, self.seen.now) != Claim::Ahead
        };
        let opened = self.seen.epochs_timeline.iter().flatten();
        let opened =
            opened.filter(|entry| counts(entry.at, entry.what.epoch())).map(|entry| entry.what.epoch());
        let batched = self.seen.batches_timeline.iter().flatten();
        let batched = batched.filter_map(|entry| entry.what.epoch().filter(|epoch| counts(entry.at, epoch)));
        let listed = active.into_iter().flatten().filter(|epoch| counts(0.0, epoch));
        let unknown = opened.chain(batched).chain(listed);
        let unknown: BTreeSet<EpochId> =
            unknown.filter(|epoch| !self.seen.stored.contains_key(*epoch)).cloned().collect();
        let (again, new): (BTreeSet<_>, BTreeSet<_>) =
            unknown.into_iter().partition(|epoch| sealed.contains(epoch));
        // The next full pass takes the rest, since those of this one are stored by then. A recent pass needs no
        // limit: its timelines are ten minutes long.
        let below = |at: f64, epoch: &EpochId| at > recent && floor.is_some_and(|floor| epoch <= floor);
        self.below_floor = self
            .seen
            .epochs_timeline
            .iter()
            .flatten()
            .filter(|entry| below(entry.at, entry.what.epoch()))
            .map(|entry| entry.what.epoch().clone())
            .collect();
        self.partial = full && new.len() > NEW_EPOCHS_A_PASS;
        let most = if full { NEW_EPOCHS_A_PASS } else { new.len() };
        self.unknown = again.into_iter().chain(new.into_iter().rev().take(most)).collect();
        let all = self.seen.stored.keys().chain(&self.unknown);
        self.seen.facts = all.map(|epoch| (epoch.clone(), Default::default())).collect();
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
