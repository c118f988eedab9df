//! Which epoch is the current one, its phase and its fields.

use super::*;
use crate::tracker::StateHash;
use proptest::prelude::*;

/// Any facts that decide about the current epoch.
fn any_facts() -> impl Strategy<Value = EpochFacts> {
    let time = || proptest::option::of(0_f64..2e9);
    let open = proptest::option::of(any::<bool>());
    (open, time(), time(), proptest::option::of(0_f64..1e6), time(), time(), any::<[bool; 2]>()).prop_map(
        |(open, start, end, duration, opened, closed, [local_batch, aggregated_batch])| {
            let timeline = Moments { opened, closed, ..Moments::default() };
            EpochFacts {
                open,
                start,
                end,
                duration,
                timeline,
                local_batch,
                aggregated_batch,
                ..EpochFacts::default()
            }
        },
    )
}

proptest! {
    #[test]
    fn the_highest_open_epoch_is_current_whatever_stands_beside_it(
        all in proptest::collection::vec((0_u64..40, any_facts()), 0..12), now in 0_f64..2e9,
    ) {
        let all: Vec<_> = all.into_iter().map(|(epoch, facts)| candidate(&epoch.to_string(), facts)).collect();
        let number = |epoch: &EpochId| epoch.as_str().parse::<u64>().expect("a number");
        let open = all.iter().filter(|one| one.phase(now) == Phase::Submission);
        let highest = open.map(|one| number(&one.epoch)).max();
        let current = current_epoch(&all, now);
        prop_assert_eq!(current.is_some(), !all.is_empty());
        if let (Some(current), Some(highest)) = (&current, highest) {
            prop_assert_eq!((number(&current.epoch), current.phase), (highest, Phase::Submission));
        }
    }

    #[test]
    fn the_remaining_time_is_a_part_of_the_window_and_nothing_once_the_window_is_closed(
        facts in any_facts(), now in 0_f64..2e9, later in 0_f64..1e6,
    ) {
        let all = [candidate("7", facts)];
        let [first, second] = [now, now + later].map(|now| current_epoch(&all, now).expect("one"));
        prop_assert!(first.time_remaining as f64 <= first.window && first.window <= LONGEST_WINDOW);
        prop_assert!(second.time_remaining <= first.time_remaining, "time does not run backwards");
        prop_assert!(first.phase == Phase::Submission || first.time_remaining == 0);
    }

    #[test]
    fn an_epoch_goes_through_its_phases_in_order_as_facts_come_in(window: bool, first: bool, second: bool) {
        let phase = |open, local_batch, aggregated_batch| {
            let facts = EpochFacts { open: Some(open), local_batch, aggregated_batch, ..EpochFacts::default() };
            candidate("1", facts).phase(0.0) as u8
        };
        let now = phase(window, first, second);
        prop_assert!(phase(false, first, second) >= now);
        prop_assert!(phase(window, true, second) >= now && phase(window, true, true) >= now);
    }
}

fn candidate(epoch: &str, facts: EpochFacts) -> Candidate {
    Candidate { epoch: EpochId::parse(epoch).expect(epoch), facts, known: None }
}

fn status(open: bool) -> EpochFacts {
    EpochFacts { open: Some(open), ..EpochFacts::default() }
}

#[test]
fn the_current_epoch_is_the_highest_open_one() {
    let candidates =
        [candidate("999", status(true)), candidate("1000", status(true)), candidate("1001", status(false))];
    assert_eq!(current_epoch(&candidates, 0.0).expect("one").epoch.as_str(), "1000");
}

#[test]
fn without_an_open_one_it_is_the_most_recent() {
    let closed =
        |at| EpochFacts { timeline: Moments { closed: Some(at), ..Moments::default() }, ..status(false) };
    let candidates = [candidate("7", closed(300.0)), candidate("8", closed(200.0))];
    assert_eq!(current_epoch(&candidates, 400.0).expect("one").epoch.as_str(), "7");
    assert_eq!(current_epoch(&[], 0.0), None);
}

