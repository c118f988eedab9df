//! What one pass read from Redis, before anything is concluded from it.
//!
//! Every input can be missing on its own. `None` means that it could not be read (a wrong type, an error),
//! which is not the same as empty or zero.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    EpochId,
    tracker::{
        BatchMember, Day, Entry, EpochFacts, EpochMember, Gap, MeasurementWindow, Priorities, Recent, Sealed,
        Sums, Timed,
    },
};

/// Everything that one pass of one market read.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// When, in Unix seconds.
    pub now: f64,
    /// The keys of an epoch lie on several servers: the proof of its end was not read before its numbers.
    pub scattered: bool,
    /// The recent part of the epochs timeline.
    pub epochs_timeline: Option<Vec<Timed<EpochMember>>>,
    /// The recent part of the batches timeline.
    pub batches_timeline: Option<Vec<Timed<BatchMember>>>,
    /// Submissions waiting.
    pub queue: Option<u64>,
    /// Distinct validators of the unfinished epochs.
    pub validators: Option<u64>,
    /// The epochs whose keys were read: all unfinished ones, and the sealed ones of the last minutes.
    pub facts: BTreeMap<EpochId, EpochFacts>,
    /// Those of them that are sealed.
    pub sealed: BTreeMap<EpochId, Sealed>,
    /// The unsealed entries as the ledger had them.
    pub stored: BTreeMap<EpochId, Entry>,
    /// The sealed sums.
    pub sums: Sums,
    /// The measurement window, once there is one.
    pub window: Option<MeasurementWindow>,
    /// What the ledger's sealed epochs and the validator's own timeline say of the last 24 hours.
    pub day: Day,
    /// The counted entries of the sealed epochs of the statistics' period, when statistics are due.
    pub past: Vec<Entry>,
    /// The validators that were sealed for the running hour and the one before, by the start of the hour.
    pub hour_validators: BTreeMap<u64, Option<BTreeSet<String>>>,
    /// The counts of priorities.
    pub priorities: Priorities,
}

impl Observation {
    /// Copies the times of the timelines into the facts of their epochs.
    pub fn attach_timelines(&mut self) {
        let facts = &mut self.facts;
        // The first of several: two spellings, or two forms of an id, can give an epoch two entries.
        let keep_first =
            |slot: &mut Option<f64>, at: f64| *slot = Some(slot.map_or(at, |known| known.min(at)));
        for entry in self.epochs_timeline.iter().flatten() {
            let Some(facts) = facts.get_mut(entry.what.epoch()) else { continue };
            match entry.what {
                EpochMember::Opened(_) => keep_first(&mut facts.timeline.opened, entry.at),
                EpochMember::Closed(_) => keep_first(&mut facts.timeline.closed, entry.at),
            }
        }
        for entry in self.batches_timeline.iter().flatten() {
            let Some(facts) = entry.what.epoch().and_then(|epoch| facts.get_mut(epoch)) else { continue };
            match entry.what {
                BatchMember::Local(_) => keep_first(&mut facts.timeline.local, entry.at),
                BatchMember::Aggregated(_) => keep_first(&mut facts.timeline.aggregated, entry.at),
                BatchMember::Foreign => {}
            }
        }
    }

    /// Counts of the last minute and of the last five, over the half-open periods `(now - n, now]`.
    #[must_use]
    pub fn recent(&self) -> Recent {
        let within = |at: f64, seconds: f64| at > self.now - seconds && at <= self.now;
        // Distinct epochs: entries of one epoch under two spellings count once.
        let opened = |seconds: f64| {
            let entries = self.epochs_timeline.as_ref()?.iter().filter(|entry| within(entry.at, seconds));
            let opened = entries.filter(|entry| matches!(entry.what, EpochMember::Opened(_)));
            Some(opened.map(|entry| entry.what.epoch()).collect::<BTreeSet<_>>().len() as u64)
        };
        let batches = |seconds: f64| {
            let entries = self.batches_timeline.as_ref()?.iter().filter(|entry| within(entry.at, seconds));
            let ours = entries
                .filter_map(|entry| Some((matches!(entry.what, BatchMember::Local(_)), entry.what.epoch()?)));
            Some(ours.collect::<BTreeSet<_>>().len() as u64)
        };
        let (mut one, mut five) = (Some(0), Some(0));
        for facts in self.facts.values() {
            // A plain set has no times: its submissions count as of the epoch's opening.
            let opened = facts.timeline.opened.or(facts.start);
            let as_of_opening = |seconds| {
                let submissions = facts.submissions?;
                Some(if opened.is_some_and(|at| within(at, seconds)) { submissions } else { 0 })
            };
            let (in_one, in_five) = match facts.submissions_recent {
                Some((one, five)) => (Some(one), Some(five)),
                None => (as_of_opening(60.0), as_of_opening(300.0)),
            };
            // One unread epoch makes the sum unknown.
            one = one.zip(in_one).map(|(sum, more)| sum + more);
            five = five.zip(in_five).map(|(sum, more)| sum + more);
        }
        Recent {
            epochs_1m: opened(60.0),
            epochs_5m: opened(300.0),
            batches_1m: batches(60.0),
            batches_5m: batches(300.0),
            submissions_1m: one,
            submissions_5m: five,
        }
    }

