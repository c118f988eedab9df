//! The datasets over hours and days.

use std::collections::BTreeMap;

use super::*;
use crate::{
    EpochId,
    tracker::{Day, EpochFacts},
};
use proptest::prelude::*;

#[test]
fn participation_divides_by_aggregated_batches_and_inclusion_by_own_ones() {
    let some = Participation { epochs: Some(9), level1: Some(4), aggregated: Some(5), inclusions: Some(2) };
    let json = some.to_json(100.9);
    assert_eq!((&json["participation_rate"], &json["inclusion_rate"]), (&json!(40), &json!(50)));
    assert_eq!((&json["epochs_participated_24h"], &json["epochs_total_24h"]), (&json!(4), &json!(9)));
    assert_eq!(json["timestamp"], 100);
}

#[test]
fn a_rate_is_at_most_100_and_of_nothing_0_and_of_the_unknown_null() {
    let rate = |inclusions, level1| {
        Participation { inclusions, level1, ..Participation::default() }.to_json(0.0)["inclusion_rate"]
            .clone()
    };
    assert_eq!(rate(Some(7), Some(5)), json!(100));
    assert_eq!(rate(Some(0), Some(0)), json!(0));
    assert_eq!(rate(None, Some(5)), Value::Null);
}

#[test]
fn hours_have_the_form_that_readers_know() {
    let hour =
        HourStats { start: 1_795_338_000, end: 1_795_340_103, epochs: Some(3), ..HourStats::default() };
    let json = hour.to_json(1_795_340_103.0);
    assert_eq!(
        (&json["hour_start"], &json["hour_end"]),
        (&json!("2026-11-22T09:00:00Z"), &json!("2026-11-22T09:35:03Z"))
    );
    assert_eq!((&json["epochs"], &json["batches"]), (&json!(3), &Value::Null));
}

#[test]
fn a_day_begins_24_hours_ago_and_sums_up_its_hours() {
    let mut day =
        DayStats { end: 1_795_340_103, batches: Some(7), submissions: Some(0), ..DayStats::default() };
    day.epochs = [Some(0); 24];
    day.epochs[23] = Some(3);
    let json = day.to_json(1_795_340_103.0);
    assert_eq!(json["period_start"], "2026-11-21T09:35:03Z");
    assert_eq!(json["epochs_total"], 3);
    let hours = json["hourly_breakdown"].as_array().expect("an array");
    assert_eq!(
        (hours.len(), &hours[0]["hour"], &hours[23]),
        (24, &json!("09:35"), &json!({ "hour": "08:35", "epochs": 3 }))
    );
    day.epochs[5] = None;
    assert_eq!(day.to_json(0.0)["epochs_total"], Value::Null);
}

proptest! {
    #[test]
    fn every_moment_of_a_day_belongs_to_exactly_one_of_its_hours(end in DAY..4_000_000_000_u64, back in 1..=DAY) {
        let moment = end - back;
        let holding = DayStats::hours(end).filter(|&(start, end)| start <= moment && moment < end).count();
        prop_assert_eq!(holding, 1);
    }

    #[test]
    fn the_two_hours_of_a_moment_touch_and_do_not_overlap(now in HOUR..4_000_000_000_u64) {
        let [(before, end), (start, until)] = HourStats::hours(now);
        prop_assert_eq!((end, end - before, until), (start, HOUR, now));
        prop_assert!(start <= now && now < start + HOUR && start.is_multiple_of(HOUR));
    }
}

/// An hour's start, and ten minutes later.
const START: u64 = 1_000 * HOUR;
const NOW: u64 = START + 600;

fn unsealed(entries: impl IntoIterator<Item = Entry>) -> Totals {
    let id = |number: u64| EpochId::parse(&number.to_string()).expect("a number");
    Totals { unsealed: (1..).map(id).zip(entries).collect(), ..Totals::default() }
}

#[test]
fn participation_adds_the_unsealed_epochs_of_the_day_to_the_sealed_ones() {
    let at = |at| Moment::At(at);
    let batch = |aggregated, listed, included| Entry { aggregated, listed, included, ..Entry::default() };
    let opened = |opened| Entry { opened, ..Entry::default() };
    let totals = unsealed([
        opened(at(NOW)),
        opened(at(NOW - DAY + 1)),
        // Not of the day, or at an unknown time.
        opened(at(NOW - DAY)),
        opened(at(NOW + 1)),
        opened(Moment::Sometime),
        batch(at(NOW), true, true),
        batch(at(NOW - 5), true, false),
        batch(at(NOW - 5), false, false),
        batch(at(NOW - DAY), true, true),
    ]);
    let day =
        Day { opened: Some(10), aggregated: Some(20), listed: Some(15), included: Some(7), level1: Some(9) };
    let of = |day, totals: &Totals| {
        Participation::of(&Observation { now: NOW as f64 + 0.5, day, ..Observation::default() }, totals)
    };
    let expected =
        Participation { epochs: Some(12), level1: Some(9), aggregated: Some(23), inclusions: Some(8) };
    assert_eq!(of(day, &totals), expected);
    assert_eq!(of(Day::default(), &totals), Participation::default(), "what can't be read stays unknown");
    // Producers that list nobody: how often this validator was included is unknown.
    let none = Day { listed: Some(0), included: Some(0), ..day };
    assert_eq!(of(none, &Totals::default()).inclusions, None);
    assert_eq!(of(Day { aggregated: Some(0), ..none }, &Totals::default()).inclusions, Some(0));
    assert_eq!(of(none, &totals).inclusions, Some(1), "an unsealed one has a list");
}

