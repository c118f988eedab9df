//! The epoch ledger: how totals stay exact through crashes, restarts and several replicas.
//!
//! Each epoch has one [`Entry`]. While the epoch is unfinished its entry is recomputed in every pass and
//! merged with the stored one. The merge keeps the most that was ever known, is commutative, associative and
//! idempotent, so it does not matter who computes an entry, how often or in which order, and an expired key
//! never takes back what it had shown. A finished epoch is sealed: its entry is added to the [`Sums`], once.
//! A total is always sealed sums plus unsealed entries.

use crate::{
    EpochId,
    tracker::{DEFAULT_WINDOW, EpochFacts, LONGEST_WINDOW, Sealed},
};

/// What is known of one epoch. Times are whole Unix seconds; a time of 0 stands for a fact without a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When the tracker first met it.
    pub seen: u64,
    /// When it was opened.
    pub opened: Option<u64>,
    /// When its window closed.
    pub closed: Option<u64>,
    /// When its window closes by plan; 0 when unknown.
    pub due: u64,
    /// Its processed submissions.
    pub submissions: u64,
    /// When its local batch was made.
    pub local: Option<u64>,
    /// When its aggregated batch was made.
    pub aggregated: Option<u64>,
    /// Whether its aggregated batch names this validator.
    pub included: bool,
    /// Whether all of its submissions could be known: they were read after its window had closed, when the key
    /// was there or not due to be gone.
    pub accounted: bool,
}

/// A stored entry that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no ledger entry: it was not written by this program, or by a newer one")]
pub struct BadEntry(pub String);

/// How long producers keep the shorter-lived key of an epoch's submissions, in seconds.
const SUBMISSIONS_KEPT: u64 = 3600;

/// So many ids can't all be about to show their first trace.
const EXPECTED: usize = 1_000;

/// How long after an aggregated batch its list of validators is waited for, in seconds.
const VALIDATORS_WITHIN: u64 = 60;

impl Entry {
    /// What the facts of one pass prove about an epoch.
    #[must_use]
    pub fn observed(facts: &EpochFacts, validator: &str, now: f64) -> Self {
        // A time in the future says only that it happened: taken for now, it would move with every pass, and the
        // epoch would never be over.
        let second = |at: f64| if at <= now { at.max(0.0) as u64 } else { 0 };
        let opened = facts.timeline.opened.or(facts.start).map(second);
        let was_opened = facts.active || facts.open.is_some() || facts.timeline.closed.is_some();
        let closed_by_status = (facts.open == Some(false)).then(|| facts.end.map_or(0, second));
        let closed = facts.timeline.closed.map(second).or(closed_by_status);
        let duration =
            facts.duration.filter(|&duration| duration <= LONGEST_WINDOW).unwrap_or(DEFAULT_WINDOW);
        let by_plan = opened.filter(|&at| at > 0).map(|at| at as f64 + duration);
        let end = facts.end.filter(|&end| end <= now + LONGEST_WINDOW);
        let due = end.or(by_plan).map_or(0, |at| at.max(0.0) as u64);
        let batch = |at: Option<f64>, exists: bool| at.map(second).or(exists.then_some(0));
        let named = |validators: &Vec<String>| validators.iter().any(|named| named == validator);
        let present = second(now);
        let young = opened.is_some_and(|at| present < at.saturating_add(SUBMISSIONS_KEPT));
        let over = closed.is_some() || (due > 0 && present >= due);
        let counted = facts.has_submissions_key || (young && facts.submissions.is_some());
        Self {
            seen: present,
            opened: opened.or(was_opened.then_some(0)),
            closed,
            due,
            submissions: facts.submissions.unwrap_or(0),
            local: batch(facts.timeline.local, facts.local_batch),
            aggregated: batch(facts.timeline.aggregated, facts.aggregated_batch),
            included: facts.batch_validators.as_ref().is_some_and(named),
            accounted: over && counted,
        }
    }

