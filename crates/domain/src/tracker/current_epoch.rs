//! The dataset `metrics:current_epoch`: which epoch is the current one, and its phase.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{Field, ValueOf, field, object, whole_second};
use crate::{
    EpochId, Number,
    chain::{Window, WindowState},
    tracker::{DEFAULT_WINDOW, Entry, EpochFacts, LONGEST_WINDOW, Moment, Moments, Reading},
};

/// The phase of an epoch, as readers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its window is open.
    Submission,
    /// Its window is closed, and there is no local batch.
    Finalization,
    /// There is a local batch, and no aggregated one.
    Aggregation,
    /// There are both.
    Complete,
    /// No key says whether its window is open, and there is no batch.
    Unknown,
}

impl Phase {
    /// The name in the dataset.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Finalization => "finalization",
            Self::Aggregation => "aggregation",
            Self::Complete => "complete",
            Self::Unknown => "unknown",
        }
    }
}

/// An epoch that may be the current one.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub epoch: EpochId,
    /// What was read of its keys.
    pub facts: EpochFacts,
    /// What the ledger knows of it: more than its keys, once they have expired.
    pub known: Option<Entry>,
}

impl Candidate {
    /// Whether its window is open at `now`: by its status, else by the timeline, else by the ledger; `None` when none says so.
    #[must_use]
    pub fn is_open(&self, now: f64) -> Option<bool> {
        let Moments { opened, closed, .. } = self.facts.timeline;
        let by_timeline =
            match (opened.map(|at| Moment::claimed(at, now)), closed.map(|at| Moment::claimed(at, now))) {
                (_, Some(closed)) if closed.has_happened() => Some(false),
                // No window is longer: an opening that was written days late opens none.
                (Some(opened), _) if opened.has_happened() => {
                    Some(opened.at().is_none_or(|at| now < at as f64 + LONGEST_WINDOW))
                }
                _ => None,
            };
        let by_ledger = || {
            let known = self.known.as_ref()?;
            let is_over = known.due > 0 && now >= known.due as f64;
            // Without a plan nothing says how long it lasts.
            (known.closed.has_happened() || known.due > 0).then_some(!known.closed.has_happened() && !is_over)
        };
        // An opening that was written late opens no epoch that was closed.
        let was_closed = self.known.as_ref().is_some_and(|known| known.closed.has_happened());
        let by_timeline = if was_closed { Some(false) } else { by_timeline };
        self.facts.open.or(by_timeline).or_else(by_ledger)
    }

    /// Its phase at `now`. A level is done when any of state, timeline, metadata and ledger says so.
    #[must_use]
    pub fn phase(&self, now: f64) -> Phase {
        let known = |of: fn(&Entry) -> Moment| self.known.as_ref().map(of).unwrap_or_default();
        let local = self.facts.local(now).max(known(|entry| entry.local)).has_happened();
        let aggregated = self.facts.aggregated(now).max(known(|entry| entry.aggregated)).has_happened();
        match self.is_open(now) {
            // An open window wins over batches: readers count the remaining time down in this phase only.
            Some(true) => Phase::Submission,
            None if !local && !aggregated => Phase::Unknown,
            _ if !local && !self.facts.is_skipped() => Phase::Finalization,
            _ if !aggregated => Phase::Aggregation,
            _ => Phase::Complete,
        }
    }

    /// Its processed submissions; `None` when they could not be read.
    fn submissions(&self) -> Option<u64> {
        let known = self.known.as_ref().map_or(0, |known| known.submissions);
        match self.facts.submissions {
            Reading::Value(count) => Some(count.max(known)),
            Reading::Absent => Some(known),
            Reading::Unreadable => (known > 0).then_some(known),
        }
    }

    /// When its window opened and closed, and when its last batch was made, in Unix seconds. The greater one is the more recent epoch:
    /// by the opening, where that is known.
    fn when(&self, now: f64) -> [Option<u64>; 3] {
        let of = |facts: fn(&EpochFacts, f64) -> Moment, entry: fn(&Entry) -> Moment| {
            facts(&self.facts, now).max(self.known.as_ref().map(entry).unwrap_or_default()).at()
        };
        let local = of(EpochFacts::local, |entry| entry.local);
        let batches = local.max(of(EpochFacts::aggregated, |entry| entry.aggregated));
        [of(EpochFacts::opened, |entry| entry.opened), of(EpochFacts::closed, |entry| entry.closed), batches]
    }
}

/// Adds the epochs that the chain has released. What producers wrote of an epoch wins; the chain fills in what they did
/// not write.
pub fn learn_from_chain(candidates: &mut Vec<Candidate>, windows: &BTreeMap<u64, Window>, now: f64) {
    for (number, window) in windows {
        let Ok(epoch) = EpochId::parse(&number.to_string()) else { continue };
        let at = candidates.iter().position(|candidate| candidate.epoch == epoch).unwrap_or_else(|| {
            candidates.push(Candidate { epoch, facts: EpochFacts::default(), known: None });
            candidates.len() - 1
        });
        let candidate = &mut candidates[at];
        if candidate.is_open(now).is_none() {
            // A waiting window is open too: its limit runs from the release, and only our own limit of windows makes
            // it wait.
            candidate.facts.open = Some(!matches!(window.state, WindowState::Closed { .. }));
        }
        let facts = &mut candidate.facts;
        if facts.start.is_none() && facts.timeline.opened.is_none() {
            facts.start = Some(window.released as f64);
        }
        // An end is enough to compute the length, and a second source might contradict it.
        if facts.duration.is_none() && facts.end.is_none() {
            facts.duration = Some(window.limit.saturating_sub(window.released) as f64);
        }
    }
}

