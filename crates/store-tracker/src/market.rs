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

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{
    EpochId,
    tracker::{BatchMember, DAY, Due, Entry, EpochMember, HOUR, Observation},
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// How far it looks back for epochs.
    pub reach: Reach,
    /// Which statistics are due.
    pub due: Due,
}

impl Scope {
    /// A pass for all datasets that looks back as far as it can, as the first one after a start.
    #[must_use]
    pub fn everything() -> Self {
        Self { reach: Reach::Full, due: Due::ALL }
    }

    /// A pass for the summary alone.
    #[must_use]
    pub fn summary(reach: Reach) -> Self {
        Self { reach, due: Due::NONE }
    }

    /// The start of the range of sealed epochs that the statistics need, in Unix seconds: their period and 3 h before
    /// it, since the batches of an epoch may be that much later than its opening.
    fn past_since(self, now: u64) -> Option<u64> {
        let before = 3 * HOUR;
        let day = self.due.daily.then(|| now.saturating_sub(DAY + before));
        let hours = self.due.hourly.then(|| (now - now % HOUR).saturating_sub(HOUR + before));
        day.or(hours)
    }
}

/// How far a full pass looks back, in seconds: timelines are kept for a day.
const FULL_REACH: f64 = 86_400.0;
/// How far a recent pass looks back, in seconds: the five minutes of the recent counts, and five more for late entries.
const RECENT_REACH: f64 = 600.0;
/// The most new epochs that one pass adds to the ledger, the highest first; each needs some 10 kB during the pass.
const NEW_EPOCHS_A_PASS: usize = 5_000;

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
    /// Whether `epochs:active` grew by more than the epochs that were found: a full pass is due.
    pub missed_epochs: bool,
    /// The summary in Redis, read by a full pass only.
    pub shown: Option<serde_json::Value>,
    /// The stored entries as text, by which the script notices a change by another tracker.
    stored_text: BTreeMap<EpochId, String>,
    /// Epochs that the ledger did not know as unsealed.
    unknown: BTreeSet<EpochId>,
    /// Sealed epochs that the statistics need.
    past: Vec<EpochId>,
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
        let past_since = scope.past_since(now.max(0.0) as u64);
        let batch = self.ask_to_discover(&chosen, now, full, past_since);
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
        if past_since.is_some() {
            let past = replies.required::<Vec<String>>(&self.keys.opened())?;
            pass.past = past.iter().filter_map(|epoch| EpochId::parse(epoch).ok()).collect();
        }
        let mut forms = OtherForms::new();
        let (active, active_count) = self.take_timelines(&mut replies, &chosen, &mut pass, &mut forms)?;
        // Learnt before the second round trip, which reads the epochs' keys under the other forms too.
        chosen.note(&self.keys, &replies.present());
        chosen.forms = self.aliases.learn(forms);
        pass.chosen = chosen;
        pass.faults.extend(replies.into_faults());
        pass.find_epochs(&sealed, active.as_ref());
        (pass.active, pass.active_count) = (active, active_count);
        Ok(pass)
    }

    fn ask_to_discover(&self, chosen: &Chosen, now: f64, full: bool, past_since: Option<u64>) -> Batch {
        // The answers are taken in the order of these commands, in `discover` and below.
        let since = now - if full { FULL_REACH } else { RECENT_REACH };
        let mut batch = Batch::new();
        batch.cmd("HGETALL", self.keys.open());
        batch.cmd("HGETALL", self.keys.meta());
        if full {
            batch.cmd("HKEYS", self.keys.sealed());
            batch.cmd("GET", self.keys.shown());
        }
        if let Some(since) = past_since {
            batch.cmd("ZRANGEBYSCORE", self.keys.opened()).arg(since).arg("+inf");
        }
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
        if let Some(schema) = &pass.mark.foreign_schema {
            let detail = format!("it has version {schema}, this program knows version {}", ledger::SCHEMA);
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
    fn new(scope: Scope, now: f64) -> Self {
        Self {
            scope,
            seen: Observation { now, ..Observation::default() },
            mark: LedgerMark::default(),
            faults: Vec::new(),
            missed_epochs: false,
            partial: false,
            shown: None,
            stored_text: BTreeMap::new(),
            unknown: BTreeSet::new(),
            past: Vec::new(),
            active: None,
            active_count: None,
            chosen: Chosen::default(),
        }
    }

    /// Decides which epochs are examined: the unsealed ones, those of the last minutes, and those that are new.
    fn find_epochs(&mut self, sealed: &BTreeSet<EpochId>, active: Option<&BTreeSet<EpochId>>) {
        let full = active.is_some();
        let recent = self.seen.now - RECENT_REACH;
        // Up to the floor every epoch is sealed, though its entry may be forgotten.
        let floor = self.mark.floor.as_ref();
        // A sealed epoch counts as long as its timeline entries are recent, so that late changes are noticed.
        let counts = |at: f64, epoch: &EpochId| {
            floor.is_none_or(|floor| epoch > floor) && (at > recent || !sealed.contains(epoch))
        };
        let opened = self.seen.epochs_timeline.iter().flatten();
        let opened =
            opened.filter(|entry| counts(entry.at, entry.what.epoch())).map(|entry| entry.what.epoch());
        let batched = self.seen.batches_timeline.iter().flatten();
        let batched = batched.filter_map(|entry| entry.what.epoch().filter(|epoch| counts(entry.at, epoch)));
        let listed = active.into_iter().flatten().filter(|epoch| counts(f64::NEG_INFINITY, epoch));
        let unknown = opened.chain(batched).chain(listed);
        let unknown: BTreeSet<EpochId> =
            unknown.filter(|epoch| !self.seen.stored.contains_key(*epoch)).cloned().collect();
        let (again, new): (BTreeSet<_>, BTreeSet<_>) =
            unknown.into_iter().partition(|epoch| sealed.contains(epoch));
        // The next full pass takes the rest, since those of this one are stored by then. A recent pass needs no
        // limit: its timelines are ten minutes long.
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