#[test]
fn a_window_is_open_by_its_status_then_by_the_timeline_then_by_the_ledger() {
    const NOW: f64 = 1_000_000.0;
    let is_open = |open, opened, closed, known| {
        let timeline = Moments { opened, closed, ..Moments::default() };
        let facts = EpochFacts { open, timeline, ..EpochFacts::default() };
        Candidate { known, ..candidate("1", facts) }.is_open(NOW)
    };
    let by_timeline = |opened, closed| is_open(None, opened, closed, None);
    let entry = |closed, due| Some(Entry { closed, due, ..Entry::default() });
    let by_ledger = |closed, due| is_open(None, None, None, entry(closed, due));
    assert_eq!(is_open(Some(true), None, Some(NOW - 5.0), None), Some(true));
    assert_eq!(is_open(Some(false), Some(NOW - 5.0), None, None), Some(false));
    for (opened, closed, open) in [
        (None, None, None),
        (Some(NOW - 10.0), None, Some(true)),
        // Not yet, and at an unknown time.
        (Some(NOW + 10.0), None, None),
        (Some(NOW + 10_000.0), None, Some(true)),
        (Some(NOW - 10.0), Some(NOW - 5.0), Some(false)),
        (Some(NOW - 10.0), Some(NOW + 5.0), Some(true)),
        (None, Some(NOW - 5.0), Some(false)),
        (Some(NOW - LONGEST_WINDOW), None, Some(false)),
        (Some(NOW - LONGEST_WINDOW + 1.0), None, Some(true)),
    ] {
        assert_eq!(by_timeline(opened, closed), open, "{opened:?}, {closed:?}");
    }
    for (closed, due, open) in [
        (Moment::Never, 0, None),
        (Moment::Never, 1_000_001, Some(true)),
        (Moment::Never, 1_000_000, Some(false)),
        (Moment::Sometime, 0, Some(false)),
        (Moment::Sometime, 1_000_001, Some(false)),
        (Moment::At(5), 0, Some(false)),
    ] {
        assert_eq!(by_ledger(closed, due), open, "{closed:?}, due {due}");
    }
    // An opening that was written late opens no epoch that was closed.
    assert_eq!(is_open(None, Some(NOW - 5.0), None, entry(Moment::At(5), 0)), Some(false));
    assert_eq!(is_open(None, Some(NOW - 5.0), None, entry(Moment::Never, 5)), Some(true));
}

#[test]
fn the_phase_follows_window_and_batches() {
    let phase = |open, local_batch, aggregated_batch| {
        candidate("1", EpochFacts { open, local_batch, aggregated_batch, ..EpochFacts::default() }).phase(0.0)
    };
    assert_eq!(phase(Some(true), true, true), Phase::Submission);
    assert_eq!(phase(Some(false), false, false), Phase::Finalization);
    assert_eq!(phase(Some(false), true, false), Phase::Aggregation);
    assert_eq!(phase(Some(false), true, true), Phase::Complete);
    assert_eq!(phase(None, false, false), Phase::Unknown);
    assert_eq!(phase(None, true, false), Phase::Aggregation);
}

#[test]
fn a_level_is_done_when_state_timeline_metadata_or_ledger_says_so() {
    let closed = || EpochFacts { open: Some(false), ..EpochFacts::default() };
    let state = |level1: &str, level2: &str| {
        let (level1, level2) = (Some(level1.to_owned()), Some(level2.to_owned()));
        EpochFacts { state: Reading::Value(StateHash { level1, level2, ..StateHash::default() }), ..closed() }
    };
    let timeline = |local, aggregated| EpochFacts {
        timeline: Moments { local, aggregated, ..Moments::default() },
        ..closed()
    };
    for (facts, phase) in [
        (state("pending", "pending"), Phase::Finalization),
        (state("completed", "pending"), Phase::Aggregation),
        (state("skipped", "pending"), Phase::Aggregation),
        (state("completed", "completed"), Phase::Complete),
        (state("skipped", "completed"), Phase::Complete),
        (timeline(Some(900.0), None), Phase::Aggregation),
        (timeline(Some(900.0), Some(910.0)), Phase::Complete),
        (timeline(Some(900.0), Some(1_004.0)), Phase::Aggregation),
    ] {
        assert_eq!(candidate("1", facts.clone()).phase(1_000.0), phase, "{facts:?}");
    }
    // A quiet market: only the ledger knows the epoch.
    let known = Entry {
        opened: Moment::At(500),
        closed: Moment::At(560),
        local: Moment::At(570),
        aggregated: Moment::At(580),
        submissions: 4,
        ..Entry::default()
    };
    let quiet = Candidate { known: Some(known), ..candidate("1", EpochFacts::default()) };
    let current = current_epoch(&[quiet], 90_000.0).expect("there is one");
    assert_eq!((current.phase, current.submissions), (Phase::Complete, Some(4)));
}

#[test]
fn submissions_that_can_not_be_read_are_those_of_the_ledger_and_not_none() {
    let count = |submissions, known| {
        let facts = EpochFacts { submissions, ..status(true) };
        let known = Some(Entry { submissions: known, ..Entry::default() });
        Candidate { known, ..candidate("1", facts) }.submissions()
    };
    assert_eq!((count(Reading::Unreadable, 0), count(Reading::Unreadable, 4)), (None, Some(4)));
    assert_eq!((count(Reading::Absent, 0), count(Reading::Absent, 4)), (Some(0), Some(4)));
    assert_eq!((count(Reading::Value(3), 4), count(Reading::Value(5), 4)), (Some(4), Some(5)));
}

