//! The three state machines: which moves are allowed, and which sets each state belongs to.

use serde::{Deserialize, Serialize};

/// A validator without a batch for this long is no longer active, in seconds.
pub const VALIDATOR_ACTIVE_FOR: u64 = 600;
/// A validator without a sign for this long is offline, in seconds.
pub const VALIDATOR_ONLINE_FOR: u64 = 3600;

/// A set of the index. The state of an entity decides which sets it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexSet {
    /// `pending:epochs`: pending.
    PendingEpochs,
    /// `active:epochs`: processing, finalizing, aggregating.
    ActiveEpochs,
    /// `completed:epochs`: completed.
    CompletedEpochs,
    /// `active:submissions`: received, validating, validated.
    ActiveSubmissions,
    /// `rejected:submissions`: rejected.
    RejectedSubmissions,
    /// `finalized:submissions`: finalized.
    FinalizedSubmissions,
    /// `online:validators`: all that are not offline.
    OnlineValidators,
    /// `active:validators`: active.
    ActiveValidators,
    /// `offline:validators`: offline.
    OfflineValidators,
}

/// What an event would do to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A step forward: it is made.
    Forward,
    /// Nothing: the state is reached already.
    Same,
    /// A step back, or to the other verdict: it is not made.
    Backwards,
}

/// A state that events move.
pub trait Machine: Copy + Eq + 'static {
    /// Every state, the first one first.
    const ALL: &'static [Self];
    /// The sets of this machine.
    const SETS: &'static [IndexSet];

    /// The name in Redis.
    fn as_str(self) -> &'static str;

    /// What an event to this state does when the state is `from`, or when nothing is known (`None`). States whose
    /// events were missed are skipped.
    fn after(self, from: Option<Self>) -> Move;

    /// Whether it belongs to this set.
    fn is_in(self, set: IndexSet) -> bool;

    /// The state of this name.
    #[must_use]
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == name)
    }

    /// The states from which it is entered; it is entered from no state, too.
    fn entered_from(self) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |&from| self.after(Some(from)) == Move::Forward)
    }
}

/// How many of these events, one after the other from `state`, would have gone backwards.
#[must_use]
pub fn backwards<S: Machine>(mut state: Option<S>, events: &[S]) -> u64 {
    let mut count = 0;
    for &event in events {
        match event.after(state) {
            Move::Forward => state = Some(event),
            Move::Same => {}
            Move::Backwards => count += 1,
        }
    }
    count
}

/// The state of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EpochState {
    /// Named by an event, not known to be open.
    Pending,
    /// Its window is open.
    Processing,
    /// Its window is closed.
    Finalizing,
    /// It has a local batch.
    Aggregating,
    /// It has an aggregated batch.
    Completed,
}

impl Machine for EpochState {
    const ALL: &'static [Self] =
        &[Self::Pending, Self::Processing, Self::Finalizing, Self::Aggregating, Self::Completed];
    const SETS: &'static [IndexSet] =
        &[IndexSet::PendingEpochs, IndexSet::ActiveEpochs, IndexSet::CompletedEpochs];

    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Finalizing => "finalizing",
            Self::Aggregating => "aggregating",
            Self::Completed => "completed",
        }
    }

    fn after(self, from: Option<Self>) -> Move {
        match from {
            Some(from) if from == self => Move::Same,
            // The order of the variants is the order of an epoch's life.
            Some(from) if from > self => Move::Backwards,
            _ => Move::Forward,
        }
    }

    fn is_in(self, set: IndexSet) -> bool {
        set == match self {
            Self::Pending => IndexSet::PendingEpochs,
            Self::Completed => IndexSet::CompletedEpochs,
            Self::Processing | Self::Finalizing | Self::Aggregating => IndexSet::ActiveEpochs,
        }
    }
}

/// The state of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubmissionState {
    /// It was received.
    Received,
    /// It is being validated.
    Validating,
    /// It is valid. The ids of received and validated events of one submission differ, so most ids begin with this
    /// state.
    Validated,
    /// It is invalid; this state is final.
    Rejected,
    /// It was finalized.
    Finalized,
}

impl SubmissionState {
    fn rank(self) -> u8 {
        match self {
            Self::Received => 0,
            Self::Validating => 1,
            Self::Validated | Self::Rejected => 2,
            Self::Finalized => 3,
        }
    }
}

impl Machine for SubmissionState {
    const ALL: &'static [Self] =
        &[Self::Received, Self::Validating, Self::Validated, Self::Rejected, Self::Finalized];
    const SETS: &'static [IndexSet] =
        &[IndexSet::ActiveSubmissions, IndexSet::RejectedSubmissions, IndexSet::FinalizedSubmissions];

    fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Validating => "validating",
            Self::Validated => "validated",
            Self::Rejected => "rejected",
            Self::Finalized => "finalized",
        }
    }

    fn after(self, from: Option<Self>) -> Move {
        match from {
            Some(from) if from == self => Move::Same,
            // Both verdicts have one rank, so the first one stands; and nothing follows a rejection.
            Some(from) if from == Self::Rejected || from.rank() >= self.rank() => Move::Backwards,
            _ => Move::Forward,
        }
    }

    fn is_in(self, set: IndexSet) -> bool {
        set == match self {
            Self::Received | Self::Validating | Self::Validated => IndexSet::ActiveSubmissions,
            Self::Rejected => IndexSet::RejectedSubmissions,
            Self::Finalized => IndexSet::FinalizedSubmissions,
        }
    }
}

/// The state of a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValidatorState {
    /// No sign for [`VALIDATOR_ONLINE_FOR`].
    Offline,
    /// Seen, without a batch in that time.
    Online,
    /// A batch within [`VALIDATOR_ACTIVE_FOR`].
    Active,
    /// A batch, but not so lately.
    Inactive,
}

impl ValidatorState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Offline, Self::Online, Self::Active, Self::Inactive];
    /// The sets of validators.
    pub const SETS: &'static [IndexSet] =
        &[IndexSet::OnlineValidators, IndexSet::ActiveValidators, IndexSet::OfflineValidators];

    /// The name in Redis.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }

    /// Whether it belongs to this set: an active one is online too.
    #[must_use]
    pub fn is_in(self, set: IndexSet) -> bool {
        match set {
            IndexSet::OnlineValidators => self != Self::Offline,
            IndexSet::ActiveValidators => self == Self::Active,
            IndexSet::OfflineValidators => self == Self::Offline,
            _ => false,
        }
    }
}

/// The moments from which the state of a validator follows, in Unix seconds; 0 for never. Events raise them, in any
/// order and any number of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValidatorSigns {
    /// The last sign of any kind.
    pub seen: u64,
    /// The last batch.
    pub batch: u64,
}

