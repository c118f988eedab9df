//! What the facts of a pass prove of an epoch, and what follows from an entry.

use super::*;

const NOW: f64 = 1_000_000.0;

/// An epoch whose window was opened 100 seconds ago.
fn opened() -> EpochFacts {
    EpochFacts { start: Some(NOW - 100.0), ..EpochFacts::default() }
}

fn due(facts: &EpochFacts) -> u64 {
    Entry::observed(facts, "v", NOW).due
}

#[test]
fn a_window_is_due_by_its_end_else_by_its_length_and_no_plan_is_longer_than_the_longest_window() {
    let lasting = |duration| EpochFacts { duration, ..opened() };
    for (duration, length) in
        [(Some(40.0), 40), (None, 60), (Some(LONGEST_WINDOW), 86_400), (Some(LONGEST_WINDOW + 1.0), 60)]
    {
        assert_eq!(due(&lasting(duration)), 999_900 + length, "{duration:?}");
    }
    for (end, expected) in [
        (NOW - 50.0, 999_950),
        (NOW + LONGEST_WINDOW, 1_086_400),
        (NOW + LONGEST_WINDOW + 1.0, 999_940),
        (0.0, 999_940),
        (-5.0, 999_940),
    ] {
        assert_eq!(due(&EpochFacts { end: Some(end), ..lasting(Some(40.0)) }), expected, "{end}");
    }
    assert_eq!(due(&EpochFacts::default()), 0, "nothing says when it was opened");
}

#[test]
fn a_validator_is_included_where_the_list_names_it() {
    let of = |names: &[&str]| {
        let named = names.iter().map(|name| (*name).to_owned()).collect();
        let facts = EpochFacts { batch_validators: Reading::Value(named), ..opened() };
        let entry = Entry::observed(&facts, "v", NOW);
        (entry.listed, entry.included)
    };
    assert_eq!(
        (of(&["v"]), of(&["w", "v"]), of(&["w"]), of(&[])),
        ((true, true), (true, true), (true, false), (true, false))
    );
    let entry = Entry::observed(&opened(), "v", NOW);
    assert_eq!((entry.listed, entry.included), (false, false));
}

#[test]
fn submissions_are_accounted_once_they_were_read_after_the_window_or_could_not_have_expired() {
    let accounted = |submissions, start: f64, local_batch, open| {
        let facts =
            EpochFacts { submissions, start: Some(start), local_batch, open, ..EpochFacts::default() };
        Entry::observed(&facts, "v", NOW).accounted
    };
    let (over, running) = (NOW - 100.0, NOW - 10.0);
    for (submissions, start, local, expected) in [
        (Reading::Value(3), over, false, true),
        (Reading::Value(3), running, false, false),
        (Reading::Unreadable, over, false, false),
        (Reading::Absent, over, false, true),
        // There must have been some.
        (Reading::Absent, over, true, false),
        // Their key may have expired.
        (Reading::Absent, NOW - 3_599.0, false, true),
        (Reading::Absent, NOW - 3_600.0, false, false),
    ] {
        assert_eq!(accounted(submissions, start, local, None), expected, "{submissions:?}, {start}, {local}");
    }
    assert!(accounted(Reading::Value(3), running, false, Some(false)), "it was closed early");
}

#[test]
fn submissions_are_unwritten_where_there_must_be_some_and_their_key_could_not_have_expired() {
    let young = Moment::At(999_000);
    for (local, submissions, opened, read, expected) in [
        (Moment::Sometime, 0, young, Reading::Absent, true),
        (Moment::Never, 0, young, Reading::Absent, false),
        (Moment::Sometime, 2, young, Reading::Absent, false),
        (Moment::Sometime, 0, Moment::At(900_000), Reading::Absent, false),
        (Moment::Sometime, 0, Moment::Sometime, Reading::Absent, false),
        (Moment::Sometime, 0, young, Reading::Unreadable, false),
    ] {
        let entry = Entry { local, submissions, opened, ..Entry::default() };
        let facts = EpochFacts { submissions: read, ..EpochFacts::default() };
        assert_eq!(entry.has_unwritten_submissions(&facts, NOW), expected, "{entry:?}, {read:?}");
    }
}

#[test]
fn of_two_entries_the_earlier_sight_and_every_flag_count() {
    let seen = |seen| Entry { seen, ..Entry::default() };
    let first = |one, other| seen(one).merge(&seen(other)).seen;
    // 0 is an entry that could not be read.
    assert_eq!((first(3, 5), first(5, 3), first(0, 5), first(5, 0)), (3, 3, 5, 5));
    let none = Entry::default();
    for flagged in [
        Entry { listed: true, ..Entry::default() },
        Entry { included: true, ..Entry::default() },
        Entry { accounted: true, ..Entry::default() },
    ] {
        assert_eq!((flagged.merge(&none), none.merge(&flagged)), (flagged.clone(), flagged.clone()));
    }
}