/// The fields of `metrics:current_epoch`.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentEpoch {
    /// The epoch.
    pub epoch: EpochId,
    /// Its phase.
    pub phase: Phase,
    /// Seconds until its window closes.
    pub time_remaining: u64,
    /// The length of its window in seconds.
    pub window: f64,
    /// Processed submissions; `None` when they could not be read.
    pub submissions: Option<u64>,
    /// Its market, where its info names one.
    pub data_market: Option<String>,
}

impl CurrentEpoch {
    /// The fields of the dataset.
    pub const FIELDS: &'static [Field<ValueOf<Self>>] = &[
        field(
            "epoch_id",
            |current, _| Some(json!(current.epoch.as_str())),
            "The id of the epoch, as a text.",
        ),
        field(
            "phase",
            |current, _| Some(json!(current.phase.as_str())),
            "The phase: `submission`, `finalization`, `aggregation`, `complete` or `unknown`.",
        ),
        field(
            "time_remaining_seconds",
            |current, _| Some(json!(current.time_remaining)),
            "The whole seconds until the submission window closes; 0 after that.",
        ),
        field(
            "window_duration",
            |current, _| Some(Number::Real(current.window).to_json()),
            "The length of the submission window in seconds; 60 where it is not known.",
        ),
        field(
            "submissions_received",
            |current, _| Some(json!(current.submissions)),
            "The processed submissions of the epoch.",
        ),
        field(
            "data_market",
            |current, _| current.data_market.as_ref().map(|market| json!(market)),
            "The data market; absent where the epoch's info names none.",
        ),
        field(
            "timestamp",
            |_, now| Some(json!(whole_second(now))),
            "When the tracker wrote it, in Unix seconds.",
        ),
    ];

    /// As the JSON object of `metrics:current_epoch`.
    #[must_use]
    pub fn to_json(&self, now: f64) -> Value {
        object(Self::FIELDS, self, now)
    }
}

/// The highest open epoch, else the most recent one; `None` without candidates.
#[must_use]
pub fn current_epoch(candidates: &[Candidate], now: f64) -> Option<CurrentEpoch> {
    let open = candidates
        .iter()
        .filter(|candidate| candidate.is_open(now) == Some(true))
        .max_by_key(|open| &open.epoch);
    // By time before id: an id of which only `epochs:active` tells has no time (0), and is current only when no other
    // epoch is known.
    let newest = || candidates.iter().max_by_key(|one| (one.when(now), &one.epoch));
    let current = open.or_else(newest)?;
    let facts = &current.facts;
    let opened = current.known.as_ref().and_then(|known| known.opened.at()).map(|at| at as f64);
    let start = facts.start.or(facts.timeline.opened).or(opened);
    let between = |(start, end): (f64, f64)| (end > start).then_some(end - start);
    let believed = |window: &f64| *window <= LONGEST_WINDOW;
    // Of an open window `end` is the plan. Of a closed one it is the time of closing, which may be any time.
    let by_plan = start.zip(facts.end.filter(|_| current.is_open(now) == Some(true))).and_then(between);
    let window = facts.duration.or(by_plan).filter(believed).unwrap_or(DEFAULT_WINDOW);
    let phase = current.phase(now);
    // A start ahead of our clock must not show more than the whole window.
    let left = start.map_or(window, |start| (start + window - now).max(0.0)).min(window);
    Some(CurrentEpoch {
        epoch: current.epoch.clone(),
        phase,
        time_remaining: if phase == Phase::Submission { left as u64 } else { 0 },
        window,
        submissions: current.submissions(),
        data_market: facts.data_market.clone(),
    })
}

#[cfg(test)]
mod tests {
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
        let candidates = [
            candidate("999", status(true)),
            candidate("1000", status(true)),
            candidate("1001", status(false)),
        ];
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
            candidate("1", EpochFacts { open, local_batch, aggregated_batch, ..EpochFacts::default() })
                .phase(0.0)
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
            EpochFacts {
                state: Reading::Value(StateHash { level1, level2, ..StateHash::default() }),
                ..closed()
            }
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
        Window { release_block: 1, released, limit, limit_block: 2, day: None, state }
    }

    #[test]
    fn what_the_chain_released_is_current_before_a_producer_has_written_of_it() {
        let mut candidates = vec![candidate("7", EpochFacts { open: Some(false), ..EpochFacts::default() })];
        learn_from_chain(
            &mut candidates,
            &BTreeMap::from([(8, window(1_000, 60, WindowState::Open))]),
            1_010.0,
        );
        let current = current_epoch(&candidates, 1_010.0).expect("there is one");
        assert_eq!((current.epoch.as_str(), current.phase), ("8", Phase::Submission));
        assert_eq!((current.window, current.time_remaining), (60.0, 50));
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
}
