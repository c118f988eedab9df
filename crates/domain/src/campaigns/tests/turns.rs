//! The scheduler's turns.

use proptest::prelude::*;

use super::campaign;
use crate::campaigns::{Candidate, Schedule, pause_after};

fn candidate(number: u128, interval_ms: u64) -> Candidate {
    Candidate { campaign: campaign(number), interval_ms }
}

#[test]
fn a_campaign_is_skipped_until_80_percent_of_its_interval_have_passed() {
    let (mut schedule, active) = (Schedule::default(), [candidate(1, 15_000), candidate(2, 30_000)]);
    assert_eq!(schedule.round(0, &active), [campaign(1), campaign(2)]);
    assert_eq!(schedule.round(11_999, &active), []);
    assert_eq!(schedule.round(12_000, &active), [campaign(1)]);
    assert_eq!(schedule.round(24_000, &active), [campaign(1), campaign(2)]);
}

#[test]
fn entries_of_campaigns_that_are_no_longer_active_are_dropped() {
    let mut schedule = Schedule::default();
    schedule.round(0, &[candidate(1, 15_000), candidate(2, 15_000)]);
    schedule.round(1, &[candidate(2, 15_000)]);
    assert_eq!(schedule.len(), 1);
    assert_eq!(
        schedule.round(2, &[candidate(1, 15_000)]),
        [campaign(1)],
        "it is active again, and due at once"
    );
}

#[test]
fn a_turn_that_could_not_be_taken_is_due_again_in_the_next_round() {
    let (mut schedule, active) = (Schedule::default(), [candidate(1, 15_000), candidate(2, 15_000)]);
    schedule.round(0, &active);
    schedule.failed(campaign(1));
    assert_eq!(schedule.round(1, &active), [campaign(1)]);
}

#[test]
fn a_full_computation_is_followed_by_nine_times_its_length() {
    let (mut schedule, active) = (Schedule::default(), [candidate(1, 1_000)]);
    schedule.round(0, &active);
    schedule.computed(campaign(1), 2_000, 2_000);
    assert_eq!(pause_after(2_000), 18_000);
    assert_eq!(schedule.round(19_999, &active), []);
    assert_eq!(schedule.round(20_000, &active), [campaign(1)]);
}

#[test]
fn a_clock_that_goes_back_makes_no_turn_early() {
    let (mut schedule, active) = (Schedule::default(), [candidate(1, 1_000)]);
    schedule.round(5_000, &active);
    assert_eq!(schedule.round(4_000, &active), []);
}

proptest! {
    #[test]
    fn turns_of_a_campaign_are_never_closer_than_80_percent(
        steps in prop::collection::vec(0_u64..20_000, 1..100), interval in 1_000_u64..60_000,
    ) {
        let mut schedule = Schedule::default();
        let (mut now, mut last): (u64, Option<u64>) = (0, None);
        for step in steps {
            now += step;
            if !schedule.round(now, &[candidate(1, interval)]).is_empty() {
                if let Some(last) = last {
                    prop_assert!((now - last) * 10 >= interval * 8);
                }
                last = Some(now);
            } else {
                prop_assert!(last.is_some_and(|last| (now - last) * 10 < interval * 8));
            }
        }
    }
}