#[test]
fn a_window_is_over_when_it_was_closed_or_when_its_plan_says_so() {
    for (closed, due, over) in [
        (Moment::Never, 0, false),
        (Moment::Never, 1_000_000, true),
        (Moment::Never, 1_000_001, false),
        (Moment::Sometime, 0, true),
        (Moment::Sometime, 1_000_001, true),
    ] {
        let entry = Entry { closed, due, ..Entry::default() };
        assert_eq!(entry.is_window_over(NOW), over, "{closed:?}, due {due}");
    }
}

#[test]
fn an_entry_with_anything_but_an_id_is_not_bare() {
    let bare = Entry { seen: 5, opened: Moment::Sometime, ..Entry::default() };
    assert!(bare.is_bare());
    for known in [
        Entry { opened: Moment::At(5), ..bare.clone() },
        Entry { closed: Moment::At(5), ..bare.clone() },
        Entry { due: 5, ..bare.clone() },
        Entry { submissions: 1, ..bare.clone() },
        Entry { local: Moment::Sometime, ..bare.clone() },
        Entry { aggregated: Moment::Sometime, ..bare.clone() },
    ] {
        assert!(!known.is_bare(), "{known:?}");
    }
}

#[test]
fn the_end_of_a_window_is_the_best_known_one() {
    let all = Entry {
        seen: 900,
        opened: Moment::At(100),
        closed: Moment::At(170),
        due: 165,
        local: Moment::At(300),
        aggregated: Moment::At(400),
        ..Entry::default()
    };
    assert_eq!((all.end_of_window(), all.last_time()), (170, Some(400)));
    let unclosed = Entry { closed: Moment::Sometime, ..all };
    assert_eq!(unclosed.end_of_window(), 165);
    let without_plan = Entry { due: 0, ..unclosed };
    assert_eq!(without_plan.end_of_window(), 160, "60 seconds after it was opened");
    let batched = Entry { opened: Moment::Sometime, ..without_plan };
    assert_eq!((batched.end_of_window(), batched.last_time()), (400, Some(400)));
    let aggregated = Entry { local: Moment::At(500), ..batched.clone() };
    assert_eq!((aggregated.end_of_window(), aggregated.last_time()), (500, Some(500)));
    let seen = Entry { local: Moment::Sometime, aggregated: Moment::Never, ..batched };
    assert_eq!((seen.end_of_window(), seen.last_time()), (900, None));
}

#[test]
fn a_window_closed_within_some_seconds_or_is_still_open() {
    let closed = |at| Entry { closed: Moment::At(at), ..Entry::default() };
    let within = [996_399, 996_400, 996_401, 1_000_050].map(|at| closed(at).closed_within(3_600, NOW));
    assert_eq!(within, [false, false, true, true]);
}

#[test]
fn submissions_are_unaccounted_of_opened_epochs_alone() {
    let unaccounted = |opened, accounted| Entry { opened, accounted, ..Entry::default() }.sums().unaccounted;
    let opened = Moment::Sometime;
    assert_eq!((unaccounted(opened, false), unaccounted(opened, true)), (1, 0));
    assert_eq!((unaccounted(Moment::Never, false), unaccounted(Moment::Never, true)), (0, 0));
}

#[test]
fn sums_are_read_back_under_the_names_under_which_they_were_stored() {
    let sums =
        Sums { epochs: 1, submissions: 2, local: 3, aggregated: 4, included: 5, unaccounted: 6, late: 7 };
    let names = ["epochs", "submissions", "local", "aggregated", "included", "unaccounted", "late"];
    assert_eq!(sums.fields().to_vec(), names.into_iter().zip(1..).collect::<Vec<_>>());
    assert_eq!(Sums::from_fields(sums.fields().into_iter().chain([("entries", 9)])), sums);
    let twice = sums.plus(sums).fields().map(|(_, value)| value);
    assert_eq!(twice, [2, 4, 6, 8, 10, 12, 14]);
}

#[test]
fn the_sums_of_hours_add_up() {
    let hour = HourSums { epochs: 1, batches: 2, submissions: 3 };
    assert_eq!(hour.plus(hour), HourSums { epochs: 2, batches: 4, submissions: 6 });
    let most = HourSums { epochs: u64::MAX, ..hour };
    assert_eq!(most.plus(hour).epochs, u64::MAX, "a damaged number does not wrap around");
}
