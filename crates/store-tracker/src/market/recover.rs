//! Submissions of epochs whose own keys have expired, from the timeline of validations.
//!
//! The keys of an epoch's submissions live for an hour or two, the entries of the timeline for a day. After a longer absence the timeline
//! may still show how many submissions an epoch had. It counts only if its ids are those of the expired keys, which depends on the
//! producers: so the pass compares both for epochs whose keys still exist. Submissions without this proof stay unaccounted.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    EpochId,
    tracker::{DAY, Entry, EpochFacts, Reading},
};
use store_redis::{Batch, ErrorKind, Fault, Replies, Session, StoreError};

use super::{CLOCKS, MarketStore, Pass, members::OtherForms, pages::Timeline};
use crate::operations;

/// How many epochs are compared, the newest ones.
const COMPARED: usize = 3;
/// The most submissions of an epoch that is compared.
const MOST_COMPARED: u64 = 1_000;
/// How long after its window closed an epoch is compared, in seconds: until then submissions may still be validated.
const SETTLED: u64 = 120;
/// The most entries of the timeline that are kept.
const MOST_KEPT: usize = 200_000;

/// An entry of the timeline: `E-PROJECT-SLOT-CID`.
struct Validation {
    epoch: EpochId,
    id: String,
}

impl Validation {
    fn parse(member: &str) -> Result<Self, ()> {
        let (epoch, _) = member.split_once('-').ok_or(())?;
        Ok(Self { epoch: EpochId::parse(epoch).map_err(|_| ())?, id: member.to_owned() })
    }
}

impl MarketStore {
    /// Reads the submissions of these epochs, which are about to be sealed without them, and adds the proven ones to what the pass has
    /// seen. Returns for how many epochs. Two round trips, and one more for each further 2,000 entries; none if there is no epoch to
    /// compare.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails.
    pub async fn recover(
        &self,
        session: &mut Session,
        pass: &mut Pass,
        epochs: &[(EpochId, Entry)],
    ) -> Result<usize, StoreError> {
        let now = pass.seen.now.max(0.0) as u64;
        // Older entries may have been pruned in part.
        let is_whole = |at: &u64| *at > now.saturating_sub(DAY) + CLOCKS as u64;
        let wanted: BTreeMap<&EpochId, (u64, u64)> = epochs
            .iter()
            .filter_map(|(epoch, entry)| {
                Some((epoch, (entry.opened.at().filter(is_whole)?, entry.submissions)))
            })
            .collect();
        let known: BTreeMap<EpochId, u64> =
            compared(pass).filter(|(_, at)| is_whole(at)).take(COMPARED).collect();
        let first = wanted.values().map(|(opened, _)| *opened).chain(known.values().copied()).min();
        let Some(first) = first.filter(|_| !wanted.is_empty() && !known.is_empty()) else { return Ok(0) };
        let named: BTreeSet<&EpochId> = wanted.keys().copied().chain(known.keys()).collect();
        let Some(mut validated) = self.read_validations(session, pass, &named, first).await? else {
            return Ok(0);
        };
        for (epoch, ids) in self.read_ids(session, pass, &known).await? {
            if validated.remove(&epoch).unwrap_or_default() != ids {
                return Ok(0);
            }
        }
        let mut recovered = 0;
        for (epoch, (_, known)) in wanted {
            let count = validated.get(epoch).map_or(0, BTreeSet::len) as u64;
            // None at all, or fewer than were seen, prove nothing.
            if count > 0
                && count >= known
                && let Some(facts) = pass.seen.facts.get_mut(epoch)
            {
                facts.submissions = Reading::Value(count);
                recovered += 1;
            }
        }
        Ok(recovered)
    }

    /// The ids of these epochs in the timeline since a moment (Unix seconds); `None` if it can't be read, or has too many.
    async fn read_validations(
        &self,
        session: &mut Session,
        pass: &mut Pass,
        epochs: &BTreeSet<&EpochId>,
        since: u64,
    ) -> Result<Option<BTreeMap<EpochId, BTreeSet<String>>>, StoreError> {
        let operation = operations::READ_TIMELINES;
        let since = since as f64 - CLOCKS;
        let timelines = pass.chosen.inputs(&self.keys).map(|input| input.validations_timeline());
        let mut timelines: Vec<Timeline<Validation>> =
            timelines.map(|key| Timeline::new(key, since)).collect();
        let (mut found, mut count) = (BTreeMap::<EpochId, BTreeSet<String>>::new(), 0);
        loop {
            let mut batch = Batch::new();
            timelines.iter().for_each(|timeline| timeline.ask(&mut batch));
            if batch.is_empty() {
                break;
            }
            let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
            for timeline in &mut timelines {
                // Forms of ids are learnt from other timelines.
                let page = timeline.take(&mut replies)?;
                for entry in timeline.read(page, Validation::parse, &mut OtherForms::new()) {
                    if epochs.contains(&entry.what.epoch) {
                        count +=
                            usize::from(found.entry(entry.what.epoch).or_default().insert(entry.what.id));
                    }
                }
            }
            pass.faults.extend(replies.into_faults());
            if count > MOST_KEPT {
                let detail = format!(
                    "more than {MOST_KEPT} submissions were validated while no tracker ran: those that expired are unaccounted"
                );
                pass.faults.push(Fault::new(self.name(), ErrorKind::Malformed, detail));
                return Ok(None);
            }
        }
        let faults = pass.faults.len();
        timelines.into_iter().for_each(|timeline| drop(timeline.finish(&mut pass.faults)));
        // A part of the timeline proves nothing.
        Ok((pass.faults.len() == faults).then_some(found))
    }

    /// The submissions of these epochs by their own keys.
    async fn read_ids(
        &self,
        session: &mut Session,
        pass: &Pass,
        epochs: &BTreeMap<EpochId, u64>,
    ) -> Result<BTreeMap<EpochId, BTreeSet<String>>, StoreError> {
        let (operation, mut batch) = (operations::READ_EPOCHS, Batch::new());
        for epoch in epochs.keys() {
            for input in pass.chosen.inputs_of(&self.keys, epoch) {
                batch.cmd("ZRANGE", input.submission_ids(epoch)).arg(0).arg(MOST_COMPARED);
            }
        }
        let mut replies = Replies::new(operation, session.run(operation, self.name(), batch).await?);
        let mut all = BTreeMap::<EpochId, BTreeSet<String>>::new();
        for epoch in epochs.keys() {
            for input in pass.chosen.inputs_of(&self.keys, epoch) {
                let ids = replies.take::<BTreeSet<String>>(&input.submission_ids(epoch))?;
                all.entry(epoch.clone()).or_default().extend(ids.unwrap_or_default());
            }
        }
        Ok(all)
    }
}

/// The epochs that can be compared, the newest first, with their openings: they are over, and their ordered sets of submissions
/// still exist.
fn compared(pass: &Pass) -> impl Iterator<Item = (EpochId, u64)> {
    let now = pass.seen.now;
    let opened = move |facts: &EpochFacts| {
        let count = facts.submissions.value().filter(|_| facts.submissions_recent.is_some())?;
        let entry = Entry::observed(facts, "", now);
        let is_over = entry.end_of_window().saturating_add(SETTLED) < now.max(0.0) as u64;
        entry.opened.at().filter(|_| is_over && (1..=MOST_COMPARED).contains(count))
    };
    pass.seen.facts.iter().rev().filter_map(move |(epoch, facts)| Some((epoch.clone(), opened(facts)?)))
}
