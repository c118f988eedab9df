//! Entries and the ledger that is made of them.

use super::*;
use crate::tracker::{HourSums, Moment, Moments, Reading, StateHash};
use proptest::prelude::*;

fn entries() -> impl Strategy<Value = Entry> {
    let time = || {
        prop_oneof![Just(Moment::Never), Just(Moment::Sometime), (1_u64..2_000_000_000).prop_map(Moment::At)]
    };
    let numbers = (1_u64..2_000_000_000, 0_u64..2_000_000_000, 0_u64..1_000_000);
    (numbers, time(), time(), time(), time(), any::<(bool, bool, bool)>()).prop_map(
        |((seen, due, submissions), opened, closed, local, aggregated, (included, accounted, listed))| {
            Entry {
                seen,
                opened,
                closed,
                due,
                submissions,
                local,
                aggregated,
                listed: listed || included,
                included,
                accounted,
            }
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
        prop_assert!(!entry.is_past_seal_delay(now, seal_after) || entry.is_finished(now, seal_after));
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
        let stored = Entry { seen, opened: Moment::At(opened), closed: Moment::At(opened), due, submissions: due, ..Entry::default() };
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
    let live = EpochFacts { start: Some(1000.0), submissions: Reading::Value(7), ..EpochFacts::default() };
    let stored = Entry::observed(&live, "v", 1010.0);
    let gone = Entry::observed(&EpochFacts::default(), "v", 9000.0);
    assert_eq!(stored.merge(&gone).submissions, 7);
    assert_eq!(stored.merge(&gone).seen, 1010);
}

/// A closed epoch with both batches.
fn at_its_end() -> EpochFacts {
    EpochFacts {
        open: Some(false),
        local_batch: true,
        aggregated_batch: true,
        batch_validators: Reading::Value(Vec::new()),
        submissions: Reading::Value(3),
        ..EpochFacts::default()
    }
}

#[test]
fn an_epoch_is_sealed_only_when_everything_was_read() {
    let id = EpochId::parse("7").expect("an id");
    let mut seen = Observation { now: 1000.0, may_lack_keys: true, ..Observation::default() };
    seen.facts.insert(id, at_its_end());
    let without_all = Totals::of(&seen, "v", 3600.0);
    assert_eq!((without_all.finished.len(), without_all.unfinished, without_all.all.submissions), (0, 1, 3));
    seen.may_lack_keys = false;
    let whole = Totals::of(&seen, "v", 3600.0);
    assert_eq!((whole.finished.len(), whole.unfinished, whole.all.submissions), (1, 0, 3));
}

#[test]
fn an_epoch_on_several_servers_is_sealed_one_pass_after_its_end() {
    let (id, facts) = (EpochId::parse("7").expect("an id"), at_its_end());
    let mut seen = Observation { now: 1000.0, spans_servers: true, ..Observation::default() };
    seen.facts.insert(id.clone(), facts);
    let first = Totals::of(&seen, "validator1", 3600.0);
    assert_eq!((first.finished.len(), first.unfinished_submissions), (0, 0), "it counts as finished");
    let [(_, entry)] = &first.changed[..] else { panic!("it is stored: {first:?}") };
    seen.stored.insert(id, entry.clone());
    assert_eq!(Totals::of(&seen, "validator1", 3600.0).finished.len(), 1);
    seen.spans_servers = false;
    seen.stored.clear();
    assert_eq!(Totals::of(&seen, "validator1", 3600.0).finished.len(), 1);
}

#[test]
fn an_epoch_is_finished_by_both_batches_or_by_time() {
    let entry = Entry {
        seen: 1000,
        opened: Moment::At(1000),
        closed: Moment::At(1060),
        due: 1060,
        ..Entry::default()
    };
    assert!(!entry.is_finished(1061.0, 3600.0));
    assert!(!entry.is_finished(4659.0, 3600.0));
    assert!(entry.is_finished(4660.0, 3600.0));
    let batched = Entry { local: Moment::At(1070), aggregated: Moment::At(1080), ..entry.clone() };
    assert!(batched.is_finished(1081.0, 3600.0));
    assert!(!Entry { aggregated: Moment::Never, ..batched.clone() }.is_finished(1081.0, 3600.0));
    let still_open = Entry { closed: Moment::Never, due: 2000, ..batched };
    assert!(!still_open.is_finished(1081.0, 3600.0));
}

#[test]
fn what_comes_after_sealing_is_late_and_changes_no_total() {
    let id = EpochId::parse("7").expect("an id");
    let facts = EpochFacts { submissions: Reading::Value(5), ..EpochFacts::default() };
    let sealed =
        Entry { seen: 900, opened: Moment::At(900), submissions: 3, accounted: true, ..Entry::default() };
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
    assert_eq!((first.opened, first.closed, first.due), (Moment::Sometime, Moment::Sometime, 0));
    let merged = first.merge(&later);
    assert_eq!(merged, Entry { seen: 1000, ..later });
    assert!(!merged.is_finished(4599.0, 3600.0) && merged.is_finished(4600.0, 3600.0));
}

#[test]
fn a_finished_epoch_waits_for_what_can_still_be_read() {
    let id = EpochId::parse("1").expect("an id");
    let timeline =
        Moments { opened: Some(1000.0), local: Some(1070.0), aggregated: Some(1080.0), closed: Some(1060.0) };
    let facts = EpochFacts { timeline, submissions: Reading::Value(3), ..EpochFacts::default() };
    let sealed = |facts: &EpochFacts, now: f64| {
        let seen = Observation { now, facts: [(id.clone(), facts.clone())].into(), ..Observation::default() };
        let totals = Totals::of(&seen, "v", 3600.0);
        assert_eq!((totals.all.epochs, totals.unfinished_submissions), (1, 0), "it counts as finished");
        totals.finished.len() == 1
    };
    assert!(!sealed(&facts, 1081.0), "its validators may be written in a moment");
    assert!(sealed(&facts, 1140.0), "an older producer lists none");
    let listed = EpochFacts { batch_validators: Reading::Value(vec!["v".to_owned()]), ..facts };
    assert!(sealed(&listed, 1081.0));
    let unread = EpochFacts { submissions: Reading::Unreadable, ..listed };
    assert!(!sealed(&unread, 1081.0) && !sealed(&unread, 4659.0) && sealed(&unread, 4660.0));
}

#[test]
fn ids_without_a_trace_below_very_many_others_are_given_up() {
    let id = |number: usize| EpochId::parse(&number.to_string()).expect("a number");
    let bare = EpochFacts::default();
    let mut seen = Observation { now: 1e9, ..Observation::default() };
    seen.facts = (1..=EXPECTED + 10).map(|number| (id(number), bare.clone())).collect();
    let totals = Totals::of(&seen, "v", 3600.0);
    assert_eq!((totals.finished.len(), totals.unfinished), (9, EXPECTED as u64 + 1));
}

#[test]
fn an_id_without_a_trace_is_given_up_only_when_newer_epochs_are_long_over() {
    let id = |text: &str| EpochId::parse(text).expect(text);
    let now = 100_000.0;
    let bare = EpochFacts::default();
    let old = EpochFacts { start: Some(now - 5000.0), ..bare.clone() };
    let mut seen = Observation { now, ..Observation::default() };
    seen.facts = [(id("9"), bare.clone()), (id("10"), old), (id("11"), bare)].into();
    let totals = Totals::of(&seen, "v", 3600.0);
    let finished: Vec<_> = totals.finished.iter().map(|(epoch, _)| epoch.as_str()).collect();
    assert_eq!(finished, ["9", "10"]);
    assert_eq!((totals.unfinished, totals.all.epochs, totals.all.unaccounted), (1, 3, 2));
}

/// An epoch with both batches, closed, its validators listed, by producers whose clock is `ahead` seconds ahead of 100,000.
fn finished_ahead(ahead: f64) -> EpochFacts {
    let at = |before: f64| Some(100_000.0 + ahead - before);
    let timeline = Moments { opened: at(60.0), closed: at(3.0), local: at(2.0), aggregated: at(1.0) };
    EpochFacts {
        timeline,
        submissions: Reading::Value(3),
        local_batch: true,
        aggregated_batch: true,
        ..at_its_end()
    }
}

#[test]
fn an_epoch_whose_times_are_a_little_ahead_is_sealed_when_they_have_come_and_with_these_times() {
    let id = EpochId::parse("7").expect("an id");
    for ahead in [2.0, 4.0, 5.0, 299.0] {
        let facts = finished_ahead(ahead);
        let mut seen = Observation { now: 100_000.0, ..Observation::default() };
        seen.facts.insert(id.clone(), facts.clone());
        let early = Totals::of(&seen, "v", 3600.0);
        assert_eq!((early.finished.len(), early.all.epochs), (0, 1), "{ahead} s ahead");
        // The next pass merges what this one has stored.
        seen.stored.extend(early.changed);
        seen.now += ahead;
        let totals = Totals::of(&seen, "v", 3600.0);
        let [(_, entry)] = &totals.finished[..] else { panic!("it is sealed: {totals:?}") };
        let second = |before: f64| Moment::At((100_000.0 + ahead - before) as u64);
        assert_eq!((entry.local, entry.aggregated), (second(2.0), second(1.0)));
        assert_eq!((entry.opened, entry.closed), (second(60.0), second(3.0)));
    }
}

#[test]
fn a_time_that_is_far_ahead_holds_nothing_up_and_is_told() {
    let facts = finished_ahead(400.0);
    let names: Vec<_> = facts.unreadable_times(100_000.0).map(|(name, _)| name).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let mut seen = Observation { now: 100_000.0, ..Observation::default() };
    seen.facts.insert(EpochId::parse("7").expect("an id"), facts);
    let totals = Totals::of(&seen, "v", 3600.0);
    assert_eq!((totals.all.epochs, totals.all.local, totals.all.aggregated), (1, 1, 1));
}

#[test]
fn a_batch_counts_in_the_hour_in_which_it_was_made_whether_or_not_the_opening_is_known() {
    let unopened = Entry {
        opened: Moment::Sometime,
        local: Moment::At(7_199),
        aggregated: Moment::At(7_200),
        submissions: 5,
        ..Entry::default()
    };
    let batch = HourSums { batches: 1, ..HourSums::default() };
    assert_eq!(unopened.hours(), [(3_600, batch), (7_200, batch)].into());
    let opened = Entry { opened: Moment::At(3_700), ..unopened };
    assert_eq!(opened.hours()[&3_600], HourSums { epochs: 1, batches: 1, submissions: 5 });
}

#[test]
fn an_epoch_is_one_whatever_tells_of_it_alone() {
    let alone = [
        EpochFacts::default(),
        EpochFacts { open: Some(true), ..EpochFacts::default() },
        EpochFacts { local_batch: true, ..EpochFacts::default() },
        EpochFacts { submissions: Reading::Value(2), ..EpochFacts::default() },
        EpochFacts { state: Reading::Value(StateHash::default()), ..EpochFacts::default() },
    ];
    for facts in alone {
        assert_eq!(Entry::observed(&facts, "v", 1000.0).sums().epochs, 1, "{facts:?}");
    }
}

#[test]
fn submissions_that_no_producer_wrote_are_unknown_and_not_none() {
    let batched = |now: f64, submissions| {
        let timeline = Moments { opened: Some(1000.0), local: Some(1060.0), ..Moments::default() };
        let facts = EpochFacts { timeline, open: Some(false), submissions, ..EpochFacts::default() };
        let mut seen = Observation { now, ..Observation::default() };
        seen.facts.insert(EpochId::parse("7").expect("an id"), facts);
        Totals::of(&seen, "v", 3600.0)
    };
    let unwritten = batched(1100.0, Reading::Absent);
    assert!(unwritten.lack_submissions());
    // Sealed by time, it is on record as unaccounted, and the total is still no 0.
    let sealed = batched(9000.0, Reading::Absent);
    assert_eq!((sealed.finished.len(), sealed.all.unaccounted), (1, 1));
    assert!(sealed.lack_submissions());
    assert!(!batched(1100.0, Reading::Value(3)).lack_submissions());
}

#[test]
fn only_an_epoch_with_a_trace_gives_up_the_ids_below_it() {
    let id = |number: u64| EpochId::parse(&number.to_string()).expect("an id");
    let open = EpochFacts { start: Some(990.0), duration: Some(100.0), ..EpochFacts::default() };
    let over = EpochFacts { start: Some(100.0), duration: Some(10.0), ..EpochFacts::default() };
    let sealed = |facts: EpochFacts| {
        let facts = [(id(1), EpochFacts::default()), (id(2), facts)].into();
        let stored = [(id(1), Entry { seen: 999, opened: Moment::Sometime, ..Entry::default() })].into();
        let seen = Observation { now: 1_000.0, facts, stored, ..Observation::default() };
        let finished = Totals::of(&seen, "v", 500.0).finished;
        finished.iter().map(|(epoch, _)| epoch.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sealed(over), ["1", "2"]);
    assert_eq!(sealed(open), [""; 0]);
    assert_eq!(sealed(EpochFacts::default()), [""; 0], "another bare id says nothing");
}

#[test]
fn submissions_that_become_accounted_are_no_late_change() {
    let id = EpochId::parse("7").expect("an id");
    let sealed = Entry {
        seen: 900,
        opened: Moment::At(900),
        submissions: 3,
        closed: Moment::At(960),
        ..Entry::default()
    };
    let facts = EpochFacts { submissions: Reading::Value(3), ..EpochFacts::default() };
    let mut seen = Observation { now: 1_000.0, ..Observation::default() };
    seen.facts.insert(id.clone(), facts);
    seen.sealed.insert(id.clone(), sealed.clone().into());
    assert_eq!(Totals::of(&seen, "v", 3_600.0).late, []);
    // A close is one, since the gaps of an epoch depend on its end.
    seen.sealed.insert(id, Entry { closed: Moment::Never, ..sealed }.into());
    seen.facts.values_mut().for_each(|facts| facts.timeline.closed = Some(960.0));
    assert_eq!(Totals::of(&seen, "v", 3_600.0).late.len(), 1);
}

#[test]
fn a_total_of_submissions_is_unknown_where_there_must_have_been_some() {
    let lacks = |unknown_submissions, submissions, unaccounted, local| {
        let all = Sums { submissions, unaccounted, local, ..Sums::default() };
        Totals { unknown_submissions, all, ..Totals::default() }.lack_submissions()
    };
    assert!(lacks(1, 5, 0, 0) && lacks(0, 0, 1, 1));
    assert!(!lacks(0, 0, 0, 1) && !lacks(0, 0, 1, 0) && !lacks(0, 1, 1, 1) && !lacks(0, 0, 0, 0));
}

#[test]
fn submissions_are_unknown_where_they_can_not_be_read_and_none_were_ever_read() {
    let id = EpochId::parse("7").expect("an id");
    let unknown = |submissions, known| {
        let facts = EpochFacts { submissions, start: Some(990.0), ..EpochFacts::default() };
        let stored = [(id.clone(), Entry { submissions: known, ..Entry::default() })].into();
        let seen = Observation {
            now: 1_000.0,
            facts: [(id.clone(), facts)].into(),
            stored,
            ..Observation::default()
        };
        Totals::of(&seen, "v", 3_600.0).unknown_submissions
    };
    assert_eq!((unknown(Reading::Unreadable, 0), unknown(Reading::Unreadable, 3)), (1, 0));
    assert_eq!((unknown(Reading::Absent, 0), unknown(Reading::Value(0), 0)), (0, 0));
}

#[test]
fn what_is_sealed_unaccounted_and_which_hours_have_changed() {
    let id = |number: u64| EpochId::parse(&number.to_string()).expect("an id");
    let entry = |opened, accounted| Entry { opened: Moment::At(opened), accounted, ..Entry::default() };
    let totals = Totals {
        finished: vec![(id(1), entry(7_300, true)), (id(2), entry(11_000, false))],
        changed: vec![(id(3), Entry { local: Moment::At(18_100), ..entry(14_500, false) })],
        ..Totals::default()
    };
    let unaccounted: Vec<&str> = totals.unaccounted().map(|(epoch, _)| epoch.as_str()).collect();
    assert_eq!(unaccounted, ["2"]);
    assert_eq!(totals.changed_hours(), [7_200, 10_800, 14_400, 18_000].into());
}
