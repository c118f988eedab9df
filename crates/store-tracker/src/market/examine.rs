//! The second step of a pass: the sealed part of the ledger, and the keys of all examined epochs.

use std::collections::BTreeSet;

use super::{
    Chosen, MarketStore, Pass,
    discover::IDS_A_COMMAND,
    facts::{self, Wanted},
    validators,
};
use crate::{ledger, operations};
use domain::{
    EpochId,
    tracker::{DAY, Day, DayStats, EpochFacts, HOUR, HourStats, Reading, Sealed},
};
use redis::{RedisResult, Value};
use store_redis::{Batch, ErrorKind, Replies, Session, StoreError};

/// What the second step asks for.
struct Asked {
    /// The epochs that were found and are not unsealed: new or sealed.
    unknown: Vec<EpochId>,
    /// These and the unsealed epochs, with the keys that are read of each.
    all: Vec<(EpochId, Wanted)>,
    /// Sealed epochs of which only the state is read, since it may show a gap.
    ended: Vec<EpochId>,
    /// Epochs of which only the validators of the aggregated batch are read.
    others: Vec<EpochId>,
    /// The epochs whose sealed entries are read: `all`, `ended`, and those that the statistics need.
    of_ledger: Vec<EpochId>,
    /// The last 24 hours as bounds of scores, in Unix seconds: after the first, up to the second.
    day: (String, f64),
    /// The hours, by their starts in Unix seconds, whose validators are read.
    hours: Vec<u64>,
}

/// The commands of one round trip.
struct Request<'a> {
    batch: Batch,
    portion: Portion<'a>,
}

/// What the commands of one round trip ask for.
#[derive(Clone, Copy)]
struct Portion<'a> {
    epochs: &'a [(EpochId, Wanted)],
    /// Whether they also ask for everything that is no key of these epochs.
    is_first: bool,
}

/// The most epochs whose keys one round trip reads. The answers of two round trips are in memory at once.
const EPOCHS_A_TRIP: usize = 1_000;
/// The most epochs of which only the validators are read.
const MOST_OTHERS: usize = 100;

impl Asked {
    fn new(pass: &Pass) -> Self {
        let now = pass.seen.now;
        let timelines = pass.seen.by_timelines();
        let moments = |epoch: &EpochId| timelines.get(epoch).copied().unwrap_or_default();
        let wanted = |epoch: &EpochId| (epoch.clone(), pass.wanted(epoch, moments(epoch)));
        let all: Vec<(EpochId, Wanted)> = pass.seen.facts.keys().map(wanted).collect();
        let unread = |epoch: &&EpochId| !pass.seen.facts.contains_key(*epoch);
        let ended: Vec<EpochId> = pass.ended.iter().filter(unread).cloned().collect();
        let others: BTreeSet<&EpochId> = ended.iter().chain(pass.past.iter().filter(unread)).collect();
        let second = now.max(0.0) as u64;
        // After an absence, or where another process may have left hours unwritten, all of them.
        let was_away = pass.mark.passed.is_none_or(|passed| now - passed > HOUR as f64);
        let hours = match pass.scope.due.hourly {
            false => Vec::new(),
            true if pass.scope.first || was_away => HourStats::all(second),
            true => {
                let unfinished = HourStats::unfinished(pass.mark.passed, second);
                let older = pass.scope.hours.iter().copied().chain(unfinished);
                let older = older.map(|start| (start, start + HOUR));
                older.chain(HourStats::hours(second)).collect()
            }
        };
        Self {
            unknown: pass.unknown.iter().cloned().collect(),
            of_ledger: all.iter().map(|(epoch, _)| epoch).chain(others).cloned().collect(),
            ended,
            others: pass.seen.other_aggregated().into_iter().take(MOST_OTHERS).collect(),
            all,
            day: (format!("({}", now - DAY as f64), now),
            hours: hours.into_iter().map(|(start, _)| start).collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }
}

impl MarketStore {
    /// Second step: reads the sealed sums, the keys of all epochs that [`MarketStore::discover`] found, and what the scope of the pass
    /// needs. One round trip, and one more for each further 1,000 epochs.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails, or the ledger can't be read.
    pub async fn examine(&self, session: &mut Session, pass: &mut Pass) -> Result<(), StoreError> {
        let (asked, chosen) = (Asked::new(pass), pass.chosen.clone());
        let mut portions = asked.all.chunks(EPOCHS_A_TRIP);
        let mut next = Some(self.ask_first(pass, &asked, portions.next().unwrap_or_default()));
        let mut answered = None;
        // While Redis answers one portion, the answers to the portion before are read, and the next commands are made.
        while next.is_some() || answered.is_some() {
            let request = next.take();
            let sending = async {
                let Some(Request { batch, portion }) = request else { return Ok(None) };
                let answers = session.run(operations::READ_EPOCHS, self.name(), batch).await?;
                Ok(Some((portion, answers)))
            };
            let working = async {
                if let Some((portion, answers)) = answered.take() {
                    self.take(pass, &asked, portion, answers)?;
                }
                next = portions.next().map(|epochs| {
                    let mut batch = Batch::new();
                    self.ask_epochs(&mut batch, &chosen, pass.seen.now, epochs);
                    Request { batch, portion: Portion { epochs, is_first: false } }
                });
                Ok(())
            };
            // The future that sends comes first, and so is polled first: the commands are on their way before the work begins.
            let (sent, worked) = tokio::join!(sending, working);
            worked?;
            answered = sent?;
        }
        while pass.validators.has_more() {
            let faults = pass.validators.read_more(session, self.name()).await?;
            pass.faults.extend(faults);
        }
        pass.seen.validators = std::mem::take(&mut pass.validators).finish();
        self.conclude(pass);
        Ok(())
    }

