//! Rewards: when the relayer is told how many eligible submissions the slots of a market have, and in which pieces. Pure.
//!
//! The end of an epoch makes it due, in the step that hands its batches over: then a [`RewardPlan`] is written. The numbers are read
//! later, and frozen into calls in the step that removes the plan. So each plan becomes calls once, whatever crashes in between.

use std::{
    collections::BTreeMap,
    fmt,
    num::{NonZeroU64, NonZeroUsize},
};

use serde::{Deserialize, Serialize};

use super::RelayCall;

/// How many epochs after a change of day the rewards of the day before are due: by then the finalizers have counted its last epochs.
pub const BUFFER_EPOCHS: u64 = 5;

/// What the configuration says of rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewardRules {
    /// Every how many epochs the relayer is told the present numbers: at the end of those that it divides.
    pub every: NonZeroU64,
    /// The most slots of a call.
    pub piece: NonZeroUsize,
    /// How many past days are told again while the chain does not show their eligible nodes.
    pub past_days: u64,
}

/// A change of day whose rewards are not due yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollover {
    /// The day before: that of the epoch that was released last in it.
    pub last_day: u64,
    /// From this epoch on, the first one that is handed over makes its rewards due.
    pub buffer_epoch: u64,
}

impl Rollover {
    /// The change of day that the release of this epoch shows.
    #[must_use]
    pub fn at(epoch: u64, last_day: u64) -> Self {
        Self { last_day, buffer_epoch: epoch.saturating_add(BUFFER_EPOCHS) }
    }
}

/// What the relayer is to be told of a market's rewards. The numbers are not read yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "plan", rename_all = "snake_case")]
pub enum RewardPlan {
    /// The numbers of a day that is not over.
    Periodic {
        /// The epoch that has ended.
        epoch: u64,
        /// The day at its release.
        day: u64,
    },
    /// The numbers of a day that is over, and how many nodes were eligible in it.
    Final {
        /// The epoch that has ended.
        epoch: u64,
        /// The day.
        day: u64,
    },
    /// How many nodes were eligible in past days, if the chain does not show that yet.
    PastDays {
        /// The epoch that has ended, or that was released last when the program began.
        epoch: u64,
        /// The present day.
        today: u64,
        /// Days that are told by plans of their own.
        except: Vec<u64>,
        /// When the program began, in Unix nanoseconds, if that is the reason: two starts are never one.
        started: Option<u64>,
    },
}

impl RewardPlan {
    /// What tells it from every other plan of its market, for good: an epoch ends once.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Periodic { epoch, day } => format!("periodic:{epoch}:{day}"),
            Self::Final { epoch, day } => format!("final:{epoch}:{day}"),
            Self::PastDays { epoch, started: None, .. } => format!("again:{epoch}"),
            Self::PastDays { started: Some(at), .. } => format!("start:{at}"),
        }
    }

    /// The epoch whose end made it due.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Periodic { epoch, .. } | Self::Final { epoch, .. } | Self::PastDays { epoch, .. } => *epoch,
        }
    }

    /// The past days that it is about, the latest first; none for the other plans.
    #[must_use]
    pub fn past_days(&self, rules: &RewardRules) -> Vec<u64> {
        let Self::PastDays { today, except, .. } = self else { return Vec::new() };
        // Days are counted from 1.
        let first = today.saturating_sub(rules.past_days).max(1);
        (first..*today).rev().filter(|day| !except.contains(day)).collect()
    }

    /// The calls that tell the counters of slots, in pieces. `slots` has those that have a counter, `eligible` is how many nodes were
    /// eligible in the day. Where no slot has one the relayer is told how many nodes were eligible, unless there is none either.
    #[must_use]
    pub fn pieces(&self, slots: &[(u64, u64)], eligible: u64, rules: &RewardRules) -> Vec<RelayCall> {
        let (day, eligible) = match self {
            // The relayer expects 0 while the day is not over.
            Self::Periodic { day, .. } => (*day, 0),
            Self::Final { day, .. } => (*day, eligible),
            Self::PastDays { .. } => return Vec::new(),
        };
        if slots.is_empty() && eligible > 0 {
            return vec![self.call(day, 0, &[], eligible)];
        }
        let pieces = (0..).zip(slots.chunks(rules.piece.get()));
        pieces.map(|(piece, slots)| self.call(day, piece, slots, eligible)).collect()
    }

    /// The calls that tell how many nodes were eligible in past days, and the days without any.
    #[must_use]
    pub fn again(&self, eligible: &BTreeMap<u64, u64>) -> (Vec<RelayCall>, Vec<u64>) {
        let (some, none): (Vec<_>, Vec<_>) = eligible.iter().partition(|(_, nodes)| **nodes > 0);
        let calls = some.into_iter().map(|(day, nodes)| self.call(*day, 0, &[], *nodes)).collect();
        (calls, none.into_iter().map(|(day, _)| *day).collect())
    }

    fn call(&self, day: u64, piece: u64, slots: &[(u64, u64)], eligible: u64) -> RelayCall {
        let (slots, submissions) = slots.iter().copied().unzip();
        RelayCall::Rewards { plan: self.id(), epoch: self.epoch(), day, piece, slots, submissions, eligible }
    }
}