#[test]
fn the_length_of_an_open_window_is_that_of_its_plan() {
    let length = |open, end| {
        let facts = EpochFacts { start: Some(990.0), end: Some(end), ..status(open) };
        current_epoch(&[candidate("5", facts)], 1000.0).expect("one").window
    };
    assert_eq!((length(true, 1_020.0), length(true, 990.0), length(true, 980.0)), (30.0, 60.0, 60.0));
    assert_eq!(length(false, 995.0), 60.0, "the end of a closed one may be any time");
}

#[test]
fn an_id_with_a_known_time_is_preferred_to_a_higher_one_without() {
    let timed = EpochFacts { start: Some(500.0), open: Some(false), ..EpochFacts::default() };
    let all = [candidate("7", timed), candidate("99999999", EpochFacts::default())];
    assert_eq!(current_epoch(&all, 1_000.0).expect("one").epoch.as_str(), "7");
    assert_eq!(current_epoch(&all[1..], 1_000.0).expect("one").epoch.as_str(), "99999999");
}

#[test]
fn the_remaining_time_counts_from_the_start_and_never_falls_below_zero() {
    let open = |start, duration| {
        let facts = EpochFacts { start, duration, submissions: Reading::Value(3), ..status(true) };
        current_epoch(&[candidate("5", facts)], 1000.0).expect("one")
    };
    assert_eq!(open(Some(990.0), Some(600.0)).time_remaining, 590);
    assert_eq!(open(Some(100.0), Some(600.0)).time_remaining, 0);
    assert_eq!(open(Some(2000.0), Some(600.0)).time_remaining, 600);
    assert_eq!((open(Some(990.0), None).time_remaining, open(Some(990.0), None).window), (50, 60.0));
    let json = open(Some(990.0), Some(20.0)).to_json(1000.7);
    assert_eq!(
        json.to_string(),
        r#"{"epoch_id":"5","phase":"submission","submissions_received":3,"time_remaining_seconds":10,"timestamp":1000,"window_duration":20}"#
    );
}

fn window(released: u64, length: u64, state: WindowState) -> Window {
    let limit = released + length;
    Window { release_block: 1, released, limit, limit_block: 2, expires: u64::MAX, day: None, state }
}

#[test]
fn what_the_chain_released_is_current_before_a_producer_has_written_of_it() {
    let mut candidates = vec![candidate("7", EpochFacts { open: Some(false), ..EpochFacts::default() })];
    learn_from_chain(&mut candidates, &BTreeMap::from([(8, window(1_000, 60, WindowState::Open))]), 1_010.0);
    let current = current_epoch(&candidates, 1_010.0).expect("there is one");
    assert_eq!((current.epoch.as_str(), current.phase), ("8", Phase::Submission));
    assert_eq!((current.window, current.time_remaining), (60.0, 50));
    // Its length is not known: it is open for the usual time.
    for (now, phase) in [(1_059.0, Phase::Submission), (1_060.0, Phase::Finalization)] {
        let mut candidates = Vec::new();
        learn_from_chain(
            &mut candidates,
            &BTreeMap::from([(8, window(1_000, 0, WindowState::Unmeasured))]),
            now,
        );
        let current = current_epoch(&candidates, now).expect("there is one");
        assert_eq!((current.phase, current.window), (phase, DEFAULT_WINDOW));
    }
    // The chain has closed it, and nothing else is known of it.
    let mut candidates = Vec::new();
    let closed = window(1_000, 60, WindowState::Closed { block: 2 });
    learn_from_chain(&mut candidates, &BTreeMap::from([(8, closed)]), 1_100.0);
    assert_eq!(candidates[0].phase(1_100.0), Phase::Finalization);
}

proptest! {
    #[test]
    fn what_producers_wrote_of_an_epoch_counts_whatever_the_chain_tells(
        facts in any_facts(), released in 0_u64..2_000_000_000, length in 1_u64..100_000, closed in any::<bool>(),
    ) {
        let state = if closed { WindowState::Closed { block: 2 } } else { WindowState::Open };
        let before = candidate("8", facts);
        let mut after = vec![before.clone()];
        learn_from_chain(&mut after, &BTreeMap::from([(8, window(released, length, state))]), 2e9);
        prop_assert_eq!(after.len(), 1);
        let after = &after[0];
        if before.is_open(2e9).is_some() {
            prop_assert_eq!(after.is_open(2e9), before.is_open(2e9));
            prop_assert_eq!(after.phase(2e9), before.phase(2e9));
        } else {
            prop_assert_eq!(after.is_open(2e9), Some(!closed));
        }
        let known = |before: Option<f64>, after: Option<f64>| before.is_none() || before == after;
        prop_assert!(known(before.facts.start, after.facts.start));
        prop_assert!(known(before.facts.duration, after.facts.duration));
        prop_assert_eq!(before.facts.end, after.facts.end);
    }
}