    /// The request of the first round trip.
    fn ask_first<'a>(&self, pass: &Pass, asked: &Asked, epochs: &'a [(EpochId, Wanted)]) -> Request<'a> {
        let mut batch = Batch::new();
        self.ask_ledger(&mut batch, asked, pass.scope.due.daily);
        self.ask_epochs(&mut batch, &pass.chosen, pass.seen.now, epochs);
        for epoch in &asked.ended {
            pass.chosen
                .inputs_of(&self.keys, epoch)
                .for_each(|input| facts::ask_state(&mut batch, input, epoch));
        }
        for epoch in &asked.others {
            let inputs = pass.chosen.inputs_of(&self.keys, epoch);
            inputs.for_each(|input| facts::ask_batch_validators(&mut batch, input, epoch));
        }
        self.ask_missed(&mut batch, pass, asked);
        self.ask_activity(&mut batch, &pass.chosen, &asked.day);
        self.ask_priorities(&mut batch, &pass.chosen, &asked.day);
        Request { batch, portion: Portion { epochs, is_first: true } }
    }

    /// Takes the answers of one round trip.
    fn take(
        &self,
        pass: &mut Pass,
        asked: &Asked,
        portion: Portion<'_>,
        answers: Vec<RedisResult<Value>>,
    ) -> Result<(), StoreError> {
        let mut replies = Replies::new(operations::READ_EPOCHS, answers);
        replies = replies.noting_present(pass.chosen.detects_use());
        if portion.is_first {
            self.take_sealed(&mut replies, pass, asked)?;
        }
        self.take_epochs(&mut replies, pass, portion.epochs)?;
        if portion.is_first {
            self.take_others(&mut replies, pass, asked)?;
        }
        pass.chosen.note(&self.keys, &replies.present());
        pass.faults.extend(replies.into_faults());
        Ok(())
    }

    fn take_others(&self, replies: &mut Replies, pass: &mut Pass, asked: &Asked) -> Result<(), StoreError> {
        for epoch in &asked.ended {
            let facts = self.take_ended(replies, pass, epoch)?;
            // One without an entry was forgotten: with facts, it would count as a new epoch.
            if pass.seen.sealed.contains_key(epoch) {
                pass.seen.facts.insert(epoch.clone(), facts);
            }
        }
        for epoch in &asked.others {
            let mut named = Reading::Absent;
            for input in pass.chosen.inputs_of(&self.keys, epoch) {
                named = named.or(facts::take_batch_validators(replies, input, epoch)?);
            }
            pass.seen.other_batches.insert(epoch.clone(), named);
        }
        self.take_missed(replies, pass, asked)?;
        self.take_activity(replies, pass)?;
        pass.seen.priorities = self.take_priorities(replies, &pass.chosen)?;
        Ok(())
    }

    /// What follows once everything was read.
    fn conclude(&self, pass: &mut Pass) {
        self.spellings.learn(&pass.chosen);
        self.ordered.learn(&pass.seen);
        let has_missed = pass.missed_entries || pass.missed_members;
        if has_missed {
            // Which may be under a spelling that was not in use.
            self.spellings.look_again();
        }
        // The missed entries may belong to any epoch: the pass that follows reads them, and seals.
        pass.seen.may_lack_keys |= has_missed;
        pass.drop_beyond_limit();
        pass.seen.attach_timelines();
        pass.note_odd_epochs(self.keys.market().checksummed());
    }

    /// Asks for the keys of these epochs.
    fn ask_epochs(&self, batch: &mut Batch, chosen: &Chosen, now: f64, epochs: &[(EpochId, Wanted)]) {
        for (epoch, wanted) in epochs {
            self.ask_facts(batch, chosen, epoch, now, *wanted);
        }
        for (epoch, _) in epochs.iter().filter(|(_, wanted)| wanted.recent) {
            for input in chosen.inputs_of(&self.keys, epoch) {
                validators::ask(batch, &input.validators(epoch), 0);
            }
        }
    }

    fn take_epochs(
        &self,
        replies: &mut Replies,
        pass: &mut Pass,
        epochs: &[(EpochId, Wanted)],
    ) -> Result<(), StoreError> {
        for (epoch, wanted) in epochs {
            let facts = self.take_facts(replies, &pass.chosen, epoch, *wanted)?;
            pass.seen.facts.insert(epoch.clone(), facts);
        }
        for (epoch, _) in epochs.iter().filter(|(_, wanted)| wanted.recent) {
            // The validators of sealed epochs are not counted.
            let is_sealed = pass.seen.sealed.contains_key(epoch);
            for input in pass.chosen.inputs_of(&self.keys, epoch) {
                pass.validators.take_first(replies, input.validators(epoch), !is_sealed)?;
            }
        }
        Ok(())
    }

    fn ask_ledger(&self, batch: &mut Batch, asked: &Asked, daily: bool) {
        let (since, now) = &asked.day;
        // One transaction: another tracker may seal meanwhile, and an epoch must count either as sealed or as unsealed.
        batch.transaction(|batch| {
            batch.cmd("HGETALL", self.keys.sums());
            batch.cmd("HLEN", self.keys.sealed());
            batch.cmd("HEXISTS", self.keys.meta()).arg("born");
            for times in self.keys.of_day() {
                batch.cmd("ZCOUNT", times).arg(since).arg(*now);
            }
            if !asked.hours.is_empty() {
                batch.cmd("HGETALL", self.keys.hours());
            }
            if daily {
                let (since, until) = DayStats::period(*now as u64);
                for batches in [self.keys.local(), self.keys.aggregated()] {
                    batch.cmd("ZCOUNT", batches).arg(since).arg(format!("({until}"));
                }
            }
            for epochs in asked.of_ledger.chunks(IDS_A_COMMAND) {
                let names: Vec<_> = epochs.iter().map(EpochId::as_str).collect();
                batch.cmd("HMGET", self.keys.sealed()).arg(names);
            }
        });
        for &hour in &asked.hours {
            batch.cmd("SMEMBERS", self.keys.hour_validators(hour));
        }
    }

    fn take_sealed(&self, replies: &mut Replies, pass: &mut Pass, asked: &Asked) -> Result<(), StoreError> {
        // Without the sums every total would be wrong: an error of `own` ends the pass.
        let sums = self.keys.sums();
        let fields: Vec<(String, u64)> = replies.required(&sums)?;
        let entries: u64 = replies.required(&self.keys.sealed())?;
        let expected =
            fields.iter().find_map(|(name, count)| (name == "entries").then_some(*count)).unwrap_or(0);
        let is_marked: bool = replies.required(&self.keys.meta())?;
        // Without `sealed`, or the floor in `meta`, epochs would be counted again; without `sums`, not at all.
        let torn = |key: String, detail: &str| {
            let detail = format!("market {}: {detail}", self.name());
            StoreError::new(operations::READ_LEDGER, key, ErrorKind::Torn, detail)
        };
        if entries != expected {
            let detail = format!("it has {entries} entries, and the ledger's sums say {expected}");
            return Err(torn(self.keys.sealed(), &detail));
        }
        if expected > 0 && !is_marked {
            return Err(torn(self.keys.meta(), "it is missing, while the ledger's sums exist"));
        }
        pass.seen.sums = ledger::sums(&fields);
        let Day { opened, aggregated, listed, included, .. } = &mut pass.seen.day;
        for (count, key) in [opened, aggregated, listed, included].into_iter().zip(self.keys.of_day()) {
            *count = replies.take(&key)?;
        }
        if !asked.hours.is_empty() {
            let fields = replies.take::<Vec<(String, u64)>>(&self.keys.hours())?;
            pass.seen.hours = fields.map(|fields| ledger::hours(&fields));
        }
        if pass.scope.due.daily {
            let local = replies.take::<u64>(&self.keys.local())?;
            let aggregated = replies.take::<u64>(&self.keys.aggregated())?;
            pass.seen.past_batches = local.zip(aggregated).map(|(local, aggregated)| local + aggregated);
        }
        if !asked.of_ledger.is_empty() {
            let mut entries: Vec<Option<String>> = Vec::with_capacity(asked.of_ledger.len());
            for _ in asked.of_ledger.chunks(IDS_A_COMMAND) {
                entries.extend(replies.required::<Vec<Option<String>>>(&self.keys.sealed())?);
            }
            for (epoch, text) in asked.of_ledger.iter().zip(entries) {
                let Some(text) = text else { continue };
                let sealed = Sealed::decode(&text);
                if let Err(error) = &sealed {
                    replies.fault(self.keys.sealed(), ErrorKind::Malformed, error);
                }
                pass.seen.sealed.insert(epoch.clone(), sealed.unwrap_or_default());
            }
            // Only sealed epochs: the statistics get the unsealed ones from their own entries.
            let past = pass.past.iter().filter_map(|epoch| pass.seen.sealed.get(epoch));
            pass.seen.past = past.map(|sealed| sealed.counted.clone()).collect();
            let is_examined = |epoch: &EpochId| {
                pass.seen.facts.contains_key(epoch) || asked.ended.binary_search(epoch).is_ok()
            };
            pass.seen.sealed.retain(|epoch, _| is_examined(epoch));
        }
        for &hour in &asked.hours {
            let validators = replies.take::<BTreeSet<String>>(&self.keys.hour_validators(hour))?;
            pass.seen.hour_validators.insert(hour, validators);
        }
        Ok(())
    }

    /// What is known of a sealed epoch of which only the state was read.
    fn take_ended(
        &self,
        replies: &mut Replies,
        pass: &Pass,
        epoch: &EpochId,
    ) -> Result<EpochFacts, StoreError> {
        let (mut open, mut state) = (None, Reading::Absent);
        for input in pass.chosen.inputs_of(&self.keys, epoch) {
            let (is_open, read) = facts::take_state(replies, input, epoch)?;
            (open, state) = (open.or(is_open), state.or(read));
        }
        let known = pass.seen.sealed.get(epoch).map(Sealed::known);
        let was_closed = known.is_some_and(|known| known.closed.has_happened());
        // It may have been sealed by the planned end of its window, without a key that says that it is closed.
        Ok(EpochFacts { open: if was_closed { Some(false) } else { open }, state, ..EpochFacts::default() })
    }

    pub(super) fn ask_facts(
        &self,
        batch: &mut Batch,
        chosen: &Chosen,
        epoch: &EpochId,
        now: f64,
        wanted: Wanted,
    ) {
        facts::ask(batch, chosen.inputs_of(&self.keys, epoch), epoch, now, wanted);
        // The on-chain status may be under the second namespace alone.
        for second in self.keys.second().flat_map(|second| chosen.forms.under(second, epoch)) {
            batch.cmd("HGET", second.state(epoch)).arg("onchain_status");
        }
    }

    pub(super) fn take_facts(
        &self,
        replies: &mut Replies,
        chosen: &Chosen,
        epoch: &EpochId,
        wanted: Wanted,
    ) -> Result<EpochFacts, StoreError> {
        let mut facts = facts::take(replies, chosen.inputs_of(&self.keys, epoch), epoch, wanted)?;
        let mut onchain = None;
        for second in self.keys.second().flat_map(|second| chosen.forms.under(second, epoch)) {
            let status = replies.take::<Option<String>>(&second.state(epoch))?.flatten();
            onchain = onchain.or(status);
        }
        if let (Reading::Value(state), Some(onchain)) = (&mut facts.state, onchain) {
            state.onchain = Some(onchain);
        }
        Ok(facts)
    }

    /// Asks for what shows that the pass has missed entries or members: the number of entries that an earlier pass has counted, and
    /// which of the new epochs are members of `epochs:active`.
    fn ask_missed(&self, batch: &mut Batch, pass: &Pass, asked: &Asked) {
        if let Some(early) = pass.followed() {
            self.ask_early(batch, early.before);
        }
        if !pass.span.active && !asked.unknown.is_empty() {
            let names: Vec<_> = asked.unknown.iter().map(EpochId::as_str).collect();
            for input in pass.chosen.inputs(&self.keys) {
                batch.cmd("SMISMEMBER", input.active()).arg(&names);
            }
        }
    }

    fn take_missed(&self, replies: &mut Replies, pass: &mut Pass, asked: &Asked) -> Result<(), StoreError> {
        if let Some(expected) = pass.followed().map(|early| early.entries.clone()) {
            pass.missed_entries = self.take_early(replies)? != expected;
        }
        let Some(known) = pass.mark.active_known.filter(|_| !pass.span.active) else { return Ok(()) };
        let mut new = 0;
        if !asked.unknown.is_empty() {
            for input in pass.chosen.inputs(&self.keys) {
                let membership = replies.take::<Vec<bool>>(&input.active())?.unwrap_or_default();
                let members = asked.unknown.iter().zip(membership).filter(|(_, member)| *member);
                // `active_count` adds up the sets of all spellings, so an epoch in two of them is two members.
                new += members.filter(|(epoch, _)| !pass.seen.sealed.contains_key(*epoch)).count() as u64;
            }
        }
        // More members than that: some epochs joined without any other trace. Fewer: some left, and others may have joined.
        pass.missed_members = pass.active_count.is_some_and(|count| count != known + new);
        Ok(())
    }
}