impl fmt::Display for RewardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Periodic { day, .. } => write!(f, "the rewards of day {day} so far"),
            Self::Final { day, .. } => write!(f, "the rewards of day {day}"),
            Self::PastDays { today, .. } => write!(f, "the eligible nodes of the days before {today}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn rules(piece: usize, past_days: u64) -> RewardRules {
        let (every, piece) = (NonZeroU64::new(10).unwrap(), NonZeroUsize::new(piece).unwrap());
        RewardRules { every, piece, past_days }
    }

    fn past(today: u64, except: &[u64]) -> RewardPlan {
        RewardPlan::PastDays { epoch: 9, today, except: except.to_vec(), started: None }
    }

    #[test]
    fn past_days_end_with_the_buffer_and_the_first_day_and_leave_out_those_with_plans_of_their_own() {
        assert_eq!(past(20, &[]).past_days(&rules(1, 5)), [19, 18, 17, 16, 15]);
        assert_eq!(past(20, &[19, 16]).past_days(&rules(1, 5)), [18, 17, 15]);
        assert_eq!(past(3, &[]).past_days(&rules(1, 5)), [2, 1]);
        for (today, buffer) in [(1, 5), (0, 5), (9, 0)] {
            assert!(past(today, &[]).past_days(&rules(1, buffer)).is_empty(), "{today} {buffer}");
        }
    }

    #[test]
    fn eligible_nodes_are_told_of_days_that_are_over_alone() {
        let slots = [(1, 7), (3, 0)];
        for (plan, eligible) in
            [(RewardPlan::Periodic { epoch: 10, day: 2 }, 0), (RewardPlan::Final { epoch: 10, day: 2 }, 8)]
        {
            let calls = plan.pieces(&slots, 8, &rules(5, 5));
            let [RelayCall::Rewards { day, slots, submissions, eligible: told, .. }] = &calls[..] else {
                panic!("{calls:?}")
            };
            assert_eq!((*day, &slots[..], &submissions[..], *told), (2, &[1, 3][..], &[7, 0][..], eligible));
        }
        let finally = RewardPlan::Final { epoch: 10, day: 2 };
        assert_eq!(
            finally.pieces(&[], 8, &rules(5, 5)).len(),
            1,
            "the number of nodes is told without slots"
        );
        assert_eq!(finally.pieces(&[], 0, &rules(5, 5)), [], "there is nothing to tell");
    }

    #[test]
    fn a_past_day_without_eligible_nodes_is_marked_and_not_told() {
        let (calls, none) = past(20, &[]).again(&BTreeMap::from([(19, 3), (18, 0), (17, 4)]));
        assert_eq!(none, [18]);
        let told = calls.iter().map(|call| match call {
            RelayCall::Rewards { day, slots, submissions, eligible, .. } => {
                assert!(slots.is_empty() && submissions.is_empty());
                (*day, *eligible)
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), [(17, 4), (19, 3)]);
    }

    proptest! {
        #[test]
        fn pieces_have_every_slot_once_in_order_and_none_is_too_large_or_named_like_another(
            counts in proptest::collection::btree_map(1_u64..10_001, any::<u64>(), 0..200), piece in 1_usize..40,
        ) {
            let slots: Vec<_> = counts.clone().into_iter().collect();
            let calls = RewardPlan::Periodic { epoch: 10, day: 2 }.pieces(&slots, 0, &rules(piece, 5));
            let (mut told, mut ids) = (Vec::new(), BTreeSet::new());
            for (index, call) in calls.iter().enumerate() {
                prop_assert!(ids.insert(call.id()));
                let RelayCall::Rewards { slots, submissions, .. } = call else { panic!("{call:?}") };
                prop_assert_eq!(slots.len(), submissions.len());
                prop_assert!(slots.len() == piece || index == calls.len() - 1 && !slots.is_empty());
                told.extend(slots.iter().copied().zip(submissions.iter().copied()));
            }
            prop_assert_eq!(told, slots);
        }
    }
}
