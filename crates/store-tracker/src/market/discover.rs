//! The first step of a pass: which epochs matter.
//!
//! The first round trip reads the ledger's unsealed entries, its mark and the newest page of each timeline. Usually that is all. After
//! an absence, further round trips read the entries since the mark and `epochs:active`; without a mark the entries of a day. Each
//! reads the next page of every key, and asks the ledger which of the epochs of the pages before are sealed. While Redis answers it,
//! the entries of the page before are read.

use std::collections::BTreeSet;

use domain::{
    EpochId,
    tracker::{
        ABSENCE, BatchMember, Entry, EpochMember, Found, GAP_SHOWN, Known, RECENT, Selection, Span, Timed,
    },
};

use super::{
    Chosen, Joined, MarketStore, Pass, Reach, Scope,
    aliases::Forms,
    members::{self, OtherForms},
    pages::{ActiveSet, Page, Timeline},
};
use crate::{
    ledger::{self, LedgerMark},
    operations,
};
use store_redis::{Batch, ErrorKind, Fault, Replies, Session, StoreError};

/// How far the first round trip reads the timelines, in seconds: to where the pass before has counted them, if it was made within the
/// last five minutes. A page that reaches further back takes another round trip.
const FIRST_SPAN: f64 = RECENT + ABSENCE;
/// The most sealed epochs of the last hour whose state is read, those whose window closed last first.
const MOST_ENDED: usize = 2_000;
/// The most ids that one command asks for.
pub(super) const IDS_A_COMMAND: usize = 1_000;
/// The most entries of the day that are kept of epochs up to the floor: a few show that there are some.
const MOST_BELOW_FLOOR: usize = 1_000;
/// The most validators of local batches that are kept.
const MOST_BATCH_VALIDATORS: usize = 10_000;

impl MarketStore {
    /// First step: reads the ledger's unsealed entries, the timelines, the active epochs and the length of the queue. One round trip;
    /// after an absence one more for each further page of 2,000 entries.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails, or when the ledger is of another version.
    pub async fn discover(&self, session: &mut Session, now: f64, scope: Scope) -> Result<Pass, StoreError> {
        let mut pass = Pass::new(scope, now);
        pass.ordered = self.ordered.known();
        // The finder has found its epochs under any spelling.
        let all = pass.scope.reach == Reach::Everything || !pass.scope.named.is_empty();
        let mut chosen = self.spellings.choose(&self.keys, now, all);
        let mut keys = LongKeys::new(&chosen, self, now - FIRST_SPAN);
        let mut batch = Batch::new();
        self.ask_to_discover(&mut batch, &chosen, &pass);
        keys.ask_timelines(&mut batch);
        let operation = operations::READ_TIMELINES;
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        replies = replies.noting_present(chosen.detects_use());
        pass.seen.spans_servers = session.spans_servers();
        self.take_discovered(&mut replies, &chosen, &mut pass)?;
        let first = keys.take_timelines(&mut replies)?;
        keys.extend(pass.span);
        chosen.note(&self.keys, &replies.present());
        pass.faults.extend(replies.into_faults());
        let mut forms = OtherForms::new();
        keys.note_named(&pass, &mut forms);
        self.read_pages(session, &mut keys, &mut pass, first, &mut forms).await?;
        // Learnt before the second step, which reads the epochs' keys under the other forms too.
        chosen.forms = self.aliases.learn(forms);
        pass.seen.may_lack_keys = !chosen.is_whole();
        pass.chosen = chosen;
        self.note_unread(&keys, &mut pass);
        let found = keys.finish(&mut pass);
        pass.select(found);
        Ok(pass)
    }

    fn ask_to_discover(&self, batch: &mut Batch, chosen: &Chosen, pass: &Pass) {
        // The answers are taken in the order of these commands, in `take_discovered`.
        let now = pass.seen.now;
        batch.cmd("HGETALL", self.keys.open());
        batch.cmd("HGETALL", self.keys.meta());
        if pass.scope.first {
            batch.cmd("GET", self.keys.last_summary());
        }
        if let Some((since, until)) = pass.scope.past(now.max(0.0) as u64) {
            batch.cmd("ZRANGEBYSCORE", self.keys.opened()).arg(since).arg(format!("({until}"));
        }
        let ended = batch.cmd("ZREVRANGEBYSCORE", self.keys.ended()).arg("+inf").arg(now - GAP_SHOWN as f64);
        ended.arg("LIMIT").arg(0).arg(MOST_ENDED);
        // Before the timelines are read: what is written late meanwhile makes the next pass find another number.
        self.ask_early(batch, pass.early.before);
        for input in chosen.inputs(&self.keys) {
            // Producers never remove from `epochs:active`. The pass reads no member if the new epochs explain how many members were
            // added since the mark. The number is read before the members: one that is added in between is not counted as known.
            batch.cmd("SCARD", input.active());
            batch.cmd("LLEN", input.queue());
        }
    }

