//! What one pass read from Redis, before anything is concluded from it.
//!
//! Every input can be missing on its own. `None` means that it could not be read (a wrong type, an error),
//! which is not the same as empty or zero.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    EpochId,
    tracker::{
        BatchMember, Day, Entry, EpochFacts, EpochMember, HourSums, MeasurementWindow, Moments, Priorities,
        Reading, Recent, Sealed, Sums, Timed,
    },
};

/// Everything that one pass of one market read.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// When, in Unix seconds.
    pub now: f64,
    /// Some spellings of the keys were not read, or entries were missed: nothing is sealed, since what a later pass reads of a sealed
    /// epoch adds to no total.
    pub may_lack_keys: bool,
    /// The keys of an epoch may lie on several servers, which are read at the same time: so the proof of its end was not read before
    /// its numbers.
    pub spans_servers: bool,
    /// The recent part of the epochs timeline.
    pub epochs_timeline: Option<Vec<Timed<EpochMember>>>,
    /// The recent part of the batches timeline.
    pub batches_timeline: Option<Vec<Timed<BatchMember>>>,
    /// The length of the queue of submissions; `None`: could not be read.
    pub queue: Option<u64>,
    /// The validators of the unfinished epochs; `None`: some could not be read.
    pub validators: Option<BTreeSet<String>>,
    /// The epochs whose keys were read: all unfinished ones, and the sealed ones of the last minutes.
    pub facts: BTreeMap<EpochId, EpochFacts>,
    /// The validators in the recent aggregated batches of other epochs, whose ids are not above the floor.
    pub other_batches: BTreeMap<EpochId, Reading<Vec<String>>>,
    /// The sealed ones among the epochs of `facts`.
    pub sealed: BTreeMap<EpochId, Sealed>,
    /// The unsealed entries as the ledger had them.
    pub stored: BTreeMap<EpochId, Entry>,
    /// The sealed sums.
    pub sums: Sums,
    /// When the last pass began that wrote all its datasets, in Unix seconds.
    pub passed: Option<f64>,
    /// The measurement window, once there is one.
    pub window: Option<MeasurementWindow>,
    /// What the ledger's sealed epochs and the validator's own timeline say of the last 24 hours.
    pub day: Day,
    /// The sums of the sealed epochs by the start of the hour, when statistics of hours are due; `None`: could not be read.
    pub hours: Option<BTreeMap<u64, HourSums>>,
    /// The validators that were sealed for these hours, by the start of the hour.
    pub hour_validators: BTreeMap<u64, Option<BTreeSet<String>>>,
    /// The counted entries of the sealed epochs that were opened in the day, when statistics of the day are due.
    pub past: Vec<Entry>,
    /// The batches of sealed epochs that were made in the day, when its statistics are due; `None`: could not be read.
    pub past_batches: Option<u64>,
    /// The counts of priorities.
    pub priorities: Priorities,
}