    /// All that either of two entries knows.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self {
            seen: if self.seen == 0 || other.seen == 0 {
                self.seen.max(other.seen)
            } else {
                self.seen.min(other.seen)
            },
            opened: self.opened.max(other.opened),
            closed: self.closed.max(other.closed),
            due: self.due.max(other.due),
            submissions: self.submissions.max(other.submissions),
            local: self.local.max(other.local),
            aggregated: self.aggregated.max(other.aggregated),
            included: self.included || other.included,
            accounted: self.accounted || other.accounted,
        }
    }

    /// Whether the epoch is finished: its window is closed and both batches exist, or `seal_after` seconds
    /// have passed since the window closed.
    #[must_use]
    pub fn is_finished(&self, now: f64, seal_after: f64) -> bool {
        let present = now.max(0.0) as u64;
        let window_over = self.closed.is_some() || (self.due > 0 && present >= self.due);
        let both = self.local.is_some() && self.aggregated.is_some();
        both && window_over || self.is_long_over(now, seal_after)
    }

    /// Whether `seal_after` seconds have passed since the window closed: nothing is waited for any more.
    #[must_use]
    pub fn is_long_over(&self, now: f64, seal_after: f64) -> bool {
        now.max(0.0) as u64 >= self.end_of_window().saturating_add(seal_after as u64)
    }

    /// Whether a pass that saw these facts has seen all that a finished epoch is sealed with. What can't be read
    /// now may be readable later, and the validators of an aggregated batch may be written a moment after it.
    fn is_complete(&self, facts: &EpochFacts, now: f64) -> bool {
        let waited = |at: u64| at > 0 && now.max(0.0) as u64 >= at.saturating_add(VALIDATORS_WITHIN);
        let listed = facts.batch_validators.is_some() || self.aggregated.is_some_and(waited);
        listed && facts.submissions.is_some()
    }

    /// Whether nothing is known of the epoch but that it exists.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        let timeless = |at: Option<u64>| at.is_none_or(|at| at == 0);
        timeless(self.opened)
            && timeless(self.closed)
            && self.due == 0
            && self.submissions == 0
            && self.local.is_none()
            && self.aggregated.is_none()
    }

    fn end_of_window(&self) -> u64 {
        let known = |at: Option<u64>| at.filter(|&at| at > 0);
        known(self.closed)
            .or(known(Some(self.due)))
            .or(known(self.opened).map(|at| at.saturating_add(DEFAULT_WINDOW as u64)))
            .or(known(self.local.max(self.aggregated)))
            .unwrap_or(self.seen)
    }

    /// The latest time that is known of it.
    #[must_use]
    pub fn last_sign(&self) -> u64 {
        let times = [Some(self.seen), self.opened, self.closed, self.local, self.aggregated];
        times.into_iter().flatten().max().unwrap_or(0)
    }

    /// The start of the hour that its numbers belong to: the one in which it was opened. `None` when that is
    /// not known.
    #[must_use]
    pub fn hour(&self) -> Option<u64> {
        self.opened.filter(|&at| at > 0).map(|at| at - at % 3600)
    }

    /// What it adds to the sums.
    #[must_use]
    pub fn sums(&self) -> Sums {
        Sums {
            epochs: self.opened.is_some().into(),
            submissions: self.submissions,
            local: self.local.is_some().into(),
            aggregated: self.aggregated.is_some().into(),
            included: self.included.into(),
            unaccounted: (self.opened.is_some() && !self.accounted).into(),
            late: 0,
        }
    }

    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> String {
        let time = |at: Option<u64>| at.map_or("-".to_owned(), |at| at.to_string());
        format!(
            "{},{},{},{},{},{},{},{}{}",
            self.seen,
            time(self.opened),
            time(self.closed),
            self.due,
            self.submissions,
            time(self.local),
            time(self.aggregated),
            if self.included { "i" } else { "" },
            if self.accounted { "a" } else { "" },
        )
    }

    /// Reads what [`Entry::encode`] wrote.
    ///
    /// # Errors
    /// [`BadEntry`] for any other text.
    pub fn decode(text: &str) -> Result<Self, BadEntry> {
        let read = || {
            let number = |text: &str| text.parse::<u64>().ok();
            let time = |text: &str| if text == "-" { Some(None) } else { number(text).map(Some) };
            let parts: Vec<&str> = text.split(',').collect();
            let [seen, opened, closed, due, submissions, local, aggregated, flags] = parts[..] else {
                return None;
            };
            if flags.chars().any(|flag| !"ia".contains(flag)) {
                return None;
            }
            Some(Self {
                seen: number(seen)?,
                opened: time(opened)?,
                closed: time(closed)?,
                due: number(due)?,
                submissions: number(submissions)?,
                local: time(local)?,
                aggregated: time(aggregated)?,
                included: flags.contains('i'),
                accounted: flags.contains('a'),
            })
        };
        read().ok_or_else(|| BadEntry(text.chars().take(100).collect()))
    }
}

