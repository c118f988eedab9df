//! The dataset `metrics:current_epoch`: which epoch is the current one, and its phase.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{Field, ValueOf, field, object, whole_second};
use crate::{
    EpochId, Number,
    chain::{Window, WindowState},
    tracker::{DEFAULT_WINDOW, EpochFacts, LONGEST_WINDOW},
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
}

impl Candidate {
    /// Whether its window is open: by its status, else by the timeline; `None` when neither says so.
    #[must_use]
    pub fn is_open(&self) -> Option<bool> {
        let timeline = &self.facts.timeline;
        let by_timeline =
            (timeline.opened.is_some() || timeline.closed.is_some()).then_some(timeline.closed.is_none());
        self.facts.open.or(by_timeline)
    }

    /// Its phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let EpochFacts { timeline, local_batch, aggregated_batch, .. } = &self.facts;
        // Either is proof enough: metadata and timeline entry expire on their own.
        let local = *local_batch || timeline.local.is_some();
        let aggregated = *aggregated_batch || timeline.aggregated.is_some();
        match self.is_open() {
            // An open window wins over batches: readers count the remaining time down in this phase only.
            Some(true) => Phase::Submission,
            None if !local && !aggregated => Phase::Unknown,
            _ if !local => Phase::Finalization,
            _ if !aggregated => Phase::Aggregation,
            _ => Phase::Complete,
        }
    }

    /// The latest known time of its window in Unix seconds; 0 when none is known.
    fn last_sign(&self) -> f64 {
        let EpochFacts { timeline, start, .. } = &self.facts;
        let times = [timeline.opened, timeline.closed, *start];
        times.into_iter().flatten().fold(0.0, f64::max)
    }
}

/// Adds the epochs that the chain has released. What producers wrote of an epoch wins; the chain fills in what they did
/// not write.
pub fn learn_from_chain(candidates: &mut Vec<Candidate>, windows: &BTreeMap<u64, Window>) {
    for (number, window) in windows {
        let Ok(epoch) = EpochId::parse(&number.to_string()) else { continue };
        let at = candidates.iter().position(|candidate| candidate.epoch == epoch).unwrap_or_else(|| {
            candidates.push(Candidate { epoch, facts: EpochFacts::default() });
            candidates.len() - 1
        });
        let candidate = &mut candidates[at];
        if candidate.is_open().is_none() {
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
        .filter(|candidate| candidate.is_open() == Some(true))
        .max_by_key(|open| &open.epoch);
    // By time before id: an id of which only `epochs:active` tells has no time (0), and is current only when no other
    // epoch is known.
    let newest = || {
        candidates
            .iter()
            .max_by(|a, b| a.last_sign().total_cmp(&b.last_sign()).then_with(|| a.epoch.cmp(&b.epoch)))
    };
    let current = open.or_else(newest)?;
    let facts = &current.facts;
    let start = facts.start.or(facts.timeline.opened);
    let between = |(start, end): (f64, f64)| (end > start).then_some(end - start);
    let believed = |window: &f64| *window <= LONGEST_WINDOW;
    // Of an open window `end` is the plan. Of a closed one it is the time of closing, which may be any time.
    let by_plan = start.zip(facts.end.filter(|_| current.is_open() == Some(true))).and_then(between);
    let window = facts.duration.or(by_plan).filter(believed).unwrap_or(DEFAULT_WINDOW);
    let phase = current.phase();
    // A start ahead of our clock must not show more than the whole window.
    let left = start.map_or(window, |start| (start + window - now).max(0.0)).min(window);
    Some(CurrentEpoch {
        epoch: current.epoch.clone(),
        phase,
        time_remaining: if phase == Phase::Submission { left as u64 } else { 0 },
        window,
        submissions: facts.submissions,
        data_market: facts.data_market.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Moments;
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
            let open = all.iter().filter(|one| one.phase() == Phase::Submission);
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
                candidate("1", facts).phase() as u8
            };
            let now = phase(window, first, second);
            prop_assert!(phase(false, first, second) >= now);
            prop_assert!(phase(window, true, second) >= now && phase(window, true, true) >= now);
        }
    }

    fn candidate(epoch: &str, facts: EpochFacts) -> Candidate {
        Candidate { epoch: EpochId::parse(epoch).expect(epoch), facts }
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
    fn the_phase_follows_window_and_batches() {
        let phase = |open, local_batch, aggregated_batch| {
            candidate("1", EpochFacts { open, local_batch, aggregated_batch, ..EpochFacts::default() })
                .phase()
        };
        assert_eq!(phase(Some(true), true, true), Phase::Submission);
        assert_eq!(phase(Some(false), false, false), Phase::Finalization);
        assert_eq!(phase(Some(false), true, false), Phase::Aggregation);
        assert_eq!(phase(Some(false), true, true), Phase::Complete);
        assert_eq!(phase(None, false, false), Phase::Unknown);
        assert_eq!(phase(None, true, false), Phase::Aggregation);
    }

    #[test]
    fn the_remaining_time_counts_from_the_start_and_never_falls_below_zero() {
        let open = |start, duration| {
            let facts = EpochFacts { start, duration, submissions: Some(3), ..status(true) };
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
        learn_from_chain(&mut candidates, &BTreeMap::from([(8, window(1_000, 60, WindowState::Open))]));
        let current = current_epoch(&candidates, 1_010.0).expect("there is one");
        assert_eq!((current.epoch.as_str(), current.phase), ("8", Phase::Submission));
        assert_eq!((current.window, current.time_remaining), (60.0, 50));
        // The chain has closed it, and nothing else is known of it.
        let mut candidates = Vec::new();
        let closed = window(1_000, 60, WindowState::Closed { block: 2 });
        learn_from_chain(&mut candidates, &BTreeMap::from([(8, closed)]));
        assert_eq!(candidates[0].phase(), Phase::Finalization);
    }

    proptest! {
        #[test]
        fn what_producers_wrote_of_an_epoch_counts_whatever_the_chain_tells(
            facts in any_facts(), released in 0_u64..2_000_000_000, length in 1_u64..100_000, closed in any::<bool>(),
        ) {
            let state = if closed { WindowState::Closed { block: 2 } } else { WindowState::Open };
            let before = candidate("8", facts);
            let mut after = vec![before.clone()];
            learn_from_chain(&mut after, &BTreeMap::from([(8, window(released, length, state))]));
            prop_assert_eq!(after.len(), 1);
            let after = &after[0];
            if before.is_open().is_some() {
                prop_assert_eq!(after.is_open(), before.is_open());
                prop_assert_eq!(after.phase(), before.phase());
            } else {
                prop_assert_eq!(after.is_open(), Some(!closed));
            }
            let known = |before: Option<f64>, after: Option<f64>| before.is_none() || before == after;
            prop_assert!(known(before.facts.start, after.facts.start));
            prop_assert!(known(before.facts.duration, after.facts.duration));
            prop_assert_eq!(before.facts.end, after.facts.end);
        }
    }
}
