//! The variable that arms failure points, in a build that has them and in one that has none.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use super::{super::failure_points::refusal, *};

const SOME: &str = "aggregator::before_commit=panic";

#[test]
fn a_build_without_failure_points_refuses_the_variable_and_says_how_to_build_one() {
    let problem = refusal(OsStr::new(SOME), false).unwrap();
    assert_contains(
        &problem.text,
        &[
            "STATE_TRACKER_FAILURE_POINTS",
            "this build has no failure points",
            "cargo build --release --features failure-points",
        ],
    );
    assert_eq!(refusal(OsStr::new(SOME), true), None);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    for build_has_points in [false, true] {
        assert_eq!(refusal(OsStr::new(""), build_has_points), None);
    }
    assert!(from_env(&[(FAILURES_VARIABLE, "")]).is_ok());
}

#[test]
fn failure_points_that_are_not_utf_8_are_refused_in_every_build() {
    let text = |build_has_points| refusal(OsStr::from_bytes(b"\xff=panic"), build_has_points).unwrap().text;
    assert_contains(&text(true), &["STATE_TRACKER_FAILURE_POINTS", "not UTF-8"]);
    assert_contains(&text(false), &["this build has no failure points"]);
}

#[test]
fn loading_refuses_the_variable_exactly_if_this_build_has_no_failure_points() {
    let loaded = from_env(&[(FAILURES_VARIABLE, SOME)]);
    match cfg!(feature = "failure-points") {
        true => assert!(loaded.is_ok()),
        false => assert_contains(&only_problem(loaded), &["this build has no failure points"]),
    }
}

#[test]
fn a_misspelt_variable_of_failure_points_is_refused_with_its_name() {
    let problem = only_problem(from_env(&[("STATE_TRACKER_FAILURE_POINT", SOME)]));
    assert_contains(&problem, &["did you mean STATE_TRACKER_FAILURE_POINTS?"]);
}
