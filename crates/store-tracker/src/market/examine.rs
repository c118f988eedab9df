//! The second step of a pass: the sealed part of the ledger, and the keys of all examined epochs.

use std::collections::BTreeSet;

use super::{Chosen, MarketStore, Pass, facts};
use crate::{keys::InputKeys, ledger, operations};
use domain::{
    EpochId,
    tracker::{DAY, HourStats, Priorities, Sealed},
};
use store_redis::{Batch, ErrorKind, Replies, Session, StoreError};

/// The epochs that are asked for, in the order of the commands.
struct Asked {
    /// Those that the ledger has as unsealed.
    known: Vec<EpochId>,
    /// Those that are new, or sealed.
    unknown: Vec<EpochId>,
    /// Both.
    all: Vec<EpochId>,
    /// Both, and the sealed ones that the statistics need.
    of_ledger: Vec<EpochId>,
    /// The last 24 hours as bounds of scores: after the first, up to the second.
    day: (String, f64),
    /// The hours whose validators are needed.
    hours: Vec<u64>,
}

impl Asked {
    fn new(pass: &Pass) -> Self {
        let now = pass.seen.now;
        let all: Vec<EpochId> = pass.seen.facts.keys().cloned().collect();
        let past = pass.past.iter().filter(|epoch| !pass.seen.facts.contains_key(epoch));
        let hours = HourStats::hours(now.max(0.0) as u64).map(|(start, _)| start);
        Self {
            known: pass.seen.stored.keys().cloned().collect(),
            unknown: pass.unknown.iter().cloned().collect(),
            of_ledger: all.iter().chain(past).cloned().collect(),
            all,
            day: (format!("({}", now - DAY as f64), now),
            hours: if pass.scope.due.hourly { hours.to_vec() } else { Vec::new() },
        }
    }
}

impl MarketStore {
    /// Second round trip: the sealed sums, the keys of all epochs that [`MarketStore::discover`] found, and what
    /// the scope of the pass needs.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails, or the ledger can't be read.
    pub async fn examine(&self, session: &mut Session, pass: &mut Pass) -> Result<(), StoreError> {
        let (operation, asked) = (operations::READ_EPOCHS, Asked::new(pass));
        pass.chosen.widen(&asked.all);
        let mut batch = Batch::new();
        self.ask_ledger(&mut batch, &asked);
        for epoch in &asked.all {
            self.ask_facts(&mut batch, &pass.chosen, epoch, pass.seen.now);
        }
        self.ask_validators(&mut batch, &pass.chosen, &asked, pass.active.is_none());
        self.ask_priorities(&mut batch, &pass.chosen, &asked);

        let answers = session.run(operation, self.name(), batch).await?;
        let mut replies = Replies::new(operation, answers).noting_present(pass.chosen.finds_out());
        self.take_sealed(&mut replies, pass, &asked)?;
        for epoch in &asked.all {
            let facts = self.take_facts(&mut replies, &pass.chosen, epoch)?;
            pass.seen.facts.insert(epoch.clone(), facts);
        }
        self.take_validators(&mut replies, pass, &asked)?;
        pass.seen.priorities = self.take_priorities(&mut replies, &pass.chosen)?;
        pass.chosen.note(&self.keys, &replies.present());
        self.spellings.learn(&pass.chosen);
        if let Some(active) = &pass.active {
            for (epoch, facts) in &mut pass.seen.facts {
                facts.active = active.contains(epoch);
            }
        }
        pass.seen.attach_timelines();
        pass.faults.extend(replies.into_faults());
        Ok(())
    }