    fn take_discovered(
        &self,
        replies: &mut Replies,
        chosen: &Chosen,
        pass: &mut Pass,
    ) -> Result<(), StoreError> {
        self.take_ledger(replies, pass)?;
        if pass.scope.first {
            // Only a source of last good values: this pass writes it anew, so unreadable JSON does not matter.
            let summary = replies.take::<Option<Vec<u8>>>(&self.keys.last_summary())?.flatten();
            pass.last_summary = summary.and_then(|json| serde_json::from_slice(&json).ok());
        }
        if pass.scope.past(pass.seen.now.max(0.0) as u64).is_some() {
            let past = replies.required::<Vec<String>>(&self.keys.opened())?;
            pass.past = past.iter().filter_map(|epoch| EpochId::parse(epoch).ok()).collect();
        }
        let ended = replies.take::<Vec<String>>(&self.keys.ended())?.unwrap_or_default();
        pass.ended = ended.iter().filter_map(|epoch| EpochId::parse(epoch).ok()).collect();
        pass.early.entries = self.take_early(replies)?;
        if pass.scope.reach == Reach::New {
            pass.span = Span::after(pass.mark.early.as_ref(), pass.mark.active_known, pass.seen.now);
        }
        let (mut members, mut queue) = (Some(0), Joined::default());
        for input in chosen.inputs(&self.keys) {
            let count = replies.take::<u64>(&input.active())?;
            members = members.zip(count).map(|(sum, more)| sum + more);
            let length = replies.take::<u64>(&input.queue())?;
            // No length instead of 0: an empty queue under one spelling must not hide that another one could not be read.
            queue.add(length.map(|length| vec![length; usize::from(length > 0)]));
        }
        pass.active_count = members;
        pass.seen.queue = queue.known().map(|lengths| lengths.iter().sum());
        Ok(())
    }

    /// Asks how many entries each timeline has up to `before`, in Unix seconds, under all spellings.
    pub(super) fn ask_early(&self, batch: &mut Batch, before: f64) {
        for timeline in self.keys.timelines() {
            batch.cmd("ZCOUNT", timeline).arg("-inf").arg(before);
        }
    }

    pub(super) fn take_early(&self, replies: &mut Replies) -> Result<Vec<Option<u64>>, StoreError> {
        // A timeline that can't be read is reported where its entries are read.
        self.keys.timelines().map(|timeline| replies.unreported::<u64>(&timeline)).collect()
    }