/// Sums over epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Epochs opened.
    pub epochs: u64,
    /// Submissions processed.
    pub submissions: u64,
    /// Local batches.
    pub local: u64,
    /// Aggregated batches.
    pub aggregated: u64,
    /// Aggregated batches that name this validator.
    pub included: u64,
    /// Epochs whose submissions could not be known any more when they were first seen.
    pub unaccounted: u64,
    /// Changes to epochs that were sealed already.
    pub late: u64,
}

impl Sums {
    /// The names under which the sums are stored, with their values.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, u64); 7] {
        [
            ("epochs", self.epochs),
            ("submissions", self.submissions),
            ("local", self.local),
            ("aggregated", self.aggregated),
            ("included", self.included),
            ("unaccounted", self.unaccounted),
            ("late", self.late),
        ]
    }

    /// Reads stored sums; a name that is missing counts as 0, an unknown one is passed over.
    #[must_use]
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut sums = Self::default();
        for (name, value) in fields {
            match name {
                "epochs" => sums.epochs = value,
                "submissions" => sums.submissions = value,
                "local" => sums.local = value,
                "aggregated" => sums.aggregated = value,
                "included" => sums.included = value,
                "unaccounted" => sums.unaccounted = value,
                "late" => sums.late = value,
                _ => {}
            }
        }
        sums
    }

    fn plus(self, more: Self) -> Self {
        Self {
            epochs: self.epochs.saturating_add(more.epochs),
            submissions: self.submissions.saturating_add(more.submissions),
            local: self.local.saturating_add(more.local),
            aggregated: self.aggregated.saturating_add(more.aggregated),
            included: self.included.saturating_add(more.included),
            unaccounted: self.unaccounted.saturating_add(more.unaccounted),
            late: self.late.saturating_add(more.late),
        }
    }
}

/// The ledger after one pass: every total, and what has to be written.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Sealed sums plus all unsealed entries.
    pub all: Sums,
    /// Submissions of the unfinished epochs.
    pub unfinished_submissions: u64,
    /// How many epochs are not sealed.
    pub unfinished: u64,
    /// Epochs that have never shown a submission, and whose submissions could not be read.
    pub unread_submissions: u64,
    /// Entries that are to be stored because they changed.
    pub changed: Vec<(EpochId, Entry)>,
    /// Entries of finished epochs, to be sealed.
    pub finished: Vec<(EpochId, Entry)>,
    /// Epochs that would be sealed, had all places been looked at.
    pub held: Vec<EpochId>,
    /// All unsealed entries, those of `finished` included.
    pub unsealed: Vec<(EpochId, Entry)>,
    /// Sealed epochs of which more is known now: changes that came too late to be counted.
    pub late: Vec<(EpochId, Sealed)>,
}