    /// The gaps of all examined epochs.
    pub fn gaps(&self) -> impl Iterator<Item = (EpochId, Gap)> + '_ {
        let facts = self.facts.iter();
        facts
            .flat_map(|(epoch, facts)| Gap::of(&facts.steps).into_iter().map(move |gap| (epoch.clone(), gap)))
    }

    /// How many gaps there are; `None` while a state could not be read.
    #[must_use]
    pub fn gap_count(&self) -> Option<u64> {
        let readable = !self.facts.values().any(|facts| facts.state_unread);
        readable.then(|| self.gaps().count() as u64)
    }

    /// Distinct validators over the unfinished epochs; when there are none, over the aggregated batches of
    /// the last five minutes.
    #[must_use]
    pub fn active_validators(&self) -> Option<u64> {
        if self.facts.keys().any(|epoch| !self.sealed.contains_key(epoch)) {
            return self.validators;
        }
        let timeline = self.batches_timeline.as_ref()?;
        let mut validators = BTreeSet::new();
        for entry in timeline.iter().filter(|entry| entry.at > self.now - 300.0 && entry.at <= self.now) {
            let BatchMember::Aggregated(epoch) = &entry.what else { continue };
            // An aggregated batch whose validators were not read: the count is unknown.
            let facts = self.facts.get(epoch)?;
            if facts.batch_validators_unread {
                return None;
            }
            let named = facts.batch_validators.as_ref();
            validators.extend(named.into_iter().flatten().filter(|validator| !validator.is_empty()));
        }
        Some(validators.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(now: f64, opened: &[u64], batched: &[u64]) -> Recent {
        let epoch = |number: usize| EpochId::parse(&number.to_string()).expect("a number");
        let epochs = opened.iter().enumerate();
        let epochs = epochs.map(|(id, at)| Timed { at: *at as f64, what: EpochMember::Opened(epoch(id)) });
        let batches = batched.iter().enumerate();
        let batches = batches.map(|(id, at)| Timed { at: *at as f64, what: BatchMember::Local(epoch(id)) });
        let (epochs, batches) = (Some(epochs.collect()), Some(batches.collect()));
        Observation { now, epochs_timeline: epochs, batches_timeline: batches, ..Observation::default() }
            .recent()
    }

    proptest! {
        #[test]
        fn what_happened_counts_in_exactly_one_of_the_minutes_that_touch(
            opened in proptest::collection::vec(1_000_u64..1_300, 0..20),
            batched in proptest::collection::vec(1_000_u64..1_300, 0..20),
        ) {
            // Five minutes end at 1299: `(999, 1059]`, `(1059, 1119]` and so on hold everything once.
            let minutes = (1..=5).map(|minute| at(f64::from(999 + 60 * minute), &opened, &batched));
            let (mut epochs, mut batches) = (0, 0);
            for minute in minutes {
                epochs += minute.epochs_1m.expect("read");
                batches += minute.batches_1m.expect("read");
            }
            let all = at(1299.0, &opened, &batched);
            prop_assert_eq!((all.epochs_5m, all.batches_5m), (Some(epochs), Some(batches)));
            prop_assert_eq!((epochs, batches), (opened.len() as u64, batched.len() as u64));
        }
    }
}
