//! The rows that take turns.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{campaign, run};
use crate::campaigns::{
    JobId, MOST_DEAD, Plan, RowState, RunId, RunWanted, StatusRow, Turn, plan_rows, row_id, rows_of,
};

const CAMPAIGN: u128 = 1;

fn wanted(numbers: &[u128]) -> Vec<RunWanted> {
    numbers.iter().map(|number| RunWanted { run: run(*number), interval_ms: 15_000 }).collect()
}

fn row(number: usize, of: RunId, state: RowState) -> StatusRow {
    let id = row_id(campaign(CAMPAIGN), number);
    StatusRow { id, run: of, state, planned_ms: 0, over_ms: 0, took_ms: 0 }
}

fn plan(runs: &[u128], rows: &[StatusRow], now_ms: u64) -> Plan {
    plan_rows(campaign(CAMPAIGN), &wanted(runs), rows, now_ms)
}

fn turn(number: usize, of: u128) -> Turn {
    Turn { row: row_id(campaign(CAMPAIGN), number), run: run(of), evicts: false }
}

#[test]
fn ids_of_rows_are_valid_differ_and_follow_from_the_campaign() {
    let ids: BTreeSet<JobId> = (0..50).flat_map(|number| rows_of(campaign(number), 2)).collect();
    assert_eq!(ids.len(), 50 * (2 + MOST_DEAD));
    let id = row_id(campaign(7), 3);
    assert_eq!((id, id.0.get_version_num()), (row_id(campaign(7), 3), 8));
}

#[test]
fn a_campaigns_row_is_used_again_by_its_next_run() {
    assert_eq!(plan(&[1], &[], 0).turns, [turn(0, 1)]);
    let done = [row(0, run(1), RowState::Done)];
    assert_eq!(plan(&[1], &done, 12_000).turns, [turn(0, 1)]);
    assert_eq!(plan(&[2], &done, 0).turns, [turn(0, 2)], "the first run takes no more turns");
}

#[test]
fn two_running_runs_have_a_row_each() {
    assert_eq!(plan(&[1, 2], &[], 0).turns, [turn(0, 1), turn(1, 2)]);
    let rows = [row(0, run(1), RowState::Done), row(1, run(2), RowState::Done)];
    assert_eq!(plan(&[2, 1], &rows, 60_000).turns, [turn(1, 2), turn(0, 1)]);
}

#[test]
fn a_run_whose_turn_is_open_recent_or_pausing_takes_no_other() {
    let open = [row(0, run(1), RowState::Open)];
    assert_eq!(plan(&[1], &open, 60_000), Plan { open: 1, ..Plan::default() });
    let mut recent = row(0, run(1), RowState::Done);
    assert_eq!(plan(&[1], &[recent], 11_999), Plan { recent: 1, ..Plan::default() });
    (recent.over_ms, recent.took_ms) = (10_000, 10_000);
    assert_eq!(plan(&[1], &[recent], 99_999).recent, 1, "nine times its length are not over");
    assert_eq!(plan(&[1], &[recent], 100_000).turns, [turn(0, 1)]);
}

#[test]
fn a_dead_letter_stays_and_the_next_turn_has_another_row() {
    let dead = [row(0, run(1), RowState::Dead)];
    assert_eq!(plan(&[1], &dead, 60_000).turns, [turn(1, 1)]);
}

#[test]
fn the_oldest_of_too_many_dead_letters_is_overwritten() {
    let mut rows: Vec<StatusRow> =
        (0..=MOST_DEAD).map(|number| row(number, run(1), RowState::Dead)).collect();
    for (number, row) in rows.iter_mut().enumerate() {
        row.over_ms = 1_000 - number as u64;
    }
    let oldest = Turn { evicts: true, ..turn(MOST_DEAD, 1) };
    assert_eq!(plan(&[1], &rows, 60_000).turns, [oldest]);
}

fn rows_in_any_state() -> impl Strategy<Value = Vec<StatusRow>> {
    let one = (0_u128..4, 0_u8..3, 0_u64..30_000, 0_u64..30_000, 0_u64..5_000, any::<bool>());
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let all = all.into_iter().enumerate().filter(|(_, one)| one.5);
        all.map(|(number, (of, state, planned_ms, over_ms, took_ms, _))| {
            let state = [RowState::Open, RowState::Done, RowState::Dead][usize::from(state)];
            StatusRow { planned_ms, over_ms, took_ms, ..row(number, run(of), state) }
        })
        .collect()
    })
}

proptest! {
    #[test]
    fn no_plan_uses_a_row_twice_or_an_open_one_and_each_run_is_accounted_for(
        rows in rows_in_any_state(), runs in prop::collection::vec(0_u128..4, 0..6), now in 0_u64..60_000,
    ) {
        let plan = plan(&runs, &rows, now);
        let used: BTreeSet<JobId> = plan.turns.iter().map(|turn| turn.row).collect();
        prop_assert_eq!(used.len(), plan.turns.len());
        for turn in &plan.turns {
            let found = rows.iter().find(|row| row.id == turn.row);
            prop_assert!(found.is_none_or(|row| row.state != RowState::Open));
            prop_assert_eq!(turn.evicts, found.is_some_and(|row| row.state == RowState::Dead));
            prop_assert!(!rows.iter().any(|row| row.run == turn.run && row.state == RowState::Open));
        }
        let different: BTreeSet<u128> = runs.iter().copied().collect();
        prop_assert_eq!(plan.turns.len() + plan.open + plan.recent + plan.crowded, different.len());
    }
}