    fn ask_ledger(&self, batch: &mut Batch, asked: &Asked) {
        let (since, now) = &asked.day;
        // One transaction: another tracker may seal meanwhile, and an epoch must count either as sealed or as unsealed.
        batch.transaction(|batch| {
            batch.cmd("HGETALL", self.keys.sums());
            batch.cmd("HLEN", self.keys.sealed());
            batch.cmd("HEXISTS", self.keys.meta()).arg("born");
            for times in [self.keys.opened(), self.keys.aggregated(), self.keys.included()] {
                batch.cmd("ZCOUNT", times).arg(since).arg(*now);
            }
            if !asked.of_ledger.is_empty() {
                let names: Vec<_> = asked.of_ledger.iter().map(EpochId::as_str).collect();
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
        let counts = [&mut pass.seen.day.opened, &mut pass.seen.day.aggregated, &mut pass.seen.day.included];
        let keys = [self.keys.opened(), self.keys.aggregated(), self.keys.included()];
        for (count, key) in counts.into_iter().zip(keys) {
            match replies.required(&key) {
                Ok(read) => *count = Some(read),
                Err(error) => replies.fault(&key, error.kind, error.detail()),
            }
        }
        if !asked.of_ledger.is_empty() {
            let entries: Vec<Option<String>> = replies.required(&self.keys.sealed())?;
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
            pass.seen.sealed.retain(|epoch, _| pass.seen.facts.contains_key(epoch));
        }
        for &hour in &asked.hours {
            let validators = replies.take::<BTreeSet<String>>(&self.keys.hour_validators(hour))?;
            pass.seen.hour_validators.insert(hour, validators);
        }
        Ok(())
    }

    pub(super) fn ask_facts(&self, batch: &mut Batch, chosen: &Chosen, epoch: &EpochId, now: f64) {
        chosen.inputs_of(&self.keys, epoch).for_each(|input| facts::ask(batch, input, epoch, now));
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
    ) -> Result<domain::tracker::EpochFacts, StoreError> {
        let mut merged = facts::Gathered::default();
        for input in chosen.inputs_of(&self.keys, epoch) {
            merged.add(facts::take(replies, input, epoch)?);
        }
        let mut facts = merged.finish();
        facts.partly = chosen.reads_partly(epoch);
        let mut onchain = None;
        for second in self.keys.second().flat_map(|second| chosen.forms.under(second, epoch)) {
            let status = replies.take::<Option<String>>(&second.state(epoch))?.flatten();
            onchain = onchain.or(status);
        }
        facts.steps.onchain = onchain.or(facts.steps.onchain);
        Ok(facts)
    }

    fn ask_validators(&self, batch: &mut Batch, chosen: &Chosen, asked: &Asked, recent: bool) {
        for (at, input) in chosen.numbered(&self.keys) {
            // One union for the unsealed epochs. The others singly, since whether they are sealed, and so don't
            // count, is known only with these answers.
            let keys: Vec<_> = chosen.validators(at, input, &asked.known).map(|(_, key)| key).collect();
            if !keys.is_empty() {
                batch.union(&keys);
            }
            for (_, key) in chosen.validators(at, input, &asked.unknown) {
                batch.cmd("SMEMBERS", key);
            }
            // A recent pass has not read the members of `epochs:active`.
            if recent && !asked.unknown.is_empty() {
                let names: Vec<_> = asked.unknown.iter().map(EpochId::as_str).collect();
                batch.cmd("SMISMEMBER", input.active()).arg(names);
            }
            let (since, now) = &asked.day;
            batch.cmd("ZCOUNT", input.own_batches(&self.validator)).arg(since).arg(*now);
        }
    }

    fn take_validators(
        &self,
        replies: &mut Replies,
        pass: &mut Pass,
        asked: &Asked,
    ) -> Result<(), StoreError> {
        let (mut validators, mut readable) = (BTreeSet::new(), true);
        let (mut listed, mut new, mut level1) = (BTreeSet::new(), 0, Vec::new());
        let recent = pass.active.is_none();
        let mut take = |replies: &mut Replies, key: &str, counts: bool| -> Result<(), StoreError> {
            match replies.take::<Vec<Vec<u8>>>(key)? {
                Some(members) if counts => validators.extend(members),
                Some(_) => {}
                None => readable = false,
            }
            Ok(())
        };
        for (at, input) in pass.chosen.numbered(&self.keys) {
            match &pass.chosen.validators(at, input, &asked.known).collect::<Vec<_>>()[..] {
                [] => {}
                [(_, one)] => take(replies, one, true)?,
                // The server does not say which key of the union is at fault.
                _ => take(replies, &input.validators_of_any(), true)?,
            }
            for (epoch, key) in pass.chosen.validators(at, input, &asked.unknown) {
                take(replies, &key, !pass.seen.sealed.contains_key(epoch))?;
            }
            if recent && !asked.unknown.is_empty() {
                let membership = replies.take::<Vec<bool>>(&input.active())?.unwrap_or_default();
                let members = asked.unknown.iter().zip(membership).filter(|(_, member)| *member);
                for (epoch, _) in members {
                    // `active_count` adds up the sets of all spellings, so an epoch in two of them is two members.
                    new += u64::from(!pass.seen.sealed.contains_key(epoch));
                    listed.insert(epoch);
                }
            }
            let own = replies.take::<u64>(&input.own_batches(&self.validator))?;
            level1.push(own);
        }
        pass.seen.day.level1 = first_kept(&level1);
        pass.seen.validators = readable.then_some(validators.len() as u64);
        if recent {
            // More members than that: some epochs joined without any other trace, and a full pass must find them.
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

    fn ask_priorities(&self, batch: &mut Batch, chosen: &Chosen, asked: &Asked) {
        let (since, now) = &asked.day;
        for space in chosen.priorities(&self.keys) {
            batch.cmd("HMGET", space.vpa_stats()).arg(&PRIORITY_FIELDS);
            for timeline in [space.vpa_assignments(), space.vpa_submissions()] {
                batch.cmd("ZCOUNT", timeline).arg(since).arg(*now);
            }
        }
    }

    /// The first namespace with a value wins; one whose key can't be read counts as having an unknown value.
    fn take_priorities(&self, replies: &mut Replies, chosen: &Chosen) -> Result<Priorities, StoreError> {
        let (mut all, mut assignments, mut submissions) = (Priorities::default(), Vec::new(), Vec::new());
        for space in chosen.priorities(&self.keys) {
            let fields = take_numbers(replies, space)?;
            let slots = [&mut all.assignments, &mut all.none, &mut all.succeeded, &mut all.failed];
            for (slot, field) in slots.into_iter().zip(fields) {
                *slot = slot.or(field);
            }
            assignments.push(replies.take::<u64>(&space.vpa_assignments())?);
            submissions.push(replies.take::<u64>(&space.vpa_submissions())?);
        }
        (all.assignments_24h, all.submissions_24h) = (first_kept(&assignments), first_kept(&submissions));
        Ok(all)
    }
}

/// The first count that is not 0. An unreadable one is not 0, and makes the result unknown.
fn first_kept(counts: &[Option<u64>]) -> Option<u64> {
    counts.iter().copied().find(|count| *count != Some(0)).unwrap_or(Some(0))
}

pub(super) const PRIORITY_FIELDS: [&str; 4] = [
    "total_priority_assignments",
    "no_priority_count",
    "total_submissions_success",
    "total_submissions_failed",
];

/// The outer `None`: there is no such field; the inner one: it can't be read.
fn take_numbers(replies: &mut Replies, space: InputKeys<'_>) -> Result<[Option<Option<u64>>; 4], StoreError> {
    let key = space.vpa_stats();
    let Some(fields) = replies.take::<Vec<Option<String>>>(&key)? else { return Ok([Some(None); 4]) };
    let mut numbers = [None; 4];
    for ((slot, field), name) in numbers.iter_mut().zip(fields).zip(PRIORITY_FIELDS) {
        let Some(text) = field else { continue };
        *slot = Some(text.parse().ok());
        if *slot == Some(None) {
            replies.fault(&key, ErrorKind::Malformed, format!("{name} is `{text}`, a count is expected"));
        }
    }
    Ok(numbers)
}