    /// What could not be read although it could be counted is not counted: so the mark does not cover it, and a later pass reads it.
    fn note_unread(&self, keys: &LongKeys, pass: &mut Pass) {
        let epochs =
            keys.epochs.iter().filter(|timeline| timeline.has_failed()).map(|timeline| &timeline.key);
        let batches =
            keys.batches.iter().filter(|timeline| timeline.has_failed()).map(|timeline| &timeline.key);
        let unread: BTreeSet<&String> = epochs.chain(batches).collect();
        for (timeline, count) in self.keys.timelines().zip(&mut pass.early.entries) {
            *count = count.filter(|_| !unread.contains(&timeline));
        }
        if keys.active.iter().any(ActiveSet::has_failed) {
            pass.active_count = None;
        }
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
        // Forms that an earlier pass found in members which this one may not read.
        self.aliases.learn(Forms::decode(&pass.mark.forms).collect());
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

    /// Reads the first pages, and further ones, until none is left and it is known of every epoch that was found whether it is sealed.
    async fn read_pages(
        &self,
        session: &mut Session,
        keys: &mut LongKeys,
        pass: &mut Pass,
        first: Pages,
        forms: &mut OtherForms,
    ) -> Result<(), StoreError> {
        let (operation, mut pages) = (operations::READ_TIMELINES, Some(first));
        loop {
            let mut batch = Batch::new();
            let asked = keys.ask_sealed(&mut batch, &self.keys.sealed());
            keys.ask_timelines(&mut batch);
            keys.active.iter().for_each(|active| active.ask(&mut batch));
            if batch.is_empty() && pages.is_none() {
                return Ok(());
            }
            let sending = async {
                if batch.is_empty() {
                    Ok(None)
                } else {
                    session.run(operation, self.name(), batch).await.map(Some)
                }
            };
            // The future that sends comes first, and so is polled first: the commands are on their way before the pages are read.
            let (sent, ()) = tokio::join!(sending, async {
                if let Some(pages) = pages.take() {
                    keys.read(pages, pass, forms);
                }
            });
            // So that the forms of any number of pages take bounded memory.
            self.aliases.learn(std::mem::take(forms));
            let Some(answers) = sent? else { continue };
            let mut replies = Replies::new(operation, answers);
            keys.take_sealed(&mut replies, &self.keys.sealed(), &pass.known(), asked)?;
            let mut taken = keys.take_timelines(&mut replies)?;
            for active in &mut keys.active {
                taken.active.push(active.take(&mut replies, pass.active_count.is_none())?);
            }
            pages = Some(taken);
            pass.faults.extend(replies.into_faults());
        }
    }
}

impl Pass {
    /// Selects the epochs to examine among those that were found. Which of the recent ones are sealed is known only after the second
    /// step: see `Pass::drop_beyond_limit`.
    fn select(&mut self, found: Found) {
        let Selection { unknown, partial } = found.select();
        let known = self.known();
        let timeline = self.seen.epochs_timeline.iter().flatten();
        let below =
            timeline.filter(|entry| known.is_new(entry.at) && known.is_below_floor(entry.what.epoch()));
        let below_floor = below.map(|entry| entry.what.epoch().clone()).collect();
        (self.unknown, self.partial, self.below_floor) = (unknown, partial, below_floor);
        let all = self.seen.stored.keys().chain(&self.unknown);
        self.seen.facts = all.map(|epoch| (epoch.clone(), Default::default())).collect();
    }
}

/// The pages of one round trip, in the order of their keys.
#[derive(Default)]
struct Pages {
    epochs: Vec<Page>,
    batches: Vec<Page>,
    active: Vec<Vec<Vec<u8>>>,
}

/// The keys that are read in pages, under all chosen spellings, and what was found in them.
struct LongKeys {
    epochs: Vec<Timeline<EpochMember>>,
    batches: Vec<Timeline<BatchMember>>,
    active: Vec<ActiveSet>,
    found: Found,
    has_timeline: bool,
    /// How many older entries there are of epochs up to the floor.
    below_floor: usize,
    /// The validators that made local batches in the last five minutes.
    validators: BTreeSet<String>,
}

impl LongKeys {
    /// The timelines after `since` (Unix seconds), and the active sets. Nothing is read yet.
    fn new(chosen: &Chosen, market: &MarketStore, since: f64) -> Self {
        let inputs = || chosen.inputs(&market.keys);
        Self {
            epochs: inputs().map(|input| Timeline::new(input.epochs_timeline(), since)).collect(),
            batches: inputs().map(|input| Timeline::new(input.batches_timeline(), since)).collect(),
            active: inputs().map(|input| ActiveSet::new(input.active())).collect(),
            found: Found::default(),
            has_timeline: false,
            below_floor: 0,
            validators: BTreeSet::new(),
        }
    }

    /// Extends the span that is read, now that the mark is known.
    fn extend(&mut self, span: Span) {
        self.epochs.iter_mut().for_each(|timeline| timeline.extend(span.since));
        self.batches.iter_mut().for_each(|timeline| timeline.extend(span.since));
        if !span.active {
            self.active.clear();
        }
    }

    /// Notes the epochs that the finder has named.
    fn note_named(&mut self, pass: &Pass, forms: &mut OtherForms) {
        let named = members::named(&pass.scope.named, forms);
        named.iter().for_each(|epoch| self.found.note(&pass.known(), None, epoch));
    }

    fn ask_timelines(&self, batch: &mut Batch) {
        self.epochs.iter().for_each(|timeline| timeline.ask(batch));
        self.batches.iter().for_each(|timeline| timeline.ask(batch));
    }

    fn take_timelines(&mut self, replies: &mut Replies) -> Result<Pages, StoreError> {
        let epochs =
            self.epochs.iter_mut().map(|timeline| timeline.take(replies)).collect::<Result<_, _>>()?;
        let batches =
            self.batches.iter_mut().map(|timeline| timeline.take(replies)).collect::<Result<_, _>>()?;
        Ok(Pages { epochs, batches, active: Vec::new() })
    }

    /// Notes the epochs of these pages, and keeps the entries that may matter.
    fn read(&mut self, pages: Pages, pass: &mut Pass, forms: &mut OtherForms) {
        self.read_epochs(pages.epochs, &pass.known(), forms);
        self.read_batches(pages.batches, pass, forms);
        for (active, page) in self.active.iter_mut().zip(pages.active) {
            for epoch in active.read(page, forms) {
                self.found.note(&pass.known(), None, &epoch);
            }
        }
    }

