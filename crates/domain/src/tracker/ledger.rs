//! The epoch ledger: how totals stay exact through crashes, restarts and several replicas.
//!
//! Each epoch has one [`Entry`]. While the epoch is unfinished its entry is recomputed in every pass and merged with
//! the stored one. A finished epoch is sealed: its entry is added to the [`Sums`], once. A total is always sealed sums
//! plus unsealed entries.

use std::collections::BTreeSet;

use crate::{
    EpochId,
    tracker::{Entry, EpochFacts, Observation, Sealed, Sums},
};

#[cfg(test)]
mod tests;

/// An id without a trace is given up when more than this many ids are higher.
const EXPECTED: usize = 1_000;

/// The ledger after one pass: every total, and what has to be written.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Sealed sums plus all unsealed entries.
    pub all: Sums,
    /// Submissions of the unfinished epochs.
    pub unfinished_submissions: u64,
    /// How many epochs are not sealed.
    pub unfinished: u64,
    /// Epochs without a known submission, whose submissions could not be read, or have no key although a local batch was made of
    /// some.
    pub unknown_submissions: u64,
    /// Entries that are to be stored because they changed.
    pub changed: Vec<(EpochId, Entry)>,
    /// Entries of finished epochs, to be sealed.
    pub finished: Vec<(EpochId, Entry)>,
    /// All unsealed entries, those of `finished` included, in the order of their ids.
    pub unsealed: Vec<(EpochId, Entry)>,
    /// Sealed epochs of which more is known now: changes that came too late to be counted.
    pub late: Vec<(EpochId, Sealed)>,
}

impl Totals {
    /// Recomputes the ledger from what a pass saw. `seal_after` is in seconds.
    #[must_use]
    pub fn of(seen: &Observation, validator: &str, seal_after: f64) -> Self {
        let unsealed = seen.facts.iter().filter(|(epoch, _)| !seen.sealed.contains_key(*epoch));
        let entries: Vec<(&EpochId, &EpochFacts, Entry)> = unsealed
            .map(|(epoch, facts)| {
                let observed = Entry::observed(facts, validator, seen.now);
                let stored = seen.stored.get(epoch);
                (epoch, facts, stored.map_or_else(|| observed.clone(), |stored| stored.merge(&observed)))
            })
            .collect();
        // Ids grow with time. So an id without a trace, below an epoch whose window ended long ago or below very many
        // others, is older than these, and no trace of it will come. `epochs:active` keeps such ids for ever.
        let past_delay = entries
            .iter()
            .filter(|(_, _, entry)| !entry.is_bare() && entry.is_past_seal_delay(seen.now, seal_after));
        let crowded = entries.iter().rev().nth(EXPECTED);
        let horizon = past_delay.chain(crowded).map(|(epoch, _, _)| *epoch).max();
        let mut totals = Self { all: seen.sums, ..Self::default() };
        for (epoch, sealed) in &seen.sealed {
            let Some(facts) = seen.facts.get(epoch) else { continue };
            let known = sealed.known().merge(&Entry::observed(facts, validator, seen.now));
            // A late change is what would have added to a total, and a close, since the gaps of an epoch depend on its end.
            let counts = |entry: &Entry| (Sums { unaccounted: 0, ..entry.sums() }, entry.closed);
            if counts(&known) != counts(sealed.known()) {
                let late = Sealed { counted: sealed.counted.clone(), late: Some(known) };
                totals.late.push((epoch.clone(), late));
            }
        }
        for (epoch, facts, entry) in entries {
            totals.unsealed.push((epoch.clone(), entry.clone()));
            let is_given_up = entry.is_bare() && horizon.is_some_and(|horizon| epoch < horizon);
            let waits_no_longer = is_given_up || entry.is_past_seal_delay(seen.now, seal_after);
            let is_finished = waits_no_longer || entry.is_finished(seen.now, seal_after);
            let can_be_sealed = waits_no_longer || is_finished && entry.is_complete(facts, seen.now);
            // The numbers of an epoch must be read after the proof of its end, or they may lack the last submissions. A
            // pass over several servers reads both at once; then the pass before must have seen the end.
            let was_finished = |stored: &Entry| stored.is_finished(seen.now, seal_after);
            let in_order =
                !seen.spans_servers || waits_no_longer || seen.stored.get(epoch).is_some_and(was_finished);
            // Not while a time of it is ahead of our clock, because a producer's clock is: that event still has to happen.
            let is_sealed = can_be_sealed && in_order && !seen.may_lack_keys && !facts.is_ahead(seen.now);
            // Before it is sealed, its submissions may still be read.
            let unaccounted = if is_sealed { entry.sums().unaccounted } else { 0 };
            totals.all = totals.all.plus(Sums { unaccounted, ..entry.sums() });
            if is_sealed {
                // Not among `changed` too: the script seals only an entry that is as it was read, and storing it
                // first would change it.
                totals.finished.push((epoch.clone(), entry));
                continue;
            }
            totals.unfinished += 1;
            if !is_finished {
                totals.unfinished_submissions =
                    totals.unfinished_submissions.saturating_add(entry.submissions);
            }
            let is_unread = facts.submissions.is_unreadable() && entry.submissions == 0;
            let is_unknown = is_unread || entry.has_unwritten_submissions(facts, seen.now);
            totals.unknown_submissions += u64::from(is_unknown);
            if seen.stored.get(epoch) != Some(&entry) {
                totals.changed.push((epoch.clone(), entry));
            }
        }
        totals
    }

    /// The epochs that are to be sealed without all of their submissions.
    pub fn unaccounted(&self) -> impl Iterator<Item = &(EpochId, Entry)> {
        self.finished.iter().filter(|(_, entry)| entry.sums().unaccounted > 0)
    }

    /// What is known of an epoch that is not sealed.
    #[must_use]
    pub fn known(&self, epoch: &EpochId) -> Option<&Entry> {
        // They are in the order of their ids.
        let at = self.unsealed.binary_search_by(|(id, _)| id.cmp(epoch)).ok()?;
        self.unsealed.get(at).map(|(_, entry)| entry)
    }

    /// The hours, by their starts, whose statistics this pass has changed.
    #[must_use]
    pub fn changed_hours(&self) -> BTreeSet<u64> {
        let entries = self.changed.iter().chain(&self.finished);
        entries.flat_map(|(_, entry)| entry.hours().into_keys()).collect()
    }

    /// Whether the total of submissions is unknown, since epochs that must have had submissions have shown none.
    #[must_use]
    pub fn lack_submissions(&self) -> bool {
        self.unknown_submissions > 0
            || (self.all.submissions == 0 && self.all.unaccounted > 0 && self.all.local > 0)
    }
}