impl Observation {
    /// Copies the times of the timelines into the facts of their epochs.
    pub fn attach_timelines(&mut self) {
        for (epoch, moments) in moments(&self.epochs_timeline, &self.batches_timeline) {
            if let Some(facts) = self.facts.get_mut(epoch) {
                facts.timeline = facts.timeline.merge(moments);
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
            let as_of_opening = |seconds| match facts.submissions {
                Reading::Unreadable => None,
                Reading::Value(count) if opened.is_some_and(|at| within(at, seconds)) => Some(count),
                Reading::Value(_) | Reading::Absent => Some(0),
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

    /// Whether the state of every examined epoch could be read: else the number of gaps is not known.
    #[must_use]
    pub fn has_all_states(&self) -> bool {
        !self.facts.values().any(|facts| facts.state.is_unreadable())
    }

    /// What the timelines say of each epoch that they name.
    #[must_use]
    pub fn by_timelines(&self) -> BTreeMap<&EpochId, Moments> {
        let mut all = BTreeMap::<&EpochId, Moments>::new();
        for (epoch, moments) in moments(&self.epochs_timeline, &self.batches_timeline) {
            let known = all.entry(epoch).or_default();
            *known = known.merge(moments);
        }
        all
    }

    /// The epochs of the aggregated batches of the last five minutes that are not examined.
    #[must_use]
    pub fn other_aggregated(&self) -> BTreeSet<EpochId> {
        let entries = self.batches_timeline.iter().flatten().filter(|entry| self.is_active(entry.at));
        let epochs = entries.filter_map(|entry| match &entry.what {
            BatchMember::Aggregated(epoch) => Some(epoch),
            _ => None,
        });
        epochs.filter(|epoch| !self.facts.contains_key(*epoch)).cloned().collect()
    }

    /// Whether a batch of this time makes its validators active ones.
    #[must_use]
    pub fn is_active(&self, at: f64) -> bool {
        at > self.now - 300.0 && at <= self.now
    }

    /// Distinct validators over the unfinished epochs and the aggregated batches of the last five minutes, together.
    #[must_use]
    pub fn active_validators(&self) -> Option<u64> {
        let mut validators = self.validators.clone()?;
        let timeline = self.batches_timeline.as_ref()?;
        let recent = timeline.iter().filter(|entry| self.is_active(entry.at));
        let mut is_unlisted = false;
        for entry in recent.clone() {
            let BatchMember::Aggregated(epoch) = &entry.what else { continue };
            // Of a sealed epoch perhaps only the state was read, and its batch apart from that.
            let of_facts = || self.facts.get(epoch).map(|facts| &facts.batch_validators);
            match self.other_batches.get(epoch).or_else(of_facts) {
                Some(Reading::Value(named)) => validators.extend(named.iter().cloned()),
                Some(Reading::Absent) | None => is_unlisted = true,
                // An aggregated batch whose validators were not read: the count is unknown.
                Some(Reading::Unreadable) => return None,
            }
        }
        // Older producers write no validators of epochs and batches; the timeline names those that made a local batch.
        if validators.is_empty() {
            let members = recent.filter_map(|entry| match &entry.what {
                BatchMember::Validator(validator, _) => Some(validator.clone()),
                _ => None,
            });
            validators.extend(members);
        }
        // No validator is empty.
        validators.remove("");
        // Somebody made the batches, so nobody is no answer.
        (!validators.is_empty() || !is_unlisted).then_some(validators.len() as u64)
    }
}

/// The entries of both timelines that name an epoch of ours.
fn moments<'a>(
    epochs: &'a Option<Vec<Timed<EpochMember>>>,
    batches: &'a Option<Vec<Timed<BatchMember>>>,
) -> impl Iterator<Item = (&'a EpochId, Moments)> {
    let none = Moments::default();
    let opened_or_closed = epochs.iter().flatten().map(move |entry| match &entry.what {
        EpochMember::Opened(epoch) => (epoch, Moments { opened: Some(entry.at), ..none }),
        EpochMember::Closed(epoch) => (epoch, Moments { closed: Some(entry.at), ..none }),
    });
    let batched = batches.iter().flatten().filter_map(move |entry| match &entry.what {
        BatchMember::Local(epoch) => Some((epoch, Moments { local: Some(entry.at), ..none })),
        BatchMember::Aggregated(epoch) => Some((epoch, Moments { aggregated: Some(entry.at), ..none })),
        BatchMember::Validator(..) | BatchMember::Foreign => None,
    });
    opened_or_closed.chain(batched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_active_validators_are_those_of_unfinished_epochs_and_recent_batches_together() {
        let id = |number: u64| EpochId::parse(&number.to_string()).expect("a number");
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let aggregated = |epoch, at| Timed { at, what: BatchMember::Aggregated(id(epoch)) };
        let local =
            |validator: &str, at| Timed { at, what: BatchMember::Validator(validator.to_owned(), id(1)) };
        let named = |names: &[&str]| EpochFacts {
            batch_validators: Reading::Value(names.iter().map(|&name| name.to_owned()).collect()),
            ..EpochFacts::default()
        };
        let count = |validators: &[&str], batches: Vec<Timed<BatchMember>>, facts: EpochFacts| {
            let seen = Observation {
                now: 1_000.0,
                validators: Some(set(validators)),
                batches_timeline: Some(batches),
                facts: [(id(1), facts)].into(),
                ..Observation::default()
            };
            seen.active_validators()
        };
        // A window has just opened, and no key names a validator of its epoch yet.
        assert_eq!(count(&[], vec![aggregated(1, 900.0)], named(&["a", "b", "c"])), Some(3));
        assert_eq!(count(&["a", "d"], vec![aggregated(1, 900.0)], named(&["a", "b"])), Some(3));
        assert_eq!(count(&["a"], vec![aggregated(1, 700.0)], named(&["b"])), Some(1), "six minutes ago");
        assert_eq!(
            count(&["", "a"], vec![aggregated(1, 900.0)], named(&["", "a"])),
            Some(1),
            "none is empty"
        );
        // Older producers list nobody, but the timeline names who made a local batch.
        let batches = || vec![aggregated(1, 900.0), local("a", 890.0), local("b", 891.0), local("c", 600.0)];
        assert_eq!(count(&[], batches(), EpochFacts::default()), Some(2));
        assert_eq!(count(&[], vec![aggregated(1, 900.0)], EpochFacts::default()), None, "somebody made it");
        assert_eq!(count(&[], Vec::new(), EpochFacts::default()), Some(0));
    }

    fn id(number: u64) -> EpochId {
        EpochId::parse(&number.to_string()).expect("a number")
    }

    #[test]
    fn submissions_without_times_count_as_of_the_opening_and_one_unread_epoch_makes_the_sum_unknown() {
        const NOW: f64 = 1_000.0;
        let recent = |facts: Vec<EpochFacts>| {
            let facts = (1..).map(id).zip(facts).collect();
            let recent = Observation { now: NOW, facts, ..Observation::default() }.recent();
            recent.submissions_1m.zip(recent.submissions_5m)
        };
        let plain = |opened: f64| EpochFacts {
            submissions: Reading::Value(4),
            timeline: Moments { opened: Some(opened), ..Moments::default() },
            ..EpochFacts::default()
        };
        let timed = |counts| EpochFacts {
            submissions: Reading::Value(9),
            submissions_recent: Some(counts),
            ..EpochFacts::default()
        };
        for (ago, counts) in
            [(0.0, (4, 4)), (59.0, (4, 4)), (60.0, (0, 4)), (299.0, (0, 4)), (300.0, (0, 0)), (-1.0, (0, 0))]
        {
            assert_eq!(recent(vec![plain(NOW - ago)]), Some(counts), "{ago}");
        }
        let by_info = EpochFacts { start: Some(NOW - 5.0), timeline: Moments::default(), ..plain(0.0) };
        assert_eq!(recent(vec![by_info, timed((1, 2)), timed((3, 5))]), Some((8, 11)));
        let unread = EpochFacts { submissions: Reading::Unreadable, ..plain(NOW) };
        assert_eq!(recent(vec![timed((1, 2)), unread]), None);
        assert_eq!(recent(Vec::new()), Some((0, 0)));
    }

    #[test]
    fn whether_all_states_were_read_and_which_batches_are_of_epochs_that_were_not_examined() {
        let aggregated = |epoch, at| Timed { at, what: BatchMember::Aggregated(id(epoch)) };
        let local = Timed { at: 990.0, what: BatchMember::Local(id(9)) };
        let mut seen = Observation {
            now: 1_000.0,
            batches_timeline: Some(vec![
                aggregated(1, 990.0),
                aggregated(2, 990.0),
                aggregated(3, 600.0),
                local,
            ]),
            facts: [(id(1), EpochFacts::default())].into(),
            ..Observation::default()
        };
        assert!(seen.has_all_states());
        let moments = Moments { aggregated: Some(990.0), ..Moments::default() };
        assert_eq!((seen.by_timelines().len(), seen.by_timelines()[&id(2)]), (4, moments));
        assert_eq!(seen.other_aggregated(), [id(2)].into());
        let unread = EpochFacts { state: Reading::Unreadable, ..EpochFacts::default() };
        seen.facts.insert(id(4), unread);
        assert!(!seen.has_all_states());
    }

    #[test]
    fn the_entries_of_the_timelines_are_attached_to_their_epochs_the_earliest_first() {
        let epoch = |at, what| Timed { at, what };
        let mut seen = Observation {
            epochs_timeline: Some(vec![
                epoch(2.0, EpochMember::Opened(id(1))),
                epoch(1.0, EpochMember::Opened(id(1))),
                epoch(3.0, EpochMember::Closed(id(1))),
                epoch(9.0, EpochMember::Opened(id(7))),
            ]),
            batches_timeline: Some(vec![
                Timed { at: 4.0, what: BatchMember::Local(id(1)) },
                Timed { at: 5.0, what: BatchMember::Aggregated(id(1)) },
                Timed { at: 6.0, what: BatchMember::Validator("v".to_owned(), id(1)) },
            ]),
            facts: [(id(1), EpochFacts::default())].into(),
            ..Observation::default()
        };
        seen.attach_timelines();
        let moments =
            Moments { opened: Some(1.0), closed: Some(3.0), local: Some(4.0), aggregated: Some(5.0) };
        assert_eq!((seen.facts.len(), seen.facts[&id(1)].timeline), (1, moments));
    }

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