    fn read_epochs(&mut self, pages: Vec<Page>, known: &Known<'_>, forms: &mut OtherForms) {
        for (timeline, page) in self.epochs.iter_mut().zip(pages) {
            for entry in timeline.read(page, EpochMember::parse, forms) {
                let Timed { at, what } = &entry;
                if *at <= known.span.since {
                    continue;
                }
                self.has_timeline = true;
                if !known.is_new(*at) && known.is_below_floor(what.epoch()) {
                    self.below_floor += 1;
                    if self.below_floor > MOST_BELOW_FLOOR {
                        continue;
                    }
                }
                self.found.note(known, Some(*at), what.epoch());
                timeline.kept.push(entry);
            }
        }
    }

    fn read_batches(&mut self, pages: Vec<Page>, pass: &mut Pass, forms: &mut OtherForms) {
        let (known, seen) = (pass.known(), &pass.seen);
        let mut are_too_many = None;
        for (timeline, page) in self.batches.iter_mut().zip(pages) {
            for entry in timeline.read(page, BatchMember::parse, forms) {
                if entry.at <= known.span.since {
                    continue;
                }
                let is_kept = match &entry.what {
                    BatchMember::Local(epoch) | BatchMember::Aggregated(epoch) => {
                        self.found.note(&known, Some(entry.at), epoch);
                        known.is_new(entry.at) || !known.is_below_floor(epoch)
                    }
                    // There may be millions in a day; only the distinct ones of the last minutes are counted.
                    BatchMember::Validator(validator, _) if seen.is_active(entry.at) => {
                        let has_room = self.validators.len() < MOST_BATCH_VALIDATORS;
                        let is_new = !self.validators.contains(validator);
                        if is_new && !has_room {
                            are_too_many = Some(timeline.key.clone());
                        } else if is_new {
                            self.validators.insert(validator.clone());
                        }
                        is_new && has_room
                    }
                    BatchMember::Validator(..) | BatchMember::Foreign => false,
                };
                if is_kept {
                    timeline.kept.push(entry);
                }
            }
        }
        if let Some(key) = are_too_many {
            let detail = format!("more than {MOST_BATCH_VALIDATORS} validators made local batches");
            pass.faults.push(Fault::new(&key, ErrorKind::Malformed, detail));
        }
    }

    /// Asks which of the epochs that were found are sealed; returns the number of commands.
    fn ask_sealed(&mut self, batch: &mut Batch, sealed: &str) -> usize {
        let asked = self.found.ask();
        let commands = asked.chunks(IDS_A_COMMAND);
        let count = commands.len();
        commands.for_each(|ids| {
            batch.cmd("HMGET", sealed).arg(ids);
        });
        count
    }

    fn take_sealed(
        &mut self,
        replies: &mut Replies,
        sealed: &str,
        known: &Known<'_>,
        commands: usize,
    ) -> Result<(), StoreError> {
        let mut are_sealed = Vec::new();
        for _ in 0..commands {
            let entries = replies.required::<Vec<Option<Vec<u8>>>>(sealed)?;
            are_sealed.extend(entries.iter().map(Option::is_some));
        }
        self.settle(known, are_sealed);
        Ok(())
    }

    /// Sorts the epochs that were asked about, and drops the entries of those that don't matter.
    fn settle(&mut self, known: &Known<'_>, sealed: impl IntoIterator<Item = bool>) {
        let found = &mut self.found;
        found.settle(sealed);
        for timeline in &mut self.epochs {
            timeline.kept.retain(|entry| found.needs(known, entry.at, entry.what.epoch()));
        }
        for timeline in &mut self.batches {
            let needs = |entry: &Timed<BatchMember>| {
                entry.what.epoch().is_none_or(|epoch| found.needs(known, entry.at, epoch))
            };
            timeline.kept.retain(needs);
        }
    }

    /// Moves what was read into the pass; returns the epochs that were found.
    fn finish(self, pass: &mut Pass) -> Found {
        let (mut epochs, mut batches) = (Joined::default(), Joined::default());
        self.epochs.into_iter().for_each(|timeline| epochs.add(timeline.finish(&mut pass.faults)));
        self.batches.into_iter().for_each(|timeline| batches.add(timeline.finish(&mut pass.faults)));
        (pass.seen.epochs_timeline, pass.seen.batches_timeline) = (epochs.known(), batches.known());
        self.active.into_iter().for_each(|active| active.finish(&mut pass.faults));
        pass.has_timeline = self.has_timeline;
        self.found
    }
}