impl ValidatorSigns {
    /// The later moments of both.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self { seen: self.seen.max(other.seen), batch: self.batch.max(other.batch) }
    }

    /// The state at a moment. As time passes without a sign it goes online → offline, or active → inactive → offline.
    #[must_use]
    pub fn state(self, now: u64) -> ValidatorState {
        // 0 is never. A sign ahead of our clock counts as one of this moment.
        let within = |at: u64, limit| at > 0 && now.saturating_sub(at) <= limit;
        // The batch first: a batch is a sign too, and says more than one.
        if within(self.batch, VALIDATOR_ACTIVE_FOR) {
            ValidatorState::Active
        } else if within(self.batch, VALIDATOR_ONLINE_FOR) {
            ValidatorState::Inactive
        } else if within(self.seen, VALIDATOR_ONLINE_FOR) {
            ValidatorState::Online
        } else {
            ValidatorState::Offline
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::select};

    fn run<S: Machine>(from: Option<S>, events: &[S]) -> Option<S> {
        events.iter().fold(from, |state, &event| match event.after(state) {
            Move::Forward => Some(event),
            Move::Same | Move::Backwards => state,
        })
    }

    fn one_set<S: Machine>() {
        for &state in S::ALL {
            assert_eq!(S::SETS.iter().filter(|&&set| state.is_in(set)).count(), 1, "{}", state.as_str());
            assert!(S::named(state.as_str()) == Some(state));
        }
    }

    #[test]
    fn a_state_stands_in_one_set_and_an_active_validator_is_online_too() {
        one_set::<EpochState>();
        one_set::<SubmissionState>();
        let names = ValidatorState::ALL.map(ValidatorState::as_str);
        assert_eq!(names, ["offline", "online", "active", "inactive"]);
        let in_sets = |state: ValidatorState| {
            ValidatorState::SETS.iter().filter(|&&set| state.is_in(set)).copied().collect::<Vec<_>>()
        };
        assert_eq!(in_sets(ValidatorState::Active), [IndexSet::OnlineValidators, IndexSet::ActiveValidators]);
        assert_eq!(in_sets(ValidatorState::Inactive), [IndexSet::OnlineValidators]);
        assert_eq!(in_sets(ValidatorState::Online), [IndexSet::OnlineValidators]);
        assert_eq!(in_sets(ValidatorState::Offline), [IndexSet::OfflineValidators]);
    }

    #[test]
    fn a_submission_goes_its_way_and_a_rejected_one_goes_no_further() {
        use SubmissionState::{Finalized, Received, Rejected, Validated, Validating};
        assert_eq!(run(None, &[Received, Validating, Validated, Finalized]), Some(Finalized));
        assert_eq!(run(None, &[Validated]), Some(Validated), "without a known received");
        assert_eq!(run(None, &[Received, Rejected, Validated, Finalized]), Some(Rejected));
        assert_eq!(run(None, &[Validated, Rejected]), Some(Validated), "the first verdict stands");
        assert_eq!(backwards(Some(Validated), &[Received, Validated, Rejected, Finalized, Validating]), 3);
    }

    #[test]
    fn an_epoch_may_skip_what_was_not_heard() {
        use EpochState::{Aggregating, Completed, Finalizing, Pending, Processing};
        assert_eq!(run(None, EpochState::ALL), Some(Completed));
        assert_eq!(run(Some(Pending), &[Aggregating, Processing]), Some(Aggregating));
        assert_eq!(backwards(None, &[Finalizing, Processing, Finalizing, Completed, Aggregating]), 2);
        assert_eq!(Processing.entered_from().collect::<Vec<_>>(), [Pending]);
    }

    #[test]
    fn a_validator_falls_by_time() {
        let signs = ValidatorSigns { seen: 1000, batch: 1000 };
        for (now, state) in [
            (1000, ValidatorState::Active),
            (1600, ValidatorState::Active),
            (1601, ValidatorState::Inactive),
            (4600, ValidatorState::Inactive),
            (4601, ValidatorState::Offline),
        ] {
            assert_eq!(signs.state(now), state, "{now}");
        }
        let seen = ValidatorSigns { seen: 9000, ..signs };
        assert_eq!(seen.state(9000), ValidatorState::Online, "its batch is of a life before");
        assert_eq!(seen.state(12_601), ValidatorState::Offline);
        assert_eq!(ValidatorSigns::default().state(5), ValidatorState::Offline);
    }

    proptest! {
        #[test]
        fn an_epoch_never_goes_backwards_and_the_order_of_events_does_not_matter(
            events in vec(select(EpochState::ALL), 0..12), at in any::<proptest::sample::Index>(),
        ) {
            let end = run(None, &events);
            prop_assert_eq!(end, events.iter().copied().max());
            let mut before = None;
            for &event in &events {
                let now = run(before, &[event]);
                prop_assert!(now >= before);
                before = now;
            }
            let mut turned = events.clone();
            turned.rotate_left(if events.is_empty() { 0 } else { at.index(events.len()) });
            turned.reverse();
            prop_assert_eq!(run(None, &turned), end);
        }

        #[test]
        fn a_submission_never_goes_backwards_and_a_second_delivery_changes_nothing(
            events in vec(select(SubmissionState::ALL), 0..12), cut in any::<proptest::sample::Index>(),
        ) {
            let mut before: Option<SubmissionState> = None;
            for &event in &events {
                let now = run(before, &[event]);
                prop_assert!(now.map(SubmissionState::rank) >= before.map(SubmissionState::rank));
                prop_assert!(before != Some(SubmissionState::Rejected) || now == before);
                before = now;
            }
            // What was delivered up to a cut is delivered again.
            let cut = cut.index(events.len() + 1);
            let again = [&events[..cut], &events[..cut], &events[cut..]].concat();
            prop_assert_eq!(run(None, &again), before);
            // Where there is one verdict only, the order does not matter.
            let verdict = events.iter().all(|&event| event != SubmissionState::Rejected);
            if verdict {
                let turned: Vec<_> = events.iter().rev().copied().collect();
                prop_assert_eq!(run(None, &turned), before);
            }
        }

        #[test]
        fn a_step_that_was_taken_or_refused_once_has_no_effect_later(
            events in vec(select(SubmissionState::ALL), 0..12), from in proptest::option::of(select(SubmissionState::ALL)),
        ) {
            // The store sends the first of equal steps only.
            let mut first = Vec::new();
            for &event in &events {
                if !first.contains(&event) {
                    first.push(event);
                }
            }
            prop_assert_eq!(run(from, &first), run(from, &events));
        }

        #[test]
        fn signs_of_a_validator_commute_and_without_one_it_only_falls(
            a in (0_u64..20_000, 0_u64..20_000), b in (0_u64..20_000, 0_u64..20_000), now in 0_u64..40_000,
        ) {
            let signs = |(seen, batch): (u64, u64)| ValidatorSigns { seen: seen.max(batch), batch };
            let (a, b) = (signs(a), signs(b));
            let both = a.joined(b);
            prop_assert_eq!(both, b.joined(a));
            prop_assert_eq!(both.joined(a), both);
            // Each state, and the states that time alone may turn it into.
            let (state, later) = (both.state(now), both.state(now + 300));
            let falls = match state {
                ValidatorState::Offline => later == ValidatorState::Offline,
                ValidatorState::Online => matches!(later, ValidatorState::Online | ValidatorState::Offline),
                ValidatorState::Active | ValidatorState::Inactive => later != ValidatorState::Active || state == later,
            };
            prop_assert!(falls, "{:?} → {:?}", state, later);
        }
    }
}