impl Totals {
    /// Recomputes the ledger from what a pass saw.
    #[must_use]
    pub fn of(seen: &super::Observation, validator: &str, seal_after: f64) -> Self {
        let unsealed = seen.facts.iter().filter(|(epoch, _)| !seen.sealed.contains_key(*epoch));
        let entries: Vec<(&EpochId, &EpochFacts, Entry)> = unsealed
            .map(|(epoch, facts)| {
                let observed = Entry::observed(facts, validator, seen.now);
                let stored = seen.stored.get(epoch);
                (epoch, facts, stored.map_or_else(|| observed.clone(), |stored| stored.merge(&observed)))
            })
            .collect();
        // Ids grow with time: an epoch of which nothing is left, below one whose window ended long ago or below
        // very many others, is older than those and will not come back.
        let long_over = entries
            .iter()
            .filter(|(_, _, entry)| !entry.is_bare() && entry.is_long_over(seen.now, seal_after));
        let crowded = entries.iter().rev().nth(EXPECTED);
        let horizon = long_over.chain(crowded).map(|(epoch, _, _)| *epoch).max();
        let mut totals = Self { all: seen.sums, ..Self::default() };
        for (epoch, sealed) in &seen.sealed {
            let Some(facts) = seen.facts.get(epoch) else { continue };
            let known = sealed.known().merge(&Entry::observed(facts, validator, seen.now));
            // Only what adds to a total is a change that came too late.
            let counts = |entry: &Entry| Sums { unaccounted: 0, ..entry.sums() };
            if counts(&known) != counts(sealed.known()) {
                let late = Sealed { counted: sealed.counted.clone(), late: Some(known) };
                totals.late.push((epoch.clone(), late));
            }
        }
        for (epoch, facts, entry) in entries {
            totals.unsealed.push((epoch.clone(), entry.clone()));
            let is_gone = entry.is_bare() && horizon.is_some_and(|horizon| epoch < horizon);
            let is_over = is_gone || entry.is_long_over(seen.now, seal_after);
            let is_finished = is_over || entry.is_finished(seen.now, seal_after);
            let is_ripe = is_over || is_finished && entry.is_complete(facts, seen.now);
            // What an epoch is counted with must be read after what proves its end: where that is not so in one pass, the
            // pass before must have seen the end.
            let was_finished = |stored: &Entry| stored.is_finished(seen.now, seal_after);
            let in_order = !seen.scattered || is_over || seen.stored.get(epoch).is_some_and(was_finished);
            let is_sealed = is_ripe && in_order && !facts.partly;
            if is_ripe && facts.partly {
                totals.held.push(epoch.clone());
            }
            // Until then it may still be accounted for.
            let unaccounted = if is_sealed { entry.sums().unaccounted } else { 0 };
            totals.all = totals.all.plus(Sums { unaccounted, ..entry.sums() });
            if is_sealed {
                totals.finished.push((epoch.clone(), entry));
                continue;
            }
            totals.unfinished += 1;
            if !is_finished {
                totals.unfinished_submissions =
                    totals.unfinished_submissions.saturating_add(entry.submissions);
            }
            totals.unread_submissions += u64::from(facts.submissions.is_none() && entry.submissions == 0);
            if seen.stored.get(epoch) != Some(&entry) {
                totals.changed.push((epoch.clone(), entry));
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::{Moments, Observation};
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Entry> {
        let time = || proptest::option::of(0_u64..2_000_000_000);
        let numbers = (1_u64..2_000_000_000, 0_u64..2_000_000_000, 0_u64..1_000_000);
        (numbers, time(), time(), time(), time(), any::<(bool, bool)>()).prop_map(
            |((seen, due, submissions), opened, closed, local, aggregated, (included, accounted))| Entry {
                seen,
                opened,
                closed,
                due,
                submissions,
                local,
                aggregated,
                included,
                accounted,
            },
        )
    }

    proptest! {
        #[test]
        fn merging_is_commutative_associative_and_idempotent(a in entries(), b in entries(), c in entries()) {
            prop_assert_eq!(a.merge(&b), b.merge(&a));
            prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
            prop_assert_eq!(a.merge(&a), a);
        }

        #[test]
        fn a_merge_never_takes_back_what_was_known(a in entries(), b in entries()) {
            let (before, after) = (a.sums(), a.merge(&b).sums());
            prop_assert!(after.epochs >= before.epochs && after.submissions >= before.submissions);
            prop_assert!(after.local >= before.local && after.aggregated >= before.aggregated);
        }

        #[test]
        fn what_is_finished_stays_finished_as_time_goes_on(
            entry in entries(), now in 0_f64..2_100_000_000.0, later in 0_f64..1e9, seal_after in 0_f64..1e6,
        ) {
            prop_assert!(!entry.is_finished(now, seal_after) || entry.is_finished(now + later, seal_after));
            prop_assert!(!entry.is_long_over(now, seal_after) || entry.is_finished(now, seal_after));
            prop_assert!(entry.is_finished(5e9, seal_after), "everything is over one day");
        }

        #[test]
        fn an_entry_is_read_back_as_it_was_written(entry in entries()) {
            prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }

        #[test]
        fn no_stored_text_makes_the_reader_panic(text in "\\PC{0,60}") {
            let _ = Entry::decode(&text);
        }

        #[test]
        fn no_times_make_the_ledger_panic(
            times in proptest::collection::vec(proptest::option::of(any::<f64>().prop_filter("a time", |at| !at.is_nan())), 7),
            stored: (u64, u64, u64), now in 0_f64..1e20, seal_after in 0_f64..1e20,
        ) {
            let [start, end, duration, opened, closed, local, aggregated] = times[..] else { unreachable!() };
            let timeline = Moments { opened, closed, local, aggregated };
            let facts = EpochFacts { start, end, duration, timeline, ..EpochFacts::default() };
            let (seen, opened, due) = stored;
            let stored = Entry { seen, opened: Some(opened), closed: Some(opened), due, submissions: due, ..Entry::default() };
            let id = EpochId::parse("7").expect("an id");
            let seen = Observation {
                now, facts: [(id.clone(), facts)].into(), stored: [(id, stored)].into(),
                sums: Sums { submissions: u64::MAX, ..Sums::default() }, ..Observation::default()
            };
            let _ = Totals::of(&seen, "v", seal_after);
        }

        #[test]
        fn sealing_at_any_moment_leaves_the_total_as_it_was(
            all in proptest::collection::vec(entries(), 0..12), now in 0_f64..2_100_000_000.0,
        ) {
            let id = |number: usize| EpochId::parse(&number.to_string()).expect("a number");
            let stored = || all.iter().cloned().enumerate().map(|(number, entry)| (id(number), entry));
            let facts = |stored: &std::collections::BTreeMap<EpochId, Entry>| {
                stored.keys().map(|epoch| (epoch.clone(), EpochFacts::default())).collect()
            };
            let mut before = Observation { now, stored: stored().collect(), ..Observation::default() };
            before.facts = facts(&before.stored);
            let totals = Totals::of(&before, "v", 3600.0);
            // Seal what is finished, as the store does, and compute again.
            let mut after = Observation { now, stored: stored().collect(), ..Observation::default() };
            for (epoch, entry) in &totals.finished {
                after.stored.remove(epoch);
                after.sums = after.sums.plus(entry.sums());
            }
            after.facts = facts(&after.stored);
            prop_assert_eq!(Totals::of(&after, "v", 3600.0).all, totals.all);
        }
    }

    #[test]
    fn an_expired_key_does_not_turn_into_a_zero() {
        let live =
            EpochFacts { active: true, start: Some(1000.0), submissions: Some(7), ..EpochFacts::default() };
        let stored = Entry::observed(&live, "v", 1010.0);
        let gone =
            Entry::observed(&EpochFacts { submissions: Some(0), ..EpochFacts::default() }, "v", 9000.0);
        assert_eq!(stored.merge(&gone).submissions, 7);
        assert_eq!(stored.merge(&gone).seen, 1010);
    }

    /// A closed epoch with both batches.
    fn at_its_end() -> EpochFacts {
        EpochFacts {
            open: Some(false),
            local_batch: true,
            aggregated_batch: true,
            batch_validators: Some(Vec::new()),
            submissions: Some(3),
            ..EpochFacts::default()
        }
    }

    #[test]
    fn an_epoch_is_held_until_all_places_were_looked_at() {
        let (id, facts) = (EpochId::parse("7").expect("an id"), EpochFacts { partly: true, ..at_its_end() });
        let mut seen = Observation { now: 1000.0, ..Observation::default() };
        seen.facts.insert(id.clone(), facts);
        let held = Totals::of(&seen, "v", 3600.0);
        assert_eq!((held.finished.len(), &held.held[..], held.all.submissions), (0, &[id.clone()][..], 3));
        for facts in seen.facts.values_mut() {
            facts.partly = false;
        }
        let whole = Totals::of(&seen, "v", 3600.0);
        assert_eq!((whole.finished.len(), whole.held.len(), whole.all.submissions), (1, 0, 3));
    }

    #[test]
    fn an_epoch_that_was_read_from_several_servers_is_sealed_one_pass_after_its_end_was_seen() {
        let (id, facts) = (EpochId::parse("7").expect("an id"), at_its_end());
        let mut seen = Observation { now: 1000.0, scattered: true, ..Observation::default() };
        seen.facts.insert(id.clone(), facts);
        let first = Totals::of(&seen, "validator1", 3600.0);
        assert_eq!((first.finished.len(), first.unfinished_submissions), (0, 0), "it counts as finished");
        let [(_, entry)] = &first.changed[..] else { panic!("it is stored: {first:?}") };
        seen.stored.insert(id, entry.clone());
        assert_eq!(Totals::of(&seen, "validator1", 3600.0).finished.len(), 1);
        seen.scattered = false;
        seen.stored.clear();
        assert_eq!(Totals::of(&seen, "validator1", 3600.0).finished.len(), 1);
    }

    #[test]
    fn an_epoch_is_finished_by_both_batches_or_by_time() {
        let entry =
            Entry { seen: 1000, opened: Some(1000), closed: Some(1060), due: 1060, ..Entry::default() };
        assert!(!entry.is_finished(1061.0, 3600.0));
        assert!(!entry.is_finished(4659.0, 3600.0));
        assert!(entry.is_finished(4660.0, 3600.0));
        let batched = Entry { local: Some(1070), aggregated: Some(1080), ..entry.clone() };
        assert!(batched.is_finished(1081.0, 3600.0));
        assert!(!Entry { aggregated: None, ..batched.clone() }.is_finished(1081.0, 3600.0));
        let still_open = Entry { closed: None, due: 2000, ..batched };
        assert!(!still_open.is_finished(1081.0, 3600.0));
    }

    #[test]
    fn what_comes_after_sealing_is_late_and_changes_no_total() {
        let id = EpochId::parse("7").expect("an id");
        let facts = EpochFacts { submissions: Some(5), has_submissions_key: true, ..EpochFacts::default() };
        let sealed =
            Entry { seen: 900, opened: Some(900), submissions: 3, accounted: true, ..Entry::default() };
        let mut seen = Observation { now: 1000.0, sums: sealed.sums(), ..Observation::default() };
        seen.facts.insert(id.clone(), facts);
        seen.sealed.insert(id.clone(), sealed.clone().into());
        let totals = Totals::of(&seen, "v", 3600.0);
        assert_eq!((totals.all.submissions, totals.unfinished), (3, 0));
        let late = Sealed { counted: sealed.clone(), late: Some(Entry { submissions: 5, ..sealed }) };
        assert_eq!(totals.late, [(id.clone(), late)]);
        // Once it is known to be late it is not late again.
        seen.sealed.insert(id, totals.late[0].1.clone());
        assert_eq!(Totals::of(&seen, "v", 3600.0).late, []);
    }

    #[test]
    fn a_time_in_the_future_does_not_move_with_the_clock() {
        let facts = EpochFacts {
            timeline: Moments { opened: Some(1e12), closed: Some(f64::INFINITY), ..Moments::default() },
            end: Some(1e300),
            duration: Some(1e300),
            ..EpochFacts::default()
        };
        let (first, later) = (Entry::observed(&facts, "v", 1000.0), Entry::observed(&facts, "v", 4600.0));
        assert_eq!((first.opened, first.closed, first.due), (Some(0), Some(0), 0));
        let merged = first.merge(&later);
        assert_eq!(merged, Entry { seen: 1000, ..later });
        assert!(!merged.is_finished(4599.0, 3600.0) && merged.is_finished(4600.0, 3600.0));
    }

    #[test]
    fn a_finished_epoch_waits_for_what_can_still_be_read() {
        let id = EpochId::parse("1").expect("an id");
        let timeline = Moments {
            opened: Some(1000.0),
            local: Some(1070.0),
            aggregated: Some(1080.0),
            closed: Some(1060.0),
        };
        let facts =
            EpochFacts { timeline, submissions: Some(3), has_submissions_key: true, ..EpochFacts::default() };
        let sealed = |facts: &EpochFacts, now: f64| {
            let seen =
                Observation { now, facts: [(id.clone(), facts.clone())].into(), ..Observation::default() };
            let totals = Totals::of(&seen, "v", 3600.0);
            assert_eq!((totals.all.epochs, totals.unfinished_submissions), (1, 0), "it counts as finished");
            totals.finished.len() == 1
        };
        assert!(!sealed(&facts, 1081.0), "its validators may be written in a moment");
        assert!(sealed(&facts, 1140.0), "an older producer lists none");
        let listed = EpochFacts { batch_validators: Some(vec!["v".to_owned()]), ..facts };
        assert!(sealed(&listed, 1081.0));
        let unread = EpochFacts { submissions: None, has_submissions_key: false, ..listed };
        assert!(!sealed(&unread, 1081.0) && !sealed(&unread, 4659.0) && sealed(&unread, 4660.0));
    }

    #[test]
    fn ids_without_a_trace_below_very_many_others_are_given_up() {
        let id = |number: usize| EpochId::parse(&number.to_string()).expect("a number");
        let bare = EpochFacts { active: true, ..EpochFacts::default() };
        let mut seen = Observation { now: 1e9, ..Observation::default() };
        seen.facts = (1..=EXPECTED + 10).map(|number| (id(number), bare.clone())).collect();
        let totals = Totals::of(&seen, "v", 3600.0);
        assert_eq!((totals.finished.len(), totals.unfinished), (9, EXPECTED as u64 + 1));
    }

    #[test]
    fn an_id_without_a_trace_is_given_up_only_when_newer_epochs_are_long_over() {
        let id = |text: &str| EpochId::parse(text).expect(text);
        let now = 100_000.0;
        let bare = EpochFacts { active: true, ..EpochFacts::default() };
        let old = EpochFacts { start: Some(now - 5000.0), ..bare.clone() };
        let mut seen = Observation { now, ..Observation::default() };
        seen.facts = [(id("9"), bare.clone()), (id("10"), old), (id("11"), bare)].into();
        let totals = Totals::of(&seen, "v", 3600.0);
        let finished: Vec<_> = totals.finished.iter().map(|(epoch, _)| epoch.as_str()).collect();
        assert_eq!(finished, ["9", "10"]);
        assert_eq!((totals.unfinished, totals.all.epochs, totals.all.unaccounted), (1, 3, 2));
    }
}