#[test]
fn the_hours_that_readers_ask_for_are_the_running_one_and_47_before() {
    let all = HourStats::all(NOW);
    assert_eq!(
        (all.len(), all[0], all[46], all[47]),
        (48, (START - 47 * HOUR, START - 46 * HOUR), (START - HOUR, START), (START, NOW))
    );
    let past: Vec<u64> = HourStats::past(NOW).collect();
    assert_eq!((past.len(), past[0], past[46]), (47, START - 47 * HOUR, START - HOUR));
    assert_eq!(HourStats::past(2 * HOUR + 5).collect::<Vec<_>>(), [0, HOUR], "time begins in 1970");
    let unfinished = |passed: u64| HourStats::unfinished(Some(passed as f64 + 0.9), NOW);
    assert_eq!(unfinished(NOW - 60), None, "it runs still");
    assert_eq!(
        (unfinished(START - 1), unfinished(START - 47 * HOUR)),
        (Some(START - HOUR), Some(START - 47 * HOUR))
    );
    assert_eq!((unfinished(START - 47 * HOUR - 1), HourStats::unfinished(None, NOW)), (None, None));
}

#[test]
fn an_hour_adds_the_unsealed_entries_to_its_sealed_sums_and_counts_each_validator_once() {
    let entry = |opened, submissions| Entry { opened: Moment::At(opened), submissions, ..Entry::default() };
    let batched =
        Entry { local: Moment::At(START + 9), aggregated: Moment::At(START + HOUR), ..entry(START - 5, 7) };
    let totals = unsealed([entry(START + 5, 3), entry(START + HOUR, 50), batched]);
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let named = |names| EpochFacts { batch_validators: Reading::Value(list(names)), ..EpochFacts::default() };
    let facts = totals.unsealed.iter().map(|(epoch, _)| epoch.clone());
    let facts = facts.zip([named(&["b", "c", ""]), named(&["other"]), named(&["third"])]).collect();
    let sums = HourSums { epochs: 4, batches: 6, submissions: 100 };
    let seen = Observation {
        facts,
        hours: Some(BTreeMap::from([(START, sums)])),
        hour_validators: [(START, Some(list(&["a", "b"]).into_iter().collect()))].into(),
        ..Observation::default()
    };
    let hour = HourStats::of(&seen, &totals, (START, NOW));
    let expected = HourStats {
        start: START,
        end: NOW,
        epochs: Some(5),
        batches: Some(7),
        submissions: Some(103),
        unique_validators: Some(3),
    };
    assert_eq!(hour, expected);
    assert!(!hour.is_empty());
    let nothing = HourStats::of(
        &Observation { hours: Some(BTreeMap::new()), ..Observation::default() },
        &Totals::default(),
        (START, NOW),
    );
    assert!(nothing.is_empty() && nothing.unique_validators.is_none());
    let unread = HourStats::of(&Observation::default(), &totals, (START, NOW));
    assert!(unread.epochs.is_none() && !unread.is_empty(), "what can't be read is not nothing");
}

#[test]
fn a_day_counts_epochs_by_their_opening_and_batches_by_their_own_time() {
    let entry = |opened, submissions| Entry { opened: Moment::At(opened), submissions, ..Entry::default() };
    let (first, end) = (NOW - DAY, NOW);
    let batches = Entry { local: Moment::At(first), aggregated: Moment::At(end), ..Entry::default() };
    let totals = unsealed([entry(first, 1), entry(end - 1, 2), entry(end, 40), batches]);
    let seen = Observation {
        past: vec![entry(first + HOUR, 10), entry(first + 2 * HOUR - 1, 20), entry(first - 1, 80)],
        past_batches: Some(5),
        ..Observation::default()
    };
    let day = DayStats::of(&seen, &totals, end);
    assert_eq!((day.end, day.batches, day.submissions), (end, Some(6), Some(33)));
    let mut hours = [Some(0); 24];
    (hours[0], hours[1], hours[23]) = (Some(1), Some(2), Some(1));
    assert_eq!(day.epochs, hours);
    assert_eq!(DayStats::of(&Observation::default(), &totals, end).batches, None);
    assert_eq!(DayStats::period(end), (first, end));
}

#[test]
fn times_are_written_in_utc_and_no_later_than_the_form_allows() {
    assert_eq!(
        (rfc3339(0), rfc3339(u64::MAX)),
        ("1970-01-01T00:00:00Z".to_owned(), "9999-12-31T23:59:59Z".to_owned())
    );
    assert_eq!(
        (hour_of_day(DAY + 3 * HOUR + 7 * 60 + 59), hour_of_day(0)),
        ("03:07".to_owned(), "00:00".to_owned())
    );
}
