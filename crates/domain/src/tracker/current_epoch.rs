//! The dataset `metrics:current_epoch`: which epoch is the current one, and its phase.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{Field, ValueOf, field, object, whole_second};
use crate::{
    EpochId, Number,
    chain::{Window, WindowState},
    tracker::{DEFAULT_WINDOW, Entry, EpochFacts, LONGEST_WINDOW, Moment, Moments, Reading},
};

#[cfg(test)]
mod tests;

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
            candidate.facts.open = Some(match window.state {
                WindowState::Closed { .. } => false,
                WindowState::Waiting | WindowState::Open => true,
                WindowState::Unmeasured => now < window.released as f64 + DEFAULT_WINDOW,
            });
        }
        let facts = &mut candidate.facts;
        if facts.start.is_none() && facts.timeline.opened.is_none() {
            facts.start = Some(window.released as f64);
        }
        // An end is enough to compute the length, and a second source might contradict it.
        if facts.duration.is_none() && facts.end.is_none() {
            facts.duration = window.length().map(|length| length as f64);
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
    /// Its market, if its info names one.
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
